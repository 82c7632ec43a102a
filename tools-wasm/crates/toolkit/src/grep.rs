//! Searches files for a regular expression: which files, how often, or which lines. It never follows a link, and tells
//! which files it could not look into.

mod collect;

use super::args::Args;
use super::files::{Files, Kind, read_whole};
use super::glob::matcher;
use super::text::cut;
use super::walk::{Found, Ignored, Walk};
use super::{ANSWER_BYTES_MAX, Answer, Failure, WHOLE_FILE_BYTES_MAX};
use collect::{Collected, Collector, Line, Mode};
use globset::GlobMatcher;
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder};
use ignore::types::{Types, TypesBuilder};
use serde_json::{Value, json};

/// Entries (files or lines) of one answer, when the call does not say and at most.
const LIMIT: usize = 250;
const LIMIT_MAX: usize = 2000;
const CONTEXT_LINES_MAX: usize = 100;
const PATTERN_BYTES_MAX: usize = 16 * 1024;
/// What a compiled pattern may take.
const REGEX_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes that one call looks through.
const SEARCHED_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// What is asked.
struct Query {
    matcher: RegexMatcher,
    glob: Option<(GlobMatcher, bool)>,
    types: Option<Types>,
    mode: Mode,
    before: usize,
    after: usize,
    numbers: bool,
    multiline: bool,
    offset: usize,
    limit: usize,
}

/// One call.
pub fn run(arguments: &str, files: &dyn Files) -> Result<Answer, Failure> {
    let mut args = Args::parse(arguments)?;
    let path = args.path("path")?.unwrap_or_else(|| ".".to_owned());
    let ignored = if args.flag("include_ignored")? { Ignored::Included } else { Ignored::LeftOut };
    let query = Query::take(&mut args)?;
    args.finish()?;
    let mut walk = Walk::new(files, &path, ignored, usize::MAX)?;
    let mut search = Search::new(&query);
    for found in walk.by_ref() {
        if found.kind == Kind::File || found.kind == Kind::Link && found.path == path {
            search.file(files, &found);
        }
        if search.exhausted() {
            break;
        }
    }
    Ok(search.answer(&walk.left.note(), walk.left.cut))
}

impl Query {
    fn take(args: &mut Args) -> Result<Query, Failure> {
        let pattern = args.need_text("pattern")?;
        let glob = args.text("glob")?;
        let types = args.text("type")?;
        let mode = args.word("output_mode", &["files_with_matches", "content", "count"])?;
        let insensitive = args.flag("-i")?;
        let numbers = args.choice("-n")?.unwrap_or(true);
        let around = args.count("-C", 0, CONTEXT_LINES_MAX)?.unwrap_or(0);
        let before = args.count("-B", 0, CONTEXT_LINES_MAX)?.unwrap_or(around);
        let after = args.count("-A", 0, CONTEXT_LINES_MAX)?.unwrap_or(around);
        let multiline = args.flag("multiline")?;
        let literal = args.flag("fixed_strings")?;
        let limit = args.count("head_limit", 1, LIMIT_MAX)?.unwrap_or(LIMIT);
        let offset = args.count("offset", 0, usize::MAX)?.unwrap_or(0);
        if pattern.is_empty() || pattern.len() > PATTERN_BYTES_MAX {
            let text = format!("\"pattern\" has {} bytes, and must have from 1 to {PATTERN_BYTES_MAX}", pattern.len());
            return Err(Failure::invalid(text));
        }
        let mode = match mode {
            "content" => Mode::Content,
            "count" => Mode::Count,
            _files => Mode::Files,
        };
        Ok(Query {
            matcher: regex(&pattern, insensitive, multiline, literal)?,
            glob: glob.map(|glob| file_glob(&glob)).transpose()?,
            types: types.map(|name| file_type(&name)).transpose()?,
            mode,
            before,
            after,
            numbers,
            multiline,
            offset,
            limit,
        })
    }

    fn concerns(&self, found: &Found) -> bool {
        let glob = self.glob.as_ref().is_none_or(|(glob, whole_path)| {
            let name = found.path.rsplit('/').next().unwrap_or(&found.path);
            glob.is_match(if *whole_path { found.below() } else { name })
        });
        glob && self.types.as_ref().is_none_or(|types| types.matched(&found.path, false).is_whitelist())
    }

    fn searcher(&self) -> Searcher {
        SearcherBuilder::new()
            .multi_line(self.multiline)
            .binary_detection(BinaryDetection::quit(0))
            .before_context(if self.mode == Mode::Content { self.before } else { 0 })
            .after_context(if self.mode == Mode::Content { self.after } else { 0 })
            .line_number(true)
            .build()
    }
}

fn regex(pattern: &str, insensitive: bool, multiline: bool, literal: bool) -> Result<RegexMatcher, Failure> {
    let mut builder = RegexMatcherBuilder::new();
    builder
        .case_insensitive(insensitive)
        .multi_line(true)
        .unicode(true)
        .crlf(!multiline)
        .dot_matches_new_line(multiline)
        .fixed_strings(literal)
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_BYTES_MAX);
    if !multiline {
        builder.line_terminator(Some(b'\n'));
    }
    builder.build(pattern).map_err(|error| {
        let error = error.to_string();
        let hint = if error.contains("look-around") || error.contains("backreference") {
            "; there is neither look-around nor back-reference: search for less and read the lines"
        } else if error.contains("not allowed") {
            "; set \"multiline\" to search across lines"
        } else {
            "; escape special characters such as ( { [ . with a backslash, or set \"fixed_strings\""
        };
        Failure::invalid(format!("the pattern is wrong: {}{hint}", cut(&error, 600)))
    })
}

/// A glob without a slash is for names, one with a slash for paths below the beginning.
fn file_glob(glob: &str) -> Result<(GlobMatcher, bool), Failure> {
    let glob = glob.strip_prefix("./").unwrap_or(glob);
    Ok((matcher(glob)?, glob.contains('/')))
}

fn file_type(name: &str) -> Result<Types, Failure> {
    let mut builder = TypesBuilder::new();
    builder.add_defaults();
    builder.select(name);
    builder.build().map_err(|_| {
        let all: Vec<String> = builder.definitions().iter().map(|definition| definition.name().to_owned()).collect();
        let close: Vec<&str> =
            all.iter().filter(|known| known.starts_with(name.get(..1).unwrap_or("?"))).map(String::as_str).collect();
        Failure::invalid(format!(
            "there is no type \"{name}\"; there are, among others: {}; or use \"glob\"",
            close.join(", ")
        ))
    })
}

/// A search under way.
struct Search<'q> {
    query: &'q Query,
    searcher: Searcher,
    text: String,
    entries: Vec<Value>,
    /// Entries that there were so far, those before the offset included.
    total: usize,
    full: bool,
    files: usize,
    matches: u64,
    bytes: u64,
    unread: Vec<String>,
    binary: usize,
}

impl<'q> Search<'q> {
    fn new(query: &'q Query) -> Search<'q> {
        Search {
            query,
            searcher: query.searcher(),
            text: String::new(),
            entries: Vec::new(),
            total: 0,
            full: false,
            files: 0,
            matches: 0,
            bytes: 0,
            unread: Vec::new(),
            binary: 0,
        }
    }

    fn exhausted(&self) -> bool {
        self.bytes > SEARCHED_BYTES_MAX || self.full
    }

    fn file(&mut self, files: &dyn Files, found: &Found) {
        if !self.query.concerns(found) {
            return;
        }
        let Ok(bytes) = read_whole(files, &found.path, WHOLE_FILE_BYTES_MAX) else {
            self.unread.push(found.path.clone());
            return;
        };
        self.bytes += bytes.len() as u64;
        let mut collector = Collector::new(&self.query.matcher, self.query.mode);
        let searched = self.searcher.search_slice(&self.query.matcher, &bytes, &mut collector);
        let Collected { lines, matches, binary, cut } = collector.end();
        if searched.is_err() {
            self.unread.push(found.path.clone());
            return;
        }
        // A file that turns out to be binary after some lines is binary all the same: its lines are no lines.
        if binary {
            self.binary += 1;
            return;
        }
        if matches == 0 {
            return;
        }
        self.files += 1;
        self.matches += matches;
        match self.query.mode {
            Mode::Files => self.add(format!("{}\n", found.path), || json!(found.path)),
            Mode::Count => {
                self.add(format!("{}:{matches}\n", found.path), || json!({ "path": found.path, "count": matches }));
            }
            Mode::Content => {
                for line in lines {
                    if matches!(line, Line::Gap) {
                        self.gap();
                        continue;
                    }
                    self.add(line.shown(&found.path, self.query.numbers), || line.record(&found.path));
                }
                if cut {
                    self.unread.push(format!("{} (more than {} lines)", found.path, collect::LINES_MAX));
                }
            }
        }
    }

    /// Between lines that are not neighbours, where both are on this page.
    fn gap(&mut self) {
        if !self.full && !self.entries.is_empty() {
            self.text += "--\n";
        }
    }

    fn add(&mut self, line: String, record: impl FnOnce() -> Value) {
        if self.full {
            return;
        }
        self.total += 1;
        if self.total <= self.query.offset {
            return;
        }
        if self.entries.len() >= self.query.limit || self.text.len() + line.len() > ANSWER_BYTES_MAX {
            self.full = true;
            return;
        }
        self.text += &line;
        self.entries.push(record());
    }

    fn answer(self, walk_note: &str, walk_cut: bool) -> Answer {
        let next = self.full.then_some(self.query.offset + self.entries.len());
        let complete = !self.full && !walk_cut && self.unread.is_empty() && self.bytes <= SEARCHED_BYTES_MAX;
        let what = match self.query.mode {
            Mode::Files | Mode::Count => "files",
            Mode::Content => "lines",
        };
        let mut notes = match next {
            Some(next) => format!("[there is more; go on with offset {next}]"),
            None if self.matches == 0 => {
                "[no match; ignore files are heeded (include_ignored), case counts (-i)]".to_owned()
            }
            None if self.entries.is_empty() => format!("[no more {what}: there are {}]", self.total),
            None if self.query.mode == Mode::Files => format!("[{} files]", self.files),
            None => format!("[{} matches in {} files]", self.matches, self.files),
        };
        if let Some(first) = self.unread.first() {
            notes += &format!("\n[{} files were not searched to their end, among them \"{first}\"]", self.unread.len());
        }
        if self.binary > 0 {
            notes += &format!("\n[{} binary files were not searched]", self.binary);
        }
        if self.bytes > SEARCHED_BYTES_MAX {
            notes += &format!("\n[stopped after {SEARCHED_BYTES_MAX} bytes; give a narrower path, glob or type]");
        }
        let name = match self.query.mode {
            Mode::Files => "files",
            Mode::Count => "counts",
            Mode::Content => "lines",
        };
        let structured = json!({
            name: self.entries, "matches": (self.query.mode != Mode::Files).then_some(self.matches), "files_matched": self.files, "next_offset": next,
            "complete": complete,
        });
        Answer::new(format!("{}{notes}{walk_note}", self.text), structured)
    }
}

#[cfg(test)]
mod tests;
