//! `outrider spool dump`: every record in the log, gone or not.

use super::{FOLDER, Line, STREAM, each_record, hex, stream_name};
use crate::cli::command::{Arguments, CONFIG, Command, Opt};
use crate::cli::exit::{Exit, Outcome};
use crate::cli::terminal::Terminal;

pub(in crate::cli) const COMMAND: Command = Command {
    path: &["spool", "dump"],
    summary: "Print every record in a spool as JSON lines",
    about: &[
        "Prints one line of JSON for each record that is still in the files, oldest segment first, also for those that have left: \
         `stream`, `epoch`, `sequence`, `spool_ms` (running time since the spool was created), `bytes`, `segment`, `offset` \
         and `live`.",
    ],
    operands: &[FOLDER],
    options: &[STREAM, PAYLOAD, CONFIG],
    examples: &[(
        "outrider spool dump --stream event --payload",
        "see what the event stream holds",
    )],
    run,
};

/// `--payload`.
const PAYLOAD: Opt = Opt {
    long: "payload",
    short: None,
    value: None,
    doc: "Print contents, too, as hexadecimal digits in `payload_hex`",
};

fn run(arguments: &Arguments, terminal: &Terminal) -> Outcome {
    each_record(arguments, false, |record| {
        Line {
            stream: &stream_name(record),
            epoch: record.id.epoch,
            sequence: record.id.sequence,
            spool_ms: record.spool_ms,
            bytes: record.payload.len(),
            segment: Some(record.segment),
            offset: Some(record.offset),
            live: Some(record.live),
            payload_hex: arguments.flag(&PAYLOAD).then(|| hex(&record.payload)),
        }
        .print(terminal)
    })?;
    Ok(Exit::Ok)
}
