//! Mistakes made on purpose: each is noticed within fixed seeds, as the promise that it breaks.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use sim::{Bug, Failure, Settings, run};

/// The first of some seeds in which a mistake is noticed.
fn caught(bug: Bug, seeds: std::ops::Range<u64>) -> Failure {
    let settings = Settings { vehicles: 3, hours: 6, bug: Some(bug), trace: false };
    let failure = seeds.clone().find_map(|seed| run(seed, settings).err());
    *failure.unwrap_or_else(|| panic!("{bug} was not noticed in the seeds {seeds:?}"))
}

#[test]
fn freeing_on_publish_is_noticed() {
    let failure = caught(Bug::FreeOnPublish, 0..5);
    assert!(!failure.trace.is_empty(), "it says what happened last");
}

#[test]
fn a_folder_that_is_not_synced_is_noticed() {
    caught(Bug::FolderNotSynced, 0..20);
}

#[test]
fn a_failed_sync_that_counts_as_success_is_noticed() {
    caught(Bug::FailedSyncIgnored, 0..20);
}

#[test]
fn freeing_by_a_wrong_acknowledgement_is_noticed() {
    let failure = caught(Bug::WrongAcknowledgement, 0..20);
    assert_eq!(failure.broken.promise, "only what the broker acknowledged is freed");
}

#[test]
fn a_lost_rewind_is_noticed() {
    caught(Bug::RewindLost, 0..5);
}
