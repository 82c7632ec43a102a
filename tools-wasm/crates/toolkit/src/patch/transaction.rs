//! Gathers what becomes of each file, as if it were done already. It never changes a file: that is `doing`'s.

use super::Hunk;
use super::apply::apply;
use super::notes::Notes;
use crate::edit::decode;
use crate::files::{Changeable, Kind, Meta, Trouble, explain, read_whole};
use crate::locate::{missing, need_file, split};
use crate::store::{self, Place};
use crate::text::Text;
use crate::{Failure, WHOLE_FILE_BYTES_MAX};

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Added,
    Deleted,
    Changed,
    Moved,
}

/// What is at a name, as far as a patch must know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    Nothing,
    /// A file or a link whose name alone matters: it is moved or deleted as it is, whatever it holds.
    Unread,
    Bytes(Vec<u8>),
}

impl Content {
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Content::Bytes(bytes) => Some(bytes),
            Content::Nothing | Content::Unread => None,
        }
    }

    pub(super) fn is_there(&self) -> bool {
        *self != Content::Nothing
    }
}

/// A file before and after.
pub(super) struct Entry {
    /// As the patch names it at the end.
    path: String,
    /// The name that it has until it is moved.
    pub(super) from: Option<String>,
    /// Where it is at the end, and what was found where it is now.
    pub(super) place: Place,
    pub(super) before: Content,
    pub(super) after: Content,
}

impl Entry {
    pub(super) fn what(&self) -> Option<What> {
        match (self.before.is_there(), self.after.is_there()) {
            (false, true) => Some(What::Added),
            (true, false) => Some(What::Deleted),
            (true, true) if self.from.is_some() => Some(What::Moved),
            (true, true) => (self.before != self.after).then_some(What::Changed),
            (false, false) => None,
        }
    }

    /// Whether it is a file that goes without anybody having seen what is in it.
    pub(super) fn goes_unread(&self) -> bool {
        let is_file = self.place.before.is_some_and(|meta| meta.kind == Kind::File);
        is_file && self.before == Content::Unread && self.gives_way()
    }

    /// Whether what is there leaves its name, and comes back to it only when the patch is taken back. Where nobody knows
    /// what is in it, that holds as well when something new takes the name: nothing else could bring it back.
    pub(super) fn gives_way(&self) -> bool {
        match (&self.before, &self.after) {
            (Content::Nothing, _) => false,
            (Content::Bytes(_), after) => !after.is_there(),
            (Content::Unread, after) => *after != Content::Unread,
        }
    }

    /// Where the new content goes, and what is there by then.
    pub(super) fn destination(&self) -> Place {
        let before = if self.gives_way() { None } else { self.place.before };
        Place { path: self.place.path.clone(), before }
    }

    /// As the patch names it; one that is deleted by the name that it had.
    pub(super) fn path(&self) -> &str {
        match &self.from {
            Some(from) if !self.after.is_there() => from,
            Some(_) | None => &self.path,
        }
    }

    /// Where it is before anything is done.
    pub(super) fn origin(&self) -> &str {
        self.from.as_ref().unwrap_or(&self.place.path)
    }
}

/// All files of one patch.
pub(super) struct Transaction<'f> {
    files: &'f dyn Changeable,
    /// In the order in which they are moved.
    entries: Vec<Entry>,
    /// Names that something was moved away from.
    gone: Vec<String>,
    pub(super) notes: Notes,
}

impl<'f> Transaction<'f> {
    pub(super) fn new(files: &'f dyn Changeable) -> Transaction<'f> {
        Transaction { files, entries: Vec::new(), gone: Vec::new(), notes: Notes::default() }
    }

    /// What will be different, and the notes.
    pub(super) fn end(self) -> (Vec<Entry>, Notes) {
        (self.entries.into_iter().filter(|entry| entry.what().is_some()).collect(), self.notes)
    }

    /// The newest: a name may be deleted, and something else moved there.
    fn known(&self, path: &str) -> Option<usize> {
        self.entries.iter().rposition(|entry| entry.path == path)
    }

    /// Whether there is a file, after what the patch did so far.
    pub(super) fn exists(&self, path: &str) -> bool {
        match self.known(path).and_then(|index| self.entries.get(index)) {
            Some(entry) => entry.after.is_there(),
            None => self.found(path).is_ok(),
        }
    }

    /// What is at a name that the patch did nothing with but move it away. A link is what it is.
    fn found(&self, path: &str) -> Result<Meta, Trouble> {
        if self.gone.iter().any(|gone| gone == path) {
            return Err(Trouble::NotFound);
        }
        self.files.link_meta(path)
    }

    /// Changes a file by the hunks, and says what is in it then.
    pub(super) fn patch(&mut self, path: &str, hunks: &[Hunk]) -> Result<&[u8], Failure> {
        let index = self.open(path)?;
        let entry = numbered(&mut self.entries, index, path)?;
        let Some(bytes) = entry.after.bytes() else {
            return Err(missing(self.files, "patch", path, Trouble::NotFound));
        };
        let text = decode(path, bytes)?;
        let bytes = apply(path, &text.bytes, hunks, &mut self.notes).map_err(Failure::refused)?;
        entry.after = Content::Bytes(Text { bytes, ..text }.encode()?);
        Ok(entry.after.bytes().unwrap_or_default())
    }

    /// The entry of a file that is there, with what is in it.
    fn open(&mut self, path: &str) -> Result<usize, Failure> {
        if let Some(index) = self.known(path) {
            self.read(index)?;
            return Ok(index);
        }
        // Said of the name itself first: something may have been moved away from it.
        self.found(path).map_err(|trouble| missing(self.files, "read", path, trouble))?;
        need_file(self.files, path)?;
        let place = store::place(self.files, path)?;
        let content = Content::Bytes(read_whole(self.files, &place.path, WHOLE_FILE_BYTES_MAX)?);
        Ok(self.push(Entry { path: path.to_owned(), from: None, place, before: content.clone(), after: content }))
    }

    /// What was moved unread is read now, where it still is.
    fn read(&mut self, index: usize) -> Result<(), Failure> {
        let Some(entry) = self.entries.get_mut(index).filter(|entry| entry.after == Content::Unread) else {
            return Ok(());
        };
        if entry.place.before.is_none_or(|meta| meta.kind != Kind::File) {
            return Err(Failure::refused(format!(
                "\"{}\" is a link that the patch moves: name the file that it leads to; nothing was changed",
                entry.path
            )));
        }
        let content = Content::Bytes(read_whole(self.files, entry.origin(), WHOLE_FILE_BYTES_MAX)?);
        (entry.before, entry.after) = (content.clone(), content);
        Ok(())
    }

    fn push(&mut self, entry: Entry) -> usize {
        self.entries.push(entry);
        self.entries.len() - 1
    }

    pub(super) fn add(&mut self, path: &str, content: &str) -> Result<(), Failure> {
        if self.exists(path) {
            let text = format!("the patch makes \"{path}\" anew, but it is there already; change it, or use write");
            return Err(Failure::refused(text + "; nothing was changed"));
        }
        let after = Content::Bytes(content.as_bytes().to_vec());
        if let Some(entry) = self.known(path).and_then(|index| self.entries.get_mut(index)) {
            entry.after = after;
            return Ok(());
        }
        let place = if self.gone.iter().any(|gone| gone == path) {
            // By the time that it is written, what is there now has moved.
            Place { path: path.to_owned(), before: None }
        } else {
            store::place(self.files, path)?
        };
        self.push(Entry { path: path.to_owned(), from: None, place, before: Content::Nothing, after });
        Ok(())
    }

    pub(super) fn delete(&mut self, path: &str) -> Result<(), Failure> {
        if let Some(entry) = self.known(path).and_then(|index| self.entries.get_mut(index)) {
            own_name(entry)?;
            entry.after = Content::Nothing;
            return Ok(());
        }
        let mut entry = self.unread(path, "delete")?;
        // To be shown, where there is room for it at all: if it has to be put back, it is renamed. A link goes itself, and
        // not what it leads to.
        if entry.place.before.is_some_and(|meta| meta.kind == Kind::File && meta.size <= WHOLE_FILE_BYTES_MAX) {
            entry.before = Content::Bytes(read_whole(self.files, path, WHOLE_FILE_BYTES_MAX)?);
        }
        entry.after = Content::Nothing;
        self.push(entry);
        Ok(())
    }

    /// Gives what is at a name another one: the same file with its permissions, whatever is in it.
    pub(super) fn rename(&mut self, from: &str, to: &str) -> Result<(), Failure> {
        if self.exists(to) {
            let text = format!("the patch moves \"{from}\" to \"{to}\", but that is there already");
            return Err(Failure::refused(text + "; delete it before, or choose another name; nothing was changed"));
        }
        if split(to).is_none() {
            return Err(Failure::refused(format!("\"{to}\" names a directory, not a file; add the file's name")));
        }
        let mut entry = match self.known(from) {
            Some(index) => self.entries.remove(index),
            None => self.unread(from, "move")?,
        };
        if !entry.after.is_there() {
            return Err(explain("move", from, Trouble::NotFound));
        }
        own_name(&entry)?;
        self.gone.push(from.to_owned());
        let origin = entry.from.take().unwrap_or(entry.path);
        // What the patch itself added has no name yet.
        entry.from = (entry.before.is_there() && origin != to).then_some(origin);
        (entry.path, entry.place.path) = (to.to_owned(), to.to_owned());
        self.entries.push(entry);
        Ok(())
    }

    /// A file or a link by its name alone.
    fn unread(&self, path: &str, act: &str) -> Result<Entry, Failure> {
        let meta = self.found(path).map_err(|trouble| missing(self.files, act, path, trouble))?;
        if matches!(meta.kind, Kind::Directory | Kind::Other) {
            let what = if meta.kind == Kind::Directory { "a directory" } else { "a device, a socket or a pipe" };
            return Err(Failure::refused(format!(
                "\"{path}\" is {what}, and a patch can {act} only files; nothing was changed"
            )));
        }
        let place = Place { path: path.to_owned(), before: Some(meta) };
        let (before, after) = (Content::Unread, Content::Unread);
        Ok(Entry { path: path.to_owned(), from: None, place, before, after })
    }
}

/// An entry by its number. Where there is none, nothing is known of the file, and least of all that it is empty.
fn numbered<'e>(entries: &'e mut [Entry], index: usize, path: &str) -> Result<&'e mut Entry, Failure> {
    entries.get_mut(index).ok_or_else(|| {
        Failure::refused(format!("\"{path}\" was lost sight of, a bug of this tool; nothing was changed"))
    })
}

/// A link whose file the patch changed cannot go as well: the one act would be on the file, the other on the link.
fn own_name(entry: &Entry) -> Result<(), Failure> {
    if entry.place.path == entry.path {
        return Ok(());
    }
    Err(Failure::refused(format!(
        "\"{}\" is a link to \"{}\": name that file, or delete the link by \"*** Delete File\" alone; nothing was changed",
        entry.path, entry.place.path
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::{Failing, Fault, Workspace};
    use serde_json::json;

    const LARGE: &str = "*** Begin Patch\n*** Delete File: d/large\n*** Update File: f\n@@\n-1\n+x\n*** End Patch";

    fn with_a_large_file() -> Workspace {
        let workspace = Workspace::new([("f", &b"1\n"[..]), ("d/large", b"\n\n")]);
        let large = std::fs::File::options().write(true).open(workspace.at("d/large")).unwrap();
        large.set_len(WHOLE_FILE_BYTES_MAX + 1).unwrap();
        workspace
    }

    #[test]
    fn a_file_that_is_too_large_to_be_read_is_deleted() {
        let workspace = with_a_large_file();
        let answer = super::super::run(&json!({ "patch": LARGE }).to_string(), &workspace).unwrap();
        assert_eq!((answer.text.as_str(), workspace.names()), ("D d/large\nM f\n", vec!["f".to_owned()]));
        let record = json!({ "file_path": "d/large", "what": "deleted", "diff": null });
        assert_eq!(answer.structured["files"][0], record, "what was in it is not said to be nothing");
        let all = "--- a/d/large\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-\n-\n";
        let workspace = with_a_large_file();
        let failure = super::super::run(&json!({ "patch": all }).to_string(), &workspace).unwrap_err();
        assert!(failure.text().contains("more than this tool takes at once"), "{failure:?}");
        assert_eq!(workspace.names(), ["d/large", "f"]);
    }

    #[test]
    fn a_large_file_whose_deletion_is_taken_back_is_the_same_file() {
        use std::os::unix::fs::MetadataExt as _;
        // The first rename sets it aside, the second gives the other file its new content.
        for fault in [Fault::Rename(0), Fault::Rename(1)] {
            let workspace = with_a_large_file();
            let about = || std::fs::metadata(workspace.at("d/large")).map(|about| (about.ino(), about.len())).unwrap();
            let before = about();
            let failing = Failing::new(&workspace, [fault]);
            let failure = super::super::run(&json!({ "patch": LARGE }).to_string(), &failing).unwrap_err();
            assert!(failure.text().ends_with("nothing was changed"), "{failure:?}");
            assert_eq!((about(), workspace.names()), (before, vec!["d/large".to_owned(), "f".to_owned()]));
            assert_eq!(workspace.get("f"), b"1\n");
        }
    }

    const REPLACED: &str = "*** Begin Patch\n*** Delete File: d/large\n*** Add File: d/large\n+new\n*** Update File: f\n\
                            @@\n-1\n+x\n*** End Patch";

    #[test]
    fn a_large_file_whose_name_is_taken_by_a_new_one_comes_back_as_it_was() {
        use std::os::unix::fs::MetadataExt as _;
        // It is set aside, the new file takes its name, and the other file gets its new content.
        for fault in [Fault::Rename(0), Fault::Rename(1), Fault::Rename(2)] {
            let workspace = with_a_large_file();
            let about = || std::fs::metadata(workspace.at("d/large")).map(|about| (about.ino(), about.len())).unwrap();
            let before = about();
            let failing = Failing::new(&workspace, [fault]);
            let failure = super::super::run(&json!({ "patch": REPLACED }).to_string(), &failing).unwrap_err();
            assert!(failure.text().ends_with("nothing was changed"), "{failure:?}");
            assert_eq!((about(), workspace.names()), (before, vec!["d/large".to_owned(), "f".to_owned()]), "{fault:?}");
            assert_eq!(workspace.get("f"), b"1\n");
        }
        let workspace = with_a_large_file();
        let answer = super::super::run(&json!({ "patch": REPLACED }).to_string(), &workspace).unwrap();
        assert_eq!(answer.text, "M d/large\nM f\n");
        assert_eq!(answer.structured["files"][0]["diff"], json!(null), "what was in it is not said to be nothing");
        assert_eq!((workspace.get("d/large"), workspace.names().len()), (b"new\n".to_vec(), 2));
    }

    #[test]
    fn a_large_file_that_moved_before_its_name_was_taken_comes_back_to_its_first_name() {
        let patch = "*** Begin Patch\n*** Update File: d/large\n*** Move to: e/large\n*** Delete File: e/large\n\
                     *** Add File: e/large\n+new\n*** Update File: f\n@@\n-1\n+x\n*** End Patch";
        let patch = json!({ "patch": patch }).to_string();
        for fault in [Fault::Rename(0), Fault::Rename(1), Fault::Rename(2)] {
            let workspace = with_a_large_file();
            let failure = super::super::run(&patch, &Failing::new(&workspace, [fault])).unwrap_err();
            assert!(failure.text().ends_with("nothing was changed"), "{failure:?}");
            assert_eq!(workspace.names(), ["d/large", "f"], "{fault:?}");
            assert_eq!(std::fs::metadata(workspace.at("d/large")).unwrap().len(), WHOLE_FILE_BYTES_MAX + 1);
        }
        let workspace = with_a_large_file();
        super::super::run(&patch, &workspace).unwrap();
        assert_eq!(
            (workspace.names(), workspace.get("e/large")),
            (vec!["e/large".into(), "f".into()], b"new\n".to_vec())
        );
    }

    #[test]
    fn a_link_whose_name_is_taken_by_a_file_comes_back_as_a_link() {
        let patch = "*** Begin Patch\n*** Delete File: link\n*** Add File: link\n+new\n*** Update File: f\n\
                     @@\n-1\n+x\n*** End Patch";
        let patch = json!({ "patch": patch }).to_string();
        let linked = || {
            let workspace = Workspace::new([("f", &b"1\n"[..])]);
            std::os::unix::fs::symlink("f", workspace.at("link")).unwrap();
            workspace
        };
        for fault in [Fault::Rename(0), Fault::Rename(1), Fault::Rename(2)] {
            let workspace = linked();
            let failure = super::super::run(&patch, &Failing::new(&workspace, [fault])).unwrap_err();
            assert!(failure.text().ends_with("nothing was changed"), "{failure:?}");
            assert_eq!(std::fs::read_link(workspace.at("link")).unwrap().to_str(), Some("f"), "{fault:?}");
            assert_eq!((workspace.names().len(), workspace.get("f")), (2, b"1\n".to_vec()));
        }
        let workspace = linked();
        super::super::run(&patch, &workspace).unwrap();
        assert!(!workspace.at("link").is_symlink());
        assert_eq!((workspace.get("link"), workspace.get("f")), (b"new\n".to_vec(), b"x\n".to_vec()));
    }

    #[test]
    fn an_entry_that_is_not_there_is_no_empty_file() {
        let failure = numbered(&mut [], 0, "f").map(drop).unwrap_err();
        assert!(failure.text().contains("\"f\" was lost sight of"), "{failure:?}");
    }
}
