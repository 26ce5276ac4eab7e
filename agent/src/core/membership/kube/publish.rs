//! What is said at the own Node, and how seldom. A word costs the mesh some kilobytes, and for every watcher of the Node as many
//! again, so it is repeated only when it changed by enough, and not more often than once a minute; that the vehicle leaves is
//! said at once.
//!
//! | annotation | changes by enough when |
//! |---|---|
//! | `network-cost` | it differs by a tenth, or the vehicle came into or out of reach |
//! | `gathered-bytes` | a stream's bytes differ by a tenth, or a stream came or went |
//! | `agent-version`, `vehicle` | it is another |
//! | `leaving` | it came, went or is another: at once |

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::{AGENT_VERSION, GATHERED, LEAVING, NETWORK_COST, VEHICLE, written};
use crate::core::membership::Outcome;
use crate::core::time::Mono;

/// Shortest time between two words. At 4 kB each, with answer and headers, that is 6 MB a
/// day at most; the Lease that every node renews takes 8.
pub const INTERVAL: Duration = Duration::from_secs(60);

/// Streams that are named; the others are summed up.
const STREAMS_MAX: usize = 16;

/// Name of the sum of the other streams. No stream can be called so.
const OTHERS: &str = "+";

/// Value of [`NETWORK_COST`] without a way.
const UNREACHABLE: &str = "-1";

/// That the vehicle leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Since when, in milliseconds since 1970; `None` while the clock cannot be believed.
    pub since_ms: Option<i64>,
    /// Why, for a person.
    pub reason: String,
}

impl Announcement {
    /// Value of [`LEAVING`]: the time, if there is one, and the reason.
    #[must_use]
    pub fn value(&self) -> String {
        match self.since_ms {
            Some(since) => format!("{} {}", written(since), self.reason),
            None => self.reason.clone(),
        }
    }

    /// The annotation that says so, or takes it back.
    #[must_use]
    pub fn annotation(leaving: Option<&Announcement>) -> BTreeMap<String, Option<String>> {
        let mut annotation = BTreeMap::new();
        annotation.insert(LEAVING.to_owned(), leaving.map(Announcement::value));
        annotation
    }
}

/// Everything there is to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// Id of the vehicle.
    pub vehicle: String,
    /// Version of the agent.
    pub agent_version: String,
    /// Network cost to the federation's server; `None` without a way.
    pub network_cost: Option<u32>,
    /// Bytes gathered and not delivered, by stream.
    pub gathered: BTreeMap<String, u64>,
    /// That it leaves.
    pub leaving: Option<Announcement>,
}

impl Word {
    /// As annotations.
    #[must_use]
    pub fn annotations(&self) -> BTreeMap<String, Option<String>> {
        let cost = self.network_cost.map_or(UNREACHABLE.to_owned(), |cost| cost.to_string());
        let mut annotations = Announcement::annotation(self.leaving.as_ref());
        annotations.insert(VEHICLE.to_owned(), Some(self.vehicle.clone()));
        annotations.insert(AGENT_VERSION.to_owned(), Some(self.agent_version.clone()));
        annotations.insert(NETWORK_COST.to_owned(), Some(cost));
        annotations.insert(GATHERED.to_owned(), Some(Value::Object(self.bytes()).to_string()));
        annotations
    }

    /// Bytes of the first streams by name, and the sum of the others.
    fn bytes(&self) -> Map<String, Value> {
        let mut bytes = Map::new();
        for (stream, count) in self.gathered.iter().take(STREAMS_MAX) {
            bytes.insert(stream.clone(), (*count).into());
        }
        if self.gathered.len() > STREAMS_MAX {
            let others = self.gathered.values().skip(STREAMS_MAX);
            let sum = others.fold(0, |sum: u64, count| sum.saturating_add(*count));
            bytes.insert(OTHERS.to_owned(), sum.into());
        }
        bytes
    }

    /// Whether it differs from `before` by enough to be said again.
    fn is_news(&self, before: &Word) -> bool {
        let cost = match (self.network_cost, before.network_cost) {
            (Some(now), Some(before)) => differs(u64::from(now), u64::from(before)),
            (now, before) => now != before,
        };
        let streams = self.gathered.len() != before.gathered.len()
            || self.gathered.iter().any(|(stream, bytes)| {
                before.gathered.get(stream).is_none_or(|before| differs(*bytes, *before))
            });
        cost || streams
            || self.agent_version != before.agent_version
            || self.vehicle != before.vehicle
    }
}

/// By a tenth or more of what it was, or from or to nothing.
pub(in crate::core::membership) fn differs(now: u64, before: u64) -> bool {
    (now == 0) != (before == 0)
        || now.abs_diff(before).saturating_mul(10) >= before.max(1) && now != before
}

/// Remembers what was said last.
#[derive(Clone, Debug, Default)]
pub struct Publisher {
    /// At the Node with this identity.
    said: Option<(String, Word)>,
    not_before: Option<Mono>,
}

impl Publisher {
    /// What has to be written now at the Node with this identity, if anything: every annotation that is not as it was written
    /// last, once one of them is worth it.
    #[must_use]
    pub fn due(
        &self,
        uid: &str,
        word: &Word,
        now: Mono,
    ) -> Option<BTreeMap<String, Option<String>>> {
        let before = self.said.as_ref().filter(|(of, _)| of == uid).map(|(_, word)| word);
        let urgent = match before {
            Some(before) => before.leaving != word.leaving,
            None => word.leaving.is_some(),
        };
        let held_back = self.not_before.is_some_and(|not_before| now < not_before);
        if held_back && !urgent {
            return None;
        }
        let mut annotations = word.annotations();
        if let Some(before) = before {
            if !urgent && !word.is_news(before) {
                return None;
            }
            let before = before.annotations();
            annotations.retain(|key, value| before.get(key) != Some(value));
        }
        Some(annotations)
    }

    /// What was said is not there any more: it is said again, in its time.
    pub fn forget(&mut self) {
        self.said = None;
    }

    /// What [`Publisher::due`] gave was tried, with this outcome.
    pub fn tried(&mut self, uid: &str, word: &Word, outcome: &Outcome, now: Mono) {
        let after = match outcome {
            Outcome::NotYet { after, .. } => INTERVAL.max(*after),
            Outcome::Done | Outcome::Unreachable(_) | Outcome::Refused(_) => INTERVAL,
        };
        self.not_before = Some(now + after);
        if *outcome == Outcome::Done {
            self.said = Some((uid.to_owned(), word.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono::from_millis(seconds * 1_000)
    }

    fn word(cost: u32, bytes: u64) -> Word {
        Word {
            vehicle: "alpha".to_owned(),
            agent_version: "0.1.0".to_owned(),
            network_cost: Some(cost),
            gathered: BTreeMap::from([("gps".to_owned(), bytes)]),
            leaving: None,
        }
    }

    fn said(word: &Word) -> Publisher {
        let mut publisher = Publisher::default();
        assert_eq!(publisher.due("u", word, at(0)).unwrap().len(), 5, "everything at first");
        publisher.tried("u", word, &Outcome::Done, at(0));
        publisher
    }

    #[test]
    fn only_what_changed_by_enough_is_said_again_and_seldom() {
        let publisher = said(&word(500, 1_000));
        assert_eq!(publisher.due("u", &word(549, 1_000), at(1_000)), None, "less than a tenth");
        assert_eq!(publisher.due("u", &word(900, 1_000), at(59)), None, "too early");
        let due = publisher.due("u", &word(550, 1_050), at(60)).unwrap();
        let expected = [
            (GATHERED.to_owned(), Some(r#"{"gps":1050}"#.to_owned())),
            (NETWORK_COST.to_owned(), Some("550".to_owned())),
        ];
        assert_eq!(due, BTreeMap::from(expected), "what goes along costs nothing more");
        let away = Word { network_cost: None, ..word(500, 1_000) };
        assert_eq!(publisher.due("u", &away, at(60)).unwrap()[NETWORK_COST].as_deref(), Some("-1"));
        assert!(publisher.due("u", &word(500, 0), at(60)).is_some());
    }

    #[test]
    fn what_somebody_took_away_is_said_again_in_its_time() {
        let mut publisher = said(&word(500, 1_000));
        publisher.forget();
        assert_eq!(publisher.due("u", &word(500, 1_000), at(59)), None, "too early");
        assert_eq!(publisher.due("u", &word(500, 1_000), at(60)).unwrap().len(), 5);
    }

    #[test]
    fn a_vehicle_that_leaves_says_so_at_once_and_takes_it_back() {
        let mut publisher = said(&word(500, 1));
        let since_ms = Some(951_782_400_000);
        let leaving = Word {
            leaving: Some(Announcement { since_ms, reason: "silent for 30 min".to_owned() }),
            ..word(501, 1)
        };
        let due = publisher.due("u", &leaving, at(1)).unwrap();
        assert_eq!(due[LEAVING].as_deref(), Some("2000-02-29T00:00:00Z silent for 30 min"));
        assert_eq!(due[NETWORK_COST].as_deref(), Some("501"));
        publisher.tried("u", &leaving, &Outcome::Done, at(1));
        assert_eq!(publisher.due("u", &leaving, at(2)), None);
        let due = publisher.due("u", &word(501, 1), at(2)).unwrap();
        assert_eq!(due, BTreeMap::from([(LEAVING.to_owned(), None)]));
    }

    #[test]
    fn a_node_that_was_made_anew_is_told_everything() {
        let publisher = said(&word(500, 1));
        assert_eq!(publisher.due("other", &word(500, 1), at(10)), None, "but not at once");
        assert_eq!(publisher.due("other", &word(500, 1), at(60)).unwrap().len(), 5);
    }

    #[test]
    fn what_was_not_written_is_due_again_after_the_pause() {
        let mut publisher = Publisher::default();
        let (word, after) = (word(500, 1), Duration::from_secs(200));
        let busy = Outcome::NotYet { after, text: String::new() };
        publisher.tried("u", &word, &busy, at(0));
        assert_eq!(publisher.due("u", &word, at(199)), None);
        assert_eq!(publisher.due("u", &word, at(200)).unwrap().len(), 5);
        publisher.tried("u", &word, &Outcome::Unreachable(String::new()), at(200));
        assert_eq!(publisher.due("u", &word, at(259)), None);
        assert!(publisher.due("u", &word, at(260)).is_some());
    }

    #[test]
    fn many_streams_are_summed_up() {
        let mut word = word(1, 1);
        word.gathered = (0..20).map(|n| (format!("s{n:02}"), n + 1)).collect();
        let annotations = word.annotations();
        let value = annotations[GATHERED].as_deref().unwrap();
        let shown: BTreeMap<String, u64> = serde_json::from_str(value).unwrap();
        assert_eq!((shown.len(), shown["+"], shown["s00"]), (17, 17 + 18 + 19 + 20, 1));
    }

    proptest::proptest! {
        #[test]
        fn no_more_than_one_word_a_minute(costs in proptest::collection::vec(0_u32..2_000, 1..200)) {
            let mut publisher = Publisher::default();
            let mut last = None;
            for (second, cost) in costs.into_iter().enumerate() {
                let now = at(second as u64);
                let word = word(cost, 1);
                if publisher.due("u", &word, now).is_some() {
                    proptest::prop_assert!(last.is_none_or(|last| now.since(last) >= INTERVAL));
                    publisher.tried("u", &word, &Outcome::Done, now);
                    last = Some(now);
                }
            }
        }
    }
}
