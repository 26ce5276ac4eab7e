//! Which pods of a Node are evicted, and what is made of the answers.
//!
//! | pod | what becomes of it |
//! |---|---|
//! | of a static manifest (annotation `kubernetes.io/config.mirror`) | stays: the API cannot end it |
//! | of a DaemonSet | stays: its controller would bring it back at once, also to a Node that is cordoned. Whether the DaemonSet still exists is not asked: if not, the garbage collector ends its pods |
//! | finished (phase Succeeded or Failed) | not even listed |
//! | ending already | waited for, not evicted again |
//! | without controller, or with an `emptyDir` | as [`DrainPolicy`] says; refused ones keep every other where it is |
//! | any other | evicted within its budgets, with the time to end that it asks for |
//!
//! All state is at the server: a round begins by listing what is left, and so does the one after a power cut.

use std::time::Duration;

use serde_json::{Value, json};

use super::Page;
use super::json::{list, page, text};
use crate::core::membership::Outcome;

/// Annotation of a pod that a kubelet runs by itself.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// First and longest pause between two rounds. A budget is loosened by other pods that become ready, which takes seconds.
const PAUSE: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(30)];

/// Pods that are named to people.
const NAMED_MAX: usize = 3;

/// What is done with a pod whose eviction loses something for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loss {
    /// Nothing is evicted, and a person has to decide.
    #[default]
    Refuse,
    /// It is evicted.
    Evict,
}

/// What is evicted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainPolicy {
    /// Pods with an `emptyDir` volume, whose content is lost.
    pub empty_dir: Loss,
    /// Pods without a controller, which nobody starts anew elsewhere.
    pub bare: Loss,
}

/// What is done with a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is no obstacle.
    Stays,
    /// It is ending.
    Ends,
    /// It is evicted.
    Evicted,
    /// Policy refuses, for this reason.
    Refused(&'static str),
}

/// A pod that runs on a Node, as far as it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Identity.
    pub uid: String,
    mirror: bool,
    ending: bool,
    /// Kind of its controller.
    controller: Option<String>,
    empty_dir: bool,
}

impl std::fmt::Display for Pod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Pod {
    /// Reads a page of a list, and where the next begins.
    ///
    /// # Errors
    /// It is none.
    pub fn read_page(body: &[u8]) -> Result<Page<Pod>, String> {
        let (objects, next) = page(body)?;
        let pods = objects.iter().map(Pod::of).collect::<Result<_, _>>()?;
        Ok((pods, next))
    }

    fn of(object: &Value) -> Result<Pod, String> {
        let meta = &object["metadata"];
        let mut owners = list(meta, "/ownerReferences").iter();
        let controller = owners.find(|owner| owner["controller"] == true);
        let pod = Pod {
            namespace: text(meta, "/namespace").to_owned(),
            name: text(meta, "/name").to_owned(),
            uid: text(meta, "/uid").to_owned(),
            mirror: meta["annotations"].get(MIRROR).is_some(),
            ending: meta["deletionTimestamp"].is_string(),
            controller: controller.map(|owner| text(owner, "/kind").to_owned()),
            empty_dir: list(object, "/spec/volumes")
                .iter()
                .any(|volume| volume.get("emptyDir").is_some()),
        };
        if [&pod.namespace, &pod.name, &pod.uid].into_iter().any(String::is_empty) {
            return Err(
                "the server's answer is not what Kubernetes answers: it lists no pods".to_owned()
            );
        }
        Ok(pod)
    }

    /// What is done with it.
    #[must_use]
    pub fn fate(&self, policy: DrainPolicy) -> Fate {
        if self.mirror || self.controller.as_deref() == Some("DaemonSet") {
            return Fate::Stays;
        }
        if self.ending {
            return Fate::Ends;
        }
        if self.controller.is_none() && policy.bare == Loss::Refuse {
            return Fate::Refused("has no controller that would start it anew elsewhere");
        }
        if self.empty_dir && policy.empty_dir == Loss::Refuse {
            return Fate::Refused("has an emptyDir volume, whose content would be lost");
        }
        Fate::Evicted
    }

    /// Body of its eviction. It names no version of the API: servers before 1.22 do not know `policy/v1`, those from 1.25 on no
    /// other. No time to end is named either, so the pod has the one that it asks for.
    #[must_use]
    pub fn eviction(&self) -> Vec<u8> {
        let eviction = json!({
            "metadata": { "name": self.name, "namespace": self.namespace },
            "deleteOptions": { "preconditions": { "uid": self.uid } },
        });
        eviction.to_string().into_bytes()
    }
}

/// Path by which the running pods of a Node are listed. The field selector is also what lets the kubelet's certificate list
/// them; finished ones are left out by the server, which saves their bytes.
#[must_use]
pub fn list_path(node: &str) -> String {
    format!(
        "/api/v1/pods?fieldSelector=spec.nodeName%3D{node}%2Cstatus.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed"
    )
}

/// How far draining has come, for people. Losing it loses nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Rounds so far that were not the last.
    pub rounds: u32,
    /// Pods whose eviction the server accepted, over all rounds.
    pub evicted: u32,
    /// Pods that were left when the last round ended.
    pub left: usize,
}

/// What one round found.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// Pods that were told to end and have not yet.
    pub ending: Vec<String>,
    /// Pods that the server does not let go, and why.
    pub held: Vec<(String, String)>,
    /// Pods that policy refuses, and why.
    pub refused: Vec<(String, &'static str)>,
    /// There may be more than were looked at.
    pub more: bool,
    /// Longest time that the server asked for.
    pub after: Option<Duration>,
}

impl Round {
    /// What the round says, and how it counts.
    #[must_use]
    pub fn outcome(&self, progress: &mut Progress) -> Outcome {
        progress.left = self.ending.len() + self.held.len() + self.refused.len();
        if !self.refused.is_empty() {
            let first = self.refused.iter().map(|(pod, why)| format!("{pod} {why}"));
            return Outcome::Refused(format!(
                "no pod was evicted: {}; remove such pods, or allow their eviction in the federation's policy",
                named(first, self.refused.len())
            ));
        }
        if progress.left == 0 && !self.more {
            // The next time that this vehicle leaves is another.
            progress.rounds = 0;
            return Outcome::Done;
        }
        let doublings = progress.rounds.min(8);
        progress.rounds = progress.rounds.saturating_add(1);
        let pause = PAUSE[0].saturating_mul(1 << doublings).min(PAUSE[1]);
        let mut parts = Vec::new();
        if !self.held.is_empty() {
            let first = self.held.iter().map(|(pod, why)| format!("{pod} ({why})"));
            parts.push(format!("the server holds {}", named(first, self.held.len())));
        }
        if !self.ending.is_empty() {
            let first = self.ending.iter().cloned();
            parts.push(format!("waiting for the end of {}", named(first, self.ending.len())));
        }
        if self.more {
            parts.push("there are more pods than one round takes".to_owned());
        }
        Outcome::NotYet {
            after: self.after.map_or(pause, |after| after.max(pause)),
            text: parts.join("; "),
        }
    }
}

/// The first few, and how many more.
fn named(first: impl Iterator<Item = String>, count: usize) -> String {
    let text = first.take(NAMED_MAX).collect::<Vec<_>>().join(", ");
    if count > NAMED_MAX { format!("{text} and {} more", count - NAMED_MAX) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(metadata: &Value, volumes: &Value) -> Pod {
        let mut metadata = metadata.clone();
        metadata["name"] = json!("p");
        metadata["namespace"] = json!("ns");
        metadata["uid"] = json!("u");
        let body = json!({ "items": [{ "metadata": metadata, "spec": { "volumes": volumes } }] });
        Pod::read_page(body.to_string().as_bytes()).unwrap().0.remove(0)
    }

    fn controlled(kind: &str) -> Value {
        json!({ "ownerReferences": [{ "kind": "Other" }, { "kind": kind, "controller": true }] })
    }

    const ALL: DrainPolicy = DrainPolicy { empty_dir: Loss::Evict, bare: Loss::Evict };
    const NONE: DrainPolicy = DrainPolicy { empty_dir: Loss::Refuse, bare: Loss::Refuse };

    #[test]
    fn every_kind_of_pod_has_its_fate() {
        let none = json!([]);
        let scratch = json!([{ "name": "tmp", "emptyDir": {} }, { "name": "c", "configMap": {} }]);
        assert_eq!(pod(&controlled("ReplicaSet"), &none).fate(NONE), Fate::Evicted);
        assert_eq!(pod(&controlled("DaemonSet"), &scratch).fate(NONE), Fate::Stays);
        let mirror = json!({ "annotations": { MIRROR: "x" }, "ownerReferences": [{ "kind": "Node", "controller": true }] });
        assert_eq!(pod(&mirror, &none).fate(ALL), Fate::Stays);
        assert_eq!(pod(&json!({}), &none).fate(ALL), Fate::Evicted);
        assert!(
            matches!(pod(&json!({}), &none).fate(NONE), Fate::Refused(why) if why.contains("controller"))
        );
        let with = pod(&controlled("ReplicaSet"), &scratch);
        assert!(matches!(with.fate(NONE), Fate::Refused(why) if why.contains("emptyDir")));
        assert_eq!(with.fate(DrainPolicy { empty_dir: Loss::Evict, ..NONE }), Fate::Evicted);
        let ending = json!({ "deletionTimestamp": "2026-11-21T10:00:00Z" });
        assert_eq!(pod(&ending, &scratch).fate(NONE), Fate::Ends, "too late to refuse");
        let owned = json!({ "ownerReferences": [{ "kind": "DaemonSet" }] });
        assert_eq!(pod(&owned, &none).fate(ALL), Fate::Evicted, "an owner is not a controller");
    }

    #[test]
    fn an_eviction_names_the_pod_and_no_version() {
        let body: Value = serde_json::from_slice(&pod(&json!({}), &json!([])).eviction()).unwrap();
        assert_eq!(body["deleteOptions"]["preconditions"]["uid"], "u");
        assert_eq!(body["metadata"], json!({ "name": "p", "namespace": "ns" }));
        assert_eq!(body.get("apiVersion"), None);
    }

    #[test]
    fn a_round_ends_when_nothing_is_left() {
        let mut progress = Progress::default();
        let names = |count: usize| (0..count).map(|n| format!("ns/p{n}")).collect::<Vec<_>>();
        let busy = Round { ending: names(5), ..Round::default() };
        let pauses: Vec<u64> = (0..6)
            .map(|_| match busy.outcome(&mut progress) {
                Outcome::NotYet { after, text } => {
                    assert_eq!(text, "waiting for the end of ns/p0, ns/p1, ns/p2 and 2 more");
                    after.as_secs()
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(pauses, [5, 10, 20, 30, 30, 30]);
        assert_eq!((progress.left, progress.rounds), (5, 6));
        assert_eq!(Round::default().outcome(&mut progress), Outcome::Done);
        let more = Round { more: true, ..Round::default() };
        assert!(matches!(more.outcome(&mut progress), Outcome::NotYet { .. }));
    }

    #[test]
    fn a_round_says_who_is_in_the_way() {
        let held = vec![("ns/p".to_owned(), "budget two needs 2".to_owned())];
        let after = Some(Duration::from_secs(12));
        let round = Round { held, after, ..Round::default() };
        let Outcome::NotYet { after, text } = round.outcome(&mut Progress::default()) else {
            panic!()
        };
        assert_eq!(
            (after.as_secs(), text.as_str()),
            (12, "the server holds ns/p (budget two needs 2)")
        );
        let refused = vec![("ns/q".to_owned(), "has an emptyDir volume")];
        let round = Round { refused, ending: vec!["ns/p".to_owned()], ..Round::default() };
        let Outcome::Refused(text) = round.outcome(&mut Progress::default()) else { panic!() };
        assert!(text.contains("ns/q has an emptyDir volume"), "{text}");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Pod::read_page(&bytes);
        }
    }
}
