//! The world in which vehicles join and leave federations: fixed seeds and a small time box of further ones break no promise, a run is
//! the same every time, and mistakes made on purpose are noticed as the promise that they break.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::{Duration, Instant};

use sim::membership::{Bug, Settings, Summary, run};

/// Begin no further seed after this.
const TIME_BOX: Duration = Duration::from_secs(8);

const SMALL: Settings = Settings { vehicles: Some(4), hours: 12, bug: None, trace: false };

fn kept(seed: u64, settings: Settings) -> Summary {
    run(seed, settings).unwrap_or_else(|failure| panic!("{failure:#?}"))
}

#[test]
fn fixed_seeds_break_no_promise() {
    let mut sum = Summary::default();
    for seed in 1_050..1_056 {
        sum += kept(seed, SMALL);
    }
    // Such a run proves nothing if nothing happens in it.
    assert!(sum.joined > 100 && sum.left > 50 && sum.deleted > 20, "{sum:?}");
    assert!(sum.gone > 0 && sum.deleted_by_host > 0 && sum.lost > 0, "{sum:?}");
    assert!(sum.cuts > 50 && sum.kills > 50 && sum.wishes > 20 && sum.moods > 20, "{sum:?}");
}

#[test]
fn a_convoy_of_thirty_breaks_no_promise() {
    kept(7, Settings { vehicles: Some(30), hours: 2, ..SMALL });
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

#[test]
fn every_mistake_is_noticed_as_what_it_is() {
    let expected = [
        (Bug::UnsavedIntent, "intent is durable before a step acts"),
        (Bug::ForgottenDebts, "every Node that was made is deleted or in use"),
        (Bug::ForgottenJoins, "no more joins by policy than the limit"),
        (Bug::SkippedCleanUp, "never in two federations at once"),
        (Bug::UnstoppedUnit, "never in two federations at once"),
        (Bug::IdleHost, "every Node that was made is deleted or in use"),
        (Bug::DeafToSilence, "a federation that is silent for its leave time is left"),
    ];
    assert_eq!(expected.map(|(bug, _)| bug), Bug::ALL);
    for (bug, promise) in expected {
        let settings = Settings { bug: Some(bug), ..SMALL };
        let failure = (0..20).find_map(|seed| run(seed, settings).err());
        let failure = failure.unwrap_or_else(|| panic!("{bug} was not noticed"));
        assert_eq!(failure.broken.promise, promise, "{bug}: {failure:#?}");
        assert!(!failure.trace.is_empty(), "it says what happened last");
    }
}
