//! The `init` of an emulated machine that boots for one purpose: to run Outrider with the wall clock where 32-bit time ends.
//!
//! Mounts what the agent reads, sets the clock to each date in turn, runs the real programs and asks them over HTTP. Prints
//! one line per check, `ok ...` or `FAILED ...`, then a verdict, and powers the machine off. It proves first that the checks
//! can fail: the standard library as it comes must die on the date that the agent outlives. So this program must not link
//! the agent's remedy; `guest-clock`, beside it, is the same but for the remedy.

mod agent;
mod bridge;
mod clock;
mod http;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, reboot};

use agent::{Agent, Judgement};
use clock::{LAST_OF_32_BITS, set, wall};

/// 2037-01-01T00:00:00Z, which 32 bits can hold.
const IN_2037: i64 = 2_114_380_800;
/// 2040-01-01T00:00:00Z. Within the life of a build, so the agent believes it.
const IN_2040: i64 = 2_208_988_800;
/// 2099-01-01T00:00:00Z, as a dead clock chip may claim.
const IN_2099: i64 = 4_070_908_800;
/// A machine without a clock chip, a day after its boot. The kernel takes no time at which it did not run yet.
const IN_1970: i64 = 86_400;

/// `EOVERFLOW` as the standard library prints it.
const OVERFLOW: &str = "code: 75,";

/// `SIGABRT`, how a panicking release build ends.
const ABORT: i32 = 6;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("now") {
        println!("{}", clock::standard_library());
        return ExitCode::SUCCESS;
    }
    if std::process::id() != 1 {
        eprintln!("this program is the init of an emulated machine; `cargo xtask guest` boots one");
        return ExitCode::from(2);
    }
    let mut report = Report::default();
    match set_up() {
        Ok(()) => run(&mut report),
        Err(why) => report.check("the machine is set up", Err(why)),
    }
    println!("guest: {} ok, {} failed", report.ok, report.failed);
    // Process 1 must not end: where the machine cannot be switched off, the kernel's panic says so.
    if let Err(e) = reboot(RebootCommand::PowerOff) {
        println!("FAILED powering off: {e}");
    }
    ExitCode::FAILURE
}

/// Counts and prints what was checked.
#[derive(Default)]
struct Report {
    ok: u32,
    failed: u32,
}

impl Report {
    /// Prints one check with its finding, or with what is wrong.
    fn check(&mut self, name: &str, result: Result<String, String>) {
        match result {
            Ok(finding) => {
                self.ok += 1;
                println!("ok {name}: {finding}");
            }
            Err(why) => {
                self.failed += 1;
                println!("FAILED {name}: {why}");
            }
        }
    }
}

/// File systems and the loopback interface.
fn set_up() -> Result<(), String> {
    for (kind, at) in
        [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/tmp")]
    {
        std::fs::create_dir_all(at).map_err(|e| format!("making {at}: {e}"))?;
        mount(kind, at, kind, MountFlags::empty(), None)
            .map_err(|e| format!("mounting {kind} at {at}: {e}"))?;
    }
    // IFF_UP and IFF_LOOPBACK; the kernel then gives the interface 127.0.0.1 by itself.
    let flags = "/sys/class/net/lo/flags";
    std::fs::write(flags, "0x9").map_err(|e| format!("writing {flags}: {e}"))
}

fn run(report: &mut Report) {
    report.check("in 2037 the standard library reads the clock", standard_library_in_2037());
    report.check("in 2040 it aborts without the remedy", standard_library_in_2040());
    for (year, seconds) in
        [("2037", IN_2037), ("2040", IN_2040), ("2099", IN_2099), ("1970", IN_1970)]
    {
        report.check(&format!("in {year} it stays alive with the remedy"), remedy(seconds));
    }
    cross(report);
    for (name, seconds, judgement) in [
        ("2040", IN_2040, Judgement::Believed),
        ("2099", IN_2099, Judgement::Unset),
        ("1970", IN_1970, Judgement::Unset),
    ] {
        stay(report, name, seconds, judgement);
    }
    // Who built the image decides whether it is in it.
    if Path::new(bridge::PROGRAM).exists() {
        report.check("in 2040 olsr-bridge reads a saved answer", bridge::reads_a_file(IN_2040));
        report.check(
            "olsr-bridge goes on polling when 32-bit time ends",
            bridge::polls_across_the_end(),
        );
    }
}

fn standard_library_in_2037() -> Result<String, String> {
    set(IN_2037)?;
    let shown = output(Command::new("/init").arg("now"))?;
    Ok(format!("{} s since 1970", shown.trim()))
}

/// Must abort with `EOVERFLOW`: if it lives, the standard library has 64-bit time and the remedy can go.
fn standard_library_in_2040() -> Result<String, String> {
    set(IN_2040)?;
    let output =
        Command::new("/init").arg("now").output().map_err(|e| format!("/init now: {e}"))?;
    let said = String::from_utf8_lossy(&output.stderr).replace('\n', " ");
    match output.status.signal() {
        Some(ABORT) if said.contains(OVERFLOW) => Ok(said.trim().to_owned()),
        _ => Err(format!("{}, but it had to abort: {said}", output.status)),
    }
}

/// With the remedy, `SystemTime::now()` is the nearest time that 32 bits hold, and the true time can be had.
fn remedy(seconds: i64) -> Result<String, String> {
    set(seconds)?;
    let shown = output(&mut Command::new("/guest-clock"))?;
    let mut numbers = shown.split_whitespace().map(str::parse::<i64>);
    let (Some(Ok(library)), Some(Ok(truth))) = (numbers.next(), numbers.next()) else {
        return Err(format!("guest-clock says `{}`, which are not two numbers", shown.trim()));
    };
    let now = wall();
    if !(seconds..=now).contains(&truth) {
        return Err(format!("it takes {truth} for the true time, which is {now}"));
    }
    if !(seconds.min(LAST_OF_32_BITS)..=now.min(LAST_OF_32_BITS)).contains(&library) {
        return Err(format!("SystemTime::now() is {library}"));
    }
    Ok(format!("SystemTime::now() is {library}, the true time {truth}"))
}

/// The agent is running when 32-bit time ends.
fn cross(report: &mut Report) {
    let started = set(LAST_OF_32_BITS - 3600).and_then(|()| Agent::start());
    let Some(mut agent) = alive(report, "an hour before the end of 32-bit time", started) else {
        return;
    };
    agent.judge(report, "an hour before", Judgement::Believed);
    let crossed = set(LAST_OF_32_BITS - 3).map(|()| clock::wait_until(LAST_OF_32_BITS + 2));
    report.check("32-bit time ends while the agent runs", crossed);
    agent.judge(report, "seconds after", Judgement::Believed);
    report.check("the agent of before and after ends when asked", agent.end());
}

/// The agent starts on a date and stays there.
fn stay(report: &mut Report, name: &str, seconds: i64, judgement: Judgement) {
    let started = set(seconds).and_then(|()| Agent::start());
    let Some(mut agent) = alive(report, &format!("in {name}"), started) else { return };
    agent.judge(report, &format!("in {name}"), judgement);
    report.check(&format!("in {name} `outrider check` ends by itself"), agent::check_command());
    report.check(&format!("in {name} the agent ends when asked"), agent.end());
}

fn alive(report: &mut Report, name: &str, started: Result<Agent, String>) -> Option<Agent> {
    let (agent, result) = match started {
        Ok(agent) => (Some(agent), Ok("it answers".to_owned())),
        Err(why) => (None, Err(why)),
    };
    report.check(&format!("{name} the agent starts"), result);
    agent
}

/// What a command prints, when it succeeds.
fn output(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| format!("{program}: {e}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).replace('\n', " ");
        return Err(format!("{program}: {}: {said}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
