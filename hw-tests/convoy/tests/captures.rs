//! The stand-ins against what real daemons sent: for the same mesh, the same keys in the same order, the same formats, and the
//! same values wherever the mesh determines them.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use common::{fixture, mesh};
use convoy::mesh::{Family, Node, View};
use convoy::{olsrd, olsrd2};
use serde_json::Value;

fn text(path: &str) -> String {
    String::from_utf8(fixture(path)).unwrap()
}

fn view(family: Family, scenario: &str, node: usize) -> View {
    let mesh = mesh(family, scenario);
    let nodes: Arc<[Node]> = mesh.nodes().into();
    mesh.view(node, &nodes).unwrap()
}

fn ask_olsrd(plugin: olsrd::Plugin, request: &str, view: &View) -> String {
    let facts = olsrd::Facts { view, pid: 24024, wall_s: 1_795_210_065, uptime_ms: view.uptime_ms };
    String::from_utf8(plugin.answer(request.as_bytes(), &facts)).unwrap()
}

fn ask_olsrd2(command: &str, view: &View) -> String {
    olsrd2::command(command, &olsrd2::Facts { view, wall_s: 1_795_210_065 })
}

/// A text with its values taken out: keys, punctuation and spaces stay, a string value becomes `S`, a number `I`, or `F` and the
/// count of its decimals, and equal elements of a list are one. With `loose` all numbers are alike: olsrd2 drops needless zeros.
fn shape(text: &str, loose: bool) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => rest[1..].find('"').unwrap() + 2,
            '-' | '0'..='9' => {
                rest.find(|c: char| !"-.0123456789".contains(c)).unwrap_or(rest.len())
            }
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        match first {
            '"' if after.starts_with(':') => out.push_str(token),
            '"' => out.push('S'),
            '-' | '0'..='9' if loose => out.push('N'),
            '-' | '0'..='9' => match token.split_once('.') {
                Some((_, decimals)) => out.push_str(&format!("F{}", decimals.len())),
                None => out.push('I'),
            },
            _ => out.push_str(token),
        }
        rest = after;
    }
    out = out.replace("true", "B").replace("false", "B");
    unify(&out)
}

/// Replaces every list by the set of its elements' shapes, innermost lists first.
fn unify(shape: &str) -> String {
    let mut shape = shape.to_owned();
    // Marks stand for brackets that are done.
    while let Some(end) = shape.find(']') {
        let begin = shape[..end].rfind('[').unwrap();
        let mut depth = 0;
        let mut elements = BTreeSet::new();
        let mut element = String::new();
        for character in shape[begin + 1..end].chars() {
            match character {
                '{' | '\u{1}' => depth += 1,
                '}' | '\u{2}' => depth -= 1,
                ',' if depth == 0 => {
                    elements.insert(std::mem::take(&mut element));
                    continue;
                }
                _ => {}
            }
            element.push(character);
        }
        elements.insert(element);
        let elements: Vec<String> = elements.into_iter().collect();
        shape.replace_range(begin..=end, &format!("\u{1}{}\u{2}", elements.join(",")));
    }
    shape.replace('\u{1}', "[").replace('\u{2}', "]")
}

/// Response head with the values that differ from answer to answer taken out.
fn head_shape(answer: &str) -> String {
    let (head, _) = answer.split_once("\r\n\r\n").unwrap();
    let lines = head.split("\r\n").map(|line| match line.split_once(": ") {
        Some(("Date", date)) => format!("Date: {}", date.len()),
        Some((name @ ("Content-Length" | "Content-length"), length)) => {
            let digits = length.trim_end().len();
            format!("{name}: {} columns of {digits}", if length.len() > digits { 12 } else { 0 })
        }
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or(answer, |(_, body)| body)
}

fn json(answer: &str) -> Value {
    serde_json::from_str(body(answer)).unwrap()
}

/// The rows of a table with only `fields` of them, as a set.
fn rows(document: &Value, table: &str, fields: &[&str]) -> BTreeSet<String> {
    let rows = document[table].as_array().unwrap_or_else(|| panic!("no table `{table}`"));
    rows.iter()
        .map(|row| {
            let fields = fields.iter().map(|field| {
                let value = &row[*field];
                assert!(!value.is_null(), "`{field}` is missing in `{table}`");
                format!("{field}={value}")
            });
            fields.collect::<Vec<_>>().join(" ")
        })
        .collect()
}

/// What of each jsoninfo table follows from the mesh alone.
const DETERMINED: [(&str, &[&str]); 6] = [
    (
        "neighbors",
        &[
            "ipAddress",
            "symmetric",
            "willingness",
            "isMultiPointRelay",
            "wasMultiPointRelay",
            "multiPointRelaySelector",
            "skip",
            "neighbor2nocov",
            "linkcount",
            "twoHopNeighborCount",
        ],
    ),
    (
        "links",
        &[
            "localIP",
            "remoteIP",
            "olsrInterface",
            "ifName",
            "vtime",
            "currentLinkStatus",
            "previousLinkStatus",
            "hysteresis",
            "pending",
            "lostLinkTime",
            "helloTime",
            "seqnoValid",
            "lossHelloInterval",
            "lossMultiplier",
            "linkCost",
            "linkQuality",
            "neighborLinkQuality",
        ],
    ),
    (
        "routes",
        &[
            "destination",
            "genmask",
            "gateway",
            "metric",
            "etx",
            "rtpMetricCost",
            "networkInterface",
        ],
    ),
    ("hna", &["gateway", "destination", "genmask"]),
    ("mid", &[]),
    (
        "topology",
        &[
            "lastHopIP",
            "pathCost",
            "refCount",
            "msgHops",
            "hops",
            "errSeq",
            "destinationIP",
            "tcEdgeCost",
            "linkQuality",
            "neighborLinkQuality",
        ],
    ),
];

#[test]
fn jsoninfo_looks_and_says_what_olsrd_said() {
    for scenario in ["pair", "diamond5", "line8"] {
        let captured = text(&format!("olsrd/{scenario}/a/jsoninfo-all.http"));
        let view = view(Family::Olsrd, scenario, 0);
        let ours = ask_olsrd(olsrd::Plugin::Jsoninfo, "GET /all HTTP/1.1\r\n\r\n", &view);
        assert_eq!(head_shape(&ours), head_shape(&captured), "{scenario}: headers");
        assert_eq!(shape(body(&ours), false), shape(body(&captured), false), "{scenario}: form");
        let (ours, captured) = (json(&ours), json(&captured));
        for (table, fields) in DETERMINED {
            assert_eq!(
                rows(&ours, table, fields),
                rows(&captured, table, fields),
                "{scenario}: {table}"
            );
        }
        let aliases = |document: &Value| -> BTreeSet<(String, BTreeSet<String>)> {
            let entries = document["mid"].as_array().unwrap().iter();
            let address = |value: &Value| value["ipAddress"].as_str().unwrap().to_owned();
            entries
                .map(|entry| {
                    let aliases = entry["aliases"].as_array().unwrap().iter().map(address);
                    (address(&entry["main"]), aliases.collect())
                })
                .collect()
        };
        assert_eq!(aliases(&ours), aliases(&captured), "{scenario}: mid");
        assert_eq!(ours["config"]["mainIp"], captured["config"]["mainIp"]);
        assert_eq!(ours["config"]["linkQuality"], captured["config"]["linkQuality"]);
    }
}

#[test]
fn timers_lie_where_the_daemons_lie() {
    let ours = ask_olsrd(
        olsrd::Plugin::Jsoninfo,
        "GET /links HTTP/1.0\r\n\r\n",
        &view(Family::Olsrd, "diamond5", 0),
    );
    for document in [json(&ours), json(&text("olsrd/diamond5/a/jsoninfo-all.http"))] {
        let uptime = document["timeSinceStartup"].as_i64().unwrap();
        for link in document["links"].as_array().unwrap() {
            let field = |name: &str| link[name].as_i64().unwrap();
            assert!((4000..=5000).contains(&field("symmetryTime")), "{link}");
            // Tables come from a cache of one second, the uptime does not.
            let absolute = field("asymmetryTime") - uptime - field("symmetryTime");
            assert!((-1100..=0).contains(&absolute), "{link}");
            let held = field("validityTime") - field("symmetryTime");
            assert!((19_000..=20_000).contains(&held), "{link}");
            assert!((0..=750).contains(&field("lossTime")), "{link}");
        }
    }
}

#[test]
fn a_node_with_three_radios_says_what_olsrd_said() {
    let view = view(Family::Olsrd, "diamond5", 3);
    let ours = json(&ask_olsrd(olsrd::Plugin::Jsoninfo, "GET /all HTTP/1.0\r\n\r\n", &view));
    for (table, fields) in DETERMINED {
        let captured = json(&text(&format!("olsrd/diamond5/d/jsoninfo-{table}.http")));
        assert_eq!(rows(&ours, table, fields), rows(&captured, table, fields), "{table}");
    }
}

#[test]
fn txtinfo_says_what_olsrd_said_line_by_line() {
    for scenario in ["pair", "diamond5", "line8"] {
        let captured = text(&format!("olsrd/{scenario}/a/txtinfo-all.http"));
        let view = view(Family::Olsrd, scenario, 0);
        let ours = ask_olsrd(olsrd::Plugin::Txtinfo, "GET /all HTTP/1.0\r\n\r\n", &view);
        assert_eq!(head_shape(&ours), head_shape(&captured), "{scenario}: headers");
        let tables = |answer: &str| -> Vec<(Vec<String>, BTreeSet<String>)> {
            let tables = body(answer).split("\n\n").map(|table| {
                let mut lines = table.lines().map(|line| {
                    // The order of a node's aliases is that of a hash table.
                    let mut words: Vec<&str> = line.split('\t').collect();
                    if table.starts_with("Table: MID") {
                        words.sort_unstable();
                    }
                    words.join("\t")
                });
                (lines.by_ref().take(2).collect(), lines.collect())
            });
            tables.collect()
        };
        assert_eq!(tables(&ours), tables(&captured), "{scenario}");
    }
}

#[test]
fn olsrd_refuses_in_the_daemons_words() {
    use olsrd::Plugin::{Jsoninfo, Txtinfo};
    let view = view(Family::Olsrd, "pair", 0);
    for (plugin, request, file) in [
        (Jsoninfo, "GET /nosuch HTTP/1.0\r\n\r\n", "jsoninfo-404.http"),
        (Jsoninfo, "/nosuch\n", "jsoninfo-404.raw"),
        (Jsoninfo, "HEAD /links HTTP/1.0\r\n\r\n", "jsoninfo-head.raw"),
        (Jsoninfo, "", "jsoninfo-408"),
        (Txtinfo, "GET /nosuch HTTP/1.0\r\n\r\n", "txtinfo-404.http"),
        (Txtinfo, "/nosuch\n", "txtinfo-404.raw"),
        (Txtinfo, "", "txtinfo-408"),
    ] {
        let captured = text(&format!("olsrd/errors/{file}"));
        let ours = ask_olsrd(plugin, request, &view);
        if captured.contains("\r\n\r\n") {
            assert_eq!(head_shape(&ours), head_shape(&captured), "{file}");
        }
        assert_eq!(shape(body(&ours), false), shape(body(&captured), false), "{file}");
    }
}

#[test]
fn raw_requests_get_no_headers_and_prefixes_decide_otherwise() {
    let view = view(Family::Olsrd, "pair", 0);
    let ask = |request| ask_olsrd(olsrd::Plugin::Jsoninfo, request, &view);
    assert!(ask("/links").starts_with('{'));
    assert!(ask("/http/links\n").starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(ask("GET /plain/links HTTP/1.0\r\n\r\n").starts_with('{'));
    assert!(ask("\n").starts_with("HTTP/1.1 200 OK\r\n"), "a bare newline asks for everything");
}

/// The tables of olsrd2 and what of each follows from the mesh alone.
const DETERMINED2: [(&str, &[&str]); 9] = [
    (
        "nhdpinfo jsonraw link",
        &[
            "if",
            "link_bindto",
            "link_vtime_value",
            "link_itime_value",
            "link_status",
            "link_dualstack",
            "link_mac",
            "link_flood_local",
            "link_flood_remote",
            "link_flood_willingness",
            "domain",
            "domain_metric",
            "domain_metric_in",
            "domain_metric_in_raw",
            "domain_metric_out",
            "domain_metric_out_raw",
        ],
    ),
    (
        "nhdpinfo jsonraw neighbor",
        &[
            "neighbor_symmetric",
            "neighbor_linkcount",
            "domain_metric",
            "domain_metric_in_raw",
            "domain_metric_out",
            "domain_mpr",
            "domain_mpr_local",
            "domain_mpr_remote",
        ],
    ),
    (
        "nhdpinfo jsonraw interface",
        &["if", "if_bindto_v4", "if_bindto_v6", "if_mac", "if_flooding_v6", "if_dualstack_mode"],
    ),
    ("nhdpinfo jsonraw if_addr", &["if", "if_address", "if_address_lost"]),
    ("olsrv2info jsonraw originator", &["originator"]),
    ("olsrv2info jsonraw local", &["local_itime", "local_vtime", "local_orig4", "local_orig6"]),
    (
        "olsrv2info jsonraw route",
        &[
            "route_dst",
            "route_gw",
            "route_src_ip",
            "route_src_prefix",
            "route_metric",
            "route_table",
            "route_proto",
            "route_if",
            "route_ifindex",
            "route_lasthop",
            "domain",
            "domain_metric",
            "domain_metric_out",
            "domain_metric_out_raw",
            "domain_path_hops",
        ],
    ),
    ("olsrv2info jsonraw lan", &[]),
    ("olsrv2info jsonraw old_originator", &[]),
];

fn captured2(scenario: &str, command: &str) -> String {
    text(&format!("olsrd2/{scenario}/a/telnet-{}.raw", command.replace(' ', "-")))
}

#[test]
fn olsrd2_looks_and_says_what_the_daemon_said() {
    let view = view(Family::Olsrd2, "diamond5", 0);
    for (command, fields) in DETERMINED2 {
        let (ours, captured) = (ask_olsrd2(command, &view), captured2("diamond5", command));
        assert_eq!(shape(&ours, true), shape(&captured, true), "{command}");
        let table = command.rsplit(' ').next().unwrap();
        assert_eq!(
            rows(&json(&ours), table, fields),
            rows(&json(&captured), table, fields),
            "{command}"
        );
    }
    // Which of a node's link-local addresses becomes its IPv6 originator is the daemon's secret: IPv4 rows only.
    let command = "olsrv2info jsonraw edge";
    let (ours, captured) = (ask_olsrd2(command, &view), captured2("diamond5", command));
    assert_eq!(shape(&ours, true), shape(&captured, true), "{command}");
    let edges = |text: &str| {
        let fields = ["node", "edge", "domain", "domain_metric_out", "domain_metric_out_raw"];
        let rows = rows(&json(text), "edge", &fields);
        rows.into_iter().filter(|row| row.contains("10.77")).collect::<BTreeSet<_>>()
    };
    assert_eq!(edges(&ours), edges(&captured));
}

#[test]
fn netjsoninfo_looks_and_says_what_the_daemon_said() {
    let view = view(Family::Olsrd2, "diamond5", 0);
    for part in ["graph", "route", "domain"] {
        let command = format!("netjsoninfo {part}");
        let (ours, captured) = (ask_olsrd2(&command, &view), captured2("diamond5", &command));
        assert_eq!(shape(&ours, true), shape(&captured, true), "{command}");
        let (ours, captured) = (json(&ours), json(&captured));
        match part {
            "graph" => {
                let v4 = |document: &Value, list: &str| -> Vec<String> {
                    let rows = document["collection"][0][list].as_array().unwrap().iter();
                    let mut rows: Vec<String> = rows
                        .map(|row| {
                            let mut row = row.clone();
                            let properties = row["properties"].as_object_mut().unwrap();
                            properties.remove("dualstack_id");
                            properties.remove("dualstack_addr");
                            row.to_string()
                        })
                        .collect();
                    rows.sort_unstable();
                    rows
                };
                assert_eq!(v4(&ours, "nodes"), v4(&captured, "nodes"));
                assert_eq!(v4(&ours, "links"), v4(&captured, "links"));
            }
            _ => assert_eq!(ours, captured, "{command}"),
        }
    }
}

#[test]
fn attached_networks_look_as_the_daemons() {
    let view = view(Family::Olsrd2, "lan", 0);
    for command in ["olsrv2info jsonraw attached_network", "olsrv2info jsonraw route"] {
        let (ours, captured) = (ask_olsrd2(command, &view), captured2("lan", command));
        assert_eq!(shape(&ours, true), shape(&captured, true), "{command}");
    }
    let routes = json(&ask_olsrd2("olsrv2info jsonraw route", &view));
    let network = routes["route"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(network["route_dst"], "192.168.21.0/25");
    assert_eq!(network["route_lasthop"], "10.77.0.2");
    assert_eq!(network["domain_path_hops"], 2);
    // The captured mesh has an IPv6 network as well; the graphs of IPv4 are comparable.
    let graph = |text: &str| {
        let v4 = text.split("{\"type\":\"NetworkGraph\"").nth(1).unwrap();
        shape(v4.trim_end_matches(','), true)
    };
    let command = "netjsoninfo graph";
    assert_eq!(graph(&ask_olsrd2(command, &view)), graph(&captured2("lan", command)));
    let own = mesh(Family::Olsrd2, "lan");
    let nodes: Arc<[Node]> = own.nodes().into();
    let announcer = own.view(1, &nodes).unwrap();
    assert_eq!(
        shape(&ask_olsrd2("olsrv2info jsonraw lan", &announcer), true),
        shape(&text("olsrd2/lan/telnet-olsrv2info-jsonraw-lan.raw"), true)
    );
}

#[test]
fn olsrd2_refuses_in_the_daemons_words() {
    let view = view(Family::Olsrd2, "diamond5", 0);
    let facts = olsrd2::Facts { view: &view, wall_s: 1_795_210_065 };
    let http = |request: &str| String::from_utf8(olsrd2::http(request, &facts)).unwrap();
    for (request, file) in [
        ("GET /telnet/nhdpinfo%20jsonraw%20link HTTP/2.0\r\n\r\n", "http-400-http2.http"),
        ("GET /telnet/nosuch HTTP/1.0\r\n\r\n", "http-404-command.http"),
        ("HEAD /telnet/nhdpinfo%20jsonraw%20link HTTP/1.0\r\n\r\n", "http-501-head.http"),
        (
            "GET /telnet/nhdpinfo%20json%20nosuch HTTP/1.0\r\n\r\n",
            "http-200-unknown-subcommand.http",
        ),
    ] {
        let captured = text(&format!("olsrd2/errors/{file}"));
        assert_eq!(head_shape(&http(request)), head_shape(&captured), "{file}");
        assert_eq!(body(&http(request)), body(&captured), "{file}");
    }
    let raw_space = http("GET /telnet/nhdpinfo jsonraw link HTTP/1.0\r\n\r\n");
    assert!(raw_space.starts_with("HTTP/1.0 400 Bad Request\r\n"));
    for (command, file) in [
        ("nosuch", "telnet-unknown-command.raw"),
        ("nhdpinfo json nosuch", "telnet-unknown-subcommand.raw"),
        ("nhdpinfo", "telnet-no-parameter.raw"),
    ] {
        assert_eq!(ask_olsrd2(command, &view), text(&format!("olsrd2/errors/{file}")), "{file}");
    }
    let captured = text("olsrd2/diamond5/a/http-nhdpinfo-jsonraw-link.http");
    let ours = http("GET /telnet/nhdpinfo%20jsonraw%20link HTTP/1.0\r\n\r\n");
    assert_eq!(head_shape(&ours), head_shape(&captured));
}

#[test]
fn one_shot_answers_follow_each_other_without_anything_between() {
    let view = view(Family::Olsrd2, "diamond5", 0);
    let facts = olsrd2::Facts { view: &view, wall_s: 0 };
    let both =
        olsrd2::one_shot("/olsrv2info jsonraw originator/nhdpinfo jsonraw link/quit", &facts);
    let (one, other) = (
        ask_olsrd2("olsrv2info jsonraw originator", &view),
        ask_olsrd2("nhdpinfo jsonraw link", &view),
    );
    assert_eq!(both, one + &other);
    let exact = olsrd2::one_shot("//nhdpinfo jsonraw link", &facts);
    assert_eq!(exact, other);
}
