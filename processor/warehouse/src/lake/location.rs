//! Where a lake is: a folder, or a bucket of an S3-compatible store.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

/// Where a lake is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LakeLocation {
    /// A folder of the file system.
    Folder(PathBuf),
    /// A bucket.
    S3(S3Location),
}

/// A bucket of S3 or of a store that speaks its protocol, and what the keys of the lake begin with.
///
/// What is `None` comes from the environment: `AWS_REGION`, `AWS_ENDPOINT_URL`, and for credentials
/// `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, else a web identity token, the task's role, or the instance's role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Location {
    /// The bucket, which exists.
    pub bucket: String,
    /// What all keys begin with, without `/` at its ends; may be empty.
    pub prefix: String,
    /// Address of a store other than Amazon's; with `http:` nothing is encrypted.
    pub endpoint: Option<String>,
    /// The bucket's region.
    pub region: Option<String>,
    /// Who asks.
    pub keys: Option<AccessKeys>,
    /// Bytes of files that are kept in memory.
    pub kept_bytes: usize,
}

/// A pair of access keys.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKeys {
    /// Names the pair.
    pub id: String,
    /// Is shown nowhere.
    pub secret: String,
}

/// Why a text is no location. The text itself is not repeated: it may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LocationError {
    /// Another scheme.
    #[error("a bucket is written `s3://bucket/prefix`")]
    Scheme,
    /// Something like `s3://key:secret@bucket`.
    #[error("credentials do not belong into the address of a bucket: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")]
    Credentials,
    /// No name of a bucket.
    #[error("the name of a bucket has 3 to 63 of a-z, A-Z, 0-9, `.`, `-` and `_`")]
    Bucket,
    /// A prefix that would be changed on its way.
    #[error(
        "the prefix in a bucket is made of a-z, A-Z, 0-9, `.`, `-`, `_` and single `/`, and no part of it is `.` or `..`"
    )]
    Prefix,
}

impl S3Location {
    /// Bytes of files kept in memory unless told otherwise: a few hundred files of commits, or what a dashboard reads of
    /// some large ones.
    pub const KEPT_BYTES: usize = 128 << 20;
}

impl FromStr for S3Location {
    type Err = LocationError;

    /// Reads `s3://bucket/prefix`.
    fn from_str(text: &str) -> Result<Self, LocationError> {
        let place = text.strip_prefix("s3://").ok_or(LocationError::Scheme)?;
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        if place.contains('@') {
            return Err(LocationError::Credentials);
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(is_plain) {
            return Err(LocationError::Bucket);
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let is_part = |part: &str| !["", ".", ".."].contains(&part) && part.bytes().all(is_plain);
        if !prefix.is_empty() && !prefix.split('/').all(is_part) {
            return Err(LocationError::Prefix);
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            endpoint: None,
            region: None,
            keys: None,
            kept_bytes: Self::KEPT_BYTES,
        })
    }
}

impl From<PathBuf> for LakeLocation {
    fn from(folder: PathBuf) -> Self {
        Self::Folder(folder)
    }
}

impl From<&Path> for LakeLocation {
    fn from(folder: &Path) -> Self {
        Self::Folder(folder.to_owned())
    }
}

impl From<S3Location> for LakeLocation {
    fn from(bucket: S3Location) -> Self {
        Self::S3(bucket)
    }
}

impl fmt::Display for LakeLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            Self::S3(bucket) => bucket.fmt(f),
        }
    }
}

impl fmt::Display for S3Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        write!(f, "s3://{}{slash}{}", self.bucket, self.prefix)
    }
}

impl fmt::Debug for AccessKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKeys").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_bucket_and_prefix() {
        for (text, bucket, prefix, shown) in [
            ("s3://lake-of.eu", "lake-of.eu", "", "s3://lake-of.eu"),
            ("s3://lake/", "lake", "", "s3://lake"),
            ("s3://lake/a/b_1/", "lake", "a/b_1", "s3://lake/a/b_1"),
        ] {
            let location: S3Location = text.parse().unwrap();
            assert_eq!((location.bucket.as_str(), location.prefix.as_str()), (bucket, prefix));
            assert_eq!(LakeLocation::from(location).to_string(), shown);
        }
        for (text, error) in [
            ("file:/lake", LocationError::Scheme),
            ("s3://", LocationError::Bucket),
            ("s3:///prefix", LocationError::Bucket),
            ("s3://lake?region=x", LocationError::Bucket),
            ("s3://id:secret@lake/a", LocationError::Credentials),
            ("s3://lake//a", LocationError::Prefix),
            ("s3://lake/a/../b", LocationError::Prefix),
            ("s3://lake/ä", LocationError::Prefix),
        ] {
            assert_eq!(text.parse::<S3Location>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_secret_is_shown_nowhere() {
        let mut location: S3Location = "s3://lake/a".parse().unwrap();
        location.keys = Some(AccessKeys { id: "the-id".into(), secret: "the-secret".into() });
        let location = LakeLocation::from(location);
        let shown = format!("{location} {location:?} {location:#?}");
        assert!(shown.contains("the-id") && !shown.contains("the-secret"), "{shown}");
    }
}
