//! What a recorder saw, in the words of the log: names, flags, addresses.
//! It never looks a name up: a `..` is taken back as text, and a link in the middle of a name stays what it is.

use crate::journal::address;
use nix::libc;
use stockade_audit::record::{Digest, Evidence, FsOp, LogPath, PATH_BYTES_MAX, SocketOp};
use stockade_audit::text::base64url;
use stockade_jail::recorder::{Asked, Bounded, How, NameChange, Peer, Property};

/// What stands for a name that could not be read.
const UNREADABLE: &[u8] = b"?";

/// A name for a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// As the log has it.
    pub(super) path: LogPath,
    /// The hash of the whole, where the log has its beginning alone.
    pub(super) hash: Option<Digest>,
    /// Whether the whole was seen.
    seen: bool,
}

/// Where a name leads, relative to the workspace where that lies in it.
pub(super) fn place(said: &Bounded, workspace: &[u8]) -> Bounded {
    if !said.bytes.starts_with(b"/") {
        // Where it begins could not be read; or it names no file at all, like a pipe.
        return Bounded { bytes: said.bytes.clone(), cut: true };
    }
    let path = plain(&said.bytes);
    let inside = match path.strip_prefix(workspace) {
        Some(b"") => Some(&b"."[..]),
        Some(rest) if workspace == b"/" => Some(rest),
        Some(rest) => rest.strip_prefix(b"/"),
        None => None,
    };
    let bytes = inside.map(<[u8]>::to_vec).unwrap_or(path);
    Bounded { bytes, cut: said.cut }
}

/// A name as a record has it.
pub(super) fn name(place: &Bounded) -> Name {
    let bytes = if place.bytes.is_empty() { UNREADABLE } else { &place.bytes };
    let seen = !place.cut && !place.bytes.is_empty();
    let (path, hash) = LogPath::kept(bytes, PATH_BYTES_MAX);
    Name { path, hash: hash.filter(|_| seen), seen }
}

/// An absolute path without `.`, `..` and empty components.
fn plain(path: &[u8]) -> Vec<u8> {
    let mut components: Vec<&[u8]> = Vec::new();
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => drop(components.pop()),
            name => components.push(name),
        }
    }
    if components.is_empty() {
        b"/".to_vec()
    } else {
        components.into_iter().flat_map(|c| [b"/", c].concat()).collect()
    }
}

/// How many of these are not whole; `None` where all are.
pub(super) fn cut<'a>(names: impl IntoIterator<Item = &'a Name>) -> Option<u64> {
    let cut = names.into_iter().filter(|name| !name.seen || name.hash.is_some()).count() as u64;
    (cut > 0).then_some(cut)
}

/// How well something is known.
pub(super) fn evidence(how: How) -> Evidence {
    match how {
        How::Observed => Evidence::Observed,
        How::Confirmed => Evidence::Confirmed,
        How::Performed => Evidence::Performed,
    }
}

/// Flags of open(2), as `fs.open` has them.
pub(super) fn flags(flags: u32) -> String {
    let has = |flag: libc::c_int| flags & flag.cast_unsigned() == flag.cast_unsigned();
    let access = match flags.cast_signed() & libc::O_ACCMODE {
        libc::O_RDONLY => "R",
        libc::O_WRONLY => "W",
        // 3 is for ioctl(2) alone, and wants both permissions.
        _ => "RW",
    };
    let named = [
        (libc::O_APPEND, "APPEND"),
        (libc::O_CREAT, "CREAT"),
        (libc::O_EXCL, "EXCL"),
        (libc::O_TRUNC, "TRUNC"),
        (libc::O_TMPFILE, "TMPFILE"),
        (libc::O_NOFOLLOW, "NOFOLLOW"),
    ];
    let words = named.into_iter().filter(|(flag, _)| has(*flag)).map(|(_, word)| word);
    std::iter::once(access).chain(words).collect::<Vec<_>>().join("|")
}

/// Whether an open with these flags may make a file.
pub(super) fn makes(flags: u32) -> bool {
    let tmpfile = libc::O_TMPFILE.cast_unsigned();
    flags & libc::O_CREAT.cast_unsigned() != 0 || flags & tmpfile == tmpfile
}

/// A change of names.
pub(super) fn change(change: NameChange) -> FsOp {
    match change {
        NameChange::Unlink => FsOp::Unlink,
        NameChange::RemoveDirectory => FsOp::Rmdir,
        NameChange::Rename => FsOp::Rename,
        NameChange::Exchange => FsOp::Exchange,
        NameChange::Link => FsOp::Link,
        NameChange::Symlink => FsOp::Symlink,
        NameChange::MakeDirectory => FsOp::Mkdir,
        NameChange::MakeNode => FsOp::Mknod,
    }
}

/// A change of a property.
pub(super) fn property(property: Property) -> FsOp {
    match property {
        Property::Mode => FsOp::Chmod,
        Property::Owner => FsOp::Chown,
        Property::Times => FsOp::Utimes,
        Property::Length => FsOp::Truncate,
        Property::SetAttribute => FsOp::Setxattr,
        Property::RemoveAttribute => FsOp::Removexattr,
    }
}

/// What was asked of a socket.
pub(super) fn asked(asked: Asked) -> SocketOp {
    match asked {
        Asked::Connect => SocketOp::Connect,
        Asked::Bind => SocketOp::Bind,
        Asked::Listen => SocketOp::Listen,
        Asked::Send => SocketOp::Send,
    }
}

/// An address, as `net.ask` has it.
pub(super) fn peer(peer: &Peer) -> String {
    let local = |kind: &str, bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => format!("{kind}:{text}"),
        Err(_) => format!("{kind}-b64:{}", base64url(bytes)),
    };
    match peer {
        Peer::Internet(internet) => address(*internet),
        Peer::Unix(said) => match said.bytes.strip_prefix(b"\0") {
            Some(name) => local("abstract", name),
            None => local("unix", &said.bytes),
        },
        Peer::Other(family) => format!("family:{family}"),
        Peer::Unknown => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounded(bytes: &[u8]) -> Bounded {
        Bounded { bytes: bytes.to_vec(), cut: false }
    }

    fn told(said: &Bounded, workspace: &[u8]) -> Name {
        name(&place(said, workspace))
    }

    #[track_caller]
    fn named(said: &[u8], expected: &[u8], seen: bool) {
        let name = told(&bounded(said), b"/home/ada/w");
        assert_eq!((name.path.0.as_slice(), name.seen), (expected, seen));
    }

    #[test]
    fn names_are_relative_to_the_workspace_where_they_lie_in_it() {
        named(b"/home/ada/w/src/x", b"src/x", true);
        named(b"/home/ada/w", b".", true);
        named(b"/home/ada/w/", b".", true);
        named(b"/home/ada/w2/x", b"/home/ada/w2/x", true);
        named(b"/home/ada", b"/home/ada", true);
        named(b"/home/ada/w/../w//./a/../b", b"b", true);
        named(b"/../..", b"/", true);
        named(b"/home/ada/w/\xff", b"\xff", true);
        // Not where they begin, or nothing.
        named(b"x", b"x", false);
        named(b"pipe:[1]", b"pipe:[1]", false);
        named(b"", b"?", false);
        let root = told(&bounded(b"/a/b"), b"/");
        assert_eq!(root.path.0, b"a/b");
        let cut = told(&Bounded { bytes: b"/home/ada/w/a".to_vec(), cut: true }, b"/home/ada/w");
        assert_eq!((cut.path.0.as_slice(), cut.seen), (&b"a"[..], false));
    }

    #[test]
    fn no_name_is_too_long_for_a_record() {
        for byte in [b'x', 1, b'"', 0xff] {
            let long = [b"/".to_vec(), vec![byte; 4095]].concat();
            let name = told(&bounded(&long), b"/w");
            assert!(name.seen && name.hash.is_some() && name.path.0.len() > 400, "{byte}");
            let cut_before = told(&Bounded { bytes: long, cut: true }, b"/w");
            assert_eq!((cut_before.path, cut_before.hash), (name.path.clone(), None));
            let record = stockade_audit::record::FsChange {
                path_h: name.hash,
                to_h: name.hash,
                p: u64::MAX,
                op: FsOp::Removexattr,
                path: name.path.clone(),
                to: Some(name.path.clone()),
                value: Some(u64::MAX),
                cut: cut([&name, &name]),
                times: Some(u64::MAX),
            };
            assert!(serde_json::to_vec(&record).expect("it is written").len() < 8192 - 512);
            assert_eq!(record.cut, Some(2));
        }
    }

    #[test]
    fn flags_are_said_in_one_order() {
        let open = |flags: libc::c_int| super::flags(flags.cast_unsigned());
        assert_eq!(open(libc::O_RDONLY | libc::O_CLOEXEC), "R");
        assert_eq!(open(libc::O_WRONLY | libc::O_TRUNC | libc::O_CREAT | libc::O_APPEND), "W|APPEND|CREAT|TRUNC");
        assert_eq!(open(libc::O_RDWR | libc::O_EXCL | libc::O_CREAT | libc::O_NOFOLLOW), "RW|CREAT|EXCL|NOFOLLOW");
        assert_eq!(open(libc::O_RDWR | libc::O_TMPFILE), "RW|TMPFILE");
        // A directory that is opened is no unnamed file.
        assert_eq!(open(libc::O_DIRECTORY), "R");
        assert!(makes(libc::O_TMPFILE.cast_unsigned()) && !makes(libc::O_DIRECTORY.cast_unsigned()));
    }

    #[test]
    fn addresses_have_one_spelling() {
        let internet = |text: &str| peer(&Peer::Internet(text.parse().expect("an address")));
        assert_eq!(internet("198.18.0.4:443"), "198.18.0.4:443");
        assert_eq!(internet("[::ffff:198.18.0.4]:443"), "198.18.0.4:443");
        assert_eq!(internet("[fd00::1%3]:80"), "[fd00::1]:80");
        assert_eq!(peer(&Peer::Unix(bounded(b"/run/x"))), "unix:/run/x");
        assert_eq!(peer(&Peer::Unix(bounded(b"\0name"))), "abstract:name");
        assert_eq!(peer(&Peer::Unix(bounded(b"/\xff"))), "unix-b64:L_8");
        assert_eq!(peer(&Peer::Unix(bounded(b""))), "unix:");
        assert_eq!(peer(&Peer::Other(16)), "family:16");
        assert_eq!(peer(&Peer::Unknown), "unknown");
    }
}
