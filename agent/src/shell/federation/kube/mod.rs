//! The Kubernetes API of a federation, as far as a vehicle and the host of a federation use it: Nodes read, marked and deleted,
//! pods evicted. Decides nothing that `core::membership::kube` can decide, keeps nothing that the server has, watches nothing.
//!
//! Every operation is bounded in time and size, may be repeated or cut off at any point without harm, and then ends as if it had
//! been done once. What comes of it is an [`Outcome`].
//!
//! # Which credential does what
//!
//! | operation | kubelet's certificate | vehicle's account (`vehicle.yaml`) | host's account (`host.yaml`) |
//! |---|---|---|---|
//! | [`node`](Cluster::node), [`seen`](Cluster::seen), [`owner`](Cluster::owner) | own Node and Lease | own Node and Lease | any |
//! | [`announce`](Cluster::announce), [`returned`](Cluster::returned), [`annotate`](Cluster::annotate), [`cordon`](Cluster::cordon) | own Node | own Node | any |
//! | [`label`](Cluster::label) | own Node, but for `kubernetes.io` and `k8s.io` (zone and region it may) | own Node | any |
//! | [`taint`](Cluster::taint) | no | own Node | any |
//! | [`drain`](Cluster::drain) | pods of the own Node | any pod may be evicted, none deleted | no |
//! | [`delete`](Cluster::delete) | no | own Node | any |
//! | [`members`](Cluster::members) | no | no | yes |
//! | [`version`](Cluster::version) | yes | yes | yes |
//! | [`proxy_trust`](Cluster::proxy_trust), [`api_service`](Cluster::api_service), [`lead_here`](Cluster::lead_here), [`withdraw`](Cluster::withdraw) | no | no | with `custom-metrics.yaml` |
//!
//! The certificate is on every member, and gone or worthless after it left: it is enough to announce, cordon and drain. Deleting
//! the Node, at once or later as a deferred step, needs an account's token; without one the vehicle announces that it leaves, and
//! the host deletes the Node. No one has `cluster-admin`.
//!
//! # Trust
//!
//! As k3s does it: whoever answers is asked for `/cacerts`, and what it shows is believed when its hash is the federation's. Only
//! then, over another connection that trusts this authority alone, is a credential shown.
//!
//! # Why not a client library
//!
//! Measured in release builds for x86-64: `kube`'s client adds 2,706 kB, `kube-core` over a connection of our own 270 kB, this one
//! 111 kB with a caller of every operation, of 4 MiB for the whole program. Ten requests with fixed bodies need neither discovery
//! nor generated types. It also spares four traps that were met there: retries of 429 that cannot be seen (15 times by default),
//! an eviction whose precondition is sent under a name that servers drop, taints that are replaced by a strategic merge, and
//! watches that need a field selector.
//!
//! # What an operation costs
//!
//! Measured at a link of 400 ms there and back, for [`announce`](Cluster::announce), TCP and acknowledgements included:
//!
//! | | time | bytes from the server | bytes to it |
//! |---|---|---|---|
//! | first, with the server's authority | 2.4 s | 5,700 | 3,000 |
//! | over a new connection | 1.2 s | 4,100 | 2,000 |
//! | over one that is kept | 0.42 s | 2,300 | 1,200 |
//! | [`seen`](Cluster::seen) while the Node is ready, over one that is kept | 0.41 s | 1,300 | 1,000 |
//!
//! A kilobyte of what is sent is the account's token; a certificate is sent once per connection.

mod aggregation;
mod credential;
mod drain;
mod wire;

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::Method;
use tokio::time::Instant;
use tracing::info;

pub use self::credential::Credential;
use self::wire::{Reply, Request, Wire};
use crate::core::membership::kube::answer::Meaning;
use crate::core::membership::kube::node::{self, Keys, Lease};
use crate::core::membership::kube::{
    Announcement, JSON, MERGE_PATCH, NETWORK_COST, Node, Owner, PAGE, Taint, node_name,
};
use crate::core::membership::{CaHash, NodeSeen, Outcome, Server};

/// Most objects of a list that are taken in: 20 pages.
const OBJECTS_MAX: usize = 20 * PAGE;

/// Times that a change which must not undo somebody else's is made anew.
const CONFLICTS_MAX: usize = 4;

/// Pause after one more conflict than that, and before a Node that is not there yet is written to again.
const PAUSE: Duration = Duration::from_secs(10);

/// How long the word of a Node that was ready is believed while its Lease is renewed.
const NODE_FRESH: Duration = Duration::from_secs(300);

/// How long a Lease is believed that is not renewed: kubelets renew it every 10 s, and servers count a node as lost after 40 s.
const LEASE_FRESH: Duration = Duration::from_secs(40);

/// The API of a federation.
#[derive(Debug)]
pub struct Cluster {
    wire: Wire,
    ready: Option<Ready>,
    /// Identity of the Node that said, when it was read last, that its vehicle leaves.
    leaving: Option<String>,
    /// Identity of the Node that had no network cost when it was read last, until somebody wants to know.
    costless: Option<String>,
}

/// A Node that was ready.
#[derive(Debug)]
struct Ready {
    name: String,
    uid: String,
    /// The Lease that was seen last, if one was.
    renewed_ms: Option<i64>,
    /// When that one was first seen.
    renewed_at: Instant,
    /// When the Node was read.
    at: Instant,
}

/// The Nodes of a federation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Members {
    /// By name.
    pub nodes: Vec<Node>,
    /// Nodes beyond the first thousand were left out.
    pub more: bool,
}

impl Cluster {
    /// The servers with this authority, asked by right of this credential. Opens nothing yet.
    #[must_use]
    pub fn new(servers: Vec<Server>, ca: CaHash, credential: Credential) -> Cluster {
        let wire = Wire::new(servers, ca, credential);
        Cluster { wire, ready: None, leaving: None, costless: None }
    }

    /// Mean round trip of the requests so far.
    #[must_use]
    pub const fn round_trip(&self) -> Option<Duration> {
        self.wire.round_trip()
    }

    /// Whether the last attempt to connect found somebody else at the servers' addresses.
    #[must_use]
    pub const fn is_stranger(&self) -> bool {
        self.wire.is_stranger()
    }

    /// Ends the connection after a burst of requests. The next request opens another, which takes two round trips more.
    pub fn close(&mut self) {
        self.wire.close();
    }

    /// The Node of this name; `None` when there is none.
    ///
    /// # Errors
    /// What hinders.
    pub async fn node(&mut self, name: &str) -> Result<Option<Node>, Outcome> {
        let doing = format!("reading Node {name}");
        let path = node_path(name)?;
        let body = self.get(&path, &doing).await?;
        body.map(|body| Node::read(&body).map_err(Outcome::Refused)).transpose()
    }

    /// The own Node, for the machine: ready when its kubelet was heard of after `since_ms`, the start of its unit in milliseconds
    /// since 1970. May be asked often: a Node that was ready is asked for again every five minutes, and in between its Lease, which
    /// has a fifth of the bytes and is gone with it.
    ///
    /// # Errors
    /// What hinders.
    pub async fn seen(&mut self, name: &str, since_ms: Option<i64>) -> Result<NodeSeen, Outcome> {
        let known = self.ready.take().filter(|ready| ready.name == name);
        if let Some(mut ready) = known.filter(|ready| ready.at.elapsed() < NODE_FRESH) {
            let lease = self.lease(name).await?;
            let renewed_ms = lease.as_ref().and_then(|lease| lease.renewed_ms);
            if renewed_ms > ready.renewed_ms {
                (ready.renewed_ms, ready.renewed_at) = (renewed_ms, Instant::now());
            }
            let is_alive = renewed_ms.is_some()
                && renewed_ms > since_ms
                && ready.renewed_at.elapsed() < LEASE_FRESH;
            if let Some(lease) = lease.filter(|lease| is_alive && lease.node_uid == ready.uid) {
                self.ready = Some(ready);
                return Ok(NodeSeen::Present { uid: lease.node_uid, ready: true });
            }
        }
        let Some(mut node) = self.node(name).await? else { return Ok(NodeSeen::Missing) };
        let is_old =
            since_ms.is_some_and(|since| node.heard_ms().is_none_or(|heard| heard <= since));
        if node.ready == Some(true) && is_old {
            node.lease_ms = self.lease(name).await?.and_then(|lease| lease.renewed_ms);
        }
        self.leaving = node.says_that_it_leaves().then(|| node.uid.clone());
        let has_cost = node.annotations.contains_key(NETWORK_COST);
        self.costless = (!has_cost).then(|| node.uid.clone());
        let seen = node.seen(since_ms);
        if let NodeSeen::Present { uid, ready: true } = &seen {
            self.ready = Some(Ready {
                name: name.to_owned(),
                uid: uid.clone(),
                renewed_ms: node.lease_ms,
                renewed_at: Instant::now(),
                at: Instant::now(),
            });
        }
        Ok(seen)
    }

    async fn lease(&mut self, name: &str) -> Result<Option<Lease>, Outcome> {
        let doing = format!("reading the Lease of Node {name}");
        let body = self.get(&format!("{LEASES}/{name}"), &doing).await?;
        body.map(|body| Lease::read(&body).map_err(Outcome::Refused)).transpose()
    }

    /// Whose the Node of this name is; nobody's when there is none. Before a join, [`Owner::Other`] says that two vehicles have
    /// one name.
    ///
    /// # Errors
    /// What hinders.
    pub async fn owner(&mut self, name: &str, vehicle: &str) -> Result<Owner, Outcome> {
        Ok(self.node(name).await?.map_or(Owner::Nobody, |node| node.owner(vehicle)))
    }

    /// Says at the own Node that the vehicle leaves, or with `None` that it stays. Done when the Node, or the one with this uid,
    /// is no more.
    pub async fn announce(
        &mut self,
        name: &str,
        uid: Option<&str>,
        leaving: Option<&Announcement>,
    ) -> Outcome {
        let patch = node::keys(Keys::Annotations, &Announcement::annotation(leaving), uid);
        self.part(name, uid, patch, "announcing at").await
    }

    /// Lets nothing be scheduled to the Node. Done when it, or the one with this uid, is no more.
    pub async fn cordon(&mut self, name: &str, uid: Option<&str>) -> Outcome {
        self.part(name, uid, node::cordon(true, uid), "cordoning").await
    }

    /// Takes that back.
    pub async fn uncordon(&mut self, name: &str, uid: Option<&str>) -> Outcome {
        self.part(name, uid, node::cordon(false, uid), "uncordoning").await
    }

    /// For a vehicle that is a member again: if [`Cluster::seen`] found that the Node still says that it leaves, because the
    /// vehicle came back before it was deleted, takes that and the cordon back. A cordon without that word is an operator's, and
    /// stays. Asks for nothing when there is nothing to take back, so it may be called each time that the Node was seen.
    pub async fn returned(&mut self, name: &str, uid: &str) -> Outcome {
        if self.leaving.as_deref() != Some(uid) {
            return Outcome::Done;
        }
        let outcome = self.part(name, Some(uid), node::back(uid), "taking the leave back at").await;
        if outcome == Outcome::Done {
            self.leaving = None;
        }
        outcome
    }

    /// Whether [`Cluster::seen`] has newly read the Node with this identity and found no network cost there. The host's agent
    /// takes it away from a vehicle that it takes for lost.
    pub fn has_lost_cost(&mut self, uid: &str) -> bool {
        self.costless.take().is_some_and(|costless| costless == uid)
    }

    /// Sets annotations of the Node, or of the one with this uid, and removes those that are `None`.
    pub async fn annotate(
        &mut self,
        name: &str,
        uid: Option<&str>,
        annotations: &BTreeMap<String, Option<String>>,
    ) -> Outcome {
        let patch = node::keys(Keys::Annotations, annotations, uid);
        self.mark(name, patch, "annotating").await
    }

    /// Sets labels of the Node, and removes those that are `None`.
    pub async fn label(
        &mut self,
        name: &str,
        labels: &BTreeMap<String, Option<String>>,
    ) -> Outcome {
        self.mark(name, node::keys(Keys::Labels, labels, None), "labelling").await
    }

    /// Adds taints to the Node and removes others, by key and effect. All that others have put there stays, also what they put
    /// there meanwhile.
    pub async fn taint(&mut self, name: &str, add: &[Taint], remove: &[Taint]) -> Outcome {
        let doing = format!("tainting Node {name}");
        for _ in 0..=CONFLICTS_MAX {
            let node = match self.node(name).await {
                Ok(Some(node)) => node,
                Ok(None) => return missing(name),
                Err(outcome) => return outcome,
            };
            let Some(taints) = node::tainted(&node.taints, add, remove) else {
                return Outcome::Done;
            };
            let patch = node::taints(&node.resource_version, &taints);
            match self.patch(name, patch, &doing).await {
                Ok(Meaning::Good) => return Outcome::Done,
                Ok(Meaning::Missing) => return missing(name),
                Ok(Meaning::Conflict(_)) => {}
                Err(outcome) => return outcome,
            }
        }
        let text = format!("{doing}: others change it all the time");
        Outcome::NotYet { after: PAUSE, text }
    }

    /// Deletes the Node of this name, if it is the one with this uid. Without one it is that of `vehicle`, or nobody's: a Node of
    /// another vehicle is left alone. Done when there is none, or another.
    pub async fn delete(&mut self, name: &str, uid: Option<&str>, vehicle: &str) -> Outcome {
        match self.delete_of(name, uid, vehicle).await {
            Ok(()) => Outcome::Done,
            Err(outcome) => outcome,
        }
    }

    /// Deletes the Node of this name, if it is the one with this uid and as it was in this version. Done when there is none, or
    /// another.
    pub async fn delete_as_seen(&mut self, name: &str, uid: &str, version: &str) -> Outcome {
        let deleted = self.delete_if(name, uid, node::delete_as_seen(uid, version)).await;
        deleted.err().unwrap_or(Outcome::Done)
    }

    async fn delete_of(
        &mut self,
        name: &str,
        uid: Option<&str>,
        vehicle: &str,
    ) -> Result<(), Outcome> {
        let uid = match uid {
            Some(uid) => uid.to_owned(),
            None => match self.node(name).await? {
                None => return Ok(()),
                Some(node) => match node.owner(vehicle) {
                    Owner::Nobody | Owner::Us => node.uid,
                    Owner::Other(other) => {
                        info!(
                            node = name,
                            vehicle = other,
                            "Node is left to the vehicle that it is of"
                        );
                        return Ok(());
                    }
                },
            },
        };
        self.delete_if(name, &uid, node::delete(&uid)).await
    }

    async fn delete_if(
        &mut self,
        name: &str,
        uid: &str,
        preconditions: Vec<u8>,
    ) -> Result<(), Outcome> {
        let doing = format!("deleting Node {name}");
        let path = node_path(name)?;
        let body = Some((JSON, preconditions));
        let request = Request { method: Method::DELETE, path: &path, body };
        match self.wire.ask(&request).await?.answer().judge(&doing)? {
            Meaning::Good | Meaning::Missing => Ok(()),
            Meaning::Conflict(text) => self.settle(name, uid, &doing, &text).await,
        }
    }

    /// What runs at the server, such as `v1.33.4+k3s1`.
    ///
    /// # Errors
    /// What hinders.
    pub async fn version(&mut self) -> Result<String, Outcome> {
        let doing = "reading the server's version";
        let body = self.get("/version", doing).await?.unwrap_or_default();
        node::read_version(&body).map_err(Outcome::Refused)
    }

    /// Every Node with its Lease, by name.
    ///
    /// # Errors
    /// What hinders.
    pub async fn members(&mut self) -> Result<Members, Outcome> {
        let mut nodes = Vec::new();
        let take = &mut |body: &[u8]| {
            let (page, next) = Node::read_page(body)?;
            nodes.extend(page);
            Ok((nodes.len(), next))
        };
        let more = self.list("/api/v1/nodes?", "listing Nodes", take).await?;
        let mut leases = BTreeMap::new();
        let take = &mut |body: &[u8]| {
            let (page, next) = node::read_leases(body)?;
            leases.extend(page);
            Ok((leases.len(), next))
        };
        self.list(&format!("{LEASES}?"), "listing Leases", take).await?;
        for node in &mut nodes {
            node.lease_ms = leases.get(&node.name).copied();
        }
        Ok(Members { nodes, more })
    }

    /// Hands every page of a list to `take`, which says how many objects there are by then and where the next page begins. True
    /// when there are more than [`OBJECTS_MAX`]. `path` ends where further parameters can be added.
    async fn list(&mut self, path: &str, doing: &str, take: Take<'_>) -> Result<bool, Outcome> {
        let mut page = format!("{path}&limit={PAGE}");
        // A server may give less than a page; one that gives nothing for ever is none.
        for _ in 0..2 * OBJECTS_MAX / PAGE {
            let body = self.get(&page, doing).await?.unwrap_or_default();
            let (count, next) = take(&body).map_err(Outcome::Refused)?;
            let Some(next) = next else { return Ok(false) };
            if count >= OBJECTS_MAX {
                return Ok(true);
            }
            page = format!("{path}&limit={PAGE}&continue={}", in_query(&next));
        }
        Ok(true)
    }

    /// The content of a path; `None` when the server says that there is none.
    async fn get(&mut self, path: &str, doing: &str) -> Result<Option<Vec<u8>>, Outcome> {
        let reply: Reply = self.wire.ask(&Request::get(path)).await?;
        match reply.answer().judge(doing)? {
            Meaning::Good => Ok(Some(reply.body)),
            Meaning::Missing => Ok(None),
            Meaning::Conflict(text) => Err(Outcome::Refused(format!("{doing}: {text}"))),
        }
    }

    async fn patch(&mut self, name: &str, patch: Vec<u8>, doing: &str) -> Result<Meaning, Outcome> {
        let path = node_path(name)?;
        let body = Some((MERGE_PATCH, patch));
        let request = Request { method: Method::PATCH, path: &path, body };
        self.wire.ask(&request).await?.answer().judge(doing)
    }

    /// A step of parting from a Node, which is done when the Node is no more.
    async fn part(&mut self, name: &str, uid: Option<&str>, patch: Vec<u8>, verb: &str) -> Outcome {
        let doing = format!("{verb} Node {name}");
        // What it says from now on has to be read.
        self.ready = None;
        let outcome = match self.patch(name, patch, &doing).await {
            Ok(Meaning::Good | Meaning::Missing) => Ok(()),
            Ok(Meaning::Conflict(text)) => match uid {
                Some(uid) => self.settle(name, uid, &doing, &text).await,
                None => Err(Outcome::NotYet { after: PAUSE, text: format!("{doing}: {text}") }),
            },
            Err(outcome) => Err(outcome),
        };
        outcome.err().unwrap_or(Outcome::Done)
    }

    /// Something to be written at a Node that has to be there.
    async fn mark(&mut self, name: &str, patch: Vec<u8>, verb: &str) -> Outcome {
        let doing = format!("{verb} Node {name}");
        match self.patch(name, patch, &doing).await {
            Ok(Meaning::Good) => Outcome::Done,
            Ok(Meaning::Missing) => missing(name),
            Ok(Meaning::Conflict(text)) => {
                Outcome::NotYet { after: PAUSE, text: format!("{doing}: {text}") }
            }
            Err(outcome) => outcome,
        }
    }

    /// After a conflict: all is done if the Node that was meant is no more.
    async fn settle(
        &mut self,
        name: &str,
        uid: &str,
        doing: &str,
        text: &str,
    ) -> Result<(), Outcome> {
        match self.node(name).await? {
            Some(node) if node.uid == uid => {
                Err(Outcome::NotYet { after: PAUSE, text: format!("{doing}: {text}") })
            }
            Some(_) => {
                info!(
                    node = name,
                    uid, "Node was made anew meanwhile and is not the one that was meant"
                );
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// Takes a page of a list.
type Take<'a> = &'a mut (dyn FnMut(&[u8]) -> Result<(usize, Option<String>), String> + Send);

/// Where kubelets keep their Leases.
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

fn node_path(name: &str) -> Result<String, Outcome> {
    node_name(name).map_err(Outcome::Refused)?;
    Ok(format!("/api/v1/nodes/{name}"))
}

fn missing(name: &str) -> Outcome {
    Outcome::NotYet { after: PAUSE, text: format!("there is no Node {name} yet") }
}

/// A text as the value of a parameter (RFC 3986 section 2.1).
fn in_query(text: &str) -> String {
    let mut query = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => query.push(byte.into()),
            other => query.push_str(&format!("%{other:02X}")),
        }
    }
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_path_cannot_leave_it() {
        assert_eq!(node_path("veh-001").unwrap(), "/api/v1/nodes/veh-001");
        for name in ["", "a/../b", "a?x=1", "A", "a b"] {
            assert!(matches!(node_path(name), Err(Outcome::Refused(_))), "{name}");
        }
        assert_eq!(in_query("aZ0-_.=/+&"), "aZ0-_.%3D%2F%2B%26");
    }
}
