//! The host's side: what an agent beside a federation's server does for its members. It deletes the Node of a vehicle that said
//! that it leaves and is silent since, and tells vehicles that left from vehicles that are lost. Decides; sends nothing.
//!
//! A vehicle is silent when nothing new was heard of its kubelet for [`Settings::silent_after`], by this machine's boot clock: what
//! vehicles write into heartbeats and Leases are times of their own clocks, which may be wrong by years. So nobody is silent in
//! the first minutes after a start, which costs nothing but these minutes. Nor is anybody silent because the server was: of a time
//! without a look only [`UNSEEN_PART`] counts, and a server that took none of our words may have taken nobody's.
//!
//! Only Nodes that carry a vehicle's id are looked after. At those of others, which have no agent that could say it, it writes their
//! network cost as it is from here, as seldom as agents do ([`super::kube`]); whatever else is theirs is none of its business.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::custom_metrics::Costs;
use super::kube::{INTERVAL, LOST, NETWORK_COST, Node, VEHICLE, differs};
use crate::core::time::Mono;

/// What is to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long nothing is heard of a kubelet before its vehicle is silent. Kubelets renew their Lease every 10 s.
    pub silent_after: Duration,
}

/// Something that is to be done at the server. Doing it again does no harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Care {
    /// Delete the Node of a vehicle that has left.
    Delete {
        /// Name of the Node.
        node: String,
        /// Its identity.
        uid: String,
        /// What of it was seen: one that changed since is spared, its vehicle may be back.
        version: String,
        /// The vehicle.
        vehicle: String,
    },
    /// Write annotations at the Node, and remove those that are `None`.
    Annotate {
        /// Name of the Node.
        node: String,
        /// Its identity.
        uid: String,
        /// Keys and values.
        annotations: BTreeMap<String, Option<String>>,
        /// One sentence for people.
        text: String,
    },
    /// Write the network cost at a Node without an agent, or remove it when there is none. Nothing that people are told of.
    Price {
        /// Name of the Node.
        node: String,
        /// Its identity.
        uid: String,
        /// The annotation.
        annotations: BTreeMap<String, Option<String>>,
    },
}

/// When something new was heard of a kubelet last.
#[derive(Clone, Copy, Debug)]
struct Heard {
    /// Times of its heartbeat and its Lease. The later one would not do: after its clock was set back, the one that is
    /// renewed is the earlier for some minutes.
    at_ms: [Option<i64>; 2],
    since: Mono,
}

/// What was written last as the cost of a Node without an agent.
#[derive(Clone, Copy, Debug)]
struct Priced {
    cost: Option<u32>,
    at: Mono,
    by: By,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Us,
    /// It was tried, and failed.
    Nobody,
    /// Since then there is none from here.
    Others,
}

/// Looks after the members of one federation.
#[derive(Debug)]
pub struct Host {
    settings: Settings,
    /// By the identity of their Nodes.
    heard: BTreeMap<String, Heard>,
    /// When the Nodes were seen last.
    looked: Option<Mono>,
    /// By the identity of Nodes without an agent.
    priced: BTreeMap<String, Priced>,
}

/// For so long a Node is left to whoever has written another cost there: another host of the same cluster, as likely as not. What it
/// leaves behind when it ends is not left for ever.
const YIELD: Duration = Duration::from_secs(600);

/// A time between two looks counts as silence up to this part of [`Settings::silent_after`]; as long as the server answers, looks
/// are more frequent.
pub const UNSEEN_PART: u32 = 4;

impl Host {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(settings: Settings) -> Host {
        Host { settings, heard: BTreeMap::new(), looked: None, priced: BTreeMap::new() }
    }

    /// What is to be done about all Nodes, as they are at `now` and cost from here. `wall` is the time for people, if there is one.
    #[must_use]
    pub fn look(
        &mut self,
        nodes: &[Node],
        costs: &Costs,
        now: Mono,
        wall: Option<&str>,
    ) -> Vec<Care> {
        let known: BTreeSet<&str> = nodes.iter().map(|node| node.uid.as_str()).collect();
        self.heard.retain(|uid, _| known.contains(uid.as_str()));
        self.pass_over_outage(now);
        self.priced.retain(|uid, _| known.contains(uid.as_str()));
        let care = |node: &Node| match node.annotations.get(VEHICLE) {
            Some(vehicle) => self.look_at(node, vehicle.clone(), now, wall),
            // One that joins has the label before its agent has said anything.
            None if node.labels.contains_key(VEHICLE) => None,
            None => self.price(node, *costs.get(&node.name)?, now),
        };
        nodes.iter().filter_map(care).collect()
    }

    /// Nobody could be heard while the server did not answer; kubelets need a moment after that.
    fn pass_over_outage(&mut self, now: Mono) {
        let unseen = self.looked.map_or(Duration::ZERO, |looked| now.since(looked));
        let most = self.settings.silent_after / UNSEEN_PART;
        for heard in self.heard.values_mut() {
            heard.since = heard.since + unseen.saturating_sub(most);
        }
        self.looked = Some(now);
    }

    /// What was to be done at the Node with this identity was not, and may be some time. Whoever is silent is given a moment more
    /// than it takes to look again, in which kubelets are heard of if it was the server that took nothing.
    pub fn failed(&mut self, uid: &str, now: Mono) {
        if let Some(priced) = self.priced.get_mut(uid) {
            priced.by = By::Nobody;
        }
        let most = self.settings.silent_after / UNSEEN_PART;
        for heard in self.heard.values_mut() {
            let since = now.since(heard.since);
            let excess = (since + most).saturating_sub(self.settings.silent_after);
            heard.since = heard.since + excess;
        }
    }

    /// Keeps the cost at a Node without an agent.
    fn price(&mut self, node: &Node, cost: Option<u32>, now: Mono) -> Option<Care> {
        let said = node.annotations.get(NETWORK_COST);
        let is_news = match (cost, said.and_then(|said| said.parse().ok())) {
            (Some(cost), Some(said)) => differs(u64::from(cost), said),
            (Some(_), None) => true,
            (None, _) => said.is_some(),
        };
        if cost.is_none() && is_news {
            // Another host may have the way to it that is missing here.
            let others = Priced { cost, at: now, by: By::Others };
            self.priced.entry(node.uid.clone()).or_insert(others);
        }
        let is_early = self.priced.get(&node.uid).is_some_and(|own| {
            let is_own = said.cloned() == own.cost.map(|cost| cost.to_string());
            let pause = match own.by {
                By::Us if is_own => INTERVAL,
                By::Us => YIELD,
                By::Nobody => INTERVAL,
                By::Others if cost.is_none() => YIELD,
                By::Others => Duration::ZERO,
            };
            now.since(own.at) < pause
        });
        if !is_news || is_early {
            return None;
        }
        self.priced.insert(node.uid.clone(), Priced { cost, at: now, by: By::Us });
        let annotation = (NETWORK_COST.to_owned(), cost.map(|cost| cost.to_string()));
        let (node, uid) = (node.name.clone(), node.uid.clone());
        Some(Care::Price { node, uid, annotations: BTreeMap::from([annotation]) })
    }

    fn look_at(
        &mut self,
        node: &Node,
        vehicle: String,
        now: Mono,
        wall: Option<&str>,
    ) -> Option<Care> {
        let at_ms = [node.heartbeat_ms, node.lease_ms];
        let heard = self.heard.entry(node.uid.clone()).or_insert(Heard { at_ms, since: now });
        let is_news = heard.at_ms != at_ms;
        if is_news {
            *heard = Heard { at_ms, since: now };
        }
        let is_silent = now.since(heard.since) >= self.settings.silent_after;
        let is_marked = node.annotations.contains_key(LOST);
        let (name, uid) = (node.name.clone(), node.uid.clone());
        if is_silent && node.says_that_it_leaves() {
            let version = node.resource_version.clone();
            return Some(Care::Delete { node: name, uid, version, vehicle });
        }
        if is_silent && !is_marked {
            let since = wall.unwrap_or("at a time that is not known").to_owned();
            let silent_for = super::report::span(self.settings.silent_after);
            return Some(Care::Annotate {
                node: name,
                uid,
                // A scheduler takes a cost that is missing for none, and -1 for the best.
                annotations: BTreeMap::from([
                    (LOST.to_owned(), Some(since)),
                    (NETWORK_COST.to_owned(), None),
                ]),
                text: format!(
                    "nothing was heard of {vehicle} for {silent_for}, and it did not say that it leaves"
                ),
            });
        }
        (is_news && is_marked).then(|| Care::Annotate {
            node: name,
            uid,
            annotations: BTreeMap::from([(LOST.to_owned(), None)]),
            text: format!("{vehicle} is heard of again"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::membership::kube::LEAVING;

    fn at(seconds: u64) -> Mono {
        Mono::from_millis(seconds * 1_000)
    }

    fn host() -> Host {
        Host::new(Settings { silent_after: Duration::from_secs(60) })
    }

    fn node(name: &str, lease_s: i64, annotations: &[(&str, &str)]) -> Node {
        let own = [(VEHICLE, name)];
        let all = own.iter().chain(annotations);
        Node {
            name: name.to_owned(),
            uid: format!("uid of {name}"),
            resource_version: format!("version of {name}"),
            lease_ms: Some(lease_s * 1_000),
            annotations: all.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ..Node::default()
        }
    }

    /// Looks at them every second, which is to give no reason for anything.
    fn look_on(host: &mut Host, nodes: &[Node], from: u64, to: u64) {
        for second in from..=to {
            assert_eq!(host.look(nodes, &Costs::new(), at(second), None), [], "at {second} s");
        }
    }

    #[test]
    fn one_that_left_is_deleted_when_it_is_silent_and_not_before() {
        let mut host = host();
        let leaving = |lease| vec![node("hawk", lease, &[(LEAVING, "for good")])];
        assert_eq!(host.look(&leaving(1), &Costs::new(), at(0), None), []);
        look_on(&mut host, &leaving(1), 0, 59);
        // It still drains.
        look_on(&mut host, &leaving(2), 60, 119);
        let [Care::Delete { node, uid, version, vehicle }] =
            &host.look(&leaving(2), &Costs::new(), at(120), None)[..]
        else {
            panic!("it is not deleted");
        };
        assert_eq!(
            [node.as_str(), uid.as_str(), version.as_str(), vehicle.as_str()],
            ["hawk", "uid of hawk", "version of hawk", "hawk"]
        );
    }

    #[test]
    fn one_that_is_silent_without_a_word_is_lost_once_and_found_again() {
        let mut host = host();
        let silent = vec![node("hawk", 1, &[(NETWORK_COST, "100")])];
        look_on(&mut host, &silent, 0, 59);
        let [Care::Annotate { annotations, text, .. }] =
            &host.look(&silent, &Costs::new(), at(60), Some("now"))[..]
        else {
            panic!("it is not lost");
        };
        assert_eq!(annotations[LOST].as_deref(), Some("now"));
        assert_eq!(annotations[NETWORK_COST], None);
        assert!(text.contains("did not say that it leaves"), "{text}");
        let marked = |lease| vec![node("hawk", lease, &[(LOST, "now")])];
        assert_eq!(host.look(&marked(1), &Costs::new(), at(90), None), []);
        let [Care::Annotate { annotations, .. }] =
            &host.look(&marked(2), &Costs::new(), at(91), None)[..]
        else {
            panic!("it is not found");
        };
        assert_eq!(*annotations, BTreeMap::from([(LOST.to_owned(), None)]));
    }

    #[test]
    fn the_cost_of_somebody_else_stays_for_a_time_where_the_way_is_missing_here() {
        let mut bare = node("bare", 1, &[(NETWORK_COST, "100")]);
        bare.annotations.remove(VEHICLE);
        let look = |host: &mut Host, cost, seconds| {
            let costs = Costs::from([("bare".to_owned(), cost)]);
            host.look(std::slice::from_ref(&bare), &costs, at(seconds), None).len()
        };
        let mut known = host();
        assert_eq!((look(&mut known, None, 0), look(&mut known, None, 599)), (0, 0));
        assert_eq!(look(&mut known, None, 600), 1, "nobody keeps it");
        let mut known = host();
        assert_eq!((look(&mut known, None, 0), look(&mut known, Some(300), 1)), (0, 1));
    }

    #[test]
    fn whose_clock_was_set_back_is_heard_by_the_lease_that_is_renewed() {
        let mut host = host();
        for second in 0..300_u64 {
            let mut node = node("hawk", 1_000 + second.cast_signed(), &[(LEAVING, "for good")]);
            node.heartbeat_ms = Some(9_000_000);
            assert_eq!(host.look(&[node], &Costs::new(), at(second), None), [], "at {second} s");
        }
    }

    #[test]
    fn a_server_that_takes_nothing_makes_nobody_silent_when_it_does_again() {
        let mut host = host();
        let leaving = |lease| vec![node("hawk", lease, &[(LEAVING, "for good")])];
        look_on(&mut host, &leaving(1), 0, 59);
        for second in [60, 75, 90] {
            let care = host.look(&leaving(1), &Costs::new(), at(second), None);
            assert!(matches!(care[..], [Care::Delete { .. }]), "at {second} s: {care:?}");
            host.failed("uid of hawk", at(second));
            look_on(&mut host, &leaving(1), second + 1, second + 14);
        }
        look_on(&mut host, &leaving(2), 105, 164);
    }

    #[test]
    fn nobody_is_silent_because_the_server_was() {
        let mut host = host();
        let alive = vec![node("hawk", 1, &[]), node("kite", 1, &[(LEAVING, "for good")])];
        look_on(&mut host, &alive, 0, 30);
        // It was away for an hour, or its API hung: its Nodes are as they were before, and kubelets have not got through yet.
        look_on(&mut host, &alive, 3_630, 3_644);
        let mut alive = vec![node("hawk", 2, &[]), node("kite", 2, &[(LEAVING, "for good")])];
        look_on(&mut host, &alive, 3_645, 3_700);
        // However seldom it answers, who is silent all the time is found out.
        alive.pop();
        let care = (1..=9)
            .flat_map(|hour| host.look(&alive, &Costs::new(), at(hour * 3_600 + 4_000), None));
        assert!(
            matches!(&care.collect::<Vec<_>>()[0], Care::Annotate { node, .. } if node == "hawk")
        );
    }

    #[test]
    fn who_has_no_agent_gets_its_cost_written_seldom() {
        let mut host = host();
        let without = |said: Option<&str>| {
            let mut node = node("bare", 1, &[]);
            node.annotations.clear();
            node.annotations.extend(said.map(|said| (NETWORK_COST.to_owned(), said.to_owned())));
            vec![node]
        };
        let costs = |cost| Costs::from([("bare".to_owned(), cost), ("hawk".to_owned(), Some(7))]);
        let mut written = |said, cost, seconds| {
            let care = host.look(&without(said), &costs(cost), at(seconds), None);
            match &care[..] {
                [] => None,
                [Care::Price { annotations, .. }] => Some(annotations[NETWORK_COST].clone()),
                other => panic!("{other:?}"),
            }
        };
        let some = |text: &str| Some(Some(text.to_owned()));
        assert_eq!(written(None, None, 0), None);
        assert_eq!(written(None, Some(200), 1), some("200"));
        assert_eq!(written(None, Some(200), 2), None, "it is on its way");
        assert_eq!(written(Some("200"), Some(219), 100), None, "less than a tenth");
        assert_eq!(written(Some("200"), Some(220), 100), some("220"));
        assert_eq!(written(Some("220"), Some(900), 130), None, "a moment ago");
        assert_eq!(written(Some("220"), None, 200), Some(None), "a cost of yesterday misleads");
        assert_eq!(written(None, Some(0), 300), some("0"));
        assert_eq!(written(Some("0"), Some(0), 400), None);
        // Another host has another cost.
        assert_eq!(written(Some("150"), Some(0), 401), None);
        assert_eq!(written(Some("150"), Some(0), 899), None, "it is left to that one");
        assert_eq!(written(Some("150"), Some(0), 900), some("0"), "which may be no more");
        host.failed("uid of bare", at(900));
        let again = host.look(&without(Some("150")), &costs(Some(0)), at(960), None);
        assert!(matches!(again[..], [Care::Price { .. }]), "nobody else wrote it: {again:?}");
        // Nothing was computed for it yet, and whoever has an agent speaks for itself, or is about to.
        assert_eq!(host.look(&without(Some("5")), &Costs::new(), at(2_000), None), []);
        let mut hawk = node("hawk", 1, &[]);
        assert_eq!(host.look(&[hawk.clone()], &costs(None), at(2_001), None), []);
        hawk.annotations.clear();
        hawk.labels.insert(VEHICLE.to_owned(), "hawk".to_owned());
        assert_eq!(host.look(&[hawk], &costs(None), at(2_002), None), []);
    }

    #[test]
    fn clocks_of_vehicles_do_not_matter_and_strangers_are_left_alone() {
        let mut host = host();
        let mut stranger = node("server", 1, &[(LEAVING, "?")]);
        stranger.annotations.remove(VEHICLE);
        for second in 0..600 {
            // Its clock runs back, a second at a time, from a date far ahead.
            let alive = node("hawk", 10_000_000 - second, &[]);
            let now = at(u64::try_from(second).unwrap());
            assert_eq!(host.look(&[alive, stranger.clone()], &Costs::new(), now, None), []);
        }
        assert_eq!(host.heard.len(), 1);
        assert_eq!(host.look(&[], &Costs::new(), at(700), None), []);
        assert!(host.heard.is_empty(), "what is gone is forgotten");
    }
}
