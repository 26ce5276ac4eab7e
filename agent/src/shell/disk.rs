//! What can be said of a file system before anything is written to it.

use std::fs::{self, Metadata};
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

/// Whether both would come to lie on one file system; no when it cannot be told, as of two subvolumes of btrfs, which are of two
/// devices.
pub fn share(one: &Path, other: &Path) -> bool {
    let device = |path| fs::metadata(existing(path)).ok().map(|metadata| metadata.dev());
    device(one).is_some_and(|one| Some(one) == device(other))
}

/// Bytes that the files of a spool in `folder` take of its file system: those in it, and what it has put aside. Other folders are
/// not the spool's, whatever is in them. None if there is no such folder yet.
///
/// # Errors
/// It cannot be read.
pub fn taken_bytes(folder: &Path) -> io::Result<u64> {
    /// Of a block as `stat` counts them, whatever the file system's are (stat(2), `st_blocks`).
    const BLOCK: u64 = 512;
    let mut taken = 0;
    for folder in [folder, &folder.join(spool::QUARANTINE)] {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            // Links are not followed; a file may have gone meanwhile.
            let metadata = entry?.metadata().ok().filter(Metadata::is_file);
            taken += metadata.map_or(0, |metadata| metadata.blocks() * BLOCK);
        }
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_a_spool_takes_is_counted_in_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let noise = |length: u32| -> Vec<u8> {
            (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
        };
        let write = |path: &str, length| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut file = fs::File::create(path).unwrap();
            file.write_all(&noise(length)).unwrap();
            file.sync_all().unwrap();
        };
        write("a.seg", 100_000);
        write("quarantine/b", 200_000);
        write("of-somebody-else/c", 4_000_000);
        fs::File::create(folder.path().join("sparse")).unwrap().set_len(1 << 40).unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("elsewhere")).unwrap();
        let taken = taken_bytes(folder.path()).unwrap();
        assert!((300_000..600_000).contains(&taken), "{taken}");
        assert_eq!(taken_bytes(Path::new("/nowhere")).unwrap(), 0);
        assert!(taken_bytes(&folder.path().join("a.seg")).is_err());
    }

    #[test]
    fn folders_that_are_not_there_yet_share_what_is_above_them() {
        let folder = tempfile::tempdir().unwrap();
        assert!(share(&folder.path().join("a/b"), folder.path()));
        assert!(!share(folder.path(), Path::new("/proc/x")));
    }
}
