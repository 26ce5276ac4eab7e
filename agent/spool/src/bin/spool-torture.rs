//! Writes to a spool until somebody kills it, and says on standard output what it may be held to. `tests/kill.rs` starts it,
//! kills it, and looks whether it kept its word; `spool-torture FOLDER EPOCH` does the same by hand on a card or a board whose
//! power is cut.
//!
//! Lines: `appended TAG SEQUENCE SIZE`, `durable TAG SEQUENCE` (this and everything before it), `leaving TAG SEQUENCE` before a
//! record is acknowledged, `gone TAG SEQUENCE` once that is durable.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use spool::{BootMs, Event, Files, Options, Session, Spool, StreamPolicy};

/// Small enough that segments come and go all the time.
const BUDGET_BYTES: u64 = 4 * 1024 * 1024;
/// Records held before they are acknowledged.
const HELD_MAX: u64 = 100;

/// Deterministic numbers (a linear congruential generator; its upper bits are good enough to choose sizes).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(epoch)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: spool-torture FOLDER EPOCH");
        return ExitCode::from(2);
    };
    let Ok(epoch) = epoch.parse::<u32>() else {
        eprintln!("the epoch is a number");
        return ExitCode::from(2);
    };
    match torture(&folder, epoch) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("spool-torture: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What a record holds follows from its name, so that a reader can tell whether it is whole.
fn payload(sequence: u64, epoch: u32, size: u64) -> Vec<u8> {
    let mut numbers = Numbers(sequence ^ (u64::from(epoch) << 32));
    (0..size).map(|_| numbers.below(256) as u8).collect()
}

fn torture(folder: &str, epoch: u32) -> Result<(), Box<dyn std::error::Error>> {
    let start = Instant::now();
    let now = || BootMs(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX));
    let session = Session { boot_id: [0; 16], epoch, spool_id: 0x70_27 };
    let options = Options { budget_bytes: BUDGET_BYTES, ..Options::default() };
    let mut spool = Spool::open(Files::new(folder), options, session, now())?;
    let urgent = spool.define("urgent", StreamPolicy { priority: 0, ..StreamPolicy::default() })?;
    let bulk = spool.define("bulk", StreamPolicy::default())?;
    let mut numbers = Numbers(epoch.into());
    let mut out = std::io::stdout().lock();
    loop {
        for _ in 0..=numbers.below(12) {
            let stream = if numbers.below(4) == 0 { urgent } else { bulk };
            let size = numbers.below(6_000);
            let report = spool.report(now());
            let next = report.streams.iter().find(|known| known.tag == stream);
            let sequence = next.map_or(1, |known| known.next_sequence);
            let accepted = spool.append(stream, payload(sequence, epoch, size), now())?;
            writeln!(out, "appended {} {} {size}", stream.0, accepted.id.sequence)?;
        }
        let mut leaving = Vec::new();
        let held: u64 = spool.report(now()).streams.iter().map(|known| known.held.records).sum();
        for _ in 0..held.saturating_sub(HELD_MAX) {
            let Some(delivery) = spool.next(now()) else { break };
            writeln!(out, "leaving {} {}", delivery.id.stream.0, delivery.id.sequence)?;
            spool.acknowledge(delivery.id, now());
            leaving.push(delivery.id);
        }
        spool.commit(now());
        for event in spool.take_events() {
            match event {
                Event::Durable { stream, up_to } => writeln!(out, "durable {} {up_to}", stream.0)?,
                Event::Dropped { .. }
                | Event::Degraded { .. }
                | Event::Recovered
                | Event::Damaged { .. } => writeln!(out, "trouble {event:?}")?,
            }
        }
        for id in leaving {
            writeln!(out, "gone {} {}", id.stream.0, id.sequence)?;
        }
        out.flush()?;
    }
}
