//! A storage in memory that keeps written and durable apart, for tests and simulation. Its power can be cut before any
//! operation, and what a cut leaves is chosen by a seed: of unsynced writes any subset, torn anywhere, in any order; of unsynced
//! names any subset. It can also fail, fill up, refuse to be written, and rot.
//!
//! A [`Simulated`] is a handle: clones share one disk, so a test keeps one while the spool has another.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::frame::{self, Kind, Place};
use crate::storage::{Entry, Lock, Storage};

/// Unit in which a medium writes, in bytes.
const SECTOR_BYTES: usize = 512;

/// What a storage is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// [`Storage::lock`]
    Lock,
    /// [`Storage::list`]
    List,
    /// [`Storage::create`]
    Create,
    /// [`Storage::open`]
    Open,
    /// [`Storage::append`]
    Append,
    /// [`Storage::read_at`]
    Read,
    /// [`Storage::sync`]
    Sync,
    /// [`Storage::truncate`]
    Truncate,
    /// [`Storage::rename`]
    Rename,
    /// [`Storage::remove`]
    Remove,
    /// [`Storage::sync_folder`]
    SyncFolder,
}

impl Operation {
    /// Whether a power cut before it differs from one after it.
    const fn changes(self) -> bool {
        match self {
            Operation::Create
            | Operation::Append
            | Operation::Sync
            | Operation::Truncate
            | Operation::Rename
            | Operation::Remove
            | Operation::SyncFolder => true,
            Operation::Lock | Operation::List | Operation::Open | Operation::Read => false,
        }
    }
}

/// What is left of unsynced changes after the power was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing.
    Nothing,
    /// Everything.
    Everything,
    /// Any subset, torn anywhere, as this seed decides.
    Some(u64),
}

/// Operations that will fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which.
    pub operation: Operation,
    /// How many are let pass first.
    pub after: u64,
    /// How many fail then.
    pub times: u64,
    /// With which error.
    pub kind: io::ErrorKind,
}

/// How much the storage was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Operations before which the power could be cut.
    pub changes: u64,
    /// Reads.
    pub reads: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Syncs of files.
    pub syncs: u64,
}

#[derive(Clone, Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Cut(usize),
}

impl Change {
    /// Whether this change decides what is where `earlier` wrote.
    fn covers(&self, earlier: &Change) -> bool {
        let end_of = |change: &Change| match change {
            Change::Write { at, bytes } => at + bytes.len(),
            Change::Cut(length) => *length,
        };
        match (self, earlier) {
            (Change::Cut(length), _) => end_of(earlier) > *length,
            (Change::Write { at, .. }, Change::Write { at: earlier_at, .. }) => {
                *at < end_of(earlier) && *earlier_at < end_of(self)
            }
            (Change::Write { .. }, Change::Cut(length)) => end_of(self) > *length,
        }
    }

    fn apply(&self, contents: &mut Vec<u8>) {
        match self {
            Change::Write { at, bytes } => {
                let end = at + bytes.len();
                if contents.len() < end {
                    contents.resize(end, 0);
                }
                contents[*at..end].copy_from_slice(bytes);
            }
            Change::Cut(length) => contents.resize(*length, 0),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Inode {
    /// What a reader sees.
    current: Vec<u8>,
    /// What survives.
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    /// Changes that a failed sync threw away: readers see them, later syncs do not write them.
    doomed: Vec<Change>,
    /// Bytes that cannot be read.
    bad: Vec<std::ops::Range<u64>>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Set(String, u64),
    Move(String, String, u64),
    Remove(String),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            NameChange::Set(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            NameChange::Move(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
            NameChange::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

#[derive(Debug, Default)]
struct Disk {
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    unsynced_names: Vec<NameChange>,
    locked: bool,
    /// Raised by each power cut: files opened before it are dead.
    boot: u64,
    powered: bool,
    cut_at: Option<u64>,
    usage: Usage,
    faults: Vec<Fault>,
    capacity: Option<u64>,
    read_only: bool,
    /// Syncs report success and do nothing, as some cards do.
    lying: bool,
    /// Syncs of folders report success and do nothing.
    forgetful: bool,
    /// Syncs that fail report success.
    deaf: bool,
    /// What every operation fails with.
    away: Option<io::ErrorKind>,
}

/// An open file of a [`Simulated`].
#[derive(Debug)]
pub struct SimulatedFile {
    inode: u64,
    boot: u64,
}

/// A handle to a simulated disk.
#[derive(Clone, Debug)]
pub struct Simulated {
    disk: Arc<Mutex<Disk>>,
}

impl Default for Simulated {
    fn default() -> Simulated {
        let disk = Disk { powered: true, ..Disk::default() };
        Simulated { disk: Arc::new(Mutex::new(disk)) }
    }
}

/// The bytes of a segment with good checksums around any bodies; kinds as in the README. What recovery makes of contents that
/// no spool would write can only be seen with these: random bytes never get past a checksum.
#[must_use]
pub fn forge(spool_id: u64, segment: u64, frames: &[(u8, &[u8])]) -> Vec<u8> {
    let place = Place { spool: spool_id, segment };
    let mut out = frame::segment_header(place).to_vec();
    for (kind, body) in frames {
        if let Some(kind) = Kind::from_code(*kind)
            && body.len() <= kind.body_bytes_max()
        {
            frame::put(&mut out, place, 0, kind, body);
        }
    }
    out
}

/// Deterministic numbers from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound.max(1) as u64) as usize
    }
}

impl Simulated {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Simulated {
        Simulated::default()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much it was used so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.disk().usage
    }

    /// Cuts the power before the change with this number, counted from the beginning as in [`Usage::changes`]. That change
    /// may be torn.
    pub fn cut_power_at(&self, change: u64) {
        self.disk().cut_at = Some(change);
    }

    /// Whether the power was cut.
    #[must_use]
    pub fn is_off(&self) -> bool {
        !self.disk().powered
    }

    /// Cuts the power if it is on, and switches it on again.
    pub fn restart(&self, left: Left) {
        self.disk().restart(left);
    }

    /// A process that had the disk was killed: its lock is gone, nothing else.
    pub fn release_lock(&self) {
        self.disk().locked = false;
    }

    /// Makes operations fail.
    pub fn fail(&self, fault: Fault) {
        self.disk().faults.push(fault);
    }

    /// Ends all faults.
    pub fn heal(&self) {
        let mut disk = self.disk();
        disk.faults.clear();
        disk.read_only = false;
        disk.capacity = None;
        disk.lying = false;
        disk.forgetful = false;
        disk.deaf = false;
        disk.away = None;
        disk.inodes.values_mut().for_each(|inode| inode.bad.clear());
    }

    /// From now on all files together may have so many bytes.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk().capacity = bytes;
    }

    /// From now on nothing can be changed.
    pub fn set_read_only(&self, read_only: bool) {
        self.disk().read_only = read_only;
    }

    /// From now on syncs of files report success and do nothing.
    pub fn set_lying(&self, lying: bool) {
        self.disk().lying = lying;
    }

    /// From now on syncs of folders report success and do nothing.
    pub fn set_forgetful(&self, forgetful: bool) {
        self.disk().forgetful = forgetful;
    }

    /// From now on syncs of files that fail report success, as to a program that does not look at what they return.
    pub fn set_deaf(&self, deaf: bool) {
        self.disk().deaf = deaf;
    }

    /// From now on everything fails with this, as of a medium that was pulled out. With [`io::ErrorKind::NotFound`] the folder
    /// is empty, as that of a medium that is not mounted.
    pub fn set_away(&self, away: Option<io::ErrorKind>) {
        self.disk().away = away;
    }

    /// Bytes of all files together.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.disk().used()
    }

    /// Names of all files.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.disk().names.keys().cloned().collect()
    }

    /// What a file holds.
    #[must_use]
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let disk = self.disk();
        Some(disk.inodes.get(disk.names.get(name)?)?.current.clone())
    }

    /// Gives a file contents, durable at once.
    pub fn set_contents(&self, name: &str, contents: Vec<u8>) {
        let mut disk = self.disk();
        let inode = match disk.names.get(name) {
            Some(&inode) => inode,
            None => disk.new_name(name),
        };
        let durable = contents.clone();
        disk.inodes.insert(inode, Inode { current: contents, durable, ..Inode::default() });
        disk.durable_names.insert(name.to_owned(), inode);
    }

    /// Removes a file, durable at once.
    pub fn remove_file(&self, name: &str) {
        let mut disk = self.disk();
        disk.names.remove(name);
        disk.durable_names.remove(name);
        disk.unsynced_names.retain(|change| !matches!(change, NameChange::Set(n, _) if n == name));
    }

    /// Makes bytes of a file unreadable.
    pub fn spoil(&self, name: &str, bytes: std::ops::Range<u64>) {
        let mut disk = self.disk();
        if let Some(&inode) = disk.names.get(name)
            && let Some(inode) = disk.inodes.get_mut(&inode)
        {
            inode.bad.push(bytes);
        }
    }
}

impl Disk {
    fn new_name(&mut self, name: &str) -> u64 {
        let inode = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(inode, Inode::default());
        self.names.insert(name.to_owned(), inode);
        inode
    }

    fn restart(&mut self, left: Left) {
        let mut dice = Dice(match left {
            Left::Some(seed) => seed,
            Left::Nothing | Left::Everything => 0,
        });
        for inode in self.inodes.values_mut() {
            let changes = std::mem::take(&mut inode.unsynced);
            let doomed = std::mem::take(&mut inode.doomed);
            for change in doomed.into_iter().chain(changes) {
                match left {
                    Left::Nothing => {}
                    Left::Everything => change.apply(&mut inode.durable),
                    Left::Some(_) => tear(&change, &mut dice, &mut inode.durable),
                }
            }
            inode.current.clone_from(&inode.durable);
        }
        for change in std::mem::take(&mut self.unsynced_names) {
            let kept = match left {
                Left::Nothing => false,
                Left::Everything => true,
                Left::Some(_) => dice.below(2) == 0,
            };
            if kept {
                change.apply(&mut self.durable_names);
            }
        }
        self.names.clone_from(&self.durable_names);
        let names = &self.names;
        self.inodes.retain(|inode, _| names.values().any(|named| named == inode));
        self.boot += 1;
        self.locked = false;
        self.powered = true;
        self.cut_at = None;
    }

    fn begin(&mut self, operation: Operation) -> io::Result<()> {
        if !self.powered {
            return Err(io::Error::other("the power is off"));
        }
        if let Some(kind) = self.away {
            return Err(kind.into());
        }
        if operation.changes() {
            self.usage.changes += 1;
            if self.cut_at == Some(self.usage.changes) {
                self.powered = false;
                return Err(io::Error::other("the power went off"));
            }
            if self.read_only {
                return Err(io::ErrorKind::ReadOnlyFilesystem.into());
            }
        }
        let fault =
            self.faults.iter_mut().find(|fault| fault.operation == operation && fault.times > 0);
        match fault {
            Some(fault) if fault.after == 0 => {
                fault.times -= 1;
                Err(fault.kind.into())
            }
            Some(fault) => {
                fault.after -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn inode(&mut self, file: &SimulatedFile) -> io::Result<&mut Inode> {
        if file.boot != self.boot {
            return Err(io::Error::other("the file was opened before the power went off"));
        }
        self.inodes.get_mut(&file.inode).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn used(&self) -> u64 {
        self.names
            .values()
            .filter_map(|inode| self.inodes.get(inode))
            .map(|i| i.current.len() as u64)
            .sum()
    }
}

/// Applies any part of a change, in any order of its sectors.
fn tear(change: &Change, dice: &mut Dice, contents: &mut Vec<u8>) {
    let Change::Write { at, bytes } = change else {
        if dice.below(2) == 0 {
            change.apply(contents);
        }
        return;
    };
    match dice.below(5) {
        // Not at all.
        0 => {}
        1 => change.apply(contents),
        // A prefix, cut at any byte.
        2 => {
            let kept = dice.below(bytes.len() + 1);
            Change::Write { at: *at, bytes: bytes[..kept].to_vec() }.apply(contents);
        }
        // The length without the data.
        3 => Change::Write { at: *at, bytes: vec![0; bytes.len()] }.apply(contents),
        // Any subset of its sectors.
        _ => {
            let mut start = 0;
            while start < bytes.len() {
                let end = bytes.len().min(start + SECTOR_BYTES - (at + start) % SECTOR_BYTES);
                if dice.below(2) == 0 {
                    let bytes = bytes[start..end].to_vec();
                    Change::Write { at: at + start, bytes }.apply(contents);
                }
                start = end;
            }
        }
    }
}

impl Storage for Simulated {
    type File = SimulatedFile;

    fn lock(&mut self) -> io::Result<Lock> {
        let mut disk = self.disk();
        disk.begin(Operation::Lock)?;
        if disk.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        if disk.locked {
            return Ok(Lock::Taken);
        }
        disk.locked = true;
        if !disk.names.contains_key("lock") {
            let inode = disk.new_name("lock");
            disk.unsynced_names.push(NameChange::Set("lock".to_owned(), inode));
        }
        Ok(Lock::Held)
    }

    fn is_taken(&mut self) -> io::Result<bool> {
        Ok(self.disk().locked)
    }

    fn list(&mut self, folder: &str) -> io::Result<Vec<Entry>> {
        let mut disk = self.disk();
        if disk.away == Some(io::ErrorKind::NotFound) {
            return Ok(Vec::new());
        }
        disk.begin(Operation::List)?;
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let mut found = Vec::new();
        for (name, inode) in &disk.names {
            let Some(name) = name.strip_prefix(&prefix) else { continue };
            if !name.contains('/') {
                let bytes = disk.inodes.get(inode).map_or(0, |inode| inode.current.len() as u64);
                found.push(Entry { name: name.to_owned(), bytes });
            }
        }
        Ok(found)
    }

    fn create(&mut self, name: &str) -> io::Result<SimulatedFile> {
        let mut disk = self.disk();
        disk.begin(Operation::Create)?;
        if disk.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = disk.new_name(name);
        disk.unsynced_names.push(NameChange::Set(name.to_owned(), inode));
        Ok(SimulatedFile { inode, boot: disk.boot })
    }

    fn open(&mut self, name: &str, writable: bool) -> io::Result<SimulatedFile> {
        let mut disk = self.disk();
        disk.begin(Operation::Open)?;
        if writable && disk.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let inode = *disk.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(SimulatedFile { inode, boot: disk.boot })
    }

    fn append(&mut self, file: &mut SimulatedFile, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk();
        let result = disk.begin(Operation::Append);
        let room = disk.capacity.map_or(u64::MAX, |bytes| bytes.saturating_sub(disk.used()));
        let taken = match result {
            Ok(()) => u64::min(room, bytes.len() as u64) as usize,
            // How much of a failed write arrived is anybody's guess.
            Err(_) if file.boot == disk.boot && !disk.read_only => bytes.len() / 2,
            Err(_) => 0,
        };
        disk.usage.written_bytes += taken as u64;
        let inode = disk.inode(file)?;
        let change = Change::Write { at: at as usize, bytes: bytes[..taken].to_vec() };
        if taken > 0 {
            change.apply(&mut inode.current);
            inode.unsynced.push(change);
        }
        result?;
        if taken < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn read_at(&mut self, file: &SimulatedFile, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut disk = self.disk();
        disk.begin(Operation::Read)?;
        disk.usage.reads += 1;
        let inode = disk.inode(file)?;
        let end = at + buffer.len() as u64;
        if inode.bad.iter().any(|bad| bad.start < end && at < bad.end) {
            return Err(io::Error::from_raw_os_error(5));
        }
        let from = usize::min(at as usize, inode.current.len());
        let count = usize::min(buffer.len(), inode.current.len() - from);
        buffer[..count].copy_from_slice(&inode.current[from..from + count]);
        disk.usage.read_bytes += count as u64;
        Ok(count)
    }

    fn sync(&mut self, file: &mut SimulatedFile) -> io::Result<()> {
        let mut disk = self.disk();
        let result = disk.begin(Operation::Sync);
        disk.usage.syncs += 1;
        let Disk { lying, deaf, powered, .. } = *disk;
        let inode = disk.inode(file)?;
        if result.is_err() {
            // The kernel marks the pages clean although they never reached the medium.
            if powered {
                inode.doomed.append(&mut inode.unsynced);
            }
            return if deaf { Ok(()) } else { result };
        }
        if !lying {
            for change in std::mem::take(&mut inode.unsynced) {
                change.apply(&mut inode.durable);
                // A write that failed may have reached the medium then, but not after this one.
                inode.doomed.retain(|doomed| !change.covers(doomed));
            }
        }
        Ok(())
    }

    fn truncate(&mut self, file: &mut SimulatedFile, length: u64) -> io::Result<()> {
        let mut disk = self.disk();
        disk.begin(Operation::Truncate)?;
        let inode = disk.inode(file)?;
        let change = Change::Cut(length as usize);
        change.apply(&mut inode.current);
        inode.unsynced.push(change);
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.begin(Operation::Rename)?;
        let inode = disk.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        disk.names.insert(to.to_owned(), inode);
        disk.unsynced_names.push(NameChange::Move(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.begin(Operation::Remove)?;
        disk.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        disk.unsynced_names.push(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_folder(&mut self, folder: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.begin(Operation::SyncFolder)?;
        if disk.forgetful {
            return Ok(());
        }
        let inside = |name: &str| match name.rsplit_once('/') {
            Some((parent, _)) => parent == folder,
            None => folder.is_empty(),
        };
        let changes = std::mem::take(&mut disk.unsynced_names);
        for change in changes {
            let of_folder = match &change {
                NameChange::Set(name, _) | NameChange::Remove(name) => inside(name),
                NameChange::Move(_, to, _) => inside(to),
            };
            if of_folder {
                change.apply(&mut disk.durable_names);
            } else {
                disk.unsynced_names.push(change);
            }
        }
        Ok(())
    }

    fn free_bytes(&mut self) -> io::Result<u64> {
        let disk = self.disk();
        Ok(disk.capacity.map_or(u64::MAX, |bytes| bytes.saturating_sub(disk.used())))
    }
}
