//! A federation: its servers taken for one, with moods, the Nodes it knows, the passwords it knows them by, and perhaps an agent
//! beside it.

use std::collections::BTreeMap;

use outrider::core::membership::custom_metrics::Costs;
use outrider::core::membership::host::{Care, Host, Settings};
use outrider::core::membership::kube::{LEAVING, LOST, Node, VEHICLE};
use outrider::core::time::Mono;

use super::SILENT_AFTER;
use crate::agenda::{Moment, SECOND};

/// What a server does with those who ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// Answers.
    Up,
    /// Accepts connections, and its API answers nobody.
    Stalled,
    /// Accepts nothing.
    Down,
    /// The same, for ever.
    Dead,
}

/// Time after the last heartbeat until a Node is no longer ready, as Kubernetes has it by default.
const HEARTBEATS_MISSED: Moment = 40 * SECOND;

/// An agent that has just been started beside a server.
fn host() -> Host {
    Host::new(Settings { silent_after: SILENT_AFTER })
}

/// A Node whose vehicle the agent beside the server takes for silent.
#[derive(Debug)]
pub(super) struct Silent {
    pub(super) node: Node,
    /// When it was heard of.
    pub(super) heard: Moment,
    /// Looks since.
    pub(super) looks: u32,
    /// It was deleted, not marked as lost.
    pub(super) deleted: bool,
}

/// One federation.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) name: String,
    /// Its place among the bodies of the convoy.
    pub(super) body: usize,
    pub(super) mood: Mood,
    pub(super) nodes: BTreeMap<String, Node>,
    /// When each Node was heard of.
    heard: BTreeMap<String, Moment>,
    /// How often the agent beside it has looked since.
    looks: BTreeMap<String, u32>,
    /// By the name of a Node.
    passwords: BTreeMap<String, u64>,
    pub(super) host: Option<Host>,
    created: u64,
}

impl Server {
    pub(super) fn new(name: String, body: usize, hosted: bool) -> Server {
        Server {
            name,
            body,
            mood: Mood::Up,
            nodes: BTreeMap::new(),
            heard: BTreeMap::new(),
            looks: BTreeMap::new(),
            passwords: BTreeMap::new(),
            host: hosted.then(host),
            created: 0,
        }
    }

    /// It answers again; with `anew` the whole machine was started, and the agent beside it with it.
    pub(super) fn come_up(&mut self, anew: bool) {
        self.mood = Mood::Up;
        if anew {
            self.host = self.host.is_some().then(host);
        }
    }

    /// How many of its Nodes are marked as those of lost vehicles.
    pub(super) fn lost(&self) -> u64 {
        self.nodes.values().filter(|node| node.annotations.contains_key(LOST)).count() as u64
    }

    /// A kubelet registers. `None` when its password is not the one that the server knows.
    pub(super) fn register(
        &mut self,
        vehicle: &str,
        password: u64,
        clock_ms: i64,
        now: Moment,
    ) -> Option<String> {
        if *self.passwords.entry(vehicle.to_owned()).or_insert(password) != password {
            return None;
        }
        let created = &mut self.created;
        let server = &self.name;
        let node = self.nodes.entry(vehicle.to_owned()).or_insert_with(|| {
            *created += 1;
            Node {
                name: vehicle.to_owned(),
                uid: format!("{server}-{created}"),
                annotations: BTreeMap::from([(VEHICLE.to_owned(), vehicle.to_owned())]),
                ..Node::default()
            }
        });
        node.lease_ms = Some(clock_ms);
        let uid = node.uid.clone();
        self.hear(vehicle, now);
        Some(uid)
    }

    /// A kubelet that has registered as this Node is alive.
    pub(super) fn heartbeat(&mut self, vehicle: &str, uid: &str, clock_ms: i64, now: Moment) {
        let Some(node) = self.nodes.get_mut(vehicle).filter(|node| node.uid == uid) else { return };
        node.lease_ms = Some(clock_ms);
        self.hear(vehicle, now);
    }

    fn hear(&mut self, vehicle: &str, now: Moment) {
        self.heard.insert(vehicle.to_owned(), now);
        self.looks.remove(vehicle);
    }

    /// A Node as it is now.
    pub(super) fn node(&self, vehicle: &str, now: Moment) -> Option<Node> {
        let mut node = self.nodes.get(vehicle)?.clone();
        let heard = self.heard.get(vehicle).copied().unwrap_or_default();
        node.ready = (now.saturating_sub(heard) < HEARTBEATS_MISSED).then_some(true);
        Some(node)
    }

    /// When a Node was heard of last.
    pub(super) fn heard(&self, vehicle: &str) -> Moment {
        self.heard.get(vehicle).copied().unwrap_or_default()
    }

    /// Deletes a Node, and with it its password, if it is the one that is meant.
    pub(super) fn delete(&mut self, vehicle: &str, uid: Option<&str>) -> Option<Node> {
        let is_meant = |node: &Node| uid.is_none_or(|uid| uid == node.uid);
        if !self.nodes.get(vehicle).is_some_and(is_meant) {
            return None;
        }
        self.passwords.remove(vehicle);
        self.heard.remove(vehicle);
        self.looks.remove(vehicle);
        self.nodes.remove(vehicle)
    }

    /// Says at a Node that its vehicle leaves, or that it does not.
    pub(super) fn announce(&mut self, vehicle: &str, uid: Option<&str>, leaving: bool) {
        let Some(node) = self.nodes.get_mut(vehicle) else { return };
        if uid.is_some_and(|uid| uid != node.uid) {
            return;
        }
        if leaving {
            node.annotations.insert(LEAVING.to_owned(), "it leaves".to_owned());
        } else {
            node.annotations.remove(LEAVING);
        }
    }

    /// The agent beside it looks after its members: those of whom it found that they are silent. An `idle` one deletes nothing.
    pub(super) fn look_after(&mut self, mono: Mono, idle: bool) -> Vec<Silent> {
        let Some(host) = &mut self.host else { return Vec::new() };
        let nodes: Vec<Node> = self.nodes.values().cloned().collect();
        for node in &nodes {
            *self.looks.entry(node.name.clone()).or_default() += 1;
        }
        let mut silent = Vec::new();
        for care in host.look(&nodes, &Costs::new(), mono, None) {
            match care {
                Care::Delete { .. } if idle => {}
                Care::Delete { node, uid, .. } => {
                    let found = self.silent(&node, true);
                    silent.extend(self.delete(&node, Some(&uid)).and(found));
                }
                Care::Annotate { node, annotations, .. }
                | Care::Price { node, annotations, .. } => {
                    if annotations.get(LOST).is_some_and(Option::is_some) {
                        silent.extend(self.silent(&node, false));
                    }
                    let Some(node) = self.nodes.get_mut(&node) else { continue };
                    for (key, value) in annotations {
                        match value {
                            Some(value) => node.annotations.insert(key, value),
                            None => node.annotations.remove(&key),
                        };
                    }
                }
            }
        }
        silent
    }

    fn silent(&self, name: &str, deleted: bool) -> Option<Silent> {
        let looks = self.looks.get(name).copied().unwrap_or_default();
        let (node, heard) = (self.nodes.get(name)?.clone(), self.heard(name));
        Some(Silent { node, heard, looks, deleted })
    }
}
