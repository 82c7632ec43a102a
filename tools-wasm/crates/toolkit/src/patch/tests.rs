//! Patches of both forms, sound and damaged, on files that are there and files that are not. It never writes but its
//! own fixtures.

use super::*;
use crate::files::{Files, Listing, Meta, Source, Trouble};
use crate::native::Workspace;
use std::cell::Cell;

const TEN: &[u8] = b"1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n";

fn call(files: &dyn Changeable, patch: &str) -> Result<Answer, Failure> {
    run(&json!({ "patch": patch }).to_string(), files)
}

#[track_caller]
fn patched(file: &[u8], patch: &str, result: &[u8]) -> Answer {
    let workspace = Workspace::new([("f", file)]);
    let answer = call(&workspace, patch).expect("it can be applied");
    assert_eq!(String::from_utf8_lossy(&workspace.get("f")), String::from_utf8_lossy(result), "{}", answer.text);
    assert_eq!(workspace.names(), ["f"]);
    answer
}

#[track_caller]
fn refused(file: &[u8], patch: &str, said: &str) {
    let workspace = Workspace::new([("f", file)]);
    let failure = call(&workspace, patch).expect_err("it cannot be applied");
    assert!(failure.text().contains(said), "{}", failure.text());
    assert_eq!(workspace.get("f"), file);
    assert_eq!(workspace.names(), ["f"]);
}

fn diff(hunks: &str) -> String {
    format!("--- a/f\n+++ b/f\n{hunks}")
}

#[test]
fn a_unified_diff_is_applied() {
    let answer = patched(
        TEN,
        &diff("@@ -2,3 +2,4 @@\n 2\n-3\n+three\n+and a half\n 4\n"),
        b"1\n2\nthree\nand a half\n4\n5\n6\n7\n8\n9\n10\n",
    );
    assert_eq!(answer.text, "M f\n");
    let two = "@@ -1,2 +1 @@\n-1\n 2\n@@ -9,2 +8,3 @@\n 9\n 10\n+11\n";
    patched(TEN, &diff(two), b"2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n");
    patched(TEN, &diff("@@ -0,0 +1 @@\n+0\n"), b"0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n");
    patched(TEN, &diff("@@ -10,0 +11 @@\n+11\n"), b"1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n");
    patched(b"-- a\n++ b\n", &diff("@@ -1,2 +1,2 @@\n--- a\n-++ b\n+-- c\n+++ d\n"), b"-- c\n++ d\n");
}

#[test]
fn places_that_moved_are_found_and_told() {
    let moved = [b"new\nnew\n", TEN].concat();
    let answer =
        patched(&moved, &diff("@@ -2,3 +2,3 @@\n 2\n-3\n+x\n 4\n"), b"new\nnew\n1\n2\nx\n4\n5\n6\n7\n8\n9\n10\n");
    assert!(answer.text.contains("hunk 1 went in at line 4, the patch says 2 (fuzz 0)"), "{}", answer.text);
    let answer =
        patched(TEN, &diff("@@ -2,5 +2,5 @@\n other\n 3\n-4\n+x\n 5\n 6\n"), b"1\n2\n3\nx\n5\n6\n7\n8\n9\n10\n");
    assert!(answer.text.contains("(fuzz 1)"), "{}", answer.text);
    // Of several places the nearest is meant.
    let many = "a\n".repeat(9);
    patched(many.as_bytes(), &diff("@@ -5 +5 @@\n-a\n+b\n"), b"a\na\na\na\nb\na\na\na\na\n");
    // A removed line is never left aside, however much context there is.
    refused(
        TEN,
        &diff("@@ -2,3 +2,2 @@\n 2\n-x\n 4\n"),
        "nearest to it, with 2 of 3 lines the same, is:\n     2\t2\n     3\t3\n",
    );
}

#[test]
fn wrong_numbers_and_lost_blanks_are_understood() {
    patched(TEN, &diff("@@ -2,9 +2,1 @@\n 2\n-3\n+x\n 4\n"), b"1\n2\nx\n4\n5\n6\n7\n8\n9\n10\n");
    patched(TEN, &diff("@@ -3,1 +3,1 @@\n 2\n-3\n+x\n 4\n"), b"1\n2\nx\n4\n5\n6\n7\n8\n9\n10\n");
    patched(TEN, &diff("@@ @@\n 2\n-3\n+x\n"), b"1\n2\nx\n4\n5\n6\n7\n8\n9\n10\n");
    patched(b"a\n\nb\n", &diff("@@ -1,3 +1,3 @@\n a\n\n-b\n+c\n"), b"a\n\nc\n");
    patched(TEN, &format!("```diff\n{}```\n", diff("@@ -1 +1 @@\n-1\n+x\n")), b"x\n2\n3\n4\n5\n6\n7\n8\n9\n10\n");
    patched(
        TEN,
        &format!("Some words.\n\n{}-- \n2.39.5\n", diff("@@ -1 +1 @@\n-1\n+x\n")),
        b"x\n2\n3\n4\n5\n6\n7\n8\n9\n10\n",
    );
    patched(TEN, &diff("@@ -1 +1 @@\n-1\n+x\n").replace('\n', "\r\n"), b"x\n2\n3\n4\n5\n6\n7\n8\n9\n10\n");
}

#[test]
fn line_ends_survive() {
    patched(b"a\r\nb\r\n", &diff("@@ -1,2 +1,2 @@\n a\n-b\n+c\n"), b"a\r\nc\r\n");
    patched(b"a\nb", &diff("@@ -1,2 +1,2 @@\n a\n-b\n+c\n"), b"a\nc");
    patched(b"a\nb", &diff("@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+c\n"), b"a\nc\n");
    patched(b"a\nb\n", &diff("@@ -1,2 +1,2 @@\n a\n-b\n+c\n\\ No newline at end of file\n"), b"a\nc");
    patched(b"a\nb", &diff("@@ -1,2 +1,3 @@\n a\n b\n+c\n"), b"a\nb\nc\n");
    patched(b"\xef\xbb\xbfa\n", &diff("@@ -1 +1 @@\n-a\n+b\n"), b"\xef\xbb\xbfb\n");
    patched(b"caf\xe9\na\n", &diff("@@ -1,2 +1,2 @@\n caf\u{e9}\n-a\n+\u{fc}\n"), b"caf\xe9\n\xfc\n");
}

#[test]
fn files_come_go_and_move() {
    let workspace = Workspace::new([("old", &b"1\n"[..]), ("gone", b"x\n"), ("empty", b"")]);
    let git = "diff --git a/new/deep.txt b/new/deep.txt\nnew file mode 100644\n--- /dev/null\n+++ b/new/deep.txt\n@@ -0,0 +1,2 @@\n+a\n+b\n\
               diff --git a/gone b/gone\ndeleted file mode 100644\n--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n\
               diff --git a/old b/moved\nsimilarity index 50%\nrename from old\nrename to moved\n--- a/old\n+++ b/moved\n@@ -1 +1 @@\n-1\n+2\n\
               diff --git a/empty b/empty\ndeleted file mode 100644\nindex e69de29..0000000\n\
               diff --git a/none b/none\nnew file mode 100644\nindex 0000000..e69de29\n";
    let answer = call(&workspace, git).unwrap();
    assert_eq!(answer.text, "A new/deep.txt\nD gone\nD old\nA moved\nD empty\nA none\n");
    assert_eq!(workspace.names(), ["moved", "new/deep.txt", "none"]);
    assert_eq!(workspace.get("moved"), b"2\n");
    assert_eq!(workspace.get("new/deep.txt"), b"a\nb\n");
    let block = "*** Begin Patch\n*** Add File: x/y\n+hello\n+\n*** Update File: moved\n*** Move to: x/z\n@@\n-2\n+3\n*** Delete File: none\n*** End Patch";
    call(&workspace, block).unwrap();
    assert_eq!(workspace.names(), ["new/deep.txt", "x/y", "x/z"]);
    assert_eq!((workspace.get("x/y"), workspace.get("x/z")), (b"hello\n\n".to_vec(), b"3\n".to_vec()));
}

fn block(body: &str) -> String {
    format!("*** Begin Patch\n*** Update File: f\n{body}*** End Patch\n")
}

#[test]
fn the_other_form_finds_its_places_by_lines() {
    let code = b"class A:\n    def f():\n        return 1\n\nclass B:\n    def f():\n        return 1\n";
    let second = block("@@ class B:\n@@     def f():\n-        return 1\n+        return 2\n");
    patched(code, &second, b"class A:\n    def f():\n        return 1\n\nclass B:\n    def f():\n        return 2\n");
    let both = block(
        "@@ class A:\n     def f():\n-        return 1\n+        return 0\n@@ class B:\n     def f():\n-        return 1\n+        return 2\n",
    );
    patched(code, &both, b"class A:\n    def f():\n        return 0\n\nclass B:\n    def f():\n        return 2\n");
    let last = block("@@\n-        return 1\n+        return 2\n*** End of File\n");
    patched(code, &last, b"class A:\n    def f():\n        return 1\n\nclass B:\n    def f():\n        return 2\n");
    let loose = block("@@\n-class B:  \n+class C:\n");
    let answer = patched(
        code,
        &loose,
        b"class A:\n    def f():\n        return 1\n\nclass C:\n    def f():\n        return 1\n",
    );
    assert!(answer.text.contains("only apart from white space"), "{}", answer.text);
    patched(TEN, &block("@@\n+11\n"), b"1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n");
    patched(TEN, &block(" 1\n-2\n+x\n"), b"1\nx\n3\n4\n5\n6\n7\n8\n9\n10\n");
    refused(TEN, &block("@@ class X\n-1\n+2\n"), "no line is \"class X\", after which it should be");
    refused(TEN, &block("@@\n-eleven\n+2\n"), "no line of it is in the file; read the file again");
}

#[test]
fn all_of_a_patch_or_nothing() {
    let second = "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-1\n+x\n--- a/g\n+++ b/g\n@@ -1 +1 @@\n-1\n+x\n";
    refused(TEN, second, "cannot read \"g\": it does not exist");
    refused(TEN, &diff("@@ -1 +1 @@\n-1\n+x\n@@ -5 +5 @@\n-y\n+z\n"), "hunk 2 of 2");
    refused(TEN, "--- /dev/null\n+++ b/f\n@@ -0,0 +1 @@\n+x\n", "is there already");
    refused(TEN, "--- a/f\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n", "has more in it than the patch takes away");
    refused(
        TEN,
        "*** Begin Patch\n*** Delete File: f\n*** Update File: f\n@@\n-1\n+2\n*** End Patch",
        "cannot patch \"f\"",
    );
}

#[test]
fn what_is_no_patch_is_told_what_one_is() {
    refused(TEN, "hello", "names 0 files");
    refused(TEN, "", "names 0 files");
    refused(TEN, "@@ -1 +1 @@\n-1\n+2\n", "name a file");
    refused(TEN, &diff("@@ -1 +1 @@\n 1\n"), "changes nothing");
    refused(TEN, &block("@@\n 1\n"), "changes nothing");
    refused(TEN, "*** Begin Patch\n*** Update File: f\n@@\n-1\n+2\n", "may have been cut off");
    refused(TEN, "*** Begin Patch\n*** Change File: f\n*** End Patch", "line 2 of the patch is");
    refused(TEN, "*** Begin Patch\n*** Add File: g\nx\n*** End Patch", "each line of a new file begins with \"+\"");
    refused(TEN, "diff --git a/f b/f\nGIT binary patch\nliteral 0\n", "binary file");
    refused(b"\0\x01", &diff("@@ -1 +1 @@\n-1\n+2\n"), "not text");
}

#[test]
fn a_dry_run_changes_nothing() {
    let workspace = Workspace::new([("f", TEN)]);
    let patch = json!({ "patch": diff("@@ -1 +1 @@\n-1\n+x\n"), "dry_run": true });
    let answer = run(&patch.to_string(), &workspace).unwrap();
    assert!(answer.text.ends_with("[nothing was changed: dry_run]\n"));
    assert_eq!(answer.structured["files"][0]["diff"], "@@ -1,4 +1,4 @@\n-1\n+x\n 2\n 3\n 4\n");
    assert_eq!(workspace.get("f"), TEN);
}

#[test]
fn unusual_names_are_understood() {
    let workspace = Workspace::new([("\u{e4} b", &b"1\n"[..]), ("a/x", b"1\n")]);
    let quoted = "--- \"a/\\303\\244 b\"\n+++ \"b/\\303\\244 b\"\n@@ -1 +1 @@\n-1\n+2\n";
    call(&workspace, quoted).unwrap();
    assert_eq!(workspace.get("\u{e4} b"), b"2\n");
    let dated = "--- a/x\t2024-01-01 00:00:00\n+++ a/x\t2024-01-02 00:00:00\n@@ -1 +1 @@\n-1\n+2\n";
    call(&workspace, dated).unwrap();
    assert_eq!(workspace.get("a/x"), b"2\n");
}

/// Files of which the n-th rename fails.
struct Failing<'w> {
    workspace: &'w Workspace,
    renames_left: Cell<usize>,
}

impl Files for Failing<'_> {
    fn workspace(&self) -> Option<&str> {
        self.workspace.workspace()
    }
    fn meta(&self, path: &str) -> Result<Meta, Trouble> {
        self.workspace.meta(path)
    }
    fn link_meta(&self, path: &str) -> Result<Meta, Trouble> {
        self.workspace.link_meta(path)
    }
    fn read_link(&self, path: &str) -> Result<String, Trouble> {
        self.workspace.read_link(path)
    }
    fn list(&self, path: &str) -> Result<Listing, Trouble> {
        self.workspace.list(path)
    }
    fn open(&self, path: &str) -> Result<Box<dyn Source + '_>, Trouble> {
        self.workspace.open(path)
    }
}

impl Changeable for Failing<'_> {
    fn create_new(&self, path: &str, bytes: &[u8]) -> Result<(), Trouble> {
        self.workspace.create_new(path, bytes)
    }
    fn overwrite(&self, path: &str, bytes: &[u8]) -> Result<(), Trouble> {
        self.workspace.overwrite(path, bytes)
    }
    fn rename(&self, from: &str, to: &str) -> Result<(), Trouble> {
        match self.renames_left.replace(self.renames_left.get().wrapping_sub(1)) {
            0 => Err(Trouble::NoSpace),
            _ => self.workspace.rename(from, to),
        }
    }
    fn remove(&self, path: &str) -> Result<(), Trouble> {
        self.workspace.remove(path)
    }
    fn make_directory(&self, path: &str) -> Result<(), Trouble> {
        self.workspace.make_directory(path)
    }
    fn remove_directory(&self, path: &str) -> Result<(), Trouble> {
        self.workspace.remove_directory(path)
    }
}

#[test]
fn a_failure_in_the_middle_takes_everything_back() {
    let patch = "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-1\n+x\n--- /dev/null\n+++ b/d/new\n@@ -0,0 +1 @@\n+x\n\
                 --- a/g\n+++ b/g\n@@ -1 +1 @@\n-1\n+x\n--- a/h\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n";
    for renames in 0..4 {
        let workspace = Workspace::new([("f", TEN), ("g", b"1\n"), ("h", b"1\n")]);
        let failing = Failing { workspace: &workspace, renames_left: Cell::new(renames) };
        let failure = call(&failing, patch).unwrap_err();
        assert!(failure.text().ends_with("no space left for it; nothing was changed"), "{renames}: {failure:?}");
        assert_eq!(workspace.names(), ["f", "g", "h"], "{renames}");
        assert_eq!((workspace.get("f"), workspace.get("g")), (TEN.to_vec(), b"1\n".to_vec()), "{renames}");
        assert!(!workspace.at("d").exists());
    }
    let workspace = Workspace::new([("f", TEN), ("g", b"1\n"), ("h", b"1\n")]);
    call(&Failing { workspace: &workspace, renames_left: Cell::new(4) }, patch).unwrap();
    assert_eq!(workspace.names(), ["d/new", "f", "g"]);
}

#[test]
fn hostile_patches_come_to_an_end() {
    let many = "a\n".repeat(10_000);
    let hunk = format!("@@ -1,400 +1,400 @@\n{}-b\n+c\n", " a\n".repeat(399));
    refused(many.as_bytes(), &diff(&hunk), "has no place");
    refused(TEN, &diff("@@ -99999999999999999999,1 +1 @@\n-q\n+2\n"), "has no place");
    refused(TEN, &diff(&format!("@@ -{},1 +1 @@\n-q\n+2\n", u64::MAX)), "has no place");
    patched(b"1\n", &diff(&format!("@@ -{},1 +1 @@\n-1\n+2\n", usize::MAX)), b"2\n");
    let nested = "@@\n".repeat(20_000);
    refused(TEN, &block(&nested), "changes nothing");
}
