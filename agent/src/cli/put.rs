//! `outrider put`: hands records to the running agent, for scripts. One record from a file or standard input, or with
//! `--lines` one for each line, as they come.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::agent::endpoints;
use super::client::{AskError, Endpoint, Upload, post};
use super::command::{Arguments, CONFIG, Command, JSON, Operand, Opt, Value};
use super::exit::{Exit, Failure, Outcome};
use super::terminal::Terminal;
use super::units::counted;

pub(super) const COMMAND: Command = Command {
    path: &["put"],
    summary: "Hand records to the agent, to be kept and delivered",
    about: &[
        "Hands what stands in FILE or comes from standard input to the running agent as one record of \
         STREAM, or with --lines each line as a record of its own. The agent keeps it until it was \
         delivered. When the command ends with 0, every record is safe from a power cut.",
        "A record has at most 1 MiB; larger files belong into a folder that the agent gathers from. With \
         --lines records are handed over as they come, at the latest a second after they were read, so \
         that the command can stand at the end of a pipe for ever.",
        "When it ends with another code, standard error says how many records were taken. It tries for \
         half a minute when the agent is busy.",
    ],
    operands: &[
        Operand {
            name: "STREAM",
            value: Value::Text,
            required: true,
            doc: "Name of the stream: lower-case letters, digits, `-`, `_` and `.`",
        },
        Operand {
            name: "FILE",
            value: Value::File,
            required: false,
            doc: "What to hand over; standard input when left out or `-`",
        },
    ],
    options: &[LINES, CONTENT_TYPE, ACCEPTED, JSON, CONFIG],
    examples: &[
        ("outrider put camera photo.jpg --content-type image/jpeg", "keep a photo"),
        ("outrider put alarm door-open.txt", "keep what a script has noticed"),
        ("outrider put log --lines app.log", "keep each line of a file"),
    ],
    run,
};

/// `--lines`.
const LINES: Opt = Opt {
    long: "lines",
    short: Some('l'),
    value: None,
    doc: "Make each line a record, without its line feed",
};

/// `--content-type`.
const CONTENT_TYPE: Opt = Opt {
    long: "content-type",
    short: Some('t'),
    value: Some(("TYPE", Value::Text)),
    doc: "Say what the records are, such as application/json",
};

/// `--accepted`.
const ACCEPTED: Opt = Opt {
    long: "accepted",
    short: None,
    value: None,
    doc: "Do not wait until records are safe from a power cut",
};

/// Bytes of one record at most; the agent takes no larger ones.
const RECORD_BYTES_MAX: usize = 1 << 20;

/// Bytes and lines that go in one request: each waits for one sync, so few of them carry many lines.
const BATCH_BYTES_MAX: usize = 1 << 20;
const BATCH_LINES_MAX: usize = 10_000;

/// How long a line waits for others.
const BATCH_WITHIN: Duration = Duration::from_secs(1);

/// Lines that are read ahead.
const READ_AHEAD: usize = 64;

/// Time for one answer: the sync delay, a busy disk, and a wait for a place.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);

/// How long to try while the agent is busy, and the pause in between.
const BUSY_WITHIN: Duration = Duration::from_secs(30);
const BUSY_PAUSE: Duration = Duration::from_millis(500);

/// What the agent answers when it took everything.
#[derive(serde::Deserialize)]
struct Taken {
    records: u64,
}

/// What it answers when it did not.
#[derive(serde::Deserialize)]
struct Refusal {
    error: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    records: u64,
}

fn run(arguments: &Arguments, terminal: &Terminal) -> Outcome {
    let operands = arguments.operands();
    let stream = operands[0].to_string_lossy().into_owned();
    crate::core::record::check_stream_name(&stream)
        .map_err(|text| Failure::new(Exit::Usage, text))?;
    let input: Box<dyn Read + Send> = match operands.get(1) {
        Some(path) if path != "-" => {
            let file = File::open(path).map_err(|error| {
                let path = path.to_string_lossy();
                Failure::new(Exit::Failed, format!("cannot read {path}: {error}"))
            })?;
            Box::new(file)
        }
        Some(_) | None => Box::new(std::io::stdin()),
    };
    let content_type =
        arguments.value(&CONTENT_TYPE).map(|text| text.to_string_lossy().into_owned());
    if let Some(text) = &content_type {
        crate::config::rules::content_type(text).map_err(|text| Failure::new(Exit::Usage, text))?;
    }
    let mut door = Door {
        endpoints: endpoints(arguments)?
            .into_iter()
            .filter(|endpoint| matches!(endpoint, Endpoint::Control(_)))
            .collect(),
        stream,
        content_type,
        accepted: arguments.flag(&ACCEPTED),
        json: arguments.flag(&JSON).then_some(terminal),
        taken: 0,
    };
    if arguments.flag(&LINES) { put_lines(&mut door, input) } else { put_whole(&mut door, input) }
}

fn put_whole(door: &mut Door<'_>, input: Box<dyn Read + Send>) -> Outcome {
    let mut record = Vec::new();
    input.take(RECORD_BYTES_MAX as u64 + 1).read_to_end(&mut record).map_err(unreadable)?;
    if record.len() > RECORD_BYTES_MAX {
        return Err(Failure::new(Exit::Failed, too_large("the input")));
    }
    door.put(Batch { body: record, records: 1, split: false })?;
    Ok(Exit::Ok)
}

fn too_large(what: &str) -> String {
    format!(
        "{what} is larger than the {RECORD_BYTES_MAX} bytes a record may have; put the file into a folder \
         that a `[[gather.folder]]` names, or use --lines"
    )
}

fn unreadable(error: std::io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot read the input: {error}"))
}

/// Reads lines on a thread of its own, so that a line that has come does not wait for the next one.
fn put_lines(door: &mut Door<'_>, input: Box<dyn Read + Send>) -> Outcome {
    let (lines, read) = sync_channel(READ_AHEAD);
    thread::spawn(move || {
        let mut input = BufReader::new(input);
        loop {
            let mut line = Vec::new();
            let limit = RECORD_BYTES_MAX as u64 + 2;
            let result = match input.by_ref().take(limit).read_until(b'\n', &mut line) {
                Ok(0) => return,
                Ok(_) => Ok(line),
                Err(error) => Err(error),
            };
            let failed = result.is_err();
            if lines.send(result).is_err() || failed {
                return;
            }
        }
    });
    while let Some((batch, last)) = gather(&read, door)? {
        if batch.records > 0 {
            door.put(batch)?;
        }
        if last {
            break;
        }
    }
    Ok(Exit::Ok)
}

/// The lines of one request, and whether they are the last ones; `None` when there are none.
fn gather(
    read: &Receiver<std::io::Result<Vec<u8>>>,
    door: &mut Door<'_>,
) -> Result<Option<(Batch, bool)>, Failure> {
    let mut batch = Batch { body: Vec::new(), records: 0, split: true };
    let mut until: Option<Instant> = None;
    while batch.records < BATCH_LINES_MAX && batch.body.len() < BATCH_BYTES_MAX {
        let next = match until {
            // The first one may take as long as it likes.
            None => read.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(until) => read.recv_timeout(until.saturating_duration_since(Instant::now())),
        };
        match next {
            Ok(Ok(mut line)) => {
                if line.last() == Some(&b'\n') {
                    line.pop();
                }
                if line.len() > RECORD_BYTES_MAX {
                    let number = door.taken + batch.records as u64 + 1;
                    if batch.records > 0 {
                        door.put(batch)?;
                    }
                    return Err(door.failure(Exit::Failed, &too_large(&format!("line {number}"))));
                }
                let length = u32::try_from(line.len()).unwrap_or(u32::MAX);
                batch.body.extend(length.to_le_bytes());
                batch.body.extend(line);
                batch.records += 1;
                until.get_or_insert_with(|| Instant::now() + BATCH_WITHIN);
            }
            Ok(Err(error)) => {
                if batch.records > 0 {
                    door.put(batch)?;
                }
                return Err(door.failure(Exit::Failed, &format!("cannot read the input: {error}")));
            }
            Err(RecvTimeoutError::Timeout) => return Ok(Some((batch, false))),
            Err(RecvTimeoutError::Disconnected) => {
                return Ok((batch.records > 0).then_some((batch, true)));
            }
        }
    }
    Ok(Some((batch, false)))
}

/// The records of one request.
struct Batch {
    body: Vec<u8>,
    records: usize,
    /// Each has its length in front.
    split: bool,
}

impl Batch {
    /// The records behind the first `taken`.
    fn rest(mut self, taken: u64) -> Batch {
        let mut at = 0;
        for _ in 0..taken {
            let Some(length) = self.body[at..].first_chunk::<4>() else { break };
            at += 4 + u32::from_le_bytes(*length) as usize;
            self.records = self.records.saturating_sub(1);
        }
        self.body.drain(..at.min(self.body.len()));
        self
    }
}

/// Where records go.
struct Door<'a> {
    endpoints: Vec<Endpoint>,
    stream: String,
    content_type: Option<String>,
    accepted: bool,
    /// Where answers are printed, if they are.
    json: Option<&'a Terminal>,
    taken: u64,
}

impl Door<'_> {
    /// Hands over a batch, in several attempts while the agent is busy.
    fn put(&mut self, mut batch: Batch) -> Result<(), Failure> {
        let until = Instant::now() + BUSY_WITHIN;
        loop {
            let (code, answer) = self.attempt(&batch)?;
            if matches!(code, 200 | 202) {
                let taken: Taken = super::agent::document(&answer)?;
                self.taken += taken.records;
                if let Some(terminal) = self.json {
                    terminal.print(&format!("{}\n", answer.trim_end()))?;
                }
                return Ok(());
            }
            let refusal: Refusal = super::agent::document(&answer)?;
            self.taken += refusal.records;
            if refusal.reason != "busy" || Instant::now() >= until {
                let exit = match code {
                    503 => Exit::Unreachable,
                    429 | 507 => Exit::NoRoom,
                    _ => Exit::Failed,
                };
                return Err(self.failure(exit, &refusal.error));
            }
            if batch.split {
                batch = batch.rest(refusal.records);
            }
            thread::sleep(BUSY_PAUSE);
        }
    }

    fn failure(&self, exit: Exit, text: &str) -> Failure {
        let text = match self.taken {
            0 => text.to_owned(),
            taken => format!("{text}; {} before it were taken", counted(taken, "record")),
        };
        Failure::new(exit, text)
    }

    /// One request to the first agent that is there.
    fn attempt(&self, batch: &Batch) -> Result<(u16, String), Failure> {
        let ack = if self.accepted { "accepted" } else { "durable" };
        let split = if batch.split { "&split=lengths" } else { "" };
        let path = format!("/v1/streams/{}?ack={ack}{split}", self.stream);
        let upload =
            Upload { content_type: self.content_type.as_deref(), body: &batch.body, path: &path };
        let mut failure = None;
        for endpoint in &self.endpoints {
            match post(endpoint, &upload, ANSWER_WITHIN) {
                Ok(answer) => return Ok((answer.code, answer.body)),
                Err(AskError::Absent) => {
                    failure.get_or_insert_with(|| AskError::Absent.at(endpoint));
                }
                // It may have taken the records; another agent must not get them, too.
                Err(error) => return Err(error.at(endpoint)),
            }
        }
        Err(failure.unwrap_or_else(|| {
            let text =
                "the configuration switches off `[control] path`, through which records come in";
            Failure::new(Exit::Unreachable, text)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_goes_on_behind_what_was_taken() {
        let body: Vec<u8> = [&b"\x01\0\0\0a"[..], b"\0\0\0\0", b"\x02\0\0\0bc"].concat();
        let batch = || Batch { body: body.clone(), records: 3, split: true };
        for (taken, left, records) in [(0, &body[..], 3), (1, &body[5..], 2), (2, &body[9..], 1)] {
            let rest = batch().rest(taken);
            assert_eq!((&rest.body[..], rest.records), (left, records));
        }
        assert!(batch().rest(3).body.is_empty());
        assert!(batch().rest(9).body.is_empty());
    }
}
