//! Where control groups are mounted and which ones this process is in: parsed from /proc, nothing else.
//! It never touches a control group.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Directories of the groups that a process is in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Own {
    /// Of version 2, and where its hierarchy is mounted.
    pub(super) unified: Option<Place>,
    /// Of version 1, by controller.
    pub(super) controllers: BTreeMap<String, Place>,
}

/// A group and the mount in which it is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The group's directory.
    pub(super) directory: PathBuf,
    /// The mount's: no ancestor above it can be reached.
    pub(super) mount: PathBuf,
}

/// Reads the text of /proc/self/mountinfo (proc_pid_mountinfo(5)) and of /proc/self/cgroup (cgroups(7)).
pub(super) fn own(mountinfo: &str, groups: &str) -> Own {
    let mut own = Own::default();
    for mount in mountinfo.lines().filter_map(parse_mount) {
        for group in groups.lines() {
            let mut fields = group.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let Some(place) = mount.place(path) else { continue };
            match mount.kind {
                Kind::Unified if controllers.is_empty() => {
                    own.unified.get_or_insert(place);
                }
                Kind::Controllers(ref mounted) => {
                    for controller in controllers.split(',').filter(|name| mounted.iter().any(|one| one == name)) {
                        own.controllers.entry(controller.to_owned()).or_insert_with(|| place.clone());
                    }
                }
                Kind::Unified => {}
            }
        }
    }
    own
}

/// A mounted hierarchy.
struct Mount {
    root: PathBuf,
    point: PathBuf,
    kind: Kind,
}

enum Kind {
    Unified,
    Controllers(Vec<String>),
}

impl Mount {
    /// Where a group of this hierarchy is seen; `None` when it lies outside what the mount shows.
    fn place(&self, path: &str) -> Option<Place> {
        let below = Path::new(path).strip_prefix(&self.root).ok()?;
        // `strip_prefix` of itself leaves nothing, and joining nothing would add a slash.
        let directory = if below.as_os_str().is_empty() { self.point.clone() } else { self.point.join(below) };
        Some(Place { directory, mount: self.point.clone() })
    }
}

/// One line of mountinfo, when it is a control group's.
fn parse_mount(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let (root, point) = (before.next()?, before.next()?);
    let mut after = after.split(' ');
    let kind = match after.next()? {
        "cgroup2" => Kind::Unified,
        "cgroup" => Kind::Controllers(after.nth(1)?.split(',').map(str::to_owned).collect()),
        _ => return None,
    };
    Some(Mount { root: unescape(root), point: unescape(point), kind })
}

/// Undoes the octal escapes of mountinfo: space, tab, newline, backslash.
fn unescape(field: &str) -> PathBuf {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    PathBuf::from(escapes.iter().fold(field.to_owned(), |text, (from, to)| text.replace(from, to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(directory: &str, mount: &str) -> Place {
        Place { directory: directory.into(), mount: mount.into() }
    }

    #[test]
    fn a_hybrid_machine() {
        let mounts = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let own = own(mounts, "9:name=systemd:/\n4:memory:/a/b\n2:cpu,cpuacct:/\n0::/\n");
        assert_eq!(own.unified, Some(place("/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified")));
        assert_eq!(own.controllers["memory"], place("/sys/fs/cgroup/memory/a/b", "/sys/fs/cgroup/memory"));
        assert_eq!(own.controllers["cpuacct"], place("/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct"));
    }

    #[test]
    fn a_container_that_sees_its_own_group_as_the_root() {
        let mounts = "29 23 0:26 /docker/abc /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n";
        assert_eq!(own(mounts, "0::/docker/abc\n").unified, Some(place("/sys/fs/cgroup", "/sys/fs/cgroup")));
        assert_eq!(own(mounts, "0::/elsewhere\n").unified, None);
    }

    #[test]
    fn no_groups_and_nonsense() {
        assert_eq!(own("", ""), Own::default());
        assert_eq!(own("a b c\n- cgroup2\n1 2 3 / /x rw - cgroup\n", "x\n::\n0::/\n"), Own::default());
    }
}
