//! A vehicle: its disk, and the agent's process with what it has under way.

use std::collections::{BTreeMap, BTreeSet};

use outrider::core::membership::steward::{Steward, Way};
use outrider::core::membership::{Intent, Place, Step, Wish};
use outrider::core::time::Mono;

use super::k3s::K3s;
use crate::agenda::{self, MS, Moment};
use crate::random::Dice;

/// The agent's process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) number: u32,
    pub(super) steward: Steward,
    /// What is done to the vehicle or at a server; at most one.
    pub(super) step: Option<Step>,
    /// What is being made durable.
    pub(super) save: Option<Intent>,
    /// When the loop wakes next.
    pub(super) tick_at: Option<Moment>,
    /// Times that it woke at that moment.
    pub(super) spins: u32,
    /// Federations that the mesh has shown.
    pub(super) in_mesh: BTreeSet<String>,
    pub(super) ways: BTreeMap<String, Way>,
    /// When k3s was told to start, by the vehicle's wall clock.
    pub(super) started_ms: Option<i64>,
}

/// What outlasts a power cut.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub(super) intent: Option<Intent>,
    /// The federation that the drop-in names.
    pub(super) equipped: Option<String>,
    /// Passwords of the own Node, by federation.
    pub(super) passwords: BTreeMap<String, u64>,
    /// The federation whose containers, interfaces and mounts are there.
    pub(super) residue: Option<String>,
    /// It fails to be written.
    pub(super) fails: bool,
}

/// A vehicle.
#[derive(Debug)]
pub(super) struct Vehicle {
    pub(super) name: String,
    /// Its place among the bodies of the convoy.
    pub(super) body: usize,
    pub(super) powered: bool,
    /// It was switched off for good.
    pub(super) gone: bool,
    pub(super) boot_at: Moment,
    /// What its wall clock is off by, in milliseconds.
    pub(super) wall_off_ms: i64,
    pub(super) disk: Disk,
    pub(super) k3s: K3s,
    pub(super) process: Option<Process>,
    pub(super) processes: u32,
    /// The drop-in is not what the configuration says now.
    pub(super) outdated: bool,
    /// Its link is silent until then.
    pub(super) silent_until: Moment,
    /// Moves on from here.
    pub(super) dice: Dice,
    /// When joins by policy began, by the time that the machine has watched; with those of the operator.
    pub(super) joins_ms: Vec<u64>,
    /// When the federations were heard of last, by this vehicle or its k3s, whatever the machine knows of that.
    pub(super) reached: BTreeMap<String, Moment>,
    /// Since when the agent has run without anything that could hinder it.
    pub(super) watched_since: Moment,
    /// Federations where Nodes of an earlier card may be left.
    pub(super) forgotten: BTreeSet<String>,
}

impl Vehicle {
    pub(super) fn new(name: String, body: usize, dice: Dice) -> Vehicle {
        Vehicle {
            name,
            body,
            powered: false,
            gone: false,
            boot_at: 0,
            wall_off_ms: 0,
            disk: Disk::default(),
            k3s: K3s::default(),
            process: None,
            processes: 0,
            outdated: false,
            silent_until: 0,
            dice,
            joins_ms: Vec::new(),
            reached: BTreeMap::new(),
            watched_since: 0,
            forgotten: BTreeSet::new(),
        }
    }

    /// The boot clock.
    pub(super) fn mono(&self, now: Moment) -> Mono {
        agenda::mono(self.boot_at, now)
    }

    /// The wall clock in milliseconds since 1970.
    pub(super) fn wall_ms(&self, now: Moment) -> i64 {
        1_800_000_000_000 + i64::try_from(now / MS).unwrap_or(i64::MAX) + self.wall_off_ms
    }

    /// When the boot clock shows this.
    pub(super) fn moment_of(&self, mono: Mono) -> Moment {
        agenda::moment_of(self.boot_at, mono)
    }

    pub(super) fn intent(&self) -> Option<&Intent> {
        self.process.as_ref().map(|process| process.steward.machine().intent())
    }

    /// Where it is, as it has on its disk.
    pub(super) fn stored_place(&self) -> Place {
        self.disk.intent.as_ref().map(|intent| intent.place.clone()).unwrap_or_default()
    }

    /// The identity of the Node as which it is a member, and the federation.
    pub(super) fn membership(&self) -> Option<(&str, &str)> {
        match &self.intent()?.place {
            Place::Member { federation, uid } => Some((federation, uid)),
            Place::Solo | Place::Joining { .. } | Place::Leaving { .. } => None,
        }
    }

    /// What the operator wants, as far as the agent knows or will know.
    pub(super) fn wish(&self) -> Wish {
        let intent = self.intent().or(self.disk.intent.as_ref());
        intent.map(|intent| intent.wish.clone()).unwrap_or_default()
    }
}
