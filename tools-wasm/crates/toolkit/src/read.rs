//! Reads a part of a text file with its line numbers, or shows a picture. It never holds more of a file than it shows,
//! except where UTF-16 must be decoded as a whole.

use super::args::Args;
use super::files::{Files, Source, Trouble, explain, read_whole};
use super::locate::need_file;
use super::text::{self, Content, Encoding, Endings, HEAD_BYTES};
use super::{ANSWER_BYTES_MAX, Answer, Failure, WHOLE_FILE_BYTES_MAX};
use serde_json::{Value, json};

/// How many lines one answer has at most, and when the call does not say.
const LINES_MAX: usize = 2000;
/// Characters of a line that are shown.
const LINE_CHARS_MAX: usize = 2000;
/// The largest picture that is handed on.
const IMAGE_BYTES_MAX: u64 = 5 * 1024 * 1024;
/// How far a file is read only to find a line or to count the lines.
const SCANNED_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// What is asked of the host at once.
const BLOCK_BYTES: usize = 128 * 1024;

const _: () = assert!(LINE_CHARS_MAX * 4 + 64 < ANSWER_BYTES_MAX, "one line always fits into an answer");

const ENCODINGS: [(&str, Option<Encoding>); 5] = [
    ("auto", None),
    ("utf-8", Some(Encoding::Utf8)),
    ("utf-16le", Some(Encoding::Utf16Le)),
    ("utf-16be", Some(Encoding::Utf16Be)),
    ("latin-1", Some(Encoding::Latin1)),
];

/// One call.
pub fn run(arguments: &str, files: &dyn Files) -> Result<Answer, Failure> {
    let mut args = Args::parse(arguments)?;
    let path = args.need_path("file_path")?;
    let first = args.count("offset", 1, usize::MAX)?.unwrap_or(1);
    let lines_max = args.count("limit", 1, LINES_MAX)?.unwrap_or(LINES_MAX);
    let wanted = args.word("encoding", &ENCODINGS.map(|(name, _)| name))?;
    args.finish()?;
    let wanted = ENCODINGS.iter().find(|(name, _)| *name == wanted).and_then(|(_, encoding)| *encoding);

    let size = need_file(files, &path)?.size;
    let mut source = files.open(&path).map_err(|trouble| explain("read", &path, trouble))?;
    let head = head(source.as_mut()).map_err(|trouble| explain("read", &path, trouble))?;
    let (encoding, mark) = match (text::detect(&head, head.len() < HEAD_BYTES), wanted) {
        (Content::Text(found, mark), None) => (found, mark),
        (Content::Text(found, mark), Some(encoding)) => (encoding, if found == encoding { mark } else { 0 }),
        (Content::Image(_) | Content::Binary(_), Some(encoding)) => (encoding, 0),
        (Content::Image(media_type), None) => return picture(files, &path, media_type, size),
        (Content::Binary(what), None) => return Err(binary(&path, what, size)),
    };
    let page = Page { path: &path, size, encoding, mark, first, lines_max };
    match encoding {
        Encoding::Utf8 | Encoding::BrokenUtf8 | Encoding::Latin1 => page.answer(source.as_mut(), mark as u64),
        Encoding::Utf16Le | Encoding::Utf16Be => {
            let file = read_whole(files, &path, WHOLE_FILE_BYTES_MAX)?;
            let decoded = text::to_utf8(file.get(mark..).unwrap_or_default(), encoding)
                .ok_or_else(|| Failure::refused(format!("\"{path}\" is not valid {}", encoding.name())))?;
            page.answer(&mut Memory(&decoded), 0)
        }
    }
}

/// Text that was decoded already.
struct Memory<'b>(&'b [u8]);

impl Source for Memory<'_> {
    fn read_at(&mut self, offset: u64, bytes_max: usize) -> Result<Vec<u8>, Trouble> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let to = from.saturating_add(bytes_max).min(self.0.len());
        Ok(self.0.get(from..to).unwrap_or_default().to_vec())
    }
}

fn head(source: &mut dyn Source) -> Result<Vec<u8>, Trouble> {
    let mut head = Vec::new();
    while head.len() < HEAD_BYTES {
        let part = source.read_at(head.len() as u64, HEAD_BYTES - head.len())?;
        if part.is_empty() {
            break;
        }
        head.extend_from_slice(&part);
    }
    Ok(head)
}

fn picture(files: &dyn Files, path: &str, media_type: &str, size: u64) -> Result<Answer, Failure> {
    if size > IMAGE_BYTES_MAX {
        return Err(Failure::refused(format!(
            "\"{path}\" is a picture ({media_type}) of {size} bytes, and at most {IMAGE_BYTES_MAX} are shown; make it smaller first"
        )));
    }
    let bytes = read_whole(files, path, IMAGE_BYTES_MAX)?;
    let structured = json!({ "file_path": path, "kind": "image", "media_type": media_type, "bytes": bytes.len() });
    let text = format!("\"{path}\" is a picture ({media_type}, {} bytes), shown beside this text", bytes.len());
    Ok(Answer { text, structured, images: vec![(media_type.to_owned(), bytes)] })
}

fn binary(path: &str, what: &str, size: u64) -> Failure {
    Failure::refused(format!(
        "\"{path}\" is {what} of {size} bytes, not text; a shell can look into it (file, xxd, strings), or give an \
         \"encoding\" to read it as text nevertheless"
    ))
}

/// One line as far as it is shown.
struct Line {
    head: Vec<u8>,
    bytes: usize,
}

/// What is known after the file was gone through.
#[derive(Default)]
struct Scan {
    lines: Vec<Line>,
    answer_bytes: usize,
    /// Lines that begin before the place that was reached.
    lines_seen: usize,
    lf: bool,
    crlf: bool,
    ended: bool,
    ends_open: bool,
}

struct Page<'p> {
    path: &'p str,
    size: u64,
    encoding: Encoding,
    mark: usize,
    first: usize,
    lines_max: usize,
}

impl Page<'_> {
    fn answer(&self, source: &mut dyn Source, start: u64) -> Result<Answer, Failure> {
        let scan = self.scan(source, start).map_err(|trouble| explain("read", self.path, trouble))?;
        if scan.lines_seen < self.first && !(self.first == 1 && scan.ended) {
            let why =
                if scan.ended { format!("it has {} lines", scan.lines_seen) } else { self.too_far(scan.lines_seen) };
            return Err(Failure::refused(format!("\"{}\" has no line {}: {why}", self.path, self.first)));
        }
        Ok(self.render(&scan))
    }

    fn too_far(&self, seen: usize) -> String {
        format!(
            "its first {SCANNED_BYTES_MAX} bytes have {seen}, and no more are looked through; use a shell (tail, sed -n)"
        )
    }

    /// Keeps the lines of this page and counts all others.
    fn scan(&self, source: &mut dyn Source, start: u64) -> Result<Scan, Trouble> {
        let mut scan = Scan::default();
        let mut offset = start;
        let mut at_start = true;
        let mut before = 0u8;
        let mut full = false;
        while offset - start < SCANNED_BYTES_MAX {
            let block = source.read_at(offset, BLOCK_BYTES)?;
            if block.is_empty() {
                scan.ended = true;
                break;
            }
            offset += block.len() as u64;
            for piece in text::lines(&block) {
                if at_start {
                    scan.lines_seen += 1;
                    full = full || !self.has_room(&scan);
                }
                if !full && scan.lines_seen >= self.first {
                    keep(&mut scan, piece, at_start);
                }
                at_start = piece.ends_with(b"\n");
                if at_start {
                    let crlf = piece.len().checked_sub(2).map_or(before, |at| piece[at]) == b'\r';
                    scan.crlf |= crlf;
                    scan.lf |= !crlf;
                }
                before = piece.last().copied().unwrap_or(0);
            }
        }
        scan.ends_open = scan.ended && !at_start;
        Ok(scan)
    }

    /// Whether the line that begins now belongs to this page and fits into the answer.
    fn has_room(&self, scan: &Scan) -> bool {
        scan.lines_seen < self.first
            || scan.lines.len() < self.lines_max && scan.answer_bytes + LINE_CHARS_MAX * 4 + 64 < ANSWER_BYTES_MAX
    }

    fn render(&self, scan: &Scan) -> Answer {
        let (mut numbered, mut content) = (String::new(), String::new());
        let mut cut = false;
        for (index, line) in scan.lines.iter().enumerate() {
            let (text, cut_here) = self.line(line);
            cut |= cut_here;
            numbered += &format!("{:>6}\t{text}\n", self.first + index);
            content += &text;
            content.push('\n');
        }
        let last = self.first + scan.lines.len().saturating_sub(1);
        let total = scan.ended.then_some(scan.lines_seen);
        let next = (total.is_none_or(|total| last < total) && !scan.lines.is_empty()).then_some(last + 1);
        if next.is_none() && scan.ends_open {
            content.pop();
        }
        let endings = self.endings(scan);
        let structured = json!({
            "file_path": self.path, "kind": "text", "content": content, "bytes": self.size,
            "first_line": self.first, "last_line": if scan.lines.is_empty() { 0 } else { last },
            "total_lines": total, "next_offset": next, "encoding": self.encoding.name(),
            "byte_order_mark": self.mark > 0, "line_endings": endings.name(), "lines_cut": cut,
        });
        let notes = self.notes(scan, endings, (last, total, next), cut);
        Answer::new(numbered + &notes, structured)
    }

    /// A line as it is shown, and whether it is all of it.
    fn line(&self, line: &Line) -> (String, bool) {
        let whole = line.head.len() == line.bytes;
        let chomped = if whole { text::chomp(&line.head) } else { &line.head };
        let latin = (self.encoding == Encoding::Latin1).then(|| text::to_utf8(chomped, Encoding::Latin1)).flatten();
        let (mut text, more) = text::first_chars(latin.as_deref().unwrap_or(chomped), LINE_CHARS_MAX);
        if more || !whole {
            text += &text::long_line(line.bytes);
        }
        (text, more || !whole)
    }

    fn endings(&self, scan: &Scan) -> Endings {
        match (scan.lf, scan.crlf) {
            (false, false) => Endings::None,
            (true, false) => Endings::Lf,
            (false, true) => Endings::Crlf,
            (true, true) => Endings::Mixed { mostly_crlf: false },
        }
    }

    fn notes(
        &self,
        scan: &Scan,
        endings: Endings,
        (last, total, next): (usize, Option<usize>, Option<usize>),
        cut: bool,
    ) -> String {
        let mut notes = Vec::new();
        if scan.lines.is_empty() {
            notes.push("the file is empty".to_owned());
        }
        if let Some(next) = next {
            let of = total.map_or_else(|| "more".to_owned(), |total| total.to_string());
            notes.push(format!("lines {} to {last} of {of}; read on with offset {next}", self.first));
        }
        if scan.ends_open && next.is_none() {
            notes.push("the last line has no line end".to_owned());
        }
        if matches!(endings, Endings::Crlf | Endings::Mixed { .. }) {
            notes.push(format!("line endings: {}", endings.name()));
        }
        if self.encoding != Encoding::Utf8 || self.mark > 0 {
            let mark = if self.mark > 0 { " with a byte order mark" } else { "" };
            notes.push(format!("encoding: {}{mark}", self.encoding.name()));
        }
        if cut {
            notes.push(format!("lines are cut after {LINE_CHARS_MAX} characters; a shell (cut -c) shows the rest"));
        }
        if notes.is_empty() { String::new() } else { format!("[{}]\n", notes.join("; ")) }
    }
}

/// Adds a piece to the line that it belongs to, as far as it will be shown.
fn keep(scan: &mut Scan, piece: &[u8], at_start: bool) {
    if at_start {
        scan.lines.push(Line { head: Vec::new(), bytes: 0 });
        scan.answer_bytes += 8;
    }
    let Some(line) = scan.lines.last_mut() else { return };
    let room = (LINE_CHARS_MAX * 4 + 8).saturating_sub(line.head.len());
    let kept = piece.get(..room).unwrap_or(piece);
    line.head.extend_from_slice(kept);
    line.bytes += piece.len();
    scan.answer_bytes += kept.len().min(LINE_CHARS_MAX * 4);
}

/// The names of the encodings that a call may ask for, for the test that holds the schema against them.
pub fn encodings() -> Value {
    json!(ENCODINGS.map(|(name, _)| name))
}

#[cfg(test)]
mod tests;
