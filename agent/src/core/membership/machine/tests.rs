//! The machine in a small world: a vehicle whose k3s and files behave as the real ones, servers with Nodes, ways that come
//! and go, and power that fails between any two events.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::core::membership::Deferred;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Mono {
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

fn policy(names: &[(&str, u32)]) -> Policy {
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
struct World {
    policy: Policy,
    machine: Machine,
    now: u64,
    costs: BTreeMap<String, Option<u32>>,
    /// As on the disk.
    stored: Intent,
    /// A save that is under way.
    saving: Option<Intent>,
    running: Option<(Step, u64)>,
    unit: Unit,
    /// When the unit was started with what it is equipped for.
    started: u64,
    equipped: Option<String>,
    /// The configuration says something else than the drop-in.
    outdated: bool,
    /// Restarts of the unit.
    restarts: usize,
    /// Whose containers and interfaces are on the vehicle.
    residue: Option<String>,
    /// Nodes by federation.
    nodes: BTreeMap<String, (String, bool)>,
    created: u64,
    /// Joins that began by policy, in seconds.
    joins: Vec<u64>,
    changes: Vec<(State, State, String)>,
    broken_promises: Vec<String>,
    /// k3s never gets its Node ready.
    k3s_waits: bool,
    /// Pods are not to be evicted.
    budget_blocks: bool,
    /// A planted fault.
    fault: Option<Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Steps act before the intent is on the disk.
    ActsBeforeItIsSaved,
    /// What is owed is forgotten.
    ForgetsWhatIsOwed,
    /// The next federation is gone to without cleaning up.
    SkipsCleaningUp,
}

impl World {
    fn new(policy: Policy) -> World {
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
            fault: None,
        };
        world.look();
        world
    }

    fn cost(&mut self, name: &str, cost: Option<u32>) {
        self.costs.insert(name.to_owned(), cost);
    }

    fn in_contact(&self, name: &str) -> bool {
        self.costs.get(name).copied().flatten().is_some()
    }

    fn break_promise(&mut self, text: String) {
        self.broken_promises.push(format!("at {} s: {text}", self.now));
    }

    fn feed(&mut self, input: Input) {
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

    fn look(&mut self) {
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
    fn tick(&mut self) {
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

    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.tick();
        }
    }

    /// k3s does what it does by itself: with its server in contact it joins within half a minute.
    fn live(&mut self) {
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

    fn perform(&mut self, step: &Step) -> Outcome {
        let silent = || Outcome::Unreachable("no answer".to_owned());
        match step {
            Step::Preflight { federation } if !self.in_contact(federation) => silent(),
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
                if !self.in_contact(federation) {
                    return silent();
                }
                self.delete(federation, uid.as_deref());
                Outcome::Done
            }
        }
    }

    /// Whether a start would disturb something that runs.
    fn running_since(&self) -> bool {
        matches!(self.unit, Unit::Active | Unit::Starting)
    }

    fn delete(&mut self, federation: &str, uid: Option<&str>) {
        let is_meant = |(seen, _): &(String, bool)| uid.is_none_or(|uid| uid == seen);
        if self.nodes.get(federation).is_some_and(is_meant) {
            self.nodes.remove(federation);
        }
    }

    fn part(&mut self, federation: &str, uid: Option<&str>, step: LeaveStep) -> Outcome {
        if step.needs_server() && !self.in_contact(federation) {
            return Outcome::Unreachable("no answer".to_owned());
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
    fn power_cut(&mut self) {
        self.saving = None;
        self.running = None;
        self.unit = if self.equipped.is_some() { Unit::Starting } else { Unit::Stopped };
        self.started = self.now;
        let stored = Intent::from_json(&self.stored.to_json()).unwrap_or_default();
        self.machine = Machine::new(self.policy.clone(), stored, at(self.now));
        self.look();
    }

    fn view(&self) -> State {
        self.machine.view().state
    }

    fn assert_kept(&self) {
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

/// What the world does next in a random drive.
#[derive(Clone, Debug)]
enum Turn {
    Pass(u64),
    Cost(usize, Option<u32>),
    PowerCut,
    Wish(Wish),
    NodeGone(usize),
}

const NAMES: [&str; 3] = ["blue", "purple", "red"];

fn turn() -> impl Strategy<Value = Turn> {
    let wishes = prop_oneof![
        4 => Just(Wish::Policy),
        1 => Just(Wish::Join("blue".to_owned())),
        1 => Just(Wish::Join("red".to_owned())),
        1 => Just(Wish::Leave { now: false }),
        1 => Just(Wish::Leave { now: true }),
        1 => Just(Wish::Hold),
    ];
    prop_oneof![
        6 => (1_u64..200).prop_map(Turn::Pass),
        6 => (0_usize..3, prop::option::weighted(0.7, 50_u32..1200)).prop_map(|(at, cost)| Turn::Cost(at, cost)),
        2 => Just(Turn::PowerCut),
        1 => wishes.prop_map(Turn::Wish),
        1 => (0_usize..3).prop_map(Turn::NodeGone),
    ]
}

fn drive(turns: &[Turn], fault: Option<Fault>) -> World {
    let mut world = World::new(policy(&[("blue", 1), ("purple", 5), ("red", 1)]));
    world.fault = fault;
    for turn in turns {
        match turn {
            Turn::Pass(seconds) => world.pass(*seconds),
            Turn::Cost(at, cost) => world.cost(NAMES[*at], *cost),
            Turn::PowerCut => world.power_cut(),
            Turn::Wish(wish) => world.feed(Input::Wish(wish.clone())),
            Turn::NodeGone(at) => _ = world.nodes.remove(NAMES[*at]),
        }
        match fault {
            Some(Fault::ActsBeforeItIsSaved) => {
                if world.saving.is_some() {
                    world.feed(Input::Saved);
                }
            }
            Some(Fault::ForgetsWhatIsOwed) => {
                world.machine.intent.deferred.clear();
                world.stored.deferred.clear();
            }
            Some(Fault::SkipsCleaningUp) | None => {}
        }
    }
    world
}

/// Everything is in reach and nobody wants a federation: what is left over after this stays for ever.
fn aftermath(world: &mut World) {
    for name in NAMES {
        world.cost(name, Some(100));
    }
    world.feed(Input::Wish(Wish::Leave { now: false }));
    world.pass(2500);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    /// Whatever happens: every promise is kept, and in the end no Node is left behind.
    #[test]
    fn promises_hold_in_any_drive(turns in prop::collection::vec(turn(), 1..60)) {
        let mut world = drive(&turns, None);
        world.assert_kept();
        aftermath(&mut world);
        world.assert_kept();
        prop_assert_eq!(world.view(), State::Solo, "{:?}", world.machine.view());
        prop_assert_eq!(&world.nodes, &BTreeMap::new());
        prop_assert!(world.equipped.is_none() && world.residue.is_none());
    }

    /// Whatever happened before: in stable reach of one federation the vehicle becomes its member.
    #[test]
    fn stable_reach_ends_in_membership(turns in prop::collection::vec(turn(), 1..40)) {
        let mut world = drive(&turns, None);
        for name in NAMES {
            world.cost(name, None);
        }
        world.cost("purple", Some(100));
        world.feed(Input::Wish(Wish::Policy));
        // Leaving another takes its patience, a join may have to wait for its turn.
        world.pass(1800 + 700 + 400);
        prop_assert_eq!(world.view(), State::Member, "{:?} {:#?}", world.machine.view(), world.changes);
        prop_assert_eq!(world.machine.view().federation.as_deref(), Some("purple"));
        world.assert_kept();
    }

    /// No stored bytes make the machine panic.
    #[test]
    fn any_stored_bytes_are_survived(stored in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Intent::from_json(&stored);
    }
}

/// The checks above would notice.
#[test]
fn planted_faults_are_caught() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    for fault in [Fault::ActsBeforeItIsSaved, Fault::ForgetsWhatIsOwed, Fault::SkipsCleaningUp] {
        let mut runner = TestRunner::deterministic();
        let turns = prop::collection::vec(turn(), 30..60);
        let caught = (0..60).any(|_| {
            let turns = turns.new_tree(&mut runner).unwrap().current();
            let mut world = drive(&turns, Some(fault));
            aftermath(&mut world);
            let is_clean = world.nodes.is_empty() && world.residue.is_none();
            !world.broken_promises.is_empty() || !is_clean
        });
        assert!(caught, "{fault:?} was not noticed");
    }
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
