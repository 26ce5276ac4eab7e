//! Everything that goes wrong: moods of servers, silent links, power, processes, disks, cards, operators who change their minds.
//! All of it ends when the world calms down.

use std::collections::BTreeSet;

use outrider::core::membership::Wish;

use super::server::Mood;
use super::vehicle::Disk;
use super::{Happening, World};
use crate::agenda::{HOUR, MINUTE, SECOND};
use crate::failure::Kept;

impl World {
    /// A server behaves in another way.
    pub(super) fn change_mood(&mut self, index: usize) {
        let sick = self.servers[index].mood == Mood::Up;
        let may_die = self.servers.iter().all(|server| server.mood != Mood::Dead);
        let server = &mut self.servers[index];
        if server.mood == Mood::Dead {
            return;
        }
        match (sick, self.dice.below(20)) {
            (true, 0) if may_die => server.mood = Mood::Dead,
            (true, 1..=8) => server.mood = Mood::Stalled,
            (true, _) => server.mood = Mood::Down,
            // Its machine, too, or k3s alone; one that stalled needs nothing.
            (false, _) => server.come_up(server.mood == Mood::Down && self.dice.one_in(2)),
        }
        self.summary.moods += 1;
        let (name, mood) = (server.name.clone(), server.mood);
        for vehicle in 0..self.vehicles.len() {
            self.note(vehicle, |_| format!("({name} is {mood:?})"));
        }
        self.later(self.plan.faults.mood, Happening::Mood(index));
    }

    /// An agent is killed.
    pub(super) fn kill(&mut self, index: usize) -> Kept {
        self.later(self.plan.faults.kill, Happening::Kill(index));
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

    /// The power goes.
    pub(super) fn cut(&mut self, index: usize) -> Kept {
        self.later(self.plan.faults.cut, Happening::Cut(index));
        if !self.vehicles[index].powered {
            return Ok(());
        }
        self.summary.cuts += 1;
        self.note(index, |_| "the power goes".to_owned());
        self.end_process(index)?;
        let vehicle = &mut self.vehicles[index];
        vehicle.powered = false;
        vehicle.k3s.stop();
        let away = if self.dice.one_in(10) { HOUR } else { 3 * MINUTE };
        let at = self.now + self.dice.about(away);
        self.agenda.put(at, Happening::PowerOn(index));
        Ok(())
    }

    /// The power comes back: another boot.
    pub(super) fn power_on(&mut self, index: usize) {
        let vehicle = &mut self.vehicles[index];
        if vehicle.powered || vehicle.gone {
            return;
        }
        vehicle.powered = true;
        vehicle.boot_at = self.now;
        // Half of the boards have no clock: 1970, until somebody tells them.
        vehicle.wall_off_ms = if self.dice.one_in(2) { -1_799_000_000_000 } else { 0 };
        // The unit is enabled, so k3s comes up before the agent says anything.
        if vehicle.disk.equipped.is_some() {
            self.start_k3s(index);
        }
        self.note(index, |vehicle| format!("has power; its disk has {:?}", vehicle.disk));
        let at = self.now + self.dice.between(1, 40) * SECOND;
        self.agenda.put(at, Happening::Start(index));
        let at = self.now + self.dice.about(10 * MINUTE);
        self.agenda.put(at, Happening::Clock(index));
    }

    /// The vehicle gets another card: it knows nothing of what it was.
    pub(super) fn change_card(&mut self, index: usize) -> Kept {
        self.later(self.plan.faults.card, Happening::Card(index));
        if self.vehicles[index].gone {
            return Ok(());
        }
        if self.vehicles[index].powered {
            self.cut(index)?;
        }
        self.note(index, |_| "gets another card".to_owned());
        let all = self.servers.iter().map(|server| server.name.clone());
        let vehicle = &mut self.vehicles[index];
        vehicle.disk = Disk::default();
        vehicle.joins_ms.clear();
        vehicle.forgotten = all.collect::<BTreeSet<String>>();
        Ok(())
    }

    /// A vehicle is taken out of service: by somebody who tells it to leave and does not wait until it has, or by a crash.
    pub(super) fn retire(&mut self, index: usize) -> Kept {
        let mut after = SECOND;
        if self.dice.one_in(2) {
            self.tell_wish(index, Wish::Leave { now: false })?;
            after = self.dice.about(10 * SECOND);
        }
        self.agenda.put(self.now + after, Happening::Gone(index));
        Ok(())
    }

    /// A vehicle is switched off for good.
    pub(super) fn be_gone(&mut self, index: usize) -> Kept {
        self.summary.gone += 1;
        self.note(index, |_| "is switched off for good".to_owned());
        self.end_process(index)?;
        let vehicle = &mut self.vehicles[index];
        (vehicle.powered, vehicle.gone) = (false, true);
        vehicle.k3s.stop();
        Ok(())
    }

    /// A disk begins to fail, or works again.
    pub(super) fn break_disk(&mut self, index: usize) {
        let disk = &mut self.vehicles[index].disk;
        disk.fails = !disk.fails && !self.calm;
        let fails = disk.fails;
        self.note(index, |_| format!("(its disk {})", if fails { "fails" } else { "works" }));
        let mean = if fails { 10 * MINUTE } else { self.plan.faults.disk };
        self.later(mean, Happening::Disk(index));
    }

    /// The configuration changes: the drop-in is out of date.
    pub(super) fn configure(&mut self, index: usize) {
        self.vehicles[index].outdated = true;
        self.later(self.plan.faults.configure, Happening::Configure(index));
    }

    /// An operator wants something else.
    pub(super) fn wish(&mut self, index: usize) -> Kept {
        self.later(self.plan.faults.wish, Happening::Wish(index));
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

    pub(super) fn tell_wish(&mut self, index: usize, wish: Wish) -> Kept {
        if self.vehicles[index].process.is_none() {
            // The command finds nobody; the operator tries again.
            if self.calm && !self.vehicles[index].gone {
                self.agenda.put(self.now + MINUTE, Happening::Release(index));
            }
            return Ok(());
        }
        self.summary.wishes += 1;
        self.note(index, |_| format!("the operator wants {wish:?}"));
        self.vehicles[index].watched_since = self.now;
        self.feed(index, |steward, now| steward.wish(wish, now))
    }

    /// A link goes silent.
    pub(super) fn silence(&mut self, index: usize) {
        self.later(self.plan.faults.silence, Happening::Silence(index));
        let mean = self.dice.pick(&[MINUTE, 10 * MINUTE, HOUR]);
        let lasts = self.dice.about(mean);
        self.vehicles[index].silent_until = self.now + lasts;
        self.note(index, |_| format!("(its link is silent for {} s)", lasts / SECOND));
    }

    /// All trouble ends: everybody stands together, and everything works that still exists.
    pub(super) fn calm_down(&mut self) {
        self.calm = true;
        self.convoy.gather();
        for server in &mut self.servers {
            if !matches!(server.mood, Mood::Dead | Mood::Up) {
                server.come_up(false);
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
    }
}
