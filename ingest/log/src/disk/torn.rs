//! Mending a journal whose last batch was torn by a power cut.
//!
//! fjall writes a batch into a file that was given its size beforehand, so when the power goes during its flush, pages of
//! it may be missing in any order: it looks complete, and its checksum differs. fjall 3.1 takes that for corruption and
//! does not open (a batch that merely ends early it drops itself). Such a batch was never answered, since the answer
//! comes after the flush; and since one thread writes one batch after the other, nothing can follow it. So: if the first
//! broken batch is the last thing in the newest journal, it is cut off; if a whole batch follows it, the file is damaged
//! in its middle, and that is for an operator.
//!
//! Layout of fjall's journal, version 3: `Start` (tag 1, items u32, sequence number u64), then items (tag 2, type u8,
//! compression u8, keyspace u64, key length u16, value length u32, stored length u32, key, value) or clears (tag 4,
//! keyspace u64), then `End` (tag 3, XXH3-64 of the items, the magic `FJL` 3). Integers are little endian.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const MAGIC: &[u8] = b"FJL\x03";

/// Cuts a torn batch off the newest journal of a log folder. Returns how many bytes it had; `None` if there is none, or
/// if more than the last batch is broken.
pub(super) fn mend(folder: &Path) -> io::Result<Option<u64>> {
    let Some(journal) = newest_journal(folder)? else { return Ok(None) };
    let bytes = fs::read(&journal)?;
    let Some(whole) = torn_at(&bytes) else { return Ok(None) };
    let file = OpenOptions::new().write(true).open(&journal)?;
    file.set_len(whole as u64)?;
    file.sync_all()?;
    let torn = bytes[whole..].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    Ok(Some(torn as u64))
}

fn newest_journal(folder: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest: Option<(u64, PathBuf)> = None;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_journal = path.extension().is_some_and(|ending| ending == "jnl");
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok()).filter(|_| is_journal);
        if let Some(number) = number
            && newest.as_ref().is_none_or(|(known, _)| number > *known)
        {
            newest = Some((number, path));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

/// Where the whole batches end, if something broken follows and no whole batch after it.
fn torn_at(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(end) = whole_batch(bytes, at) {
        at = end;
    }
    let rest = &bytes[at..];
    let is_broken = rest.iter().any(|byte| *byte != 0);
    let starts = memchr::memchr_iter(START, rest).map(|offset| at + offset);
    let is_last = starts.filter(|start| *start > at).all(|start| whole_batch(bytes, start).is_none());
    (is_broken && is_last).then_some(at)
}

/// Where the batch that begins here ends, if it is whole.
fn whole_batch(bytes: &[u8], start: usize) -> Option<usize> {
    let header = bytes.get(start..start + 13)?;
    if header[0] != START {
        return None;
    }
    let items = u32::from_le_bytes(header[1..5].try_into().ok()?);
    let first = start + 13;
    let mut at = first;
    for _ in 0..items {
        at = match *bytes.get(at)? {
            ITEM => {
                let about = bytes.get(at..at + 21)?;
                let key = usize::from(u16::from_le_bytes(about[11..13].try_into().ok()?));
                let value = u32::from_le_bytes(about[17..21].try_into().ok()?) as usize;
                at + 21 + key + value
            }
            CLEAR => at + 9,
            _ => return None,
        };
    }
    let end = bytes.get(at..at + 9 + MAGIC.len())?;
    let checksum = u64::from_le_bytes(end[1..9].try_into().ok()?);
    let is_whole = end[0] == END && &end[9..] == MAGIC && checksum == xxh3_64(bytes.get(first..at)?);
    is_whole.then_some(at + end.len())
}
