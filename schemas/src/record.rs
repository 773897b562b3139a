//! The log record: what devices sent, and what the server saw, in bytes that outlive this program.
//!
//! A record is the events of one upload that belong to one partition, in the order of the upload, each with the
//! sender's own bytes; or a tick, which only carries log time. The events are never judged here: verdicts, types and
//! corrected times are derived from the record again and again.
//!
//! Layout: a frame of 10 bytes (version, codec, CRC-32 of the stored payload, length of the plain payload; integers in
//! big endian), then the payload: CBOR (RFC 8949) with numbered fields, of which unknown ones are skipped, compressed
//! as LZ4 block where that saves space. Version 1 is pinned by a test.

use minicbor::{Decode, Encode};
use thiserror::Error;

use crate::time::Timestamp;

/// Records are split so that their plain payload stays near this size.
pub const RECORD_TARGET_BYTES: usize = 512 * 1024;
/// The largest event that is kept whole; a larger one keeps its first [`OVERSIZE_KEPT_BYTES`] and is quarantined.
pub const EVENT_MAX_BYTES: usize = 960 * 1024;
/// What is kept of a larger one.
pub const OVERSIZE_KEPT_BYTES: usize = 64 * 1024;
/// The largest frame a log must take: one largest event and its header, uncompressed, with room to spare.
pub const FRAME_MAX_BYTES: usize = 2 * 1024 * 1024;

const VERSION: u8 = 1;
const FRAME_HEADER_BYTES: usize = 10;
const CODEC_PLAIN: u8 = 0;
const CODEC_LZ4: u8 = 1;
/// A plain payload never exceeds this; a frame that claims more is corrupt. Bounds what decoding may allocate.
const PAYLOAD_MAX_BYTES: usize = 4 * 1024 * 1024;

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Record<'a> {
    /// Time passes: the partition is complete up to this instant.
    #[n(0)]
    Tick {
        /// The server's clock.
        #[n(0)]
        log_time: Timestamp,
    },
    /// Events of one upload.
    #[n(1)]
    Upload(#[b(0)] Upload<'a>),
}

impl Record<'_> {
    /// The server's stamp. Log time of a partition is the running maximum over its records.
    #[must_use]
    pub const fn log_time(&self) -> Timestamp {
        match self {
            Self::Tick { log_time } => *log_time,
            Self::Upload(upload) => upload.log_time,
        }
    }
}

/// Events of one upload that belong to one partition.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Upload<'a> {
    /// Names the upload: the sender's `Idempotency-Key`, else a UUIDv7 of ours.
    #[b(0)]
    pub batch_id: &'a str,
    /// This record is number `part` (from 0) of `parts` that the upload was split into.
    #[n(1)]
    pub part: u32,
    /// How many records the upload was split into.
    #[n(2)]
    pub parts: u32,
    /// Server clock when the record was made.
    #[n(3)]
    pub log_time: Timestamp,
    /// Server clock when the headers of the request had arrived.
    #[n(4)]
    pub received_at: Timestamp,
    /// Device clock when this attempt was sent.
    #[n(5)]
    pub sent_at: Option<Timestamp>,
    /// Monotonic clock of `boot_id` when this attempt was sent, ms.
    #[n(6)]
    pub sent_mono_ms: Option<u64>,
    /// The boot whose clock `sent_mono_ms` is.
    #[b(7)]
    pub boot_id: Option<&'a str>,
    /// The project the caller's credentials belong to.
    #[b(8)]
    pub project: &'a str,
    /// The verified user's subject, if a user token vouched.
    #[b(9)]
    pub subject: Option<&'a str>,
    /// The wire format, a tag of [`crate::Wire`].
    #[b(10)]
    pub wire: &'a str,
    /// Request headers that the wire format gives meaning to (never an address or a credential).
    #[b(11)]
    pub facts: Vec<Fact<'a>>,
    /// The events, ascending by index.
    #[b(12)]
    pub items: Vec<Item<'a>>,
}

/// A request header, name in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Fact<'a> {
    /// Its name.
    #[b(0)]
    pub name: &'a str,
    /// Its value.
    #[b(1)]
    pub value: &'a str,
}

/// One event as sent.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Item<'a> {
    /// Its place in the upload, from 0.
    #[n(0)]
    pub index: u32,
    /// The sender's bytes, or the beginning of them if `oversize` is there.
    #[b(1)]
    #[cbor(with = "minicbor::bytes")]
    pub bytes: &'a [u8],
    /// Set for an event above [`EVENT_MAX_BYTES`].
    #[b(2)]
    pub oversize: Option<Oversize<'a>>,
}

/// What is known of an event too large to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Oversize<'a> {
    /// Its whole length in bytes.
    #[n(0)]
    pub length_bytes: u64,
    /// SHA-256 of the whole, hex.
    #[b(1)]
    pub sha256: &'a str,
}

/// Why bytes are not a record.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RecordError {
    /// Written by a newer program.
    #[error("record version {0} is newer than this program understands")]
    Version(u8),
    /// Damaged.
    #[error("record is corrupt: {0}")]
    Corrupt(&'static str),
}

/// Frames a record for the log.
#[must_use]
pub fn encode(record: &Record<'_>) -> Vec<u8> {
    let payload = encode_payload(record);
    let compressed = lz4_flex::block::compress(&payload);
    let (codec, stored) =
        if compressed.len() < payload.len() { (CODEC_LZ4, &compressed) } else { (CODEC_PLAIN, &payload) };
    framed(codec, payload.len(), stored)
}

/// Frames a payload as it is, for a reader that opens it at once.
#[must_use]
pub fn frame(payload: &[u8]) -> Vec<u8> {
    framed(CODEC_PLAIN, payload.len(), payload)
}

fn framed(codec: u8, plain_bytes: usize, stored: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME_HEADER_BYTES + stored.len());
    frame.push(VERSION);
    frame.push(codec);
    frame.extend_from_slice(&crc32fast::hash(stored).to_be_bytes());
    frame.extend_from_slice(&u32::try_from(plain_bytes).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(stored);
    frame
}

/// The payload alone: what `records.body` keeps.
#[must_use]
#[expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "the only errors are those of the writer, and a vector has none"
)]
pub fn encode_payload(record: &Record<'_>) -> Vec<u8> {
    minicbor::to_vec(record).expect("writing to a vector cannot fail")
}

/// How long the payload of a frame claims to be: what it will cost to open it, before it is opened. At most 4 MiB.
#[must_use]
pub fn plain_bytes(frame: &[u8]) -> usize {
    match frame {
        [_, _, _, _, _, _, l0, l1, l2, l3, ..] => {
            (u32::from_be_bytes([*l0, *l1, *l2, *l3]) as usize).min(PAYLOAD_MAX_BYTES)
        }
        _ => frame.len(),
    }
}

/// Checks a frame and returns its plain payload, from which [`decode_payload`] borrows.
///
/// # Errors
///
/// [`RecordError`] if the frame is from a newer version or damaged. Arbitrary bytes never panic and never allocate
/// more than 4 MiB.
pub fn open(frame: &[u8]) -> Result<Vec<u8>, RecordError> {
    let (header, stored) =
        frame.split_at_checked(FRAME_HEADER_BYTES).ok_or(RecordError::Corrupt("shorter than its frame"))?;
    let &[version, codec, c0, c1, c2, c3, l0, l1, l2, l3] = header else {
        return Err(RecordError::Corrupt("shorter than its frame"));
    };
    if version != VERSION {
        return Err(RecordError::Version(version));
    }
    if crc32fast::hash(stored) != u32::from_be_bytes([c0, c1, c2, c3]) {
        return Err(RecordError::Corrupt("checksum differs"));
    }
    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    if length > PAYLOAD_MAX_BYTES {
        return Err(RecordError::Corrupt("claims an impossible length"));
    }
    match codec {
        CODEC_PLAIN if stored.len() == length => Ok(stored.to_vec()),
        CODEC_LZ4 => lz4_flex::block::decompress(stored, length)
            .ok()
            .filter(|payload| payload.len() == length)
            .ok_or(RecordError::Corrupt("does not decompress")),
        _ => Err(RecordError::Corrupt("unknown codec or wrong length")),
    }
}

/// Reads a payload.
///
/// # Errors
///
/// [`RecordError::Corrupt`] if it is not a record.
pub fn decode_payload(payload: &[u8]) -> Result<Record<'_>, RecordError> {
    minicbor::decode(payload).map_err(|_| RecordError::Corrupt("payload is not a record"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> Record<'static> {
        Record::Upload(Upload {
            batch_id: "b1",
            part: 0,
            parts: 1,
            log_time: Timestamp::from_micros(1_795_424_161_250_000),
            received_at: Timestamp::from_micros(1_795_424_161_240_000),
            sent_at: None,
            sent_mono_ms: Some(7),
            boot_id: Some("boot"),
            project: "default",
            subject: None,
            wire: "cloudevents",
            facts: vec![Fact { name: "user-agent", value: "x/1" }],
            items: vec![
                Item { index: 0, bytes: b"{}", oversize: None },
                Item { index: 2, bytes: b"xx", oversize: Some(Oversize { length_bytes: 9, sha256: "00" }) },
            ],
        })
    }

    #[test]
    fn a_record_of_version_1_is_still_read() {
        let frame = encode(&example());
        assert_eq!(decode_payload(&open(&frame).unwrap()).unwrap(), example());
        assert_eq!(open(&super::frame(&encode_payload(&example()))).unwrap(), open(&frame).unwrap());
        // The museum: the bytes that version 1 wrote. They must be readable for ever.
        let museum: Vec<u8> = include_str!("../examples/records/v1.hex")
            .split_ascii_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect();
        assert_eq!(decode_payload(&open(&museum).unwrap()).unwrap(), example());
    }

    #[test]
    fn a_damaged_or_newer_frame_is_named() {
        let mut frame = encode(&example());
        let last = frame.len() - 1;
        frame[last] ^= 1;
        assert_eq!(open(&frame), Err(RecordError::Corrupt("checksum differs")));
        frame[0] = 9;
        assert_eq!(open(&frame), Err(RecordError::Version(9)));
        assert_eq!(open(&[]), Err(RecordError::Corrupt("shorter than its frame")));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(payload) = open(&bytes) {
                let _ = decode_payload(&payload);
            }
            let _ = decode_payload(&bytes);
        }
    }
}
