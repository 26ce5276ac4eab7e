//! What is known about the durable queue of gathered records: how full it is, how old, how well the disk does, and what
//! became of the records of each stream. The queue itself is the crate `spool`, on a thread of its own; here its reports are
//! turned into what people and metrics are shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spool::{Fate, Report, StreamReport};

use crate::core::time::Mono;

/// Over which time the rate of a stream is averaged, in milliseconds.
const RATE_OVER_MS: f64 = 60_000.0;

/// How the spool is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SpoolState {
    /// A folder is configured.
    pub configured: bool,
    /// The folder, for people.
    pub folder: String,
    /// Records are taken.
    pub open: bool,
    /// Why it is not open, or the disk takes nothing or gives nothing back, for a person.
    pub error: Option<String>,
    /// The disk takes nothing; records wait in memory.
    pub degraded: bool,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Bytes that it may have on disk.
    pub budget_bytes: u64,
    /// Bytes that the file system could still take.
    pub free_bytes: Option<u64>,
    /// Bytes of records in memory.
    pub memory_bytes: u64,
    /// Bytes written since the spool was begun.
    pub written_bytes: u64,
    /// Bytes that may still be written now, when they are limited.
    pub allowance_bytes: Option<u64>,
    /// Bytes that had been safe and are not what was written, since it was opened.
    pub damaged_bytes: u64,
    /// Bytes of unsynced writes that a power cut tore.
    pub torn_bytes: u64,
    /// Bytes the disk would not read.
    pub unreadable_bytes: u64,
    /// Files in quarantine.
    pub quarantined_files: u64,
    /// Files of others, and of newer versions, that are left alone.
    pub foreign_files: u64,
    /// Streams by name.
    pub streams: BTreeMap<String, StreamState>,
}

/// One stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamState {
    /// 0 is the most important.
    pub priority: u8,
    /// What happens when there is no more room, as a word.
    pub when_full: String,
    /// Records that are held.
    pub held_records: u64,
    /// Bytes of them.
    pub held_bytes: u64,
    /// Of these, records that wait for their sync: a power cut would take them.
    pub unsynced_records: u64,
    /// How long ago the oldest was accepted, as of the report.
    pub oldest_age_ms: Option<u64>,
    /// Records accepted since the spool was begun.
    pub accepted_records: u64,
    /// Records accepted each second, averaged over about a minute.
    pub records_per_s: f64,
    /// Records the far side has.
    pub acknowledged_records: u64,
    /// Records that were lost or refused, by cause.
    pub dropped: BTreeMap<String, Loss>,
    /// When the report was made, in milliseconds since boot.
    pub reported_ms: u64,
}

/// Records that nobody will ever get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// How many.
    pub records: u64,
    /// Bytes of them, where they are known.
    pub bytes: u64,
}

impl SpoolState {
    /// Takes in a report that was made at `now`.
    pub fn observe(&mut self, report: &Report, now: Mono) {
        self.open = true;
        self.degraded = report.degraded.is_some();
        let trouble = report.degraded.as_ref().or(report.unreadable.as_ref());
        self.error = trouble.map(|trouble| trouble.reason.clone());
        self.disk_bytes = report.disk_bytes;
        self.budget_bytes = report.budget_bytes;
        self.free_bytes = report.free_bytes;
        self.memory_bytes = report.memory_bytes;
        self.written_bytes = report.written_bytes;
        self.allowance_bytes = report.write_allowance;
        let damage = &report.damage;
        self.damaged_bytes = damage.damaged_bytes;
        self.torn_bytes = damage.torn_bytes;
        self.unreadable_bytes = damage.unreadable_bytes;
        self.quarantined_files = damage.quarantined_files;
        self.foreign_files = damage.foreign_files + damage.newer_files;
        let before = std::mem::take(&mut self.streams);
        for stream in &report.streams {
            let name = stream_name(stream);
            let rate = rate(stream, before.get(&name), now);
            self.streams.insert(name, stream_state(stream, rate, now));
        }
    }

    /// It cannot be used, and why.
    pub fn failed(&mut self, reason: String) {
        self.open = false;
        self.error = Some(reason);
    }

    /// Age of the oldest record of a stream at `now`.
    #[must_use]
    pub fn oldest_age_ms(stream: &StreamState, now: Mono) -> Option<u64> {
        let since_ms = now.millis().saturating_sub(stream.reported_ms);
        stream.oldest_age_ms.map(|age_ms| age_ms.saturating_add(since_ms))
    }
}

/// The name of a stream; one whose name was lost is shown by its tag.
#[must_use]
pub fn stream_name(stream: &StreamReport) -> String {
    stream.name.as_ref().map_or_else(|| stream.tag.to_string(), ToString::to_string)
}

fn stream_state(stream: &StreamReport, records_per_s: f64, now: Mono) -> StreamState {
    let lost = stream.counts.iter().filter(|(fate, count)| {
        *fate != Fate::Acknowledged && (count.records > 0 || count.bytes > 0)
    });
    StreamState {
        priority: stream.policy.priority,
        when_full: stream.policy.at_bound.word().to_owned(),
        held_records: stream.held.records,
        held_bytes: stream.held.bytes,
        unsynced_records: stream.pending.records,
        oldest_age_ms: stream.oldest_age_ms,
        accepted_records: accepted(stream),
        records_per_s,
        acknowledged_records: stream.counts.get(Fate::Acknowledged).records,
        dropped: lost
            .map(|(fate, count)| {
                (fate.word().to_owned(), Loss { records: count.records, bytes: count.bytes })
            })
            .collect(),
        reported_ms: now.millis(),
    }
}

/// Sequence numbers begin at 1 and only accepted records get one.
fn accepted(stream: &StreamReport) -> u64 {
    stream.next_sequence.saturating_sub(1)
}

fn rate(stream: &StreamReport, before: Option<&StreamState>, now: Mono) -> f64 {
    let Some(before) = before else { return 0.0 };
    let elapsed_ms = now.millis().saturating_sub(before.reported_ms) as f64;
    if elapsed_ms <= 0.0 {
        return before.records_per_s;
    }
    let came = accepted(stream).saturating_sub(before.accepted_records) as f64;
    let latest = came * 1000.0 / elapsed_ms;
    let weight = 1.0 - (-elapsed_ms / RATE_OVER_MS).exp();
    let rate = before.records_per_s + weight * (latest - before.records_per_s);
    // Digits beyond that are noise.
    (rate * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use spool::{Count, Counts, Damage, Degraded, StreamName, StreamPolicy, StreamTag};

    use super::*;

    fn stream(name: Option<&str>, next_sequence: u64) -> StreamReport {
        StreamReport {
            tag: StreamTag(0xab),
            name: name.map(|name| StreamName::new(name).unwrap()),
            policy: StreamPolicy::default(),
            held: Count { records: 3, bytes: 300 },
            pending: Count { records: 1, bytes: 100 },
            handed_out: 0,
            oldest_age_ms: Some(5_000),
            next_sequence,
            durable_up_to: 0,
            counts: Counts::default(),
        }
    }

    fn report(streams: Vec<StreamReport>) -> Report {
        Report {
            spool_id: 1,
            spool_ms: 0,
            disk_bytes: 4096,
            budget_bytes: 1 << 20,
            free_bytes: None,
            segments: 1,
            memory_bytes: 164,
            written_bytes: 5000,
            write_allowance: None,
            degraded: None,
            unreadable: None,
            damage: Damage::default(),
            streams,
        }
    }

    #[test]
    fn a_rate_is_averaged_and_a_lost_name_is_shown_by_its_tag() {
        let mut state = SpoolState::default();
        state.observe(&report(vec![stream(Some("a"), 1)]), Mono::from_millis(1_000));
        assert_eq!(state.streams["a"].records_per_s, 0.0);
        for second in 1..=600 {
            let now = Mono::from_millis(1_000 + second * 1_000);
            state.observe(&report(vec![stream(Some("a"), 1 + second * 10)]), now);
        }
        let rate = state.streams["a"].records_per_s;
        assert!((9.9..=10.0).contains(&rate), "{rate}");
        state.observe(&report(vec![stream(None, 1)]), Mono::from_millis(700_000));
        assert_eq!(state.streams.keys().collect::<Vec<_>>(), ["#000000ab"]);
    }

    #[test]
    fn ages_go_on_between_reports() {
        let mut state = SpoolState::default();
        state.observe(&report(vec![stream(Some("a"), 4)]), Mono::from_millis(10_000));
        let stream = &state.streams["a"];
        assert_eq!(SpoolState::oldest_age_ms(stream, Mono::from_millis(12_000)), Some(7_000));
        assert_eq!(stream.accepted_records, 3);
    }

    #[test]
    fn a_disk_that_takes_nothing_is_told_until_it_does() {
        let mut state = SpoolState::default();
        let reason = "cannot sync".to_owned();
        let degraded = Some(Degraded { reason, for_ms: 1, retry_in_ms: 1 });
        state.observe(&Report { degraded, ..report(Vec::new()) }, Mono::default());
        assert!(state.degraded && state.error.as_deref() == Some("cannot sync"));
        let unreadable = Some(Degraded { reason: "cannot open".into(), for_ms: 1, retry_in_ms: 1 });
        state.observe(&Report { unreadable, ..report(Vec::new()) }, Mono::default());
        assert!(!state.degraded && state.error.as_deref() == Some("cannot open"));
        state.observe(&report(Vec::new()), Mono::default());
        assert!(!state.degraded && state.error.is_none() && state.open);
    }
}
