//! Looks for valid frames in a file, whatever else is in it. Never fails: what cannot be read or understood is a hole.

use crate::frame::{self, FRAME_HEADER_BYTES, FRAME_MAGIC, Kind, Place};
use crate::limits::{BLOCK_BYTES, SCAN_BUFFER_BYTES};
use crate::storage::Storage;

/// A valid frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) offset: u64,
    pub(crate) kind: Kind,
    pub(crate) body_bytes: usize,
}

impl Frame {
    /// Offset behind it.
    pub(crate) fn end(&self) -> u64 {
        self.offset + (FRAME_HEADER_BYTES + self.body_bytes) as u64
    }
}

/// Reads a file through one buffer.
pub(crate) struct Scanner<'a, S: Storage> {
    storage: &'a mut S,
    file: &'a S::File,
    place: Place,
    /// Nothing at or behind this is looked at.
    length: u64,
    buffer: Vec<u8>,
    chunk: usize,
    /// Offset of the buffer in the file.
    at: u64,
    /// Bytes that the storage could not read; they are zero in the buffer, and zeros are no frame.
    unreadable: u64,
}

impl<'a, S: Storage> Scanner<'a, S> {
    /// A scanner that reads `chunk` bytes at once.
    pub(crate) fn new(
        storage: &'a mut S,
        file: &'a S::File,
        place: Place,
        length: u64,
        chunk: usize,
    ) -> Scanner<'a, S> {
        Scanner { storage, file, place, length, buffer: Vec::new(), chunk, at: 0, unreadable: 0 }
    }

    /// Bytes that could not be read so far.
    pub(crate) fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Up to a chunk from `at` on, at least `least` bytes unless the file ends before.
    pub(crate) fn window(&mut self, at: u64, least: usize) -> &[u8] {
        let wanted = u64::min(least as u64, self.length.saturating_sub(at));
        let held = self.at..self.at + self.buffer.len() as u64;
        if at < held.start || at + wanted > held.end || held.is_empty() {
            self.fill(at, least);
        }
        let from = usize::try_from(at - self.at).unwrap_or(usize::MAX);
        self.buffer.get(from..).unwrap_or(&[])
    }

    fn fill(&mut self, at: u64, least: usize) {
        let left = self.length.saturating_sub(at);
        let size = u64::min(usize::max(self.chunk, least) as u64, left) as usize;
        // Zeroed by the allocator: `resize` is a loop over bytes where its copy comes from code compiled for size, and was
        // measured to take a quarter of what delivering a full spool takes.
        self.buffer = vec![0; size];
        self.at = at;
        match self.storage.read_at(self.file, at, &mut self.buffer) {
            Ok(read) => self.buffer.truncate(read),
            Err(_) => self.fill_by_blocks(),
        }
    }

    /// One bad sector shall not hide its neighbours.
    fn fill_by_blocks(&mut self) {
        let mut done = 0;
        while done < self.buffer.len() {
            let at = self.at + done as u64;
            let to_boundary = (BLOCK_BYTES - at % BLOCK_BYTES) as usize;
            let end = usize::min(done + to_boundary, self.buffer.len());
            match self.storage.read_at(self.file, at, &mut self.buffer[done..end]) {
                Ok(read) if done + read < end => {
                    self.buffer.truncate(done + read);
                    return;
                }
                Ok(_) => {}
                Err(_) => {
                    self.buffer[done..end].fill(0);
                    self.unreadable += (end - done) as u64;
                }
            }
            done = end;
        }
    }

    /// The frame that begins at `offset`, if a valid one does.
    pub(crate) fn frame_at(&mut self, offset: u64) -> Option<Frame> {
        let (place, length) = (self.place, self.length);
        let header = frame::parse_header(place, offset, self.window(offset, FRAME_HEADER_BYTES))?;
        let found = Frame { offset, kind: header.kind, body_bytes: header.body_bytes };
        if found.end() > length {
            return None;
        }
        let mut crc = header.crc_so_far;
        let mut at = offset + FRAME_HEADER_BYTES as u64;
        while at < found.end() {
            let left = usize::try_from(found.end() - at).unwrap_or(usize::MAX);
            let part = self.window(at, left.min(SCAN_BUFFER_BYTES));
            if part.is_empty() {
                return None;
            }
            let take = u64::min(part.len() as u64, found.end() - at) as usize;
            crc = crc32c::crc32c_append(crc, &part[..take]);
            at += take as u64;
        }
        (crc == header.crc).then_some(found)
    }

    /// The first valid frame at or behind `offset`.
    pub(crate) fn find(&mut self, offset: u64) -> Option<Frame> {
        let mut at = offset;
        loop {
            let window = self.window(at, FRAME_HEADER_BYTES);
            if window.len() < FRAME_HEADER_BYTES {
                return None;
            }
            match window.windows(2).position(|pair| pair == FRAME_MAGIC) {
                // The last byte may be the first of a beginning.
                None => at += window.len() as u64 - 1,
                Some(distance) => {
                    at += distance as u64;
                    if let Some(found) = self.frame_at(at) {
                        return Some(found);
                    }
                    at += 1;
                }
            }
        }
    }

    /// The first `count` bytes of a frame's body; fewer if it is shorter.
    pub(crate) fn body(&mut self, frame: &Frame, count: usize) -> &[u8] {
        let count = usize::min(count, frame.body_bytes);
        let window = self.window(frame.offset + FRAME_HEADER_BYTES as u64, count);
        &window[..usize::min(count, window.len())]
    }

    /// A frame's body from byte `from` on, of its own; `None` when it cannot be read any more.
    pub(crate) fn copy_body(&mut self, frame: &Frame, from: usize) -> Option<Vec<u8>> {
        let mut out = vec![0; frame.body_bytes.checked_sub(from)?];
        let at = frame.offset + (FRAME_HEADER_BYTES + from) as u64;
        let held = at.checked_sub(self.at).and_then(|skip| usize::try_from(skip).ok());
        if let Some(part) = held.and_then(|skip| self.buffer.get(skip..skip + out.len())) {
            out.copy_from_slice(part);
            return Some(out);
        }
        match self.storage.read_at(self.file, at, &mut out) {
            Ok(read) => (read == out.len()).then_some(out),
            Err(_) => {
                self.unreadable += out.len() as u64;
                None
            }
        }
    }
}
