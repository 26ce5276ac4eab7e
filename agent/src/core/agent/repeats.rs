//! Keeps a flapping subject from filling log, page and broker: an event that repeats within a short time is told when
//! that time is over, and only the latest one on its topic is, so that the last word is always true. Tells nothing itself.

use std::collections::VecDeque;
use std::time::Duration;

use crate::core::state::Severity;
use crate::core::time::Mono;

/// An event of one kind about one subject is told once within this time.
pub(super) const EVENT_REPEAT_MIN: Duration = Duration::from_secs(10);

/// Topics that are remembered. What finds no room is told at once: rather too often than never.
const TOPICS_MAX: usize = 256;

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct News {
    pub severity: Severity,
    /// Fixed word; what stands before its first hyphen is its topic, such as `broker` of `broker-away`.
    pub kind: &'static str,
    pub subject: String,
    pub text: String,
}

/// What was told about one subject on one topic, and what waits.
#[derive(Debug)]
struct Topic {
    topic: &'static str,
    subject: String,
    /// Kinds with the moment each was last told; as many as the topic has.
    told: Vec<(&'static str, Mono)>,
    held: Option<News>,
}

impl Topic {
    fn told_lately(&self, kind: &str, now: Mono) -> bool {
        self.told.iter().any(|(told, at)| *told == kind && now.since(*at) < EVENT_REPEAT_MIN)
    }

    fn tell(&mut self, kind: &'static str, now: Mono) {
        self.told.retain(|(told, _)| *told != kind);
        self.told.push((kind, now));
        // Whatever waited is older than this.
        self.held = None;
    }
}

/// All that was told lately.
#[derive(Debug, Default)]
pub(super) struct Repeats(VecDeque<Topic>);

impl Repeats {
    /// Takes in what happened at `now` and gives it back if it is to be told now; otherwise [`Repeats::due`] does later.
    pub(super) fn pass(&mut self, now: Mono, news: News) -> Option<News> {
        let topic = news.kind.split('-').next().unwrap_or(news.kind);
        let known = self.0.iter_mut().find(|t| t.topic == topic && t.subject == news.subject);
        if let Some(known) = known {
            if known.told_lately(news.kind, now) {
                known.held = Some(news);
                return None;
            }
            known.tell(news.kind, now);
        } else if self.0.len() < TOPICS_MAX {
            let subject = news.subject.clone();
            self.0.push_back(Topic { topic, subject, told: vec![(news.kind, now)], held: None });
        }
        Some(news)
    }

    /// What has waited for long enough at `now`. Forgets what nothing was told about lately.
    pub(super) fn due(&mut self, now: Mono) -> Vec<News> {
        let mut due = Vec::new();
        for topic in &mut self.0 {
            let waits = |news: &News| topic.told_lately(news.kind, now);
            if topic.held.as_ref().is_some_and(waits) {
                continue;
            }
            if let Some(news) = topic.held.take() {
                topic.tell(news.kind, now);
                due.push(news);
            }
        }
        self.0.retain(|topic| topic.told.iter().any(|(kind, _)| topic.told_lately(kind, now)));
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(kind: &'static str, subject: &str) -> News {
        let (subject, text) = (subject.to_owned(), String::new());
        News { severity: Severity::Info, kind, subject, text }
    }

    fn at(seconds: u64) -> Mono {
        Mono::from_millis(seconds * 1000)
    }

    #[test]
    fn the_last_word_is_true_however_it_flaps() {
        let mut repeats = Repeats::default();
        let mut told = Vec::new();
        let (away, back) = (news("broker-away", ""), news("broker-connected", ""));
        for second in 0..60 {
            told.extend(repeats.due(at(second)));
            match second {
                0 | 2 | 4 => told.extend(repeats.pass(at(second), away.clone())),
                1 | 3 => told.extend(repeats.pass(at(second), back.clone())),
                _ => {}
            }
        }
        assert_eq!(told, [away.clone(), back, away]);
    }

    #[test]
    fn other_subjects_and_topics_do_not_wait() {
        let mut repeats = Repeats::default();
        for kind in ["vehicle-unreachable", "reloaded"] {
            for subject in ["bravo", "charlie"] {
                assert!(repeats.pass(at(0), news(kind, subject)).is_some());
                assert!(repeats.pass(at(1), news(kind, subject)).is_none());
            }
        }
        assert_eq!(repeats.due(at(9)), []);
        assert_eq!(repeats.due(at(10)).len(), 4, "each is told once more");
    }

    #[test]
    fn memory_is_bounded_and_given_back() {
        let mut repeats = Repeats::default();
        for subject in 0..2 * TOPICS_MAX {
            let told = repeats.pass(at(0), news("vehicle-unreachable", &subject.to_string()));
            assert!(told.is_some(), "nothing is lost for want of room");
        }
        assert_eq!(repeats.0.len(), TOPICS_MAX);
        assert_eq!(repeats.due(at(10)), []);
        assert!(repeats.0.is_empty());
    }
}
