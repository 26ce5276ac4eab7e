//! The standard vehicle profile: what a vehicle of a convoy of six sends once a second, as data, with values from a
//! seeded model. Shared by the measurement, the golden frame and the test that holds the budget.
//!
//! The machine: an ARM board with eMMC and a data disk, three mesh radios, Ethernet, a battery behind a power monitor. It
//! drives: load, radio and traffic vary; nothing is idle for convenience.

use outrider::core::catalog::{Sink, hardware as hw, mesh};
use outrider::core::sample::Metric;

/// Series in the profile.
#[allow(dead_code, reason = "not every program that shares this module states it")]
pub const SERIES: usize = 110;

/// How one value behaves over time. All amounts are in the metric's base unit and per second.
enum Signal {
    /// Never changes.
    Constant(f64),
    /// Independent noise around a mean.
    Noise { mean: f64, deviation: f64 },
    /// A random walk between two bounds.
    Walk { low: f64, high: f64, step: f64 },
    /// A mean with memory: noise that decays over about ten seconds.
    Wander { mean: f64, deviation: f64 },
    /// Grows by a rate with noise.
    Counter { start: f64, rate: f64, deviation: f64 },
    /// Grows by a burst now and then: once in `every` seconds on average.
    Bursts { start: f64, amount: f64, every: f64 },
    /// Jumps to another of a few levels once in `every` seconds on average.
    Levels { levels: &'static [f64], every: f64 },
}

use Signal::{Bursts, Constant, Counter, Levels, Noise, Walk, Wander};

struct Row {
    metric: &'static Metric,
    labels: &'static [&'static str],
    signal: Signal,
}

const fn row(metric: &'static Metric, labels: &'static [&'static str], signal: Signal) -> Row {
    Row { metric, labels, signal }
}

const PROFILE: &[Row] = &[
    row(&hw::CPU_UTILIZATION, &[], Wander { mean: 0.42, deviation: 0.06 }),
    row(&hw::CPU_FREQUENCY, &["0"], Levels { levels: &[6e8, 1.2e9, 1.5e9, 1.8e9], every: 3.0 }),
    row(&hw::CPU_FREQUENCY, &["4"], Levels { levels: &[6e8, 1.2e9, 2.0e9], every: 3.0 }),
    row(&hw::LOAD1, &[], Walk { low: 0.4, high: 3.5, step: 0.05 }),
    row(&hw::PRESSURE_SOME, &["cpu"], Wander { mean: 0.11, deviation: 0.03 }),
    row(&hw::PRESSURE_SOME, &["memory"], Constant(0.0)),
    row(&hw::PRESSURE_SOME, &["io"], Wander { mean: 0.04, deviation: 0.02 }),
    row(&hw::PRESSURE_FULL, &["cpu"], Constant(0.0)),
    row(&hw::PRESSURE_FULL, &["memory"], Constant(0.0)),
    row(&hw::PRESSURE_FULL, &["io"], Wander { mean: 0.02, deviation: 0.01 }),
    row(&hw::MEMORY_SIZE, &[], Constant(3.9e9)),
    row(&hw::MEMORY_AVAILABLE, &[], Walk { low: 1.1e9, high: 2.4e9, step: 2.5e6 }),
    row(&hw::SWAP_USED, &[], Walk { low: 0.0, high: 2e8, step: 5e4 }),
    row(&hw::OOM_KILLS, &[], Constant(0.0)),
    row(&hw::FILESYSTEM_SIZE, &["/"], Constant(7.2e9)),
    row(&hw::FILESYSTEM_SIZE, &["/data"], Constant(2.5e11)),
    row(&hw::FILESYSTEM_SIZE, &["/run"], Constant(3.9e8)),
    row(&hw::FILESYSTEM_AVAILABLE, &["/"], Walk { low: 3.0e9, high: 3.2e9, step: 3e5 }),
    row(
        &hw::FILESYSTEM_AVAILABLE,
        &["/data"],
        Counter { start: 1.2e11, rate: -4e6, deviation: 1e6 },
    ),
    row(&hw::FILESYSTEM_AVAILABLE, &["/run"], Walk { low: 3.8e8, high: 3.9e8, step: 2e4 }),
    row(&hw::FILESYSTEM_READONLY, &["/"], Constant(1.0)),
    row(&hw::FILESYSTEM_READONLY, &["/data"], Constant(0.0)),
    row(&hw::FILESYSTEM_READONLY, &["/run"], Constant(0.0)),
    row(&hw::FILESYSTEM_ERRORS, &["mmcblk0p2"], Constant(0.0)),
    row(&hw::FILESYSTEM_ERRORS, &["nvme0n1p1"], Constant(0.0)),
    row(&hw::BLOCK_READ, &["mmcblk0"], Bursts { start: 9.1e8, amount: 2.6e5, every: 6.0 }),
    row(&hw::BLOCK_READ, &["nvme0n1"], Bursts { start: 4.4e10, amount: 1.3e6, every: 4.0 }),
    row(&hw::BLOCK_WRITTEN, &["mmcblk0"], Bursts { start: 2.2e8, amount: 6.6e4, every: 5.0 }),
    row(&hw::BLOCK_WRITTEN, &["nvme0n1"], Counter { start: 3.1e11, rate: 4e6, deviation: 1e6 }),
    row(
        &hw::BLOCK_BUSY_SECONDS,
        &["mmcblk0"],
        Counter { start: 812.0, rate: 0.02, deviation: 0.015 },
    ),
    row(
        &hw::BLOCK_BUSY_SECONDS,
        &["nvme0n1"],
        Counter { start: 4021.0, rate: 0.11, deviation: 0.03 },
    ),
    row(&hw::BLOCK_LIFE_USED, &["mmcblk0", "a"], Constant(0.2)),
    row(&hw::BLOCK_LIFE_USED, &["mmcblk0", "b"], Constant(0.1)),
    row(&hw::BLOCK_PRE_EOL, &["mmcblk0"], Constant(1.0)),
    row(&hw::THERMAL_ZONE, &["0", "soc"], Walk { low: 48.0, high: 71.0, step: 0.4 }),
    row(&hw::THERMAL_ZONE, &["1", "gpu"], Walk { low: 45.0, high: 68.0, step: 0.4 }),
    row(&hw::THERMAL_ZONE, &["2", "ddr"], Walk { low: 44.0, high: 60.0, step: 0.2 }),
    row(
        &hw::HWMON_TEMPERATURE,
        &["nvme", "temp1", "Composite"],
        Walk { low: 38.0, high: 55.0, step: 0.2 },
    ),
    row(
        &hw::HWMON_TEMPERATURE,
        &["lm75", "temp1", "board"],
        Walk { low: 30.0, high: 45.0, step: 0.1 },
    ),
    row(&hw::HWMON_FAN, &["pwmfan", "fan1", ""], Wander { mean: 3120.0, deviation: 25.0 }),
    row(&hw::HWMON_VOLTAGE, &["ina226", "in1", "bus"], Wander { mean: 24.6, deviation: 0.06 }),
    row(&hw::HWMON_VOLTAGE, &["ina3221", "in1", "5v"], Noise { mean: 5.09, deviation: 0.008 }),
    row(&hw::HWMON_VOLTAGE, &["ina3221", "in2", "3v3"], Noise { mean: 3.31, deviation: 0.005 }),
    row(&hw::HWMON_CURRENT, &["ina226", "curr1", "bus"], Wander { mean: 1.35, deviation: 0.16 }),
    row(&hw::HWMON_CURRENT, &["ina3221", "curr1", "5v"], Wander { mean: 2.1, deviation: 0.2 }),
    row(&hw::HWMON_CURRENT, &["ina3221", "curr2", "3v3"], Wander { mean: 0.8, deviation: 0.05 }),
    row(&hw::HWMON_POWER, &["ina226", "power1", "bus"], Wander { mean: 33.0, deviation: 4.0 }),
    row(
        &hw::HWMON_HUMIDITY,
        &["sht3x", "humidity1", ""],
        Walk { low: 0.3, high: 0.5, step: 0.001 },
    ),
    row(&hw::POWER_SUPPLY_ONLINE, &["dcin"], Constant(1.0)),
    row(&hw::BATTERY_CAPACITY, &["bms"], Counter { start: 0.87, rate: -4e-5, deviation: 0.0 }),
    row(&hw::BATTERY_DISCHARGING, &["bms"], Levels { levels: &[0.0, 1.0], every: 120.0 }),
    row(&hw::POWER_SUPPLY_VOLTAGE, &["bms"], Wander { mean: 25.1, deviation: 0.05 }),
    row(&hw::POWER_SUPPLY_CURRENT, &["bms"], Wander { mean: -1.9, deviation: 0.4 }),
    row(&hw::POWER_SUPPLY_POWER, &["bms"], Wander { mean: 47.0, deviation: 9.0 }),
    row(&hw::POWER_SUPPLY_TEMPERATURE, &["bms"], Walk { low: 24.0, high: 36.0, step: 0.1 }),
    row(&hw::UNDERVOLTAGE, &[], Constant(0.0)),
    row(&hw::NETWORK_RECEIVED, &["eth0"], Counter { start: 8.8e9, rate: 1.2e6, deviation: 3e5 }),
    row(&hw::NETWORK_RECEIVED, &["mesh0"], Counter { start: 2.1e9, rate: 2.4e5, deviation: 9e4 }),
    row(&hw::NETWORK_RECEIVED, &["mesh1"], Counter { start: 9.0e8, rate: 6e4, deviation: 3e4 }),
    row(&hw::NETWORK_RECEIVED, &["mesh2"], Bursts { start: 5.0e7, amount: 9e3, every: 2.0 }),
    row(&hw::NETWORK_RECEIVED, &["can0"], Counter { start: 7.7e8, rate: 2.1e4, deviation: 1.5e3 }),
    row(&hw::NETWORK_SENT, &["eth0"], Counter { start: 4.4e8, rate: 3e4, deviation: 1e4 }),
    row(&hw::NETWORK_SENT, &["mesh0"], Counter { start: 6.1e9, rate: 4.1e5, deviation: 1.2e5 }),
    row(&hw::NETWORK_SENT, &["mesh1"], Counter { start: 1.0e9, rate: 5e4, deviation: 2e4 }),
    row(&hw::NETWORK_SENT, &["mesh2"], Bursts { start: 4.0e7, amount: 7e3, every: 2.0 }),
    row(&hw::NETWORK_SENT, &["can0"], Counter { start: 1.1e8, rate: 3e3, deviation: 200.0 }),
    row(&hw::NETWORK_UP, &["eth0"], Constant(1.0)),
    row(&hw::NETWORK_UP, &["mesh0"], Constant(1.0)),
    row(&hw::NETWORK_UP, &["mesh1"], Constant(1.0)),
    row(&hw::NETWORK_UP, &["mesh2"], Levels { levels: &[0.0, 1.0], every: 300.0 }),
    row(&hw::NETWORK_UP, &["can0"], Constant(1.0)),
    row(&hw::WIFI_SIGNAL, &["mesh0"], Noise { mean: -61.0, deviation: 2.2 }),
    row(&hw::WIFI_SIGNAL, &["mesh1"], Noise { mean: -72.0, deviation: 3.0 }),
    row(&hw::WIFI_SIGNAL, &["mesh2"], Noise { mean: -84.0, deviation: 3.5 }),
    row(&hw::WIFI_PEERS, &["mesh0"], Levels { levels: &[2.0, 3.0], every: 40.0 }),
    row(&hw::WIFI_PEERS, &["mesh1"], Levels { levels: &[1.0, 2.0], every: 40.0 }),
    row(&hw::WIFI_PEERS, &["mesh2"], Levels { levels: &[0.0, 1.0], every: 60.0 }),
    row(
        &hw::WIFI_SEND_RATE,
        &["mesh0"],
        Levels { levels: &[2.6e7, 3.9e7, 5.2e7, 5.85e7], every: 2.0 },
    ),
    row(&hw::WIFI_SEND_RATE, &["mesh1"], Levels { levels: &[1.3e7, 1.95e7, 2.6e7], every: 2.0 }),
    row(&hw::WIFI_SEND_RATE, &["mesh2"], Levels { levels: &[6.5e6, 1.3e7], every: 4.0 }),
    row(
        &hw::WIFI_RECEIVE_RATE,
        &["mesh0"],
        Levels { levels: &[2.6e7, 3.9e7, 5.2e7, 5.85e7], every: 2.0 },
    ),
    row(&hw::WIFI_RECEIVE_RATE, &["mesh1"], Levels { levels: &[1.3e7, 1.95e7, 2.6e7], every: 2.0 }),
    row(&hw::WIFI_RECEIVE_RATE, &["mesh2"], Levels { levels: &[6.5e6, 1.3e7], every: 4.0 }),
    row(&hw::CLOCK_QUALITY, &[], Constant(2.0)),
    row(&hw::UPTIME, &[], Counter { start: 51_234.0, rate: 1.0, deviation: 0.0 }),
    row(&hw::WATCHDOG_CAUSED_BOOT, &["watchdog0"], Constant(0.0)),
    row(&hw::PROCESS_RESIDENT, &[], Walk { low: 4.2e6, high: 5.0e6, step: 4e3 }),
    row(&hw::PROCESS_CPU, &[], Counter { start: 61.0, rate: 0.004, deviation: 0.002 }),
    row(&mesh::NETWORK_COST, &["alpha"], Constant(0.0)),
    row(
        &mesh::NETWORK_COST,
        &["bravo"],
        Levels { levels: &[100.0, 113.0, 126.0, 140.0], every: 12.0 },
    ),
    row(&mesh::NETWORK_COST, &["charlie"], Levels { levels: &[144.0, 162.0, 181.0], every: 10.0 }),
    row(
        &mesh::NETWORK_COST,
        &["delta"],
        Levels { levels: &[244.0, 270.0, 301.0, 335.0], every: 8.0 },
    ),
    row(
        &mesh::NETWORK_COST,
        &["echo"],
        Levels { levels: &[380.0, 421.0, 466.0, 518.0], every: 6.0 },
    ),
    row(
        &mesh::NETWORK_COST,
        &["foxtrot"],
        Levels { levels: &[520.0, 580.0, 650.0, -1.0], every: 15.0 },
    ),
    row(&mesh::NODE_HOPS, &["bravo"], Constant(1.0)),
    row(&mesh::NODE_HOPS, &["charlie"], Constant(1.0)),
    row(&mesh::NODE_HOPS, &["delta"], Levels { levels: &[1.0, 2.0], every: 20.0 }),
    row(&mesh::NODE_HOPS, &["echo"], Constant(3.0)),
    row(&mesh::NODE_HOPS, &["foxtrot"], Levels { levels: &[3.0, 4.0], every: 20.0 }),
    row(&mesh::LINK_QUALITY_IN, LINK_0, Noise { mean: 0.99, deviation: 0.01 }),
    row(&mesh::LINK_QUALITY_IN, LINK_1, Wander { mean: 0.91, deviation: 0.03 }),
    row(&mesh::LINK_QUALITY_IN, LINK_2, Wander { mean: 0.72, deviation: 0.06 }),
    row(&mesh::LINK_QUALITY_OUT, LINK_0, Noise { mean: 0.99, deviation: 0.01 }),
    row(&mesh::LINK_QUALITY_OUT, LINK_1, Wander { mean: 0.88, deviation: 0.03 }),
    row(&mesh::LINK_QUALITY_OUT, LINK_2, Wander { mean: 0.69, deviation: 0.06 }),
    row(&mesh::NEIGHBORS, &[], Levels { levels: &[2.0, 3.0], every: 60.0 }),
    row(&mesh::NEIGHBORS_SYMMETRIC, &[], Levels { levels: &[2.0, 3.0], every: 60.0 }),
    row(&mesh::ROUTES, &[], Levels { levels: &[14.0, 15.0, 17.0], every: 20.0 }),
    row(&mesh::NODES, &[], Levels { levels: &[5.0, 6.0], every: 60.0 }),
    row(&mesh::MESH_UP, &[], Constant(1.0)),
];

const LINK_0: &[&str] = &["mesh0", "10.10.0.1", "10.10.0.2", "10.10.0.2"];
const LINK_1: &[&str] = &["mesh1", "10.11.0.1", "10.11.0.3", "10.10.0.3"];
const LINK_2: &[&str] = &["mesh2", "10.12.0.1", "10.12.0.4", "10.10.0.4"];

/// The vehicle, second by second.
pub struct Vehicle {
    random: Random,
    states: Vec<f64>,
}

impl Vehicle {
    /// The same seed gives the same drive.
    pub fn new(seed: u64) -> Vehicle {
        let mut random = Random(seed);
        let states = PROFILE.iter().map(|row| start(&row.signal, &mut random)).collect();
        Vehicle { random, states }
    }

    /// Measures everything and lets a second pass.
    pub fn tick(&mut self, sink: &mut Sink<'_>) {
        for (row, state) in PROFILE.iter().zip(&mut self.states) {
            *state = step(&row.signal, *state, &mut self.random);
            sink(row.metric, row.labels, *state);
        }
    }
}

fn start(signal: &Signal, random: &mut Random) -> f64 {
    match signal {
        Constant(value) => *value,
        Noise { mean, .. } | Wander { mean, .. } => *mean,
        Walk { low, high, .. } => low + (high - low) * random.share(),
        Counter { start, .. } | Bursts { start, .. } => *start,
        Levels { levels, .. } => pick(levels, random),
    }
}

fn step(signal: &Signal, before: f64, random: &mut Random) -> f64 {
    match signal {
        Constant(value) => *value,
        Noise { mean, deviation } => mean + deviation * random.normal(),
        Wander { mean, deviation } => {
            // Keeps 0.9 of the distance; the noise is scaled so that the deviation is the long-run one.
            mean + (before - mean) * 0.9 + deviation * 0.436 * random.normal()
        }
        Walk { low, high, step } => (before + step * random.normal()).clamp(*low, *high),
        Counter { rate, deviation, .. } => {
            let growth = rate + deviation * random.normal();
            before + if *rate > 0.0 { growth.max(0.0) } else { growth.min(0.0) }
        }
        Bursts { amount, every, .. } => {
            let burst = random.share() * every < 1.0;
            before + if burst { (amount * (1.0 + 0.5 * random.normal())).max(0.0) } else { 0.0 }
        }
        Levels { levels, every } => {
            if random.share() * every < 1.0 {
                pick(levels, random)
            } else {
                before
            }
        }
    }
}

fn pick(levels: &[f64], random: &mut Random) -> f64 {
    let index = (random.share() * levels.len() as f64) as usize;
    levels[index.min(levels.len() - 1)]
}

/// SplitMix64: small, fast, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0..1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Close to a normal distribution with deviation 1: the sum of twelve uniform numbers.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.share()).sum::<f64>() - 6.0
    }
}
