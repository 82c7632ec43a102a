//! What a tool did, as records: names relative to the workspace, without the secrets that the session knows.
//! It never drops a use, nor says of one that it changed something when it was refused.

use crate::backend::wasm::{End, Files, OpenFlags, ToolRan, Use, What};
use crate::secrets::scrub::{Hit, Patterns};
use crate::session::names;
use std::sync::Arc;
use stockade_audit::record::{self as log, LogPath, PATH_BYTES_MAX, TARGET_BYTES_MAX, ToolOp, ToolUse, Was};

/// Longest reason in a record, bytes.
const WHY_BYTES_MAX: usize = 512;

/// Tells the uses of one instance.
pub(super) struct Teller {
    /// The instance.
    pub(super) t: u64,
    /// The workspace, as guests name it.
    pub(super) workspace: Vec<u8>,
    /// The secrets of this moment.
    pub(super) patterns: Option<Arc<Patterns>>,
    /// What was found of them in names.
    pub(super) hits: Vec<Hit>,
    /// For how many uses the records stand that were made so far.
    pub(super) uses: u64,
}

/// Where a request was to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Teller {
    /// Some uses, in their order.
    pub(super) fn tell(&mut self, uses: Vec<Use>) -> Vec<ToolUse> {
        let mut told: Vec<ToolUse> = Vec::with_capacity(uses.len());
        for used in uses {
            let record = self.one(used);
            // Bytes are known when a file is closed, and belong to its open: they are told with it where that is still here.
            let opened = told.iter_mut().rev().find(|open| {
                record.is_of_bytes() && open.op == ToolOp::Open && open.is_same_file(&record) && open.errno.is_none()
            });
            if let Some(open) = opened.filter(|open| open.w.is_none() && open.r.is_none()) {
                (open.w, open.r) = (record.w, record.r);
                continue;
            }
            told.push(record);
        }
        self.uses = told.iter().fold(self.uses, |sum, record| sum.saturating_add(record.uses()));
        told
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
            What::Env | What::Clock | What::Random => return record,
            What::Request { .. } => {
                if let Some(Target { host, port }) = target(&path) {
                    (record.host, record.port) = (Some(host), Some(port));
                }
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

/// How bytes are told.
trait OfBytes {
    fn is_of_bytes(&self) -> bool;
    fn is_same_file(&self, other: &Self) -> bool;
}

impl OfBytes for ToolUse {
    /// Whether it says no more than how many bytes went through an open file.
    fn is_of_bytes(&self) -> bool {
        self.op == ToolOp::Open && self.fl.is_none() && self.errno.is_none()
    }

    fn is_same_file(&self, other: &Self) -> bool {
        (&self.path, &self.path_h) == (&other.path, &other.path_h)
    }
}

const fn op(what: &What) -> ToolOp {
    match what {
        What::Read => ToolOp::Read,
        What::Open(_) | What::Wrote => ToolOp::Open,
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
        What::Clock => ToolOp::Clock,
        What::Random => ToolOp::Random,
        What::Request { .. } => ToolOp::Request,
    }
}

/// Flags as `fs.open` spells them.
fn words(flags: OpenFlags) -> String {
    let named = [(flags.create, "|CREAT"), (flags.exclusive, "|EXCL"), (flags.truncate, "|TRUNC")];
    let set = named.into_iter().filter(|(set, _)| *set).map(|(_, name)| name);
    [String::from("RW")].into_iter().chain(set.map(str::to_owned)).collect()
}

/// Host and port of a URL, as the outlet names them.
pub(super) fn target(url: &[u8]) -> Option<Target> {
    let uri = http::Uri::try_from(url).ok()?;
    let default = match uri.scheme_str() {
        Some("https") => 443,
        Some("http") => 80,
        Some(_) | None => return None,
    };
    let authority = uri.authority()?.as_str();
    let (host, port) = crate::egress::authority(authority, default)?;
    Some(Target { host, port })
}

/// The beginning of an instance, as its record has it.
pub(super) const fn files(files: Files) -> log::ToolFiles {
    match files {
        Files::None => log::ToolFiles::None,
        Files::Read => log::ToolFiles::Read,
        Files::Write => log::ToolFiles::Write,
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
        let mut teller =
            Teller { t: 3, workspace: b"/home/ada/work".to_vec(), patterns: None, hits: Vec::new(), uses: 0 };
        let told = teller.tell(uses);
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
                Use { times: 40, ..used(What::Clock, "") },
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
                r#"{"t":3,"op":"clock","times":40}"#,
            ],
        );
    }

    #[test]
    fn bytes_are_told_with_the_open_that_they_went_through() {
        let open = |create, exclusive| What::Open(OpenFlags { create, exclusive, truncate: false });
        let wrote = |path| Use { bytes_written: 5, ..used(What::Wrote, path) };
        check(
            vec![
                used(open(true, true), "/home/ada/work/new"),
                used(open(false, false), "/home/ada/work/old"),
                wrote("/home/ada/work/new"),
                wrote("/home/ada/work/elsewhere"),
                wrote("/home/ada/work/old"),
            ],
            &[
                r#"{"t":3,"op":"open","path":"new","fl":"RW|CREAT|EXCL","was":"absent","w":5}"#,
                r#"{"t":3,"op":"open","path":"old","fl":"RW","w":5}"#,
                r#"{"t":3,"op":"open","path":"elsewhere","w":5}"#,
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
