//! A lake in a folder: every file and its folder are flushed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::FoundFile;

#[derive(Debug, Clone)]
pub(super) struct Folder {
    /// Absolute.
    root: Arc<Path>,
}

impl Folder {
    /// The folder, which is created.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let root = root.canonicalize()?;
        if let Some(parent) = root.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(Self { root: root.into() })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
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

    pub(super) fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        fs::read(self.locate(path))
    }

    pub(super) fn open_file(&self, path: &str) -> io::Result<File> {
        File::open(self.locate(path))
    }

    pub(super) fn exists(&self, path: &str) -> io::Result<bool> {
        self.locate(path).try_exists()
    }

    pub(super) fn delete(&self, path: &str) -> io::Result<()> {
        match fs::remove_file(self.locate(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    #[expect(clippy::disallowed_methods, reason = "ages of files are told by the file system's clock")]
    pub(super) fn list(&self) -> io::Result<Vec<FoundFile>> {
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
                    found.push(FoundFile { path, bytes: about.len(), age });
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
