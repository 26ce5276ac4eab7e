//! What the machine does in the situations that it was made for, in a small [`world`].

mod drives;
mod world;

use std::collections::BTreeSet;

use self::world::{SECOND, World, at, policy};
use super::*;

#[test]
fn the_table_in_the_documentation_is_what_the_code_does() {
    let text = include_str!("../mod.rs");
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | ")).skip(1);
    let mut documented = BTreeSet::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        for from in cells[0].split(", ") {
            for to in cells[1].split(", ") {
                documented.insert((from.to_owned(), to.to_owned()));
            }
        }
    }
    let mut coded = BTreeSet::new();
    for from in State::ALL {
        for to in State::ALL {
            if from.can_become(to) {
                coded.insert((format!("{from:?}"), format!("{to:?}")));
            }
        }
    }
    assert_eq!(documented, coded);
}

#[test]
fn a_vehicle_in_reach_becomes_a_member_and_says_how() {
    let mut world = World::new(policy(&[("red", 1)]));
    world.pass(60);
    assert_eq!(world.view(), State::Solo);
    assert_eq!(world.machine.view().reason, "no federation is in contact");
    world.cost("red", Some(150));
    world.pass(20);
    assert_eq!(world.view(), State::Evaluating);
    world.pass(60);
    assert_eq!(world.view(), State::Member, "{:?}", world.machine.view());
    assert_eq!(world.machine.view().reason, "member of red, cost 150");
    assert_eq!(world.machine.view().federation.as_deref(), Some("red"));
    let states: Vec<State> = world.changes.iter().map(|(_, to, _)| *to).collect();
    assert_eq!(states, [State::Evaluating, State::Joining, State::Member]);
    world.assert_kept();
}

#[test]
fn silence_strains_first_and_ends_a_membership_later_with_the_rest_owed() {
    let mut world = World::new(policy(&[("red", 1)]));
    world.cost("red", Some(100));
    world.pass(90);
    assert_eq!(world.view(), State::Member);
    world.cost("red", None);
    world.pass(30);
    assert_eq!(world.view(), State::Strained);
    let reason = &world.machine.view().reason;
    assert!(reason.starts_with("no contact with red for "), "{reason}");
    assert!(reason.contains("pods keep running; leaving in "), "{reason}");
    assert_eq!(world.unit, Unit::Active, "pods run on");
    // Contact that comes back in time changes nothing.
    world.cost("red", Some(200));
    world.pass(30);
    assert_eq!(world.view(), State::Member);

    world.cost("red", None);
    world.pass(700);
    assert_eq!(world.view(), State::Solo, "{:?}", world.machine.view());
    assert_eq!((world.unit, world.equipped.as_deref()), (Unit::Stopped, None));
    assert_eq!(world.machine.intent().deferred.len(), 1);
    assert_eq!(world.nodes.len(), 1, "nobody has told the server");
    // Near enough to be told, too far to join.
    world.cost("red", Some(900));
    world.pass(60);
    assert_eq!((world.nodes.len(), world.machine.intent().deferred.len()), (0, 0));
    world.assert_kept();
}

#[test]
fn a_better_federation_is_gone_to_with_everything_of_the_first_cleaned_up() {
    let mut world = World::new(policy(&[("purple", 5), ("red", 1)]));
    world.cost("red", Some(100));
    world.pass(200);
    assert_eq!(world.machine.view().federation.as_deref(), Some("red"));
    world.cost("purple", Some(250));
    world.pass(200);
    assert_eq!(world.view(), State::Member);
    assert_eq!(world.machine.view().federation.as_deref(), Some("purple"));
    assert_eq!(world.nodes.keys().collect::<Vec<_>>(), ["purple"]);
    // A little cheaper is not better.
    world.cost("red", Some(240));
    world.pass(400);
    assert_eq!(world.machine.view().federation.as_deref(), Some("purple"));
    world.assert_kept();
}

#[test]
fn the_operator_beats_policy() {
    let mut world = World::new(policy(&[("purple", 5), ("red", 1)]));
    world.cost("purple", Some(100));
    world.cost("red", Some(700));
    world.feed(Input::Wish(Wish::Join("red".to_owned())));
    world.pass(60);
    assert_eq!(
        (world.view(), world.machine.view().federation.as_deref()),
        (State::Member, Some("red"))
    );
    world.cost("red", None);
    world.pass(2000);
    assert_eq!(world.view(), State::Strained, "the operator said join, so it stays");
    assert!(world.machine.view().reason.contains("as the operator wants"));

    world.feed(Input::Wish(Wish::Hold));
    world.pass(10);
    assert_eq!(world.view(), State::Held);
    world.feed(Input::Wish(Wish::Leave { now: true }));
    world.pass(60);
    assert_eq!(world.view(), State::Solo);
    assert_eq!(world.machine.view().reason, "the operator wants no federation");
    assert_eq!(world.machine.intent().deferred.len(), 1);
    world.feed(Input::Wish(Wish::Policy));
    world.pass(120);
    assert_eq!(world.machine.view().federation.as_deref(), Some("purple"));
    world.assert_kept();
}

#[test]
fn a_node_deleted_at_the_server_ends_the_membership() {
    let mut world = World::new(policy(&[("red", 1)]));
    world.cost("red", Some(100));
    world.pass(90);
    world.nodes.clear();
    world.pass(5);
    assert_eq!(world.view(), State::Leaving);
    world.pass(20);
    assert_eq!(world.unit, Unit::Stopped);
    assert!(world.residue.is_none() && world.equipped.is_none());
    world.assert_kept();
}

#[test]
fn a_refused_preflight_is_told_and_not_tried_in_a_loop() {
    let mut machine = Machine::new(policy(&[("red", 1)]), Intent::default(), at(0));
    let facts =
        Facts { unit: Unit::Stopped, equipped: None, outdated: false, node: NodeSeen::Unknown };
    let _ = machine.handle(Input::Facts(facts), at(0));
    let cost = || Input::Cost { federation: "red".to_owned(), cost: Some(100) };
    let mut flights = 0;
    for second in 1..1000 {
        for act in machine.handle(cost(), at(second)) {
            if let Act::Do(step @ Step::Preflight { .. }) = act {
                flights += 1;
                let outcome =
                    Outcome::Refused("the token is wrong or has expired: get a new one".to_owned());
                let _ = machine.handle(Input::Finished { step, outcome }, at(second));
            }
        }
    }
    assert!((1..=4).contains(&flights), "{flights} in a quarter of an hour");
    assert_eq!(
        machine.view().reason,
        "red cannot be joined: the token is wrong or has expired: get a new one"
    );
    let acts = machine.handle(Input::Wish(Wish::Join("red".to_owned())), at(1000));
    assert!(matches!(acts[0], Act::Save(_)), "{acts:?}");
    let acts = machine.handle(Input::Saved, at(1000));
    assert!(
        matches!(acts[0], Act::Do(Step::Preflight { .. })),
        "a person's word is tried at once: {acts:?}"
    );
}

#[test]
fn a_lost_intent_is_made_up_for_by_looking() {
    let mut world = World::new(policy(&[("red", 1)]));
    world.cost("red", Some(100));
    world.pass(90);
    world.stored = Intent::default();
    world.power_cut();
    world.pass(60);
    assert_eq!(world.view(), State::Member, "{:?}", world.machine.view());
    assert_eq!(world.created, 1, "it is the same membership");
    world.assert_kept();
}

#[test]
fn a_changed_configuration_reaches_k3s_by_one_restart_and_only_while_the_server_answers() {
    let mut world = World::new(policy(&[("red", 1)]));
    world.cost("red", Some(100));
    world.pass(120);
    assert_eq!(world.view(), State::Member);
    world.cost("red", None);
    world.pass(5);
    world.outdated = true;
    world.pass(300);
    assert!(world.outdated, "nothing is touched while the server is silent");
    assert_eq!(world.restarts, 0);
    world.cost("red", Some(100));
    world.pass(300);
    assert!(!world.outdated);
    assert_eq!(world.restarts, 1);
    assert_eq!((world.view(), world.unit), (State::Member, Unit::Active));
    assert_eq!(world.broken_promises, Vec::<String>::new());
}

#[test]
fn a_better_way_ends_the_pause_that_a_bad_one_was_the_cause_of_and_no_other() {
    let fails = |outcome: Outcome| {
        let policy = Policy { pause: [SECOND * 5, SECOND * 10_000], ..policy(&[("red", 1)]) };
        let mut machine = Machine::new(policy, Intent::default(), at(0));
        let facts =
            Facts { unit: Unit::Stopped, equipped: None, outdated: false, node: NodeSeen::Unknown };
        let mut now = 0;
        let mut tries = 0;
        for second in 0..4000 {
            now = second;
            // Out of contact for ten seconds.
            let cost = if second < 3000 { Some(100) } else { (second >= 3010).then_some(100) };
            let inputs =
                [Input::Cost { federation: "red".to_owned(), cost }, Input::Facts(facts.clone())];
            for input in inputs {
                for act in machine.handle(input, at(second)) {
                    let Act::Do(step @ Step::Preflight { .. }) = act else { continue };
                    tries += usize::from(second >= 3010);
                    let outcome = outcome.clone();
                    let _ = machine.handle(Input::Finished { step, outcome }, at(second));
                }
            }
            if tries > 0 {
                break;
            }
        }
        (now, tries)
    };
    let (at_s, tries) = fails(Outcome::Unreachable("link too slow".to_owned()));
    assert!(tries > 0 && at_s <= 3010 + 31, "{at_s}");
    let (at_s, _) = fails(Outcome::Refused("401".to_owned()));
    assert!(at_s > 3010 + 31, "what a person has to cure is not tried again for that: {at_s}");
}

#[test]
fn k3s_that_was_started_by_the_power_is_stopped_before_anything_is_cleaned_up() {
    let mut world = World::new(policy(&[("red", 1)]));
    world.cost("red", Some(100));
    world.pass(90);
    world.feed(Input::Wish(Wish::Leave { now: true }));
    while !matches!(world.stored.place, Place::Leaving { step: LeaveStep::CleanUp, .. }) {
        world.tick();
    }
    world.feed(Input::Wish(Wish::Hold));
    world.pass(5);
    world.power_cut();
    world.pass(60);
    assert_eq!((world.view(), world.unit), (State::Held, Unit::Active));
    world.feed(Input::Wish(Wish::Leave { now: true }));
    world.pass(30);
    assert_eq!((world.view(), world.unit), (State::Solo, Unit::Stopped));
    assert_eq!(world.nodes.len(), 0, "the Node that it made is owed and deleted");
    world.assert_kept();
}

#[test]
fn a_vehicle_that_runs_for_minutes_at_a_time_gets_its_turn_to_join() {
    let mut world = World::new(policy(&[("red", 1)]));
    world.stored = Intent { joins_ms: vec![0; 3], version: INTENT_VERSION, ..Intent::default() };
    world.power_cut();
    world.cost("red", Some(100));
    for _ in 0..6 {
        world.pass(600);
        world.power_cut();
    }
    assert_eq!(world.view(), State::Member, "{:?}", world.machine.view());
}

#[test]
fn a_budget_that_never_loosens_holds_up_policy_for_a_time_and_an_operator_until_told_otherwise() {
    let rules = policy(&[("purple", 5), ("red", 1)]);
    let mut world = World::new(Policy { drain_within: SECOND * 300, ..rules });
    world.cost("red", Some(100));
    world.pass(200);
    world.budget_blocks = true;
    world.cost("purple", Some(100));
    world.pass(250);
    assert_eq!(world.view(), State::Leaving, "{:?}", world.machine.view());
    assert!(world.machine.view().reason.contains("disruption budget"));
    world.pass(300);
    assert_eq!(world.machine.view().federation.as_deref(), Some("purple"));
    assert_eq!((world.view(), world.nodes.len()), (State::Member, 1));

    world.feed(Input::Wish(Wish::Leave { now: false }));
    world.pass(3_000);
    assert_eq!(world.view(), State::Leaving, "the operator's pods are the operator's");
    world.feed(Input::Wish(Wish::Leave { now: true }));
    world.pass(60);
    assert_eq!((world.view(), world.nodes.len()), (State::Solo, 0));
    world.assert_kept();
}

#[test]
fn a_moment_without_a_way_is_no_reason_to_leave_for_another() {
    let left = |leave_after: Option<Duration>, silent_s: u64| {
        let mut rules = policy(&[("purple", 1), ("red", 1)]);
        rules.federations.values_mut().for_each(|rules| rules.leave_after = leave_after);
        let mut world = World::new(rules);
        world.cost("red", Some(100));
        world.pass(200);
        world.cost("purple", Some(250));
        world.pass(200);
        world.cost("red", None);
        world.pass(silent_s);
        world.cost("red", Some(100));
        world.pass(200);
        world.assert_kept();
        world.machine.view().federation.as_deref() != Some("red")
            || world.changes.iter().any(|(_, to, _)| *to == State::Leaving)
    };
    let strain_after = policy(&[("red", 1)]).federations["red"].strain_after.as_secs();
    assert!(!left(Some(SECOND * 600), strain_after - 2));
    assert!(left(Some(SECOND * 600), strain_after + 10), "another is in reach");
    assert!(!left(None, 3_000), "it never leaves by itself");
}

#[test]
fn a_server_that_cannot_serve_holds_nobody() {
    for now in [false, true] {
        let mut world = World::new(policy(&[("red", 1)]));
        world.cost("red", Some(100));
        world.pass(200);
        assert_eq!(world.view(), State::Member);
        world.servers_fail = true;
        world.feed(Input::Wish(Wish::Leave { now }));
        world.pass(if now { 20 } else { 100 });
        assert_eq!(world.view(), State::Solo, "{:?}", world.machine.view());
        assert_eq!((world.nodes.len(), world.machine.intent().deferred.len()), (1, 1));
        world.assert_kept();
    }
}

#[test]
fn whom_the_operator_wants_is_tried_before_k3s_is_told() {
    let mut world = World::new(policy(&[("purple", 1), ("red", 1)]));
    world.cost("red", Some(100));
    world.pass(200);
    world.cost("purple", Some(100));
    world.refuses = Some("purple".to_owned());
    world.feed(Input::Wish(Wish::Join("purple".to_owned())));
    world.pass(200);
    assert_eq!((world.equipped.as_deref(), world.nodes.len()), (None, 0));
    let reason = &world.machine.view().reason;
    assert!(reason.contains("purple cannot be joined: 401"), "{reason}");
    world.refuses = None;
    world.pass(400);
    assert_eq!(world.view(), State::Member);
    assert_eq!(world.machine.view().federation.as_deref(), Some("purple"));
    world.cost("purple", None);
    world.feed(Input::Wish(Wish::Join("red".to_owned())));
    world.cost("red", None);
    world.pass(300);
    let reason = &world.machine.view().reason;
    assert_eq!(reason, "no contact with red, which the operator wants");
    world.assert_kept();
}

#[test]
fn a_join_that_k3s_does_not_complete_says_where_the_cause_is_and_is_given_up() {
    let mut world = World::new(policy(&[("red", 1)]));
    world.k3s_waits = true;
    world.cost("red", Some(100));
    world.pass(120);
    assert_eq!(world.machine.view().reason, "joining red: k3s is on its way up");
    world.pass(180);
    let reason = &world.machine.view().reason;
    assert!(reason.ends_with("min; its log says what it waits for"), "{reason}");
    world.pass(900);
    let (_, _, why) = &world.changes[2];
    assert_eq!(why, "red took too long to join; k3s's log says what it waited for");
    world.assert_kept();
}
