//! Writes a whole file: all of it or nothing. It never changes the encoding or the line endings of a file that is there,
//! unless it is asked to write exactly what it was given.

use super::args::Args;
use super::files::{Changeable, read_whole};
use super::store::{self, Way};
use super::text::{self, Encoding, Endings, Text};
use super::{Answer, Failure, WHOLE_FILE_BYTES_MAX};
use serde_json::json;

/// The longest content of one call.
const CONTENT_BYTES_MAX: usize = 16 * 1024 * 1024;

const _: () = assert!((CONTENT_BYTES_MAX as u64) <= WHOLE_FILE_BYTES_MAX, "what was written can be edited");

/// One call.
pub fn run(arguments: &str, files: &dyn Changeable) -> Result<Answer, Failure> {
    let mut args = Args::parse(arguments)?;
    let path = args.need_path("file_path")?;
    let content = args.need_text("content")?;
    let exact = args.word("format", &["keep", "exact"])? == "exact";
    args.finish()?;
    if content.len() > CONTENT_BYTES_MAX {
        let text = format!("\"content\" has {} bytes, and one call writes at most {CONTENT_BYTES_MAX}", content.len());
        return Err(Failure::invalid(text));
    }

    let place = store::place(files, &path)?;
    let before = place.before.filter(|meta| meta.size <= WHOLE_FILE_BYTES_MAX);
    let before = before.map(|_| read_whole(files, &place.path, WHOLE_FILE_BYTES_MAX)).transpose()?;
    let kept = before.as_deref().filter(|_| !exact).and_then(|bytes| Text::decode(bytes).ok());
    let (bytes, encoding, endings) = form(&content, kept.as_ref())?;
    let created = place.before.is_none();
    if before.as_deref() == Some(&bytes) {
        return Ok(answer(&path, &bytes, "unchanged", encoding, endings, Way::Atomic));
    }
    let made = store::make_parents(files, &place.path)?;
    let way =
        store::put(files, place, &bytes, before.as_deref()).inspect_err(|_| store::remove_directories(files, &made))?;
    Ok(answer(&path, &bytes, if created { "created" } else { "replaced" }, encoding, endings, way))
}

/// The bytes that stand for the content in the form of the file that is there.
fn form(content: &str, kept: Option<&Text>) -> Result<(Vec<u8>, Encoding, Endings), Failure> {
    let Some(kept) = kept else {
        return Ok((content.as_bytes().to_vec(), Encoding::Utf8, Endings::of(content.as_bytes())));
    };
    let crlf = Endings::of(&kept.bytes) == Endings::Crlf && !content.contains('\r');
    let text = if crlf { content.replace('\n', "\r\n") } else { content.to_owned() };
    let encoding = if kept.encoding == Encoding::BrokenUtf8 { Encoding::Utf8 } else { kept.encoding };
    let endings = Endings::of(text.as_bytes());
    let mark = kept.mark && !text.starts_with('\u{feff}');
    let bytes = Text { encoding, mark, bytes: text.into_bytes() }.encode()?;
    Ok((bytes, encoding, endings))
}

fn answer(path: &str, bytes: &[u8], what: &str, encoding: Encoding, endings: Endings, way: Way) -> Answer {
    let lines = text::lines(bytes).count();
    let mut text = format!("{what} \"{path}\": {lines} lines, {} bytes{}", bytes.len(), way.note());
    if encoding != Encoding::Utf8 || endings == Endings::Crlf {
        text += &format!("; {}, line endings {}", encoding.name(), endings.name());
    }
    let structured = json!({
        "file_path": path, "what": what, "bytes": bytes.len(), "lines": lines,
        "encoding": encoding.name(), "line_endings": endings.name(), "atomic": way == Way::Atomic,
    });
    Answer::new(text, structured)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::{Failing, Fault, Workspace};
    use std::fs;
    use std::os::unix::fs::symlink;

    #[track_caller]
    fn write(workspace: &Workspace, path: &str, content: &str) -> Answer {
        run(&json!({ "file_path": path, "content": content }).to_string(), workspace).expect("it can be written")
    }

    #[test]
    fn a_new_file_gets_its_directories_and_nothing_else_stays() {
        let workspace = Workspace::new([]);
        let answer = write(&workspace, "a/b/c.txt", "x\ny\n");
        assert_eq!(answer.text, "created \"a/b/c.txt\": 2 lines, 4 bytes");
        assert_eq!(workspace.names(), ["a/b/c.txt"]);
        assert_eq!(write(&workspace, "a/b/c.txt", "x\ny\n").structured["what"], "unchanged");
        assert_eq!(write(&workspace, "a/b/c.txt", "").structured["what"], "replaced");
        assert_eq!(workspace.get("a/b/c.txt"), b"");
    }

    #[test]
    fn endings_mark_and_encoding_of_a_file_survive() {
        let workspace = Workspace::new([
            ("crlf", &b"a\r\nb\r\n"[..]),
            ("mark", b"\xef\xbb\xbfa\n"),
            ("wide", b"\xff\xfea\0\r\0\n\0"),
            ("latin", b"caf\xe9"),
            ("binary", b"\0\x01\x02"),
        ]);
        for name in ["crlf", "mark", "wide", "latin", "binary"] {
            write(&workspace, name, "\u{fc}\nz\n");
        }
        assert_eq!(workspace.get("crlf"), "\u{fc}\r\nz\r\n".as_bytes());
        assert_eq!(workspace.get("mark"), b"\xef\xbb\xbf\xc3\xbc\nz\n");
        assert_eq!(workspace.get("wide"), b"\xff\xfe\xfc\0\r\0\n\0z\0\r\0\n\0");
        assert_eq!(workspace.get("latin"), b"\xfc\nz\n");
        assert_eq!(workspace.get("binary"), "\u{fc}\nz\n".as_bytes());
        let exact = json!({ "file_path": "crlf", "content": "a\n", "format": "exact" }).to_string();
        run(&exact, &workspace).unwrap();
        assert_eq!(workspace.get("crlf"), b"a\n");
        let refused = run(&json!({ "file_path": "latin", "content": "\u{20ac}" }).to_string(), &workspace);
        assert!(refused.unwrap_err().text().contains("latin-1"));
        assert_eq!(workspace.get("latin"), b"\xfc\nz\n");
    }

    #[test]
    fn a_link_stays_a_link_and_a_second_name_stays_the_same_file() {
        let workspace = Workspace::new([("real/f", &b"old\n"[..]), ("one", b"old\n")]);
        symlink("real/f", workspace.at("link")).unwrap();
        fs::hard_link(workspace.at("one"), workspace.at("two")).unwrap();
        write(&workspace, "link", "new\n");
        assert!(workspace.at("link").is_symlink());
        assert_eq!(workspace.get("real/f"), b"new\n");
        let answer = write(&workspace, "one", "new\n");
        assert_eq!(answer.structured["atomic"], false);
        assert!(answer.text.contains("in place"), "{}", answer.text);
        assert_eq!(workspace.get("two"), b"new\n");
        assert_eq!(workspace.names(), ["link", "one", "real/f", "two"]);
    }

    #[test]
    fn a_write_in_place_that_breaks_off_leaves_what_was_there() {
        let workspace = Workspace::new([("one", &b"old\n"[..])]);
        fs::hard_link(workspace.at("one"), workspace.at("two")).unwrap();
        let arguments = json!({ "file_path": "one", "content": "something else\n" }).to_string();
        let failure = run(&arguments, &Failing::new(&workspace, [Fault::Overwrite(0)])).unwrap_err();
        assert!(failure.text().ends_with("there is no space left for it"), "{failure:?}");
        assert_eq!(workspace.get("two"), b"old\n");
        let failing = Failing::new(&workspace, [Fault::Overwrite(0), Fault::Overwrite(1)]);
        let failure = run(&arguments, &failing).unwrap_err();
        assert!(failure.text().ends_with("\"one\" may hold a part of the new text"), "{failure:?}");
    }

    #[test]
    fn what_cannot_be_a_file_is_refused_and_nothing_stays() {
        let workspace = Workspace::new([("d/f", &b""[..])]);
        for (path, said) in [
            ("d", "is a directory"),
            ("d/", "names a directory"),
            (".", "names a directory"),
            ("d/f/x", "not a directory"),
            ("/dev/null", "only files are written"),
            (&"n".repeat(300), "too long"),
        ] {
            let failure = run(&json!({ "file_path": path, "content": "x" }).to_string(), &workspace).unwrap_err();
            assert!(failure.text().contains(said), "{path}: {failure:?}");
        }
        let long = format!("new/{}", "n".repeat(300));
        run(&json!({ "file_path": long, "content": "x" }).to_string(), &workspace).unwrap_err();
        assert_eq!(workspace.names(), ["d/f"]);
        assert!(!workspace.at("new").exists(), "a directory that was made for nothing is taken away");
    }

    #[test]
    fn a_file_that_was_left_over_is_stepped_around() {
        let workspace = Workspace::new([(".stockade-write-0.tmp", &b"left"[..])]);
        write(&workspace, "f", "x");
        assert_eq!(workspace.names(), [".stockade-write-0.tmp", "f"]);
        assert_eq!(workspace.get(".stockade-write-0.tmp"), b"left");
    }
}
