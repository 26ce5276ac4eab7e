//! Keys of the durable queue and of its streams.

use std::time::Duration;

use super::{COSTS, item, place};
use crate::config::key::{Field, Key, Place, Preset, Section, TakesEffect, Word};
use crate::config::tables::Tables;
use crate::config::{Priority, Stream, WhenFull, rules};

pub(super) const SPOOL: Section = Section {
    name: "spool",
    doc: "The durable queue: records that were gathered on this vehicle are kept here until they \
          were delivered.",
    keys: &[
        Key {
            name: "folder",
            doc: "Folder of the spool, made when it is missing. Only one agent may use it.",
            preset: Preset::Found(
                "`spool` in `$STATE_DIRECTORY` (systemd), which is `/var/lib/outrider/spool`; without \
                 that variable there is no spool",
            ),
            example: "\"/var/lib/outrider/spool\"",
            field: Field::PathOrOff(place!(spool.folder)),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "size",
            doc: "Bytes that the spool may take on disk.",
            preset: Preset::Is("\"64MiB\""),
            example: "\"4GiB\"",
            field: Field::Size(place!(spool.size), [1 << 20, 1 << 40]),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "memory",
            doc: "Memory for records that wait for their sync. When it is full, the spool writes \
                  before the delay has passed.",
            preset: Preset::Is("\"2MiB\""),
            example: "\"8MiB\"",
            field: Field::Size(place!(spool.memory as usize), [2 << 20, 256 << 20]),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "writes_per_day",
            doc: "Bytes that the spool may write in any 24 hours. Flash wears with every write; \
                  when they are used up, records wait in memory.",
            preset: Preset::Unset("as many as come"),
            example: "\"2GiB\"",
            field: Field::OptionalSize(place!(spool.writes_per_day), [16 << 20, 1 << 50]),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "sync_delay",
            doc: "Longest time from accepting a record to its being safe from a power cut. Records \
                  that come together are synced together; longer is kinder to flash.",
            preset: Preset::Is("\"2s\""),
            example: "\"200ms\"",
            field: Field::Duration(
                place!(spool.sync_delay),
                [Duration::from_millis(10), Duration::from_secs(30)],
            ),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "undeclared_max",
            doc: "Streams that may come into being by being used, beside those in `[[stream]]`. \
                  They are treated as `[[stream]]` does by default. 0 refuses them.",
            preset: Preset::Is("8"),
            example: "0",
            field: Field::Integer(place!(spool.undeclared_max as usize), [0, 8], "streams"),
            takes_effect: TakesEffect::OnRestart,
        },
    ],
};

const PRIORITIES: &[(Word, Priority)] = &[
    (("event", "leaves before everything else and stays longest"), Priority::Event),
    (("normal", "neither"), Priority::Normal),
    (("bulk", "leaves last, and goes first when room is needed"), Priority::Bulk),
];

const WHEN_FULL: &[(Word, WhenFull)] = &[
    (("drop-oldest", "its oldest records go, counted"), WhenFull::DropOldest),
    (("refuse", "whoever brings more is refused; what is held stays"), WhenFull::Refuse),
    (
        (
            "thin",
            "every second of its oldest records goes, so that history gets coarser, not shorter",
        ),
        WhenFull::Thin,
    ),
];

/// How streams are treated.
pub(crate) static STREAM: Tables<Stream> = Tables {
    name: "stream",
    doc: "How one kind of gathered records is treated. May be written several times.",
    keys: &[
        Key {
            name: "name",
            doc: "Name of the stream: a level of its topic, and what whoever brings records says. \
                  `events` and `telemetry` are the agent's own.",
            preset: Preset::Required,
            example: "\"camera\"",
            field: Field::Text(item!(name), rules::stream_name),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "priority",
            doc: "How much its records matter.",
            preset: Preset::Is("\"normal\""),
            example: "\"bulk\"",
            field: Field::Word(
                item!(priority among PRIORITIES),
                &[PRIORITIES[0].0, PRIORITIES[1].0, PRIORITIES[2].0],
            ),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "weight",
            doc: "Its part of what the link carries when several streams have something to send: \
                  one of weight 3 gets three times as much as one of weight 1. Events go before \
                  all others.",
            preset: Preset::Is("1"),
            example: "3",
            field: Field::Integer(item!(weight as u8), [1, 100], ""),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "hold_above",
            doc: "Network cost to the broker's vehicle above which its records are held (100 is one \
                  perfect hop). They go on when it has fallen a tenth below.",
            preset: Preset::Unset(
                "bulk is held above `delivery.hold_bulk_above`, anything else never",
            ),
            example: "400",
            field: Field::OptionalInteger(item!(hold_above), COSTS, "network cost"),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "share",
            doc: "Most of the spool that it may take.",
            preset: Preset::Is("100"),
            example: "25",
            field: Field::Integer(item!(share as u8), [1, 100], "percent"),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "expire",
            doc: "Age at which records are worthless and are dropped, counted in time that this \
                  vehicle was running.",
            preset: Preset::Unset("records are kept until they were delivered or room is needed"),
            example: "\"7d\"",
            field: Field::OptionalDuration(
                item!(expire),
                [Duration::from_secs(1), Duration::from_secs(10 * 366 * 86_400)],
            ),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "when_full",
            doc: "What happens when the stream has taken its share, or the spool is full and it is \
                  this stream's turn.",
            preset: Preset::Is("\"drop-oldest\""),
            example: "\"refuse\"",
            field: Field::Word(
                item!(when_full among WHEN_FULL),
                &[WHEN_FULL[0].0, WHEN_FULL[1].0, WHEN_FULL[2].0],
            ),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "sync",
            doc: "Make each record safe at once instead of after `sync_delay`. Wears flash.",
            preset: Preset::Is("false"),
            example: "true",
            field: Field::Bool(item!(sync)),
            takes_effect: TakesEffect::OnRestart,
        },
    ],
    list: |config| &config.stream,
    list_mut: |config| &mut config.stream,
    blank: || Stream {
        name: String::new(),
        priority: Priority::Normal,
        weight: 0,
        hold_above: None,
        share: 0,
        expire: None,
        when_full: WhenFull::DropOldest,
        sync: false,
    },
    identity: ("name", |stream| stream.name.clone()),
    check: |stream| {
        let text = "events are never held; leave it out, or give the stream another `priority`";
        (stream.priority == Priority::Event && stream.hold_above.is_some())
            .then(|| ("hold_above", text.to_owned()))
    },
};
