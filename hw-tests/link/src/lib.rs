//! What a link does to frames: a rate, a queue that is cut at its end, a delay and loss, each direction by itself.
//!
//! [`Direction`] is pure: the moment is an argument, and chance comes from a seed, so that a run can be repeated. [`Relay`]
//! applies it to the frames between two real interfaces.

mod relay;

use std::time::Duration;

pub use relay::{Relay, WHOLE_FRAMES};

/// Bytes that a frame takes on the link beside its own: preamble, checksum and gap of Ethernet (IEEE 802.3, 4.4.2).
const FRAMING_BYTES: u64 = 24;

/// A kind of link. Both directions are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// Bits a second in each direction.
    pub bits_per_s: u64,
    /// Added to the way there and back together.
    pub round_trip: Duration,
    /// Of a thousand frames, in each direction.
    pub loss_permille: u32,
    /// A frame that would wait longer for the link is dropped.
    pub queue: Duration,
}

/// A class of links of the project, the best: a wired network.
pub const LAN: Traits = Traits {
    bits_per_s: 1_000_000_000,
    round_trip: Duration::ZERO,
    loss_permille: 0,
    queue: Duration::from_millis(50),
};

/// The best radio.
pub const BEST: Traits = Traits {
    bits_per_s: 4_000_000,
    round_trip: Duration::from_millis(200),
    loss_permille: 50,
    queue: Duration::from_millis(400),
};

/// The usual radio.
pub const AVERAGE: Traits = Traits {
    bits_per_s: 2_000_000,
    round_trip: Duration::from_millis(400),
    loss_permille: 100,
    queue: Duration::from_millis(600),
};

/// The worst radio that is reckoned with.
pub const WORST: Traits = Traits {
    bits_per_s: 650_000,
    round_trip: Duration::from_secs(3),
    loss_permille: 150,
    queue: Duration::from_secs(1),
};

/// One direction of a link.
#[derive(Clone, Debug)]
pub struct Direction {
    traits: Traits,
    /// Moment at which what was taken has left.
    busy_until: Duration,
    chance: u64,
}

impl Direction {
    /// An idle one. `seed` decides which frames are lost.
    pub fn new(traits: Traits, seed: u64) -> Direction {
        // Never 0, from which xorshift does not get away, and far apart for seeds that are close.
        let chance = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Direction { traits, busy_until: Duration::ZERO, chance }
    }

    /// A frame of `bytes` bytes enters at `now`: when it comes out at the other end, `None` when it does not.
    pub fn pass(&mut self, bytes: u64, now: Duration) -> Option<Duration> {
        let takes = (bytes + FRAMING_BYTES) * 8 * 1_000_000_000 / self.traits.bits_per_s;
        let leaves = self.busy_until.max(now) + Duration::from_nanos(takes);
        if leaves - now > self.traits.queue {
            return None;
        }
        // A frame that is lost has taken its time on the link.
        self.busy_until = leaves;
        let lost = self.draw() % 1000 < u64::from(self.traits.loss_permille);
        (!lost).then(|| leaves + self.traits.round_trip / 2)
    }

    fn draw(&mut self) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance >> 32
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Direction, Traits};

    const LOSSY: Traits = Traits {
        bits_per_s: 4_000_000,
        round_trip: Duration::from_millis(200),
        loss_permille: 50,
        queue: Duration::from_millis(400),
    };
    const SURE: Traits = Traits { loss_permille: 0, ..LOSSY };

    #[test]
    fn a_frame_takes_its_time_on_the_link_and_then_the_delay() {
        let mut there = Direction::new(SURE, 1);
        // 1000 bytes at 4 Mbit/s are 2 ms, and half of the round trip is 100 ms.
        let first = there.pass(976, Duration::from_secs(5));
        let second = there.pass(976, Duration::from_secs(5));
        assert_eq!(first, Some(Duration::from_millis(5_102)));
        assert_eq!(second, Some(Duration::from_millis(5_104)));
    }

    #[test]
    fn what_would_wait_longer_than_the_queue_is_dropped() {
        let mut there = Direction::new(SURE, 1);
        let passed = (0..1000).filter(|_| there.pass(976, Duration::ZERO).is_some()).count();
        assert_eq!(passed, 200, "400 ms of 2 ms each");
        assert!(there.pass(976, Duration::from_millis(10)).is_some(), "there is room again");
    }

    #[test]
    fn loss_is_as_configured_and_the_same_for_the_same_seed() {
        let lost = |seed| -> Vec<bool> {
            let mut there = Direction::new(LOSSY, seed);
            let second = |number| Duration::from_secs(number);
            (0..20_000).map(|number| there.pass(100, second(number)).is_none()).collect()
        };
        let count = lost(1).iter().filter(|lost| **lost).count();
        assert!((900..1_100).contains(&count), "{count} of 20000 at 5 %");
        assert_eq!(lost(1), lost(1));
        assert_ne!(lost(1), lost(2));
    }
}
