//! How much room a file system has.

use std::io;
use std::path::Path;

use nix::sys::statvfs::statvfs;

/// Bytes that ordinary users can still write to the file system that holds `path`.
///
/// # Errors
/// It cannot be asked.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = statvfs(path)?;
    #[allow(clippy::useless_conversion, reason = "both are 32 bits on some targets")]
    let free = u64::from(stat.blocks_available()).saturating_mul(u64::from(stat.fragment_size()));
    Ok(free)
}
