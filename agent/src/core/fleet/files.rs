//! Files that vehicles gathered from folders, put together again from the chunks that they travel in. Decides which bytes go
//! where, when a file is whole and what it is called; touches no file system, which the shell does as [`Step`]s say.
//!
//! ```text
//! <vehicle>/<stream>/files/<name>~<id>.<ending>       a whole file
//! <vehicle>/<stream>/files/.<number>-<id>.part        one of which some bytes are here
//! ```
//!
//! The name is the one on the vehicle as far as it is harmless (`safe_name`). The first 16 digits of its SHA-256 make it
//! unique, so that a camera may call every picture `latest.jpg`; the same name always has the same content.
//!
//! # Exactly once
//!
//! What a step does is a function of the messages before it, so a journal that is taken again leads to the same steps, and
//! storing the same bytes at the same place again changes nothing. Each attempt at a file has a number and with it a
//! temporary name of its own, so the shell can tell by the presence of that name whether it was finished before a crash.
//! A file that a vehicle sends again, because it was killed before it could remove its own, is dropped: the last
//! [`FINISHED_MAX`] names of each stream are remembered.
//!
//! # Bounds
//!
//! [`PARTS_BYTES_MAX`] and [`PARTS_MAX`] for all that is not whole. Beyond them the vehicle with the most gives up the file of
//! its own that was heard of least recently, so that nobody can push out what others send; `abandoned` counts it.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::line::{self, Kept};
use crate::core::record::Ranges;
use crate::core::record::assemble::Received;
use crate::core::record::file::{Manifest, Piece, decode_name};

/// Disk for files that are not whole, and the largest that is put together: an hour of video of a good camera. A command post
/// has ten times that, and what is here waits for a manifest that a vehicle may never send.
pub const PARTS_BYTES_MAX: u64 = 16 << 30;

/// Files that are not whole. Each vehicle sends one at a time for each of its folders.
pub const PARTS_MAX: usize = 1024;

/// Stretches of a file that are here without what lies between them; chunks come in order, so one is usual.
const STRETCHES_MAX: usize = 256;

/// Disk that a stretch takes at least: a block.
const BLOCK_BYTES: u64 = 4096;

/// Whole files of each stream that are remembered. A vehicle sends one again when it is killed before it could remove it:
/// the last of each of its folders.
pub const FINISHED_MAX: usize = 8;

/// Longest name before the id, in bytes; file systems allow 255.
const STEM_BYTES_MAX: usize = 120;

/// Longest ending of a name that stays an ending.
const ENDING_BYTES_MAX: usize = 10;

/// Digits of the id in names.
const ID_DIGITS: usize = 16;

/// Folder beside the lines of a stream.
pub const FOLDER: &str = "files";

/// A file that is not whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// Whose stream.
    pub vehicle: String,
    /// Its name.
    pub stream: String,
    /// Name in [`FOLDER`], no other attempt has it.
    pub name: String,
}

/// Something to be done to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Bytes are to be written into it.
    Store {
        /// Which one.
        part: Part,
        /// Where they belong.
        offset: u64,
        /// They.
        content: Bytes,
        /// It begins with these: what has its name is of another run.
        first: bool,
    },
    /// All of its bytes are there: when they are what they should be, it gets its name.
    Finish {
        /// Which one.
        part: Part,
        /// Its name in [`FOLDER`].
        name: String,
        /// Its length in bytes.
        size: u64,
        /// SHA-256 of its content in lower-case hexadecimal, or the first half of it.
        digest: String,
    },
    /// It is given up, or here already.
    Drop {
        /// Which one.
        part: Part,
    },
}

/// Whose file it is, and its id.
type Key = (String, String, String);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Incomplete {
    number: u64,
    /// Chunks that came before the last one of it.
    heard: u64,
    stretches: Ranges,
    /// Disk that it takes.
    bytes: u64,
    /// What its manifest says, when that is here.
    announced: Option<Announced>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Announced {
    name: String,
    size: u64,
    digest: String,
}

impl Incomplete {
    fn is_whole(&self) -> bool {
        let Some(Announced { size, .. }) = self.announced else { return false };
        size.checked_sub(1).is_none_or(|last| self.stretches.holes(0..=last).is_empty())
    }
}

/// All files that are not whole, and the last that were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    incomplete: BTreeMap<Key, Incomplete>,
    /// Names by vehicle and stream, latest last.
    finished: BTreeMap<(String, String), VecDeque<String>>,
    /// Grows with each chunk.
    clock: u64,
    numbers: u64,
    /// Of all that is not whole.
    bytes: u64,
    abandoned: u64,
}

impl Files {
    /// Files of which some bytes or the manifest are here.
    #[must_use]
    pub fn incomplete(&self) -> usize {
        self.incomplete.len()
    }

    /// Files that were given up at a bound.
    #[must_use]
    pub fn abandoned(&self) -> u64 {
        self.abandoned
    }

    /// Takes a record; adds what is to be done and gives where its payload is kept.
    pub(super) fn take(
        &mut self,
        vehicle: &str,
        stream: &str,
        record: &Received,
        steps: &mut Vec<Step>,
    ) -> Kept {
        let key = |id: &str| (vehicle.to_owned(), stream.to_owned(), id.to_owned());
        match record.content_type.as_deref().and_then(Piece::of) {
            None => Kept::InLine,
            Some(Piece::Whole { id, name }) => {
                let name = safe_name(&decode_name(name), id);
                let path = format!("{FOLDER}/{name}");
                self.whole(key(id), name, &record.payload, steps);
                Kept::InFile(path)
            }
            Some(Piece::Chunk { id, offset }) => {
                let Some(last) = last_byte(offset, &record.payload) else { return Kept::InLine };
                self.chunk(key(id), (offset, last), &record.payload, steps);
                Kept::InPart
            }
            Some(Piece::Manifest) => {
                let manifest = Manifest::read(&record.payload);
                if let Some(manifest) = manifest.filter(|manifest| manifest.size <= PARTS_BYTES_MAX)
                {
                    self.manifest(key(&manifest.file), manifest, steps);
                }
                Kept::InLine
            }
        }
    }

    fn whole(&mut self, key: Key, name: String, content: &Bytes, steps: &mut Vec<Step>) {
        if self.is_finished(&key, &name) {
            return;
        }
        self.numbers += 1;
        let part = part(&key, self.numbers);
        let (offset, content, size) = (0, content.clone(), content.len() as u64);
        steps.push(Step::Store { part: part.clone(), offset, content, first: true });
        self.finish(part, Announced { name, size, digest: key.2 }, steps);
    }

    fn chunk(
        &mut self,
        key: Key,
        (first, last): (u64, u64),
        content: &Bytes,
        steps: &mut Vec<Step>,
    ) {
        let incomplete = self.heard(&key, steps);
        let is_first = incomplete.stretches.len() == 0;
        if incomplete.stretches.add(first..=last) == 0 {
            return;
        }
        let (part, content) = (part(&key, incomplete.number), content.clone());
        steps.push(Step::Store { part, offset: first, content, first: is_first });
        let stretches = &incomplete.stretches;
        let bytes = stretches.total().saturating_add(stretches.len() as u64 * BLOCK_BYTES);
        let before = std::mem::replace(&mut incomplete.bytes, bytes);
        let (whole, scattered) = (incomplete.is_whole(), stretches.len() > STRETCHES_MAX);
        self.bytes = self.bytes.saturating_sub(before).saturating_add(bytes);
        if whole {
            self.complete(&key, steps);
        } else if scattered {
            self.give_up(&key, steps);
        }
        let bytes = |incomplete: &Incomplete| incomplete.bytes;
        while self.bytes > PARTS_BYTES_MAX && self.give_up_one(bytes, steps) {}
    }

    fn manifest(&mut self, key: Key, manifest: Manifest, steps: &mut Vec<Step>) {
        let name = safe_name(&decode_name(&manifest.name), &manifest.file);
        if self.is_finished(&key, &name) {
            // Perhaps only some of its chunks came again.
            let part = self.remove(&key).map(|incomplete| part(&key, incomplete.number));
            steps.extend(part.map(|part| Step::Drop { part }));
            return;
        }
        let incomplete = self.heard(&key, steps);
        let (size, digest) = (manifest.size, manifest.sha256);
        incomplete.announced = Some(Announced { name, size, digest });
        if incomplete.is_whole() {
            self.complete(&key, steps);
        }
    }

    fn is_finished(&self, (vehicle, stream, _): &Key, name: &str) -> bool {
        let finished = self.finished.get(&(vehicle.clone(), stream.clone()));
        finished.is_some_and(|finished| finished.iter().any(|known| known == name))
    }

    /// The attempt at a file, which begins now if there is none.
    fn heard(&mut self, key: &Key, steps: &mut Vec<Step>) -> &mut Incomplete {
        if !self.incomplete.contains_key(key) {
            if self.incomplete.len() >= PARTS_MAX {
                self.give_up_one(|_| 1, steps);
            }
            self.numbers += 1;
        }
        self.clock += 1;
        let number = self.numbers;
        let begin = || Incomplete { number, ..Incomplete::default() };
        let incomplete = self.incomplete.entry(key.clone()).or_insert_with(begin);
        incomplete.heard = self.clock;
        incomplete
    }

    fn complete(&mut self, key: &Key, steps: &mut Vec<Step>) {
        let Some(incomplete) = self.remove(key) else { return };
        if let Some(announced) = incomplete.announced {
            self.finish(part(key, incomplete.number), announced, steps);
        }
    }

    fn finish(&mut self, part: Part, announced: Announced, steps: &mut Vec<Step>) {
        let Announced { name, size, digest } = announced;
        let stream = (part.vehicle.clone(), part.stream.clone());
        let finished = self.finished.entry(stream).or_default();
        if finished.len() >= FINISHED_MAX {
            finished.pop_front();
        }
        finished.push_back(name.clone());
        steps.push(Step::Finish { part, name, size, digest });
    }

    fn remove(&mut self, key: &Key) -> Option<Incomplete> {
        let incomplete = self.incomplete.remove(key)?;
        self.bytes = self.bytes.saturating_sub(incomplete.bytes);
        Some(incomplete)
    }

    /// Has the vehicle with the most give up its own that was heard of least recently. False when there is none.
    fn give_up_one(&mut self, measure: impl Fn(&Incomplete) -> u64, steps: &mut Vec<Step>) -> bool {
        let mut shares: BTreeMap<&str, u64> = BTreeMap::new();
        for ((vehicle, _, _), incomplete) in &self.incomplete {
            let share = shares.entry(vehicle).or_default();
            *share = share.saturating_add(measure(incomplete));
        }
        let most = shares.into_iter().max_by_key(|(_, share)| *share).map(|(vehicle, _)| vehicle);
        let of_it = self.incomplete.iter().filter(|((vehicle, _, _), _)| Some(&**vehicle) == most);
        let oldest = of_it.min_by_key(|(_, incomplete)| incomplete.heard);
        let Some(key) = oldest.map(|(key, _)| key.clone()) else { return false };
        self.give_up(&key, steps);
        true
    }

    fn give_up(&mut self, key: &Key, steps: &mut Vec<Step>) {
        if let Some(incomplete) = self.remove(key) {
            self.abandoned += 1;
            steps.push(Step::Drop { part: part(key, incomplete.number) });
        }
    }
}

/// The last byte of a chunk in its file; `None` for a chunk that no gatherer writes.
fn last_byte(offset: u64, content: &Bytes) -> Option<u64> {
    let last = offset.checked_add(content.len() as u64)?.checked_sub(1)?;
    (!content.is_empty() && last < PARTS_BYTES_MAX).then_some(last)
}

fn part((vehicle, stream, id): &Key, number: u64) -> Part {
    let digits = id.get(..ID_DIGITS).unwrap_or(id);
    let name = format!(".{number}-{digits}.part");
    Part { vehicle: vehicle.clone(), stream: stream.clone(), name }
}

/// The name that a file has here: letters, digits, `_`, and `.` and `-` where they are not first stay, other bytes are `%` and two
/// digits, a long name is cut. The id stands before its ending.
fn safe_name(name: &[u8], id: &str) -> String {
    let is_ending = |ending: &[u8]| {
        (1..=ENDING_BYTES_MAX).contains(&ending.len())
            && ending.iter().all(u8::is_ascii_alphanumeric)
    };
    let dot = name.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0);
    let (stem, ending) = match dot.map(|dot| (&name[..dot], &name[dot + 1..])) {
        Some((stem, ending)) if is_ending(ending) => (stem, ending),
        Some(_) | None => (name, &b""[..]),
    };
    let mut text = line::plain(stem);
    text.truncate(STEM_BYTES_MAX);
    text.push('~');
    text.push_str(id.get(..ID_DIGITS).unwrap_or(id));
    if !ending.is_empty() {
        text.push('.');
        text.extend(ending.iter().copied().map(char::from));
    }
    text
}
