//! Placeholders in every spelling, at every place, and never in what is none.

use super::*;
use std::fmt::Write as _;

/// Numbers that look random and are the same in every run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 8
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll()).expect("64 bits") % end
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| u8::try_from(self.roll() & 0xff).expect("a byte")).collect()
    }
}

fn host() -> HostKey {
    HostKey::new(LockedBytes::take(&mut [7; KEY_BYTES]).expect("memory"))
}

fn session(seed: u8) -> SessionKey {
    SessionKey(LockedBytes::take(&mut [seed; KEY_BYTES]).expect("memory"))
}

fn name(text: &str) -> SecretName {
    SecretName::parse(text).expect("a name")
}

fn base64(bytes: &[u8]) -> String {
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0_u32, |word, &byte| word << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for place in 0..=group.len() {
            let sextet = u8::try_from(word >> (18 - 6 * place) & 63).expect("six bits");
            out.push(char::from(spelling::character(sextet)));
        }
    }
    out
}

fn each(text: &str, f: impl Fn(u8) -> String) -> Vec<u8> {
    text.bytes().map(f).collect::<String>().into_bytes()
}

/// Some characters escaped, others not: a coin for each.
fn some(text: &str, dice: &mut Dice, f: impl Fn(u8) -> String) -> Vec<u8> {
    let mut out = String::new();
    for byte in text.bytes() {
        if dice.below(2) == 0 { out.push(char::from(byte)) } else { out.push_str(&f(byte)) }
    }
    out.into_bytes()
}

/// Every spelling of a text, with its name.
fn spellings(text: &str, dice: &mut Dice) -> Vec<(&'static str, Vec<u8>)> {
    let before = dice.bytes(3);
    let folded = |text: &str, end: &str| {
        let lines: Vec<&str> =
            text.as_bytes().chunks(19).map(|line| str::from_utf8(line).expect("base64 is ASCII")).collect();
        lines.join(end).into_bytes()
    };
    let encoded = base64(text.as_bytes());
    vec![
        ("raw", text.as_bytes().to_vec()),
        ("percent", each(text, |byte| format!("%{byte:02X}"))),
        ("some percent", some(text, dice, |byte| format!("%{byte:02x}"))),
        ("percent twice", each(text, |byte| format!("%25{byte:02X}"))),
        ("json", each(text, |byte| format!("\\u{byte:04x}"))),
        ("some json", some(text, dice, |byte| format!("\\u{byte:04X}"))),
        ("json in a url", each(text, |byte| format!("%5Cu{byte:04x}"))),
        ("html", each(text, |byte| format!("&#x{byte:x};"))),
        ("html, decimal", each(text, |byte| format!("&#{byte};"))),
        ("c", each(text, |byte| format!("\\x{byte:02x}"))),
        ("hex", each(text, |byte| format!("{byte:02x}"))),
        ("HEX", each(text, |byte| format!("{byte:02X}"))),
        ("utf-16le", text.bytes().flat_map(|byte| [byte, 0]).collect()),
        ("utf-16be", text.bytes().flat_map(|byte| [0, byte]).collect()),
        ("base64", encoded.clone().into_bytes()),
        ("base64 after one", base64(&[&before[..1], text.as_bytes(), b"!"].concat()).into_bytes()),
        ("base64 after two", base64(&[&before[..2], text.as_bytes(), b"!!"].concat()).into_bytes()),
        ("base64 after three", base64(&[&before[..], text.as_bytes()].concat()).into_bytes()),
        ("base64url", encoded.replace('+', "-").replace('/', "_").into_bytes()),
        ("base64 in a url", encoded.replace('+', "%2B").replace('/', "%2F").into_bytes()),
        ("base64, folded", folded(&encoded, "\r\n")),
        ("base64, folded in json", folded(&encoded, "\\n")),
    ]
}

#[test]
fn a_placeholder_is_found_in_every_spelling_and_anywhere() {
    let scanner = Scanner::new(host());
    let mut dice = Dice::new(1);
    for round in 0..60_u64 {
        for shape in [Shape::Opaque, Shape::Github, Shape::Jwt] {
            let made = scanner.key().placeholder(&session(3), &name("k"), round, shape);
            for (spelling, text) in spellings(&made.text(), &mut dice) {
                // Noise without letters, so that it neither spells nor continues anything.
                let noise = |dice: &mut Dice| vec![b" .:;,"[dice.below(5)]; dice.below(40)];
                let whole = [noise(&mut dice), text, noise(&mut dice)].concat();
                let found = scanner.find(&whole);
                assert_eq!(found.len(), 1, "{spelling}: {}", String::from_utf8_lossy(&whole));
                assert_eq!(found[0].core, *made.core(), "{spelling}");
                assert!(found[0].range.end <= whole.len(), "{spelling}: {:?}", found[0].range);
                assert!(found[0].range.len() <= SPELLING_BYTES_MAX, "{spelling}: {:?}", found[0].range);
            }
        }
    }
}

#[test]
fn chance_is_never_taken_for_a_placeholder() {
    let scanner = Scanner::new(host());
    let mut dice = Dice::new(2);
    for _ in 0..300 {
        assert_eq!(scanner.find(&dice.bytes(4096)), []);
        let mut text: Vec<u8> = (0..4096).map(|_| ALPHABET[dice.below(62)]).collect();
        // Marks all over, with chance behind them.
        for _ in 0..40 {
            let at = dice.below(4000);
            text[at..at + MARK.len()].copy_from_slice(MARK);
        }
        assert_eq!(scanner.find(&text), []);
    }
}

#[test]
fn a_placeholder_with_one_other_character_is_none() {
    let scanner = Scanner::new(host());
    let made = scanner.key().placeholder(&session(1), &name("k"), 1, Shape::Opaque).text();
    for at in 0..made.len() {
        let mut other = made.clone().into_bytes();
        other[at] = if other[at] == b'x' { b'y' } else { b'x' };
        assert_eq!(scanner.find(&other), [], "at {at}");
        assert_eq!(scanner.find(&made.as_bytes()[..at]), [], "cut at {at}");
    }
}

#[test]
fn a_placeholder_is_bound_to_session_secret_version_and_shape() {
    let key = host();
    let base = key.placeholder(&session(1), &name("a"), 1, Shape::Opaque);
    assert_eq!(base, key.placeholder(&session(1), &name("a"), 1, Shape::Opaque));
    for other in [
        key.placeholder(&session(2), &name("a"), 1, Shape::Opaque),
        key.placeholder(&session(1), &name("b"), 1, Shape::Opaque),
        key.placeholder(&session(1), &name("a"), 2, Shape::Opaque),
        key.placeholder(&session(1), &name("a"), 1, Shape::Github),
    ] {
        assert_ne!(base.core(), other.core());
        assert!(key.made(other.core()), "any session's is known");
    }
    let elsewhere = HostKey::new(LockedBytes::take(&mut [8; KEY_BYTES]).expect("memory"));
    assert!(!elsewhere.made(base.core()), "another host's is not");
}

#[test]
fn placeholders_have_the_shape_that_clients_check() {
    let key = host();
    let text = |shape| key.placeholder(&session(1), &name("a"), 1, shape).text();
    assert_eq!((text(Shape::Opaque).len(), text(Shape::Github).len()), (36, 40));
    assert!(text(Shape::Github).starts_with("ghp_"));
    let jwt = text(Shape::Jwt);
    assert_eq!((jwt.len(), jwt.split('.').count()), (PLACEHOLDER_BYTES_MAX, 3));
    let mut plain = String::new();
    for shape in [Shape::Opaque, Shape::Github, Shape::Jwt] {
        write!(plain, "{}", text(shape)).expect("memory");
    }
    assert!(plain.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_')), "{plain}");
    assert_eq!(base64(br#"{"alg":"HS256","typ":"JWT"}"#), JWT_LEAD.split('.').next().expect("three parts"));
    assert_eq!(base64(br#"{"iss":"stockade","exp":4102444800}"#), JWT_LEAD.split('.').nth(1).expect("three parts"));
}
