//! Telemetry and events that come as records of a vehicle's own streams: the same picture as from topics of their own, alone or
//! mixed, with a backlog of older boots, and with whatever a hostile vehicle calls a batch.

use super::*;
use crate::core::telemetry::document::{BIRTH_TYPE, FRAME_TYPE, JSON_TYPE};

/// An earlier boot of the vehicle.
const BEFORE: &str = "00000000-0000-4000-8000-000000000001";

fn typed(sequence: u64, content_type: &str, payload: &[u8]) -> Entry {
    Entry { content_type: Some(content_type.into()), ..entry(sequence, None, payload) }
}

/// The birth and the batch that a message of each would carry, as records.
fn both(sequence: u64, [birth, batch]: &[Said; 2]) -> [Entry; 2] {
    [typed(sequence, BIRTH_TYPE, &birth.1), typed(sequence + 1, FRAME_TYPE, &batch.1)]
}

fn topics(taken: &Taken) -> Vec<&str> {
    taken.publishes.iter().map(|publish| publish.topic.as_str()).collect()
}

fn refused(fleet: &Fleet, cause: Refusal) -> u64 {
    fleet.refused().get(&cause).copied().unwrap_or(0)
}

#[test]
fn records_of_its_own_streams_say_what_messages_would() {
    let (mut by_record, mut by_topic) = (forwarding(), forwarding());
    let mut alpha = Voice::new("alpha");
    let said = alpha.load(now(1_000), 1.5);
    let event = alpha.event(1, 900, "started");
    // Only the retained birth says who it is.
    for fleet in [&mut by_record, &mut by_topic] {
        take(fleet, &said[0], 1_100);
    }
    let published: Vec<Publish> = [&said[1], &event]
        .iter()
        .flat_map(|said| take(&mut by_topic, said, 1_100).publishes)
        .collect();

    let telemetry = take(&mut by_record, &alpha.records("telemetry", &both(0, &said)), 1_100);
    let events = alpha.records("events", &[typed(0, JSON_TYPE, &event.1)]);
    let events = take(&mut by_record, &events, 1_100);
    assert_eq!((telemetry.writes.len(), events.writes.len()), (2, 1), "records stay records");
    assert_eq!(
        (topics(&telemetry), topics(&events)),
        (vec!["json/alpha/telemetry"], vec!["json/alpha/event"])
    );
    assert_eq!([telemetry.publishes, events.publishes].concat(), published);
    let metrics = |fleet: &Fleet| {
        let text = render(fleet, &Plant::default(), &at(2_000), Format::Prometheus);
        text.lines()
            .filter(|line| !line.contains("_messages_total") && !line.contains("_stream_"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(metrics(&by_record), metrics(&by_topic));
    assert_eq!(load1(&by_record, "alpha"), Some(1.5));

    // The readable form needs no birth.
    let batch = frame::decode(&said[1].1).unwrap();
    let json = Telemetry::new("bravo", &batch, alpha.batcher.dictionary()).unwrap().to_json();
    let bravo = Voice::new("bravo")
        .records("telemetry", &[typed(0, "application/json; charset=utf-8", &json)]);
    assert_eq!(topics(&take(&mut by_record, &bravo, 1_200)), ["json/bravo/telemetry"]);
    assert_eq!(load1(&by_record, "bravo"), Some(1.5));
}

#[test]
fn a_batch_or_an_event_that_comes_both_ways_counts_once() {
    let mut fleet = forwarding();
    let mut alpha = Voice::new("alpha");
    let said = alpha.load(now(1_000), 1.0);
    let event = alpha.event(1, 900, "started");
    said.iter().chain([&event]).for_each(|said| _ = take(&mut fleet, said, 1_100));
    let records = alpha.records("telemetry", &both(0, &said));
    let again = take(&mut fleet, &records, 1_200);
    assert_eq!((again.writes.len(), topics(&again)), (2, vec![]));
    let again = take(&mut fleet, &alpha.records("events", &[typed(0, JSON_TYPE, &event.1)]), 1_200);
    assert_eq!((again.writes.len(), topics(&again)), (1, vec![]));
    let counts = fleet.vehicles()["alpha"].counts;
    assert_eq!((counts.batches, counts.events, counts.repeats), (1, 1, 2));
    // A later batch of the other way is the latest.
    let [_, later] = alpha.load(now(2_000), 2.0);
    take(&mut fleet, &later, 2_100);
    assert_eq!(load1(&fleet, "alpha"), Some(2.0));
    assert_eq!(take(&mut fleet, &records, 2_200), Taken::default());
}

#[test]
fn a_backlog_of_an_older_boot_changes_nothing_that_is_of_now() {
    let mut fleet = forwarding();
    let mut live = Voice::new("alpha");
    live.load(now(50_000), 7.0).iter().for_each(|said| _ = take(&mut fleet, said, 51_000));
    let age = |fleet: &Fleet| fleet.vehicles()["alpha"].sample_age_ms(&at(60_000));
    let (identity, sample_age) = (fleet.vehicles()["alpha"].identity.clone(), age(&fleet));

    let mut late = 0;
    for boot in 0..12 {
        // A dictionary of its own for each boot, and a boot clock far ahead of the one of now.
        let mut before = Voice::of_boot("alpha", &BEFORE.replace('1', &format!("{boot:x}")));
        let node = format!("node{boot}");
        let said = before.batch(now(900_000), |sink| {
            sink(&mesh::NETWORK_COST, &[&node], 113.0);
            sink(&hardware::LOAD1, &[], 1.0);
        });
        let taken = take(&mut fleet, &before.records("telemetry", &both(2 * boot, &said)), 60_000);
        assert_eq!(topics(&taken), ["json/alpha/telemetry"], "history is readable for others");
        late += 1;
    }
    let alpha = &fleet.vehicles()["alpha"];
    assert_eq!(alpha.learned.len(), vehicle::DICTIONARIES_MAX);
    assert_eq!((alpha.numberings.len(), alpha.counts.late), (1, late));
    assert_eq!((&alpha.identity, age(&fleet)), (&identity, sample_age));
    assert_eq!(load1(&fleet, "alpha"), Some(7.0));
    // What is of now needs no birth again.
    let [_, batch] = live.load(now(51_000), 8.0);
    take(&mut fleet, &live.records("telemetry", &[typed(90, FRAME_TYPE, &batch.1)]), 61_000);
    assert_eq!(load1(&fleet, "alpha"), Some(8.0));
}

#[test]
fn without_a_birth_the_latest_boot_is_told_by_the_clock() {
    let mut fleet = fleet();
    let of_boot = |boot: char, clock: Now, load| {
        let mut voice = Voice::of_boot("alpha", &BEFORE.replace('1', &boot.to_string()));
        (voice.load(clock, load), voice)
    };
    let second = Now { wall_ms: WALL_AT_BOOT + 90_000, ..now(5_000) };
    let first = Now { wall_ms: WALL_AT_BOOT + 10_000, ..now(700_000) };
    let unset = Now { quality: ClockQuality::Unset, ..now(900_000) };
    let plan = [
        ('1', first, 1.0, 1.0),
        ('2', second, 2.0, 2.0),
        ('3', first, 3.0, 2.0),
        ('4', unset, 4.0, 2.0),
    ];
    for (place, (boot, clock, load, expected)) in (0..).zip(plan) {
        let (said, voice) = of_boot(boot, clock, load);
        take(&mut fleet, &voice.records("telemetry", &both(2 * place, &said)), 100_000);
        assert_eq!(load1(&fleet, "alpha"), Some(expected), "{boot}");
    }
}

#[test]
fn a_batch_without_its_dictionary_is_counted_and_kept() {
    let mut fleet = forwarding();
    let mut alpha = Voice::new("alpha");
    let said = alpha.load(now(1_000), 1.0);
    let [birth, batch] = both(0, &said);
    let taken = take(&mut fleet, &alpha.records("telemetry", std::slice::from_ref(&batch)), 1_100);
    assert_eq!(refused(&fleet, Refusal::NoBirth), 1);
    assert_eq!((taken.changed, taken.writes.len()), (true, 1));
    let line: Value = serde_json::from_slice(&taken.writes[0].line).unwrap();
    assert_eq!((&line["content_type"], line["base64"].is_string()), (&FRAME_TYPE.into(), true));
    assert_eq!(topics(&taken), ["json/alpha/stream/telemetry"], "as it is, for who knows more");
    // Births come again and again in a stream.
    let [_, next] = alpha.load(now(2_000), 2.0);
    let records = [Entry { sequence: 7, ..birth }, typed(8, FRAME_TYPE, &next.1)];
    assert_eq!(
        topics(&take(&mut fleet, &alpha.records("telemetry", &records), 2_100)),
        ["json/alpha/telemetry"]
    );
    assert_eq!(load1(&fleet, "alpha"), Some(2.0));
    assert_eq!(fleet.vehicles()["alpha"].identity, vehicle::Identity::default());
}

#[test]
fn what_others_put_into_these_streams_is_any_record() {
    let mut fleet = forwarding();
    let alpha = Voice::new("alpha");
    let strange = [
        ("telemetry", "text/plain", &b"{\"version\":1}"[..]),
        ("telemetry", "application/jsonp", b"1"),
        ("events", BIRTH_TYPE, b"{}"),
        ("events", FRAME_TYPE, b"\x01"),
        ("gps", JSON_TYPE, b"{}"),
        ("gps", FRAME_TYPE, b"\x01"),
    ];
    for (sequence, (stream, content_type, payload)) in (0..).zip(strange) {
        let records = alpha.records(stream, &[typed(sequence, content_type, payload)]);
        let expected = format!("json/alpha/stream/{stream}");
        assert_eq!(topics(&take(&mut fleet, &records, 1_000)), [expected], "{content_type}");
    }
    take(&mut fleet, &alpha.records("telemetry", &[entry(99, None, b"\x01")]), 1_000);
    assert!(fleet.refused().is_empty(), "{:?}", fleet.refused());
}

#[test]
fn what_cannot_be_read_is_counted_for_each_record() {
    let mut fleet = fleet();
    let mut alpha = Voice::new("alpha");
    let mut damaged: Value = serde_json::from_slice(&alpha.load(now(1_000), 1.0)[0].1).unwrap();
    damaged["dictionary"]["hash"] = 0.into();
    let records = [
        typed(0, BIRTH_TYPE, b"{}"),
        typed(1, BIRTH_TYPE, damaged.to_string().as_bytes()),
        typed(2, FRAME_TYPE, b"\x01damaged"),
        typed(3, JSON_TYPE, b"[1]"),
        typed(4, JSON_TYPE, b"{\"version\":2}"),
        typed(5, FRAME_TYPE, b""),
    ];
    let taken = take(&mut fleet, &alpha.records("telemetry", &records), 1_000);
    assert_eq!((taken.writes.len(), taken.publishes.len()), (6, 0));
    assert_eq!((refused(&fleet, Refusal::Payload), refused(&fleet, Refusal::Version)), (5, 1));
    assert_eq!(fleet.vehicles()["alpha"].learned.len(), 0);
}

#[test]
fn documents_of_one_message_are_bounded_and_the_others_counted() {
    let mut fleet = forwarding();
    let alpha = Voice::new("alpha");
    // A few bytes for each series, whose values of all ticks are the same.
    let ticks = 128_u64;
    let series =
        |n: u32| serde_json::json!({"name": format!("m{n}"), "kind": "gauge", "resolution": 0});
    let entries = (0..2048).map(|n| serde_json::from_value(series(n)).unwrap()).collect();
    let dictionary = Dictionary::from_entries(entries).unwrap();
    let sending = Sending { format: Form::Compact, sample_ms: 1000, batch_ms: 1000 };
    let birth = Birth::new(&alpha.who(), sending, &dictionary, now(0)).to_json();
    let column = |n| {
        let value = (0..ticks).map(|_| Some(1 << 50));
        crate::core::telemetry::Column::new(n, value)
    };
    let batch = |number: u64| crate::core::telemetry::Batch {
        boot: BootId::from_text(BOOT),
        number,
        dictionary: dictionary.version(),
        wall: None,
        ticks_ms: (0..ticks).map(|tick| number * ticks + tick).collect(),
        columns: (0..2048).map(column).collect(),
    };
    take(&mut fleet, &alpha.records("telemetry", &[typed(0, BIRTH_TYPE, &birth)]), 1_000);
    let batches: Vec<Entry> =
        (1..9).map(|number| typed(number, FRAME_TYPE, &frame::encode(&batch(number)))).collect();
    let said = alpha.records("telemetry", &batches);
    let taken = take(&mut fleet, &said, 1_000);
    let bytes: usize = taken.publishes.iter().map(|publish| publish.payload.len()).sum();
    assert!(bytes <= FORWARDED_BYTES_MAX && bytes > 100 * said.1.len(), "{bytes}");
    assert_eq!((taken.writes.len(), refused(&fleet, Refusal::TooMuchToForward)), (8, 1));
    assert!(
        fleet
            .last_refusal()
            .unwrap()
            .1
            .contains(&format!(": {} of them", 8 - taken.publishes.len()))
    );
    assert_eq!(fleet.vehicles()["alpha"].counts.batches, 8, "taken all the same");
}

#[test]
fn events_that_waited_do_not_push_out_those_of_now() {
    let mut fleet = fleet();
    let mut alpha = Voice::new("alpha");
    alpha.load(now(98_000), 1.0).iter().for_each(|said| _ = take(&mut fleet, said, 98_000));
    take(&mut fleet, &alpha.event(1, 99_000, "of-now"), 100_000);
    let before = Voice::of_boot("alpha", BEFORE);
    let waited = |number: u64| {
        let mut document: Value =
            serde_json::from_slice(&before.event(number, number, "waited").1).unwrap();
        document["wall_ms"] = (WALL_AT_BOOT - 1_000_000 + number as i64).into();
        typed(number, JSON_TYPE, document.to_string().as_bytes())
    };
    let records: Vec<Entry> = (1..=2 * EVENTS_MAX as u64).map(waited).collect();
    take(&mut fleet, &before.records("events", &records), 100_000);
    assert_eq!(fleet.events.len(), EVENTS_MAX);
    let shown = seen(&fleet, 101_000);
    let list = &shown[shown.find("\"events\": [").unwrap()..];
    assert!(list.find("of-now").unwrap() < list.find("waited 400").unwrap(), "{list}");
    assert!(list.contains("\"age_ms\": 1100600"), "dated by the vehicle: {list}");
}

#[test]
fn a_snapshot_of_before_is_read_and_dictionaries_of_streams_survive() {
    let mut fleet = fleet();
    let mut alpha = Voice::new("alpha");
    take(&mut fleet, &alpha.status(1, None), 1_000);
    let plain = fleet.snapshot();
    let [birth, _] = alpha.load(now(1_000), 1.0);
    take(&mut fleet, &alpha.records("telemetry", &[typed(0, BIRTH_TYPE, &birth.1)]), 1_000);
    let restore = |snapshot: &[u8]| Fleet::restore(snapshot, Prefix::new("outrider"), None);
    let mut restored = restore(&fleet.snapshot()).unwrap();
    let [_, batch] = alpha.load(now(2_000), 2.0);
    take(&mut restored, &alpha.records("telemetry", &[typed(1, FRAME_TYPE, &batch.1)]), 2_000);
    assert_eq!(load1(&restored, "alpha"), Some(2.0));

    let (_, added) = postcard::take_from_bytes::<snapshot::Saved>(&plain).unwrap();
    let before = &plain[..plain.len() - added.len()];
    assert_eq!(restore(before).unwrap().snapshot(), plain);
    assert!(restore(&[before, b"\xff"].concat()).is_err());
}

proptest! {
    #[test]
    fn no_record_can_hurt(
        kind in prop::sample::select(vec![BIRTH_TYPE, FRAME_TYPE, JSON_TYPE]),
        stream in prop::sample::select(vec!["telemetry", "events"]),
        payload in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..80),
            prop::collection::vec(any::<u8>(), 0..80).prop_map(|bytes| [&[FRAME_VERSION][..], &bytes].concat()),
            "\\{\"version\":1,[\"a-z_:0-9,\\[\\]{}]{0,40}\\}".prop_map(String::into_bytes),
        ],
    ) {
        let mut fleet = forwarding();
        let records = Voice::new("mallory").records(stream, &[typed(0, kind, &payload)]);
        let taken = take(&mut fleet, &records, 1_000);
        prop_assert!(taken.changed && taken.writes.len() == 1);
        let _ = seen(&fleet, 2_000);
    }
}
