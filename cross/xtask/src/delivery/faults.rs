//! The same producer, link and faults for the agent and for a broker with a bridge: what arrives, what is lost, what comes
//! twice, and how long it takes afterwards.
//!
//! Arrivals are watched at the command post's broker itself, over its Unix socket. While that broker is away the link is
//! silent until the watcher is back, so nothing reaches the broker unseen.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Setting;
use super::figures::noise;
use super::figures::{Arrivals, Contest, Produced, contest, load};
use super::link::{PROFILES, Profile};
use super::mqtt::{Client, Publication};
use super::place::{Ground, join};
use super::programs::{self, Agent, Saving, bridge_socket, broker_socket, post};
use crate::bench::{Child, Figures};
use crate::steps::quiet;

/// The link of the comparison: Best.
pub const PROFILE: Profile = PROFILES[1];

/// Pause between two records.
pub const RECORD_EVERY: Duration = Duration::from_millis(20);

/// Bytes of a record: its number, a space, and bytes that cannot be compressed.
pub const RECORD_BYTES: usize = 200;

/// Topic at the vehicle's broker.
const TOPIC: &str = "vehicle/x";

/// End of the topic of the agent's stream.
const STREAM: &str = "/stream/x";

/// Which frames the link loses.
const SEED: u64 = 1;

/// Time for everything to arrive after the last fault, and how long nothing may come before it is over.
const DRAIN_MAX: Duration = Duration::from_secs(300);
const QUIET_MAX: Duration = Duration::from_secs(90);

/// A broker that is away is looked for this often, so that nothing can arrive before the watcher.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Time for answers that are still due when the producer stops.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The link loses everything, or works again.
    Silence(bool),
    /// The vehicle's interface goes down, or up.
    Interface(bool),
    /// The vehicle's program is killed and started again.
    PowerCut,
    /// The command post's broker is killed.
    BrokerKilled,
    /// It is started again, without anything it knew.
    BrokerBack,
}

/// What happens, and when in seconds. Records are produced until the last fault is over.
const SCRIPT: &[(u64, Step)] = &[
    (10, Step::Silence(true)),
    (20, Step::Silence(false)),
    (35, Step::Interface(false)),
    (45, Step::Interface(true)),
    (60, Step::Silence(true)),
    (75, Step::PowerCut),
    (90, Step::Silence(false)),
    (105, Step::BrokerKilled),
    (110, Step::BrokerBack),
    (125, Step::Silence(true)),
    (135, Step::Silence(false)),
];

/// The script for people.
pub fn story() -> String {
    let step = |step: &Step| match step {
        Step::Silence(true) => "the link loses everything",
        Step::Silence(false) => "it works again",
        Step::Interface(false) => "the vehicle's interface goes down",
        Step::Interface(true) => "it comes up",
        Step::PowerCut => "the vehicle's program is killed and started again",
        Step::BrokerKilled => "the command post's broker is killed",
        Step::BrokerBack => "it is started again without its sessions",
    };
    let steps = SCRIPT.iter().map(|(at, what)| format!("{at} s {}", step(what)));
    steps.collect::<Vec<_>>().join("; ")
}

/// Who delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rival {
    /// The agent.
    Outrider,
    /// mosquitto with a bridge.
    Bridge(Saving),
}

impl Rival {
    /// All of them.
    pub const ALL: [Rival; 3] =
        [Rival::Outrider, Rival::Bridge(Saving::EachChange), Rival::Bridge(Saving::EachSecond)];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Rival::Outrider => "outrider",
            Rival::Bridge(Saving::EachChange) => "mosquitto-bridge, saved at each change",
            Rival::Bridge(Saving::EachSecond) => "mosquitto-bridge, saved each second",
        }
    }
}

/// Runs the script against one of them. `reader` is the project's own receiver (`agent/examples/arrivals.rs`).
pub fn run(setting: &Setting, reader: &Path, rival: Rival) -> Result<Contest, String> {
    println!("==> {} under faults for {} s", rival.name(), SCRIPT.last().map_or(0, |(at, _)| *at));
    let folder = setting.fresh_folder(match rival {
        Rival::Outrider => "faults-outrider",
        Rival::Bridge(Saving::EachChange) => "faults-each-change",
        Rival::Bridge(Saving::EachSecond) => "faults-each-second",
    })?;
    let load = load()?;
    let ground = Ground::new(PROFILE, &setting.congestion, SEED)?;
    let mut broker = Some(programs::broker(&ground, &folder)?);
    let began = Instant::now();
    let watcher = Watcher::start(&folder, began);
    watcher.wait_until_there(1)?;
    let mut vehicle = Some(Vehicle::start(setting, &ground, &folder, rival)?);
    let mut written = 0;
    let producer = Producer::start(&folder, rival);

    let began_script = Instant::now();
    for (at, step) in SCRIPT {
        let due = began_script + Duration::from_secs(*at);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        match step {
            Step::Silence(silent) => ground.silence(*silent),
            Step::Interface(up) => ground.interface(*up)?,
            Step::PowerCut => {
                written += vehicle.take().map_or(Ok(0), Vehicle::killed)?;
                vehicle = Some(Vehicle::start(setting, &ground, &folder, rival)?);
            }
            Step::BrokerKilled => drop(broker.take()),
            Step::BrokerBack => {
                ground.silence(true);
                broker = Some(programs::broker(&ground, &folder)?);
                watcher.wait_until_there(2)?;
                ground.silence(false);
            }
        }
    }
    let last_fault_over = began.elapsed();
    let produced = producer.stop()?;
    let over = Instant::now() + DRAIN_MAX;
    let mut arrivals = watcher.arrivals();
    loop {
        let heard = arrivals.last().map_or(last_fault_over, |(at, _)| *at).max(last_fault_over);
        let quiet_for = began.elapsed() - heard;
        let all = vehicle.as_ref().is_some_and(|vehicle| vehicle.is_empty(&arrivals, &produced));
        if all || quiet_for > QUIET_MAX || Instant::now() > over {
            break;
        }
        std::thread::sleep(Duration::from_secs(1));
        arrivals = watcher.arrivals();
    }
    watcher.stop()?;
    written += vehicle.map_or(Ok(0), Vehicle::killed)?;
    drop(broker);
    let arrivals = match rival {
        Rival::Outrider => decoded(reader, &folder, &arrivals)?,
        Rival::Bridge(_) => plain(&arrivals),
    };
    let contest = contest(rival.name(), &produced, &arrivals, last_fault_over);
    Ok(Contest { written_bytes: written, load, ..contest })
}

/// The vehicle's program.
enum Vehicle {
    Outrider(Agent),
    Bridge(Child),
}

impl Vehicle {
    fn start(
        setting: &Setting,
        ground: &Ground,
        folder: &Path,
        rival: Rival,
    ) -> Result<Vehicle, String> {
        Ok(match rival {
            Rival::Outrider => {
                Vehicle::Outrider(Agent::start(ground, &setting.binary, folder, true)?)
            }
            Rival::Bridge(saving) => Vehicle::Bridge(programs::bridge(ground, folder, saving)?),
        })
    }

    /// Kills it; the bytes that it had written to storage.
    fn killed(self) -> Result<u64, String> {
        let (Vehicle::Outrider(Agent { child, .. }) | Vehicle::Bridge(child)) = &self;
        Figures::written_bytes(child.pid())
    }

    /// Whether nothing is left to deliver: as the agent says, or since everything has arrived.
    fn is_empty(&self, arrivals: &[(Duration, Publication)], produced: &Produced) -> bool {
        match self {
            Vehicle::Outrider(agent) => {
                let page = agent.metrics().unwrap_or_default();
                page.lines().any(|line| line == "outrider_stream_held_records{stream=\"x\"} 0")
            }
            Vehicle::Bridge(_) => {
                let here = plain(arrivals);
                produced.acknowledged.iter().all(|number| here.whole.contains_key(number))
            }
        }
    }
}

/// Brings records until it is stopped.
struct Producer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Produced, String>>,
}

impl Producer {
    fn start(folder: &Path, rival: Rival) -> Producer {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, folder) = (Arc::clone(&stop), folder.to_owned());
        let thread = std::thread::spawn(move || {
            Ok(match rival {
                Rival::Outrider => post_records(&folder.join("control.sock"), &stopped),
                Rival::Bridge(_) => publish_records(&bridge_socket(&folder), &stopped),
            })
        });
        Producer { stop, thread }
    }

    fn stop(self) -> Result<Produced, String> {
        self.stop.store(true, Ordering::Relaxed);
        join(self.thread)
    }
}

fn payload(number: u64) -> Vec<u8> {
    let mut payload = format!("{number} ").into_bytes();
    payload.extend(noise(number).take(RECORD_BYTES.saturating_sub(payload.len())));
    payload
}

/// Records that are due since the producer began.
fn due(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis() / RECORD_EVERY.as_millis()).unwrap_or(u64::MAX)
}

/// Everything that is due in one request, and the next when that is answered. What has no answer counts as not acknowledged, and
/// is not brought again: then nothing comes twice because of the producer.
fn post_records(socket: &Path, stop: &AtomicBool) -> Produced {
    let began = Instant::now();
    let mut produced = Produced::default();
    while !stop.load(Ordering::Relaxed) {
        let first = produced.offered;
        let last = due(began);
        if last == first {
            std::thread::sleep(RECORD_EVERY);
            continue;
        }
        let records: Vec<Vec<u8>> = (first..last).map(payload).collect();
        produced.offered = last;
        match post(socket, &records, true) {
            Ok((200, _)) => produced.acknowledged.extend(first..last),
            // Killed, or just started: the next ones may be taken.
            Ok(_) | Err(_) => std::thread::sleep(RECORD_EVERY),
        }
    }
    produced
}

/// One publication after the other as they are due, without waiting for the one before.
fn publish_records(socket: &Path, stop: &AtomicBool) -> Produced {
    let began = Instant::now();
    let mut produced = Produced::default();
    let mut client = None;
    let mut stopping = None;
    loop {
        if stop.load(Ordering::Relaxed) {
            let until = *stopping.get_or_insert_with(|| Instant::now() + LAST_ANSWERS);
            let pending = client.as_ref().map_or(0, Client::pending);
            if pending == 0 || Instant::now() > until {
                return produced;
            }
        }
        let mut step = || -> Result<(), String> {
            let connected = match &mut client {
                Some(connected) => connected,
                None => client.insert(Client::connect(socket, "producer")?),
            };
            while stopping.is_none() && produced.offered < due(began) {
                let number = produced.offered;
                produced.offered += 1;
                connected.publish(TOPIC, number, &payload(number))?;
            }
            produced.acknowledged.extend(connected.acknowledged(RECORD_EVERY)?);
            Ok(())
        };
        if step().is_err() {
            // Killed, or just started.
            client = None;
            produced.offered = produced.offered.max(due(began));
            std::thread::sleep(RECORD_EVERY);
        }
    }
}

/// Watches what reaches the command post's broker.
struct Watcher {
    shared: Arc<Watched>,
    thread: JoinHandle<Result<(), String>>,
}

#[derive(Default)]
struct Watched {
    stop: AtomicBool,
    /// Subscriptions so far.
    there: Mutex<u32>,
    arrivals: Mutex<Vec<(Duration, Publication)>>,
}

/// What is behind these locks is valid after any interrupted change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watcher {
    fn start(folder: &Path, began: Instant) -> Watcher {
        let shared = Arc::new(Watched::default());
        let (watched, socket) = (Arc::clone(&shared), broker_socket(folder));
        let thread = std::thread::spawn(move || {
            while !watched.stop.load(Ordering::Relaxed) {
                // The broker is killed in between: the next one is looked for.
                let _ = watch(&socket, began, &watched);
                std::thread::sleep(LOOK_EVERY);
            }
            Ok(())
        });
        Watcher { shared, thread }
    }

    fn wait_until_there(&self, count: u32) -> Result<(), String> {
        crate::bench::until("the watcher", LOOK_EVERY, || {
            Ok((*lock(&self.shared.there) >= count).then_some(()))
        })
    }

    fn arrivals(&self) -> Vec<(Duration, Publication)> {
        lock(&self.shared.arrivals).clone()
    }

    fn stop(self) -> Result<(), String> {
        self.shared.stop.store(true, Ordering::Relaxed);
        join(self.thread)
    }
}

fn watch(socket: &Path, began: Instant, watched: &Watched) -> Result<(), String> {
    let mut client = Client::connect(socket, "watcher")?;
    client.subscribe()?;
    *lock(&watched.there) += 1;
    while !watched.stop.load(Ordering::Relaxed) {
        let arrived = client.arrived(Duration::from_millis(100))?;
        let at = began.elapsed();
        let wanted =
            arrived.into_iter().filter(|it| it.topic == TOPIC || it.topic.ends_with(STREAM));
        lock(&watched.arrivals).extend(wanted.map(|publication| (at, publication)));
    }
    Ok(())
}

/// Records that a broker with a bridge brought: each publication is one, and nothing tells a repeat from a new one.
fn plain(arrivals: &[(Duration, Publication)]) -> Arrivals {
    let mut numbers = Arrivals::default();
    for (at, Publication { payload, .. }) in arrivals {
        if let Some(number) = number(payload) {
            numbers.arrived(number);
            numbers.kept(number, *at);
        }
    }
    numbers
}

fn number(payload: &[u8]) -> Option<u64> {
    let digits = payload.split(|byte| *byte == b' ').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Records that the agent brought.
fn decoded(
    reader: &Path,
    folder: &Path,
    arrivals: &[(Duration, Publication)],
) -> Result<Arrivals, String> {
    let path = folder.join("arrivals");
    capture(&path, arrivals).map_err(|e| format!("writing {}: {e}", path.display()))?;
    read_decoded(&quiet(Command::new(reader).arg(&path))?)
}

/// Each publication as its moment in milliseconds (8 bytes, little-endian), and topic and payload with their lengths in front
/// (4 bytes each, little-endian).
fn capture(path: &Path, arrivals: &[(Duration, Publication)]) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(File::create(path)?);
    for (at, Publication { topic, payload }) in arrivals {
        let ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        file.write_all(&ms.to_le_bytes())?;
        for bytes in [topic.as_bytes(), payload] {
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            file.write_all(&length.to_le_bytes())?;
            file.write_all(bytes)?;
        }
    }
    file.flush()
}

/// Lines `arrived NUMBER` for each record in each message, and `kept MILLISECONDS NUMBER` for each that is not a repeat.
fn read_decoded(text: &str) -> Result<Arrivals, String> {
    let mut arrivals = Arrivals::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("odd line `{line}`"));
        match words.as_slice() {
            ["arrived", it] => arrivals.arrived(number(it)?),
            ["kept", ms, it] => arrivals.kept(number(it)?, Duration::from_millis(number(ms)?)),
            _ => return Err(format!("odd line `{line}` about arrivals")),
        }
    }
    Ok(arrivals)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{RECORD_BYTES, SCRIPT, Step, number, payload, read_decoded};

    #[test]
    fn a_record_tells_its_number() {
        for expected in [0, 7, 123_456] {
            let payload = payload(expected);
            assert_eq!((number(&payload), payload.len()), (Some(expected), RECORD_BYTES));
        }
        assert_eq!(number(b"online"), None);
    }

    #[test]
    fn what_the_receiver_says_is_counted() {
        let text = "arrived 1\nkept 20 1\narrived 1\narrived 2\nkept 30 2\n";
        let arrivals = read_decoded(text).unwrap();
        assert_eq!(arrivals.at_broker[&1], 2);
        assert_eq!(arrivals.whole[&2], (1, Duration::from_millis(30)));
        assert!(read_decoded("lost 1\n").is_err());
    }

    #[test]
    fn every_fault_of_the_script_ends() {
        assert!(SCRIPT.is_sorted_by_key(|(at, _)| at));
        let mut silent = false;
        for (_, step) in SCRIPT {
            match step {
                Step::Silence(now) => silent = *now,
                Step::PowerCut => assert!(silent, "the power is cut while the vehicle is offline"),
                Step::Interface(_) | Step::BrokerKilled | Step::BrokerBack => assert!(!silent),
            }
        }
        assert!(!silent, "at the end the link is good");
    }
}
