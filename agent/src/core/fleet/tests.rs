//! The fleet as a whole: what counts when messages come late, twice or broken, what is written down and what survives a
//! restart. All inputs are what agents write, or damage to that.

mod files;
mod own;

use std::time::Duration;

use proptest::prelude::*;

use super::document::{Broker, Storage, document as page};
use super::exposition::{Plant, SAMPLE_AGE_MAX_MS, render};
use super::*;
use crate::core::catalog::{Sink, hardware, mesh};
use crate::core::exposition::Format;
use crate::core::presence::{OfflineCause, Speaker, Topics};
use crate::core::record::compress::{Effort, Trial};
use crate::core::record::{Encoder, Entry, Part, Stamp, file};
use crate::core::state::{Event, Identity, Severity};
use crate::core::telemetry::{Batcher, Format as Form, Sending, document};
use crate::core::time::{ClockQuality, Mono, Now};

const OURS: BootId = BootId([9; 16]);
const BOOT: &str = "01234567-89ab-cdef-0123-456789abcdef";

/// Our clock when its boot began.
const WALL_AT_BOOT: i64 = 1_795_000_000_000;

fn now(ms: u64) -> Now {
    let wall_ms = WALL_AT_BOOT + ms as i64;
    Now { mono: Mono::from_millis(ms), wall_ms, quality: ClockQuality::Synchronised }
}

fn at(ms: u64) -> Moment {
    Moment::new(OURS, now(ms))
}

fn fleet() -> Fleet {
    Fleet::new(Prefix::new("outrider"), None)
}

fn forwarding() -> Fleet {
    Fleet::new(Prefix::new("outrider"), Some(Prefix::new("json")))
}

type Said = (String, Bytes);

fn take(fleet: &mut Fleet, (topic, payload): &Said, ms: u64) -> Taken {
    fleet.take(&Message { topic, payload, arrived: at(ms) })
}

/// An agent's side.
struct Voice {
    name: String,
    boot: String,
    topics: Topics,
    batcher: Batcher,
}

impl Voice {
    fn new(name: &str) -> Voice {
        Voice::of_boot(name, BOOT)
    }

    fn of_boot(name: &str, boot: &str) -> Voice {
        let second = Duration::from_secs(1);
        Voice {
            name: name.to_owned(),
            boot: boot.to_owned(),
            topics: Topics::new("outrider", name),
            batcher: Batcher::new(BootId::from_text(boot), second, second),
        }
    }

    fn who(&self) -> Identity {
        Identity {
            vehicle: self.name.clone(),
            kind: "ugv".to_owned(),
            version: "1".to_owned(),
            boot_id: self.boot.clone(),
        }
    }

    /// A batch of one tick, which needs the birth behind it.
    fn batch(&mut self, clock: Now, fill: impl FnOnce(&mut Sink<'_>)) -> [Said; 2] {
        let batch = self.batcher.tick(clock, fill).expect("a batch has one tick");
        let sending = Sending { format: Form::Compact, sample_ms: 1000, batch_ms: 1000 };
        let birth = Birth::new(&self.who(), sending, self.batcher.dictionary(), clock);
        [
            (self.topics.birth.clone(), birth.to_json().into()),
            (self.topics.telemetry.clone(), frame::encode(&batch).into()),
        ]
    }

    fn load(&mut self, clock: Now, load: f64) -> [Said; 2] {
        self.batch(clock, |sink| sink(&hardware::LOAD1, &[], load))
    }

    fn event(&self, number: u64, boot_ms: u64, kind: &str) -> Said {
        let event = Event {
            number,
            boot_ms,
            wall_ms: None,
            severity: Severity::Info,
            kind: kind.to_owned(),
            subject: String::new(),
            text: format!("{kind} {number}"),
        };
        (self.topics.event.clone(), EventDocument::new(&self.who(), event).to_json().into())
    }

    fn status(&self, connection: u64, offline: Option<OfflineCause>) -> Said {
        let speaker = Speaker { vehicle: self.name.clone(), boot_id: self.boot.clone() };
        (self.topics.status.clone(), speaker.status(connection, offline).into())
    }

    fn records(&self, stream: &str, entries: &[Entry]) -> Said {
        let mut encoder = Encoder::new(3, usize::MAX);
        assert!(entries.iter().all(|entry| encoder.push(entry)));
        let message = encoder.finish(Effort::None, &mut Trial::default());
        (self.topics.stream(stream), message.into())
    }
}

fn entry(sequence: u64, part: Option<Part>, payload: &[u8]) -> Entry {
    let payload = Bytes::copy_from_slice(payload);
    let stamp = Stamp { boot: BootId([1; 16]), boot_ms: sequence, wall: None };
    Entry { sequence, gone: 0, stamp, content_type: None, part, payload }
}

/// Everything that anybody can see.
fn seen(fleet: &Fleet, ms: u64) -> String {
    let (broker, storage) = (Broker::default(), Storage::default());
    let page = page(fleet, &broker, &storage, (now(ms), OURS));
    let json = serde_json::to_string_pretty(&page).unwrap();
    json + &render(fleet, &Plant::default(), &at(ms), Format::Prometheus)
}

fn load1(fleet: &Fleet, name: &str) -> Option<f64> {
    fleet.vehicles()[name].value("outrider_load1")
}

fn sample(fleet: &Fleet, ms: u64, format: Format) -> Option<String> {
    let text = render(fleet, &Plant::default(), &at(ms), format);
    text.lines().find(|line| line.starts_with("outrider_load1{")).map(str::to_owned)
}

#[test]
fn the_latest_values_count_whatever_the_order_of_arrival() {
    let mut fleet = fleet();
    let mut alpha = Voice::new("alpha");
    let [birth, first] = alpha.load(now(1_000), 1.0);
    let [_, second] = alpha.load(now(2_000), 2.0);
    let [_, third] = alpha.load(now(3_000), 3.0);
    assert!(!take(&mut fleet, &first, 10_000).changed, "no birth, no names");
    assert_eq!(fleet.refused()[&Refusal::NoBirth], 1);
    assert!(take(&mut fleet, &birth, 10_000).changed);
    assert!(!take(&mut fleet, &birth, 10_000).changed, "known");
    for (said, load) in [(&first, 1.0), (&third, 3.0), (&second, 3.0)] {
        assert!(take(&mut fleet, said, 11_000).changed);
        assert_eq!(load1(&fleet, "alpha"), Some(load));
    }
    for said in [&first, &second, &third] {
        assert!(!take(&mut fleet, said, 12_000).changed, "a repeat");
    }
    let counts = fleet.vehicles()["alpha"].counts;
    assert_eq!((counts.batches, counts.late, counts.repeats), (3, 1, 3));
}

#[test]
fn another_boot_counts_once_it_has_introduced_itself() {
    let mut fleet = fleet();
    let mut before = Voice::new("alpha");
    let [birth, old] = before.load(now(500_000), 1.0);
    let [_, waited] = before.load(now(501_000), 2.0);
    let mut after = Voice::of_boot("alpha", "11111111-89ab-cdef-0123-456789abcdef");
    let [new_birth, new] = after.load(now(1_000), 3.0);
    for said in [&birth, &old, &new_birth, &new] {
        take(&mut fleet, said, 10_000);
    }
    assert_eq!(load1(&fleet, "alpha"), Some(3.0), "its boot clock begins anew");
    take(&mut fleet, &waited, 20_000);
    assert_eq!(load1(&fleet, "alpha"), Some(3.0), "what waited since before the boot is late");
}

#[test]
fn what_is_no_longer_said_is_no_longer_there() {
    let mut fleet = fleet();
    let mut alpha = Voice::new("alpha");
    let both = alpha.batch(now(1_000), |sink| {
        sink(&hardware::LOAD1, &[], 1.0);
        sink(&mesh::NETWORK_COST, &["bravo"], 113.0);
    });
    let one = alpha.load(now(2_000), 2.0);
    both.iter().for_each(|said| _ = take(&mut fleet, said, 1_100));
    let costs = |fleet: &Fleet| fleet.vehicles()["alpha"].values("olsr_network_cost").count();
    assert_eq!(costs(&fleet), 1);
    one.iter().for_each(|said| _ = take(&mut fleet, said, 2_100));
    assert_eq!((costs(&fleet), load1(&fleet, "alpha")), (0, Some(2.0)));
}

#[test]
fn values_are_dated_by_their_vehicle_or_by_reckoning_or_left_out() {
    let line = |clock: Now, arrived, seen, format| {
        let mut fleet = fleet();
        let mut alpha = Voice::new("alpha");
        alpha.load(clock, 0.5).iter().for_each(|said| _ = take(&mut fleet, said, arrived));
        sample(&fleet, seen, format)
    };
    let synchronised = Now { wall_ms: WALL_AT_BOOT + 99_500, ..now(1_000) };
    let unset = Now { quality: ClockQuality::Unset, ..now(1_000) };
    let text = |ms: i64| Some(format!("outrider_load1{{vehicle=\"alpha\"}} 0.5 {ms}"));
    assert_eq!(
        line(synchronised, 100_000, 103_000, Format::Prometheus),
        text(WALL_AT_BOOT + 99_500)
    );
    assert_eq!(line(unset, 100_000, 103_000, Format::Prometheus), text(WALL_AT_BOOT + 100_000));
    let ahead = Now { wall_ms: WALL_AT_BOOT + 999_000, ..synchronised };
    assert_eq!(line(ahead, 100_000, 103_000, Format::Prometheus), text(WALL_AT_BOOT + 100_000));
    let long_ago = Now { wall_ms: WALL_AT_BOOT - SAMPLE_AGE_MAX_MS as i64, ..synchronised };
    assert_eq!(line(long_ago, 100_000, 103_000, Format::Prometheus), None);
    let last = 100_000 + SAMPLE_AGE_MAX_MS;
    assert_eq!(line(unset, 100_000, last, Format::Prometheus), text(WALL_AT_BOOT + 100_000));
    assert_eq!(line(unset, 100_000, last + 1, Format::Prometheus), None);
    let open_metrics = Some("outrider_load1{vehicle=\"alpha\"} 0.5 1795000100.000".to_owned());
    assert_eq!(line(unset, 100_000, 103_000, Format::OpenMetrics), open_metrics);
}

#[test]
fn without_a_clock_of_our_own_nothing_is_dated() {
    let mut fleet = fleet();
    let mut alpha = Voice::new("alpha");
    let arrived = Moment { wall_ms: None, ..at(100_000) };
    for (topic, payload) in &alpha.load(now(1_000), 0.5) {
        fleet.take(&Message { topic, payload, arrived });
    }
    let text = |ms| {
        render(&fleet, &Plant::default(), &Moment { wall_ms: None, ..at(ms) }, Format::Prometheus)
    };
    assert!(text(101_000).contains("outrider_load1{vehicle=\"alpha\"} 0.5\n"));
    assert!(!text(500_000).contains("outrider_load1"), "old values would look like those of now");
    assert!(text(500_000).contains("outrider_fleet_series_omitted{cause=\"age\"} 1\n"));
}

#[test]
fn the_metrics_text_is_one_whatever_vehicles_claim() {
    let series =
        |name: &str, kind: &str| serde_json::json!({"name": name, "kind": kind, "resolution": 0});
    let mut fleet = fleet();
    for (vehicle, claims) in [
        (
            "alpha",
            [series("x", "gauge"), series("x_total", "counter"), series("y_total", "counter")],
        ),
        (
            "bravo",
            [series("x", "counter"), series("x_total", "gauge"), series("y_total", "counter")],
        ),
    ] {
        let entries = claims.map(|claim| serde_json::from_value(claim).unwrap()).to_vec();
        let dictionary = Dictionary::from_entries(entries).unwrap();
        let sending = Sending { format: Form::Compact, sample_ms: 1000, batch_ms: 1000 };
        let voice = Voice::new(vehicle);
        let birth = Birth::new(&voice.who(), sending, &dictionary, now(0));
        let columns = [0, 1, 2].map(|n| crate::core::telemetry::Column::new(n, [Some(7)])).to_vec();
        let batch = crate::core::telemetry::Batch {
            boot: BootId::from_text(BOOT),
            number: 1,
            dictionary: dictionary.version(),
            wall: None,
            ticks_ms: vec![1000],
            columns,
        };
        take(&mut fleet, &(voice.topics.birth, birth.to_json().into()), 1_000);
        take(&mut fleet, &(voice.topics.telemetry, frame::encode(&batch).into()), 1_000);
    }
    let text = render(&fleet, &Plant::default(), &at(1_000), Format::OpenMetrics);
    let time = "1795000001.000";
    let expected = format!(
        "# HELP x As a vehicle says.\n# TYPE x gauge\nx{{vehicle=\"alpha\"}} 7 {time}\n\
         # HELP x_total As a vehicle says.\n# TYPE x_total unknown\nx_total{{vehicle=\"alpha\"}} 7 {time}\n\
         # HELP y As a vehicle says.\n# TYPE y counter\ny_total{{vehicle=\"alpha\"}} 7 {time}\n\
         y_total{{vehicle=\"bravo\"}} 7 {time}\n# EOF\n"
    );
    assert!(text.ends_with(&expected), "{text}");
    assert!(text.contains("outrider_fleet_series_omitted{cause=\"kind\"} 2\n"), "{text}");
}

#[test]
fn presence_follows_the_connection_and_events_are_kept_once() {
    let mut fleet = fleet();
    let alpha = Voice::new("alpha");
    let presence = |fleet: &Fleet| fleet.vehicles()["alpha"].contact.clone().unwrap();
    take(&mut fleet, &alpha.status(4, None), 1_000);
    // The will of the connection before arrives after the greeting of this one.
    assert!(!take(&mut fleet, &alpha.status(3, Some(OfflineCause::ConnectionLost)), 2_000).changed);
    assert_eq!(presence(&fleet).cause, None);
    assert!(take(&mut fleet, &alpha.status(4, Some(OfflineCause::Stopped)), 3_000).changed);
    assert!(!take(&mut fleet, &alpha.status(4, Some(OfflineCause::Stopped)), 9_000).changed);
    assert_eq!(
        (presence(&fleet).cause, presence(&fleet).arrived.mono_ms),
        (Some(OfflineCause::Stopped), 3_000)
    );

    for (said, changed) in [
        (alpha.event(1, 5_000, "federation-joined"), true),
        (alpha.event(2, 6_000, "vehicle-lost"), true),
        (alpha.event(1, 5_000, "federation-joined"), false),
        // The agent was started again within its boot.
        (alpha.event(1, 7_000, "started"), true),
        (alpha.event(9, 5_500, "waited"), true),
    ] {
        assert_eq!(take(&mut fleet, &said, 10_000).changed, changed, "{said:?}");
    }
    let vehicle = &fleet.vehicles()["alpha"];
    let text = |happened: &Option<Happened>| happened.as_ref().unwrap().event.text.clone();
    assert_eq!(text(&vehicle.last_event), "started 1");
    assert_eq!(text(&vehicle.last_federation), "federation-joined 1");
    let shown = seen(&fleet, 10_000);
    let places = ["started 1", "vehicle-lost 2", "waited 9", "federation-joined 1"];
    let list = &shown[shown.find("\"events\": [").unwrap()..];
    let at: Vec<_> = places.iter().map(|text| list.find(text).unwrap()).collect();
    assert!(at.is_sorted(), "by the time at which they happened: {at:?}");
}

#[test]
fn records_are_written_and_forwarded_once() {
    let mut fleet = forwarding();
    let alpha = Voice::new("alpha");
    let said = alpha.records("gps", &[entry(5, None, b"1"), entry(6, None, b"2")]);
    let taken = take(&mut fleet, &said, 1_000);
    assert_eq!((taken.changed, taken.writes.len(), taken.publishes.len()), (true, 2, 2));
    assert_eq!(taken.publishes[1].topic, "json/alpha/stream/gps");
    assert_eq!(taken.publishes.iter().map(|p| p.number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(take(&mut fleet, &said, 2_000), Taken::default());
    let halves = [(0, &b"ab"[..]), (2, b"cd")].map(|(offset, bytes)| {
        alpha.records("gps", &[entry(7, Some(Part { total: 4, offset }), bytes)])
    });
    let first = take(&mut fleet, &halves[0], 3_000);
    assert!(first.changed && first.writes.is_empty() && fleet.incomplete() == 1);
    let second = take(&mut fleet, &halves[1], 3_000);
    assert!(
        String::from_utf8(second.writes[0].line.clone()).unwrap().contains("\"text\":\"abcd\"")
    );
}

#[test]
fn the_fleet_is_bounded_and_nobody_who_is_heard_is_pushed_out() {
    let mut fleet = fleet();
    for number in 0..VEHICLES_MAX + 10 {
        let voice = Voice::new(&format!("v{number}"));
        take(&mut fleet, &voice.status(1, None), 1_000);
        let records = voice.records("log", &[entry(0, None, b"1")]);
        assert_eq!(take(&mut fleet, &records, 1_000).writes.len(), 1, "records are taken anyway");
    }
    assert_eq!(fleet.vehicles().len(), VEHICLES_MAX);
    assert_eq!(fleet.refused()[&Refusal::FleetFull], 10);
    take(&mut fleet, &Voice::new("v0").event(1, 1, "alive"), FORGET_AFTER_MS);
    take(&mut fleet, &Voice::new("late").status(1, None), FORGET_AFTER_MS + 1_000);
    assert!(fleet.vehicles().contains_key("late") && fleet.vehicles().contains_key("v0"));
    assert_eq!((fleet.vehicles().len(), fleet.forgotten_vehicles), (VEHICLES_MAX, 1));
    // An operator clears the retained birth of a vehicle that is no more.
    let cleared = (Topics::new("outrider", "late").birth, Bytes::new());
    assert!(take(&mut fleet, &cleared, FORGET_AFTER_MS + 2_000).changed);
    assert!(!fleet.vehicles().contains_key("late"));
}

#[test]
fn a_hostile_vehicle_takes_a_bounded_share_of_memory() {
    let mut fleet = fleet();
    let sending = Sending { format: Form::Compact, sample_ms: 1000, batch_ms: 1000 };
    let label = "x".repeat(900);
    for round in 0..24 {
        let voice = Voice::new(&format!("mallory{}", round % 12));
        let entries = (0..2048).map(|n| {
            let name = format!("m{round}_{n}");
            serde_json::json!({"name": name, "labels": {"l": label}, "kind": "gauge", "resolution": 0})
        });
        let entries = entries.map(|entry| serde_json::from_value(entry).unwrap()).collect();
        let dictionary = Dictionary::from_entries(entries).unwrap();
        let birth = Birth::new(&voice.who(), sending, &dictionary, now(round));
        take(&mut fleet, &(voice.topics.birth, birth.to_json().into()), 1_000);
        assert!(fleet.names.bytes() <= names::NAMES_BYTES_MAX);
    }
    assert!(fleet.names.refused() > 0);
    // Others still have their say.
    let mut alpha = Voice::new("alpha");
    let status = alpha.status(1, None);
    assert!(take(&mut fleet, &status, 1_000).changed);
    alpha.load(now(1_000), 1.0).iter().for_each(|said| _ = take(&mut fleet, said, 1_000));
}

/// Messages of a few vehicles, with repeats, gaps, parts and damage.
fn any_messages() -> impl Strategy<Value = Vec<Said>> {
    let alpha = || Voice::new("alpha");
    let vehicle = prop::sample::select(vec!["alpha", "bravo", "charlie"]);
    let load = (vehicle.clone(), 0_u64..20, 0_u8..200).prop_map(|(name, second, load)| {
        Voice::new(name).load(now(1_000 * second), f64::from(load)).to_vec()
    });
    let own = (vehicle.clone(), 0_u64..20, 0_u8..200).prop_map(|(name, second, load)| {
        let mut voice = Voice::new(name);
        let said = voice.load(now(1_000 * second), f64::from(load));
        let event = voice.event(second, second, "federation");
        let typed = |content_type: &str, (_, payload): &Said| Entry {
            content_type: Some(content_type.into()),
            ..entry(second, None, payload)
        };
        vec![
            voice.records("telemetry", &[typed(document::BIRTH_TYPE, &said[0])]),
            voice.records(
                "telemetry",
                &[Entry { sequence: 40 + second, ..typed(document::FRAME_TYPE, &said[1]) }],
            ),
            voice.records("events", &[typed(document::JSON_TYPE, &event)]),
        ]
    });
    let record = (vehicle.clone(), 0_u64..12, prop::collection::vec(any::<u8>(), 0..30)).prop_map(
        |(name, sequence, payload)| {
            vec![Voice::new(name).records("gps", &[entry(sequence, None, &payload)])]
        },
    );
    let file = (vehicle.clone(), 50_u64..70, 0_u8..4, 0_u64..3).prop_map(
        |(name, sequence, seed, place)| {
            let id = format!("{seed:02x}").repeat(16);
            let typed = |content_type: &str, payload: &[u8]| Entry {
                content_type: Some(content_type.into()),
                ..entry(sequence, None, payload)
            };
            let manifest =
                serde_json::json!({"file": id, "name": "x", "size": 20, "sha256": id.repeat(2)});
            let record = match place {
                2 => typed(file::MANIFEST_TYPE, manifest.to_string().as_bytes()),
                place => typed(
                    &format!("{}; file={id}; offset={}", file::CHUNK_TYPE, place * 10),
                    &[seed; 10],
                ),
            };
            vec![Voice::new(name).records("camera", &[record])]
        },
    );
    let part = (0_u64..4, 0_u64..3).prop_map(move |(sequence, third)| {
        let part = Part { total: 30, offset: third * 10 };
        vec![alpha().records("camera", &[entry(sequence, Some(part), &[7; 10])])]
    });
    let event = (vehicle.clone(), 1_u64..5, 0_u64..3).prop_map(|(name, number, second)| {
        vec![Voice::new(name).event(number, second, "federation")]
    });
    let status = (vehicle, 1_u64..4, any::<bool>()).prop_map(|(name, connection, online)| {
        let cause = (!online).then_some(OfflineCause::ConnectionLost);
        vec![Voice::new(name).status(connection, cause)]
    });
    let rests = vec!["birth", "status", "telemetry", "event", "stream/gps", "stream/..", "x"];
    let garbage = (prop::sample::select(rests), prop::collection::vec(any::<u8>(), 0..50))
        .prop_map(|(rest, bytes)| vec![(format!("outrider/mallory/{rest}"), Bytes::from(bytes))]);
    let one = prop_oneof![load, own, file, record, part, event, status, garbage];
    let changed =
        (one, proptest::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>())));
    let changed = changed.prop_map(|(mut said, damage)| {
        if let (Some((place, byte)), Some((_, payload))) = (damage, said.last_mut())
            && !payload.is_empty()
        {
            let mut bytes = payload.to_vec();
            let place = place.index(bytes.len());
            bytes[place] = byte;
            *payload = Bytes::from(bytes);
        }
        said
    });
    prop::collection::vec(changed, 1..60).prop_map(|said| said.into_iter().flatten().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A process that ends at any point and takes its journal again knows the same and writes the same, byte by byte; what
    /// was acknowledged and comes again writes nothing.
    #[test]
    fn a_restart_changes_nothing(
        messages in any_messages(),
        snapshot_after in any::<prop::sample::Index>(),
        crash_after in any::<prop::sample::Index>(),
    ) {
        let count = messages.len();
        let [snapshot_at, crash_at] = {
            let [a, b] = [snapshot_after, crash_after].map(|index| index.index(count + 1));
            [a.min(b), a.max(b)]
        };
        let mut fleet = forwarding();
        let mut journal = journal::head(1).to_vec();
        let (mut snapshot, mut writes, mut written_at_snapshot) = (fleet.snapshot(), Vec::new(), 0);
        let (mut steps, mut done_at_snapshot) = (Vec::new(), 0);
        for (place, (topic, payload)) in messages[..crash_at].iter().enumerate() {
            if place == snapshot_at {
                snapshot = fleet.snapshot();
                journal = journal::head(2).to_vec();
                (written_at_snapshot, done_at_snapshot) = (writes.len(), steps.len());
            }
            let arrived = at(place as u64);
            let taken = fleet.take(&Message { topic, payload, arrived });
            if taken.changed {
                journal::put(&mut journal, &journal::Entry::Message { topic, payload, arrived });
            } else {
                prop_assert!(taken.writes.is_empty() && taken.publishes.is_empty());
                prop_assert!(taken.steps.is_empty());
            }
            writes.extend(taken.writes);
            steps.extend(taken.steps);
        }
        let prefix = Prefix::new("outrider");
        let mut again = Fleet::restore(&snapshot, prefix, Some(Prefix::new("json"))).unwrap();
        let mut written = writes[..written_at_snapshot].to_vec();
        let mut done = steps[..done_at_snapshot].to_vec();
        let generation = if snapshot_at < crash_at { 2 } else { 1 };
        for entry in journal::Entries::new(&journal, generation).unwrap() {
            let journal::Entry::Message { topic, payload, arrived } = entry else { panic!() };
            let payload = &Bytes::copy_from_slice(payload);
            let taken = again.take(&Message { topic, payload, arrived });
            written.extend(taken.writes);
            done.extend(taken.steps);
        }
        prop_assert_eq!(&written, &writes);
        prop_assert_eq!(&done, &steps);
        prop_assert_eq!(again.published, fleet.published);
        // Neither what counts from the start of a process is the same, nor what was not worth an entry: repeats.
        fleet.recovered();
        again.recovered();
        let counted = |text: String| -> String {
            let passing = ["repeats", "heard"];
            let kept = text.lines().filter(|line| !passing.iter().any(|word| line.contains(word)));
            kept.collect::<Vec<_>>().join("\n")
        };
        prop_assert_eq!(counted(seen(&again, 100)), counted(seen(&fleet, 100)));
        for (topic, payload) in &messages[..crash_at] {
            let taken = again.take(&Message { topic, payload, arrived: at(200) });
            prop_assert!(taken.writes.is_empty(), "{topic} wrote a record twice");
        }
        // Bytes of a snapshot are all there is to it.
        let prefix = Prefix::new("outrider");
        let copy = Fleet::restore(&again.snapshot(), prefix, None).unwrap();
        prop_assert_eq!(copy.snapshot(), again.snapshot());
    }

    #[test]
    fn a_damaged_snapshot_hurts_nobody(place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut fleet = fleet();
        let mut alpha = Voice::new("alpha");
        alpha.load(now(1_000), 1.0).iter().for_each(|said| _ = take(&mut fleet, said, 1_000));
        take(&mut fleet, &alpha.records("gps", &[entry(0, None, b"1")]), 1_000);
        let mut snapshot = fleet.snapshot();
        let place = place.index(snapshot.len());
        snapshot[place] = byte;
        if let Ok(fleet) = Fleet::restore(&snapshot, Prefix::new("outrider"), None) {
            let _ = seen(&fleet, 2_000);
        }
    }
}
