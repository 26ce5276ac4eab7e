//! The power is cut at every change of the disk that generated workloads make, and what is left of unsynced changes is nothing,
//! everything, or torn and reordered parts. After each cut: what was reported durable is there, nothing is there that was not
//! appended, each stream is in order, losses are counted, and recovering once more changes nothing. The last tests plant
//! mistakes and prove that they are noticed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod world;

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use spool::simulated::{Left, Simulated};
use spool::{Fate, Options};
use world::{Action, Bug, World, actions};

const MIB: u64 = 1024 * 1024;

/// What a disk may do to a workload besides losing power.
#[derive(Clone, Copy, Debug, Default)]
struct Plant {
    bug: Bug,
    lying: bool,
    forgetful: bool,
}

fn options(budget: u64) -> Options {
    Options { budget_bytes: budget, ..Options::default() }
}

/// Runs a workload until it ends or the power goes.
fn run(workload: &[Action], budget: u64, cut_at: Option<u64>, plant: Plant) -> World {
    let disk = Simulated::new();
    disk.set_lying(plant.lying);
    disk.set_forgetful(plant.forgetful);
    if let Some(change) = cut_at {
        disk.cut_power_at(change);
    }
    let mut world = World::new(disk, options(budget));
    world.bug = plant.bug;
    for action in workload {
        if world.disk.is_off() {
            break;
        }
        match action {
            Action::Commit => world.commit_for_sure(),
            other => world.act(other),
        }
        if !world.disk.is_off() {
            for stream in world.report().streams {
                assert_eq!(stream.counts.get(Fate::Lost).records, 0, "by {action:?}: {stream:?}");
                world::law(&stream).unwrap();
            }
        }
    }
    world
}

fn check_cut(
    workload: &[Action],
    budget: u64,
    cut: u64,
    left: Left,
    plant: Plant,
) -> Result<(), String> {
    let mut world = run(workload, budget, Some(cut), plant);
    world.disk.set_lying(false);
    world.disk.set_forgetful(false);
    let lossless = budget > 8 * MIB;
    world.power_on(left);
    world.check_recovered(lossless)?;
    let first = world.report();
    // Nothing is committed, so this recovery finds what the first one left.
    world.power_on(Left::Nothing);
    world.check_recovered(lossless).map_err(|error| format!("second recovery: {error}"))?;
    let second = world.report();
    for (one, two) in first.streams.iter().zip(&second.streams) {
        if (one.held, one.counts, one.next_sequence) != (two.held, two.counts, two.next_sequence) {
            return Err(format!("the second recovery changed {one:?} to {two:?}"));
        }
    }
    // It goes on working.
    let held: u64 = second.streams.iter().map(|stream| stream.held.records).sum();
    world.act(&Action::Append { stream: 1, size: 100 });
    world.commit_for_sure();
    world.power_on(Left::Nothing);
    world.check_recovered(lossless).map_err(|error| format!("after going on: {error}"))?;
    let after: u64 = world.report().streams.iter().map(|stream| stream.held.records).sum();
    if lossless && after != held + 1 {
        return Err(format!("{held} held, one more appended, {after} held"));
    }
    Ok(())
}

/// The power goes again while the spool is opened and first written to: at each change of that.
fn check_cut_again(workload: &[Action], budget: u64, cut: u64) -> Result<u64, String> {
    let mut checked = 0;
    for again in 1..=CUTS_OF_RECOVERY {
        let mut world = run(workload, budget, Some(cut), Plant::default());
        world.spool = None;
        world.disk.restart(Left::Some(cut));
        world.disk.cut_power_at(world.disk.usage().changes + again);
        world.open();
        world.act(&Action::Append { stream: 1, size: 10 });
        world.commit_for_sure();
        if !world.disk.is_off() {
            break;
        }
        checked += 1;
        world.power_on(Left::Some(again));
        let lossless = budget > 8 * MIB;
        world
            .check_recovered(lossless)
            .map_err(|error| format!("cut {again} of the recovery: {error}"))?;
    }
    Ok(checked)
}

/// Recovery and the first commit make fewer changes than this.
const CUTS_OF_RECOVERY: u64 = 40;

/// Workloads that are the same in every run.
fn workloads(count: usize, size_max: usize, length: std::ops::Range<usize>) -> Vec<Vec<Action>> {
    let mut runner = TestRunner::deterministic();
    let strategy = actions(size_max, length);
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

/// Every `stride`-th cut of a workload with every kind of leftover; what went wrong, and how many cuts were checked.
fn check_workload(
    workload: &[Action],
    budget: u64,
    stride: u64,
    plant: Plant,
) -> (Vec<String>, u64) {
    let whole = run(workload, budget, None, plant);
    let changes = whole.disk.usage().changes;
    let mut faults = Vec::new();
    let mut checked = 0;
    for cut in (1..=changes + 1).step_by(stride as usize) {
        for left in [Left::Nothing, Left::Everything, Left::Some(cut), Left::Some(!cut)] {
            checked += 1;
            if let Err(error) = check_cut(workload, budget, cut, left, plant) {
                faults.push(format!("cut {cut} of {changes}, {left:?}: {error}"));
            }
        }
    }
    (faults, checked)
}

fn assert_sound(workloads: &[Vec<Action>], budget: u64, stride: u64) {
    let mut checked = 0;
    for (number, workload) in workloads.iter().enumerate() {
        let (faults, cuts) = check_workload(workload, budget, stride, Plant::default());
        assert!(
            faults.is_empty(),
            "workload {number}: {} faults, such as {}\n{workload:?}",
            faults.len(),
            faults[0]
        );
        checked += cuts;
    }
    println!("{checked} cuts checked");
    assert!(checked > 500, "only {checked} cuts: the workloads do nothing");
}

#[test]
fn every_cut_of_small_records_loses_nothing_durable() {
    assert_sound(&workloads(40, 300, 60..160), 16 * MIB, 1);
}

/// Records so large that a segment is full after a few: seals, new segments, removals and rewrites happen all the time.
#[test]
fn every_cut_while_segments_come_and_go_loses_nothing_durable() {
    assert_sound(&workloads(24, 60_000, 60..120), 16 * MIB, 1);
}

#[test]
fn a_cut_during_recovery_loses_nothing_durable() {
    let mut checked = 0;
    for workload in workloads(8, 20_000, 40..80) {
        let changes = run(&workload, 16 * MIB, None, Plant::default()).disk.usage().changes;
        for cut in 1..=changes + 1 {
            match check_cut_again(&workload, 16 * MIB, cut) {
                Ok(cuts) => checked += cuts,
                Err(error) => panic!("cut {cut} of {changes}: {error}\n{workload:?}"),
            }
        }
    }
    println!("{checked} cuts checked");
    assert!(checked > 200, "only {checked} cuts");
}

/// A spool at its bound drops, thins and refuses; each loss has to be counted across every cut.
#[test]
fn every_cut_at_the_bound_counts_what_is_lost() {
    assert_sound(&workloads(12, 40_000, 150..220), MIB, 1);
}

fn assert_caught(plant: Plant) {
    let (mut faults, mut checked) = (Vec::new(), 0);
    for workload in workloads(12, 300, 60..160) {
        let (found, cuts) = check_workload(&workload, 16 * MIB, 3, plant);
        faults.extend(found);
        checked += cuts;
    }
    println!("{plant:?}: {} of {checked} cuts show it, such as {:?}", faults.len(), faults.first());
    assert!(!faults.is_empty(), "{plant:?} was not noticed in {checked} cuts");
}

#[test]
fn a_sync_that_does_nothing_is_noticed() {
    assert_caught(Plant { lying: true, ..Plant::default() });
}

#[test]
fn a_folder_that_is_not_synced_is_noticed() {
    assert_caught(Plant { forgetful: true, ..Plant::default() });
}

#[test]
fn freeing_before_the_acknowledgement_is_noticed() {
    assert_caught(Plant { bug: Bug::FreeWhenHandedOut, ..Plant::default() });
}
