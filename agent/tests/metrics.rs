//! The text of `/metrics` against Prometheus' own checker and against the rules of OpenMetrics.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use outrider::core::catalog::{agent, delivery, hardware, membership, mesh, spool};
use outrider::core::exposition::{Format, render};
use outrider::core::membership::report::FederationStatus;
use outrider::core::sample::{Kind, Metric, Sample};
use outrider::core::state::State;
use outrider::core::time::Mono;

mod fixture;
#[path = "fixture/promtool.rs"]
mod promtool;

use fixture::Convoy;
use promtool::promtool;

fn catalog() -> impl Iterator<Item = &'static Metric> {
    [mesh::ALL, agent::ALL, spool::ALL, delivery::ALL, membership::ALL, hardware::ALL]
        .into_iter()
        .flatten()
        .copied()
}

/// A state in which every metric of the mesh and the agent has a value, and each hardware metric one.
fn full() -> State {
    let mut convoy = Convoy::new(60);
    convoy.lose(40);
    convoy.run(40);
    convoy.lose_broker();
    convoy.hang_thermal();
    let mut state = convoy.state;
    state.http.requests.insert(("/metrics", 200), 7);
    state.http.refused.insert("connections", 2);
    let view = Arc::make_mut(state.mesh.view.as_mut().unwrap());
    let link = &mut view.links[0];
    link.metric_in_raw = Some(2_105_088);
    link.metric_out_raw = Some(2_105_088);
    let samples = hardware::ALL
        .iter()
        .map(|metric| Sample::new(metric, &vec!["x"; metric.labels.len()], 1.5))
        .collect();
    state.membership.configured = true;
    state.membership.federations = vec![FederationStatus {
        name: "purple".to_owned(),
        round_trip_ms: Some(120),
        ..FederationStatus::default()
    }];
    state.seats = Some(Vec::new());
    state.hardware.replace("everything", state.now.mono, samples);
    state
}

#[test]
fn promtool_finds_no_fault_with_any_metric() {
    let text = render(&full(), Format::Prometheus);
    for metric in catalog() {
        assert!(text.contains(&format!("# TYPE {} ", metric.name)), "{} is not shown", metric.name);
    }
    promtool(&text).unwrap();
}

#[test]
fn promtool_would_notice() {
    promtool("# HELP a_total A.\n# TYPE a_total gauge\na_total 1\n").unwrap_err();
    promtool("a{b=\"c\nd\"} 1\n").unwrap_err();
}

#[test]
fn an_agent_that_knows_nothing_yet_is_shown_too() {
    let text = render(&State::default(), Format::Prometheus);
    assert!(!text.contains("olsr_"), "no mesh is configured:\n{text}");
    assert!(text.contains("outrider_build_info{"), "{text}");
    promtool(&text).unwrap();
}

#[test]
fn each_metric_is_defined_once_and_well() {
    let mut names = BTreeSet::new();
    for metric in catalog() {
        assert!(names.insert(metric.name), "{} is defined twice", metric.name);
        assert_eq!(
            metric.name.ends_with("_total"),
            metric.kind == Kind::Counter,
            "{}",
            metric.name
        );
        assert_eq!(metric.name.ends_with("_info"), metric.kind == Kind::Info, "{}", metric.name);
        assert!(!metric.help.is_empty() && !metric.help.contains('\n'), "{}", metric.name);
        assert!(
            metric.name.starts_with("outrider_") || metric.name.starts_with("olsr_"),
            "{}",
            metric.name
        );
    }
}

#[test]
fn families_come_whole_in_catalog_order_and_no_series_twice() {
    let mut state = full();
    let view = Arc::make_mut(state.mesh.view.as_mut().unwrap());
    let links = view.links.len();
    view.links.extend(view.links.clone());
    let row = Sample::new(&hardware::NETWORK_UP, &["wlan0"], 1.0);
    state.hardware.replace("one", state.now.mono, vec![row.clone(), row.clone()]);
    state.hardware.replace("two", state.now.mono, vec![row]);
    let text = render(&state, Format::Prometheus);
    assert_eq!(text, render(&state, Format::Prometheus), "two renderings differ");

    let mut families = Vec::new();
    let mut series = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            families.push(rest.split(' ').next().unwrap().to_owned());
        } else if !line.starts_with('#') {
            let (name, _) = line.rsplit_once(' ').unwrap();
            assert!(series.insert(name.to_owned()), "twice: {line}");
        }
    }
    let unique: BTreeSet<&String> = families.iter().collect();
    assert_eq!(unique.len(), families.len(), "a family is torn apart: {families:?}");
    let order: BTreeMap<&str, usize> = mesh::ALL
        .iter()
        .chain(agent::ALL)
        .enumerate()
        .map(|(at, metric)| (metric.name, at))
        .collect();
    let places: Vec<usize> =
        families.iter().filter_map(|family| order.get(family.as_str()).copied()).collect();
    assert!(places.is_sorted(), "not in catalog order: {families:?}");
    let omitted = format!("\noutrider_mesh_links_omitted {links}\n");
    assert!(links > 1 && text.contains(&omitted), "repeated rows are counted");
    promtool(&text).unwrap();
}

/// The lines of `text` about `node`.
fn about<'t>(text: &'t str, node: &str) -> Vec<&'t str> {
    let label = format!("{{node=\"{node}\"}}");
    text.lines().filter(|line| line.contains(&label)).collect()
}

#[test]
fn the_schedulers_metric_says_nothing_rather_than_something_wrong() {
    let mut convoy = Convoy::new(12);
    convoy.lose(11);
    convoy.run(40);
    let text = render(&convoy.state, Format::Prometheus);
    assert!(text.contains("\nolsr_network_cost{node=\"veh-04\"} 0\n"), "own vehicle: {text}");
    assert!(text.contains("\nolsr_network_cost{node=\"veh-12\"} -1\n"), "unreachable: {text}");
    let reachable = about(&text, "veh-02");
    assert!(reachable[0].starts_with("olsr_network_cost{") && !reachable[0].ends_with("-1"));

    convoy.silence();
    convoy.run(30);
    let held = render(&convoy.state, Format::Prometheus);
    assert!(held.contains("olsr_node_stale{node=\"veh-02\"} 1"), "held and said so");
    assert!(!held.contains("} -1\n"), "-1 needs a daemon that answers: {held}");

    convoy.run(600);
    let silent = render(&convoy.state, Format::Prometheus);
    assert!(about(&silent, "veh-02").iter().all(|line| !line.starts_with("olsr_network_cost{")));
    assert!(silent.contains("\nolsr_network_cost{node=\"veh-04\"} 0\n"), "own stays");
    assert!(!silent.contains("NaN"));
    promtool(&silent).unwrap();
}

#[test]
fn hostile_text_stays_inside_its_label() {
    let hostile = "a\"} 1\nolsr_network_cost{node=\"b\\";
    let convoy = Convoy::named(vec![hostile.to_owned(), "veh-02".to_owned()]);
    let text = render(&convoy.state, Format::Prometheus);
    let line = r#"olsr_network_cost{node="a\"} 1\nolsr_network_cost{node=\"b\\"} 0"#;
    assert!(text.lines().any(|one| one == line), "{text}");
    promtool(&text).unwrap();
}

#[test]
fn numbers_read_back_as_they_were() {
    let mut state = State::default();
    let values = [0.0, -0.0, 1.0, -1.0, 0.1, 1e-9, 123_456.789, 9_007_199_254_740_993.0, 1e300];
    for value in values {
        state.hardware.replace(
            "one",
            Mono::default(),
            vec![Sample::new(&hardware::LOAD1, &[], value)],
        );
        let text = render(&state, Format::Prometheus);
        let line = text.lines().find(|line| line.starts_with("outrider_load1 ")).unwrap();
        let read: f64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
        assert_eq!(read, value, "{line}");
    }
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let sample = Sample::new(&hardware::LOAD1, &[], value);
        state.hardware.replace("one", Mono::default(), vec![sample]);
        assert!(!render(&state, Format::Prometheus).contains("outrider_load1"), "{value}");
    }
}

#[test]
fn openmetrics_keeps_its_own_rules() {
    let text = render(&full(), Format::OpenMetrics);
    assert!(text.ends_with("\n# EOF\n") && text.matches("# EOF").count() == 1);
    assert!(!text.contains("\n\n"), "no empty lines");
    let mut types: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let mut words = line.split(' ').skip(2);
        types.insert(words.next().unwrap(), words.next().unwrap());
    }
    for (family, kind) in &types {
        assert!(!family.ends_with("_total") && !family.ends_with("_info"), "{family}");
        let suffix = match *kind {
            "counter" => "_total",
            "info" => "_info",
            "gauge" => "",
            other => panic!("{family}: {other}"),
        };
        let name = format!("{family}{suffix}");
        let shown =
            |line: &str| line.strip_prefix(&name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        assert!(text.lines().any(shown), "{name} has no sample");
    }
    for line in text.lines().filter(|line| line.starts_with("# UNIT ")) {
        let words: Vec<&str> = line.split(' ').collect();
        assert!(words[2].ends_with(&format!("_{}", words[3])), "{line}");
    }
    assert!(text.contains("# UNIT outrider_mesh_view_age_seconds seconds\n"));
    assert!(text.contains("# UNIT outrider_mqtt_sent_bytes bytes\n"), "counters have units too");
    assert!(text.contains("# TYPE outrider_build info\n"));
}

#[test]
fn the_client_chooses_the_format() {
    let cases = [
        ("", Format::Prometheus),
        ("*/*", Format::Prometheus),
        ("text/html, */*;q=0.8", Format::Prometheus),
        ("application/openmetrics-text", Format::OpenMetrics),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", Format::OpenMetrics),
        ("application/openmetrics-text;version=0.0.1", Format::Prometheus),
        // What Prometheus 2 and 3 send, in essence.
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            Format::OpenMetrics,
        ),
        ("application/openmetrics-text;q=0.1, text/plain", Format::Prometheus),
        ("application/openmetrics-text;q=0", Format::Prometheus),
        ("APPLICATION/OPENMETRICS-TEXT ; VERSION=\"1.0.0\" ; Q=1", Format::OpenMetrics),
        ("application/openmetrics-text;q=nonsense", Format::Prometheus),
        (",;=;,q", Format::Prometheus),
    ];
    for (accept, format) in cases {
        assert_eq!(Format::negotiate(accept), format, "{accept}");
    }
}
