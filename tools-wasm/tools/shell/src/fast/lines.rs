//! `sort`, `uniq` and `cut`, in the C locale: bytes are compared as they are.
//! It never knows more of their options than agents use.

use super::{Asked, lines, options, whole};

/// Digits of a number that is certainly exact.
const DIGITS_MAX: usize = 15;

/// `sort`, with `-r`, `-n` and `-u`.
pub(super) fn sort(asked: &Asked<'_>) -> Option<(Vec<u8>, i32)> {
    let (options, operands) = options(asked.args, "rnu")?;
    let (reverse, unique) = (options.contains('r'), options.contains('u'));
    let text = asked.input(&operands)?;
    let output = if options.contains('n') {
        let mut keyed = lines(&text).map(|line| number(line).map(|key| (key, line))).collect::<Option<Vec<_>>>()?;
        if unique {
            // Equal numbers are equal lines, of which the first stays.
            keyed.sort_by(|a, b| if reverse { b.0.cmp(&a.0) } else { a.0.cmp(&b.0) });
            keyed.dedup_by_key(|(key, _)| *key);
        } else {
            keyed.sort_unstable();
            if reverse {
                keyed.reverse();
            }
        }
        joined(keyed.into_iter().map(|(_, line)| line), text.len())
    } else {
        let mut lines: Vec<&[u8]> = lines(&text).collect();
        lines.sort_unstable();
        if unique {
            lines.dedup();
        }
        if reverse {
            lines.reverse();
        }
        joined(lines.into_iter(), text.len())
    };
    Some((output, 0))
}

/// What a line counts for: its number, or zero. `None` for one that is not a plain whole number.
fn number(line: &[u8]) -> Option<i64> {
    let start = line.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(line.len());
    let text = line.get(start..)?;
    let (negative, digits) = text.strip_prefix(b"-").map_or((false, text), |digits| (true, digits));
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count > DIGITS_MAX || digits.get(count) == Some(&b'.') {
        return None;
    }
    let value = digits.get(..count)?.iter().fold(0_i64, |value, digit| value * 10 + i64::from(digit - b'0'));
    Some(if negative { -value } else { value })
}

fn joined<'a>(lines: impl Iterator<Item = &'a [u8]>, bytes: usize) -> Vec<u8> {
    let mut output = Vec::with_capacity(bytes + 1);
    for line in lines {
        output.extend_from_slice(line);
        output.push(b'\n');
    }
    output
}

/// `uniq`, with one of `-c`, `-d` and `-u`.
pub(super) fn uniq(asked: &Asked<'_>) -> Option<(Vec<u8>, i32)> {
    let (options, operands) = options(asked.args, "cdu")?;
    if options.len() > 1 || operands.len() > 1 {
        return None;
    }
    let text = asked.input(&operands)?;
    let (mut output, mut all) = (Vec::with_capacity(text.len()), lines(&text).peekable());
    while let Some(line) = all.next() {
        let mut count = 1_usize;
        while all.next_if_eq(&line).is_some() {
            count += 1;
        }
        let wanted = match options.as_str() {
            "d" => count > 1,
            "u" => count == 1,
            _ => true,
        };
        if wanted {
            if options == "c" {
                output.extend_from_slice(format!("{count:7} ").as_bytes());
            }
            output.extend_from_slice(line);
            output.push(b'\n');
        }
    }
    Some((output, 0))
}

/// `cut -d X -f LIST`, with `-s`.
pub(super) fn cut(asked: &Asked<'_>) -> Option<(Vec<u8>, i32)> {
    let (mut delimiter, mut list, mut silent, mut operands) = (b'\t', None, false, Vec::new());
    let mut args = asked.args.iter().map(String::as_str);
    while let Some(argument) = args.next() {
        if let Some(joined) = argument.strip_prefix("-d") {
            let value = if joined.is_empty() { args.next()? } else { joined };
            let [byte] = value.as_bytes() else { return None };
            delimiter = *byte;
        } else if let Some(joined) = argument.strip_prefix("-f") {
            if list.is_some() {
                return None;
            }
            list = Some(ranges(if joined.is_empty() { args.next()? } else { joined })?);
        } else if argument == "-s" {
            silent = true;
        } else if argument.starts_with('-') && argument != "-" {
            return None;
        } else {
            operands.push(argument);
        }
    }
    let list = list?;
    let text = asked.input(&operands)?;
    if delimiter == b'\n' || !delimiter.is_ascii() {
        return None;
    }
    let mut output = Vec::with_capacity(text.len());
    for line in lines(&text) {
        if !line.contains(&delimiter) {
            if silent {
                continue;
            }
            output.extend_from_slice(line);
        } else {
            let wanted = |place: usize| list.iter().any(|(first, last)| (*first..=*last).contains(&place));
            let mut first = true;
            for (_, field) in (1..).zip(line.split(|byte| *byte == delimiter)).filter(|(place, _)| wanted(*place)) {
                if !std::mem::replace(&mut first, false) {
                    output.push(delimiter);
                }
                output.extend_from_slice(field);
            }
        }
        output.push(b'\n');
    }
    Some((output, 0))
}

/// `1,3-5,7-` as ranges that are not empty.
fn ranges(list: &str) -> Option<Vec<(usize, usize)>> {
    let number = |text: &str| whole(text).filter(|number| *number > 0);
    let range = |part: &str| {
        let (first, last) = match part.split_once('-') {
            None => (number(part)?, number(part)?),
            Some(("", last)) => (1, number(last)?),
            Some((first, "")) => (number(first)?, usize::MAX),
            Some((first, last)) => (number(first)?, number(last)?),
        };
        (first <= last).then_some((first, last))
    };
    list.split(',').map(range).collect()
}
