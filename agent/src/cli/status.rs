//! `outrider status`: how the vehicle is and how it reaches the others, as the running agent sees.

use super::agent::{CONNECT, ask, document, endpoints};
use super::command::{Arguments, CONFIG, Command, JSON};
use super::exit::{Exit, Outcome};
use super::terminal::{COLUMNS, Style, Terminal};
use super::text::{Align, Cell, cut, table, wrap};
use super::units::{age, bytes, counted, date};
use crate::core::gauges::{Gauge, Unit};
use crate::core::state::{Event, Severity};
use crate::core::status::{ReachKind, Status, VehicleStatus};
use crate::core::time::ClockQuality;

pub(super) const COMMAND: Command = Command {
    path: &["status"],
    summary: "Show vehicles, mesh, hardware and connections",
    about: &[
        "Asks the running agent for its status: the network cost of every vehicle (100 is one \
         perfect hop, -1 is unreachable), the routing daemon, the hardware, the MQTT connection \
         and the latest events.",
        "IN and OUT are the shares of packets that pass between this vehicle and a neighbour in \
         each direction; HELLO is the time since the neighbour was last heard. A line marked `old` \
         is from before the routing daemon fell silent.",
    ],
    operands: &[],
    options: &[JSON, CONNECT, CONFIG],
    examples: &[
        ("outrider status", "see this vehicle"),
        ("outrider status --connect 10.0.0.2:9695", "see another vehicle that lets others read"),
    ],
    run,
};

/// Events that are shown; the page and `--json` have more.
const EVENTS_SHOWN: usize = 8;

fn run(arguments: &Arguments, terminal: &Terminal) -> Outcome {
    let answer = ask(&endpoints(arguments)?, "/v1/status")?;
    let status: Status = document(&answer.body)?;
    if arguments.flag(&JSON) {
        terminal.print(&format!("{}\n", answer.body.trim_end()))?;
    } else {
        terminal.print(&render(&status, terminal))?;
    }
    Ok(Exit::Ok)
}

/// The status as text.
#[must_use]
pub fn render(status: &Status, terminal: &Terminal) -> String {
    let mut text = headline(status, terminal);
    for reason in &status.health.reasons {
        for line in wrap(&terminal.printable(&reason.text), COLUMNS - 2) {
            text.push_str(&format!("  {}\n", terminal.style(&line, Style::Warning)));
        }
    }
    text.push('\n');
    for (name, line, style) in facts(status) {
        let lines = wrap(&terminal.printable(&line), COLUMNS - FACT_INDENT);
        for (number, line) in lines.iter().enumerate() {
            let name = if number == 0 { name } else { "" };
            text.push_str(&format!("{name:FACT_INDENT$}{}\n", terminal.style(line, style)));
        }
    }
    text.push_str(&vehicles(&status.vehicles, terminal));
    text.push_str(&gauges(&status.gauges, terminal));
    text.push_str(&events(status, terminal));
    text
}

/// Column of what is said about daemon, clock and broker.
const FACT_INDENT: usize = 10;

fn headline(status: &Status, terminal: &Terminal) -> String {
    let name = terminal.printable(&status.identity.vehicle);
    let kind = terminal.printable(&status.identity.kind);
    let kind = if kind.is_empty() { kind } else { format!(" ({})", cut(&kind, 20)) };
    let (word, style) = match (status.health.healthy, status.health.ready) {
        (true, true) => ("healthy", Style::Good),
        (true, false) => ("starting", Style::Warning),
        (false, _) => ("not healthy", Style::Bad),
    };
    let version = terminal.printable(&status.identity.version);
    let rest = format!("  outrider {version}, up {}", age(status.clock.agent_uptime_ms));
    let width: usize =
        [name.as_str(), &kind, "  ", word, &rest].iter().map(|s| s.chars().count()).sum();
    // A name may have 63 characters.
    let gap = if width > COLUMNS { "\n  " } else { "  " };
    format!(
        "{}{kind}{gap}{}{rest}\n",
        terminal.style(&name, Style::Heading),
        terminal.style(word, style)
    )
}

/// Name, sentence and style of what is known about daemon, broker, clock and collectors.
fn facts(status: &Status) -> Vec<(&'static str, String, Style)> {
    let mut facts = mesh_facts(status);
    facts.push(mqtt_fact(status));
    facts.extend(spool_fact(status));
    if status.membership.configured {
        let style = super::federation::style(status.membership.state);
        facts.push(("k3s", status.membership.sentence.clone(), style));
    }
    facts.push(clock_fact(status));
    facts.push(collectors_fact(status));
    facts
}

fn mesh_facts(status: &Status) -> Vec<(&'static str, String, Style)> {
    let mesh = &status.mesh;
    if !mesh.configured {
        return vec![("Mesh", "no routing daemon is configured".to_owned(), Style::Faint)];
    }
    let mut facts = Vec::new();
    match (&mesh.daemon, mesh.view_age_ms) {
        (Some(daemon), Some(age_ms)) => {
            let line = format!(
                "{}, {}, {}, read {} ago",
                super::mesh::daemon_line(daemon),
                counted(mesh.neighbors, "neighbour"),
                counted(mesh.routes, "route"),
                age(age_ms)
            );
            facts.push(("Mesh", line, if mesh.stale { Style::Warning } else { Style::Plain }));
        }
        _ => facts.push(("Mesh", "no view of the mesh so far".to_owned(), Style::Warning)),
    }
    let told = |text: &str| status.health.reasons.iter().any(|reason| reason.text.contains(text));
    if let Some(error) = mesh.error.as_ref().filter(|error| !told(&error.text)) {
        facts.push(("", error.text.clone(), Style::Warning));
    }
    let complaints: u64 = mesh.complaints.iter().map(|c| u64::from(c.count)).sum();
    if complaints > 0 {
        let text = format!(
            "{} in the daemon's answer; `outrider mesh` lists them",
            counted(complaints, "complaint")
        );
        facts.push(("", text, Style::Warning));
    }
    facts
}

/// Nothing when no spool is configured.
fn spool_fact(status: &Status) -> Option<(&'static str, String, Style)> {
    let spool = &status.spool;
    if !spool.configured {
        return None;
    }
    let told = |text: &str| status.health.reasons.iter().any(|reason| reason.text.contains(text));
    let why = spool.error.as_deref().filter(|text| !told(text));
    let why = why.map_or_else(String::new, |text| format!(": {text}"));
    if !spool.open {
        return Some(("Spool", format!("closed{why}"), Style::Bad));
    }
    let held: u64 = spool.streams.iter().map(|stream| stream.held_records).sum();
    let oldest = spool.streams.iter().filter_map(|stream| stream.oldest_age_ms).max();
    let mut line = format!(
        "{} held, {} of {} on disk",
        counted(held, "record"),
        bytes(spool.disk_bytes as f64),
        bytes(spool.budget_bytes as f64)
    );
    if let Some(oldest_ms) = oldest {
        line.push_str(&format!(", the oldest {} old", age(oldest_ms)));
    }
    if spool.degraded {
        line.push_str(&format!("; the disk takes nothing{why}"));
    } else if spool.error.is_some() {
        line.push_str(&format!("; it cannot be read{why}"));
    }
    let style = if spool.error.is_some() { Style::Bad } else { Style::Plain };
    Some(("Spool", line, style))
}

fn mqtt_fact(status: &Status) -> (&'static str, String, Style) {
    let mqtt = &status.mqtt;
    let state = &mqtt.state;
    if !state.configured {
        return ("MQTT", "no broker is configured".to_owned(), Style::Faint);
    }
    let since = age(mqtt.state_age_ms);
    let dropped: u64 = state.dropped.values().sum();
    let dropped = if dropped == 0 { String::new() } else { format!(", {dropped} dropped") };
    let queue = format!(
        "{} waiting ({}), {} delivered{dropped}",
        state.queued,
        bytes(state.queued_bytes as f64),
        state.acknowledged
    );
    if state.connected {
        let line = format!("connected to {} for {since}; {queue}", state.broker);
        return ("MQTT", line, Style::Plain);
    }
    let cause = state.error.as_ref().map_or_else(String::new, |error| format!(" ({error})"));
    let line = format!("not connected to {} for {since}{cause}; {queue}", state.broker);
    ("MQTT", line, Style::Warning)
}

fn clock_fact(status: &Status) -> (&'static str, String, Style) {
    let booted = age(status.clock.boot_ms);
    let Some(wall_ms) = status.clock.wall_ms else {
        return ("Clock", format!("not set; booted {booted} ago"), Style::Warning);
    };
    let quality = match status.clock.quality {
        ClockQuality::Synchronised => "synchronised",
        ClockQuality::Unsynchronised | ClockQuality::Unset => "not synchronised",
    };
    ("Clock", format!("{}, {quality}; booted {booted} ago", date(wall_ms)), Style::Plain)
}

fn collectors_fact(status: &Status) -> (&'static str, String, Style) {
    let faulty: Vec<String> = status
        .collectors
        .iter()
        .filter(|collector| collector.hanging || collector.error.is_some())
        .map(|collector| {
            let cause = if collector.hanging { "hangs" } else { "failed" };
            match &collector.error {
                Some(error) if !collector.hanging => format!("{} {cause}: {error}", collector.name),
                Some(_) | None => format!("{} {cause}", collector.name),
            }
        })
        .collect();
    if status.collectors.is_empty() {
        return ("Hardware", "nothing is read of this machine".to_owned(), Style::Faint);
    }
    let count = counted(status.collectors.len() as u64, "collector");
    if faulty.is_empty() {
        return ("Hardware", format!("{count}, all well"), Style::Plain);
    }
    ("Hardware", format!("{count}; {}", faulty.join("; ")), Style::Warning)
}

fn vehicles(vehicles: &[VehicleStatus], terminal: &Terminal) -> String {
    let columns = [
        ("VEHICLE", Align::Left),
        ("COST", Align::Right),
        ("REACH", Align::Left),
        ("HOPS", Align::Right),
        ("VIA", Align::Left),
        ("IN", Align::Right),
        ("OUT", Align::Right),
        ("HELLO", Align::Right),
        ("AGE", Align::Right),
        ("", Align::Left),
    ];
    let rows: Vec<Vec<Cell>> = vehicles
        .iter()
        .filter(|vehicle| vehicle.reach != ReachKind::Own)
        .map(|vehicle| vehicle_row(vehicle, terminal))
        .collect();
    if rows.is_empty() {
        return format!("\n{}\n", terminal.style("No other vehicle is known.", Style::Faint));
    }
    format!("\n{}", table(&columns, &rows, COLUMNS, terminal))
}

/// Characters of the next vehicle's name, so that a row with all columns fits 80.
const VIA_CHARS_MAX: usize = 15;

fn vehicle_row(vehicle: &VehicleStatus, terminal: &Terminal) -> Vec<Cell> {
    let style = match (vehicle.stale, vehicle.reach) {
        (true, _) | (_, ReachKind::Unknown) => Style::Faint,
        (false, ReachKind::Reachable) => cost_style(vehicle.cost),
        (false, ReachKind::Unreachable) => Style::Bad,
        (false, ReachKind::Own | ReachKind::NotMeaningful) => Style::Plain,
    };
    let reach = match vehicle.reach {
        ReachKind::Own => "this vehicle",
        ReachKind::Reachable => "reachable",
        ReachKind::Unreachable => "unreachable",
        ReachKind::NotMeaningful => "reachable",
        ReachKind::Unknown => "unknown",
    };
    let via = match (&vehicle.next_vehicle, vehicle.next_hop) {
        (Some(name), _) if *name == vehicle.name => "direct".to_owned(),
        (Some(name), _) => name.clone(),
        (None, Some(address)) => address.to_string(),
        (None, None) => String::new(),
    };
    let number = |value: Option<u64>, show: fn(u64) -> String| value.map(show).unwrap_or_default();
    let share = |value: Option<f64>| value.map(|share| format!("{share:.2}")).unwrap_or_default();
    let cells = vec![
        terminal.printable(&vehicle.name),
        vehicle.cost.map_or_else(|| "?".to_owned(), |cost| cost.to_string()),
        reach.to_owned(),
        vehicle.hops.map(|hops| hops.to_string()).unwrap_or_default(),
        cut(&terminal.printable(&via), VIA_CHARS_MAX),
        share(vehicle.quality_in),
        share(vehicle.quality_out),
        number(vehicle.hello_age_ms, age),
        number(vehicle.age_ms, age),
        if vehicle.stale { "old".to_owned() } else { String::new() },
    ];
    cells.into_iter().map(|text| Cell::styled(text, style)).collect()
}

/// Costs up to this are those of a hop that loses a tenth of the packets in each direction; see the
/// cost table in the documentation of the bridge.
const COST_GOOD_MAX: i64 = 125;

/// From here on more than every second packet of a hop is lost, or there are many hops.
const COST_BAD_MIN: i64 = 600;

/// Green, plain or yellow by cost.
pub(super) fn cost_style(cost: Option<i64>) -> Style {
    match cost {
        Some(cost) if cost >= COST_BAD_MIN => Style::Warning,
        Some(cost) if (0..=COST_GOOD_MAX).contains(&cost) => Style::Good,
        Some(_) | None => Style::Plain,
    }
}

fn gauges(gauges: &[Gauge], terminal: &Terminal) -> String {
    if gauges.is_empty() {
        return String::new();
    }
    let columns = [("THIS VEHICLE", Align::Left), ("VALUE", Align::Right), ("OF", Align::Left)];
    let rows: Vec<Vec<Cell>> = gauges
        .iter()
        .map(|gauge| {
            let beyond = gauge.warn.is_some_and(|limit| {
                if gauge.low_is_bad { gauge.value <= limit } else { gauge.value >= limit }
            });
            let style = if beyond { Style::Warning } else { Style::Plain };
            vec![
                Cell::plain(terminal.printable(&gauge.label)),
                Cell::styled(value(gauge), style),
                Cell::plain(cut(&terminal.printable(&gauge.subject), SUBJECT_CHARS_MAX)),
            ]
        })
        .collect();
    format!("\n{}", table(&columns, &rows, COLUMNS, terminal))
}

/// Characters of a mount point's or sensor's name.
const SUBJECT_CHARS_MAX: usize = 40;

fn value(gauge: &Gauge) -> String {
    match gauge.unit {
        Unit::Ratio => format!("{:.0} %", gauge.value * 100.0),
        Unit::Celsius => format!("{:.0} C", gauge.value),
        Unit::Dbm => format!("{:.0} dBm", gauge.value),
        Unit::Bytes => bytes(gauge.value),
        Unit::Seconds => age((gauge.value.max(0.0) * 1_000.0) as u64),
    }
}

fn events(status: &Status, terminal: &Terminal) -> String {
    if status.events.is_empty() {
        return String::new();
    }
    let mut text = format!("\n{}\n", terminal.style("LATEST EVENTS", Style::Heading));
    for each in status.events.iter().take(EVENTS_SHOWN) {
        let style = match each.event.severity {
            Severity::Info => Style::Plain,
            Severity::Warning => Style::Warning,
        };
        let Event { subject, text: sentence, .. } = &each.event;
        let sentence = if subject.is_empty() || sentence.contains(subject.as_str()) {
            sentence.clone()
        } else {
            format!("{subject}: {sentence}")
        };
        let lines = wrap(&terminal.printable(&sentence), COLUMNS - FACT_INDENT);
        for (number, line) in lines.iter().enumerate() {
            let ago = if number == 0 { format!("{} ago", age(each.age_ms)) } else { String::new() };
            text.push_str(&format!("{ago:FACT_INDENT$}{}\n", terminal.style(line, style)));
        }
    }
    text
}
