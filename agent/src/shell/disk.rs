//! What can be said of a file system before anything is written to it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
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

/// Whether both would come to lie on one file system; no when it cannot be told.
pub fn share(one: &Path, other: &Path) -> bool {
    let device = |path| fs::metadata(existing(path)).ok().map(|metadata| metadata.dev());
    device(one).is_some_and(|one| Some(one) == device(other))
}

/// Bytes that files in `folder`, and in folders below it, take of their file system; what cannot be read takes none.
pub fn taken_bytes(folder: &Path) -> u64 {
    /// Of a block as `stat` counts them, whatever the file system's are (stat(2), `st_blocks`).
    const BLOCK: u64 = 512;
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let taken = entries.filter_map(|entry| {
        // Links are not followed.
        let metadata = entry.metadata().ok()?;
        let below = if metadata.is_dir() { taken_bytes(&entry.path()) } else { 0 };
        Some(metadata.blocks() * BLOCK + below)
    });
    taken.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_files_take_is_counted_in_blocks_and_below_too() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("quarantine");
        fs::create_dir(&below).unwrap();
        let empty = taken_bytes(folder.path());
        fs::write(folder.path().join("a"), vec![1; 100_000]).unwrap();
        fs::write(below.join("b"), vec![1; 200_000]).unwrap();
        fs::File::create(folder.path().join("sparse")).unwrap().set_len(1 << 40).unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("elsewhere")).unwrap();
        nix::unistd::sync();
        let taken = taken_bytes(folder.path()) - empty;
        assert!((300_000..500_000).contains(&taken), "{taken}");
        assert_eq!(taken_bytes(Path::new("/nowhere")), 0);
    }

    #[test]
    fn folders_that_are_not_there_yet_share_what_is_above_them() {
        let folder = tempfile::tempdir().unwrap();
        assert!(share(&folder.path().join("a/b"), folder.path()));
        assert!(!share(folder.path(), Path::new("/proc/x")));
    }
}
