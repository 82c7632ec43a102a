//! `tr` for sets of ASCII letters: it replaces, deletes or squeezes.
//! It never looks at more than one byte: what is no ASCII passes as it is.

use super::{Asked, options};

/// `tr SET1 SET2`, `tr -d SET1`, `tr -s SET1 [SET2]`.
pub(super) fn tr(asked: &Asked<'_>) -> Option<(Vec<u8>, i32)> {
    let (options, sets) = options(asked.args, "ds")?;
    let text = asked.stdin;
    let output = match (options.as_str(), sets.as_slice()) {
        ("d", [from]) => {
            let table = members(&set(from)?.letters);
            text.iter().copied().filter(|byte| !is_in(&table, *byte)).collect()
        }
        ("s", [from]) => squeezed(text.to_vec(), &members(&set(from)?.letters)),
        ("", [from, to]) => replaced(text, &set(from)?, &set(to)?)?,
        ("s", [from, to]) => squeezed(replaced(text, &set(from)?, &set(to)?)?, &members(&set(to)?.letters)),
        _ => return None,
    };
    Some((output, 0))
}

/// The letters that a set stands for, in order.
struct Set {
    letters: Vec<u8>,
    /// Where its classes begin.
    classes: Vec<(usize, Class)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Lower,
    Upper,
    Digit,
}

/// Whether `tr` may replace the one set by the other, as far as classes go.
pub(crate) fn can_replace(from: &str, to: &str) -> bool {
    let replaces = |to| set(from).is_some_and(|from| replaces(&from, &to));
    !to.contains("[:") || set(to).is_some_and(replaces)
}

/// Whether a set may be what another is replaced by: a class in it only changes the case of the class at the same place, and
/// does not stand for what goes beyond it. Anything else is an error, which is the interpreter's to tell.
fn replaces(from: &Set, to: &Set) -> bool {
    to.classes.iter().all(|(place, class)| {
        let counterpart = match class {
            Class::Lower => Class::Upper,
            Class::Upper => Class::Lower,
            Class::Digit => return false,
        };
        from.classes.contains(&(*place, counterpart)) && from.letters.len() <= to.letters.len()
    })
}

fn replaced(text: &[u8], from: &Set, to: &Set) -> Option<Vec<u8>> {
    if !replaces(from, to) {
        return None;
    }
    let (from, to) = (&from.letters, &to.letters);
    let last = *to.last()?;
    let mut table: [u8; 256] = std::array::from_fn(|byte| u8::try_from(byte).unwrap_or(0));
    // The last of a letter's places counts, and a set that is too short goes on with its last letter.
    for (place, byte) in from.iter().enumerate() {
        *table.get_mut(usize::from(*byte))? = to.get(place).copied().unwrap_or(last);
    }
    Some(text.iter().map(|byte| table.get(usize::from(*byte)).copied().unwrap_or(*byte)).collect())
}

fn squeezed(mut text: Vec<u8>, table: &[bool; 256]) -> Vec<u8> {
    text.dedup_by(|next, kept| next == kept && is_in(table, *next));
    text
}

fn members(set: &[u8]) -> [bool; 256] {
    std::array::from_fn(|byte| u8::try_from(byte).is_ok_and(|byte| set.contains(&byte)))
}

fn is_in(table: &[bool; 256], byte: u8) -> bool {
    table.get(usize::from(byte)).copied().unwrap_or(false)
}

/// The letters of a set: themselves, ranges, three classes, and the escapes that everybody writes.
fn set(text: &str) -> Option<Set> {
    let (mut letters, mut classes) = (Vec::new(), Vec::new());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        if let Some(class) = rest.strip_prefix(b"[:") {
            let name_end = class.iter().position(|byte| *byte == b':')?;
            let (kind, range) = match class.get(..name_end)? {
                b"lower" => (Class::Lower, b'a'..=b'z'),
                b"upper" => (Class::Upper, b'A'..=b'Z'),
                b"digit" => (Class::Digit, b'0'..=b'9'),
                _ => return None,
            };
            classes.push((letters.len(), kind));
            letters.extend(range);
            rest = class.get(name_end + 1..)?.strip_prefix(b"]")?;
            continue;
        }
        let (letter, after) = match (first, after) {
            (b'\\', [b'n', after @ ..]) => (b'\n', after),
            (b'\\', [b't', after @ ..]) => (b'\t', after),
            (b'\\', [b'\\', after @ ..]) => (b'\\', after),
            (b'\\' | b'[', _) => return None,
            (other, after) if other.is_ascii() => (*other, after),
            _ => return None,
        };
        if let [b'-', last, after @ ..] = after {
            if !last.is_ascii_alphanumeric() || !letter.is_ascii_alphanumeric() || *last < letter {
                return None;
            }
            letters.extend(letter..=*last);
            rest = after;
        } else {
            letters.push(letter);
            rest = after;
        }
    }
    Some(Set { letters, classes })
}
