//! The hardware collectors against trees laid out as kernels lay out /proc and /sys, against broken trees, and against
//! this machine. Golden results lie beside the trees as lines of the Prometheus text format; after a change that is
//! meant, `OUTRIDER_BLESS=1` writes them anew (and fails, so that nobody blesses by accident): read the difference.
#![allow(clippy::unwrap_used, reason = "tests; the helpers among them are not marked as such")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use outrider::config;
use outrider::core::catalog::hardware as catalog;
use outrider::core::exposition::{Format, render};
use outrider::core::sample::{Kind, Metric, Sample};
use outrider::core::state::State;
use outrider::core::time::Mono;
use outrider::shell::hw::{Hardware, Report, Started};

#[path = "fixture/promtool.rs"]
mod promtool;

use promtool::promtool;

/// What a round of all collectors may take on a busy machine.
const GENEROUS: Duration = Duration::from_secs(60);

/// Collectors that read this machine rather than the tree: system calls about mounts, clocks and this process.
const OF_THIS_MACHINE: [&str; 4] = ["filesystem", "filesystem-remote", "process", "time"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hw").join(name)
}

fn config(root: &Path) -> config::Hardware {
    config::Hardware {
        enabled: true,
        interval: Duration::from_secs(1),
        deadline: Duration::from_secs(20),
        root: root.to_owned(),
        disable: BTreeSet::new(),
        exclude: BTreeMap::new(),
        include: BTreeMap::new(),
    }
}

/// An empty folder, in memory where the machine has such a place: the trees here have thousands of tiny files.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::tempdir_in(parent).unwrap()
}

/// Runs all collectors of `config` `rounds` times and returns the reports of the last round by name.
fn collect(config: &config::Hardware, rounds: usize) -> BTreeMap<&'static str, Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (mut hardware, mut receiver) = Hardware::new(config);
        let names = hardware.collectors().to_vec();
        let mut reports = BTreeMap::new();
        for _ in 0..rounds {
            reports.clear();
            for name in &names {
                assert_eq!(hardware.start(name), Started::Yes, "{name}");
            }
            while reports.len() < names.len() {
                let report = tokio::time::timeout(GENEROUS, receiver.recv()).await;
                let report = report.expect("a collector hangs").unwrap();
                reports.insert(report.collector, report);
            }
        }
        reports
    })
}

fn lines(reports: &BTreeMap<&'static str, Report>) -> String {
    let mut text = String::new();
    for (name, report) in reports {
        match &report.result {
            Ok(samples) => {
                writeln!(text, "# {name}").unwrap();
                samples.iter().for_each(|sample| writeln!(text, "{sample}").unwrap());
            }
            Err(error) => writeln!(text, "# {name} failed: {error}").unwrap(),
        }
        for complaint in &report.complaints {
            writeln!(text, "# {name} complains: {complaint}").unwrap();
        }
    }
    text
}

fn check_golden(name: &str) {
    let root = fixture(name);
    let mut config = config(&root);
    config.disable = OF_THIS_MACHINE.map(str::to_owned).into();
    // The second round reads what the first has learnt about chips and labels.
    let text = lines(&collect(&config, 2)).replace(root.to_str().unwrap(), "ROOT");
    assert_eq!(text, lines(&collect(&config, 1)).replace(root.to_str().unwrap(), "ROOT"));
    let golden = fixture(&format!("{name}.txt"));
    if std::env::var_os("OUTRIDER_BLESS").is_some() {
        fs::write(&golden, &text).unwrap();
        panic!("wrote {}; read the difference and run again without blessing", golden.display());
    }
    let expected = fs::read_to_string(&golden).unwrap();
    for (number, (line, wanted)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(line, wanted, "line {} of {}", number + 1, golden.display());
    }
    assert_eq!(text.lines().count(), expected.lines().count(), "{}", golden.display());
}

#[test]
fn x86_box() {
    check_golden("x86-box");
}

#[test]
fn raspberry_pi() {
    check_golden("raspberry-pi");
}

#[test]
fn industrial_arm() {
    check_golden("industrial-arm");
}

/// What Prometheus asks of every exposition, checked over everything the trees and this machine yield.
#[test]
fn series_are_unique_and_known() {
    let roots =
        [fixture("x86-box"), fixture("raspberry-pi"), fixture("industrial-arm"), "/".into()];
    for root in roots {
        let reports = collect(&config(&root), 1);
        let mut seen = BTreeSet::new();
        for sample in reports.values().flat_map(|report| report.result.iter().flatten()) {
            assert!(catalog::ALL.contains(&sample.metric), "{}", sample.metric.name);
            assert_eq!(sample.labels.len(), sample.metric.labels.len(), "{sample}");
            assert!(sample.value.is_finite(), "{sample}");
            assert!(sample.metric.kind != Kind::Counter || sample.value >= 0.0, "{sample}");
            assert!(seen.insert((sample.metric.name, &sample.labels)), "twice: {sample}");
        }
        assert!(seen.len() > 50, "{} yields only {} series", root.display(), seen.len());
    }
}

#[test]
fn the_catalog_is_consistent() {
    let mut names = BTreeSet::new();
    for metric in catalog::ALL {
        assert!(names.insert(metric.name), "{} is there twice", metric.name);
        assert!(metric.name.starts_with("outrider_"), "{}", metric.name);
        assert_eq!(
            metric.name.ends_with("_total"),
            metric.kind == Kind::Counter,
            "{}",
            metric.name
        );
        assert_eq!(metric.name.ends_with("_info"), metric.kind == Kind::Info, "{}", metric.name);
        assert!(metric.help.ends_with('.'), "{}", metric.name);
        // Labels of what is sent are few: each combination is a column of every batch.
        assert!(!metric.telemetry || metric.kind != Kind::Info, "{}", metric.name);
    }
    let collectors: Vec<_> = Hardware::known().collect();
    assert!(collectors.is_sorted() && collectors.len() == 15, "{collectors:?}");
}

/// The text that Prometheus would scrape, judged by Prometheus's own tool: every metric of the catalog once, then what
/// a machine yields.
#[test]
fn promtool_has_nothing_to_say() {
    let all = |metric: &'static Metric| Sample::new(metric, &vec!["x"; metric.labels.len()], 1.0);
    let mut state = State::default();
    let samples = catalog::ALL.iter().map(|metric| all(metric)).collect();
    state.hardware.replace("all", Mono::default(), samples);
    ask_promtool(&render(&state, Format::Prometheus));

    for (collector, report) in collect(&config(&fixture("x86-box")), 1) {
        state.hardware.replace(collector, Mono::default(), report.result.unwrap_or_default());
    }
    state.hardware.forget("all");
    ask_promtool(&render(&state, Format::Prometheus));
}

fn ask_promtool(text: &str) {
    assert!(text.contains("outrider_load1 "), "the hardware is missing in {text}");
    promtool(text).unwrap();
}

#[test]
fn an_empty_root_is_a_machine_without_features() {
    let root = scratch();
    for (name, report) in collect(&config(root.path()), 2) {
        assert!(report.complaints.is_empty(), "{name}: {:?}", report.complaints);
        let samples = report.result.unwrap();
        let expects_samples = ["process", "time"].contains(&name);
        assert_eq!(samples.is_empty(), !expects_samples, "{name}: {samples:?}");
    }
}

fn write(root: &Path, path: &str, content: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn values(report: &Report, metric: &str) -> Vec<(String, f64)> {
    let samples = report.result.as_ref().unwrap().iter();
    let of = |sample: &Sample| (sample.labels.join("/"), sample.value);
    samples.filter(|sample| sample.metric.name == metric).map(of).collect()
}

fn skipped(report: &Report, cause: &str) -> f64 {
    let label = format!("{}/{cause}", report.collector);
    let found = values(report, "outrider_hardware_skipped_items");
    found.into_iter().find(|(labels, _)| *labels == label).map_or(0.0, |(_, value)| value)
}

/// A directory where a file belongs cannot be read even by root, who may read everything else.
#[test]
fn an_unreadable_sensor_costs_itself_only() {
    let root = scratch();
    let root = root.path();
    for zone in 0..3 {
        let zone = format!("sys/class/thermal/thermal_zone{zone}");
        write(root, &format!("{zone}/type"), "soc\n");
        write(root, &format!("{zone}/temp"), "40000\n");
    }
    let unreadable = root.join("sys/class/thermal/thermal_zone1/temp");
    fs::remove_file(&unreadable).unwrap();
    fs::create_dir(&unreadable).unwrap();
    fs::create_dir_all(root.join("proc/loadavg")).unwrap();

    let reports = collect(&config(root), 1);
    let thermal = &reports["thermal"];
    let zones = values(thermal, "outrider_thermal_zone_celsius");
    let expected = [("thermal_zone0/soc".to_owned(), 40.0), ("thermal_zone2/soc".to_owned(), 40.0)];
    assert_eq!(zones, expected);
    assert_eq!(skipped(thermal, "unreadable"), 1.0);
    assert_eq!(thermal.complaints.len(), 1);
    assert!(thermal.complaints[0].contains("thermal_zone1/temp"), "{:?}", thermal.complaints);
    // A collector that has nothing else to tell fails, and says what it could not do.
    let error = reports["load"].result.as_ref().unwrap_err();
    assert!(error.starts_with("read `") && error.contains("proc/loadavg"), "{error}");
}

/// Every file of every tree replaced by rubbish in turn: nothing panics, nothing absurd is reported.
#[test]
fn garbage_in_any_file_is_noted_and_not_believed() {
    const RUBBISH: [&[u8]; 7] = [
        b"",
        b"garbage\n",
        b"-99999999999999999999999999\n",
        b"NaN inf -inf 1e999\n",
        b"cpu 1 2 -3\ncpu\ncpu0 x\nbtime -1\nMemTotal: kB\nsome avg10=NaN total=-1\n:::\n a b c:\n",
        b"\xff\xfe\x00\x00\x80 \xc3\x28\n\x00",
        b"0x0c 0xffffffffffffffffffff\n",
    ];
    let mut faults = 0;
    for name in ["x86-box", "raspberry-pi", "industrial-arm"] {
        let copy = scratch();
        copy_tree(&fixture(name), copy.path());
        let files = files(copy.path());
        assert!(files.len() > 50);
        for rubbish in RUBBISH {
            for file in &files {
                fs::write(file, rubbish).unwrap();
            }
            for (collector, report) in collect(&config(copy.path()), 2) {
                faults += report.complaints.len() + usize::from(report.result.is_err());
                assert!(report.complaints.len() <= 8, "{collector}");
                for sample in report.result.iter().flatten() {
                    assert!(sample.value.is_finite(), "{sample}");
                    let plain =
                        |label: &str| label.len() <= 96 && !label.contains(char::is_control);
                    assert!(sample.labels.iter().all(|label| plain(label)), "{sample}");
                }
            }
        }
    }
    assert!(faults > 100, "only {faults} complaints: the rubbish was believed");
}

fn copy_tree(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, target) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_symlink() {
            symlink(fs::read_link(entry.path()).unwrap(), target).unwrap();
        } else if kind.is_dir() {
            fs::create_dir(&target).unwrap();
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn ten_thousand_interfaces_yield_a_bounded_number_of_series() {
    let root = scratch();
    let root = root.path();
    let mut dev = "Inter-| Receive | Transmit\n face |bytes |bytes\n".to_owned();
    for number in 0..10_000 {
        let name = format!("pod{number}");
        fs::create_dir_all(root.join("sys/class/net").join(&name)).unwrap();
        writeln!(dev, "{name}: 1 1 0 0 0 0 0 0 2 2 0 0 0 0 0 0").unwrap();
    }
    write(root, "proc/net/dev", &dev);
    let network = &collect(&config(root), 1)["network"];
    let samples = network.result.as_ref().unwrap().len();
    assert!((32 * 10..=32 * 16).contains(&samples), "{samples} samples");
    assert!(skipped(network, "bound") > 2000.0, "{:?}", network.complaints);
    assert!(network.complaints.len() <= 8);

    let mut asked = config(root);
    asked.include.insert("network".to_owned(), vec!["pod77?".to_owned()]);
    asked.exclude.insert("network".to_owned(), vec!["pod775".to_owned()]);
    let received = values(&collect(&asked, 1)["network"], "outrider_network_received_bytes_total");
    let names: Vec<_> = received.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [0, 1, 2, 3, 4, 6, 7, 8, 9].map(|digit| format!("pod77{digit}"));
    assert_eq!(names, expected);
}

#[test]
fn filters_choose_what_is_reported() {
    let mut config = config(&fixture("x86-box"));
    config.include.insert("network".to_owned(), vec!["lo".to_owned(), "enp*".to_owned()]);
    config.exclude.insert("network".to_owned(), vec!["enp2*".to_owned()]);
    config.exclude.insert("hwmon".to_owned(), vec!["jc42*/*".to_owned(), "nct6775/*".to_owned()]);
    config.exclude.insert("thermal".to_owned(), vec!["acpi*".to_owned(), "Processor".to_owned()]);
    config.disable.insert("wifi".to_owned());
    let reports = collect(&config, 1);
    let interfaces = values(&reports["network"], "outrider_network_up");
    assert_eq!(interfaces, [("enp1s0".to_owned(), 1.0), ("lo".to_owned(), 1.0)]);
    let chips = values(&reports["hwmon"], "outrider_hwmon_temperature_celsius");
    assert_eq!(chips.len(), 6, "{chips:?}");
    assert_eq!(values(&reports["thermal"], "outrider_thermal_zone_celsius").len(), 1);
    assert!(!reports.contains_key("wifi"));
}

/// statvfs goes to the mount point below the root; what it says there is compared with what the kernel says directly.
#[test]
fn fill_is_that_of_the_mount_point_below_the_root() {
    let root = scratch();
    let root = root.path();
    fs::create_dir_all(root.join("data with blank")).unwrap();
    let mounts = "\
        20 1 254:1 / / ro,noatime shared:1 - ext4 /dev/vdb1 rw\n\
        21 20 254:2 / /data\\040with\\040blank rw shared:2 - xfs /dev/vdb2 ro,attr2\n\
        22 20 254:3 / /gone rw - ext4 /dev/vdb3 rw\n\
        23 20 0:20 / /proc rw - proc proc rw\n\
        not a mount\n";
    write(root, "proc/1/mountinfo", mounts);
    let report = &collect(&config(root), 1)["filesystem"];
    let kernel = nix::sys::statvfs::statvfs(root).unwrap();
    let size = kernel.fragment_size() as f64 * kernel.blocks() as f64;
    let sizes = values(report, "outrider_filesystem_size_bytes");
    assert_eq!(sizes, [("/".to_owned(), size), ("/data with blank".to_owned(), size)]);
    for (_, available) in values(report, "outrider_filesystem_available_bytes") {
        assert!(available > 0.0 && available <= size);
    }
    let readonly = values(report, "outrider_filesystem_readonly");
    assert_eq!(readonly, [("/".to_owned(), 0.0), ("/data with blank".to_owned(), 1.0)]);
    assert_eq!((skipped(report, "unreadable"), skipped(report, "garbage")), (1.0, 1.0));
}

/// This machine, whatever it is: every collector ends well and says nothing that cannot be.
#[test]
fn this_machine_is_believable() {
    let reports = collect(&config(Path::new("/")), 2);
    for (name, report) in &reports {
        assert!(report.result.is_ok(), "{name}: {:?}", report.result);
    }
    let one = |collector: &str, metric: &str| -> f64 {
        let found = values(&reports[collector], metric);
        assert_eq!(found.len(), 1, "{metric}");
        found[0].1
    };
    let size = one("memory", "outrider_memory_size_bytes");
    assert!(size > 32e6 && one("memory", "outrider_memory_available_bytes") <= size);
    let cores = std::thread::available_parallelism().unwrap().get() as f64;
    assert!(one("cpu", "outrider_cpu_cores") >= cores);
    assert!(one("system", "outrider_uptime_seconds") > 0.0);
    assert!(one("load", "outrider_load1") >= 0.0);
    let resident = one("process", "outrider_process_resident_bytes");
    assert!((500e3..4e9).contains(&resident), "{resident}");
    assert!(one("process", "outrider_process_threads") >= 2.0);
    assert!(one("process", "outrider_process_open_files") >= 3.0);
    assert!((0.0..=2.0).contains(&one("time", "outrider_clock_quality")));
    assert!(!values(&reports["filesystem"], "outrider_filesystem_size_bytes").is_empty());
}
