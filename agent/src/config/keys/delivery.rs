//! Keys of how gathered records leave.

use super::{COSTS, place};
use crate::config::key::{Field, Key, Place, Preset, Section, TakesEffect, Word};
use crate::config::{DeliveryOrder, rules};

const ORDERS: &[(Word, DeliveryOrder)] = &[
    (
        ("live-first", "what has just come in goes before what was kept while the broker was away"),
        DeliveryOrder::LiveFirst,
    ),
    (("backlog-first", "the oldest goes first"), DeliveryOrder::BacklogFirst),
];

pub(super) const DELIVERY: Section = Section {
    name: "delivery",
    doc: "How gathered records leave by the broker of `[mqtt]`, and how much the mesh and the \
          tariff can bear.",
    keys: &[
        Key {
            name: "vehicle",
            doc: "Vehicle that the broker is on. The cost of the link to it decides what is held \
                  and how fast the rest may leave.",
            preset: Preset::Unset(
                "the vehicle that has the name or the address in `mqtt.host`; if there is none, \
                 nothing is held",
            ),
            example: "\"command\"",
            field: Field::OptionalText(place!(delivery.vehicle), rules::vehicle_name),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "order",
            doc: "Which of the agent's own telemetry leaves first. Other streams leave in order.",
            preset: Preset::Is("\"live-first\""),
            example: "\"backlog-first\"",
            field: Field::Word(place!(delivery.order among ORDERS), &[ORDERS[0].0, ORDERS[1].0]),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "hold_bulk_above",
            doc: "Streams with priority `bulk` are held while the network cost to the broker's \
                  vehicle is above this (100 is one perfect hop). They go on when it has fallen a \
                  tenth below. A stream's own `hold_above` comes first.",
            preset: Preset::Is("1000"),
            example: "400",
            field: Field::Integer(place!(delivery.hold_bulk_above as u32), COSTS, "network cost"),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "rate",
            doc: "Bytes a second that may leave over one perfect hop. Over a link of cost 300 it \
                  is a third of that, so that the share of the radio stays the same. Events do not \
                  wait for it. It bounds what leaves from the spool.",
            preset: Preset::Unset("as fast as the link carries"),
            example: "\"100KiB\"",
            field: Field::OptionalSize(place!(delivery.rate), [1 << 10, 1 << 40]),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "bytes_per_day",
            doc: "Bytes that may leave in 24 hours of running time, for links that are paid by the \
                  byte. The last tenth is left to events. It bounds what leaves from the spool; \
                  what leaves from memory counts as well.",
            preset: Preset::Unset("as many as there are"),
            example: "\"200MiB\"",
            field: Field::OptionalSize(place!(delivery.bytes_per_day), [1 << 20, 1 << 50]),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "memory",
            doc: "Memory for records that were sent and are not acknowledged. A link carries no \
                  more than this in the time of one acknowledgement.",
            preset: Preset::Is("\"1MiB\""),
            example: "\"4MiB\"",
            field: Field::Size(place!(delivery.memory), [64 << 10, 64 << 20]),
            takes_effect: TakesEffect::OnRestart,
        },
    ],
};
