//! [`Storage`] on a real file system: `flock`, `pwrite`, `fdatasync`, `fsync` of folders.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::storage::{Entry, Lock, Storage};

/// Mode of the files: what is gathered is nobody else's business.
const FILE_MODE: u32 = 0o600;
/// Mode of the folders.
const FOLDER_MODE: u32 = 0o700;
/// Files whose names begin so belong to the program that uses the spool; they are neither counted nor touched.
pub(crate) const USER_PREFIX: &str = "user-";

/// Name of the file that is locked.
pub(crate) const LOCK_NAME: &str = "lock";

/// A folder of a real file system.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
    lock: Option<File>,
}

impl Files {
    /// The spool in `folder`. Nothing is touched yet; the folder is made when it is locked.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Files {
        Files { folder: folder.into(), lock: None }
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder with its parents, each entry durable.
    fn make_folder(&self) -> io::Result<()> {
        let missing: Vec<&Path> = self
            .folder
            .ancestors()
            .take_while(|path| !path.as_os_str().is_empty() && !path.exists())
            .collect();
        for path in missing.into_iter().rev() {
            make_folder(path)?;
        }
        Ok(())
    }

    fn lock_file(&self) -> io::Result<File> {
        let path = self.path(LOCK_NAME);
        let made = self.make_folder().and_then(|()| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(FILE_MODE)
                .open(&path)
        });
        // On a medium that is read-only now, the lock of better days still keeps two readers apart.
        made.or_else(|error| File::open(&path).map_err(|_| error))
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(FOLDER_MODE).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        other => other?,
    }
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        Some(_) | None => File::open(".")?.sync_all(),
    }
}

impl Storage for Files {
    type File = File;

    fn lock(&mut self) -> io::Result<Lock> {
        let file = self.lock_file()?;
        match file.try_lock() {
            Ok(()) => {
                self.lock = Some(file);
                Ok(Lock::Held)
            }
            Err(TryLockError::WouldBlock) => Ok(Lock::Taken),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn is_taken(&mut self) -> io::Result<bool> {
        match File::open(self.path(LOCK_NAME)) {
            Ok(file) => Ok(matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn list(&mut self, folder: &str) -> io::Result<Vec<Entry>> {
        let entries = match fs::read_dir(self.path(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            // A name that is not text is not one of ours; shown with replacements, it never equals one of ours.
            let name = entry.file_name().to_string_lossy().into_owned();
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(metadata) => found.push(Entry { name, bytes: metadata.len() }),
                // Removed between listing and looking.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // A damaged inode must not hide the others.
                Err(_) => found.push(Entry { name, bytes: 0 }),
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn create(&mut self, name: &str) -> io::Result<File> {
        let path = self.path(name);
        if let Some((folder, _)) = name.rsplit_once('/') {
            make_folder(&self.path(folder))?;
        }
        OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(path)
    }

    fn open(&mut self, name: &str, writable: bool) -> io::Result<File> {
        OpenOptions::new().read(true).write(writable).open(self.path(name))
    }

    fn append(&mut self, file: &mut File, at: u64, bytes: &[u8]) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }

    fn read_at(&mut self, file: &File, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match file.read_at(&mut buffer[read..], at + read as u64) {
                Ok(0) => break,
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn sync(&mut self, file: &mut File) -> io::Result<()> {
        file.sync_data()?;
        // Somebody removed the folder under us: the data is safe in a file that nobody will ever find.
        if file.metadata()?.nlink() == 0 {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the file was removed while it was written",
            ));
        }
        Ok(())
    }

    fn truncate(&mut self, file: &mut File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync_folder(&mut self, folder: &str) -> io::Result<()> {
        File::open(self.path(folder))?.sync_all()
    }

    fn free_bytes(&mut self) -> io::Result<u64> {
        let stat = nix::sys::statvfs::statvfs(&self.folder)?;
        #[allow(clippy::useless_conversion, reason = "both are 32 bits on some targets")]
        Ok(u64::from(stat.blocks_available()).saturating_mul(u64::from(stat.fragment_size())))
    }
}
