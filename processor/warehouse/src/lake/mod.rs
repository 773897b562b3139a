//! The lake folder: files that are written once, made durable, and never changed.

mod encode;
mod names;
mod scan;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use encode::{ColumnBounds, EncodedFile, encode_parquet, sorted};
pub use names::{FileName, Origin};
pub use scan::{ScanError, may_hold_text, scan_parquet};
pub(crate) use scan::{plain_bytes, scan_parquet_where};

use crate::tables::LakeTable;

/// Where the files are.
#[derive(Debug, Clone)]
pub struct Lake {
    root: Arc<Path>,
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

/// A file found in the lake folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    /// Path below the lake folder, with `/`.
    pub path: String,
    /// How long ago it was last written.
    pub age: Duration,
}

impl Lake {
    /// The lake in this folder, which is created.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        Ok(Self { root: root.canonicalize()?.into() })
    }

    /// The folder, absolute.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Path below the lake folder of a file of a table.
    #[must_use]
    pub fn table_path(table: &LakeTable, path: &str) -> String {
        format!("main/{}/{path}", table.name)
    }

    /// Writes a file that must not exist yet. Afterwards it is durable: the file and its folder were flushed.
    ///
    /// # Errors
    ///
    /// What the file system says; then the file is not there.
    pub fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let file_path = self.locate(path);
        let folder = file_path.parent().unwrap_or(&self.root);
        if !folder.is_dir() {
            fs::create_dir_all(folder)?;
            // A new folder is an entry of its parent.
            for parent in folder.ancestors().skip(1).take_while(|parent| parent.starts_with(&self.root)) {
                File::open(parent)?.sync_all()?;
            }
        }
        let mut file = OpenOptions::new().write(true).create_new(true).open(&file_path)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        if written.is_err() {
            // No commit can list it yet. On a full disk every byte counts.
            let _ = fs::remove_file(&file_path);
        }
        written?;
        File::open(folder)?.sync_all()
    }

    /// Reads a whole file.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        fs::read(self.locate(path))
    }

    /// Opens a file for reading parts of it.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn open_file(&self, path: &str) -> io::Result<File> {
        File::open(self.locate(path))
    }

    /// Reads `length` bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// What the file system says, also if the file is shorter.
    pub fn read_range(&self, path: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut file = self.open_file(path)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = vec![0; length];
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Deletes a file; one that is gone already is no error.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn delete(&self, path: &str) -> io::Result<()> {
        match fs::remove_file(self.locate(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// All files of the lake.
    ///
    /// # Errors
    ///
    /// What the file system says.
    #[expect(clippy::disallowed_methods, reason = "ages of files are told by the file system's clock")]
    pub fn list(&self) -> io::Result<Vec<FoundFile>> {
        let mut found = Vec::new();
        let mut folders = vec![self.root.to_path_buf()];
        let now = SystemTime::now();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let Ok(about) = entry.metadata() else { continue };
                if about.is_dir() {
                    folders.push(entry.path());
                } else if let Some(path) = self.relative(&entry.path()) {
                    let age = now.duration_since(about.modified()?).unwrap_or_default();
                    found.push(FoundFile { path, age });
                }
            }
        }
        Ok(found)
    }

    fn locate(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn relative(&self, path: &Path) -> Option<String> {
        path.strip_prefix(&self.root).ok()?.to_str().map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_written_once() {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::open(&folder.path().join("lake")).unwrap();
        lake.write("main/events/2026-11-23/a.parquet", b"abc").unwrap();
        assert_eq!(
            lake.write("main/events/2026-11-23/a.parquet", b"x").unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(lake.read_range("main/events/2026-11-23/a.parquet", 1, 2).unwrap(), b"bc");
        assert_eq!(
            lake.list().unwrap().iter().map(|file| file.path.as_str()).collect::<Vec<_>>(),
            ["main/events/2026-11-23/a.parquet"]
        );
        lake.delete("main/events/2026-11-23/a.parquet").unwrap();
        lake.delete("main/events/2026-11-23/a.parquet").unwrap();
        assert_eq!(lake.list().unwrap(), []);
    }
}
