//! The form of the fleet's journal: what was received, in order, before the broker is told so. Bytes only; files are the
//! shell's.
//!
//! ```text
//! journal = magic 8 bytes, generation u64, entries
//! entry   = length u32, CRC-32C u32 of the content, content: postcard of Entry
//! ```
//!
//! Numbers in front are little-endian. An entry that is cut off or damaged ends the journal: it and what follows was never
//! acknowledged, unless the disk lies.

use serde::{Deserialize, Serialize};

use super::moment::Moment;
use crate::core::record::checksum::crc32c;

/// First bytes of a journal: what it is, and its version.
const MAGIC: &[u8; 8] = b"orfleet\x01";

/// Bytes in front of the entries.
pub const HEAD_BYTES: usize = MAGIC.len() + 8;

/// Bytes in front of the content of an entry.
const FRAME_BYTES: usize = 8;

/// What is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry<'e> {
    /// A message that changed something.
    Message {
        /// Its topic.
        topic: &'e str,
        /// Its payload.
        payload: &'e [u8],
        /// When it arrived.
        arrived: Moment,
    },
    /// The stream's lines go to the file with this number from now on.
    Output {
        /// Whose stream.
        vehicle: &'e str,
        /// Its name.
        stream: &'e str,
        /// Number of the file.
        file: u32,
    },
    /// The broker has what was forwarded up to this number.
    Forwarded {
        /// The last of them.
        up_to: u64,
    },
    /// A gathered file is whole, and next it gets its name.
    Finishing {
        /// Whose stream.
        vehicle: &'e str,
        /// Its name.
        stream: &'e str,
        /// The file's temporary name.
        part: &'e str,
    },
}

/// The beginning of a journal.
#[must_use]
pub fn head(generation: u64) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..MAGIC.len()].copy_from_slice(MAGIC);
    head[MAGIC.len()..].copy_from_slice(&generation.to_le_bytes());
    head
}

/// Appends an entry.
pub fn put(to: &mut Vec<u8>, entry: &Entry<'_>) {
    let content = postcard::to_allocvec(entry).expect("strings, bytes and numbers serialise");
    let length = u32::try_from(content.len()).expect("a message has at most some megabytes");
    to.extend(length.to_le_bytes());
    to.extend(crc32c(&content).to_le_bytes());
    to.extend(content);
}

/// Reads a journal from its beginning.
#[derive(Clone, Debug)]
pub struct Entries<'j> {
    journal: &'j [u8],
    position: usize,
}

impl<'j> Entries<'j> {
    /// `None` when it does not begin like the journal of this generation.
    #[must_use]
    pub fn new(journal: &'j [u8], generation: u64) -> Option<Entries<'j>> {
        journal.starts_with(&head(generation)).then_some(Entries { journal, position: HEAD_BYTES })
    }

    /// Bytes that are whole.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }
}

impl<'j> Iterator for Entries<'j> {
    type Item = Entry<'j>;

    fn next(&mut self) -> Option<Entry<'j>> {
        let rest = self.journal.get(self.position..)?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (checksum, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let content = rest.get(..length)?;
        if crc32c(content).to_le_bytes() != *checksum {
            return None;
        }
        let entry = postcard::from_bytes(content).ok()?;
        self.position += FRAME_BYTES + length;
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn journal(entries: &[Entry<'_>]) -> Vec<u8> {
        let mut journal = head(7).to_vec();
        entries.iter().for_each(|entry| put(&mut journal, entry));
        journal
    }

    const OUTPUT: Entry<'_> = Entry::Output { vehicle: "alpha", stream: "gps", file: 300 };

    #[test]
    fn the_bytes_are_fixed() {
        let mut expected = b"orfleet\x01\x07\0\0\0\0\0\0\0\x0d\0\0\0".to_vec();
        let content = b"\x01\x05alpha\x03gps\xac\x02";
        expected.extend(crc32c(content).to_le_bytes());
        expected.extend(content);
        assert_eq!(journal(&[OUTPUT]), expected);
    }

    #[test]
    fn another_generation_is_another_journal() {
        let journal = journal(&[OUTPUT]);
        assert!(Entries::new(&journal, 8).is_none() && Entries::new(&journal[..9], 7).is_none());
        assert_eq!(Entries::new(&journal, 7).unwrap().collect::<Vec<_>>(), [OUTPUT]);
    }

    proptest! {
        /// A journal that is cut off, damaged or followed by anything gives what was whole in front of that.
        #[test]
        fn damage_ends_a_journal_and_nothing_else(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6),
            cut in any::<prop::sample::Index>(),
            damage in any::<prop::sample::Index>(),
            tail in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let arrived = Moment { mono_ms: 5, wall_ms: Some(-5), ..Moment::default() };
            let entries: Vec<Entry<'_>> = payloads
                .iter()
                .map(|payload| Entry::Message { topic: "a/b", payload, arrived })
                .collect();
            let whole = journal(&entries);
            let mut ends = vec![HEAD_BYTES];
            let mut reader = Entries::new(&whole, 7).unwrap();
            while reader.next().is_some() {
                ends.push(reader.position());
            }
            prop_assert_eq!(ends.len(), entries.len() + 1);

            let length = HEAD_BYTES + cut.index(whole.len() - HEAD_BYTES + 1);
            let read: Vec<_> = Entries::new(&whole[..length], 7).unwrap().collect();
            let expected = ends.iter().filter(|end| **end <= length).count() - 1;
            prop_assert_eq!(&read[..], &entries[..expected]);

            let mut damaged = whole.clone();
            let at = HEAD_BYTES + damage.index(whole.len() - HEAD_BYTES);
            damaged[at] ^= 0x40;
            let read: Vec<_> = Entries::new(&damaged, 7).unwrap().collect();
            let expected = ends.iter().filter(|end| **end <= at).count() - 1;
            prop_assert_eq!(&read[..], &entries[..expected]);

            let mut followed = whole;
            followed.extend(tail);
            let read = Entries::new(&followed, 7).unwrap().take(entries.len()).collect::<Vec<_>>();
            prop_assert_eq!(read, entries);
        }
    }
}
