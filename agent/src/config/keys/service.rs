//! Keys of the vehicle, of what it serves and of its log.

use super::place;
use crate::config::key::{Field, Key, Place, Preset, Section, TakesEffect, Word};
use crate::config::rules;

pub(super) const VEHICLE: Section = Section {
    name: "vehicle",
    doc: "Who this is.",
    keys: &[
        Key {
            name: "name",
            doc: "Name of this vehicle in metrics, topics and its cluster. Use the Kubernetes \
                  node's name when the scheduler is to find `olsr_network_cost` by it.",
            preset: Preset::Found("the host name, in lower case"),
            example: "\"alpha\"",
            field: Field::Text(place!(vehicle.name), rules::vehicle_name),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "kind",
            doc: "Kind of vehicle, free text for people.",
            preset: Preset::Is("\"\""),
            example: "\"truck\"",
            field: Field::Text(place!(vehicle.kind), rules::one_line),
            takes_effect: TakesEffect::OnRestart,
        },
    ],
};

pub(super) const HTTP: Section = Section {
    name: "http",
    doc: "Metrics and status page. Nothing can be changed through it.",
    keys: &[Key {
        name: "listen",
        doc: "Where to serve `/metrics`, the status page and `/v1`. Without password or \
              encryption: listen on other addresses only where everybody may read.",
        preset: Preset::Is("\"127.0.0.1:9695\""),
        example: "\"0.0.0.0:9695\"",
        field: Field::AddressOrOff(place!(http.listen)),
        takes_effect: TakesEffect::OnRestart,
    }],
};

pub(super) const CONTROL: Section = Section {
    name: "control",
    doc: "The Unix socket through which `outrider status` and `outrider mesh` ask the agent.",
    keys: &[Key {
        name: "path",
        doc: "Path of the socket. Its mode is 0660: user and group of the agent may use it.",
        preset: Preset::Found(
            "`control.sock` in `$RUNTIME_DIRECTORY` (systemd), else in `$XDG_RUNTIME_DIR/outrider` \
             unless root, else in `/run/outrider`",
        ),
        example: "\"/run/outrider/control.sock\"",
        field: Field::PathOrOff(place!(control.path)),
        takes_effect: TakesEffect::OnRestart,
    }],
};

const LEVELS: &[(Word, tracing::Level)] = &[
    (("error", "what stopped working"), tracing::Level::ERROR),
    (("warn", "what an operator may have to act on"), tracing::Level::WARN),
    (("info", "changes a user would notice"), tracing::Level::INFO),
    (("debug", "decisions and their reasons; may hold addresses"), tracing::Level::DEBUG),
    (("trace", "every poll and message"), tracing::Level::TRACE),
];

pub(super) const LOG: Section = Section {
    name: "log",
    doc: "The log, written to standard error.",
    keys: &[Key {
        name: "level",
        doc: "Most verbose level that is written.",
        preset: Preset::Is("\"info\""),
        example: "\"debug\"",
        field: Field::Word(
            place!(log.level among LEVELS),
            &[LEVELS[0].0, LEVELS[1].0, LEVELS[2].0, LEVELS[3].0, LEVELS[4].0],
        ),
        takes_effect: TakesEffect::OnReload,
    }],
};
