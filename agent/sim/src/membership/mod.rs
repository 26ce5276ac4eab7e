//! Vehicles that join and leave federations in a simulated world: the product's own machine with its informants and the product's
//! own host side; around them links that come and go as vehicles drive, servers that die or stall, k3s that starts by itself, disks
//! that fail, operators who change their minds, and power that goes at any moment. When all trouble has ended, everybody must be
//! where policy wants them, with nothing left behind anywhere.

mod agent;
mod bug;
mod k3s;
mod plan;
mod promises;
mod server;
mod tasks;
mod trouble;
mod vehicle;

use std::time::Duration;

use outrider::core::membership::Wish;
use outrider::core::membership::steward::Task;

pub use self::bug::Bug;
use self::plan::Plan;
use self::server::{Mood, Server};
use self::vehicle::Vehicle;
use crate::agenda::{self, Agenda, HOUR, MINUTE, MS, Moment, SECOND};
use crate::failure::{self, Failure, Kept, Trace};
use crate::mesh::Convoy;
use crate::random::Dice;

/// How often vehicles move and look at the mesh.
const DRIVE_EVERY: Moment = 5 * SECOND;

/// How often the agent beside a server looks.
const HOST_EVERY: Moment = MINUTE;

/// Silence after which a vehicle counts as silent at its server.
const SILENT_AFTER: Duration = Duration::from_secs(300);

/// Time without trouble after which everybody has arrived: the longest pause (30 min), the span in which joins are counted (60 min),
/// leaving a dead federation (30 min and more), and as much again.
const SETTLE: Moment = 4 * HOUR;

/// How a run is made.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Vehicles, 2 to 30; drawn from the seed when there is none.
    pub vehicles: Option<usize>,
    /// Time with trouble.
    pub hours: u64,
    /// A mistake to be made.
    pub bug: Option<Bug>,
    /// Lines are written as things happen.
    pub trace: bool,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Time that vehicles were in the world, in seconds, all together.
    pub vehicle_s: u64,
    /// Memberships that began.
    pub joined: u64,
    /// Memberships that ended with everything put away.
    pub left: u64,
    /// Nodes that were deleted.
    pub deleted: u64,
    /// Of these, by the agent beside the server.
    pub deleted_by_host: u64,
    /// Vehicles that were switched off for good.
    pub gone: u64,
    /// Nodes that are marked as those of lost vehicles at the end.
    pub lost: u64,
    /// Power cuts.
    pub cuts: u64,
    /// Agents killed.
    pub kills: u64,
    /// Wishes of operators.
    pub wishes: u64,
    /// Times that a server changed its mood.
    pub moods: u64,
    /// Things that were to be done.
    pub tasks: u64,
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Summary) {
        self.vehicle_s += other.vehicle_s;
        self.joined += other.joined;
        self.left += other.left;
        self.deleted += other.deleted;
        self.deleted_by_host += other.deleted_by_host;
        self.gone += other.gone;
        self.lost += other.lost;
        self.cuts += other.cuts;
        self.kills += other.kills;
        self.wishes += other.wishes;
        self.moods += other.moods;
        self.tasks += other.tasks;
    }
}

/// Something that happens. A second number is that of the process or of the start of k3s that it is for; void once that has ended.
#[derive(Debug)]
enum Happening {
    Drive,
    Mood(usize),
    Host(usize),
    Calm,
    End,
    Cut(usize),
    PowerOn(usize),
    Clock(usize),
    Card(usize),
    Retire(usize),
    Gone(usize),
    Kill(usize),
    Start(usize),
    Disk(usize),
    Wish(usize),
    Release(usize),
    Silence(usize),
    Configure(usize),
    K3s(usize, u32),
    Tick(usize, u32),
    Done(usize, u32, Box<Task>),
}

struct World {
    now: Moment,
    settings: Settings,
    plan: Plan,
    agenda: Agenda<Happening>,
    convoy: Convoy,
    servers: Vec<Server>,
    vehicles: Vec<Vehicle>,
    dice: Dice,
    calm: bool,
    summary: Summary,
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
        let plan = Plan::draw(&mut dice, settings);
        let federations = plan.policy.federations.len();
        let convoy = Convoy::new(federations + plan.vehicles - 1, plan.area_m, dice.fork(1));
        let names = plan.policy.federations.keys().enumerate();
        let servers =
            names.map(|(body, name)| Server::new(name.clone(), body, dice.permille(600))).collect();
        let vehicles: Vec<Vehicle> = (0..plan.vehicles)
            .map(|index| Vehicle::new(format!("v{}", index + 1), federations + index, dice.fork(2)))
            .collect();
        let names = vehicles.iter().map(|vehicle| vehicle.name.clone());
        let trace = Trace::new(names, traced, settings.trace);
        let mut world = World {
            now: 0,
            settings,
            plan,
            agenda: Agenda::default(),
            convoy,
            servers,
            vehicles,
            dice: dice.fork(3),
            calm: false,
            summary: Summary::default(),
            trace,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for index in 0..self.vehicles.len() {
            let at = self.dice.below(10 * MINUTE);
            self.agenda.put(at, Happening::PowerOn(index));
            self.later(self.plan.faults.cut, Happening::Cut(index));
            self.later(self.plan.faults.kill, Happening::Kill(index));
            self.later(self.plan.faults.wish, Happening::Wish(index));
            self.later(self.plan.faults.silence, Happening::Silence(index));
            self.later(self.plan.faults.configure, Happening::Configure(index));
            self.later(self.plan.faults.disk, Happening::Disk(index));
            self.later(self.plan.faults.card, Happening::Card(index));
            self.later(self.plan.faults.retire, Happening::Retire(index));
        }
        for index in 0..self.servers.len() {
            self.later(self.plan.faults.mood, Happening::Mood(index));
            self.later(HOST_EVERY, Happening::Host(index));
        }
        self.agenda.put(0, Happening::Drive);
        self.agenda.put(self.settings.hours * HOUR, Happening::Calm);
        self.agenda.put(self.settings.hours * HOUR + SETTLE, Happening::End);
    }

    /// Puts down what happens after about `mean`, unless that is never or trouble has ended.
    fn later(&mut self, mean: Moment, what: Happening) {
        if mean > 0 && !self.calm {
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
        Ok(self.summary)
    }

    /// Lets one thing happen; true when the run is over.
    fn happen(&mut self, what: Happening) -> Kept<bool> {
        match what {
            Happening::Mood(_)
            | Happening::Cut(_)
            | Happening::Card(_)
            | Happening::Retire(_)
            | Happening::Kill(_)
            | Happening::Disk(_)
            | Happening::Wish(_)
            | Happening::Silence(_)
            | Happening::Configure(_)
                if self.calm => {}
            Happening::Drive => self.drive()?,
            Happening::Mood(index) => self.change_mood(index),
            Happening::Host(index) => self.look_after(index)?,
            Happening::Calm => self.calm_down(),
            Happening::End => {
                self.summary.lost = self.servers.iter().map(Server::lost).sum();
                return self.judge().map(|()| true);
            }
            Happening::Cut(index) => self.cut(index)?,
            Happening::PowerOn(index) => self.power_on(index),
            Happening::Clock(index) => self.vehicles[index].wall_off_ms = 0,
            Happening::Card(index) => self.change_card(index)?,
            Happening::Retire(index) => self.retire(index)?,
            Happening::Gone(index) => self.be_gone(index)?,
            Happening::Kill(index) => self.kill(index)?,
            Happening::Start(index) => self.start(index)?,
            Happening::Disk(index) => self.break_disk(index),
            Happening::Wish(index) => self.wish(index)?,
            Happening::Release(index) => self.tell_wish(index, Wish::Policy)?,
            Happening::Silence(index) => self.silence(index),
            Happening::Configure(index) => self.configure(index),
            Happening::K3s(index, run) => self.k3s_lives(index, run)?,
            Happening::Tick(index, number) => self.tick(index, number)?,
            Happening::Done(index, number, task) => self.done(index, number, *task)?,
        }
        Ok(false)
    }

    /// Writes a line of the trace.
    fn note(&mut self, index: usize, line: impl FnOnce(&Vehicle) -> String) {
        let vehicle = &self.vehicles[index];
        self.trace.note(index, self.now, || line(vehicle));
    }

    fn server(&self, name: &str) -> Option<usize> {
        self.servers.iter().position(|server| server.name == name)
    }

    /// Cost of the way of a vehicle to a server, and the time there and back.
    fn way(&self, index: usize, server: usize) -> Option<(u32, Moment)> {
        let vehicle = &self.vehicles[index];
        if !vehicle.powered || vehicle.silent_until > self.now {
            return None;
        }
        let (cost, hops) = self.convoy.path(vehicle.body, self.servers[server].body)?;
        Some((cost, Moment::from(hops) * 30 * MS + Moment::from(cost) * MS / 2))
    }

    /// The same, if the server accepts connections.
    fn connection(&self, index: usize, server: usize) -> Option<(u32, Moment)> {
        match self.servers[server].mood {
            Mood::Up | Mood::Stalled => self.way(index, server),
            Mood::Down | Mood::Dead => None,
        }
    }

    /// Whether a vehicle gets an answer of a server's API.
    fn api(&self, index: usize, server: usize) -> bool {
        self.servers[server].mood == Mood::Up && self.way(index, server).is_some()
    }

    fn drive(&mut self) -> Kept {
        if !self.calm {
            self.convoy.drive(DRIVE_EVERY as f64 / SECOND as f64);
        }
        for index in 0..self.vehicles.len() {
            for server in 0..self.servers.len() {
                if self.api(index, server) {
                    let name = self.servers[server].name.clone();
                    self.vehicles[index].reached.insert(name, self.now);
                }
            }
            if self.vehicles[index].disk.fails {
                // Without an intent on disk nothing is left.
                self.vehicles[index].watched_since = self.now;
            }
            self.tell_ways(index)?;
            self.watch(index)?;
        }
        self.agenda.put(self.now + DRIVE_EVERY, Happening::Drive);
        Ok(())
    }

    /// The agent beside a server does its work.
    fn look_after(&mut self, index: usize) -> Kept {
        self.agenda.put(self.now + HOST_EVERY, Happening::Host(index));
        if self.servers[index].mood != Mood::Up {
            return Ok(());
        }
        let mono = agenda::mono(0, self.now);
        let name = self.servers[index].name.clone();
        let idle = self.settings.bug == Some(Bug::IdleHost);
        for silent in self.servers[index].look_after(mono, idle) {
            self.summary.deleted += u64::from(silent.deleted);
            self.summary.deleted_by_host += u64::from(silent.deleted);
            let owner = |vehicle: &Vehicle| vehicle.name == silent.node.name;
            let Some(vehicle) = self.vehicles.iter().position(owner) else { continue };
            let what = if silent.deleted { "deletes" } else { "has lost" };
            self.note(vehicle, |_| format!("(the host of {name} {what} {})", silent.node.uid));
            self.silent_for_host(vehicle, &name, &silent)?;
        }
        Ok(())
    }
}
