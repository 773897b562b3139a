//! Inflating a body, up to a cap and within the budget.

use std::borrow::Cow;
use std::io::{self, Read};

use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use crate::admission::Reservation;

/// A `Content-Encoding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// Why a body was not inflated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InflateError {
    /// Larger than it may be.
    TooLarge,
    /// Not what its encoding says, or cut off.
    Corrupt,
    /// No room for it among the bodies in flight.
    Overloaded,
}

/// Output is taken in steps of this size, each from the budget.
const STEP_BYTES: usize = 64 * 1024;

impl Encoding {
    /// The encoding that a `Content-Encoding` header names. At most one coding: a stack of them is a bomb's shape.
    pub(crate) fn parse(header: &str) -> Option<Self> {
        match header.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Self::Identity),
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            "br" => Some(Self::Brotli),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The body without its encoding, of at most `max_bytes`.
    pub(crate) fn inflate(
        self,
        body: Bytes,
        max_bytes: usize,
        reservation: &mut Reservation,
    ) -> Result<Bytes, InflateError> {
        match self {
            Self::Identity if body.len() <= max_bytes => Ok(body),
            Self::Identity => Err(InflateError::TooLarge),
            Self::Gzip => pump(MultiGzDecoder::new(&body[..]), max_bytes, reservation),
            Self::Deflate => {
                // The name means zlib (RFC 9110), and some senders write raw deflate all the same.
                let is_zlib = matches!(*body, [cmf, flg, ..] if cmf & 0x0f == 8 && (u16::from(cmf) << 8 | u16::from(flg)) % 31 == 0);
                if is_zlib {
                    pump(ZlibDecoder::new(&body[..]), max_bytes, reservation)
                } else {
                    pump(DeflateDecoder::new(&body[..]), max_bytes, reservation)
                }
            }
            Self::Brotli => pump(brotli::Decompressor::new(&body[..], 4096), max_bytes, reservation),
            Self::Zstd => {
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(&body[..]).map_err(|_| InflateError::Corrupt)?;
                // 8 MiB of window: what zstd's levels up to 19 use, and RFC 9659 asks for on the web.
                decoder.window_log_max(23).map_err(|_| InflateError::Corrupt)?;
                pump(decoder, max_bytes, reservation)
            }
        }
    }

    /// For the detail of an error.
    pub(crate) fn name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        })
    }
}

fn pump(mut decoder: impl Read, max_bytes: usize, reservation: &mut Reservation) -> Result<Bytes, InflateError> {
    let mut out: Vec<u8> = Vec::new();
    loop {
        let start = out.len();
        let step = STEP_BYTES.min(max_bytes + 1 - start);
        reservation.grow(step).map_err(|_| InflateError::Overloaded)?;
        out.resize(start + step, 0);
        let read = read_full(&mut decoder, &mut out[start..]).map_err(|_| InflateError::Corrupt)?;
        out.truncate(start + read);
        if out.len() > max_bytes {
            return Err(InflateError::TooLarge);
        }
        if read < step {
            return Ok(out.into());
        }
    }
}

fn read_full(decoder: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match decoder.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;
    use crate::admission::Budget;

    fn inflate(encoding: Encoding, body: Vec<u8>) -> Result<Bytes, InflateError> {
        encoding.inflate(body.into(), 1 << 20, &mut Budget::new(8 << 20).reserve())
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_encoding_is_undone() {
        let text = b"the same text again and again, the same text again and again".repeat(50);
        let zlib = |bytes: &[u8]| {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        let deflate = |bytes: &[u8]| {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        let brotli = |bytes: &[u8]| {
            let mut out = Vec::new();
            brotli::BrotliCompress(&mut &bytes[..], &mut out, &brotli::enc::BrotliEncoderParams::default()).unwrap();
            out
        };
        assert_eq!(inflate(Encoding::Identity, text.clone()).unwrap(), text);
        assert_eq!(inflate(Encoding::Gzip, gzip(&text)).unwrap(), text);
        assert_eq!(inflate(Encoding::Gzip, [gzip(b"two "), gzip(b"members")].concat()).unwrap(), &b"two members"[..]);
        assert_eq!(inflate(Encoding::Deflate, zlib(&text)).unwrap(), text);
        assert_eq!(inflate(Encoding::Deflate, deflate(&text)).unwrap(), text);
        assert_eq!(inflate(Encoding::Brotli, brotli(&text)).unwrap(), text);
        assert_eq!(inflate(Encoding::Zstd, zstd::encode_all(&text[..], 3).unwrap()).unwrap(), text);
    }

    #[test]
    fn bombs_stop_at_the_cap() {
        let zeros = vec![0; 64 << 20];
        assert_eq!(inflate(Encoding::Gzip, gzip(&zeros)), Err(InflateError::TooLarge));
        assert_eq!(inflate(Encoding::Zstd, zstd::encode_all(&zeros[..], 3).unwrap()), Err(InflateError::TooLarge));
        // Skippable frames burn input without output: they end with the input.
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 8, 0, 0, 0][..], &[0; 8]].concat().repeat(10_000);
        assert_eq!(inflate(Encoding::Zstd, skippable), Ok(Bytes::new()));
        // Exactly the cap passes.
        assert_eq!(inflate(Encoding::Gzip, gzip(&zeros[..1 << 20])).map(|bytes| bytes.len()), Ok(1 << 20));
    }

    #[test]
    fn damage_and_stacks_of_codings_are_refused() {
        let whole = gzip(b"some text that is long enough to be cut off somewhere in the middle");
        assert_eq!(inflate(Encoding::Gzip, whole[..whole.len() - 9].to_vec()), Err(InflateError::Corrupt));
        assert_eq!(inflate(Encoding::Gzip, b"not gzip at all".to_vec()), Err(InflateError::Corrupt));
        assert_eq!(inflate(Encoding::Brotli, b"\xff\xff\xff\xff".to_vec()), Err(InflateError::Corrupt));
        assert_eq!(Encoding::parse("gzip, gzip"), None);
        assert_eq!(Encoding::parse("GZIP"), Some(Encoding::Gzip));
    }

    #[test]
    fn inflation_is_taken_from_the_budget() {
        let budget = Budget::new(100_000);
        let refused = Encoding::Gzip.inflate(gzip(&vec![0; 1 << 20]).into(), 1 << 21, &mut budget.reserve());
        assert_eq!(refused, Err(InflateError::Overloaded));
        assert_eq!(budget.used_bytes(), 0);
    }
}
