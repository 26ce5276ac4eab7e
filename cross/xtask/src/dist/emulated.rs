//! Runs the finished programs of a target as they run on a vehicle, under the target's emulator where this machine is
//! another one, and says what held. Then again, for a shorter time, under its other emulators: on the least processors that
//! the target promises to run on.
//!
//! The agent follows a stand-in mesh, is scraped, and sends over TLS to a real broker; what it sent is read back by the
//! program itself and by one for this machine. [`formats::tests`] runs the tests of the wire formats on the target. The
//! memory of a program under an emulator says nothing about the target, so it is told of native runs only.

mod follow;
pub mod formats;
mod verdict;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::targets::Target;
use crate::bench::{Bench, Child, Follow, PATIENCE};
use crate::steps::{executables, quiet};

/// Polls of the mesh that the agent has to make while it is watched, at one a second.
const POLLS: u32 = 30;

/// The same on a further processor.
const POLLS_FURTHER: u32 = 10;

/// Status of `timeout` from coreutils when it had to end what it ran.
const TIMED_OUT: i32 = 124;

/// The example configuration that ships, from the workspace's root.
const EXAMPLE: &str = "images/config/outrider.toml";

/// Captured answers of daemons, and what `olsr-bridge` has to print for them to the byte, below [`FIXTURES`].
const GOLDEN: &[(&str, &str)] = &[
    ("olsrd/old-0.6.6.2/a/jsoninfo-all.http", "golden/olsrd-old-0.6.6.2-jsoninfo--all.json"),
    ("olsrd/smart-gateway/a/txtinfo-all.http", "golden/olsrd-smart-gateway-txtinfo--all.json"),
    ("olsrd2/asymmetric/a/telnet-*.raw", "golden/olsrd2-asymmetric-telnet.json"),
    ("olsrd2/layer2/a/telnet-*.raw", "golden/olsrd2-layer2-telnet.json"),
];

/// Folder of `olsr-bridge`'s captured answers, from the workspace's root.
const FIXTURES: &str = "olsr-bridge/fixtures";

/// Folder of the agent's payloads, from the workspace's root.
const PAYLOADS: &str = "agent/tests/fixtures/telemetry";

/// olsrd2's answers that decide a view, in the order in which they are read.
const OLSRD2_COMMANDS: &[&str] = &[
    "nhdpinfo-jsonraw-link",
    "nhdpinfo-jsonraw-neighbor",
    "nhdpinfo-jsonraw-interface",
    "olsrv2info-jsonraw-originator",
    "olsrv2info-jsonraw-route",
    "olsrv2info-jsonraw-edge",
    "olsrv2info-jsonraw-attached_network",
    "olsrv2info-jsonraw-lan",
    "netjsoninfo-graph",
    "systeminfo-json-version",
    "systeminfo-json-time",
];

/// Something that held: what was looked at and what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub what: String,
    pub result: String,
}

impl Check {
    fn new(what: impl Into<String>, result: impl Into<String>) -> Check {
        Check { what: what.into(), result: result.into() }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.result)
    }
}

/// Finished programs of one target.
pub struct Subject<'a> {
    pub target: &'a Target,
    pub outrider: &'a Path,
    pub olsr_bridge: &'a Path,
    /// What `outrider version --json` must tell as its build.
    pub label: &'a str,
}

/// Programs of a target and the words that run them here.
#[derive(Clone, Copy)]
struct Trial<'a> {
    subject: &'a Subject<'a>,
    /// None where this machine is one of the target's.
    runner: &'a [String],
    host: &'a Host,
    /// Polls of the mesh that the agent has to make.
    polls: u32,
}

/// Programs of this workspace for this machine.
pub struct Host {
    outrider: PathBuf,
    convoy: PathBuf,
}

impl Host {
    /// Builds them.
    pub fn build() -> Result<Host, String> {
        let words = ["--package", "outrider", "--package", "convoy"];
        let built = executables("build the stand-in and a decoder for this machine", &words)?;
        let path = |name: &str| built.get(name).cloned().ok_or(format!("cargo built no {name}"));
        Ok(Host { outrider: path("outrider")?, convoy: path("convoy")? })
    }
}

/// Runs the programs of `subject` in a folder below `work`. Fails with the first check that does not hold.
pub fn programs(subject: &Subject<'_>, host: &Host, work: &Path) -> Result<Vec<Check>, String> {
    let work = work.join("emulated").join(&subject.target.name);
    let trial = Trial { subject, runner: subject.target.runner(), host, polls: POLLS };
    let mut checks = trial.run(&work.join("0"))?;
    for (number, runner) in subject.target.further_runners().enumerate() {
        let further = Trial { runner, polls: POLLS_FURTHER, ..trial };
        let held = further
            .run(&work.join((number + 1).to_string()))
            .map_err(|e| format!("{}: {e}", way(runner)))?;
        checks.push(Check::new(
            format!("all of this, {}", way(runner)),
            format!("{} checks held, with {POLLS_FURTHER} polls of the mesh", held.len()),
        ));
    }
    Ok(checks)
}

/// How programs run here, for people.
fn way(runner: &[String]) -> String {
    match runner {
        [] => "natively".to_owned(),
        words => format!("under {}", words.join(" ")),
    }
}

impl Trial<'_> {
    /// Every check, with logs in `folder`.
    fn run(&self, folder: &Path) -> Result<Vec<Check>, String> {
        let bench = Bench::new(folder, &self.host.convoy)?;
        let mut checks = vec![
            self.version()?,
            self.valid_configuration()?,
            self.invalid_configuration(&bench)?,
            self.fixed_payload()?,
            self.views()?,
        ];
        let followed =
            follow::mesh(self, &bench).map_err(|e| format!("{e} (logs: {})", folder.display()))?;
        checks.extend(followed);
        Ok(checks)
    }

    /// Runs a command of the target to its end, in bounded time.
    fn output(&self, program: &Path, arguments: &[&str]) -> Result<Output, String> {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", &PATIENCE.as_secs().to_string()]).args(self.runner);
        command.arg(program).args(arguments).stdin(Stdio::null());
        let name = program.display();
        let output = command.output().map_err(|e| format!("starting {name}: {e}"))?;
        if output.status.code() == Some(TIMED_OUT) {
            let seconds = PATIENCE.as_secs();
            return Err(format!("`{name} {}` takes over {seconds} s", arguments.join(" ")));
        }
        Ok(output)
    }

    /// What a command of the target prints when it succeeds.
    fn printed(&self, program: &Path, arguments: &[&str]) -> Result<Vec<u8>, String> {
        let output = self.output(program, arguments)?;
        if !output.status.success() {
            return Err(format!(
                "`{} {}` ended with {}: {}",
                program.display(),
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr)
            ));
        }
        Ok(output.stdout)
    }

    fn version(&self) -> Result<Check, String> {
        let Subject { target, outrider, label, .. } = self.subject;
        let json = self.printed(outrider, &["version", "--json"])?;
        let result = verdict::version(&json, target.machine, label)?;
        Ok(Check::new(format!("outrider version, {}", way(self.runner)), result))
    }

    fn valid_configuration(&self) -> Result<Check, String> {
        self.printed(self.subject.outrider, &["config", "check", EXAMPLE])?;
        Ok(Check::new("outrider config check of the example", "valid, status 0"))
    }

    fn invalid_configuration(&self, bench: &Bench) -> Result<Check, String> {
        let file = bench.write("invalid.toml", verdict::INVALID_CONFIGURATION)?;
        let file = file.to_string_lossy();
        let output = self.output(self.subject.outrider, &["config", "check", &file])?;
        let said = String::from_utf8_lossy(&output.stderr);
        let result = verdict::invalid_configuration(output.status.code(), &said)?;
        Ok(Check::new("outrider config check of a wrong port", result))
    }

    /// A batch in both of its forms, written by an earlier build: the same lines from either, here and there.
    fn fixed_payload(&self) -> Result<Check, String> {
        let path = |name: &str| Path::new(PAYLOADS).join(name).to_string_lossy().into_owned();
        let (birth, frame, json) =
            (path("birth.json"), path("standard-10s.frame"), path("standard-10s.json"));
        let compact = ["decode", "--birth", &birth, &frame];
        let readable = ["decode", &json];
        let here = quiet(Command::new(&self.host.outrider).args(compact))?;
        for arguments in [&compact[..], &readable[..]] {
            let there = self.printed(self.subject.outrider, arguments)?;
            verdict::same_lines(&arguments.join(" "), &there, here.as_bytes())?;
        }
        let lines = here.lines().count();
        Ok(Check::new(
            "outrider decode of a recorded batch, compact and JSON",
            format!("{lines} lines, equal in both forms and to this machine's"),
        ))
    }

    /// Views of captured answers, to the byte.
    fn views(&self) -> Result<Check, String> {
        let mut bytes = 0;
        for (answers, golden) in GOLDEN {
            let files: Vec<String> = match answers.split_once('*') {
                None => vec![(*answers).to_owned()],
                Some((head, tail)) => {
                    OLSRD2_COMMANDS.iter().map(|command| format!("{head}{command}{tail}")).collect()
                }
            };
            let mut arguments = vec!["--json".to_owned()];
            for file in files {
                let path = Path::new(FIXTURES).join(file);
                // A release of olsrd2 without a plugin was not asked for its answers.
                if path.exists() {
                    arguments.extend(["--file".to_owned(), path.to_string_lossy().into_owned()]);
                }
            }
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let view = self.printed(self.subject.olsr_bridge, &arguments)?;
            let path = Path::new(FIXTURES).join(golden);
            let recorded =
                fs::read(&path).map_err(|e| format!("reading {}: {e}", path.display()))?;
            verdict::same_bytes(golden, &view, &recorded)?;
            bytes += view.len();
        }
        Ok(Check::new(
            "olsr-bridge --file on answers of olsrd (jsoninfo, txtinfo) and olsrd2",
            format!("{} views, {bytes} bytes, as recorded to the byte", GOLDEN.len()),
        ))
    }

    /// Starts the agent as vehicle `name`.
    fn agent(&self, bench: &Bench, name: &str, follow: Follow<'_>) -> Result<(Child, u16), String> {
        let binary = self.subject.outrider.to_string_lossy();
        let mut words: Vec<&str> = self.runner.iter().map(String::as_str).collect();
        words.push(&binary);
        bench.agent(name, &words, Some(follow))
    }
}
