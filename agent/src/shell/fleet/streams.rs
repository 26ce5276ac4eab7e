//! The files of the streams: lines appended to numbered files, large payloads beside them. Where the next line goes is known
//! exactly, so that a start can take back what a crash left half done.
//!
//! A start writes again what was received since the last snapshot, because it may not have reached the disk. As long as the
//! machine has not been started anew, it has: then what is there is left alone, and a file that is not there any more although
//! a later one was begun has been taken away, and does not come again.

mod parts;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use self::parts::Counts;
use self::parts::Parts;
use crate::core::fleet::line::{self, Write};

/// Files that are kept open.
const OPEN_MAX: usize = 64;

/// Where each stream's next line goes, by vehicle and stream: number of the file and bytes in it.
pub type Positions = BTreeMap<(String, String), Position>;

/// Where a stream's next line goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    file: u32,
    bytes: u64,
}

/// What a start has to know of the last run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Which folder.
    folder: String,
    /// Size at which files were closed: what is written again has to be cut at the same places.
    rotate_bytes: u64,
    /// Where everything ended.
    positions: Positions,
}

/// All files below one folder.
#[derive(Debug)]
pub struct Streams {
    folder: PathBuf,
    /// As it is written down, to tell it from another.
    identity: String,
    rotate_bytes: u64,
    is_known: bool,
    positions: Positions,
    open: BTreeMap<(String, String), File>,
    /// Files and folders that were changed since the last sync.
    unsynced: BTreeSet<PathBuf>,
    /// While everything is written again of which nothing was lost: the last file of each stream, 0 without any.
    kept: Option<BTreeMap<(String, String), u32>>,
    parts: Parts,
}

impl Streams {
    /// Uses a folder, making it when there is none, with what is known about it.
    pub fn open(folder: &Path, rotate_bytes: u64, known: Option<Known>) -> io::Result<Streams> {
        fs::create_dir_all(folder)?;
        let identity = fs::canonicalize(folder)?.to_string_lossy().into_owned();
        let known = known.filter(|known| known.folder == identity);
        Ok(Streams {
            folder: folder.to_owned(),
            identity,
            rotate_bytes: known.as_ref().map_or(rotate_bytes, |known| known.rotate_bytes),
            is_known: known.is_some(),
            positions: known.map(|known| known.positions).unwrap_or_default(),
            open: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            kept: None,
            parts: Parts::default(),
        })
    }

    /// What was received since the last snapshot is about to be written again, up to [`Streams::replayed`]. `kept`: what was
    /// written before is as it was, but for what somebody changed.
    pub fn replay(&mut self, kept: bool) -> io::Result<()> {
        let mut last = BTreeMap::new();
        for (key, position) in &mut self.positions {
            let folder = self.folder.join(line::folder(&key.0)).join(&key.1);
            let last_file = last_file(&folder)?.unwrap_or(0);
            last.insert(key.clone(), last_file);
            if kept && position.file < last_file {
                continue;
            }
            // A file that somebody took away or cut goes on where it ends: none may begin with a hole.
            let length = length(&folder.join(line::lines_file(position.file)))?;
            position.bytes = position.bytes.min(length);
        }
        self.kept = kept.then_some(last);
        Ok(())
    }

    /// Whether a line is there already, or was in a file that was closed and taken away.
    fn is_written(
        &self,
        key: &(String, String),
        position: Position,
        path: &Path,
        line: &[u8],
    ) -> io::Result<bool> {
        let Some(last) = self.kept.as_ref().and_then(|last| last.get(key)) else {
            return Ok(false);
        };
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(position.file < *last);
            }
            file => file?,
        };
        let mut there = vec![0; line.len()];
        match file.read_exact_at(&mut there, position.bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            read => read.map(|()| there == line),
        }
    }

    /// Everything of the earlier run was brought to the files once more.
    pub fn replayed(&mut self) {
        self.kept = None;
        self.parts.done.clear();
    }

    /// Whether what was known is about this folder.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.is_known
    }

    /// Size at which files are closed.
    #[must_use]
    pub fn rotate_bytes(&self) -> u64 {
        self.rotate_bytes
    }

    /// What has to be known about it at the next start.
    fn known(&self) -> Known {
        Known {
            folder: self.identity.clone(),
            rotate_bytes: self.rotate_bytes,
            positions: self.positions.clone(),
        }
    }

    /// Chooses a file for each stream that has none, behind those that lie there already. The choice is to be written down
    /// before anything is written to it.
    pub fn choose(&mut self, writes: &[Write]) -> io::Result<Vec<(String, String, u32)>> {
        let mut chosen = Vec::new();
        for write in writes {
            let key = (write.vehicle.clone(), write.stream.clone());
            if self.positions.contains_key(&key) {
                continue;
            }
            let file = last_file(&self.stream_folder(&key))?.map_or(1, |last| last + 1);
            self.positions.insert(key, Position { file, bytes: 0 });
            chosen.push((write.vehicle.clone(), write.stream.clone(), file));
        }
        Ok(chosen)
    }

    /// A choice that was written down.
    pub fn chosen(&mut self, vehicle: &str, stream: &str, file: u32) {
        let key = (vehicle.to_owned(), stream.to_owned());
        self.positions.entry(key).or_insert(Position { file, bytes: 0 });
    }

    fn stream_folder(&self, (vehicle, stream): &(String, String)) -> PathBuf {
        self.folder.join(line::folder(vehicle)).join(stream)
    }

    /// Writes one record. What a line says about a file is true when the line is there.
    pub fn write(&mut self, write: &Write) -> io::Result<()> {
        let key = (write.vehicle.clone(), write.stream.clone());
        let folder = self.stream_folder(&key);
        let Some(mut position) = self.positions.get(&key).copied() else {
            return Err(io::Error::other("a stream was not given a file"));
        };
        if position.bytes > 0 && position.bytes + write.line.len() as u64 > self.rotate_bytes {
            position = Position { file: position.file + 1, bytes: 0 };
            self.open.remove(&key);
        }
        let path = folder.join(line::lines_file(position.file));
        if self.is_written(&key, position, &path, &write.line)? {
            // By a process that was killed before it could sync.
            let beside = write.file.as_ref().map(|(name, _)| folder.join(name));
            let upwards: Vec<PathBuf> = self.upwards(&folder).map(Path::to_owned).collect();
            self.unsynced.extend(upwards.into_iter().chain(beside).chain([path]));
            position.bytes += write.line.len() as u64;
            self.positions.insert(key, position);
            return Ok(());
        }
        if let Some((name, content)) = &write.file {
            self.make(&folder)?;
            let path = folder.join(name);
            fs::write(&path, content)?;
            self.unsynced.insert(path);
        }
        if !self.open.contains_key(&key) {
            self.make(&folder)?;
            if self.open.len() >= OPEN_MAX {
                self.open.pop_first();
            }
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
            self.open.insert(key.clone(), file);
        }
        if let Some(file) = self.open.get(&key) {
            file.write_all_at(&write.line, position.bytes)?;
        }
        self.unsynced.insert(path);
        position.bytes += write.line.len() as u64;
        self.positions.insert(key, position);
        Ok(())
    }

    /// Makes the folder of a stream; what it lies in has to be synced as well.
    fn make(&mut self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let changed: Vec<PathBuf> = self.upwards(folder).map(Path::to_owned).collect();
        self.unsynced.extend(changed);
        Ok(())
    }

    /// A folder and those that it lies in, up to the one of all streams.
    fn upwards<'f>(&'f self, folder: &'f Path) -> impl Iterator<Item = &'f Path> {
        folder.ancestors().take_while(|folder| folder.starts_with(&self.folder))
    }

    /// Makes everything durable; gives where it ends.
    pub fn sync(&mut self) -> io::Result<Known> {
        for path in &self.unsynced {
            match File::open(path) {
                // Whoever took a closed file away has it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                file => file?.sync_all()?,
            }
        }
        self.unsynced.clear();
        Ok(self.known())
    }

    /// After everything was written again, with files to be closed at another size from now on. What lies behind the last
    /// line then was received and written, but its journal is damaged: it stays, and the next line comes behind it. Gives
    /// the files for which that is so.
    pub fn settle(&mut self, rotate_bytes: u64) -> io::Result<Vec<PathBuf>> {
        self.rotate_bytes = rotate_bytes;
        let mut unknown = Vec::new();
        for (key, position) in &mut self.positions {
            let folder = self.folder.join(line::folder(&key.0)).join(&key.1);
            let file = last_file(&folder)?.unwrap_or(0).max(position.file);
            let path = folder.join(line::lines_file(file));
            let bytes = length(&path)?;
            if (file, bytes) > (position.file, position.bytes) {
                *position = Position { file, bytes };
                self.open.remove(key);
                unknown.push(path);
            }
        }
        Ok(unknown)
    }
}

/// Length of a file, 0 of one that is not there.
fn length(path: &Path) -> io::Result<u64> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        metadata => Ok(metadata?.len()),
    }
}

/// Number of the last file of lines in a folder.
fn last_file(folder: &Path) -> io::Result<Option<u32>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    let mut last = None;
    for entry in entries {
        let name = entry?.file_name();
        last = last.max(name.to_str().and_then(line::lines_file_number));
    }
    Ok(last)
}
