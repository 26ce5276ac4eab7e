//! Exit codes: the one table that the program, its help and its man page use.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Done.
    Ok,
    /// It did not work.
    Failed,
    /// The arguments make no sense.
    Usage,
    /// Agent, daemon or broker cannot be reached.
    Unreachable,
    /// An answer or a payload cannot be understood.
    NotUnderstood,
    /// The configuration is not valid. Starting again does not help before it is changed.
    Config,
    /// There is no room for what was brought.
    NoRoom,
}

/// All codes with their meaning, for help and man page.
pub const EXITS: &[(Exit, &str)] = &[
    (Exit::Ok, "done; for check: no errors, though there may be warnings"),
    (Exit::Failed, "it did not work; for check: at least one error"),
    (Exit::Usage, "the arguments make no sense"),
    (Exit::Unreachable, "the agent, the routing daemon or the broker cannot be reached"),
    (Exit::NotUnderstood, "an answer or a payload cannot be understood"),
    (Exit::Config, "the configuration cannot be read or is not valid"),
    (Exit::NoRoom, "for put: the agent has no room now; trying again later may help"),
];

impl Exit {
    /// The number the process ends with.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
            Exit::NotUnderstood => 4,
            Exit::Config => 5,
            Exit::NoRoom => 6,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// Why a command ended early: the code and one message for standard error.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    /// Operation, object and remedy; `None` when there is nobody to tell.
    pub text: Option<String>,
}

impl Failure {
    /// A failure with a message.
    #[must_use]
    pub fn new(exit: Exit, text: impl Into<String>) -> Failure {
        Failure { exit, text: Some(text.into()) }
    }
}

/// What a command returns.
pub type Outcome = Result<Exit, Failure>;
