//! `cargo xtask footprint`: what the agent costs, beside collectd and node_exporter in the same run.
//!
//! Everything is real: the release binary with its durable queue, a broker with TLS, a stand-in daemon that serves a moving 100-node mesh in olsrd's
//! wire format, and a scraper that asks everybody once a second. Memory and processor time are read from `/proc`,
//! instructions are counted by valgrind. Prints a Markdown table and fails when a budget is missed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::bench::page::{scrape, value};
use crate::bench::{Bench, Child, Figures, Follow, free_port, until};
use crate::packages;
use crate::steps::{cargo, executables, quiet};

/// Nodes of the mesh that is followed.
const NODES: u32 = 100;

/// Ticks of the shorter run under valgrind; the difference to the longer one is free of start-up.
const TICKS_SHORT: u64 = 20;
/// Ticks of the longer run under valgrind.
const TICKS_LONG: u64 = 50;

/// Budget of the binary, as that of a static one in `cross/targets.toml`.
const BINARY_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Budget of memory with MQTT over TLS. Held against the proportional size (PSS), which is the resident size of a static
/// build; a plain host build also touches pages of a C library that it shares with every other program.
const PSS_KIB_MAX: u64 = 6 * 1024;

/// Memory may move by this much between the first third and the end of a run: pages of buffers that were not used before.
const GROWTH_KIB_MAX: u64 = 256;

/// Debian packages of what is measured beside the agent, and of what measures.
const PACKAGES: &[(&[&str], &str)] = &[
    (&["mosquitto"], "mosquitto"),
    (&["openssl"], "openssl"),
    (&["valgrind"], "valgrind"),
    (&["collectd"], "collectd-core"),
    (&["prometheus-node-exporter"], "prometheus-node-exporter"),
];

/// Libraries that collectd's plugins load and its package only suggests.
const PLUGIN_LIBRARIES: &[&str] = &["libmosquitto1", "libmicrohttpd12", "libprotobuf-c1"];

/// Measures. `arguments` are those after the command's name.
pub fn measure(arguments: &[String]) -> Result<(), String> {
    let options = Options::read(arguments)?;
    packages::ensure(PACKAGES, PLUGIN_LIBRARIES)?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => built("build the agent", "outrider")?,
    };
    let bench = Measurement::new(&binary, &built("build the stand-in", "convoy")?)?;
    let size = fs::metadata(&binary).map_err(|e| format!("{}: {e}", binary.display()))?.len();

    let idle = bench.idle()?;
    let side_by_side = bench.side_by_side(options.seconds)?;
    let instructions = bench.instructions()?;
    let bytes = bytes_per_sample()?;
    report(&binary, size, &idle, &side_by_side, instructions, &bytes, options.seconds);
    let misses = side_by_side.misses(size);
    if misses.is_empty() { Ok(()) } else { Err(misses.join("; ")) }
}

/// Builds the program of a package of that name as it is released.
fn built(step: &str, package: &str) -> Result<PathBuf, String> {
    let built = executables(step, &["--release", "--package", package])?;
    built.get(package).cloned().ok_or(format!("cargo built no {package}"))
}

struct Options {
    seconds: u64,
    binary: Option<PathBuf>,
}

impl Options {
    fn read(arguments: &[String]) -> Result<Options, String> {
        let mut options = Options { seconds: 600, binary: None };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--seconds" => {
                    let text = value()?;
                    options.seconds =
                        text.parse().map_err(|_| format!("`{text}` is not a number of seconds"))?;
                }
                "--binary" => options.binary = Some(PathBuf::from(value()?)),
                other => return Err(format!("footprint has no option `{other}`")),
            }
        }
        if options.seconds < 30 {
            return Err("--seconds: less than 30 says nothing about growth".to_owned());
        }
        Ok(options)
    }
}

/// The agent's binary and what surrounds it.
struct Measurement {
    bench: Bench,
    binary: PathBuf,
}

/// The three programs that were measured beside each other.
struct SideBySide {
    outrider: Figures,
    collectd: Figures,
    node_exporter: Figures,
}

impl SideBySide {
    /// Everything that is over its budget.
    fn misses(&self, size: u64) -> Vec<String> {
        let Figures { rss_early_kib, rss_kib, pss_kib, cpu_permille, .. } = self.outrider;
        let rivals = self.collectd.rss_kib.min(self.node_exporter.rss_kib);
        let mut misses = Vec::new();
        if size > BINARY_BYTES_MAX {
            misses.push(format!("the binary has {size} bytes, the budget is {BINARY_BYTES_MAX}"));
        }
        if rss_kib > rss_early_kib + GROWTH_KIB_MAX {
            misses.push(format!("the agent grew from {rss_early_kib} to {rss_kib} KiB"));
        }
        if pss_kib > PSS_KIB_MAX {
            misses.push(format!("the agent takes {pss_kib} KiB, the budget is {PSS_KIB_MAX}"));
        }
        if rss_kib >= rivals {
            misses.push(format!("the agent has {rss_kib} KiB resident, another has {rivals}"));
        }
        if cpu_permille > self.collectd.cpu_permille {
            misses.push("the agent takes more processor time than collectd".to_owned());
        }
        misses
    }
}

impl Measurement {
    fn new(binary: &Path, convoy: &Path) -> Result<Measurement, String> {
        let here = std::env::current_dir().map_err(|e| format!("current folder: {e}"))?;
        let binary =
            binary.canonicalize().map_err(|e| format!("finding {}: {e}", binary.display()))?;
        Ok(Measurement { bench: Bench::new(&here.join("target/footprint"), convoy)?, binary })
    }

    /// The agent; following the mesh over `daemon` with TLS to the broker, or with neither.
    fn agent(
        &self,
        name: &str,
        daemon: Option<u16>,
        under: &[&str],
    ) -> Result<(Child, u16), String> {
        let binary = self.binary.to_string_lossy();
        let words = [under, &[&*binary]].concat();
        let spool = format!("[spool]\nfolder = \"{}/{name}.spool\"\n", self.bench.folder.display());
        self.bench.agent(name, &words, daemon.map(|daemon| Follow { daemon, more: &spool }))
    }

    fn idle(&self) -> Result<Figures, String> {
        println!("==> idle for 20 s");
        let (agent, _) = self.agent("idle", None, &[])?;
        std::thread::sleep(Duration::from_secs(20));
        Figures::read(agent.pid())
    }

    /// All three for the same time, scraped once a second.
    fn side_by_side(&self, seconds: u64) -> Result<SideBySide, String> {
        println!("==> agent, collectd and node_exporter side by side for {seconds} s");
        let _broker = self.bench.broker()?;
        let (json, text) = (free_port()?, free_port()?);
        let _json = self.bench.daemon(NODES, "jsoninfo", json)?;
        let _text = self.bench.daemon(NODES, "txtinfo", text)?;
        let (agent, agent_port) = self.agent("following", Some(json), &[])?;
        let (collectd, collectd_port) = self.collectd(text)?;
        let exporter_port = free_port()?;
        let mut command = packages::command("prometheus-node-exporter");
        command.arg(format!("--web.listen-address=127.0.0.1:{exporter_port}"));
        let exporter =
            Child::start("node_exporter", &mut command, &self.bench.folder, Some(exporter_port))?;

        let children = [&agent, &collectd, &exporter];
        let started = Instant::now();
        let warm = Duration::from_secs(seconds / 3);
        let mut early: Vec<(u64, u64)> = Vec::new();
        let mut due = started;
        while started.elapsed() < Duration::from_secs(seconds) {
            for port in [agent_port, collectd_port, exporter_port] {
                scrape(port)?;
            }
            if early.is_empty() && started.elapsed() >= warm {
                for child in children {
                    let pid = child.pid();
                    early.push((Figures::rss_kib(pid)?, Figures::cpu_ticks(pid)?));
                }
            }
            due += Duration::from_secs(1);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let mut results = Vec::new();
        for (child, (rss_kib, ticks)) in children.into_iter().zip(early) {
            let mut figures = Figures::read(child.pid())?;
            figures.rss_early_kib = rss_kib;
            figures.cpu_permille = figures.permille_since(ticks, seconds - seconds / 3);
            results.push(figures);
        }
        let [outrider, collectd, node_exporter] = <[Figures; 3]>::try_from(results)
            .map_err(|_| "three programs were measured".to_owned())?;
        Ok(SideBySide { outrider, collectd, node_exporter })
    }

    fn collectd(&self, txtinfo: u16) -> Result<(Child, u16), String> {
        let port = free_port()?;
        let folder = self.bench.folder.display();
        let config = self.bench.write(
            "collectd.conf",
            format!(
                "Hostname \"footprint\"\nFQDNLookup false\nInterval 1\nBaseDir \"{folder}\"\nPIDFile \"{folder}/collectd.pid\"\n\
                 TypesDB \"/usr/share/collectd/types.db\"\n\
                 LoadPlugin cpu\nLoadPlugin memory\nLoadPlugin df\nLoadPlugin interface\nLoadPlugin thermal\nLoadPlugin olsrd\n\
                 LoadPlugin mqtt\nLoadPlugin write_prometheus\n\
                 <Plugin olsrd>\n Host \"127.0.0.1\"\n Port \"{txtinfo}\"\n CollectLinks \"Detail\"\n CollectRoutes \"Detail\"\n CollectTopology \"Detail\"\n</Plugin>\n\
                 <Plugin mqtt>\n <Publish \"broker\">\n  Host \"127.0.0.1\"\n  Port {}\n  QoS 1\n </Publish>\n</Plugin>\n\
                 <Plugin write_prometheus>\n Host \"127.0.0.1\"\n Port \"{port}\"\n</Plugin>\n",
                self.bench.broker_plain
            ),
        )?;
        let mut command = packages::command("collectd");
        command.arg("-f").arg("-C").arg(config);
        Ok((Child::start("collectd", &mut command, &self.bench.folder, Some(port))?, port))
    }

    /// Instructions of one tick: poll, all collectors, telemetry, one scrape.
    fn instructions(&self) -> Result<u64, String> {
        println!("==> instructions of a tick, under valgrind");
        let _broker = self.bench.broker()?;
        let daemon_port = free_port()?;
        let _daemon = self.bench.daemon(NODES, "jsoninfo", daemon_port)?;
        let mut totals = Vec::new();
        for ticks in [TICKS_SHORT, TICKS_LONG] {
            let out = self.bench.folder.join(format!("callgrind.{ticks}"));
            let out_option = format!("--callgrind-out-file={}", out.display());
            let under = ["valgrind", "--tool=callgrind", "--quiet", out_option.as_str()];
            let (agent, port) = self.agent("counted", Some(daemon_port), &under)?;
            let polls = || -> Result<f64, String> {
                Ok(value(&scrape(port)?, "outrider_mesh_polls_total").unwrap_or(0.0))
            };
            let last = polls()? + ticks as f64;
            until("ticks of the agent under valgrind", Duration::from_secs(1), || {
                Ok((polls()? >= last).then_some(()))
            })?;
            agent.stop()?;
            let text = fs::read_to_string(&out).map_err(|e| format!("{}: {e}", out.display()))?;
            let total = text
                .lines()
                .find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")))
                .and_then(|total| total.trim().parse::<u64>().ok())
                .ok_or("valgrind wrote no total")?;
            totals.push(total);
        }
        Ok((totals[1] - totals[0]) / (TICKS_LONG - TICKS_SHORT))
    }
}

fn bytes_per_sample() -> Result<String, String> {
    println!("==> bytes on the wire of a telemetry sample");
    quiet(&mut cargo(&[
        "run",
        "--quiet",
        "--locked",
        "--package",
        "outrider",
        "--example",
        "bytes-per-sample",
    ]))
}

fn report(
    binary: &Path,
    size: u64,
    idle: &Figures,
    beside: &SideBySide,
    instructions: u64,
    bytes: &str,
    seconds: u64,
) {
    println!("\nBinary {}: {size} bytes", binary.display());
    println!(
        "Instructions of one tick (poll of {NODES} nodes, all collectors, telemetry, scrape): {instructions}"
    );
    println!("\nFollowing {NODES} nodes at 1 Hz for {seconds} s, scraped at 1 Hz:\n");
    println!("| | RSS | PSS | peak RSS | threads | CPU |");
    println!("|---|---|---|---|---|---|");
    idle.row("outrider, idle");
    beside.outrider.row("outrider, MQTT over TLS");
    beside.collectd.row("collectd, MQTT without TLS");
    beside.node_exporter.row("node_exporter, no mesh, no MQTT");
    println!(
        "\nRSS of the agent after a third of the run {} KiB, at its end {} KiB\n",
        beside.outrider.rss_early_kib, beside.outrider.rss_kib
    );
    print!("{bytes}");
}
