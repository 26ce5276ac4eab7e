//! The tests of the wire formats, built for the target and run on it: the golden bytes that every architecture writes
//! and reads.
//!
//! Only tests are chosen that start no program of the target: under the emulator, the kernel would refuse to run it.

use super::{Check, verdict, way};
use crate::dist::build::Build;
use crate::steps::each_line;

/// Longest run of one test program, in seconds. Each takes well below a minute under an emulator.
const PROGRAM_SECONDS: &str = "900";

/// Random cases of one property. The default of 256 is for the machine that the code is written on.
const PROPERTY_CASES: &str = "16";

/// Tests of one package.
struct Suite {
    package: &'static str,
    /// The test programs, in cargo's words.
    programs: &'static [&'static str],
    /// Parts of the names of those that are run; all when empty.
    filters: &'static [&'static str],
    /// Least number of tests; there are more.
    least: usize,
    /// The golden ones, which have to be among them.
    golden: &'static [&'static str],
}

const SUITES: &[Suite] = &[
    Suite {
        package: "outrider",
        programs: &[
            "--lib",
            "--test",
            "metrics",
            "--test",
            "status_document",
            "--test",
            "telemetry",
        ],
        filters: &[
            // Frames, dictionaries, batches, documents, and their decoder.
            "core::telemetry::",
            "core::presence::",
            // Gathered records: messages of many small ones, parts of one that is long, and what is kept of either.
            "core::record::assemble::",
            "core::record::bytes::",
            "core::record::checksum::",
            "core::record::compress::",
            "core::record::stored::",
            "core::record::tests::",
            // MQTT packets and netlink messages.
            "shell::mqtt::wire::",
            "shell::hw::nl80211::",
            "the_bytes_on_the_wire_are_fixed",
            "a_sample_of_the_standard_profile",
            "the_fuzzing_corpus_does_no_harm",
            "the_schema_is_what_it_was",
            // The text of /metrics.
            "promtool_",
            "numbers_read_back_as_they_were",
            "hostile_text_stays_inside_its_label",
            "openmetrics_keeps_its_own_rules",
        ],
        least: 80,
        golden: &[
            "the_bytes_on_the_wire_are_fixed",
            "the_schema_is_what_it_was",
            "core::record::tests::the_bytes_are_fixed",
        ],
    },
    Suite {
        package: "spool",
        // What lies on the disk; the rest of its tests are about disks and not about bytes.
        programs: &["--lib"],
        filters: &["body::", "codec::", "frame::"],
        least: 7,
        golden: &["frame::tests::golden_bytes_of_header_and_frame"],
    },
    Suite { package: "olsr-view", programs: &["--lib"], filters: &[], least: 45, golden: &[] },
    Suite {
        package: "olsr-bridge",
        programs: &["--lib", "--test", "fixtures"],
        filters: &[],
        least: 45,
        golden: &["whole_views_are_as_recorded", "every_view_tells_the_cost_and_hops_of_its_mesh"],
    },
];

/// Builds and runs them.
pub fn tests(build: &Build<'_>) -> Result<Vec<Check>, String> {
    SUITES.iter().map(|suite| suite.run(build)).collect()
}

impl Suite {
    fn run(&self, build: &Build<'_>) -> Result<Check, String> {
        let target = build.target;
        let mut words = vec!["test", "--package", self.package];
        words.extend(self.programs);
        let mut command = build.cargo_for_tests(&words)?;
        let runner = format!("CARGO_TARGET_{}_RUNNER", target.variable().to_uppercase());
        let bounded = ["timeout", "--kill-after=5", PROGRAM_SECONDS].into_iter();
        let bounded: Vec<&str> =
            bounded.chain(target.runner().iter().map(String::as_str)).collect();
        command
            .env(runner, bounded.join(" "))
            .env("PROPTEST_CASES", PROPERTY_CASES)
            // Not optimised: they run for a minute instead of seconds, but the compiler would take minutes more.
            .env("CARGO_PROFILE_DEV_OPT_LEVEL", "0")
            .env("CARGO_PROFILE_DEV_DEBUG", "none")
            .env("CARGO_INCREMENTAL", "0")
            .arg("--")
            .args(self.filters);
        let mut tests = verdict::Tests::default();
        let name = format!("wire formats of {} for {}", self.package, target.name);
        each_line(&name, &mut command, |line| {
            tests.add(line);
            if !line.ends_with(" ... ok") && !line.is_empty() {
                println!("{line}");
            }
        })?;
        tests.suffice(self.least, self.golden).map_err(|e| format!("{name}: {e}"))?;
        let golden = match self.golden {
            [] => String::new(),
            names => format!(", golden bytes among them ({})", names.join(", ")),
        };
        Ok(Check::new(
            format!("tests of the wire formats, {}", self.package),
            format!("{} passed {}{golden}", tests.passed.len(), way(target.runner())),
        ))
    }
}
