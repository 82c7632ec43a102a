//! The mounts of this process, as gVisor's kernel lists them (proc_pid_mountinfo(5)).
//! It never mounts, and never passes over a line that it does not understand.

use rustix::io::Errno;
use std::collections::HashSet;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// The mounts of this process.
pub(super) struct Table(pub(super) Vec<Mount>);

/// A line of it (proc_pid_mountinfo(5)).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mount {
    number: u64,
    parent: u64,
    pub(super) place: PathBuf,
    pub(super) flags: u64,
}

impl Table {
    pub(super) fn read() -> Result<Self, Errno> {
        let table = std::fs::read("/proc/self/mountinfo");
        Self::parse(&table.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?).ok_or(Errno::PROTO)
    }

    /// Every line, or none: one that is not understood could be one that is to be restricted.
    fn parse(table: &[u8]) -> Option<Self> {
        let lines = table.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(Mount::parse).collect::<Option<_>>().map(Self)
    }

    /// Those that were not in an earlier table.
    pub(super) fn but(&self, earlier: &Self) -> impl Iterator<Item = &Mount> {
        let known: HashSet<u64> = earlier.0.iter().map(|mount| mount.number).collect();
        self.0.iter().filter(move |mount| !known.contains(&mount.number))
    }

    /// Whether a path without links leads into another mount than the root's.
    pub(super) fn leads_into_a_mount(&self, path: &Path) -> bool {
        self.0.iter().any(|mount| mount.place != Path::new("/") && path.starts_with(&mount.place))
    }

    /// Whether another mount lies over the place of one, on the same mount as that.
    pub(super) fn is_covered(&self, mount: &Mount) -> bool {
        let lies_over = |other: &Mount| {
            other.number != mount.number && other.parent == mount.parent && mount.place.starts_with(&other.place)
        };
        self.0.iter().any(lies_over)
    }
}

impl Table {
    /// Those that a path leads to: neither they nor what they are mounted on lies under another mount. (Of those that are stacked
    /// on each other it leads to the last.)
    pub(super) fn within_reach(&self) -> impl Iterator<Item = &Mount> {
        self.0.iter().filter(|mount| {
            let stacked = |other: &Mount| {
                other.parent == mount.number && other.place == mount.place && other.number != mount.number
            };
            let is_under = self.0.iter().any(stacked);
            let mut below = Some(*mount);
            // Its ancestors are fewer than there are mounts.
            let covered = (0..self.0.len()).any(|_| {
                let Some(mount) = below else { return false };
                below = self.0.iter().find(|other| other.number == mount.parent && other.number != mount.number);
                self.is_covered(mount)
            });
            !is_under && !covered
        })
    }
}

impl Mount {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
        let (number, parent) = (number()?, number()?);
        let place = unescaped(fields.nth(2)?);
        Some(Self { number, parent, place, flags: flags_of(fields.next()?) })
    }
}

fn flags_of(options: &[u8]) -> u64 {
    let flag = |option: &[u8]| match option {
        b"ro" => libc::MOUNT_ATTR_RDONLY,
        b"nosuid" => libc::MOUNT_ATTR_NOSUID,
        b"nodev" => libc::MOUNT_ATTR_NODEV,
        b"noexec" => libc::MOUNT_ATTR_NOEXEC,
        _ => 0,
    };
    options.split(|byte| *byte == b',').map(flag).fold(0, |all, one| all | one)
}

/// Spaces, tabs, line ends and backslashes come as three octal digits.
fn unescaped(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match (first, digits.and_then(|digits| u8::from_str_radix(digits, 8).ok())) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            (_, _) => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_the_root_leads_into_no_mount_and_one_below_a_place_does() {
        let lines = ["1 0 0:1 / / ro - overlay none ro", "2 1 0:2 / /home/u/kept ro - 9p none ro"];
        let table = Table::parse(lines.join("\n").as_bytes()).expect("it is a table");
        for (path, leads) in [("/usr/bin", false), ("/home/u", false), ("/home/u/kept", true), ("/home/u/kept/a", true)]
        {
            assert_eq!(table.leads_into_a_mount(Path::new(path)), leads, "{path}");
        }
        assert!(!table.leads_into_a_mount(Path::new("/home/u/kept-not")));
    }

    #[test]
    fn each_mount_that_came_of_a_bind_is_known_and_no_other() {
        let before = b"27 26 0:17 / / ro - 9p none ro\n28 27 0:21 / /new/a ro,noexec - 9p none rw\n";
        let made = b"29 28 0:2 / /new/a/b\\040c ro,noexec - x y z\n30 28 0:3 / /new/a/b\\040c/d rw - 9p none rw\n";
        let after = Table::parse(&[&before[..], &made[..]].concat()).expect("four lines");
        let before = Table::parse(before).expect("two lines");
        let closed = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOEXEC;
        let mount = |number, place: &str, flags| Mount { number, parent: 28, place: place.into(), flags };
        let found: Vec<_> = after.but(&before).collect();
        assert_eq!(found, [&mount(29, "/new/a/b c", closed), &mount(30, "/new/a/b c/d", 0)]);
        // Both are on the same mount, and the first lies over the place of the second.
        assert!(after.is_covered(found[1]) && !after.is_covered(found[0]));
        assert!(Table::parse(b"27 26 0:17 /\n").is_none() && Table::parse(b"x 26 0:17 / / ro\n").is_none());
    }

    #[test]
    fn what_lies_under_another_mount_is_out_of_reach_with_all_below() {
        let lines = [
            "10 1 0:1 / / rw - t none rw",
            "11 10 0:2 / /w rw - t none rw",
            "12 11 0:3 / /w/a rw - t none rw",
            // Under the next one, and so is what it carries.
            "13 11 0:3 / /w/b/c rw - t none rw",
            "14 13 0:3 / /w/b/c/d rw - t none rw",
            "15 11 0:3 / /w/b ro - t none rw",
            // The last one of two on the same place.
            "16 10 0:4 / /x rw - t none rw",
            "17 16 0:4 / /x ro - t none rw",
            "18 17 0:4 / /x/y rw - t none rw",
        ];
        let table = Table::parse(lines.join("\n").as_bytes()).expect("nine lines");
        let found: Vec<u64> = table.within_reach().map(|mount| mount.number).collect();
        assert_eq!(found, [10, 11, 12, 15, 17, 18]);
        // Each its own parent, and each the other's: it ends, and what is not understood to be covered is within reach.
        let loops = Table::parse(b"1 1 0:1 / / rw - t n rw\n2 3 0:1 / /a rw - t n rw\n3 2 0:1 / /b rw - t n rw\n");
        assert_eq!(loops.expect("three lines").within_reach().count(), 3);
    }

    #[test]
    fn a_place_is_read_as_it_was_written() {
        assert_eq!(unescaped(b"/a\\134040\\011"), PathBuf::from("/a\\040\t"));
        assert_eq!(unescaped(b"/a\\9\\"), PathBuf::from("/a\\9\\"));
    }
}
