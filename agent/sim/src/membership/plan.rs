//! What is drawn for a run: how many vehicles, the rules that they go by, and how often there is trouble of each kind.

use std::time::Duration;

use outrider::core::membership::{Federation, Policy};

use super::Settings;
use super::bug::Bug;
use crate::agenda::{HOUR, MINUTE, Moment};
use crate::random::Dice;

/// What was drawn.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) policy: Policy,
    pub(super) vehicles: usize,
    pub(super) area_m: u64,
    pub(super) faults: Faults,
}

/// Means of the times between two of each trouble; 0 is never.
#[derive(Debug)]
pub(super) struct Faults {
    pub(super) cut: Moment,
    pub(super) kill: Moment,
    pub(super) wish: Moment,
    pub(super) silence: Moment,
    pub(super) mood: Moment,
    pub(super) configure: Moment,
    pub(super) disk: Moment,
    pub(super) card: Moment,
    pub(super) retire: Moment,
}

impl Plan {
    pub(super) fn draw(dice: &mut Dice, settings: Settings) -> Plan {
        let policy = policy(dice);
        let drawn = if dice.one_in(8) { dice.between(11, 30) } else { dice.between(2, 10) };
        let vehicles = settings.vehicles.unwrap_or(usize::try_from(drawn).unwrap_or(2));
        let faults = Faults::draw(dice);
        let area_m = dice.pick(&[800, 2_500, 5_000]);
        let mut plan = Plan { policy, vehicles, area_m, faults };
        // What would show this mistake is made frequent: a test has seconds, not days.
        match settings.bug {
            Some(Bug::ForgottenJoins) => plan.hurry(),
            Some(Bug::IdleHost) => plan.faults.retire = 8 * HOUR,
            _ => {}
        }
        plan
    }

    /// Has vehicles join and leave all the time, and agents start between.
    fn hurry(&mut self) {
        let faults = &mut self.faults;
        (faults.cut, faults.wish, faults.kill) = (0, 0, 10 * MINUTE);
        (faults.silence, faults.mood) = (10 * MINUTE, 15 * MINUTE);
        for federation in self.policy.federations.values_mut() {
            let short = Duration::from_secs(10);
            (federation.join_after, federation.strain_after) = (short, short);
            federation.leave_after = Some(Duration::from_secs(120));
        }
    }
}

impl Faults {
    fn draw(dice: &mut Dice) -> Faults {
        let often = dice.pick(&[1, 2, 5]);
        Faults {
            cut: often * dice.pick(&[20 * MINUTE, 2 * HOUR, 8 * HOUR]),
            kill: often * dice.pick(&[10 * MINUTE, HOUR, 8 * HOUR]),
            wish: often * dice.pick(&[30 * MINUTE, 3 * HOUR, 0]),
            silence: often * dice.pick(&[20 * MINUTE, 2 * HOUR]),
            mood: often * dice.pick(&[20 * MINUTE, 2 * HOUR]),
            configure: often * dice.pick(&[2 * HOUR, 0]),
            disk: often * dice.pick(&[4 * HOUR, 0]),
            card: often * dice.pick(&[12 * HOUR, 0, 0]),
            retire: often * dice.pick(&[12 * HOUR, 24 * HOUR, 0]),
        }
    }
}

/// Rules that differ from seed to seed: the federations are not alike, and the best is not the nearest.
fn policy(dice: &mut Dice) -> Policy {
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    let names = ["red", "purple", "green"];
    let federations = (0..usize::try_from(dice.between(2, 3)).unwrap_or(2)).map(|index| {
        let federation = Federation {
            priority: u32::try_from(dice.below(3)).unwrap_or(0),
            join_below: dice.pick(&[200, 400, 700]),
            join_after: Duration::from_secs(dice.between(10, 180)),
            strain_above: dice.pick(&[800, 1_200, 2_000]),
            strain_after: Duration::from_secs(dice.between(10, 120)),
            leave_after: (!dice.one_in(6)).then(|| minutes(dice.between(5, 40))),
        };
        (names[index].to_owned(), federation)
    });
    Policy { federations: federations.collect(), ..Policy::default() }
}
