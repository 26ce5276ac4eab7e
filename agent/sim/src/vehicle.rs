//! One vehicle: its power, clocks and disk, and the agent that runs on it, if one does. What crosses the line between the agent's
//! loop and its queue's thread waits here, within the bounds that the real program has.

use std::collections::{BTreeSet, VecDeque};
use std::sync::mpsc;

use outrider::config::{Config, Stream as StreamConfig};
use outrider::core::agent::{Agent, Order};
use outrider::core::pacing::DayCount;
use outrider::core::time::{ClockQuality, Mono, Now};
use outrider::shell::spool::policy;
use spool::simulated::Simulated;
use spool::{Accepted, Answer, AppendError, BootMs, Options, StreamPolicy, StreamTag, Worker};

use crate::agenda::{self, MS, Moment};
use crate::ledger::Ledger;
use crate::link::{Client, Publish, Way};
use crate::plan::VehiclePlan;
use crate::random::Dice;

/// Jobs that may wait for the queue's thread, as in `outrider::shell::spool`.
const JOBS_MAX: usize = 256;

/// Own records that wait for a busy thread, as in `outrider::shell::orders`.
const KEEP_MAX: usize = 256;

/// Earliest wall time that an agent believes in the simulation: 2026-01-01, in milliseconds.
const BELIEVABLE_MS: i64 = 1_767_225_600_000;

/// Wall time at the beginning of the world: 2026-11-21, in milliseconds.
pub const WALL_MS: i64 = 1_795_219_200_000;

/// Something for the queue's thread.
#[derive(Debug)]
pub enum Job {
    /// A record of a source.
    Append {
        /// Stream.
        stream: StreamTag,
        /// Stored form.
        stored: Vec<u8>,
        /// When to answer.
        answer: Answer,
    },
    /// A stream comes into being by being used.
    Define(StreamConfig),
    /// What the core wants.
    Order(Order),
    /// How it is.
    Report,
}

/// An agent that runs.
#[derive(Debug)]
pub struct Process {
    /// Its number on this vehicle.
    pub number: u32,
    /// The core.
    pub agent: Agent,
    /// The queue, once it is open.
    pub worker: Option<Worker<Simulated>>,
    /// Since when its disk does not read the queue.
    pub unread_since: Option<Moment>,
    /// What waits for the queue.
    pub jobs: VecDeque<Job>,
    /// Bytes of records in that.
    pub job_bytes: usize,
    /// Until when the thread waits for its disk.
    pub busy_until: Moment,
    /// When the thread does something next.
    pub step_at: Option<Moment>,
    /// When it last did.
    pub stepped_at: Moment,
    /// Times that it was woken at that moment without a job.
    pub idle_steps: u32,
    /// Orders that wait for a place among the jobs.
    pub orders: VecDeque<Order>,
    /// When the loop wakes next.
    pub tick_at: Option<Moment>,
    /// Times that it woke at that moment.
    pub spins: u32,
    /// The connection.
    pub client: Client,
    /// Answers of the queue to sources.
    pub answers: mpsc::Receiver<Result<Accepted, AppendError>>,
    /// The other end.
    pub answered: mpsc::Sender<Result<Accepted, AppendError>>,
    /// Streams that came into being by being used.
    pub defined: BTreeSet<String>,
    /// It was told to stop and says goodbye until then.
    pub stop_by: Option<Moment>,
}

impl Process {
    /// A fresh one.
    #[must_use]
    pub fn new(number: u32, agent: Agent) -> Process {
        let (answered, answers) = mpsc::channel();
        Process {
            number,
            agent,
            worker: None,
            unread_since: None,
            jobs: VecDeque::new(),
            job_bytes: 0,
            busy_until: 0,
            step_at: None,
            stepped_at: 0,
            idle_steps: 0,
            orders: VecDeque::new(),
            tick_at: None,
            spins: 0,
            client: Client::default(),
            answers,
            answered,
            defined: BTreeSet::new(),
            stop_by: None,
        }
    }

    /// Takes an order of the core; gives back a record that finds no place.
    pub fn order(&mut self, order: Order) -> Option<Order> {
        let keeps = matches!(order, Order::Keep { .. });
        if keeps && (self.worker.is_none() || self.orders.len() >= KEEP_MAX) {
            return Some(order);
        }
        self.orders.push_back(order);
        None
    }

    /// Moves orders to the queue's thread as far as it takes them. False when some have to wait.
    pub fn pass_orders(&mut self) -> bool {
        if self.worker.is_none() {
            // As with a thread that is not there: nothing was handed out, so nothing is to be taken back.
            self.orders.clear();
            return true;
        }
        while self.jobs.len() < JOBS_MAX {
            let Some(order) = self.orders.pop_front() else { return true };
            self.jobs.push_back(Job::Order(order));
        }
        self.orders.is_empty()
    }

    /// Hands a record to the queue's thread. False when that has too much to do.
    pub fn append(
        &mut self,
        stream: StreamTag,
        stored: Vec<u8>,
        answer: Answer,
        max: usize,
    ) -> bool {
        let bytes = stored.len();
        let full = self.job_bytes > 0 && self.job_bytes + bytes > max;
        if full || self.jobs.len() >= JOBS_MAX {
            return false;
        }
        self.job_bytes += bytes;
        self.jobs.push_back(Job::Append { stream, stored, answer });
        true
    }

    /// Lets a stream come into being that nobody declared.
    pub fn define(&mut self, name: &str) {
        if self.jobs.len() < JOBS_MAX && !self.defined.contains(name) {
            self.defined.insert(name.to_owned());
            self.jobs.push_back(Job::Define(StreamConfig::undeclared(name)));
        }
    }

    /// Asks for a report if there is a place.
    pub fn ask_for_report(&mut self) {
        if self.worker.is_some() && self.jobs.len() < JOBS_MAX {
            self.jobs.push_back(Job::Report);
        }
    }
}

/// A vehicle.
#[derive(Debug)]
pub struct Vehicle {
    /// What was drawn for it.
    pub plan: VehiclePlan,
    /// Its place in the mesh; the broker's vehicle has 0.
    pub node: usize,
    /// Settings in force.
    pub config: Config,
    /// Its disk.
    pub disk: Simulated,
    /// It has power.
    pub powered: bool,
    /// Number of its boots.
    pub boots: u32,
    /// When it was switched on.
    pub boot_at: Moment,
    /// What its wall clock is off by, in milliseconds.
    pub wall_off_ms: i64,
    /// Something keeps the wall clock right.
    pub synchronised: bool,
    /// The agent.
    pub process: Option<Process>,
    /// Agents that were started.
    pub processes: u32,
    /// The link.
    pub way: Way,
    /// The link is silent until then, whatever the distance.
    pub silent_until: Moment,
    /// What is on its way to the broker with its connections: it arrives in this order.
    pub air: VecDeque<(u64, Publish)>,
    /// Of these, how many should have arrived and are held up by a silent link.
    pub held_up: usize,
    /// Acknowledgements that are held up: connection, packet, refused.
    pub held_up_back: VecDeque<(u64, u16, bool)>,
    /// The routing daemon does not answer until then.
    pub daemon_silent_until: Moment,
    /// When the routing daemon was started.
    pub daemon_at: Moment,
    /// The oracle.
    pub ledger: Ledger,
    /// What was saved of the day.
    pub day: Option<DayCount>,
    /// Chance on this vehicle.
    pub dice: Dice,
    /// Records that sources made.
    pub made: u64,
    /// A disk fault is on.
    pub disk_fails: bool,
    /// What may be on disk: more than the budget while it was made smaller.
    pub disk_bound: u64,
    /// Bytes of messages of streams that were handed to the connection.
    pub sent_bytes: u64,
    /// Ends of processes that were not orderly.
    pub crashes: u64,
    /// Spool time and bytes written, every hour or so.
    pub written: VecDeque<(u64, u64)>,
}

impl Vehicle {
    /// The boot clock.
    #[must_use]
    pub fn mono(&self, now: Moment) -> Mono {
        agenda::mono(self.boot_at, now)
    }

    /// The boot clock as the queue wants it.
    #[must_use]
    pub fn boot_ms(&self, now: Moment) -> BootMs {
        BootMs(self.mono(now).millis())
    }

    /// All clocks.
    #[must_use]
    pub fn clocks(&self, now: Moment) -> Now {
        let wall_ms = WALL_MS + (now / MS) as i64 + self.wall_off_ms;
        let quality = match (wall_ms >= BELIEVABLE_MS, self.synchronised) {
            (false, _) => ClockQuality::Unset,
            (true, true) => ClockQuality::Synchronised,
            (true, false) => ClockQuality::Unsynchronised,
        };
        Now { mono: self.mono(now), wall_ms, quality }
    }

    /// When the boot clock shows this.
    #[must_use]
    pub fn moment_of(&self, boot_ms: BootMs) -> Moment {
        self.boot_at.saturating_add(boot_ms.0.saturating_mul(MS))
    }

    /// The kernel's id of this boot.
    #[must_use]
    pub fn boot_id(&self) -> String {
        format!("5eed0000-0000-4000-8000-{:04x}{:08x}", self.node, self.boots)
    }

    /// Options of its queue.
    #[must_use]
    pub fn options(&self) -> Options {
        Options {
            budget_bytes: self.config.spool.size,
            memory_bytes: self.config.spool.memory,
            write_bytes_per_day: self.config.spool.writes_per_day,
            without_newest: false,
        }
    }

    /// The broker takes fewer or smaller messages on its connection than it would now.
    #[must_use]
    pub fn is_cramped(&self) -> bool {
        let process = self.process.as_ref();
        process.and_then(|process| process.client.connection.as_ref()).is_some_and(|connection| {
            connection.slots < self.config.mqtt.in_flight || connection.packet_bytes_max.is_some()
        })
    }

    /// Streams of its queue with their rules.
    #[must_use]
    pub fn streams(&self) -> Vec<(StreamConfig, StreamPolicy)> {
        self.config.streams().into_iter().map(|stream| (stream.clone(), policy(&stream))).collect()
    }
}
