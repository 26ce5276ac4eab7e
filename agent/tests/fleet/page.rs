//! The fleet page in a headless Chromium, fed by the real program.

use bytes::Bytes;

use super::broker::Broker;
use super::browser::Browser;
use super::convoy::{Publication, Voice};
use super::program::Post;
use super::publish;

const DESKTOP: (u32, u32) = (1280, 900);
const PHONE: (u32, u32) = (360, 740);

/// Nothing has to be scrolled sideways, and no cell of the table sticks out of its card.
const NO_SIDEWAYS: &str = "document.documentElement.scrollWidth <= window.innerWidth
    && [...document.querySelectorAll('#vehicles td')].every(cell => cell.scrollWidth <= cell.clientWidth + 1)";

/// A column of vehicles, each a hop of its own from the next; the last is out of reach.
fn convoy(names: &[&str]) -> Vec<Publication> {
    let mut said = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let mut voice = Voice::new(name);
        let costs: Vec<(&str, f64)> = names
            .iter()
            .enumerate()
            .map(|(to, other)| {
                let hops = to.abs_diff(at) as f64;
                let lost = to != at && (to + 1 == names.len() || at + 1 == names.len());
                (*other, if lost { -1.0 } else { hops * (104.0 + at as f64) })
            })
            .collect();
        said.push(voice.status(at + 1 < names.len()));
        said.extend(voice.costs(&costs));
        if at == 0 {
            said.push(voice.event("federation-joined", "Joined federation red at bravo."));
            said.push(voice.event("vehicle-unreachable", "No route to the last vehicle for 4 s."));
            said.push(voice.records("gps", 3, 0, &[Bytes::from_static(b"{\"lat\":1.5}")]));
        }
    }
    said
}

fn open((width, height): (u32, u32), page: std::net::SocketAddr) -> Browser {
    let browser = Browser::open(width, height);
    browser.load(&format!("http://{page}/"));
    browser.wait_for("document.body.dataset.state === 'live'");
    browser
}

#[test]
fn the_fleet_is_shown_live_on_desktop_and_phone() {
    let names = [
        "alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india",
        "juliett", "kilo", "lima",
    ];
    let broker = Broker::open();
    let post = Post::new(broker.port, &[]);
    let mut receiving = post.start();
    receiving.wait_until_connected();
    publish(broker.port, convoy(&names));
    receiving.wait_for("all values", |document| {
        let vehicles = document["vehicles"].as_array().unwrap();
        vehicles.iter().filter(|vehicle| vehicle["series"] == 14).count() == names.len()
    });
    for size in [DESKTOP, PHONE] {
        let browser = open(size, receiving.page);
        browser.wait_for("document.querySelectorAll('#vehicles tbody tr').length === 12");
        browser.wait_for("document.querySelectorAll('#costs tbody tr').length === 12");
        browser.wait_for(NO_SIDEWAYS);
        let cells = "[...document.querySelectorAll('#costs tbody tr')].map(row => row.innerText.split(/\\s+/).join(' '))";
        let rows = browser.text(cells);
        assert!(rows.starts_with("alpha · 104 208 312"), "{rows}");
        assert!(rows.contains("bravo 105 · 105 210"), "{rows}");
        assert_eq!(
            browser.text("document.querySelectorAll('#costs .cell.off').length"),
            "22",
            "nobody reaches the last, and it reaches nobody"
        );
        let vehicles = browser.text("document.querySelector('#vehicles').innerText");
        for words in [
            "Joined federation red at bravo.",
            "No route to the last vehicle",
            "offline, connection lost",
        ] {
            assert!(vehicles.contains(words), "{words}: {vehicles}");
        }
        let streams = browser.text("document.querySelector('#streams').innerText");
        assert!(streams.contains("gps") && streams.contains("alpha"), "{streams}");
        assert_eq!(browser.complaints(), Vec::<String>::new());
    }

    let browser = open(DESKTOP, receiving.page);
    browser.run("window.loaded_once = true");
    let mut alpha = Voice::new("alpha");
    alpha.boot_ms = 200_000;
    publish(broker.port, [alpha.event("test", "Something live."), Voice::new("mike").status(true)]);
    browser.wait_for("document.querySelector('#events').innerText.includes('Something live.')");
    browser.wait_for("document.querySelectorAll('#vehicles tbody tr').length === 13");
    browser.run("document.querySelector('th[data-key=presence] button').click()");
    let first = "document.querySelector('#vehicles tbody b').textContent";
    browser.wait_for(&format!("{first} === 'mike'"));
    browser.wait_for("window.loaded_once === true");
    drop(receiving);
    browser.wait_for("document.body.dataset.state === 'lost'");
    assert!(
        browser.text("document.querySelector('#banners').innerText").contains("No contact for")
    );
}

#[test]
fn hostile_names_are_only_text() {
    let image = "<img src=x onerror=\"window.hacked=1\">";
    let long = "ü\u{202e}\u{1f68f}".repeat(25);
    let names = [
        image,
        "\"><script>window.hacked=2<\u{2215}script>",
        &long,
        "__proto__",
        "constructor",
        "'; window.hacked=4; '",
    ];
    let broker = Broker::open();
    let post = Post::new(broker.port, &[]);
    let mut receiving = post.start();
    receiving.wait_until_connected();
    let mut said = convoy(&names);
    said.push(Voice::new(image).event("federation<b>", "<svg onload=window.hacked=3>"));
    publish(broker.port, said);
    receiving.wait_for("all values", |document| {
        let vehicles = document["vehicles"].as_array().unwrap();
        vehicles.iter().filter(|vehicle| vehicle["series"] == 8).count() == names.len()
    });
    let browser = open(PHONE, receiving.page);
    browser.wait_for("document.querySelectorAll('#vehicles tbody tr').length === 6");
    assert_eq!(browser.text("window.hacked"), "undefined");
    assert_eq!(browser.text("document.querySelectorAll('img, script:not([src])').length"), "0");
    let page = browser.text("document.body.innerText");
    assert!(page.contains(image) && page.contains("<svg onload=window.hacked=3>"), "{page}");
    browser.wait_for(NO_SIDEWAYS);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
