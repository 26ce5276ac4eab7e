//! What can be said of a file system before anything is written to it.

use std::io;
use std::path::Path;

use nix::sys::statvfs::statvfs;

/// `folder` if it exists, else the nearest folder above it that does: where it would come to lie.
pub fn existing(folder: &Path) -> &Path {
    folder.ancestors().find(|folder| folder.exists()).unwrap_or(folder)
}

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
