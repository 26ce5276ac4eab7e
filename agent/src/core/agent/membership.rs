//! Federations: what the mesh says about the ways to them goes to the steward, what the steward wants goes to the shell, and what
//! changes is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use olsr_bridge::view::NetworkCost;

use super::{Agent, Effect};
use crate::config::{Config, Federation};
use crate::core::links::Reach;
use crate::core::membership::cleanup::NeverTouch;
use crate::core::membership::kube::Word;
use crate::core::membership::report::report;
use crate::core::membership::steward::{Context, Orders, Report, Steward, Way};
use crate::core::membership::{Intent, Outcome, Policy, State, Step, Wish};
use crate::core::state::Severity;
use crate::core::time::Mono;

/// A routing daemon that has not answered for so long after the agent's start will not soon.
const VIEW_WITHIN: Duration = Duration::from_secs(60);

/// The steward, and what it has been told of the ways.
#[derive(Debug)]
pub(super) struct Membership {
    steward: Steward,
    ways: BTreeMap<String, Way>,
    /// Federations whose servers were seen in the mesh: one that is missing there is out of reach, not beside it.
    in_mesh: BTreeSet<String>,
    /// What people were told last of a step that did not work: each attempt has the same to say.
    told: String,
}

/// What the vehicle has had to do with a federation.
#[derive(Clone, Copy, Debug)]
struct Acquaintance {
    /// It is in it, or on the way in or out.
    present: bool,
    /// The mesh has shown a way to one of its servers.
    in_mesh: bool,
}

/// Numbers of the federations as configured.
#[must_use]
pub fn policy(config: &Config) -> Policy {
    let federations = config
        .federation
        .iter()
        .map(|federation| (federation.name.clone(), federation.policy.clone()));
    let settings = &config.membership;
    Policy {
        federations: federations.collect(),
        automatic: settings.automatic,
        dwell: settings.dwell,
        drain_within: settings.drain_within,
        switch_percent: settings.switch_percent,
        changes_max: usize::try_from(settings.joins_max).unwrap_or(usize::MAX),
        changes_within: settings.joins_within,
        ..Policy::default()
    }
}

impl Agent {
    /// Takes charge of the federations, with what was stored about them.
    pub fn take_charge(&mut self, intent: Intent) {
        let policy = policy(&self.config);
        let way = if self.mesh_wanted() { Way::None } else { Way::Unmeasured };
        let ways = policy.federations.keys().map(|name| (name.clone(), way)).collect();
        let mut steward = Steward::new(policy, intent, self.state.now.mono);
        let orders = steward.ways(&ways, self.state.now.mono);
        self.membership =
            Some(Membership { steward, ways, in_mesh: BTreeSet::new(), told: String::new() });
        self.obey(orders);
        self.show_membership();
    }

    /// What tasks about federations need to know.
    #[must_use]
    pub fn member_context(&self) -> Context {
        Context { word: self.word(), never_touch: self.never_touch() }
    }

    /// Interfaces and addresses of the mesh.
    fn never_touch(&self) -> NeverTouch {
        let Some(view) = self.state.mesh.view.as_deref() else { return NeverTouch::default() };
        let of_links = view.links.iter().filter_map(|link| link.interface.clone());
        let of_routes =
            view.routes.iter().filter_map(|route| route.interface.as_deref().map(str::to_owned));
        let of_links_too = view.links.iter().filter_map(|link| link.local);
        let addresses = view.own.iter().chain(&view.own_addresses).copied();
        NeverTouch {
            interfaces: of_links.chain(of_routes).collect(),
            addresses: addresses.chain(of_links_too).collect(),
        }
    }

    /// What a member has to say at its Node.
    fn word(&self) -> Option<Word> {
        let membership = &self.state.membership;
        let name = membership.federation.as_ref()?;
        let federation = membership.federations.iter().find(|federation| federation.name == *name);
        let streams = self.state.spool.streams.iter();
        Some(Word {
            vehicle: self.config.vehicle.name.clone(),
            agent_version: self.state.identity.version.clone(),
            network_cost: federation.and_then(|federation| federation.cost),
            gathered: streams.map(|(name, stream)| (name.clone(), stream.held_bytes)).collect(),
            leaving: None,
        })
    }

    /// Whether what the operator wants outlasts a power cut; `None` while that is being seen to, otherwise why it does not.
    #[must_use]
    pub fn wish_kept(&self) -> Option<Result<(), &str>> {
        let steward = &self.membership.as_ref()?.steward;
        (!steward.is_saving()).then(|| steward.unsaved().map_or(Ok(()), Err))
    }

    pub(super) fn membership_due(&self) -> Option<Mono> {
        self.membership.as_ref().and_then(|membership| membership.steward.deadline())
    }

    pub(super) fn member_tick(&mut self) {
        let now = self.state.now.mono;
        let Some(membership) = &mut self.membership else { return };
        if membership.steward.deadline().is_none_or(|due| due > now) {
            return;
        }
        let orders = membership.steward.tick(now);
        self.obey(orders);
    }

    pub(super) fn member_report(&mut self, report: Report) {
        let now = self.state.now.mono;
        if let Report::Finished { step, outcome } = &report {
            self.tell_outcome(step, outcome);
        }
        if let Report::Saved(Err(error)) = &report {
            let text = format!("nothing is done about federations before this is cured: {error}");
            self.note(Severity::Warning, "federation-unsaved", "", text);
        }
        let Some(membership) = &mut self.membership else { return };
        let orders = membership.steward.report(report, now);
        self.obey(orders);
    }

    pub(super) fn member_wish(&mut self, wish: Wish) {
        let now = self.state.now.mono;
        let Some(membership) = &mut self.membership else { return };
        let (federation, text) = match &wish {
            Wish::Policy => ("", "the operator leaves federations to policy".to_owned()),
            Wish::Join(name) => {
                (name.as_str(), format!("the operator wants this vehicle in {name}"))
            }
            Wish::Leave { now: false } => {
                ("", "the operator wants this vehicle in no federation".to_owned())
            }
            Wish::Leave { now: true } => {
                ("", "the operator wants this vehicle in no federation, at once".to_owned())
            }
            Wish::Hold => ("", "the operator wants nothing to change".to_owned()),
        };
        let federation = federation.to_owned();
        let orders = membership.steward.wish(wish, now);
        self.note(Severity::Info, "federation-wish", &federation, text);
        self.obey(orders);
        self.show_membership();
    }

    /// Once a second: what the mesh says about the ways, and the ages in what people are shown.
    pub(super) fn look_at_federations(&mut self) {
        let Some(mut membership) = self.membership.take() else { return };
        let present = membership.steward.machine().intent().place.federation().map(str::to_owned);
        for federation in &self.config.federation {
            let acquaintance = Acquaintance {
                present: present.as_ref() == Some(&federation.name),
                in_mesh: membership.in_mesh.contains(&federation.name),
            };
            let Some(way) = self.way_to(federation, acquaintance) else { continue };
            if matches!(way, Way::Costs(_)) {
                membership.in_mesh.insert(federation.name.clone());
            }
            membership.ways.insert(federation.name.clone(), way);
        }
        let orders = membership.steward.ways(&membership.ways, self.state.now.mono);
        self.membership = Some(membership);
        self.obey(orders);
        self.show_membership();
    }

    /// What the mesh says, if it says anything new.
    fn way_to(&self, federation: &Federation, known: Acquaintance) -> Option<Way> {
        if !self.mesh_wanted() {
            return Some(Way::Unmeasured);
        }
        let missing = if known.in_mesh { Way::None } else { Way::Unmeasured };
        let Some(view) = &self.state.mesh.view else {
            // A routing daemon that never answered is no reason to leave a server that does.
            let late = self.state.now.mono.since(self.state.started) >= VIEW_WITHIN;
            return (late && known.present).then_some(Way::Unmeasured);
        };
        let hosts: Vec<String> = match &federation.hub {
            Some(hub) => vec![hub.clone()],
            None => federation.servers().into_iter().map(|server| server.host).collect(),
        };
        let mut ways: Vec<Way> = Vec::new();
        for host in &hosts {
            if let Some(vehicle) = self.state.vehicles.of_host(host) {
                match vehicle.reach {
                    Reach::Own => ways.push(Way::Costs(0)),
                    Reach::Reachable { cost } => ways.push(Way::Costs(cost)),
                    Reach::Unreachable => ways.push(Way::None),
                    Reach::NotMeaningful => ways.push(Way::Unmeasured),
                    // Held as it was: the server is tried all the same.
                    Reach::Unknown => {}
                }
                continue;
            }
            let Ok(address) = host.parse() else {
                ways.push(missing);
                continue;
            };
            let routes = view.routes.iter().filter(|route| route.destination.contains(address));
            // A default route says nothing about this host in particular.
            let routes = routes.filter(|route| route.destination.length > 0);
            match routes.max_by_key(|route| route.destination.length).map(|route| route.cost) {
                Some(NetworkCost::Reachable(cost)) => ways.push(Way::Costs(cost)),
                Some(NetworkCost::Unreachable) => ways.push(Way::None),
                Some(NetworkCost::NotMeaningful) => ways.push(Way::Unmeasured),
                None => ways.push(missing),
            }
        }
        let cheapest = ways.iter().filter_map(|way| match way {
            Way::Costs(cost) => Some(*cost),
            Way::Unmeasured | Way::None => None,
        });
        match cheapest.min() {
            Some(cost) => Some(Way::Costs(cost)),
            None if ways.contains(&Way::Unmeasured) => Some(Way::Unmeasured),
            None => ways.first().copied(),
        }
    }

    fn obey(&mut self, orders: Orders) {
        let changed = !orders.changes.is_empty();
        for change in orders.changes {
            let severity = match change.to {
                State::Strained => Severity::Warning,
                State::Solo
                | State::Evaluating
                | State::Joining
                | State::Member
                | State::Leaving
                | State::Held => Severity::Info,
            };
            let subject = change.federation.unwrap_or_default();
            self.note(severity, change.to.event(), &subject, change.reason);
        }
        self.effects.extend(orders.tasks.into_iter().map(Effect::Membership));
        if changed {
            self.show_membership();
        }
    }

    /// What people should know of a step that did not work.
    fn tell_outcome(&mut self, step: &Step, outcome: &Outcome) {
        let told = self.membership.as_mut().map(|membership| &mut membership.told);
        let Some(text) = outcome.hindrance() else {
            return told.into_iter().for_each(String::clear);
        };
        if told.is_some_and(|told| std::mem::replace(told, text.to_owned()) == text) {
            return;
        }
        let federation = match step {
            Step::Preflight { federation }
            | Step::Equip { federation }
            | Step::Part { federation, .. } => federation.clone(),
            Step::Finish(deferred) => deferred.federation.clone(),
            Step::Start | Step::Restart => String::new(),
        };
        let refused = matches!(outcome, Outcome::Refused(_));
        let (severity, kind) = match refused {
            true => (Severity::Warning, "federation-refused"),
            false => (Severity::Info, "federation-waits"),
        };
        self.note(severity, kind, &federation, text.to_owned());
    }

    fn show_membership(&mut self) {
        let now = self.state.now.mono;
        if let Some(membership) = &self.membership {
            self.state.membership = report(&membership.steward, now);
        }
    }
}

#[cfg(test)]
mod tests;
