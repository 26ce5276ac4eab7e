//! The courier between a queue and a broker that are both too simple to be wrong: the cases worth a name here, generated
//! actions in `properties`.

mod properties;
mod world;

use std::time::Duration;

use self::world::{World, setup};
use super::*;
use crate::config;
use crate::core::pacing::{DayCount, Limits, WINDOW_BYTES_MIN};

const SLOTS: u16 = 20;

fn events_and_bulk() -> World {
    let bulk = StreamSetup { hold_above: Some(400), ..setup("lidar", Urgency::Bulk, 1) };
    World::new(vec![bulk, setup("alarm", Urgency::Event, 1)])
}

#[test]
fn nothing_is_fetched_or_sent_without_a_connection() {
    let mut world = events_and_bulk();
    world.append(0, 100);
    world.settle();
    assert_eq!((world.broker.published.len(), world.fetches), (0, 0));
}

#[test]
fn records_travel_together_and_are_forgotten_only_when_acknowledged() {
    let mut world = events_and_bulk();
    for _ in 0..100 {
        world.append(0, 30);
    }
    world.connect(SLOTS, None);
    world.settle();
    assert!(world.broker.published.len() <= 3, "{}", world.broker.published.len());
    assert_eq!(world.held(0), 100);
    world.acknowledge_all();
    assert_eq!(world.held(0), 0);
    assert_eq!(world.received(0), 100);
}

#[test]
fn a_queue_that_hands_out_no_more_is_asked_again_after_an_acknowledgement() {
    let mut world = events_and_bulk();
    world.queue_window = 10;
    for _ in 0..100 {
        world.append(0, 30);
    }
    world.connect(SLOTS, None);
    world.settle();
    let fetches = world.fetches;
    world.settle();
    assert_eq!(world.fetches, fetches, "not in a circle");
    world.acknowledge_until_quiet();
    assert_eq!((world.held(0), world.received(0)), (0, 100));
}

#[test]
fn an_event_passes_a_backlog() {
    let mut world = events_and_bulk();
    for _ in 0..1000 {
        world.append(0, 5_000);
    }
    world.connect(SLOTS, None);
    world.settle();
    let before = world.broker.published.len();
    assert!(before < usize::from(SLOTS));
    world.append(1, 50);
    world.settle();
    assert_eq!(world.broker.published.len(), before + 1);
    assert!(world.broker.published[before].topic.ends_with("/stream/alarm"));
}

#[test]
fn streams_share_by_weight_and_a_silent_one_has_no_claim() {
    let mut world = World::new(vec![
        setup("one", Urgency::Normal, 1),
        setup("three", Urgency::Bulk, 3),
        setup("late", Urgency::Normal, 1),
    ]);
    for _ in 0..3_000 {
        world.append_noise(0, 1_000);
        world.append_noise(1, 1_000);
    }
    world.connect(SLOTS, None);
    world.run(Duration::from_secs(10), 100_000, Duration::from_millis(50));
    let acknowledged = |world: &World| -> Vec<u64> {
        world.courier.streams().map(|(_, counts)| counts.acknowledged).collect()
    };
    let before = acknowledged(&world);
    let [one, three] = [before[0], before[1]];
    assert!((one * 28..one * 32).contains(&(three * 10)), "{one} and {three}");

    for _ in 0..3_000 {
        world.append_noise(2, 1_000);
    }
    world.run(Duration::from_secs(10), 100_000, Duration::from_millis(50));
    let after = acknowledged(&world);
    let (late, more) = (after[2], after[0] - one);
    assert!(late.abs_diff(more) * 10 <= more, "{late} beside {more} of its like");
}

#[test]
fn bulk_waits_while_the_link_is_costly_and_events_do_not() {
    let mut world = events_and_bulk();
    world.append(0, 100);
    world.append(1, 100);
    world.connect(SLOTS, None);
    world.link(Some(401), false);
    world.settle();
    world.acknowledge_all();
    assert_eq!((world.held(0), world.held(1)), (1, 0));
    assert!(world.courier.streams().next().unwrap().1.held);
    world.link(Some(300), true);
    world.append(1, 100);
    world.settle();
    world.acknowledge_all();
    assert_eq!((world.held(0), world.held(1)), (1, 0), "strained");
    world.link(Some(300), false);
    world.settle();
    world.acknowledge_all();
    assert_eq!(world.held(0), 0);
}

#[test]
fn a_rate_cap_is_kept_and_time_alone_goes_on() {
    let mut world = World::with_limits(
        vec![setup("gps", Urgency::Normal, 1)],
        Limits { bytes_per_s: Some(10_000), bytes_per_day: None },
    );
    for _ in 0..1_000 {
        world.append_noise(0, 1_000);
    }
    world.connect(SLOTS, None);
    world.run(Duration::from_secs(50), 1_000_000, Duration::from_millis(10));
    let received = world.received(0);
    assert!((450..=530).contains(&received), "{received} kB in 50 s at 10 kB/s");
}

#[test]
fn acknowledgements_twice_or_for_what_never_left_free_nothing() {
    let mut world = events_and_bulk();
    world.append(1, 10);
    world.append(1, 10);
    world.connect(SLOTS, None);
    world.settle();
    let id = world.broker.published[0].id;
    assert!(!world.courier.acknowledged(RecordId(ID_BIT | 999), world.now));
    assert!(!world.courier.acknowledged(RecordId(0), world.now));
    world.acknowledge(0);
    assert!(!world.courier.acknowledged(id, world.now));
    assert_eq!(world.courier.stray_total(), 3);
    world.disconnect();
    world.connect(SLOTS, None);
    assert!(!world.courier.acknowledged(id, world.now), "of a connection that is gone");
    world.settle();
    world.acknowledge_all();
    assert_eq!((world.held(1), world.received(1)), (0, 2));
}

#[test]
fn a_lost_connection_repeats_under_the_same_names() {
    let mut world = events_and_bulk();
    for _ in 0..10 {
        world.append(0, 1_000);
    }
    world.connect(SLOTS, None);
    world.settle();
    world.disconnect();
    world.connect(SLOTS, None);
    world.settle();
    world.acknowledge_all();
    assert_eq!((world.held(0), world.received(0)), (0, 10));
    assert!(world.repeats(0) >= 10);
}

#[test]
fn a_refusal_keeps_what_was_refused_and_pauses_the_stream() {
    let mut world = events_and_bulk();
    world.append(0, 100);
    world.connect(SLOTS, None);
    let mut published = 0;
    for _ in 0..5 {
        world.settle();
        published += 1;
        assert_eq!(world.broker.published.len(), published);
        world.refuse(0, DropCause::Refused);
        world.settle();
        assert_eq!(world.broker.published.len(), published, "it pauses");
        let deadline = world.courier.deadline(world.now).unwrap();
        assert!(deadline <= world.now + REFUSED_PAUSE[1]);
        world.now = deadline;
    }
    assert_eq!(world.courier.streams().next().unwrap().1.refused, 5);
    world.settle();
    world.acknowledge_all();
    assert_eq!((world.held(0), world.received(0)), (0, 1));
}

#[test]
fn a_record_beyond_the_largest_packet_travels_in_parts_and_goes_on_after_a_lost_connection() {
    let mut world = events_and_bulk();
    world.append_noise(0, 100_000);
    world.connect(SLOTS, Some(4_096));
    world.settle();
    assert_eq!(world.broker.published.len(), 18, "all slots but those left to others");
    for _ in 0..10 {
        world.acknowledge_first(1);
    }
    assert_eq!(world.held(0), 1);
    let bytes_before: usize = world.broker.published.iter().map(|p| p.payload.len()).sum();
    world.disconnect();
    world.connect(SLOTS, Some(9_000));
    world.settle();
    world.acknowledge_until_quiet();
    assert_eq!((world.held(0), world.received(0)), (0, 1));
    let bytes: usize = world.broker.published.iter().map(|p| p.payload.len()).sum();
    assert!(bytes - bytes_before < 68_000, "a third was there already: {}", bytes - bytes_before);
    assert!(world.broker.published.iter().all(|p| p.payload.len() + p.topic.len() <= 9_000));
}

#[test]
fn a_broker_whose_packets_hold_nothing_is_not_asked_in_a_circle() {
    let mut world = events_and_bulk();
    world.append_noise(0, 1_000);
    world.connect(SLOTS, Some(100));
    world.settle();
    assert_eq!(world.broker.published.len(), 0);
    world.disconnect();
    world.now = world.now + REFUSED_PAUSE[1];
    world.connect(SLOTS, None);
    world.settle();
    world.acknowledge_all();
    assert_eq!(world.received(0), 1);
}

#[test]
fn a_broker_that_hangs_up_on_large_messages_gets_smaller_ones() {
    let mut world = events_and_bulk();
    for _ in 0..20 {
        world.append_noise(0, 30_000);
    }
    let mut connections = 0;
    while world.held(0) > 0 {
        connections += 1;
        assert!(connections < 60, "{} records left", world.held(0));
        world.connect(SLOTS, None);
        for _ in 0..100 {
            world.settle();
            if world
                .broker
                .published
                .iter()
                .skip(world.broker.seen)
                .any(|p| p.payload.len() > 9_000)
            {
                break;
            }
            world.acknowledge_all();
        }
        world.disconnect();
    }
    assert_eq!(world.received(0), 20);
}

#[test]
fn small_messages_that_arrive_do_not_hide_that_large_ones_break_the_connection() {
    let mut world =
        World::new(vec![setup("lidar", Urgency::Normal, 1), setup("ticker", Urgency::Normal, 1)]);
    for _ in 0..20 {
        world.append_noise(0, 15_000);
    }
    let mut connections = 0;
    while world.held(0) > 0 {
        connections += 1;
        assert!(connections < 60, "{} records left", world.held(0));
        world.append_noise(1, 100);
        world.connect(SLOTS, None);
        for _ in 0..100 {
            world.settle();
            if world.broker.open.iter().any(|message| message.payload.len() > 5_000) {
                // What is small is acknowledged before the broker hangs up.
                let is_small = |message: &world::Published| message.payload.len() < 1_000;
                while let Some(index) = world.broker.open.iter().position(is_small) {
                    world.acknowledge(index);
                }
                break;
            }
            world.acknowledge_all();
        }
        world.disconnect();
    }
    assert_eq!(world.received(0), 20);
}

#[test]
fn an_event_that_is_still_to_be_fetched_is_not_overtaken() {
    let mut world = events_and_bulk();
    for _ in 0..100 {
        world.append_noise(0, 5_000);
    }
    world.append(1, 50);
    world.connect(SLOTS, None);
    world.work();
    // More comes while the queue answers.
    world.append(1, 60);
    world.settle();
    let topics: Vec<&str> = world.broker.published.iter().map(|p| &*p.topic).collect();
    let last_event = topics.iter().rposition(|topic| topic.ends_with("/alarm")).unwrap();
    let first_bulk = topics.iter().position(|topic| topic.ends_with("/lidar")).unwrap();
    assert!(last_event < first_bulk, "{topics:?}");
}

#[test]
fn what_was_refused_together_pauses_the_stream_once() {
    let mut world = events_and_bulk();
    for _ in 0..10 {
        world.append_noise(0, 9_000);
    }
    world.connect(SLOTS, None);
    world.settle();
    let in_flight = world.broker.published.len();
    assert!(in_flight >= 5, "{in_flight}");
    for _ in 0..in_flight {
        world.refuse(0, DropCause::Refused);
    }
    world.settle();
    assert_eq!(world.courier.deadline(world.now), Some(world.now + REFUSED_PAUSE[0]));
    world.now = world.now + REFUSED_PAUSE[0];
    world.settle();
    world.acknowledge_until_quiet();
    assert_eq!((world.held(0), world.received(0)), (0, 10));
}

#[test]
fn packets_that_hold_nothing_are_told_once_for_each_connection() {
    let mut world = events_and_bulk();
    world.append_noise(0, 1_000);
    for _ in 0..2 {
        world.connect(SLOTS, Some(100));
        world.settle();
        assert_eq!(world.courier.take_cramped().map(|setup| &*setup.name), Some("lidar"));
        world.now = world.now + REFUSED_PAUSE[1];
        world.settle();
        assert_eq!(world.courier.take_cramped(), None);
        world.now = world.now + REFUSED_PAUSE[1];
    }
}

#[test]
fn what_is_live_passes_the_backlog_and_is_not_sent_twice() {
    let live = StreamSetup { order: Order::LiveFirst, ..setup("telemetry", Urgency::Normal, 1) };
    let mut world = World::new(vec![live]);
    for _ in 0..300 {
        world.append_noise(0, 1_000);
    }
    world.connect(SLOTS, None);
    world.settle();
    let before = world.broker.published.len();
    let live = world.append_live(0, 200);
    world.acknowledge_first(1);
    assert_eq!(world.broker.names(before), [live]);
    world.acknowledge_until_quiet();
    assert_eq!((world.held(0), world.received(0), world.repeats(0)), (0, 301, 0));
}

#[test]
fn a_live_copy_too_large_to_travel_whole_leaves_its_record_to_the_queue() {
    let live = StreamSetup { order: Order::LiveFirst, ..setup("telemetry", Urgency::Normal, 1) };
    let mut world = World::new(vec![live]);
    for _ in 0..30 {
        world.append_noise(0, 1_000);
    }
    world.connect(2, Some(2_000));
    world.work();
    world.append_live(0, 5_000);
    world.acknowledge_until_quiet();
    assert_eq!((world.held(0), world.received(0)), (0, 31));
}

#[test]
fn a_dead_broker_holds_no_more_than_the_window_and_what_was_fetched() {
    let mut world = events_and_bulk();
    for _ in 0..1_000 {
        world.append_noise(0, 3_000);
        world.append_noise(1, 3_000);
    }
    world.connect(u16::MAX, None);
    world.settle();
    let flow = world.courier.flow().unwrap();
    assert!(flow.in_flight() >= WINDOW_BYTES_MIN);
    assert!(
        world.courier.in_flight_bytes() <= flow.window_bytes(world.now) + 2 * EVENT_WINDOW_BYTES
    );
    assert!(world.courier.fetched_bytes() <= FETCHED_BYTES_MAX + 2 * 4_000);
}

#[test]
fn a_day_cap_outlasts_a_restart() {
    let limits = Limits { bytes_per_s: None, bytes_per_day: Some(100_000) };
    let streams = vec![setup("gps", Urgency::Normal, 1)];
    let mut world = World::with_limits(streams.clone(), limits);
    for _ in 0..300 {
        world.append_noise(0, 1_000);
    }
    world.connect(SLOTS, None);
    world.acknowledge_until_quiet();
    let first = world.received(0);
    assert!((60..=140).contains(&first), "{first}");
    let day = world.courier.budget().day(world.now);
    world.restart(streams, limits, day);
    world.connect(SLOTS, None);
    world.acknowledge_until_quiet();
    assert_eq!(world.received(0), first);
    assert_ne!(day, DayCount::default());
    world.now = world.courier.deadline(world.now).unwrap();
    world.acknowledge_until_quiet();
    assert!(world.received(0) > first);
}

#[test]
fn the_configuration_decides_what_is_held_and_what_is_live() {
    let machine = config::Machine::from_parts("alpha", true, None, None);
    let text = "[delivery]\nhold_bulk_above = 500\nrate = \"10KiB\"\n\
                [[stream]]\nname = \"lidar\"\npriority = \"bulk\"\nweight = 7\n\
                [[stream]]\nname = \"photo\"\npriority = \"bulk\"\nhold_above = 200\n\
                [[stream]]\nname = \"gps\"\nhold_above = 300\n";
    let config = config::parse(text, &machine).unwrap();
    let setups: Vec<StreamSetup> = config
        .streams()
        .iter()
        .map(|stream| StreamSetup::configured(stream, &config.delivery))
        .collect();
    let told: Vec<(&str, Urgency, u32, Option<u32>, Order)> =
        setups.iter().map(|s| (&*s.name, s.urgency, s.weight, s.hold_above, s.order)).collect();
    let oldest = Order::BacklogFirst;
    assert_eq!(
        told,
        [
            ("events", Urgency::Event, 1, None, oldest),
            ("gps", Urgency::Normal, 1, Some(300), oldest),
            ("lidar", Urgency::Bulk, 7, Some(500), oldest),
            ("photo", Urgency::Bulk, 1, Some(200), oldest),
            ("telemetry", Urgency::Normal, 1, None, Order::LiveFirst),
        ]
    );
    assert_eq!(limits(&config.delivery).bytes_per_s, Some(10_240));
}

#[test]
fn a_stream_that_comes_into_being_is_delivered() {
    let mut world = events_and_bulk();
    let new = world.add(setup("found", Urgency::Normal, 1));
    world.append(new, 10);
    world.connect(SLOTS, None);
    world.acknowledge_until_quiet();
    assert_eq!((world.held(new), world.received(new)), (0, 1));
}
