//! `cargo xtask test`: everything that must hold before a change lands. Goes on after a failed step, so that one run shows
//! all that is wrong, and fails at the end.

use std::path::Path;
use std::process::Command;

use crate::dist;
use crate::kubernetes;
use crate::packages;
use crate::steps::{cargo, each_line, run};

/// Numbers from the test runner's closing lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// Runs all checks and tests.
pub fn run_all() -> Result<(), String> {
    let log = crate::enter_workspace()?.join(kubernetes::LOG);
    packages::ensure(packages::FOR_TESTS, packages::LIBRARIES_FOR_TESTS)?;
    // Takes minutes once per machine, at low priority beside what comes before the tests.
    let kubernetes = std::thread::spawn(move || kubernetes::ensure(&log));
    let mut failures: Vec<String> = Vec::new();
    let mut note = |result: Result<(), String>| {
        if let Err(message) = result {
            failures.push(message);
        }
    };
    note(run("formatting", &mut cargo(&["fmt", "--all", "--check"])));
    note(run(
        "lints",
        &mut cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    ));
    note(run(
        "documentation",
        cargo(&["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    ));
    let advisories = dependencies();
    let unchecked = if advisories == Ok(false) { "; advisories were NOT CHECKED" } else { "" };
    note(advisories.map(drop));
    note(match kubernetes.join() {
        Ok(built) => built.map(drop),
        Err(_) => Err("building Kubernetes for the tests failed".to_owned()),
    });
    let mut tally = Tally::default();
    let mut tests = |what: &str, words: &[&str]| {
        let words = [&["test", "--locked", "--no-fail-fast"], words].concat();
        each_line(what, &mut cargo(&words), |line| {
            println!("{line}");
            tally.add(line);
        })
    };
    note(tests("tests", &["--workspace", "--exclude", "federation"]));
    // These wait for most of their time: for clusters that start, links that are slow, silence that lasts.
    note(tests("federation", &["--package", "federation", "--", "--test-threads", "4"]));
    note(static_binaries());
    if tally.ignored > 0 {
        failures.push(format!("{} tests are ignored; a test runs or is not there", tally.ignored));
    }
    if tally.passed == 0 {
        failures.push("no test ran".to_owned());
    }
    for failure in &failures {
        println!("FAILED: {failure}");
    }
    println!("outrider: {} passed, {} failed{unchecked}", tally.passed, tally.failed);
    if failures.is_empty() { Ok(()) } else { Err(format!("{} steps failed", failures.len())) }
}

/// The release's way of building, checking and publishing, for a 64-bit and a 32-bit machine.
fn static_binaries() -> Result<(), String> {
    let words = ["--target", "x86_64", "--target", "armv7", "--out", "target/dist"];
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    dist::run(&words).map_err(|e| format!("static binaries: {e}"))
}

/// Licences, bans and sources always; advisories when their database can be had. Returns whether it could.
fn dependencies() -> Result<bool, String> {
    let deny = packages::cargo_deny(&Path::new("target").join("tools"))?;
    let check = |what: &[&str]| {
        let mut command = Command::new(&deny);
        command.args(["--workspace", "check", "--hide-inclusion-graph"]).args(what);
        command
    };
    run("licences, bans, sources", &mut check(&["licenses", "bans", "sources"]))?;
    let mut fetched = Command::new(&deny);
    fetched.args(["fetch", "db"]);
    match run("advisory database", &mut fetched) {
        Ok(()) => run("advisories", check(&["advisories"]).arg("--disable-fetch")).map(|()| true),
        Err(_) => {
            println!(
                "NOT CHECKED: advisories. Their database could not be fetched from here; licences, bans and sources \
                 were checked. With access to it, the same command checks advisories too."
            );
            Ok(false)
        }
    }
}

impl Tally {
    /// Counts one line of the test runner's output, if it is a closing line.
    fn add(&mut self, line: &str) {
        let Some(rest) = line.trim_start().strip_prefix("test result: ") else { return };
        for part in rest.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(what)) = (words.next(), words.next()) else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn closing_lines_are_added_up() {
        let mut tally = Tally::default();
        tally.add("running 3 tests");
        tally.add("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s");
        tally.add("test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0s");
        assert_eq!(tally, Tally { passed: 7, failed: 2, ignored: 1 });
    }
}
