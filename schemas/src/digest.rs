//! Hashes whose values are stored, and therefore never change.

use sha2::{Digest, Sha256};

/// The first 32 hex digits of SHA-256 over the parts, each closed by a NUL so that no two lists of parts collide by
/// moving a border. Used for the ids of events that bring none.
#[must_use]
pub fn derived_id(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
        hasher.update([0]);
    }
    hex(&hasher.finalize()[..16])
}

/// SHA-256 as 64 hex digits: how keys and tokens are stored, and how an oversized event is named.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes as hex digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_ids_are_pinned() {
        assert_eq!(derived_id(&[b"a", b"b"]), derived_id(&[b"a", b"b"]));
        assert_ne!(derived_id(&[b"ab", b""]), derived_id(&[b"a", b"b"]));
        assert_eq!(derived_id(&[b"a"]), "ffe9aaeaa2a2d5048174df0b80599ef0");
        assert_eq!(sha256_hex(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
