//! Vehicles that join and leave federations in a simulated world: the product's own machine with its informants and the product's
//! own host side; around them links that come and go as vehicles drive, servers that die or stall, k3s that starts by itself, disks
//! that fail, operators who change their minds, and power that goes at any moment. When all trouble has ended, everybody must be
//! where policy wants them, with nothing left behind anywhere.

mod bug;
mod promises;
mod server;
mod tasks;
mod vehicle;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use outrider::core::membership::host::{self, Host};
use outrider::core::membership::steward::{Orders, Report, Steward, Task, Way};
use outrider::core::membership::{Federation, Intent, Policy, Unit, Wish};

pub use self::bug::Bug;
use self::server::{Mood, Server};
use self::vehicle::{Process, Vehicle};
use crate::agenda::{Agenda, HOUR, MINUTE, MS, Moment, SECOND};
use crate::ledger::Broken;
use crate::mesh::Convoy;
use crate::random::Dice;
use crate::world::{Failure, SPINS_MAX, stamped};

/// How often vehicles move and look at the mesh.
const DRIVE_EVERY: Moment = 5 * SECOND;

/// How often k3s asks its server, or tells it that it is alive.
const K3S_EVERY: Moment = 10 * SECOND;

/// How often the agent beside a server looks.
const HOST_EVERY: Moment = MINUTE;

/// Silence after which a vehicle counts as silent at its server.
const SILENT_AFTER: Duration = Duration::from_secs(300);

/// Time without trouble after which everybody has arrived: the longest pause (30 min), the span in which joins are counted (60 min),
/// leaving a dead federation (30 min and more), and as much again.
const SETTLE: Moment = 4 * HOUR;

/// Lines of the trace that are kept of each vehicle.
const TRACE_LINES: usize = 80;

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

/// What goes on or a promise that was broken, on which vehicle.
type Outcome = Result<(), (usize, Broken)>;

/// Means of the times between two of each trouble.
#[derive(Debug)]
struct Plan {
    cut: Moment,
    kill: Moment,
    wish: Moment,
    silence: Moment,
    mood: Moment,
    configure: Moment,
    disk: Moment,
    card: Moment,
}

struct World {
    now: Moment,
    settings: Settings,
    plan: Plan,
    policy: Policy,
    agenda: Agenda<Happening>,
    convoy: Convoy,
    servers: Vec<Server>,
    vehicles: Vec<Vehicle>,
    dice: Dice,
    calm: bool,
    summary: Summary,
    traces: Vec<VecDeque<String>>,
    tracing: bool,
}

/// Runs one seed to its end.
///
/// # Errors
/// The promise that was broken. The run is then made again, to the same end, with its last steps written down.
pub fn run(seed: u64, settings: Settings) -> Result<Summary, Box<Failure>> {
    let first = World::new(seed, settings, settings.trace).live(seed);
    match first {
        Err(failure) if !settings.trace => {
            World::new(seed, settings, true).live(seed).map_or_else(Err, |_| Err(failure))
        }
        done => done,
    }
}

/// Rules that differ from seed to seed: the federations are not alike, and the best is not the nearest.
fn policy(dice: &mut Dice) -> Policy {
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    let names = ["red", "purple", "green"];
    let federations = (0..usize::try_from(dice.between(2, 3)).unwrap_or(2)).map(|index| {
        let federation = Federation {
            priority: u32::try_from(dice.below(3)).unwrap_or(0),
            join_below: dice.pick(&[200, 400, 700]),
            join_after: Duration::from_secs(dice.between(10, 180)),
            strain_above: dice.pick(&[800, 1_200, 2_000]),
            strain_after: Duration::from_secs(dice.between(10, 120)),
            leave_after: (!dice.one_in(6)).then(|| minutes(dice.between(5, 40))),
        };
        (names[index].to_owned(), federation)
    });
    Policy { federations: federations.collect(), ..Policy::default() }
}

impl World {
    fn new(seed: u64, settings: Settings, tracing: bool) -> World {
        let mut dice = Dice::new(seed);
        let mut policy = policy(&mut dice);
        let drawn = if dice.one_in(8) { dice.between(11, 30) } else { dice.between(2, 10) };
        let count = settings.vehicles.unwrap_or(usize::try_from(drawn).unwrap_or(2));
        let often = dice.pick(&[1, 2, 5]);
        let mut plan = Plan {
            cut: often * dice.pick(&[20 * MINUTE, 2 * HOUR, 8 * HOUR]),
            kill: often * dice.pick(&[10 * MINUTE, HOUR, 8 * HOUR]),
            wish: often * dice.pick(&[30 * MINUTE, 3 * HOUR, 0]),
            silence: often * dice.pick(&[20 * MINUTE, 2 * HOUR]),
            mood: often * dice.pick(&[20 * MINUTE, 2 * HOUR]),
            configure: often * dice.pick(&[2 * HOUR, 0]),
            disk: often * dice.pick(&[4 * HOUR, 0]),
            card: often * dice.pick(&[12 * HOUR, 0, 0]),
        };
        // What would show this mistake is made frequent: a test has seconds, not days.
        if settings.bug == Some(Bug::ForgottenJoins) {
            (plan.cut, plan.wish, plan.kill) = (0, 0, 10 * MINUTE);
            (plan.silence, plan.mood) = (10 * MINUTE, 15 * MINUTE);
            for federation in policy.federations.values_mut() {
                let short = Duration::from_secs(10);
                (federation.join_after, federation.strain_after) = (short, short);
                federation.leave_after = Some(Duration::from_secs(120));
            }
        }
        let federations = policy.federations.len();
        let area_m = dice.pick(&[800, 2_500, 5_000]);
        let convoy = Convoy::new(federations + count - 1, area_m, dice.fork(1));
        let host = || Host::new(host::Settings { silent_after: SILENT_AFTER });
        let servers = policy
            .federations
            .keys()
            .enumerate()
            .map(|(body, name)| Server::new(name.clone(), body, dice.permille(600).then(host)));
        let servers = servers.collect();
        let vehicles = (0..count)
            .map(|index| Vehicle::new(format!("v{}", index + 1), federations + index, dice.fork(2)))
            .collect();
        let mut world = World {
            now: 0,
            settings,
            plan,
            policy,
            agenda: Agenda::default(),
            convoy,
            servers,
            vehicles,
            dice: dice.fork(3),
            calm: false,
            summary: Summary::default(),
            traces: (0..count).map(|_| VecDeque::new()).collect(),
            tracing,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for index in 0..self.vehicles.len() {
            let at = self.dice.below(10 * MINUTE);
            self.agenda.put(at, Happening::PowerOn(index));
            self.later(self.plan.cut, Happening::Cut(index));
            self.later(self.plan.kill, Happening::Kill(index));
            self.later(self.plan.wish, Happening::Wish(index));
            self.later(self.plan.silence, Happening::Silence(index));
            self.later(self.plan.configure, Happening::Configure(index));
            self.later(self.plan.disk, Happening::Disk(index));
            self.later(self.plan.card, Happening::Card(index));
        }
        for index in 0..self.servers.len() {
            self.later(self.plan.mood, Happening::Mood(index));
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
            match self.happen(what) {
                Ok(false) => {}
                Ok(true) => break,
                Err((index, broken)) => {
                    return Err(Box::new(Failure {
                        seed,
                        vehicle: self.vehicles[index].name.clone(),
                        at,
                        broken,
                        trace: self.traces[index].drain(..).collect(),
                    }));
                }
            }
        }
        self.summary.vehicle_s = self.now / SECOND * self.vehicles.len() as u64;
        Ok(self.summary)
    }

    /// Lets one thing happen; true when the run is over.
    fn happen(&mut self, what: Happening) -> Result<bool, (usize, Broken)> {
        match what {
            Happening::Mood(_)
            | Happening::Cut(_)
            | Happening::Card(_)
            | Happening::Kill(_)
            | Happening::Disk(_)
            | Happening::Wish(_)
            | Happening::Silence(_)
            | Happening::Configure(_)
                if self.calm => {}
            Happening::Drive => self.drive()?,
            Happening::Mood(index) => self.change_mood(index),
            Happening::Host(index) => self.look_after(index)?,
            Happening::Calm => self.calm_down()?,
            Happening::End => return self.judge().map(|()| true),
            Happening::Cut(index) => self.cut(index)?,
            Happening::PowerOn(index) => self.power_on(index),
            Happening::Clock(index) => self.vehicles[index].wall_off_ms = 0,
            Happening::Card(index) => self.change_card(index)?,
            Happening::Kill(index) => self.kill(index)?,
            Happening::Start(index) => self.start(index)?,
            Happening::Disk(index) => self.break_disk(index),
            Happening::Wish(index) => self.wish(index)?,
            Happening::Release(index) => self.tell_wish(index, Wish::Policy)?,
            Happening::Silence(index) => self.silence(index),
            Happening::Configure(index) => {
                self.vehicles[index].outdated = true;
                self.later(self.plan.configure, Happening::Configure(index));
            }
            Happening::K3s(index, run) => self.k3s_lives(index, run)?,
            Happening::Tick(index, number) => self.tick(index, number)?,
            Happening::Done(index, number, task) => self.done(index, number, *task)?,
        }
        Ok(false)
    }

    fn runs(&self, index: usize, number: u32) -> bool {
        self.vehicles[index].process.as_ref().is_some_and(|process| process.number == number)
    }

    /// Writes a line of the trace.
    fn note(&mut self, index: usize, line: impl FnOnce(&Vehicle) -> String) {
        if !self.tracing {
            return;
        }
        let vehicle = &self.vehicles[index];
        let line = format!("{} {} {}", stamped(self.now), vehicle.name, line(vehicle));
        if self.settings.trace {
            println!("{line}");
        }
        let trace = &mut self.traces[index];
        if trace.len() == TRACE_LINES {
            trace.pop_front();
        }
        trace.push_back(line);
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

    fn drive(&mut self) -> Outcome {
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

    /// What the mesh says: the path, whatever of the link is silent for other reasons shows there too.
    fn tell_ways(&mut self, index: usize) -> Outcome {
        let paths: Vec<(String, Option<u32>)> = (0..self.servers.len())
            .map(|server| {
                let name = self.servers[server].name.clone();
                (name, self.way(index, server).map(|(cost, _)| cost))
            })
            .collect();
        let Some(process) = &mut self.vehicles[index].process else { return Ok(()) };
        let mut ways = BTreeMap::new();
        for (name, cost) in paths {
            let way = match cost {
                Some(cost) => {
                    process.in_mesh.insert(name.clone());
                    Way::Costs(cost)
                }
                None if process.in_mesh.contains(&name) => Way::None,
                None => Way::Unmeasured,
            };
            ways.insert(name, way);
        }
        if process.ways == ways {
            return Ok(());
        }
        process.ways.clone_from(&ways);
        self.feed(index, |steward, now| steward.ways(&ways, now))
    }

    /// Tells the machine something and does what it wants.
    fn feed(
        &mut self,
        index: usize,
        tell: impl FnOnce(&mut Steward, outrider::core::time::Mono) -> Orders,
    ) -> Outcome {
        let now = self.vehicles[index].mono(self.now);
        let Some(process) = &mut self.vehicles[index].process else { return Ok(()) };
        let orders = tell(&mut process.steward, now);
        self.obey(index, orders)
    }

    fn obey(&mut self, index: usize, orders: Orders) -> Outcome {
        for change in orders.changes {
            self.note(index, |_| {
                format!("{:?} -> {:?}: {}", change.from, change.to, change.reason)
            });
            self.changed(change.to);
        }
        for task in orders.tasks {
            self.take(index, task)?;
        }
        self.plan_tick(index)
    }

    fn tell(&mut self, index: usize, report: Report) -> Outcome {
        self.feed(index, |steward, now| steward.report(report, now))
    }

    fn plan_tick(&mut self, index: usize) -> Outcome {
        let vehicle = &mut self.vehicles[index];
        let Some(process) = &vehicle.process else { return Ok(()) };
        let Some(due) = process.steward.deadline() else { return Ok(()) };
        let due = vehicle.moment_of(due).max(self.now);
        let Some(process) = &mut vehicle.process else { return Ok(()) };
        if process.tick_at == Some(due) {
            return Ok(());
        }
        process.tick_at = Some(due);
        if due > self.now {
            process.spins = 0;
        } else {
            process.spins += 1;
            if process.spins > SPINS_MAX {
                return Err((
                    index,
                    Broken::new(
                        "no loop spins",
                        format!("it wakes for nothing: {:?}", process.steward),
                    ),
                ));
            }
        }
        let number = process.number;
        self.agenda.put(due, Happening::Tick(index, number));
        Ok(())
    }

    fn tick(&mut self, index: usize, number: u32) -> Outcome {
        let now = self.now;
        if !self.runs(index, number) {
            return Ok(());
        }
        match &mut self.vehicles[index].process {
            Some(process) if process.tick_at == Some(now) => process.tick_at = None,
            _ => return Ok(()),
        }
        self.feed(index, Steward::tick)
    }

    fn change_mood(&mut self, index: usize) {
        let sick = self.servers[index].mood == Mood::Up;
        let may_die = self.servers.iter().all(|server| server.mood != Mood::Dead);
        let server = &mut self.servers[index];
        if server.mood == Mood::Dead {
            return;
        }
        server.mood = match (sick, self.dice.below(20)) {
            (true, 0) if may_die => Mood::Dead,
            (true, 1..=8) => Mood::Stalled,
            (true, _) => Mood::Down,
            (false, _) => Mood::Up,
        };
        self.summary.moods += 1;
        let (name, mood) = (server.name.clone(), server.mood);
        for vehicle in 0..self.vehicles.len() {
            self.note(vehicle, |_| format!("({name} is {mood:?})"));
        }
        self.later(self.plan.mood, Happening::Mood(index));
    }

    /// The agent beside a server does its work.
    fn look_after(&mut self, index: usize) -> Outcome {
        self.agenda.put(self.now + HOST_EVERY, Happening::Host(index));
        if self.servers[index].mood != Mood::Up {
            return Ok(());
        }
        let mono = outrider::core::time::Mono::from_nanos(self.now * 1_000);
        let name = self.servers[index].name.clone();
        for (node, heard) in self.servers[index].look_after(mono) {
            self.summary.deleted += 1;
            self.summary.deleted_by_host += 1;
            let Some(vehicle) = self.vehicles.iter().position(|vehicle| vehicle.name == node.name)
            else {
                continue;
            };
            self.note(vehicle, |_| format!("(the host of {name} deletes {})", node.uid));
            self.deleted_by_host(vehicle, &name, &node.uid, heard)?;
        }
        Ok(())
    }

    /// All trouble ends: everybody stands together, and everything works that still exists.
    fn calm_down(&mut self) -> Outcome {
        self.calm = true;
        self.convoy.gather();
        for server in &mut self.servers {
            if server.mood != Mood::Dead {
                server.mood = Mood::Up;
            }
        }
        for index in 0..self.vehicles.len() {
            self.note(index, |_| "trouble ends".to_owned());
            self.vehicles[index].silent_until = 0;
            self.vehicles[index].disk.fails = false;
            self.agenda.put(self.now + MINUTE, Happening::PowerOn(index));
            // Some operators want what they want for good.
            if !self.dice.one_in(4) || self.vehicles[index].wish() == Wish::Hold {
                self.agenda.put(self.now + MINUTE, Happening::Release(index));
            }
        }
        Ok(())
    }

    /// The agent ends at once; what was under way at that moment has been done or not.
    fn end_process(&mut self, index: usize) -> Outcome {
        let Some(process) = self.vehicles[index].process.take() else { return Ok(()) };
        if let Some(intent) = process.save
            && self.dice.one_in(2)
        {
            self.store(index, intent);
        }
        if let Some(step) = process.step
            && self.dice.one_in(2)
        {
            let _ = self.perform(index, &step)?;
        }
        Ok(())
    }

    fn kill(&mut self, index: usize) -> Outcome {
        self.later(self.plan.kill, Happening::Kill(index));
        if self.vehicles[index].process.is_none() {
            return Ok(());
        }
        self.summary.kills += 1;
        self.note(index, |_| "the agent is killed".to_owned());
        self.end_process(index)?;
        let at = self.now + self.dice.between(1, 30) * SECOND;
        self.agenda.put(at, Happening::Start(index));
        Ok(())
    }

    fn cut(&mut self, index: usize) -> Outcome {
        self.later(self.plan.cut, Happening::Cut(index));
        if !self.vehicles[index].powered {
            return Ok(());
        }
        self.summary.cuts += 1;
        self.note(index, |_| "the power goes".to_owned());
        self.end_process(index)?;
        let vehicle = &mut self.vehicles[index];
        vehicle.powered = false;
        vehicle.k3s.run += 1;
        vehicle.k3s.unit = Unit::Stopped;
        let away = if self.dice.one_in(10) { HOUR } else { 3 * MINUTE };
        let at = self.now + self.dice.about(away);
        self.agenda.put(at, Happening::PowerOn(index));
        Ok(())
    }

    fn power_on(&mut self, index: usize) {
        let vehicle = &mut self.vehicles[index];
        if vehicle.powered {
            return;
        }
        vehicle.powered = true;
        vehicle.boot_at = self.now;
        // Half of the boards have no clock: 1970, until somebody tells them.
        vehicle.wall_off_ms = if self.dice.one_in(2) { -1_799_000_000_000 } else { 0 };
        // The unit is enabled, so k3s comes up before the agent says anything.
        if vehicle.disk.equipped.is_some() {
            vehicle.start_k3s();
            let run = vehicle.k3s.run;
            self.agenda.put(self.now + K3S_EVERY, Happening::K3s(index, run));
        }
        self.note(index, |vehicle| format!("has power; its disk has {:?}", vehicle.disk));
        let at = self.now + self.dice.between(1, 40) * SECOND;
        self.agenda.put(at, Happening::Start(index));
        let at = self.now + self.dice.about(10 * MINUTE);
        self.agenda.put(at, Happening::Clock(index));
    }

    /// The vehicle gets another card: it knows nothing of what it was.
    fn change_card(&mut self, index: usize) -> Outcome {
        self.later(self.plan.card, Happening::Card(index));
        if self.vehicles[index].powered {
            self.cut(index)?;
        }
        self.note(index, |_| "gets another card".to_owned());
        let all = self.servers.iter().map(|server| server.name.clone());
        let vehicle = &mut self.vehicles[index];
        vehicle.disk = vehicle::Disk::default();
        vehicle.joins_ms.clear();
        vehicle.forgotten = all.collect::<BTreeSet<String>>();
        Ok(())
    }

    fn start(&mut self, index: usize) -> Outcome {
        let policy = self.policy.clone();
        let vehicle = &mut self.vehicles[index];
        if !vehicle.powered || vehicle.process.is_some() {
            return Ok(());
        }
        vehicle.processes += 1;
        vehicle.watched_since = self.now;
        let intent = vehicle.disk.intent.clone().unwrap_or_default();
        // As it is stored and read.
        let intent = Intent::from_json(&intent.to_json()).unwrap_or_default();
        let now = vehicle.mono(self.now);
        vehicle.process = Some(Process {
            number: vehicle.processes,
            steward: Steward::new(policy, intent, now),
            step: None,
            save: None,
            tick_at: None,
            spins: 0,
            in_mesh: BTreeSet::new(),
            ways: BTreeMap::new(),
            started_ms: None,
        });
        self.note(index, |vehicle| {
            format!("the agent starts with {:?}", vehicle.disk.intent.as_ref())
        });
        self.plan_tick(index)
    }

    fn break_disk(&mut self, index: usize) {
        let disk = &mut self.vehicles[index].disk;
        disk.fails = !disk.fails && !self.calm;
        let fails = disk.fails;
        self.note(index, |_| format!("(its disk {})", if fails { "fails" } else { "works" }));
        let mean = if fails { 10 * MINUTE } else { self.plan.disk };
        self.later(mean, Happening::Disk(index));
    }

    fn wish(&mut self, index: usize) -> Outcome {
        self.later(self.plan.wish, Happening::Wish(index));
        let server = usize::try_from(self.dice.below(self.servers.len() as u64)).unwrap_or(0);
        let wish = match self.dice.below(6) {
            0 => Wish::Hold,
            1 => Wish::Leave { now: false },
            2 => Wish::Leave { now: true },
            3 => Wish::Join(self.servers[server].name.clone()),
            _ => Wish::Policy,
        };
        self.tell_wish(index, wish)
    }

    fn tell_wish(&mut self, index: usize, wish: Wish) -> Outcome {
        if self.vehicles[index].process.is_none() {
            // The command finds nobody; the operator tries again.
            if self.calm {
                self.agenda.put(self.now + MINUTE, Happening::Release(index));
            }
            return Ok(());
        }
        self.summary.wishes += 1;
        self.note(index, |_| format!("the operator wants {wish:?}"));
        self.vehicles[index].watched_since = self.now;
        self.feed(index, |steward, now| steward.wish(wish, now))
    }

    fn silence(&mut self, index: usize) {
        self.later(self.plan.silence, Happening::Silence(index));
        let lasts = self.dice.about(self.dice.clone().pick(&[MINUTE, 10 * MINUTE, HOUR]));
        self.vehicles[index].silent_until = self.now + lasts;
        self.note(index, |_| format!("(its link is silent for {} s)", lasts / SECOND));
    }

    /// k3s asks its server, or tells it that it is alive.
    fn k3s_lives(&mut self, index: usize, run: u32) -> Outcome {
        if self.vehicles[index].k3s.run != run {
            return Ok(());
        }
        let Some(name) = self.vehicles[index].k3s.of.clone() else { return Ok(()) };
        let answers = self.server(&name).filter(|server| self.api(index, *server));
        let clock_ms = self.vehicles[index].wall_ms(self.now);
        match (self.vehicles[index].k3s.unit, answers) {
            (Unit::Starting, None) => self.vehicles[index].k3s.answers = 0,
            (Unit::Starting, Some(server)) => {
                self.vehicles[index].k3s.answers += 1;
                if self.vehicles[index].k3s.answers > 2 {
                    self.k3s_joins(index, server, clock_ms)?;
                }
            }
            (Unit::Active, Some(server)) => {
                let vehicle = &self.vehicles[index];
                let uid = vehicle.k3s.uid.clone().unwrap_or_default();
                self.servers[server].heartbeat(&vehicle.name, &uid, clock_ms, self.now);
            }
            (Unit::Active | Unit::Absent | Unit::Stopped | Unit::Stopping | Unit::Failed, _) => {}
        }
        if !self.calm && self.dice.one_in(3_000) {
            self.note(index, |_| "k3s ends by itself and is started again".to_owned());
            self.vehicles[index].start_k3s();
        }
        let run = self.vehicles[index].k3s.run;
        self.agenda.put(self.now + K3S_EVERY, Happening::K3s(index, run));
        Ok(())
    }

    fn k3s_joins(&mut self, index: usize, server: usize, clock_ms: i64) -> Outcome {
        let federation = self.servers[server].name.clone();
        self.begins_beside(index, &federation)?;
        let vehicle = &mut self.vehicles[index];
        let password = vehicle.password(&federation);
        let (server, name) = (&mut self.servers[server], vehicle.name.clone());
        let uid = server.register(&name, password, clock_ms, self.now);
        let vehicle = &mut self.vehicles[index];
        if let Some(uid) = uid {
            vehicle.k3s.unit = Unit::Active;
            vehicle.k3s.uid = Some(uid.clone());
            vehicle.disk.residue = Some(federation.clone());
            vehicle.forgotten.remove(&federation);
            self.note(index, |_| format!("k3s is in {federation} as {uid}"));
        } else {
            self.note(index, |_| format!("k3s is refused in {federation}: another password"));
        }
        Ok(())
    }
}
