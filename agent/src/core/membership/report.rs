//! What people and programs are shown of federations: the state, why, since when, what comes next, and what is still owed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::machine::JOIN_USUAL;
use super::steward::Steward;
use super::{State, Wish};
use crate::core::time::{Mono, millis};

/// The part of the status document about federations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MembershipStatus {
    /// There is a federation, or something of one is left.
    pub configured: bool,
    /// The state.
    pub state: State,
    /// The federation that it is about.
    pub federation: Option<String>,
    /// Time in this state.
    pub since_ms: u64,
    /// Why, and what comes next; without the state.
    pub reason: String,
    /// All of it in one sentence.
    pub sentence: String,
    /// What the operator wants: `policy`, `join`, `leave`, `leave-now` or `hold`.
    pub wish: String,
    /// Federations by name.
    pub federations: Vec<FederationStatus>,
    /// Nodes of earlier memberships that are still to be deleted, oldest first.
    pub deferred: Vec<DeferredStatus>,
    /// Why the intent cannot be made durable, if so: nothing is done before it is.
    pub unsaved: Option<String>,
}

/// One federation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FederationStatus {
    /// Name.
    pub name: String,
    /// The larger, the better.
    pub priority: u32,
    /// Network cost of the way; `None` when it is out of contact.
    pub cost: Option<u32>,
    /// Time in contact, near enough to join.
    pub near_ms: Option<u64>,
    /// Smoothed time that its server takes to answer.
    pub round_trip_ms: Option<u64>,
    /// Why it could not be joined when that was tried last.
    pub refusal: Option<String>,
}

/// A Node that is still to be deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeferredStatus {
    /// Federation that it is in.
    pub federation: String,
    /// Its identity, if it was ever seen.
    pub uid: Option<String>,
}

impl Wish {
    /// Fixed word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Wish::Policy => "policy",
            Wish::Join(_) => "join",
            Wish::Leave { now: false } => "leave",
            Wish::Leave { now: true } => "leave-now",
            Wish::Hold => "hold",
        }
    }
}

impl State {
    /// Fixed word for the event that it was entered.
    #[must_use]
    pub const fn event(self) -> &'static str {
        match self {
            State::Solo => "federation-solo",
            State::Evaluating => "federation-evaluating",
            State::Joining => "federation-joining",
            State::Member => "federation-member",
            State::Strained => "federation-strained",
            State::Leaving => "federation-leaving",
            State::Held => "federation-held",
        }
    }

    /// The word as it begins a sentence.
    fn title(self) -> String {
        let mut title = self.word().to_owned();
        title[..1].make_ascii_uppercase();
        title
    }
}

/// A time as people say it.
#[must_use]
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{minutes} min"),
        7_200..172_800 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// The report at `now`.
#[must_use]
pub fn report(steward: &Steward, now: Mono) -> MembershipStatus {
    let machine = steward.machine();
    let (view, intent) = (machine.view(), machine.intent());
    let since = now.since(view.since);
    let blind = steward.blind().filter(|_| view.state != State::Held);
    let mut reason = blind.unwrap_or(&view.reason).to_owned();
    // In the first minutes of a join there is no credential yet with which it could be asked.
    let is_asked = match view.state {
        State::Member | State::Strained => true,
        State::Joining => since >= JOIN_USUAL,
        State::Solo | State::Evaluating | State::Leaving | State::Held => false,
    };
    if let Some(text) = steward.mute().filter(|_| is_asked) {
        reason.push_str(&format!("; its server tells nothing of this vehicle's Node: {text}"));
    }
    let federations = machine.policy().federations.iter().map(|(name, federation)| {
        let contact = machine.contact(name);
        FederationStatus {
            name: name.clone(),
            priority: federation.priority,
            cost: contact.and_then(super::Contact::cost),
            near_ms: contact.and_then(|contact| contact.near_for(now)).map(millis),
            round_trip_ms: steward.round_trip(name).map(millis),
            refusal: machine.refusal(name).map(str::to_owned),
        }
    });
    let owed = intent
        .deferred
        .iter()
        .map(|owed| DeferredStatus { federation: owed.federation.clone(), uid: owed.uid.clone() });
    MembershipStatus {
        configured: true,
        state: view.state,
        federation: view.federation.clone(),
        since_ms: millis(since),
        sentence: format!("{} {}: {reason}", view.state.title(), span(since)),
        reason,
        wish: intent.wish.word().to_owned(),
        federations: federations.collect(),
        deferred: owed.collect(),
        unsaved: steward.unsaved().map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_people_say_them() {
        for (seconds, text) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7_199, "119 min"),
            (7_260, "2 h 1 min"),
            (180_000, "2 d 2 h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}
