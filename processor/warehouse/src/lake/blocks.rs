//! Parts of files, kept in memory: a file never changes, so what was read of it stays true.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

/// Files are read and kept in blocks of this size, the last one of a file is shorter. A file of a commit is one block; a
/// large one is read where it is needed, and never one page at a time.
pub(super) const BLOCK_BYTES: u64 = 512 << 10;

/// Blocks of files, the least recently used of them forgotten beyond a number of bytes.
pub(super) struct Blocks {
    capacity_bytes: usize,
    held_bytes: usize,
    /// Rises with every use.
    uses: u64,
    files: HashMap<Arc<str>, Kept>,
    /// All blocks by their last use.
    by_use: BTreeMap<u64, (Arc<str>, u64)>,
}

/// What is kept of a file: at least one block.
struct Kept {
    file_bytes: u64,
    /// Block and last use, by number.
    blocks: HashMap<u64, (Bytes, u64)>,
}

/// Blocks of one file, in hand.
#[derive(Debug, Default, Clone)]
pub(super) struct Found {
    /// Length of the file, where it is known.
    pub(super) file_bytes: Option<u64>,
    /// By number.
    pub(super) blocks: BTreeMap<u64, Bytes>,
}

impl Blocks {
    pub(super) fn new(capacity_bytes: usize) -> Self {
        Self { capacity_bytes, held_bytes: 0, uses: 0, files: HashMap::new(), by_use: BTreeMap::new() }
    }

    /// What is kept of these blocks of a file.
    pub(super) fn find(&mut self, path: &str, wanted: impl IntoIterator<Item = u64>) -> Found {
        let Some(path) = self.files.get_key_value(path).map(|(path, _)| Arc::clone(path)) else {
            return Found::default();
        };
        let Some(kept) = self.files.get_mut(&path) else { return Found::default() };
        let mut found = Found { file_bytes: Some(kept.file_bytes), blocks: BTreeMap::new() };
        for number in wanted {
            if let Some((bytes, last_use)) = kept.blocks.get_mut(&number) {
                self.by_use.remove(last_use);
                self.uses += 1;
                *last_use = self.uses;
                self.by_use.insert(self.uses, (Arc::clone(&path), number));
                found.blocks.insert(number, bytes.clone());
            }
        }
        found
    }

    /// Keeps a block.
    pub(super) fn keep(&mut self, path: &str, file_bytes: u64, number: u64, bytes: Bytes) {
        if bytes.len() > self.capacity_bytes {
            return;
        }
        let path = self.files.get_key_value(path).map_or_else(|| path.into(), |(path, _)| Arc::clone(path));
        let kept = self.files.entry(Arc::clone(&path)).or_insert_with(|| Kept { file_bytes, blocks: HashMap::new() });
        self.uses += 1;
        self.held_bytes += bytes.len();
        if let Some((old, last_use)) = kept.blocks.insert(number, (bytes, self.uses)) {
            self.held_bytes -= old.len();
            self.by_use.remove(&last_use);
        }
        self.by_use.insert(self.uses, (path, number));
        while self.held_bytes > self.capacity_bytes
            && let Some((_, (path, number))) = self.by_use.pop_first()
        {
            self.drop_block(&path, number);
        }
    }

    /// Forgets a file.
    pub(super) fn forget(&mut self, path: &str) {
        if let Some(kept) = self.files.remove(path) {
            for (bytes, last_use) in kept.blocks.into_values() {
                self.held_bytes -= bytes.len();
                self.by_use.remove(&last_use);
            }
        }
    }

    fn drop_block(&mut self, path: &Arc<str>, number: u64) {
        let Some(kept) = self.files.get_mut(path) else { return };
        if let Some((bytes, _)) = kept.blocks.remove(&number) {
            self.held_bytes -= bytes.len();
        }
        if kept.blocks.is_empty() {
            self.files.remove(path);
        }
    }
}

impl Found {
    /// Numbers of the blocks that hold these bytes, as far as the file goes.
    pub(super) fn numbers(&self, wanted: &Range<u64>) -> Range<u64> {
        let end = self.file_bytes.map_or(wanted.end, |length| wanted.end.min(length));
        if wanted.start >= end { 0..0 } else { wanted.start / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES) }
    }

    /// Cuts a length of bytes that begins with a block (or ends the file) into blocks; parts of blocks are left out.
    pub(super) fn add(&mut self, start: u64, bytes: &Bytes, file_bytes: u64) {
        self.file_bytes = Some(file_bytes);
        let end = start + bytes.len() as u64;
        for number in start.div_ceil(BLOCK_BYTES)..end.div_ceil(BLOCK_BYTES) {
            let block = number * BLOCK_BYTES..((number + 1) * BLOCK_BYTES).min(file_bytes);
            if block.end <= end {
                // Copied, or one small block would hold the whole answer in memory.
                self.blocks
                    .insert(number, Bytes::copy_from_slice(&bytes[at(block.start - start)..at(block.end - start)]));
            }
        }
    }

    /// These bytes, as far as the file goes; `None` while a block of them is missing.
    pub(super) fn bytes(&self, wanted: &Range<u64>) -> Option<Bytes> {
        let end = wanted.end.min(self.file_bytes?);
        let numbers = self.numbers(wanted);
        let part = |number: u64| {
            let (block, start) = (self.blocks.get(&number)?, number * BLOCK_BYTES);
            let from = wanted.start.max(start) - start;
            let to = end.min(start + block.len() as u64) - start;
            Some(block.slice(at(from)..at(to)))
        };
        if numbers.end - numbers.start == 1 {
            return part(numbers.start);
        }
        let mut joined = Vec::with_capacity(at(end.saturating_sub(wanted.start)));
        for number in numbers {
            joined.extend_from_slice(&part(number)?);
        }
        Some(joined.into())
    }
}

/// A place within bytes in memory.
fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(length: u64) -> Bytes {
        (0..length).map(|idx| u8::try_from(idx % 251).unwrap()).collect::<Vec<_>>().into()
    }

    #[test]
    fn parts_join_to_what_was_wanted() {
        let length = 3 * BLOCK_BYTES + 100;
        let (whole, mut found) = (file(length), Found::default());
        found.add(0, &whole, length);
        assert_eq!(found.blocks.len(), 4);
        for wanted in [0..1, 5..BLOCK_BYTES, BLOCK_BYTES - 1..BLOCK_BYTES + 1, 7..length, length - 8..length + 50] {
            let expected = whole.slice(at(wanted.start)..at(wanted.end.min(length)));
            assert_eq!(found.bytes(&wanted), Some(expected), "{wanted:?}");
        }
        assert_eq!(found.bytes(&(length..length + 1)), Some(Bytes::new()));
        found.blocks.remove(&2);
        assert_eq!(found.bytes(&(0..length)), None);
    }

    #[test]
    fn the_end_of_a_file_is_kept_as_its_blocks() {
        let length = 2 * BLOCK_BYTES + 10;
        let whole = file(length);
        let mut found = Found::default();
        // What an answer to «the last two blocks' length» is: a part of block 0, block 1, and the short last one.
        found.add(10, &whole.slice(10..), length);
        assert_eq!(found.blocks.keys().copied().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(found.bytes(&(length - 20..length)), Some(whole.slice(at(length - 20)..)));
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let block = || Bytes::from_static(&[7; 100]);
        let mut blocks = Blocks::new(300);
        for number in 0..3 {
            blocks.keep("a", 1 << 40, number, block());
        }
        assert_eq!(blocks.find("a", [0]).blocks.len(), 1);
        blocks.keep("b", 100, 0, block());
        assert_eq!(blocks.find("a", 0..3).blocks.into_keys().collect::<Vec<_>>(), [0, 2]);
        // The same again takes no more room.
        blocks.keep("b", 100, 0, block());
        assert_eq!((blocks.held_bytes, blocks.by_use.len()), (300, 3));
        blocks.forget("a");
        assert_eq!((blocks.held_bytes, blocks.by_use.len(), blocks.files.len()), (100, 1, 1));
        blocks.keep("huge", 500, 0, Bytes::from_static(&[7; 301]));
        assert_eq!(blocks.find("huge", [0]).file_bytes, None);
    }
}
