//! A sorted run of event keys: a range of bytes of a file.
//!
//! | part | bytes |
//! |---|---|
//! | magic `SGKEYS01` | 8 |
//! | number of keys, bytes of the filter, CRC-32 of fences and filter, 4 zero bytes | 8 + 8 + 4 + 4 |
//! | keys, ascending, in blocks of 256 | 16 each |
//! | fences: first key of each block and the block's CRC-32 | 20 each |
//! | split-block Bloom filter over the keys (as in Parquet), 10 to 20 bits a key | |
//!
//! Integers are big endian. In memory are fences and filter: 1.3 to 2.6 MB for a million keys.

use parquet::bloom_filter::Sbbf;
use schemas::dedup::EventKey;
use warehouse::{IdRun, Lake};

use super::DedupError;

const MAGIC: &[u8; 8] = b"SGKEYS01";
const HEADER_BYTES: usize = 32;
const KEY_BYTES: usize = 16;
const BLOCK_KEYS: usize = 256;
const FENCE_BYTES: usize = 20;

/// The bytes of a run; `keys` are sorted and distinct.
pub(crate) fn encode_run(keys: &[EventKey]) -> Vec<u8> {
    let mut fences = Vec::with_capacity(keys.len().div_ceil(BLOCK_KEYS) * FENCE_BYTES);
    let mut filter = Sbbf::new_with_num_of_bytes((keys.len() * 10).div_ceil(8).next_power_of_two().max(32));
    let mut blocks = Vec::with_capacity(keys.len() * KEY_BYTES);
    for block in keys.chunks(BLOCK_KEYS) {
        let start = blocks.len();
        for key in block {
            blocks.extend_from_slice(&key.to_bytes());
            filter.insert(&key.uniform_bits().cast_signed());
        }
        fences.extend_from_slice(&block[0].to_bytes());
        fences.extend_from_slice(&crc32fast::hash(&blocks[start..]).to_be_bytes());
    }
    let mut tail = fences;
    let fences_bytes = tail.len();
    filter.write_bitset(&mut tail).expect("writing to a vector cannot fail");
    let mut bytes = Vec::with_capacity(HEADER_BYTES + blocks.len() + tail.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&(keys.len() as u64).to_be_bytes());
    bytes.extend_from_slice(&((tail.len() - fences_bytes) as u64).to_be_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&tail).to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&blocks);
    bytes.extend_from_slice(&tail);
    bytes
}

/// A listed run: its fences and filter in memory, its keys on disk.
pub(super) struct Run {
    pub(super) listed: IdRun,
    /// Whether all its keys are in the hot set.
    pub(super) is_hot: bool,
    fences: Vec<(EventKey, u32)>,
    last: EventKey,
    filter: Sbbf,
    filter_bytes: usize,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("listed", &self.listed).field("is_hot", &self.is_hot).finish_non_exhaustive()
    }
}

impl Run {
    pub(super) fn open(lake: &Lake, listed: IdRun) -> Result<Self, DedupError> {
        let run = &listed.run;
        let corrupt = |what| DedupError::Corrupt { path: run.path.clone(), what };
        let read = |offset: u64, length: usize| {
            lake.read_range(&run.path, run.offset_bytes + offset, length)
                .map_err(|source| DedupError::Read { path: run.path.clone(), source })
        };
        let header = read(0, HEADER_BYTES)?;
        let number = |at: usize| header[at..at + 8].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let keys = usize::try_from(run.keys).unwrap_or(usize::MAX);
        if &header[..8] != MAGIC || number(8) != run.keys || keys == 0 {
            return Err(corrupt("its header is not the listed one"));
        }
        let filter_bytes = usize::try_from(number(16)).ok().filter(|bytes| *bytes <= keys * 4 + 32);
        let filter_bytes = filter_bytes.ok_or_else(|| corrupt("impossible filter"))?;
        let fences_bytes = keys.div_ceil(BLOCK_KEYS) * FENCE_BYTES;
        let tail = read((HEADER_BYTES + keys * KEY_BYTES) as u64, fences_bytes + filter_bytes)?;
        if crc32fast::hash(&tail).to_be_bytes() != header[24..28] {
            return Err(corrupt("checksum of fences and filter differs"));
        }
        let fences: Vec<_> = tail[..fences_bytes].chunks_exact(FENCE_BYTES).map(fence).collect();
        let filter = Sbbf::new(&tail[fences_bytes..]);
        let mut run = Self { last: fences[fences.len() - 1].0, listed, is_hot: false, fences, filter, filter_bytes };
        let last_block = run.read_block(lake, run.fences.len() - 1)?;
        run.last = *last_block.last().unwrap_or(&run.last);
        Ok(run)
    }

    /// Whether the key may be in the run.
    pub(super) fn may_hold(&self, key: &EventKey) -> bool {
        self.fences[0].0 <= *key && *key <= self.last && self.filter.check(&key.uniform_bits().cast_signed())
    }

    /// Whether the key is in the run; keeps the block it read for the next key.
    pub(super) fn holds(
        &self,
        lake: &Lake,
        key: &EventKey,
        cached: &mut Option<(usize, Vec<EventKey>)>,
    ) -> Result<bool, DedupError> {
        let idx = self.fences.partition_point(|(first, _)| first <= key).saturating_sub(1);
        if cached.as_ref().is_none_or(|(cached_idx, _)| *cached_idx != idx) {
            *cached = Some((idx, self.read_block(lake, idx)?));
        }
        Ok(cached.as_ref().is_some_and(|(_, block)| block.binary_search(key).is_ok()))
    }

    /// All keys, ascending.
    pub(super) fn read_all(&self, lake: &Lake) -> Result<Vec<EventKey>, DedupError> {
        let mut keys = Vec::with_capacity(usize::try_from(self.listed.run.keys).unwrap_or(0));
        for idx in 0..self.fences.len() {
            keys.extend(self.read_block(lake, idx)?);
        }
        Ok(keys)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.filter_bytes + self.fences.len() * size_of::<(EventKey, u32)>()
    }

    fn read_block(&self, lake: &Lake, idx: usize) -> Result<Vec<EventKey>, DedupError> {
        let run = &self.listed.run;
        let total = usize::try_from(run.keys).unwrap_or(usize::MAX);
        let count = BLOCK_KEYS.min(total - idx * BLOCK_KEYS);
        let offset = run.offset_bytes + (HEADER_BYTES + idx * BLOCK_KEYS * KEY_BYTES) as u64;
        let bytes = lake
            .read_range(&run.path, offset, count * KEY_BYTES)
            .map_err(|source| DedupError::Read { path: run.path.clone(), source })?;
        if crc32fast::hash(&bytes) != self.fences[idx].1 {
            return Err(DedupError::Corrupt { path: run.path.clone(), what: "checksum of a block differs" });
        }
        Ok(bytes.as_chunks::<KEY_BYTES>().0.iter().map(|bytes| EventKey::from_bytes(*bytes)).collect())
    }
}

fn fence(bytes: &[u8]) -> (EventKey, u32) {
    let mut key = [0; KEY_BYTES];
    key.copy_from_slice(&bytes[..KEY_BYTES]);
    let mut crc = [0; 4];
    crc.copy_from_slice(&bytes[KEY_BYTES..]);
    (EventKey::from_bytes(key), u32::from_be_bytes(crc))
}
