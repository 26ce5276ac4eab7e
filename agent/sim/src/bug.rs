//! Mistakes that a run makes on purpose, to prove that it would notice them. They are made at the seams between the agent, its
//! queue, its disk and its connection, so nothing of them exists in the product.

/// Makes the mistakes of a world, each with its name on the command line.
macro_rules! mistakes {
    ($($(#[$doc:meta])+ $bug:ident = $word:literal,)+) => {
        /// A mistake.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $($(#[$doc])+ $bug,)+
        }

        impl Bug {
            /// All of them.
            pub const ALL: [Bug; [$($word),+].len()] = [$(Bug::$bug),+];

            /// Its name on the command line.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Bug::$bug => $word,)+
                }
            }
        }

        impl std::fmt::Display for Bug {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }

        impl std::str::FromStr for Bug {
            type Err = String;

            fn from_str(word: &str) -> Result<Bug, String> {
                let known = Bug::ALL.into_iter().find(|bug| bug.word() == word);
                known.ok_or_else(|| {
                    let words = Bug::ALL.map(Bug::word).join(", ");
                    format!("there is no bug `{word}`; take one of {words}")
                })
            }
        }
    };
}
pub(crate) use mistakes;

mistakes! {
    /// Records are freed when their message is handed to the connection.
    FreeOnPublish = "free-on-publish",
    /// Names of files are never synced.
    FolderNotSynced = "folder-not-synced",
    /// A failed sync of a file counts as a successful one.
    FailedSyncIgnored = "failed-sync-ignored",
    /// An acknowledgement of something that is not in flight is taken for that of the oldest message.
    WrongAcknowledgement = "wrong-acknowledgement",
    /// The queue is not told to hand out again after a lost connection.
    RewindLost = "rewind-lost",
}
