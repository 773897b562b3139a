//! A lake in a bucket as an object store that can only be read, through the blocks in memory.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::bucket::Bucket;
use super::remote::Remote;

/// The files of a bucket's lake by their paths below the prefix.
#[derive(Debug)]
pub(super) struct Objects(pub(super) Arc<Bucket>);

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.location().fmt(f)
    }
}

impl Objects {
    /// Asks on the lake's threads: the caller's may be of a runtime without I/O.
    async fn ask<T, W>(&self, location: &Path, work: impl FnOnce(Arc<Remote>, String) -> W) -> Result<T>
    where
        T: Send + 'static,
        W: Future<Output = io::Result<T>> + Send + 'static,
    {
        let work = work(Arc::clone(&self.0.remote), location.as_ref().to_owned());
        let asking = self.0.threads.spawn(work).map_err(|error| failed(location, error))?;
        asking.await?.map_err(|error| failed(location, error))
    }

    /// The bytes, each as far as the file goes, and its length.
    async fn read(&self, location: &Path, ranges: Vec<Range<u64>>) -> Result<(Vec<Bytes>, u64)> {
        let kept = ranges.iter().map(|range| self.0.remote.kept_bytes(location.as_ref(), range));
        if let Some(kept) = kept.collect::<Option<Vec<_>>>()
            && let Some((_, length)) = kept.first()
        {
            let length = *length;
            return Ok((kept.into_iter().map(|(bytes, _)| bytes).collect(), length));
        }
        self.ask(location, |remote, path| async move { remote.read(&path, &ranges).await }).await
    }

    async fn length(&self, location: &Path) -> Result<u64> {
        if let Some(length) = self.0.remote.kept_length(location.as_ref()) {
            return Ok(length);
        }
        self.ask(location, |remote, path| async move { remote.length(&path).await }).await
    }
}

#[async_trait]
impl ObjectStore for Objects {
    /// Conditions are not looked at, and dates not told: a file of a lake never changes.
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if options.head {
            let meta = self.ask(location, |remote, path| async move { remote.about(&path).await }).await?;
            let payload = GetResultPayload::Stream(stream::empty().boxed());
            return Ok(GetResult { payload, meta, range: 0..0, attributes: Attributes::new() });
        }
        let range = match options.range {
            Some(GetRange::Bounded(range)) => range,
            Some(GetRange::Offset(start)) => start..self.length(location).await?,
            Some(GetRange::Suffix(length)) => {
                let end = self.length(location).await?;
                end.saturating_sub(length)..end
            }
            None => 0..self.length(location).await?,
        };
        let (mut parts, length) = self.read(location, vec![range.clone()]).await?;
        let bytes = parts.pop().unwrap_or_default();
        let meta = ObjectMeta {
            location: location.clone(),
            last_modified: chrono::DateTime::UNIX_EPOCH,
            size: length,
            e_tag: None,
            version: None,
        };
        let range = range.start..range.start + bytes.len() as u64;
        let payload = GetResultPayload::Stream(stream::once(async { Ok(bytes) }).boxed());
        Ok(GetResult { payload, meta, range, attributes: Attributes::new() })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.read(location, ranges.to_vec()).await?.0)
    }

    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(read_only())
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(read_only())
    }

    fn delete_stream(&self, _: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        stream::once(async { Err(read_only()) }).boxed()
    }

    /// Which files there are is told by the catalogue.
    fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        stream::once(async { Err(read_only()) }).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(read_only())
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(read_only())
    }
}

fn read_only() -> Error {
    Error::NotSupported { source: "the lake's files are only read here, by their names".into() }
}

fn failed(location: &Path, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::NotFound {
        return Error::NotFound { path: location.to_string(), source: error.into() };
    }
    Error::Generic { store: "lake", source: error.into() }
}
