//! `outrider spool repair`: sets damage aside and keeps what is good. The agent does the same by itself whenever it meets damage;
//! this does it for all of a spool at once.

use std::io::Read as _;

use ::spool::{Fate, Files, OpenError, Options, Session};

use super::{FOLDER, configured, folder};
use crate::cli::command::{Arguments, CONFIG, Command};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::terminal::Terminal;
use crate::cli::units::{bytes, counted};
use crate::shell::clock;

pub(in crate::cli) const COMMAND: Command = Command {
    path: &["spool", "repair"],
    summary: "Set damage in a spool aside and keep what is good",
    about: &[
        "Reads all of a spool, copies damaged bytes to its folder `quarantine` within a bound, writes segments with damage anew \
         without them, and counts what is lost. The agent does this by itself when it meets damage; use this command \
         to have it done at once. The agent must not run. `spool.size` of the configuration says how large the spool may \
         be; when more is held, it goes by the streams' rules.",
    ],
    operands: &[FOLDER],
    options: &[CONFIG],
    examples: &[("outrider spool repair", "after `outrider spool check` found damage")],
    run,
};

fn run(arguments: &Arguments, terminal: &Terminal) -> Outcome {
    let folder = folder(arguments)?;
    let config = configured(arguments)?;
    let options = Options {
        budget_bytes: config.size,
        memory_bytes: config.memory,
        write_bytes_per_day: None,
        // Whoever repairs does not wait for a disk to come to its senses.
        without_newest: true,
    };
    let random = random().map_err(|error| {
        Failure::new(Exit::Failed, format!("cannot read /dev/urandom: {error}"))
    })?;
    let now = ::spool::BootMs(clock::now().mono.millis());
    let report = ::spool::tools::repair(Files::new(folder), options, random, now);
    let report = report.map_err(|error| match error {
        OpenError::Locked => {
            Failure::new(Exit::Failed, "the agent uses this spool; stop it, then repair")
        }
        OpenError::Unreadable(_) => Failure::new(
            Exit::Failed,
            format!(
                "nothing of the spool can be read: {error}; look at the medium and the kernel's log"
            ),
        ),
        OpenError::Options(_) | OpenError::Thread(_) => {
            Failure::new(Exit::Failed, error.to_string())
        }
    })?;
    if let Some(degraded) = report.degraded {
        let text = format!("cannot repair: {}; make the medium writable", degraded.reason);
        return Err(Failure::new(Exit::Failed, text));
    }
    let held: u64 = report.streams.iter().map(|stream| stream.held.records).sum();
    let lost: u64 = report.streams.iter().map(|stream| stream.counts.get(Fate::Lost).records).sum();
    terminal.print(&format!(
        "{} held, {lost} lost since the spool was created; {} damaged, {} in quarantine\n",
        counted(held, "record"),
        bytes(report.damage.damaged_bytes as f64),
        counted(report.damage.quarantined_files, "file"),
    ))?;
    Ok(Exit::Ok)
}

/// A session of its own, as the spool wants for whoever writes.
fn random() -> std::io::Result<Session> {
    let mut bytes = [0; 12];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let [e0, e1, e2, e3, id @ ..] = bytes;
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits = u128::from_str_radix(&text.trim().replace('-', ""), 16).unwrap_or(0);
    Ok(Session {
        boot_id: digits.to_be_bytes(),
        epoch: u32::from_le_bytes([e0, e1, e2, e3]),
        spool_id: u64::from_le_bytes(id),
    })
}
