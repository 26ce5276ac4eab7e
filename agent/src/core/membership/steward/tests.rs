//! The steward among servers that answer or not, a vehicle that is looked at, and a disk that saves or not.

use super::*;
use crate::core::membership::Federation;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Mono {
    Mono::from_millis(seconds * 1000)
}

fn policy() -> Policy {
    let purple = Federation {
        priority: 1,
        join_below: 300,
        join_after: SECOND * 20,
        strain_above: 800,
        strain_after: SECOND * 20,
        leave_after: Some(SECOND * 600),
    };
    Policy { federations: BTreeMap::from([("purple".to_owned(), purple)]), ..Policy::default() }
}

/// What is around a steward: how each task ends.
struct Around {
    steward: Steward,
    now: u64,
    way: Way,
    /// The server accepts connections.
    answers: bool,
    /// What its API answers instead of the Node.
    api: Option<Unseen>,
    saves: bool,
    unit: Option<Unit>,
    equipped: Option<String>,
    node: NodeSeen,
    done: Vec<Task>,
    changes: Vec<Change>,
}

impl Around {
    fn new() -> Around {
        Around {
            steward: Steward::new(policy(), Intent::default(), at(0)),
            now: 0,
            way: Way::Costs(150),
            answers: true,
            api: None,
            saves: true,
            unit: Some(Unit::Stopped),
            equipped: None,
            node: NodeSeen::Unknown,
            done: Vec::new(),
            changes: Vec::new(),
        }
    }

    fn carry_out(&mut self, orders: Orders) {
        self.changes.extend(orders.changes);
        for task in orders.tasks {
            self.done.push(task.clone());
            let report = match task {
                Task::Try { federation, .. } => {
                    Report::Tried { federation, took: self.answers.then_some(SECOND / 10) }
                }
                Task::Look => Report::Looked {
                    unit: self.unit.ok_or_else(|| "no manager".to_owned()),
                    equipped: self.equipped.clone(),
                    outdated: false,
                },
                Task::AskForNode { .. } => Report::Node(match (&self.api, self.answers) {
                    (Some(unseen), _) => Err(unseen.clone()),
                    (None, true) => Ok(self.node.clone()),
                    (None, false) => Err(Unseen { text: "no answer".to_owned(), silent: true }),
                }),
                Task::Save(_) => Report::Saved(match self.saves {
                    true => Ok(()),
                    false => Err("no space left".to_owned()),
                }),
                Task::Step(step) => {
                    match &step {
                        Step::Equip { federation } => self.equipped = Some(federation.clone()),
                        Step::Start => {
                            self.unit = Some(Unit::Active);
                            self.node = NodeSeen::Present { uid: "1".to_owned(), ready: true };
                        }
                        Step::Part { step: super::super::LeaveStep::Stop, .. } => {
                            self.unit = Some(Unit::Stopped);
                        }
                        Step::Part { step: super::super::LeaveStep::Strip, .. } => {
                            self.equipped = None;
                        }
                        Step::Preflight { .. }
                        | Step::Restart
                        | Step::Part { .. }
                        | Step::Finish(_) => {}
                    }
                    Report::Finished { step, outcome: Outcome::Done }
                }
            };
            let orders = self.steward.report(report, at(self.now));
            self.carry_out(orders);
        }
    }

    /// Lets `seconds` pass; fails when the steward would keep the loop busy.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += 1;
            let ways = BTreeMap::from([("purple".to_owned(), self.way)]);
            let orders = self.steward.ways(&ways, at(self.now));
            self.carry_out(orders);
            let orders = self.steward.tick(at(self.now));
            self.carry_out(orders);
            assert!(
                self.steward.deadline().is_none_or(|due| due > at(self.now)),
                "at {} s something is due that is never done: {:?}",
                self.now,
                self.steward
            );
        }
    }

    fn count(&self, of: fn(&Task) -> bool) -> usize {
        self.done.iter().filter(|task| of(task)).count()
    }

    fn state(&self) -> State {
        self.steward.view().state
    }
}

#[test]
fn a_vehicle_near_a_federation_becomes_a_member_and_leaves_when_told() {
    let mut around = Around::new();
    around.pass(60);
    assert_eq!(around.state(), State::Member, "{:?}", around.changes);
    let orders = around.steward.wish(Wish::Leave { now: false }, at(around.now));
    around.carry_out(orders);
    around.pass(30);
    assert_eq!(around.state(), State::Solo, "{:?}", around.changes);
    let states: Vec<State> = around.changes.iter().map(|change| change.to).collect();
    let way = [State::Evaluating, State::Joining, State::Member, State::Leaving, State::Solo];
    assert_eq!(states, way);
}

#[test]
fn a_server_that_answers_no_more_strains_although_the_mesh_knows_the_way() {
    let mut around = Around::new();
    around.pass(60);
    around.answers = false;
    around.pass(120);
    assert_eq!(around.state(), State::Strained, "{:?}", around.changes);
    around.answers = true;
    around.pass(120);
    assert_eq!(around.state(), State::Member);
}

#[test]
fn a_server_that_only_accepts_connections_strains_and_one_that_refuses_does_not() {
    let mut around = Around::new();
    around.pass(60);
    around.api = Some(Unseen { text: "401".to_owned(), silent: false });
    around.pass(600);
    assert_eq!(around.state(), State::Member, "{:?}", around.changes);
    assert_eq!(around.steward.mute(), Some("401"));

    around.api = Some(Unseen { text: "no answer".to_owned(), silent: true });
    around.done.clear();
    around.pass(120);
    assert_eq!(around.state(), State::Strained, "{:?}", around.changes);
    assert_eq!(around.steward.mute(), Some("no answer"), "it goes on to be asked");
    let restarts = around.count(|task| matches!(task, Task::Step(_)));
    assert_eq!(restarts, 0, "k3s is left alone: {:?}", around.done);
    around.api = None;
    around.pass(60);
    assert_eq!(around.state(), State::Member, "{:?}", around.changes);

    // For good: the vehicle goes its way, and may try again once it is alone.
    around.api = Some(Unseen { text: "no answer".to_owned(), silent: true });
    around.pass(700);
    let [.., way] = around.changes.as_slice() else { panic!("nothing changed") };
    assert!(way.to != State::Member && way.to != State::Strained, "{:?}", around.changes);
    let finished = around.count(|task| matches!(task, Task::Step(Step::Finish(_))));
    assert_eq!(finished, 1, "its Node was left behind: {:?}", around.done);
    around.api = None;
    around.pass(120);
    assert_eq!(around.state(), State::Member, "{:?}", around.changes);
}

#[test]
fn nothing_is_tried_where_there_is_no_way() {
    let mut around = Around::new();
    around.way = Way::None;
    around.pass(600);
    // The first try went out before the mesh had said anything.
    assert!(around.count(|task| matches!(task, Task::Try { .. })) <= 1);
    around.way = Way::Costs(100);
    around.pass(1);
    assert!(around.count(|task| matches!(task, Task::Try { .. })) >= 1);
}

#[test]
fn a_member_at_rest_costs_little() {
    let mut around = Around::new();
    around.pass(60);
    around.done.clear();
    around.pass(3600);
    assert_eq!(around.state(), State::Member);
    let tries = around.count(|task| matches!(task, Task::Try { .. }));
    let questions = around.count(|task| matches!(task, Task::AskForNode { .. }));
    assert!((200..=240).contains(&tries), "{tries}");
    assert!((55..=61).contains(&questions), "{questions}");
    assert_eq!(around.count(|task| matches!(task, Task::Step(_) | Task::Save(_))), 0);
}

#[test]
fn nothing_is_done_before_the_latest_intent_is_durable() {
    let mut around = Around::new();
    around.saves = false;
    around.pass(600);
    assert_eq!(
        around.count(|task| matches!(task, Task::Step(Step::Equip { .. } | Step::Start))),
        0
    );
    assert!(around.steward.unsaved().is_some());
    around.saves = true;
    around.pass(120);
    assert_eq!(around.state(), State::Member);
    assert_eq!(around.steward.unsaved(), None);

    // Two wishes, one after the other, while the first is on its way to the disk.
    let mut steward = Steward::new(policy(), Intent::default(), at(0));
    let first = steward.wish(Wish::Hold, at(1));
    let second = steward.wish(Wish::Join("purple".to_owned()), at(1));
    let saves = |orders: &Orders| -> Vec<Wish> {
        let wish = |task: &Task| match task {
            Task::Save(intent) => Some(intent.wish.clone()),
            Task::Try { .. } | Task::Look | Task::AskForNode { .. } | Task::Step(_) => None,
        };
        orders.tasks.iter().filter_map(wish).collect()
    };
    assert_eq!((saves(&first), saves(&second)), (vec![Wish::Hold], Vec::new()));
    let third = steward.report(Report::Saved(Ok(())), at(2));
    assert_eq!(saves(&third), [Wish::Join("purple".to_owned())]);
}

#[test]
fn a_manager_that_gives_no_answer_is_asked_again_and_nothing_is_done_meanwhile() {
    let mut around = Around::new();
    around.unit = None;
    around.pass(300);
    assert_eq!(around.count(|task| matches!(task, Task::Step(_))), 0);
    assert!(around.count(|task| matches!(task, Task::Look)) > 10);
    assert_eq!(around.steward.blind(), Some("no manager"));
    around.unit = Some(Unit::Stopped);
    around.pass(120);
    assert_eq!(around.state(), State::Member);
}

#[test]
fn nothing_is_due_while_everything_is_under_way() {
    let mut steward = Steward::new(policy(), Intent::default(), at(0));
    let orders = steward.tick(at(1));
    assert_eq!(orders.tasks.len(), 2, "a try and a look: {:?}", orders.tasks);
    assert_eq!(steward.deadline(), None, "the loop would be kept busy until one of them ends");
}

#[test]
fn a_way_that_comes_back_is_no_server_that_answers() {
    let mut around = Around::new();
    around.pass(60);
    around.answers = false;
    // The way goes and comes: the silence behind it is one silence.
    for _ in 0..20 {
        around.way = Way::None;
        around.pass(20);
        around.way = Way::Costs(150);
        around.pass(20);
    }
    assert_eq!(around.state(), State::Solo, "{:?}", around.changes);
}

#[test]
fn what_was_seen_before_a_step_ended_is_not_built_upon_after_it() {
    let mut around = Around::new();
    around.pass(60);
    let old = || Report::Looked {
        unit: Ok(Unit::Active),
        equipped: Some("purple".to_owned()),
        outdated: false,
    };
    let orders = around.steward.wish(Wish::Leave { now: true }, at(61));
    // A look that takes as long as leaving does.
    let mut orders = [orders, around.steward.tick(at(75))];
    let mut rest = Orders::default();
    for orders in &mut orders {
        orders.tasks.retain(|task| *task != Task::Look);
        rest.tasks.append(&mut orders.tasks);
    }
    around.now = 75;
    while let Some(task) = rest.tasks.pop() {
        if task == Task::Look {
            continue;
        }
        let report = match task {
            Task::Save(_) => Report::Saved(Ok(())),
            Task::Step(step) => Report::Finished { step, outcome: Outcome::Done },
            Task::Try { federation, .. } => Report::Tried { federation, took: Some(SECOND / 10) },
            Task::AskForNode { .. } => Report::Node(Ok(NodeSeen::Unknown)),
            Task::Look => continue,
        };
        rest.tasks.extend(around.steward.report(report, at(75)).tasks);
    }
    assert_eq!(around.steward.view().state, State::Solo);
    let orders = around.steward.report(old(), at(76));
    assert_eq!(around.steward.view().state, State::Solo, "it is no lost intent");
    assert_eq!(orders.tasks, [Task::Look], "it is looked again");
}
