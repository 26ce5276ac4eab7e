//! Whatever queue, broker and clock do, in any order: what is acknowledged towards the queue is what the broker has, the rest
//! is held, order and bounds are kept, and in the end everything arrives once.

use std::time::Duration;

use proptest::prelude::*;

use super::super::*;
use super::world::{Kept, MEMORY, World, setup};
use crate::core::pacing::Limits;

#[derive(Clone, Debug)]
enum Action {
    Append { stream: usize, bytes: usize, noise: bool },
    Live { bytes: usize },
    Work,
    Answer,
    Acknowledge(prop::sample::Index),
    AcknowledgeTwice(prop::sample::Index),
    AcknowledgeStray(u64),
    Refuse { too_large: bool },
    Connect { slots: u16, packet: Option<u32> },
    Disconnect,
    Drop { stream: usize, index: prop::sample::Index },
    Link { cost: Option<u32>, strained: bool },
    Wait(u64),
    Restart,
    RestartReceiver,
}

fn any_action() -> impl Strategy<Value = Action> {
    let stream = 0_usize..4;
    let bytes = prop_oneof![4 => 0_usize..300, 2 => 300_usize..5_000, 1 => 5_000_usize..60_000];
    let index = any::<prop::sample::Index>;
    let packet = proptest::option::of(1_500_u32..40_000);
    prop_oneof![
        12 => (stream.clone(), bytes, any::<bool>())
            .prop_map(|(stream, bytes, noise)| Action::Append { stream, bytes, noise }),
        4 => (0_usize..2_000).prop_map(|bytes| Action::Live { bytes }),
        12 => Just(Action::Work),
        12 => Just(Action::Answer),
        12 => index().prop_map(Action::Acknowledge),
        1 => index().prop_map(Action::AcknowledgeTwice),
        1 => any::<u64>().prop_map(Action::AcknowledgeStray),
        1 => any::<bool>().prop_map(|too_large| Action::Refuse { too_large }),
        2 => (1_u16..30, packet).prop_map(|(slots, packet)| Action::Connect { slots, packet }),
        1 => Just(Action::Disconnect),
        2 => (stream, index()).prop_map(|(stream, index)| Action::Drop { stream, index }),
        1 => (proptest::option::of(50_u32..1_000), any::<bool>())
            .prop_map(|(cost, strained)| Action::Link { cost, strained }),
        4 => (0_u64..3_000).prop_map(Action::Wait),
        1 => Just(Action::Restart),
        1 => Just(Action::RestartReceiver),
    ]
}

fn streams() -> Vec<StreamSetup> {
    vec![
        setup("alarm", Urgency::Event, 1),
        StreamSetup { order: Order::LiveFirst, ..setup("telemetry", Urgency::Normal, 1) },
        setup("gps", Urgency::Normal, 4),
        StreamSetup { hold_above: Some(400), ..setup("lidar", Urgency::Bulk, 2) },
    ]
}

const LIMITS: Limits = Limits { bytes_per_s: Some(200_000), bytes_per_day: None };

fn perform(world: &mut World, action: Action) {
    match action {
        Action::Append { stream, bytes, noise: true } => drop(world.append_noise(stream, bytes)),
        Action::Append { stream, bytes, noise: false } => drop(world.append(stream, bytes)),
        Action::Live { bytes } => drop(world.append_live(1, bytes)),
        Action::Work => world.work(),
        Action::Answer => drop(world.answer()),
        Action::Acknowledge(index) => {
            if !world.broker.open.is_empty() {
                world.acknowledge(index.index(world.broker.open.len()));
            }
        }
        Action::AcknowledgeTwice(index) => {
            if !world.broker.open.is_empty() {
                let index = index.index(world.broker.open.len());
                let id = world.broker.open[index].id;
                world.acknowledge(index);
                assert!(!world.courier.acknowledged(id, world.now));
            }
        }
        Action::AcknowledgeStray(id) => {
            let id = RecordId(id | 1 << 62);
            assert!(!world.courier.acknowledged(id, world.now));
            assert!(!world.courier.refused(id, DropCause::Refused, world.now));
        }
        Action::Refuse { too_large } => {
            if !world.broker.open.is_empty() {
                world.refuse(0, if too_large { DropCause::TooLarge } else { DropCause::Refused });
            }
        }
        Action::Connect { slots, packet } => {
            if world.connected {
                world.disconnect();
            }
            world.connect(slots, packet);
        }
        Action::Disconnect => {
            if world.connected {
                world.disconnect();
            }
        }
        Action::Drop { stream, index } => {
            // Made room, or expired, wherever it is on its way.
            let records = &mut world.queues[stream].records;
            if !records.is_empty() {
                let index = index.index(records.len());
                records[index].dropped = !records[index].acknowledged;
            }
        }
        Action::Link { cost, strained } => world.link(cost, strained),
        Action::Wait(ms) => world.now = world.now + Duration::from_millis(ms),
        Action::Restart => {
            let day = world.courier.budget().day(world.now);
            world.restart(streams(), LIMITS, day);
        }
        Action::RestartReceiver => world.restart_receiver(),
    }
}

fn check_bounds(world: &World) {
    let courier = &world.courier;
    assert!(courier.in_flight() <= world.slots);
    if let Some(flow) = courier.flow() {
        assert!(flow.in_flight() <= MEMORY + EVENT_WINDOW_BYTES + 2 * 70_000);
    }
    let largest = 61_000;
    assert!(courier.fetched_bytes() <= FETCHED_BYTES_MAX + LIVE_BYTES_MAX + 4 * largest);
}

fn finish(world: &mut World) {
    world.link(None, false);
    // The connection that stands must do, whatever happened on it.
    if !world.connected {
        world.connect(20, None);
    }
    for _ in 0..5_000 {
        world.acknowledge_until_quiet();
        let Some(deadline) = world.courier.deadline(world.now) else { break };
        world.now = deadline;
    }
}

proptest! {
    #[test]
    fn everything_is_acknowledged_by_the_broker_or_held(
        actions in prop::collection::vec(any_action(), 1..250),
        queue_window in prop::sample::select(vec![1_usize, 5, 1024]),
    ) {
        let mut world = World::with_limits(streams(), LIMITS);
        world.queue_window = queue_window;
        for action in actions {
            perform(&mut world, action);
            check_bounds(&world);
        }
        finish(&mut world);
        for (stream, queue) in world.queues.iter().enumerate() {
            for Kept { name, acknowledged, dropped, .. } in &queue.records {
                prop_assert!(acknowledged | dropped, "{name:?} of {stream} is left");
                let times = world.times_received(stream, *name);
                prop_assert!(times == 1 || (*dropped && times == 0), "{name:?} came {times} times");
            }
        }
    }
}
