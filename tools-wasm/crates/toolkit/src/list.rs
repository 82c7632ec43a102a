//! Shows what is in a directory: names, kinds, sizes. It never follows a link.

use super::args::Args;
use super::files::{Files, Kind};
use super::walk::{Found, Ignored, Walk};
use super::{ANSWER_BYTES_MAX, Answer, Failure};
use serde_json::{Value, json};

/// Entries of one answer, when the call does not say and at most.
const LIMIT: usize = 500;
const LIMIT_MAX: usize = 2000;
const DEPTH_MAX: usize = 16;

/// One call.
pub fn run(arguments: &str, files: &dyn Files) -> Result<Answer, Failure> {
    let mut args = Args::parse(arguments)?;
    let path = args.path("path")?.unwrap_or_else(|| ".".to_owned());
    let depth = args.count("depth", 1, DEPTH_MAX)?.unwrap_or(1);
    let ignored = if args.flag("include_ignored")? { Ignored::Included } else { Ignored::LeftOut };
    let limit = args.count("limit", 1, LIMIT_MAX)?.unwrap_or(LIMIT);
    let offset = args.count("offset", 0, usize::MAX)?.unwrap_or(0);
    args.finish()?;
    let mut walk = Walk::new(files, &path, ignored, depth)?;
    let (mut text, mut entries, mut total) = (String::new(), Vec::new(), 0);
    let mut full = false;
    for found in walk.by_ref() {
        total += 1;
        full |= entries.len() >= limit || text.len() + found.path.len() + 4200 > ANSWER_BYTES_MAX;
        if total > offset && !full {
            let (line, entry) = entry(files, &found);
            text += &line;
            entries.push(entry);
        }
    }
    let next = offset + entries.len();
    let next = (next < total && !entries.is_empty()).then_some(next);
    let note = match next {
        Some(next) => format!("[{} of {total} entries; go on with offset {next}]", entries.len()),
        None if total == 0 => "[there is nothing in it, or only what ignore files name (include_ignored)]".to_owned(),
        None => format!("[{total} entries]"),
    };
    let structured =
        json!({ "path": path, "entries": entries, "total": total, "next_offset": next, "complete": !walk.left.cut });
    Ok(Answer::new(format!("{text}{note}{}", walk.left.note()), structured))
}

/// One line and one record.
fn entry(files: &dyn Files, found: &Found) -> (String, Value) {
    let indent = "  ".repeat(found.depth - 1);
    let name = found.path.rsplit('/').next().unwrap_or(&found.path);
    let path = found.below();
    match found.kind {
        Kind::Directory => (format!("{indent}{name}/\n"), json!({ "path": path, "kind": "directory" })),
        Kind::File => {
            let bytes = files.link_meta(&found.path).map(|meta| meta.size).ok();
            let size = bytes.map_or_else(|| "?".to_owned(), |bytes| bytes.to_string());
            (format!("{indent}{name}  {size} bytes\n"), json!({ "path": path, "kind": "file", "bytes": bytes }))
        }
        Kind::Link => {
            // A link out of what is granted cannot be read; that it is a link is known nevertheless.
            let to = files.read_link(&found.path).ok();
            let arrow = to.as_ref().map_or_else(|| "?".to_owned(), Clone::clone);
            (format!("{indent}{name} -> {arrow}\n"), json!({ "path": path, "kind": "link", "to": to }))
        }
        Kind::Other => {
            (format!("{indent}{name}  (device, socket or pipe)\n"), json!({ "path": path, "kind": "other" }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::Workspace;
    use std::os::unix::fs::symlink;

    fn tree() -> Workspace {
        let files =
            [("a/x", &b"12345"[..]), ("a/b/y", b""), ("z", b"1"), (".gitignore", b"ignored\n"), ("ignored", b"")];
        let workspace = Workspace::new(files);
        symlink("a/x", workspace.at("link")).unwrap();
        workspace
    }

    #[track_caller]
    fn list(workspace: &Workspace, arguments: Value) -> Answer {
        run(&arguments.to_string(), workspace).expect("it can be listed")
    }

    #[test]
    fn one_level_and_several() {
        let workspace = tree();
        let text = list(&workspace, json!({})).text;
        assert_eq!(text, ".gitignore  8 bytes\na/\nlink -> a/x\nz  1 bytes\n[4 entries]");
        let text = list(&workspace, json!({ "path": "a", "depth": 2 })).text;
        assert_eq!(text, "b/\n  y  0 bytes\nx  5 bytes\n[3 entries]");
        let all = list(&workspace, json!({ "include_ignored": true }));
        assert!(all.text.contains("ignored  0 bytes"), "{}", all.text);
        let answer = list(&workspace, json!({ "path": "a" }));
        let entries = json!([{ "path": "b", "kind": "directory" }, { "path": "x", "kind": "file", "bytes": 5 }]);
        assert_eq!(answer.structured["entries"], entries);
    }

    #[test]
    fn pages_follow_each_other() {
        let workspace = Workspace::new([]);
        (0..1200).for_each(|n| workspace.put(&format!("{n:04}"), b""));
        let first = list(&workspace, json!({}));
        assert_eq!(first.structured["next_offset"], 500);
        assert!(first.text.ends_with("[500 of 1200 entries; go on with offset 500]"), "{}", first.text);
        let last = list(&workspace, json!({ "offset": 1000 }));
        assert_eq!(last.structured["entries"].as_array().unwrap().len(), 200);
        assert_eq!(last.structured["next_offset"], Value::Null);
        assert!(list(&workspace, json!({ "limit": 2000 })).text.len() <= ANSWER_BYTES_MAX);
    }

    #[test]
    fn what_is_no_directory_is_told() {
        let workspace = tree();
        assert_eq!(list(&workspace, json!({ "path": "z" })).text, "z  1 bytes\n[1 entries]");
        let failure = run(&json!({ "path": "aa" }).to_string(), &workspace).unwrap_err();
        assert!(failure.text().contains("there is: \"a\""), "{failure:?}");
        let failure = run(&json!({ "path": "a", "depth": 99 }).to_string(), &workspace).unwrap_err();
        assert!(failure.text().contains("from 1 to 16"), "{failure:?}");
    }
}
