//! In which federation this vehicle is, in which it will be, and the next single step on the way. Decides; every step is
//! somebody else's to do, and is safe to be done twice.
//!
//! # Promises
//!
//! - Intent is durable before a step acts: no step is given while [`Act::Save`] has not been answered by [`Input::Saved`].
//!   After a crash or power cut the machine goes on from the intent and from what it observes; it assumes nothing.
//! - Never in two federations: a vehicle leaves one, with everything cleaned up, before it is equipped for another.
//! - `k3s-agent` is stopped or restarted only while its server is in contact, or when leaving has been decided.
//! - What needs the server and cannot reach it is kept as [`Deferred`] and done later; it is dropped when the vehicle joins that
//!   federation again.
//! - The operator's word beats policy. Without one, changes are limited by [`Policy::changes_max`].
//!
//! # Transitions
//!
//! | from | to | when |
//! |---|---|---|
//! | Solo | Evaluating | a federation is in contact, or the operator wants one |
//! | Solo, Evaluating | Joining, Leaving | the vehicle is equipped for a federation although no intent was found |
//! | Evaluating | Solo | it is out of contact, or the operator wants none |
//! | Evaluating | Joining | it was in contact for its join time and the pre-flight held |
//! | Joining | Member | the own Node is ready |
//! | Joining | Solo | contact was lost before anything had been changed |
//! | Joining | Evaluating | the same, and another federation is in contact |
//! | Joining | Leaving | it takes too long, contact was lost for too long, or the operator wants something else |
//! | Member | Strained | the cost was above the bound, or there was silence, for the strain time |
//! | Member | Leaving | a better federation, the operator, or the Node was deleted at the server |
//! | Strained | Member | contact was back for the strain time |
//! | Strained | Leaving | it lasted for the leave time, or the operator wants something else |
//! | Leaving | Solo | everything of the federation is gone from this vehicle |
//! | Leaving | Evaluating | the same, and another federation is in contact |
//! | Leaving | Joining | the same, and the vehicle left for the sake of another federation |
//! | Solo, Evaluating, Joining, Member, Strained, Leaving | Held | the operator said hold |
//! | Held | Solo, Evaluating, Joining, Member, Strained, Leaving | the operator said release |

pub mod cleanup;
mod contact;
pub mod custom_metrics;
pub mod drop_in;
pub mod host;
mod intent;
pub mod kept;
pub mod kube;
mod machine;
pub mod manager;
pub mod patience;
mod policy;
pub mod preflight;
pub mod report;
mod server;
pub mod steward;
mod token;
pub mod unit;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::contact::Contact;
pub use self::intent::{Deferred, INTENT_VERSION, Intent, IntentError, LeaveStep, Place, Wish};
pub use self::machine::Machine;
pub use self::policy::{Federation, Policy};
pub use self::server::Server;
pub use self::token::{CaHash, Token, TokenError};
use crate::core::time::Mono;

/// Where the vehicle stands, for people and programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// In no federation, and none is in contact.
    #[default]
    Solo,
    /// In none, and one is being looked at.
    Evaluating,
    /// On the way into one.
    Joining,
    /// In one.
    Member,
    /// In one that can hardly be reached: pods go on, data gathers.
    Strained,
    /// On the way out of one.
    Leaving,
    /// Nothing changes until the operator releases it.
    Held,
}

impl State {
    /// Every state.
    pub const ALL: [State; 7] = [
        State::Solo,
        State::Evaluating,
        State::Joining,
        State::Member,
        State::Strained,
        State::Leaving,
        State::Held,
    ];

    /// Fixed word for metrics, events and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            State::Solo => "solo",
            State::Evaluating => "evaluating",
            State::Joining => "joining",
            State::Member => "member",
            State::Strained => "strained",
            State::Leaving => "leaving",
            State::Held => "held",
        }
    }

    /// Whether the machine can go from this state to `next`, as the table above says.
    #[must_use]
    pub fn can_become(self, next: State) -> bool {
        use State::{Evaluating, Held, Joining, Leaving, Member, Solo, Strained};
        match self {
            Solo => matches!(next, Evaluating | Joining | Leaving | Held),
            Evaluating => matches!(next, Solo | Joining | Leaving | Held),
            Joining => matches!(next, Member | Solo | Evaluating | Leaving | Held),
            Member => matches!(next, Strained | Leaving | Held),
            Strained => matches!(next, Member | Leaving | Held),
            Leaving => matches!(next, Solo | Evaluating | Joining | Held),
            Held => next != Held,
        }
    }
}

/// What the service manager says of the k3s unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// There is none.
    Absent,
    /// It does not run.
    Stopped,
    /// It is on its way up; for k3s without a server that is normal and may last for days.
    Starting,
    /// It runs and has joined.
    Active,
    /// It is on its way down.
    Stopping,
    /// It ended by itself.
    Failed,
}

/// What is known of the own Node at the server of the federation that the vehicle is in or going to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeSeen {
    /// Nobody answered, or nobody asked.
    Unknown,
    /// The server answered that there is none.
    Missing,
    /// It is there.
    Present {
        /// Its identity.
        uid: String,
        /// Its condition Ready is True, with a heartbeat newer than the start of the unit.
        ready: bool,
    },
}

/// What was observed on this vehicle and at the server, together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The unit.
    pub unit: Unit,
    /// Federation that this vehicle is equipped for: that our drop-in names.
    pub equipped: Option<String>,
    /// But not as the configuration has it now.
    pub outdated: bool,
    /// The own Node.
    pub node: NodeSeen,
}

/// One step. Doing it again does no harm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Try whether a federation can be joined. Changes nothing.
    Preflight {
        /// Which.
        federation: String,
    },
    /// Put credentials and drop-in into place.
    Equip {
        /// For which.
        federation: String,
    },
    /// Start the unit, without waiting for it.
    Start,
    /// Restart the unit, without waiting for it.
    Restart,
    /// A server-side step of leaving.
    Part {
        /// Which federation.
        federation: String,
        /// The Node that is meant, if it was ever seen.
        uid: Option<String>,
        /// Which step.
        step: LeaveStep,
    },
    /// Delete the Node of an earlier membership, if it is still that one.
    Finish(Deferred),
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done, or had been done before.
    Done,
    /// The server did not answer.
    Unreachable(String),
    /// Not now: the server or this machine is busy with it.
    NotYet {
        /// Ask again after this time.
        after: Duration,
        /// For a person.
        text: String,
    },
    /// It will not work before a person changes something.
    Refused(String),
}

impl Outcome {
    /// What hinders, for a person; `None` when nothing does.
    #[must_use]
    pub fn hindrance(&self) -> Option<&str> {
        match self {
            Outcome::Done => None,
            Outcome::Unreachable(text) | Outcome::Refused(text) | Outcome::NotYet { text, .. } => {
                Some(text)
            }
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The deadline of [`Machine::deadline`] has come.
    Tick,
    /// Network cost to the nearest server of a federation; `None` when there is no way.
    Cost {
        /// Which.
        federation: String,
        /// 100 is a perfect hop.
        cost: Option<u32>,
    },
    /// What is observed now.
    Facts(Facts),
    /// A step ended.
    Finished {
        /// Which.
        step: Step,
        /// How.
        outcome: Outcome,
    },
    /// The intent that was given last is durable.
    Saved,
    /// What the operator wants.
    Wish(Wish),
}

/// Something that is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Make this durable and answer [`Input::Saved`].
    Save(Box<Intent>),
    /// Do this step and answer [`Input::Finished`]. There is never more than one.
    Do(Step),
    /// Tell people that the state changed.
    Changed {
        /// From.
        from: State,
        /// To.
        to: State,
        /// One sentence.
        reason: String,
    },
}

/// What people are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The state.
    pub state: State,
    /// The federation that it is about.
    pub federation: Option<String>,
    /// Since when the state lasts.
    pub since: Mono,
    /// Why, and what will happen next.
    pub reason: String,
}
