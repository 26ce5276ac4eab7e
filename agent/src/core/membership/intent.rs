//! What has to outlast a power cut: where the vehicle was going, how far it had come, what the operator wants, and what is
//! still owed to servers that could not be reached.

use serde::{Deserialize, Serialize};

/// Version of the stored form. Another one is not read: the vehicle then observes where it is, as if it had none.
pub const INTENT_VERSION: u8 = 1;

/// Deferred steps that are kept; beyond, the oldest is given up, since its Node is long known as lost at its server.
pub const DEFERRED_MAX: usize = 16;

/// A step out of a federation, in order. The first four need its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeaveStep {
    /// Say at the own Node that the vehicle leaves.
    Announce,
    /// Let nothing be scheduled to it.
    Cordon,
    /// Evict its pods.
    Drain,
    /// Delete the Node.
    Delete,
    /// Stop the unit.
    Stop,
    /// Remove containers, mounts, interfaces and rules that it left.
    CleanUp,
    /// Put credentials away and remove the drop-in.
    Strip,
}

impl LeaveStep {
    /// Every step, in order.
    pub const ALL: [LeaveStep; 7] = [
        LeaveStep::Announce,
        LeaveStep::Cordon,
        LeaveStep::Drain,
        LeaveStep::Delete,
        LeaveStep::Stop,
        LeaveStep::CleanUp,
        LeaveStep::Strip,
    ];

    /// Whether it needs the server.
    #[must_use]
    pub fn needs_server(self) -> bool {
        self < LeaveStep::Stop
    }

    /// The one after it.
    #[must_use]
    pub fn next(self) -> Option<LeaveStep> {
        LeaveStep::ALL.into_iter().find(|step| *step > self)
    }
}

/// Where the vehicle is, or is going.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// In no federation.
    #[default]
    Solo,
    /// Into one.
    Joining {
        /// Which.
        federation: String,
    },
    /// In one.
    Member {
        /// Which.
        federation: String,
        /// Identity of the own Node there.
        uid: String,
    },
    /// Out of one.
    Leaving {
        /// Which.
        federation: String,
        /// Identity of the own Node there, if one was ever seen.
        uid: Option<String>,
        /// The step that is next.
        step: LeaveStep,
        /// The federation that it leaves for.
        then: Option<String>,
    },
}

impl Place {
    /// The federation that it is about.
    #[must_use]
    pub fn federation(&self) -> Option<&str> {
        match self {
            Place::Solo => None,
            Place::Joining { federation }
            | Place::Member { federation, .. }
            | Place::Leaving { federation, .. } => Some(federation),
        }
    }
}

/// What the operator wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// What policy says.
    #[default]
    Policy,
    /// To be in this federation, and stay.
    Join(String),
    /// To be in none.
    Leave {
        /// Without moving pods away first.
        now: bool,
    },
    /// That nothing changes.
    Hold,
}

/// A Node of an earlier membership that is still to be deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deferred {
    /// At the servers of this federation.
    pub federation: String,
    /// Its identity: a Node of the same name with another one is a newer membership. `None` for whichever has the vehicle's
    /// name, since the vehicle is not in that federation.
    pub uid: Option<String>,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// [`INTENT_VERSION`].
    pub version: u8,
    /// Where the vehicle is going.
    pub place: Place,
    /// What the operator wants.
    pub wish: Wish,
    /// What is owed, oldest first.
    pub deferred: Vec<Deferred>,
    /// Time that this machine has watched, in milliseconds, over all boots.
    pub watched_ms: u64,
    /// When joins began, on that clock; the latest [`super::Policy::changes_max`].
    pub joins_ms: Vec<u64>,
}

/// Why a stored intent cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntentError {
    /// It is of another version.
    Version(u8),
    /// It cannot be read.
    Damaged(String),
}

impl std::fmt::Display for IntentError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            IntentError::Version(version) => write!(
                f,
                "the stored intent has version {version}, this program reads {INTENT_VERSION}; the vehicle goes by what it \
                 observes"
            ),
            IntentError::Damaged(text) => write!(
                f,
                "the stored intent cannot be read ({text}); the vehicle goes by what it observes"
            ),
        }
    }
}

impl std::error::Error for IntentError {}

impl Intent {
    /// As stored: one JSON document, which people may read when something is stuck.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("names and numbers serialise")
    }

    /// Reads what [`Intent::to_json`] wrote.
    ///
    /// # Errors
    /// Another version, or damage.
    pub fn from_json(stored: &[u8]) -> Result<Intent, IntentError> {
        let value: serde_json::Value = serde_json::from_slice(stored)
            .map_err(|error| IntentError::Damaged(error.to_string()))?;
        let version = value.get("version").and_then(serde_json::Value::as_u64);
        match version.and_then(|version| u8::try_from(version).ok()) {
            Some(INTENT_VERSION) => serde_json::from_value(value)
                .map_err(|error| IntentError::Damaged(error.to_string())),
            Some(version) => Err(IntentError::Version(version)),
            None => Err(IntentError::Damaged("it has no version".to_owned())),
        }
    }
}
