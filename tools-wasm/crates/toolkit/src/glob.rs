//! Finds files by a pattern of their paths. It never opens a file, save ignore files.

use super::args::Args;
use super::files::{Files, Kind};
use super::walk::{Found, Ignored, Walk};
use super::{ANSWER_BYTES_MAX, Answer, Failure};
use globset::{GlobBuilder, GlobMatcher};
use serde_json::json;

/// Paths of one answer, when the call does not say and at most.
const LIMIT: usize = 200;
const LIMIT_MAX: usize = 1000;
const PATTERN_BYTES_MAX: usize = 4096;

/// One call.
pub fn run(arguments: &str, files: &dyn Files) -> Result<Answer, Failure> {
    let mut args = Args::parse(arguments)?;
    let pattern = args.need_text("pattern")?;
    let path = args.path("path")?;
    let newest = args.word("sort", &["path", "modified"])? == "modified";
    let ignored = if args.flag("include_ignored")? { Ignored::Included } else { Ignored::LeftOut };
    let limit = args.count("limit", 1, LIMIT_MAX)?.unwrap_or(LIMIT);
    let offset = args.count("offset", 0, usize::MAX)?.unwrap_or(0);
    args.finish()?;
    let (base, rest) = anchor(path.as_deref(), &pattern)?;
    let wanted = Wanted::new(&rest)?;

    let mut walk = Walk::new(files, &base, ignored, usize::MAX)?;
    let mut found: Vec<Found> = walk.by_ref().filter(|found| wanted.holds(found)).collect();
    if newest {
        let time = |found: &Found| files.link_meta(&found.path).map_or(0, |meta| meta.modified_ns);
        found.sort_by_cached_key(|found| std::cmp::Reverse(time(found)));
    }
    let mut page = Page { text: String::new(), paths: Vec::new() };
    for found in found.iter().skip(offset).take(limit) {
        if page.text.len() + found.path.len() + 2 > ANSWER_BYTES_MAX {
            break;
        }
        page.add(found);
    }
    let next = offset + page.paths.len();
    let next = (next < found.len()).then_some(next);
    let note = match next {
        Some(next) => format!("[{} of {} paths; go on with offset {next}]", page.paths.len(), found.len()),
        None if found.is_empty() => nothing(&pattern, &base, ignored),
        None => format!("[{} paths]", found.len()),
    };
    let structured =
        json!({ "paths": page.paths, "total": found.len(), "next_offset": next, "complete": !walk.left.cut });
    Ok(Answer::new(format!("{}{note}{}", page.text, walk.left.note()), structured))
}

struct Page {
    text: String,
    paths: Vec<String>,
}

impl Page {
    fn add(&mut self, found: &Found) {
        let slash = if found.kind == Kind::Directory { "/" } else { "" };
        let path = format!("{}{slash}", found.path);
        self.text += &path;
        self.text.push('\n');
        self.paths.push(path);
    }
}

/// Where to begin, and the pattern from there: what has no wildcard in it need not be walked.
fn anchor(path: Option<&str>, pattern: &str) -> Result<(String, String), Failure> {
    if pattern.is_empty() || pattern.len() > PATTERN_BYTES_MAX {
        let text = format!("\"pattern\" has {} bytes, and must have from 1 to {PATTERN_BYTES_MAX}", pattern.len());
        return Err(Failure::invalid(text));
    }
    if !pattern.starts_with('/') {
        let rest = pattern.strip_prefix("./").unwrap_or(pattern);
        return Ok((path.unwrap_or(".").to_owned(), rest.to_owned()));
    }
    if path.is_some() {
        return Err(Failure::invalid(
            "an absolute \"pattern\" and a \"path\" exclude each other; make the pattern relative",
        ));
    }
    let wild = pattern.find(['*', '?', '[', '{', '\\']).unwrap_or(pattern.len());
    let end = pattern.get(..wild).and_then(|head| head.rfind('/')).unwrap_or(0);
    let base = if end == 0 { "/" } else { pattern.get(..end).unwrap_or("/") };
    Ok((base.to_owned(), pattern.get(end + 1..).unwrap_or_default().to_owned()))
}

/// Which paths are meant: files, or directories where the pattern ends with a slash.
pub(crate) struct Wanted {
    glob: GlobMatcher,
    directories: bool,
}

impl Wanted {
    fn new(pattern: &str) -> Result<Wanted, Failure> {
        let directories = pattern.ends_with('/');
        let glob = matcher(pattern.trim_end_matches('/'))?;
        Ok(Wanted { glob, directories })
    }

    fn holds(&self, found: &Found) -> bool {
        (found.kind == Kind::Directory) == self.directories && self.glob.is_match(found.below())
    }
}

/// A pattern as shells know it, with `**`; a star does not cross a slash.
pub(crate) fn matcher(pattern: &str) -> Result<GlobMatcher, Failure> {
    let glob = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build();
    glob.map(|glob| glob.compile_matcher()).map_err(|error| {
        let text = format!(
            "the pattern \"{pattern}\" is wrong: {}; escape a special character with a backslash",
            error.kind()
        );
        Failure::invalid(text)
    })
}

fn nothing(pattern: &str, base: &str, ignored: Ignored) -> String {
    let mut hints = Vec::new();
    if !pattern.contains('/') {
        hints.push(format!("the pattern is for one level, \"**/{pattern}\" looks into all directories"));
    }
    if ignored == Ignored::LeftOut {
        hints.push("include_ignored also finds what ignore files name".to_owned());
    }
    format!("[nothing below \"{base}\" matches \"{pattern}\"; {}]", hints.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::Workspace;
    use serde_json::Value;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    fn tree() -> Workspace {
        let empty = &b""[..];
        let workspace = Workspace::new([
            (".gitignore", &b"/target\n*.log\n!keep.log\n"[..]),
            (".git/config", empty),
            (".github/ci.yml", empty),
            ("src/main.rs", empty),
            ("src/a/deep.rs", empty),
            ("src/a/.gitignore", b"secret.rs\n"),
            ("src/a/secret.rs", empty),
            ("target/debug/x.rs", empty),
            ("out.log", empty),
            ("keep.log", empty),
            ("we[i]rd/na me.rs", empty),
        ]);
        symlink("..", workspace.at("src/up")).unwrap();
        workspace
    }

    #[track_caller]
    fn check(workspace: &Workspace, arguments: Value, paths: &[&str]) -> Answer {
        let answer = run(&arguments.to_string(), workspace).expect("it can be searched");
        assert_eq!(answer.structured["paths"], json!(paths), "{}", answer.text);
        answer
    }

    #[test]
    fn patterns_find_what_shells_would() {
        let workspace = tree();
        check(&workspace, json!({ "pattern": "**/*.rs" }), &["src/a/deep.rs", "src/main.rs", "we[i]rd/na me.rs"]);
        check(&workspace, json!({ "pattern": "src/*.rs" }), &["src/main.rs"]);
        check(&workspace, json!({ "pattern": "./src/{main,lib}.rs" }), &["src/main.rs"]);
        check(&workspace, json!({ "pattern": "*.rs", "path": "src/a" }), &["src/a/deep.rs"]);
        check(&workspace, json!({ "pattern": "*.rs", "path": "src/a/" }), &["src/a/deep.rs"]);
        check(&workspace, json!({ "pattern": "we\\[i\\]rd/*" }), &["we[i]rd/na me.rs"]);
        check(&workspace, json!({ "pattern": "**/*.yml" }), &[".github/ci.yml"]);
        check(&workspace, json!({ "pattern": "*.log" }), &["keep.log"]);
        check(&workspace, json!({ "pattern": "src/*/" }), &["src/a/"]);
        check(&workspace, json!({ "pattern": "**/up" }), &["src/up"]);
    }

    #[test]
    fn ignore_files_above_the_path_count_and_can_be_left_aside() {
        let workspace = tree();
        workspace.put("src/b/x.log", b"");
        check(&workspace, json!({ "pattern": "*", "path": "src/b" }), &[]);
        let absolute = workspace.at("src/b").to_str().unwrap().to_owned();
        check(&workspace, json!({ "pattern": "*", "path": absolute }), &[]);
        check(&workspace, json!({ "pattern": "*", "path": "src/b", "include_ignored": true }), &["src/b/x.log"]);
        let all = json!({ "pattern": "**/*.rs", "include_ignored": true });
        let all_found = ["src/a/deep.rs", "src/a/secret.rs", "src/main.rs", "target/debug/x.rs", "we[i]rd/na me.rs"];
        check(&workspace, all, &all_found);
        check(&workspace, json!({ "pattern": "**/config", "include_ignored": true }), &[".git/config"]);
    }

    #[test]
    fn an_absolute_pattern_begins_where_its_first_wildcard_is() {
        let workspace = tree();
        let base = workspace.at("src").to_str().unwrap().to_owned();
        check(&workspace, json!({ "pattern": format!("{base}/*.rs") }), &[&format!("{base}/main.rs")]);
        assert_eq!(anchor(None, "/a/b*/c").unwrap(), ("/a".to_owned(), "b*/c".to_owned()));
        assert_eq!(anchor(None, "/*").unwrap(), ("/".to_owned(), "*".to_owned()));
        assert!(anchor(Some("x"), "/a").is_err());
    }

    #[test]
    fn pages_follow_each_other() {
        let workspace = Workspace::new([]);
        (0..25).for_each(|n| workspace.put(&format!("f{n:02}"), b""));
        let (mut offset, mut all) = (0, Vec::new());
        loop {
            let answer =
                run(&json!({ "pattern": "*", "limit": 10, "offset": offset }).to_string(), &workspace).unwrap();
            assert_eq!(answer.structured["total"], 25);
            all.extend(answer.structured["paths"].as_array().unwrap().clone());
            match answer.structured["next_offset"].as_u64() {
                Some(next) => offset = next,
                None => break,
            }
        }
        assert_eq!(all.len(), 25);
        assert!(all.is_sorted_by_key(|path| path.as_str()));
    }

    #[test]
    fn the_newest_come_first_when_asked() {
        let workspace = Workspace::new([("old", &b""[..]), ("new", b"")]);
        let file = fs::File::options().write(true).open(workspace.at("old")).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        check(&workspace, json!({ "pattern": "*", "sort": "modified" }), &["new", "old"]);
    }

    #[test]
    fn nothing_found_says_what_to_try() {
        let workspace = tree();
        let answer = check(&workspace, json!({ "pattern": "deep.rs" }), &[]);
        assert!(answer.text.contains("\"**/deep.rs\" looks into all directories"), "{}", answer.text);
        for (arguments, said) in [
            (json!({ "pattern": "a{b" }), "the pattern \"a{b\" is wrong"),
            (json!({ "pattern": "" }), "from 1 to"),
            (json!({ "pattern": "*", "path": "srcc" }), "there is: \"src\""),
            (json!({ "pattern": "*", "limit": 5000 }), "must be from 1 to 1000"),
        ] {
            let failure = run(&arguments.to_string(), &workspace).unwrap_err();
            assert!(failure.text().contains(said), "{failure:?}");
        }
    }

    #[test]
    fn hostile_trees_come_to_an_end() {
        let workspace = Workspace::new([]);
        let deep = "d/".repeat(400);
        fs::create_dir_all(workspace.at(&deep)).unwrap();
        fs::write(workspace.at(&format!("{deep}f")), b"").unwrap();
        symlink(".", workspace.at("loop")).unwrap();
        fs::write(workspace.at("").join(std::ffi::OsStr::from_bytes(b"\xff\xfe")), b"").unwrap();
        let answer = run(&json!({ "pattern": "**/f" }).to_string(), &workspace).unwrap();
        assert_eq!(answer.structured["complete"], false);
        assert!(answer.text.contains("1 names are not Unicode"), "{}", answer.text);
        let answer = run(&json!({ "pattern": "**/loop" }).to_string(), &workspace).unwrap();
        assert_eq!(answer.structured["paths"], json!(["loop"]));
    }
}
