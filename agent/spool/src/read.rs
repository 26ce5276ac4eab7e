//! Handing out: the next record of a stream, from its segments and then from memory. What is found bad on the way is
//! counted and passed.

use std::io;

use crate::body::{RECORD_HEAD_BYTES, RecordHead};
use crate::error::DiskError;
use crate::frame::{self, Kind};
use crate::limits::{READ_BUFFER_BYTES, WINDOW_RECORDS_MAX, WINDOW_RECORDS_TOTAL_MAX};
use crate::options::{BootMs, Fate, RecordId, StreamTag};
use crate::scan::Scanner;
use crate::spool::Spool;
use crate::state::{Cursor, Stream};
use crate::storage::Storage;

/// A record on its way to the far side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its name, to be acknowledged.
    pub id: RecordId,
    /// How long ago it was accepted, in milliseconds of observed running time.
    pub age_ms: u64,
    /// What was appended.
    pub payload: Vec<u8>,
}

/// A record that was found.
struct Found {
    head: RecordHead,
    payload: Vec<u8>,
}

/// What looking through a segment came to.
enum Step {
    Found(Found),
    /// Nothing more for this stream in the segment.
    End,
    /// A bad place was met; the segment is to be looked at as a whole.
    Bad,
}

impl<S: Storage> Spool<S> {
    /// The next record, of the most important stream that has one. Records may be handed out before they are durable: what
    /// is acknowledged before its commit is never written. `None` when there is nothing, or when as many as
    /// [`WINDOW_RECORDS_MAX`] wait for their acknowledgement, or while the next one cannot be read.
    pub fn next(&mut self, now: BootMs) -> Option<Delivery> {
        let mut streams: Vec<(u8, StreamTag)> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.held() > stream.out.len() as u64)
            .map(|(&tag, stream)| (stream.policy().priority, tag))
            .collect();
        streams.sort_unstable();
        streams.into_iter().find_map(|(_, tag)| self.next_of(tag, now))
    }

    /// The next record of one stream, as [`Spool::next`].
    pub fn next_of(&mut self, tag: StreamTag, now: BootMs) -> Option<Delivery> {
        let spool_ms = self.tick(now);
        loop {
            if !self.window_has_room(tag) {
                return None;
            }
            let Found { head, payload } = self.find(tag)?;
            let age_ms = spool_ms.saturating_sub(head.spool_ms);
            let stream = self.streams.get_mut(&tag)?;
            let expire_ms = stream.policy().expire_ms;
            let size = payload.len() as u32;
            stream.want = head.sequence + 1;
            if expire_ms > 0 && age_ms > expire_ms {
                self.free(tag, head.sequence, size, Fate::Expired);
                continue;
            }
            let id = RecordId { stream: tag, sequence: head.sequence, epoch: head.epoch };
            self.hand_out(id, size);
            return Some(Delivery { id, age_ms, payload });
        }
    }

    /// Whether a record more may be handed out. The oldest always may: what is gone behind it is remembered until it has left.
    fn window_has_room(&self, tag: StreamTag) -> bool {
        self.streams.get(&tag).is_some_and(|stream| {
            stream.out.is_empty()
                || stream.window_records() < WINDOW_RECORDS_MAX
                    && self.window_records() < WINDOW_RECORDS_TOTAL_MAX
        })
    }

    /// Records of all streams that are handed out or gone out of order.
    pub(crate) fn window_records(&self) -> usize {
        self.streams.values().map(Stream::window_records).sum()
    }

    fn find(&mut self, tag: StreamTag) -> Option<Found> {
        let mut looked_at = None;
        loop {
            let Some(number) = self.next_segment_of(tag) else {
                return self.find_pending(tag);
            };
            let stream = self.streams.get_mut(&tag)?;
            if stream.cursor.segment != number {
                stream.cursor = Cursor::start_of(number);
            }
            if !self.may_read(number) {
                return None;
            }
            let passed = match self.step(tag, number) {
                Ok(Step::Found(found)) => return Some(found),
                Ok(Step::End) => self.pass_segment(tag, number),
                // A look at the whole found nothing wrong, and it is bad again.
                Ok(Step::Bad) if looked_at == Some(number) => self.is_unsteady(number),
                Ok(Step::Bad) | Err(_) => {
                    looked_at = Some(number);
                    self.look_again(number)
                }
            };
            if !passed {
                self.readers.remove(&tag);
                return None;
            }
        }
    }

    /// Reads of a segment that succeed and fail by turns; whether the bad place is to be passed over.
    fn is_unsteady(&mut self, number: u64) -> bool {
        let name = frame::segment_name(self.place(number));
        let error = io::Error::other("it can be read only at times");
        let hopeless = self.gives_up(number, DiskError::new("read", &name, error));
        if hopeless && let Some(segment) = self.segments.get_mut(&number) {
            segment.given_up = segment.given_up.max(1);
        }
        hopeless
    }

    /// The segment with the next record of a stream that was not handed out.
    fn next_segment_of(&self, tag: StreamTag) -> Option<u64> {
        let stream = self.streams.get(&tag)?;
        let from = stream.cursor.segment.max(stream.oldest_segment);
        let mut segments = self.segments.range(from..);
        segments
            .find(|(_, segment)| {
                segment
                    .entry(tag)
                    .is_some_and(|entry| entry.records > 0 && entry.last >= stream.want)
            })
            .map(|(&number, _)| number)
    }

    /// All that is live of a stream in a segment was handed out. The cursor stays behind it: if it is the tail, more may come.
    /// False when there should be more and the segment cannot be read.
    fn pass_segment(&mut self, tag: StreamTag, number: u64) -> bool {
        if self.unseen(tag, number) > 0 && !self.look_again(number) {
            return false;
        }
        // What a second look found, too, and still cannot be read as a record, is no record.
        let unseen = self.unseen(tag, number);
        let entry = self.segments.get_mut(&number).and_then(|segment| segment.entry_mut(tag));
        let last = entry.map(|entry| {
            entry.records = entry.records.saturating_sub(unseen);
            entry.last
        });
        self.dropped(tag, Fate::Lost, u64::from(unseen), 0);
        if let (Some(stream), Some(last)) = (self.streams.get_mut(&tag), last) {
            stream.want = stream.want.max(last + 1);
        }
        true
    }

    /// Live records that a segment counts beyond those that were handed out.
    fn unseen(&self, tag: StreamTag, number: u64) -> u32 {
        let entry = self.segments.get(&number).and_then(|segment| segment.entry(tag));
        let (Some(entry), Some(stream)) = (entry, self.streams.get(&tag)) else { return 0 };
        let seen = stream.out.range(entry.first..=entry.last).count();
        entry.records.saturating_sub(u32::try_from(seen).unwrap_or(u32::MAX))
    }

    fn find_pending(&self, tag: StreamTag) -> Option<Found> {
        let stream = self.streams.get(&tag)?;
        let at = stream.pending.partition_point(|pending| pending.sequence < stream.want);
        let pending = stream.pending.get(at)?;
        let head = RecordHead {
            tag,
            epoch: self.session.epoch,
            sequence: pending.sequence,
            spool_ms: pending.spool_ms,
        };
        Some(Found { head, payload: pending.payload.clone() })
    }

    fn reader(&mut self, tag: StreamTag, number: u64) -> io::Result<S::File> {
        match self.readers.remove(&tag) {
            Some((segment, file)) if segment == number => Ok(file),
            Some(_) | None => {
                let name = frame::segment_name(self.place(number));
                self.storage.open(&name, false)
            }
        }
    }

    fn step(&mut self, tag: StreamTag, number: u64) -> io::Result<Step> {
        let place = self.place(number);
        let file = self.reader(tag, number)?;
        let (Some(segment), Some(stream)) =
            (self.segments.get(&number), self.streams.get_mut(&tag))
        else {
            return Ok(Step::End);
        };
        let Some(&entry) = segment.entry(tag) else { return Ok(Step::End) };
        let (storage, bytes) = (&mut self.storage, segment.bytes);
        let mut scanner = Scanner::new(storage, &file, place, bytes, READ_BUFFER_BYTES);
        let mut step = Step::End;
        let mut at = stream.cursor.offset;
        while at < bytes {
            let found = scanner.find(at);
            let hole = found.is_none_or(|frame| frame.offset > at);
            // Holes are expected where a look at the whole found some; bytes that cannot be read only where they were given up.
            let expected = if scanner.unreadable() > 0 {
                segment.given_up > 0
            } else {
                segment.rewrite || segment.given_up > 0
            };
            if hole && !expected {
                step = Step::Bad;
                break;
            }
            let Some(frame) = found else { break };
            at = frame.end();
            if frame.kind != Kind::Record {
                continue;
            }
            let Some(head) = RecordHead::decode(scanner.body(&frame, RECORD_HEAD_BYTES)) else {
                continue;
            };
            let wanted = head.tag == tag
                && head.sequence >= stream.want
                && (entry.first..=entry.last).contains(&head.sequence)
                && stream.marks.keeps(head.sequence);
            if !wanted {
                continue;
            }
            step = match scanner.copy_body(&frame, RECORD_HEAD_BYTES) {
                Some(payload) => Step::Found(Found { head, payload }),
                None if segment.given_up > 0 => continue,
                // Its checksum was right a moment ago.
                None => Step::Bad,
            };
            break;
        }
        if !matches!(step, Step::Bad) {
            stream.cursor.offset = at;
        }
        self.readers.insert(tag, (number, file));
        Ok(step)
    }
}
