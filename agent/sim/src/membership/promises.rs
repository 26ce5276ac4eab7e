//! What the machine promises, looked at from outside: by what happens to vehicles and servers, not by what it says.

use outrider::core::membership::host::UNSEEN_PART;
use outrider::core::membership::kube::LOST;
use outrider::core::membership::steward::Task;
use outrider::core::membership::{LeaveStep, Place, Step, Unit, Wish};

use super::server::{Mood, Silent};
use super::{SILENT_AFTER, World};
use crate::agenda::{MINUTE, Moment, micros};
use crate::failure::{Broken, Kept};

/// Until a vehicle has noticed that a server is silent: tries in vain, each waited for up to a minute, and pauses between.
const NOTICED: Moment = 6 * MINUTE;

const ONE: &str = "never in two federations at once";
const DURABLE: &str = "intent is durable before a step acts";
const LIVING: &str =
    "k3s is not restarted while its server is out of reach, nor stopped unless leaving is decided";
const RATE: &str = "no more joins by policy than the limit";
const NODES: &str = "the Node of a member is not deleted";
const SILENT: &str = "a federation that is silent for its leave time is left";
const ARRIVED: &str = "after all trouble everybody is where policy or operator want it";
const LOST_ONES: &str = "a Node is marked as lost when nobody is behind it, and only then";
const NOTHING_LEFT: &str = "every Node that was made is deleted or in use";

impl World {
    /// Before a task begins.
    pub(super) fn may_begin(&self, index: usize, task: &Task) -> Kept {
        let Task::Step(step) = task else { return Ok(()) };
        let vehicle = &self.vehicles[index];
        let Some(process) = &vehicle.process else { return Ok(()) };
        if let Some(running) = &process.step {
            let how = format!("{step:?} while {running:?} is under way");
            return Err((index, Broken::new("one step at a time", how)));
        }
        if matches!(step, Step::Preflight { .. } | Step::Finish(_)) {
            return Ok(());
        }
        let meant = &process.steward.machine().intent().place;
        if vehicle.stored_place() != *meant {
            let how = format!("{step:?} for {meant:?} with {:?} on disk", vehicle.stored_place());
            return Err((index, Broken::new(DURABLE, how)));
        }
        if *step != Step::Restart {
            return Ok(());
        }
        let of = vehicle.k3s.of.as_deref().unwrap_or_default();
        let reached = vehicle.reached.get(of).copied();
        let is_there = self.server(of).is_some_and(|server| self.api(index, server));
        if !is_there && reached.is_none_or(|reached| self.now - reached > NOTICED) {
            let how = format!("{step:?} although {of} was reached at {reached:?} last");
            return Err((index, Broken::new(LIVING, how)));
        }
        Ok(())
    }

    /// A vehicle is about to be equipped for a federation.
    pub(super) fn equips(&mut self, index: usize, federation: &str) -> Kept {
        let (now, within) = (self.now, self.plan.policy.changes_within.as_millis());
        let vehicle = &mut self.vehicles[index];
        let other = |name: &Option<String>| name.as_deref().is_some_and(|name| name != federation);
        if other(&vehicle.disk.residue)
            || other(&vehicle.disk.equipped)
            || (vehicle.k3s.runs() && other(&vehicle.k3s.of))
        {
            let how =
                format!("equipped for {federation} beside {:?}, {:?}", vehicle.disk, vehicle.k3s);
            return Err((index, Broken::new(ONE, how)));
        }
        let first = vehicle.disk.equipped.is_none();
        let Some(intent) = vehicle.intent() else { return Ok(()) };
        if !first || intent.wish != Wish::Policy {
            return Ok(());
        }
        // When it set out: what comes in between is the disk's business.
        let watched_ms = intent.joins_ms.last().copied().unwrap_or(intent.watched_ms);
        vehicle.joins_ms.push(watched_ms);
        let recent = vehicle
            .joins_ms
            .iter()
            .filter(|at| u128::from(watched_ms.saturating_sub(**at)) < within);
        if recent.count() > self.plan.policy.changes_max {
            let how = format!("joins at {:?} ms, at {now}", vehicle.joins_ms);
            return Err((index, Broken::new(RATE, how)));
        }
        Ok(())
    }

    /// A step out of a federation is about to be done.
    pub(super) fn parts(&self, index: usize, federation: &str, step: LeaveStep) -> Kept {
        let vehicle = &self.vehicles[index];
        let place = vehicle.stored_place();
        if !matches!(&place, Place::Leaving { federation: of, .. } if of == federation) {
            let how = format!("{step:?} of {federation} with {place:?} on disk");
            return Err((index, Broken::new(LIVING, how)));
        }
        if vehicle.k3s.runs() && matches!(step, LeaveStep::CleanUp | LeaveStep::Strip) {
            let how = format!("{step:?} of {federation} although k3s runs");
            return Err((index, Broken::new(ONE, how)));
        }
        Ok(())
    }

    /// k3s is about to have containers of a federation.
    pub(super) fn begins_beside(&self, index: usize, federation: &str) -> Kept {
        let residue = &self.vehicles[index].disk.residue;
        if residue.as_deref().is_some_and(|residue| residue != federation) {
            let how = format!("k3s begins in {federation} beside what is left of {residue:?}");
            return Err((index, Broken::new(ONE, how)));
        }
        Ok(())
    }

    /// A vehicle has deleted a Node of its own.
    pub(super) fn deleted(&self, index: usize, federation: &str, uid: &str) -> Kept {
        if self.vehicles[index].membership() == Some((federation, uid)) {
            let how = format!("it deleted {uid} of {federation}, as which it is a member");
            return Err((index, Broken::new(NODES, how)));
        }
        Ok(())
    }

    /// The agent beside a server takes somebody for silent.
    pub(super) fn silent_for_host(&self, index: usize, federation: &str, found: &Silent) -> Kept {
        let uid = &found.node.uid;
        let broken = |promise, what: &str| {
            let how = format!("the host of {federation} finds {uid} silent that {what}: {found:?}");
            Err((index, Broken::new(promise, how)))
        };
        if self.now - found.heard < micros(SILENT_AFTER) {
            return broken(LOST_ONES, "was heard of");
        }
        // Not in all the time in which the server could hear nobody.
        if found.looks <= UNSEEN_PART {
            return broken(LOST_ONES, "could not be heard");
        }
        Ok(())
    }

    /// Now and then.
    pub(super) fn watch(&self, index: usize) -> Kept {
        let vehicle = &self.vehicles[index];
        let Some((federation, _)) = vehicle.membership() else { return Ok(()) };
        let Some(policy) = self.plan.policy.federations.get(federation) else { return Ok(()) };
        let Some(leave_after) = policy.leave_after else { return Ok(()) };
        let most = micros(policy.strain_after + leave_after) + NOTICED;
        let reached = vehicle.reached.get(federation).copied().unwrap_or_default();
        let silent_for = self.now - reached.max(vehicle.watched_since);
        if vehicle.wish() == Wish::Policy && silent_for > most {
            let how = format!("{federation} was reached at {reached} last");
            return Err((index, Broken::new(SILENT, how)));
        }
        Ok(())
    }

    /// At the end, long after the last trouble.
    pub(super) fn judge(&self) -> Kept {
        for index in 0..self.vehicles.len() {
            if !self.vehicles[index].gone {
                self.judge_place(index)?;
            }
        }
        for server in self.servers.iter().filter(|server| server.mood == Mood::Up) {
            for node in server.nodes.values() {
                let owner = self.vehicles.iter().position(|vehicle| vehicle.name == node.name);
                let index = owner.unwrap_or_default();
                let vehicle = &self.vehicles[index];
                let in_use = vehicle.membership() == Some((&server.name, &node.uid));
                // Nobody is there to tell of these, if not the agent beside the server.
                let orphaned = vehicle.gone || vehicle.forgotten.contains(&server.name);
                let hosted = server.host.is_some();
                let left = !in_use && (!orphaned || hosted && node.says_that_it_leaves());
                if left {
                    let how = format!("{} is left in {}", node.uid, server.name);
                    return Err((index, Broken::new(NOTHING_LEFT, how)));
                }
                if hosted && in_use == node.annotations.contains_key(LOST) {
                    let how = format!("{} in {}: {node:?}", node.uid, server.name);
                    return Err((index, Broken::new(LOST_ONES, how)));
                }
            }
        }
        Ok(())
    }

    fn judge_place(&self, index: usize) -> Kept {
        let vehicle = &self.vehicles[index];
        let broken = |how: String| Err((index, Broken::new(ARRIVED, how)));
        let Some(intent) = vehicle.intent() else { return broken("no agent runs".to_owned()) };
        let is_dead = |name: &str| {
            self.server(name).is_none_or(|server| self.servers[server].mood == Mood::Dead)
        };
        let owed = intent.deferred.iter().find(|owed| !is_dead(&owed.federation));
        if let Some(owed) = owed {
            return broken(format!("it still owes {owed:?}"));
        }
        let priority =
            |name: &str| self.plan.policy.federations.get(name).map(|policy| policy.priority);
        let living = self.plan.policy.federations.keys().filter(|name| !is_dead(name));
        let best = living.clone().filter_map(|name| priority(name)).max();
        let here = intent.place.federation();
        let stays = here.is_some_and(|name| {
            let never = self
                .plan
                .policy
                .federations
                .get(name)
                .is_some_and(|policy| policy.leave_after.is_none());
            is_dead(name) && never
        });
        let arrived = match &intent.wish {
            Wish::Hold => return broken("it is held".to_owned()),
            Wish::Leave { .. } => intent.place == Place::Solo,
            // Nobody can join a federation that is no more, nor stay in it for ever unless that was wanted.
            Wish::Join(name) if is_dead(name) => return Ok(()),
            Wish::Join(name) => vehicle.membership().is_some_and(|(here, _)| here == name),
            Wish::Policy => match best {
                None => true,
                Some(best) => vehicle
                    .membership()
                    .is_some_and(|(here, _)| priority(here) == Some(best) && !is_dead(here)),
            },
        };
        if !arrived && !stays {
            let view = vehicle.process.as_ref().map(|process| process.steward.view().clone());
            return broken(format!(
                "it wants {:?} and is in {:?}: {view:?}",
                intent.wish, intent.place
            ));
        }
        let runs = vehicle.k3s.unit == Unit::Active;
        let wanted = here.is_some_and(|name| !is_dead(name));
        if runs != wanted && !here.is_some_and(is_dead) {
            return broken(format!("k3s is {:?} in {here:?}", vehicle.k3s.unit));
        }
        Ok(())
    }
}
