//! The machine: looks at everything it knows after each input, and goes one step if none is under way.

mod leaving;
mod staying;
mod view;

use std::collections::BTreeMap;
use std::time::Duration;

use super::intent::INTENT_VERSION;
use super::report::span;
use super::{
    Act, Contact, Facts, Federation, Input, Intent, LeaveStep, NodeSeen, Outcome, Place, Policy,
    State, Step, Unit, View, Wish,
};
use crate::core::time::{Mono, millis};

/// A pre-flight that held is believed for so long: what it looked at was true a moment ago.
const PREFLIGHT_FRESH: Duration = Duration::from_secs(120);

/// A join over a bad link takes so long; beyond, k3s may have a reason that only it knows.
pub(super) const JOIN_USUAL: Duration = Duration::from_secs(180);

/// Time watched that a power cut may undo while a join waits for its turn by it: a vehicle that is switched on for a quarter of an
/// hour at a time must get there too, and each of these is a write.
const WATCHED_KEPT_EVERY: Duration = Duration::from_secs(300);

/// Changes of place that one input may bring: more would be a circle.
const ROUNDS_MAX: usize = 8;

/// Why nothing is done.
const HELD: &str = "held by the operator; `outrider federation release` ends it";

/// What a pause is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Matter {
    Preflight(String),
    Finish(String),
    Restart,
    Step,
}

/// Before something is tried again.
#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Mono,
    length: Duration,
    /// Contact that comes back may have cured the cause.
    curable: bool,
}

/// In which federation, and how to get there.
#[derive(Debug)]
pub struct Machine {
    policy: Policy,
    intent: Intent,
    contacts: BTreeMap<String, Contact>,
    facts: Option<Facts>,
    saving: bool,
    running: Option<Step>,
    held_up: BTreeMap<Matter, Pause>,
    /// Federation whose pre-flight held last, and when.
    cleared: Option<(String, Mono)>,
    /// What a federation refused, for people.
    refusals: BTreeMap<String, String>,
    /// Since when the server gives no answer to a step of leaving.
    unanswered_since: Option<Mono>,
    not_ready_since: Option<Mono>,
    /// What k3s reads has changed since it was started.
    refresh: bool,
    place_since: Mono,
    watched_at: Mono,
    /// Time watched that was stored last.
    watched_kept_ms: u64,
    view: View,
    wake: Option<Mono>,
    acts: Vec<Act>,
}

impl Machine {
    /// With what was stored, at `now`. Nothing is done before the first [`Input::Facts`].
    #[must_use]
    pub fn new(policy: Policy, intent: Intent, now: Mono) -> Machine {
        let watched_kept_ms = intent.watched_ms;
        let mut machine = Machine {
            policy,
            intent: Intent { version: INTENT_VERSION, ..intent },
            contacts: BTreeMap::new(),
            facts: None,
            saving: false,
            running: None,
            held_up: BTreeMap::new(),
            cleared: None,
            refusals: BTreeMap::new(),
            unanswered_since: None,
            not_ready_since: None,
            refresh: false,
            place_since: now,
            watched_at: now,
            watched_kept_ms,
            view: View { state: State::Solo, federation: None, since: now, reason: String::new() },
            wake: None,
            acts: Vec::new(),
        };
        machine.view.state = machine.state(now);
        machine.view.federation = machine.intent.place.federation().map(str::to_owned);
        machine.because("looking where the vehicle is".to_owned());
        machine
    }

    /// What people are shown.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// What it goes by.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What outlasts a restart.
    #[must_use]
    pub fn intent(&self) -> &Intent {
        &self.intent
    }

    /// Why a federation could not be joined when that was tried last.
    #[must_use]
    pub fn refusal(&self, federation: &str) -> Option<&str> {
        self.refusals.get(federation).map(String::as_str)
    }

    /// How the way to a federation is.
    #[must_use]
    pub fn contact(&self, federation: &str) -> Option<&Contact> {
        self.contacts.get(federation)
    }

    /// When [`Input::Tick`] is due at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Mono> {
        self.wake
    }

    /// Takes in what happened at `now` and returns what is to be done, in order.
    #[must_use]
    pub fn handle(&mut self, input: Input, now: Mono) -> Vec<Act> {
        let watched = now.since(self.watched_at).as_millis();
        self.intent.watched_ms += u64::try_from(watched).unwrap_or(0);
        self.watched_at = now;
        match input {
            Input::Tick => {}
            Input::Cost { federation, cost } => {
                if let Some(policy) = self.policy.federations.get(&federation) {
                    let contact = self.contacts.entry(federation.clone()).or_default();
                    let was_near = contact.near_for(now).is_some();
                    contact.observe(policy, cost, now);
                    if !was_near && contact.near_for(now).is_some() {
                        self.near_again(federation);
                    }
                }
            }
            Input::Facts(facts) => self.observed(facts, now),
            Input::Finished { step, outcome } => {
                if self.running.as_ref() == Some(&step) {
                    self.running = None;
                    self.finished(step, outcome, now);
                }
            }
            Input::Saved => self.saving = false,
            Input::Wish(wish) => {
                // What a person asks for is tried at once, also what was refused before.
                self.held_up.clear();
                self.refusals.clear();
                if self.intent.wish != wish {
                    self.because(match &wish {
                        Wish::Policy => "the operator leaves it to policy".to_owned(),
                        Wish::Join(federation) => format!("the operator wants {federation}"),
                        Wish::Leave { .. } => "the operator wants no federation".to_owned(),
                        Wish::Hold => HELD.to_owned(),
                    });
                    self.intent.wish = wish;
                    self.save();
                }
            }
        }
        self.wake = None;
        for _ in 0..ROUNDS_MAX {
            let before = (self.intent.place.clone(), self.saving, self.running.is_some());
            self.go(now);
            if before == (self.intent.place.clone(), self.saving, self.running.is_some()) {
                break;
            }
        }
        self.show(now);
        std::mem::take(&mut self.acts)
    }

    /// What a bad way was the cause of is tried again as if for the first time.
    fn near_again(&mut self, federation: String) {
        for matter in [Matter::Preflight(federation.clone()), Matter::Finish(federation)] {
            if self.held_up.get(&matter).is_some_and(|pause| pause.curable) {
                self.held_up.remove(&matter);
            }
        }
    }

    fn observed(&mut self, facts: Facts, now: Mono) {
        let not_ready = matches!(facts.node, NodeSeen::Present { ready: false, .. });
        self.not_ready_since = not_ready.then(|| self.not_ready_since.unwrap_or(now));
        self.facts = Some(facts);
    }

    fn finished(&mut self, step: Step, outcome: Outcome, now: Mono) {
        match (step, outcome) {
            (Step::Preflight { federation }, outcome) => self.flown(federation, outcome, now),
            (Step::Finish(deferred), outcome) => self.settled(deferred, outcome, now),
            (Step::Part { step, .. }, outcome) => self.parted(step, outcome, now),
            (Step::Equip { federation }, Outcome::Done) => {
                self.held_up.remove(&Matter::Step);
                // Its Node will be in use again.
                let owed = self.intent.deferred.len();
                self.intent.deferred.retain(|owed| owed.federation != federation);
                if self.intent.deferred.len() < owed {
                    self.save();
                }
                if let Some(facts) = &mut self.facts {
                    self.refresh |= facts.outdated && facts.equipped.as_ref() == Some(&federation);
                    facts.equipped = Some(federation);
                    facts.outdated = false;
                }
            }
            (Step::Start | Step::Restart, Outcome::Done) => {
                // Until the service manager says more.
                if let Some(facts) = &mut self.facts {
                    facts.unit = Unit::Starting;
                }
                self.not_ready_since = None;
                self.refresh = false;
                // One that dies at once is not started over and over.
                self.pause(Matter::Step, &Outcome::Done, now);
            }
            (Step::Equip { .. } | Step::Start | Step::Restart, outcome) => {
                let after = self.pause(Matter::Step, &outcome, now);
                self.complain(&outcome, after);
            }
        }
    }

    fn flown(&mut self, federation: String, outcome: Outcome, now: Mono) {
        self.refusals.remove(&federation);
        match outcome {
            Outcome::Done => {
                self.held_up.remove(&Matter::Preflight(federation.clone()));
                self.cleared = Some((federation, now));
            }
            Outcome::Unreachable(ref text) | Outcome::NotYet { ref text, .. } => {
                self.refusals.insert(federation.clone(), text.clone());
                self.pause(Matter::Preflight(federation), &outcome, now);
            }
            Outcome::Refused(text) => {
                // A token is tried once, not in a loop.
                let pause = Pause {
                    until: now + self.policy.pause[1],
                    length: self.policy.pause[1],
                    curable: false,
                };
                self.held_up.insert(Matter::Preflight(federation.clone()), pause);
                self.refusals.insert(federation, text);
            }
        }
    }

    /// Begins to join.
    fn set_out(&mut self, federation: String) {
        self.intent.joins_ms.push(self.intent.watched_ms);
        let excess = self.intent.joins_ms.len().saturating_sub(self.policy.changes_max.max(1));
        self.intent.joins_ms.drain(..excess);
        self.place(Place::Joining { federation });
    }

    fn place(&mut self, place: Place) {
        if place.federation() != self.intent.place.federation() {
            self.held_up.remove(&Matter::Step);
            self.held_up.remove(&Matter::Restart);
            self.refresh = false;
        }
        self.intent.place = place;
        self.place_since = self.watched_at;
        self.save();
    }

    fn save(&mut self) {
        self.saving = true;
        self.watched_kept_ms = self.intent.watched_ms;
        // Only the latest matters; an earlier one that is not on its way yet is replaced.
        self.acts.retain(|act| !matches!(act, Act::Save(_)));
        self.acts.push(Act::Save(Box::new(self.intent.clone())));
    }

    fn pause(&mut self, matter: Matter, outcome: &Outcome, now: Mono) -> Duration {
        let [first, longest] = self.policy.pause;
        let before = self.held_up.get(&matter).map_or(Duration::ZERO, |pause| pause.length);
        let length = match outcome {
            Outcome::NotYet { after, .. } => (*after).clamp(Duration::from_secs(1), longest),
            Outcome::Done | Outcome::Unreachable(_) | Outcome::Refused(_) => {
                (before * 2).clamp(first, longest)
            }
        };
        let curable = !matches!(outcome, Outcome::Refused(_));
        self.held_up.insert(matter, Pause { until: now + length, length, curable });
        length
    }

    fn complain(&mut self, outcome: &Outcome, after: Duration) {
        if let Some(text) = outcome.hindrance() {
            self.because(format!("{text}; next attempt in {}", span(after)));
        }
    }

    fn because(&mut self, reason: String) {
        self.view.reason = reason;
    }

    /// Whether the pause about this matter is over; if not, the machine wakes when it is.
    fn may(&mut self, matter: &Matter, now: Mono) -> bool {
        let until = self.held_up.get(matter).map(|pause| pause.until).filter(|until| *until > now);
        if let Some(until) = until {
            self.wake_at(until);
        }
        until.is_none()
    }

    fn wake_at(&mut self, at: Mono) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    fn start(&mut self, step: Step) {
        self.running = Some(step.clone());
        self.acts.push(Act::Do(step));
    }

    /// One step, if none is under way and the intent is durable.
    fn go(&mut self, now: Mono) {
        if self.saving || self.running.is_some() {
            if self.intent.wish == Wish::Hold && self.running.is_some() {
                self.because(format!("{HELD}; a step that was under way is ended before"));
            }
            return;
        }
        if self.intent.wish == Wish::Hold {
            self.because(HELD.to_owned());
            return;
        }
        let Some(facts) = self.facts.clone() else { return };
        match self.intent.place.clone() {
            Place::Solo => self.seek(&facts, now),
            Place::Joining { federation } => self.join(&federation, &facts, now),
            Place::Member { federation, uid } => self.hold_on(&federation, &uid, &facts, now),
            Place::Leaving { federation, uid, step, then } => {
                self.leave(federation, uid, step, then, now);
            }
        }
        if self.running.is_none() && !self.saving {
            self.pay(now);
        }
    }

    /// Solo: looks for a federation.
    fn seek(&mut self, facts: &Facts, now: Mono) {
        if let Some(equipped) = &facts.equipped {
            // The intent was lost: what is observed counts.
            return match self.policy.federations.contains_key(equipped) {
                true => self.place(Place::Joining { federation: equipped.clone() }),
                false => self.leave_on(equipped.clone(), None, LeaveStep::Stop, None),
            };
        }
        let Some(federation) = self.candidate(now) else {
            let text = match (&self.intent.wish, self.policy.federations.is_empty()) {
                (Wish::Leave { .. }, _) => "the operator wants no federation".to_owned(),
                (_, true) => "no federation is configured".to_owned(),
                (Wish::Policy, false) if !self.policy.automatic => {
                    "waiting for the operator to say `outrider federation join`".to_owned()
                }
                (Wish::Join(wanted), false) => {
                    format!("no contact with {wanted}, which the operator wants")
                }
                (Wish::Policy | Wish::Hold, false) => "no federation is in contact".to_owned(),
            };
            return self.because(text);
        };
        if self.is_ready_for(&federation, now) {
            self.set_out(federation);
        }
    }

    /// The federation to look at: what the operator wants, else the best in contact.
    fn candidate(&self, now: Mono) -> Option<String> {
        match &self.intent.wish {
            Wish::Leave { .. } | Wish::Hold => None,
            Wish::Join(federation) => {
                let contact = self.contacts.get(federation)?;
                contact.cost().map(|_| federation.clone())
            }
            Wish::Policy if self.policy.automatic => self.best(now, None),
            Wish::Policy => None,
        }
    }

    /// The best federation in contact but `without`.
    fn best(&self, now: Mono, without: Option<&str>) -> Option<String> {
        let near = self.policy.federations.iter().filter_map(|(name, policy)| {
            let contact = self.contacts.get(name)?;
            let cost = contact.near_for(now).and(contact.cost())?;
            let refused = self
                .held_up
                .get(&Matter::Preflight(name.clone()))
                .is_some_and(|pause| pause.until > now);
            // One that was refused a moment ago stands behind all others.
            Some(((refused, std::cmp::Reverse(policy.priority), cost), name))
        });
        let others = near.filter(|(_, name)| without != Some(name.as_str()));
        others.min().map(|(_, name)| name.clone())
    }

    /// Whether everything speaks for joining now. If something is to be tried for that, it is.
    fn is_ready_for(&mut self, federation: &str, now: Mono) -> bool {
        let Some(policy) = self.policy.federations.get(federation).cloned() else { return false };
        let near_for = self.contacts.get(federation).and_then(|contact| contact.near_for(now));
        let by_policy = !matches!(self.intent.wish, Wish::Join(_));
        if by_policy {
            let near_for = near_for.unwrap_or_default();
            if near_for < policy.join_after {
                let left = policy.join_after - near_for;
                self.wake_at(now + left);
                self.because(format!(
                    "{federation} is in contact; the pre-flight begins in {} if it stays so",
                    span(left)
                ));
                return false;
            }
            if let Some(left) = self.changes_left_in() {
                self.wake_at(now + left.min(WATCHED_KEPT_EVERY));
                if self.intent.watched_ms - self.watched_kept_ms >= millis(WATCHED_KEPT_EVERY) {
                    self.save();
                }
                self.because(format!(
                    "{federation} could be joined, but there were {} joins lately; the next may begin in {}",
                    self.intent.joins_ms.len(),
                    span(left)
                ));
                return false;
            }
        }
        if !self.may(&Matter::Preflight(federation.to_owned()), now) {
            let refusal = self.refusals.get(federation).cloned().unwrap_or_default();
            self.because(format!("{federation} cannot be joined: {refusal}"));
            return false;
        }
        let cleared = self
            .cleared
            .as_ref()
            .is_some_and(|(name, at)| name == federation && now.since(*at) <= PREFLIGHT_FRESH);
        if !cleared {
            self.because(format!("trying whether {federation} can be joined"));
            self.start(Step::Preflight { federation: federation.to_owned() });
        }
        cleared
    }

    /// Time until policy may begin another join, if it may not now.
    fn changes_left_in(&self) -> Option<Duration> {
        let within = millis(self.policy.changes_within);
        let from = self.intent.watched_ms.saturating_sub(within);
        let recent: Vec<u64> =
            self.intent.joins_ms.iter().copied().filter(|at| *at > from).collect();
        let oldest = recent.first().filter(|_| recent.len() >= self.policy.changes_max)?;
        Some(Duration::from_millis((oldest + within).saturating_sub(self.intent.watched_ms)))
    }

    /// Joining: equips, starts and waits.
    fn join(&mut self, federation: &str, facts: &Facts, now: Mono) {
        let in_contact = self.contacts.get(federation).is_some_and(|way| way.cost().is_some());
        let wanted = match &self.intent.wish {
            Wish::Policy | Wish::Hold => self.policy.federations.contains_key(federation),
            Wish::Join(wish) => wish == federation,
            Wish::Leave { .. } => false,
        };
        match &facts.equipped {
            Some(equipped) if equipped == federation => {}
            Some(other) => {
                let then = Some(federation.to_owned());
                return self.leave_on(other.clone(), None, LeaveStep::Stop, then);
            }
            None if !wanted || !in_contact => {
                self.because(format!("{federation} is out of contact"));
                return self.place(Place::Solo);
            }
            None => {
                if self.may(&Matter::Step, now) {
                    self.because(format!("preparing to join {federation}"));
                    self.start(Step::Equip { federation: federation.to_owned() });
                }
                return;
            }
        }
        if !wanted {
            return self.give_up(federation, facts);
        }
        if let (Unit::Active | Unit::Starting, NodeSeen::Present { uid, ready: true }) =
            (facts.unit, &facts.node)
        {
            self.because(format!("this vehicle's Node in {federation} is ready"));
            self.held_up.remove(&Matter::Step);
            return self
                .place(Place::Member { federation: federation.to_owned(), uid: uid.clone() });
        }
        let patience = self.policy.join_patience;
        let silent_for = self.silence(federation, now);
        let silence_max = self.federation(federation).and_then(|policy| policy.leave_after);
        if silence_max.is_some_and(|most| silent_for >= most) {
            return self.give_up(federation, facts);
        }
        // What passes without contact is no time in which k3s could have done anything.
        let heard_since = self.contacts.get(federation).and_then(Contact::heard_since);
        if let Some(heard_since) = heard_since {
            let due = heard_since.max(self.place_since) + patience;
            if now >= due {
                let text = format!(
                    "{federation} took too long to join; k3s's log says what it waited for"
                );
                self.because(text.clone());
                let outcome = Outcome::Unreachable(text);
                self.flown(federation.to_owned(), outcome, now);
                return self.give_up(federation, facts);
            }
            self.wake_at(due);
        }
        if in_contact && self.update(federation, facts, now) {
            return;
        }
        match facts.unit {
            Unit::Stopped | Unit::Failed if !in_contact => {
                self.because(format!("waiting for contact with {federation}"));
            }
            Unit::Stopped | Unit::Failed => {
                if self.may(&Matter::Step, now) {
                    self.because(format!("joining {federation}: starting k3s"));
                    self.start(Step::Start);
                }
            }
            Unit::Absent => {
                self.because(format!("there is no k3s unit to join {federation} with"));
                self.give_up(federation, facts);
            }
            Unit::Starting | Unit::Active | Unit::Stopping => {
                let waited = now.since(self.place_since);
                let how = if in_contact { "" } else { ", which is out of contact" };
                let advice = match in_contact && waited >= JOIN_USUAL {
                    true => format!(" for {}; its log says what it waits for", span(waited)),
                    false => String::new(),
                };
                self.because(format!("joining {federation}{how}: k3s is on its way up{advice}"));
            }
        }
    }

    fn federation(&self, name: &str) -> Option<&Federation> {
        self.policy.federations.get(name)
    }

    /// How long nothing was heard of a federation.
    fn silence(&self, federation: &str, now: Mono) -> Duration {
        match self.contacts.get(federation) {
            Some(contact) if contact.cost().is_some() => Duration::ZERO,
            Some(contact) => contact.strained_for(now).unwrap_or_default(),
            None => now.since(self.place_since),
        }
    }
}

#[cfg(test)]
mod tests;
