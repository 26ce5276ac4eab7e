//! The status page in a headless Chromium, fed by the real HTTP server.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use outrider::core::state::Severity;
use outrider::shell::http::Limits;

#[path = "fixture/browser.rs"]
mod browser;
mod fixture;
#[path = "fixture/server.rs"]
mod server;

use browser::Browser;
use fixture::Convoy;
use server::Server;

const DESKTOP: (u32, u32) = (1280, 900);
const PHONE: (u32, u32) = (360, 740);

/// W3C WebDriver section 17.4.2.
const ARROW_RIGHT: &str = "\u{e014}";
const ENTER: &str = "\u{e007}";

fn open((width, height): (u32, u32), server: &Server) -> Browser {
    let browser = Browser::open(width, height);
    browser.load(&format!("http://{}/", server.tcp));
    browser.wait_for("document.body.dataset.state === 'live'");
    browser
}

/// Nodes that are vehicles, with those that the mesh only routes through left out.
const VEHICLE_NODES: &str = "document.querySelectorAll('#graph .node:not(.relay)').length";

/// All circles lie inside the drawing, and no two on each other.
const WELL_PLACED: &str = "(() => {
    const box = document.querySelector('#graph').getBoundingClientRect();
    const dots = [...document.querySelectorAll('#graph .dot')].map(dot => dot.getBoundingClientRect());
    const inside = dots.every(dot => dot.left >= box.left && dot.right <= box.right
        && dot.top >= box.top && dot.bottom <= box.bottom);
    const middle = dot => [(dot.left + dot.right) / 2, (dot.top + dot.bottom) / 2];
    const apart = (a, b) => Math.hypot(middle(a)[0] - middle(b)[0], middle(a)[1] - middle(b)[1]);
    const clear = dots.every((a, i) => dots.every((b, j) => i >= j || apart(a, b) > a.width / 2));
    return inside && clear;
})()";

/// This vehicle is in the middle of the drawing.
const CENTRED: &str = "(() => {
    const box = document.querySelector('#graph').getBoundingClientRect();
    const own = document.querySelector('#graph .node.own .dot').getBoundingClientRect();
    return Math.abs(own.left + own.right - box.left - box.right) < 4
        && Math.abs(own.top + own.bottom - box.top - box.bottom) < 4;
})()";

/// Nothing has to be scrolled sideways, and no cell of the table sticks out of its card.
const NO_SIDEWAYS: &str = "document.documentElement.scrollWidth <= window.innerWidth
    && [...document.querySelectorAll('#vehicles td')].every(cell => cell.scrollWidth <= cell.clientWidth + 1)";

#[test]
fn sixty_vehicles_are_drawn_and_listed_on_desktop_and_phone() {
    let server = Server::start(Convoy::new(60), Limits::default());
    for size in [DESKTOP, PHONE] {
        let browser = open(size, &server);
        browser.wait_for(&format!("{VEHICLE_NODES} === 60"));
        browser.wait_for("document.querySelectorAll('#vehicles tbody tr').length === 60");
        browser.wait_for(WELL_PLACED);
        browser.wait_for(CENTRED);
        browser.wait_for(NO_SIDEWAYS);
        assert_eq!(browser.text("document.querySelector('h1').textContent"), "veh-16");
        assert_eq!(
            browser.text("innerWidth"),
            size.0.to_string(),
            "the viewport is what it claims"
        );
        // Colour never stands alone: each reachable vehicle carries its cost as a number.
        browser.wait_for(
            "[...document.querySelectorAll('#graph .node.c1 .value, #graph .node.c4 .value')]
                .every(value => /^[0-9]+k?$/.test(value.textContent))",
        );
        assert_eq!(browser.complaints(), Vec::<String>::new());
    }
}

#[test]
fn news_arrive_live_and_the_table_sorts_and_the_graph_walks_by_keyboard() {
    let server = Server::start(Convoy::new(12), Limits::default());
    let browser = open(DESKTOP, &server);
    browser.run("window.loaded_once = true");
    let row = "[...document.querySelectorAll('#vehicles tr')].find(row => row.innerText.includes('veh-12')).innerText";
    assert!(!browser.text(row).contains("unreachable"));
    server.change(|convoy| {
        convoy.lose(11);
        convoy.run(40);
    });
    browser.wait_for(&format!("({row}).includes('unreachable')"));
    browser.wait_for("document.querySelectorAll('#graph .node.off').length === 1");
    browser.wait_for("document.querySelector('#events li').innerText.includes('veh-12')");
    browser.wait_for("window.loaded_once === true");

    let names = "[...document.querySelectorAll('#vehicles tbody button')].map(b => b.textContent)";
    assert!(browser.text(names).starts_with("veh-01,veh-02"));
    browser.run("document.querySelector('th[data-key=cost] button').click()");
    assert!(browser.text(names).starts_with("veh-04,"), "own first");
    assert!(browser.text(names).ends_with(",veh-12"), "unreachable last");
    assert_eq!(browser.text("document.querySelector('th[aria-sort]').dataset.key"), "cost");
    browser.run("document.querySelector('th[data-key=cost] button').click()");
    assert!(browser.text(names).starts_with("veh-12,"), "and the other way round");

    browser.run("document.querySelector('#graph .node[tabindex=\"0\"]').focus()");
    browser.press(ARROW_RIGHT);
    assert_eq!(browser.text("document.activeElement.dataset.key"), "veh-01");
    browser.press(ENTER);
    let readout = browser.text("document.querySelector('#readout').innerText");
    assert!(readout.starts_with("veh-01 – cost ") && readout.contains("10.20.0.1"), "{readout}");
    browser.wait_for("document.querySelectorAll('.edge.path').length >= 1");
    assert_eq!(browser.text("document.querySelector('tr.chosen button').textContent"), "veh-01");
    let label = browser.text("document.activeElement.getAttribute('aria-label')");
    assert!(label.starts_with("veh-01, reachable, cost "), "{label}");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn old_news_are_grey_and_say_their_age() {
    let server = Server::start(Convoy::new(12), Limits::default());
    let browser = open(DESKTOP, &server);
    let cost = "document.querySelector('#graph .node.c1 .value').textContent";
    browser.wait_for(&format!("Number({cost}) >= 100"));
    let grey = "getComputedStyle(document.querySelector('#graph')).filter";
    assert_eq!(browser.text(grey), "none");
    server.change(|convoy| {
        convoy.silence();
        convoy.run(25);
        convoy.lose_broker();
    });
    browser.wait_for("document.body.dataset.mesh === 'stale'");
    let banner = browser.text("document.querySelector('#banners').innerText");
    assert!(banner.contains("old") && banner.contains("is olsrd running"), "{banner}");
    assert!(browser.text(grey).starts_with("grayscale"));
    browser.wait_for(&format!("Number({cost}) >= 100"));
    let mqtt = browser.text("document.querySelector('.mqtt').innerText");
    assert!(mqtt.contains("not connected") && mqtt.contains("no route to host"), "{mqtt}");
    assert!(mqtt.contains("42 queue-full"), "losses are shown: {mqtt}");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn when_everything_is_gone_the_page_says_so_and_comes_back() {
    let mut gone = Convoy::new(12);
    gone.silence();
    gone.run(600);
    gone.lose_broker();
    gone.hang_thermal();
    gone.lose_hardware();
    let server = Server::start(gone, Limits::default());
    let address: SocketAddr = server.tcp;
    let browser = open(PHONE, &server);
    browser.wait_for("document.querySelectorAll('#graph .node.dim').length >= 11");
    browser.wait_for("document.querySelectorAll('#graph .node.c1, #graph .node.c4').length === 0");
    let page = browser.text("document.body.innerText");
    for words in
        ["0 reachable, 11 unknown", "Nothing has been measured", "past their deadline: thermal"]
    {
        assert!(page.contains(words), "{words}: {page}");
    }
    browser.wait_for(NO_SIDEWAYS);

    drop(server);
    browser.wait_for("document.body.dataset.state === 'lost'");
    let banner = browser.text("document.querySelector('#banners').innerText");
    assert!(banner.contains("No contact for"), "{banner}");
    browser.wait_for("document.querySelector('#live').textContent === 'no contact'");

    let _alone = Server::start_at(address, None, Convoy::new(1), Limits::default());
    browser.wait_for("document.body.dataset.state === 'live'");
    browser.wait_for("document.querySelectorAll('#vehicles tbody tr').length === 1");
}

#[test]
fn a_page_without_a_free_stream_reads_the_status_instead() {
    let server = Server::start(Convoy::new(4), Limits { streams_max: 0, ..Limits::default() });
    let browser = open(DESKTOP, &server);
    browser.wait_for(&format!("{VEHICLE_NODES} === 4"));
    let before = server.change(|convoy| convoy.state.mqtt.acknowledged);
    browser.wait_for(&format!(
        "parseInt([...document.querySelectorAll('#mqtt dd')][2].textContent) > {}",
        before + 2
    ));
}

#[test]
fn hostile_names_are_only_text() {
    let image = "<img src=x onerror=\"window.hacked=1\">";
    let script = "\"><script>window.hacked=2</script>";
    let svg = "</text></svg><svg onload=window.hacked=3>";
    let long = "ü\u{202e}\u{1f68f}".repeat(60);
    let mut names: Vec<String> =
        [image, script, svg, &long, "'; window.hacked=4; '", "${window.hacked=5}", "__proto__"]
            .map(str::to_owned)
            .into();
    // The vehicle itself is the second of eight.
    names.push("constructor".to_owned());
    let mut convoy = Convoy::named(names);
    convoy.lose(0);
    convoy.run(40);
    convoy.lose_broker();
    let state = &mut convoy.state;
    state.mqtt.error = Some(image.to_owned());
    state.mqtt.dropped.insert(image.to_owned(), 1);
    state.identity.kind = svg.to_owned();
    let now = state.now;
    state.events.push(now, Severity::Warning, "test", image, script.to_owned());
    let collector = state.collectors.get_mut("thermal").unwrap();
    collector.hanging = true;
    collector.error = Some(image.to_owned());

    let server = Server::start(convoy, Limits::default());
    let browser = open(PHONE, &server);
    browser.wait_for(&format!("{VEHICLE_NODES} === 8"));
    browser.wait_for("document.querySelectorAll('#vehicles tbody tr').length === 8");
    browser.run("document.querySelectorAll('#vehicles tbody tr').forEach(row => row.click())");
    assert_eq!(browser.text("window.hacked"), "undefined");
    assert_eq!(
        browser.text("document.querySelectorAll('img, script:not([src]), svg svg').length"),
        "0"
    );
    assert_eq!(browser.text("document.querySelectorAll('script').length"), "2");
    let page = browser.text("document.body.innerText");
    assert!(page.contains(image) && page.contains(script), "shown as it is: {page}");
    assert_eq!(browser.text("document.querySelector('h1').textContent"), svg);
    browser.wait_for(NO_SIDEWAYS);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// A routing daemon that answers every request with one captured answer of olsrd; ends with the test process.
fn captured_daemon() -> SocketAddr {
    const ANSWER: &[u8] =
        include_bytes!("../../olsr-bridge/fixtures/olsrd/diamond5/a/jsoninfo-all.http");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = stream;
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(ANSWER);
        }
    });
    address
}

/// The real program. Killed when dropped.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_real_program_shows_its_mesh_and_its_machine() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("outrider.toml");
    let text = format!(
        "[vehicle]\nname = \"veh-a\"\n[mesh]\ndaemon = \"jsoninfo\"\nconnect = \"{}\"\n\
         [http]\nlisten = \"127.0.0.1:0\"\n[control]\npath = \"{}\"\n",
        captured_daemon(),
        folder.path().join("control.sock").display()
    );
    std::fs::write(&config, text).unwrap();
    let mut program = Program(
        Command::new(env!("CARGO_BIN_EXE_outrider"))
            .arg("run")
            .env("OUTRIDER_CONFIG", &config)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut log = BufReader::new(program.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    let page = log
        .find_map(|line| Some(line[line.find("http://")?..].split('/').nth(2)?.to_owned()))
        .expect("the program says where its page is");
    // Whatever it says from now on must not fill the pipe.
    std::thread::spawn(move || log.for_each(drop));

    let browser = Browser::open(DESKTOP.0, DESKTOP.1);
    browser.load(&format!("http://{page}/"));
    browser.wait_for("document.querySelector('h1').textContent === 'veh-a'");
    browser.wait_for("document.querySelectorAll('#graph .node').length === 5");
    browser.wait_for("document.querySelectorAll('#graph .edge').length >= 5");
    browser.wait_for("document.querySelector('#gauges').innerText.includes('Memory')");
    browser
        .wait_for("document.querySelector('.mqtt').innerText.includes('No broker is configured')");
    browser.wait_for("document.querySelector('#live').textContent === 'live'");
    drop(program);
    browser.wait_for("document.body.dataset.state === 'lost'");
    browser.wait_for("document.querySelectorAll('#graph .node').length === 5");
}
