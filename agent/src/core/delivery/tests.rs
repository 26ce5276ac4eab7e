//! The window beside a model that is too simple to be wrong, driven by generated actions, and the cases worth a name.

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { bytes: 1000, in_flight: 4 };

fn window() -> Window {
    Window::new(LIMITS)
}

fn admit(window: &mut Window, class: Class, bytes: usize) -> RecordId {
    let admission = window.admit(Mono::default(), class, bytes);
    assert!(admission.held);
    admission.id
}

fn drain(window: &mut Window) -> Vec<RecordId> {
    std::iter::from_fn(|| window.next_to_send()).collect()
}

#[test]
fn nothing_leaves_without_a_connection() {
    let mut window = window();
    admit(&mut window, Class::Event, 10);
    assert_eq!(window.next_to_send(), None);
}

#[test]
fn important_records_leave_first_and_each_class_in_order() {
    let mut window = window();
    let telemetry =
        [admit(&mut window, Class::Telemetry, 10), admit(&mut window, Class::Telemetry, 10)];
    let event = admit(&mut window, Class::Event, 10);
    let birth = admit(&mut window, Class::Birth, 10);
    window.connected(u16::MAX);
    assert_eq!(drain(&mut window), [birth, event, telemetry[0], telemetry[1]]);
}

#[test]
fn only_the_acknowledgement_of_its_own_id_frees_a_record() {
    let mut window = window();
    let (first, second) =
        (admit(&mut window, Class::Event, 10), admit(&mut window, Class::Event, 20));
    window.connected(u16::MAX);
    drain(&mut window);
    assert!(window.acknowledged(second));
    assert_eq!((window.records(), window.bytes()), (1, 10));
    assert!(!window.acknowledged(second), "the second acknowledgement frees nothing");
    assert!(!window.acknowledged(RecordId::UNKNOWN));
    assert_eq!(window.stray_total(), 2);
    assert!(window.acknowledged(first));
    assert_eq!(window.acknowledged_total(), 2);
}

#[test]
fn an_acknowledgement_that_comes_after_the_connection_was_lost_frees_nothing() {
    let mut window = window();
    let id = admit(&mut window, Class::Event, 10);
    window.connected(u16::MAX);
    drain(&mut window);
    window.connection_lost();
    assert!(!window.acknowledged(id));
    window.connected(u16::MAX);
    assert_eq!(drain(&mut window), [id]);
}

#[test]
fn the_brokers_receive_maximum_bounds_the_flight() {
    let mut window = window();
    for _ in 0..6 {
        admit(&mut window, Class::Telemetry, 10);
    }
    window.connected(2);
    assert_eq!(drain(&mut window).len(), 2);
    window.connection_lost();
    window.connected(u16::MAX);
    assert_eq!(drain(&mut window).len(), LIMITS.in_flight);
}

#[test]
fn what_others_have_in_flight_counts_against_the_same_bound() {
    let mut window = window();
    for _ in 0..6 {
        admit(&mut window, Class::Telemetry, 10);
    }
    assert_eq!(window.free(), 0);
    window.connected(u16::MAX);
    window.beside(3);
    assert_eq!((window.free(), drain(&mut window).len()), (1, 1));
    window.beside(0);
    assert_eq!(drain(&mut window).len(), 3);
    window.beside(4);
    assert_eq!(window.free(), 0);
}

#[test]
fn half_of_the_bytes_stay_free_of_flight() {
    let mut window = window();
    for _ in 0..4 {
        admit(&mut window, Class::Telemetry, 200);
    }
    window.connected(u16::MAX);
    assert_eq!(drain(&mut window).len(), 2);
}

#[test]
fn telemetry_makes_room_for_events_but_never_the_reverse() {
    let mut window = window();
    let event = admit(&mut window, Class::Event, 250);
    let old = admit(&mut window, Class::Telemetry, 450);
    let newer = admit(&mut window, Class::Telemetry, 300);
    let admission = window.admit(Mono::default(), Class::Telemetry, 500);
    assert_eq!((admission.held, admission.dropped), (true, vec![old, newer]));
    let admission = window.admit(Mono::default(), Class::Birth, 300);
    assert_eq!(admission.dropped, [RecordId(4)], "the birth displaces telemetry, not the event");
    window.connected(u16::MAX);
    assert_eq!(window.next_to_send(), Some(admission.id));
    assert!(window.acknowledged(admission.id));
    assert_eq!(window.next_to_send(), Some(event));
}

#[test]
fn a_storm_of_events_leaves_telemetry_its_share() {
    let mut window = window();
    let telemetry = admit(&mut window, Class::Telemetry, 250);
    for _ in 0..100 {
        admit(&mut window, Class::Event, 50);
    }
    assert_eq!(window.records(), 6, "five events fill their quarter");
    window.connected(u16::MAX);
    for _ in 0..5 {
        let id = window.next_to_send().unwrap();
        window.acknowledged(id);
    }
    assert_eq!(window.next_to_send(), Some(telemetry));
    assert_eq!(window.dropped_total().collect::<Vec<_>>(), [(Class::Event, DropCause::Full, 95)]);
}

#[test]
fn what_can_never_fit_displaces_nothing() {
    let mut window = window();
    admit(&mut window, Class::Telemetry, 400);
    for (class, bytes) in [(Class::Birth, 501), (Class::Event, 251), (Class::Telemetry, 501)] {
        let admission = window.admit(Mono::default(), class, bytes);
        assert_eq!((admission.held, admission.dropped.len()), (false, 0));
    }
    assert_eq!(window.records(), 1);
    assert!(
        window.dropped_total().all(|(_, cause, count)| (cause, count) == (DropCause::TooLarge, 1))
    );
}

#[test]
fn tiny_records_are_bounded_by_number() {
    let mut window = Window::new(Limits { bytes: usize::MAX / 2, in_flight: 4 });
    for _ in 0..RECORDS_MAX + 10 {
        admit(&mut window, Class::Telemetry, 1);
    }
    assert_eq!(window.records(), RECORDS_MAX);
}

#[test]
fn the_oldest_record_tells_how_far_behind_the_broker_is() {
    let mut window = window();
    assert_eq!(window.oldest(), None);
    let first = window.admit(Mono::from_millis(5), Class::Telemetry, 10).id;
    let _ = window.admit(Mono::from_millis(9), Class::Birth, 10);
    window.connected(u16::MAX);
    drain(&mut window);
    assert_eq!(window.oldest(), Some(Mono::from_millis(5)));
    window.acknowledged(first);
    assert_eq!(window.oldest(), Some(Mono::from_millis(9)));
}

/// Where the model says a record is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Waiting,
    InFlight,
    Acknowledged,
    Dropped(DropCause),
}

#[derive(Clone, Copy, Debug)]
struct Modelled {
    class: Class,
    bytes: usize,
    place: Place,
}

/// Every record ever offered, in order; the index is the id minus one.
#[derive(Default)]
struct Model {
    records: Vec<Modelled>,
    connected: bool,
    in_flight_max: usize,
}

impl Model {
    fn held(&self) -> impl Iterator<Item = &Modelled> {
        self.records.iter().filter(|r| matches!(r.place, Place::Waiting | Place::InFlight))
    }

    fn bytes(&self) -> usize {
        self.held().map(|r| r.bytes).sum()
    }

    fn class_bytes(&self, class: Class) -> usize {
        self.held().filter(|r| r.class == class).map(|r| r.bytes).sum()
    }

    fn oldest_waiting(&self, class: Class) -> Option<usize> {
        self.records.iter().position(|r| r.class == class && r.place == Place::Waiting)
    }

    /// Drops one record at a time, by the rules as the module states them, until the newcomer fits; undoes it all when it
    /// cannot fit.
    fn admit(&mut self, class: Class, bytes: usize) {
        let before = self.records.clone();
        let mut place = Place::Waiting;
        if bytes > class.record_bytes_max(LIMITS.bytes) {
            place = Place::Dropped(DropCause::TooLarge);
        } else {
            let fits = loop {
                let over_total = self.bytes() + bytes > LIMITS.bytes;
                let over_share = self.class_bytes(class) + bytes > class.share(LIMITS.bytes);
                if !over_total && !over_share {
                    break true;
                }
                let lower = Class::ALL.into_iter().rev().filter(|c| *c > class && !over_share);
                let victim =
                    lower.chain([class]).find_map(|candidate| self.oldest_waiting(candidate));
                let Some(victim) = victim else { break false };
                self.records[victim].place = Place::Dropped(DropCause::Full);
            };
            if !fits {
                self.records = before;
                place = Place::Dropped(DropCause::Full);
            }
        }
        self.records.push(Modelled { class, bytes, place });
    }

    fn next(&mut self) -> Option<RecordId> {
        let flying: Vec<usize> =
            self.records.iter().filter(|r| r.place == Place::InFlight).map(|r| r.bytes).collect();
        if !self.connected || flying.len() >= self.in_flight_max {
            return None;
        }
        let index = Class::ALL.into_iter().find_map(|class| self.oldest_waiting(class))?;
        if flying.iter().sum::<usize>() + self.records[index].bytes > LIMITS.bytes / 2 {
            return None;
        }
        self.records[index].place = Place::InFlight;
        Some(RecordId(index as u64 + 1))
    }

    fn lose(&mut self) {
        for record in &mut self.records {
            if record.place == Place::InFlight {
                record.place = Place::Waiting;
            }
        }
    }

    fn land(&mut self, id: RecordId, place: Place) -> bool {
        let index = usize::try_from(id.0 - 1).unwrap();
        let Some(record) = self.records.get_mut(index) else { return false };
        let flying = record.place == Place::InFlight;
        if flying {
            record.place = place;
        }
        flying
    }

    fn dropped(&self) -> BTreeMap<(Class, DropCause), u64> {
        let mut counts = BTreeMap::new();
        for record in &self.records {
            if let Place::Dropped(cause) = record.place {
                *counts.entry((record.class, cause)).or_default() += 1;
            }
        }
        counts
    }
}

#[derive(Clone, Debug)]
enum Action {
    Admit(Class, usize),
    Connect(u16),
    Lose,
    Next,
    Acknowledge(u64),
    Refuse(u64),
    Supersede(u64),
}

fn class() -> impl Strategy<Value = Class> {
    prop::sample::select(Class::ALL.to_vec())
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (class(), 1_usize..600).prop_map(|(class, bytes)| Action::Admit(class, bytes)),
        2 => (1_u16..8).prop_map(Action::Connect),
        1 => Just(Action::Lose),
        6 => Just(Action::Next),
        4 => (1_u64..60).prop_map(Action::Acknowledge),
        1 => (1_u64..60).prop_map(Action::Refuse),
        1 => (1_u64..60).prop_map(Action::Supersede),
    ]
}

proptest! {
    #[test]
    fn the_window_does_what_the_model_does(actions in prop::collection::vec(action(), 1..150)) {
        let mut window = window();
        let mut model = Model::default();
        for action in actions {
            match action {
                Action::Admit(class, bytes) => {
                    let before = model.records.clone();
                    model.admit(class, bytes);
                    let admission = window.admit(Mono::default(), class, bytes);
                    let newest = model.records.last().unwrap();
                    prop_assert_eq!(admission.id, RecordId(model.records.len() as u64));
                    prop_assert_eq!(admission.held, newest.place == Place::Waiting);
                    let mut dropped: Vec<u64> = admission.dropped.iter().map(|id| id.0).collect();
                    dropped.sort_unstable();
                    let expected: Vec<u64> = (0..before.len())
                        .filter(|&i| before[i].place != model.records[i].place)
                        .map(|i| i as u64 + 1)
                        .collect();
                    prop_assert_eq!(dropped, expected);
                }
                Action::Connect(in_flight) => {
                    model.lose();
                    model.connected = true;
                    model.in_flight_max = usize::from(in_flight).min(LIMITS.in_flight);
                    window.connected(in_flight);
                }
                Action::Lose => {
                    model.lose();
                    model.connected = false;
                    window.connection_lost();
                }
                Action::Next => prop_assert_eq!(window.next_to_send(), model.next()),
                Action::Acknowledge(id) => {
                    let known = model.land(RecordId(id), Place::Acknowledged);
                    prop_assert_eq!(window.acknowledged(RecordId(id)), known);
                }
                Action::Refuse(id) => {
                    let known = model.land(RecordId(id), Place::Dropped(DropCause::Refused));
                    prop_assert_eq!(window.refused(RecordId(id), DropCause::Refused), known);
                }
                Action::Supersede(id) => {
                    let index = usize::try_from(id - 1).unwrap();
                    let Some(record) = model.records.get_mut(index) else { continue };
                    let waits = record.place == Place::Waiting;
                    if waits {
                        record.place = Place::Dropped(DropCause::Superseded);
                    }
                    prop_assert_eq!(window.superseded(record.class, RecordId(id)), waits);
                }
            }
            let acknowledged = model.records.iter().filter(|r| r.place == Place::Acknowledged);
            prop_assert_eq!(window.acknowledged_total(), acknowledged.count() as u64);
            prop_assert_eq!(window.records(), model.held().count());
            prop_assert_eq!(window.bytes(), model.bytes());
            prop_assert!(window.bytes() <= LIMITS.bytes);
            prop_assert_eq!(&window.dropped, &model.dropped());
        }
    }

    /// Whatever happened before: once the broker stays and acknowledges, everything held leaves.
    #[test]
    fn a_backlog_drains_once_the_broker_stays(actions in prop::collection::vec(action(), 1..150)) {
        let mut window = window();
        for action in actions {
            match action {
                Action::Admit(class, bytes) => { let _ = window.admit(Mono::default(), class, bytes); }
                Action::Connect(in_flight) => window.connected(in_flight),
                Action::Lose => window.connection_lost(),
                Action::Next => { window.next_to_send(); }
                Action::Acknowledge(id) => { window.acknowledged(RecordId(id)); }
                Action::Refuse(id) => { window.refused(RecordId(id), DropCause::Refused); }
                Action::Supersede(id) => { window.superseded(Class::Event, RecordId(id)); }
            }
        }
        window.connected(1);
        let mut left = window.records();
        while let Some(id) = window.next_to_send() {
            prop_assert!(window.acknowledged(id));
            left -= 1;
        }
        prop_assert_eq!((left, window.records(), window.bytes()), (0, 0, 0));
    }
}
