//! The door to the TOML parser: text becomes a tree whose every key and value knows its line.
//! It never interprets a key, and hands no type of the parser on.

use crate::diagnostic::Findings;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A profile of more bytes is refused before it reaches the parser.
pub const PROFILE_BYTES_MAX: usize = 256 * 1024;

/// A value and its line.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// Line, from 1.
    pub(crate) line: u32,
    /// The value.
    pub(crate) node: Node,
}

/// A TOML value, as far as profiles use them.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    /// A string.
    String(String),
    /// An integer; those outside `i64` are reported while converting.
    Integer(i64),
    /// A boolean.
    Boolean(bool),
    /// An array.
    Array(Vec<Item>),
    /// A table.
    Table(Vec<Entry>),
    /// A float or a date: no key of a profile takes one.
    Other(&'static str),
}

impl Node {
    /// The string, if it is one; else the value as it is.
    pub(crate) fn into_string(self) -> Result<String, Self> {
        if let Self::String(text) = self { Ok(text) } else { Err(self) }
    }

    /// The array's items, if it is one.
    pub(crate) fn into_array(self) -> Result<Vec<Item>, Self> {
        if let Self::Array(items) = self { Ok(items) } else { Err(self) }
    }

    /// The table's entries, if it is one.
    pub(crate) fn into_table(self) -> Result<Vec<Entry>, Self> {
        if let Self::Table(entries) = self { Ok(entries) } else { Err(self) }
    }

    /// The integer, if it is one.
    pub(crate) const fn integer(&self) -> Option<i64> {
        if let Self::Integer(number) = self { Some(*number) } else { None }
    }

    /// The boolean, if it is one.
    pub(crate) const fn boolean(&self) -> Option<bool> {
        if let Self::Boolean(value) = self { Some(*value) } else { None }
    }

    /// What a message calls a value of this type.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Boolean(_) => "a boolean",
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

/// A key of a table with its value, in the order of the file.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Line of the key.
    pub(crate) line: u32,
    /// The key.
    pub(crate) key: String,
    /// Its value.
    pub(crate) value: Item,
}

/// Reads a document. `None` after findings that leave nothing to look at.
pub(crate) fn read(file: &str, bytes: &[u8], findings: &mut Findings) -> Option<Vec<Entry>> {
    if bytes.len() > PROFILE_BYTES_MAX {
        let what = alloc::format!("file has {} bytes, more than {PROFILE_BYTES_MAX}", bytes.len());
        findings.add(file, 1, what, "split it, and join the parts with extends");
        return None;
    }
    let lines = Lines::of(bytes);
    let text = match core::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let line = lines.at(error.valid_up_to());
            findings.add(file, line, "file is not UTF-8", "save it as UTF-8");
            return None;
        }
    };
    if !only_plain_characters(file, text, &lines, findings) {
        return None;
    }
    let (root, errors) = DeTable::parse_recoverable(text);
    let broken = !errors.is_empty();
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        findings.add(file, lines.at(at), tidy(error.message()), "see https://toml.io for the syntax");
    }
    // What the parser made up to go on would only raise findings about things that nobody wrote.
    if broken {
        return None;
    }
    let mut converter = Converter { file, lines: &lines, findings };
    Some(converter.table(root.get_ref()))
}

/// Refuses raw control characters. The parser refuses most of them too, but not a carriage return before a
/// newline, nor characters that make a reviewer's editor show something else than what is there.
fn only_plain_characters(file: &str, text: &str, lines: &Lines, findings: &mut Findings) -> bool {
    let bad = text.char_indices().find(|&(_, c)| crate::diagnostic::is_deceptive(c) && c != '\n' && c != '\t');
    let Some((at, c)) = bad else { return true };
    let (what, hint) = match c {
        '\r' => ("file has a carriage return".to_string(), "save it with unix line ends"),
        '\0' => ("file has a NUL byte".to_string(), "a profile is plain text"),
        other => (
            alloc::format!("file has the invisible character U+{:04X}", u32::from(other)),
            "remove it: a profile must read as it acts",
        ),
    };
    findings.add(file, lines.at(at), what, hint);
    false
}

/// The parser's message in our form: lower case, one line.
fn tidy(message: &str) -> String {
    let mut out = String::new();
    for (n, c) in message.chars().enumerate() {
        match (n, c) {
            (0, c) => out.extend(c.to_lowercase()),
            (_, '`') => out.push('"'),
            (_, '\n') => out.push(' '),
            (_, c) => out.push(c),
        }
    }
    out
}

/// Byte offsets at which lines start.
struct Lines(Vec<usize>);

impl Lines {
    fn of(bytes: &[u8]) -> Self {
        let after = bytes.iter().enumerate().filter(|&(_, &byte)| byte == b'\n').map(|(at, _)| at + 1);
        Self(core::iter::once(0).chain(after).collect())
    }

    fn at(&self, offset: usize) -> u32 {
        let line = self.0.partition_point(|&start| start <= offset);
        u32::try_from(line).expect("a file has fewer lines than PROFILE_BYTES_MAX bytes")
    }
}

struct Converter<'a> {
    file: &'a str,
    lines: &'a Lines,
    findings: &'a mut Findings,
}

impl Converter<'_> {
    fn table(&mut self, table: &DeTable<'_>) -> Vec<Entry> {
        let mut spanned: Vec<_> = table.iter().collect();
        spanned.sort_by_key(|(key, _)| key.span().start);
        let convert = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| Entry {
            line: self.line(key.span()),
            key: AsRef::<str>::as_ref(key.get_ref()).to_string(),
            value: self.item(value),
        };
        spanned.into_iter().map(convert).collect()
    }

    fn item(&mut self, value: &Spanned<DeValue<'_>>) -> Item {
        let line = self.line(value.span());
        let node = match value.get_ref() {
            DeValue::String(text) => Node::String(text.to_string()),
            DeValue::Boolean(value) => Node::Boolean(*value),
            DeValue::Integer(value) => match i64::from_str_radix(value.as_str(), value.radix()) {
                Ok(number) => Node::Integer(number),
                Err(_) => {
                    let what = alloc::format!("\"{value}\" is too large a number");
                    self.findings.add(self.file, line, what, "use a number below 2^63");
                    Node::Integer(1)
                }
            },
            DeValue::Array(items) => Node::Array(items.iter().map(|item| self.item(item)).collect()),
            DeValue::Table(table) => Node::Table(self.table(table)),
            DeValue::Float(_) => Node::Other("a float"),
            DeValue::Datetime(_) => Node::Other("a date"),
        };
        Item { line, node }
    }

    fn line(&self, span: Range<usize>) -> u32 {
        self.lines.at(span.start)
    }
}
