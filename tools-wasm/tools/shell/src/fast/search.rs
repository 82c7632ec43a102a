//! `grep` for a text without a special character, `sed` that replaces such a text or prints lines by number, `awk` that prints
//! fields. It never interprets a regular expression: a pattern that could be one is left to the interpreter's own tool.

use std::fs;

use super::{Asked, decimal, lines, whole};

/// Directories within directories that a search goes down.
const DEPTH_MAX: usize = 64;

/// How a pattern is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Syntax {
    Basic,
    Extended,
    Fixed,
}

impl Syntax {
    /// Whether a pattern means itself.
    fn is_plain(self, pattern: &str) -> bool {
        let special = match self {
            Syntax::Basic => "\\.*[]^$\n",
            Syntax::Extended => "\\.*[]^$+?(){}|\n",
            Syntax::Fixed => "\n",
        };
        !pattern.is_empty() && !pattern.contains(|letter| special.contains(letter))
    }
}

/// What `grep` says of what it finds.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Told {
    #[default]
    Lines,
    Count,
    Names,
    Nothing,
}

/// What `grep` was asked.
#[derive(Default)]
struct Grep<'a> {
    pattern: &'a str,
    numbers: bool,
    inverted: bool,
    told: Told,
    named: Option<bool>,
    output: Vec<u8>,
    found: bool,
}

/// `grep` with `-r -n -v -c -l -q -h -H -E -F`, for a plain pattern.
pub(super) fn grep(asked: &Asked<'_>) -> Option<(Vec<u8>, i32)> {
    let (mut grep, mut syntax, mut operands) = (Grep::default(), Syntax::Basic, Vec::new());
    let mut recursive = false;
    for argument in asked.args {
        let Some(cluster) = argument.strip_prefix('-').filter(|cluster| !cluster.is_empty()) else {
            operands.push(argument.as_str());
            continue;
        };
        for letter in cluster.chars() {
            match letter {
                'r' => recursive = true,
                'n' => grep.numbers = true,
                'v' => grep.inverted = true,
                'c' => grep.tells(Told::Count)?,
                'l' => grep.tells(Told::Names)?,
                'q' => grep.tells(Told::Nothing)?,
                'h' => grep.named = Some(false),
                'H' => grep.named = Some(true),
                'E' => syntax = Syntax::Extended,
                'F' => syntax = Syntax::Fixed,
                _ => return None,
            }
        }
    }
    let (pattern, operands) = operands.split_first()?;
    if !syntax.is_plain(pattern) {
        return None;
    }
    grep.pattern = pattern;
    if operands.is_empty() {
        if recursive || grep.named == Some(true) || grep.told == Told::Names {
            return None;
        }
        grep.text("", asked.stdin.to_vec(), false)?;
    }
    for operand in operands {
        if *operand == "-" {
            return None;
        }
        let directory = fs::metadata(asked.path(operand)?).ok()?.is_dir();
        // Of a single operand the name is said where it is not the name of the file itself.
        let named = grep.named.unwrap_or(directory || operands.len() > 1);
        match (directory, recursive) {
            (true, true) => grep.tree(asked, operand, named)?,
            (true, false) => return None,
            (false, _) => grep.text(operand, asked.content(operand)?, named)?,
        }
    }
    let status = i32::from(!grep.found);
    Some((grep.output, status))
}

impl Grep<'_> {
    /// Some of what may be told overrides another: then the interpreter's own tool knows which.
    fn tells(&mut self, told: Told) -> Option<()> {
        let alone = self.told == Told::Lines || self.told == told;
        self.told = told;
        alone.then_some(())
    }

    /// A directory and all below it. Links in it are not followed.
    fn tree(&mut self, asked: &Asked<'_>, operand: &str, named: bool) -> Option<()> {
        let mut open = vec![(operand.strip_suffix('/').unwrap_or(operand).to_owned(), 0)];
        while let Some((name, depth)) = open.pop() {
            let mut entries = Vec::new();
            for entry in fs::read_dir(asked.path(&name)?).ok()? {
                let entry = entry.ok()?;
                entries.push((entry.file_name().into_string().ok()?, entry.file_type().ok()?));
            }
            entries.sort_by(|one, other| one.0.cmp(&other.0));
            let mut below = Vec::new();
            for (entry, kind) in entries {
                let path = format!("{name}/{entry}");
                if kind.is_file() {
                    self.text(&path, asked.content(&path)?, named)?;
                } else if kind.is_dir() && depth < DEPTH_MAX {
                    below.push((path, depth + 1));
                } else if !kind.is_symlink() {
                    return None;
                }
            }
            open.extend(below.into_iter().rev());
        }
        Some(())
    }

    /// One text, if it is one.
    fn text(&mut self, name: &str, content: Vec<u8>, named: bool) -> Option<()> {
        if content.contains(&0) {
            return None;
        }
        let text = std::str::from_utf8(&content).ok()?;
        let mut count = 0_u64;
        if self.inverted {
            for (number, line) in (1..).zip(lines(text.as_bytes())) {
                if !std::str::from_utf8(line).ok()?.contains(self.pattern) {
                    count += 1;
                    self.line(name, named, number, line);
                }
            }
        } else {
            // From one find to the next, and lines are counted between: most of a text is not looked at line by line.
            let (mut place, mut number) = (0, 1);
            while let Some(found) = text.get(place..)?.find(self.pattern) {
                let between = text.get(place..place + found)?;
                let start = between.rfind('\n').map_or(place, |end| place + end + 1);
                number += between.bytes().filter(|byte| *byte == b'\n').count();
                let end = text.get(place + found..)?.find('\n').map_or(text.len(), |end| place + found + end);
                count += 1;
                self.line(name, named, number, text.as_bytes().get(start..end)?);
                number += 1;
                place = (end + 1).min(text.len());
            }
        }
        self.found |= count > 0;
        match self.told {
            Told::Count => {
                self.prefix(name, named);
                self.output.extend_from_slice(format!("{count}\n").as_bytes());
            }
            Told::Names if count > 0 => {
                self.output.extend_from_slice(name.as_bytes());
                self.output.push(b'\n');
            }
            Told::Names | Told::Lines | Told::Nothing => {}
        }
        Some(())
    }

    fn prefix(&mut self, name: &str, named: bool) {
        if named {
            self.output.extend_from_slice(name.as_bytes());
            self.output.push(b':');
        }
    }

    fn line(&mut self, name: &str, named: bool, number: usize, line: &[u8]) {
        if self.told != Told::Lines {
            return;
        }
        self.prefix(name, named);
        if self.numbers {
            decimal(&mut self.output, number);
            self.output.push(b':');
        }
        self.output.extend_from_slice(line);
        self.output.push(b'\n');
    }
}

/// `sed 's/PLAIN/TEXT/'`, also with `g`, and `sed -n 'A,Bp'`.
pub(super) fn sed(asked: &Asked<'_>) -> Option<(Vec<u8>, i32)> {
    let (mut syntax, mut quiet, mut operands) = (Syntax::Basic, false, Vec::new());
    for argument in asked.args {
        match argument.as_str() {
            "-E" | "-r" => syntax = Syntax::Extended,
            "-n" => quiet = true,
            other if other.starts_with('-') && other != "-" => return None,
            other => operands.push(other),
        }
    }
    let (script, operands) = operands.split_first()?;
    if quiet {
        let (first, last) = script.strip_suffix('p').map(|range| range.split_once(',').unwrap_or((range, range)))?;
        let first = whole(first).filter(|first| *first > 0)?;
        let last = if last == "$" { usize::MAX } else { whole(last)? };
        let text = asked.input(operands)?;
        // A range whose end comes before its beginning is the line of its beginning.
        let count = last.saturating_sub(first).saturating_add(1).max(1);
        let mut output = Vec::new();
        for line in text.split_inclusive(|byte| *byte == b'\n').skip(first - 1).take(count) {
            output.extend_from_slice(line);
        }
        return Some((output, 0));
    }
    let mut letters = script.strip_prefix('s')?.chars();
    let separator = letters.next().filter(|letter| "/|#,:@!".contains(*letter))?;
    let mut parts = letters.as_str().split(separator);
    let (pattern, replacement, flags) = (parts.next()?, parts.next()?, parts.next()?);
    let plain = syntax.is_plain(pattern) && !replacement.contains(['\\', '&', '\n']);
    if parts.next().is_some() || !plain || !matches!(flags, "" | "g") {
        return None;
    }
    let text = String::from_utf8(asked.input(operands)?).ok()?;
    if flags == "g" {
        return Some((text.replace(pattern, replacement).into_bytes(), 0));
    }
    let (mut output, mut rest) = (String::with_capacity(text.len()), text.as_str());
    while let Some(found) = rest.find(pattern) {
        let after = rest.get(found + pattern.len()..)?;
        // Up to the end of the line nothing more is replaced.
        let end = after.find('\n').map_or(after.len(), |end| end + 1);
        output.push_str(rest.get(..found)?);
        output.push_str(replacement);
        output.push_str(after.get(..end)?);
        rest = after.get(end..)?;
    }
    output.push_str(rest);
    Some((output.into_bytes(), 0))
}

/// `awk '{print $1, $NF}'`, with `-F X`.
pub(super) fn awk(asked: &Asked<'_>) -> Option<(Vec<u8>, i32)> {
    let mut args = asked.args.iter().map(String::as_str);
    let (mut separator, mut first) = (None, args.next()?);
    if let Some(joined) = first.strip_prefix("-F") {
        let value = if joined.is_empty() { args.next()? } else { joined };
        let [byte] = value.as_bytes() else { return None };
        // A blank means any of them, and the others are regular expressions; `t` was a tabulator once.
        if !byte.is_ascii() || b" \\.*[]^$+?(){}|t\n".contains(byte) {
            return None;
        }
        separator = Some(*byte);
        first = args.next()?;
    }
    let fields = fields(first)?;
    let operands: Vec<&str> = args.collect();
    // An assignment is no file.
    if first.starts_with('-') || operands.iter().any(|operand| operand.starts_with('-') || operand.contains('=')) {
        return None;
    }
    let text = asked.input(&operands)?;
    if std::str::from_utf8(&text).is_err() {
        return None;
    }
    let mut output = Vec::with_capacity(text.len());
    let mut found: Vec<&[u8]> = Vec::new();
    for line in lines(&text) {
        found.clear();
        match separator {
            Some(byte) if !line.is_empty() => found.extend(line.split(|other| *other == byte)),
            Some(_) => {}
            None => found.extend(line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|field| !field.is_empty())),
        }
        for (place, field) in fields.iter().enumerate() {
            if place > 0 {
                output.push(b' ');
            }
            let value = match field {
                Field::Whole => Some(&line),
                Field::Number(number) => found.get(*number - 1),
                Field::Last => Some(found.last().unwrap_or(&line)),
            };
            output.extend_from_slice(value.copied().unwrap_or_default());
        }
        output.push(b'\n');
    }
    Some((output, 0))
}

enum Field {
    Whole,
    Number(usize),
    Last,
}

/// The fields of a program that prints some and does nothing else.
fn fields(program: &str) -> Option<Vec<Field>> {
    let body = program.trim().strip_prefix('{')?.strip_suffix('}')?.trim().strip_prefix("print")?;
    let body = body.trim_end().strip_suffix(';').unwrap_or(body).trim();
    if body.is_empty() {
        return Some(vec![Field::Whole]);
    }
    let field = |part: &str| match part.trim().strip_prefix('$')? {
        "NF" => Some(Field::Last),
        "0" => Some(Field::Whole),
        digits if digits.len() <= 3 && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().ok().filter(|number| *number > 0).map(Field::Number)
        }
        _ => None,
    };
    body.split(',').map(field).collect()
}
