//! Passes over what cannot be the beginning of a secret, many bytes at a time.
//! It never passes over a byte at which a form begins.
//!
//! A form that begins somewhere has, within its first `window` bytes, four bytes at every place that is looked at each
//! `stride`. So a table of all four bytes that occur in those windows, hashed into a bitmap, tells from one look whether any
//! form can begin at one of `stride` places. No look depends on the one before, so the processor does several at once.

use zeroize::Zeroize as _;

/// Bytes that are looked at together.
const BLOCK: usize = 4;
/// Longer windows save little and fill the table.
const WINDOW_BYTES_MAX: usize = 32;
/// Bits of the bitmap for each block in it: one look in 64 is in vain, less where the text is unlike the secret.
const BITS_EACH: usize = 64;
/// Bits of the smallest bitmap, 16 KiB: it fits into the first cache beside the text.
const BITS_MIN: usize = 1 << 17;
/// Bits of the largest one, 1 MiB.
const BITS_MAX: usize = 1 << 23;

/// What to walk through with the automaton: from a place on, at least up to another.
pub(super) struct Suspect {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// The table. It is wiped when it is dropped.
pub(super) struct Sieve {
    stride: usize,
    shift: u32,
    bitmap: Vec<u64>,
}

impl Sieve {
    /// For forms of which the shortest has `shortest` bytes; none where that is less than a block.
    pub(super) fn new<'a>(forms: impl Iterator<Item = &'a [u8]> + Clone, shortest: usize) -> Option<Self> {
        let window = shortest.min(WINDOW_BYTES_MAX);
        let stride = (window + 1).checked_sub(BLOCK).filter(|stride| *stride > 0)?;
        let blocks = forms.clone().count() * stride;
        let bits = (blocks * BITS_EACH).next_power_of_two().clamp(BITS_MIN, BITS_MAX);
        let mut sieve = Self { stride, shift: 32 - bits.ilog2(), bitmap: vec![0; bits / 64] };
        for form in forms {
            for block in form.windows(BLOCK).take(stride).filter_map(<[u8]>::first_chunk) {
                let (word, bit) = sieve.place(block);
                sieve.bitmap[word] |= bit;
            }
        }
        Some(sieve)
    }

    /// The first place from `from` on where a form can begin.
    #[inline]
    pub(super) fn next(&self, text: &[u8], from: usize) -> Suspect {
        let mut look = from + self.stride - 1;
        while let Some(block) = text.get(look..).and_then(<[u8]>::first_chunk) {
            let (word, bit) = self.place(block);
            if self.bitmap.get(word).is_none_or(|bits| bits & bit != 0) {
                return Suspect { start: look + 1 - self.stride, end: look + 1 };
            }
            look += self.stride;
        }
        // Behind the last look there is no whole window left.
        Suspect { start: look + 1 - self.stride, end: text.len() }
    }

    #[inline]
    fn place(&self, block: &[u8; BLOCK]) -> (usize, u64) {
        // Fibonacci hashing (Knuth, volume 3, section 6.4): the high bits of a product mix all four bytes.
        let hash = u32::from_le_bytes(*block).wrapping_mul(0x9E37_79B1) >> self.shift;
        ((hash >> 6) as usize, 1 << (hash & 63))
    }
}

impl Drop for Sieve {
    fn drop(&mut self) {
        self.bitmap.zeroize();
    }
}
