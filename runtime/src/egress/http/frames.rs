//! Follows the frames of a WebSocket just far enough to know that one closed it.
//! It never holds a payload, and refuses nothing: what is scrubbed is read elsewhere, and strictly.

use super::walk::Walk;

/// Longest head of a frame, bytes (RFC 6455, 5.2).
const HEAD_BYTES_MAX: usize = 14;
/// The opcode of a close frame.
const CLOSE: u8 = 8;

/// One direction of a WebSocket.
#[derive(Debug)]
pub(super) struct Frames {
    walk: Walk<HEAD_BYTES_MAX>,
    is_closed: bool,
}

impl Default for Frames {
    fn default() -> Self {
        Self { walk: Walk::after(0), is_closed: false }
    }
}

impl Frames {
    /// Whether a close frame has passed; what ends after it ends as it should.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Takes note of bytes, wherever they were cut.
    pub(super) fn passed(&mut self, bytes: &[u8]) {
        self.walk.passed(bytes, |head| {
            let [first, short, rest @ ..] = head else { return None };
            let length_bytes = match short & 0x7f {
                126 => 2,
                127 => 8,
                _ => 0,
            };
            let mask_bytes = if short & 0x80 == 0 { 0 } else { 4 };
            let length = rest.get(..length_bytes).filter(|_| rest.len() >= length_bytes + mask_bytes)?;
            self.is_closed |= first & 0x0f == CLOSE;
            let long = length.iter().fold(0, |sum: u64, digit| sum << 8 | u64::from(*digit));
            Some(if length_bytes == 0 { u64::from(short & 0x7f) } else { long })
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], closed: bool) {
        for cut in 1..=bytes.len() {
            let mut frames = Frames::default();
            bytes.chunks(cut).for_each(|piece| frames.passed(piece));
            assert_eq!(frames.is_closed(), closed, "in pieces of {cut}");
        }
    }

    #[test]
    fn a_close_frame_is_seen_wherever_it_is_cut_and_never_in_a_payload() {
        check(&[0x81, 2, 0x88, 0x88], false);
        check(&[0x81, 2, 0x88, 0x88, 0x88, 0], true);
        check(&[0x82, 0x83, 1, 2, 3, 4, 0x88, 0, 0x88], false);
        check(&[0x82, 0x83, 1, 2, 3, 4, 0x88, 0, 0x88, 0x88, 0x82, 1, 2, 3, 4, 3, 232], true);
        let long = [&[0x82, 126, 1, 0][..], &[0x88; 256], &[0x88, 2, 3, 232]].concat();
        check(&long, true);
        check(&long[..260], false);
        let longer = [&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0][..], &[0x88; 65536]].concat();
        let mut frames = Frames::default();
        frames.passed(&longer);
        assert!(!frames.is_closed());
        frames.passed(&[0x88, 0]);
        assert!(frames.is_closed());
    }
}
