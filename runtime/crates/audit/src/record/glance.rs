//! What an index asks of a leaf, read from where the writer puts it: its process and its paths.
//! It never says that the rest of the leaf is right: whoever shows a leaf reads all of it.

use super::Head;
use super::leaf::number;
use super::strict::plain_len;

/// The process and the paths of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Glance<'a> {
    pub(crate) process: Option<u64>,
    /// Of a rename or a link both, of a symbolic link only its own.
    pub(crate) paths: [Option<&'a [u8]>; 2],
}

impl<'a> Head<'a> {
    /// `None` for a leaf of another kind, and for one with a path that is escaped: those must be read.
    pub(crate) fn glance(&self) -> Option<Glance<'a>> {
        let object = self.rest;
        match self.kind {
            "fs.open" => {
                let (p, rest) = process(object)?;
                let (path, _) = text(rest.strip_prefix(b",\"path\":")?)?;
                Some(Glance { process: Some(p), paths: [Some(path), None] })
            }
            "fs.change" => {
                let (p, rest) = process(object)?;
                let (op, rest) = text(rest.strip_prefix(b",\"op\":")?)?;
                let (path, rest) = text(rest.strip_prefix(b",\"path\":")?)?;
                Some(Glance { process: Some(p), paths: [Some(path), other(rest, op)?] })
            }
            "fs.outcome" => {
                let (path, _) = text(object.strip_prefix(b"{\"path\":")?)?;
                Some(Glance { process: None, paths: [Some(path), None] })
            }
            "apply" | "discard" | "undo" => {
                let (path, _) = text(object.strip_prefix(b"{\"file\":{\"path\":")?)?;
                Some(Glance { process: None, paths: [Some(path), None] })
            }
            "tool.use" => {
                let (_, rest) = number(object.strip_prefix(b"{\"t\":")?)?;
                let (op, rest) = text(rest.strip_prefix(b",\"op\":")?)?;
                let Some(rest) = rest.strip_prefix(b",\"path\":") else {
                    return Some(Glance { process: None, paths: [None, None] });
                };
                let (path, rest) = text(rest)?;
                Some(Glance { process: None, paths: [Some(path), other(rest, op)?] })
            }
            "tool.start" | "tool.end" => Some(Glance { process: None, paths: [None, None] }),
            "proc.start" | "proc.exec" | "proc.call" | "proc.exit" | "net.ask" => {
                let (p, _) = process(object)?;
                Some(Glance { process: Some(p), paths: [None, None] })
            }
            _ => None,
        }
    }
}

/// The other path of a change, behind its first one, if it has one that is a name; `None` for one that is escaped.
fn other<'a>(rest: &'a [u8], op: &[u8]) -> Option<Option<&'a [u8]>> {
    let rest = match rest.strip_prefix(b",\"path_h\":") {
        Some(hash) => text(hash)?.1,
        None => rest,
    };
    match rest.strip_prefix(b",\"to\":") {
        Some(to) => Some(Some(text(to)?.0).filter(|_| op != b"symlink")),
        None => Some(None),
    }
}

/// The process with which an object begins, and what follows it.
fn process(object: &[u8]) -> Option<(u64, &[u8])> {
    number(object.strip_prefix(b"{\"p\":")?)
}

/// A string without escapes, and what follows it.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let bytes = bytes.strip_prefix(b"\"")?;
    let (text, rest) = bytes.split_at(plain_len(bytes));
    Some((text, rest.strip_prefix(b"\"")?))
}

/// Whether a glance at a leaf sees what reading it finds: held in tests, under the fuzzer, and in every build with debug
/// assertions.
#[cfg(any(test, debug_assertions))]
pub(super) fn agrees(head: &Head<'_>, leaf: &super::Leaf) -> bool {
    head.glance().is_none_or(|glance| {
        let right = crate::query::paths_of(&leaf.body).map(|path| path.0.as_slice());
        glance.process == crate::query::process_of(&leaf.body) && glance.paths.into_iter().flatten().eq(right)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{parse_head, parse_leaf};

    /// A rename of which both names are cut.
    const LONG: &str = concat!(
        r#"{"p":1,"op":"rename","path":"a","path_h":"0000000000000000000000000000000000000000000000000000000000000001","#,
        r#""to":"b","to_h":"0000000000000000000000000000000000000000000000000000000000000002","cut":2}"#
    );

    #[test]
    fn the_common_kinds_are_told_at_a_glance_and_an_escaped_path_is_not() {
        let told = |process, paths| Some(Glance { process, paths });
        let path = |text: &'static str| Some(text.as_bytes());
        for (kind, object, right) in [
            ("fs.open", r#"{"p":4,"path":"src/é b.rs","fl":"W"}"#, told(Some(4), [path("src/é b.rs"), None])),
            ("fs.open", r#"{"p":4,"path":"a\"b","fl":"W"}"#, None),
            ("fs.open", r#"{"p":4,"path":{"b64":"_w"},"fl":"R"}"#, None),
            ("fs.change", r#"{"p":1,"op":"unlink","path":"a"}"#, told(Some(1), [path("a"), None])),
            ("fs.change", r#"{"p":1,"op":"rename","path":"a","to":"b"}"#, told(Some(1), [path("a"), path("b")])),
            ("fs.change", r#"{"p":1,"op":"symlink","path":"a","to":"b"}"#, told(Some(1), [path("a"), None])),
            ("fs.change", r#"{"p":1,"op":"rename","path":"a","to":"\\"}"#, None),
            ("fs.change", LONG, told(Some(1), [path("a"), path("b")])),
            ("fs.outcome", r#"{"path":"","op":"deleted"}"#, told(None, [path(""), None])),
            ("undo", r#"{"file":{"path":"x","op":"deleted"}}"#, told(None, [path("x"), None])),
            ("undo", r#"{"begin":3}"#, None),
            ("tool.use", r#"{"t":4,"op":"read","path":"src/a","r":9}"#, told(None, [path("src/a"), None])),
            ("tool.use", r#"{"t":4,"op":"rename","path":"a","to":"b"}"#, told(None, [path("a"), path("b")])),
            ("tool.use", r#"{"t":4,"op":"symlink","path":"a","to":"b"}"#, told(None, [path("a"), None])),
            ("tool.use", r#"{"t":4,"op":"read","path":"\"a"}"#, None),
            ("tool.use", r#"{"t":4,"op":"clock","times":4}"#, told(None, [None, None])),
            ("tool.use", r#"{"t":4,"op":"request","host":"a.b","port":443}"#, told(None, [None, None])),
            ("proc.start", r#"{"p":7,"pid":2}"#, told(Some(7), [None, None])),
            ("net.ask", r#"{"p":7,"op":"listen","addr":"unknown"}"#, told(Some(7), [None, None])),
        ] {
            let leaf = format!(r#"{{"v":1,"n":1,"t":1,"mt":1,"k":"{kind}","ev":"observed","o":{object}}}"#);
            assert_eq!(parse_head(leaf.as_bytes()).expect("a head").glance(), right, "{leaf}");
            // Reading it holds the two against each other.
            let op_is_enough = object.contains("deleted");
            assert!(parse_leaf(leaf.as_bytes()).is_ok() || op_is_enough, "{leaf}");
        }
    }
}
