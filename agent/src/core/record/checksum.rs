//! CRC-32C (Castagnoli), which the durable queue uses, too: by the processor's own instruction where it has one. And how a
//! snapshot is closed with it.

use super::dedup::SnapshotError;

/// Checksum of `bytes`.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// Ends a snapshot, which begins with its magic, with the checksum of it.
pub(super) fn seal(snapshot: &mut Vec<u8>) {
    let checksum = crc32c(snapshot);
    snapshot.extend(checksum.to_le_bytes());
}

/// What lies between `magic` and the checksum of a sealed snapshot.
///
/// # Errors
///
/// When it begins with something else, is cut off or changed.
pub(super) fn unseal<'s>(snapshot: &'s [u8], magic: &[u8]) -> Result<&'s [u8], SnapshotError> {
    if !snapshot.starts_with(magic) {
        return Err(SnapshotError::Unknown);
    }
    let (content, checksum) = snapshot.split_last_chunk::<4>().ok_or(SnapshotError::Damaged)?;
    if crc32c(content).to_le_bytes() != *checksum {
        return Err(SnapshotError::Damaged);
    }
    content.get(magic.len()..).ok_or(SnapshotError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_published_values() {
        // RFC 3720 appendix B.4 and the usual check value of this CRC.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&[]), 0);
    }
}
