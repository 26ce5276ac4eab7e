//! `outrider mesh`: the mesh as the routing daemon has it: links, routes, networks, unsmoothed.

use olsr_bridge::client::Client;
use olsr_bridge::failure::FailureClass;
use olsr_bridge::view::{
    Daemon, DaemonKind, Link, LinkMetric, LinkStatus, MeshView, NetworkCost, Protocol, Route,
};

use super::agent::{CONNECT, ask, document, endpoints};
use super::check::daemon::options;
use super::command::{Arguments, CONFIG, Command, JSON, Opt};
use super::config::source;
use super::exit::{Exit, Failure, Outcome};
use super::status::cost_style;
use super::terminal::{COLUMNS, Style, Terminal};
use super::text::{Align, Cell, cut, table, wrap};
use super::units::age;

pub(super) const COMMAND: Command = Command {
    path: &["mesh"],
    summary: "Show links, routes and networks of the routing daemon",
    about: &[
        "Shows the mesh as the routing daemon has it at this moment: the agent's latest reading, \
         not smoothed and not held back. COST is the network cost (100 is one perfect hop, -1 is \
         unreachable, ? is not meaningful, - is a link that cannot be used).",
        "With --direct the routing daemon itself is asked, as section `[mesh]` of the \
         configuration says; no agent is needed.",
    ],
    operands: &[],
    options: &[JSON, DIRECT, CONNECT, CONFIG],
    examples: &[
        ("outrider mesh --json", "hand the view to another program"),
        ("outrider mesh --direct", "see whether the daemon answers, without agent"),
    ],
    run,
};

/// `--direct`.
const DIRECT: Opt = Opt {
    long: "direct",
    short: None,
    value: None,
    doc: "Read the routing daemon itself instead of asking the agent",
};

fn run(arguments: &Arguments, terminal: &Terminal) -> Outcome {
    if arguments.flag(&DIRECT) {
        return run_direct(arguments, terminal);
    }
    let answer = ask(&endpoints(arguments)?, "/v1/mesh").map_err(suggest_direct)?;
    let view: MeshView = document(&answer.body)?;
    if arguments.flag(&JSON) {
        terminal.print(&format!("{}\n", answer.body.trim_end()))?;
        return Ok(Exit::Ok);
    }
    let age_ms = answer.fields.iter().find(|(name, _)| name == "outrider-view-age-ms");
    let age_ms = age_ms.and_then(|(_, value)| value.parse().ok());
    terminal.print(&render(&view, age_ms, terminal))?;
    Ok(Exit::Ok)
}

/// Where no agent answers, the daemon may.
fn suggest_direct(failure: Failure) -> Failure {
    match failure {
        Failure { exit: Exit::Unreachable, text: Some(text) } => Failure::new(
            Exit::Unreachable,
            format!("{text}\n`outrider mesh --direct` reads the routing daemon without agent."),
        ),
        other => other,
    }
}

fn run_direct(arguments: &Arguments, terminal: &Terminal) -> Outcome {
    if arguments.value(&CONNECT).is_some() {
        let text =
            "--direct reads this machine's daemon and --connect asks an agent; use one of them";
        return Err(Failure::new(Exit::Usage, text));
    }
    let source = source(arguments);
    let config = source.load().map_err(|error| Failure::new(Exit::Config, error.to_string()))?;
    let Some(options) = options(&config.mesh) else {
        let text = "the configuration says that this machine has no routing daemon (`daemon` in \
                  section `[mesh]`)";
        return Err(Failure::new(Exit::Failed, text));
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot start reading: {error}")))?;
    let view = runtime
        .block_on(Client::new(options).sample())
        .map_err(|failure| Failure::new(exit_of(failure.class), failure.text))?;
    if arguments.flag(&JSON) {
        terminal.print_json(&view)?;
    } else {
        terminal.print(&render(&view, None, terminal))?;
    }
    Ok(Exit::Ok)
}

/// The exit code for a daemon that gave no view.
fn exit_of(class: FailureClass) -> Exit {
    match class {
        FailureClass::Refused
        | FailureClass::Timeout
        | FailureClass::NotAllowed
        | FailureClass::NotFound
        | FailureClass::Busy
        | FailureClass::Io => Exit::Unreachable,
        FailureClass::NotUnderstood | FailureClass::TooLarge => Exit::NotUnderstood,
    }
}

/// The daemon in a few words.
pub(super) fn daemon_line(daemon: &Daemon) -> String {
    let kind = match daemon.kind {
        DaemonKind::Olsrd => "olsrd",
        DaemonKind::Olsrd2 => "olsrd2",
    };
    let protocol = match daemon.protocol {
        Protocol::Jsoninfo => "jsoninfo",
        Protocol::Txtinfo => "txtinfo",
        Protocol::Olsrd2Http => "http",
        Protocol::Olsrd2Telnet => "telnet",
    };
    let metric = match daemon.metric {
        LinkMetric::Unknown => "metric not told",
        LinkMetric::Etx => "metric ETX",
        LinkMetric::Hops => "hop counts only",
        LinkMetric::Loss => "metric loss",
        LinkMetric::Airtime => "metric air time",
        LinkMetric::NotMeaningful => "metric not meaningful",
    };
    let version = daemon.version.as_deref().map(short_version).unwrap_or_default();
    let version = if version.is_empty() { version } else { format!(" {version}") };
    format!("{kind}{version} over {protocol}, {metric}")
}

/// The first word with a digit: daemons put build dates and host names into their version.
fn short_version(version: &str) -> String {
    let word = version.split_whitespace().find(|word| word.contains(|c: char| c.is_ascii_digit()));
    cut(word.unwrap_or(""), 24)
}

/// The view as text.
#[must_use]
pub fn render(view: &MeshView, age_ms: Option<u64>, terminal: &Terminal) -> String {
    let mut text = terminal.printable(&daemon_line(&view.daemon));
    if let Some(uptime_ms) = view.daemon.uptime_ms {
        text.push_str(&format!(", up {}", age(uptime_ms)));
    }
    if let Some(age_ms) = age_ms {
        text.push_str(&format!(", read {} ago", age(age_ms)));
    }
    text = wrap(&text, COLUMNS).join("\n") + "\n";
    if !view.own.is_empty() {
        let own: Vec<String> = view.own.iter().map(ToString::to_string).collect();
        text.push_str(&format!("This node: {}\n", own.join(", ")));
    }
    text.push_str(&links(&view.links, terminal));
    text.push_str(&routes(view, terminal));
    text.push_str(&networks(view, terminal));
    text.push_str(&gateways(view, terminal));
    text.push_str(&complaints(view, terminal));
    text
}

fn links(links: &[Link], terminal: &Terminal) -> String {
    let columns = [
        ("LINK TO", Align::Left),
        ("COST", Align::Right),
        ("STATUS", Align::Left),
        ("IN", Align::Right),
        ("OUT", Align::Right),
        ("HELLO", Align::Right),
        ("DEVICE", Align::Left),
    ];
    let share = |value: Option<f32>| value.map(|share| format!("{share:.2}")).unwrap_or_default();
    let rows: Vec<Vec<Cell>> = links
        .iter()
        .map(|link| {
            let status = match link.status {
                LinkStatus::Symmetric => "symmetric",
                LinkStatus::Asymmetric => "asymmetric",
                LinkStatus::Lost => "lost",
                LinkStatus::Unusable => "unusable",
                LinkStatus::Unknown => "",
            };
            let style =
                if link.usable() { cost_style(link.cost.map(i64::from)) } else { Style::Bad };
            let hello = link.hello_age_ms.map(|ms| age(u64::from(ms))).unwrap_or_default();
            let device = link.interface.as_deref().unwrap_or("");
            vec![
                Cell::plain(link.remote.to_string()),
                Cell::styled(link.cost.map_or_else(|| "-".to_owned(), |c| c.to_string()), style),
                Cell::styled(status, style),
                Cell::plain(share(link.quality_in)),
                Cell::plain(share(link.quality_out)),
                Cell::plain(hello),
                Cell::plain(cut(&terminal.printable(device), DEVICE_CHARS_MAX)),
            ]
        })
        .collect();
    if rows.is_empty() {
        return format!("\n{}\n", terminal.style("No links.", Style::Faint));
    }
    format!("\n{}", table(&columns, &rows, COLUMNS, terminal))
}

/// Linux names no interface longer (IFNAMSIZ).
const DEVICE_CHARS_MAX: usize = 15;

fn routes(view: &MeshView, terminal: &Terminal) -> String {
    let columns = [
        ("ROUTE TO", Align::Left),
        ("COST", Align::Right),
        ("HOPS", Align::Right),
        ("VIA", Align::Left),
        ("DEVICE", Align::Left),
        ("NAME", Align::Left),
    ];
    let mut sorted: Vec<&Route> = view.routes.iter().collect();
    sorted.sort_by_key(|route| route.destination);
    let rows: Vec<Vec<Cell>> = sorted
        .into_iter()
        .map(|route| {
            let next_hop = route.next_hop.filter(|hop| *hop != route.destination.address);
            let direct = route.hops == Some(1) || route.next_hop.is_some() && next_hop.is_none();
            let via = match next_hop {
                Some(hop) if !direct => hop.to_string(),
                Some(_) | None => if direct { "direct" } else { "" }.to_owned(),
            };
            vec![
                Cell::plain(route.destination.to_string()),
                cost_cell(route.cost),
                Cell::plain(route.hops.map(|hops| hops.to_string()).unwrap_or_default()),
                Cell::plain(via),
                Cell::plain(cut(
                    &terminal.printable(route.interface.as_deref().unwrap_or("")),
                    DEVICE_CHARS_MAX,
                )),
                Cell::plain(cut(&terminal.printable(name(view, route)), NAME_CHARS_MAX)),
            ]
        })
        .collect();
    if rows.is_empty() {
        return format!("\n{}\n", terminal.style("No routes.", Style::Faint));
    }
    format!("\n{}", table(&columns, &rows, COLUMNS, terminal))
}

/// Characters of a host name heard in the mesh.
const NAME_CHARS_MAX: usize = 20;

/// The name that was announced for the route's destination or its node.
fn name<'a>(view: &'a MeshView, route: &Route) -> &'a str {
    let of = |address| view.names.iter().find(|name| name.address == address);
    let found = of(route.destination.address).or_else(|| route.node.and_then(of));
    found.map_or("", |name| name.name.as_str())
}

fn networks(view: &MeshView, terminal: &Terminal) -> String {
    if view.networks.is_empty() {
        return String::new();
    }
    let columns = [("NETWORK", Align::Left), ("ANNOUNCED BY", Align::Left), ("", Align::Left)];
    let rows: Vec<Vec<Cell>> = view
        .networks
        .iter()
        .map(|network| {
            vec![
                Cell::plain(network.prefix.to_string()),
                Cell::plain(network.node.to_string()),
                Cell::plain(if network.own { "this node" } else { "" }),
            ]
        })
        .collect();
    format!("\n{}", table(&columns, &rows, COLUMNS, terminal))
}

fn cost_cell(cost: NetworkCost) -> Cell {
    match cost {
        NetworkCost::Reachable(cost) => {
            Cell::styled(cost.to_string(), cost_style(Some(i64::from(cost))))
        }
        NetworkCost::Unreachable => Cell::styled("-1", Style::Bad),
        NetworkCost::NotMeaningful => Cell::plain("?"),
    }
}

fn gateways(view: &MeshView, terminal: &Terminal) -> String {
    if view.gateways.is_empty() {
        return String::new();
    }
    let columns = [
        ("GATEWAY", Align::Left),
        ("COST", Align::Right),
        ("HOPS", Align::Right),
        ("UP KBIT/S", Align::Right),
        ("DOWN KBIT/S", Align::Right),
        ("", Align::Left),
    ];
    let number = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
    let rows: Vec<Vec<Cell>> = view
        .gateways
        .iter()
        .map(|gateway| {
            vec![
                Cell::plain(gateway.node.to_string()),
                cost_cell(gateway.cost),
                Cell::plain(number(gateway.hops.map(u64::from))),
                Cell::plain(number(gateway.uplink_kbps)),
                Cell::plain(number(gateway.downlink_kbps)),
                Cell::plain(if gateway.selected { "in use" } else { "" }),
            ]
        })
        .collect();
    format!("\n{}", table(&columns, &rows, COLUMNS, terminal))
}

fn complaints(view: &MeshView, terminal: &Terminal) -> String {
    if view.complaints.is_empty() {
        return String::new();
    }
    let mut text = format!("\n{}\n", terminal.style("NOT UNDERSTOOD", Style::Heading));
    for complaint in &view.complaints {
        let times = if complaint.count > 1 {
            format!(" ({} times)", complaint.count)
        } else {
            String::new()
        };
        let line = format!("  {}{times}", terminal.printable(&complaint.text));
        text.push_str(&terminal.style(&wrap(&line, COLUMNS).join("\n"), Style::Warning));
        text.push('\n');
    }
    text
}
