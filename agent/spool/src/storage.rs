//! What the spool asks of a place to keep files. The real one is [`crate::Files`]; tests and simulation have one that
//! keeps written and durable apart.
//!
//! Names are relative to the spool's folder; `quarantine/name` is the only kind with a slash. No method retries.

use std::io;

/// One file of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name within the folder.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
}

/// Whether the folder is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Nobody else has it, until this storage is dropped.
    Held,
    /// Another process writes here.
    Taken,
}

/// A folder of files.
pub trait Storage {
    /// An open file. It is held open from a write to its sync: a kernel reports a failed write-back only to those who had
    /// the file open.
    type File;

    /// Takes the folder for this process. An error means that it cannot be known, as on a read-only medium.
    ///
    /// # Errors
    /// The lock file cannot be made or opened.
    fn lock(&mut self) -> io::Result<Lock>;

    /// Whether another process writes here. Takes and makes nothing.
    ///
    /// # Errors
    /// It cannot be known.
    fn is_taken(&mut self) -> io::Result<bool>;

    /// Files in `folder`, which is empty for the spool's own or `quarantine`. Folders in it are left out; a folder that
    /// does not exist has no files.
    ///
    /// # Errors
    /// The folder cannot be read.
    fn list(&mut self, folder: &str) -> io::Result<Vec<Entry>>;

    /// Makes a new, empty file for writing and reading; in `quarantine/` the folder, too.
    ///
    /// # Errors
    /// It exists already, or cannot be made.
    fn create(&mut self, name: &str) -> io::Result<Self::File>;

    /// Opens a file for reading, and for writing when `writable`.
    ///
    /// # Errors
    /// It cannot be opened so.
    fn open(&mut self, name: &str, writable: bool) -> io::Result<Self::File>;

    /// Writes all `bytes` at `at`, which is the end of the file.
    ///
    /// # Errors
    /// Any part was not taken; how much of it was is unknown.
    fn append(&mut self, file: &mut Self::File, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Reads into `buffer` from `at`; fewer bytes than asked for only at the end.
    ///
    /// # Errors
    /// Any part cannot be read.
    fn read_at(&mut self, file: &Self::File, at: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Waits until all of the file, with its length, is on the medium.
    ///
    /// # Errors
    /// Nothing that was written since the last success may be relied on, ever.
    fn sync(&mut self, file: &mut Self::File) -> io::Result<()>;

    /// Cuts the file to `length` bytes.
    ///
    /// # Errors
    /// It was not cut.
    fn truncate(&mut self, file: &mut Self::File, length: u64) -> io::Result<()>;

    /// Gives `from` the name `to`, in place of a file that had it.
    ///
    /// # Errors
    /// Both are as before.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// It is still there.
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// Waits until the names of `folder` are on the medium.
    ///
    /// # Errors
    /// Names made, changed or removed since the last success may be as before.
    fn sync_folder(&mut self, folder: &str) -> io::Result<()>;

    /// Bytes that could still be written to this file system.
    ///
    /// # Errors
    /// It cannot be asked.
    fn free_bytes(&mut self) -> io::Result<u64>;
}
