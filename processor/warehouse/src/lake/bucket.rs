//! A lake in a bucket, for callers that wait.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

use super::location::S3Location;
use super::remote::{Limits, Remote};
use super::threads::Threads;
use super::{FoundFile, LakeRequests};

/// Files of one commit that are written at once.
const WRITES_AT_ONCE: usize = 8;

pub(super) struct Bucket {
    pub(super) remote: Arc<Remote>,
    pub(super) threads: Threads,
    location: S3Location,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bucket").field(&self.location).finish()
    }
}

impl Bucket {
    /// The bucket, if it is there and may be listed.
    pub(super) fn open(location: &S3Location) -> io::Result<Self> {
        let bucket = Self::with_limits(location, Limits::default())?;
        let remote = Arc::clone(&bucket.remote);
        match bucket.threads.wait(async move { remote.check().await }) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "neither the store nor, without AWS_ACCESS_KEY_ID, a source of credentials answered in time",
            )),
            Err(error) if error.to_string().contains("<Code>NoSuchBucket</Code>") => {
                Err(io::Error::new(io::ErrorKind::NotFound, format!("the bucket `{}` does not exist", location.bucket)))
            }
            checked => checked.map(|()| bucket),
        }
    }

    /// The bucket, unasked.
    pub(super) fn with_limits(location: &S3Location, limits: Limits) -> io::Result<Self> {
        let remote = Arc::new(Remote::new(location, limits)?);
        Ok(Self { remote, threads: Threads::start()?, location: location.clone() })
    }

    pub(super) fn location(&self) -> &S3Location {
        &self.location
    }

    pub(super) fn requests(&self) -> LakeRequests {
        self.remote.requests()
    }

    /// Writes files at once; the error is of one that could not be written.
    pub(super) fn write(&self, files: Vec<(String, Bytes)>) -> Result<(), (String, io::Error)> {
        let first = files.first().map(|(path, _)| path.clone()).unwrap_or_default();
        let remote = Arc::clone(&self.remote);
        let written = self.threads.wait(async move {
            let writing = futures::stream::iter(files).map(|(path, bytes)| {
                let remote = Arc::clone(&remote);
                async move { remote.write(&path, bytes).await.map_err(|error| (path, error)) }
            });
            Ok(writing.buffer_unordered(WRITES_AT_ONCE).try_collect::<()>().await)
        });
        written.unwrap_or_else(|error| Err((first, error)))
    }

    pub(super) fn read(&self, path: &str, wanted: Range<u64>) -> io::Result<Bytes> {
        if let Some((bytes, _)) = self.remote.kept_bytes(path, &wanted) {
            return Ok(bytes);
        }
        let (remote, path) = (Arc::clone(&self.remote), path.to_owned());
        self.threads.wait(async move {
            let (mut parts, _) = remote.read(&path, std::slice::from_ref(&wanted)).await?;
            Ok(parts.pop().unwrap_or_default())
        })
    }

    pub(super) fn length(&self, path: &str) -> io::Result<u64> {
        if let Some(length) = self.remote.kept_length(path) {
            return Ok(length);
        }
        let (remote, path) = (Arc::clone(&self.remote), path.to_owned());
        self.threads.wait(async move { remote.length(&path).await })
    }

    pub(super) fn exists(&self, path: &str) -> io::Result<bool> {
        let (remote, path) = (Arc::clone(&self.remote), path.to_owned());
        match self.threads.wait(async move { remote.about(&path).await }) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            other => other.map(|_| true),
        }
    }

    pub(super) fn delete(&self, path: &str) -> io::Result<()> {
        let (remote, path) = (Arc::clone(&self.remote), path.to_owned());
        self.threads.wait(async move { remote.delete(&path).await })
    }

    pub(super) fn list(&self) -> io::Result<Vec<FoundFile>> {
        let remote = Arc::clone(&self.remote);
        self.threads.wait(async move { remote.list().await })
    }
}
