//! Member or Strained: whether to stay, and what that takes.

use std::time::Duration;

use super::{Machine, Matter, Pause};
use crate::core::membership::report::span;
use crate::core::membership::{
    Contact, Facts, LeaveStep, NodeSeen, Outcome, Place, Step, Unit, Wish,
};
use crate::core::time::Mono;

/// A member in contact whose Node is not ready for so long gets its unit restarted.
const NOT_READY_MAX: Duration = Duration::from_secs(300);

impl Machine {
    /// Member or Strained: keeps the membership as long as that makes sense.
    pub(super) fn hold_on(&mut self, federation: &str, uid: &str, facts: &Facts, now: Mono) {
        match &facts.node {
            NodeSeen::Missing => {
                // Somebody wanted this vehicle out, so it does not come back at once.
                let length = self.policy.pause[1];
                let matter = Matter::Preflight(federation.to_owned());
                self.held_up.insert(matter, Pause { until: now + length, length, curable: false });
                let text = "this vehicle's Node was deleted at the server".to_owned();
                self.because(format!("{text}: leaving {federation}"));
                self.refusals.insert(federation.to_owned(), text);
                let uid = Some(uid.to_owned());
                return self.leave_on(federation.to_owned(), uid, LeaveStep::Stop, None);
            }
            NodeSeen::Present { uid: seen, .. } if seen != uid => {
                let federation = federation.to_owned();
                return self.place(Place::Member { federation, uid: seen.clone() });
            }
            NodeSeen::Unknown | NodeSeen::Present { .. } => {}
        }
        if let Some((first, then)) = self.reason_to_go(federation, now) {
            let (federation, uid) = (federation.to_owned(), Some(uid.to_owned()));
            return match first {
                Some(step) => self.leave_on(federation, uid, step, then),
                None => self.defer(federation, uid, then),
            };
        }
        if self.running.is_none() {
            self.tend(federation, facts, now);
        }
    }

    /// The step to leave with, none when the server cannot be told, and the federation to leave for.
    fn reason_to_go(
        &mut self,
        federation: &str,
        now: Mono,
    ) -> Option<(Option<LeaveStep>, Option<String>)> {
        let silent = self.silence(federation, now) > Duration::ZERO;
        let gracefully = Some(LeaveStep::Announce);
        let no_more = format!("the operator wants no federation: leaving {federation}");
        match self.intent.wish.clone() {
            Wish::Hold => return None,
            Wish::Leave { now: at_once } => {
                self.because(no_more);
                return match (at_once, silent) {
                    (true, true) => Some((None, None)),
                    (true, false) => Some((Some(LeaveStep::Delete), None)),
                    (false, _) => Some((gracefully, None)),
                };
            }
            Wish::Join(other) if other != federation => {
                self.because(format!("the operator wants {other}: leaving {federation}"));
                return Some((gracefully, Some(other)));
            }
            Wish::Join(_) => return None,
            Wish::Policy => {}
        }
        let Some(policy) = self.federation(federation).cloned() else {
            self.because(format!("{federation} is no longer configured: leaving it"));
            return Some((gracefully, None));
        };
        let contact = self.contacts.get(federation).copied().unwrap_or_default();
        let strained_for = match contact.strained_for(now) {
            None if contact.cost().is_none() => now.since(self.place_since),
            strained_for => strained_for.unwrap_or_default(),
        };
        if let Some(leave_after) = policy.leave_after {
            let most = policy.strain_after + leave_after;
            if strained_for >= most {
                let how = if silent { "out of contact" } else { "hardly in reach" };
                self.because(format!(
                    "{federation} was {how} for {}: leaving it",
                    span(strained_for)
                ));
                return Some((gracefully.filter(|_| !silent), None));
            }
            if strained_for > Duration::ZERO {
                self.wake_at(now + (most - strained_for));
            }
        }
        if !self.policy.automatic || now.since(self.place_since) < self.policy.dwell {
            return None;
        }
        if contact.cost().is_none() {
            // A moment without a way is no reason to go without a word, nor is anything for one that never leaves by itself.
            policy.leave_after?;
            if strained_for < policy.strain_after {
                self.wake_at(now + (policy.strain_after - strained_for));
                return None;
            }
        }
        let better = self.best(now, Some(federation))?;
        if self.is_better(&better, federation) && self.is_ready_for(&better, now) {
            self.because(format!("{better} is better: leaving {federation}"));
            return Some((gracefully.filter(|_| !silent), Some(better)));
        }
        None
    }

    /// Whether `other` is worth the change.
    fn is_better(&self, other: &str, present: &str) -> bool {
        let (Some(other_policy), Some(policy)) = (self.federation(other), self.federation(present))
        else {
            return false;
        };
        if other_policy.priority != policy.priority {
            return other_policy.priority > policy.priority;
        }
        let cost = |name: &str| self.contacts.get(name).and_then(Contact::cost);
        match (cost(other), cost(present)) {
            (Some(other), Some(present)) => {
                u64::from(other) * 100 <= u64::from(present) * u64::from(self.policy.switch_percent)
            }
            (other, _) => other.is_some(),
        }
    }

    /// Keeps unit and drop-in as they must be.
    fn tend(&mut self, federation: &str, facts: &Facts, now: Mono) {
        let easy =
            self.contacts.get(federation).is_some_and(|contact| contact.easy_for(now).is_some());
        if facts.equipped.as_deref() != Some(federation) {
            if self.may(&Matter::Step, now) {
                self.start(Step::Equip { federation: federation.to_owned() });
            }
            return;
        }
        let mut reason = self.member_reason(federation, now);
        if easy && facts.unit != Unit::Active {
            reason.push_str("; k3s is not up, its log says why");
        } else if let Some(since) = self.not_ready_since.filter(|_| easy) {
            reason.push_str(&format!("; its Node is not ready for {}", span(now.since(since))));
        }
        self.because(reason);
        if easy && self.update(federation, facts, now) {
            return;
        }
        match facts.unit {
            Unit::Stopped | Unit::Failed if easy => {
                if self.may(&Matter::Step, now) {
                    self.because(format!(
                        "k3s does not run although {federation} is in contact: starting it"
                    ));
                    self.start(Step::Start);
                }
            }
            Unit::Active if easy => {
                // What k3s could not be told is told again after a pause, however well it runs.
                if !self.refresh {
                    self.held_up.remove(&Matter::Step);
                }
                let Some(since) = self.not_ready_since else { return };
                let due = since + NOT_READY_MAX;
                if now < due {
                    return self.wake_at(due);
                }
                if self.may(&Matter::Restart, now) {
                    let outcome = Outcome::Unreachable(String::new());
                    self.pause(Matter::Restart, &outcome, now);
                    self.because(format!(
                        "{federation} is in contact, but this vehicle's Node is not ready: restarting k3s"
                    ));
                    self.start(Step::Restart);
                }
            }
            Unit::Stopped
            | Unit::Failed
            | Unit::Active
            | Unit::Starting
            | Unit::Stopping
            | Unit::Absent => {}
        }
    }

    /// Brings a changed configuration to a k3s that runs. Only for a federation in contact: k3s comes back by its server alone.
    pub(super) fn update(&mut self, federation: &str, facts: &Facts, now: Mono) -> bool {
        if facts.outdated && self.may(&Matter::Restart, now) {
            // Whatever it is that k3s does not take, it is not told over and over.
            self.pause(Matter::Restart, &Outcome::Unreachable(String::new()), now);
            self.start(Step::Equip { federation: federation.to_owned() });
        } else if self.refresh && self.may(&Matter::Step, now) {
            self.start(Step::Restart);
        } else {
            return false;
        }
        self.because(format!("the configuration of {federation} has changed: k3s is told"));
        true
    }

    fn member_reason(&self, federation: &str, now: Mono) -> String {
        let contact = self.contacts.get(federation).copied().unwrap_or_default();
        let Some(strained_for) = contact.strained_for(now) else {
            let cost = contact.cost().unwrap_or_default();
            return format!("member of {federation}, cost {cost}");
        };
        let how = match contact.cost() {
            Some(cost) => format!("the way to {federation} costs {cost}"),
            None => format!("no contact with {federation}"),
        };
        let for_text = span(strained_for);
        let policy = self.federation(federation);
        let left = policy.and_then(|policy| {
            let most = policy.strain_after + policy.leave_after?;
            Some(span(most.saturating_sub(strained_for)))
        });
        let end = match (&self.intent.wish, left) {
            (Wish::Join(_), _) => "staying, as the operator wants".to_owned(),
            (Wish::Policy | Wish::Leave { .. } | Wish::Hold, None) => "staying".to_owned(),
            (Wish::Policy | Wish::Leave { .. } | Wish::Hold, Some(left)) => {
                format!("leaving in {left} unless contact returns")
            }
        };
        format!("{how} for {for_text}; pods keep running; {end}")
    }
}
