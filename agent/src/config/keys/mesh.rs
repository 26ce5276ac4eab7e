//! Keys of the routing daemon.

use std::time::Duration;

use super::place;
use crate::config::DaemonChoice;
use crate::config::key::{Field, Key, Place, Preset, Section, TakesEffect, Word};

const DAEMONS: &[(Word, DaemonChoice)] = &[
    (("auto", "find out which daemon answers on loopback"), DaemonChoice::Auto),
    (("jsoninfo", "olsrd with its jsoninfo plugin, port 9090"), DaemonChoice::Jsoninfo),
    (("txtinfo", "olsrd with its txtinfo plugin, port 2006"), DaemonChoice::Txtinfo),
    (("olsrd2-http", "olsrd2 with its http plugin, port 1980"), DaemonChoice::Olsrd2Http),
    (("olsrd2-telnet", "olsrd2 with its telnet plugin, port 2009"), DaemonChoice::Olsrd2Telnet),
    (("none", "no mesh on this machine"), DaemonChoice::None),
];

pub(super) const MESH: Section = Section {
    name: "mesh",
    doc: "Where the OLSR routing daemon is and how its numbers are read.",
    keys: &[
        Key {
            name: "daemon",
            doc: "Which interface of which daemon to read.",
            preset: Preset::Is("\"auto\""),
            example: "\"jsoninfo\"",
            field: Field::Word(
                place!(mesh.daemon among DAEMONS),
                &[
                    DAEMONS[0].0,
                    DAEMONS[1].0,
                    DAEMONS[2].0,
                    DAEMONS[3].0,
                    DAEMONS[4].0,
                    DAEMONS[5].0,
                ],
            ),
            takes_effect: TakesEffect::OnReload,
        },
        Key {
            name: "connect",
            doc: "Address and port of that interface. olsrd accepts exactly one address, by \
                  default 127.0.0.1 (`::1` with IPv6).",
            preset: Preset::Unset("the daemons' own ports on loopback are tried"),
            example: "\"127.0.0.1:9090\"",
            field: Field::OptionalAddress(place!(mesh.connect)),
            takes_effect: TakesEffect::OnReload,
        },
        Key {
            name: "interval",
            doc: "How often the daemon is read. It caches its tables for a second.",
            preset: Preset::Is("\"1s\""),
            example: "\"5s\"",
            field: Field::Duration(
                place!(mesh.interval),
                [Duration::from_secs(1), Duration::from_secs(300)],
            ),
            takes_effect: TakesEffect::OnReload,
        },
        Key {
            name: "timeout",
            doc: "Deadline of one reading.",
            preset: Preset::Is("\"3s\""),
            example: "\"10s\"",
            field: Field::Duration(
                place!(mesh.timeout),
                [Duration::from_millis(500), Duration::from_secs(60)],
            ),
            takes_effect: TakesEffect::OnReload,
        },
        Key {
            name: "names_file",
            doc: "Hosts file written by olsrd's nameservice plugin. Names in it come over the \
                  radio and are believed only as far as it goes.",
            preset: Preset::Unset("no names are read from a file"),
            example: "\"/var/run/hosts_olsr\"",
            field: Field::OptionalPath(place!(mesh.names_file)),
            takes_effect: TakesEffect::OnReload,
        },
        Key {
            name: "cost_floor_per_hop",
            doc: "Count no hop below 100. olsrd with `etx_ffeth` counts a wired hop as 10.",
            preset: Preset::Is("false"),
            example: "true",
            field: Field::Bool(place!(mesh.cost_floor_per_hop)),
            takes_effect: TakesEffect::OnReload,
        },
        Key {
            name: "reference_rate",
            doc: "Bit rate that counts as network cost 100 where olsrd2 knows the rates of its \
                  links. Must be the same on all vehicles.",
            preset: Preset::Is("6_000_000"),
            example: "24_000_000",
            field: Field::Integer(
                place!(mesh.reference_rate as u64),
                [1_000, 100_000_000_000],
                "bit/s",
            ),
            takes_effect: TakesEffect::OnReload,
        },
        Key {
            name: "unnamed_vehicles",
            doc: "Treat every mesh node without a name as a vehicle that is named by its address.",
            preset: Preset::Is("true"),
            example: "false",
            field: Field::Bool(place!(mesh.unnamed_vehicles)),
            takes_effect: TakesEffect::OnReload,
        },
        Key {
            name: "vehicles",
            doc: "Addresses of vehicles by name. What is configured here wins over names heard in \
                  the mesh.",
            preset: Preset::Is("{}"),
            example: "{ bravo = [\"10.0.0.2\"], charlie = [\"10.0.0.3\", \"fd00::3\"] }",
            field: Field::Addresses(place!(mesh.vehicles)),
            takes_effect: TakesEffect::OnReload,
        },
    ],
};
