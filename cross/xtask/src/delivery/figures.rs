//! What was measured, summed up for people and as JSON. Pure but for the machine's load.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use super::link::Profile;

/// Least part of plain TCP that a link should be filled to, in percent.
pub const TARGET_PERCENT: f64 = 90.0;

/// One delivery of a full spool.
#[derive(Clone, Debug)]
pub struct Filled {
    /// Payload acknowledged by the broker.
    pub bytes_per_s: f64,
    /// Plain TCP before and after.
    pub plain: [f64; 2],
    pub agent_cpu_ms_per_mb: f64,
    pub broker_cpu_ms_per_mb: f64,
    /// What topics, framing and repeats add to the payload, in messages as they were handed to the connection.
    pub overhead_percent: f64,
    /// Looks at which nothing was in flight although not all was delivered: then the agent is what the link waits for.
    pub idle_percent: f64,
    /// Connections it took.
    pub connects: u64,
    /// How late the link was at worst.
    pub worst_lateness_ms: u64,
    /// Processes that wanted to run during the minute before.
    pub load: f64,
}

impl Filled {
    fn plain_mean(&self) -> f64 {
        self.plain.iter().sum::<f64>() / 2.0
    }

    /// Part of plain TCP, in percent.
    pub fn percent(&self) -> f64 {
        100.0 * self.bytes_per_s / self.plain_mean()
    }

    /// For whoever waits for the end.
    pub fn line(&self) -> String {
        format!(
            "    {:.0} kB/s, plain TCP {:.0} and {:.0}: {:.1} %; agent {:.1} ms/MB, broker {:.1} ms/MB, {:.1} % more bytes, \
             idle {:.1} %, {} connections, link at worst {} ms late, load before {:.2}",
            self.bytes_per_s / 1e3,
            self.plain[0] / 1e3,
            self.plain[1] / 1e3,
            self.percent(),
            self.agent_cpu_ms_per_mb,
            self.broker_cpu_ms_per_mb,
            self.overhead_percent,
            self.idle_percent,
            self.connects,
            self.worst_lateness_ms,
            self.load
        )
    }

    fn json(&self) -> Value {
        json!({
            "bytes_per_s": self.bytes_per_s,
            "plain_bytes_per_s": self.plain,
            "percent": self.percent(),
            "agent_cpu_ms_per_mb": self.agent_cpu_ms_per_mb,
            "broker_cpu_ms_per_mb": self.broker_cpu_ms_per_mb,
            "overhead_percent": self.overhead_percent,
            "idle_percent": self.idle_percent,
            "connects": self.connects,
            "worst_lateness_ms": self.worst_lateness_ms,
            "load": self.load,
        })
    }
}

/// All deliveries over one link.
#[derive(Clone, Debug)]
pub struct Filling {
    pub profile: Profile,
    pub runs: Vec<Filled>,
}

impl Filling {
    fn spread(&self, figure: impl Fn(&Filled) -> f64) -> Spread {
        Spread::of(self.runs.iter().map(figure).collect())
    }

    /// Median part of plain TCP, in percent.
    pub fn percent(&self) -> f64 {
        self.spread(Filled::percent).median
    }

    /// For a report.
    pub fn json(&self) -> Value {
        json!({
            "link": self.profile.name,
            "payload_bytes": self.profile.payload_bytes,
            "percent_median": self.percent(),
            "runs": self.runs.iter().map(Filled::json).collect::<Vec<_>>(),
        })
    }
}

/// Least, middle and greatest of some numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    least: f64,
    median: f64,
    greatest: f64,
}

impl Spread {
    /// Zero without numbers.
    fn of(mut numbers: Vec<f64>) -> Spread {
        numbers.sort_by(f64::total_cmp);
        let (Some(&least), Some(&greatest)) = (numbers.first(), numbers.last()) else {
            return Spread { least: 0.0, median: 0.0, greatest: 0.0 };
        };
        let middle = numbers.len() / 2;
        let median = match numbers.len() % 2 {
            0 => f64::midpoint(numbers[middle - 1], numbers[middle]),
            _ => numbers[middle],
        };
        Spread { least, median, greatest }
    }

    fn cell(self, unit: f64, digits: usize) -> String {
        let [least, median, greatest] =
            [self.least, self.median, self.greatest].map(|number| number / unit);
        format!("{median:.digits$} ({least:.digits$}..{greatest:.digits$})")
    }
}

/// The table of links.
pub fn links_table(fillings: &[Filling]) -> String {
    let mut table = "| link | plain TCP, kB/s | outrider, payload kB/s | of plain TCP, % | agent, ms CPU/MB | broker, ms CPU/MB |\n\
                     |---|---:|---:|---:|---:|---:|\n"
        .to_owned();
    for filling in fillings {
        let cells = [
            filling.spread(Filled::plain_mean).cell(1e3, 0),
            filling.spread(|run| run.bytes_per_s).cell(1e3, 0),
            filling.spread(Filled::percent).cell(1.0, 1),
            filling.spread(|run| run.agent_cpu_ms_per_mb).cell(1.0, 1),
            filling.spread(|run| run.broker_cpu_ms_per_mb).cell(1.0, 1),
        ];
        table += &format!("| {} | {} |\n", filling.profile.name, cells.join(" | "));
    }
    table
}

/// What a producer brought.
#[derive(Clone, Debug, Default)]
pub struct Produced {
    /// Numbers of records that were due, from 0.
    pub offered: u64,
    /// Those that were acknowledged to it.
    pub acknowledged: BTreeSet<u64>,
}

/// What reached the command post.
#[derive(Clone, Debug, Default)]
pub struct Arrivals {
    /// How often each record reached the broker.
    pub at_broker: BTreeMap<u64, u64>,
    /// How often it came to a receiver that drops what it can tell to be a repeat, and when first.
    pub whole: BTreeMap<u64, (u64, Duration)>,
}

impl Arrivals {
    /// A record reached the broker.
    pub fn arrived(&mut self, number: u64) {
        *self.at_broker.entry(number).or_default() += 1;
    }

    /// The receiver took it for a first one at `at`.
    pub fn kept(&mut self, number: u64, at: Duration) {
        self.whole.entry(number).or_insert((0, at)).0 += 1;
    }
}

/// How one of them did.
#[derive(Clone, Debug, PartialEq)]
pub struct Contest {
    pub name: &'static str,
    pub offered: u64,
    pub acknowledged: u64,
    /// Different records.
    pub arrived: u64,
    /// Acknowledged to the producer, and never arrived.
    pub lost: u64,
    /// Their numbers, first and last of each row without a gap.
    pub lost_rows: Vec<[u64; 2]>,
    /// Arrivals beyond the first of each, at the broker.
    pub repeats_at_broker: u64,
    /// The same behind a receiver that drops what it can tell.
    pub repeats: u64,
    /// From the end of the last fault to the last record that came for the first time.
    pub drain_s: f64,
    /// Bytes that the vehicle's program wrote to storage.
    pub written_bytes: u64,
    pub load: f64,
}

/// Sums up; what storage and machine say is added by whoever asked them.
pub fn contest(
    name: &'static str,
    produced: &Produced,
    arrivals: &Arrivals,
    last_fault_over: Duration,
) -> Contest {
    let arrived = |number: &&u64| arrivals.whole.contains_key(number);
    let lost = produced.acknowledged.iter().filter(|number| !arrived(number));
    let last = arrivals.whole.values().map(|(_, at)| *at).max().unwrap_or(last_fault_over);
    Contest {
        name,
        offered: produced.offered,
        acknowledged: produced.acknowledged.len() as u64,
        arrived: arrivals.whole.len() as u64,
        lost: lost.clone().count() as u64,
        lost_rows: rows(lost.copied()),
        repeats_at_broker: arrivals.at_broker.values().map(|count| count - 1).sum(),
        repeats: arrivals.whole.values().map(|(count, _)| count - 1).sum(),
        drain_s: last.saturating_sub(last_fault_over).as_secs_f64(),
        written_bytes: 0,
        load: 0.0,
    }
}

/// First and last of each row of ascending numbers without a gap.
fn rows(numbers: impl Iterator<Item = u64>) -> Vec<[u64; 2]> {
    let mut rows: Vec<[u64; 2]> = Vec::new();
    for number in numbers {
        match rows.last_mut() {
            Some([_, last]) if *last + 1 == number => *last = number,
            Some(_) | None => rows.push([number, number]),
        }
    }
    rows
}

impl Contest {
    /// For a report.
    pub fn json(&self) -> Value {
        json!({
            "name": self.name,
            "offered": self.offered,
            "acknowledged": self.acknowledged,
            "arrived": self.arrived,
            "lost": self.lost,
            "lost_rows": self.lost_rows,
            "repeats_at_broker": self.repeats_at_broker,
            "repeats": self.repeats,
            "drain_s": self.drain_s,
            "written_bytes": self.written_bytes,
            "load": self.load,
        })
    }
}

/// The table of all.
pub fn contest_table(contests: &[Contest]) -> String {
    let mut table =
        "| | offered | acknowledged to the producer | arrived | lost | repeats at the broker | repeats at the receiver | time to drain | written to storage |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|\n"
            .to_owned();
    for contest in contests {
        let Contest { name, offered, acknowledged, arrived, lost, .. } = contest;
        table += &format!(
            "| {name} | {offered} | {acknowledged} | {arrived} | {lost} | {} | {} | {:.1} s | {:.1} MB |\n",
            contest.repeats_at_broker,
            contest.repeats,
            contest.drain_s,
            contest.written_bytes as f64 / 1e6
        );
    }
    table
}

/// Bytes that cannot be compressed, the same for the same `seed`.
pub fn noise(seed: u64) -> impl Iterator<Item = u8> {
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
}

/// Processes that wanted to run, on average over the last minute (proc_loadavg(5)).
pub fn load() -> Result<f64, String> {
    let path = "/proc/loadavg";
    let text = fs::read_to_string(path).map_err(|e| format!("reading {path}: {e}"))?;
    let first = text.split(' ').next().and_then(|number| number.parse().ok());
    first.ok_or(format!("{path} holds `{}`", text.trim()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Arrivals, Produced, Spread, contest};

    #[test]
    fn the_middle_of_numbers() {
        assert_eq!(
            Spread::of(vec![3.0, 1.0, 2.0]),
            Spread { least: 1.0, median: 2.0, greatest: 3.0 }
        );
        assert_eq!(Spread::of(vec![4.0, 1.0]).median, 2.5);
        assert_eq!(Spread::of(Vec::new()).median, 0.0);
        assert_eq!(Spread::of(vec![1500.0, 2500.0, 9000.0]).cell(1e3, 1), "2.5 (1.5..9.0)");
    }

    #[test]
    fn lost_is_what_was_promised_and_repeated_what_came_more_than_once() {
        let seconds = Duration::from_secs;
        let produced = Produced { offered: 6, acknowledged: [0, 1, 2, 3].into() };
        let mut arrivals = Arrivals::default();
        // 5 was never acknowledged to the producer, and may arrive all the same.
        for (number, at) in [(0, 1), (1, 2), (1, 3), (1, 4), (5, 12), (0, 20)] {
            arrivals.arrived(number);
            if (number, at) != (1, 4) {
                arrivals.kept(number, seconds(at));
            }
        }
        let contest = contest("it", &produced, &arrivals, seconds(10));
        assert_eq!((contest.arrived, contest.lost), (3, 2));
        assert_eq!(contest.lost_rows, [[2, 3]]);
        assert_eq!((contest.repeats_at_broker, contest.repeats), (3, 2));
        assert_eq!(contest.drain_s, 2.0, "a repeat does not count");
    }
}
