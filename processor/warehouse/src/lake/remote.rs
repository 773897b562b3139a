//! A lake in a bucket: each operation is tried within bounds of number and time, and reads go through blocks in memory.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, BackoffConfig, ClientConfigKey, Error, GetOptions, GetRange, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig,
};
use tokio::time::timeout;
use uuid::Uuid;

use super::blocks::{BLOCK_BYTES, Blocks, Found};
use super::location::S3Location;
use super::{FoundFile, LakeRequests};

/// Blocks that one request asks for at most: 8 MiB.
const BLOCKS_PER_READ: u64 = 16;
/// Requests of one read that are under way at once.
const READS_AT_ONCE: usize = 4;
/// Written files up to this length are kept at once: commits and merges read them again soon.
const KEPT_WRITE_BYTES: usize = 8 << 20;
/// The store's clock and ours differ by less: it refuses signatures that are older or newer.
const CLOCKS_DIFFER: Duration = Duration::from_mins(15);
/// Metadata of an object: which attempt wrote it.
const ATTEMPT: Attribute = Attribute::Metadata(std::borrow::Cow::Borrowed("attempt"));

/// How long an operation may take. Whatever the store does, its caller goes on: after `attempts` × `attempt`, for long
/// bodies `per_mib` more, about 15 s for small files.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// How often a request is begun that was not answered in time.
    pub(super) attempts: u32,
    /// Time of one attempt, within which errors and lost connections are tried again.
    pub(super) attempt: Duration,
    /// Added for each MiB of a body.
    pub(super) per_mib: Duration,
    /// Time of a list of all files.
    pub(super) list: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            attempts: 3,
            attempt: Duration::from_secs(5),
            per_mib: Duration::from_secs(1),
            list: Duration::from_mins(5),
        }
    }
}

/// The bucket. Everything here runs on the lake's own threads.
pub(super) struct Remote {
    store: AmazonS3,
    prefix: Path,
    limits: Limits,
    kept: Mutex<Blocks>,
    /// One reader at a time asks for blocks of a file (of files with one hash); others find them kept.
    gates: [tokio::sync::Mutex<()>; 64],
    hasher: RandomState,
    /// The store cannot refuse to overwrite; names are used once anyway.
    overwrites: AtomicBool,
    gets: AtomicU64,
    puts: AtomicU64,
}

/// Whether a file was written by this attempt.
enum Writer {
    This,
    Another,
    Nobody,
}

impl Remote {
    /// The bucket; asks nothing of it yet.
    pub(super) fn new(location: &S3Location, limits: Limits) -> io::Result<Self> {
        let retry = RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(100),
                max_backoff: Duration::from_secs(1),
                base: 2.0,
            },
            max_retries: 6,
            retry_timeout: limits.attempt.mul_f32(0.8),
        };
        let client = AmazonS3ConfigKey::Client;
        let connect = format!("{} ms", limits.attempt.as_millis() / 2);
        let mut builder = AmazonS3Builder::from_env()
            // Attempts have limits of their own, that grow with the body.
            .with_config(client(ClientConfigKey::Timeout), "1 hour")
            .with_config(client(ClientConfigKey::ConnectTimeout), connect)
            .with_config(client(ClientConfigKey::PoolIdleTimeout), "20 s")
            .with_retry(retry)
            .with_bucket_name(&location.bucket);
        if let Some(endpoint) = &location.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
        if endpoint.is_some_and(|endpoint| endpoint.starts_with("http:")) {
            builder = builder.with_config(client(ClientConfigKey::AllowHttp), "true");
        }
        if let Some(region) = &location.region {
            builder = builder.with_region(region);
        }
        if let Some(keys) = &location.keys {
            builder = builder.with_access_key_id(&keys.id).with_secret_access_key(&keys.secret);
        }
        Ok(Self {
            store: builder.build().map_err(refused)?,
            prefix: Path::parse(&location.prefix).map_err(invalid)?,
            limits,
            kept: Mutex::new(Blocks::new(location.kept_bytes)),
            gates: [const { tokio::sync::Mutex::const_new(()) }; 64],
            hasher: RandomState::new(),
            overwrites: AtomicBool::new(false),
            gets: AtomicU64::new(0),
            puts: AtomicU64::new(0),
        })
    }

    /// Whether the bucket is there and lets us list.
    pub(super) async fn check(&self) -> io::Result<()> {
        self.within(0, || async { self.store.list(Some(&self.prefix)).try_next().await.map_err(refused) }).await?;
        Ok(())
    }

    pub(super) fn requests(&self) -> LakeRequests {
        LakeRequests { gets: self.gets.load(Ordering::Relaxed), puts: self.puts.load(Ordering::Relaxed) }
    }

    /// Writes a file that must not exist yet.
    ///
    /// In one request, whatever its length (at most about 80 MiB): it is there as a whole or not at all, the store can
    /// refuse to overwrite, and nothing is left behind that costs and is in no list, as are the parts of an upload that
    /// was not completed.
    pub(super) async fn write(&self, path: &str, bytes: Bytes) -> io::Result<()> {
        let (location, attempt) = (self.locate(path)?, Uuid::now_v7().to_string());
        let mut failure = timed_out();
        for _ in 0..self.limits.attempts {
            let putting = timeout(self.limit(bytes.len()), self.put(&location, &bytes, &attempt));
            let found = match putting.await {
                Ok(Ok(())) => Writer::This,
                // An earlier request of ours may have landed without an answer.
                Ok(Err(Error::AlreadyExists { .. })) => self.writer(&location, &attempt).await?,
                Ok(Err(error)) => {
                    let is_final = matches!(
                        error,
                        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } | Error::NotFound { .. }
                    );
                    failure = refused(error);
                    if is_final {
                        break;
                    }
                    continue;
                }
                Err(_) => continue,
            };
            match found {
                Writer::This => {
                    if bytes.len() <= KEPT_WRITE_BYTES {
                        let mut whole = Found::default();
                        whole.add(0, &bytes, bytes.len() as u64);
                        self.keep(path, &whole);
                    }
                    return Ok(());
                }
                Writer::Another => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the object exists")),
                // Both were under way at once and refused one another.
                Writer::Nobody => {}
            }
        }
        Err(failure)
    }

    async fn put(&self, location: &Path, bytes: &Bytes, attempt: &str) -> Result<(), Error> {
        let mut attributes = Attributes::new();
        attributes.insert(ATTEMPT, attempt.to_owned().into());
        let overwrites = self.overwrites.load(Ordering::Relaxed);
        let mode = if overwrites { PutMode::Overwrite } else { PutMode::Create };
        let options = PutOptions { mode, attributes, ..PutOptions::default() };
        self.puts.fetch_add(1, Ordering::Relaxed);
        let put = self.store.put_opts(location, PutPayload::from_bytes(bytes.clone()), options).await;
        if let Err(error) = &put
            && !overwrites
            && lacks_conditions(error)
        {
            tracing::warn!(%error, "the object store cannot refuse to overwrite: files are written without asking it");
            self.overwrites.store(true, Ordering::Relaxed);
            let options = PutOptions::from(PutMode::Overwrite);
            return self.store.put_opts(location, PutPayload::from_bytes(bytes.clone()), options).await.map(drop);
        }
        put.map(drop)
    }

    async fn writer(&self, location: &Path, attempt: &str) -> io::Result<Writer> {
        let asking = self.within(0, || async {
            let options = GetOptions { head: true, ..GetOptions::default() };
            self.store.get_opts(location, options).await.map_err(refused)
        });
        match asking.await {
            Ok(found) if found.attributes.get(&ATTEMPT).is_some_and(|value| value.as_ref() == attempt) => {
                Ok(Writer::This)
            }
            Ok(_) => Ok(Writer::Another),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Writer::Nobody),
            Err(error) => Err(error),
        }
    }

    /// What the store says about a file.
    pub(super) async fn about(&self, path: &str) -> io::Result<ObjectMeta> {
        let location = self.locate(path)?;
        let mut about = self.within(0, || async { self.store.head(&location).await.map_err(refused) }).await?;
        about.location = Path::parse(path).map_err(invalid)?;
        Ok(about)
    }

    /// Length of a file. If it is not known, its end is read: whoever asks wants the footer next.
    pub(super) async fn length(&self, path: &str) -> io::Result<u64> {
        let _gate = self.gate(path).lock().await;
        if let Some(file_bytes) = self.kept_length(path) {
            return Ok(file_bytes);
        }
        let mut found = Found::default();
        self.get(path, GetRange::Suffix(2 * BLOCK_BYTES), &mut found).await?;
        self.keep(path, &found);
        found.file_bytes.ok_or_else(timed_out)
    }

    /// Length of a file, if it is kept in memory.
    pub(super) fn kept_length(&self, path: &str) -> Option<u64> {
        self.kept().find(path, []).file_bytes
    }

    /// These bytes of a file and its length, if all of them are kept in memory.
    pub(super) fn kept_bytes(&self, path: &str, wanted: &Range<u64>) -> Option<(Bytes, u64)> {
        let found = self.kept().find(path, wanted.start / BLOCK_BYTES..wanted.end.div_ceil(BLOCK_BYTES));
        Some((found.bytes(wanted)?, found.file_bytes?))
    }

    /// Ranges of a file, each as far as the file goes, and its length. Blocks that are missing are asked for together where they are
    /// neighbours.
    pub(super) async fn read(&self, path: &str, ranges: &[Range<u64>]) -> io::Result<(Vec<Bytes>, u64)> {
        let _gate = self.gate(path).lock().await;
        let mut found = self.kept().find(path, []);
        let wanted = |found: &Found| {
            let mut numbers: Vec<u64> = ranges.iter().flat_map(|range| found.numbers(range)).collect();
            numbers.sort_unstable();
            numbers.dedup();
            numbers
        };
        let kept = self.kept().find(path, wanted(&found));
        found.blocks.extend(kept.blocks);
        // Of a file of unknown length the first request tells where it ends: one that began behind that would fail.
        for _ in 0..2 {
            let missing: Vec<u64> =
                wanted(&found).into_iter().filter(|number| !found.blocks.contains_key(number)).collect();
            let mut runs = runs(&missing);
            if found.file_bytes.is_none() {
                runs.truncate(1);
            }
            let asking = futures::stream::iter(runs).map(|run| async move {
                let mut part = Found::default();
                let range = run.start * BLOCK_BYTES..run.end * BLOCK_BYTES;
                self.get(path, GetRange::Bounded(range), &mut part).await?;
                Ok::<_, io::Error>(part)
            });
            let parts: Vec<Found> = asking.buffered(READS_AT_ONCE).try_collect().await?;
            for part in parts {
                self.keep(path, &part);
                found.file_bytes = part.file_bytes;
                found.blocks.extend(part.blocks);
            }
        }
        let cut_short = || io::Error::new(io::ErrorKind::UnexpectedEof, "the store answered with fewer bytes");
        let parts: io::Result<_> = ranges.iter().map(|range| found.bytes(range).ok_or_else(cut_short)).collect();
        Ok((parts?, found.file_bytes.ok_or_else(cut_short)?))
    }

    async fn get(&self, path: &str, range: GetRange, found: &mut Found) -> io::Result<()> {
        let location = self.locate(path)?;
        let length = match &range {
            GetRange::Bounded(range) => range.end - range.start,
            GetRange::Suffix(length) => *length,
            GetRange::Offset(_) => 0,
        };
        let (start, bytes, file_bytes) = self
            .within(usize::try_from(length).unwrap_or(usize::MAX), || async {
                self.gets.fetch_add(1, Ordering::Relaxed);
                let options = GetOptions { range: Some(range.clone()), ..GetOptions::default() };
                let got = self.store.get_opts(&location, options).await.map_err(refused)?;
                let (start, file_bytes) = (got.range.start, got.meta.size);
                Ok((start, got.bytes().await.map_err(refused)?, file_bytes))
            })
            .await?;
        found.add(start, &bytes, file_bytes);
        Ok(())
    }

    pub(super) async fn delete(&self, path: &str) -> io::Result<()> {
        let location = self.locate(path)?;
        let deleted = self.within(0, || async { self.store.delete(&location).await.map_err(refused) }).await;
        self.kept().forget(path);
        match deleted {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// All files below the prefix, with their ages.
    pub(super) async fn list(&self) -> io::Result<Vec<FoundFile>> {
        let listing = self.store.list(Some(&self.prefix)).try_collect::<Vec<ObjectMeta>>();
        let objects = timeout(self.limits.list, listing).await.map_err(|_| timed_out())?.map_err(refused)?;
        let now = now(&objects);
        let found = objects.iter().filter_map(|object| {
            let parts = object.location.prefix_match(&self.prefix)?;
            let path = parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/");
            // Some tools leave an empty object with the name of a folder.
            let age = (now - object.last_modified).to_std().unwrap_or_default();
            (!path.is_empty()).then_some(FoundFile { path, bytes: object.size, age })
        });
        Ok(found.collect())
    }

    /// Tries a request that may be repeated, until it is answered or the attempts are used up.
    async fn within<T, W>(&self, body_bytes: usize, request: impl Fn() -> W) -> io::Result<T>
    where
        W: Future<Output = io::Result<T>>,
    {
        for _ in 0..self.limits.attempts {
            if let Ok(answered) = timeout(self.limit(body_bytes), request()).await {
                return answered;
            }
        }
        Err(timed_out())
    }

    fn limit(&self, body_bytes: usize) -> Duration {
        self.limits.attempt + self.limits.per_mib * u32::try_from(body_bytes >> 20).unwrap_or(u32::MAX)
    }

    fn locate(&self, path: &str) -> io::Result<Path> {
        let path = Path::parse(path).map_err(invalid)?;
        Ok(self.prefix.parts().chain(path.parts()).collect())
    }

    fn gate(&self, path: &str) -> &tokio::sync::Mutex<()> {
        let hash = usize::try_from(self.hasher.hash_one(path) % 64).unwrap_or(0);
        &self.gates[hash]
    }

    fn keep(&self, path: &str, found: &Found) {
        let mut kept = self.kept();
        if let Some(file_bytes) = found.file_bytes {
            for (number, block) in &found.blocks {
                kept.keep(path, file_bytes, *number, block.clone());
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Blocks> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Neighbours among rising numbers, each run of at most [`BLOCKS_PER_READ`].
fn runs(numbers: &[u64]) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some(run) if run.end == *number && run.end - run.start < BLOCKS_PER_READ => run.end += 1,
            _ => runs.push(*number..*number + 1),
        }
    }
    runs
}

/// The time it is at least by the store's clock, which wrote the dates of its objects: what decides whether a file is old
/// enough to be deleted must not depend on ours.
#[expect(clippy::disallowed_methods, reason = "only where nothing was written for long, and then with a margin")]
fn now(objects: &[ObjectMeta]) -> DateTime<Utc> {
    let ours = Utc::now() - CLOCKS_DIFFER;
    objects.iter().map(|object| object.last_modified).fold(ours, Ord::max)
}

/// Whether the store does not know conditions of a request, which it must say by this code.
fn lacks_conditions(error: &Error) -> bool {
    matches!(error, Error::NotImplemented { .. }) || error.to_string().contains("<Code>NotImplemented</Code>")
}

fn refused(error: Error) -> io::Error {
    let kind = match &error {
        Error::NotFound { .. } => io::ErrorKind::NotFound,
        Error::AlreadyExists { .. } => io::ErrorKind::AlreadyExists,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => io::ErrorKind::PermissionDenied,
        Error::InvalidPath { .. } | Error::UnknownConfigurationKey { .. } => io::ErrorKind::InvalidInput,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

fn invalid(error: object_store::path::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the object store did not answer in time")
}
