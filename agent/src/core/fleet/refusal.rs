//! Why a message, or what a record in it says, was turned away: a word to count it under and a sentence for a person.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{FORWARDED_BYTES_MAX, VEHICLES_MAX};
use crate::core::telemetry::Version;

/// What to count a refusal under: of a message, or of one record in it that says what a message could.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Refusal {
    /// The topic is none of an agent's.
    UnknownTopic,
    /// The vehicle's name is none.
    VehicleName,
    /// The stream's name is none.
    StreamName,
    /// The payload cannot be read.
    Payload,
    /// The document is of a version that this program does not know.
    Version,
    /// The payload is larger than any.
    TooLarge,
    /// Compact telemetry whose birth document is not known.
    NoBirth,
    /// There are as many vehicles as there may be.
    FleetFull,
    /// There are as many streams as there may be.
    TooManyStreams,
    /// What was taken leads to more readable documents than are forwarded for one message.
    TooMuchToForward,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Refusal; 10] = [
        Refusal::UnknownTopic,
        Refusal::VehicleName,
        Refusal::StreamName,
        Refusal::Payload,
        Refusal::Version,
        Refusal::TooLarge,
        Refusal::NoBirth,
        Refusal::FleetFull,
        Refusal::TooManyStreams,
        Refusal::TooMuchToForward,
    ];

    /// For a label.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Refusal::UnknownTopic => "unknown-topic",
            Refusal::VehicleName => "vehicle-name",
            Refusal::StreamName => "stream-name",
            Refusal::Payload => "payload",
            Refusal::Version => "version",
            Refusal::TooLarge => "too-large",
            Refusal::NoBirth => "no-birth",
            Refusal::FleetFull => "fleet-full",
            Refusal::TooManyStreams => "too-many-streams",
            Refusal::TooMuchToForward => "too-much-to-forward",
        }
    }
}

/// A message that was turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// To count it under.
    pub cause: Refusal,
    /// For a person.
    pub text: String,
}

impl Refused {
    pub(super) fn new(cause: Refusal, text: impl fmt::Display) -> Refused {
        Refused { cause, text: text.to_string() }
    }

    pub(super) fn topic(cause: Refusal) -> Refused {
        let text =
            "this topic is none that an agent publishes on: is something else using the prefix?";
        Refused::new(cause, text)
    }

    pub(super) fn too_large(bytes: usize) -> Refused {
        let text = format!(
            "a publication of {bytes} bytes is larger than any of an agent's and was not read"
        );
        Refused::new(Refusal::TooLarge, text)
    }

    pub(super) fn no_birth(needs: Version) -> Refused {
        let text = format!(
            "telemetry needs dictionary {needs}, which no birth document had: does the broker keep retained messages?"
        );
        Refused::new(Refusal::NoBirth, text)
    }

    pub(super) fn version(found: u64) -> Refused {
        let text =
            format!("a document has version {found}, which is newer than this program: update it");
        Refused::new(Refusal::Version, text)
    }

    pub(super) fn full() -> Refused {
        let text = format!(
            "there are {VEHICLES_MAX} vehicles already, all heard within a day: restrict who may publish below the prefix"
        );
        Refused::new(Refusal::FleetFull, text)
    }

    pub(super) fn too_much_to_forward(omitted: usize) -> Refused {
        let text = format!(
            "one message leads to more than {FORWARDED_BYTES_MAX} bytes of readable documents: {omitted} of them are not forwarded"
        );
        Refused::new(Refusal::TooMuchToForward, text)
    }

    pub(super) fn too_many_streams() -> Refused {
        let text = "there are as many streams as can be told apart: restrict who may publish below the prefix";
        Refused::new(Refusal::TooManyStreams, text)
    }
}
