//! `kill -9` of a real process on a real file system, again and again on the same spool: everything it called durable is there
//! and whole, nothing else is, and what it called gone stays gone.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use spool::{BootMs, Fate, Files, Options, Session, Spool};

/// Kills in one run of the tests. `SPOOL_KILLS` asks for more.
const KILLS: u32 = 200;
/// A process that lives longer has opened the spool and written for a while even on a slow machine.
const LIFE_MS_MAX: u64 = 60;

/// What the processes said about one record.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    epoch: u32,
    size: u64,
    durable: bool,
    leaving: bool,
    gone: bool,
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lets a process write for a while, kills it, and returns what it said.
fn run_and_kill(folder: &Path, epoch: u32) -> String {
    let child = Command::new(env!("CARGO_BIN_EXE_spool-torture"))
        .arg(folder)
        .arg(epoch.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Killed(child);
    let mut said = child.0.stdout.take().unwrap();
    let mut text = Vec::new();
    // Its first word tells that it is at work; from then on it has any part of the time.
    let mut first = [0; 1];
    said.read_exact(&mut first).expect("it says something before it ends");
    text.extend(first);
    let reader = std::thread::spawn(move || {
        said.read_to_end(&mut text).unwrap();
        text
    });
    let life = u64::from(epoch).wrapping_mul(0x9E37_79B9) % (LIFE_MS_MAX * 1000);
    std::thread::sleep(Duration::from_micros(life));
    drop(child);
    String::from_utf8(reader.join().unwrap()).unwrap()
}

/// As in the torture program: what a record holds follows from its name.
fn payload(sequence: u64, epoch: u32, size: u64) -> Vec<u8> {
    let mut state = sequence ^ (u64::from(epoch) << 32);
    (0..size)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) % 256) as u8
        })
        .collect()
}

fn listen(known: &mut BTreeMap<(u32, u64), Known>, epoch: u32, said: &str) {
    // The last line may be cut.
    for line in said.rsplit_once('\n').map_or("", |(whole, _)| whole).lines() {
        // What the one before had accepted and not yet written is counted as lost, and said.
        if line.starts_with("trouble Dropped") && line.contains("fate: Lost") {
            continue;
        }
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        let key = (number(1) as u32, number(2));
        match words[0] {
            "appended" => {
                known.insert(key, Known { epoch, size: number(3), ..Known::default() });
            }
            "durable" => {
                let upto = known.range_mut((key.0, 0)..=key);
                upto.filter(|(_, k)| k.epoch == epoch).for_each(|(_, k)| k.durable = true);
            }
            "leaving" => known.entry(key).or_default().leaving = true,
            "gone" => known.entry(key).or_default().gone = true,
            other => panic!("it said `{other}`: {line}"),
        }
    }
}

/// Opens the spool as the next process would and compares it with what was said.
fn check(folder: &Path, known: &mut BTreeMap<(u32, u64), Known>, epoch: u32) {
    let session = Session { boot_id: [0; 16], epoch, spool_id: 1 };
    let options = Options { budget_bytes: 4 * 1024 * 1024, ..Options::default() };
    let mut spool = Spool::open(Files::new(folder), options, session, BootMs(0)).unwrap();
    let report = spool.report(BootMs(0));
    assert_eq!(report.degraded, None);
    assert_eq!(report.damage.damaged_bytes, 0, "{:?}", report.damage);
    let mut present = BTreeMap::new();
    while let Some(delivery) = spool.next(BootMs(0)) {
        let key = (delivery.id.stream.0, delivery.id.sequence);
        let said = known.get(&key).copied().unwrap_or_default();
        // One that was killed between writing and saying so.
        let unsaid = delivery.id.epoch + 1 == epoch && said.epoch != delivery.id.epoch;
        let size = delivery.payload.len() as u64;
        assert!(unsaid || said.epoch == delivery.id.epoch && said.size == size, "{key:?} {said:?}");
        assert!(
            delivery.payload == payload(key.1, delivery.id.epoch, size),
            "{key:?} is not whole"
        );
        assert!(!said.gone, "{key:?} came back");
        present.insert(key, Known { epoch: delivery.id.epoch, size, durable: true, ..said });
    }
    for (key, said) in known.iter() {
        let owed = said.durable && !said.leaving;
        assert!(!owed || present.contains_key(key), "{key:?} was durable and is gone: {said:?}");
    }
    for stream in &report.streams {
        assert_eq!(stream.counts.get(Fate::Full).records, 0, "the workload stays within bounds");
    }
    // What is there now is durable, whatever was said before.
    known.retain(|_, said| said.gone);
    known.extend(present);
}

#[test]
fn nothing_durable_is_lost_when_the_process_is_killed() {
    let kills = std::env::var("SPOOL_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("spool");
    let mut known = BTreeMap::new();
    let (mut appended, mut durable) = (0, 0);
    // A slow machine may need more lives to get something written.
    let mut lives = 0;
    while lives < kills || durable <= kills as usize {
        assert!(
            lives < 20 * kills,
            "the processes hardly write: {durable} records in {lives} lives"
        );
        // Opening to check is a session of its own, so that the next one follows it.
        let epoch = 2 * lives + 1;
        lives += 1;
        let said = run_and_kill(&folder, epoch);
        appended += said.matches("appended").count();
        listen(&mut known, epoch, &said);
        durable += known.values().filter(|k| k.epoch == epoch && k.durable).count();
        check(&folder, &mut known, epoch + 1);
    }
    println!("{lives} kills; {appended} records appended, {durable} durable when the process died");
}
