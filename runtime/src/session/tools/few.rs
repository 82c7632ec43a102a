//! Which records a tool's uses become: a change one of its own, at once; the rest as few as tell what it was.
//! It never drops a use: each is in the count of one record, and a change is never only a count of its directory.
//!
//! A search through ten thousand files is not ten thousand records. What only looked, what was refused, and bytes that were
//! written are told at the end of the call: name by name up to [`NAMES_MAX`] of each, and beyond that by directories, the
//! deepest first, so that what lies near the top keeps its name.

use std::collections::{BTreeMap, HashMap};
use stockade_audit::record::{LogPath, ToolOp, ToolUse, ToolUseOf};

/// Names of one sort that are told one by one; of more, directories are.
const NAMES_MAX: usize = 64;
/// To so many they are brought down then, so that the next name does not do it again.
const NAMES_KEPT: usize = NAMES_MAX * 3 / 4;
/// Changes that are remembered, to be counted when they are done again. Of more, each is a record of its own.
const TOLD_MAX: usize = 4096;

/// The records of one instance of a tool, while it runs.
#[derive(Debug, Default)]
pub(super) struct ToolRecords {
    /// What was told at once, and how often it was done again; the first [`TOLD_MAX`].
    told: HashMap<ToolUse, u64>,
    /// The same, in the order in which it was told.
    order: Vec<ToolUse>,
    /// What was done and changed nothing by itself.
    quiet: Groups,
    /// What was refused.
    refused: Groups,
    /// The same of hosts, which lie in no directory: of more than [`NAMES_MAX`] only how many there were.
    refused_hosts: BTreeMap<Shared, Amount>,
    /// What comes with connections, of which the outlet and the worker allow a number.
    aside: BTreeMap<Shared, Amount>,
    /// How many uses there were.
    uses: u64,
}

impl ToolRecords {
    /// Takes a use, and gives the record that must be written now: of a change, and of a request, the first of its kind.
    pub(super) fn take(&mut self, used: ToolUse) -> Option<ToolUse> {
        self.uses = self.uses.saturating_add(used.uses());
        if used.errno.is_some() {
            let used = named(used);
            if used.path.is_some() || used.host.is_none() {
                self.refused.add(used);
            } else {
                self.refuse_host(used);
            }
            return None;
        }
        match used.op.of() {
            ToolUseOf::Reading | ToolUseOf::Writing | ToolUseOf::Other => {
                self.quiet.add(used);
                None
            }
            ToolUseOf::Aside => {
                let amount = Amount::of(&used);
                self.aside.entry(Shared::by_itself(used)).or_default().add(amount);
                None
            }
            ToolUseOf::Change | ToolUseOf::Net => {
                let times = used.uses();
                // What it was opened as is the first record's to say: another inode under the same name is another file.
                let one = ToolUse { times: None, ..used };
                if let Some(again) = self.told.get_mut(&one) {
                    *again = again.saturating_add(times);
                    return None;
                }
                if self.order.len() < TOLD_MAX {
                    self.told.insert(one.clone(), 0);
                    self.order.push(one.clone());
                }
                Some(ToolUse { times: several(times), ..one })
            }
        }
    }

    fn refuse_host(&mut self, used: ToolUse) {
        let amount = Amount::of(&used);
        let room = self.refused_hosts.len() < NAMES_MAX;
        let shared = Shared::by_itself(used.clone());
        if room || self.refused_hosts.contains_key(&shared) {
            self.refused_hosts.entry(shared).or_default().add(amount);
        } else {
            self.refused.add(ToolUse { host: None, port: None, ..used });
        }
    }

    /// The records that are written before the tool's end, and how many uses all of its records stand for.
    #[must_use]
    pub(super) fn end(self) -> (Vec<ToolUse>, u64) {
        let Self { told, order, quiet, refused, refused_hosts, aside, uses } = self;
        let again = order.into_iter().filter_map(|one| {
            let times = told.get(&one).copied().filter(|times| *times > 0)?;
            Some(ToolUse { times: several(times), ..one })
        });
        let all = [Groups(aside), quiet, refused, Groups(refused_hosts)];
        (again.chain(all.into_iter().flat_map(Groups::into_records)).collect(), uses)
    }
}

/// A use that was refused, without what no kernel would have taken for a name: a record cannot have that.
fn named(used: ToolUse) -> ToolUse {
    let is_name = |name: &LogPath| !name.0.is_empty() && !name.0.contains(&0);
    let path = used.path.filter(is_name);
    let to = used.to.filter(is_name);
    let path_h = used.path_h.filter(|_| path.is_some());
    let to_h = used.to_h.filter(|_| to.is_some());
    ToolUse { path, path_h, to, to_h, ..used }
}

/// A count as a record has it: one is not several.
fn several(times: u64) -> Option<u64> {
    (times > 1).then_some(times)
}

/// What several uses share. In this order names of one directory lie together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Shared {
    /// All of it.
    Use { op: ToolOp, errno: Option<i32>, name: Named },
    /// The directory above their names.
    Below { op: ToolOp, errno: Option<i32>, directory: LogPath },
}

/// What a use names, beyond its operation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Named {
    path: Option<LogPath>,
    path_h: Option<stockade_audit::record::Digest>,
    to: Option<LogPath>,
    to_h: Option<stockade_audit::record::Digest>,
    host: Option<String>,
    port: Option<u16>,
    fl: Option<String>,
    value: Option<u64>,
}

/// How much of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Amount {
    t: u64,
    uses: u64,
    r: Option<u64>,
    w: Option<u64>,
}

impl Shared {
    /// A use with all that it names.
    fn by_itself(used: ToolUse) -> Self {
        let ToolUse { op, errno, path, path_h, to, to_h, host, port, fl, value, .. } = used;
        Self::Use { op, errno, name: Named { path, path_h, to, to_h, host, port, fl, value } }
    }
}

impl Amount {
    fn of(used: &ToolUse) -> Self {
        Self { t: used.t, uses: used.uses(), r: used.r, w: used.w }
    }

    fn add(&mut self, other: Self) {
        let sum = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (None, None) => None,
            (one, other) => Some(one.unwrap_or(0).saturating_add(other.unwrap_or(0))),
        };
        self.t = other.t;
        self.uses = self.uses.saturating_add(other.uses);
        (self.r, self.w) = (sum(self.r, other.r), sum(self.w, other.w));
    }
}

/// Uses of one sort, by what they share.
#[derive(Debug, Default)]
struct Groups(BTreeMap<Shared, Amount>);

impl Groups {
    fn add(&mut self, used: ToolUse) {
        let amount = Amount::of(&used);
        let shared = self.place(used);
        self.0.entry(shared).or_default().add(amount);
        if self.0.len() > NAMES_MAX {
            self.fold();
        }
    }

    /// Where a use is counted: by itself, or with a directory above it that already stands for many.
    fn place(&self, used: ToolUse) -> Shared {
        let (op, errno) = (used.op, used.errno);
        let below = |directory: LogPath| Shared::Below { op, errno, directory };
        let mut above = used.path.as_ref().and_then(parent);
        while let Some(directory) = above {
            above = parent(&directory);
            let known = below(directory);
            if self.0.contains_key(&known) {
                return known;
            }
        }
        Shared::by_itself(used)
    }

    /// Brings the deepest names together by their directories, until few are left, or nothing lies below another thing.
    fn fold(&mut self) {
        while self.0.len() > NAMES_KEPT {
            let deepest = self.0.keys().filter_map(depth).max();
            let Some(deepest) = deepest else { return };
            let (deep, mut kept): (BTreeMap<_, _>, BTreeMap<_, _>) =
                std::mem::take(&mut self.0).into_iter().partition(|(shared, _)| depth(shared) == Some(deepest));
            for (shared, amount) in deep {
                let up = raised(shared);
                kept.entry(up).or_insert_with(Amount::default).add(amount);
            }
            self.0 = kept;
        }
    }

    fn into_records(self) -> impl Iterator<Item = ToolUse> {
        self.0.into_iter().map(|(shared, amount)| {
            let Amount { t, uses, r, w } = amount;
            match shared {
                Shared::Use { op, errno, name } => {
                    let Named { path, path_h, to, to_h, host, port, fl, value } = name;
                    let times = several(uses);
                    ToolUse { path, path_h, to, to_h, host, port, fl, value, errno, r, w, times, ..ToolUse::new(t, op) }
                }
                Shared::Below { op, errno, directory } => {
                    let (path, below) = (Some(directory), Some(uses));
                    ToolUse { path, errno, r, w, below, ..ToolUse::new(t, op) }
                }
            }
        })
    }
}

/// How deep a name lies; `None` for what has no directory above it.
fn depth(shared: &Shared) -> Option<usize> {
    let path = match shared {
        Shared::Use { name, .. } => name.path.as_ref()?,
        Shared::Below { directory, .. } => directory,
    };
    parent(path).map(|_| path.0.iter().filter(|byte| **byte == b'/').count())
}

/// The same, counted with the directory above it.
fn raised(shared: Shared) -> Shared {
    let (op, errno, path) = match shared {
        Shared::Use { op, errno, name } => (op, errno, name.path),
        Shared::Below { op, errno, directory } => (op, errno, Some(directory)),
    };
    let directory = path.as_ref().and_then(parent).expect("only what has a depth is raised, and that has a parent");
    Shared::Below { op, errno, directory }
}

/// The directory above a name: of one in the workspace's own directory `.`, and none of that or of the root.
fn parent(path: &LogPath) -> Option<LogPath> {
    let bytes = path.0.as_slice();
    if bytes == b"." || bytes == b"/" {
        return None;
    }
    let parent = match bytes.iter().rposition(|byte| *byte == b'/') {
        None => b".".as_slice(),
        Some(0) => b"/".as_slice(),
        Some(at) => bytes.get(..at)?,
    };
    Some(LogPath(parent.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(op: ToolOp, path: &str) -> ToolUse {
        ToolUse { path: Some(path.into()), ..ToolUse::new(3, op) }
    }

    fn open(path: &str) -> ToolUse {
        ToolUse { fl: Some("W".into()), ..of(ToolOp::Open, path) }
    }

    #[track_caller]
    fn told(uses: impl IntoIterator<Item = ToolUse>) -> (Vec<ToolUse>, Vec<ToolUse>, u64) {
        let mut records = ToolRecords::default();
        let mut sum = 0;
        let mut now = Vec::new();
        for used in uses {
            sum += used.uses();
            now.extend(records.take(used));
        }
        let (end, uses) = records.end();
        let said: u64 = now.iter().chain(&end).map(ToolUse::uses).sum();
        assert_eq!((uses, said), (sum, sum), "each use is in the count of one record");
        (now, end, uses)
    }

    #[test]
    fn a_change_is_told_at_once_and_a_second_one_is_counted() {
        let (now, end, uses) = told([open("a"), open("b"), open("a"), open("a"), of(ToolOp::Unlink, "a")]);
        assert_eq!(now, [open("a"), open("b"), of(ToolOp::Unlink, "a")]);
        assert_eq!(end, [ToolUse { times: Some(2), ..open("a") }]);
        assert_eq!(uses, 5);
    }

    #[test]
    fn ten_thousand_changes_are_ten_thousand_records() {
        let (now, end, _) = told((0..10_000).map(|n| open(&format!("d/{n}"))));
        assert_eq!((now.len(), end.len()), (10_000, 0));
    }

    /// A tool that makes a million files must not make this process keep a million names.
    #[test]
    fn what_is_remembered_of_changes_does_not_grow_without_end() {
        let file = |n: usize| open(&format!("d/{n}"));
        let mut records = ToolRecords::default();
        let last = TOLD_MAX * 2 - 1;
        let now: Vec<ToolUse> = (0..=last).chain([0, last]).filter_map(|n| records.take(file(n))).collect();
        assert_eq!((records.told.len(), records.order.len()), (TOLD_MAX, TOLD_MAX));
        // The first is remembered and counted; the last is told again.
        assert_eq!((now.len(), now.last()), (TOLD_MAX * 2 + 1, Some(&file(last))));
        let (end, uses) = records.end();
        assert_eq!(end, [file(0)]);
        assert_eq!(uses, (now.len() + end.len()) as u64);
    }

    #[test]
    fn a_search_through_ten_thousand_files_is_told_by_its_directories() {
        let file = |n: u64| ToolUse { r: Some(n), ..of(ToolOp::Read, &format!("src/d{}/f{n}", n % 100)) };
        let (now, end, _) = told((0..10_000).map(file));
        assert!(now.is_empty());
        let bytes: u64 = (0..10_000).sum();
        assert_eq!(end, [ToolUse { below: Some(10_000), r: Some(bytes), ..of(ToolOp::Read, "src") }]);
    }

    fn host(op: ToolOp, n: usize, errno: Option<i32>) -> ToolUse {
        ToolUse { host: Some(format!("h{n}.example")), errno, ..ToolUse::new(3, op) }
    }

    /// Names of hosts cost a component nothing: they must not bring the names of files down to their directories.
    #[test]
    fn hosts_take_no_names_from_files() {
        let files = || (0..NAMES_KEPT).map(|n| of(ToolOp::Read, &format!("d/{n}")));
        let refused = || files().map(|used| ToolUse { errno: Some(13), ..used });
        let (_, alone, _) = told(files().chain(refused()));
        let lookups = (0..200).map(|n| host(ToolOp::Lookup, n, None));
        let hosts = (0..1000).map(|n| host(ToolOp::Connect, n, Some(13)));
        let (_, end, _) = told(lookups.chain(hosts).chain(files()).chain(refused()));
        assert!(alone.iter().all(|file| end.contains(file)), "{end:?}");
        let named =
            |op, errno| end.iter().filter(|used| used.op == op && used.errno == errno && used.host.is_some()).count();
        assert_eq!((named(ToolOp::Lookup, None), named(ToolOp::Connect, Some(13))), (200, NAMES_MAX));
        let others =
            ToolUse { errno: Some(13), times: Some(1000 - NAMES_MAX as u64), ..ToolUse::new(3, ToolOp::Connect) };
        assert!(end.contains(&others), "{end:?}");
    }

    #[test]
    fn what_lies_near_the_top_keeps_its_name() {
        let deep = (0..100).map(|n| of(ToolOp::Read, &format!("a/b/{n}")));
        let (_, end, _) =
            told(deep.chain([of(ToolOp::Read, "Makefile"), of(ToolOp::List, "."), of(ToolOp::Stat, "/etc")]));
        assert_eq!(
            end,
            [
                of(ToolOp::Read, "Makefile"),
                of(ToolOp::List, "."),
                of(ToolOp::Stat, "/etc"),
                ToolUse { below: Some(100), ..of(ToolOp::Read, "a/b") },
            ]
        );
    }

    #[test]
    fn what_was_refused_does_not_push_away_what_was_done() {
        let refused = (0..1000).map(|n| ToolUse { errno: Some(13), ..open(&format!("/proc/{n}/mem")) });
        let (now, end, _) = told(refused.chain([of(ToolOp::Read, "a/b/c/d")]));
        assert!(now.is_empty());
        let all = ToolUse { errno: Some(13), below: Some(1000), ..of(ToolOp::Open, "/proc") };
        assert_eq!(end, [of(ToolOp::Read, "a/b/c/d"), all]);
    }

    /// A tool must not end the log by asking for what is no name.
    #[test]
    fn what_was_refused_and_is_no_name_is_told_without_it() {
        let refused = |path: &str, to: Option<&str>| {
            let op = if to.is_some() { ToolOp::Symlink } else { ToolOp::Stat };
            ToolUse { errno: Some(2), to: to.map(Into::into), ..of(op, path) }
        };
        let (_, end, _) = told([refused("", None), refused("a\0b", None), refused("a", Some(""))]);
        let stat = ToolUse { errno: Some(2), times: Some(2), ..ToolUse::new(3, ToolOp::Stat) };
        assert_eq!(end, [stat, ToolUse { errno: Some(2), ..of(ToolOp::Symlink, "a") }]);
    }

    #[test]
    fn what_has_no_name_is_counted_and_a_request_is_told() {
        let clock = || ToolUse::new(3, ToolOp::Clock);
        let request = || ToolUse { host: Some("a.b".into()), port: Some(443), ..ToolUse::new(3, ToolOp::Request) };
        let (now, end, _) = told([clock(), request(), clock(), request()]);
        assert_eq!((now, end), (vec![request()], vec![request(), ToolUse { times: Some(2), ..clock() }]));
    }

    /// However many operations, errors and roots: what is kept stays small, and is told.
    #[test]
    fn no_guest_makes_more_records_than_there_are_operations_and_errors() {
        let errors = [1, 2, 13, 17, 20, 21, 30, 39, 40];
        let uses = (0..20_000u64).map(|n| {
            let op = [ToolOp::Read, ToolOp::List, ToolOp::Stat][(n % 3) as usize];
            ToolUse { errno: Some(errors[(n % 9) as usize]), ..of(op, &format!("/{n}/{}/{}", n % 7, n % 31)) }
        });
        let (_, end, _) = told(uses);
        assert!(end.len() <= NAMES_MAX, "{}", end.len());
    }

    #[test]
    fn a_directory_is_above_its_names_and_nothing_above_the_roots() {
        for (path, above) in
            [("a/b", Some("a")), ("a", Some(".")), ("/a", Some("/")), ("/a/b", Some("/a")), (".", None), ("/", None)]
        {
            assert_eq!(parent(&path.into()), above.map(Into::into), "{path}");
        }
    }
}
