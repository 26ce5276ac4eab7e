//! Everything that goes wrong: power, processes, disks, clocks, links, daemons, the broker. When, how often and how hard is
//! drawn; all of it ends when the world calms down.

use std::io::ErrorKind;
use std::time::Duration;

use outrider::core::agent::{Agent, Input};
use spool::simulated::{Fault, Left, Operation};

use crate::agenda::{HOUR, MINUTE, MS, Moment, SECOND};
use crate::broker::{Mood, Trouble};
use crate::bug::Bug;
use crate::failure::Kept;
use crate::plan;
use crate::vehicle::{Process, WALL_MS};
use crate::world::{Happening, World};

/// Time that an agent has for its goodbye, as in `outrider::shell::run`.
const FAREWELL_MAX: Moment = 3 * SECOND;

/// The kind of disk fault in which syncs fail.
const SYNC_FAILS: u64 = 1;

/// How often it is looked whether the goodbye is said.
const FAREWELL_LOOK: Moment = 100 * MS;

impl World {
    /// Puts down the first trouble of each kind for a vehicle.
    pub(crate) fn plan_trouble(&mut self, index: usize) {
        let faults = self.plan.faults;
        self.later(faults.cut, Happening::Cut(index, true));
        self.later(faults.kill, Happening::Kill(index));
        self.later(faults.stop, Happening::Stop(index));
        self.later(faults.stop, Happening::Reload(index));
        self.later(faults.disk, Happening::DiskFails(index));
        self.later(faults.clock, Happening::Clock(index));
        self.later(faults.silence, Happening::Silence(index));
        self.later(faults.daemon, Happening::Daemon(index));
    }

    /// The power goes, now or within the next changes of the disk; `again` when the next cut is to be drawn, too.
    pub(crate) fn cut(&mut self, index: usize, again: bool) {
        if self.calm {
            return;
        }
        if again {
            self.later(self.plan.faults.cut, Happening::Cut(index, true));
        }
        let vehicle = &mut self.vehicles[index];
        if !vehicle.powered {
            return;
        }
        if vehicle.process.is_none() || vehicle.dice.one_in(3) {
            self.power_lost(index);
            return;
        }
        let within = vehicle.dice.between(1, 12);
        vehicle.disk.cut_power_at(vehicle.disk.usage().changes + within);
    }

    /// The power has gone.
    pub(crate) fn power_lost(&mut self, index: usize) {
        self.note(index, || "the power goes".to_owned());
        self.summary.cuts += 1;
        self.drop_connection(index);
        let vehicle = &mut self.vehicles[index];
        vehicle.powered = false;
        vehicle.process = None;
        vehicle.ledger.crashed();
        vehicle.crashes += 1;
        let off = match vehicle.dice.below(4) {
            0 => vehicle.dice.about(HOUR),
            _ => vehicle.dice.about(MINUTE),
        };
        self.agenda.put(self.now + off, Happening::PowerOn(index));
    }

    /// The power comes back: another boot.
    pub(crate) fn power_on(&mut self, index: usize) {
        let now = self.now;
        let vehicle = &mut self.vehicles[index];
        if vehicle.powered {
            return;
        }
        let left = match vehicle.dice.below(4) {
            0 => Left::Nothing,
            1 => Left::Everything,
            _ => Left::Some(vehicle.dice.roll()),
        };
        vehicle.disk.restart(left);
        vehicle.powered = true;
        vehicle.boots += 1;
        vehicle.boot_at = now;
        vehicle.daemon_at = now;
        // A machine without a battery for its clock begins in 1970.
        if vehicle.dice.one_in(3) {
            vehicle.wall_off_ms = -(WALL_MS + (now / MS) as i64);
            vehicle.synchronised = false;
        }
        let at = now + vehicle.dice.between(2, 40) * SECOND;
        self.agenda.put(at, Happening::Start(index));
        self.note(index, || format!("boots, {left:?} is left of what was not synced"));
    }

    /// An agent starts.
    pub(crate) fn start(&mut self, index: usize) -> Kept {
        let now = self.now;
        let takes = self.opening_takes();
        let vehicle = &mut self.vehicles[index];
        if !vehicle.powered || vehicle.process.is_some() {
            return Ok(());
        }
        vehicle.processes += 1;
        let number = vehicle.processes;
        let clocks = vehicle.clocks(now);
        let boot_id = vehicle.boot_id();
        let mut agent = Agent::new(vehicle.config.clone(), &boot_id, &["load"], clocks);
        if let Some(day) = vehicle.day {
            agent.resume_day(day);
        }
        vehicle.process = Some(Process::new(number, agent));
        self.note(index, || format!("the agent starts as {number}"));
        self.agenda.put(now + takes, Happening::Open(index, number));
        self.agenda.put(now + 10 * MS, Happening::Connect(index, number));
        self.feed(index, Input::Tick)
    }

    /// An agent is killed.
    pub(crate) fn kill(&mut self, index: usize) {
        if self.calm {
            return;
        }
        self.later(self.plan.faults.kill, Happening::Kill(index));
        self.drop_connection(index);
        let vehicle = &mut self.vehicles[index];
        if vehicle.process.take().is_none() {
            return;
        }
        vehicle.ledger.crashed();
        vehicle.crashes += 1;
        // A process that the kernel cannot end yet still has the folder.
        let lingers = if vehicle.dice.one_in(8) { vehicle.dice.about(MINUTE) } else { 0 };
        self.agenda.put(self.now + lingers, Happening::Unlock(index));
        self.summary.kills += 1;
        self.note(index, || "the agent is killed".to_owned());
        let at = self.now + self.dice.between(1, 60) * SECOND;
        self.agenda.put(at, Happening::Start(index));
    }

    /// Somebody has the settings read again.
    pub(crate) fn reload(&mut self, index: usize) -> Kept {
        self.later(self.plan.faults.stop, Happening::Reload(index));
        let vehicle = &mut self.vehicles[index];
        vehicle.config.mesh.interval = Duration::from_secs(vehicle.dice.pick(&[5, 10, 30]));
        let config = Box::new(vehicle.config.clone());
        let effective = vec!["mesh.interval".to_owned()];
        self.feed(index, Input::Reloaded { config, effective, need_restart: Vec::new() })
    }

    /// An agent is stopped as it should be.
    pub(crate) fn stop(&mut self, index: usize) -> Kept {
        if self.calm {
            return Ok(());
        }
        self.later(self.plan.faults.stop, Happening::Stop(index));
        let now = self.now;
        let Some(process) = &mut self.vehicles[index].process else { return Ok(()) };
        if process.stop_by.is_some() {
            return Ok(());
        }
        process.stop_by = Some(now + FAREWELL_MAX);
        let number = process.number;
        self.note(index, || "the agent is told to stop".to_owned());
        self.agenda.put(now + FAREWELL_LOOK, Happening::Goodbye(index, number));
        self.feed(index, Input::Stop)
    }

    /// An agent that stops has said what it could, or has no more time.
    pub(crate) fn goodbye(&mut self, index: usize, number: u32) -> Kept {
        let now = self.now;
        if !self.runs(index, number) {
            return Ok(());
        }
        let Some(process) = &mut self.vehicles[index].process else { return Ok(()) };
        let sends = process.agent.is_sending() && process.client.connection.is_some();
        if sends && process.stop_by.is_some_and(|by| now < by) {
            self.agenda.put(now + FAREWELL_LOOK, Happening::Goodbye(index, number));
            return Ok(());
        }
        self.close_queue(index)?;
        self.drop_connection(index);
        let vehicle = &mut self.vehicles[index];
        if vehicle.process.take().is_none() {
            return Ok(());
        }
        vehicle.ledger.crashed();
        vehicle.disk.release_lock();
        if vehicle.dice.one_in(2) {
            plan::edit(&mut vehicle.dice, &mut vehicle.config);
        }
        let at = now + vehicle.dice.between(1, 300) * SECOND;
        self.note(index, || "the agent has stopped".to_owned());
        self.agenda.put(at, Happening::Start(index));
        Ok(())
    }

    /// A wall clock is set.
    pub(crate) fn set_clock(&mut self, index: usize) {
        if self.calm {
            return;
        }
        self.later(self.plan.faults.clock, Happening::Clock(index));
        let vehicle = &mut self.vehicles[index];
        let far = vehicle.dice.about(HOUR / MS) as i64;
        vehicle.wall_off_ms = match vehicle.dice.below(5) {
            0 => -WALL_MS,
            1 => vehicle.wall_off_ms + far,
            2 => vehicle.wall_off_ms - far,
            3 => vehicle.wall_off_ms + far * 24 * 365,
            _ => 0,
        };
        vehicle.synchronised = vehicle.wall_off_ms == 0;
        let off = vehicle.wall_off_ms;
        self.note(index, || format!("the wall clock is off by {off} ms"));
    }

    /// A disk begins to fail.
    pub(crate) fn disk_fails(&mut self, index: usize) {
        if self.calm {
            return;
        }
        self.later(self.plan.faults.disk, Happening::DiskFails(index));
        let now = self.now;
        let vehicle = &mut self.vehicles[index];
        if vehicle.disk_fails || !vehicle.powered {
            return;
        }
        let dice = &mut vehicle.dice;
        let (after, times) = (dice.below(20), dice.pick(&[1, 1, 2, 5, 100_000]));
        let kinds = if vehicle.plan.may_rot { 7 } else { 5 };
        let kind = match self.settings.bug {
            Some(Bug::FailedSyncIgnored) => SYNC_FAILS,
            _ => dice.below(kinds),
        };
        let lasts = dice.about(20 * MINUTE);
        let io = ErrorKind::Other;
        let fail = |operation, kind| vehicle.disk.fail(Fault { operation, after, times, kind });
        match kind {
            0 => fail(Operation::Append, io),
            SYNC_FAILS => fail(Operation::Sync, io),
            2 => vehicle.disk.set_capacity(Some(vehicle.disk.used_bytes() + after * 1024)),
            3 => vehicle.disk.set_read_only(true),
            4 => {
                fail(Operation::Create, ErrorKind::StorageFull);
                fail(Operation::SyncFolder, io);
            }
            // A reader that is reset does not even list or open.
            5 => fail(
                [Operation::Read, Operation::Read, Operation::Open, Operation::List]
                    [after as usize % 4],
                io,
            ),
            _ => {
                let names = vehicle.disk.names();
                let name = &names[vehicle.dice.below(names.len() as u64) as usize];
                let at = vehicle.dice.below(64 * 1024);
                vehicle.disk.spoil(name, at..at + 4096);
            }
        }
        vehicle.disk_fails = true;
        vehicle.ledger.excuse(|excuses| {
            excuses.disk_refused = true;
            excuses.damaged |= kind >= 5;
        });
        self.summary.disk_faults += 1;
        self.note(index, || format!("the disk fails, kind {kind}, {times} times after {after}"));
        self.agenda.put(now + lasts, Happening::DiskHeals(index));
        // What makes a disk fail is often the supply of power.
        if self.plan.faults.cut > 0 && self.dice.one_in(3) {
            self.later(lasts, Happening::Cut(index, false));
        }
    }

    /// And works again.
    pub(crate) fn disk_heals(&mut self, index: usize) {
        let vehicle = &mut self.vehicles[index];
        vehicle.disk.heal();
        vehicle.disk_fails = false;
        self.plant(index);
        self.note(index, || "the disk works".to_owned());
    }

    /// Makes the mistakes of a disk that are asked for.
    pub(crate) fn plant(&mut self, index: usize) {
        let disk = &self.vehicles[index].disk;
        disk.set_forgetful(self.settings.bug == Some(Bug::FolderNotSynced));
        disk.set_deaf(self.settings.bug == Some(Bug::FailedSyncIgnored));
    }

    /// A link goes silent.
    pub(crate) fn silence(&mut self, index: usize) {
        if self.calm {
            return;
        }
        self.later(self.plan.faults.silence, Happening::Silence(index));
        let lasts = self.dice.about(self.plan.faults.silence_lasts);
        let vehicle = &mut self.vehicles[index];
        vehicle.silent_until = vehicle.silent_until.max(self.now + lasts);
        let until = vehicle.silent_until;
        self.look_at_way(index);
        self.agenda.put(until, Happening::Sound(index));
    }

    /// The routing daemon does not answer, or is restarted.
    pub(crate) fn daemon_fails(&mut self, index: usize) {
        if self.calm {
            return;
        }
        self.later(self.plan.faults.daemon, Happening::Daemon(index));
        let vehicle = &mut self.vehicles[index];
        if vehicle.dice.one_in(2) {
            vehicle.daemon_at = self.now;
        } else {
            vehicle.daemon_silent_until = self.now + vehicle.dice.about(10 * MINUTE);
        }
    }

    /// The broker behaves in another way.
    pub(crate) fn change_mood(&mut self) {
        if self.calm {
            return;
        }
        self.broker.mood = Mood::draw(&mut self.dice);
        self.later(self.plan.mood_lasts, Happening::Mood);
    }

    /// The broker stalls, is away, or restarts.
    pub(crate) fn broker_fails(&mut self) -> Kept {
        if self.calm {
            return Ok(());
        }
        self.later(self.plan.faults.broker, Happening::BrokerFails);
        if self.broker.trouble.is_some() {
            return Ok(());
        }
        let kind = self.dice.below(3);
        if kind == 0 {
            return self.broker_restarts();
        }
        let trouble = if kind == 1 { Trouble::Stalled } else { Trouble::Away };
        if trouble == Trouble::Away {
            self.broker_restarts()?;
        }
        self.broker.trouble = Some(trouble);
        let lasts = self.dice.about(10 * MINUTE);
        self.agenda.put(self.now + lasts, Happening::BrokerBack);
        Ok(())
    }

    /// The broker loses all that it has in memory, and all connections.
    pub(crate) fn broker_restarts(&mut self) -> Kept {
        for (connection, index) in self.broker.restart() {
            self.note(index, || "the broker restarts".to_owned());
            self.close(index, connection, "the broker restarted")?;
        }
        Ok(())
    }

    /// The broker goes on.
    pub(crate) fn broker_back(&mut self) -> Kept {
        if self.broker.trouble.take() != Some(Trouble::Stalled) {
            return Ok(());
        }
        for (connection, publish) in std::mem::take(&mut self.broker.waiting) {
            if let Some(&index) = self.broker.connections.get(&connection) {
                self.take(index, connection, publish)?;
            }
        }
        Ok(())
    }
}
