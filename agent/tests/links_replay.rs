//! Recordings of real daemons replayed through `core::links`: what is published second by second, compared with
//! `tests/fixtures/links/*.published`, and the story each recording has to tell.
//!
//! Where a difference is meant, `OUTRIDER_BLESS=1` writes the published files anew (and fails, so that nobody blesses by
//! accident): read the difference. With `OUTRIDER_CAPTURES=FOLDER` it makes the recordings from captured answers first.

#![allow(clippy::unwrap_used, reason = "a helper that fails shall fail its test")]

#[path = "links/trace.rs"]
mod trace;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use olsr_bridge::build::Builder;
use olsr_bridge::cost::CostOptions;
use olsr_bridge::view::{DaemonKind, NetworkCost, Protocol, Route};
use olsr_bridge::{http, v1, v2};
use outrider::core::links::{Links, Reach, Setup};
use outrider::core::time::Mono;

/// Daemon, scenario, and the node that was asked.
const RECORDINGS: [(&str, &str, &str); 16] = [
    ("olsrd", "cut-heal", "a"),
    ("olsrd", "cut-heal", "d"),
    ("olsrd", "leaf-cut-heal", "a"),
    ("olsrd", "interface-down-up", "a"),
    ("olsrd", "node-dies", "a"),
    ("olsrd", "node-stops", "a"),
    ("olsrd", "own-daemon-restarts", "a"),
    ("olsrd", "flapping", "a"),
    ("olsrd", "lossy", "h"),
    ("olsrd2", "cut-heal", "a"),
    ("olsrd2", "leaf-cut-heal", "a"),
    ("olsrd2", "interface-down-up", "a"),
    ("olsrd2", "node-dies", "a"),
    ("olsrd2", "node-stops", "a"),
    ("olsrd2", "own-daemon-restarts", "a"),
    ("olsrd2", "lossy", "h"),
];

/// The recordings begin this long after the machine booted.
const BOOT: Mono = Mono::from_millis(1_000_000);

/// What was published about each vehicle, second by second.
type Published = BTreeMap<String, Vec<(u64, Reach)>>;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/links")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// A recording. olsrd2's composite answer tells no uptime; before its restart, if any, the daemon had been up for longer than
/// any warm-up (`scenario.json` of the captures), which is told here so that what follows can be seen.
fn recording(daemon: &str, scenario: &str, node: &str) -> Vec<trace::Sample> {
    let path = folder().join(format!("{daemon}-{scenario}-{node}.trace"));
    let mut samples = trace::parse(&read(&path));
    for sample in samples.iter_mut().take_while(|sample| sample.view.is_some()) {
        let uptime_ms = 100_000 + sample.at_ms;
        sample.view.as_mut().unwrap().daemon.uptime_ms.get_or_insert(uptime_ms);
    }
    samples
}

/// Node `x` of the recordings has the loopback address 10.77.0.k, k its place in the alphabet.
fn address(number: u8) -> IpAddr {
    IpAddr::from([10, 77, 0, number])
}

fn route(sample: &trace::Sample, number: u8) -> Option<&Route> {
    let view = sample.view.as_ref()?;
    view.routes.iter().find(|route| route.destination.address == address(number))
}

/// Configures every node that the recording ever had a route to.
fn setup(samples: &[trace::Sample], own: &str) -> Setup {
    let vehicles = ('a'..='k')
        .zip(1_u8..)
        .filter(|(_, number)| samples.iter().any(|sample| route(sample, *number).is_some()))
        .map(|(name, number)| (name.to_string(), vec![address(number)]))
        .collect();
    Setup { own: own.to_owned(), vehicles, ..Setup::default() }
}

fn replay(samples: &[trace::Sample], own: &str) -> (Published, Links) {
    let mut links = Links::default();
    links.configure(setup(samples, own), BOOT);
    let mut published = Published::new();
    for sample in samples {
        let now = BOOT + Duration::from_millis(sample.at_ms);
        match &sample.view {
            Some(view) => links.observe(view, now),
            None => links.silent(now),
        };
        for (name, vehicle) in links.iter() {
            published.entry(name.to_owned()).or_default().push((sample.at_ms, vehicle.reach));
        }
    }
    (published, links)
}

fn published(daemon: &str, scenario: &str, node: &str) -> Published {
    replay(&recording(daemon, scenario, node), node).0
}

/// The changes of what is published, one a line.
fn render(published: &Published) -> String {
    let mut text = String::new();
    for (name, moments) in published {
        let mut before = None;
        for (at_ms, reach) in moments {
            if before != Some(*reach) {
                let seconds = at_ms / 1000;
                let what = match reach {
                    Reach::Own => "own".to_owned(),
                    Reach::Reachable { cost } => cost.to_string(),
                    Reach::Unreachable => "-1".to_owned(),
                    Reach::NotMeaningful => "not meaningful".to_owned(),
                    Reach::Unknown => "unknown".to_owned(),
                };
                writeln!(text, "{name} {seconds:>3} s {what}").unwrap();
            }
            before = Some(*reach);
        }
    }
    text
}

#[test]
fn every_recording_publishes_what_it_did() {
    if let Some(captures) = std::env::var_os("OUTRIDER_CAPTURES") {
        RECORDINGS.iter().for_each(|name| record(Path::new(&captures), name));
    }
    let bless = std::env::var_os("OUTRIDER_BLESS").is_some();
    for (daemon, scenario, node) in RECORDINGS {
        let path = folder().join(format!("{daemon}-{scenario}-{node}.published"));
        let now = render(&published(daemon, scenario, node));
        if bless {
            fs::write(&path, &now).unwrap();
        } else {
            assert_eq!(now, read(&path), "{}", path.display());
        }
    }
    assert!(
        !bless,
        "wrote the published files; read the difference and run again without blessing"
    );
}

/// When the daemon's own numbers first lacked a route to `peer`, and when they had one again after that.
fn gone_and_back(samples: &[trace::Sample], peer: u8) -> (u64, u64) {
    let gone = samples.iter().find(|sample| route(sample, peer).is_none()).unwrap().at_ms;
    let back = samples.iter().find(|sample| sample.at_ms > gone && route(sample, peer).is_some());
    (gone, back.map_or(u64::MAX, |sample| sample.at_ms))
}

fn first(moments: &[(u64, Reach)], after_ms: u64, wanted: impl Fn(Reach) -> bool) -> Option<u64> {
    moments
        .iter()
        .find(|(at_ms, reach)| *at_ms >= after_ms && wanted(*reach))
        .map(|(at_ms, _)| *at_ms)
}

fn is_reachable(reach: Reach) -> bool {
    matches!(reach, Reach::Reachable { .. })
}

fn never_unreachable(published: &Published, vehicle: &str) {
    let gone = first(&published[vehicle], 0, |reach| reach == Reach::Unreachable);
    assert_eq!(gone, None, "{vehicle}");
}

/// A cut towards a leaf is published soon after the daemon notices, and its heal not before it can be trusted.
#[test]
fn a_cut_leaf_is_unreachable_soon_and_comes_back_late() {
    for (daemon, scenario) in [
        ("olsrd", "leaf-cut-heal"),
        ("olsrd", "node-dies"),
        ("olsrd2", "leaf-cut-heal"),
        ("olsrd2", "node-dies"),
    ] {
        let samples = recording(daemon, scenario, "a");
        let published = published(daemon, scenario, "a");
        let (gone, back) = gone_and_back(&samples, 5);
        let unreachable = first(&published["e"], 0, |reach| reach == Reach::Unreachable).unwrap();
        let hold = if daemon == "olsrd" { 4_000 } else { 8_000 };
        let told = format!("{daemon} {scenario}: gone {gone}, told {unreachable}, back {back}");
        assert!((gone + hold..=gone + hold + 1_100).contains(&unreachable), "{told}");
        let reachable = first(&published["e"], unreachable, is_reachable).unwrap();
        assert!((back + 10_000..=back + 11_100).contains(&reachable), "{told}, {reachable}");
        ["b", "c", "d"].iter().for_each(|name| never_unreachable(&published, name));
    }
}

#[test]
fn a_stopped_node_is_unreachable_for_good() {
    for daemon in ["olsrd", "olsrd2"] {
        let published = published(daemon, "node-stops", "a");
        let told = first(&published["e"], 0, |reach| reach == Reach::Unreachable).unwrap();
        // olsrd announces its end; olsrd2 does not, and the validity time and a hold of 8 s follow.
        let limit = if daemon == "olsrd" { 12_000 } else { 26_000 };
        assert!(told <= limit, "{daemon}: {told}");
        assert_eq!(first(&published["e"], told, is_reachable), None, "{daemon}");
    }
}

/// While another path remains, a cut link, even the own interface, makes peers dearer and never unreachable.
#[test]
fn detours_do_not_look_like_losses() {
    for (daemon, scenario, node) in [
        ("olsrd", "cut-heal", "a"),
        ("olsrd", "cut-heal", "d"),
        ("olsrd", "interface-down-up", "a"),
        ("olsrd2", "cut-heal", "a"),
        ("olsrd2", "interface-down-up", "a"),
    ] {
        let published = published(daemon, scenario, node);
        for vehicle in ["b", "c", "d", "e"].iter().filter(|vehicle| **vehicle != node) {
            never_unreachable(&published, vehicle);
        }
    }
}

/// Before the daemon notices that the link to b is dead, the overdue HELLOs have made it dearer.
#[test]
fn overdue_hellos_show_before_the_daemon_notices() {
    let samples = recording("olsrd", "cut-heal", "a");
    let published = published("olsrd", "cut-heal", "a");
    let rise = first(&published["b"], 0, |r| matches!(r, Reach::Reachable { cost } if cost > 110));
    let noticed = samples.iter().find(|sample| {
        let view = sample.view.as_ref().unwrap();
        view.links.iter().any(|link| link.remote.to_string() == "10.1.2.2" && !link.usable())
    });
    let (rise, noticed) = (rise.unwrap(), noticed.unwrap().at_ms);
    assert!((5_000..noticed).contains(&rise), "dearer at {rise}, noticed at {noticed}");
}

/// The restart of the own daemon is no event of the mesh: nothing becomes unreachable, and no cost jumps.
#[test]
fn a_restart_of_the_own_daemon_changes_nothing_that_is_published() {
    for daemon in ["olsrd", "olsrd2"] {
        let samples = recording(daemon, "own-daemon-restarts", "a");
        assert!(samples.iter().any(|sample| sample.view.is_none()));
        let (published, links) = replay(&samples, "a");
        assert_eq!(links.daemon_restarts(), 1, "{daemon}");
        for vehicle in ["b", "c", "d", "e"] {
            let moments = &published[vehicle];
            let Reach::Reachable { cost: usual } = moments[0].1 else { panic!("{vehicle}") };
            for (at_ms, reach) in moments {
                let Reach::Reachable { cost } = reach else {
                    panic!("{vehicle} {at_ms} {reach:?}")
                };
                assert!(
                    cost.abs_diff(usual) <= usual / 10 + 1,
                    "{daemon} {vehicle} {at_ms} {cost}"
                );
            }
        }
    }
}

/// In the recording the far node vanishes and returns every 16 s.
#[test]
fn flapping_is_damped() {
    let samples = recording("olsrd", "flapping", "a");
    let changes =
        |pair: &&[trace::Sample]| route(&pair[0], 3).is_none() != route(&pair[1], 3).is_none();
    let raw = samples.windows(2).filter(changes).count();
    let (_, links) = replay(&samples, "a");
    let transitions = links.get("c").unwrap().transitions;
    assert!(raw >= 8, "the recording flaps: {raw}");
    assert!((1..=3).contains(&transitions), "{transitions} published of {raw}");
}

/// Loss moves raw costs all the time; what is published moves seldom and stays near the mean.
#[test]
fn noise_of_lossy_links_is_smoothed() {
    for daemon in ["olsrd", "olsrd2"] {
        let samples = recording(daemon, "lossy", "h");
        let published = published(daemon, "lossy", "h");
        for (vehicle, number) in ('a'..='k').zip(1_u8..).filter(|(vehicle, _)| *vehicle != 'h') {
            let raw: Vec<u32> = samples.iter().filter_map(|s| raw_cost(s, number)).collect();
            let (low, high) = (*raw.iter().min().unwrap(), *raw.iter().max().unwrap());
            let moments = &published[&vehicle.to_string()];
            let costs: Vec<u32> = moments.iter().filter_map(|(_, reach)| cost(*reach)).collect();
            assert_eq!(costs.len(), moments.len(), "{daemon} {vehicle} is always reachable");
            let changes = costs.windows(2).filter(|pair| pair[0] != pair[1]).count();
            assert!(changes <= 10, "{daemon} {vehicle}: {changes} changes in a minute");
            // At 40 % loss several HELLOs in a row go missing now and then, which adds to the neighbour's cost.
            let fair = low * 9 / 10..=high * 3 / 2;
            assert!(costs.iter().all(|cost| fair.contains(cost)), "{daemon} {vehicle}: {costs:?}");
        }
    }
}

fn cost(reach: Reach) -> Option<u32> {
    match reach {
        Reach::Reachable { cost } => Some(cost),
        Reach::Own | Reach::Unreachable | Reach::NotMeaningful | Reach::Unknown => None,
    }
}

fn raw_cost(sample: &trace::Sample, number: u8) -> Option<u32> {
    match route(sample, number)?.cost {
        NetworkCost::Reachable(cost) => Some(cost),
        NetworkCost::Unreachable | NetworkCost::NotMeaningful => None,
    }
}

/// Makes one recording from a folder of captured answers, one file a second.
fn record(captures: &Path, (daemon, scenario, node): &(&str, &str, &str)) {
    let series = captures.join(daemon).join(scenario).join("series").join(node);
    let mut files: Vec<PathBuf> =
        fs::read_dir(&series).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let samples: Vec<trace::Sample> = files.iter().map(|file| sample_of(file)).collect();
    let path = folder().join(format!("{daemon}-{scenario}-{node}.trace"));
    fs::create_dir_all(folder()).unwrap();
    fs::write(path, trace::write(&samples)).unwrap();
}

/// The file `t012.0.http` was read 12.0 s after the recording began.
fn sample_of(file: &Path) -> trace::Sample {
    let stem = file.file_stem().unwrap().to_str().unwrap();
    let seconds: f64 = stem.strip_prefix('t').unwrap().parse().unwrap();
    let bytes = fs::read(file).unwrap();
    let builder = match file.extension().unwrap().to_str().unwrap() {
        "http" => {
            let mut builder = Builder::new(DaemonKind::Olsrd, Protocol::Jsoninfo);
            v1::jsoninfo::parse(http::split(&bytes).body, &mut builder);
            Some(builder)
        }
        "raw" => {
            let mut builder = Builder::new(DaemonKind::Olsrd2, Protocol::Olsrd2Telnet);
            v2::parse(&bytes, &mut builder);
            Some(builder)
        }
        _ => None,
    };
    let view = builder.map(|builder| builder.finish(&CostOptions::default()));
    trace::Sample { at_ms: (seconds * 1000.0).round() as u64, view }
}
