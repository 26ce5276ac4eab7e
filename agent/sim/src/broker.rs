//! The broker with all its moods, and the receiver behind it. A message that the broker takes is with the receiver at once; what
//! it has not taken when it restarts is gone, and it keeps no sessions.

use std::collections::{BTreeMap, VecDeque};

use outrider::core::fleet::topic::Prefix;
use outrider::core::fleet::{Fleet, Refusal};
use outrider::core::record::assemble::Receiver;

use crate::agenda::{MS, Moment, SECOND};
use crate::link::Publish;
use crate::random::Dice;

/// Memory of the receiver for records in parts.
const INCOMPLETE_BYTES_MAX: u64 = 64 << 20;

/// How it behaves for a while. Chances are in thousandths.
#[derive(Clone, Copy, Debug)]
pub struct Mood {
    /// Messages of one client without acknowledgement.
    pub receive_max: u16,
    /// Largest packet, which it tells.
    pub packet_bytes_max: Option<u32>,
    /// Takes a message and never says so.
    pub forget: u64,
    /// Acknowledges twice.
    pub twice: u64,
    /// Acknowledges what it was never sent.
    pub stray: u64,
    /// Refuses a message.
    pub refuse: u64,
    /// Closes the connection instead of an answer.
    pub kick: u64,
    /// Longest time for one acknowledgement: they overtake each other.
    pub spread: Moment,
}

impl Mood {
    /// As a broker should be.
    pub const GOOD: Mood = Mood {
        receive_max: u16::MAX,
        packet_bytes_max: None,
        forget: 0,
        twice: 0,
        stray: 0,
        refuse: 0,
        kick: 0,
        spread: MS,
    };

    /// Any.
    #[must_use]
    pub fn draw(dice: &mut Dice) -> Mood {
        if dice.one_in(3) {
            return Mood::GOOD;
        }
        let mut at_times = |chance: u64| if dice.one_in(3) { dice.between(1, chance) } else { 0 };
        let (forget, twice, stray) = (at_times(50), at_times(200), at_times(100));
        let (refuse, kick) = (at_times(100), at_times(30));
        Mood {
            receive_max: dice.pick(&[1, 2, 5, 20, 100, u16::MAX]),
            packet_bytes_max: dice.pick(&[None, None, Some(600), Some(4_096), Some(70_000)]),
            forget,
            twice,
            stray,
            refuse,
            kick,
            spread: dice.pick(&[0, MS, 100 * MS, 5 * SECOND]),
        }
    }
}

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It takes connections and packets and does nothing.
    Stalled,
    /// It is not there.
    Away,
}

/// The broker.
#[derive(Debug)]
pub struct Broker {
    /// How it behaves.
    pub mood: Mood,
    /// What is wrong.
    pub trouble: Option<Trouble>,
    /// Connections by number, with their vehicles.
    pub connections: BTreeMap<u64, usize>,
    /// Packets that wait for the end of a stall.
    pub waiting: VecDeque<(u64, Publish)>,
    /// The receiver.
    pub receiver: Receiver,
    /// A whole receiving end beside it, which reads everything that vehicles publish.
    pub fleet: Option<Fleet>,
    /// Messages that were taken.
    pub taken: u64,
}

impl Default for Broker {
    fn default() -> Broker {
        Broker {
            mood: Mood::GOOD,
            trouble: None,
            connections: BTreeMap::new(),
            waiting: VecDeque::new(),
            receiver: Receiver::new(INCOMPLETE_BYTES_MAX),
            fleet: None,
            taken: 0,
        }
    }
}

impl Broker {
    /// Lets a receiving end listen.
    pub fn listen(&mut self) {
        self.fleet = Some(Fleet::new(Prefix::new("outrider"), None));
    }

    /// What the receiving end could not use and should have been able to. A telemetry batch whose birth document was dropped
    /// cannot be read.
    #[must_use]
    pub fn misunderstood(&self) -> Option<String> {
        let fleet = self.fleet.as_ref()?;
        let refused = fleet.refused().iter().find(|(cause, _)| **cause != Refusal::NoBirth);
        refused.map(|(cause, count)| {
            format!("{} {count} times: {:?}", cause.word(), fleet.last_refusal())
        })
    }

    /// Lets a client in; an older connection of the same client ends.
    pub fn connect(&mut self, number: u64, vehicle: usize) {
        self.connections.retain(|_, of| *of != vehicle);
        self.connections.insert(number, vehicle);
    }

    /// Forgets everything that it has in memory. The connections that ended.
    pub fn restart(&mut self) -> Vec<(u64, usize)> {
        self.waiting.clear();
        std::mem::take(&mut self.connections).into_iter().collect()
    }
}
