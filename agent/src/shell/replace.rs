//! Replaces files as wholes, so that a power cut leaves the old one or the new one, and a full disk the old one. For what nobody
//! else may read.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Mode of a file that nobody else may read.
const PRIVATE_FILE: u32 = 0o600;

/// Mode of a folder that nobody else may enter.
pub const PRIVATE_FOLDER: u32 = 0o700;

/// Ends the name of a file that is not in its place yet. Not with the ending of a file that k3s reads.
const UNPLACED: &str = ".outrider-new";

/// A file that is written and not in its place. It is removed unless it gets there.
#[derive(Debug)]
pub struct Unplaced {
    path: PathBuf,
    placed: bool,
}

impl Unplaced {
    /// Writes what is to be in `target`, beside it, and waits until it is on the disk.
    ///
    /// # Errors
    /// It cannot be written; nothing of it stays.
    pub fn write(target: &Path, content: &[u8]) -> io::Result<Unplaced> {
        let mut name = OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(UNPLACED);
        let path = target.with_file_name(name);
        // What a power cut left.
        remove(&path)?;
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(PRIVATE_FILE).open(&path)?;
        let unplaced = Unplaced { path, placed: false };
        file.write_all(content)?;
        file.sync_all()?;
        Ok(unplaced)
    }

    /// Puts it there, durably.
    ///
    /// # Errors
    /// It cannot be moved, or its folder cannot be synced.
    pub fn place(mut self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        self.placed = true;
        target.parent().map_or(Ok(()), sync_folder)
    }
}

impl Drop for Unplaced {
    fn drop(&mut self) {
        if !self.placed {
            // It is in nobody's way, and the next attempt removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Puts a file in its place, in a folder that is made for nobody else if there is none.
///
/// # Errors
/// The folder cannot be made, or the file not be written, moved or made durable there.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        make_folder(folder, PRIVATE_FOLDER)?;
    }
    Unplaced::write(path, content)?.place(path)
}

/// Makes a folder durably, with those above it, each with this mode, unless it is there.
///
/// # Errors
/// One of them cannot be made, or not be made durable.
pub fn make_folder(folder: &Path, mode: u32) -> io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(mode).create(folder)?;
    let above = missing.iter().filter_map(|made| made.parent());
    above.filter(|above| !above.as_os_str().is_empty()).try_for_each(sync_folder)
}

/// Makes what was made, moved or removed in a folder durable.
///
/// # Errors
/// It cannot be synced.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Removes a file durably, if it is there.
///
/// # Errors
/// It cannot be removed.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => path.parent().map_or(Ok(()), sync_folder),
        Err(error) if is_absent(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether there was no such file.
#[must_use]
pub fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
