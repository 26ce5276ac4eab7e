//! `sim`: runs seeds of the simulated world, says what came of them, and stops at the first broken promise.

use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use lexopt::ValueExt as _;
use nix::time::{ClockId, clock_gettime};
use sim::{Bug, Settings, Summary, membership, run};
use spool::Fate;

const HELP: &str = "\
Runs the whole agent in a simulated world: vehicles that move, links that go silent, a broker with moods, clocks that jump,
disks that fail, power that goes. Everything follows from the seed; a run is the same every time.

Usage: sim [membership] [--seed N | --seeds A..B] [--hours H] [--vehicles N] [--minutes M] [--bug WORD] [--trace]

  membership     the world in which vehicles join and leave federations, instead of the one in which they deliver records
  --seed N       run this seed alone
  --seeds A..B   run the seeds from A to below B (default 0..20); `A..` goes on until --minutes is over
  --hours H      simulated time with trouble in each run (default 24); the time to drain comes on top
  --vehicles N   vehicles with an agent in each run, 1 to 100 (default 4; with `membership` 2 to 30, drawn from the seed)
  --minutes M    begin no further seed after so many minutes of processor time
  --bug WORD     make a mistake on purpose, to see it noticed: free-on-publish, folder-not-synced, failed-sync-ignored,
                 wrong-acknowledgement, rewind-lost; with `membership` unsaved-intent, forgotten-debts, forgotten-joins,
                 skipped-clean-up, unstopped-unit, idle-host, deaf-to-silence
  --keep-going   do not stop at the first seed that breaks a promise
  --trace        write down everything as it happens
  --help         this text

Exits with 0 when every promise was kept, with 1 when one was broken: seed, vehicle, promise and the last steps are then
written, and `sim --seed N` with the same --hours and --vehicles shows the same again.
";

/// The seed that runs, for the last words of a panic.
static SEED: AtomicU64 = AtomicU64::new(0);

/// What the command line asks for.
struct Wanted {
    world: World,
    seeds: Range<u64>,
    minutes: Option<u64>,
    keep_going: bool,
}

/// Which world, and how it is made.
#[derive(Clone, Copy)]
enum World {
    Records(Settings),
    Membership(membership::Settings),
}

/// What all runs came to.
#[derive(Default)]
struct Sums {
    records: Summary,
    membership: membership::Summary,
}

fn main() -> ExitCode {
    let wanted = match parse(lexopt::Parser::from_env()) {
        Ok(Some(wanted)) => wanted,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("sim: {error}; `sim --help` tells what there is");
            return ExitCode::from(2);
        }
    };
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        eprintln!("seed {} breaks the promise that nothing panics:", SEED.load(Ordering::Relaxed));
        hook(info);
    }));
    let mut sums = Sums::default();
    let (mut runs, mut broken) = (0_u64, 0_u64);
    let begun = cpu_s();
    for seed in wanted.seeds.clone() {
        if wanted.minutes.is_some_and(|minutes| cpu_s() - begun >= (minutes * 60) as f64) {
            break;
        }
        SEED.store(seed, Ordering::Relaxed);
        runs += 1;
        let done = match wanted.world {
            World::Records(settings) => run(seed, settings).map(|sum| sums.records += sum),
            World::Membership(settings) => {
                membership::run(seed, settings).map(|sum| sums.membership += sum)
            }
        };
        match done {
            Ok(()) => {}
            Err(failure) => {
                broken += 1;
                eprintln!("{failure}");
                if !wanted.keep_going {
                    break;
                }
            }
        }
    }
    match wanted.world {
        World::Records(_) => report(&sums.records, runs, cpu_s() - begun),
        World::Membership(_) => report_membership(&sums.membership, runs, cpu_s() - begun),
    }
    if broken > 0 {
        eprintln!("{broken} of {runs} runs broke a promise");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn parse(mut parser: lexopt::Parser) -> Result<Option<Wanted>, lexopt::Error> {
    use lexopt::Arg::{Long, Short, Value};
    let (mut in_membership, mut seeds, mut minutes, mut keep_going) = (false, 0..20, None, false);
    let (mut hours, mut vehicles, mut bug, mut trace) = (24, None, None, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Value(word) if word == "membership" => in_membership = true,
            Long("seed") => {
                let seed: u64 = parser.value()?.parse()?;
                seeds = seed..seed.saturating_add(1);
            }
            Long("seeds") => {
                let text = parser.value()?.string()?;
                seeds = range(&text).ok_or_else(|| {
                    format!("`{text}` is no range of seeds, write `0..20` or `0..`")
                })?;
            }
            Long("hours") => hours = parser.value()?.parse()?,
            Long("vehicles") => vehicles = Some(parser.value()?.parse()?),
            Long("minutes") => minutes = Some(parser.value()?.parse()?),
            Long("bug") => bug = Some(parser.value()?.string()?),
            Long("keep-going") => keep_going = true,
            Long("trace") => trace = true,
            _ => return Err(argument.unexpected()),
        }
    }
    if seeds.end == u64::MAX && minutes.is_none() {
        return Err("seeds without end want --minutes".into());
    }
    let (least, most) = if in_membership { (2, 30) } else { (1, 100) };
    if vehicles.is_some_and(|vehicles| !(least..=most).contains(&vehicles)) {
        return Err(format!("--vehicles wants {least} to {most}").into());
    }
    let world = if in_membership {
        let bug = bug.as_deref().map(str::parse::<membership::Bug>).transpose()?;
        World::Membership(membership::Settings { vehicles, hours, bug, trace })
    } else {
        let bug = bug.as_deref().map(str::parse::<Bug>).transpose()?;
        let vehicles = vehicles.unwrap_or(Settings::default().vehicles);
        World::Records(Settings { vehicles, hours, bug, trace })
    };
    Ok(Some(Wanted { world, seeds, minutes, keep_going }))
}

fn range(text: &str) -> Option<Range<u64>> {
    let (from, to) = text.split_once("..")?;
    let to = if to.is_empty() { u64::MAX } else { to.parse().ok()? };
    Some(from.parse().ok()?..to)
}

fn report(sum: &Summary, runs: u64, cpu_s: f64) {
    let causes = Fate::ALL.iter().zip(sum.by_cause);
    let causes: Vec<String> =
        causes.map(|(fate, records)| format!("{records} {}", fate.word())).collect();
    println!(
        "{}\n\
         {} records issued, {} delivered, {} counted with a cause; {} repeats, {} messages, {} connections\n\
         {}\n\
         {} power cuts, {} kills, {} disk faults; {} inputs of agents",
        effort(runs, sum.vehicle_s, cpu_s),
        sum.issued,
        sum.delivered,
        sum.losses,
        sum.repeats,
        sum.messages,
        sum.connections,
        causes.join(", "),
        sum.cuts,
        sum.kills,
        sum.disk_faults,
        sum.inputs
    );
}

fn report_membership(sum: &membership::Summary, runs: u64, cpu_s: f64) {
    println!(
        "{}\n\
         {} memberships began, {} ended; {} Nodes deleted, {} of them by hosts; {} vehicles gone for good, {} Nodes marked lost\n\
         {} power cuts, {} kills, {} wishes of operators, {} moods of servers; {} tasks",
        effort(runs, sum.vehicle_s, cpu_s),
        sum.joined,
        sum.left,
        sum.deleted,
        sum.deleted_by_host,
        sum.gone,
        sum.lost,
        sum.cuts,
        sum.kills,
        sum.wishes,
        sum.moods,
        sum.tasks
    );
}

fn effort(runs: u64, vehicle_s: u64, cpu_s: f64) -> String {
    let hours = vehicle_s as f64 / 3600.0;
    let a_minute = hours / (cpu_s / 60.0).max(1e-9);
    format!("{runs} runs, {hours:.0} vehicle-hours in {cpu_s:.1} s of CPU ({a_minute:.0} a minute)")
}

/// Processor time of this program, in seconds.
fn cpu_s() -> f64 {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)
        .map_or(0.0, |time| time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9)
}
