//! The command line as a whole: the table is consistent, refusals help, output fits a serial
//! console.

use std::collections::BTreeSet;
use std::net::IpAddr;

use olsr_bridge::view::{Daemon, DaemonKind, LinkMetric, Protocol};

use super::command::Value;
use super::exit::{EXITS, Exit};
use super::parse::{Request, parse};
use super::terminal::{COLUMNS, Terminal};
use super::*;
use crate::core::gauges::{Gauge, Unit};
use crate::core::health::{Against, Reason};
use crate::core::state::{Event, Severity, State};
use crate::core::status::{
    CollectorStatus, EventStatus, ReachKind, Status, VehicleStatus, document,
};
use crate::core::time::ClockQuality;

fn request(line: &str) -> Result<Request, Failure> {
    parse(line.split_whitespace().map(Into::into))
}

/// The refusal of a command line, without the pointer to the help.
fn refusal(line: &str) -> String {
    let failure = request(line).expect_err(line);
    assert_eq!(failure.exit, Exit::Usage, "{line}");
    let text = failure.text.expect("a refusal says why");
    text.split_once("\nTry `outrider").expect("a refusal says where to read more").0.to_owned()
}

fn fits(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= COLUMNS, "{} columns: {line}", line.chars().count());
        assert!(line.is_ascii() && !line.contains(|c: char| c.is_control()), "{line:?}");
        assert_eq!(line, line.trim_end(), "spaces at the end");
    }
}

#[test]
fn every_command_is_found_and_has_help_that_fits() {
    fits(&help::program(&Terminal::plain()));
    for command in COMMANDS {
        let name = command.name(" ");
        assert!(help::program(&Terminal::plain()).contains(&format!("  {name} ")), "{name}");
        let Ok(Request::Help(Some(found))) = request(&format!("{name} --help")) else {
            panic!("{name} --help")
        };
        assert_eq!(found.path, command.path);
        let text = help::command(command, &Terminal::plain());
        fits(&text);
        for option in command.all_options() {
            assert!(text.contains(&format!("--{}", option.long)), "{name} --{}", option.long);
        }
        let Ok(Request::Help(Some(found))) = request(&format!("help {name}")) else {
            panic!("help {name}")
        };
        assert_eq!(found.path, command.path);
    }
}

#[test]
fn the_table_is_consistent() {
    let names: BTreeSet<String> = COMMANDS.iter().map(|command| command.name(" ")).collect();
    assert_eq!(names.len(), COMMANDS.len(), "a name stands twice");
    for command in COMMANDS {
        let name = command.name(" ");
        assert!(!command.summary.ends_with('.'), "{name}");
        assert!(command.path.len() <= 2, "{name}: parser and completion know two words");
        let longs: BTreeSet<&str> = command.all_options().map(|option| option.long).collect();
        assert_eq!(longs.len(), command.options.len() + 1, "{name}: an option stands twice");
        let shorts: Vec<char> = command.all_options().filter_map(|option| option.short).collect();
        assert_eq!(shorts.iter().collect::<BTreeSet<_>>().len(), shorts.len(), "{name}");
        for (call, _) in command.examples {
            let (_, arguments) = call.split_once("outrider ").expect(call);
            // What follows is the shell's.
            let line = arguments.split(['|', '>']).next().expect("split gives one piece");
            let line = line.strip_prefix("outrider ").unwrap_or(line);
            let Ok(Request::Run(found, _)) = request(line) else { panic!("{call}") };
            assert_eq!(found.path, command.path, "{call}");
        }
        for operand in command.operands {
            if let Value::Words(words) = operand.value {
                assert!(words.iter().all(|word| operand.doc.contains(word)), "{name}");
            }
        }
    }
    let codes: Vec<u8> = EXITS.iter().map(|(exit, _)| exit.code()).collect();
    assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn typing_errors_get_a_suggestion() {
    assert_eq!(refusal("statsu"), "unknown command `statsu`; did you mean `status`?");
    assert_eq!(
        refusal("config chekc"),
        "unknown command `config chekc`; did you mean `config check`?"
    );
    assert_eq!(refusal("status --jsno"), "unknown option `--jsno`; did you mean `--json`?");
    assert_eq!(refusal("status -x"), "unknown option `-x`");
    assert_eq!(
        refusal("frobnicate"),
        "unknown command `frobnicate`; `outrider --help` lists the commands"
    );
    assert_eq!(
        refusal("--json status"),
        "unknown option `--json`; options stand after the command"
    );
    assert_eq!(refusal("config"), "`config` needs one of `default`, `check`, `doc` after it");
    assert_eq!(refusal("completion bsh"), "`SHELL`: unknown value `bsh`; did you mean `bash`?");
    assert_eq!(
        refusal("help nonsense"),
        "unknown command `nonsense`; `outrider --help` lists the commands"
    );
}

#[test]
fn arguments_are_checked_before_anything_runs() {
    assert_eq!(refusal("status now"), "nothing can stand in place of `now`");
    assert_eq!(refusal("status --connect"), "`--connect` needs a value: HOST:PORT");
    assert_eq!(
        refusal("status --connect alpha"),
        "`--connect`: `alpha` is not host and port, like 127.0.0.1:9695"
    );
    assert_eq!(refusal("status --json=yes"), "`--json` takes no value");
    assert_eq!(refusal("status --connect a:1 --connect b:2"), "`--connect` is given twice");
    assert_eq!(refusal("completion"), "SHELL is missing: One of bash, zsh, fish");
}

#[test]
fn arguments_arrive_at_the_command() {
    let Ok(Request::Run(command, arguments)) = request("status -c /x --json --connect=[::1]:9695")
    else {
        panic!()
    };
    assert_eq!(command.path, ["status"]);
    assert!(arguments.flag(&command::JSON));
    assert_eq!(arguments.file(&command::CONFIG), Some("/x".into()));
    assert_eq!(arguments.value(&agent::CONNECT), Some("[::1]:9695".as_ref()));
    assert!(matches!(request(""), Ok(Request::Help(None))));
    assert!(matches!(request("-V"), Ok(Request::Version)));
    assert!(matches!(request("config --help"), Ok(Request::HelpGroup("config"))));
}

fn vehicle(name: &str, reach: ReachKind, cost: Option<i64>) -> VehicleStatus {
    VehicleStatus {
        name: name.to_owned(),
        reach,
        cost,
        raw_cost: None,
        hops: None,
        next_hop: None,
        next_vehicle: None,
        interface: None,
        addresses: Vec::new(),
        neighbor: false,
        quality_in: None,
        quality_out: None,
        hello_age_ms: None,
        age_ms: None,
        stale: false,
        since_ms: None,
        transitions: 0,
    }
}

/// A status with everything in it.
fn status() -> Status {
    let mut status = document(&State::default());
    status.identity.vehicle = "alpha".to_owned();
    status.identity.kind = "truck".to_owned();
    status.identity.version = "0.1.0".to_owned();
    status.clock.agent_uptime_ms = 3 * 3_600_000;
    status.clock.boot_ms = 4 * 3_600_000;
    status.clock.wall_ms = Some(1_795_225_500_000);
    status.clock.quality = ClockQuality::Synchronised;
    status.mesh.configured = true;
    status.mesh.daemon = Some(Daemon {
        kind: DaemonKind::Olsrd,
        protocol: Protocol::Jsoninfo,
        version: Some("olsr.org - 0.9.8-git_0000000 (built on 2019-08-11)".to_owned()),
        pid: Some(1),
        uptime_ms: Some(60_000),
        metric: LinkMetric::Etx,
        metric_name: Some("etx_ff".to_owned()),
        hello_interval_ms: Some(2_000),
    });
    status.mesh.view_age_ms = Some(900);
    status.mesh.neighbors = 1;
    status.mesh.routes = 12;
    status.collectors = vec![CollectorStatus {
        name: "hwmon".into(),
        ok: 1,
        failed: 0,
        age_ms: Some(1),
        run_us: 1,
        error: None,
        hanging: true,
    }];
    status.mqtt.state.configured = true;
    status.mqtt.state.broker = "broker.convoy:8883".to_owned();
    status.mqtt.state.error = Some("connection refused".to_owned());
    status.mqtt.state.queued = 12;
    status.mqtt.state.queued_bytes = 4_321;
    status.mqtt.state_age_ms = 15_000;
    status.health.healthy = true;
    status.health.ready = true;
    let next_hop: Option<IpAddr> = "10.0.0.2".parse().ok();
    status.vehicles = vec![
        vehicle("alpha", ReachKind::Own, Some(0)),
        VehicleStatus {
            hops: Some(1),
            next_hop,
            next_vehicle: Some("bravo".to_owned()),
            quality_in: Some(1.0),
            quality_out: Some(0.937),
            hello_age_ms: Some(450),
            age_ms: Some(900),
            ..vehicle("bravo", ReachKind::Reachable, Some(107))
        },
        VehicleStatus {
            hops: Some(2),
            next_hop,
            next_vehicle: Some("bravo".to_owned()),
            age_ms: Some(900),
            ..vehicle("charlie", ReachKind::Reachable, Some(244))
        },
        VehicleStatus {
            age_ms: Some(12_000),
            ..vehicle("delta", ReachKind::Unreachable, Some(-1))
        },
        VehicleStatus {
            age_ms: Some(95_000),
            stale: true,
            ..vehicle("echo", ReachKind::Unknown, None)
        },
    ];
    status.gauges = vec![Gauge {
        id: "cpu".into(),
        label: "CPU busy".into(),
        subject: String::new(),
        value: 0.123,
        unit: Unit::Ratio,
        warn: Some(0.9),
        low_is_bad: false,
    }];
    status.events = vec![EventStatus {
        event: Event {
            number: 1,
            boot_ms: 0,
            wall_ms: None,
            severity: Severity::Warning,
            kind: "vehicle-unreachable".to_owned(),
            subject: "delta".to_owned(),
            text: "delta cannot be reached any more".to_owned(),
        },
        age_ms: 12_000,
    }];
    status
}

#[test]
fn the_status_reads_well() {
    let text = status::render(&status(), &Terminal::plain());
    fits(&text);
    assert_eq!(text, include_str!("tests/status.txt"));
}

#[test]
fn whatever_comes_over_the_radio_the_status_fits_and_stays_plain_text() {
    let mut status = status();
    let hostile = "\u{1b}[2J\u{7}evil\nname\u{202e} \u{e9}".repeat(20);
    status.vehicles[1].name = hostile.clone();
    status.vehicles[2].next_vehicle = Some(hostile.clone());
    status.identity.vehicle = "n".repeat(63);
    status.gauges[0].subject = hostile.clone();
    status.events[0].event.text = hostile.clone();
    status.mqtt.state.error = Some(hostile.clone());
    status.health.healthy = false;
    status.health.reasons =
        vec![Reason { against: Against::Healthy, code: "view-old".into(), text: hostile }];
    fits(&status::render(&status, &Terminal::plain()));
}

#[test]
fn ipv6_addresses_do_not_break_the_lines() {
    let mut status = status();
    let address: Option<IpAddr> = "fd00:1111:2222:3333:4444:5555:6666:7777".parse().ok();
    status.vehicles[1].name = address.map(|a| a.to_string()).unwrap_or_default();
    status.vehicles[1].next_vehicle = None;
    status.vehicles[1].next_hop = address;
    fits(&status::render(&status, &Terminal::plain()));
}

#[test]
fn colours_do_not_change_the_text() {
    let coloured = status::render(&status(), &Terminal::coloured());
    assert!(coloured.contains("\u{1b}[31m"));
    let mut plain = String::new();
    for piece in coloured.split('\u{1b}') {
        plain.push_str(match piece.split_once('m') {
            Some((code, rest)) if code.starts_with('[') => rest,
            Some(_) | None => piece,
        });
    }
    let trimmed: Vec<&str> = plain.lines().map(str::trim_end).collect();
    assert_eq!(trimmed.join("\n") + "\n", status::render(&status(), &Terminal::plain()));
}

#[test]
fn a_status_without_anything_is_still_a_status() {
    let text = status::render(&document(&State::default()), &Terminal::plain());
    fits(text.split_once('\n').expect("more than one line").1);
    assert!(text.contains("No other vehicle is known."));
    assert!(text.contains("no broker is configured"));
}
