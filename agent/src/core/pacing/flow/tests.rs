//! The window on simulated links: a queue that is served at the link's rate, a round trip, and silences in which TCP repeats
//! what was lost.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// Memory of the window in these tests.
const MEMORY: u64 = 1 << 20;

/// Messages that a common broker takes without acknowledgement (mosquitto's default is 20), less what is left for others.
const SLOTS: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Link {
    bytes_per_s: u64,
    trip: Duration,
    /// After so many bytes comes a silence; 0 for none.
    silent_after: u64,
    silence: Duration,
}

const LAN: Link = Link {
    bytes_per_s: 125_000_000,
    trip: Duration::from_micros(800),
    silent_after: 0,
    silence: Duration::ZERO,
};
const BEST: Link = Link {
    bytes_per_s: 500_000,
    trip: Duration::from_millis(200),
    silent_after: 160_000,
    silence: Duration::from_millis(600),
};
const AVERAGE: Link = Link {
    bytes_per_s: 250_000,
    trip: Duration::from_millis(400),
    silent_after: 100_000,
    silence: Duration::from_millis(1200),
};
const WORST: Link = Link {
    bytes_per_s: 81_250,
    trip: Duration::from_millis(3000),
    silent_after: 300_000,
    silence: Duration::from_secs(7),
};

/// What a run came to.
struct Run {
    bytes: u64,
    /// Time an urgent message would have waited behind what was queued, at each message of the second half, ascending.
    queues: Vec<Duration>,
    flow: Flow,
}

/// Sends without end for `time`; `window` overrides the flow's own.
fn run(link: Link, time: Duration, window: Option<u64>) -> Run {
    let mut now = Mono::default();
    let end = now + time;
    let mut flow = Flow::new(MEMORY, now);
    let mut served_at = now;
    let mut under_way: VecDeque<(Mono, Departure)> = VecDeque::new();
    let (mut bytes, mut queues) = (0, Vec::new());
    while now < end {
        let room = window.unwrap_or_else(|| flow.window_bytes(now));
        let slots = if window.is_some() { usize::MAX } else { SLOTS };
        while flow.in_flight() < room && under_way.len() < slots {
            let size = flow.message_bytes(SLOTS);
            let silences = |bytes: u64| bytes.checked_div(link.silent_after).unwrap_or(0);
            let silent = silences(bytes + size) - silences(bytes);
            let silence = link.silence * silent as u32;
            let service = Duration::from_nanos(size * 1_000_000_000 / link.bytes_per_s);
            served_at = served_at.max(now) + service + silence;
            under_way.push_back((served_at + link.trip, flow.sent(size, now)));
            bytes += size;
            let queue = served_at.since(now).saturating_sub(silence);
            if now.since(Mono::default()) > time / 2 {
                queues.push(queue);
            }
        }
        let Some((at, departure)) = under_way.pop_front() else { break };
        now = at;
        flow.acknowledged(departure, now);
    }
    queues.sort_unstable();
    Run { bytes: bytes - flow.in_flight(), queues, flow }
}

#[test]
fn every_link_is_filled() {
    // On Worst the silences last twice as long as what is between them, and finding out takes a tenth of the time.
    for (name, link, least) in
        [("LAN", LAN, 90), ("Best", BEST, 90), ("Average", AVERAGE, 90), ("Worst", WORST, 80)]
    {
        let time = Duration::from_secs(if name == "LAN" { 3 } else { 300 });
        let ours = run(link, time, None).bytes;
        let unbounded = run(link, time, Some(100 * MEMORY)).bytes;
        let percent = ours * 100 / unbounded;
        assert!(percent >= least, "{name}: {ours} of {unbounded}, {percent} %");
    }
}

#[test]
fn a_slow_beginning_does_not_count_once_the_link_is_known() {
    let mut now = Mono::default();
    let mut flow = Flow::new(MEMORY, now);
    for bytes in [1_000, 2_000, 4_000, 8_000, 16_000, 64_000, 64_000, 64_000, 64_000, 64_000] {
        let departures = [flow.sent(bytes / 2, now), flow.sent(bytes / 2, now)];
        now = now + Duration::from_secs(1);
        departures.into_iter().for_each(|departure| flow.acknowledged(departure, now));
    }
    assert!(matches!(flow.phase, Phase::Steady));
    let goodput = flow.goodput().unwrap();
    assert!((57_600..=70_400).contains(&goodput), "{goodput} bytes/s");
}

#[test]
fn a_window_of_few_slots_is_filled_however_slow_the_link_seems() {
    let mut now = Mono::default();
    let mut flow = Flow::new(MEMORY, now);
    for _ in 0..100 {
        // A trip of 6 s at first seems to carry next to nothing.
        let departures: Vec<Departure> = (0..4).map(|_| flow.sent(600, now)).collect();
        now = now + Duration::from_secs(6);
        departures.into_iter().for_each(|departure| flow.acknowledged(departure, now));
    }
    assert!(flow.goodput().unwrap() < 1_000);
    assert!(flow.message_bytes(4) * 4 >= flow.usual_window_bytes());
}

#[test]
fn no_queue_stands_where_nothing_is_lost() {
    for link in [BEST, AVERAGE, WORST] {
        let quiet = Link { silent_after: 0, ..link };
        let run = run(quiet, Duration::from_secs(600), None);
        // The window is twice what the link holds and some room: what waits is a trip's worth and the room. After a probe it
        // swings for some seconds.
        let usual = run.queues[run.queues.len() * 8 / 10];
        let most = run.queues[run.queues.len() - 1];
        let bound = link.trip * 2 + MESSAGE_TIME_MAX;
        assert!(usual <= bound, "{usual:?} of {bound:?} on {link:?}");
        assert!(most <= link.trip * 3 + Duration::from_secs(1), "{most:?} on {link:?}");
        let full = link.bytes_per_s * 590;
        assert!(run.bytes > full * 95 / 100, "{} of {full}", run.bytes);
    }
}

/// While TCP repeats one packet that was lost again and again, what is behind it arrives and is acknowledged later, all at once.
#[test]
fn a_connection_that_falls_silent_is_given_what_the_link_would_carry_meanwhile() {
    let mut flow = run(Link { silent_after: 0, ..AVERAGE }, Duration::from_secs(60), None).flow;
    let last = flow.quiet_since.unwrap();
    let usual = flow.window_bytes(last);
    assert_eq!(usual, flow.window_bytes(last + flow.patience()));
    let rate = flow.goodput().unwrap();
    let mut now = last + flow.patience() + Duration::from_secs(1);
    assert!(flow.window_bytes(now).abs_diff(usual + rate) <= 1, "{}", flow.window_bytes(now));

    let mut sent = Vec::new();
    loop {
        while flow.in_flight() < flow.window_bytes(now) {
            sent.push(flow.sent(flow.message_bytes(SLOTS), now));
        }
        assert!(sent.len() < 1_000, "it has no end");
        match flow.has_room_at(now) {
            Some(later) => now = later,
            None => break,
        }
    }
    let most = usual * (QUIET_WINDOWS + 1);
    assert!((most..most + MESSAGE_BYTES_MAX).contains(&flow.in_flight()), "{flow:?}");
    assert!(now.since(last) > Duration::from_secs(2), "{:?}", now.since(last));

    // As soon as something is acknowledged, no more is sent before there is room in the usual window.
    flow.acknowledged(sent[0], now);
    assert!(flow.window_bytes(now) < flow.in_flight());
}

#[test]
fn goodput_is_what_the_link_carries() {
    let flow = run(Link { silent_after: 0, ..BEST }, Duration::from_secs(60), None).flow;
    let goodput = flow.goodput().unwrap();
    assert!((450_000..=550_000).contains(&goodput), "{goodput}");
}

#[test]
fn a_link_that_gets_worse_is_followed_within_a_probe() {
    let quiet = Link { silent_after: 0, ..BEST };
    let mut flow = run(quiet, Duration::from_secs(60), None).flow;
    let before = flow.usual_window_bytes();
    assert!(before > 150_000, "{before}");
    // From 500 kB/s to 20 kB/s: acknowledgements come 25 times more slowly.
    let mut now = Mono::default() + Duration::from_secs(100);
    for _ in 0..200 {
        let size = flow.message_bytes(SLOTS);
        let departure = flow.sent(size, now);
        now = now + Duration::from_millis(200) + Duration::from_micros(size * 50);
        flow.acknowledged(departure, now);
    }
    assert!(flow.usual_window_bytes() < before / 4, "{}", flow.usual_window_bytes());
}

#[test]
fn a_trickle_teaches_nothing_and_nothing_is_forgotten() {
    let mut flow = run(Link { silent_after: 0, ..BEST }, Duration::from_secs(30), None).flow;
    let goodput = flow.goodput();
    let mut now = Mono::default() + Duration::from_secs(40);
    for _ in 0..500 {
        flow.starved();
        let departure = flow.sent(100, now);
        now = now + Duration::from_millis(200);
        flow.acknowledged(departure, now);
        now = now + Duration::from_secs(1);
    }
    assert_eq!(flow.goodput(), goodput);
}

proptest! {
    /// Whatever the broker does: the window keeps its bounds and bytes in flight add up.
    #[test]
    fn the_window_keeps_its_bounds(
        steps in prop::collection::vec((0_u64..100_000, 0_u64..1 << 40, 0_u8..4), 1..200),
    ) {
        let mut flow = Flow::new(MEMORY, Mono::default());
        let mut now = 0;
        let mut under_way = Vec::new();
        for (bytes, pause, step) in steps {
            now += pause;
            let at = Mono::from_nanos(now);
            match step {
                0 | 1 => under_way.push((bytes, flow.sent(bytes, at))),
                2 if !under_way.is_empty() => {
                    let index = bytes as usize % under_way.len();
                    flow.acknowledged(under_way.remove(index).1, at);
                }
                3 if !under_way.is_empty() => flow.withdrawn(under_way.remove(0).1),
                _ => flow.starved(),
            }
            let in_flight: u64 = under_way.iter().map(|(bytes, _)| bytes).sum();
            prop_assert_eq!(flow.in_flight(), in_flight);
            prop_assert!((WINDOW_BYTES_MIN..=MEMORY).contains(&flow.window_bytes(at)));
            let later = flow.has_room_at(at);
            prop_assert!(later.is_none_or(|later| later > at && flow.window_bytes(later) > in_flight));
            let message = flow.message_bytes(SLOTS);
            prop_assert!((MESSAGE_BYTES_MIN..=MESSAGE_BYTES_MAX).contains(&message));
        }
    }
}
