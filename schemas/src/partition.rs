//! Which partition of the log an event goes to.

use xxhash_rust::xxh3::xxh3_64;

/// The partition of an event: XXH3-64 of `project`, NUL, `key`, modulo the number of partitions.
///
/// The key is the install, else the session, else the view, else the source, the same for all formats, so that every
/// copy of an event and everything one device says about one view meet in one partition. The value for a given input
/// is stored with the data (positions, checkpoints) and is pinned by a test; the number of partitions is fixed for the
/// life of a topic.
#[must_use]
pub fn partition_of(project: &str, key: &str, partitions: u16) -> u16 {
    let mut bytes = Vec::with_capacity(project.len() + 1 + key.len());
    bytes.extend_from_slice(project.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(key.as_bytes());
    #[expect(clippy::cast_possible_truncation, reason = "a remainder below a u16 fits one")]
    let partition = (xxh3_64(&bytes) % u64::from(partitions.max(1))) as u16;
    partition
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_pinned() {
        let of = |key| partition_of("default", key, 64);
        assert_eq!([of(""), of("7f0c1a52-3b0e-4c55-9d6a-2a6e6c1b9e11"), of("/legacy/x")], [23, 41, 14]);
    }
}
