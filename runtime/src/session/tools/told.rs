//! What a tool did, as records: names relative to the workspace, without the secrets that the session knows.
//! It never drops a use, nor says of one that it changed something when it was refused.

use super::few::ToolRecords;
use crate::backend::wasm::{CallGrant, End, Files, OpenFlags, ToolRan, Use, What};
use crate::egress;
use crate::secrets::scrub::{Hit, Patterns};
use crate::session::names;
use std::sync::Arc;
use stockade_audit::record::{self as log, LogPath, PATH_BYTES_MAX, TARGET_BYTES_MAX, ToolOp, ToolUse, Was};

/// Longest reason in a record, bytes.
const WHY_BYTES_MAX: usize = 512;

/// Tells the uses of one instance.
pub(super) struct Teller {
    /// The instance.
    t: u64,
    /// The workspace, as guests name it.
    workspace: Vec<u8>,
    /// The secrets of this moment.
    patterns: Option<Arc<Patterns>>,
    /// What was found of them in names.
    hits: Vec<Hit>,
    records: ToolRecords,
}

impl Teller {
    pub(super) fn new(t: u64, workspace: Vec<u8>, patterns: Option<Arc<Patterns>>) -> Self {
        Self { t, workspace, patterns, hits: Vec::new(), records: ToolRecords::default() }
    }

    /// Takes some uses in their order, and gives the records that must be written now.
    pub(super) fn tell(&mut self, uses: Vec<Use>) -> Vec<ToolUse> {
        let told = uses.into_iter().filter_map(|used| {
            let record = self.one(used);
            self.records.take(record)
        });
        told.collect()
    }

    /// The records that are written before the instance's end, how many uses all of them stand for, and which secrets were
    /// found in names.
    pub(super) fn end(self) -> (Vec<ToolUse>, u64, Vec<Hit>) {
        let (records, uses) = self.records.end();
        (records, uses, self.hits)
    }

    fn one(&mut self, used: Use) -> ToolUse {
        let Use { what, path, errno, bytes_read, bytes_written, times } = used;
        let some = |count: u64| Some(count).filter(|count| *count > 0);
        let mut record = ToolUse {
            errno,
            r: some(bytes_read),
            w: some(bytes_written),
            times: Some(times).filter(|times| *times > 1),
            ..ToolUse::new(self.t, op(&what))
        };
        match what {
            What::Env | What::Args | What::Stdin | What::Clock | What::Random | What::Socket => return record,
            What::Connect | What::Moved => {
                (record.host, record.port) = egress::authority(&path).unzip();
                return record;
            }
            What::Lookup => {
                record.host = String::from_utf8(path).ok().filter(|name| !name.is_empty());
                return record;
            }
            What::Request { .. } => {
                (record.host, record.port) = egress::target(&path).unzip();
                return record;
            }
            What::Open(flags) => {
                record.fl = Some(words(flags));
                record.was = (flags.create && flags.exclusive && errno.is_none()).then_some(Was::Absent);
            }
            What::SetSize { size } => record.value = Some(size),
            What::Link { to } => {
                // A record begins with the name that is new.
                (record.to, record.to_h) = self.name(&path, PATH_BYTES_MAX);
                (record.path, record.path_h) = self.name(&to, PATH_BYTES_MAX);
                return record;
            }
            What::Rename { to } => (record.to, record.to_h) = self.name(&to, PATH_BYTES_MAX),
            What::Symlink { to } => (record.to, record.to_h) = self.text(&to, TARGET_BYTES_MAX),
            What::Read
            | What::Wrote
            | What::List
            | What::Stat
            | What::ReadLink
            | What::Unlink
            | What::RemoveDirectory
            | What::MakeDirectory
            | What::SetTimes => {}
        }
        (record.path, record.path_h) = self.name(&path, PATH_BYTES_MAX);
        record
    }

    /// A path as a record has it.
    fn name(&mut self, path: &[u8], bytes_max: usize) -> (Option<LogPath>, Option<log::Digest>) {
        let inside = path.strip_prefix(self.workspace.as_slice()).and_then(|rest| match rest {
            b"" => Some(&b"."[..]),
            rest => rest.strip_prefix(b"/"),
        });
        let path = inside.unwrap_or(path).to_vec();
        self.text(&path, bytes_max)
    }

    fn text(&mut self, text: &[u8], bytes_max: usize) -> (Option<LogPath>, Option<log::Digest>) {
        let (kept, hash) = match &self.patterns {
            None => LogPath::kept(text, bytes_max),
            Some(patterns) => {
                let (clean, hits) = names::without(patterns, text);
                self.hits.extend(hits);
                LogPath::kept(&clean, bytes_max)
            }
        };
        (Some(kept), hash)
    }
}

const fn op(what: &What) -> ToolOp {
    match what {
        What::Read => ToolOp::Read,
        What::Open(_) => ToolOp::Open,
        What::Wrote => ToolOp::Write,
        What::List => ToolOp::List,
        What::Stat => ToolOp::Stat,
        What::ReadLink => ToolOp::Readlink,
        What::Unlink => ToolOp::Unlink,
        What::RemoveDirectory => ToolOp::Rmdir,
        What::MakeDirectory => ToolOp::Mkdir,
        What::Rename { .. } => ToolOp::Rename,
        What::Link { .. } => ToolOp::Link,
        What::Symlink { .. } => ToolOp::Symlink,
        What::SetSize { .. } => ToolOp::Truncate,
        What::SetTimes => ToolOp::Utimes,
        What::Env => ToolOp::Env,
        What::Args => ToolOp::Args,
        What::Stdin => ToolOp::Stdin,
        What::Clock => ToolOp::Clock,
        What::Random => ToolOp::Random,
        What::Request { .. } => ToolOp::Request,
        What::Socket => ToolOp::Socket,
        What::Connect => ToolOp::Connect,
        What::Moved => ToolOp::Moved,
        What::Lookup => ToolOp::Lookup,
    }
}

/// Flags as `fs.open` spells them.
fn words(flags: OpenFlags) -> String {
    let named = [(flags.create, "|CREAT"), (flags.exclusive, "|EXCL"), (flags.truncate, "|TRUNC")];
    let set = named.into_iter().filter(|(set, _)| *set).map(|(_, name)| name);
    [String::from("RW")].into_iter().chain(set.map(str::to_owned)).collect()
}

/// The beginning of an instance, as its record has it.
pub(super) const fn files(files: Files) -> log::ToolFiles {
    match files {
        Files::None => log::ToolFiles::None,
        Files::Read => log::ToolFiles::Read,
        Files::Write => log::ToolFiles::Write,
    }
}

/// What it may do to the network, likewise.
pub(super) const fn net(grant: &CallGrant) -> log::ToolNet {
    match (grant.network, grant.sockets) {
        (false, false) => log::ToolNet::None,
        (true, false) => log::ToolNet::Requests,
        (false, true) => log::ToolNet::Sockets,
        (true, true) => log::ToolNet::Both,
    }
}

/// How an instance ended: cause, status, and why, where it did not answer.
pub(super) fn end(end: &End) -> (log::Cause, i32, Option<String>) {
    match end {
        End::Answered(_) => (log::Cause::Exit, 0, None),
        End::Refused(_) => (log::Cause::Exit, 1, None),
        End::Trapped { why } | End::Died { why } => (log::Cause::Error, 0, Some(clipped(why))),
        End::Limit(hit) => (log::Cause::Limit, 0, Some(format!("{:?}", hit.limit).to_lowercase())),
        End::Cancelled => (log::Cause::Stop, 0, Some("cancelled".to_owned())),
    }
}

/// How the call went.
pub(super) fn outcome(t: u64, ran: &ToolRan, [out, err]: [Option<log::Stream>; 2]) -> log::Outcome {
    let (cause, status, _) = end(&ran.end);
    let (wall_us, cpu_us) = (ran.usage.wall_us, ran.usage.cpu_us);
    log::Outcome { cause, status, wall_us, cpu_us, p: None, t: Some(t), out, err }
}

fn clipped(text: &str) -> String {
    match text.get(..text.floor_char_boundary(WHY_BYTES_MAX)) {
        Some(start) if start.len() < text.len() => format!("{start}…"),
        Some(_) | None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(uses: Vec<Use>, expect: &[&str]) {
        let mut teller = Teller::new(3, b"/home/ada/work".to_vec(), None);
        let told: Vec<ToolUse> = uses.into_iter().map(|used| teller.one(used)).collect();
        let told: Vec<String> = told.iter().map(|one| serde_json::to_string(one).expect("it is written")).collect();
        assert_eq!(told, expect);
    }

    fn used(what: What, path: &str) -> Use {
        Use::new(what, path)
    }

    #[test]
    fn names_are_those_of_the_workspace_and_of_both_sides() {
        check(
            vec![
                used(What::Stat, "/home/ada/work"),
                used(What::Read, "/home/ada/workshop/a"),
                Use { bytes_read: 9, times: 2, ..used(What::Read, "/home/ada/work/src/a") },
                used(What::Rename { to: b"/home/ada/work/b".to_vec() }, "/home/ada/work/a"),
                used(What::Link { to: b"/home/ada/work/new".to_vec() }, "/home/ada/work/old"),
                used(What::Symlink { to: b"../old".to_vec() }, "/home/ada/work/link"),
                Use { errno: Some(13), ..used(What::Unlink, "/etc/passwd") },
                used(What::SetSize { size: 0 }, "/home/ada/work/b"),
                used(What::Env, "KEY"),
                used(What::Args, ""),
                Use { bytes_read: 5, ..used(What::Stdin, "") },
                Use { times: 40, ..used(What::Clock, "") },
                Use { errno: Some(13), ..used(What::Socket, "") },
            ],
            &[
                r#"{"t":3,"op":"stat","path":"."}"#,
                r#"{"t":3,"op":"read","path":"/home/ada/workshop/a"}"#,
                r#"{"t":3,"op":"read","path":"src/a","r":9,"times":2}"#,
                r#"{"t":3,"op":"rename","path":"a","to":"b"}"#,
                r#"{"t":3,"op":"link","path":"new","to":"old"}"#,
                r#"{"t":3,"op":"symlink","path":"link","to":"../old"}"#,
                r#"{"t":3,"op":"unlink","path":"/etc/passwd","errno":13}"#,
                r#"{"t":3,"op":"truncate","path":"b","value":0}"#,
                r#"{"t":3,"op":"env"}"#,
                r#"{"t":3,"op":"args"}"#,
                r#"{"t":3,"op":"stdin","r":5}"#,
                r#"{"t":3,"op":"clock","times":40}"#,
                r#"{"t":3,"op":"socket","errno":13}"#,
            ],
        );
    }

    #[test]
    fn what_was_opened_to_be_changed_says_how_and_what_went_through_it_how_much() {
        let open = |create, exclusive| What::Open(OpenFlags { create, exclusive, truncate: false });
        check(
            vec![
                used(open(true, true), "/home/ada/work/new"),
                Use { errno: Some(17), ..used(open(true, true), "/home/ada/work/old") },
                used(open(false, false), "/home/ada/work/old"),
                Use { bytes_written: 5, ..used(What::Wrote, "/home/ada/work/old") },
            ],
            &[
                r#"{"t":3,"op":"open","path":"new","fl":"RW|CREAT|EXCL","was":"absent"}"#,
                r#"{"t":3,"op":"open","path":"old","fl":"RW|CREAT|EXCL","errno":17}"#,
                r#"{"t":3,"op":"open","path":"old","fl":"RW"}"#,
                r#"{"t":3,"op":"write","path":"old","w":5}"#,
            ],
        );
    }

    /// However a tool names them, secrets are in no record.
    #[test]
    fn a_secret_in_a_name_is_told_without_it() {
        let patterns = Arc::new(Patterns::new([("key", &b"correct horse battery"[..])]));
        let mut teller = Teller::new(3, b"/w".to_vec(), Some(patterns));
        let now = teller.tell(vec![
            used(What::Rename { to: b"/w/b correct horse battery".to_vec() }, "/w/a correct horse battery"),
            used(What::Symlink { to: b"correct horse battery".to_vec() }, "/w/l"),
            used(What::Stat, "/w/correct horse battery"),
        ]);
        let (last, uses, hits) = teller.end();
        let all = format!("{now:?} {last:?}");
        assert!(!all.contains("horse"), "{all}");
        assert_eq!((now.len(), last.len(), uses), (2, 1, 3));
        assert_eq!(hits.iter().map(|hit| hit.count).sum::<u64>(), 4);
    }

    #[test]
    fn a_socket_names_its_host_as_the_outlet_does_and_says_what_went_through_it() {
        check(
            vec![
                used(What::Lookup, "api.test"),
                used(What::Connect, "api.test:22"),
                used(What::Connect, "[::1]:22"),
                Use { bytes_read: 5, bytes_written: 7, ..used(What::Moved, "api.test:22") },
                Use { errno: Some(24), times: 9, ..used(What::Connect, "") },
                Use { errno: Some(22), ..used(What::Lookup, "") },
            ],
            &[
                r#"{"t":3,"op":"lookup","host":"api.test"}"#,
                r#"{"t":3,"op":"connect","host":"api.test","port":22}"#,
                r#"{"t":3,"op":"connect","host":"::1","port":22}"#,
                r#"{"t":3,"op":"moved","host":"api.test","port":22,"r":5,"w":7}"#,
                r#"{"t":3,"op":"connect","errno":24,"times":9}"#,
                r#"{"t":3,"op":"lookup","errno":22}"#,
            ],
        );
    }

    #[test]
    fn a_request_names_its_host_as_the_outlet_does() {
        let request = |url| used(What::Request { method: "GET".to_owned() }, url);
        check(
            vec![
                request("https://api.test/v1/x?y"),
                request("http://API.test:8080/"),
                Use { errno: Some(13), ..request("https://[::1]/") },
                Use { errno: Some(22), ..request("nonsense") },
            ],
            &[
                r#"{"t":3,"op":"request","host":"api.test","port":443}"#,
                r#"{"t":3,"op":"request","host":"api.test","port":8080}"#,
                r#"{"t":3,"op":"request","host":"::1","port":443,"errno":13}"#,
                r#"{"t":3,"op":"request","errno":22}"#,
            ],
        );
    }
}
