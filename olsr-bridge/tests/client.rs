//! The client against stand-ins on loopback: that it keeps the daemons' rules, and that no server
//! can hurt it.

#![allow(clippy::unwrap_used, reason = "a helper that fails shall fail its test")]

mod common;

use std::io::Write;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::Daemon;
use olsr_bridge::client::{Choice, Client, Options};
use olsr_bridge::failure::{Failure, FailureClass};
use olsr_bridge::view::{DaemonKind, MeshView, NetworkCost, Part, Protocol};

/// Generous for a machine that runs many tests at once; no test waits for it to pass unless it says
/// so.
const TIMEOUT: Duration = Duration::from_secs(10);

fn options(choice: Choice, address: SocketAddr) -> Options {
    Options { choice, connect: Some(address), timeout: TIMEOUT, ..Options::default() }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn sample(client: &mut Client) -> Result<MeshView, Failure> {
    runtime().block_on(client.sample())
}

fn fails(choice: Choice, daemon: &Daemon) -> FailureClass {
    let mut client = Client::new(options(choice, daemon.address));
    let failure = sample(&mut client).unwrap_err();
    assert!(failure.text.contains(&daemon.address.to_string()), "{failure}");
    failure.class
}

#[test]
fn each_request_is_one_short_segment_with_nothing_after_it() {
    for (choice, text) in [
        (Choice::Jsoninfo, None),
        (
            Choice::Txtinfo,
            Some("Table: Links\nLocal IP\tRemote IP\n\nTable: Routes\nDestination\n\n".to_owned()),
        ),
        (Choice::Olsrd2Http, Some(common::olsrd2_text())),
        (Choice::Olsrd2Telnet, Some(common::olsrd2_text())),
    ] {
        let daemon = Daemon::start(move |request, _, stream| {
            let answer = match &text {
                None => common::jsoninfo(request, 7, 1000),
                Some(text) if choice == Choice::Olsrd2Http => common::olsrd2_http(text.as_bytes()),
                Some(text) => text.clone().into_bytes(),
            };
            let _ = stream.write_all(&answer);
        });
        let mut client = Client::new(options(choice, daemon.address));
        for _ in 0..3 {
            sample(&mut client).unwrap();
        }
        // The first sample also reads version and configuration; each sample after that is one
        // request.
        let visits = daemon.visits_after(4);
        assert_eq!(visits.len(), 4, "{choice:?}");
        for visit in &visits {
            let request = String::from_utf8(visit.request.clone()).unwrap();
            assert!(request.len() < 1024, "{request}");
            assert!(visit.more.is_empty() && !visit.overlapped, "{visit:?}");
            if choice == Choice::Olsrd2Telnet {
                assert!(request.starts_with('/') && request.ends_with("/quit\n"), "{request}");
            } else {
                assert!(
                    request.starts_with("GET /") && request.ends_with(" HTTP/1.0\r\n\r\n"),
                    "{request}"
                );
            }
            for word in ["/all", "/sgw", "layer2info", "olsrd.conf"] {
                assert!(!request.contains(word), "{request}");
            }
        }
    }
}

#[test]
fn a_view_carries_what_every_part_of_the_daemon_said() {
    let daemon = Daemon::start(|request, _, stream| {
        let _ = stream.write_all(&common::jsoninfo(request, 7, 1000));
    });
    let mut client = Client::new(options(Choice::Auto, daemon.address));
    let view = sample(&mut client).unwrap();
    assert_eq!((view.daemon.kind, view.daemon.protocol), (DaemonKind::Olsrd, Protocol::Jsoninfo));
    assert_eq!((view.daemon.pid, view.daemon.uptime_ms), (Some(7), Some(1000)));
    assert_eq!(view.daemon.metric_name.as_deref(), Some("etx_ff"));
    assert_eq!(view.routes[0].cost, NetworkCost::Reachable(125));
    assert_eq!(view.age_ms(Part::Links), Some(0));
    assert!(view.age_ms(Part::Daemon).is_some());
}

#[test]
fn a_restart_is_noticed_and_the_configuration_read_again() {
    let daemon = Daemon::start(|request, number, stream| {
        let pid = if number < 3 { 7 } else { 8 };
        let _ = stream.write_all(&common::jsoninfo(request, pid, 1000 + number as u64));
    });
    let mut client = Client::new(options(Choice::Jsoninfo, daemon.address));
    for expected in [(0, 7), (0, 7), (1, 8), (1, 8)] {
        let view = sample(&mut client).unwrap();
        assert_eq!((client.restarts(), view.daemon.pid), (expected.0, Some(expected.1)));
    }
    let configs =
        daemon.visits_after(6).iter().filter(|v| v.request.starts_with(b"GET /version")).count();
    assert_eq!(configs, 2);
}

#[test]
fn the_interface_behind_an_unusual_port_is_found_out() {
    let text = common::olsrd2_text();
    let cases: [(Protocol, Vec<u8>); 3] = [
        (Protocol::Olsrd2Telnet, text.clone().into_bytes()),
        (Protocol::Olsrd2Http, common::olsrd2_http(text.as_bytes())),
        (Protocol::Txtinfo, b"HTTP/1.0 200 OK\nContent-type: text/plain\n\nTable: Links\nLocal IP\n\nTable: Routes\nDestination\n\n".to_vec()),
    ];
    for (protocol, answer) in cases {
        let daemon = Daemon::start(move |request, _, stream| {
            let foreign = match protocol {
                Protocol::Olsrd2Telnet if request.starts_with(b"GET") => Some(&b"Error, unknown command 'GET'\n> "[..]),
                Protocol::Olsrd2Http if !request.starts_with(b"GET /telnet/") => {
                    Some(&b"HTTP/1.0 404 Not Found\r\n\r\n<html><title>OLSRd2 0.15.1 http server</title>"[..])
                }
                _ => None,
            };
            let _ = stream.write_all(foreign.unwrap_or(&answer));
            if foreign.is_some() && protocol == Protocol::Olsrd2Telnet {
                // The session stays open until the client says goodbye.
                let _ = stream.set_read_timeout(Some(TIMEOUT));
                let mut goodbye = [0; 5];
                let _ = std::io::Read::read_exact(stream, &mut goodbye);
                assert_eq!(&goodbye, b"quit\n");
            }
        });
        let mut client = Client::new(options(Choice::Auto, daemon.address));
        let view = sample(&mut client).unwrap();
        assert_eq!(view.daemon.protocol, protocol);
    }
}

#[test]
fn olsrd2_without_the_graph_is_read_by_its_edge_table() {
    let daemon = Daemon::start(|request, _, stream| {
        let request = String::from_utf8_lossy(request).into_owned();
        if request.contains("netjsoninfo") || request.contains("systeminfo") {
            let _ = stream.write_all(
                b"HTTP/1.0 404 Not Found\r\nContent-length: 44\r\n\r\n<html><title>OLSRd2 http server</title></html>",
            );
            return;
        }
        let text = common::olsrd2_text() + "{\"edge\": []}";
        let _ = stream.write_all(&common::olsrd2_http(text.as_bytes()));
    });
    let mut client = Client::new(options(Choice::Olsrd2Http, daemon.address));
    for _ in 0..2 {
        let view = sample(&mut client).unwrap();
        assert_eq!(view.age_ms(Part::Topology), Some(0));
    }
    let visits = daemon.visits_after(4);
    let full =
        visits.iter().filter(|visit| visit.request.windows(11).any(|word| word == b"netjsoninfo"));
    assert_eq!(full.count(), 1, "what a build lacks is asked for once");
}

#[test]
fn a_large_mesh_is_read_whole_only_every_five_seconds() {
    let daemon = Daemon::start(|request, _, stream| {
        let near = request.starts_with(b"GET /neighbors/links ");
        let mut body = common::olsrd_json(7, 1000);
        if near {
            let start = body.find("\"routes\"").unwrap();
            body.truncate(start);
            body.truncate(body.trim_end_matches(',').len());
            body.push_str("}\n");
        } else {
            let route = |n: u32| {
                format!(
                    "{{\"destination\": \"10.9.{}.{}\",\"genmask\": 32,\"gateway\": \"10.1.2.2\",\"metric\": 2,\
                     \"etx\": 2.000000,\"networkInterface\": \"mab\"}},",
                    n / 250,
                    n % 250 + 1
                )
            };
            let rows: String = (0..400).map(route).collect();
            body = body.replace("\"routes\": [", &format!("\"routes\": [{rows}"));
        }
        if request.starts_with(b"GET /version") {
            body = common::olsrd_startup(7, 1000);
        }
        let _ = stream.write_all(&common::http(body.as_bytes()));
    });
    let mut client = Client::new(options(Choice::Jsoninfo, daemon.address));
    let whole = sample(&mut client).unwrap();
    // A machine that stalls for the whole period sees another whole reading; it need not stall each
    // time.
    let near = (0..20).find_map(|_| {
        let before = daemon.visits().len();
        let view = sample(&mut client).unwrap();
        let visits = daemon.visits_after(before + 1);
        visits[before].request.starts_with(b"GET /neighbors/links HTTP").then_some(view)
    });
    let near = near.expect("a large mesh is read near by between two whole readings");
    assert_eq!((whole.routes.len(), near.routes.len()), (401, 401));
    assert_eq!(near.age_ms(Part::Links), Some(0));
    assert!(near.age_ms(Part::Routes).is_some_and(|age| age < 60_000));
}

#[test]
fn a_busy_daemon_is_asked_once_more() {
    let daemon = Daemon::start(|request, number, stream| {
        let answer = match number {
            0 => b"HTTP/1.1 503 Service Unavailable\r\n\r\n".to_vec(),
            _ => common::jsoninfo(request, 7, 1000),
        };
        let _ = stream.write_all(&answer);
    });
    let mut client = Client::new(options(Choice::Jsoninfo, daemon.address));
    sample(&mut client).unwrap();

    let always =
        Daemon::serving(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0   \r\n\r\n".to_vec());
    assert_eq!(fails(Choice::Jsoninfo, &always), FailureClass::Busy);
    assert_eq!(always.visits_after(2).len(), 2);
}

#[test]
fn refusals_and_strangers_are_named() {
    let head =
        |status: &str| format!("HTTP/1.1 {status}\r\nContent-Length: 0   \r\n\r\n").into_bytes();
    let cases: [(Vec<u8>, FailureClass); 9] = [
        (head("403 Forbidden"), FailureClass::NotAllowed),
        (head("404 Not Found"), FailureClass::NotFound),
        (b"{\"pid\": 1,\"error\": \"403 Forbidden\"}\n".to_vec(), FailureClass::NotAllowed),
        (
            b"HTTP/1.1 200 OK\r\n\r\n<!doctype html><html></html>".to_vec(),
            FailureClass::NotUnderstood,
        ),
        (
            b"HTTP/1.1 404 Not Found\r\n\r\n404 page not found\n".to_vec(),
            FailureClass::NotUnderstood,
        ),
        (b"\0\xff\xfe garbage".to_vec(), FailureClass::NotUnderstood),
        (b"{}\n".to_vec(), FailureClass::NotUnderstood),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"links\": [".to_vec(),
            FailureClass::NotUnderstood,
        ),
        (Vec::new(), FailureClass::Io),
    ];
    for (answer, class) in cases {
        let shown = String::from_utf8_lossy(&answer).into_owned();
        let daemon = Daemon::serving(answer);
        assert_eq!(fails(Choice::Jsoninfo, &daemon), class, "{shown}");
    }
    let telnet = Daemon::serving(b"Telnet service unavailable, too many sessions\n".to_vec());
    assert_eq!(fails(Choice::Olsrd2Telnet, &telnet), FailureClass::Busy);
}

#[test]
fn an_answer_cut_anywhere_is_an_error_and_never_a_view_without_rows() {
    let whole = common::jsoninfo(b"", 7, 1000);
    for end in (0..whole.len()).step_by(41) {
        let daemon = Daemon::serving(whole[..end].to_vec());
        let class = fails(Choice::Jsoninfo, &daemon);
        assert!(
            matches!(class, FailureClass::NotUnderstood | FailureClass::Io),
            "{end}: {class:?}"
        );
    }
}

#[test]
fn a_wrong_content_length_is_an_error() {
    let whole = common::jsoninfo(b"", 7, 1000);
    let text = String::from_utf8(whole).unwrap();
    let body_at = text.find("{\"pid\"").unwrap();
    for length in ["5", "999999", "-1", "many"] {
        let daemon = Daemon::serving(
            format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{}",
                &text[body_at..body_at + 300]
            )
            .into_bytes(),
        );
        assert_eq!(fails(Choice::Jsoninfo, &daemon), FailureClass::NotUnderstood, "{length}");
    }
}

#[test]
fn nobody_listening_is_refused() {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let mut client = Client::new(options(Choice::Auto, address));
    let failure = sample(&mut client).unwrap_err();
    assert_eq!(failure.class, FailureClass::Refused, "{failure}");
}

#[test]
fn silence_and_slow_drip_end_at_the_deadline() {
    let timeout = Duration::from_millis(300);
    let silent = Daemon::start(|_, _, stream| {
        let mut end = [0; 1];
        let _ = std::io::Read::read(stream, &mut end);
    });
    let drip = Daemon::start(|_, _, stream| {
        let deadline = Instant::now() + TIMEOUT;
        while Instant::now() < deadline && stream.write_all(b"{").is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
    });
    for daemon in [silent, drip] {
        let mut client =
            Client::new(Options { timeout, ..options(Choice::Jsoninfo, daemon.address) });
        let failure = sample(&mut client).unwrap_err();
        assert_eq!(failure.class, FailureClass::Timeout, "{failure}");
    }
}

#[test]
fn a_sample_that_is_given_up_does_not_disturb_the_next() {
    let asked = Arc::new(AtomicBool::new(false));
    let first = Arc::clone(&asked);
    let daemon = Daemon::start(move |request, number, stream| {
        if number == 0 {
            first.store(true, Ordering::Relaxed);
            let _ = std::io::Read::read(stream, &mut [0; 1]);
            return;
        }
        let _ = stream.write_all(&common::jsoninfo(request, 7, 1000));
    });
    let mut client = Client::new(options(Choice::Jsoninfo, daemon.address));
    runtime().block_on(async {
        let is_asked = async {
            while !asked.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            sampled = client.sample() => panic!("{sampled:?}"),
            () = is_asked => {}
        }
        client.sample().await.unwrap();
    });
    assert!(daemon.visits_after(3).iter().all(|visit| !visit.overlapped));
}

#[test]
fn an_endless_answer_stops_at_the_limit() {
    let endless = Daemon::start(|_, _, stream| {
        let junk = [b'['; 65_536];
        while stream.write_all(&junk).is_ok() {}
    });
    let announced =
        Daemon::serving(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n{".to_vec());
    let headers = Daemon::start(|_, _, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX: ");
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    for (daemon, class) in [
        (endless, FailureClass::TooLarge),
        (announced, FailureClass::TooLarge),
        (headers, FailureClass::NotUnderstood),
    ] {
        let mut client = Client::new(options(Choice::Jsoninfo, daemon.address));
        let failure = sample(&mut client).unwrap_err();
        assert_eq!(failure.class, class, "{failure}");
    }
}

#[test]
fn a_reset_after_the_whole_answer_is_success() {
    // A server that answers without reading the request resets the connection when it closes: the
    // unread input does that.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let count = stream.peek(&mut request).unwrap();
            let _ = stream.write_all(&common::jsoninfo(&request[..count], 7, 1000));
        }
    });
    let mut client = Client::new(options(Choice::Jsoninfo, address));
    sample(&mut client).unwrap();
    server.join().unwrap();
}

#[test]
fn ipv6_loopback_is_spoken() {
    let daemon = Daemon::start_on(IpAddr::V6(Ipv6Addr::LOCALHOST), |request, _, stream| {
        let _ = stream.write_all(&common::jsoninfo(request, 7, 1000));
    });
    let mut client = Client::new(options(Choice::Auto, daemon.address));
    assert_eq!(sample(&mut client).unwrap().links.len(), 1);
}

#[test]
fn names_come_from_the_hosts_file() {
    let daemon = Daemon::start(|request, _, stream| {
        let _ = stream.write_all(&common::jsoninfo(request, 7, 1000));
    });
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hosts.olsr");
    std::fs::write(&path, "10.1.2.2\tugv-bravo.mesh\t# 10.1.2.2\n").unwrap();
    let mut client = Client::new(Options {
        names_file: Some(path),
        ..options(Choice::Jsoninfo, daemon.address)
    });
    assert_eq!(sample(&mut client).unwrap().names[0].name, "ugv-bravo.mesh");

    let missing = Some(directory.path().join("nosuch"));
    let mut client =
        Client::new(Options { names_file: missing, ..options(Choice::Jsoninfo, daemon.address) });
    let view = sample(&mut client).unwrap();
    assert!(view.complaints.iter().any(|complaint| complaint.part == Part::Names));
}
