//! Reads the vehicle's hardware and operating system: one collector per subject, each a short blocking run over files
//! of /proc and /sys below a configurable root. [`Hardware`] runs them away from the event loop, so that a sensor that
//! hangs delays neither the loop nor the other collectors, and hands every result back as a [`Report`]. It decides
//! nothing: when to collect, what is too late and what is kept is the core's business.
//!
//! Why not the sysinfo crate throughout: it has no root argument (containers, fixtures), knows neither eMMC wear,
//! pressure, power supplies, throttling nor Wi-Fi, reads all mounts in one call that a dead NFS server blocks, and what
//! it does read it reads in more calls. It is used where it is good: this very process (`process.rs`).
//!
//! A missing file means that the machine lacks the feature. An unreadable file or one with unexpected content costs
//! that item only; it is counted in `outrider_hardware_skipped_items` and described in [`Report::complaints`].

mod block;
mod cpu;
mod filesystem;
mod filter;
mod hwmon;
mod load;
mod memory;
mod network;
mod nl80211;
mod pool;
mod power;
mod pressure;
mod process;
mod system;
mod thermal;
mod time;
mod tree;
mod wifi;

use std::time::Duration;

use tokio::sync::mpsc;

use crate::config;
use crate::core::sample::Sample;

use filter::Filter;
use pool::{Pool, Slot};
use tree::{Output, Tree};

/// Reads one subject. Runs on a worker thread and may block; keeps what it needs between runs.
trait Collector: Send {
    /// Reads everything once.
    fn collect(&mut self, tree: &mut Tree, output: &mut Output<'_>);
}

/// A row of the table of collectors.
struct Entry {
    name: &'static str,
    /// Items left out unless `include` asks for something.
    uninteresting: &'static [&'static str],
    make: fn() -> Box<dyn Collector>,
}

/// All collectors. The names are stable: they appear in the configuration, in metrics and in events.
const TABLE: &[Entry] = &[
    Entry { name: "block", uninteresting: block::UNINTERESTING, make: || Box::new(block::Block) },
    Entry { name: "cpu", uninteresting: &[], make: || Box::<cpu::Cpu>::default() },
    Entry {
        name: "filesystem",
        uninteresting: filesystem::UNINTERESTING,
        make: || Box::new(filesystem::Filesystem::local()),
    },
    Entry {
        name: "filesystem-remote",
        uninteresting: filesystem::UNINTERESTING,
        make: || Box::new(filesystem::Filesystem::remote()),
    },
    Entry { name: "hwmon", uninteresting: &[], make: || Box::<hwmon::Hwmon>::default() },
    Entry { name: "load", uninteresting: &[], make: || Box::new(load::Load) },
    Entry { name: "memory", uninteresting: &[], make: || Box::new(memory::Memory) },
    Entry {
        name: "network",
        uninteresting: network::UNINTERESTING,
        make: || Box::new(network::Network),
    },
    Entry { name: "power", uninteresting: &[], make: || Box::<power::Power>::default() },
    Entry { name: "pressure", uninteresting: &[], make: || Box::new(pressure::Pressure) },
    Entry { name: "process", uninteresting: &[], make: || Box::<process::Process>::default() },
    Entry { name: "system", uninteresting: &[], make: || Box::<system::System>::default() },
    Entry { name: "thermal", uninteresting: &[], make: || Box::new(thermal::Thermal) },
    Entry { name: "time", uninteresting: &[], make: || Box::new(time::Time) },
    Entry { name: "wifi", uninteresting: &[], make: || Box::<wifi::Wifi>::default() },
];

/// The end of one run of a collector.
#[derive(Debug)]
pub struct Report {
    /// Which collector.
    pub collector: &'static str,
    /// How long it ran, not counting the wait for a worker.
    pub took: Duration,
    /// What it measured, empty when this machine has nothing of the kind; or why it could measure nothing at all.
    pub result: Result<Vec<Sample>, String>,
    /// What was left out and why, for people; at most eight.
    pub complaints: Vec<String>,
}

/// What became of [`Hardware::start`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// A [`Report`] will follow.
    Yes,
    /// The previous run has not ended; nothing was started.
    StillRunning,
    /// There is no such collector, or the configuration disables it.
    Unknown,
    /// The kernel refused a thread and none is there; try again later.
    NoThread,
}

/// Runs the collectors.
pub struct Hardware {
    names: Vec<&'static str>,
    pool: Pool,
}

impl Hardware {
    /// Names of all collectors there are, sorted.
    pub fn known() -> impl Iterator<Item = &'static str> {
        TABLE.iter().map(|entry| entry.name)
    }

    /// Prepares the collectors that `config` wants; nothing runs yet. Reports arrive at the receiver, which holds one
    /// for each collector before workers wait.
    #[must_use]
    pub fn new(config: &config::Hardware) -> (Hardware, mpsc::Receiver<Report>) {
        let wanted = TABLE.iter().filter(|entry| !config.disable.contains(entry.name));
        let patterns = |of: &std::collections::BTreeMap<String, Vec<String>>, name: &str| {
            of.get(name).cloned().unwrap_or_default()
        };
        let slots: Vec<Slot> = wanted
            .map(|entry| {
                let include = patterns(&config.include, entry.name);
                let exclude = patterns(&config.exclude, entry.name);
                let filter = Filter::new(&include, &exclude, entry.uninteresting);
                Slot::new(entry.name, filter, (entry.make)())
            })
            .collect();
        let names = slots.iter().map(|slot| slot.name).collect();
        let (reports, receiver) = mpsc::channel(slots.len().max(1));
        let pool = Pool::new(slots, config.root.clone(), config.deadline, reports);
        (Hardware { names, pool }, receiver)
    }

    /// Names of the collectors that the configuration wants, sorted.
    #[must_use]
    pub fn collectors(&self) -> &[&'static str] {
        &self.names
    }

    /// Asks for one run of `collector` and returns at once. Must be called inside a tokio runtime with a timer.
    pub fn start(&mut self, collector: &str) -> Started {
        let Some(at) = self.names.iter().position(|&name| name == collector) else {
            return Started::Unknown;
        };
        self.pool.start(at)
    }
}
