//! Walks over frames of a known head and payload, wherever their bytes were cut.
//! It never holds a payload.

/// One direction of a connection, whose frames have heads of at most `HEAD_BYTES_MAX` bytes.
#[derive(Debug)]
pub(super) struct Walk<const HEAD_BYTES_MAX: usize> {
    head: [u8; HEAD_BYTES_MAX],
    has_bytes: usize,
    /// Bytes to come that are no head.
    left_bytes: u64,
}

impl<const HEAD_BYTES_MAX: usize> Walk<HEAD_BYTES_MAX> {
    /// Begins with the first frame behind so many bytes.
    pub(super) fn after(left_bytes: u64) -> Self {
        Self { head: [0; HEAD_BYTES_MAX], has_bytes: 0, left_bytes }
    }

    /// Takes bytes. `begun` gets what there is of a head, a byte more each time; it says how many bytes come behind it once
    /// it is whole.
    pub(super) fn passed(&mut self, mut bytes: &[u8], mut begun: impl FnMut(&[u8]) -> Option<u64>) {
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
            if let Some(left_bytes) = begun(self.head.get(..self.has_bytes).unwrap_or(&self.head)) {
                (self.has_bytes, self.left_bytes) = (0, left_bytes);
            }
        }
    }
}
