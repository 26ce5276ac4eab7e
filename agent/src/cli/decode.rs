//! `outrider decode`: turns what vehicles send back into JSON lines, from a file, standard input, or live from a broker.
//! Publishes nothing.

use std::io::Read as _;
use std::num::NonZeroU64;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use super::command::{Arguments, CONFIG, Command, Operand, Opt, Value};
use super::config::source;
use super::exit::{Exit, Failure, Outcome};
use super::terminal::Terminal;
use crate::config;
use crate::core::fleet::line;
use crate::core::fleet::moment::Moment;
use crate::core::presence::{Topics, stream_of_topic};
use crate::core::record;
use crate::core::record::assemble::{Received, Receiver};
use crate::core::telemetry::decoder::{Decoder, Lines, PAYLOAD_BYTES_MAX};
use crate::core::telemetry::document::{BIRTH_TYPE, FRAME_TYPE};
use crate::shell::mqtt::{self, Message, Notice, Settings};

pub(super) const COMMAND: Command = Command {
    path: &["decode"],
    summary: "Turn telemetry payloads into JSON lines",
    about: &[
        "Reads one payload from FILE or standard input, or with --connect everything that is published at a broker, and \
         prints JSON lines. Telemetry becomes one line of `type` tick for each moment, with `vehicle`, `boot_ms`, `wall_ms` \
         and `values` by series; births, events and status documents keep their fields and get a `type` in front. A gathered record becomes a line of \
         `type` record with its name, times and payload, once, whatever comes again; the agent's own telemetry and events \
         are read whichever way they come.",
        "Compact telemetry names its series by number, so it needs the vehicle's birth document: --birth gives it for a \
         file; a broker keeps it and sends it first.",
        "A payload that cannot be read ends the command with exit code 4. With --connect it is reported on standard error \
         and the next one is read.",
    ],
    operands: &[Operand {
        name: "FILE",
        value: Value::File,
        required: false,
        doc: "The payload; standard input when left out or `-`",
    }],
    options: &[BIRTH, BATCHES, CONNECT, TOPIC, COUNT, CONFIG],
    examples: &[
        ("outrider decode --birth birth.json batch.bin", "read a batch that was kept in a file"),
        ("outrider decode --connect 10.0.0.1:1883", "watch all vehicles of a broker"),
        (
            "outrider decode --connect broker:1883 --topic 'outrider/+/event'",
            "watch the events only",
        ),
    ],
    run,
};

/// `--birth`.
const BIRTH: Opt = Opt {
    long: "birth",
    short: Some('b'),
    value: Some(("FILE", Value::File)),
    doc: "Name series by this birth document",
};

/// `--batches`.
const BATCHES: Opt = Opt {
    long: "batches",
    short: None,
    value: None,
    doc: "Print one line for each batch, with one list of values for each series",
};

/// `--connect`.
const CONNECT: Opt = Opt {
    long: "connect",
    short: None,
    value: Some(("HOST:PORT", Value::Address)),
    doc: "Read from this MQTT broker; with --config, as section `[mqtt]` says how (user, TLS)",
};

/// `--topic`.
const TOPIC: Opt = Opt {
    long: "topic",
    short: None,
    value: Some(("FILTER", Value::Text)),
    doc: "Read these topics of the broker; default everything below `mqtt.topic`",
};

/// `--count`.
const COUNT: Opt = Opt {
    long: "count",
    short: Some('n'),
    value: Some(("NUMBER", Value::Text)),
    doc: "End after this many payloads of the broker",
};

fn run(arguments: &Arguments, terminal: &Terminal) -> Outcome {
    let lines = if arguments.flag(&BATCHES) { Lines::Batches } else { Lines::Ticks };
    let mut reader =
        Reader { decoder: Decoder::new(lines), receiver: Receiver::new(INCOMPLETE_BYTES_MAX) };
    match arguments.value(&CONNECT) {
        Some(address) => {
            if !arguments.operands().is_empty() || arguments.value(&BIRTH).is_some() {
                return Err(usage("--connect reads from a broker; leave out FILE and --birth"));
            }
            let settings = settings(&address.to_string_lossy(), arguments)?;
            live(settings, arguments, &mut reader, terminal)
        }
        None => {
            if arguments.value(&TOPIC).is_some() || arguments.value(&COUNT).is_some() {
                return Err(usage("--topic and --count go with --connect"));
            }
            file(arguments, &mut reader, terminal)
        }
    }
}

/// Turns payloads into lines, whichever they are.
struct Reader {
    decoder: Decoder,
    receiver: Receiver,
}

impl Reader {
    /// Adds the lines of one payload. What is wrong with one record of many is told when the others were read.
    fn read(
        &mut self,
        source: &str,
        stream: &str,
        payload: &Bytes,
        lines: &mut Vec<String>,
    ) -> Result<(), String> {
        if payload.first() != Some(&record::FORM) {
            lines.extend(self.decode(source, payload)?);
            return Ok(());
        }
        let records = record::decode(payload).map_err(|error| error.to_string())?;
        let mut result = Ok(());
        for record in self.receiver.take(source, stream, records) {
            match self.record(source, stream, &record) {
                Ok(more) => lines.extend(more),
                Err(error) => result = Err(format!("record {}: {error}", record.sequence)),
            }
        }
        result
    }

    fn decode(&mut self, source: &str, payload: &[u8]) -> Result<Vec<String>, String> {
        self.decoder.decode(source, payload).map_err(|error| error.to_string())
    }

    fn record(
        &mut self,
        source: &str,
        stream: &str,
        record: &Received,
    ) -> Result<Vec<String>, String> {
        let own_stream = [config::EVENTS_STREAM, config::TELEMETRY_STREAM].contains(&stream);
        let own_type = matches!(record.content_type.as_deref(), Some(BIRTH_TYPE | FRAME_TYPE));
        if own_stream || own_type {
            return self.decode(source, &record.payload);
        }
        let vehicle = source.rsplit('/').next().unwrap_or_default();
        let document = line::document(vehicle, stream, record, &Moment::default());
        let document = String::from_utf8_lossy(&document);
        let fields = document.strip_prefix('{').unwrap_or(&document);
        Ok(vec![format!("{{\"type\":\"record\",{fields}")])
    }
}

/// What tells vehicles apart in a topic, and the stream if it is one of a stream.
fn origin(topic: &str) -> (&str, &str) {
    let above = |topic: &str| topic.rfind('/').unwrap_or(0);
    match stream_of_topic(topic) {
        Some((_, stream)) => {
            let level = &topic[..above(topic)];
            (&level[..above(level)], stream)
        }
        None => (&topic[..above(topic)], ""),
    }
}

fn usage(text: &str) -> Failure {
    Failure::new(Exit::Usage, text)
}

/// Memory for records of which only parts are here.
const INCOMPLETE_BYTES_MAX: u64 = 16 << 20;

/// Files come from one vehicle, whichever that is.
const FILE_SOURCE: &str = "";

fn file(arguments: &Arguments, reader: &mut Reader, terminal: &Terminal) -> Outcome {
    if let Some(birth) = arguments.file(&BIRTH) {
        decode_file(&birth, reader)?.1?;
    }
    let path = arguments.operands().first().map_or(Path::new("-"), Path::new);
    let (lines, result) = decode_file(path, reader)?;
    for line in lines {
        terminal.print(&format!("{line}\n"))?;
    }
    result.map(|()| Exit::Ok)
}

/// The lines of a file, and whether all of it was understood.
fn decode_file(
    path: &Path,
    reader: &mut Reader,
) -> Result<(Vec<String>, Result<(), Failure>), Failure> {
    let name =
        if path == Path::new("-") { "standard input".into() } else { path.to_string_lossy() };
    let payload = read(path)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot read {name}: {error}")))?;
    let mut lines = Vec::new();
    let result = reader
        .read(FILE_SOURCE, "", &payload, &mut lines)
        .map_err(|error| Failure::new(Exit::NotUnderstood, format!("{name}: {error}")));
    Ok((lines, result))
}

/// Reads at most one byte more than any payload has, so that the decoder can say that there is too much.
fn read(path: &Path) -> std::io::Result<Bytes> {
    let limit = PAYLOAD_BYTES_MAX as u64 + 1;
    let mut payload = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut payload)?;
    } else {
        std::fs::File::open(path)?.take(limit).read_to_end(&mut payload)?;
    }
    Ok(payload.into())
}

/// The way to the broker at `address`: plain, or with what a named configuration says about user and TLS.
fn settings(address: &str, arguments: &Arguments) -> Result<(Settings, String), Failure> {
    let (host, port) = split(address).ok_or_else(|| {
        usage(&format!("`{address}` is not HOST:PORT, such as `10.0.0.1:1883` or `[fd00::1]:1883`"))
    })?;
    let source = source(arguments);
    let named = arguments.value(&CONFIG).is_some();
    let config = match source.load() {
        Ok(config) if named => config,
        Err(error) if named => return Err(Failure::new(Exit::Config, error.to_string())),
        Ok(_) | Err(_) => config::default_config(source.machine()),
    };
    let mqtt = config::Mqtt {
        host: Some(host.to_owned()),
        port,
        client_id: format!("outrider-decode-{}", std::process::id()),
        ..config.mqtt
    };
    let anybody = Topics::new(&mqtt.topic, "anybody").birth;
    let filter = format!("{}#", anybody.strip_suffix("anybody/birth").unwrap_or(""));
    let settings = Settings::from_config(&mqtt).ok_or_else(|| usage("no broker is named"))?;
    Ok((settings, filter))
}

/// Host and port; an IPv6 address stands in brackets.
pub(super) fn split(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bare {
        Some(bare) => bare,
        None if host.contains(':') => return None,
        None => host,
    };
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (!host.is_empty()).then_some((host, port))
}

fn live(
    (settings, everything): (Settings, String),
    arguments: &Arguments,
    reader: &mut Reader,
    terminal: &Terminal,
) -> Outcome {
    let filter = arguments.value(&TOPIC).map(|topic| topic.to_string_lossy().into_owned());
    let filter = filter.unwrap_or(everything);
    let count: Option<NonZeroU64> = match arguments.value(&COUNT) {
        None => None,
        Some(text) => Some(text.to_string_lossy().parse().map_err(|_| {
            usage(&format!("--count takes a number from 1, not `{}`", text.to_string_lossy()))
        })?),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot start reading: {error}")))?;
    let outcome = runtime.block_on(watch(settings, filter, count, reader, terminal));
    // A name that is still being looked up shall not hold up the end.
    runtime.shutdown_timeout(Duration::ZERO);
    outcome
}

async fn watch(
    settings: Settings,
    filter: String,
    count: Option<NonZeroU64>,
    reader: &mut Reader,
    terminal: &Terminal,
) -> Outcome {
    let mut left = count.map(NonZeroU64::get);
    let mut subscribed = false;
    let mut subscription = mqtt::subscribe(settings, filter);
    while let Some(notice) = subscription.next().await {
        match notice {
            Notice::Subscribed => subscribed = true,
            // A broker that was there once comes back; one that never was is a mistake in the address.
            Notice::Disconnected { reason } if !subscribed => {
                return Err(Failure::new(Exit::Unreachable, reason));
            }
            Notice::Disconnected { reason } => complain(terminal, &reason),
            Notice::Message(message) => {
                show(&message, reader, terminal)?;
                left = left.map(|left| left - 1);
                if left == Some(0) {
                    return Ok(Exit::Ok);
                }
            }
        }
    }
    Ok(Exit::Ok)
}

fn show(message: &Message, reader: &mut Reader, terminal: &Terminal) -> Result<(), Failure> {
    let (source, stream) = origin(&message.topic);
    let mut lines = Vec::new();
    let result = reader.read(source, stream, &message.payload, &mut lines);
    lines.iter().try_for_each(|line| terminal.print(&format!("{line}\n")))?;
    if let Err(error) = result {
        complain(terminal, &format!("{}: {error}", message.topic));
    }
    Ok(())
}

fn complain(terminal: &Terminal, text: &str) {
    eprintln!("outrider: {}", terminal.printable(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_tell_vehicles_and_streams_apart() {
        assert_eq!(origin("a/b/hawk/stream/gps"), ("a/b/hawk", "gps"));
        assert_eq!(origin("a/b/hawk/birth"), ("a/b/hawk", ""));
        assert_eq!(origin("odd"), ("", ""));
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        assert_eq!(split("broker:1883"), Some(("broker", 1883)));
        assert_eq!(split("[fd00::1]:1883"), Some(("fd00::1", 1883)));
        for wrong in ["broker", ":1883", "broker:0", "broker:99999", "fd00::1:1883", ""] {
            assert_eq!(split(wrong), None, "{wrong}");
        }
    }
}
