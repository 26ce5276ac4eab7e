//! The way out, with a real queue on simulated storage and a broker that is played by hand.

use spool::simulated::Simulated;
use spool::{BootMs, Options, Session, Spool, StreamPolicy};

use super::*;
use crate::config::{Machine, default_config};
use crate::core::agent::{Input, carry_out};
use crate::core::record;
use crate::core::record::assemble::{Received, Receiver};
use crate::core::telemetry::document::EventDocument;
use crate::core::time::{ClockQuality, Now};

const BOOT: &str = "01234567-89ab-cdef-0123-456789abcdef";

/// An agent, its queue, and what lies between them and the broker.
struct World {
    agent: Agent,
    spool: Spool<Simulated>,
    /// Orders that were not carried out yet.
    orders: Vec<Order>,
    /// Messages at the broker that it has not acknowledged.
    published: Vec<(RecordId, Record)>,
    saved: Vec<DayCount>,
    ms: u64,
}

fn open(storage: &Simulated, epoch: u32) -> Spool<Simulated> {
    let session = Session { boot_id: [1; 16], epoch, spool_id: 7 };
    let options = Options { budget_bytes: 4 << 20, ..Options::default() };
    Spool::open(storage.clone(), options, session, BootMs(0)).unwrap()
}

impl World {
    fn new(change: impl FnOnce(&mut Config)) -> World {
        let mut config = default_config(&Machine::from_parts("hawk", true, None, None));
        config.mqtt.host = Some("10.0.0.9".to_owned());
        config.mqtt.sample = std::time::Duration::from_secs(1);
        config.mqtt.batch = std::time::Duration::from_secs(2);
        config.spool.folder = Some("/spool".into());
        config.mesh.daemon = config::DaemonChoice::None;
        change(&mut config);
        World {
            agent: Agent::new(config, BOOT, &[], now(1000)),
            spool: open(&Simulated::new(), 5),
            orders: Vec::new(),
            published: Vec::new(),
            saved: Vec::new(),
            ms: 1000,
        }
    }

    fn feed(&mut self, input: Input) {
        for effect in self.agent.handle(input, now(self.ms)) {
            match effect {
                Effect::Submit(id, record) => self.published.push((id, record)),
                Effect::Order(Order::SaveDay(day)) => self.saved.push(day),
                Effect::Order(order) => self.orders.push(order),
                Effect::Poll | Effect::Collect(_) | Effect::Membership(_) | Effect::Log(_) => {}
            }
        }
    }

    /// Carries out all orders, and those that come of them.
    fn work(&mut self) {
        while !self.orders.is_empty() {
            for order in std::mem::take(&mut self.orders) {
                if let Some(input) = carry_out(&mut self.spool, order, BootMs(self.ms)) {
                    self.feed(input);
                }
            }
        }
    }

    /// The streams are declared and the queue reports.
    fn report(&mut self) {
        for stream in self.agent.config().streams() {
            self.spool.define(&stream.name, StreamPolicy::default()).unwrap();
        }
        let report = Box::new(self.spool.report(BootMs(self.ms)));
        self.feed(Input::Spool(report));
        self.work();
    }

    fn connect(&mut self) {
        self.feed(Input::Connected { protocol: "5", in_flight_max: 20, packet_bytes_max: None });
        self.work();
    }

    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.ms += 1000;
            self.feed(Input::Tick);
            self.work();
        }
    }

    /// The broker acknowledges all, and what comes of that. Gives the records of streams.
    fn acknowledge(&mut self) -> Vec<(String, Received)> {
        let mut receiver = Receiver::new(1 << 20);
        let mut records = Vec::new();
        while !self.published.is_empty() {
            for (id, record) in std::mem::take(&mut self.published) {
                if let Some((_, stream)) = record.topic.split_once("/stream/") {
                    let message = record::decode(&record.payload).unwrap();
                    let received = receiver.take("hawk", stream, message);
                    records.extend(received.into_iter().map(|got| (stream.to_owned(), got)));
                }
                self.feed(Input::Acknowledged(id));
                self.work();
            }
        }
        records
    }

    fn topics(&self) -> Vec<&str> {
        self.published.iter().map(|(_, record)| &*record.topic).collect()
    }
}

fn now(ms: u64) -> Now {
    let wall_ms = 1_795_132_800_000 + i64::try_from(ms).unwrap();
    Now { mono: Mono::from_millis(ms), wall_ms, quality: ClockQuality::Synchronised }
}

fn telemetry(records: &[(String, Received)]) -> Vec<&Received> {
    let of_stream = records.iter().filter(|(stream, _)| stream == config::TELEMETRY_STREAM);
    of_stream.map(|(_, record)| record).collect()
}

fn kind(record: &Received) -> String {
    serde_json::from_slice::<EventDocument>(&record.payload).unwrap().event.kind
}

#[test]
fn what_is_said_before_the_queue_opens_is_kept_in_order() {
    let mut world = World::new(|_| {});
    world.feed(Input::ReloadFailed("first".to_owned()));
    world.feed(Input::SpoolFailed("locked".to_owned()));
    assert_eq!(world.orders, [], "it is known that the queue takes nothing");
    assert_eq!(world.agent.records(), 2);

    let mut world = World::new(|_| {});
    world.feed(Input::ReloadFailed("first".to_owned()));
    assert_eq!((world.orders.len(), world.agent.records()), (0, 0), "it is not known yet");
    world.report();
    world.connect();
    let kinds: Vec<String> = world.acknowledge().iter().map(|(_, got)| kind(got)).collect();
    assert_eq!(kinds, ["reload-failed", "spool-open", "broker-connected"]);
    assert_eq!(
        world.spool.report(BootMs(0)).streams.iter().map(|s| s.held.records).sum::<u64>(),
        0
    );
}

#[test]
fn what_the_queue_does_not_take_waits_in_memory_on_the_plain_topics() {
    let mut world = World::new(|_| {});
    world.report();
    world.feed(Input::ReloadFailed("wrong".to_owned()));
    for order in std::mem::take(&mut world.orders) {
        if let Order::Keep { stream, stored } = order {
            world.feed(Input::Kept { stream, stored, name: None });
        }
    }
    assert!(world.agent.records() >= 1);
    world.connect();
    assert!(world.topics().contains(&"outrider/hawk/event"), "{:?}", world.topics());
    let (_, record) =
        world.published.iter().find(|(_, record)| record.topic.ends_with("/event")).unwrap();
    let document: EventDocument = serde_json::from_slice(&record.payload).unwrap();
    assert_eq!(document.event.kind, "reload-failed");
}

#[test]
fn a_batch_from_before_the_queue_opened_has_its_birth_in_front() {
    let mut world = World::new(|_| {});
    world.pass(5);
    world.report();
    world.connect();
    let records = world.acknowledge();
    let telemetry = telemetry(&records);
    assert!(telemetry.len() >= 2, "{telemetry:?}");
    assert_eq!(telemetry[0].content_type.as_deref(), Some(BIRTH_TYPE));
}

#[test]
fn births_stand_before_their_batches_and_are_repeated() {
    let mut world = World::new(|config| {
        config.delivery.order = config::DeliveryOrder::BacklogFirst;
    });
    world.report();
    world.pass(2 * u64::from(BIRTH_EVERY) + 10);
    world.connect();
    let records = world.acknowledge();
    let telemetry = telemetry(&records);
    let births: Vec<usize> = (0..telemetry.len())
        .filter(|at| telemetry[*at].content_type.as_deref() == Some(BIRTH_TYPE))
        .collect();
    assert_eq!(births[0], 0, "nothing can be read before it");
    let last = *births.last().unwrap();
    assert!(last > 50, "repeated at {births:?}");
    let gaps = births.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(gaps.max().unwrap() <= BIRTH_EVERY as usize + 1, "{births:?}");
}

#[test]
fn acknowledgements_find_their_owner_and_free_what_they_name() {
    let mut world = World::new(|_| {});
    world.report();
    world.connect();
    let (of_courier, of_outbox): (Vec<_>, Vec<_>) =
        world.published.clone().into_iter().partition(|(id, _)| Courier::owns(*id));
    assert!(!of_courier.is_empty() && !of_outbox.is_empty());
    let held = |world: &mut World| {
        let report = world.spool.report(BootMs(world.ms));
        report.streams.iter().map(|stream| stream.held.records).sum::<u64>()
    };
    let before = held(&mut world);
    for (id, _) in &of_outbox {
        world.feed(Input::Acknowledged(*id));
        world.work();
    }
    assert_eq!(held(&mut world), before);
    world.feed(Input::Acknowledged(RecordId::UNKNOWN));
    world.feed(Input::Acknowledged(RecordId(of_courier[0].0.0 + 1000)));
    world.work();
    assert_eq!(held(&mut world), before);
    assert_eq!(world.agent.state().delivery.way.stray, 1, "ids of the courier that it never gave");
    for (id, _) in of_courier {
        world.feed(Input::Acknowledged(id));
        world.work();
    }
    assert_eq!(held(&mut world), 0);
    assert!(!world.agent.is_sending());
}

#[test]
fn a_lost_connection_hands_everything_out_again_under_its_name() {
    let mut world = World::new(|_| {});
    world.report();
    world.connect();
    let names = |world: &World| -> Vec<(u32, u64)> {
        let messages =
            world.published.iter().filter(|(_, record)| record.topic.contains("/stream/"));
        messages
            .map(|(_, record)| record::decode(&record.payload).unwrap())
            .flat_map(|message| {
                message.entries.into_iter().map(move |entry| (message.epoch, entry.sequence))
            })
            .collect()
    };
    let first = names(&world);
    assert!(!first.is_empty());
    world.published.clear();
    world.feed(Input::Disconnected { reason: "gone".to_owned() });
    world.work();
    world.connect();
    assert_eq!(names(&world)[..first.len()], first);
}

#[test]
fn a_stream_that_came_into_being_is_known_with_the_next_report() {
    let mut world = World::new(|_| {});
    world.report();
    world.connect();
    world.acknowledge();
    let tag = world.spool.define("gps", StreamPolicy::default()).unwrap();
    let stored = stored::store(&Stamp::default(), None, b"here");
    let _ = world.spool.append(tag, stored, BootMs(world.ms)).unwrap();
    assert!(!world.agent.knows_stream(tag));
    world.feed(Input::Durable(vec![tag]));
    world.report();
    assert!(world.agent.knows_stream(tag));
    let records = world.acknowledge();
    assert_eq!(records.len(), 1);
    assert_eq!((records[0].0.as_str(), &records[0].1.payload[..]), ("gps", &b"here"[..]));
}

#[test]
fn the_day_is_saved_in_steps_and_goes_on_after_a_start() {
    const CAP_BYTES: u64 = 1 << 20;
    let capped = |config: &mut Config| config.delivery.bytes_per_day = Some(CAP_BYTES);
    let mut world = World::new(capped);
    world.report();
    world.connect();
    world.acknowledge();
    let tag = world.spool.define("photos", StreamPolicy::default()).unwrap();
    for _ in 0..40 {
        let stored = stored::store(&Stamp::default(), None, &[7; 30_000]);
        let _ = world.spool.append(tag, stored, BootMs(world.ms)).unwrap();
    }
    world.report();
    // Compressed or not: what was sent is what counts.
    world.acknowledge();
    let last = *world.saved.last().unwrap();
    let spent = world.agent.state().delivery.way.day_bytes;
    assert!(last.bytes <= spent && spent - last.bytes <= CAP_BYTES / DAY_SAVED_DIVISOR);

    // A vehicle that is never on for a day gets to the end of one all the same.
    let saved = world.saved.len();
    world.pass(DAY_SAVED_EVERY_MS / 1000 + 60);
    let later = *world.saved.last().unwrap();
    assert!(world.saved.len() > saved && later.elapsed_ms >= DAY_SAVED_EVERY_MS);
    world.pass(60);
    world.feed(Input::Stop);
    assert!(world.saved.last().unwrap().elapsed_ms >= later.elapsed_ms + 60_000);

    let mut again = World::new(capped);
    again.agent.resume_day(last);
    again.feed(Input::Tick);
    assert_eq!(again.agent.state().delivery.way.day_bytes, last.bytes);
}

#[test]
fn what_waits_in_memory_does_not_keep_what_was_gathered_from_leaving() {
    for slots in [1, 4] {
        let mut world = World::new(|config| {
            config.mqtt.in_flight = slots;
            config.stream.push(config::Stream::undeclared("log"));
        });
        let log = StreamName::new("log").unwrap().tag();
        world.report();
        let mut noise = 1_u32;
        for _ in 0..40 {
            // What cannot be compressed, one record to a message.
            let payload: Vec<u8> = std::iter::repeat_with(|| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                noise.to_be_bytes()[0]
            })
            .take(40_000)
            .collect();
            let stored = stored::store(&Stamp::default(), None, &payload);
            let _ = world.spool.append(log, stored, BootMs(world.ms)).unwrap();
        }
        world.feed(Input::Durable(vec![log]));
        world.connect();
        let mut gathered = 0;
        for _ in 0..60 {
            // The queue refuses two events for each message that the broker takes.
            for _ in 0..2 {
                let stored = stored::store(&Stamp::default(), None, b"{}").into();
                let stream = own_stream(Class::Event);
                world.feed(Input::Kept { stream, stored, name: None });
            }
            let (id, record) = world.published.remove(0);
            gathered += usize::from(record.topic.ends_with("/stream/log"));
            world.feed(Input::Acknowledged(id));
            world.work();
        }
        assert!((20..=40).contains(&gathered), "{gathered} of 60 with {slots} places");
    }
}

#[test]
fn a_link_that_loses_its_route_is_not_set_free_while_its_connection_stands() {
    use std::time::Duration;

    use olsr_bridge::view::NetworkCost;

    use crate::core::agent::tests::view;

    let mut world = World::new(|config| {
        config.mesh.daemon = config::DaemonChoice::Jsoninfo;
        config.mesh.vehicles.insert("command".to_owned(), vec!["10.0.0.9".parse().unwrap()]);
        config.links.warmup_min = Duration::ZERO;
        config.links.warmup_hellos = 0;
        config.links.warmup_window = Duration::ZERO;
        config.links.unreachable_hold = Duration::ZERO;
        config.links.unreachable_samples = 1;
        config.links.return_delay = Duration::ZERO;
        config.links.return_hellos = 0;
    });
    let see = |world: &mut World, cost: Option<u32>| {
        let costs: Vec<_> =
            cost.map(|cost| ("10.0.0.9", NetworkCost::Reachable(cost))).into_iter().collect();
        for _ in 0..30 {
            world.ms += 1000;
            let result = Ok(Arc::new(view(&costs)));
            world.feed(Input::Mesh { took: Duration::from_millis(1), result });
            world.work();
        }
        world.agent.state().delivery.way.link_cost
    };
    world.report();
    world.connect();
    assert_eq!(see(&mut world, Some(1200)), Some(1200));
    assert_eq!(see(&mut world, None), Some(1200), "the connection still stands");
    world.feed(Input::Disconnected { reason: "gone".to_owned() });
    world.connect();
    assert_eq!(see(&mut world, None), None, "this one came another way");
}
