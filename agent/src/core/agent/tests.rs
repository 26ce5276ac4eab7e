//! The agent's decisions, with time as an argument.

use olsr_bridge::view::{
    Daemon, DaemonKind, LinkMetric, MeshView, NetworkCost, Part, PartAge, Prefix, Protocol, Route,
};

use super::*;
use crate::config::{Machine, default_config};
use crate::core::catalog::hardware;
use crate::core::telemetry::dictionary::Dictionary;
use crate::core::telemetry::{Birth, Telemetry, frame};

const BOOT: &str = "01234567-89ab-cdef-0123-456789abcdef";

/// 2026-11-20 in milliseconds.
const WALL_MS: i64 = 1_795_132_800_000;

fn config(broker: bool) -> Config {
    let mut config = default_config(&Machine::from_parts("hawk", true, None, None));
    config.mqtt.host = broker.then(|| "127.0.0.1".to_owned());
    config.mqtt.batch = Duration::from_secs(5);
    config
}

fn now(ms: u64) -> Now {
    let wall_ms = WALL_MS + i64::try_from(ms).unwrap();
    Now { mono: Mono::from_millis(ms), wall_ms, quality: ClockQuality::Synchronised }
}

fn agent(config: Config) -> Agent {
    Agent::new(config, BOOT, &["load", "thermal"], now(1000))
}

pub(super) fn view(costs: &[(&str, NetworkCost)]) -> MeshView {
    let route = |(address, cost): &(&str, NetworkCost)| Route {
        destination: Prefix::host(address.parse().unwrap()),
        cost: *cost,
        hops: Some(1),
        next_hop: Some(address.parse().unwrap()),
        interface: Some("mesh0".into()),
        node: Some(address.parse().unwrap()),
        last_hop: None,
        link_local: false,
    };
    MeshView {
        daemon: Daemon {
            kind: DaemonKind::Olsrd,
            version: Some("0.9.8".to_owned()),
            protocol: Protocol::Jsoninfo,
            pid: Some(7),
            uptime_ms: Some(10_000_000),
            metric: LinkMetric::Etx,
            metric_name: None,
            hello_interval_ms: Some(2000),
        },
        own: vec!["10.0.0.1".parse().unwrap()],
        own_addresses: Vec::new(),
        links: Vec::new(),
        neighbors: Vec::new(),
        routes: costs.iter().map(route).collect(),
        edges: Vec::new(),
        networks: Vec::new(),
        aliases: Vec::new(),
        gateways: Vec::new(),
        names: Vec::new(),
        ages: vec![PartAge { part: Part::Routes, age_ms: 0 }],
        complaints: Vec::new(),
    }
}

fn polls(effects: &[Effect]) -> usize {
    effects.iter().filter(|effect| matches!(effect, Effect::Poll)).count()
}

fn submitted(effects: Vec<Effect>) -> Vec<(RecordId, Record)> {
    effects
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Submit(id, record) => Some((id, record)),
            Effect::Poll
            | Effect::Collect(_)
            | Effect::Order(_)
            | Effect::Membership(_)
            | Effect::Log(_) => None,
        })
        .collect()
}

fn failure(class: FailureClass) -> Input {
    let result = Err(Failure { class, text: format!("{class:?}") });
    Input::Mesh { took: Duration::from_millis(3), result }
}

fn answered(costs: &[(&str, NetworkCost)]) -> Input {
    Input::Mesh { took: Duration::from_millis(3), result: Ok(Arc::new(view(costs))) }
}

fn load(value: f64) -> Input {
    let samples = vec![Sample::new(&hardware::LOAD1, &[], value)];
    Input::Hardware { collector: "load", took: Duration::from_micros(50), result: Ok(samples) }
}

fn kinds(agent: &Agent) -> Vec<String> {
    agent.state().events.iter().map(|event| event.kind.clone()).collect()
}

#[test]
fn the_first_tick_starts_everything_and_nothing_twice() {
    let mut agent = agent(config(false));
    let effects = agent.handle(Input::Tick, now(1000));
    assert_eq!(polls(&effects), 1);
    let collected = effects.iter().filter(|effect| matches!(effect, Effect::Collect(_))).count();
    assert_eq!(collected, 2);

    // Neither has answered: nothing is asked again, however much time passes.
    for second in 2..30 {
        let effects = agent.handle(Input::Tick, now(second * 1000));
        assert_eq!(polls(&effects), 0);
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Collect(_))));
    }
}

#[test]
fn a_silent_daemon_is_asked_ever_more_rarely_and_again_at_once_when_it_is_back() {
    let mut agent = Agent::new(config(false), BOOT, &[], now(1000));
    let mut at = 1000;
    let _ = agent.handle(Input::Tick, now(at));
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let _ = agent.handle(failure(FailureClass::Refused), now(at + 10));
        let failed = at;
        loop {
            at = agent.deadline().millis().max(at + 1);
            if polls(&agent.handle(Input::Tick, now(at))) == 1 {
                break;
            }
        }
        pauses.push((at - failed).div_ceil(1000));
    }
    assert_eq!(pauses, [2, 3, 5, 9, 17, 31, 31, 31], "1, 2, 4 .. 30 s after the failure, in phase");
    assert_eq!(agent.state().mesh.polls_failed[&FailureClass::Refused], 8);
    assert_eq!(kinds(&agent), ["daemon-silent"], "one event, not one for each attempt");

    let _ = agent.handle(answered(&[]), now(at + 10));
    assert_eq!(polls(&agent.handle(Input::Tick, now(at + 1000))), 1);
    assert!(kinds(&agent).contains(&"daemon-answers".to_owned()));
    assert!(agent.state().mesh.error.is_none());
}

#[test]
fn a_hanging_collector_is_named_forgotten_and_welcomed_back() {
    let mut agent = agent(config(false));
    let _ = agent.handle(Input::Tick, now(1000));
    let _ = agent.handle(load(1.5), now(1001));
    assert_eq!(agent.state().hardware.source("load").len(), 1);
    let _ = agent.handle(Input::Tick, now(2000));
    let deadline = u64::try_from(agent.config().hardware.deadline.as_millis()).unwrap();
    let mut at = 2000;
    while at < 2000 + deadline + 2000 {
        at += 1000;
        let _ = agent.handle(Input::Tick, now(at));
    }
    let state = &agent.state().collectors["load"];
    assert!(state.hanging && state.failed == 1 && state.error.is_some());
    assert!(agent.state().hardware.source("load").is_empty(), "an old value is worse than none");
    assert!(kinds(&agent).contains(&"collector-hangs".to_owned()));

    let _ = agent.handle(load(2.5), now(at + 500));
    let state = &agent.state().collectors["load"];
    assert!(!state.hanging && state.error.is_none() && state.failed == 1 && state.ok == 2);
    assert!(kinds(&agent).contains(&"collector-works".to_owned()));
}

#[test]
fn telemetry_waits_for_the_broker_and_each_frame_follows_its_birth() {
    let mut agent = agent(config(true));
    let mut records = Vec::new();
    for second in 1..=30 {
        records.extend(submitted(agent.handle(Input::Tick, now(second * 1000))));
        records.extend(submitted(agent.handle(load(second as f64), now(second * 1000 + 1))));
    }
    assert!(records.is_empty(), "nothing is sent without a connection");
    assert!(agent.state().mqtt.queued > 4);

    let connected = Input::Connected { protocol: "5", in_flight_max: 100, packet_bytes_max: None };
    records.extend(submitted(agent.handle(connected, now(31_000))));
    let topics: Vec<&str> = records.iter().map(|(_, record)| &*record.topic).collect();
    assert!(topics[0].ends_with("hawk/birth"), "{topics:?}");
    assert!(topics.iter().filter(|topic| topic.ends_with("/telemetry")).count() >= 4);
    let birth: Birth = serde_json::from_slice(&records[0].1.payload).unwrap();
    assert!(records[0].1.retain && birth.vehicle == "hawk");
    let dictionary = Dictionary::from_entries(birth.series).unwrap();
    for (_, record) in records.iter().filter(|(_, record)| record.topic.ends_with("/telemetry")) {
        let batch = frame::decode(&record.payload).unwrap();
        let document = Telemetry::new("hawk", &batch, &dictionary).unwrap();
        assert!(document.series.keys().any(|series| series.contains("load")), "{document:?}");
    }

    // Freed by the acknowledgement of each, and by nothing else.
    let held = agent.records();
    let _ = agent.handle(Input::Acknowledged(records[0].0), now(31_010));
    assert_eq!(agent.records(), held - 1);
    let _ = agent.handle(Input::Disconnected { reason: "gone".to_owned() }, now(31_020));
    let again = Input::Connected { protocol: "5", in_flight_max: 100, packet_bytes_max: None };
    let resent = submitted(agent.handle(again, now(32_000)));
    for (id, _) in &records[1..] {
        assert!(resent.iter().any(|(other, _)| other == id), "{id:?} must be sent again");
    }
}

#[test]
fn a_clock_that_is_set_is_noted_and_moves_nothing() {
    let mut agent = agent(config(true));
    let at_1970 = |ms| Now { mono: Mono::from_millis(ms), wall_ms: 60_000, ..Now::default() };
    let _ = agent.handle(Input::Tick, at_1970(1000));
    let _ = agent.handle(answered(&[("10.0.0.2", NetworkCost::Reachable(100))]), at_1970(1010));
    let due = agent.deadline();
    // Fifty years ahead, and synchronised; then back to 1970.
    let _ = agent.handle(load(1.0), now(1020));
    assert_eq!(agent.deadline(), due);
    assert!(kinds(&agent).contains(&"clock-stepped".to_owned()));
    assert!(kinds(&agent).contains(&"clock-quality".to_owned()));
    let _ = agent.handle(load(1.0), at_1970(20_000));
    assert!(agent.deadline().millis() <= 21_000);
    let stepped = kinds(&agent).iter().filter(|kind| *kind == "clock-stepped").count();
    assert_eq!(stepped, 2, "forwards and backwards");
    let ages = agent.state().view_age().unwrap();
    assert_eq!(ages, Duration::from_millis(20_000 - 1010), "ages come from the boot clock");
}

#[test]
fn what_can_change_while_running_changes_and_the_rest_stays() {
    let mut agent = agent(config(true));
    let _ = agent.handle(Input::Tick, now(1000));
    let mut new = config(true);
    new.mesh.interval = Duration::from_secs(5);
    new.mesh.vehicles.insert("bravo".to_owned(), vec!["10.0.0.2".parse().unwrap()]);
    new.mqtt.topic = "elsewhere".to_owned();
    let input = Input::Reloaded {
        config: Box::new(new),
        effective: vec!["mesh.interval".to_owned()],
        need_restart: vec!["mqtt.topic".to_owned()],
    };
    let _ = agent.handle(input, now(2000));
    assert_eq!(agent.config().mesh.interval, Duration::from_secs(5));
    assert_ne!(agent.config().mqtt.topic, "elsewhere");
    assert!(agent.state().vehicles.get("bravo").is_some());
    let event = agent.state().events.iter().last().unwrap();
    assert!(event.text.contains("mesh.interval") && event.text.contains("mqtt.topic"), "{event:?}");
    assert_eq!(agent.state().reloads.ok, 1);
}

#[test]
fn stopping_closes_the_batch_that_was_begun() {
    let mut agent = agent(config(true));
    let _ = agent.handle(
        Input::Connected { protocol: "5", in_flight_max: 9, packet_bytes_max: None },
        now(1000),
    );
    let _ = agent.handle(load(1.0), now(1500));
    let _ = agent.handle(Input::Tick, now(2000));
    let records = submitted(agent.handle(Input::Stop, now(2500)));
    assert!(records.iter().any(|(_, record)| record.topic.ends_with("/telemetry")), "{records:?}");
}

#[test]
fn a_flapping_subject_fills_no_log() {
    let mut agent = agent(config(false));
    for step in 0..1000 {
        let result = if step % 2 == 0 { Err("no".to_owned()) } else { Ok(Vec::new()) };
        let input = Input::Hardware { collector: "load", took: Duration::ZERO, result };
        let _ = agent.handle(input, now(1000 + step));
    }
    assert!(agent.state().events.issued() < 10, "{:?}", kinds(&agent));
    assert_eq!(
        agent.state().collectors["load"].failed,
        500,
        "every failure is counted all the same"
    );
}

#[test]
fn a_large_mesh_is_told_as_a_number() {
    let addresses: Vec<String> =
        (0..1000).map(|n| format!("10.1.{}.{}", n / 250, n % 250)).collect();
    let costs: Vec<_> =
        addresses.iter().map(|a| (a.as_str(), NetworkCost::Reachable(100))).collect();
    let mut config = config(false);
    config.mesh.vehicles =
        addresses.iter().map(|a| (format!("v{a}"), vec![a.parse().unwrap()])).collect();
    let mut agent = agent(config);
    let _ = agent.handle(Input::Tick, now(1000));
    let _ = agent.handle(answered(&costs), now(2000));
    let told = kinds(&agent);
    let each = told.iter().filter(|kind| *kind == "vehicle-reachable").count();
    assert_eq!(each, CHANGES_TOLD_MAX, "{told:?}");
    let rest = agent.state().events.iter().find(|event| event.kind == "vehicles-changed").unwrap();
    assert!(rest.text.ends_with("and so on: 968 more changes at once"), "{}", rest.text);
}

#[test]
fn a_large_mesh_does_not_crowd_out_this_vehicle() {
    let addresses: Vec<String> =
        (0..1023).map(|n| format!("10.1.{}.{}", n / 250, n % 250)).collect();
    let costs: Vec<_> =
        addresses.iter().map(|a| (a.as_str(), NetworkCost::Reachable(100))).collect();
    let mut config = config(true);
    config.mesh.vehicles =
        addresses.iter().map(|a| (format!("v{a}"), vec![a.parse().unwrap()])).collect();
    let mut agent = agent(config);
    let _ = agent.handle(Input::Tick, now(1000));
    let _ = agent.handle(answered(&costs), now(1100));
    let _ = agent.handle(load(1.0), now(1200));
    for second in 2..10 {
        let _ = agent.handle(Input::Tick, now(second * 1000));
    }
    let connected = Input::Connected { protocol: "5", in_flight_max: 100, packet_bytes_max: None };
    let records = submitted(agent.handle(connected, now(10_000)));
    let birth: Birth = serde_json::from_slice(&records[0].1.payload).unwrap();
    assert!(birth.series.iter().any(|series| series.name == "outrider_load1"));
    assert!(agent.state().mqtt.lost_values > 0, "what found no room is counted");
}
