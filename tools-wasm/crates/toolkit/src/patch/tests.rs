//! Patches of both forms, sound and damaged, on files that are there and files that are not. It never writes but its
//! own fixtures.

use super::*;
use crate::native::{Failing, Fault, Workspace};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

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
    assert_eq!(answer.text, "A new/deep.txt\nD gone\nR old -> moved\nD empty\nA none\n");
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

#[test]
fn a_failure_in_the_middle_takes_everything_back() {
    let patch = "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-1\n+x\n--- /dev/null\n+++ b/d/new\n@@ -0,0 +1 @@\n+x\n\
                 --- a/g\n+++ b/g\n@@ -1 +1 @@\n-1\n+x\n--- a/h\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n";
    for renames in 0..4 {
        let workspace = Workspace::new([("f", TEN), ("g", b"1\n"), ("h", b"1\n")]);
        let failing = Failing::new(&workspace, [Fault::Rename(renames)]);
        let failure = call(&failing, patch).unwrap_err();
        assert!(failure.text().ends_with("no space left for it; nothing was changed"), "{renames}: {failure:?}");
        assert_eq!(workspace.names(), ["f", "g", "h"], "{renames}");
        assert_eq!((workspace.get("f"), workspace.get("g")), (TEN.to_vec(), b"1\n".to_vec()), "{renames}");
        assert!(!workspace.at("d").exists());
    }
    let workspace = Workspace::new([("f", TEN), ("g", b"1\n"), ("h", b"1\n")]);
    call(&Failing::new(&workspace, [Fault::Rename(4)]), patch).unwrap();
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

const HELLO: &str = "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-1\n+x\n--- a/g\n+++ b/g\n@@ -1 +1 @@\n-1\n+x\n";

#[test]
fn a_write_in_place_that_breaks_off_leaves_what_was_there() {
    let workspace = Workspace::new([("g", &b"1\n"[..]), ("f", TEN)]);
    fs::hard_link(workspace.at("f"), workspace.at("second")).unwrap();
    let patch = "--- a/g\n+++ b/g\n@@ -1 +1 @@\n-1\n+x\n--- a/f\n+++ b/f\n@@ -1 +1 @@\n-1\n+a longer line\n";
    let failure = call(&Failing::new(&workspace, [Fault::Overwrite(0)]), patch).unwrap_err();
    assert!(failure.text().ends_with("no space left for it; nothing was changed"), "{failure:?}");
    assert_eq!((workspace.get("f"), workspace.get("g")), (TEN.to_vec(), b"1\n".to_vec()));
    // Where it cannot be brought back either, that is said.
    let failing = Failing::new(&workspace, [Fault::Overwrite(0), Fault::Overwrite(1)]);
    let failure = call(&failing, patch).unwrap_err();
    assert!(failure.text().ends_with("these could not be brought back: \"f\""), "{failure:?}");
    assert_eq!(workspace.get("g"), b"1\n");
}

#[test]
fn what_a_link_leads_to_is_not_deleted_in_its_place() {
    let workspace = Workspace::new([("real", TEN)]);
    symlink("real", workspace.at("link")).unwrap();
    let update = "*** Begin Patch\n*** Update File: link\n@@\n-1\n+x\n";
    let moved = "*** Begin Patch\n*** Update File: link\n*** Move to: there\n@@\n-1\n+x\n";
    for patch in [format!("{update}*** Delete File: link\n*** End Patch"), format!("{moved}*** End Patch")] {
        let failure = call(&workspace, &patch).unwrap_err();
        assert!(failure.text().contains("\"link\" is a link to \"real\": name that file"), "{failure:?}");
        assert_eq!(workspace.names(), ["link", "real"]);
        assert_eq!(workspace.get("real"), TEN);
    }
    let moved_first =
        "*** Begin Patch\n*** Update File: link\n*** Move to: there\n*** Update File: there\n@@\n-1\n+x\n*** End Patch";
    refused_in(&workspace, moved_first, "is a link that the patch moves");
    // Alone, the link itself moves and goes.
    let alone = "*** Begin Patch\n*** Update File: link\n*** Move to: there\n*** End Patch";
    call(&workspace, alone).unwrap();
    assert!(workspace.at("there").is_symlink());
    call(&workspace, "*** Begin Patch\n*** Delete File: there\n*** End Patch").unwrap();
    assert_eq!(workspace.names(), ["real"]);
    assert_eq!(workspace.get("real"), TEN);
}

const MOVED: &str = "diff --git a/old b/d/new\nsimilarity index 90%\nrename from old\nrename to d/new\n\
                     --- a/old\n+++ b/d/new\n@@ -1 +1 @@\n-1\n+x\n";

#[test]
fn a_file_that_moves_is_the_same_file() {
    let workspace = Workspace::new([("old", TEN), ("image", b"\x89PNG\r\n\x1a\n\0")]);
    fs::set_permissions(workspace.at("image"), fs::Permissions::from_mode(0o711)).unwrap();
    let renamed = "diff --git a/image b/d/image\nsimilarity index 100%\nrename from image\nrename to d/image\n";
    let answer = call(&workspace, renamed).unwrap();
    assert_eq!(answer.text, "R image -> d/image\n");
    let record = json!([{ "file_path": "d/image", "what": "moved", "diff": "", "from": "image" }]);
    assert_eq!(answer.structured["files"], record);
    assert_eq!(fs::metadata(workspace.at("d/image")).unwrap().permissions().mode() & 0o777, 0o711);
    // One that cannot be read whole moves as well.
    let large = fs::File::create(workspace.at("large")).unwrap();
    large.set_len(super::super::WHOLE_FILE_BYTES_MAX + 1).unwrap();
    call(&workspace, "*** Begin Patch\n*** Update File: large\n*** Move to: vast\n*** End Patch").unwrap();
    // New content takes the place of the file that moved, whose permissions the host hands on; the file is written
    // beside and renamed, or, where it has a second name, is the same one.
    fs::hard_link(workspace.at("old"), workspace.at("second")).unwrap();
    call(&workspace, MOVED).unwrap();
    assert_eq!(workspace.names(), ["d/image", "d/new", "second", "vast"]);
    assert_eq!(workspace.get("second"), workspace.get("d/new"));
    assert!(workspace.get("d/new").starts_with(b"x\n2\n"));
}

#[test]
fn new_content_replaces_the_file_that_moved() {
    let workspace = Workspace::new([("old", TEN)]);
    let failing = Failing::new(&workspace, []);
    call(&failing, MOVED).unwrap();
    // The second rename has something to take the permissions from.
    assert_eq!(*failing.renamed.borrow(), ["old d/new", "d/.stockade-write-0.tmp d/new"]);
}

#[test]
fn a_move_is_taken_back() {
    for fault in [Fault::Rename(0), Fault::Rename(1)] {
        let workspace = Workspace::new([("old", TEN)]);
        let failure = call(&Failing::new(&workspace, [fault]), MOVED).unwrap_err();
        assert!(failure.text().ends_with("nothing was changed"), "{failure:?}");
        assert_eq!(workspace.names(), ["old"]);
        assert!(!workspace.at("d").exists());
    }
    let workspace = Workspace::new([("old", TEN), ("d/new", b"there\n")]);
    let failure = call(&workspace, MOVED).unwrap_err();
    assert!(failure.text().contains("is there already"), "{failure:?}");
    assert_eq!((workspace.get("old"), workspace.get("d/new")), (TEN.to_vec(), b"there\n".to_vec()));
}

#[test]
fn moves_follow_each_other() {
    let workspace = Workspace::new([("a", &b"a\n"[..]), ("b", b"b\n"), ("c", b"c\n")]);
    let patch = "*** Begin Patch\n*** Delete File: c\n*** Update File: b\n*** Move to: c\n*** Update File: a\n*** Move to: b\n\
                 *** Add File: a\n+new\n*** Update File: b\n@@\n-a\n+aa\n*** End Patch";
    let answer = call(&workspace, patch).unwrap();
    assert_eq!(answer.text, "D c\nR b -> c\nR a -> b\nA a\n");
    let contents = ["a", "b", "c"].map(|name| workspace.get(name));
    assert_eq!(contents, [b"new\n".to_vec(), b"aa\n".to_vec(), b"b\n".to_vec()]);
    let there_and_back =
        "*** Begin Patch\n*** Update File: a\n*** Move to: x\n*** Update File: x\n*** Move to: a\n*** End Patch";
    refused_in(&workspace, there_and_back, "changes nothing");
    let gone = "*** Begin Patch\n*** Update File: a\n*** Move to: x\n*** Update File: a\n@@\n-new\n+x\n*** End Patch";
    refused_in(&workspace, gone, "\"a\": it does not exist");
    let added = "*** Begin Patch\n*** Add File: n\n+1\n*** Update File: n\n*** Move to: m\n*** Update File: a\n*** Move to: n\n*** Delete File: n\n*** End Patch";
    assert_eq!(call(&workspace, added).unwrap().text, "A m\nD a\n");
    assert_eq!(workspace.names(), ["b", "c", "m"]);
}

#[track_caller]
fn refused_in(workspace: &Workspace, patch: &str, said: &str) {
    let before: Vec<_> = workspace.names().into_iter().map(|name| (workspace.get(&name), name)).collect();
    let failure = call(workspace, patch).expect_err("it cannot be applied");
    assert!(failure.text().contains(said), "{}", failure.text());
    let after: Vec<_> = workspace.names().into_iter().map(|name| (workspace.get(&name), name)).collect();
    assert_eq!(before, after);
}

#[test]
fn what_was_deleted_and_stays_under_another_name_is_told() {
    let workspace = Workspace::new([("f", TEN)]);
    let answer =
        call(&Failing::new(&workspace, [Fault::Remove(0)]), "*** Begin Patch\n*** Delete File: f\n*** End Patch")
            .unwrap();
    assert_eq!(answer.structured["applied"], true);
    assert_eq!(workspace.names(), [".stockade-write-0.tmp"]);
    assert!(answer.text.contains("is still there as .stockade-write-0.tmp"), "{}", answer.text);
}

#[test]
fn a_file_that_changes_meanwhile_is_not_deleted_or_moved() {
    for patch in ["*** Delete File: f\n", "*** Update File: f\n*** Move to: g\n"] {
        let workspace = Workspace::new([("f", TEN)]);
        let mut transaction = Transaction::new(&workspace);
        let changes = parse(&format!("*** Begin Patch\n{patch}*** End Patch")).unwrap();
        plan(&mut transaction, &changes[0]).unwrap();
        workspace.put("f", b"theirs\n");
        let failure = doing::commit(&workspace, &transaction.end().0).unwrap_err();
        assert!(failure.text().contains("changed by somebody else meanwhile"), "{failure:?}");
        assert_eq!((workspace.names(), workspace.get("f")), (vec!["f".to_owned()], b"theirs\n".to_vec()));
    }
}

#[test]
fn an_answer_has_an_end_however_many_hunks_there_are() {
    let file: String = (0..30_000).map(|n| format!("{n}\n")).collect();
    let workspace = Workspace::new([("f", file.as_bytes())]);
    let hunks: String = (1..30_000).step_by(2).map(|n| format!("@@ -{} +{} @@\n-{n}\n+x{n}\n", n + 9, n + 9)).collect();
    let answer = call(&workspace, &diff(&hunks)).unwrap();
    assert!(answer.text.len() <= ANSWER_BYTES_MAX, "{}", answer.text.len());
    assert!(answer.structured.to_string().len() <= 2 * ANSWER_BYTES_MAX);
    let notes = answer.structured["notes"].as_array().unwrap();
    assert_eq!(notes.len(), 101);
    let more = notes[100].as_str().unwrap();
    assert!(more.ends_with(" more notes") && answer.text.contains(more), "{more}");
    // What was met while it was done is not lost among them.
    fs::hard_link(workspace.at("f"), workspace.at("second")).unwrap();
    let back: String = (1..30_000).step_by(2).map(|n| format!("@@ -{} +{} @@\n-x{n}\n+{n}\n", n + 9, n + 9)).collect();
    let answer = call(&workspace, &diff(&back)).unwrap();
    assert_eq!(answer.structured["notes"][0], "f was written in place");
    assert_eq!(answer.structured["notes"].as_array().unwrap().len(), 101);
    fs::remove_file(workspace.at("second")).unwrap();
    // Nor does a long name, nor many of them.
    let many: String =
        (0..500).map(|n| format!("*** Add File: {}{n}\n+x\n", "d/".repeat(16) + &"n".repeat(200))).collect();
    let answer = call(&workspace, &format!("*** Begin Patch\n{many}*** End Patch")).unwrap();
    assert!(answer.text.len() <= ANSWER_BYTES_MAX && answer.text.contains(" more files]"), "{}", answer.text.len());
    assert_eq!(answer.structured["files"].as_array().unwrap().len(), 500);
    // Deleting so many of one directory works as well.
    let paths = workspace.names().into_iter().filter(|name| name != "f");
    let gone: String = paths.map(|path| format!("*** Delete File: {path}\n")).collect();
    call(&workspace, &format!("*** Begin Patch\n{gone}*** End Patch")).unwrap();
    assert_eq!(workspace.names(), ["f"]);
    let long: String = (0..100).map(|n| format!("*** Add File: {}{n}\n+x\n", "d/".repeat(1500))).collect();
    refused_in(&workspace, &format!("*** Begin Patch\n{long}*** End Patch"), "names of files");
}

#[test]
fn a_refusal_says_first_that_nothing_was_changed() {
    let long = "x".repeat(4000);
    let lines: String = (0..20).map(|n| format!("-{n}{long}\n")).collect();
    let workspace = Workspace::new([("f", format!("0{long}\n").repeat(20).as_bytes())]);
    let failure = call(&workspace, &block(&format!("@@\n{lines}"))).unwrap_err();
    assert!(cut(failure.text(), 2000).contains("nothing was changed"), "{failure:?}");
}

#[test]
fn modes_are_refused_or_told() {
    let made =
        |mode: &str| format!("diff --git a/n b/n\nnew file mode {mode}\n--- /dev/null\n+++ b/n\n@@ -0,0 +1 @@\n+f\n");
    refused(TEN, &made("120000"), "line 2 of the patch is about a symbolic link");
    refused(TEN, &made("160000"), "is about a submodule");
    refused(
        TEN,
        "diff --git a/f b/f\ndeleted file mode 120000\n--- a/f\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n",
        "symbolic link",
    );
    refused(TEN, "diff --git a/f b/f\nold mode 100644\nnew mode 100755\n", "changes only a file's permissions");
    refused(TEN, "diff --git a/f b/f\nindex 1..2 100644\n", "nothing says what becomes of it");
    let workspace = Workspace::new([("f", TEN)]);
    let answer = call(&workspace, &made("100755")).unwrap();
    assert_eq!(answer.text, "A n\n[n: it is not executable yet; chmod +x in a shell makes it so]\n");
    let both = format!("diff --git a/f b/f\nold mode 100644\nnew mode 100755\n{}", diff("@@ -1 +1 @@\n-1\n+x\n"));
    let answer = call(&workspace, &both).unwrap();
    assert!(answer.text.contains("it keeps its permissions; the patch wants 100755"), "{}", answer.text);
}

#[test]
fn numbers_that_want_too_much_do_not_take_the_next_file() {
    for head in ["@@ -1,5 +1,5 @@", "@@ -1,3 +1,9 @@"] {
        let workspace = Workspace::new([("f", TEN), ("g", b"1\n")]);
        let answer = call(&workspace, &HELLO.replacen("@@ -1 +1 @@", head, 1)).unwrap();
        assert_eq!(answer.text, "M f\nM g\n", "{head}");
        assert_eq!(workspace.get("g"), b"x\n", "{head}");
    }
    // Numbers that want just these two lines are right.
    let two = "@@ -1,2 +1,2 @@\n a\n--- b\n+++ c\n@@ -3 +3 @@\n-d\n+e\n";
    patched(b"a\n-- b\nd\n", &diff(two), b"a\n++ c\ne\n");
}

#[test]
fn a_patch_that_changes_nothing_is_refused() {
    refused(TEN, &diff("@@ -1 +1 @@\n-1\n+1\n"), "the patch changes nothing");
    refused(TEN, &diff("@@ -1 +1 @@\n-1\n+1\r\n"), "apart from how lines end");
}

#[test]
fn line_ends_of_a_new_file_are_those_of_the_patch() {
    let unified = "--- /dev/null\n+++ b/n\n@@ -0,0 +1,2 @@\n+a\r\n+b\r\n";
    let block = "*** Begin Patch\n*** Add File: n\n+a\r\n+b\r\n*** End Patch\n";
    for patch in [unified, block] {
        let workspace = Workspace::new([]);
        call(&workspace, patch).unwrap();
        assert_eq!(workspace.get("n"), b"a\r\nb\r\n");
        // All of the patch ends so: that is how it came here.
        let workspace = Workspace::new([]);
        call(&workspace, &patch.replace("\r\n", "\n").replace('\n', "\r\n")).unwrap();
        assert_eq!(workspace.get("n"), b"a\nb\n");
    }
    patched(b"1\n", &diff("@@ -1 +1 @@\n-1\n+2\r\n"), b"2\n");
}

#[test]
fn names_that_are_no_paths_are_refused() {
    refused(TEN, "*** Begin Patch\n*** Add File: ~/notes\n+x\n*** End Patch", "begins with \"~\"");
    refused(TEN, "*** Begin Patch\n*** Update File: f\n*** Move to: ~/f\n*** End Patch", "begins with \"~\"");
    let long = format!("*** Begin Patch\n*** Add File: {}\n+x\n*** End Patch", "d/".repeat(3000));
    refused(TEN, &long, "a path has at most 4096");
    refused(TEN, "*** Begin Patch\n*** Add File: a\0b\n+x\n*** End Patch", "NUL");
}

#[test]
fn an_anchor_is_a_line_or_its_beginning_before_it_is_a_part() {
    let code = b"x = foo()\ndef foobar():\n    return 1\ndef foo(a):\n    return 1\n";
    let answer = patched(
        code,
        &block("@@ def foo\n-    return 1\n+    return 2\n"),
        b"x = foo()\ndef foobar():\n    return 1\ndef foo(a):\n    return 2\n",
    );
    assert_eq!(answer.text, "M f\n");
    refused(code, &block("@@ foo\n-    return 1\n+    return 2\n"), "(3 contain it: write the whole line)");
    let answer = patched(
        code,
        &block("@@ (a):\n-    return 1\n+    return 2\n"),
        b"x = foo()\ndef foobar():\n    return 1\ndef foo(a):\n    return 2\n",
    );
    assert!(answer.text.contains("part 1 follows line 4, which only contains what it names"), "{}", answer.text);
}
