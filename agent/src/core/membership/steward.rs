//! Keeps the [`Machine`] informed: when to try whether a server answers, when to look at this vehicle and at its Node, and what
//! all of that says about the way to each federation. Decides nothing about joining and leaving, and does nothing itself.
//!
//! The way to a federation costs what the mesh says, as long as its server answers; a vehicle without a mesh takes every server
//! that answers for one perfect hop away. A server is tried by connecting to it (one round trip, some 200 bytes), and no longer
//! counts as answering after three tries in vain; that of the federation which the vehicle is in neither after two questions
//! about the own Node to which its API said nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use olsr_bridge::cost::HOP;

use super::cleanup::NeverTouch;
use super::kube::Word;
use super::patience::Patience;
use super::{
    Act, Facts, Input, Intent, Machine, NodeSeen, Outcome, Place, Policy, State, Step, Unit, View,
    Wish,
};
use crate::core::time::Mono;

/// Tries in vain after which a server does not answer: links with 15 % loss each way lose a whole try now and then.
const SILENT_AFTER: u32 = 3;

/// Questions about the own Node, each asked twice, to which an API is silent before it counts as silent: since waits double, one
/// that is only slow is heard (it has 28 s at the least, where k3s itself gives up after 10).
const UNHEARD_MAX: u32 = 2;

/// Pause between two tries while all is well.
const TRY_EVERY: Duration = Duration::from_secs(15);

/// Pause after a try in vain: whether it was the link or the server shows soon.
const TRY_AGAIN: Duration = Duration::from_secs(3);

/// Pause between two tries of a server that does not answer.
const TRY_SILENT_EVERY: Duration = Duration::from_secs(30);

/// Pause between two looks at this vehicle: its service manager answers in milliseconds.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The same on the way into a federation or out of it, when people wait.
const LOOK_SOON: Duration = Duration::from_secs(2);

/// Pause between two questions about the own Node, as a member: the answer has some kilobytes.
const NODE_EVERY: Duration = Duration::from_secs(60);

/// The same on the way into a federation.
const NODE_SOON: Duration = Duration::from_secs(5);

/// Times [`NODE_EVERY`] after which what is known of the own Node is too old.
const NODE_OLD: u32 = 3;

/// What a way costs about which the mesh says nothing.
const UNMEASURED: u32 = HOP;

/// What the mesh says about the way to a federation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// There is no mesh, or it does not know any of the servers.
    #[default]
    Unmeasured,
    /// It costs this much.
    Costs(u32),
    /// There is none.
    None,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A try ended: how long the server took to answer, if it did.
    Tried {
        /// Which federation.
        federation: String,
        /// From the first packet to the answer.
        took: Option<Duration>,
    },
    /// This vehicle was looked at.
    Looked {
        /// Its unit, or why its manager did not tell.
        unit: Result<Unit, String>,
        /// What it is equipped for.
        equipped: Option<String>,
        /// But not as the configuration has it now.
        outdated: bool,
    },
    /// The own Node was asked for, or why nothing is known of it.
    Node(Result<NodeSeen, Unseen>),
    /// The intent that was given last is durable, or why it is not.
    Saved(Result<(), String>),
    /// A step ended.
    Finished {
        /// Which.
        step: Step,
        /// How.
        outcome: Outcome,
    },
}

/// Why nothing is known of the own Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unseen {
    /// For people.
    pub text: String,
    /// Nobody answered who is of the federation: its API is silent although its server accepts connections, or a stranger has its
    /// address. An answer that refuses is none of that.
    pub silent: bool,
}

/// Something that is to be done. Each but [`Task::Save`] and [`Task::Step`] is under way at most once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Try whether a server answers, and report [`Report::Tried`].
    Try {
        /// Of which federation.
        federation: String,
        /// For no longer than this.
        within: Duration,
    },
    /// Look at this vehicle and report [`Report::Looked`].
    Look,
    /// Ask a federation's server for the own Node, and report [`Report::Node`].
    AskForNode {
        /// Which.
        federation: String,
        /// The vehicle is a member: it has things to say at its Node.
        member: bool,
    },
    /// Make the intent durable and report [`Report::Saved`].
    Save(Box<Intent>),
    /// Do a step and report [`Report::Finished`].
    Step(Step),
}

/// What the rest of the agent knows that a task needs.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// What a member has to say at its Node.
    pub word: Option<Word>,
    /// What cleaning up has to leave alone.
    pub never_touch: NeverTouch,
}

/// A change of the state, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// From.
    pub from: State,
    /// To.
    pub to: State,
    /// The federation that it is about.
    pub federation: Option<String>,
    /// One sentence.
    pub reason: String,
}

/// A server's answers.
#[derive(Clone, Debug, Default)]
struct Server {
    way: Way,
    patience: Patience,
    answered: bool,
    trying: bool,
    due: Mono,
    /// Questions about the own Node, one after the other, to which its API was silent.
    unheard: u32,
}

impl Server {
    /// What the machine is told: a server that accepts connections and says nothing is none.
    fn cost(&self) -> Option<u32> {
        let answers = self.accepts() && self.unheard < UNHEARD_MAX;
        match self.way {
            Way::Costs(cost) => answers.then_some(cost),
            Way::Unmeasured => answers.then_some(UNMEASURED),
            Way::None => None,
        }
    }

    /// Whether it accepts connections, as far as is known.
    fn accepts(&self) -> bool {
        self.way != Way::None && self.answered && self.patience.in_vain() < SILENT_AFTER
    }

    /// Takes in whether its API was silent, and says when it is to be asked again.
    fn asked(&mut self, silent: bool) -> Option<Duration> {
        self.unheard = if silent { self.unheard.saturating_add(1) } else { 0 };
        match self.unheard {
            0 => None,
            1..UNHEARD_MAX => Some(TRY_AGAIN),
            _ => Some(TRY_SILENT_EVERY),
        }
    }

    /// When it is to be tried, unless it is being tried or there is no way.
    fn due(&self) -> Option<Mono> {
        (!self.trying && self.way != Way::None).then_some(self.due)
    }

    fn tried(&mut self, took: Option<Duration>, now: Mono) {
        self.trying = false;
        match took {
            Some(took) => {
                self.patience.answered(took);
                self.answered = self.way != Way::None;
                self.due = now + TRY_EVERY;
            }
            None => {
                self.patience.waited_in_vain();
                let silent = self.patience.in_vain() >= SILENT_AFTER || !self.answered;
                self.due = now + if silent { TRY_SILENT_EVERY } else { TRY_AGAIN };
            }
        }
    }
}

/// The machine and its informants.
#[derive(Debug)]
pub struct Steward {
    machine: Machine,
    servers: BTreeMap<String, Server>,
    unit: Option<(Unit, Option<String>, bool)>,
    /// Why the vehicle could not be looked at last time.
    blind: Option<String>,
    looking: bool,
    /// The look that is under way began before a step ended, and may show what was before.
    look_outdated: bool,
    look_due: Mono,
    node: NodeSeen,
    node_at: Mono,
    /// Why the server did not tell of it last time.
    mute: Option<String>,
    /// The federation whose Node `node` is.
    node_of: Option<String>,
    asking: bool,
    /// The same of the question.
    answer_outdated: bool,
    node_due: Mono,
    /// An intent is being made durable.
    saving: bool,
    /// It is not the latest.
    save_again: bool,
    /// Why the intent is not durable.
    unsaved: Option<String>,
    save_due: Option<Mono>,
}

impl Steward {
    /// With what was stored.
    #[must_use]
    pub fn new(policy: Policy, intent: Intent, now: Mono) -> Steward {
        let servers = policy
            .federations
            .keys()
            .map(|name| (name.clone(), Server { due: now, ..Server::default() }));
        Steward {
            servers: servers.collect(),
            machine: Machine::new(policy, intent, now),
            unit: None,
            blind: None,
            looking: false,
            look_outdated: false,
            look_due: now,
            node: NodeSeen::Unknown,
            node_at: now,
            mute: None,
            node_of: None,
            asking: false,
            answer_outdated: false,
            node_due: now,
            saving: false,
            save_again: false,
            unsaved: None,
            save_due: None,
        }
    }

    /// What people are shown.
    #[must_use]
    pub fn view(&self) -> &View {
        self.machine.view()
    }

    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Smoothed time that a server takes to answer.
    #[must_use]
    pub fn round_trip(&self, federation: &str) -> Option<Duration> {
        self.servers.get(federation)?.patience.round_trip()
    }

    /// Why nothing is known of this vehicle's k3s, if that is so.
    #[must_use]
    pub fn blind(&self) -> Option<&str> {
        self.blind.as_deref().filter(|_| self.unit.is_none())
    }

    /// Why the server of the federation that the vehicle is in, although it accepts connections, tells nothing of its Node.
    #[must_use]
    pub fn mute(&self) -> Option<&str> {
        self.mute.as_deref().filter(|_| self.asked_of().is_some())
    }

    /// Why the intent is not durable, if it is not although it was tried.
    #[must_use]
    pub fn unsaved(&self) -> Option<&str> {
        self.unsaved.as_deref()
    }

    /// Whether the intent as it is now is on its way to the disk.
    #[must_use]
    pub const fn is_saving(&self) -> bool {
        self.saving
    }

    /// When [`Steward::tick`] is due at the latest; `None` while everything that could be due is under way.
    #[must_use]
    pub fn deadline(&self) -> Option<Mono> {
        let tries = self.servers.values().filter_map(Server::due);
        let look = (!self.looking).then_some(self.look_due);
        let node = (!self.asking && self.asked_of().is_some()).then_some(self.node_due);
        [look, node, self.save_due, self.machine.deadline()]
            .into_iter()
            .flatten()
            .chain(tries)
            .min()
    }

    /// Takes in what the mesh says about the ways.
    pub fn ways(&mut self, ways: &BTreeMap<String, Way>, now: Mono) -> Orders {
        let mut orders = Orders::default();
        for (name, way) in ways {
            let Some(server) = self.servers.get_mut(name) else { continue };
            if server.way == *way {
                continue;
            }
            if server.way == Way::None {
                server.due = now;
            }
            // That there is a way again does not say that the server is.
            server.answered &= *way != Way::None;
            server.way = *way;
            self.tell_cost(name, now, &mut orders);
        }
        self.go_on(now, &mut orders);
        orders
    }

    /// Takes in what came of a task.
    pub fn report(&mut self, report: Report, now: Mono) -> Orders {
        let mut orders = Orders::default();
        match report {
            Report::Tried { federation, took } => {
                if let Some(server) = self.servers.get_mut(&federation) {
                    server.tried(took, now);
                    self.tell_cost(&federation, now, &mut orders);
                }
            }
            Report::Looked { unit, equipped, outdated } => {
                self.looking = false;
                let look_outdated = std::mem::take(&mut self.look_outdated);
                match unit {
                    Ok(_) if look_outdated => {}
                    Ok(unit) => {
                        self.blind = None;
                        self.unit = Some((unit, equipped, outdated));
                        self.tell_facts(now, &mut orders);
                    }
                    // It is asked again; nothing is done on a guess.
                    Err(text) => self.blind = Some(text),
                }
                self.look_due = match (look_outdated, self.is_changing()) {
                    (true, _) => now,
                    (false, true) => now + LOOK_SOON,
                    (false, false) => now + LOOK_EVERY,
                };
            }
            Report::Node(node) => {
                self.asking = false;
                let answer_outdated = std::mem::take(&mut self.answer_outdated);
                let silent = node.as_ref().is_err_and(|unseen| unseen.silent);
                let again = self.asked(silent, now, &mut orders);
                let usual = if self.is_changing() { NODE_SOON } else { NODE_EVERY };
                self.node_due = now + again.unwrap_or(usual);
                let is_old = now.since(self.node_at) > NODE_EVERY * NODE_OLD;
                match node {
                    Ok(_) if answer_outdated => self.node_due = now,
                    Ok(node) => {
                        (self.node, self.node_at, self.mute) = (node, now, None);
                        self.tell_facts(now, &mut orders);
                    }
                    Err(unseen) => {
                        self.mute = Some(unseen.text);
                        if is_old {
                            (self.node, self.node_at) = (NodeSeen::Unknown, now);
                            self.tell_facts(now, &mut orders);
                        }
                    }
                }
            }
            Report::Saved(Ok(())) => {
                self.saving = false;
                self.unsaved = None;
                if std::mem::take(&mut self.save_again) {
                    self.save(&mut orders);
                } else {
                    self.feed(Input::Saved, now, &mut orders);
                }
            }
            Report::Saved(Err(error)) => {
                self.saving = false;
                self.unsaved = Some(error);
                self.save_due = Some(now + TRY_SILENT_EVERY);
            }
            Report::Finished { step, outcome } => {
                // What the step changed is looked at before anything is built on it.
                self.unit = None;
                (self.look_due, self.node_due) = (now, now);
                (self.look_outdated, self.answer_outdated) = (self.looking, self.asking);
                self.feed(Input::Finished { step, outcome }, now, &mut orders);
            }
        }
        self.go_on(now, &mut orders);
        orders
    }

    /// Takes in what the operator wants.
    pub fn wish(&mut self, wish: Wish, now: Mono) -> Orders {
        let mut orders = Orders::default();
        self.feed(Input::Wish(wish), now, &mut orders);
        self.go_on(now, &mut orders);
        orders
    }

    /// Takes in that time has passed.
    pub fn tick(&mut self, now: Mono) -> Orders {
        let mut orders = Orders::default();
        if self.machine.deadline().is_some_and(|due| due <= now) {
            self.feed(Input::Tick, now, &mut orders);
        }
        self.go_on(now, &mut orders);
        orders
    }

    /// Orders what is due.
    fn go_on(&mut self, now: Mono, orders: &mut Orders) {
        if self.save_due.is_some_and(|due| due <= now) {
            self.save(orders);
        }
        for (name, server) in &mut self.servers {
            if server.due().is_some_and(|due| due <= now) {
                server.trying = true;
                let within = server.patience.wait();
                orders.tasks.push(Task::Try { federation: name.clone(), within });
            }
        }
        if !self.looking && self.look_due <= now {
            self.looking = true;
            orders.tasks.push(Task::Look);
        }
        let of = self.asked_of();
        let place = self.machine.intent().place.federation();
        for (name, server) in &mut self.servers {
            if place != Some(name) {
                server.unheard = 0;
            } else if !server.accepts() {
                // That it accepts connections again will not say that its API is there.
                server.unheard = UNHEARD_MAX;
            }
        }
        if of != self.node_of && !self.asking {
            // Another federation's Node is another Node.
            (self.node, self.node_at, self.node_due) = (NodeSeen::Unknown, now, now);
            self.mute = None;
            self.node_of = of.clone();
        }
        if let Some(federation) = of
            && !self.asking
            && self.node_due <= now
        {
            self.asking = true;
            let member = matches!(self.machine.intent().place, Place::Member { .. });
            orders.tasks.push(Task::AskForNode { federation, member });
        }
    }

    /// The federation whose server knows the own Node, while it accepts connections.
    fn asked_of(&self) -> Option<String> {
        let federation = self.machine.intent().place.federation()?;
        self.servers.get(federation)?.accepts().then(|| federation.to_owned())
    }

    /// Takes in whether the API that was asked for the own Node was silent. Says when to ask again, if sooner or later than usual.
    fn asked(&mut self, silent: bool, now: Mono, orders: &mut Orders) -> Option<Duration> {
        let federation = self.node_of.clone()?;
        let server = self.servers.get_mut(&federation)?;
        let before = server.cost();
        let again = server.asked(silent);
        if server.cost() != before {
            self.tell_cost(&federation, now, orders);
        }
        again
    }

    fn is_changing(&self) -> bool {
        match self.view().state {
            State::Joining | State::Leaving => true,
            State::Solo | State::Evaluating | State::Member | State::Strained | State::Held => {
                false
            }
        }
    }

    fn tell_cost(&mut self, federation: &str, now: Mono, orders: &mut Orders) {
        let Some(server) = self.servers.get(federation) else { return };
        let cost = server.cost();
        self.feed(Input::Cost { federation: federation.to_owned(), cost }, now, orders);
    }

    fn tell_facts(&mut self, now: Mono, orders: &mut Orders) {
        let Some((unit, equipped, outdated)) = self.unit.clone() else { return };
        let facts = Facts { unit, equipped, outdated, node: self.node.clone() };
        self.feed(Input::Facts(facts), now, orders);
    }

    /// One after the other: the machine goes on when the latest is durable.
    fn save(&mut self, orders: &mut Orders) {
        if self.saving {
            self.save_again = true;
            return;
        }
        (self.saving, self.save_due) = (true, None);
        orders.tasks.push(Task::Save(Box::new(self.machine.intent().clone())));
    }

    fn feed(&mut self, input: Input, now: Mono, orders: &mut Orders) {
        for act in self.machine.handle(input, now) {
            match act {
                // The machine's own is the latest of all.
                Act::Save(_) => self.save(orders),
                Act::Do(step) => orders.tasks.push(Task::Step(step)),
                Act::Changed { from, to, reason } => {
                    let federation = self.machine.view().federation.clone();
                    orders.changes.push(Change { from, to, federation, reason });
                }
            }
        }
    }
}

/// What is to be done and told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// In order.
    pub tasks: Vec<Task>,
    /// In order.
    pub changes: Vec<Change>,
}

#[cfg(test)]
mod tests;
