//! What was seen to work: the demo is also a test of everything together.

use convoy::stand_in::Hazards;
use convoy::world::name;

use super::observer::Traffic;
use super::status::Look;

/// A cost has moved when its highest value is this many times its lowest.
const MOVED_FACTOR: f64 = 1.5;

/// One thing that is to be seen, and whether it was.
struct Item {
    what: String,
    seen: bool,
    how: String,
}

/// Notes of the whole run. The first and the last vehicle are the ones that lose each other.
pub struct Proof {
    vehicles: usize,
    ready: Vec<bool>,
    lowest: Option<i64>,
    highest: Option<i64>,
    /// The first vehicle saw the last one vanish, the last one the first.
    split: (bool, bool),
    healed: (bool, bool),
    traffic: Traffic,
    unclean: Vec<String>,
    hazards: Vec<(&'static str, u64)>,
}

impl Proof {
    /// Nothing seen yet.
    pub fn new(vehicles: usize) -> Proof {
        Proof {
            vehicles,
            ready: vec![false; vehicles],
            lowest: None,
            highest: None,
            split: (false, false),
            healed: (false, false),
            traffic: Traffic::new(),
            unclean: Vec::new(),
            hazards: Vec::new(),
        }
    }

    /// Takes one round of looks at all agents.
    pub fn note(&mut self, looked: &[Look], traffic: &Traffic) {
        for (ready, look) in self.ready.iter_mut().zip(looked) {
            *ready |= look.ready;
        }
        let (Some(first), Some(last)) = (looked.first(), looked.last()) else { return };
        let (there, back) = (first.cost(&name(self.vehicles - 1)), last.cost(&name(0)));
        if let Some(cost) = there.filter(|cost| *cost > 0) {
            self.lowest = Some(self.lowest.map_or(cost, |lowest| lowest.min(cost)));
            self.highest = Some(self.highest.map_or(cost, |highest| highest.max(cost)));
        }
        self.healed.0 |= self.split.0 && there.is_some_and(|cost| cost > 0);
        self.healed.1 |= self.split.1 && back.is_some_and(|cost| cost > 0);
        self.split.0 |= there == Some(-1);
        self.split.1 |= back == Some(-1);
        self.traffic = traffic.clone();
    }

    /// Takes how it ended: the agents that did not end well, and what would have hurt real daemons.
    pub fn note_end(&mut self, unclean: Vec<String>, hazards: &Hazards) {
        self.unclean = unclean;
        self.hazards = vec![
            ("unfinished command lines", hazards.unfinished_lines()),
            ("sessions left open", hazards.leaked_sessions()),
            ("too many sessions", hazards.refused_sessions()),
            ("requests of 1024 bytes or more", hazards.long_requests()),
        ];
    }

    fn items(&self) -> Vec<Item> {
        let ready = self.ready.iter().filter(|ready| **ready).count();
        let moved = match (self.lowest, self.highest) {
            (Some(lowest), Some(highest)) => highest as f64 >= lowest as f64 * MOVED_FACTOR,
            _ => false,
        };
        let vehicles = self.vehicles;
        let (first, last) = (name(0), name(vehicles - 1));
        let count = |heard: fn(&super::observer::Heard) -> bool| {
            self.traffic.values().filter(|one| heard(one)).count()
        };
        let births = count(|heard| heard.births > 0);
        let telemetry = count(|heard| heard.batches > 0);
        let bytes: u64 = self.traffic.values().map(|heard| heard.bytes).sum();
        let harm: Vec<String> = self
            .hazards
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(what, count)| format!("{what}: {count}"))
            .collect();
        let number = |cost: Option<i64>| cost.map_or("?".to_owned(), |cost| cost.to_string());
        let both = |(one, other): (bool, bool)| match (one, other) {
            (true, true) => "by both".to_owned(),
            (true, false) => format!("only by {first}"),
            (false, true) => format!("only by {last}"),
            (false, false) => "by neither".to_owned(),
        };
        vec![
            Item {
                what: "every agent became ready".into(),
                seen: ready == vehicles,
                how: format!("{ready} of {vehicles}"),
            },
            Item {
                what: format!("the cost from {first} to {last} moved"),
                seen: moved,
                how: format!("{} to {}", number(self.lowest), number(self.highest)),
            },
            Item {
                what: "the split was seen as -1".into(),
                seen: self.split == (true, true),
                how: both(self.split),
            },
            Item {
                what: "the heal was seen".into(),
                seen: self.healed == (true, true),
                how: both(self.healed),
            },
            Item {
                what: "every birth reached the broker".into(),
                seen: births == vehicles,
                how: format!("{births} of {vehicles}"),
            },
            Item {
                what: "telemetry of every vehicle arrived".into(),
                seen: telemetry == vehicles,
                how: format!("{telemetry} of {vehicles}, {bytes} bytes"),
            },
            Item {
                what: "no routing daemon would have been harmed".into(),
                seen: harm.is_empty(),
                how: harm.join(", "),
            },
            Item {
                what: "every agent ended cleanly".into(),
                seen: self.unclean.is_empty(),
                how: self.unclean.join(", "),
            },
        ]
    }

    /// The list for people, and whether everything was seen.
    pub fn summary(&self) -> (String, bool) {
        let items = self.items();
        let lines: Vec<String> = items
            .iter()
            .map(|item| {
                let verdict = if item.seen { "seen    " } else { "NOT SEEN" };
                let how =
                    if item.how.is_empty() { String::new() } else { format!(" ({})", item.how) };
                format!("{verdict}  {}{how}", item.what)
            })
            .collect();
        (lines.join("\n"), items.iter().all(|item| item.seen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::observer::Heard;
    use crate::demo::status::{Status, Vehicle};

    fn looks(costs: [Option<i64>; 2]) -> Vec<Look> {
        let look = |name: &str, cost| {
            let vehicle = Vehicle { name: name.to_owned(), cost, stale: false };
            Look {
                ready: true,
                status: Some(Status { vehicles: vec![vehicle], ..Status::default() }),
            }
        };
        vec![look("bravo", costs[0]), look("alpha", costs[1])]
    }

    fn run(costs: &[[Option<i64>; 2]]) -> (String, bool) {
        let mut proof = Proof::new(2);
        let heard = Heard { births: 1, batches: 1, bytes: 10, events: 0 };
        let traffic = Traffic::from([("alpha".into(), heard), ("bravo".into(), heard)]);
        for costs in costs {
            proof.note(&looks(*costs), &traffic);
        }
        proof.note_end(Vec::new(), &Hazards::default());
        proof.summary()
    }

    #[test]
    fn a_whole_drive_is_complete() {
        let (text, complete) =
            run(&[[Some(100); 2], [Some(240); 2], [Some(-1); 2], [None; 2], [Some(300); 2]]);
        assert!(complete, "{text}");
    }

    #[test]
    fn each_missing_piece_is_named() {
        for (costs, missing) in [
            (vec![[Some(100); 2], [Some(120); 2], [Some(-1); 2], [Some(110); 2]], "moved"),
            (vec![[Some(100); 2], [Some(240); 2], [Some(300); 2]], "split"),
            (vec![[Some(100); 2], [Some(240); 2], [Some(-1); 2]], "heal"),
            (
                vec![[Some(100); 2], [Some(240); 2], [Some(-1), None], [Some(300); 2]],
                "only by alpha",
            ),
        ] {
            let (text, complete) = run(&costs);
            assert!(!complete);
            let line = text.lines().find(|line| line.contains(missing)).unwrap();
            assert!(line.starts_with("NOT SEEN"), "{text}");
        }
    }
}
