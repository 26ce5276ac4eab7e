//! What the machine wants done: how long it takes, what it does, and what comes of it.

use std::time::Duration;

use outrider::core::membership::kube::Owner;
use outrider::core::membership::steward::{Report, Task, Unseen};
use outrider::core::membership::{Deferred, Intent, LeaveStep, NodeSeen, Outcome, Step};

use super::bug::Bug;
use super::{Happening, World};
use crate::agenda::{MS, Moment, SECOND, micros};
use crate::failure::Kept;

/// Cost beyond which nothing that has several round trips works.
const COST_MAX: u32 = 1_500;

impl World {
    /// A task begins.
    pub(super) fn take(&mut self, index: usize, task: Task) -> Kept {
        self.summary.tasks += 1;
        self.may_begin(index, &task)?;
        let lasts = self.lasts(index, &task);
        let vehicle = &mut self.vehicles[index];
        let Some(process) = &mut vehicle.process else { return Ok(()) };
        match &task {
            Task::Save(intent) => process.save = Some((**intent).clone()),
            Task::Step(step) => process.step = Some(step.clone()),
            Task::Try { .. } | Task::Look | Task::AskForNode { .. } => {}
        }
        let number = process.number;
        if let Task::Step(step) = &task {
            self.note(index, |_| format!("{step:?}"));
        }
        self.agenda.put(self.now + lasts, Happening::Done(index, number, Box::new(task)));
        Ok(())
    }

    fn lasts(&mut self, index: usize, task: &Task) -> Moment {
        let trip = |world: &World, federation: &str| {
            let server = world.server(federation)?;
            world.connection(index, server).map(|(_, trip)| trip)
        };
        match task {
            Task::Try { federation, within } => {
                trip(self, federation).unwrap_or(Moment::MAX).min(micros(*within))
            }
            Task::Look => self.dice.between(10, 300) * MS,
            Task::AskForNode { federation, .. } => {
                3 * trip(self, federation).unwrap_or(4 * SECOND) + 5 * MS
            }
            Task::Save(_) => self.dice.between(2, 400) * MS,
            Task::Step(Step::Preflight { federation }) => {
                4 * trip(self, federation).unwrap_or(4 * SECOND) + SECOND
            }
            Task::Step(Step::Finish(Deferred { federation, .. })) => {
                3 * trip(self, federation).unwrap_or(4 * SECOND) + 5 * MS
            }
            Task::Step(Step::Equip { .. } | Step::Start | Step::Restart) => {
                self.dice.between(50, 2_000) * MS
            }
            Task::Step(Step::Part { federation, step, .. }) => match step {
                LeaveStep::Announce | LeaveStep::Cordon | LeaveStep::Delete => {
                    3 * trip(self, federation).unwrap_or(4 * SECOND) + 5 * MS
                }
                LeaveStep::Drain | LeaveStep::Stop => self.dice.between(1, 30) * SECOND,
                LeaveStep::CleanUp => self.dice.between(1, 8) * SECOND,
                LeaveStep::Strip => self.dice.between(50, 500) * MS,
            },
        }
    }

    /// A task ends.
    pub(super) fn done(&mut self, index: usize, number: u32, task: Task) -> Kept {
        if !self.runs(index, number) {
            return Ok(());
        }
        let report = match task {
            Task::Try { federation, .. } => self.tried(index, federation),
            Task::Look => self.looked(index),
            Task::AskForNode { federation, member } => {
                Report::Node(self.node_seen(index, &federation, member))
            }
            Task::Save(intent) => {
                if let Some(process) = &mut self.vehicles[index].process {
                    process.save = None;
                }
                Report::Saved(self.saved(index, *intent))
            }
            Task::Step(step) => {
                if let Some(process) = &mut self.vehicles[index].process {
                    process.step = None;
                }
                let outcome = self.perform(index, &step)?;
                self.note(index, |_| format!("{step:?}: {outcome:?}"));
                Report::Finished { step, outcome }
            }
        };
        self.tell(index, report)
    }

    fn tried(&mut self, index: usize, federation: String) -> Report {
        let way = self.server(&federation).and_then(|server| self.connection(index, server));
        let deaf = self.settings.bug == Some(Bug::DeafToSilence);
        let took = match way {
            // Whole exchanges get lost, more of them the worse the way.
            Some((cost, _)) if self.dice.permille(u64::from(cost / 8).min(200)) => None,
            Some((_, trip)) => Some(Duration::from_micros(trip)),
            None => deaf.then(|| Duration::from_millis(50)),
        };
        Report::Tried { federation, took }
    }

    fn looked(&mut self, index: usize) -> Report {
        let blind = !self.calm && self.dice.one_in(300);
        let vehicle = &self.vehicles[index];
        let unit = if blind {
            Err("the service manager is busy".to_owned())
        } else {
            Ok(vehicle.k3s.unit)
        };
        let equipped = vehicle.disk.equipped.clone();
        Report::Looked { unit, outdated: vehicle.outdated && equipped.is_some(), equipped }
    }

    fn node_seen(
        &mut self,
        index: usize,
        federation: &str,
        member: bool,
    ) -> Result<NodeSeen, Unseen> {
        let Some(server) = self.server(federation).filter(|server| self.api(index, *server)) else {
            let silent = self.settings.bug != Some(Bug::DeafToSilence);
            return Err(Unseen { text: "it gave no answer".to_owned(), silent });
        };
        let vehicle = &self.vehicles[index];
        let clock_ms = vehicle.wall_ms(self.now);
        let started_ms = vehicle.process.as_ref().and_then(|process| process.started_ms);
        let since_ms = started_ms.filter(|started| *started <= clock_ms);
        let Some(node) = self.servers[server].node(&vehicle.name, self.now) else {
            return Ok(NodeSeen::Missing);
        };
        if member {
            self.servers[server].announce(&node.name, Some(&node.uid), false);
        }
        Ok(node.seen(since_ms))
    }

    fn saved(&mut self, index: usize, intent: Intent) -> Result<(), String> {
        if self.vehicles[index].disk.fails {
            return Err("the disk is full".to_owned());
        }
        if self.settings.bug == Some(Bug::UnsavedIntent) && self.dice.one_in(2) {
            return Ok(());
        }
        self.store(index, intent);
        Ok(())
    }

    pub(super) fn store(&mut self, index: usize, mut intent: Intent) {
        if self.vehicles[index].disk.fails {
            return;
        }
        match self.settings.bug {
            Some(Bug::ForgottenDebts) => intent.deferred.clear(),
            Some(Bug::ForgottenJoins) => intent.joins_ms.clear(),
            _ => {}
        }
        self.vehicles[index].disk.intent = Some(intent);
    }

    /// Does a step. Also what came of it although nobody was told is done here.
    pub(super) fn perform(&mut self, index: usize, step: &Step) -> Kept<Outcome> {
        let full = || Outcome::Unreachable("the disk is full".to_owned());
        match step {
            Step::Preflight { federation } => Ok(self.preflight(index, federation)),
            Step::Equip { .. } if self.vehicles[index].disk.fails => Ok(full()),
            Step::Equip { federation } => {
                self.equips(index, federation)?;
                let vehicle = &mut self.vehicles[index];
                vehicle.disk.equipped = Some(federation.clone());
                vehicle.outdated = false;
                Ok(Outcome::Done)
            }
            Step::Start => {
                if !self.vehicles[index].k3s.runs() {
                    self.start_unit(index);
                }
                Ok(Outcome::Done)
            }
            Step::Restart => {
                let of = self.vehicles[index].k3s.of.clone().unwrap_or_default();
                if !self.server(&of).is_some_and(|server| self.api(index, server)) {
                    return Ok(Outcome::Unreachable("k3s could not come up again".to_owned()));
                }
                self.start_unit(index);
                Ok(Outcome::Done)
            }
            Step::Part { federation, uid, step } => {
                self.part(index, federation, uid.as_deref(), *step)
            }
            Step::Finish(Deferred { federation, uid }) => {
                self.delete(index, federation, uid.as_deref())
            }
        }
    }

    fn start_unit(&mut self, index: usize) {
        let clock_ms = self.vehicles[index].wall_ms(self.now);
        if let Some(process) = &mut self.vehicles[index].process {
            process.started_ms = Some(clock_ms);
        }
        self.start_k3s(index);
    }

    fn preflight(&mut self, index: usize, federation: &str) -> Outcome {
        let silent = || Outcome::Unreachable("no answer".to_owned());
        let Some(server) = self.server(federation) else { return silent() };
        match self.connection(index, server) {
            Some((cost, _)) if cost > COST_MAX => {
                return Outcome::Unreachable("the link is too slow for k3s".to_owned());
            }
            Some(_) if self.api(index, server) => {}
            Some(_) | None => return silent(),
        }
        let vehicle = &self.vehicles[index];
        if vehicle.disk.passwords.contains_key(federation) {
            return Outcome::Done;
        }
        // A Node of an earlier life, of which only its server still knows the password.
        let Some(node) = self.servers[server].node(&vehicle.name, self.now) else {
            return Outcome::Done;
        };
        if node.owner(&vehicle.name) != Owner::Us {
            return Outcome::Done;
        }
        let later = |seconds, text: &str| Outcome::NotYet {
            after: Duration::from_secs(seconds),
            text: text.to_owned(),
        };
        if node.ready == Some(true) {
            return later(15, "the Node is alive");
        }
        self.summary.deleted += 1;
        self.servers[server].delete(&node.name, Some(&node.uid));
        later(5, "deleted the Node of an earlier life")
    }

    fn part(
        &mut self,
        index: usize,
        federation: &str,
        uid: Option<&str>,
        step: LeaveStep,
    ) -> Kept<Outcome> {
        let name = self.vehicles[index].name.clone();
        let server = self.server(federation).filter(|server| self.api(index, *server));
        if step.needs_server() && server.is_none() {
            return Ok(Outcome::Unreachable("no answer".to_owned()));
        }
        self.parts(index, federation, step)?;
        match (step, server) {
            (LeaveStep::Announce, Some(server)) => self.servers[server].announce(&name, uid, true),
            (LeaveStep::Drain, _) if self.dice.one_in(3) => {
                return Ok(Outcome::NotYet {
                    after: Duration::from_secs(20),
                    text: "a disruption budget forbids it".to_owned(),
                });
            }
            (LeaveStep::Delete, _) => return self.delete(index, federation, uid),
            (LeaveStep::Announce | LeaveStep::Cordon | LeaveStep::Drain, _) => {}
            (LeaveStep::Stop, _) => {
                if self.settings.bug != Some(Bug::UnstoppedUnit) {
                    self.vehicles[index].k3s.stop();
                }
            }
            (LeaveStep::CleanUp, _) => {
                if self.settings.bug != Some(Bug::SkippedCleanUp) {
                    self.vehicles[index].disk.residue = None;
                }
            }
            (LeaveStep::Strip, _) if self.vehicles[index].disk.fails => {
                return Ok(Outcome::Unreachable("the disk is full".to_owned()));
            }
            (LeaveStep::Strip, _) => {
                self.summary.left += 1;
                self.vehicles[index].disk.equipped = None;
            }
        }
        Ok(Outcome::Done)
    }

    fn delete(&mut self, index: usize, federation: &str, uid: Option<&str>) -> Kept<Outcome> {
        let Some(server) = self.server(federation).filter(|server| self.api(index, *server)) else {
            return Ok(Outcome::Unreachable("no answer".to_owned()));
        };
        let name = self.vehicles[index].name.clone();
        if let Some(node) = self.servers[server].delete(&name, uid) {
            self.summary.deleted += 1;
            self.deleted(index, federation, &node.uid)?;
        }
        // The answer may get lost although it is done.
        if self.dice.one_in(25) {
            return Ok(Outcome::Unreachable("the answer was lost".to_owned()));
        }
        Ok(Outcome::Done)
    }
}
