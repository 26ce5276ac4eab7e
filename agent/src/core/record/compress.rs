//! Whether a message is worth compressing, and how hard to try. Finds out by trying, and tries less often where it did not
//! pay.
//!
//! # Decision (November 2026, in force): DEFLATE by miniz_oxide
//!
//! Measured on x86_64 with rustc 1.95 and this project's profile (`opt-level = "z"`): size added to a static program that
//! packs and unpacks, bytes left of 64 KiB, instructions per input byte (callgrind). JSON is lines of a gas sensor with
//! position; telemetry is compact batches of a minute, one after the other.
//!
//! ```text
//!                     adds     JSON            telemetry   random   unpacking JSON
//! miniz_oxide 1      41 kB   14,169   47 Ir/B     57,514   65,592          28 Ir/B
//! miniz_oxide 6               9,240  229 Ir/B     54,308   65,551          18 Ir/B
//! lz4_flex, safe     10 kB   16,229   32 Ir/B     59,772   65,794          14 Ir/B
//! snap               10 kB   17,289    9 Ir/B     59,886   65,542           5 Ir/B
//! ruzstd, fastest   135 kB   14,352  119 Ir/B     57,028   65,553          49 Ir/B
//! ```
//!
//! Bytes are what is scarce on the links where a backlog hurts, so the best ratio wins over the fastest code; on fast links
//! nothing is compressed at all ([`Effort::for_link`]). miniz_oxide is what the standard library itself links, has no unsafe
//! code, and is MIT, Zlib or Apache-2.0. DEFLATE is also what every other language can read.

use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec_with_limit;

/// Items shorter than this are sent as they are: the table of a DEFLATE block alone would eat the gain.
const BYTES_MIN: usize = 96;

/// A message is sent compressed when at least this part of it is saved, so that a receiver does not unpack for nothing.
const SAVED_MIN: usize = 16;

/// Messages that go out untried after a trial that did not pay, at most: telemetry and pictures stay cheap, and a stream that
/// changes its kind is noticed.
const PAUSE_MAX: u32 = 64;

/// How hard to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Not at all.
    None,
    /// The fastest level: about 50 instructions a byte.
    Light,
    /// About 230 instructions a byte for a third fewer bytes.
    Strong,
}

/// Goodput in bytes/s up to which the strong level keeps within about a third of an ARMv6 core at 700 MHz (500 million
/// instructions a second): 100 kB/s times a ratio of 7 times 230.
const STRONG_BYTES_PER_S_MAX: u64 = 100_000;

/// The same for the light level: 600 kB/s, more than 4 Mbit/s, times 4.6 times 47. A faster link drains any backlog that a
/// small flash holds within minutes.
const LIGHT_BYTES_PER_S_MAX: u64 = 600_000;

impl Effort {
    /// The effort for a link that carries `bytes_per_s`; `None` when that is not known yet.
    #[must_use]
    pub fn for_link(bytes_per_s: Option<u64>) -> Effort {
        match bytes_per_s {
            None => Effort::Light,
            Some(0..=STRONG_BYTES_PER_S_MAX) => Effort::Strong,
            Some(..=LIGHT_BYTES_PER_S_MAX) => Effort::Light,
            Some(_) => Effort::None,
        }
    }

    const fn level(self) -> Option<u8> {
        match self {
            Effort::None => None,
            Effort::Light => Some(1),
            Effort::Strong => Some(6),
        }
    }
}

/// Remembers of one stream whether trying pays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trial {
    /// Messages that follow untried.
    pause: u32,
    /// The next pause after another failure.
    next_pause: u32,
}

impl Trial {
    /// The compressed form of `items` when it is worth sending.
    pub(super) fn compress(&mut self, items: &[u8], effort: Effort) -> Option<Vec<u8>> {
        let level = effort.level().filter(|_| items.len() >= BYTES_MIN)?;
        if self.pause > 0 {
            self.pause -= 1;
            return None;
        }
        let compressed = compress_to_vec(items, level);
        if compressed.len() + items.len() / SAVED_MIN > items.len() {
            self.next_pause = (self.next_pause * 2).clamp(1, PAUSE_MAX);
            self.pause = self.next_pause;
            return None;
        }
        *self = Trial::default();
        Some(compressed)
    }
}

/// The items again, `None` when they are not exactly `length` bytes or damaged. Allocates at most `length` and what the
/// vector's growth adds.
pub(super) fn decompress(compressed: &[u8], length: usize) -> Option<Vec<u8>> {
    let items = decompress_to_vec_with_limit(compressed, length).ok()?;
    (items.len() == length).then_some(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What no compressor makes smaller: the output of an xorshift generator.
    fn noise(bytes: usize) -> Vec<u8> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .take(bytes)
        .collect()
    }

    #[test]
    fn noise_is_tried_ever_less_often_and_text_at_once_again() {
        let (noise, text) = (noise(4096), b"temperature 21.5\n".repeat(100));
        let mut trial = Trial::default();
        let mut tried_at = Vec::new();
        for message in 0..200 {
            let before = trial;
            assert_eq!(trial.compress(&noise, Effort::Strong), None);
            if before.pause == 0 {
                tried_at.push(message);
            }
        }
        assert_eq!(tried_at, [0, 2, 5, 10, 19, 36, 69, 134, 199]);
        let waited = (0..=PAUSE_MAX).find(|_| trial.compress(&text, Effort::Light).is_some());
        assert!(waited.is_some(), "a pause ends");
        assert!(trial.compress(&text, Effort::Light).is_some());
    }

    #[test]
    fn a_bomb_is_refused_at_its_stated_length() {
        let bomb = compress_to_vec(&vec![0; 10 << 20], 6);
        assert!(bomb.len() < 16 << 10);
        assert_eq!(decompress(&bomb, 1000), None);
        let small = compress_to_vec(&[7; 1000], 1);
        assert_eq!(decompress(&small, 1000), Some(vec![7; 1000]));
        assert_eq!(decompress(&small, 1001), None);
    }

    #[test]
    fn fast_links_are_not_worth_the_work() {
        assert_eq!(Effort::for_link(Some(81_000)), Effort::Strong);
        assert_eq!(Effort::for_link(Some(500_000)), Effort::Light);
        assert_eq!(Effort::for_link(Some(125_000_000)), Effort::None);
        assert_eq!(Effort::for_link(None), Effort::Light);
    }
}
