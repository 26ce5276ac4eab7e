//! Checks a folder of captured answers against what the captured meshes were: `check-captures FOLDER`.
//!
//! Prints a line per scenario and every difference; exits 1 when there is one or when the folder holds no capture.

use std::path::PathBuf;
use std::process::ExitCode;

#[path = "../tests/captures/mod.rs"]
mod captures;

fn main() -> ExitCode {
    let Some(root) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: check-captures FOLDER (the one that holds expected.json)");
        return ExitCode::from(2);
    };
    let expected = captures::expected(&root);
    let (mut views, mut wrong) = (0, 0);
    for scenario in captures::scenarios(&root) {
        let expected = &expected[&scenario.daemon][&scenario.name];
        let readings = captures::readings(&scenario);
        let mut bad = 0;
        for reading in &readings {
            let differences = captures::differences(&scenario, reading, expected);
            for difference in &differences {
                println!("  {} {}: {difference}", reading.node, reading.source);
            }
            bad += usize::from(!differences.is_empty());
        }
        println!("{}/{}: {} views, {bad} wrong", scenario.daemon, scenario.name, readings.len());
        views += readings.len();
        wrong += bad;
    }
    println!("{views} views, {wrong} wrong");
    if views > 0 && wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
