//! The lake: files that are written once, made durable, and never changed, in a folder or in a bucket.

mod blocks;
mod bucket;
mod encode;
mod file;
mod folder;
mod location;
mod names;
mod objects;
mod remote;
mod scan;
#[cfg(test)]
mod tests;
mod threads;

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;

use bucket::Bucket;
pub use encode::{ColumnBounds, EncodedFile, ParquetEncoder, encode_parquet};
use file::{BlocksFile, Source};
pub use file::{LakeFile, LakeRead};
use folder::Folder;
pub use location::{AccessKeys, LakeLocation, LocationError, S3Location};
pub use names::{FileName, Origin};
use objects::Objects;
pub use scan::{ScanError, may_hold_text, scan_parquet};
pub(crate) use scan::{plain_bytes, scan_parquet_where};

use crate::tables::LakeTable;

/// Where the files are. Cheap to clone.
///
/// Its functions wait, at most some 20 s and a second for each MiB (listing: 5 minutes), then fail; they may be called on
/// any thread.
#[derive(Debug, Clone)]
pub struct Lake(Place);

#[derive(Debug, Clone)]
enum Place {
    Folder(Folder),
    Bucket(Arc<Bucket>),
}

/// A file of a lake table, written but not yet listed by a commit.
#[derive(Debug, Clone, PartialEq)]
pub struct NewFile {
    /// `table_id`.
    pub table_id: i64,
    /// Path below the table's folder.
    pub path: String,
    /// What the catalogue says about it.
    pub encoded: EncodedFile,
}

/// A file found in the lake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    /// Path below the lake, with `/`.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// How long ago it was last written, at least, by the clock of whoever keeps it.
    pub age: Duration,
}

/// How often a store was asked for bytes and given some since the lake was opened; repetitions within a request are not
/// counted, and a folder is asked nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LakeRequests {
    /// Reads.
    pub gets: u64,
    /// Writes.
    pub puts: u64,
}

impl Lake {
    /// The lake of this place. A folder is created; a bucket must be there.
    ///
    /// # Errors
    ///
    /// What the file system or the store says.
    pub fn open(location: &LakeLocation) -> io::Result<Self> {
        Ok(Self(match location {
            LakeLocation::Folder(root) => Place::Folder(Folder::open(root)?),
            LakeLocation::S3(location) => Place::Bucket(Arc::new(Bucket::open(location)?)),
        }))
    }

    /// What paths are below, as the catalogue says it to other readers: the absolute folder or the bucket's address, ending
    /// with `/`.
    #[must_use]
    pub fn data_path(&self) -> String {
        match &self.0 {
            Place::Folder(folder) => format!("{}/", folder.root().display()),
            Place::Bucket(bucket) => format!("{}/", bucket.location()),
        }
    }

    /// The files as an object store, by their paths below the lake, for readers that are not ours.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn objects(&self) -> object_store::Result<Arc<dyn ObjectStore>> {
        Ok(match &self.0 {
            Place::Folder(folder) => Arc::new(LocalFileSystem::new_with_prefix(folder.root())?),
            Place::Bucket(bucket) => Arc::new(Objects(Arc::clone(bucket))),
        })
    }

    /// How often a store was asked.
    #[must_use]
    pub fn requests(&self) -> LakeRequests {
        match &self.0 {
            Place::Folder(_) => LakeRequests::default(),
            Place::Bucket(bucket) => bucket.requests(),
        }
    }

    /// Path below the lake of a file of a table.
    #[must_use]
    pub fn table_path(table: &LakeTable, path: &str) -> String {
        format!("main/{}/{path}", table.name)
    }

    /// Writes a file that must not exist yet. Afterwards it is durable: the file and its folder were flushed, or the store
    /// has acknowledged it.
    ///
    /// # Errors
    ///
    /// What the file system or the store says. In a folder the file is then not there; in a bucket it may be, and its name
    /// must not be used again.
    pub fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.write_all(&[(path.to_owned(), bytes)]).map_err(|(_, error)| error)
    }

    /// The same for several files: to a store they go at once.
    ///
    /// # Errors
    ///
    /// The path of one that could not be written, and why; others may be there.
    pub fn write_all(&self, files: &[(String, &[u8])]) -> Result<(), (String, io::Error)> {
        match &self.0 {
            Place::Folder(folder) => files
                .iter()
                .try_for_each(|(path, bytes)| folder.write(path, bytes).map_err(|error| (path.clone(), error))),
            Place::Bucket(bucket) => {
                bucket.write(files.iter().map(|(path, bytes)| (path.clone(), Bytes::copy_from_slice(bytes))).collect())
            }
        }
    }

    /// Reads a whole file.
    ///
    /// # Errors
    ///
    /// What the file system or the store says.
    pub fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        match &self.0 {
            Place::Folder(folder) => folder.read(path),
            Place::Bucket(bucket) => Ok(bucket.read(path, 0..bucket.length(path)?)?.into()),
        }
    }

    /// Opens a file for reading parts of it.
    ///
    /// # Errors
    ///
    /// What the file system or the store says.
    pub fn open_file(&self, path: &str) -> io::Result<LakeFile> {
        Ok(LakeFile(match &self.0 {
            Place::Folder(folder) => Source::Local(folder.open_file(path)?),
            Place::Bucket(bucket) => {
                let length = bucket.length(path)?;
                Source::Blocks(BlocksFile { bucket: Arc::clone(bucket), path: path.into(), length })
            }
        }))
    }

    /// Opens a file for reading all of it: from a store it comes as a whole, not part by part.
    ///
    /// # Errors
    ///
    /// What the file system or the store says.
    pub(crate) fn open_whole(&self, path: &str) -> io::Result<LakeFile> {
        match &self.0 {
            Place::Folder(_) => self.open_file(path),
            Place::Bucket(bucket) => Ok(LakeFile(Source::Whole(bucket.read(path, 0..bucket.length(path)?)?))),
        }
    }

    /// Reads `length` bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// What the file system or the store says, also if the file is shorter.
    pub fn read_range(&self, path: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        match &self.0 {
            Place::Folder(folder) => {
                let mut file = folder.open_file(path)?;
                file.seek(SeekFrom::Start(offset))?;
                let mut bytes = vec![0; length];
                file.read_exact(&mut bytes)?;
                Ok(bytes)
            }
            Place::Bucket(bucket) => {
                let bytes = bucket.read(path, offset..offset + length as u64)?;
                if bytes.len() < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes.into()) }
            }
        }
    }

    /// Whether there is a file of this name.
    ///
    /// # Errors
    ///
    /// What the file system or the store says: then it is not known.
    pub(crate) fn exists(&self, path: &str) -> io::Result<bool> {
        match &self.0 {
            Place::Folder(folder) => folder.exists(path),
            Place::Bucket(bucket) => bucket.exists(path),
        }
    }

    /// Deletes a file; one that is gone already is no error.
    ///
    /// # Errors
    ///
    /// What the file system or the store says.
    pub fn delete(&self, path: &str) -> io::Result<()> {
        match &self.0 {
            Place::Folder(folder) => folder.delete(path),
            Place::Bucket(bucket) => bucket.delete(path),
        }
    }

    /// All files of the lake.
    ///
    /// # Errors
    ///
    /// What the file system or the store says.
    pub fn list(&self) -> io::Result<Vec<FoundFile>> {
        match &self.0 {
            Place::Folder(folder) => folder.list(),
            Place::Bucket(bucket) => bucket.list(),
        }
    }
}
