//! Mistakes made on purpose between the machine and the vehicle, to see them noticed.

use std::fmt;
use std::str::FromStr;

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// An intent counts as durable before it is.
    UnsavedIntent,
    /// What is owed to servers is not stored.
    ForgottenDebts,
    /// When joins began is not stored.
    ForgottenJoins,
    /// Cleaning up does nothing.
    SkippedCleanUp,
    /// Stopping the unit does nothing.
    UnstoppedUnit,
    /// Servers that are silent count as answering.
    DeafToSilence,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 6] = [
        Bug::UnsavedIntent,
        Bug::ForgottenDebts,
        Bug::ForgottenJoins,
        Bug::SkippedCleanUp,
        Bug::UnstoppedUnit,
        Bug::DeafToSilence,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Bug::UnsavedIntent => "unsaved-intent",
            Bug::ForgottenDebts => "forgotten-debts",
            Bug::ForgottenJoins => "forgotten-joins",
            Bug::SkippedCleanUp => "skipped-clean-up",
            Bug::UnstoppedUnit => "unstopped-unit",
            Bug::DeafToSilence => "deaf-to-silence",
        }
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Bug {
    type Err = String;

    fn from_str(word: &str) -> Result<Bug, String> {
        let known = Bug::ALL.into_iter().find(|bug| bug.word() == word);
        known.ok_or_else(|| {
            let words: Vec<&str> = Bug::ALL.into_iter().map(Bug::word).collect();
            format!("there is no bug `{word}`; take one of {}", words.join(", "))
        })
    }
}
