//! What the mesh says about federations, and what people are told.

use std::sync::Arc;
use std::time::Duration;

use olsr_bridge::view::Prefix;

use super::super::tests::view;
use super::*;
use crate::config::{Machine, default_config};
use crate::core::agent::Input;
use crate::core::membership::steward::Task;
use crate::core::membership::{self, Unit};
use crate::core::time::{ClockQuality, Mono, Now};

fn federation(name: &str, server: &str) -> Federation {
    Federation {
        name: name.to_owned(),
        servers: vec![server.to_owned()],
        token_file: "/t".into(),
        ca_hash: None,
        account_file: None,
        hub: None,
        policy: membership::Federation {
            priority: 10,
            join_below: 600,
            join_after: Duration::from_secs(60),
            strain_above: 1000,
            strain_after: Duration::from_secs(60),
            leave_after: None,
        },
    }
}

/// An agent, and which servers answer.
struct Vehicle {
    agent: Agent,
    ms: u64,
    answers: bool,
    wishes: Vec<Task>,
}

impl Vehicle {
    fn new(federations: Vec<Federation>) -> Vehicle {
        let mut config = default_config(&Machine::from_parts("hawk", true, None, None));
        config.federation = federations;
        config.membership.automatic = false;
        let now = Vehicle::now(1000);
        let mut agent = Agent::new(config, "01234567-89ab-cdef-0123-456789abcdef", &[], now);
        agent.take_charge(Intent::default());
        Vehicle { agent, ms: 1000, answers: true, wishes: Vec::new() }
    }

    fn now(ms: u64) -> Now {
        Now { mono: Mono::from_millis(ms), wall_ms: 0, quality: ClockQuality::Unset }
    }

    fn feed(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for effect in self.agent.handle(input, Vehicle::now(self.ms)) {
                let Effect::Membership(task) = effect else { continue };
                self.wishes.push(task.clone());
                let report = match task {
                    Task::Try { federation, .. } => {
                        let took = self.answers.then_some(Duration::from_millis(40));
                        Report::Tried { federation, took }
                    }
                    Task::Look => {
                        Report::Looked { unit: Ok(Unit::Stopped), equipped: None, outdated: false }
                    }
                    Task::Save(_) => Report::Saved(Ok(())),
                    Task::AskForNode { .. } | Task::Step(_) => continue,
                };
                inputs.push(Input::Membership(report));
            }
        }
    }

    /// One second, in which the routing daemon answers with these routes.
    fn second(&mut self, routes: &[(&str, NetworkCost)]) {
        self.ms += 1000;
        let mut view = view(routes);
        // What a gateway announces for others.
        for route in &mut view.routes {
            if route.destination.address.to_string().ends_with(".0.0") {
                route.destination = Prefix { length: 16, ..route.destination };
            }
        }
        self.feed(Input::Mesh { took: Duration::ZERO, result: Ok(Arc::new(view)) });
        self.feed(Input::Tick);
    }

    fn cost(&self, name: &str) -> Option<u32> {
        let federations = &self.agent.state().membership.federations;
        federations.iter().find(|federation| federation.name == name).unwrap().cost
    }
}

#[test]
fn the_way_to_a_federation_costs_what_the_mesh_says_while_its_server_answers() {
    let mut vehicle = Vehicle::new(vec![
        federation("near", "10.0.0.2"),
        federation("behind", "10.9.0.7"),
        federation("beside", "172.16.0.1"),
        Federation { hub: Some("10.0.0.3".to_owned()), ..federation("hub", "10.0.0.2") },
    ]);
    let routes = [
        ("10.0.0.2", NetworkCost::Reachable(150)),
        ("10.0.0.3", NetworkCost::Reachable(300)),
        ("10.9.0.0", NetworkCost::Reachable(420)),
    ];
    for _ in 0..5 {
        vehicle.second(&routes);
    }
    assert_eq!(vehicle.cost("near"), Some(150));
    assert_eq!(vehicle.cost("behind"), Some(420), "by the network that a gateway announces");
    assert_eq!(vehicle.cost("beside"), Some(100), "the mesh does not know it, and it answers");
    assert_eq!(vehicle.cost("hub"), Some(300));

    // Servers that answer no more, over the same routes.
    vehicle.answers = false;
    for _ in 0..60 {
        vehicle.second(&routes);
    }
    assert!(["near", "behind", "beside", "hub"].iter().all(|name| vehicle.cost(name).is_none()));
    vehicle.answers = true;
    for _ in 0..60 {
        vehicle.second(&routes);
    }
    assert_eq!(vehicle.cost("near"), Some(150));

    // The route goes, and the way with it.
    for _ in 0..60 {
        vehicle.second(&routes[1..]);
    }
    assert_eq!(vehicle.cost("near"), None);
    assert_eq!(vehicle.cost("hub"), Some(300));
}

#[test]
fn nothing_is_tried_before_the_mesh_has_been_seen() {
    let mut vehicle = Vehicle::new(vec![federation("near", "10.0.0.2")]);
    for _ in 0..30 {
        vehicle.ms += 1000;
        vehicle.feed(Input::Tick);
    }
    assert!(!vehicle.wishes.iter().any(|task| matches!(task, Task::Try { .. })));
}

#[test]
fn what_the_operator_wants_is_an_event_and_survives_in_the_intent() {
    let mut vehicle = Vehicle::new(vec![federation("near", "10.0.0.2")]);
    vehicle.feed(Input::Tick);
    assert_eq!(vehicle.agent.state().membership.wish, "policy");
    vehicle.feed(Input::Wish(Wish::Hold));
    let membership = &vehicle.agent.state().membership;
    assert_eq!((membership.wish.as_str(), membership.state), ("hold", State::Held));
    assert!(membership.sentence.contains("release"), "{}", membership.sentence);
    let kinds: Vec<&str> =
        vehicle.agent.state().events.iter().map(|event| event.kind.as_str()).collect();
    assert!(kinds.contains(&"federation-wish") && kinds.contains(&"federation-held"), "{kinds:?}");
    let saved = vehicle.wishes.iter().any(|task| match task {
        Task::Save(intent) => intent.wish == Wish::Hold,
        Task::Try { .. } | Task::Look | Task::AskForNode { .. } | Task::Step(_) => false,
    });
    assert!(saved);
}
