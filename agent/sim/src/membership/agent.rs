//! The agent on a vehicle: when its process runs, what it is told, and when it wakes. What it wants done is in [`super::tasks`].

use std::collections::{BTreeMap, BTreeSet};

use outrider::core::membership::steward::{Orders, Report, Steward, Way};
use outrider::core::membership::{Intent, State};
use outrider::core::time::Mono;

use super::vehicle::Process;
use super::{Happening, World};
use crate::agenda::SPINS_MAX;
use crate::failure::{Broken, Kept};

impl World {
    pub(super) fn start(&mut self, index: usize) -> Kept {
        let policy = self.plan.policy.clone();
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

    /// The agent ends at once; what was under way at that moment has been done or not.
    pub(super) fn end_process(&mut self, index: usize) -> Kept {
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

    pub(super) fn runs(&self, index: usize, number: u32) -> bool {
        self.vehicles[index].process.as_ref().is_some_and(|process| process.number == number)
    }

    /// What the mesh says: the path, whatever of the link is silent for other reasons shows there too.
    pub(super) fn tell_ways(&mut self, index: usize) -> Kept {
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
    pub(super) fn feed(
        &mut self,
        index: usize,
        tell: impl FnOnce(&mut Steward, Mono) -> Orders,
    ) -> Kept {
        let now = self.vehicles[index].mono(self.now);
        let Some(process) = &mut self.vehicles[index].process else { return Ok(()) };
        let orders = tell(&mut process.steward, now);
        self.obey(index, orders)
    }

    fn obey(&mut self, index: usize, orders: Orders) -> Kept {
        for change in orders.changes {
            self.note(index, |_| {
                format!("{:?} -> {:?}: {}", change.from, change.to, change.reason)
            });
            self.summary.joined += u64::from(change.to == State::Member);
        }
        for task in orders.tasks {
            self.take(index, task)?;
        }
        self.plan_tick(index)
    }

    pub(super) fn tell(&mut self, index: usize, report: Report) -> Kept {
        self.feed(index, |steward, now| steward.report(report, now))
    }

    fn plan_tick(&mut self, index: usize) -> Kept {
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

    pub(super) fn tick(&mut self, index: usize, number: u32) -> Kept {
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
}
