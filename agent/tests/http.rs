//! The HTTP server against slow, greedy and hostile clients, over real sockets on loopback.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use outrider::shell::http::{self, Limits};

mod fixture;
#[path = "fixture/server.rs"]
mod server;

use fixture::Convoy;
use server::Server;

/// No single thing may take longer, however slow the machine.
const PATIENCE: Duration = Duration::from_secs(60);

const ROUTES: [&str; 11] = [
    "/",
    "/style.css",
    "/common.js",
    "/page.js",
    "/metrics",
    "/v1/status",
    "/v1/mesh",
    "/healthz",
    "/readyz",
    "/v1/stream",
    "/v1/reload",
];

fn serve(limits: Limits) -> Server {
    Server::start(Convoy::new(4), limits)
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Everything the server says until it closes; a reset counts as closing.
fn read_all(stream: &mut impl std::io::Read) -> String {
    let mut said = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => said.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("waited for the server to close: {error}"),
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// Sends `request` and returns what comes back until the server closes.
fn exchange(to: SocketAddr, request: &str) -> String {
    let mut stream = connect(to);
    // A server that has refused by then may have closed already.
    let _ = stream.write_all(request.as_bytes());
    read_all(&mut stream)
}

fn request(method: &str, path: &str, fields: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n{fields}\r\n")
}

fn get(to: SocketAddr, path: &str) -> String {
    exchange(to, &request("GET", path, ""))
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// Waits until `reached` holds.
fn wait_for(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn every_route_answers_in_its_own_type_and_is_guarded() {
    let server = serve(Limits::default());
    let types = [
        ("/", "text/html; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/common.js", "text/javascript; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/v1/status", "application/json"),
        ("/v1/mesh", "application/json"),
        ("/healthz", "application/json"),
        ("/readyz", "application/json"),
    ];
    for (path, content_type) in types {
        let answer = get(server.tcp, path);
        assert_eq!(status(&answer), "200", "{path}: {answer}");
        assert!(
            answer.contains(&format!("\r\ncontent-type: {content_type}\r\n")),
            "{path}: {answer}"
        );
        for field in
            ["x-content-type-options: nosniff", "content-security-policy: default-src 'none'"]
        {
            assert!(answer.contains(field), "{path} lacks {field}");
        }
        assert!(!answer.contains("\r\ndate:"), "no date without a clock to believe");
        assert!(!body(&answer).is_empty(), "{path}");
    }
    let open_metrics = exchange(
        server.tcp,
        &request("GET", "/metrics", "accept: application/openmetrics-text;version=1.0.0\r\n"),
    );
    assert!(open_metrics.ends_with("# EOF\n"), "{open_metrics}");
    let mesh = get(server.tcp, "/v1/mesh");
    assert!(mesh.contains("\r\noutrider-view-age-ms: "), "{mesh}");
    serde_json::from_str::<olsr_bridge::view::MeshView>(body(&mesh)).unwrap();
    let document: outrider::core::status::Status =
        serde_json::from_str(body(&get(server.tcp, "/v1/status"))).unwrap();
    assert_eq!(document.vehicles.len(), 4);
    let counters = server.counters();
    assert_eq!(counters.requests[&("/metrics", 200)], 2);
}

#[test]
fn health_says_why() {
    let server = serve(Limits::default());
    server.change(|convoy| {
        convoy.silence();
        convoy.run(60);
    });
    let answer = get(server.tcp, "/healthz");
    assert_eq!(status(&answer), "503");
    assert!(
        body(&answer).contains("mesh-view-old") && body(&answer).contains("jsoninfo"),
        "{answer}"
    );
    assert_eq!(status(&get(server.tcp, "/readyz")), "200", "ready is about the start");
}

#[test]
fn head_sends_the_header_alone() {
    let server = serve(Limits::default());
    for path in ROUTES.iter().filter(|path| !["/v1/stream", "/v1/reload"].contains(path)) {
        let answer = exchange(server.tcp, &request("HEAD", path, ""));
        assert_eq!(status(&answer), "200", "{path}: {answer}");
        assert!(answer.contains("\r\ncontent-length: "), "{path}: {answer}");
        assert_eq!(body(&answer), "", "{path}");
    }
}

#[test]
fn unknown_paths_lead_nowhere() {
    let server = serve(Limits::default());
    for path in [
        "/nothing",
        "/../../etc/passwd",
        "/style.css/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/v1/",
        "/v1/status/",
        "/page.js%00",
        "/index.html",
        "/metrics/../v1/reload",
    ] {
        let answer = get(server.tcp, path);
        assert_eq!(status(&answer), "404", "{path}: {answer}");
        assert!(body(&answer).contains("no such page"), "{path}: {answer}");
    }
    assert_eq!(status(&get(server.tcp, "/v1/status?watch=1")), "200", "queries are ignored");
    assert_eq!(server.counters().requests[&("other", 404)], 10);
}

#[test]
fn nothing_over_tcp_changes_anything() {
    let server = serve(Limits::default());
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"];
    for method in methods {
        for path in ROUTES {
            if path == "/v1/stream" && ["GET", "HEAD"].contains(&method) {
                continue;
            }
            let answer = exchange(server.tcp, &request(method, path, ""));
            let expected = match (method, path) {
                (_, "/v1/reload") => "403",
                ("GET" | "HEAD", _) => "200",
                _ => "405",
            };
            assert_eq!(status(&answer), expected, "{method} {path}: {answer}");
            if expected == "405" {
                assert!(answer.contains("\r\nallow: GET, HEAD\r\n"), "{method} {path}: {answer}");
            }
        }
    }
    assert_eq!(server.change(|convoy| convoy.state.reloads.ok), 0, "no command got through");
    let counters = server.counters();
    assert_eq!(counters.refused["change-over-tcp"], methods.len() as u64);
}

#[test]
fn the_control_socket_takes_commands_and_shows_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run/outrider/control.sock");
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = Server::start_at(loopback, Some(&path), Convoy::new(4), Limits::default());
    let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o660);
    let ask = |request: &str| {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        read_all(&mut stream)
    };
    // A Unix socket has no host that could mislead anybody.
    let bare = "GET /v1/status HTTP/1.1\r\nhost: outrider.example.com\r\nconnection: close\r\n\r\n";
    assert_eq!(status(&ask(bare)), "200");
    let got = ask(&request("GET", "/v1/reload", ""));
    assert_eq!(status(&got), "405");
    assert!(got.contains("\r\nallow: POST\r\n"), "{got}");
    assert_eq!(server.change(|convoy| convoy.state.reloads.ok), 0);
    assert_eq!(status(&ask(&request("POST", "/v1/reload", ""))), "200");
    assert_eq!(server.change(|convoy| convoy.state.reloads.ok), 1);
    drop(server);
    assert!(!path.exists(), "the file goes with the socket");
}

#[test]
fn the_page_is_small_and_names_nothing_outside() {
    let server = serve(Limits::default());
    let (mut bytes, mut sent) = (0, 0);
    for path in ["/", "/style.css", "/common.js", "/page.js"] {
        let (length, content) = file(server.tcp, path);
        bytes += content.len();
        sent += length;
        for (at, _) in content.match_indices("//") {
            let outside = content[..at].ends_with(':');
            let name_space = content[at..].starts_with("//www.w3.org/2000/svg");
            assert!(!outside || name_space, "{path} names {}", &content[at - 6..at + 30]);
        }
        assert!(!content.contains("innerHTML") && !content.contains("eval("), "{path}");
    }
    assert!(bytes < 60_000, "{bytes} bytes");
    assert!(sent < 20_000, "{sent} bytes over the air");
}

/// One of the page's files as it is sent: how many bytes it takes, and what is in them.
fn file(to: SocketAddr, path: &str) -> (usize, String) {
    let mut stream = connect(to);
    stream.write_all(request("GET", path, "accept-encoding: gzip\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8_lossy(&answer[..end]);
    for field in ["content-encoding: gzip", "vary: accept-encoding", "cache-control: no-store"] {
        assert!(head.contains(&format!("\r\n{field}\r\n")), "{path} lacks {field}: {head}");
    }
    let member = &answer[end..];
    // RFC 1952: no optional fields in front, checksum and length behind.
    assert_eq!(member[..4], [0x1f, 0x8b, 8, 0], "{path}");
    let (deflated, length) = (&member[10..member.len() - 8], &member[member.len() - 4..]);
    let content = miniz_oxide::inflate::decompress_to_vec(deflated).unwrap();
    assert_eq!(length, u32::try_from(content.len()).unwrap().to_le_bytes(), "{path}");
    (member.len(), String::from_utf8(content).unwrap())
}

#[test]
fn who_takes_no_gzip_is_told_so_and_gets_everything_else() {
    let server = serve(Limits::default());
    for fields in ["accept-encoding: identity\r\n", "accept-encoding: gzip;q=0, *\r\n"] {
        for path in ["/", "/page.js"] {
            let refused = exchange(server.tcp, &request("GET", path, fields));
            assert_eq!(status(&refused), "406", "{refused}");
            assert!(refused.contains("\r\nvary: accept-encoding\r\n"), "{refused}");
            assert!(!refused.contains("\r\ncontent-encoding"), "{refused}");
            assert!(body(&refused).contains("`--compressed`"), "{refused}");
        }
        let plain = exchange(server.tcp, &request("GET", "/v1/status", fields));
        assert_eq!(status(&plain), "200", "{plain}");
    }
    // Who says nothing takes everything.
    assert!(get(server.tcp, "/").contains("\r\ncontent-encoding: gzip\r\n"));
}

fn in_runtime<T>(task: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(task)
}

#[test]
fn a_left_over_socket_is_replaced_and_a_live_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a killed agent leaves its file");
    in_runtime(async {
        let socket = http::bind_control(&path).await.expect("nobody answers there");
        let error = http::bind_control(&path).await.expect_err("we answer there").to_string();
        assert!(error.contains("another outrider answers") && error.contains("`path`"), "{error}");
        assert!(UnixStream::connect(&path).is_ok(), "the first one still works");

        // Somebody else took the place meanwhile: their file stays.
        std::fs::remove_file(&path).unwrap();
        let other = UnixListener::bind(&path).unwrap();
        drop(socket);
        assert!(path.exists());
        drop(other);

        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        let error = http::bind_control(&path).await.expect_err("a plain file lies there");
        assert!(error.to_string().contains("remove it"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");

        let nowhere = folder.path().join("control.sock/below/a/file.sock");
        let error = http::bind_control(&nowhere).await.expect_err("no directory there").to_string();
        assert!(error.contains(&nowhere.display().to_string()), "{error}");
        let long = folder.path().join("x".repeat(150));
        http::bind_control(&long).await.expect_err("longer than sun_path");
    });
}

#[test]
fn a_taken_port_is_named_with_its_remedy() {
    let server = serve(Limits::default());
    in_runtime(async {
        let error = http::bind_tcp(server.tcp).expect_err("the port is taken").to_string();
        assert!(error.contains(&server.tcp.to_string()), "{error}");
        assert!(error.contains("another program") && error.contains("`listen`"), "{error}");
        // The mesh interface may come up later (192.0.2.0/24 is nobody's, RFC 5737).
        http::bind_tcp("192.0.2.7:0".parse().unwrap()).expect("an address that is not there yet");
    });
}

#[test]
fn foreign_names_and_sites_are_turned_away() {
    let server = serve(Limits::default());
    let with_host =
        |host: &str| format!("GET /v1/status HTTP/1.1\r\n{host}connection: close\r\n\r\n");
    for (host, expected) in [
        ("host: 127.0.0.1:9695\r\n", "200"),
        ("host: veh-3.local\r\n", "200"),
        ("host: rebound.example.com\r\n", "421"),
        ("host: \u{ff}\r\n", "421"),
        ("", "400"),
    ] {
        let answer = exchange(server.tcp, &with_host(host));
        assert_eq!(status(&answer), expected, "{host}: {answer}");
    }
    let absolute = "GET http://rebound.example.com/v1/status HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n";
    assert_eq!(status(&exchange(server.tcp, absolute)), "421");
    let cross = "sec-fetch-site: cross-site\r\n";
    assert_eq!(status(&exchange(server.tcp, &request("GET", "/v1/status", cross))), "403");
    assert_eq!(status(&exchange(server.tcp, &request("GET", "/", cross))), "200", "links may");
    assert_eq!(status(&exchange(server.tcp, "GET /metrics HTTP/1.0\r\n\r\n")), "200");
}

#[test]
fn bodies_are_refused() {
    let server = serve(Limits::default());
    let sized = request("GET", "/v1/status", "content-length: 4\r\n") + "body";
    assert_eq!(status(&exchange(server.tcp, &sized)), "413");
    let endless = request("GET", "/v1/status", "transfer-encoding: chunked\r\n") + "4\r\nbody\r\n";
    assert_eq!(status(&exchange(server.tcp, &endless)), "413");
    assert_eq!(server.counters().refused["body"], 2);
}

#[test]
fn oversized_and_garbled_requests_end_at_once() {
    let server = serve(Limits::default());
    let long_field = request("GET", "/", &format!("x-long: {}\r\n", "a".repeat(20_000)));
    let many_fields = request("GET", "/", &"x: y\r\n".repeat(200));
    let long_path = request("GET", &format!("/{}", "a".repeat(20_000)), "");
    for (what, text) in [("field", &long_field), ("fields", &many_fields), ("path", &long_path)] {
        let answer = exchange(server.tcp, text);
        // The reset for what we did not read may overtake the answer.
        assert!(answer.is_empty() || ["431", "414"].contains(&status(&answer)), "{what}: {answer}");
    }
    for garbage in [
        "\0\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\r\n\r\n",
    ] {
        let answer = exchange(server.tcp, garbage);
        assert!(answer.is_empty() || status(&answer) == "400", "{garbage:?}: {answer}");
    }
    assert_eq!(status(&get(server.tcp, "/")), "200", "and others are served as before");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = serve(Limits::default());
    let mut all = String::new();
    for path in ["/healthz", "/nothing", "/style.css"] {
        all += &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    }
    all += &request("GET", "/readyz", "");
    let answers = exchange(server.tcp, &all);
    let codes: Vec<&str> =
        answers.match_indices("HTTP/1.1 ").map(|(at, _)| &answers[at + 9..at + 12]).collect();
    assert_eq!(codes, ["200", "404", "200", "200"], "{answers}");
}

#[test]
fn one_who_never_finishes_asking_is_cut_off_and_hinders_nobody() {
    let limits = Limits { header_within: Duration::from_secs(3), ..Limits::default() };
    let server = serve(limits);
    let mut slow = connect(server.tcp);
    slow.write_all(b"GET / HTTP/1.1\r\nhost: loc").unwrap();
    let mut idle = connect(server.tcp);
    assert_eq!(status(&get(server.tcp, "/")), "200", "others are served meanwhile");
    // A byte now and then does not buy more time.
    let deadline = Instant::now() + PATIENCE;
    while slow.write_all(b"a").is_ok() {
        assert!(Instant::now() < deadline, "the slow one is still connected");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(read_all(&mut idle), "", "one who asks nothing is closed in silence");
    wait_for("no connection left", || server.counters().connections == 0);
}

#[test]
fn one_who_never_reads_is_cut_off() {
    let limits = Limits { write_stall_max: Duration::from_millis(400), ..Limits::default() };
    let server = serve(limits);
    let mut greedy = connect(server.tcp);
    greedy.set_nonblocking(true).unwrap();
    let ask = b"GET /page.js HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(50);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match greedy.write(&ask) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(_) => break,
        }
        assert!(Instant::now() < deadline, "the greedy one is still connected");
    }
    wait_for("no connection left", || server.counters().connections == 0);
    assert_eq!(status(&get(server.tcp, "/")), "200");
}

#[test]
fn a_connection_ends_with_its_life_however_busy() {
    let limits = Limits { life_max: Duration::from_millis(500), ..Limits::default() };
    let server = serve(limits);
    let mut busy = connect(server.tcp);
    let deadline = Instant::now() + PATIENCE;
    let mut piece = [0; 4096];
    loop {
        assert!(Instant::now() < deadline, "still connected");
        if busy.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").is_err() {
            break;
        }
        match busy.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    wait_for("no connection left", || server.counters().connections == 0);
}

/// A connection to `to` from another address of loopback than everybody else's.
fn connect_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let stream = in_runtime(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((from, 0))).unwrap();
        socket.connect(to).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn five_hundred_connections_cost_one_address_its_own_places() {
    // Nobody in the crowd may run out of time while the rest still connects.
    let limits = Limits { header_within: PATIENCE, ..Limits::default() };
    let server = serve(limits.clone());
    let crowd: Vec<TcpStream> = (0..500).map(|_| connect(server.tcp)).collect();
    let refused = 500 - limits.connections_per_address_max as u64;
    wait_for("the crowd is turned away", || {
        server.counters().refused.get("connections-of-address") == Some(&refused)
    });
    assert_eq!(server.counters().connections, limits.connections_per_address_max as u64);
    let mut other = connect_from([127, 0, 0, 2], server.tcp);
    other.write_all(request("GET", "/healthz", "").as_bytes()).unwrap();
    assert_eq!(status(&read_all(&mut other)), "200", "another address still gets in");

    let from_all_sides: Vec<TcpStream> =
        (0..100).map(|i| connect_from([127, 0, 1, i], server.tcp)).collect();
    wait_for("all places taken", || server.counters().refused.contains_key("connections"));
    assert!(server.counters().connections <= limits.connections_max as u64);
    let mut late = connect_from([127, 0, 2, 1], server.tcp);
    let answer = read_all(&mut late);
    assert!(answer.is_empty() || status(&answer) == "503", "{answer}");

    drop((crowd, from_all_sides));
    wait_for("no connection left", || server.counters().connections == 0);
    assert_eq!(status(&get(server.tcp, "/")), "200");
}

#[test]
fn a_main_loop_that_is_stuck_gives_an_error_in_time() {
    let limits = Limits { answer_within: Duration::from_millis(200), ..Limits::default() };
    in_runtime(async {
        let listener = http::bind_tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let tcp = listener.local_addr().unwrap();
        // Nobody ever takes a request out of the channel.
        let server = http::serve(Some(listener), None, limits);
        let answers = tokio::task::spawn_blocking(move || {
            let first = get(tcp, "/metrics");
            let page = get(tcp, "/");
            (first, page)
        });
        let (first, page) = answers.await.unwrap();
        assert_eq!(status(&first), "503");
        assert!(body(&first).contains("did not answer in time"), "{first}");
        assert_eq!(status(&page), "200", "the page itself needs nobody");
        assert_eq!(server.state().refused["no-answer"], 1);
    });
}

/// Opens a stream and reads its first event.
fn open_stream(to: SocketAddr) -> (TcpStream, String) {
    let mut stream = connect(to);
    stream.write_all(b"GET /v1/stream HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut said = String::new();
    read_until(&mut stream, &mut said, "\n\n");
    (stream, said)
}

fn read_until(stream: &mut TcpStream, said: &mut String, mark: &str) {
    let mut piece = [0; 4096];
    while !said.contains(mark) {
        let length = stream.read(&mut piece).expect("the stream goes on");
        assert!(length > 0, "the stream ended: {said}");
        said.push_str(&String::from_utf8_lossy(&piece[..length]));
    }
}

#[test]
fn a_stream_begins_at_once_goes_on_and_survives_the_life_of_connections() {
    let limits = Limits {
        life_max: Duration::from_secs(2),
        heartbeat: Duration::from_millis(100),
        ..Limits::default()
    };
    let life_max = limits.life_max;
    let server = serve(limits);
    let (mut stream, first) = open_stream(server.tcp);
    let begun = Instant::now();
    assert_eq!(status(&first), "200");
    assert!(first.contains("\r\ncontent-type: text/event-stream\r\n"), "{first}");
    assert!(first.contains("event: status\ndata: {\"schema\":1,"), "{first}");
    while begun.elapsed() < life_max * 2 {
        let mut said = String::new();
        read_until(&mut stream, &mut said, "event: status\ndata: {");
    }
    let mut said = String::new();
    read_until(&mut stream, &mut said, ": still here\n\n");
    assert_eq!(server.counters().streams, 1);
    stream.shutdown(Shutdown::Both).unwrap();
    wait_for("the stream is gone", || {
        let counters = server.counters();
        counters.streams == 0 && counters.connections == 0
    });
}

#[test]
fn streams_are_bounded_and_their_places_come_back() {
    let server = serve(Limits { streams_max: 2, ..Limits::default() });
    let first = open_stream(server.tcp);
    let _second = open_stream(server.tcp);
    let refused = get(server.tcp, "/v1/stream");
    assert_eq!(status(&refused), "503");
    assert!(refused.contains("\r\nretry-after: 10\r\n"), "{refused}");
    drop(first);
    wait_for("a place is free", || server.counters().streams < 2);
    let (_third, said) = open_stream(server.tcp);
    assert_eq!(status(&said), "200");
}
