//! Reads a folder of captured answers into views and compares them with what each mesh was made to be.
//!
//! Such a folder holds `expected.json` and, per daemon and scenario, a `scenario.json` (topology, addresses, events),
//! a folder per captured node with one file per request, and for series `series/NODE/tSECONDS.http|raw`. `*.http`
//! files begin with the response headers, `*.raw` files have none.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use olsr_bridge::build::Builder;
use olsr_bridge::cost::CostOptions;
use olsr_bridge::lookup::Resolution;
use olsr_bridge::view::{DaemonKind, MeshView, NetworkCost, Part, Protocol};
use olsr_bridge::{http, names, v1, v2};
use serde_json::Value;

/// Costs that differ from the expected ones for a known reason: these answers were captured some seconds before or after
/// the tables that the expectation was computed from, and the estimate of a lossy link had moved in between. Scenario,
/// node, source, peer and the cost that this answer itself states.
const MOVED: [(&str, &str, &str, &str, i64); 5] = [
    ("asymmetric", "a", "jsoninfo /all", "d", 170),
    ("old-0.6.8.1", "a", "jsoninfo /all", "c", 146),
    ("old-0.6.8.1", "a", "txtinfo tables", "c", 146),
    ("old-0.6.8.1", "a", "txtinfo /all", "c", 146),
    ("old-0.6.8.1", "a", "txtinfo raw /all", "c", 146),
];

/// Complaints that an answer deserves: olsrd2 without a link metric says so in the name of its metric.
const DESERVED: [(&str, &str); 1] = [("no-metric", "the scale of this metric is not known")];

/// One captured scenario.
pub struct Scenario {
    /// Folder of the daemon: `olsrd` or `olsrd2`.
    pub daemon: String,
    /// Name of the scenario.
    pub name: String,
    /// Where it lies.
    pub folder: PathBuf,
    /// All addresses of each node that can be asked for, its identity first.
    pub nodes: BTreeMap<String, Vec<IpAddr>>,
}

/// One view out of a capture.
pub struct Reading {
    /// The node that was asked.
    pub node: String,
    /// What it was read from.
    pub source: String,
    /// File name in a series.
    pub sample: Option<String>,
    /// Least count by which costs may differ from the expected ones, because this source rounds.
    pub slack: u32,
    /// Whether all tables that tell who is who were in the answer.
    pub identities: bool,
    /// What was read.
    pub view: MeshView,
}

/// All scenarios under `root`, sorted.
pub fn scenarios(root: &Path) -> Vec<Scenario> {
    let mut found = Vec::new();
    for daemon in ["olsrd", "olsrd2"] {
        for folder in children(&root.join(daemon)) {
            let Ok(text) = fs::read_to_string(folder.join("scenario.json")) else { continue };
            let scenario: Value = serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            found.push(Scenario {
                daemon: daemon.to_owned(),
                name: file_name(&folder),
                nodes: addresses(&scenario),
                folder,
            });
        }
    }
    found
}

/// The content of `expected.json` under `root`.
pub fn expected(root: &Path) -> Value {
    let path = root.join("expected.json");
    let text = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Routable addresses of each node; link-local ones name nobody.
fn addresses(scenario: &Value) -> BTreeMap<String, Vec<IpAddr>> {
    let mut nodes = BTreeMap::new();
    let wants_v6 = scenario["ip_version"] == 6;
    for (node, facts) in scenario["nodes"].as_object().into_iter().flatten() {
        let mut all = Vec::new();
        // "lo" sorts before the interfaces "mab", so the identity comes first.
        for list in facts["addresses"].as_object().into_iter().flatten().map(|(_, list)| list) {
            for text in list.as_array().into_iter().flatten().filter_map(Value::as_str) {
                let address: IpAddr = address(text);
                if address.is_ipv6() == wants_v6 && !olsr_bridge::view::is_link_local(address) {
                    all.push(address);
                }
            }
        }
        nodes.insert(node.clone(), all);
    }
    nodes
}

/// The address in front of a prefix length.
fn address(text: &str) -> IpAddr {
    let bare = text.split_once('/').map_or(text, |(address, _)| address);
    bare.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn read(file: &Path) -> Vec<u8> {
    fs::read(file).unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()))
}

/// Every view that the files of `scenario` give.
pub fn readings(scenario: &Scenario) -> Vec<Reading> {
    let mut found = Vec::new();
    for folder in children(&scenario.folder).into_iter().filter(|path| path.is_dir()) {
        let node = file_name(&folder);
        if node == "series" {
            for folder in children(&folder) {
                let node = file_name(&folder);
                found.extend(children(&folder).iter().filter_map(|file| series(&node, file)));
            }
        } else if scenario.name != "errors" {
            found.extend(match scenario.daemon.as_str() {
                "olsrd" => olsrd_node(&node, &folder),
                _ => olsrd2_node(&node, &folder),
            });
        }
    }
    found
}

/// One sample of a series; `None` for moments at which nobody answered.
fn series(node: &str, file: &Path) -> Option<Reading> {
    let extension = file.extension()?.to_str()?;
    if extension == "connect-error" {
        return None;
    }
    let bytes = read(file);
    let builder = match extension {
        "http" => jsoninfo(&bytes),
        "raw" => olsrd2(&bytes, Protocol::Olsrd2Telnet),
        other => panic!("{}: what is a `{other}`?", file.display()),
    };
    Some(Reading {
        node: node.to_owned(),
        source: format!("series {}", file_name(file)),
        sample: Some(file_name(file)),
        slack: 0,
        identities: false,
        view: builder.finish(&CostOptions::default()),
    })
}

/// The views of one olsrd node: from single jsoninfo tables, from the composite answer and from txtinfo.
fn olsrd_node(node: &str, folder: &Path) -> Vec<Reading> {
    let tables = [
        "links",
        "neighbors",
        "routes",
        "topology",
        "hna",
        "mid",
        "gateways",
        "interfaces",
        "version",
        "config",
    ];
    let tables_of_text = ["lin", "nei", "rou", "top", "hna", "mid", "gat", "int", "ver"];
    let sets: [(&str, &[&str], &str, &str); 5] = [
        ("jsoninfo tables", &tables, "jsoninfo-", ".http"),
        ("jsoninfo /all", &["all"], "jsoninfo-", ".http"),
        ("txtinfo tables", &tables_of_text, "txtinfo-", ".raw"),
        ("txtinfo /all", &["all"], "txtinfo-", ".http"),
        ("txtinfo raw /all", &["all"], "txtinfo-", ".raw"),
    ];
    let mut found = Vec::new();
    for (source, names, prefix, suffix) in sets {
        let text = source.starts_with("txtinfo");
        // Old releases answer what they do not know with everything; the table that was asked for first counts.
        let read = |bytes: Vec<u8>| if text { txtinfo(&bytes) } else { jsoninfo(&bytes) };
        let files = names.iter().map(|name| folder.join(format!("{prefix}{name}{suffix}")));
        let builder = merged(files.filter_map(|file| fs::read(file).ok()).map(read));
        let Some(mut builder) = builder else { continue };
        if let Ok(hosts) = fs::read(folder.join("hosts.file")) {
            names::parse(&hosts, &mut builder);
        }
        found.push(Reading {
            node: node.to_owned(),
            source: source.to_owned(),
            sample: None,
            slack: u32::from(text),
            identities: builder.has(Part::Networks) && builder.has(Part::Aliases),
            view: builder.finish(&CostOptions::default()),
        });
    }
    found
}

/// The views of one olsrd2 node: one for each way in which all tables that decide costs were captured.
fn olsrd2_node(node: &str, folder: &Path) -> Vec<Reading> {
    let commands = [
        "nhdpinfo-jsonraw-link",
        "nhdpinfo-jsonraw-neighbor",
        "nhdpinfo-jsonraw-interface",
        "olsrv2info-jsonraw-originator",
        "olsrv2info-jsonraw-route",
        "olsrv2info-jsonraw-edge",
        "olsrv2info-jsonraw-attached_network",
        "olsrv2info-jsonraw-lan",
        "netjsoninfo-graph",
        "systeminfo-json-version",
        "systeminfo-json-time",
    ];
    let mut found = Vec::new();
    for (source, prefix, suffix, protocol) in [
        ("telnet", "telnet-", ".raw", Protocol::Olsrd2Telnet),
        ("http", "http-", ".http", Protocol::Olsrd2Http),
    ] {
        // One answer after the other, as the one-shot form gives them.
        let mut answers = Vec::new();
        for command in commands {
            if let Ok(bytes) = fs::read(folder.join(format!("{prefix}{command}{suffix}"))) {
                answers.extend_from_slice(http::split(&bytes).body);
            }
        }
        if answers.is_empty() {
            continue;
        }
        let builder = olsrd2(&answers, protocol);
        found.push(Reading {
            node: node.to_owned(),
            source: source.to_owned(),
            sample: None,
            slack: 0,
            identities: false,
            view: builder.finish(&CostOptions::default()),
        });
    }
    found
}

/// All answers as one; of what several tell, the first counts.
fn merged(answers: impl Iterator<Item = Builder>) -> Option<Builder> {
    answers.reduce(|mut first, next| {
        first.merge(next, 0);
        first
    })
}

fn jsoninfo(bytes: &[u8]) -> Builder {
    let mut builder = Builder::new(DaemonKind::Olsrd, Protocol::Jsoninfo);
    v1::jsoninfo::parse(http::split(bytes).body, &mut builder);
    builder
}

fn txtinfo(bytes: &[u8]) -> Builder {
    let mut builder = Builder::new(DaemonKind::Olsrd, Protocol::Txtinfo);
    v1::txtinfo::parse(http::split(bytes).body, &mut builder);
    builder
}

fn olsrd2(bytes: &[u8], protocol: Protocol) -> Builder {
    let mut builder = Builder::new(DaemonKind::Olsrd2, protocol);
    v2::parse(bytes, &mut builder);
    builder
}

/// What differs between `reading` and `expected`, the part of `expected.json` for its scenario.
pub fn differences(scenario: &Scenario, reading: &Reading, expected: &Value) -> Vec<String> {
    let costs = match &reading.sample {
        Some(sample) => &expected["series"][&reading.node][sample],
        None => &expected[&reading.node],
    };
    let Some(costs) = costs.as_object() else {
        return vec![format!("nothing is expected of {}", reading.node)];
    };
    let mut wrong = Vec::new();
    for (peer, cost) in costs {
        let hops = cost["hops"].as_u64();
        let cost = cost.as_i64().or(cost["cost"].as_i64()).expect("a cost is a number");
        let Reading { node, source, .. } = reading;
        let key = [&scenario.name, node, source, peer];
        let moved = MOVED.iter().find(|moved| [moved.0, moved.1, moved.2, moved.3] == key);
        let cost = moved.map_or(cost, |moved| moved.4);
        let addresses = &scenario.nodes[peer];
        // Any address of a peer must lead to the same cost where the tables that say so were read.
        let asked = if reading.identities { addresses.len() } else { 1 };
        for address in &addresses[..asked] {
            let resolution = reading.view.resolve(*address);
            let got = match resolution.cost() {
                Some(NetworkCost::Reachable(cost)) => Some(i64::from(cost)),
                Some(NetworkCost::Unreachable) => Some(-1),
                Some(NetworkCost::NotMeaningful) | None => None,
            };
            let slack = if cost < 0 { 0 } else { i64::from(reading.slack) };
            if got.is_none_or(|got| (got - cost).abs() > slack) {
                wrong.push(format!("{peer} ({address}): expected {cost}, got {resolution:?}"));
                continue;
            }
            let Resolution::Route { route, .. } = resolution else { continue };
            if hops.is_some() && route.hops.map(u64::from) != hops {
                wrong.push(format!("{peer} ({address}): expected {hops:?} hops, got {route:?}"));
            }
        }
    }
    for complaint in &reading.view.complaints {
        if DESERVED
            .iter()
            .any(|(name, text)| scenario.name == *name && complaint.text.starts_with(text))
        {
            continue;
        }
        wrong.push(format!("complaint: {complaint:?}"));
    }
    wrong
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
