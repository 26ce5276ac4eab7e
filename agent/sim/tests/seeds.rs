//! Fixed seeds and a small time box of further ones: no promise is broken, and a run is the same every time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::{Duration, Instant};

use sim::{Settings, Summary, run};

/// Seeds that are always run.
const SEEDS: std::ops::Range<u64> = 1_000..1_006;

/// Begin no further seed after this.
const TIME_BOX: Duration = Duration::from_secs(8);

const SMALL: Settings = Settings { vehicles: 3, hours: 4, bug: None, trace: false };

fn kept(seed: u64, settings: Settings) -> Summary {
    run(seed, settings).unwrap_or_else(|failure| panic!("{failure:#?}"))
}

#[test]
fn fixed_seeds_break_no_promise() {
    let mut sum = Summary::default();
    for seed in SEEDS {
        sum += kept(seed, SMALL);
    }
    // Such a run proves nothing if nothing happens in it.
    assert!(sum.issued > 10_000 && sum.delivered > sum.issued / 2, "{sum:?}");
    assert!(sum.cuts > 5 && sum.kills > 2 && sum.disk_faults > 0, "{sum:?}");
    assert!(sum.connections > 50 && sum.losses > 0, "{sum:?}");
}

#[test]
fn further_seeds_break_no_promise() {
    let begun = Instant::now();
    for seed in 2_000.. {
        if begun.elapsed() > TIME_BOX {
            break;
        }
        kept(seed, SMALL);
    }
}

#[test]
fn a_seed_is_a_run() {
    assert_eq!(kept(7, SMALL), kept(7, SMALL));
    assert_ne!(kept(7, SMALL), kept(8, SMALL));
}
