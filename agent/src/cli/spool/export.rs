//! `outrider spool export`: what has not left, as files. The way to carry data home on foot.

use std::fs;
use std::path::{Path, PathBuf};

use ::spool::tools::LoggedRecord;

use super::{FOLDER, Line, STREAM, each_record, hex, stream_name};
use crate::cli::command::{Arguments, CONFIG, Command, Opt, Value};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::terminal::Terminal;
use crate::cli::units::counted;

pub(in crate::cli) const COMMAND: Command = Command {
    path: &["spool", "export"],
    summary: "Write what has not left a spool to files",
    about: &[
        "Writes each record that is held to a file of its own, TARGET/STREAM/SEQUENCE-EPOCH, with its contents and nothing else. \
         Files that are there already are left alone, so a second call goes on where the first one ended. Without --to, one \
         line of JSON for each record with its contents as hexadecimal digits in `payload_hex`.",
        "Nothing is removed from the spool: what is exported is still delivered when there is a way.",
    ],
    operands: &[FOLDER],
    options: &[TO, STREAM, CONFIG],
    examples: &[(
        "outrider spool export /media/card/spool --to rescued",
        "save the data of a vehicle that no longer runs",
    )],
    run,
};

/// `--to`.
const TO: Opt = Opt {
    long: "to",
    short: None,
    value: Some(("TARGET", Value::File)),
    doc: "Folder for the files, made when it is missing",
};

fn run(arguments: &Arguments, terminal: &Terminal) -> Outcome {
    let Some(target) = arguments.file(&TO) else {
        each_record(arguments, true, |record| line(record, terminal))?;
        return Ok(Exit::Ok);
    };
    let number = each_record(arguments, true, |record| {
        write(&target, record).map_err(|(path, error)| {
            let text = format!("cannot write {}: {error}", path.display());
            Failure::new(Exit::Failed, text)
        })
    })?;
    terminal.print(&format!("{} in {}\n", counted(number, "record"), target.display()))?;
    Ok(Exit::Ok)
}

fn line(record: &LoggedRecord, terminal: &Terminal) -> Result<(), Failure> {
    Line {
        stream: &stream_name(record),
        epoch: record.id.epoch,
        sequence: record.id.sequence,
        spool_ms: record.spool_ms,
        bytes: record.payload.len(),
        segment: None,
        offset: None,
        live: None,
        payload_hex: Some(hex(&record.payload)),
    }
    .print(terminal)
}

/// Under a name of its own until it is whole, so that one that was cut short is never taken for done.
fn write(target: &Path, record: &LoggedRecord) -> Result<(), (PathBuf, std::io::Error)> {
    let folder = target.join(stream_name(record));
    let name = format!("{:020}-{:08x}", record.id.sequence, record.id.epoch);
    let (path, part) = (folder.join(&name), folder.join(format!("{name}.part")));
    if path.exists() {
        return Ok(());
    }
    fs::create_dir_all(&folder).map_err(|error| (folder, error))?;
    fs::write(&part, &record.payload)
        .and_then(|()| fs::rename(&part, &path))
        .map_err(|error| (path, error))
}
