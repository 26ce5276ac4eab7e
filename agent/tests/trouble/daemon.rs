//! Routing daemons in every bad state: each is named to people, the hardware is read all the same,
//! and the costs are right as soon as the daemon is.

use std::net::TcpListener;

use outrider::core::health::Against;
use outrider::core::state::Severity;
use outrider::core::status::{ReachKind, Status};

use crate::mesh::Mesh;
use crate::program::{Agent, has_event};
use crate::routing::{CAPTURED_COSTS, Manner, Routing, altered, captured, fixture, mesh_at};
use crate::stand_in::http;

/// Largest memory while answers come that are larger than any real one: the program built for
/// debugging, its libraries, and one answer of at most 16 MiB.
const PEAK_KIB_MAX: u64 = 48 * 1024;

const QUIET: &str = "[http]\nlisten = \"off\"\n";

/// Starts with a daemon that gives no view for the cause `class`, says so with all of `words`, and
/// gets better.
fn no_view(manner: Manner, class: &str, words: &[&str]) {
    let routing = Routing::start(manner);
    let mut agent = Agent::start(&(routing.config() + QUIET));
    no_view_until_healed(&mut agent, class, words, || routing.change(Manner::Says(captured())));
    let log = agent.stop();
    assert!(log.contains(" WARN ") && log.contains("daemon-silent"), "{log}");
}

fn no_view_until_healed(agent: &mut Agent, class: &str, words: &[&str], heal: impl FnOnce()) {
    let status = agent.until("it tried twice and read the hardware", |status| {
        status.mesh.polls_failed.get(class).is_some_and(|count| *count >= 2)
            && status.collectors.iter().all(|collector| collector.ok + collector.failed >= 2)
    });
    let error = &status.mesh.error.as_ref().unwrap().text;
    assert!(words.iter().all(|word| error.contains(word)), "`{error}` does not say {words:?}");
    let warned = status.events.iter().map(|shown| &shown.event).find(|e| e.kind == "daemon-silent");
    assert_eq!(warned.unwrap().severity, Severity::Warning);
    assert_eq!(status.mesh.polls_ok, 0);
    assert!(status.mesh.stale);
    nothing_is_said_of_the_others(&status);
    assert_eq!(agent.metric("olsr_network_cost{node=\"b\"}"), None);
    let failed = format!("outrider_mesh_poll_failures_total{{cause=\"{class}\"}}");
    assert!(agent.metric(&failed).unwrap() >= 2.0);
    assert!(agent.get("/metrics").body.contains("outrider_memory_"), "the hardware goes on");
    let reason =
        status.health.reasons.iter().find(|reason| reason.code == "mesh-not-seen").unwrap();
    assert!(reason.against == Against::Ready && reason.text.contains(error.as_str()), "{reason:?}");
    assert_eq!(agent.get("/readyz").code, 503);

    heal();
    recovers(agent);
    let status = agent.status().unwrap();
    assert!(has_event(&status, "daemon-answers", ""), "{:#?}", status.events);
}

fn nothing_is_said_of_the_others(status: &Status) {
    for (name, _) in CAPTURED_COSTS {
        let vehicle = status.vehicles.iter().find(|vehicle| vehicle.name == name).unwrap();
        assert_eq!((vehicle.reach, vehicle.cost), (ReachKind::Unknown, None), "{name}");
    }
}

/// Waits for the costs of the captured mesh.
fn recovers(agent: &mut Agent) {
    agent.until("the captured costs are there", |status| {
        CAPTURED_COSTS.iter().all(|(name, cost)| {
            let vehicle = status.vehicles.iter().find(|vehicle| vehicle.name == *name);
            vehicle.and_then(|vehicle| vehicle.cost) == Some(*cost)
        })
    });
    for (name, cost) in CAPTURED_COSTS {
        let series = format!("olsr_network_cost{{node=\"{name}\"}}");
        assert_eq!(agent.metric(&series), Some(cost as f64), "{series}");
    }
    assert_eq!(agent.status().unwrap().mesh.error, None);
    assert_eq!((agent.get("/healthz").code, agent.get("/readyz").code), (200, 200));
}

#[test]
fn absent() {
    // A port that was free a moment ago and is taken again when the daemon comes.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut agent = Agent::start(&(mesh_at(address) + QUIET));
    let status = agent.until("it tried twice", |status| {
        status.mesh.polls_failed.get("refused").is_some_and(|count| *count >= 2)
    });
    let error = status.mesh.error.as_ref().unwrap();
    assert!(error.text.contains(&address.to_string()), "{}", error.text);
    nothing_is_said_of_the_others(&status);
    // The daemon comes, at the address the operator now configures.
    let routing = Routing::healthy();
    let config = std::fs::read_to_string(agent.path("outrider.toml")).unwrap();
    let config = config.replace(&address.to_string(), &routing.address.to_string());
    std::fs::write(agent.path("outrider.toml"), config).unwrap();
    assert!(agent.reload().contains("mesh.connect"));
    recovers(&mut agent);
    agent.stop();
}

#[test]
fn refusing() {
    let refusal = b"HTTP/1.1 403 Forbidden\r\nServer: OLSRD JSONINFO\r\nConnection: close\r\n\r\n";
    no_view(Manner::Says(refusal.to_vec()), "not-allowed", &["accept"]);
}

#[test]
fn dripping_slowly() {
    no_view(Manner::Drips(captured()), "timeout", &["no complete answer in time"]);
}

#[test]
fn silent() {
    no_view(Manner::Silent, "timeout", &["(0 bytes came)"]);
}

#[test]
fn answering_in_html() {
    let page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n\
        <!DOCTYPE html><html><title>Router</title></html>";
    no_view(Manner::Says(page.to_vec()), "not-understood", &["another program listens there"]);
}

#[test]
fn answering_only_in_part() {
    let whole = captured();
    no_view(
        Manner::Says(whole[..whole.len() / 2].to_vec()),
        "not-understood",
        &["bytes it announced"],
    );
}

#[test]
fn an_answer_of_100_mb_takes_no_more_memory_than_the_limit() {
    let head =
        b"HTTP/1.1 200 OK\r\nServer: OLSRD JSONINFO\r\nConnection: close\r\n\r\n{\"links\": ["
            .to_vec();
    let row = String::from_utf8(captured()).unwrap();
    let row = &row[row.find("{\"localIP\"").unwrap()..];
    let row = format!("{},", &row[..=row.find('}').unwrap()]);
    let routing = Routing::start(Manner::Floods(head, row.repeat(64).into_bytes(), 100_000_000));
    let mut agent = Agent::start(&(routing.config() + QUIET));
    no_view_until_healed(&mut agent, "too-large", &["16777216 bytes"], || {
        routing.change(Manner::Says(captured()));
    });
    let peak = agent.memory_kib("VmHWM");
    assert!(peak < PEAK_KIB_MAX, "{peak} KiB at the peak");
    assert!(agent.memory_kib("VmRSS") < 32 * 1024, "what the answer took is given back");
    agent.stop();
}

/// Starts with a daemon whose answer is wrong in places: there is a view, `judge` sees what became
/// of it, no number that Prometheus could not take is published, and the agent gets better with the
/// daemon.
fn odd_view(manner: Manner, judge: impl Fn(&Agent, &Status)) {
    let routing = Routing::start(manner);
    let mut agent = Agent::start(&(routing.config() + QUIET));
    let status = agent.until("it polled twice", |status| {
        status.mesh.polls_ok + status.mesh.polls_failed.values().sum::<u64>() >= 2
    });
    for line in agent.get("/metrics").body.lines().filter(|line| line.starts_with("olsr_")) {
        let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(value.is_finite(), "{line}");
    }
    judge(&agent, &status);
    routing.change(Manner::Says(captured()));
    recovers(&mut agent);
    agent.stop();
}

#[test]
fn values_of_wrong_types_are_complained_about() {
    let wrong = |body: &str| {
        body.replace("\"metric\": 2", "\"metric\": \"two\"")
            .replace("\"destination\": \"10.77.0.5\"", "\"destination\": 5")
            .replace("\"linkQuality\": 1.000000", "\"linkQuality\": [1]")
    };
    odd_view(altered(wrong), |_, status| {
        assert!(!status.mesh.complaints.is_empty(), "{:#?}", status.mesh);
        let cost = |name: &str| status.vehicles.iter().find(|v| v.name == name).unwrap().cost;
        assert_eq!(cost("b"), Some(100), "what was right is used");
        assert_eq!(cost("e"), None, "its route could not be read, which is not the same as none");
    });
}

#[test]
fn infinite_costs_are_no_costs() {
    let infinite = |infinity: &'static str| {
        let spoilt = move |body: &str| {
            body.replace("\"etx\": 3.000000", &format!("\"etx\": {infinity}"))
                .replace("\"rtpMetricCost\": 3.000000", &format!("\"rtpMetricCost\": {infinity}"))
        };
        odd_view(altered(spoilt), |_, status| {
            let far = status.vehicles.iter().find(|vehicle| vehicle.name == "e").unwrap();
            assert!(far.cost.is_none_or(|cost| cost == -1), "{infinity}: {far:?}");
        });
    };
    std::thread::scope(|scope| {
        for infinity in ["inf", "1e999", "-nan", "INFINITE"] {
            scope.spawn(move || infinite(infinity));
        }
    });
}

#[test]
fn duplicated_nodes_count_once() {
    let twice = |body: &str| {
        let tables = ["neighbors", "links", "routes", "topology", "hna", "mid"];
        tables.iter().fold(body.to_owned(), |body, table| {
            let start = body.find(&format!("\"{table}\": [{{")).map(|at| at + table.len() + 5);
            let Some(start) = start else { return body };
            let rows = matching(&body[start..]);
            let rows = &body[start..start + rows];
            body.replacen(rows, &format!("{rows},{rows}"), 1)
        })
    };
    odd_view(altered(twice), |_, status| {
        let mut names: Vec<&str> = status.vehicles.iter().map(|v| v.name.as_str()).collect();
        names.dedup();
        assert_eq!(names, ["a", "b", "c", "d", "e"]);
        for (name, cost) in CAPTURED_COSTS {
            let vehicle = status.vehicles.iter().find(|vehicle| vehicle.name == name).unwrap();
            assert_eq!(vehicle.cost, Some(cost), "{name}");
        }
        let mut labels: Vec<&str> = status.graph.nodes.iter().map(|n| n.label.as_str()).collect();
        let all = labels.len();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), all, "{:?}", status.graph.nodes);
    });
}

/// Length of the rows up to the bracket that closes their table.
fn matching(rows: &str) -> usize {
    let mut depth = 1;
    rows.char_indices()
        .find(|(_, character)| {
            depth += match character {
                '[' => 1,
                ']' => -1,
                _ => 0,
            };
            depth == 0
        })
        .unwrap()
        .0
}

#[test]
fn ten_thousand_links_fit() {
    let many = |body: &str| {
        let start = body.find("{\"localIP\"").unwrap();
        let row = &body[start..=start + body[start..].find('}').unwrap()];
        let remote = row.split("\"remoteIP\": \"").nth(1).unwrap().split('"').next().unwrap();
        let rows: Vec<String> = (0..10_000)
            .map(|n| row.replace(remote, &format!("10.99.{}.{}", n / 250, n % 250 + 1)))
            .collect();
        body.replacen(row, &format!("{row},{}", rows.join(",")), 1)
    };
    odd_view(altered(many), |agent, status| {
        assert!(status.mesh.polls_ok >= 1, "{:#?}", status.mesh);
        let cost = |name: &str| status.vehicles.iter().find(|v| v.name == name).unwrap().cost;
        assert_eq!(cost("e"), Some(300));
        let page = agent.get("/v1/status").body.len();
        assert!(page < 2_000_000, "a status document of {page} bytes");
        let peak = agent.memory_kib("VmHWM");
        assert!(peak < PEAK_KIB_MAX, "{peak} KiB at the peak");
    });
}

#[test]
fn a_mesh_of_a_thousand_nodes_is_followed_and_left() {
    let answer = http(Mesh::new(1000, 4).jsoninfo().as_bytes());
    odd_view(Manner::Says(answer), |agent, status| {
        assert!(status.mesh.polls_ok >= 1, "{:#?}", status.mesh);
        assert!(status.vehicles.len() > 900, "{} vehicles", status.vehicles.len());
        let peak = agent.memory_kib("VmHWM");
        assert!(peak < PEAK_KIB_MAX, "{peak} KiB at the peak");
    });
}

#[test]
fn a_restart_of_the_daemon_is_told_and_its_first_numbers_are_not_believed() {
    // The recording of a daemon that was killed and started anew; its second life has another
    // process id.
    let series =
        |name: &str| Manner::Says(fixture(&format!("own-daemon-restarts/series/a/{name}.0.http")));
    let routing = Routing::start(series("t004"));
    let config = routing.config().replace("warmup_min = \"0s\"", "warmup_min = \"10s\"");
    let mut agent = Agent::start(&(config + QUIET));
    recovers(&mut agent);

    routing.change(Manner::Says(Vec::new()));
    agent.until("it missed the daemon", |status| status.mesh.error.is_some());
    routing.change(series("t010"));
    let status = agent.until("it noticed the restart", |status| status.mesh.daemon_restarts == 1);
    assert!(has_event(&status, "daemon-restarted", ""), "{:#?}", status.events);
    assert!(status.mesh.warming_ms.is_some_and(|left| left > 0));
    for (name, cost) in CAPTURED_COSTS {
        let vehicle = status.vehicles.iter().find(|vehicle| vehicle.name == name).unwrap();
        assert_eq!(vehicle.cost, Some(cost), "{name} is held, not called unreachable");
    }

    // It has been up for longer than the warm-up.
    routing.change(series("t071"));
    agent.until("it is warm", |status| status.mesh.warming_ms.is_none());
    recovers(&mut agent);
    assert!(routing.requests() > 4);
    agent.stop();
}
