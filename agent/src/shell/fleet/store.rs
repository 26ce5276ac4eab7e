//! Keeps what the fleet received: a journal, a snapshot, and the files of the streams. Blocks; runs where that hurts nobody.
//! What it says is done survives a power cut; after any error it is of no use any more and has to be opened anew.
//!
//! ```text
//! <state>/lock         held while a process uses the folder
//! <state>/snapshot     everything up to the journal of the generation that it names
//! <state>/journal-<n>  what was received since (core::fleet::journal)
//! ```
//!
//! A snapshot is written beside the old one and renamed; the old journal goes when the new one and the snapshot are safe.
//! Files of streams are only synced then: until a snapshot says how long they are, the journal has all that is in them.
//! What is damaged is renamed to `<name>.damaged-<time>` and never stops a start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::streams::{Counts, Known, Streams};
use crate::core::fleet::files::{Part, Step};
use crate::core::fleet::journal::{self, Entries, Entry};
use crate::core::fleet::line::Write;
use crate::core::fleet::topic::Prefix;
use crate::core::fleet::{Fleet, Message, Publish};
use crate::core::record::checksum::crc32c;
use crate::core::telemetry::BootId;
use crate::shell::clock;

/// Journal that is replaced by a snapshot, unless that was more than half as large: then twice its size. Bounds what a start
/// has to read again, and what is written to half as much again as what comes in.
const JOURNAL_BYTES_MAX: u64 = 8 << 20;

/// Largest snapshot or journal that is read: far more than either can grow to.
const FILE_BYTES_MAX: u64 = 512 << 20;

/// First bytes of a snapshot: what it is, and its version.
const SNAPSHOT_MAGIC: &[u8; 8] = b"orfsnap\x01";

/// What to keep, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Folder of the state.
    pub state: PathBuf,
    /// Folder of the streams.
    pub streams: Option<PathBuf>,
    /// Size at which a file of lines is followed by another.
    pub rotate_bytes: u64,
}

/// Everything that a group of messages leads to.
#[derive(Debug, Default)]
pub struct Group {
    /// Entries of the journal.
    pub journal: Vec<u8>,
    /// Records for the files.
    pub writes: Vec<Write>,
    /// What is to be done to gathered files.
    pub steps: Vec<Step>,
    /// What the fleet knows with this group, when it is time for that.
    pub snapshot: Option<Snapshot>,
}

/// What replaces the journal.
#[derive(Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// Of the fleet.
    pub fleet: Vec<u8>,
    /// What was published and not acknowledged.
    pub unforwarded: Vec<Publish>,
}

/// The content of a snapshot's file.
#[derive(Serialize, Deserialize)]
struct Saved {
    generation: u64,
    snapshot: Snapshot,
    streams: Option<Known>,
}

/// What was there at the start.
#[derive(Debug)]
pub struct Recovered {
    /// The fleet as it was when its last message was acknowledged.
    pub fleet: Fleet,
    /// To be published again.
    pub unforwarded: Vec<Publish>,
    /// What was damaged, for a person.
    pub damage: Vec<String>,
}

/// An open state.
#[derive(Debug)]
pub struct Store {
    state: PathBuf,
    folder: File,
    generation: u64,
    journal: File,
    journal_bytes: u64,
    snapshot_bytes: u64,
    streams: Option<Streams>,
    /// Held until the process ends.
    _lock: Flock<File>,
}

impl Store {
    /// Opens a state, making it when there is none, and brings everything to where the last acknowledgement was. `boot` is that of
    /// this machine: what a process wrote before it was killed is there, unless the machine was cut off as well.
    ///
    /// # Errors
    /// When another process uses it or the disk refuses. Damage is no error.
    pub fn open(
        places: &Places,
        prefix: &Prefix,
        forward: Option<&Prefix>,
        boot: BootId,
    ) -> Result<(Store, Recovered), String> {
        let state = &places.state;
        fs::create_dir_all(state).map_err(|error| say("create the folder", state, &error))?;
        let lock = lock(state)?;
        let folder = File::open(state).map_err(|error| say("open the folder", state, &error))?;
        let mut damage = Vec::new();
        let saved = read_snapshot(state, &mut damage)?;
        let fleet = saved.as_ref().map(|saved| {
            let snapshot = &saved.snapshot.fleet;
            Fleet::restore(snapshot, prefix.clone(), forward.cloned())
        });
        let (saved, mut fleet) = match (saved, fleet) {
            (Some(saved), Some(Ok(fleet))) => (Some(saved), fleet),
            (Some(_), Some(Err(error))) => {
                damage.push(quarantine(&state.join("snapshot"), &error.to_string())?);
                (None, Fleet::new(prefix.clone(), forward.cloned()))
            }
            _ => (None, Fleet::new(prefix.clone(), forward.cloned())),
        };
        let first = saved.is_none();
        let generation = match &saved {
            Some(saved) => saved.generation,
            None => oldest_journal(state).map_err(|error| say("read", state, &error))?.unwrap_or(1),
        };
        let (unforwarded, known) = match saved {
            Some(saved) => (saved.snapshot.unforwarded, saved.streams),
            None => (Vec::new(), None),
        };
        let streams = match &places.streams {
            None => None,
            Some(folder) => {
                let streams = Streams::open(folder, places.rotate_bytes, known);
                Some(streams.map_err(|error| say("use the folder", folder, &error))?)
            }
        };
        let path = journal_path(state, generation);
        let content = read_file(&path).map_err(|error| say("read", &path, &error))?;
        let content = Bytes::from(content.unwrap_or_default());
        let mut replay = Replay {
            fleet: &mut fleet,
            writes: Vec::new(),
            steps: Vec::new(),
            chosen: Vec::new(),
            finishing: Vec::new(),
            unforwarded,
            boot: BootId::default(),
        };
        let whole = replay.run(&content, generation);
        let Replay { writes, steps, chosen, finishing, unforwarded, boot: last_boot, .. } = replay;
        if whole == 0 && !content.is_empty() {
            damage.push(quarantine(&path, "it does not begin like a journal")?);
        } else if content.len() > whole {
            damage.push(format!(
                "{} bytes at the end of {} are not whole; after a crash that is as it should be",
                content.len() - whole,
                path.display()
            ));
        }
        let (journal, journal_bytes) = open_journal(&path, whole, generation, &folder)
            .map_err(|error| say("write", &path, &error))?;
        forget_other_journals(state, generation).map_err(|error| say("read", state, &error))?;
        let mut store = Store {
            state: state.clone(),
            folder,
            generation,
            journal,
            journal_bytes,
            snapshot_bytes: 0,
            streams,
            _lock: lock,
        };
        let unchanged = match &mut store.streams {
            None => true,
            Some(streams) => {
                // Choices for another folder say nothing about this one.
                let is_known = streams.is_known();
                for (vehicle, stream, file) in chosen.iter().filter(|_| is_known) {
                    streams.chosen(vehicle, stream, *file);
                }
                let same_boot = last_boot == boot && boot != BootId::default();
                let looked = streams.replay(is_known && same_boot);
                let looked = looked.and_then(|()| streams.about_to_finish(&finishing));
                looked.map_err(|error| say("look at the files of", state, &error))?;
                is_known && streams.rotate_bytes() == places.rotate_bytes
            }
        };
        // The messages are in the journal; what they lead to is brought to the files once more.
        store.commit(Group { writes, steps, ..Group::default() })?;
        if let Some(streams) = &mut store.streams {
            streams.replayed();
            let unknown = streams.settle(places.rotate_bytes);
            for path in unknown.map_err(|error| say("look at the files of", state, &error))? {
                damage.push(format!(
                    "{} has lines that the journal does not; they stay",
                    path.display()
                ));
            }
        }
        fleet.recovered();
        if first || !unchanged {
            let snapshot = Snapshot { fleet: fleet.snapshot(), unforwarded: unforwarded.clone() };
            store.commit(Group { snapshot: Some(snapshot), ..Group::default() })?;
        }
        Ok((store, Recovered { fleet, unforwarded, damage }))
    }

    /// Whether the next group had better bring a snapshot.
    #[must_use]
    pub fn wants_snapshot(&self) -> bool {
        self.journal_bytes >= JOURNAL_BYTES_MAX.max(2 * self.snapshot_bytes)
    }

    /// Bytes of the journal.
    #[must_use]
    pub fn journal_bytes(&self) -> u64 {
        self.journal_bytes
    }

    /// Makes a group durable, then writes its records to their files.
    ///
    /// # Errors
    /// When the disk refuses. What is on it then is unknown: nothing of the group may be acknowledged, and the state has
    /// to be opened anew, which finds out. A sync that failed is never repeated: the kernel may have dropped what it was for.
    pub fn commit(&mut self, group: Group) -> Result<(), String> {
        let Group { mut journal, writes, steps, snapshot } = group;
        let state = self.state.clone();
        let fail = |error: io::Error| say("write the journal in", &state, &error);
        let fail_files = |error: io::Error| say("write the streams of", &state, &error);
        if let Some(streams) = &mut self.streams {
            // Where a stream's lines go has to be known before the first of them is there.
            for (vehicle, stream, file) in streams.choose(&writes).map_err(fail)? {
                let (vehicle, stream) = (vehicle.as_str(), stream.as_str());
                journal::put(&mut journal, &Entry::Output { vehicle, stream, file });
            }
        }
        self.append(&journal).map_err(fail)?;
        self.step(&steps).map_err(fail_files)?;
        if let Some(streams) = &mut self.streams {
            for write in &writes {
                streams.write(write).map_err(fail_files)?;
            }
        }
        match snapshot {
            None => Ok(()),
            Some(snapshot) => {
                self.replace(snapshot).map_err(|error| say("write the snapshot in", &state, &error))
            }
        }
    }

    /// Makes entries durable.
    fn append(&mut self, entries: &[u8]) -> io::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        self.journal.write_all(entries)?;
        self.journal.sync_data()?;
        self.journal_bytes += entries.len() as u64;
        Ok(())
    }

    /// Puts gathered files together.
    fn step(&mut self, steps: &[Step]) -> io::Result<()> {
        let Some(streams) = &mut self.streams else { return Ok(()) };
        let ready = streams.step(steps)?;
        let mut entries = Vec::new();
        for part in ready.iter().map(|ready| &ready.part) {
            let (vehicle, stream, part) = (&*part.vehicle, &*part.stream, &*part.name);
            journal::put(&mut entries, &Entry::Finishing { vehicle, stream, part });
        }
        self.append(&entries)?;
        self.streams.as_mut().map_or(Ok(()), |streams| streams.name(&ready))
    }

    /// What became of gathered files since the start, and what is to be said about some.
    pub fn files(&mut self) -> (Counts, Vec<String>) {
        let streams = self.streams.as_mut();
        streams.map(|streams| (streams.counts(), streams.complaints())).unwrap_or_default()
    }

    /// Puts a snapshot in the place of the journal.
    fn replace(&mut self, snapshot: Snapshot) -> io::Result<()> {
        let streams = self.streams.as_mut().map(Streams::sync).transpose()?;
        let generation = self.generation + 1;
        let path = journal_path(&self.state, generation);
        let (journal, journal_bytes) = open_journal(&path, 0, generation, &self.folder)?;
        let saved = Saved { generation, snapshot, streams };
        let content = postcard::to_allocvec(&saved).map_err(io::Error::other)?;
        let draft = self.state.join("snapshot.new");
        let mut file = File::create(&draft)?;
        file.write_all(SNAPSHOT_MAGIC)?;
        file.write_all(&crc32c(&content).to_le_bytes())?;
        file.write_all(&content)?;
        file.sync_all()?;
        fs::rename(&draft, self.state.join("snapshot"))?;
        self.folder.sync_all()?;
        // The snapshot names the new one: the old one is only in the way now.
        let _ = fs::remove_file(journal_path(&self.state, self.generation));
        (self.journal, self.journal_bytes, self.generation) = (journal, journal_bytes, generation);
        self.snapshot_bytes = content.len() as u64;
        Ok(())
    }
}

/// Takes a journal again.
struct Replay<'r> {
    fleet: &'r mut Fleet,
    writes: Vec<Write>,
    steps: Vec<Step>,
    chosen: Vec<(String, String, u32)>,
    finishing: Vec<Part>,
    unforwarded: Vec<Publish>,
    /// The machine's boot when the last message arrived.
    boot: BootId,
}

impl Replay<'_> {
    /// Gives the number of bytes that are whole; 0 when it is no journal of this generation.
    fn run(&mut self, content: &Bytes, generation: u64) -> usize {
        let Some(mut entries) = Entries::new(content, generation) else { return 0 };
        for entry in entries.by_ref() {
            match entry {
                Entry::Output { vehicle, stream, file } => {
                    self.chosen.push((vehicle.to_owned(), stream.to_owned(), file));
                }
                Entry::Forwarded { up_to } => {
                    self.unforwarded.retain(|publish| publish.number > up_to);
                }
                Entry::Message { topic, payload, arrived } => {
                    self.boot = arrived.boot;
                    let payload = &content.slice_ref(payload);
                    let taken = self.fleet.take(&Message { topic, payload, arrived });
                    self.unforwarded.extend(taken.publishes);
                    self.writes.extend(taken.writes);
                    self.steps.extend(taken.steps);
                }
                Entry::Finishing { vehicle, stream, part } => {
                    let [vehicle, stream, name] = [vehicle, stream, part].map(str::to_owned);
                    self.finishing.push(Part { vehicle, stream, name });
                }
            }
        }
        entries.position()
    }
}

fn say(what: &str, path: &Path, error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => "; choose a folder that this user may write",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room on its disk",
        io::ErrorKind::ReadOnlyFilesystem => "; its file system is read-only",
        _ => "",
    };
    format!("cannot {what} {}: {error}{remedy}", path.display())
}

fn lock(state: &Path) -> Result<Flock<File>, String> {
    let path = state.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| say("write", &path, &error))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => format!(
            "another `outrider fleet` uses {}: stop it, or choose another folder with --state",
            state.display()
        ),
        other => say("lock", &path, &other.into()),
    })
}

fn journal_path(state: &Path, generation: u64) -> PathBuf {
    state.join(format!("journal-{generation}"))
}

/// Generations of the journals that lie in a folder.
fn journals(state: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(state)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("journal-"));
        found.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    Ok(found)
}

/// Without a snapshot the first journal has everything, unless the snapshot was damaged.
fn oldest_journal(state: &Path) -> io::Result<Option<u64>> {
    Ok(journals(state)?.into_iter().min())
}

fn forget_other_journals(state: &Path, generation: u64) -> io::Result<()> {
    for other in journals(state)?.into_iter().filter(|other| *other != generation) {
        fs::remove_file(journal_path(state, other))?;
    }
    Ok(())
}

/// Opens a journal for appending behind its first `whole` bytes, durably empty when there are none.
fn open_journal(
    path: &Path,
    whole: usize,
    generation: u64,
    folder: &File,
) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    let mut file = options.create(true).truncate(false).read(true).write(true).open(path)?;
    let mut length = whole as u64;
    file.set_len(length)?;
    if length == 0 {
        let head = journal::head(generation);
        file.write_all_at(&head, 0)?;
        length = head.len() as u64;
    }
    file.sync_all()?;
    folder.sync_all()?;
    file.seek(SeekFrom::Start(length))?;
    Ok((file, length))
}

/// `None` when there is no such file.
fn read_file(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut content = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut content)?;
    Ok(Some(content))
}

/// The snapshot, `None` when there is none that can be read.
fn read_snapshot(state: &Path, damage: &mut Vec<String>) -> Result<Option<Saved>, String> {
    let path = state.join("snapshot");
    let content = read_file(&path).map_err(|error| say("read", &path, &error))?;
    let Some(content) = content else { return Ok(None) };
    let saved = content
        .strip_prefix(SNAPSHOT_MAGIC)
        .and_then(|rest| rest.split_first_chunk::<4>())
        .filter(|(checksum, content)| crc32c(content).to_le_bytes() == **checksum)
        .and_then(|(_, content)| postcard::from_bytes(content).ok());
    if saved.is_none() {
        damage.push(quarantine(&path, "it is damaged or of another version of this program")?);
    }
    Ok(saved)
}

/// Puts a damaged file aside; says so.
fn quarantine(path: &Path, why: &str) -> Result<String, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let now = clock::now();
    let aside = path.with_file_name(format!("{name}.damaged-{}", now.wall_ms));
    fs::rename(path, &aside).map_err(|error| say("put aside", path, &error))?;
    Ok(format!(
        "{} cannot be used: {why}. It is kept as {}; what was received before may come again",
        path.display(),
        aside.display()
    ))
}
