//! Recordings of real daemons, one sample a second, reduced to what `core::links` looks at and written as text:
//!
//! ```text
//! @ 10053 olsrd pid 7824 uptime 53        milliseconds since the recording began; `refused` instead of a daemon
//! own 10.1.2.1
//! link 10.1.2.2 10.1.2.2 symmetric 100 102 500 5000
//! route 10.77.0.5 300 3 10.1.2.2
//! host 10.77.0.5 10.4.5.2                 announced host, announcing node
//! alias 10.2.4.1 10.1.2.2                 further address, node
//! =                                       everything but the links as before
//! ```
//!
//! A link has remote address, neighbour, status, cost, age of the last HELLO, HELLO interval and validity; `-` is not told.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::str::FromStr;

use olsr_bridge::build::Builder;
use olsr_bridge::cost::CostOptions;
use olsr_bridge::view::{
    Alias, AttachedNetwork, DaemonKind, Link, LinkStatus, MeshView, NetworkCost, Part, PartAge,
    Prefix, Protocol, Route,
};

/// One second of a recording.
pub struct Sample {
    /// Since the recording began.
    pub at_ms: u64,
    /// What the daemon said; `None` when it refused the connection.
    pub view: Option<MeshView>,
}

/// Reads a recording.
pub fn parse(text: &str) -> Vec<Sample> {
    let mut samples: Vec<Sample> = Vec::new();
    let mut before = None;
    for line in text.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        if let ["@", at_ms, rest @ ..] = words.as_slice() {
            let view = empty_view(rest);
            if let Some(view) =
                samples.last_mut().and_then(|sample: &mut Sample| sample.view.as_ref())
            {
                before = Some(view.clone());
            }
            samples.push(Sample { at_ms: at_ms.parse().unwrap(), view });
            continue;
        }
        let view = samples.last_mut().and_then(|sample| sample.view.as_mut());
        let view = view.unwrap_or_else(|| panic!("`{line}` of nobody"));
        line_of(view, &words, before.as_ref());
    }
    samples
}

/// A view without content; `None` when the connection was refused.
fn empty_view(words: &[&str]) -> Option<MeshView> {
    let (kind, protocol) = match *words.first()? {
        "olsrd" => (DaemonKind::Olsrd, Protocol::Jsoninfo),
        "olsrd2" => (DaemonKind::Olsrd2, Protocol::Olsrd2Telnet),
        "refused" => return None,
        other => panic!("what is a `{other}`?"),
    };
    let [_, "pid", pid, "uptime", uptime_ms] = words else { panic!("{words:?}") };
    let mut view = Builder::new(kind, protocol).finish(&CostOptions::default());
    view.daemon.pid = told(pid);
    view.daemon.uptime_ms = told(uptime_ms);
    // The recorded composite answers do not have the alias table.
    let parts = [Part::Links, Part::Routes, Part::Networks];
    view.ages = parts.map(|part| PartAge { part, age_ms: 0 }).to_vec();
    Some(view)
}

fn line_of(view: &mut MeshView, words: &[&str], before: Option<&MeshView>) {
    match words {
        ["own", address] => view.own.push(address.parse().unwrap()),
        ["link", remote, neighbor, status, cost, age, interval, validity] => {
            view.links.push(Link {
                local: None,
                remote: remote.parse().unwrap(),
                neighbor: told(neighbor),
                interface: None,
                status: serde_json::from_value((*status).into()).unwrap(),
                cost: told(cost),
                quality_in: None,
                quality_out: None,
                metric_in_raw: None,
                metric_out_raw: None,
                rate_in_bps: None,
                hello_age_ms: told(age),
                hello_interval_ms: told(interval),
                hello_validity_ms: told(validity),
            })
        }
        ["route", destination, cost, hops, next_hop] => view.routes.push(Route {
            destination: destination.parse().unwrap(),
            cost: match cost.parse::<i64>().unwrap() {
                -1 => NetworkCost::Unreachable,
                cost => NetworkCost::Reachable(u32::try_from(cost).unwrap()),
            },
            hops: told(hops),
            next_hop: told(next_hop),
            interface: None,
            node: None,
            last_hop: None,
            link_local: false,
        }),
        ["host", address, node] => view.networks.push(AttachedNetwork {
            prefix: Prefix::host(address.parse().unwrap()),
            node: node.parse().unwrap(),
            own: false,
        }),
        ["alias", address, node] => view
            .aliases
            .push(Alias { node: node.parse().unwrap(), address: address.parse().unwrap() }),
        ["="] => {
            let before = before.expect("a sample before");
            view.own.clone_from(&before.own);
            view.routes.clone_from(&before.routes);
            view.networks.clone_from(&before.networks);
            view.aliases.clone_from(&before.aliases);
        }
        other => panic!("what is {other:?}?"),
    }
}

fn told<T: FromStr>(word: &str) -> Option<T> {
    (word != "-").then(|| word.parse().unwrap_or_else(|_| panic!("what is `{word}`?")))
}

/// Writes a recording, for making one from captured answers.
pub fn write(samples: &[Sample]) -> String {
    let mut text = String::new();
    let mut before = String::new();
    for Sample { at_ms, view } in samples {
        let Some(view) = view else {
            writeln!(text, "@ {at_ms} refused").unwrap();
            continue;
        };
        let kind = match view.daemon.kind {
            DaemonKind::Olsrd => "olsrd",
            DaemonKind::Olsrd2 => "olsrd2",
        };
        let (pid, uptime) = (dash(view.daemon.pid), dash(view.daemon.uptime_ms));
        writeln!(text, "@ {at_ms} {kind} pid {pid} uptime {uptime}").unwrap();
        view.links
            .iter()
            .filter(|link| link.remote.is_ipv4())
            .for_each(|link| write_link(&mut text, link));
        let rest = write_rest(view);
        text.push_str(if rest == before { "=\n" } else { &rest });
        before = rest;
    }
    text
}

fn write_link(text: &mut String, link: &Link) {
    let status = match link.status {
        LinkStatus::Symmetric => "symmetric",
        LinkStatus::Asymmetric => "asymmetric",
        LinkStatus::Lost => "lost",
        LinkStatus::Unusable => "unusable",
        LinkStatus::Unknown => "unknown",
    };
    let numbers = [link.cost, link.hello_age_ms, link.hello_interval_ms, link.hello_validity_ms];
    let numbers = numbers.map(dash).join(" ");
    writeln!(text, "link {} {} {status} {numbers}", link.remote, dash(link.neighbor)).unwrap();
}

fn write_rest(view: &MeshView) -> String {
    let mut text = String::new();
    let v4 = |address: &IpAddr| address.is_ipv4();
    let own: BTreeSet<IpAddr> = view.own.iter().chain(&view.own_addresses).copied().collect();
    for own in own.into_iter().filter(v4) {
        writeln!(text, "own {own}").unwrap();
    }
    for route in view.routes.iter().filter(|route| v4(&route.destination.address)) {
        let cost = match route.cost {
            NetworkCost::Reachable(cost) => i64::from(cost),
            NetworkCost::Unreachable => -1,
            NetworkCost::NotMeaningful => panic!("recordings have meaningful costs"),
        };
        let (hops, next) = (dash(route.hops), dash(route.next_hop));
        writeln!(text, "route {} {cost} {hops} {next}", route.destination).unwrap();
    }
    for network in view.networks.iter().filter(|network| network.prefix.is_host()) {
        writeln!(text, "host {} {}", network.prefix, network.node).unwrap();
    }
    for alias in view.aliases.iter().filter(|alias| v4(&alias.address)) {
        writeln!(text, "alias {} {}", alias.address, alias.node).unwrap();
    }
    text
}

fn dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
