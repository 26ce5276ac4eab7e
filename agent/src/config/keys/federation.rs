//! Keys of the federations that this vehicle may join, and of the k3s that it joins them with.

use std::path::PathBuf;
use std::time::Duration;

use super::{COSTS, item, place};
use crate::config::key::{Field, Key, Place, Preset, Section, TakesEffect, Word};
use crate::config::tables::Tables;
use crate::config::{Federation, LocalData, rules};
use crate::core::membership;

/// Servers of one federation: more than three are not one control plane.
const SERVERS_MAX: usize = 8;

/// Labels of one Node: more would be data.
const LABELS_MAX: usize = 32;

/// Words of a command.
const WORDS_MAX: usize = 16;

/// Largest value for what is out of reach: consumers with numbers of 32 bits exist.
const UNREACHABLE_MAX: i64 = i32::MAX as i64;

const DAY: Duration = Duration::from_secs(86_400);

/// Kubelets renew their Lease every 10 s; who misses one of them is not silent.
const SILENT_AFTER_MIN: Duration = Duration::from_secs(20);

/// k3s on this vehicle.
pub(super) const K3S: Section = Section {
    name: "k3s",
    doc: "k3s on this vehicle.",
    keys: &[
        Key {
            name: "unit",
            doc: "Name of the service that runs k3s as an agent, without `.service`.",
            preset: Preset::Found("`k3s-agent`, or `k3s` if systemd shows that it is an agent"),
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
        Key {
            name: "node_name",
            doc: "What this vehicle's Node is called in every cluster. No two vehicles may share it.",
            preset: Preset::Found("the vehicle's name, in small letters"),
            example: "\"scout-1\"",
            field: Field::OptionalText(place!(k3s.node_name), rules::node_name),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "node_ip",
            doc: "Address of this vehicle by which the others reach it over the mesh. One that never \
                  changes: k3s cannot change it while it runs.",
            preset: Preset::Unset("k3s takes that of the default route"),
            example: "\"10.0.7.12\"",
            field: Field::OptionalText(place!(k3s.node_ip), rules::address),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "interface",
            doc: "Interface of the mesh that carries the network of pods (k3s's `flannel-iface`). It must be \
                  there when k3s starts.",
            preset: Preset::Unset("k3s takes that of the default route, which a mesh may not have"),
            example: "\"wlan0\"",
            field: Field::OptionalText(place!(k3s.interface), rules::interface),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "region",
            doc: "Label `topology.kubernetes.io/region` of the Node.",
            preset: Preset::Unset("no such label"),
            example: "\"north\"",
            field: Field::OptionalText(place!(k3s.region), rules::region),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "zone",
            doc: "Label `topology.kubernetes.io/zone` of the Node. Schedulers that know the network take \
                  one zone for one place: give each vehicle its own.",
            preset: Preset::Unset("no such label"),
            example: "\"scout-1\"",
            field: Field::OptionalText(place!(k3s.zone), rules::zone),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "labels",
            doc: "Further labels of the Node, beside those for the vehicle's name and kind.",
            preset: Preset::Is("[]"),
            example: "[\"camera=front\", \"example.org/crew=2\"]",
            field: Field::Texts(place!(k3s.labels), rules::label, [0, LABELS_MAX]),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "start_command",
            doc: "Command that starts k3s and returns, word by word, where neither systemd nor OpenRC runs it; `{unit}` \
                  stands for the name of the service. It belongs together with the three below.",
            preset: Preset::Is("[]"),
            example: "[\"sv\", \"start\", \"{unit}\"]",
            field: Field::Texts(place!(k3s.start_command), rules::not_empty, [0, WORDS_MAX]),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "restart_command",
            doc: "The same to restart it.",
            preset: Preset::Is("[]"),
            example: "[\"sv\", \"restart\", \"{unit}\"]",
            field: Field::Texts(place!(k3s.restart_command), rules::not_empty, [0, WORDS_MAX]),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "stop_command",
            doc: "The same to stop it.",
            preset: Preset::Is("[]"),
            example: "[\"sv\", \"stop\", \"{unit}\"]",
            field: Field::Texts(place!(k3s.stop_command), rules::not_empty, [0, WORDS_MAX]),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "status_command",
            doc: "The same to ask for it: it ends with 0 when k3s runs, 3 when it does not, 4 when there is no such \
                  service, and 1 or 2 when it died.",
            preset: Preset::Is("[]"),
            example: "[\"/usr/local/bin/k3s-status\", \"{unit}\"]",
            field: Field::Texts(place!(k3s.status_command), rules::not_empty, [0, WORDS_MAX]),
            takes_effect: TakesEffect::OnRestart,
        },
    ],
};

const LOCAL_DATA: &[(Word, LocalData)] = &[
    (("evict", "they are evicted like all others"), LocalData::Evict),
    (
        ("refuse", "they stay, and the vehicle does not leave gracefully as long as there are any"),
        LocalData::Refuse,
    ),
];

/// How federations are joined and left.
pub(super) const MEMBERSHIP: Section = Section {
    name: "membership",
    doc: "How this vehicle joins and leaves the federations of `[[federation]]`. Without any, nothing of \
          this is used.",
    keys: &[
        Key {
            name: "folder",
            doc: "Folder of what has to outlast a power cut: where the vehicle was going, and what each \
                  federation gave it. Only the agent's user may read it.",
            preset: Preset::Is("\"/var/lib/outrider/membership\""),
            example: "\"/data/outrider/membership\"",
            field: Field::Path(place!(membership.folder)),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "automatic",
            doc: "Join and change federations by what the links are like. Otherwise only `outrider \
                  federation join` does; a member is left by the rules below all the same.",
            preset: Preset::Is("true"),
            example: "false",
            field: Field::Bool(place!(membership.automatic)),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "dwell",
            doc: "A member stays at least this long before it goes to a better federation.",
            preset: Preset::Is("\"10m\""),
            example: "\"1h\"",
            field: Field::Duration(place!(membership.dwell), [Duration::ZERO, DAY]),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "switch_percent",
            doc: "A federation of the same priority is better when the way to it costs at most this \
                  share of the way to the present one.",
            preset: Preset::Is("70"),
            example: "50",
            field: Field::Integer(place!(membership.switch_percent as u32), [1, 100], "percent"),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "joins_max",
            doc: "Joins that may begin within `joins_within` without an operator, so that a vehicle at \
                  the edge of two federations does not go to and fro.",
            preset: Preset::Is("4"),
            example: "10",
            field: Field::Integer(place!(membership.joins_max as u32), [1, 100], "joins"),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "joins_within",
            doc: "See `joins_max`.",
            preset: Preset::Is("\"1h\""),
            example: "\"2h\"",
            field: Field::Duration(place!(membership.joins_within), [Duration::from_secs(60), DAY]),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "drain_within",
            doc: "How long a vehicle that leaves without an operator waits for pods that a disruption \
                  budget holds, or that take their time to end; then it leaves without. One that an \
                  operator told to leave waits until `outrider federation leave --now`.",
            preset: Preset::Is("\"30m\""),
            example: "\"2h\"",
            field: Field::Duration(place!(membership.drain_within), [Duration::from_secs(60), DAY]),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "local_data",
            doc: "What becomes, when the vehicle leaves, of pods that lose data by that: those with an \
                  `emptyDir`, and those that nothing starts elsewhere.",
            preset: Preset::Is("\"evict\""),
            example: "\"refuse\"",
            field: Field::Word(
                place!(membership.local_data among LOCAL_DATA),
                &[LOCAL_DATA[0].0, LOCAL_DATA[1].0],
            ),
            takes_effect: TakesEffect::OnRestart,
        },
    ],
};

/// The server whose members are looked after.
pub(super) const HOST: Section = Section {
    name: "host",
    doc: "For an agent beside a k3s server: what it does for the members of that cluster. It deletes the \
          Nodes of vehicles that said that they leave and are silent since, and marks those that are lost.",
    keys: &[
        Key {
            name: "server",
            doc: "The server, by an address or name of its certificate, with the port if that is not 6443.",
            preset: Preset::Unset("this agent looks after no cluster"),
            example: "\"127.0.0.1\"",
            field: Field::OptionalText(place!(host.server), rules::server),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "ca_hash",
            doc: "SHA-256 of the server's authority: the 64 digits after `K10` in any of its tokens.",
            preset: Preset::Unset("it has to be given with `server`"),
            example: "\"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"",
            field: Field::OptionalText(place!(host.ca_hash), rules::ca_hash),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "account_file",
            doc: "File that holds the token of the host's account, made by `images/kubernetes/host.yaml`.",
            preset: Preset::Unset("it has to be given with `server`"),
            example: "\"/etc/outrider/host.account\"",
            field: Field::OptionalPath(place!(host.account_file)),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "silent_after",
            doc: "A vehicle of which nothing is heard for this long is silent: its Node is deleted if it said \
                  that it leaves, and marked as lost if not. Of a time in which the server itself did not answer, a \
                  quarter of this counts at most.",
            preset: Preset::Is("\"5m\""),
            example: "\"2m\"",
            field: Field::Duration(place!(host.silent_after), [SILENT_AFTER_MIN, DAY]),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "custom_metrics",
            doc: "Address and port at which the network cost of every Node is served to the cluster's API server, \
                  as `custom.metrics.k8s.io`: the address in `images/kubernetes/custom-metrics.yaml`, one of \
                  this machine that is not loopback. Nobody else is answered. When this key is taken out again and \
                  the rest of the section is left, the agent takes back what it registered in the cluster.",
            preset: Preset::Unset("they are not served"),
            example: "\"10.0.7.1:6480\"",
            field: Field::OptionalAddress(place!(host.custom_metrics)),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "unreachable_cost",
            doc: "What `custom_metrics` has for a Node that is out of reach, that the mesh does not know, or of \
                  which nothing can be said: -1, which policies have to exclude by a rule of their own because it \
                  is less than every cost, or a number above the largest cost, 1000000.",
            preset: Preset::Is("-1"),
            example: "2147483647",
            field: Field::Signed(place!(host.unreachable_cost), [-1, UNREACHABLE_MAX]),
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
        Key {
            name: "account_file",
            doc: "File that holds the token of this vehicle's account in the cluster, made by \
                  `images/kubernetes/vehicle.yaml`. It may do nothing but say that the vehicle leaves, \
                  move its pods away and delete its own Node.",
            preset: Preset::Unset(
                "the vehicle's Node stays behind when it leaves, until somebody else deletes it",
            ),
            example: "\"/etc/outrider/purple.account\"",
            field: Field::OptionalPath(item!(account_file)),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "hub",
            doc: "Vehicle to which the network cost counts as the way to this federation.",
            preset: Preset::Unset("the nearest of the vehicles that have an address of `servers`"),
            example: "\"command\"",
            field: Field::OptionalText(item!(hub), rules::vehicle_name),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "priority",
            doc: "Of several federations in contact the one with the largest priority is joined.",
            preset: Preset::Is("10"),
            example: "20",
            field: Field::Integer(item!(policy.priority as u32), [0, 1_000], ""),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "join_below",
            doc: "It is joined when the way to it has cost at most this for `join_after` (100 is one \
                  perfect hop).",
            preset: Preset::Is("600"),
            example: "300",
            field: Field::Integer(item!(policy.join_below as u32), COSTS, "network cost"),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "join_after",
            doc: "See `join_below`.",
            preset: Preset::Is("\"1m\""),
            example: "\"5m\"",
            field: Field::Duration(item!(policy.join_after), [Duration::ZERO, DAY]),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "strain_above",
            doc: "A member is strained when the way costs more than this, or there is none, for \
                  `strain_after`; so is one whose server accepts connections while its API says \
                  nothing, or at whose server's address somebody else is. Its pods go on. It must be \
                  larger than `join_below`.",
            preset: Preset::Is("1000"),
            example: "2000",
            field: Field::Integer(item!(policy.strain_above as u32), COSTS, "network cost"),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "strain_after",
            doc: "See `strain_above`. The way must be good for as long before the strain is over.",
            preset: Preset::Is("\"1m\""),
            example: "\"30s\"",
            field: Field::Duration(item!(policy.strain_after), [Duration::ZERO, DAY]),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "leave_after",
            doc: "A federation is left after the vehicle was strained for this long. What its server \
                  has to be told is told when there is a way again.",
            preset: Preset::Is("\"30m\""),
            example: "\"never\"",
            field: Field::DurationOrNever(
                item!(policy.leave_after),
                [Duration::from_secs(10), Duration::from_secs(30 * 86_400)],
            ),
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
        account_file: None,
        hub: None,
        policy: membership::Federation {
            priority: 0,
            join_below: 0,
            join_after: Duration::ZERO,
            strain_above: 0,
            strain_after: Duration::ZERO,
            leave_after: None,
        },
    },
    identity: ("name", |federation| federation.name.clone()),
    check: |federation| {
        (federation.policy.join_below >= federation.policy.strain_above).then(|| {
            let text = "a vehicle that may join at this cost would be strained at once; make it \
                        larger than `join_below`";
            ("strain_above", text.to_owned())
        })
    },
};
