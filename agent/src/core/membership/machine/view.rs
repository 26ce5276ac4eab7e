//! Which state the machine is in, as people see it.

use std::time::Duration;

use super::Machine;
use crate::core::membership::{Act, Place, State, Wish};
use crate::core::time::Mono;

impl Machine {
    pub(super) fn state(&self, now: Mono) -> State {
        if self.intent.wish == Wish::Hold {
            return State::Held;
        }
        match &self.intent.place {
            Place::Solo if self.candidate(now).is_some() => State::Evaluating,
            Place::Solo => State::Solo,
            Place::Joining { .. } => State::Joining,
            Place::Member { federation, .. } => self.member_state(federation, now),
            Place::Leaving { .. } => State::Leaving,
        }
    }

    pub(super) fn member_state(&self, federation: &str, now: Mono) -> State {
        let after =
            self.federation(federation).map_or(Duration::ZERO, |policy| policy.strain_after);
        let contact = self.contacts.get(federation).copied().unwrap_or_default();
        let longer = |time: Option<Duration>| time.is_some_and(|time| time >= after);
        match self.view.state {
            State::Strained if !longer(contact.easy_for(now)) => State::Strained,
            // Arrived is arrived, also over a bad way.
            State::Joining => State::Member,
            State::Solo
            | State::Evaluating
            | State::Member
            | State::Strained
            | State::Leaving
            | State::Held => {
                if longer(contact.strained_for(now)) {
                    State::Strained
                } else {
                    State::Member
                }
            }
        }
    }

    /// Brings the view up to date.
    pub(super) fn show(&mut self, now: Mono) {
        let names: Vec<(String, Duration)> = self
            .policy
            .federations
            .iter()
            .map(|(name, policy)| (name.clone(), policy.strain_after))
            .collect();
        for (name, after) in names {
            if let Some(at) = self.contacts.get(&name).and_then(|contact| contact.due(after, now)) {
                self.wake_at(at);
            }
        }
        let federation = match &self.intent.place {
            Place::Solo => self.candidate(now),
            place => place.federation().map(str::to_owned),
        };
        self.view.federation = federation;
        let state = self.state(now);
        let from = self.view.state;
        if state == from {
            return;
        }
        debug_assert!(from.can_become(state), "from {from:?} to {state:?}");
        (self.view.state, self.view.since) = (state, now);
        let reason = self.view.reason.clone();
        self.acts.push(Act::Changed { from, to: state, reason });
    }
}
