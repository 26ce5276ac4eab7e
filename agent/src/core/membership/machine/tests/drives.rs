//! Random drives: whatever happens in whatever order, the promises are kept, and faults made on purpose are noticed.

use proptest::prelude::*;

use super::super::*;
use super::world::{Fault, World, policy};

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
