//! Gzip (RFC 1952): members, one after the other, each with its header, its sum and its length.
//! It never keeps a header's fields.

use super::codec::{Step, inflated};
use super::{Fault, GZIP_HEADER_BYTES_MAX};
use flate2::{Crc, Decompress, Status};

const CHECKED: u8 = 2;
const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;
const RESERVED: u8 = 0xE0;

/// Where in a member we are.
enum At {
    /// The ten fixed bytes: so many were seen.
    Fixed(usize),
    /// The length of the extra field, its low byte if that was seen.
    ExtraLength(Option<u8>),
    Extra(u16),
    Name,
    Comment,
    /// The header's own sum, its low byte if that was seen.
    HeaderSum(Option<u8>),
    Body,
    /// Sum and length, little-endian: so many bytes were seen.
    Trailer(usize),
}

/// A stream of members.
pub(super) struct Gzip {
    at: At,
    flags: u8,
    header_bytes: usize,
    /// Of this member's header.
    header_sum: Crc,
    inflate: Decompress,
    /// Of this member's content, with its length modulo 2^32.
    sum: Crc,
    trailer: [u8; 8],
    /// Whether one has ended.
    has_member: bool,
}

impl Default for Gzip {
    fn default() -> Self {
        Self {
            at: At::Fixed(0),
            flags: 0,
            header_bytes: 0,
            header_sum: Crc::new(),
            inflate: Decompress::new(false),
            sum: Crc::new(),
            trailer: [0; 8],
            has_member: false,
        }
    }
}

impl Gzip {
    /// Whether a member has just ended, or none begun.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.at, At::Fixed(0))
    }

    pub(super) fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, Fault> {
        let mut taken = 0;
        while !matches!(self.at, At::Body) {
            let Some(byte) = input.get(taken) else { return Ok(Step { taken, given: 0 }) };
            self.frame_byte(*byte)?;
            taken += 1;
        }
        let rest = input.get(taken..).unwrap_or_default();
        let (step, status) = inflated(&mut self.inflate, rest, out, "gzip")?;
        self.sum.update(out.get(..step.given).unwrap_or_default());
        if status == Status::StreamEnd {
            self.at = At::Trailer(0);
        }
        Ok(Step { taken: taken + step.taken, given: step.given })
    }

    /// One byte that is not compressed.
    fn frame_byte(&mut self, byte: u8) -> Result<(), Fault> {
        if let At::Trailer(seen) = self.at {
            return self.trailer_byte(seen, byte);
        }
        self.header_bytes += 1;
        if self.header_bytes > GZIP_HEADER_BYTES_MAX {
            return Err(Fault::Limit("GZIP_HEADER_BYTES_MAX"));
        }
        if !matches!(self.at, At::HeaderSum(_)) {
            self.header_sum.update(&[byte]);
        }
        self.at = match self.at {
            At::Fixed(seen) => return self.fixed_byte(seen, byte),
            At::ExtraLength(None) => At::ExtraLength(Some(byte)),
            At::ExtraLength(Some(low)) => match u16::from_le_bytes([low, byte]) {
                0 => self.behind(EXTRA),
                length => At::Extra(length),
            },
            At::Extra(1) => self.behind(EXTRA),
            At::Extra(left) => At::Extra(left - 1),
            At::Name if byte == 0 => self.behind(NAME),
            At::Name => At::Name,
            At::Comment if byte == 0 => self.behind(COMMENT),
            At::Comment => At::Comment,
            At::HeaderSum(None) => At::HeaderSum(Some(byte)),
            At::HeaderSum(Some(low)) => {
                let sum = self.header_sum.sum() & 0xFFFF;
                if sum != u32::from(u16::from_le_bytes([low, byte])) {
                    return Err(Fault::Malformed("gzip"));
                }
                At::Body
            }
            At::Body | At::Trailer(_) => At::Body,
        };
        Ok(())
    }

    /// One of the ten bytes that every header begins with.
    fn fixed_byte(&mut self, seen: usize, byte: u8) -> Result<(), Fault> {
        let is_right = match seen {
            0 => byte == 0x1F,
            1 => byte == 0x8B,
            2 => byte == 8,
            3 => byte & RESERVED == 0,
            // Time, extra flags and system may be anything.
            _ => true,
        };
        if !is_right {
            // Behind a member, what is not another one is garbage.
            return Err(if self.has_member { Fault::Trailing } else { Fault::Malformed("gzip") });
        }
        if seen == 3 {
            self.flags = byte;
        }
        self.at = if seen == 9 { self.behind(0) } else { At::Fixed(seen + 1) };
        if seen == 9 {
            self.inflate.reset(false);
            self.sum.reset();
        }
        Ok(())
    }

    /// The next field that the flags announce, after the one of this flag.
    fn behind(&self, flag: u8) -> At {
        let fields = [(EXTRA, At::ExtraLength(None)), (NAME, At::Name), (COMMENT, At::Comment)];
        let next = fields.into_iter().find(|(one, _)| *one > flag && self.flags & one != 0);
        match next {
            Some((_, at)) => at,
            None if self.flags & CHECKED != 0 => At::HeaderSum(None),
            None => At::Body,
        }
    }

    fn trailer_byte(&mut self, seen: usize, byte: u8) -> Result<(), Fault> {
        if let Some(place) = self.trailer.get_mut(seen) {
            *place = byte;
        }
        if seen < 7 {
            self.at = At::Trailer(seen + 1);
            return Ok(());
        }
        let [a, b, c, d, e, f, g, h] = self.trailer;
        let is_right =
            u32::from_le_bytes([a, b, c, d]) == self.sum.sum() && u32::from_le_bytes([e, f, g, h]) == self.sum.amount();
        if !is_right {
            return Err(Fault::Malformed("gzip"));
        }
        self.has_member = true;
        self.header_bytes = 0;
        self.header_sum.reset();
        self.at = At::Fixed(0);
        Ok(())
    }
}
