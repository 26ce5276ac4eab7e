//! The machine in a small world: a vehicle whose k3s and files behave as the real ones, servers with Nodes, ways that come
//! and go, and power that fails between any two events.

use super::super::*;
use crate::core::membership::Deferred;

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn at(seconds: u64) -> Mono {
    Mono::from_millis(seconds * 1000)
}

fn federation(priority: u32) -> Federation {
    Federation {
        priority,
        join_below: 300,
        join_after: SECOND * 30,
        strain_above: 800,
        strain_after: SECOND * 20,
        leave_after: Some(SECOND * 600),
    }
}

pub(super) fn policy(names: &[(&str, u32)]) -> Policy {
    Policy {
        federations: names
            .iter()
            .map(|(name, priority)| ((*name).to_owned(), federation(*priority)))
            .collect(),
        dwell: SECOND * 120,
        changes_max: 3,
        changes_within: SECOND * 1800,
        join_patience: SECOND * 900,
        leave_patience: SECOND * 60,
        pause: [SECOND * 5, SECOND * 300],
        ..Policy::default()
    }
}

/// What is not the machine.
pub(super) struct World {
    pub(super) policy: Policy,
    pub(super) machine: Machine,
    pub(super) now: u64,
    pub(super) costs: BTreeMap<String, Option<u32>>,
    /// As on the disk.
    pub(super) stored: Intent,
    /// A save that is under way.
    pub(super) saving: Option<Intent>,
    pub(super) running: Option<(Step, u64)>,
    pub(super) unit: Unit,
    /// When the unit was started with what it is equipped for.
    pub(super) started: u64,
    pub(super) equipped: Option<String>,
    /// The configuration says something else than the drop-in.
    pub(super) outdated: bool,
    /// Restarts of the unit.
    pub(super) restarts: usize,
    /// Whose containers and interfaces are on the vehicle.
    pub(super) residue: Option<String>,
    /// Nodes by federation.
    pub(super) nodes: BTreeMap<String, (String, bool)>,
    pub(super) created: u64,
    /// Joins that began by policy, in seconds.
    pub(super) joins: Vec<u64>,
    pub(super) changes: Vec<(State, State, String)>,
    pub(super) broken_promises: Vec<String>,
    /// k3s never gets its Node ready.
    pub(super) k3s_waits: bool,
    /// Pods are not to be evicted.
    pub(super) budget_blocks: bool,
    /// The servers answer that they cannot serve.
    pub(super) servers_fail: bool,
    /// Their pre-flight is refused.
    pub(super) refuses: Option<String>,
    /// A planted fault.
    pub(super) fault: Option<Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Steps act before the intent is on the disk.
    ActsBeforeItIsSaved,
    /// What is owed is forgotten.
    ForgetsWhatIsOwed,
    /// The next federation is gone to without cleaning up.
    SkipsCleaningUp,
}

impl World {
    pub(super) fn new(policy: Policy) -> World {
        let machine = Machine::new(policy.clone(), Intent::default(), at(0));
        let mut world = World {
            policy,
            machine,
            now: 0,
            costs: BTreeMap::new(),
            stored: Intent::default(),
            saving: None,
            running: None,
            unit: Unit::Stopped,
            started: 0,
            equipped: None,
            outdated: false,
            restarts: 0,
            residue: None,
            nodes: BTreeMap::new(),
            created: 0,
            joins: Vec::new(),
            changes: Vec::new(),
            broken_promises: Vec::new(),
            k3s_waits: false,
            budget_blocks: false,
            servers_fail: false,
            refuses: None,
            fault: None,
        };
        world.look();
        world
    }

    pub(super) fn cost(&mut self, name: &str, cost: Option<u32>) {
        self.costs.insert(name.to_owned(), cost);
    }

    pub(super) fn in_contact(&self, name: &str) -> bool {
        self.costs.get(name).copied().flatten().is_some()
    }

    pub(super) fn break_promise(&mut self, text: String) {
        self.broken_promises.push(format!("at {} s: {text}", self.now));
    }

    pub(super) fn feed(&mut self, input: Input) {
        for act in self.machine.handle(input, at(self.now)) {
            match act {
                Act::Save(intent) => {
                    if matches!(intent.place, Place::Joining { .. })
                        && !matches!(self.stored.place, Place::Joining { .. })
                        && intent.wish == Wish::Policy
                    {
                        self.joins.push(self.now);
                    }
                    self.saving = Some(*intent);
                }
                Act::Do(step) => {
                    if self.saving.is_some() {
                        self.break_promise(format!("{step:?} before the intent is durable"));
                    }
                    if self.running.is_some() {
                        self.break_promise(format!("{step:?} beside another step"));
                    }
                    self.running = Some((step, self.now));
                }
                Act::Changed { from, to, reason } => self.changes.push((from, to, reason)),
            }
        }
        if self.machine.deadline().is_some_and(|due| due <= at(self.now)) {
            self.break_promise("a deadline that has passed would keep the loop busy".to_owned());
        }
    }

    pub(super) fn look(&mut self) {
        let federation = self.equipped.clone();
        let node = match federation.filter(|name| self.in_contact(name)) {
            None => NodeSeen::Unknown,
            Some(name) => match self.nodes.get(&name) {
                None => NodeSeen::Missing,
                Some((uid, ready)) => NodeSeen::Present {
                    uid: uid.clone(),
                    ready: *ready && self.unit == Unit::Active,
                },
            },
        };
        let facts = Facts {
            unit: self.unit,
            equipped: self.equipped.clone(),
            outdated: self.outdated,
            node,
        };
        self.feed(Input::Facts(facts));
    }

    /// One second.
    pub(super) fn tick(&mut self) {
        self.now += 1;
        if let Some(saved) = self.saving.take() {
            self.stored = saved;
            self.feed(Input::Saved);
        }
        self.live();
        if let Some((step, since)) = self.running.clone()
            && self.now > since
        {
            self.running = None;
            let outcome = self.perform(&step);
            self.feed(Input::Finished { step, outcome });
        }
        for (federation, cost) in self.costs.clone() {
            self.feed(Input::Cost { federation, cost });
        }
        self.look();
    }

    pub(super) fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.tick();
        }
    }

    /// k3s does what it does by itself: with its server in contact it joins within half a minute.
    pub(super) fn live(&mut self) {
        let Some(name) = self.equipped.clone().filter(|name| self.in_contact(name)) else { return };
        // The kubelet registers once for each start; a Node that is deleted meanwhile stays away.
        if self.k3s_waits || self.unit != Unit::Starting || self.now < self.started + 30 {
            return;
        }
        self.unit = Unit::Active;
        if !self.nodes.contains_key(&name) {
            self.created += 1;
            self.nodes.insert(name, (format!("uid-{}", self.created), true));
        } else if let Some((_, ready)) = self.nodes.get_mut(&name) {
            *ready = true;
        }
    }

    pub(super) fn perform(&mut self, step: &Step) -> Outcome {
        let silent = || Outcome::Unreachable("no answer".to_owned());
        match step {
            Step::Preflight { federation } if !self.in_contact(federation) => silent(),
            Step::Preflight { federation } if self.refuses.as_ref() == Some(federation) => {
                Outcome::Refused("401".to_owned())
            }
            Step::Preflight { .. } => Outcome::Done,
            Step::Equip { federation } => {
                if self.residue.as_ref().is_some_and(|residue| residue != federation) {
                    let residue = self.residue.clone();
                    self.break_promise(format!("equipped for {federation} beside {residue:?}"));
                }
                if self.stored.place.federation() != Some(federation) {
                    self.break_promise(format!("equipped for {federation} without intent"));
                }
                self.equipped = Some(federation.clone());
                self.outdated = false;
                Outcome::Done
            }
            Step::Start | Step::Restart => {
                self.restarts += usize::from(*step == Step::Restart);
                let equipped = self.equipped.clone();
                if !equipped.as_deref().is_some_and(|name| self.in_contact(name))
                    && self.running_since()
                {
                    self.break_promise(format!("{step:?} while {equipped:?} is silent"));
                }
                self.residue = equipped;
                (self.unit, self.started) = (Unit::Starting, self.now);
                Outcome::Done
            }
            Step::Part { federation, uid, step } => self.part(federation, uid.as_deref(), *step),
            Step::Finish(Deferred { federation, uid }) => {
                if !self.in_contact(federation) || self.servers_fail {
                    return silent();
                }
                self.delete(federation, uid.as_deref());
                Outcome::Done
            }
        }
    }

    /// Whether a start would disturb something that runs.
    pub(super) fn running_since(&self) -> bool {
        matches!(self.unit, Unit::Active | Unit::Starting)
    }

    pub(super) fn delete(&mut self, federation: &str, uid: Option<&str>) {
        let is_meant = |(seen, _): &(String, bool)| uid.is_none_or(|uid| uid == seen);
        if self.nodes.get(federation).is_some_and(is_meant) {
            self.nodes.remove(federation);
        }
    }

    pub(super) fn part(&mut self, federation: &str, uid: Option<&str>, step: LeaveStep) -> Outcome {
        if step.needs_server() && !self.in_contact(federation) {
            return Outcome::Unreachable("no answer".to_owned());
        }
        if step.needs_server() && self.servers_fail {
            return Outcome::NotYet {
                after: SECOND * 10,
                text: "the server answered 503".to_owned(),
            };
        }
        if !matches!(self.stored.place, Place::Leaving { .. }) {
            self.break_promise(format!("{step:?} without intent to leave"));
        }
        match step {
            LeaveStep::Announce | LeaveStep::Cordon => {}
            LeaveStep::Drain if self.budget_blocks || self.now.is_multiple_of(3) => {
                let after = SECOND * 10;
                return Outcome::NotYet {
                    after,
                    text: "a disruption budget forbids it".to_owned(),
                };
            }
            LeaveStep::Drain => {}
            LeaveStep::Delete => self.delete(federation, uid),
            LeaveStep::Stop => self.unit = Unit::Stopped,
            LeaveStep::CleanUp => {
                if self.fault != Some(Fault::SkipsCleaningUp) {
                    self.residue = None;
                }
            }
            LeaveStep::Strip => self.equipped = None,
        }
        Outcome::Done
    }

    /// The power fails and comes back. k3s starts at boot if it is equipped, and its containers are gone.
    pub(super) fn power_cut(&mut self) {
        self.saving = None;
        self.running = None;
        self.unit = if self.equipped.is_some() { Unit::Starting } else { Unit::Stopped };
        self.started = self.now;
        let stored = Intent::from_json(&self.stored.to_json()).unwrap_or_default();
        self.machine = Machine::new(self.policy.clone(), stored, at(self.now));
        self.look();
    }

    pub(super) fn view(&self) -> State {
        self.machine.view().state
    }

    pub(super) fn assert_kept(&self) {
        assert!(
            self.broken_promises.is_empty(),
            "{:#?}\n{:#?}",
            self.broken_promises,
            self.changes
        );
        for (index, began) in self.joins.iter().enumerate() {
            let recent = self.joins[..=index].iter().filter(|at| *at + 1800 > *began).count();
            assert!(recent <= self.policy.changes_max + 1, "joins at {:?}", self.joins);
        }
    }
}
