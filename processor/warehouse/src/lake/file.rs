//! A file of the lake as the Parquet reader wants it.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

use super::bucket::Bucket;

/// Bytes that a reader of a bucket's file takes at once from the blocks in memory: headers of pages are read byte by byte.
const READ_BYTES: usize = 1024;

/// An open file of the lake.
#[derive(Debug)]
pub struct LakeFile(pub(super) Source);

#[derive(Debug)]
pub(super) enum Source {
    Local(File),
    /// All of it, in memory.
    Whole(Bytes),
    Blocks(BlocksFile),
}

/// A file of a bucket; what is read of it comes in blocks.
#[derive(Debug, Clone)]
pub(super) struct BlocksFile {
    pub(super) bucket: Arc<Bucket>,
    pub(super) path: Arc<str>,
    pub(super) length: u64,
}

impl BlocksFile {
    fn read(&self, wanted: Range<u64>) -> io::Result<Bytes> {
        self.bucket.read(&self.path, wanted)
    }
}

/// Reads a [`LakeFile`] from some place on.
#[derive(Debug)]
pub struct LakeRead(Reader);

#[derive(Debug)]
enum Reader {
    Local(BufReader<File>),
    Whole(bytes::buf::Reader<Bytes>),
    Blocks(BufReader<BlocksRead>),
}

#[derive(Debug)]
struct BlocksRead {
    file: BlocksFile,
    at: u64,
}

impl Read for BlocksRead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = (self.at + buffer.len() as u64).min(self.file.length);
        if self.at >= end {
            return Ok(0);
        }
        let bytes = self.file.read(self.at..end)?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }
}

impl Read for LakeRead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Reader::Local(reader) => reader.read(buffer),
            Reader::Whole(reader) => reader.read(buffer),
            Reader::Blocks(reader) => reader.read(buffer),
        }
    }
}

impl Length for LakeFile {
    fn len(&self) -> u64 {
        match &self.0 {
            Source::Local(file) => file.len(),
            Source::Whole(bytes) => bytes.len() as u64,
            Source::Blocks(file) => file.length,
        }
    }
}

impl ChunkReader for LakeFile {
    type T = LakeRead;

    fn get_read(&self, start: u64) -> Result<LakeRead> {
        Ok(LakeRead(match &self.0 {
            Source::Local(file) => Reader::Local(file.get_read(start)?),
            Source::Whole(bytes) => Reader::Whole(bytes.get_read(start)?),
            Source::Blocks(file) => {
                Reader::Blocks(BufReader::with_capacity(READ_BYTES, BlocksRead { file: file.clone(), at: start }))
            }
        }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        match &self.0 {
            Source::Local(file) => file.get_bytes(start, length),
            Source::Whole(bytes) => bytes.get_bytes(start, length),
            Source::Blocks(file) => {
                let bytes = file.read(start..start + length as u64)?;
                if bytes.len() < length {
                    let had = bytes.len();
                    return Err(ParquetError::EOF(format!("{length} bytes were expected and {had} read")));
                }
                Ok(bytes)
            }
        }
    }
}
