//! Mistakes that a run makes on purpose, to prove that it would notice them. They are made at the seams between the agent, its
//! queue, its disk and its connection, so nothing of them exists in the product.

use std::fmt;
use std::str::FromStr;

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Records are freed when their message is handed to the connection.
    FreeOnPublish,
    /// Names of files are never synced.
    FolderNotSynced,
    /// A failed sync of a file counts as a successful one.
    FailedSyncIgnored,
    /// An acknowledgement of something that is not in flight is taken for that of the oldest message.
    WrongAcknowledgement,
    /// The queue is not told to hand out again after a lost connection.
    RewindLost,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 5] = [
        Bug::FreeOnPublish,
        Bug::FolderNotSynced,
        Bug::FailedSyncIgnored,
        Bug::WrongAcknowledgement,
        Bug::RewindLost,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Bug::FreeOnPublish => "free-on-publish",
            Bug::FolderNotSynced => "folder-not-synced",
            Bug::FailedSyncIgnored => "failed-sync-ignored",
            Bug::WrongAcknowledgement => "wrong-acknowledgement",
            Bug::RewindLost => "rewind-lost",
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
