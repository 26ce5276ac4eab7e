//! The hardware collectors against trees laid out as kernels lay out /proc and /sys, against broken trees, and against
//! this machine. Golden results lie beside the trees as lines of the Prometheus text format; after a change that is
//! meant, `OUTRIDER_BLESS=1` writes them anew (and fails, so that nobody blesses by accident): read the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use outrider::config;
use outrider::core::catalog::hardware as catalog;
use outrider::core::sample::{Kind, Sample};
use outrider::shell::hw::{Hardware, Report, Started};

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
        assert!(
            metric.help.ends_with('.')
                && metric.help.contains("from ") | metric.help.contains(" of ")
        );
        // Labels of what is sent are few: each combination is a column of every batch.
        assert!(!metric.telemetry || metric.kind != Kind::Info, "{}", metric.name);
    }
    let collectors: Vec<_> = Hardware::known().collect();
    assert!(collectors.is_sorted() && collectors.len() == 15, "{collectors:?}");
}
