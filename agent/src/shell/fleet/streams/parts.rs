//! Gathered files put together again, as `core::fleet::files` says: bytes go into a file with a temporary name, which is read
//! once more, synced and given its name when it is whole. Never writes over a whole file.
//!
//! A name is given once, whoever takes the file away afterwards: that it is about to be given is in the journal first, and a
//! temporary name that is gone after that says that it was given. A file with other bytes than it should have is called
//! `<name>.damaged`, so that nothing is thrown away that somebody may want to look at.
//!
//! When a snapshot was lost, files that were not whole stay under their temporary names.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::Streams;
use crate::core::fleet::files::{FOLDER, Part, Step};
use crate::shell::digest::Digest;

/// Bytes that are read at once.
const READ_BYTES: usize = 256 << 10;

/// What became of gathered files, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Files that were whole and got their names.
    pub whole: u64,
    /// Files that had other bytes than they should.
    pub damaged: u64,
}

/// What is known of them.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Temporary files that got their names in an earlier run.
    pub(super) done: BTreeSet<PathBuf>,
    counts: Counts,
    complaints: Vec<String>,
}

/// A file that is synced and about to get its name.
#[derive(Debug)]
pub struct Ready {
    /// Which one.
    pub part: Part,
    name: String,
}

impl Streams {
    /// What became of gathered files.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.parts.counts
    }

    /// What went wrong with some, for a person, since this was asked last.
    pub fn complaints(&mut self) -> Vec<String> {
        std::mem::take(&mut self.parts.complaints)
    }

    /// In an earlier run these were about to get their names. Those that did are left alone until all is written again.
    pub fn about_to_finish(&mut self, parts: &[Part]) -> io::Result<()> {
        for part in parts {
            let path = self.folder_of(part).join(&part.name);
            if !fs::exists(&path)? {
                self.parts.done.insert(path);
            }
        }
        Ok(())
    }

    /// Does what steps say; gives the files that are whole. That these are about to get their names is to be written down
    /// before they do.
    pub fn step(&mut self, steps: &[Step]) -> io::Result<Vec<Ready>> {
        let mut ready = Vec::new();
        for step in steps {
            match step {
                Step::Store { part, offset, content, first } => {
                    self.store(part, *offset, content, *first)?;
                }
                Step::Finish { part, name, size, digest } => {
                    ready.extend(self.finish(part, name, *size, digest)?);
                }
                Step::Drop { part } => remove(&self.folder_of(part).join(&part.name))?,
            }
        }
        // That a temporary name is gone must have one reason only.
        let folders: Vec<PathBuf> =
            ready.iter().map(|ready: &Ready| self.folder_of(&ready.part)).collect();
        let folders: BTreeSet<&Path> =
            folders.iter().flat_map(|folder| self.upwards(folder)).collect();
        for folder in folders {
            File::open(folder)?.sync_all()?;
        }
        Ok(ready)
    }

    /// Gives files their names.
    pub fn name(&mut self, ready: &[Ready]) -> io::Result<()> {
        for Ready { part, name } in ready {
            let folder = self.folder_of(part);
            fs::rename(folder.join(&part.name), folder.join(name))?;
            self.unsynced.insert(folder);
        }
        Ok(())
    }

    fn folder_of(&self, part: &Part) -> PathBuf {
        self.stream_folder(&(part.vehicle.clone(), part.stream.clone())).join(FOLDER)
    }

    fn store(&mut self, part: &Part, offset: u64, content: &[u8], first: bool) -> io::Result<()> {
        let folder = self.folder_of(part);
        let path = folder.join(&part.name);
        if self.parts.done.contains(&path) {
            return Ok(());
        }
        self.make(&folder)?;
        let file = OpenOptions::new().create(true).truncate(first).write(true).open(&path)?;
        match file.write_all_at(content, offset) {
            // What this file system cannot hold must not keep out everything else.
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                self.parts.complaints.push(format!("{} gets too large: {error}", path.display()));
            }
            written => written?,
        }
        self.unsynced.insert(path);
        Ok(())
    }

    fn finish(
        &mut self,
        part: &Part,
        name: &str,
        size: u64,
        digest: &str,
    ) -> io::Result<Option<Ready>> {
        let folder = self.folder_of(part);
        let path = folder.join(&part.name);
        if self.parts.done.remove(&path) {
            self.unsynced.insert(folder);
            return Ok(None);
        }
        if fs::exists(folder.join(name))? {
            // The same name has the same content.
            remove(&path)?;
            return Ok(None);
        }
        self.make(&folder)?;
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).read(true).write(true).open(&path)?;
        let mut name = name.to_owned();
        if file.metadata()?.len() == size && sha256(&file)?.starts_with(digest) {
            self.parts.counts.whole += 1;
        } else {
            self.parts.counts.damaged += 1;
            name.push_str(".damaged");
            let path = folder.join(&name);
            self.parts.complaints.push(format!(
                "{} has not the content that its vehicle announced, {size} bytes with a SHA-256 of {digest}",
                path.display()
            ));
        }
        file.sync_all()?;
        Ok(Some(Ready { part: part.clone(), name }))
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn sha256(mut file: &File) -> io::Result<String> {
    let mut digest = Digest::new();
    let mut piece = vec![0; READ_BYTES];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(digest.finish()),
            bytes => digest.update(piece.get(..bytes).unwrap_or_default()),
        }
    }
}
