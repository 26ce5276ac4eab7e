//! One bounded round of emptying a Node: what is left is listed, what may be evicted is evicted, and the answer says whether
//! another round is needed. The server has all state.

use std::time::Duration;

use hyper::Method;
use tokio::time::Instant;

use super::wire::Request;
use super::{Cluster, node_name};
use crate::core::membership::Outcome;
use crate::core::membership::kube::answer::Meaning;
use crate::core::membership::kube::drain::{Fate, Pod, Round, list_path};
use crate::core::membership::kube::{DrainPolicy, JSON, Progress};

/// Evictions of one round.
const EVICTIONS_MAX: usize = 64;

/// No eviction is begun later in a round, so that it comes to an end on a slow link too.
const ROUND_MAX: Duration = Duration::from_secs(60);

impl Cluster {
    /// Evicts the pods of a Node, as far as their budgets allow, each with the time to end that it asks for. Done when none is left
    /// that has to go; [`Outcome::NotYet`] says which pod is held by what, and when to call this again. A pod that `policy`
    /// refuses keeps all others where they are.
    pub async fn drain(
        &mut self,
        name: &str,
        policy: DrainPolicy,
        progress: &mut Progress,
    ) -> Outcome {
        match self.round(name, policy, progress).await {
            Ok(round) => round.outcome(progress),
            Err(outcome) => outcome,
        }
    }

    async fn round(
        &mut self,
        name: &str,
        policy: DrainPolicy,
        progress: &mut Progress,
    ) -> Result<Round, Outcome> {
        node_name(name).map_err(Outcome::Refused)?;
        let until = Instant::now() + ROUND_MAX;
        let mut pods = Vec::new();
        let take = &mut |body: &[u8]| {
            let (page, next) = Pod::read_page(body)?;
            pods.extend(page);
            Ok((pods.len(), next))
        };
        let doing = format!("listing the pods of Node {name}");
        let more = self.list(&list_path(name), &doing, take).await?;
        let mut round = Round { more, ..Round::default() };
        let mut going = Vec::new();
        for pod in pods {
            match pod.fate(policy) {
                Fate::Stays => {}
                Fate::Ends => round.ending.push(pod.to_string()),
                Fate::Evicted => going.push(pod),
                Fate::Refused(why) => round.refused.push((pod.to_string(), why)),
            }
        }
        if !round.refused.is_empty() {
            return Ok(round);
        }
        for (count, pod) in going.iter().enumerate() {
            if count >= EVICTIONS_MAX || Instant::now() >= until {
                round.more = true;
                break;
            }
            if self.evict(pod, &mut round).await? {
                progress.evicted = progress.evicted.saturating_add(1);
            }
        }
        Ok(round)
    }

    /// Whether the server accepted the eviction; `round` is told what to wait for.
    async fn evict(&mut self, pod: &Pod, round: &mut Round) -> Result<bool, Outcome> {
        let path = format!("/api/v1/namespaces/{}/pods/{}/eviction", pod.namespace, pod.name);
        let body = Some((JSON, pod.eviction()));
        let reply = self.wire.ask(&Request { method: Method::POST, path: &path, body }).await?;
        let answer = reply.answer();
        let held_by = match answer.status {
            // Several budgets, or one that cannot be told: other pods may still go.
            500 => Some(answer.text()),
            // Without a budget the server itself is busy.
            429 => answer.budget(),
            _ => None,
        };
        if let Some(why) = held_by {
            round.held.push((pod.to_string(), why));
            round.after = round.after.max(answer.after());
            return Ok(false);
        }
        match answer.judge(&format!("evicting pod {pod}"))? {
            Meaning::Good => {
                round.ending.push(pod.to_string());
                Ok(true)
            }
            Meaning::Missing => Ok(false),
            // A pod of that name was made anew: the next round sees where it is.
            Meaning::Conflict(text) => {
                round.held.push((pod.to_string(), text));
                Ok(false)
            }
        }
    }
}
