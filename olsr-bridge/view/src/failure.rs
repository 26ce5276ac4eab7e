//! Why a routing daemon gave no view.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kinds of failure that call for different remedies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// Nobody listens: the daemon is down or its plugin is not loaded. Retrying helps when it comes back.
    Refused,
    /// No complete answer within the deadline.
    Timeout,
    /// It does not accept our address (403): its `accept` parameter names another one.
    NotAllowed,
    /// It does not know the request (404): plugin too old, or another plugin.
    NotFound,
    /// It is busy (408, 503, too many sessions). Retrying helps.
    Busy,
    /// It answered something that no OLSR daemon says.
    NotUnderstood,
    /// The answer is larger than the limit.
    TooLarge,
    /// Anything else the operating system said.
    Io,
}

/// A failed reading of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind.
    pub class: FailureClass,
    /// Operation, object and remedy in one sentence for a person.
    pub text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}
