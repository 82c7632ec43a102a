//! The built-in tools as they are shipped, each in an instance of its own over a directory: what they import, that they
//! do what their manifests say, and that none leaves the directory. It never judges the runtime's own walls: other
//! suites do, with the same components.

mod host;

use host::{Host, components, imports, manifest};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A directory that is gone after the test.
struct Workspace(PathBuf);

impl Workspace {
    fn new(files: &[(&str, &[u8])]) -> Workspace {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("stockade-tools-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let workspace = Workspace(std::env::temp_dir().join(name));
        fs::create_dir(&workspace.0).expect("no other test has that name");
        for (path, bytes) in files {
            let path = workspace.at(path);
            fs::create_dir_all(path.parent().expect("it lies in the workspace")).expect("directories can be made");
            fs::write(path, bytes).expect("a file can be written");
        }
        workspace
    }

    fn at(&self, path: &str) -> PathBuf {
        self.path().join(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // What a failed test leaves behind does not matter to the next, which has another name.
        let _removed = fs::remove_dir_all(&self.0);
    }
}

#[track_caller]
fn answered(host: &Host, workspace: &Workspace, tool: &str, arguments: Value) -> (String, Value) {
    let reply = host.call(tool, workspace.path(), &arguments.to_string()).expect("no trap").expect("an answer");
    let structured = serde_json::from_str(&reply.structured.expect("every tool has structured answers"));
    (reply.text, structured.expect("they are JSON"))
}

#[track_caller]
fn refused(host: &Host, workspace: &Workspace, tool: &str, arguments: Value, said: &str) {
    let failure = host.call(tool, workspace.path(), &arguments.to_string()).expect("no trap").expect_err("no answer");
    assert!(format!("{failure:?}").contains(said), "{tool}: {failure:?}");
}

#[test]
fn files_are_read_written_edited_and_patched() {
    let (host, workspace) = (Host::new(), Workspace::new(&[("a.txt", b"one\r\ntwo\r\n")]));
    let (text, _) = answered(host, &workspace, "read", json!({ "file_path": "a.txt" }));
    assert_eq!(text, "     1\tone\n     2\ttwo\n[line endings: crlf]\n");
    answered(host, &workspace, "write", json!({ "file_path": "d/b.txt", "content": "x\n" }));
    assert_eq!(fs::read(workspace.at("d/b.txt")).unwrap(), b"x\n");
    answered(host, &workspace, "edit", json!({ "file_path": "a.txt", "old_string": "one\ntwo", "new_string": "1\n2" }));
    assert_eq!(fs::read(workspace.at("a.txt")).unwrap(), b"1\r\n2\r\n");
    let patch = "--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-1\n+one\n--- a/d/b.txt\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n";
    answered(host, &workspace, "patch", json!({ "patch": patch }));
    assert_eq!(fs::read(workspace.at("a.txt")).unwrap(), b"one\r\n2\r\n");
    assert_eq!(fs::read_dir(workspace.at("d")).unwrap().count(), 0);
    let large = "line\n".repeat(200_000);
    answered(host, &workspace, "write", json!({ "file_path": "large", "content": large }));
    assert_eq!(fs::read(workspace.at("large")).unwrap(), large.as_bytes());
    let (_, page) = answered(host, &workspace, "read", json!({ "file_path": "large", "offset": 199_999 }));
    assert_eq!((&page["total_lines"], &page["content"]), (&json!(200_000), &json!("line\nline\n")));
}

#[test]
fn trees_are_listed_and_searched() {
    let files: &[(&str, &[u8])] =
        &[(".gitignore", b"out\n"), ("src/a.rs", b"fn main() {}\n"), ("out/b.rs", b"fn main() {}\n")];
    let (host, workspace) = (Host::new(), Workspace::new(files));
    let (_, found) = answered(host, &workspace, "glob", json!({ "pattern": "**/*.rs" }));
    assert_eq!(found["paths"], json!(["src/a.rs"]));
    let (text, _) =
        answered(host, &workspace, "grep", json!({ "pattern": "fn \\w+", "output_mode": "content", "type": "rust" }));
    assert!(text.starts_with("src/a.rs:1:fn main() {}\n"), "{text}");
    let (text, _) = answered(host, &workspace, "list", json!({ "depth": 2 }));
    assert_eq!(text, ".gitignore  4 bytes\nsrc/\n  a.rs  13 bytes\n[3 entries]");
}

#[test]
fn absolute_paths_lead_to_the_same_files() {
    let (host, workspace) = (Host::new(), Workspace::new(&[("a/f", b"x\n")]));
    let path = workspace.at("a/f");
    let (text, _) = answered(host, &workspace, "read", json!({ "file_path": path.to_str().unwrap() }));
    assert_eq!(text, "     1\tx\n");
    answered(host, &workspace, "write", json!({ "file_path": path.to_str().unwrap(), "content": "y\n" }));
    assert_eq!(fs::read(path).unwrap(), b"y\n");
}

#[test]
fn no_tool_leaves_what_it_was_given() {
    let (host, workspace) = (Host::new(), Workspace::new(&[("f", b"x\n")]));
    symlink("/etc", workspace.at("etc")).unwrap();
    symlink("../..", workspace.at("up")).unwrap();
    for path in ["/etc/passwd", "../../etc/passwd", "etc/passwd", "up/etc/passwd", "./f/../../../etc/passwd"] {
        for (tool, arguments) in [
            ("read", json!({ "file_path": path })),
            ("write", json!({ "file_path": path, "content": "" })),
            ("edit", json!({ "file_path": path, "old_string": "root", "new_string": "" })),
            ("grep", json!({ "pattern": "root", "path": path })),
            ("list", json!({ "path": path })),
            ("glob", json!({ "pattern": "*", "path": path })),
        ] {
            refused(host, &workspace, tool, arguments, "cannot ");
        }
    }
}

#[test]
fn unknown_arguments_and_no_json_are_refused_by_every_tool() {
    let (host, workspace) = (Host::new(), Workspace::new(&[]));
    for tool in components().into_iter().filter(|tool| manifest(tool)["input_schema"]["additionalProperties"] == false)
    {
        refused(host, &workspace, &tool, json!([]), "InvalidArguments");
        let mut arguments: Value = json!({ "no such argument": 1 });
        for name in manifest(&tool)["input_schema"]["required"].as_array().expect("the schema says") {
            arguments[name.as_str().expect("a name")] = json!("https://example.com/");
        }
        refused(host, &workspace, &tool, arguments, "InvalidArguments");
    }
}

/// What the schema names is what the tool takes: a call with every name is refused for nothing but its values.
#[test]
fn every_argument_of_a_schema_is_known_to_its_tool() {
    let (host, workspace) = (Host::new(), Workspace::new(&[]));
    for tool in components() {
        let manifest = manifest(&tool);
        let names = manifest["input_schema"]["properties"].as_object().expect("a schema has properties");
        for name in names.keys() {
            // An object fits no argument but headers, and there its value does not.
            let arguments = json!({ name: { "x": {} } });
            let Err(failure) = host.call(&tool, workspace.path(), &arguments.to_string()).expect("no trap") else {
                panic!("{tool}: \"{name}\" took an object");
            };
            assert!(
                !format!("{failure:?}").contains("there is no argument"),
                "{tool} does not know \"{name}\": {failure:?}"
            );
        }
    }
}

#[test]
fn the_import_list_is_what_the_ceiling_says() {
    const WRITING: [&str; 9] = [
        "write",
        "create-directory-at",
        "link-at",
        "remove-directory-at",
        "rename-at",
        "set-size",
        "symlink-at",
        "unlink-file-at",
        "set-times",
    ];
    for tool in components() {
        let (imports, ceiling) = (imports(&tool), manifest(&tool)["ceiling"].clone());
        let has = |text: &str| imports.iter().any(|import| import.contains(text));
        let writes = WRITING
            .iter()
            .any(|function| imports.iter().any(|import| import.ends_with(&format!("descriptor.{function}"))));
        assert_eq!(has("wasi:filesystem/preopens"), ceiling["files"] != "none", "{tool}: {imports:?}");
        assert_eq!(writes, ceiling["files"] == "write", "{tool}: {imports:?}");
        assert_eq!(has("wasi:http"), ceiling["network"] == true, "{tool}: {imports:?}");
        for absent in ["wasi:sockets", "wasi:cli", "wasi:random", "monotonic-clock.now", "wall-clock.now"] {
            assert!(!has(absent), "{tool} imports {absent}: {imports:?}");
        }
    }
}
