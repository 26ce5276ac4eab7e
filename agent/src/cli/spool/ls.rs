//! `outrider spool ls`: streams and files of a spool.

use ::spool::tools::{FileKind, FileReport, Inspection, LoggedStream};
use serde::Serialize;

use super::{FOLDER, inspect};
use crate::cli::command::{Arguments, CONFIG, Command, JSON};
use crate::cli::exit::{Exit, Outcome};
use crate::cli::terminal::{COLUMNS, Terminal};
use crate::cli::text::{Align, Cell, table};
use crate::cli::units::{bytes, counted};

pub(in crate::cli) const COMMAND: Command = Command {
    path: &["spool", "ls"],
    summary: "Show what a spool holds",
    about: &[
        "Reads all of a spool and shows its streams: records held, where their numbers stand, how many were acknowledged and \
         how many were dropped, by cause. Then its files. Nothing is changed; beside a running agent what it shows may be a \
         moment old.",
    ],
    operands: &[FOLDER],
    options: &[JSON, CONFIG],
    examples: &[("outrider spool ls /media/card/spool", "look at a card from another vehicle")],
    run,
};

/// What `--json` prints.
#[derive(Serialize)]
pub(super) struct Document {
    spool_id: Option<String>,
    in_use: bool,
    streams: Vec<StreamRow>,
    files: Vec<FileRow>,
    complaints: Vec<String>,
}

#[derive(Serialize)]
struct StreamRow {
    name: Option<String>,
    tag: String,
    records: u64,
    bytes: u64,
    next_sequence: u64,
    missing: u64,
    counts: std::collections::BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct FileRow {
    name: String,
    kind: &'static str,
    bytes: u64,
    records: u64,
    sealed: bool,
    damaged_bytes: u64,
    torn_bytes: u64,
    unreadable_bytes: u64,
}

fn run(arguments: &Arguments, terminal: &Terminal) -> Outcome {
    let inspection = inspect(arguments)?;
    if arguments.flag(&JSON) {
        terminal.print_json(&document(&inspection))?;
    } else {
        terminal.print(&render(&inspection, terminal))?;
    }
    Ok(Exit::Ok)
}

pub(super) fn document(inspection: &Inspection) -> Document {
    let stream = |stream: &LoggedStream| StreamRow {
        name: stream.name.clone(),
        tag: stream.tag.to_string(),
        records: stream.records,
        bytes: stream.bytes,
        next_sequence: stream.next_sequence,
        missing: stream.missing,
        counts: stream.counts.iter().map(|(fate, count)| (fate.word(), count.records)).collect(),
    };
    let file = |file: &FileReport| FileRow {
        name: file.name.clone(),
        kind: kind(file.kind),
        bytes: file.bytes,
        records: file.records,
        sealed: file.sealed,
        damaged_bytes: file.damaged_bytes,
        torn_bytes: file.torn_bytes,
        unreadable_bytes: file.unreadable_bytes,
    };
    Document {
        spool_id: inspection.spool_id.map(|id| format!("{id:016x}")),
        in_use: inspection.in_use,
        streams: inspection.streams.iter().map(stream).collect(),
        files: inspection.files.iter().map(file).collect(),
        complaints: inspection.complaints(),
    }
}

const fn kind(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Segment => "segment",
        FileKind::OtherSpool => "other-spool",
        FileKind::Newer(_) => "newer-version",
        FileKind::Temporary => "temporary",
        FileKind::Lock => "lock",
        FileKind::User => "note",
        FileKind::Quarantine => "quarantine",
        FileKind::Unknown => "unknown",
    }
}

fn render(inspection: &Inspection, terminal: &Terminal) -> String {
    let Some(id) = inspection.spool_id else {
        return "no spool is here\n".to_owned();
    };
    let mut out = format!("spool {id:016x}");
    out.push_str(if inspection.in_use { ", in use by a process\n" } else { "\n" });
    if !inspection.streams.is_empty() {
        let columns = [
            ("STREAM", Align::Left),
            ("RECORDS", Align::Right),
            ("BYTES", Align::Right),
            ("NEXT", Align::Right),
            ("GONE", Align::Left),
        ];
        let rows: Vec<Vec<Cell>> = inspection.streams.iter().map(stream_row).collect();
        out.push_str(&format!("\n{}", table(&columns, &rows, COLUMNS, terminal)));
    }
    let columns = [
        ("FILE", Align::Left),
        ("BYTES", Align::Right),
        ("RECORDS", Align::Right),
        ("STATE", Align::Left),
    ];
    let rows: Vec<Vec<Cell>> = inspection.files.iter().map(file_row).collect();
    out.push_str(&format!("\n{}", table(&columns, &rows, COLUMNS, terminal)));
    let complaints = inspection.complaints().len() as u64;
    if complaints > 0 {
        let what = counted(complaints, "complaint");
        out.push_str(&format!("\n{what}; `outrider spool check` names them\n"));
    }
    out
}

fn stream_row(stream: &LoggedStream) -> Vec<Cell> {
    let gone: Vec<String> = stream
        .counts
        .iter()
        .filter(|(_, count)| count.records > 0)
        .map(|(fate, count)| format!("{} {}", count.records, fate.word()))
        .collect();
    let name = stream.name.clone().unwrap_or_else(|| stream.tag.to_string());
    [
        name,
        stream.records.to_string(),
        bytes(stream.bytes as f64),
        stream.next_sequence.to_string(),
        gone.join(", "),
    ]
    .map(Cell::plain)
    .to_vec()
}

fn file_row(file: &FileReport) -> Vec<Cell> {
    let mut state = vec![kind(file.kind).to_owned()];
    if file.sealed {
        state.push("sealed".to_owned());
    }
    for (count, word) in [
        (file.damaged_bytes, "damaged"),
        (file.torn_bytes, "torn"),
        (file.unreadable_bytes, "unreadable"),
    ] {
        if count > 0 {
            state.push(format!("{} {word}", bytes(count as f64)));
        }
    }
    let records =
        if file.kind == FileKind::Segment { file.records.to_string() } else { String::new() };
    [file.name.clone(), bytes(file.bytes as f64), records, state.join(", ")]
        .map(Cell::plain)
        .to_vec()
}
