//! What a seed draws before the world begins: the vehicles with their settings, their disks, clocks and links, what is gathered
//! on them, how the broker behaves, and how often what goes wrong.

use std::path::PathBuf;
use std::time::Duration;

use outrider::config::{
    Config, DaemonChoice, DeliveryOrder, Machine, Priority, Stream, TelemetryFormat, WhenFull,
    default_config,
};

use crate::agenda::{HOUR, MINUTE, MS, Moment, SECOND};
use crate::mesh;
use crate::random::Dice;

/// A stream that comes into being by being used.
pub const UNDECLARED: &str = "visitor";

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Mean times between faults; none of a kind when 0.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// The power of a vehicle is cut.
    pub cut: Moment,
    /// An agent is killed.
    pub kill: Moment,
    /// An agent is stopped as it should be, and started again, perhaps with other settings.
    pub stop: Moment,
    /// A disk begins to fail.
    pub disk: Moment,
    /// A wall clock is set.
    pub clock: Moment,
    /// A link goes silent.
    pub silence: Moment,
    /// And for how long.
    pub silence_lasts: Moment,
    /// The routing daemon does not answer or is restarted.
    pub daemon: Moment,
    /// The broker stalls, restarts, or is away.
    pub broker: Moment,
}

/// Something that is gathered.
#[derive(Clone, Debug)]
pub struct Source {
    /// Into which stream.
    pub stream: String,
    /// Mean time between records.
    pub every: Moment,
    /// Usual size of a record in bytes.
    pub bytes: u64,
    /// One record in so many is up to the largest that a spool takes, and a little more.
    pub large_one_in: u64,
    /// Records that come at once, at times.
    pub burst: u64,
    /// The source waits until its record is durable.
    pub durable: bool,
    /// The bytes can be compressed.
    pub compressible: bool,
}

/// One vehicle.
#[derive(Clone, Debug)]
pub struct VehiclePlan {
    /// Settings of the agent.
    pub config: Config,
    /// What is gathered.
    pub sources: Vec<Source>,
    /// How long the disk takes for a sync.
    pub sync_takes: Moment,
    /// Time between reports of the queue to the loop.
    pub report_every: Moment,
    /// What the link carries over one perfect hop.
    pub bytes_per_s: u64,
    /// How long one direction takes for each hop.
    pub one_way: Moment,
    /// Disks may lose or withhold what they had taken, not only refuse.
    pub may_rot: bool,
}

/// Everything.
#[derive(Clone, Debug)]
pub struct Plan {
    /// All vehicles.
    pub vehicles: Vec<VehiclePlan>,
    /// Edge of the area in which they drive, in metres.
    pub area_m: u64,
    /// How often they are looked at.
    pub drive_every: Moment,
    /// What goes wrong.
    pub faults: Faults,
    /// Mean time for which the broker behaves in one way.
    pub mood_lasts: Moment,
}

impl Plan {
    /// What this seed's dice say for so many vehicles.
    #[must_use]
    pub fn draw(dice: &mut Dice, vehicles: usize) -> Plan {
        let plans = (1..=vehicles).map(|node| vehicle(dice, node, vehicles)).collect();
        Plan {
            vehicles: plans,
            area_m: dice.pick(&[500, 1_500, 3_000, 5_000]),
            drive_every: dice.pick(&[20, 30, 60]) * SECOND,
            faults: Faults {
                cut: often(dice, HOUR, 12 * HOUR),
                kill: often(dice, HOUR, 12 * HOUR),
                stop: often(dice, 2 * HOUR, 24 * HOUR),
                disk: often(dice, 2 * HOUR, 24 * HOUR),
                clock: often(dice, HOUR, 12 * HOUR),
                silence: often(dice, 10 * MINUTE, 12 * HOUR),
                silence_lasts: dice.pick(&[MINUTE, 10 * MINUTE, HOUR, 8 * HOUR]),
                daemon: often(dice, HOUR, 12 * HOUR),
                broker: often(dice, 30 * MINUTE, 8 * HOUR),
            },
            mood_lasts: dice.between(30, 300) * MINUTE,
        }
    }
}

/// Four times in five a mean time from `least` to `most`, else never.
fn often(dice: &mut Dice, least: Moment, most: Moment) -> Moment {
    if dice.one_in(5) { 0 } else { dice.between(least, most) }
}

fn vehicle(dice: &mut Dice, node: usize, vehicles: usize) -> VehiclePlan {
    let mut config = default_config(&Machine {
        vehicle_name: mesh::name(node),
        control_socket: PathBuf::from("/run/outrider.sock"),
        spool_folder: Some(PathBuf::from("/spool")),
    });
    config.mesh.daemon = DaemonChoice::Jsoninfo;
    config.mesh.interval = Duration::from_secs(dice.pick(&[5, 10, 20, 30]));
    config.mesh.vehicles = (0..=vehicles)
        .filter(|other| *other != node)
        .map(|other| (mesh::name(other), vec![mesh::address(other)]))
        .collect();
    config.hardware.interval = Duration::from_secs(60);
    config.mqtt.host = Some(mesh::address(0).to_string());
    config.mqtt.in_flight = dice.pick(&[1, 2, 4, 16, 16, 64, 200]) as usize;
    config.mqtt.sample = Duration::from_secs(dice.pick(&[20, 30, 60]));
    config.mqtt.batch = config.mqtt.sample * dice.pick(&[2, 5, 10]) as u32;
    config.mqtt.format = match dice.one_in(4) {
        true => TelemetryFormat::Json,
        false => TelemetryFormat::Compact,
    };
    config.delivery.vehicle = (!dice.one_in(4)).then(|| mesh::BASE.to_owned());
    config.delivery.order = match dice.one_in(2) {
        true => DeliveryOrder::LiveFirst,
        false => DeliveryOrder::BacklogFirst,
    };
    config.delivery.memory = dice.pick(&[64 * KIB, 256 * KIB, MIB]);
    config.delivery.rate = dice.one_in(5).then(|| dice.between(4, 200) * KIB);
    config.delivery.bytes_per_day = dice.one_in(12).then(|| dice.between(1, 8) * MIB);
    config.spool.size = dice.pick(&[MIB, MIB, 2 * MIB, 4 * MIB, 16 * MIB]);
    config.spool.writes_per_day = dice.one_in(8).then(|| dice.between(17, 40) * MIB);
    config.spool.sync_delay =
        Duration::from_millis(dice.pick(&[10, 200, 1_000, 2_000, 2_000, 10_000]));
    // A backlog that takes weeks by its cap shows no more than one that takes days.
    let least = config.spool.size / 2;
    config.delivery.bytes_per_day = config.delivery.bytes_per_day.map(|cap| cap.max(least));
    let sources = gathered(dice, &mut config);
    VehiclePlan {
        config,
        sources,
        sync_takes: dice.pick(&[100, 2 * MS, 20 * MS, 200 * MS]),
        report_every: dice.pick(&[2, 10, 30, 60]) * SECOND,
        bytes_per_s: dice.pick(&[20_000, 81_000, 250_000, 500_000, 12_500_000]),
        one_way: dice.pick(&[MS, 5 * MS, 100 * MS, 200 * MS, 1_500 * MS]),
        may_rot: dice.one_in(6),
    }
}

fn gathered(dice: &mut Dice, config: &mut Config) -> Vec<Source> {
    const NAMES: [&str; 5] = ["alarm", "log", "gps", "camera", "bulk"];
    let count = dice.between(1, NAMES.len() as u64) as usize;
    let mut sources = Vec::new();
    for name in &NAMES[..count] {
        config.stream.push(Stream {
            priority: dice.pick(&[Priority::Event, Priority::Normal, Priority::Bulk]),
            weight: dice.between(1, 10) as u8,
            hold_above: dice.one_in(5).then(|| dice.between(150, 800)),
            share: dice.pick(&[100, 100, 50, 20, 5]),
            expire: dice.one_in(4).then(|| Duration::from_secs(dice.between(600, 36_000))),
            when_full: dice.pick(&[WhenFull::DropOldest, WhenFull::Refuse, WhenFull::Thin]),
            sync: dice.one_in(8),
            ..Stream::undeclared(name)
        });
        sources.push(Source {
            stream: (*name).to_owned(),
            every: dice.pick(&[10, 30, 120, 600]) * SECOND,
            bytes: dice.pick(&[1, 20, 100, 100, 400, 2_000]),
            large_one_in: dice.pick(&[200, 1_000, 5_000]),
            burst: dice.pick(&[1, 5, 30, 100]),
            durable: dice.one_in(2),
            compressible: dice.one_in(2),
        });
    }
    if dice.one_in(3)
        && let Some(source) = sources.first().cloned()
    {
        // Nobody declared it.
        sources.push(Source { stream: UNDECLARED.to_owned(), ..source });
    }
    sources
}

/// Other settings of the same vehicle, as somebody who edits its file between two starts would make.
pub fn edit(dice: &mut Dice, config: &mut Config) {
    match dice.below(6) {
        0 => config.spool.size = dice.pick(&[MIB, 2 * MIB, 4 * MIB, 8 * MIB]),
        1 => config.mqtt.in_flight = dice.pick(&[1, 4, 16, 64]) as usize,
        2 => config.delivery.memory = dice.pick(&[64 * KIB, 256 * KIB, MIB]),
        3 => config.spool.sync_delay = Duration::from_millis(dice.pick(&[10, 500, 2_000])),
        4 => {
            if let Some(stream) = config.stream.first_mut() {
                stream.share = dice.pick(&[100, 50, 10]);
            }
        }
        _ => {}
    }
}
