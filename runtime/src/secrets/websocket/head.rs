//! The head of a frame (RFC 6455, section 5.2), read and written.
//! It never accepts what the protocol forbids, harmless or not.

use super::Fault;
use bytes::{BufMut as _, BytesMut};

/// Two bytes, a length of eight, a mask of four.
pub const HEAD_BYTES_MAX: usize = 14;

/// A longer frame is refused. Nothing is collected, so this is no question of memory: no program means more.
pub const FRAME_BYTES_MAX: u64 = 1 << 32;

/// Payload of a control frame (section 5.5).
const CONTROL_BYTES_MAX: u64 = 125;

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

/// Which way frames go: those of a client are masked, those of a server are not (section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    ToClient,
    ToServer,
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    fn parse(bits: u8) -> Option<Self> {
        [Self::Continuation, Self::Text, Self::Binary, Self::Close, Self::Ping, Self::Pong]
            .into_iter()
            .find(|one| *one as u8 == bits)
    }
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) opcode: Opcode,
    pub(super) is_final: bool,
    pub(super) payload_bytes: u64,
    pub(super) mask: Option<[u8; 4]>,
}

impl Head {
    /// The head at the front; none where it is not whole.
    pub(super) fn parse(bytes: &[u8], way: Way) -> Result<Option<Self>, Fault> {
        let Some([first, second]) = bytes.first_chunk() else { return Ok(None) };
        if first & RESERVED != 0 {
            return Err(Fault::Protocol("a reserved bit is set and no extension was negotiated"));
        }
        let Some(opcode) = Opcode::parse(first & 15) else { return Err(Fault::Protocol("an unknown kind of frame")) };
        let is_masked = second & MASKED != 0;
        if is_masked != (way == Way::ToServer) {
            return Err(Fault::Protocol("a client masks its frames and a server does not"));
        }
        let (short, is_final) = (u64::from(second & !MASKED), first & FINAL != 0);
        if opcode.is_control() && (short > CONTROL_BYTES_MAX || !is_final) {
            return Err(Fault::Protocol("a control frame is short and in one piece"));
        }
        let long = bytes.get(2..).unwrap_or_default();
        let (payload_bytes, least, length_bytes) = match short {
            126 => match long.first_chunk() {
                Some(length) => (u64::from(u16::from_be_bytes(*length)), 126, 2),
                None => return Ok(None),
            },
            127 => match long.first_chunk() {
                Some(length) => (u64::from_be_bytes(*length), 1 << 16, 8),
                None => return Ok(None),
            },
            _ => (short, 0, 0),
        };
        if payload_bytes < least || payload_bytes > i64::MAX as u64 {
            return Err(Fault::Protocol("a length in more bytes than it needs"));
        }
        if payload_bytes > FRAME_BYTES_MAX {
            return Err(Fault::TooLong);
        }
        if opcode == Opcode::Close && payload_bytes == 1 {
            return Err(Fault::Protocol("half a close code"));
        }
        let mask = match long.get(length_bytes..).and_then(<[u8]>::first_chunk) {
            _ if !is_masked => None,
            Some(mask) => Some(*mask),
            None => return Ok(None),
        };
        Ok(Some(Self { opcode, is_final, payload_bytes, mask }))
    }

    /// Its own length.
    pub(super) fn bytes(&self) -> usize {
        self.encoded().len()
    }

    pub(super) fn encoded(&self) -> BytesMut {
        let mut out = BytesMut::with_capacity(HEAD_BYTES_MAX);
        self.encode(&mut out);
        out
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.opcode as u8 | if self.is_final { FINAL } else { 0 });
        let masked = if self.mask.is_some() { MASKED } else { 0 };
        match (u8::try_from(self.payload_bytes), u16::try_from(self.payload_bytes)) {
            (Ok(short), _) if short < 126 => out.put_u8(short | masked),
            (_, Ok(middle)) => {
                out.put_u8(126 | masked);
                out.put_u16(middle);
            }
            (_, Err(_)) => {
                out.put_u8(127 | masked);
                out.put_u64(self.payload_bytes);
            }
        }
        out.extend_from_slice(self.mask.as_ref().map_or(&[], |mask| mask));
    }

    /// A part of the payload that begins `from` bytes into it, as it was before it was masked.
    pub(super) fn unmasked<'a>(&self, payload: &'a [u8], from: u64) -> impl Iterator<Item = u8> + use<'a> {
        let mask = self.mask.unwrap_or_default().into_iter().cycle().skip(usize::try_from(from % 4).unwrap_or(0));
        payload.iter().zip(mask).map(|(byte, mask)| byte ^ mask)
    }
}
