//! A view for people, at most 80 columns wide.

use std::collections::BTreeMap;
use std::net::IpAddr;

use olsr_bridge::view::{
    DaemonKind, Link, LinkMetric, LinkStatus, MeshView, NetworkCost, Part, Prefix, Protocol, Route,
};

use super::table::{Align, Table, WIDTH};

/// Ages below this are what a sample of now looks like and are not mentioned.
const AGE_SHOWN_MS: u64 = 1000;

/// The whole view as text that ends in a newline.
pub fn render(view: &MeshView) -> String {
    let names = names(view);
    let mut text = head(view, &names);
    text += &links(view, &names);
    text += &destinations(view, &names);
    text += &networks(view, &names);
    text += &complaints(view);
    text
}

/// The first name of each address.
fn names(view: &MeshView) -> BTreeMap<IpAddr, &str> {
    let mut names = BTreeMap::new();
    for name in &view.names {
        names.entry(name.address).or_insert(name.name.as_str());
    }
    names
}

fn head(view: &MeshView, names: &BTreeMap<IpAddr, &str>) -> String {
    let daemon = &view.daemon;
    let kind = match daemon.kind {
        DaemonKind::Olsrd => "olsrd",
        DaemonKind::Olsrd2 => "olsrd2",
    };
    let over = match daemon.protocol {
        Protocol::Jsoninfo => "jsoninfo",
        Protocol::Txtinfo => "txtinfo",
        Protocol::Olsrd2Http => "http",
        Protocol::Olsrd2Telnet => "telnet",
    };
    let mut facts =
        vec![format!("{kind} {}", daemon.version.as_deref().unwrap_or("of unknown version"))];
    facts.push(format!("read over {over}"));
    if let Some(uptime_ms) = daemon.uptime_ms {
        facts.push(format!("up {}", duration(uptime_ms)));
    }
    facts.push(metric(daemon.metric, daemon.metric_name.as_deref()));
    let mut text = wrapped("", &facts);
    if !view.own.is_empty() {
        let own: Vec<String> = view.own.iter().map(|address| named(*address, names)).collect();
        text += &wrapped("this node ", &own);
    }
    let old: Vec<String> = view
        .ages
        .iter()
        .filter(|age| age.age_ms >= AGE_SHOWN_MS)
        .map(|age| format!("{} {} ago", part(age.part), duration(age.age_ms)))
        .collect();
    if !old.is_empty() {
        text += &wrapped("read earlier: ", &old);
    }
    text
}

fn metric(metric: LinkMetric, name: Option<&str>) -> String {
    let kind = match metric {
        LinkMetric::Unknown if name.is_some() => "metric",
        LinkMetric::Unknown => "metric not told",
        LinkMetric::Etx => "metric ETX",
        LinkMetric::Hops => "hop counts only",
        LinkMetric::Loss => "metric by loss",
        LinkMetric::Airtime => "metric by loss and bit rate",
        LinkMetric::NotMeaningful => "metric of unknown scale",
    };
    match name {
        Some(name) => format!("{kind} ({})", printable(name)),
        None => kind.to_owned(),
    }
}

fn links(view: &MeshView, names: &BTreeMap<IpAddr, &str>) -> String {
    if view.links.is_empty() {
        return match view.age_ms(Part::Links) {
            Some(_) => "\nno links\n".to_owned(),
            None => String::new(),
        };
    }
    let mut table = Table::new(&[
        ("LINK TO", Align::Text),
        ("NAME", Align::Text),
        ("INTERFACE", Align::Text),
        ("STATUS", Align::Text),
        ("COST", Align::Number),
        ("IN %", Align::Number),
        ("OUT %", Align::Number),
        ("HELLO s", Align::Number),
    ]);
    // Where only hops count the qualities are numbers that nothing maintains.
    let measured = view.daemon.metric != LinkMetric::Hops;
    for link in &view.links {
        let node = link.neighbor.unwrap_or(link.remote);
        table.row(vec![
            link.remote.to_string(),
            names
                .get(&node)
                .or_else(|| names.get(&link.remote))
                .map_or(String::new(), |name| printable(name)),
            link.interface.as_deref().map(printable).unwrap_or_default(),
            status(link, view.daemon.metric).to_owned(),
            match link.cost {
                Some(cost) => cost.to_string(),
                None if view.daemon.metric == LinkMetric::NotMeaningful => "?".to_owned(),
                None => "-".to_owned(),
            },
            percent(link.quality_in.filter(|_| measured)),
            percent(link.quality_out.filter(|_| measured)),
            link.hello_age_ms.map_or(String::new(), |ms| format!("{:.1}", f64::from(ms) / 1000.0)),
        ]);
    }
    format!("\n{}", table.render())
}

fn status(link: &Link, metric: LinkMetric) -> &'static str {
    match link.status {
        LinkStatus::Symmetric if link.cost.is_none() && metric != LinkMetric::NotMeaningful => {
            "too lossy"
        }
        LinkStatus::Symmetric => "symmetric",
        LinkStatus::Asymmetric => "one-way",
        LinkStatus::Lost => "lost",
        LinkStatus::Unusable => "unusable",
        LinkStatus::Unknown => "",
    }
}

fn percent(share: Option<f32>) -> String {
    share.map_or(String::new(), |share| format!("{:.0}", share * 100.0))
}

fn destinations(view: &MeshView, names: &BTreeMap<IpAddr, &str>) -> String {
    if view.routes.is_empty() {
        return match view.age_ms(Part::Routes) {
            Some(_) => "\nno routes: nobody can be reached\n".to_owned(),
            None => String::new(),
        };
    }
    let mut routes: Vec<&Route> = view.routes.iter().collect();
    routes.sort_by_key(|route| (rank(route.cost), route.destination));
    let mut table = Table::new(&[
        ("DESTINATION", Align::Text),
        ("NAME", Align::Text),
        ("COST", Align::Number),
        ("HOPS", Align::Number),
        ("NEXT HOP", Align::Text),
        ("INTERFACE", Align::Text),
    ]);
    for route in &routes {
        let mark = if route.link_local { " *" } else { "" };
        table.row(vec![
            format!("{}{mark}", route.destination),
            name_of(route, names),
            cost(route.cost),
            route.hops.map_or(String::new(), |hops| hops.to_string()),
            route.next_hop.map_or(String::new(), |next| next.to_string()),
            route.interface.as_deref().map(printable).unwrap_or_default(),
        ]);
    }
    let note = if routes.iter().any(|route| route.link_local) {
        "* link-local: means something on its own links only, not for scheduling\n"
    } else {
        ""
    };
    format!("\n{}{note}", table.render())
}

/// Order of the list: cheapest first, what cannot be used last.
fn rank(cost: NetworkCost) -> u64 {
    match cost {
        NetworkCost::Reachable(cost) => u64::from(cost),
        NetworkCost::NotMeaningful => u64::from(u32::MAX) + 1,
        NetworkCost::Unreachable => u64::from(u32::MAX) + 2,
    }
}

fn cost(cost: NetworkCost) -> String {
    match cost {
        NetworkCost::Reachable(cost) => cost.to_string(),
        NetworkCost::NotMeaningful => "?".to_owned(),
        NetworkCost::Unreachable => "-1".to_owned(),
    }
}

/// Name of the destination itself, else of the node behind it.
fn name_of(route: &Route, names: &BTreeMap<IpAddr, &str>) -> String {
    let own = names.get(&route.destination.address).filter(|_| route.destination.is_host());
    let node = route.node.and_then(|node| names.get(&node));
    own.or(node).map_or(String::new(), |name| printable(name))
}

/// Networks that this node announces: nobody else's table shows them.
fn networks(view: &MeshView, names: &BTreeMap<IpAddr, &str>) -> String {
    let own: Vec<String> = view
        .networks
        .iter()
        .filter(|network| network.own)
        .map(|network| match network.prefix {
            Prefix { address, .. } if network.prefix.is_host() => named(address, names),
            Prefix { .. } => network.prefix.to_string(),
        })
        .collect();
    if own.is_empty() {
        return String::new();
    }
    format!("\n{}", wrapped("announced by this node: ", &own))
}

fn complaints(view: &MeshView) -> String {
    let mut text = String::new();
    for complaint in &view.complaints {
        let times = if complaint.count > 1 {
            format!(" ({} times)", complaint.count)
        } else {
            String::new()
        };
        let words: Vec<String> = printable(&format!("{}{times}", complaint.text))
            .split(' ')
            .map(str::to_owned)
            .collect();
        text += &fill(&format!("! {}: ", part(complaint.part)), &words, " ");
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

fn part(part: Part) -> &'static str {
    match part {
        Part::Links => "links",
        Part::Neighbors => "neighbours",
        Part::Routes => "routes",
        Part::Topology => "topology",
        Part::Networks => "networks",
        Part::Aliases => "aliases",
        Part::Gateways => "gateways",
        Part::Names => "names",
        Part::Daemon => "daemon",
    }
}

fn named(address: IpAddr, names: &BTreeMap<IpAddr, &str>) -> String {
    match names.get(&address) {
        Some(name) => format!("{address} ({})", printable(name)),
        None => address.to_string(),
    }
}

fn wrapped(start: &str, items: &[String]) -> String {
    fill(start, items, ", ")
}

/// `items` behind `start`, broken into lines of at most [`WIDTH`] between two items; further lines
/// are indented.
fn fill(start: &str, items: &[String], separator: &str) -> String {
    let mut text = start.to_owned();
    let mut column = start.chars().count();
    for (at, item) in items.iter().enumerate() {
        let last = at + 1 == items.len();
        let item = if last { item.clone() } else { format!("{item}{separator}") };
        let width = item.trim_end().chars().count();
        if column + width > WIDTH && at > 0 {
            text.truncate(text.trim_end().len());
            text += "\n  ";
            column = 2;
        }
        text += &item;
        column += item.chars().count();
    }
    text + "\n"
}

/// Text from the daemon or the radio without what would move a terminal's cursor.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}

/// A duration in its two largest units.
fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{}.{} s", seconds, ms % 1000 / 100),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        86_400.. => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units() {
        for (ms, text) in [
            (0, "0.0 s"),
            (59_940, "59.9 s"),
            (61_000, "1 min 1 s"),
            (7_320_000, "2 h 2 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(duration(ms), text);
        }
    }

    #[test]
    fn long_lists_break_between_items() {
        let items: Vec<String> = (0..30).map(|n| format!("10.77.0.{n}")).collect();
        let text = wrapped("this node ", &items);
        assert!(text.lines().count() > 1 && text.lines().all(|line| line.len() <= WIDTH), "{text}");
        assert_eq!(text.split_whitespace().count(), 32);
    }
}
