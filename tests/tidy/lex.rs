//! A small lexer for Rust: tokens with their lines, and paths as they are used, comments and strings told apart.
//! It never understands a program; it is only sure of what is code and what is text.

use std::ops::Range;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Identifier, keyword or number.
    Word,
    /// Punctuation: one character, or `::`.
    Mark,
    /// String or character literal.
    Text,
    /// Lifetime.
    Life,
    /// Comment, with its slashes.
    Comment,
}

/// A piece of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    /// What it is.
    pub(crate) kind: Kind,
    /// As it is written.
    pub(crate) text: &'a str,
    /// Line that it begins on, from 1.
    pub(crate) line: usize,
}

/// Tokens without the comments.
pub(crate) fn code(text: &str) -> Vec<Token<'_>> {
    tokens(text).into_iter().filter(|token| token.kind != Kind::Comment).collect()
}

/// All tokens, comments included.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    let bytes = text.as_bytes();
    let (mut at, mut line) = (0, 1);
    let mut found = Vec::new();
    while at < bytes.len() {
        let (kind, end) = next(text, at);
        let piece = &text[at..end];
        if let Some(kind) = kind {
            found.push(Token { kind, text: piece, line });
        }
        line += piece.bytes().filter(|byte| *byte == b'\n').count();
        at = end;
    }
    found
}

/// Kind and end of the token at `at`; no kind for white space.
fn next(text: &str, at: usize) -> (Option<Kind>, usize) {
    let rest = &text[at..];
    let first = rest.chars().next().expect("called before the end");
    if first.is_whitespace() {
        return (None, at + first.len_utf8());
    }
    if rest.starts_with("//") {
        return (Some(Kind::Comment), at + rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Some(Kind::Comment), at + block_comment(rest));
    }
    if let Some(length) = raw_string(rest) {
        return (Some(Kind::Text), at + length);
    }
    let prefix = if rest.starts_with("b\"") || rest.starts_with("c\"") || rest.starts_with("b'") { 1 } else { 0 };
    match rest.as_bytes()[prefix] {
        b'"' => (Some(Kind::Text), at + prefix + quoted(&rest[prefix..], b'"')),
        b'\'' if prefix == 1 || is_char(rest) => (Some(Kind::Text), at + prefix + quoted(&rest[prefix..], b'\'')),
        b'\'' => (Some(Kind::Life), at + 1 + word(&rest[1..])),
        _ if first == '_' || first.is_alphanumeric() => {
            let skip = if rest.starts_with("r#") { 2 } else { 0 };
            (Some(Kind::Word), at + skip + word(&rest[skip..]).max(1))
        }
        _ if rest.starts_with("::") => (Some(Kind::Mark), at + 2),
        _ => (Some(Kind::Mark), at + first.len_utf8()),
    }
}

fn word(rest: &str) -> usize {
    rest.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(rest.len())
}

/// `'a'` and `'\n'` are characters, `'a` is a lifetime.
fn is_char(rest: &str) -> bool {
    let mut chars = rest.chars().skip(1);
    matches!((chars.next(), chars.next()), (Some('\\'), _) | (Some(_), Some('\'')))
}

fn quoted(rest: &str, quote: u8) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn raw_string(rest: &str) -> Option<usize> {
    let start = ["r", "br", "cr"].into_iter().find_map(|prefix| {
        let tail = rest.strip_prefix(prefix)?;
        let hashes = tail.bytes().take_while(|byte| *byte == b'#').count();
        (tail.as_bytes().get(hashes) == Some(&b'"')).then_some((prefix.len() + hashes + 1, hashes))
    })?;
    let (open, hashes) = start;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(rest[open..].find(&close).map_or(rest.len(), |found| open + found + close.len()))
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        let tail = &rest.as_bytes()[at..];
        if tail.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// Index of the mark that closes the one at `open`.
pub(crate) fn close(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        if token.kind == Kind::Mark {
            match token.text {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return index;
            }
        }
    }
    tokens.len() - 1
}

/// The same tokens without items marked `#[cfg(test)]`.
pub(crate) fn without_tests<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match test_item(tokens, at) {
            Some(range) => at = range.end,
            None => {
                kept.push(tokens[at]);
                at += 1;
            }
        }
    }
    kept
}

/// The tokens of the item that `#[cfg(test)]` at `at` marks, attribute included.
pub(crate) fn test_item(tokens: &[Token<'_>], at: usize) -> Option<Range<usize>> {
    let wanted = ["#", "[", "cfg", "(", "test", ")", "]"];
    let marked = tokens.len() >= at + wanted.len() && (0..wanted.len()).all(|i| tokens[at + i].text == wanted[i]);
    if !marked {
        return None;
    }
    let mut end = at + wanted.len();
    while end < tokens.len() {
        match tokens[end].text {
            ";" => return Some(at..end + 1),
            "{" => return Some(at..close(tokens, end) + 1),
            "(" | "[" => end = close(tokens, end) + 1,
            _ => end += 1,
        }
    }
    Some(at..tokens.len())
}

/// A path as it is used: in an expression, a type, an attribute, or flattened out of a `use`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Used {
    /// Its segments; the first is `crate`, `self`, `super`, a crate or something local.
    pub(crate) segments: Vec<String>,
    /// It began with `::`, so the first segment is a crate.
    pub(crate) rooted: bool,
    /// Inline modules around it, outermost first.
    pub(crate) inline: Vec<String>,
    /// Line, from 1.
    pub(crate) line: usize,
}

/// Every path of two or more segments, and every `use`.
pub(crate) fn paths(tokens: &[Token<'_>]) -> Vec<Used> {
    let mut found = Vec::new();
    let mut inline: Vec<(String, usize)> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        inline.retain(|(_, end)| at < *end);
        let around: Vec<String> = inline.iter().map(|(name, _)| name.clone()).collect();
        let text = |ahead: usize| tokens.get(at + ahead).map_or("", |token| token.text);
        if text(0) == "mod" && text(2) == "{" {
            inline.push((text(1).to_owned(), close(tokens, at + 2)));
            at += 3;
        } else if text(0) == "use" && tokens[at].kind == Kind::Word && text(1) != "<" {
            let end = (at..tokens.len()).find(|i| tokens[*i].text == ";").unwrap_or(tokens.len());
            use_tree(&tokens[at + 1..end], &[], text(1) == "::", &around, &mut found);
            at = end;
        } else if tokens[at].kind == Kind::Word && text(1) == "::" && starts_path(tokens, at) {
            let rooted = at > 0 && tokens[at - 1].text == "::";
            let mut segments = vec![text(0).to_owned()];
            let line = tokens[at].line;
            while at + 2 < tokens.len() && tokens[at + 1].text == "::" && tokens[at + 2].kind == Kind::Word {
                at += 2;
                segments.push(tokens[at].text.to_owned());
            }
            found.push(Used { segments, rooted, inline: around, line });
            at += 1;
        } else {
            at += 1;
        }
    }
    found
}

/// Whether the word at `at` begins a path: nothing that could be its front stands before it.
fn starts_path(tokens: &[Token<'_>], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).map(|index| tokens[index]);
    match before(1).map(|token| token.text) {
        Some("::") => !before(2).is_some_and(|token| token.kind == Kind::Word || token.text == ">"),
        Some(".") => false,
        _ => true,
    }
}

fn use_tree(tokens: &[Token<'_>], front: &[String], rooted: bool, inline: &[String], found: &mut Vec<Used>) {
    let mut segments = front.to_vec();
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].text {
            "::" => at += 1,
            "{" => {
                for part in split(&tokens[at + 1..close(tokens, at)]) {
                    use_tree(part, &segments, rooted, inline, found);
                }
                return;
            }
            "as" => break,
            text => {
                segments.push(text.to_owned());
                at += 1;
            }
        }
    }
    if let Some(token) = tokens.first() {
        found.push(Used { segments, rooted, inline: inline.to_vec(), line: token.line });
    }
}

/// Parts of a `{…}` list, at its commas.
fn split<'s, 'a>(tokens: &'s [Token<'a>]) -> Vec<&'s [Token<'a>]> {
    let (mut parts, mut start, mut at) = (Vec::new(), 0, 0);
    while at < tokens.len() {
        match tokens[at].text {
            "{" => at = close(tokens, at) + 1,
            "," => {
                parts.push(&tokens[start..at]);
                at += 1;
                start = at;
            }
            _ => at += 1,
        }
    }
    parts.push(&tokens[start..]);
    parts.retain(|part| !part.is_empty());
    parts
}

#[test]
fn code_is_told_from_text() {
    let text = r####"let s = "unsafe // no"; /* unsafe /* nested */ */ let c = '"'; 'a: loop {} r#"unsafe"#; // unsafe
let done = b"\"unsafe";"####;
    let words: Vec<&str> = code(text).iter().filter(|t| t.kind == Kind::Word).map(|t| t.text).collect();
    assert_eq!(words, ["let", "s", "let", "c", "loop", "let", "done"]);
    assert_eq!(code(text).last().map(|token| token.line), Some(2));
}

#[test]
fn paths_are_flattened_and_placed() {
    let text =
        "use a::{b::C, self as d, e::{f, g as h}};\nmod m { fn x() { super::y::z(); ::k::l(); v.iter::<u8>() } }";
    let found: Vec<(String, bool, usize, usize)> =
        paths(&code(text)).iter().map(|p| (p.segments.join("::"), p.rooted, p.inline.len(), p.line)).collect();
    let expected = [
        ("a::b::C", false, 0, 1),
        ("a::self", false, 0, 1),
        ("a::e::f", false, 0, 1),
        ("a::e::g", false, 0, 1),
        ("super::y::z", false, 1, 2),
        ("k::l", true, 1, 2),
    ];
    assert_eq!(found, expected.map(|(p, r, i, l)| (p.to_owned(), r, i, l)));
}

#[test]
fn test_items_are_left_out() {
    let text = "#[cfg(test)] mod tests { fn a() {} } #[cfg(test)] mod more; fn kept() {}";
    let words: Vec<&str> = without_tests(&code(text)).iter().map(|token| token.text).collect();
    assert_eq!(words, ["fn", "kept", "(", ")", "{", "}"]);
}
