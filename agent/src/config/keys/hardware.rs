//! Keys of the hardware collectors.

use std::time::Duration;

use super::place;
use crate::config::key::{Field, Key, Place, Preset, Section, TakesEffect};
use crate::shell::hw::Hardware;

/// Names of the collectors.
fn collectors() -> Vec<&'static str> {
    Hardware::known().collect()
}

pub(super) const HARDWARE: Section = Section {
    name: "hardware",
    doc: "What is read of this machine.",
    keys: &[
        Key {
            name: "enabled",
            doc: "Read the hardware at all.",
            preset: Preset::Is("true"),
            example: "false",
            field: Field::Bool(place!(hardware.enabled)),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "interval",
            doc: "How often each collector runs.",
            preset: Preset::Is("\"1s\""),
            example: "\"10s\"",
            field: Field::Duration(
                place!(hardware.interval),
                [Duration::from_secs(1), Duration::from_secs(3_600)],
            ),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "deadline",
            doc: "A collector that takes longer is reported as hanging. The others go on.",
            preset: Preset::Is("\"5s\""),
            example: "\"2s\"",
            field: Field::Duration(
                place!(hardware.deadline),
                [Duration::from_millis(100), Duration::from_secs(300)],
            ),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "root",
            doc: "Where the host's `proc` and `sys` are mounted, for containers.",
            preset: Preset::Is("\"/\""),
            example: "\"/host\"",
            field: Field::Path(place!(hardware.root)),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "disable",
            doc: "Collectors that are not run.",
            preset: Preset::Is("[]"),
            example: "[\"filesystem-remote\", \"wifi\"]",
            field: Field::WordSet(place!(hardware.disable), collectors),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "exclude",
            doc: "Devices, mount points, interfaces and sensors to leave out, by collector. `*` \
                  stands for any characters and `?` for one.",
            preset: Preset::Is("{}"),
            example: "{ network = [\"veth*\", \"docker*\"], filesystem = [\"/boot*\"] }",
            field: Field::Patterns(place!(hardware.exclude), collectors),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "include",
            doc: "If given for a collector, only what matches is read.",
            preset: Preset::Is("{}"),
            example: "{ network = [\"mesh*\"] }",
            field: Field::Patterns(place!(hardware.include), collectors),
            takes_effect: TakesEffect::OnRestart,
        },
    ],
};
