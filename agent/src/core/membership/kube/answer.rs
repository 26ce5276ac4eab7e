//! What a status of the Kubernetes API means for the one who asked.
//!
//! | status | meaning |
//! |---|---|
//! | 200, 201, 202 | done |
//! | 404 that speaks of the object | there is none: often what was wanted |
//! | 409 | somebody else was faster, or it is another object of that name |
//! | 401, 403 | refused: the credential is unknown, or may not do that |
//! | 429, 503 | not yet: after the time that the server names |
//! | other 5xx, 410, a 404 of something else | not yet |
//! | anything else | refused: the server does not understand us |

use std::time::Duration;

use serde_json::Value;

use super::json::{list, read, text};
use crate::core::membership::Outcome;

/// Longest text of a server that is shown to people, in characters.
const TEXT_MAX: usize = 240;

/// Bounds of the time that a server may ask us to stay away: none should make it a busy loop, or forget the vehicle.
const AFTER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(300)];

/// Wait when the server names none.
const AFTER_DEFAULT: Duration = Duration::from_secs(10);

/// An answer, as far as it is judged here.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// HTTP status.
    pub status: u16,
    /// Header `Retry-After` in seconds.
    pub retry_after_s: Option<u64>,
    /// Body.
    pub body: &'a [u8],
}

/// What it means, when it is not a reason to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It is as asked.
    Good,
    /// There is no such object.
    Missing,
    /// Somebody else was faster, or it is another object of that name; the server's words.
    Conflict(String),
}

impl Answer<'_> {
    /// Judges the answer to `doing`, such as "cordoning Node veh-001".
    ///
    /// # Errors
    /// What the one who asked has to be told instead.
    pub fn judge(&self, doing: &str) -> Result<Meaning, Outcome> {
        let said = self.said();
        let words = words(&said, self.body);
        match self.status {
            200..=202 => Ok(Meaning::Good),
            404 if said["reason"] == "NotFound" => Ok(Meaning::Missing),
            409 => Ok(Meaning::Conflict(words)),
            // The uid in a patch is that of an earlier object of the name, which to change is not allowed.
            422 if causes(&said).any(|cause| cause["field"] == "metadata.uid") => {
                Ok(Meaning::Conflict(words))
            }
            401 => Err(Outcome::Refused(format!(
                "{doing}: the server does not know this vehicle's credential (401): the account's Secret was deleted, or the \
                 certificate is of another cluster or has expired; get the token anew (images/kubernetes/vehicle.yaml says how, \
                 for an agent beside a server host.yaml), or restart k3s while its server is in reach"
            ))),
            403 => Err(Outcome::Refused(format!(
                "{doing} is not allowed (403): {words}; apply images/kubernetes/fleet.yaml, and vehicle.yaml with this \
                 vehicle's name, and use the token of that account; for an agent beside a server, host.yaml"
            ))),
            429 | 503 => {
                Err(self.not_yet(format!("{doing}: the server is busy ({}): {words}", self.status)))
            }
            404 | 410 | 500..=599 => {
                Err(self.not_yet(format!("{doing}: the server answered {}: {words}", self.status)))
            }
            status => Err(Outcome::Refused(format!(
                "{doing}: the server answered {status}: {words}; this program and the server's Kubernetes do not fit"
            ))),
        }
    }

    /// Of an eviction that is refused for now (429): the words about the budget that forbids it. `None` for any other 429.
    #[must_use]
    pub fn budget(&self) -> Option<String> {
        let said = self.said();
        let cause = causes(&said).find(|cause| cause["reason"] == "DisruptionBudget")?;
        Some(shown(text(cause, "/message")))
    }

    /// How long the server wants to be left alone, if it says so and means more than "choose".
    #[must_use]
    pub fn after(&self) -> Option<Duration> {
        let said = self.said();
        let within = said.pointer("/details/retryAfterSeconds").and_then(Value::as_u64);
        let seconds = self.retry_after_s.max(within).unwrap_or(0);
        let bounded = |after: Duration| after.clamp(AFTER[0], AFTER[1]);
        (seconds > 0).then(|| bounded(Duration::from_secs(seconds)))
    }

    /// Its own words, or that there are none.
    #[must_use]
    pub fn text(&self) -> String {
        words(&self.said(), self.body)
    }

    fn not_yet(&self, text: String) -> Outcome {
        Outcome::NotYet { after: self.after().unwrap_or(AFTER_DEFAULT), text }
    }

    /// A failure as Kubernetes words it (`meta/v1` Status), or nothing.
    fn said(&self) -> Value {
        // Proxies in front of an API answer with a page, or with nothing.
        read(self.body).unwrap_or_default()
    }
}

fn causes(said: &Value) -> impl Iterator<Item = &Value> {
    list(said, "/details/causes").iter()
}

fn words(said: &Value, body: &[u8]) -> String {
    let message = text(said, "/message");
    if !message.is_empty() {
        return shown(message);
    }
    let body = String::from_utf8_lossy(&body[..body.len().min(TEXT_MAX)]);
    if body.trim().is_empty() { "it gave no reason".to_owned() } else { shown(body.trim()) }
}

/// A foreign text, short and on one line.
fn shown(text: &str) -> String {
    text.chars().take(TEXT_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(status: u16, retry_after_s: Option<u64>, body: &str) -> Result<Meaning, Outcome> {
        Answer { status, retry_after_s, body: body.as_bytes() }.judge("reading Node v")
    }

    fn after(outcome: Result<Meaning, Outcome>) -> u64 {
        match outcome {
            Err(Outcome::NotYet { after, .. }) => after.as_secs(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_status_says_what_to_do() {
        for status in [200, 201, 202] {
            assert_eq!(judge(status, None, "{}"), Ok(Meaning::Good));
        }
        let missing = r#"{"kind":"Status","reason":"NotFound","message":"nodes \"v\" not found"}"#;
        assert_eq!(judge(404, None, missing), Ok(Meaning::Missing));
        let conflict = judge(409, None, r#"{"message":"the UID differs"}"#);
        assert_eq!(conflict, Ok(Meaning::Conflict("the UID differs".to_owned())));
        let uid = r#"{"message":"m","details":{"causes":[{"field":"metadata.uid"}]}}"#;
        assert_eq!(judge(422, None, uid), Ok(Meaning::Conflict("m".to_owned())));
        for (status, part) in
            [(401, "vehicle.yaml"), (403, "fleet.yaml"), (400, "do not fit"), (422, "422")]
        {
            let outcome = judge(status, None, "");
            assert!(
                matches!(&outcome, Err(Outcome::Refused(text)) if text.contains(part)),
                "{outcome:?}"
            );
        }
        for status in [404, 410, 429, 500, 502, 503, 504] {
            assert_eq!(after(judge(status, None, "<html>")), 10, "{status}");
        }
    }

    #[test]
    fn the_servers_time_is_kept_within_bounds() {
        assert_eq!(after(judge(503, Some(7), "")), 7);
        assert_eq!(after(judge(429, Some(0), "")), 10);
        assert_eq!(after(judge(429, None, r#"{"details":{"retryAfterSeconds":12}}"#)), 12);
        assert_eq!(after(judge(429, Some(u64::MAX), "")), 300);
    }

    #[test]
    fn a_budget_that_forbids_is_told_from_a_busy_server() {
        let body = br#"{"reason":"TooManyRequests","message":"Cannot evict","details":{"causes":[
            {"reason":"DisruptionBudget","message":"The disruption budget two needs 2 healthy pods and has 2 currently"}]}}"#;
        let answer = Answer { status: 429, retry_after_s: None, body };
        assert!(answer.budget().unwrap().contains("budget two"));
        assert_eq!(Answer { body: b"{}", ..answer }.budget(), None);
    }

    #[test]
    fn foreign_words_are_short_and_on_one_line() {
        let long = "\n".repeat(1_000);
        let body = serde_json::json!({ "message": format!("a{long}") }).to_string();
        let text = Answer { status: 500, retry_after_s: None, body: body.as_bytes() }.text();
        assert_eq!((text.len(), text.contains('\n')), (TEXT_MAX, false));
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_it_panic(status: u16, retry_after_s: Option<u64>, body: Vec<u8>) {
            let answer = Answer { status, retry_after_s, body: &body };
            let _ = (answer.judge("x"), answer.budget(), answer.after(), answer.text());
        }
    }
}
