//! The world: everything that can happen, one thing after the other, each at its moment. What happens to an agent, to its queue,
//! on the network and as trouble have rooms of their own ([`crate::feed`], [`crate::queue`], [`crate::net`],
//! [`crate::trouble`]); here is the order of things, the end of all trouble, and the check that a backlog drains.

use std::collections::{BTreeMap, VecDeque};

use outrider::core::agent::Input;
use spool::{Fate, StreamTag};

use crate::agenda::{Agenda, HOUR, MINUTE, Moment, SECOND};
use crate::broker::{Broker, Mood};
use crate::bug::Bug;
use crate::failure::{self, Broken, Failure, Kept, Trace};
use crate::ledger::{Ledger, Totals};
use crate::link::Way;
use crate::mesh::{self, Convoy};
use crate::plan::Plan;
use crate::random::Dice;
use crate::vehicle::Vehicle;

/// How often it is looked whether the backlog has drained.
const LOOK_EVERY: Moment = 5 * MINUTE;

/// Time beyond what a backlog needs by its size until it must have drained: the longest pauses of connection (60 s and 20 s for
/// TCP), of a refused stream (300 s) and of a broken disk (300 s), one after the other, and twice that.
const DRAIN_SLACK: Moment = 30 * MINUTE;

/// Part of what a link carries that a backlog gets at least, as a divisor: what the agent itself says goes on.
const DRAIN_SHARE: u64 = 4;

/// How a run is made.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Vehicles with an agent.
    pub vehicles: usize,
    /// Time with trouble. What is needed to drain comes on top.
    pub hours: u64,
    /// A mistake to be made.
    pub bug: Option<Bug>,
    /// Lines are written as things happen.
    pub trace: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { vehicles: 4, hours: 24, bug: None, trace: false }
    }
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Time that vehicles were in the world, in seconds, all together.
    pub vehicle_s: u64,
    /// Records that were given a name.
    pub issued: u64,
    /// Records that arrived.
    pub delivered: u64,
    /// Records that were counted with a cause.
    pub losses: u64,
    /// Records by what became of them, in the order of [`spool::Fate::ALL`].
    pub by_cause: [u64; Fate::ALL.len()],
    /// Records that came again and were dropped by the receiver.
    pub repeats: u64,
    /// Messages that the broker took.
    pub messages: u64,
    /// Power cuts.
    pub cuts: u64,
    /// Agents killed.
    pub kills: u64,
    /// Disk faults.
    pub disk_faults: u64,
    /// Connections.
    pub connections: u64,
    /// Inputs that agents took.
    pub inputs: u64,
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Summary) {
        self.vehicle_s += other.vehicle_s;
        self.issued += other.issued;
        self.delivered += other.delivered;
        self.losses += other.losses;
        self.repeats += other.repeats;
        for (sum, more) in self.by_cause.iter_mut().zip(other.by_cause) {
            *sum += more;
        }
        self.messages += other.messages;
        self.cuts += other.cuts;
        self.kills += other.kills;
        self.disk_faults += other.disk_faults;
        self.connections += other.connections;
        self.inputs += other.inputs;
    }
}

/// Something that happens. A `u32` is the number of the process that it is for, and void once that has ended.
#[derive(Debug)]
pub(crate) enum Happening {
    Drive,
    Mood,
    BrokerFails,
    BrokerBack,
    Calm,
    Look,
    Tick(usize, u32),
    Polled(usize, u32),
    Feed(usize, u32, Box<Input>),
    Open(usize, u32),
    Step(usize, u32),
    PassOrders(usize, u32),
    Report(usize, u32),
    Goodbye(usize, u32),
    Connect(usize, u32),
    Greeted(usize, u32, u64),
    Watch(usize, u32, u64),
    Arrive(usize),
    Acknowledge(usize, u64, u16, bool),
    Source(usize, usize),
    Cut(usize, bool),
    PowerOn(usize),
    Start(usize),
    Kill(usize),
    Unlock(usize),
    Reload(usize),
    Stop(usize),
    Clock(usize),
    DiskFails(usize),
    DiskHeals(usize),
    Silence(usize),
    Sound(usize),
    Daemon(usize),
}

/// The world.
pub(crate) struct World {
    pub now: Moment,
    pub settings: Settings,
    pub plan: Plan,
    pub agenda: Agenda<Happening>,
    pub vehicles: Vec<Vehicle>,
    pub broker: Broker,
    pub convoy: Convoy,
    pub dice: Dice,
    pub calm: bool,
    pub connections: u64,
    pub summary: Summary,
    drained_by: Moment,
    /// Next numbers of the streams of each vehicle when it was last looked, and before that.
    looked: Vec<[BTreeMap<StreamTag, u64>; 2]>,
    trace: Trace,
}

/// Runs one seed to its end.
///
/// # Errors
/// The promise that was broken. The run is then made again, to the same end, with its last steps written down.
pub fn run(seed: u64, settings: Settings) -> Result<Summary, Box<Failure>> {
    failure::run(settings.trace, |traced| World::new(seed, settings, traced).live(seed))
}

impl World {
    fn new(seed: u64, settings: Settings, traced: bool) -> World {
        let mut dice = Dice::new(seed);
        let mut plan = Plan::draw(&mut dice, settings.vehicles);
        // What would show this mistake is made frequent: a test has seconds, not days.
        if settings.bug == Some(Bug::FailedSyncIgnored) {
            (plan.faults.disk, plan.faults.cut) = (30 * MINUTE, HOUR);
        }
        let convoy = Convoy::new(settings.vehicles, plan.area_m, dice.fork(1));
        let vehicles = plan.vehicles.iter().zip(1..).map(|(plan, node)| Vehicle {
            node,
            config: plan.config.clone(),
            plan: plan.clone(),
            disk: spool::simulated::Simulated::new(),
            powered: false,
            boots: 0,
            boot_at: 0,
            wall_off_ms: 0,
            synchronised: false,
            process: None,
            processes: 0,
            way: Way {
                up: false,
                bytes_per_s: plan.bytes_per_s,
                one_way: plan.one_way,
                free_at: 0,
            },
            silent_until: 0,
            air: VecDeque::new(),
            held_up: 0,
            held_up_back: VecDeque::new(),
            daemon_silent_until: 0,
            daemon_at: 0,
            ledger: Ledger::default(),
            day: None,
            dice: dice.fork(2),
            made: 0,
            disk_fails: false,
            disk_bound: plan.config.spool.size,
            sent_bytes: 0,
            crashes: 0,
            written: VecDeque::new(),
        });
        let mut vehicles: Vec<Vehicle> = vehicles.collect();
        for vehicle in &mut vehicles {
            let limited = vehicle.config.spool.writes_per_day.is_some();
            vehicle.ledger.excuse(|excuses| excuses.writes_limited = limited);
        }
        let mut world = World {
            now: 0,
            settings,
            agenda: Agenda::default(),
            broker: Broker::default(),
            convoy,
            calm: false,
            connections: 0,
            summary: Summary::default(),
            drained_by: Moment::MAX,
            looked: vehicles.iter().map(|_| Default::default()).collect(),
            trace: Trace::new((1..=vehicles.len()).map(mesh::name), traced, settings.trace),
            vehicles,
            plan,
            dice: dice.fork(3),
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for index in 0..self.vehicles.len() {
            self.plant(index);
            let at = self.dice.below(MINUTE);
            self.agenda.put(at, Happening::PowerOn(index));
            for source in 0..self.vehicles[index].plan.sources.len() {
                let at = self.dice.below(10 * MINUTE);
                self.agenda.put(at, Happening::Source(index, source));
            }
            self.plan_trouble(index);
        }
        if self.dice.one_in(4) {
            self.broker.listen();
        }
        self.look_at_ways();
        self.agenda.put(self.plan.drive_every, Happening::Drive);
        let mood = self.dice.about(self.plan.mood_lasts);
        self.agenda.put(mood, Happening::Mood);
        self.later(self.plan.faults.broker, Happening::BrokerFails);
        self.agenda.put(self.settings.hours * HOUR, Happening::Calm);
    }

    /// Puts down what happens after about `mean`, unless that is never.
    pub(crate) fn later(&mut self, mean: Moment, what: Happening) {
        if mean > 0 {
            let at = self.now + self.dice.about(mean);
            self.agenda.put(at, what);
        }
    }

    fn live(mut self, seed: u64) -> Result<Summary, Box<Failure>> {
        while let Some((at, what)) = self.agenda.next() {
            self.now = at;
            let is_over = self.happen(what);
            if is_over.map_err(|broken| self.trace.failure(seed, at, broken))? {
                break;
            }
        }
        self.summary.vehicle_s = self.now / SECOND * self.vehicles.len() as u64;
        self.summary.messages = self.broker.taken;
        self.summary.connections = self.connections;
        for vehicle in &self.vehicles {
            self.summary.issued += vehicle.ledger.issued();
            self.summary.delivered += vehicle.ledger.delivered();
        }
        Ok(self.summary)
    }

    /// Lets one thing happen; true when the run is over.
    fn happen(&mut self, what: Happening) -> Kept<bool> {
        match what {
            Happening::Drive => self.drive(),
            Happening::Mood => self.change_mood(),
            Happening::BrokerFails => self.broker_fails()?,
            Happening::BrokerBack => self.broker_back()?,
            Happening::Calm => self.calm_down()?,
            Happening::Look => return self.look(),
            Happening::Tick(index, number) => {
                if self.runs(index, number) && self.woken(index) {
                    self.feed(index, Input::Tick)?;
                }
            }
            Happening::Polled(index, number) => self.polled(index, number)?,
            Happening::Feed(index, number, input) => {
                if self.runs(index, number) {
                    self.feed(index, *input)?;
                }
            }
            Happening::Open(index, number) => self.open(index, number)?,
            Happening::Step(index, number) => self.step(index, number)?,
            Happening::PassOrders(index, number) => {
                if self.runs(index, number) {
                    self.pass_orders(index);
                }
            }
            Happening::Report(index, number) => self.ask_for_report(index, number),
            Happening::Goodbye(index, number) => self.goodbye(index, number)?,
            Happening::Connect(index, number) => self.connect(index, number)?,
            Happening::Greeted(index, number, connection) => {
                self.greeted(index, number, connection)?;
            }
            Happening::Watch(index, number, connection) => self.watch(index, number, connection)?,
            Happening::Arrive(index) => self.arrive(index)?,
            Happening::Acknowledge(index, connection, packet, refused) => {
                self.acknowledge(index, connection, packet, refused)?;
            }
            Happening::Source(index, source) => self.gather(index, source),
            Happening::Cut(index, again) => self.cut(index, again),
            Happening::PowerOn(index) => self.power_on(index),
            Happening::Start(index) => self.start(index)?,
            Happening::Kill(index) => self.kill(index),
            Happening::Unlock(index) => self.vehicles[index].disk.release_lock(),
            Happening::Reload(index) => self.reload(index)?,
            Happening::Stop(index) => self.stop(index)?,
            Happening::Clock(index) => self.set_clock(index),
            Happening::DiskFails(index) => self.disk_fails(index),
            Happening::DiskHeals(index) => self.disk_heals(index),
            Happening::Silence(index) => self.silence(index),
            Happening::Sound(index) => self.look_at_way(index),
            Happening::Daemon(index) => self.daemon_fails(index),
        }
        Ok(false)
    }

    /// Whether this process runs.
    pub(crate) fn runs(&self, index: usize, number: u32) -> bool {
        self.vehicles[index].process.as_ref().is_some_and(|process| process.number == number)
    }

    /// Writes a line of the trace.
    pub(crate) fn note(&mut self, index: usize, line: impl FnOnce() -> String) {
        self.trace.note(index, self.now, line);
    }

    /// All trouble ends: everybody is next to the broker, everything works, and nothing more is gathered.
    fn calm_down(&mut self) -> Kept {
        self.calm = true;
        self.convoy.gather();
        self.broker.mood = Mood::GOOD;
        self.broker_back()?;
        // What it told when a connection began holds as long as that; what it has forgotten is the client's to find out.
        if self.vehicles.iter().any(Vehicle::is_cramped) || self.dice.one_in(2) {
            self.broker_restarts()?;
        }
        let mut longest = 0;
        for index in 0..self.vehicles.len() {
            self.note(index, || "trouble ends".to_owned());
            let vehicle = &mut self.vehicles[index];
            vehicle.silent_until = 0;
            vehicle.daemon_silent_until = 0;
            vehicle.disk.cut_power_at(u64::MAX);
            let config = &vehicle.config;
            let rate = config.delivery.rate.unwrap_or(u64::MAX).min(vehicle.plan.bytes_per_s);
            let held = config.spool.size + config.spool.memory as u64;
            let mut needs = held * SECOND / (rate / DRAIN_SHARE).max(1);
            if let Some(cap) = config.delivery.bytes_per_day {
                needs += (held / (cap / 2).max(1) + 2) * 24 * HOUR;
            }
            longest = longest.max(needs);
            self.disk_heals(index);
            self.look_at_way(index);
            if !self.vehicles[index].powered {
                self.power_on(index);
            } else if self.vehicles[index].process.is_none() {
                self.agenda.put(self.now + SECOND, Happening::Start(index));
            }
        }
        self.drained_by = self.now + longest + DRAIN_SLACK;
        self.agenda.put(self.now + LOOK_EVERY, Happening::Look);
        Ok(())
    }

    /// Looks whether all backlogs have drained; true when they have and all accounts are right.
    fn look(&mut self) -> Kept<bool> {
        let mut drained = true;
        for index in 0..self.vehicles.len() {
            let held = self.held(index)?;
            drained &= held.is_none();
            if let Some(held) = held
                && self.now >= self.drained_by
            {
                return Err((index, Broken::new("a backlog drains", held)));
            }
        }
        if !drained {
            self.agenda.put(self.now + LOOK_EVERY, Happening::Look);
            return Ok(false);
        }
        let mut totals = Totals::default();
        for index in 0..self.vehicles.len() {
            let now = self.now;
            let vehicle = &mut self.vehicles[index];
            let boot_ms = vehicle.boot_ms(now);
            let process = vehicle.process.as_mut();
            let Some(worker) = process.and_then(|process| process.worker.as_mut()) else {
                continue;
            };
            let report = worker.spool().report(boot_ms);
            let of_vehicle = vehicle.ledger.settle(&report).map_err(|broken| (index, broken))?;
            totals.losses += of_vehicle.losses;
            for (sum, more) in totals.by_cause.iter_mut().zip(of_vehicle.by_cause) {
                *sum += more;
            }
        }
        self.summary.losses = totals.losses;
        self.summary.by_cause = totals.by_cause;
        let counts = self.broker.receiver.dedup().counts();
        self.summary.repeats = counts.map(|(_, _, counts)| counts.repeats).sum();
        Ok(true)
    }

    /// What is held of a vehicle beyond what came in since it was looked at twice; `None` when that is nothing.
    fn held(&mut self, index: usize) -> Kept<Option<String>> {
        let now = self.now;
        let vehicle = &mut self.vehicles[index];
        let boot_ms = vehicle.boot_ms(now);
        let worker = vehicle.process.as_mut().and_then(|process| process.worker.as_mut());
        let Some(worker) = worker else { return Ok(Some("the queue is not open".to_owned())) };
        let report = worker.spool().report(boot_ms);
        vehicle.ledger.audit(&report).map_err(|broken| (index, broken))?;
        let [last, before] = std::mem::take(&mut self.looked[index]);
        let mut held = None;
        for stream in &report.streams {
            let came = stream.next_sequence - before.get(&stream.tag).copied().unwrap_or(1);
            let known = before.contains_key(&stream.tag);
            if stream.held.records > if known { came } else { 0 } {
                held = Some(format!("{stream:?}"));
            }
        }
        let next = report.streams.iter().map(|stream| (stream.tag, stream.next_sequence));
        self.looked[index] = [next.collect(), last];
        Ok(held)
    }
}
