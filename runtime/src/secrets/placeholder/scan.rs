//! Finds placeholders in bytes, in any usual spelling: first the mark, at the speed of memory, then the tag.
//! It never takes text for a placeholder that no session of this host made.

use super::spelling::{Spelling, Unescaped, character, hex_pair, may_be_escaped, sextet, unescape};
use super::{CORE_BYTES, Core, HostKey, MARK};
use aho_corasick::{AhoCorasick, MatchKind};
use std::ops::Range;

/// Layers of escapes that are looked under: `%2573` has two.
const LAYERS_MAX: usize = 3;
/// Longest spelling of a placeholder's core, bytes: `&#x00000073;`-like entities are the longest, folds come on top.
/// What is looked at piece by piece has to overlap by so much.
pub const SPELLING_BYTES_MAX: usize = 12 * CORE_BYTES + 64;

/// A placeholder that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Which one.
    pub core: Core,
    /// Where its core stands.
    pub range: Range<usize>,
    /// How it is written.
    pub spelling: Spelling,
}

/// What a needle of the automaton is.
#[derive(Debug, Clone, Copy)]
enum Needle {
    Raw,
    /// In base64, after so many bytes of the first group of three.
    Base64(usize),
    Hex,
    Wide,
}

/// Looks for placeholders of this host.
#[derive(Debug)]
pub struct Scanner {
    key: HostKey,
    marks: AhoCorasick,
    needles: Vec<Needle>,
}

impl Scanner {
    /// A scanner for placeholders under this key.
    pub fn new(key: HostKey) -> Self {
        let hex = |upper: bool| -> Vec<u8> {
            let digits = MARK.iter().map(|byte| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") });
            digits.collect::<String>().into_bytes()
        };
        let mut wide: Vec<u8> = MARK.iter().flat_map(|&byte| [byte, 0]).collect();
        wide.pop();
        let mut all = vec![(Needle::Raw, MARK.to_vec()), (Needle::Hex, hex(false)), (Needle::Hex, hex(true))];
        all.push((Needle::Wide, wide));
        all.extend((0..3).map(|offset| (Needle::Base64(offset), base64_mark(offset))));
        let (needles, words): (Vec<Needle>, Vec<Vec<u8>>) = all.into_iter().unzip();
        let built = AhoCorasick::builder().match_kind(MatchKind::Standard).build(&words);
        Self { key, marks: built.expect("seven short needles"), needles }
    }

    /// The key.
    pub fn key(&self) -> &HostKey {
        &self.key
    }

    /// Every placeholder in the bytes, by where it stands. One that is there in two readings is found once.
    pub fn find(&self, bytes: &[u8]) -> Vec<Sighting> {
        let mut found = self.find_in(bytes);
        if !may_be_escaped(bytes) {
            return found;
        }
        let mut below: Option<Unescaped> = None;
        for _layer in 0..LAYERS_MAX {
            let text = below.as_ref().map_or(bytes, |layer| &layer.bytes);
            let Some(mut layer) = unescape(text) else { break };
            if let Some(above) = &below {
                for origin in &mut layer.origin {
                    *origin = above.origin.get(*origin).copied().unwrap_or(bytes.len());
                }
            }
            for mut sighting in self.find_in(&layer.bytes) {
                let at = |place: usize| layer.origin.get(place).copied().unwrap_or(bytes.len());
                sighting.range = at(sighting.range.start)..at(sighting.range.end);
                sighting.spelling = sighting.spelling.max(Spelling::Escaped);
                if !found.iter().any(|other| other.core == sighting.core && overlap(&other.range, &sighting.range)) {
                    found.push(sighting);
                }
            }
            below = Some(layer);
        }
        found.sort_by_key(|sighting| sighting.range.start);
        found
    }

    /// As [`Self::find`], without looking under escapes.
    fn find_in(&self, bytes: &[u8]) -> Vec<Sighting> {
        let mut found = Vec::new();
        for hit in self.marks.find_overlapping_iter(bytes) {
            let Some(needle) = self.needles.get(hit.pattern().as_usize()) else { continue };
            let read = match needle {
                Needle::Raw => raw(bytes, hit.start()),
                Needle::Base64(offset) => base64(bytes, hit.start(), *offset),
                Needle::Hex => hex(bytes, hit.start()),
                Needle::Wide => wide(bytes, hit.start()),
            };
            found.extend(read.filter(|sighting| self.key.made(&sighting.core)));
        }
        found
    }
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

fn sighting(core: Core, range: Range<usize>, spelling: Spelling) -> Sighting {
    Sighting { core, range, spelling }
}

fn raw(bytes: &[u8], start: usize) -> Option<Sighting> {
    let core = bytes.get(start..)?.first_chunk()?;
    Some(sighting(*core, start..start + CORE_BYTES, Spelling::Raw))
}

fn hex(bytes: &[u8], start: usize) -> Option<Sighting> {
    let digits = bytes.get(start..start + 2 * CORE_BYTES)?;
    let mut core = [0; CORE_BYTES];
    for (out, pair) in core.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *out = hex_pair(*high, *low)?;
    }
    Some(sighting(core, start..start + 2 * CORE_BYTES, Spelling::Hex))
}

fn wide(bytes: &[u8], start: usize) -> Option<Sighting> {
    let end = start + 2 * CORE_BYTES - 1;
    let text = bytes.get(start..end)?;
    let mut core = [0; CORE_BYTES];
    for (out, byte) in core.iter_mut().zip(text.iter().step_by(2)) {
        *out = *byte;
    }
    Some(sighting(core, start..end, Spelling::Wide))
}

/// First character of base64 that depends on nothing but what follows `offset` bytes.
const fn first_own_character(offset: usize) -> usize {
    (offset * 8).div_ceil(6)
}

/// The characters of base64 that the mark alone determines, when `offset` bytes stand before it.
fn base64_mark(offset: usize) -> Vec<u8> {
    let bits = |at: usize| -> u8 {
        // Bit `at` of the group, the highest first; the bytes before the mark do not matter here.
        let byte = (at / 8).checked_sub(offset).and_then(|place| MARK.get(place)).copied().unwrap_or(0);
        byte >> (7 - at % 8) & 1
    };
    let end = (offset + MARK.len()) * 8 / 6;
    (first_own_character(offset)..end)
        .map(|place| character((0..6).fold(0, |sextet, bit| sextet << 1 | bits(place * 6 + bit))))
        .collect()
}

fn base64(bytes: &[u8], start: usize, offset: usize) -> Option<Sighting> {
    let skipped = first_own_character(offset);
    let characters = ((offset + CORE_BYTES) * 8).div_ceil(6) - skipped;
    let text = bytes.get(start..start + characters)?;
    // The first bits of the mark can be in a character before: they are known without it.
    let mut core = [0; CORE_BYTES];
    core.iter_mut().zip(MARK).for_each(|(out, byte)| *out = *byte);
    let mut buffer = 0_u32;
    let mut held = 0;
    let mut at = skipped * 6;
    for &character in text {
        buffer = (buffer << 6 | u32::from(sextet(character)?)) & 0xffff;
        held += 6;
        at += 6;
        // Whole bytes end at multiples of eight bits of the group.
        if at % 8 < 6 && held >= at % 8 + 8 {
            let byte = u8::try_from(buffer >> (at % 8) & 0xff).expect("eight bits");
            if let Some(out) = (at / 8).checked_sub(1 + offset).and_then(|place| core.get_mut(place)) {
                *out = byte;
            }
        }
    }
    Some(sighting(core, start..start + characters, Spelling::Base64))
}
