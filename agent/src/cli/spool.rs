//! `outrider spool ls|check|dump|repair|export`: looks into the durable queue on disk, one file for each command. Only `repair`
//! changes anything. None of them asks the agent; all but `repair` work beside it.

mod check;
mod dump;
mod export;
mod ls;
mod repair;

use std::fmt::Write as _;
use std::path::PathBuf;

use ::spool::tools::{Inspection, LoggedRecord};
use ::spool::{DiskError, Files};
use serde::Serialize;

pub(super) use check::COMMAND as CHECK;
pub(super) use dump::COMMAND as DUMP;
pub(super) use export::COMMAND as EXPORT;
pub(super) use ls::COMMAND as LS;
pub(super) use repair::COMMAND as REPAIR;

use super::command::{Arguments, Operand, Opt, Value};
use super::config::source;
use super::exit::{Exit, Failure};
use super::terminal::Terminal;

/// The folder of a spool.
const FOLDER: Operand = Operand {
    name: "FOLDER",
    value: Value::File,
    required: false,
    doc: "Folder of the spool; `spool.folder` of the configuration when left out",
};

/// `--stream`.
const STREAM: Opt = Opt {
    long: "stream",
    short: Some('s'),
    value: Some(("NAME", Value::Text)),
    doc: "Only records of this stream",
};

/// The folder that is meant. It has to be there: a typing error must not look like an empty spool.
fn folder(arguments: &Arguments) -> Result<PathBuf, Failure> {
    let folder = match arguments.operands().first() {
        Some(folder) => PathBuf::from(folder),
        None => configured(arguments)?.folder.ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                "no spool is configured; give its folder, or set `spool.folder`",
            )
        })?,
    };
    if folder.is_dir() {
        Ok(folder)
    } else {
        let text = format!("{} is no folder; give the folder of a spool", folder.display());
        Err(Failure::new(Exit::Failed, text))
    }
}

fn configured(arguments: &Arguments) -> Result<crate::config::Spool, Failure> {
    let config = source(arguments).load();
    config.map(|config| config.spool).map_err(|error| Failure::new(Exit::Config, error.to_string()))
}

fn failed(error: &DiskError) -> Failure {
    let cause = std::error::Error::source(error).map_or_else(String::new, |e| format!(": {e}"));
    Failure::new(Exit::Failed, format!("{error}{cause}"))
}

fn inspect(arguments: &Arguments) -> Result<Inspection, Failure> {
    ::spool::tools::inspect(Files::new(folder(arguments)?)).map_err(|error| failed(&error))
}

/// The name of a stream, or its tag when no name is known.
fn stream_name(record: &LoggedRecord) -> String {
    record.stream.clone().unwrap_or_else(|| record.id.stream.to_string())
}

/// Hands each record that `--stream` lets pass to `print`, which may end it all with a failure.
fn each_record(
    arguments: &Arguments,
    live_only: bool,
    mut print: impl FnMut(&LoggedRecord) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let wanted = arguments.value(&STREAM).map(|name| name.to_string_lossy().into_owned());
    let mut number = 0;
    let mut stopped = None;
    let read = ::spool::tools::dump(Files::new(folder(arguments)?), |record| {
        let passes = wanted.as_ref().is_none_or(|wanted| stream_name(record) == *wanted);
        if !passes || live_only && !record.live {
            return Ok(());
        }
        number += 1;
        print(record).map_err(|failure| {
            stopped = Some(failure);
            std::io::Error::other("stopped")
        })
    });
    match (stopped, read) {
        (Some(failure), _) => Err(failure),
        (None, Err(error)) => Err(failed(&error)),
        (None, Ok(())) => Ok(number),
    }
}

/// One record as a line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    stream: &'a str,
    epoch: u32,
    sequence: u64,
    /// When it was accepted, in milliseconds of running time since the spool was created.
    spool_ms: u64,
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    segment: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<bool>,
    /// The contents, as hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_hex: Option<String>,
}

impl Line<'_> {
    fn print(&self, terminal: &Terminal) -> Result<(), Failure> {
        let text = serde_json::to_string(self).map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot write a record as JSON: {error}"))
        })?;
        terminal.print(&format!("{text}\n"))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
