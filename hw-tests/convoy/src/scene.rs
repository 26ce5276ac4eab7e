//! Where vehicles are at which moment, and what that does to their radio links.
//!
//! Pure functions of time: a scripted convoy that loses its tail behind a ridge and finds it again, and a field of vehicles that
//! circle around their places, for measurements with large meshes.

use crate::random::Random;

/// Distance in metres up to which nothing is lost.
const CLEAR_M: f64 = 150.0;
/// Distance in metres at which nothing gets through.
const RANGE_M: f64 = 400.0;
/// Gap between vehicles of a closed-up convoy, in metres: all of six hear each other.
const GAP_M: f64 = 45.0;
/// Gap that the last vehicle leaves at worst: its predecessor still hears most, the others little or nothing.
const STRAGGLER_GAP_M: f64 = 290.0;
/// Grid step of a field, in metres: four to eight usable neighbours for each.
const FIELD_STEP_M: f64 = 200.0;
/// Radius in metres of the circles that vehicles of a field drive.
const FIELD_CIRCLE_M: f64 = 35.0;

/// A place in metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Along the road.
    pub x: f64,
    /// Across.
    pub y: f64,
}

impl Place {
    fn distance(self, other: Place) -> f64 {
        (self.x - other.x).hypot(self.y - other.y)
    }
}

/// Share of packets lost over `distance_m`: a soft edge, as with radios near their limit.
#[must_use]
pub fn loss(distance_m: f64) -> f64 {
    let share = ((distance_m - CLEAR_M) / (RANGE_M - CLEAR_M)).clamp(0.0, 1.0);
    share * share
}

/// What the script does to a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It is stopped in an orderly way.
    Stop,
    /// It dies without a word.
    Kill,
    /// It is started.
    Start,
}

/// The scripted convoy.
#[derive(Clone, Debug, PartialEq)]
pub struct Convoy {
    vehicles: usize,
}

/// Moments of the script in milliseconds. The order and the gaps between them are chosen for what daemon and agent need to notice:
/// a validity time of 5 s and the agent's own patience before a split shows, the same and a warm-up before a heal shows.
mod at {
    pub const STRAGGLE: u64 = 5_000;
    pub const STRAGGLE_MOST: u64 = 16_000;
    pub const RIDGE: u64 = 24_000;
    pub const RIDGE_PASSED: u64 = 46_000;
    pub const CLOSED_UP: u64 = 56_000;
    pub const STOP: u64 = 70_000;
    pub const RESTART: u64 = 72_000;
    pub const KILL: u64 = 86_000;
    pub const RETURN: u64 = 108_000;
    pub const LOOP: u64 = 140_000;
}

impl Convoy {
    /// A convoy of `vehicles` (2 or more).
    #[must_use]
    pub fn new(vehicles: usize) -> Convoy {
        Convoy { vehicles: vehicles.max(2) }
    }

    /// Duration of the script in milliseconds; then it begins again.
    #[must_use]
    pub fn duration_ms(&self) -> u64 {
        at::LOOP
    }

    /// The first vehicle of those that the ridge hides: the last third.
    #[must_use]
    pub fn tail(&self) -> usize {
        self.vehicles - (self.vehicles / 3).max(1)
    }

    /// The vehicle whose daemon is restarted.
    #[must_use]
    pub fn restarted(&self) -> usize {
        1 % self.vehicles
    }

    /// The vehicle whose daemon dies.
    #[must_use]
    pub fn killed(&self) -> usize {
        2 % self.vehicles
    }

    /// Where `vehicle` is at `t` milliseconds of the script.
    #[must_use]
    pub fn place(&self, vehicle: usize, t: u64) -> Place {
        let t = t % at::LOOP;
        let straggle = if t < at::STRAGGLE {
            0.0
        } else if t < at::STRAGGLE_MOST {
            (t - at::STRAGGLE) as f64 / (at::STRAGGLE_MOST - at::STRAGGLE) as f64
        } else if t < at::RIDGE_PASSED {
            1.0
        } else if t < at::CLOSED_UP {
            1.0 - (t - at::RIDGE_PASSED) as f64 / (at::CLOSED_UP - at::RIDGE_PASSED) as f64
        } else {
            0.0
        };
        let last = vehicle == self.vehicles - 1;
        let behind = if last { straggle * (STRAGGLER_GAP_M - GAP_M) } else { 0.0 };
        Place { x: -(vehicle as f64) * GAP_M - behind, y: 0.0 }
    }

    /// Share of packets lost between two vehicles at `t`.
    #[must_use]
    pub fn loss(&self, one: usize, other: usize, t: u64) -> f64 {
        let hidden = (at::RIDGE..at::RIDGE_PASSED).contains(&(t % at::LOOP));
        if hidden && (one < self.tail()) != (other < self.tail()) {
            return 1.0;
        }
        loss(self.place(one, t).distance(self.place(other, t)))
    }

    /// What happens to daemons after `from` and up to `to` (both since the start, not within the loop).
    #[must_use]
    pub fn acts(&self, from: u64, to: u64) -> Vec<(usize, Act)> {
        let script = [
            (at::STOP, self.restarted(), Act::Stop),
            (at::RESTART, self.restarted(), Act::Start),
            (at::KILL, self.killed(), Act::Kill),
            (at::RETURN, self.killed(), Act::Start),
        ];
        let mut acts = Vec::new();
        for round in from / at::LOOP..=to / at::LOOP {
            for (moment, vehicle, act) in script {
                let moment = round * at::LOOP + moment;
                if from < moment && moment <= to {
                    acts.push((vehicle, act));
                }
            }
        }
        acts
    }

    /// What is happening at `t`, in words. `name` gives a vehicle's name.
    #[must_use]
    pub fn story(&self, t: u64, name: impl Fn(usize) -> String) -> String {
        let last = name(self.vehicles - 1);
        let tail = if self.tail() == self.vehicles - 1 {
            last.clone()
        } else {
            format!("{} to {last}", name(self.tail()))
        };
        match t % at::LOOP {
            t if t < at::STRAGGLE => "the convoy is closed up".to_owned(),
            t if t < at::RIDGE => format!("{last} falls behind"),
            t if t < at::RIDGE_PASSED => format!("a ridge hides {tail} from the others"),
            t if t < at::CLOSED_UP => format!("past the ridge, {last} catches up"),
            t if t < at::STOP => "closed up, links recover".to_owned(),
            t if t < at::KILL => {
                format!("the routing daemon of {} was restarted", name(self.restarted()))
            }
            t if t < at::RETURN => format!("the routing daemon of {} died", name(self.killed())),
            _ => format!("the routing daemon of {} is back", name(self.killed())),
        }
    }
}

/// A square field of vehicles, each of which drives circles around its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    centres: Vec<Place>,
    /// Phase in turns and period in milliseconds of each circle.
    circles: Vec<(f64, f64)>,
    moving: bool,
}

impl Field {
    /// A field of `vehicles`, the first one in the middle. Standing still when not `moving`.
    #[must_use]
    pub fn new(vehicles: usize, moving: bool, seed: u64) -> Field {
        let mut random = Random::new(seed);
        let side = (vehicles as f64).sqrt().ceil().max(1.0) as usize;
        let mut centres: Vec<Place> = (0..vehicles)
            .map(|index| Place {
                x: ((index % side) as f64 + (random.share() - 0.5) * 0.4) * FIELD_STEP_M,
                y: ((index / side) as f64 + (random.share() - 0.5) * 0.4) * FIELD_STEP_M,
            })
            .collect();
        let middle = ((side / 2) * side + side / 2).min(vehicles.saturating_sub(1));
        if !centres.is_empty() {
            centres.swap(0, middle);
        }
        let circles =
            (0..vehicles).map(|_| (random.share(), 60_000.0 + random.share() * 60_000.0)).collect();
        Field { centres, circles, moving }
    }

    /// Where `vehicle` is at `t` milliseconds.
    #[must_use]
    pub fn place(&self, vehicle: usize, t: u64) -> Place {
        let centre = self.centres[vehicle];
        let (phase, period) = self.circles[vehicle];
        let turn = if self.moving { phase + t as f64 / period } else { phase };
        let angle = turn * std::f64::consts::TAU;
        Place {
            x: centre.x + FIELD_CIRCLE_M * angle.cos(),
            y: centre.y + FIELD_CIRCLE_M * angle.sin(),
        }
    }

    /// Share of packets lost between two vehicles at `t`.
    #[must_use]
    pub fn loss(&self, one: usize, other: usize, t: u64) -> f64 {
        loss(self.place(one, t).distance(self.place(other, t)))
    }

    /// Pairs of vehicles that can ever hear each other.
    #[must_use]
    pub fn pairs(&self) -> Vec<(usize, usize)> {
        let reach = RANGE_M + 2.0 * FIELD_CIRCLE_M;
        let mut pairs = Vec::new();
        for one in 0..self.centres.len() {
            for other in one + 1..self.centres.len() {
                if self.centres[one].distance(self.centres[other]) < reach {
                    pairs.push((one, other));
                }
            }
        }
        pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_grows_with_distance_from_nothing_to_everything() {
        let losses: Vec<f64> = (0..50).map(|step| loss(f64::from(step) * 10.0)).collect();
        assert!(losses.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!((losses[10], losses[45]), (0.0, 1.0));
    }

    #[test]
    fn the_script_closes_up_strings_out_splits_and_heals() {
        let convoy = Convoy::new(6);
        assert_eq!(convoy.tail(), 4);
        assert!(convoy.loss(0, 5, 0) < 0.1);
        assert_eq!(convoy.loss(0, 5, at::STRAGGLE_MOST), 1.0);
        assert!((0.1..0.5).contains(&convoy.loss(4, 5, at::STRAGGLE_MOST)));
        assert_eq!(convoy.loss(3, 4, at::RIDGE), 1.0);
        assert!(convoy.loss(4, 5, at::RIDGE) < 0.5, "the tail keeps together");
        assert_eq!(convoy.loss(3, 4, at::RIDGE_PASSED), 0.0);
        assert_eq!(convoy.place(5, at::LOOP), convoy.place(5, 0));
    }

    #[test]
    fn every_act_happens_once_per_round_however_time_is_cut() {
        let convoy = Convoy::new(6);
        let coarse = convoy.acts(0, 2 * at::LOOP);
        let fine: Vec<_> = (0..2 * at::LOOP / 100)
            .flat_map(|step| convoy.acts(step * 100, step * 100 + 100))
            .collect();
        assert_eq!(coarse.len(), 8);
        assert_eq!(coarse, fine);
    }

    #[test]
    fn a_field_is_connected_and_has_bounded_neighbourhoods() {
        let field = Field::new(100, true, 1);
        let mut neighbours = vec![0; 100];
        for (one, other) in field.pairs() {
            neighbours[one] += 1;
            neighbours[other] += 1;
        }
        assert!(neighbours.iter().all(|count| (1..=24).contains(count)), "{neighbours:?}");
    }
}
