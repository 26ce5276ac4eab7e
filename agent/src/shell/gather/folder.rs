//! `[[gather.folder]]`: files that are dropped into a folder become records, and are removed when their records are safe.
//!
//! # When a file is taken
//!
//! When a program closed it after writing, or moved it in (inotify(7)). Files that were there before, or of which nothing
//! was heard, are taken when they have not changed for [`SETTLED`]. A writer that wants to be sure writes under a name with
//! a dot in front, which is left alone, and renames. So are folders, links, devices and pipes: only regular files are taken.
//!
//! # What becomes of it
//!
//! A file that fits in one chunk ([`CHUNK_BYTES`]) is one record with its content as it is, and the content type
//!
//! ```text
//! <content_type or application/octet-stream>; name="<name>"; file=<id>
//! ```
//!
//! A larger one, or one whose name does not fit, is several records, followed by one that describes them:
//!
//! ```text
//! application/vnd.outrider.chunk; file=<id>; offset=<first byte>            the bytes
//! application/vnd.outrider.file+json    {"file", "name", "size", "sha256", "chunks", "chunk_bytes", "content_type"}
//! ```
//!
//! `id` is the first half of the SHA-256 of the whole content, in hexadecimal. In names, bytes other than letters, digits
//! and `._-~+=@,` are written as `%` and two hexadecimal digits.
//!
//! # Promise
//!
//! At least once: a file is removed only after all its records are durable, and only if it is still the file that was read.
//! A file that changed meanwhile is read again. After a kill or a power cut a file may be read again from its beginning, or
//! from the place noted in [`PROGRESS_NAME`]; its records then come twice under the same `file` and `offset`, and a receiver
//! drops them. Chunks without a description belong to a file that changed; a receiver forgets them.
//!
//! What cannot be read, or could not be removed afterwards, is left alone and told once.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::unistd::{AccessFlags, access};
use serde::{Deserialize, Serialize};
use tokio::net::unix::pipe;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Ack, Intake, Receipts, Refused, Teller};
use crate::config::GatherFolder;
use crate::core::record::CONTENT_TYPE_BYTES_MAX;
use crate::core::record::file::{CHUNK_TYPE, MANIFEST_TYPE};
use crate::shell::digest::Digest;

/// Bytes of one chunk: large enough to cost nothing, small enough that a slow link gets something done between two
/// interruptions.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// Time without a change after which a file is taken of which nothing was heard.
pub const SETTLED: Duration = Duration::from_secs(10);

/// Name of the note of how much of a large file is durable.
pub const PROGRESS_NAME: &str = ".outrider-progress";

/// Pause between two looks at the whole folder.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Files that are looked at in one look; others have their turn when these are gone.
const FILES_MAX: usize = 4_096;

/// Durable bytes between two notes of the progress.
const PROGRESS_BYTES: u64 = 4 * 1024 * 1024;

/// Longest pause before a refused record is tried again.
const REFUSED_PAUSE_MAX: Duration = Duration::from_secs(30);

const MEDIA_TYPE: &str = "application/octet-stream";

/// How a file looked; another one is another content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Look {
    fn of(metadata: &fs::Metadata) -> Look {
        Look {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What is known of a file that is there.
#[derive(Clone, Copy, Debug)]
struct Known {
    look: Look,
    since: Instant,
    /// It is to be taken no more while it looks like this.
    done: bool,
}

/// What is noted of a large file that is under way.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    /// Its id.
    file: String,
    /// Its name. Another file with the same content has records of its own: those of this one may have left already.
    name: String,
    /// The spool that holds the chunks.
    spool: u64,
    /// Bytes that are durable.
    durable_bytes: u64,
}

impl Progress {
    /// Whole chunks, in bytes, that are durable of a file in a spool.
    fn of(&self, file: &str, name: &str, spool: Option<u64>) -> u64 {
        let ours = self.file == file && self.name == name && Some(self.spool) == spool;
        let whole = self.durable_bytes - self.durable_bytes % CHUNK_BYTES as u64;
        if ours { whole } else { 0 }
    }
}

/// Why a file was not taken to its end.
enum Stop {
    /// It changed, or vanished: it is looked at again.
    Changed,
    /// It is left alone until it changes.
    Leave(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        match error.kind() {
            io::ErrorKind::NotFound => Stop::Changed,
            _ => Stop::Leave(format!("it cannot be read: {error}")),
        }
    }
}

/// Watches one folder for ever.
pub async fn watch(config: GatherFolder, intake: Intake, teller: Teller) {
    let mut folder = Folder { config, intake, teller, known: BTreeMap::new() };
    loop {
        let reason = folder.work().await;
        folder.teller.trouble("gather-folder", &folder.config.stream, reason);
        sleep(SETTLED).await;
    }
}

struct Folder {
    config: GatherFolder,
    intake: Intake,
    teller: Teller,
    known: BTreeMap<OsString, Known>,
}

impl Folder {
    /// Works until the folder cannot be used; returns why.
    async fn work(&mut self) -> String {
        let shown = self.config.path.display().to_string();
        let cannot = |what: &str, error: &dyn std::fmt::Display| {
            format!("cannot {what} {shown}: {error}; see `path` in `[[gather.folder]]`")
        };
        if let Err(error) = access(&self.config.path, AccessFlags::W_OK | AccessFlags::X_OK) {
            return cannot("remove files from", &error);
        }
        let ears = match Ears::open(&self.config.path) {
            Ok(ears) => ears,
            Err(error) => return cannot("watch", &error),
        };
        loop {
            let closed = ears.closed(Instant::now() + LOOK_EVERY).await;
            match self.look(&closed) {
                Ok(ready) => {
                    for name in ready {
                        self.take(name).await;
                    }
                }
                Err(error) => return cannot("list", &error),
            }
        }
    }

    /// Looks at all files; returns the names of those that are to be taken now, in order.
    fn look(&mut self, closed: &[OsString]) -> io::Result<Vec<OsString>> {
        let now = Instant::now();
        let mut seen = BTreeMap::new();
        let mut ready = Vec::new();
        for entry in fs::read_dir(&self.config.path)?.take(FILES_MAX) {
            let Ok(entry) = entry else { continue };
            let name = entry.file_name();
            let hidden = name.as_bytes().first() == Some(&b'.');
            // Removed between listing and looking.
            let Ok(metadata) = entry.metadata() else { continue };
            if hidden || !metadata.is_file() {
                continue;
            }
            let look = Look::of(&metadata);
            let known = match self.known.get(&name) {
                Some(known) if known.look == look => *known,
                Some(_) | None => Known { look, since: now, done: false },
            };
            let settled = now.duration_since(known.since) >= SETTLED;
            if !known.done && (settled || closed.contains(&name)) {
                ready.push(name.clone());
            }
            seen.insert(name, known);
        }
        self.known = seen;
        ready.sort();
        Ok(ready)
    }

    async fn take(&mut self, name: OsString) {
        let path = self.config.path.join(&name);
        let outcome = self.gather(&name, &path).await;
        match outcome {
            Ok(()) => _ = self.known.remove(&name),
            Err(Stop::Changed) => {}
            Err(Stop::Leave(reason)) => {
                if let Some(known) = self.known.get_mut(&name) {
                    known.done = true;
                }
                let text = format!("{} is left alone: {reason}", path.display());
                self.teller.trouble("gather-file", &self.config.stream, text);
            }
        }
    }

    /// Turns one file into durable records and removes it.
    async fn gather(&self, name: &OsString, path: &Path) -> Result<(), Stop> {
        let file = open(path)?;
        let look = Look::of(&file.metadata()?);
        let file = Reader { file: std::sync::Arc::new(file), size: look.size };
        let sha256 = file.digest().await?;
        let id = &sha256[..sha256.len() / 2];
        let name = encode(name.as_bytes());
        let media_type = self.config.content_type.as_deref().unwrap_or(MEDIA_TYPE);
        let content_type = format!("{media_type}; name=\"{name}\"; file={id}");
        if look.size <= CHUNK_BYTES as u64 && content_type.len() <= CONTENT_TYPE_BYTES_MAX {
            let content = file.read(0).await?;
            file.check(look)?;
            self.put(&content_type, &content).await;
        } else {
            self.put_chunks(&file, id, &name, look).await?;
            file.check(look)?;
            let description = serde_json::json!({
                "file": id,
                "name": name,
                "size": look.size,
                "sha256": &sha256,
                "chunks": look.size.div_ceil(CHUNK_BYTES as u64),
                "chunk_bytes": CHUNK_BYTES,
                "content_type": self.config.content_type,
            });
            let description = description.to_string();
            self.put(MANIFEST_TYPE, description.as_bytes()).await;
        }
        self.remove(path, look)
    }

    /// Removes the file if it is still the one that was read.
    fn remove(&self, path: &Path, look: Look) -> Result<(), Stop> {
        let now = fs::symlink_metadata(path).map_err(|_| Stop::Changed)?;
        if Look::of(&now) != look {
            return Err(Stop::Changed);
        }
        // Whether the note can be removed matters to nobody: another file has another id or another name.
        let _ = fs::remove_file(self.config.path.join(PROGRESS_NAME));
        fs::remove_file(path).map_err(|error| {
            Stop::Leave(format!("its records are safe, but it cannot be removed: {error}"))
        })
    }

    /// Hands one record in until it is durable, however long that takes.
    async fn put(&self, content_type: &str, payload: &[u8]) {
        loop {
            let receipts = Receipts::default();
            let refused = match self.offer(content_type, payload, &receipts).await {
                Ok(()) => match receipts.wait().await.1 {
                    None => return,
                    Some(refused) => refused,
                },
                Err(refused) => refused,
            };
            self.wait_for_room(&refused).await;
        }
    }

    async fn offer(
        &self,
        content_type: &str,
        payload: &[u8],
        receipts: &Receipts,
    ) -> Result<(), Refused> {
        let target = self.intake.target(&self.config.stream).await?;
        let reply = receipts.expect_one();
        let put = self.intake.put(&target, Some(content_type), payload, Ack::Durable, reply).await;
        if put.is_err() {
            receipts.expect_one_less();
        }
        put
    }

    async fn wait_for_room(&self, refused: &Refused) {
        if !matches!(refused, Refused::Busy) {
            let text = format!("files in {} wait: {refused}", self.config.path.display());
            self.teller.trouble("gather-waits", &self.config.stream, text);
        }
        let pause = Duration::from_secs(refused.retry_after_s().unwrap_or(u32::MAX).into());
        sleep(pause.min(REFUSED_PAUSE_MAX)).await;
    }

    /// Hands in the chunks of a large file from where an earlier attempt got to.
    async fn put_chunks(
        &self,
        file: &Reader,
        id: &str,
        name: &str,
        look: Look,
    ) -> Result<(), Stop> {
        let mut durable_bytes = self.noted(id, name).min(look.size);
        while durable_bytes < look.size {
            let receipts = Receipts::default();
            let begin = durable_bytes;
            let mut at = begin;
            let mut refused = None;
            // A stretch at a time, so that the note never lags far behind.
            while at < look.size && at - begin < PROGRESS_BYTES && refused.is_none() {
                let content = file.read(at).await?;
                let content_type = format!("{CHUNK_TYPE}; file={id}; offset={at}");
                match self.offer(&content_type, &content, &receipts).await {
                    Ok(()) => at += content.len() as u64,
                    Err(error) => refused = Some(error),
                }
            }
            let (tally, late) = receipts.wait().await;
            durable_bytes = (begin + tally.records * CHUNK_BYTES as u64).min(at);
            file.check(look)?;
            self.note(id, name, durable_bytes);
            if let Some(refused) = late.or(refused) {
                self.wait_for_room(&refused).await;
            }
        }
        Ok(())
    }

    /// Bytes of the file that are durable already, as noted.
    fn noted(&self, id: &str, name: &str) -> u64 {
        let text = fs::read_to_string(self.config.path.join(PROGRESS_NAME)).unwrap_or_default();
        let progress: Progress = serde_json::from_str(&text).unwrap_or_default();
        progress.of(id, name, self.intake.spool_id())
    }

    /// Notes how far it got. It is only there to spare work, so a note that is lost or torn does no harm.
    fn note(&self, id: &str, name: &str, durable_bytes: u64) {
        let Some(spool) = self.intake.spool_id() else { return };
        let progress =
            Progress { file: id.to_owned(), name: name.to_owned(), spool, durable_bytes };
        let Ok(text) = serde_json::to_vec(&progress) else { return };
        let path = self.config.path.join(PROGRESS_NAME);
        let draft = path.with_extension("new");
        let _ = fs::write(&draft, text).and_then(|()| fs::rename(&draft, &path));
    }
}

/// What the kernel tells about the folder. A pipe is what tokio calls a descriptor that is only read from.
struct Ears(pipe::Receiver);

impl Ears {
    fn open(folder: &Path) -> io::Result<Ears> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let closed = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO;
        inotify.add_watch(folder, closed | AddWatchFlags::IN_ONLYDIR)?;
        let descriptor = inotify.as_fd().try_clone_to_owned()?;
        Ok(Ears(pipe::Receiver::from_owned_fd_unchecked(descriptor)?))
    }

    /// Names of files that were closed or moved in, waited for until `until`.
    async fn closed(&self, until: Instant) -> Vec<OsString> {
        let mut names = Vec::new();
        if let Ok(Ok(())) = timeout_at(until, self.0.readable()).await {
            let mut events = [0; EVENTS_BYTES];
            while let Ok(bytes @ 1..) = self.0.try_read(&mut events) {
                names.extend(event_names(&events[..bytes]));
            }
        }
        names
    }
}

/// Bytes of events that are read at once; one has at most 272.
const EVENTS_BYTES: usize = 4096;

/// Names in the kernel's form (inotify(7)): watch, mask, cookie and length of the name, 4 bytes each in the machine's order, and
/// the name, padded with zeros.
fn event_names(mut events: &[u8]) -> Vec<OsString> {
    const HEAD_BYTES: usize = 16;
    let mut names = Vec::new();
    while let Some((head, rest)) = events.split_first_chunk::<HEAD_BYTES>() {
        let [.., a, b, c, d] = *head;
        let length = u32::from_ne_bytes([a, b, c, d]) as usize;
        let Some((name, others)) = rest.split_at_checked(length) else { break };
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(length);
        names.push(OsString::from_vec(name[..end].to_vec()));
        events = others;
    }
    names
}

/// Opens a regular file and nothing else: no link is followed, no pipe waited for.
fn open(path: &Path) -> Result<File, Stop> {
    let file =
        fs::OpenOptions::new().read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Stop::Leave("it is no regular file".to_owned()));
    }
    Ok(file)
}

/// A file that is read piece by piece on a thread that may block.
struct Reader {
    file: std::sync::Arc<File>,
    size: u64,
}

impl Reader {
    /// The chunk at `at`; shorter only at the end of the file.
    async fn read(&self, at: u64) -> Result<Vec<u8>, Stop> {
        let file = std::sync::Arc::clone(&self.file);
        let bytes = usize::try_from(self.size - at).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        let read = tokio::task::spawn_blocking(move || {
            let mut content = vec![0; bytes];
            file.read_exact_at(&mut content, at).map(|()| content)
        });
        match read.await {
            Ok(Ok(content)) => Ok(content),
            // It got shorter.
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Stop::Changed),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Stop::Changed),
        }
    }

    async fn digest(&self) -> Result<String, Stop> {
        let mut digest = Digest::new();
        let mut at = 0;
        while at < self.size {
            let content = self.read(at).await?;
            at += content.len() as u64;
            digest.update(&content);
        }
        Ok(digest.finish())
    }

    fn check(&self, look: Look) -> Result<(), Stop> {
        let same = Look::of(&self.file.metadata()?) == look;
        if same { Ok(()) } else { Err(Stop::Changed) }
    }
}

/// A name in which nothing can be mistaken: other bytes as `%` and two hexadecimal digits.
fn encode(name: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(name.len());
    for &byte in name {
        if byte.is_ascii_alphanumeric() || b"._-~+=@,".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_the_kernel_are_taken_apart_and_torn_ones_end_the_list() {
        let event = |name: &[u8], length: u32| [&[0; 12][..], &length.to_ne_bytes(), name].concat();
        let both = [event(b"a.jpg\0\0\0", 8), event(b"", 0), event(b"b", 1)].concat();
        let expected = ["a.jpg", "", "b"].map(OsString::from);
        assert_eq!(event_names(&both), expected);
        assert!(event_names(&event(b"torn", 5)).is_empty());
        assert!(event_names(&[1; 15]).is_empty());
    }

    #[test]
    fn what_is_noted_counts_for_the_same_name_content_and_spool_only() {
        let durable_bytes = CHUNK_BYTES as u64 + 5;
        let progress = Progress { file: "f".into(), name: "n".into(), spool: 7, durable_bytes };
        assert_eq!(progress.of("f", "n", Some(7)), CHUNK_BYTES as u64, "whole chunks");
        for (file, name, spool) in
            [("g", "n", Some(7)), ("f", "m", Some(7)), ("f", "n", Some(8)), ("f", "n", None)]
        {
            assert_eq!(progress.of(file, name, spool), 0, "{file} {name} {spool:?}");
        }
    }

    #[test]
    fn names_are_harmless_and_can_be_told_apart() {
        for (name, written) in [
            (&b"photo-1.jpg"[..], "photo-1.jpg"),
            (b"a b%\"c\n", "a%20b%25%22c%0A"),
            (b"\xff\xc3\xa4", "%FF%C3%A4"),
            (b"", ""),
        ] {
            assert_eq!(encode(name), written);
        }
    }
}
