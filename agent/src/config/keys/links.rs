//! Keys of freshness, warm-up, smoothing and hysteresis.

use std::time::Duration;

use super::place;
use crate::config::key::{Field, Key, Place, Preset, Section, TakesEffect};

pub(super) const LINKS: Section = Section {
    name: "links",
    doc: "How network costs behave over time: when they are old, how they are smoothed, and when a \
          vehicle counts as unreachable. The defaults come from measurements and suit the daemons' \
          default timers.",
    keys: &[
        Key {
            name: "stale_after",
            doc: "No answer of the daemon for this long marks every value as stale; an unreachable \
                  vehicle becomes unknown.",
            preset: Preset::Is("\"10s\""),
            example: "\"30s\"",
            field: Field::Duration(
                place!(links.stale_after),
                [Duration::from_secs(2), Duration::from_secs(600)],
            ),
            takes_effect: TakesEffect::OnReload,
        },
        Key {
            name: "unknown_after",
            doc: "No answer that supports a value for this long makes it unknown. A restart of the \
                  daemon and its warm-up must fit in.",
            preset: Preset::Is("\"2m\""),
            example: "\"5m\"",
            field: Field::Duration(
                place!(links.unknown_after),
                [Duration::from_secs(10), Duration::from_secs(3_600)],
            ),
            takes_effect: TakesEffect::OnReload,
        },
        Key {
            name: "forget_after",
            doc: "A vehicle that is not configured and has not been reachable for this long is \
                  forgotten.",
            preset: Preset::Is("\"12h\""),
            example: "\"3d\"",
            field: Field::Duration(
                place!(links.forget_after),
                [Duration::from_secs(60), Duration::from_secs(30 * 86_400)],
            ),
            takes_effect: TakesEffect::OnReload,
        },
        Key {
            name: "warmup_min",
            doc: "Shortest warm-up of a daemon, from its start. Until then nothing becomes \
                  unreachable.",
            preset: Preset::Is("\"40s\""),
            example: "\"60s\"",
            field: Field::Duration(
                place!(links.warmup_min),
                [Duration::ZERO, Duration::from_secs(600)],
            ),
            takes_effect: TakesEffect::OnReload,
        },
        Key {
            name: "warmup_hellos",
            doc: "Warm-up lasts at least this many HELLO intervals and `warmup_window`.",
            preset: Preset::Is("20"),
            example: "10",
            field: Field::Integer(place!(links.warmup_hellos as u32), [0, 100], "HELLO intervals"),
            takes_effect: TakesEffect::OnReload,
        },
        Key {
            name: "warmup_window",
            doc: "Added to the `warmup_hellos`: the window over which the daemon estimates a link.",
            preset: Preset::Is("\"32s\""),
            example: "\"60s\"",
            field: Field::Duration(
                place!(links.warmup_window),
                [Duration::ZERO, Duration::from_secs(300)],
            ),
            takes_effect: TakesEffect::OnReload,
        },
        Key {
            name: "smooth_up",
            doc: "Time constant of the smoothing while a cost rises; `\"0s\"` for none.",
            preset: Preset::Is("\"5s\""),
            example: "\"10s\"",
            field: Field::Duration(
                place!(links.smooth_up),
                [Duration::ZERO, Duration::from_secs(600)],
            ),
            takes_effect: TakesEffect::OnReload,
        },
        Key {
            name: "smooth_down",
            doc: "Time constant of the smoothing while a cost falls; `\"0s\"` for none.",
            preset: Preset::Is("\"15s\""),
            example: "\"30s\"",
            field: Field::Duration(
                place!(links.smooth_down),
                [Duration::ZERO, Duration::from_secs(600)],
            ),
            takes_effect: TakesEffect::OnReload,
        },
        Key {
            name: "publish_percent",
            doc: "A change is published at once when it is larger than this share of the published \
                  cost and than `publish_units`.",
            preset: Preset::Is("10"),
            example: "5",
            field: Field::Integer(place!(links.publish_percent as u32), [0, 100], "percent"),
            takes_effect: TakesEffect::OnReload,
        },
        Key {
            name: "publish_units",
            doc: "A change is published at once when it is larger than this and than \
                  `publish_percent`.",
            preset: Preset::Is("10"),
            example: "20",
            field: Field::Integer(
                place!(links.publish_units as u32),
                [0, 1_000],
                "cost, 100 is one perfect hop",
            ),
            takes_effect: TakesEffect::OnReload,
        },
        Key {
            name: "publish_settle",
            doc: "A smaller change is published when it has lasted this long.",
            preset: Preset::Is("\"30s\""),
            example: "\"1m\"",
            field: Field::Duration(
                place!(links.publish_settle),
                [Duration::from_secs(1), Duration::from_secs(3_600)],
            ),
            takes_effect: TakesEffect::OnReload,
        },
        Key {
            name: "unreachable_hold",
            doc: "With olsrd, a vehicle is unreachable only after its route has been missing for \
                  this long.",
            preset: Preset::Is("\"4s\""),
            example: "\"10s\"",
            field: Field::Duration(
                place!(links.unreachable_hold),
                [Duration::ZERO, Duration::from_secs(600)],
            ),
            takes_effect: TakesEffect::OnReload,
        },
        Key {
            name: "unreachable_samples",
            doc: "A vehicle is unreachable only after its route has been missing in this many \
                  readings.",
            preset: Preset::Is("3"),
            example: "5",
            field: Field::Integer(place!(links.unreachable_samples as u32), [1, 100], "readings"),
            takes_effect: TakesEffect::OnReload,
        },
        Key {
            name: "unreachable_hold_olsrd2",
            doc: "With olsrd2, a vehicle is unreachable only after its route has been missing for \
                  the HELLO validity time and this long.",
            preset: Preset::Is("\"3s\""),
            example: "\"10s\"",
            field: Field::Duration(
                place!(links.unreachable_hold_olsrd2),
                [Duration::ZERO, Duration::from_secs(600)],
            ),
            takes_effect: TakesEffect::OnReload,
        },
        Key {
            name: "unseen_hold",
            doc: "A vehicle that has never had a route is unreachable only after this long: its \
                  addresses may not have arrived.",
            preset: Preset::Is("\"1m\""),
            example: "\"2m\"",
            field: Field::Duration(
                place!(links.unseen_hold),
                [Duration::ZERO, Duration::from_secs(3_600)],
            ),
            takes_effect: TakesEffect::OnReload,
        },
        Key {
            name: "return_delay",
            doc: "A vehicle is reachable again only after its route has been present for this \
                  long.",
            preset: Preset::Is("\"10s\""),
            example: "\"20s\"",
            field: Field::Duration(
                place!(links.return_delay),
                [Duration::ZERO, Duration::from_secs(600)],
            ),
            takes_effect: TakesEffect::OnReload,
        },
        Key {
            name: "return_hellos",
            doc: "Or, for a neighbour, after its link has been usable for this many HELLO \
                  intervals.",
            preset: Preset::Is("10"),
            example: "20",
            field: Field::Integer(
                place!(links.return_hellos as u32),
                [0, 1_000],
                "HELLO intervals",
            ),
            takes_effect: TakesEffect::OnReload,
        },
        Key {
            name: "return_delay_max",
            doc: "While a vehicle comes and goes, `return_delay` and `return_hellos` double up to \
                  this.",
            preset: Preset::Is("\"160s\""),
            example: "\"10m\"",
            field: Field::Duration(
                place!(links.return_delay_max),
                [Duration::ZERO, Duration::from_secs(3_600)],
            ),
            takes_effect: TakesEffect::OnReload,
        },
        Key {
            name: "flap_window",
            doc: "A vehicle comes and goes when it is lost again within this time of having come \
                  back.",
            preset: Preset::Is("\"1m\""),
            example: "\"2m\"",
            field: Field::Duration(
                place!(links.flap_window),
                [Duration::ZERO, Duration::from_secs(3_600)],
            ),
            takes_effect: TakesEffect::OnReload,
        },
        Key {
            name: "missed_hellos_free",
            doc: "HELLO intervals a neighbour may miss without consequence.",
            preset: Preset::Is("3"),
            example: "5",
            field: Field::Integer(
                place!(links.missed_hellos_free as u32),
                [0, 100],
                "HELLO intervals",
            ),
            takes_effect: TakesEffect::OnReload,
        },
        Key {
            name: "missed_hello_cost",
            doc: "Cost added for each further HELLO interval a neighbour misses, before the daemon \
                  notices.",
            preset: Preset::Is("100"),
            example: "200",
            field: Field::Integer(
                place!(links.missed_hello_cost as u32),
                [0, 10_000],
                "cost, 100 is one perfect hop",
            ),
            takes_effect: TakesEffect::OnReload,
        },
    ],
};
