//! The way out of a federation, and what is still owed to it afterwards.

use std::time::Duration;

use super::{Machine, Matter};
use crate::core::membership::intent::DEFERRED_MAX;
use crate::core::membership::report::span;
use crate::core::membership::{
    Deferred, Facts, LeaveStep, NodeSeen, Outcome, Place, Step, Unit, Wish,
};
use crate::core::time::Mono;

impl Machine {
    pub(super) fn settled(&mut self, deferred: Deferred, outcome: Outcome, now: Mono) {
        let matter = Matter::Finish(deferred.federation.clone());
        if outcome == Outcome::Done {
            self.held_up.remove(&matter);
            self.intent.deferred.retain(|owed| *owed != deferred);
            self.save();
        } else {
            self.pause(matter, &outcome, now);
        }
    }

    pub(super) fn parted(&mut self, done: LeaveStep, outcome: Outcome, now: Mono) {
        let Place::Leaving { federation, uid, step, then } = &self.intent.place else { return };
        if *step != done {
            return;
        }
        let (federation, uid, then) = (federation.clone(), uid.clone(), then.clone());
        // A drain waits for budgets and pods as a rule; whatever else is "not yet" for long is a server that is of no use.
        let is_unanswered = match outcome {
            Outcome::Unreachable(_) => true,
            Outcome::NotYet { .. } => done != LeaveStep::Drain,
            Outcome::Done | Outcome::Refused(_) => false,
        };
        if !is_unanswered {
            self.unanswered_since = None;
        }
        let at_once = self.intent.wish == (Wish::Leave { now: true });
        let is_told = matches!(self.intent.wish, Wish::Leave { now: false });
        match outcome {
            Outcome::Done => {
                self.held_up.remove(&Matter::Step);
                if let (LeaveStep::Stop, Some(facts)) = (done, &mut self.facts) {
                    // Until the service manager says more.
                    facts.unit = Unit::Stopped;
                }
                if done == LeaveStep::Strip {
                    self.because(format!("everything of {federation} is put away"));
                    // k3s may have started again after its Node was deleted, which makes another.
                    self.owe(Deferred { federation, uid: None });
                    if let Some(facts) = &mut self.facts {
                        *facts = Facts {
                            unit: Unit::Stopped,
                            equipped: None,
                            outdated: false,
                            node: NodeSeen::Unknown,
                        };
                    }
                    self.arrive(then);
                    return;
                }
                self.leave_on(federation, uid, done.next().unwrap_or(done), then);
            }
            // Nothing that the server has to be told is waited for.
            Outcome::Unreachable(_) | Outcome::NotYet { .. } | Outcome::Refused(_)
                if at_once && done.needs_server() =>
            {
                self.defer(federation, uid, then);
            }
            Outcome::Unreachable(_) | Outcome::NotYet { .. }
                if is_unanswered && done.needs_server() =>
            {
                let since = *self.unanswered_since.get_or_insert(now);
                if now.since(since) >= self.policy.leave_patience {
                    self.defer(federation, uid, then);
                } else {
                    let after = self.pause(Matter::Step, &outcome, now);
                    self.complain(&outcome, after);
                }
            }
            Outcome::Refused(_) if matches!(done, LeaveStep::Announce | LeaveStep::Cordon) => {
                self.leave_on(federation, uid, done.next().unwrap_or(done), then);
            }
            // Somebody with the right will do it.
            Outcome::Refused(_) if done == LeaveStep::Delete => self.defer(federation, uid, then),
            Outcome::NotYet { text, .. } | Outcome::Refused(text)
                if done == LeaveStep::Drain
                    && !is_told
                    && now.since(self.place_since) >= self.policy.drain_within =>
            {
                let waited = span(now.since(self.place_since));
                self.because(format!("{text}: leaving {federation} all the same, after {waited}"));
                self.held_up.remove(&Matter::Step);
                self.leave_on(federation, uid, LeaveStep::Delete, then);
            }
            outcome @ (Outcome::Unreachable(_) | Outcome::NotYet { .. } | Outcome::Refused(_)) => {
                let after = self.pause(Matter::Step, &outcome, now);
                self.complain(&outcome, after);
            }
        }
    }

    /// The present membership is over on this vehicle; its server will be told when that can be.
    pub(super) fn defer(&mut self, federation: String, uid: Option<String>, then: Option<String>) {
        self.unanswered_since = None;
        self.held_up.remove(&Matter::Step);
        self.owe(Deferred { federation: federation.clone(), uid: uid.clone() });
        self.leave_on(federation, uid, LeaveStep::Stop, then);
    }

    pub(super) fn owe(&mut self, deferred: Deferred) {
        self.intent.deferred.retain(|owed| owed.federation != deferred.federation);
        if self.intent.deferred.len() >= DEFERRED_MAX {
            self.intent.deferred.remove(0);
        }
        self.intent.deferred.push(deferred);
    }

    /// Everything of a federation is gone: on to the next, if that is still wanted and its pre-flight was.
    pub(super) fn arrive(&mut self, then: Option<String>) {
        let wanted = match &self.intent.wish {
            Wish::Join(_) | Wish::Leave { .. } => None,
            Wish::Policy | Wish::Hold => then,
        };
        match wanted.filter(|federation| self.policy.federations.contains_key(federation)) {
            Some(federation) => self.set_out(federation),
            None => self.place(Place::Solo),
        }
    }

    pub(super) fn leave_on(
        &mut self,
        federation: String,
        uid: Option<String>,
        step: LeaveStep,
        then: Option<String>,
    ) {
        self.place(Place::Leaving { federation, uid, step, then });
    }

    /// Ends a join that was begun. Its Node may exist, seen or not.
    pub(super) fn give_up(&mut self, federation: &str, facts: &Facts) {
        let uid = match &facts.node {
            NodeSeen::Present { uid, .. } => Some(uid.clone()),
            NodeSeen::Unknown | NodeSeen::Missing => None,
        };
        self.leave_on(federation.to_owned(), uid, LeaveStep::Delete, None);
    }

    /// Leaving: one step after the other.
    pub(super) fn leave(
        &mut self,
        federation: String,
        uid: Option<String>,
        step: LeaveStep,
        then: Option<String>,
        now: Mono,
    ) {
        let at_once = self.intent.wish == (Wish::Leave { now: true });
        if at_once && step <= LeaveStep::Delete && self.silence(&federation, now) > Duration::ZERO {
            return self.defer(federation, uid, then);
        }
        if at_once && step < LeaveStep::Delete {
            return self.leave_on(federation, uid, LeaveStep::Delete, then);
        }
        let unit = self.facts.as_ref().map(|facts| facts.unit);
        let runs = matches!(unit, Some(Unit::Active | Unit::Starting | Unit::Stopping));
        if runs && step > LeaveStep::Stop {
            // The vehicle was switched off and on meanwhile, and its manager starts what is enabled.
            return self.leave_on(federation, uid, LeaveStep::Stop, then);
        }
        if !self.may(&Matter::Step, now) {
            return;
        }
        let what = match step {
            LeaveStep::Announce => "announcing it",
            LeaveStep::Cordon => "cordoning the Node",
            LeaveStep::Drain => "evicting pods",
            LeaveStep::Delete => "deleting the Node",
            LeaveStep::Stop => "stopping k3s",
            LeaveStep::CleanUp => "cleaning up what k3s left",
            LeaveStep::Strip => "putting its credentials away",
        };
        self.because(format!("leaving {federation}: {what}"));
        self.start(Step::Part { federation, uid, step });
    }

    /// Does what is owed to a federation that is in contact again.
    pub(super) fn pay(&mut self, now: Mono) {
        let present = self.intent.place.federation();
        let owed: Vec<Deferred> = self
            .intent
            .deferred
            .iter()
            .filter(|owed| present != Some(owed.federation.as_str()))
            .filter(|owed| {
                self.contacts.get(&owed.federation).is_some_and(|way| way.cost().is_some())
            })
            .cloned()
            .collect();
        for deferred in owed {
            if self.may(&Matter::Finish(deferred.federation.clone()), now) {
                return self.start(Step::Finish(deferred));
            }
        }
    }
}
