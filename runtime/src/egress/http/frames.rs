//! Follows the frames of a WebSocket just far enough to know that one closed it.
//! It never holds a payload, and refuses nothing: what is scrubbed is read elsewhere, and strictly.

/// Longest head of a frame, bytes (RFC 6455, 5.2).
const HEAD_BYTES_MAX: usize = 14;
/// The opcode of a close frame.
const CLOSE: u8 = 8;

/// One direction of a WebSocket.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; HEAD_BYTES_MAX],
    has_bytes: usize,
    /// Of the payload that is on its way.
    left_bytes: u64,
    is_closed: bool,
}

impl Frames {
    /// Whether a close frame has passed; what ends after it ends as it should.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Takes note of bytes, wherever they were cut.
    pub(super) fn passed(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.left_bytes > 0 {
                let skipped = usize::try_from(self.left_bytes).unwrap_or(usize::MAX).min(bytes.len());
                self.left_bytes -= skipped as u64;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            if let Some(place) = self.head.get_mut(self.has_bytes) {
                *place = *first;
            }
            self.has_bytes += 1;
            bytes = rest;
            if self.has_bytes >= 2 && self.has_bytes >= self.wanted_bytes() {
                self.is_closed |= self.head.first().is_some_and(|byte| byte & 0x0f == CLOSE);
                self.left_bytes = self.payload_bytes();
                self.has_bytes = 0;
            }
        }
    }

    fn short(&self) -> u8 {
        self.head.get(1).copied().unwrap_or_default()
    }

    /// Of the head, once its first two bytes are there.
    fn wanted_bytes(&self) -> usize {
        let length = match self.short() & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if self.short() & 0x80 == 0 { 0 } else { 4 }
    }

    fn payload_bytes(&self) -> u64 {
        let long = |bytes: usize| {
            let digits = self.head.get(2..2 + bytes).unwrap_or_default();
            digits.iter().fold(0, |sum: u64, digit| sum << 8 | u64::from(*digit))
        };
        match self.short() & 0x7f {
            126 => long(2),
            127 => long(8),
            short => short.into(),
        }
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
