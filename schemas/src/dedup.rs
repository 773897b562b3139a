//! Which events are copies of each other.

use std::fmt;

use xxhash_rust::xxh3::xxh3_128;

use crate::time::Timestamp;

/// The identity of an event, 16 bytes, ordered by the time that is part of the identity.
///
/// The first 6 bytes are milliseconds since the Unix epoch, the last 10 a hash of (project, source, id). The time is
/// taken from the identity alone, never from a clock that two copies could disagree about: of a UUIDv7 the time inside
/// it; of an id that was derived from the event, the event's time (it is among the hashed fields); of any other id 16
/// bits of the hash of its source, so that ids of one source lie together. All copies of an event share the key, so a
/// late copy finds its own place among old keys, and the keys of fresh events lie together at the end.
///
/// Two different events share a key with probability 2^-80 per pair within the same millisecond.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventKey([u8; 16]);

/// What an id says about time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdTime {
    /// The sender made the id: a UUIDv7 tells its own time, others none.
    FromId,
    /// The id was derived from the event, this time among the hashed fields.
    Derived(Timestamp),
}

impl EventKey {
    /// The key of the event `id` of `source` in `project`.
    #[must_use]
    pub fn new(project: &str, source: &str, id: &str, time: IdTime) -> Self {
        let mut bytes = Vec::with_capacity(project.len() + source.len() + id.len() + 2);
        bytes.extend_from_slice(project.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(source.as_bytes());
        bytes.push(0);
        let source_end = bytes.len();
        bytes.extend_from_slice(id.as_bytes());
        let hash = xxh3_128(&bytes).to_be_bytes();
        let millis = match time {
            IdTime::Derived(at) => Some(at.millis()),
            IdTime::FromId => uuid_v7_millis(id),
        };
        let mut key = [0; 16];
        if let Some(millis) = millis {
            key[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        } else {
            key[4..6].copy_from_slice(&xxh3_128(&bytes[..source_end]).to_be_bytes()[..2]);
        }
        key[6..].copy_from_slice(&hash[..10]);
        Self(key)
    }

    /// The key's bytes; their order is the keys' order.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// The key of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// 64 bits that are uniform over keys, for filters and hash tables.
    #[must_use]
    pub const fn uniform_bits(self) -> u64 {
        let [.., a, b, c, d, e, f, g, h] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Debug for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// The 48-bit millisecond time of a UUIDv7 in its canonical text form, in any case.
fn uuid_v7_millis(id: &str) -> Option<i64> {
    let bytes = id.as_bytes();
    if bytes.len() != 36 || bytes[14] != b'7' {
        return None;
    }
    let uuid = uuid::Uuid::try_parse(id).ok()?;
    (uuid.get_version_num() == 7).then(|| i64::try_from(uuid.as_u128() >> 80).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_pinned() {
        let v7 = "01932f3e-5b7d-7c4a-9f00-000000000001";
        let key = EventKey::new("default", "/app/ios/x", v7, IdTime::FromId);
        assert_eq!(key.to_bytes()[..6], [0x01, 0x93, 0x2f, 0x3e, 0x5b, 0x7d]);
        assert_eq!(format!("{key:?}"), "01932f3e5b7d417b373ae8340f2eee5d");
    }

    #[test]
    fn project_source_and_id_each_make_another_event() {
        let key = |project, source, id| EventKey::new(project, source, id, IdTime::FromId);
        assert_eq!(key("p", "s", "i"), key("p", "s", "i"));
        assert_ne!(key("p", "s", "i"), key("q", "s", "i"));
        assert_ne!(key("p", "s", "i"), key("p", "t", "i"));
        assert_ne!(key("p", "s", "i"), key("p", "s", "j"));
    }

    #[test]
    fn derived_ids_are_ordered_by_the_time_they_were_derived_from() {
        let key = |ms| EventKey::new("p", "s", "x", IdTime::Derived(Timestamp::from_millis(ms).unwrap()));
        assert!(key(1_700_000_000_000) < key(1_800_000_000_000));
    }
}
