//! Reads the keys of one table, noting which were asked for, so that the rest can be reported as unknown.
//! It never stops at the first finding.

use crate::diagnostic::{Findings, Printable};
use crate::document::{Entry, Item, Node};
use crate::name::{Flaw, TEXT_BYTES_MAX};
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;

/// A text and its line.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    pub(crate) line: u32,
    pub(crate) text: String,
}

/// The keys of one table.
pub(crate) struct Fields<'a> {
    pub(crate) file: &'a str,
    /// What messages call the table: `grant`, `profile`…
    what: &'a str,
    /// Line of the table.
    pub(crate) line: u32,
    entries: Vec<Option<Entry>>,
    known: Vec<&'static str>,
    pub(crate) findings: &'a mut Findings,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(
        file: &'a str,
        what: &'a str,
        line: u32,
        entries: Vec<Entry>,
        findings: &'a mut Findings,
    ) -> Self {
        Self { file, what, line, entries: entries.into_iter().map(Some).collect(), known: Vec::new(), findings }
    }

    /// Notes a finding at a line of this file.
    pub(crate) fn note(&mut self, line: u32, what: impl core::fmt::Display, hint: impl core::fmt::Display) {
        self.findings.add(self.file, line, what, hint);
    }

    /// The value of `result`, or its flaw noted.
    pub(crate) fn check<T>(&mut self, line: u32, result: Result<T, Flaw>) -> Option<T> {
        result.map_err(|flaw| self.note(line, flaw.what, flaw.hint)).ok()
    }

    /// Takes a key's value; from now on the key is known.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<Entry> {
        self.known.push(key);
        let found = self.entries.iter_mut().find(|entry| entry.as_ref().is_some_and(|entry| entry.key == key))?;
        found.take()
    }

    fn wrong_type(&mut self, key: &str, line: u32, node: &Node, wanted: &str) {
        self.note(line, format!("\"{key}\" is {}", node.kind()), format!("give {wanted}"));
    }

    /// A string.
    pub(crate) fn text(&mut self, key: &'static str) -> Option<Text> {
        let entry = self.take(key)?;
        self.text_of(key, entry.value)
    }

    fn text_of(&mut self, key: &str, item: Item) -> Option<Text> {
        let line = item.line;
        match item.node.into_string() {
            Ok(text) if text.len() > TEXT_BYTES_MAX => {
                self.note(line, format!("\"{key}\" has more than {TEXT_BYTES_MAX} bytes"), "make it shorter");
                None
            }
            Ok(text) => Some(Text { line, text }),
            Err(node) => {
                self.wrong_type(key, line, &node, "a string");
                None
            }
        }
    }

    /// A string, read by `parse`.
    pub(crate) fn parsed<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Result<T, Flaw>) -> Option<T> {
        let text = self.text(key)?;
        self.check(text.line, parse(&text.text))
    }

    /// A string that must be there.
    pub(crate) fn required<T>(
        &mut self,
        key: &'static str,
        hint: &str,
        parse: impl Fn(&str) -> Result<T, Flaw>,
    ) -> Option<T> {
        if !self.has(key) {
            self.known.push(key);
            self.note(self.line, format!("{} has no {key}", self.what), hint);
            return None;
        }
        self.parsed(key, parse)
    }

    /// Whether a key is there and not yet taken.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.iter().flatten().any(|entry| entry.key == key)
    }

    /// Line of a key that is there; else the table's.
    pub(crate) fn line_of(&self, key: &str) -> u32 {
        self.entries.iter().flatten().find(|entry| entry.key == key).map_or(self.line, |entry| entry.line)
    }

    /// A boolean.
    pub(crate) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let entry = self.take(key)?;
        let value = entry.value.node.boolean();
        if value.is_none() {
            self.wrong_type(key, entry.value.line, &entry.value.node, "true or false");
        }
        value
    }

    /// A whole number from 1 to `max`.
    pub(crate) fn count(&mut self, key: &'static str, max: u64) -> Option<u64> {
        let entry = self.take(key)?;
        let Some(value) = entry.value.node.integer() else {
            self.wrong_type(key, entry.value.line, &entry.value.node, "a whole number");
            return None;
        };
        match u64::try_from(value) {
            Ok(value) if (1..=max).contains(&value) => Some(value),
            Ok(_) | Err(_) => {
                let hint = format!("give a number from 1 to {max}, or leave the key out");
                self.note(entry.value.line, format!("{key} = {value} is out of range"), hint);
                None
            }
        }
    }

    /// The items of an array, which must not be empty.
    pub(crate) fn items(&mut self, key: &'static str, wanted: &str) -> Option<Vec<Item>> {
        let entry = self.take(key)?;
        match entry.value.node.into_array() {
            Ok(items) if items.is_empty() => {
                let hint = "an empty list could mean all or none: fill it, or leave the key out";
                self.note(entry.value.line, format!("\"{key}\" is empty"), hint);
                None
            }
            Ok(items) => Some(items),
            Err(node) => {
                self.wrong_type(key, entry.value.line, &node, wanted);
                None
            }
        }
    }

    /// An array of strings, each read by `parse`, none twice.
    pub(crate) fn list<T: PartialEq>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Flaw>,
    ) -> Option<Vec<T>> {
        let items = self.items(key, "a list of strings")?;
        let wanted = items.len();
        let mut out = Vec::new();
        for item in items {
            let Some(text) = self.text_of(key, item) else { continue };
            match self.check(text.line, parse(&text.text)) {
                Some(value) if out.contains(&value) => {
                    self.note(text.line, format!("\"{}\" is twice in \"{key}\"", text.text), "remove one");
                }
                Some(value) => out.push(value),
                None => {}
            }
        }
        (out.len() == wanted).then_some(out)
    }

    /// A table's entries.
    pub(crate) fn table(&mut self, key: &'static str) -> Option<(u32, Vec<Entry>)> {
        let entry = self.take(key)?;
        match entry.value.node.into_table() {
            Ok(entries) => Some((entry.value.line, entries)),
            Err(node) => {
                self.wrong_type(key, entry.value.line, &node, "a table");
                None
            }
        }
    }

    /// The tables of an array of tables, with their lines; none when the key is absent.
    pub(crate) fn tables(&mut self, key: &'static str, header: &str) -> Vec<(u32, Vec<Entry>)> {
        let Some(entry) = self.take(key) else { return Vec::new() };
        let wanted = format!("a table: [[{header}]]");
        let items = match entry.value.node.into_array() {
            Ok(items) => items,
            Err(Node::Table(_)) => {
                self.note(entry.line, format!("\"{header}\" is one table"), format!("write [[{header}]]"));
                return Vec::new();
            }
            Err(node) => {
                self.wrong_type(key, entry.value.line, &node, &wanted);
                return Vec::new();
            }
        };
        let mut out = Vec::new();
        for Item { line, node } in items {
            match node.into_table() {
                Ok(entries) => out.push((line, entries)),
                Err(node) => self.wrong_type(key, line, &node, &wanted),
            }
        }
        out
    }

    /// Everything that nobody asked for is unknown.
    pub(crate) fn finish(self) {
        let Self { file, what, entries, known, findings, .. } = self;
        for entry in entries.into_iter().flatten() {
            let key = Printable(&entry.key).to_string();
            let hint = match nearest(&entry.key, &known) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("known keys: {}", known.join(", ")),
            };
            findings.add(file, entry.line, format!("unknown key \"{key}\" in {what}"), hint);
        }
    }
}

/// The known word that is at most two edits away, or a third of its length, whichever is more.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    if word.len() > 64 {
        return None;
    }
    let scored = known.iter().map(|&candidate| (edits(word.as_bytes(), candidate.as_bytes()), candidate));
    let (distance, best) = scored.min()?;
    (distance <= 2.max(best.len() / 3) && distance < best.len()).then_some(best)
}

/// Levenshtein distance.
fn edits(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for ((j, y), pair) in b.iter().enumerate().zip(row.windows(2)) {
            let (diagonal, above) = match pair {
                [diagonal, above] => (*diagonal, *above),
                _ => unreachable!("windows(2) has two elements"),
            };
            let left = next.last().copied().unwrap_or(j);
            next.push((diagonal + usize::from(x != y)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
