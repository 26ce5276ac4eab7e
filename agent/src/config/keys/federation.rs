//! Keys of the federations that this vehicle may join, and of the k3s that it joins them with.

use std::path::PathBuf;

use super::{item, place};
use crate::config::key::{Field, Key, Place, Preset, Section, TakesEffect};
use crate::config::tables::Tables;
use crate::config::{Federation, rules};

/// Servers of one federation: more than three are not one control plane.
const SERVERS_MAX: usize = 8;

/// k3s on this vehicle.
pub(super) const K3S: Section = Section {
    name: "k3s",
    doc: "k3s on this vehicle.",
    keys: &[
        Key {
            name: "unit",
            doc: "Name of the service that runs k3s as an agent, without `.service`.",
            preset: Preset::Found("`k3s-agent`, or `k3s` if that is an agent"),
            example: "\"k3s-convoy\"",
            field: Field::OptionalText(place!(k3s.unit), rules::unit),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "data_folder",
            doc: "Folder of k3s's data (its `data-dir`).",
            preset: Preset::Is("\"/var/lib/rancher/k3s\""),
            example: "\"/data/k3s\"",
            field: Field::Path(place!(k3s.data_folder)),
            takes_effect: TakesEffect::OnRestart,
        },
    ],
};

/// Federations.
pub(crate) static FEDERATION: Tables<Federation> = Tables {
    name: "federation",
    doc: "A k3s cluster that this vehicle may join. `outrider check federation NAME` says whether it \
          could. May be written several times.",
    keys: &[
        Key {
            name: "name",
            doc: "What this vehicle calls it.",
            preset: Preset::Required,
            example: "\"purple\"",
            field: Field::Text(item!(name), rules::vehicle_name),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "servers",
            doc: "Its servers, by an address of the mesh or a name, with the port if that is not 6443. \
                  Each must stand in `tls-san` of the server's k3s configuration.",
            preset: Preset::Required,
            example: "[\"10.0.7.1\", \"10.0.7.2\"]",
            field: Field::Texts(item!(servers), rules::server, [1, SERVERS_MAX]),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "token_file",
            doc: "File that holds the token by which k3s agents join. Nobody but the agent's user should \
                  be able to read it. Use the token for agents, never that of a server.",
            preset: Preset::Required,
            example: "\"/etc/outrider/purple.token\"",
            field: Field::Path(item!(token_file)),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "ca_hash",
            doc: "SHA-256 of the servers' authority, for tokens that do not name it: the 64 digits after \
                  `K10` in a full token.",
            preset: Preset::Unset("the token names it"),
            example: "\"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"",
            field: Field::OptionalText(item!(ca_hash), rules::ca_hash),
            takes_effect: TakesEffect::OnRestart,
        },
    ],
    list: |config| &config.federation,
    list_mut: |config| &mut config.federation,
    blank: || Federation {
        name: String::new(),
        servers: Vec::new(),
        token_file: PathBuf::new(),
        ca_hash: None,
    },
    identity: ("name", |federation| federation.name.clone()),
    check: |_| None,
};
