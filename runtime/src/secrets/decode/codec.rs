//! The decoders themselves, behind one step: some bytes in, some bytes out.
//! It never waits for more input than it needs for the next byte of output.

use super::gzip::Gzip;
use super::{Fault, ZSTD_WINDOW_LOG_MAX};
use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, InBuffer, Operation as _, OutBuffer};

/// How far a step got, in bytes.
pub(super) struct Step {
    pub(super) taken: usize,
    pub(super) given: usize,
}

/// One format.
pub(super) enum Codec {
    Gzip(Box<Gzip>),
    Deflate(Deflate),
    Brotli(Box<Brotli>),
    Zstd(Zstd),
}

impl Codec {
    pub(super) fn by_name(name: &str) -> Option<Self> {
        match &name.to_ascii_lowercase()[..] {
            "gzip" | "x-gzip" => Some(Self::Gzip(Box::default())),
            "deflate" => Some(Self::Deflate(Deflate::Unknown { first: None })),
            "br" => Some(Self::Brotli(Box::new(Brotli::new()))),
            "zstd" => Some(Self::Zstd(Zstd::Before)),
            _ => None,
        }
    }

    /// Decodes until `input` is used up or `out` is full or some of it is filled. Nothing taken and nothing given means that
    /// the input is used up.
    pub(super) fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, Fault> {
        match self {
            Self::Gzip(gzip) => gzip.step(input, out),
            Self::Deflate(deflate) => deflate.step(input, out),
            Self::Brotli(brotli) => brotli.step(input, out),
            Self::Zstd(zstd) => zstd.step(input, out),
        }
    }

    /// Whether the stream may end here.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::Gzip(gzip) => gzip.is_whole(),
            Self::Deflate(deflate) => matches!(deflate, Deflate::Done),
            Self::Brotli(brotli) => brotli.is_done,
            Self::Zstd(zstd) => matches!(zstd, Zstd::Between(_)),
        }
    }
}

/// `deflate` means zlib (RFC 9110, section 8.4.1.2), and some servers send raw deflate.
pub(super) enum Deflate {
    /// The first two bytes tell.
    Unknown {
        first: Option<u8>,
    },
    /// The byte that was held for the decision goes in before all others.
    Within {
        inflate: Decompress,
        first: Option<u8>,
    },
    Done,
}

impl Deflate {
    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, Fault> {
        if let Self::Unknown { first } = self {
            let Some(byte) = input.first() else { return Ok(Step { taken: 0, given: 0 }) };
            let Some(first) = *first else {
                *first = Some(*byte);
                return Ok(Step { taken: 1, given: 0 });
            };
            // RFC 1950, section 2.2. A raw stream that began so would be a stored block whose padding is not zero, which no
            // encoder writes.
            let is_zlib = first & 0x8F == 8 && (u16::from(first) << 8 | u16::from(*byte)).is_multiple_of(31);
            *self = Self::Within { inflate: Decompress::new(is_zlib), first: Some(first) };
        }
        let Self::Within { inflate, first } = self else {
            return if input.is_empty() { Ok(Step { taken: 0, given: 0 }) } else { Err(Fault::Trailing) };
        };
        if let Some(byte) = *first {
            let (step, status) = inflated(inflate, &[byte], out, "deflate")?;
            *first = Some(byte).filter(|_| step.taken == 0);
            if status == Status::StreamEnd {
                *self = Self::Done;
            }
            if step.given > 0 || matches!(self, Self::Done) {
                return Ok(Step { taken: 0, given: step.given });
            }
            return self.step(input, out);
        }
        let (step, status) = inflated(inflate, input, out, "deflate")?;
        if status == Status::StreamEnd {
            *self = Self::Done;
        }
        Ok(step)
    }
}

/// One step of inflate (RFC 1951).
pub(super) fn inflated(
    inflate: &mut Decompress,
    input: &[u8],
    out: &mut [u8],
    format: &'static str,
) -> Result<(Step, Status), Fault> {
    let (taken, given) = (inflate.total_in(), inflate.total_out());
    let status = inflate.decompress(input, out, FlushDecompress::None).map_err(|_| Fault::Malformed(format))?;
    let far = |now: u64, before: u64| usize::try_from(now - before).map_err(|_| Fault::Memory);
    Ok((Step { taken: far(inflate.total_in(), taken)?, given: far(inflate.total_out(), given)? }, status))
}

/// RFC 7932, without the large windows that its header cannot announce.
pub(super) struct Brotli {
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    is_done: bool,
}

impl Brotli {
    fn new() -> Self {
        let alloc = StandardAlloc::default;
        Self { state: BrotliState::new_strict(alloc(), alloc(), alloc()), is_done: false }
    }

    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, Fault> {
        if self.is_done {
            return if input.is_empty() { Ok(Step { taken: 0, given: 0 }) } else { Err(Fault::Trailing) };
        }
        let (mut input_left, mut taken, mut out_left, mut given, mut total) = (input.len(), 0, out.len(), 0, 0);
        let result = BrotliDecompressStream(
            &mut input_left,
            &mut taken,
            input,
            &mut out_left,
            &mut given,
            out,
            &mut total,
            &mut self.state,
        );
        match result {
            BrotliResult::ResultSuccess => self.is_done = true,
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
            BrotliResult::ResultFailure => return Err(Fault::Malformed("br")),
        }
        Ok(Step { taken, given })
    }
}

/// RFC 8878: frames, one after the other.
pub(super) enum Zstd {
    /// Nothing came yet.
    Before,
    /// In a frame.
    Within(ZstdDecoder<'static>),
    /// Behind a frame; another may follow.
    Between(ZstdDecoder<'static>),
}

impl Zstd {
    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, Fault> {
        if input.is_empty() && !matches!(self, Self::Within(_)) {
            return Ok(Step { taken: 0, given: 0 });
        }
        let wrong = if matches!(self, Self::Between(_)) { Fault::Trailing } else { Fault::Malformed("zstd") };
        let mut decoder = match std::mem::replace(self, Self::Before) {
            Self::Before => {
                let mut decoder = ZstdDecoder::new().map_err(|_| Fault::Memory)?;
                decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX)).map_err(|_| Fault::Memory)?;
                decoder
            }
            Self::Within(decoder) | Self::Between(decoder) => decoder,
        };
        let (mut from, mut to) = (InBuffer::around(input), OutBuffer::around(out));
        let left =
            decoder.run(&mut from, &mut to).map_err(|error| match error.to_string().contains("too much memory") {
                true => Fault::Limit("ZSTD_WINDOW_LOG_MAX"),
                false => wrong,
            })?;
        let step = Step { taken: from.pos(), given: to.pos() };
        *self = if left == 0 { Self::Between(decoder) } else { Self::Within(decoder) };
        Ok(step)
    }
}
