//! Prints what the hardware collectors read below a root: `cargo run --example hw-dump [ROOT [ROUNDS]]`. Samples are
//! lines of the Prometheus text format; how long each collector took and what was left out goes to standard error.
//! For support ("send us this output") and for measuring what a round costs; the golden files of the tests are made
//! by the tests themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Duration;

use outrider::config;
use outrider::shell::hw::Hardware;

/// Longest wait for all collectors of a round.
const ROUND_MAX: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().unwrap_or_else(|| "/".to_owned());
    let rounds = arguments.next().map_or(Ok(1), |rounds| rounds.parse::<u32>());
    let Ok(rounds) = rounds else {
        eprintln!("hw-dump: ROUNDS must be a number");
        return ExitCode::from(2);
    };
    let config = config::Hardware {
        enabled: true,
        interval: Duration::from_secs(1),
        deadline: Duration::from_secs(2),
        root: root.into(),
        disable: BTreeSet::new(),
        exclude: BTreeMap::new(),
        include: BTreeMap::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    match runtime {
        Ok(runtime) => runtime.block_on(dump(&config, rounds)),
        Err(error) => {
            eprintln!("hw-dump: start the runtime: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn dump(config: &config::Hardware, rounds: u32) -> ExitCode {
    let (mut hardware, mut reports) = Hardware::new(config);
    let collectors = hardware.collectors().to_vec();
    let mut code = ExitCode::SUCCESS;
    for round in 1..=rounds {
        for collector in &collectors {
            hardware.start(collector);
        }
        for _ in &collectors {
            let Ok(Some(report)) = tokio::time::timeout(ROUND_MAX, reports.recv()).await else {
                eprintln!("hw-dump: a collector hangs");
                return ExitCode::FAILURE;
            };
            if round < rounds {
                continue;
            }
            let (name, took) = (report.collector, report.took);
            match report.result {
                Ok(samples) => {
                    eprintln!("# {name}: {} samples in {took:?}", samples.len());
                    for sample in samples {
                        println!("{sample}");
                    }
                }
                Err(error) => {
                    eprintln!("# {name}: failed: {error}");
                    code = ExitCode::FAILURE;
                }
            }
            for complaint in report.complaints {
                eprintln!("# {name}: {complaint}");
            }
        }
    }
    code
}
