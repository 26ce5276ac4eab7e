//! `outrider decode`: turns what vehicles send back into JSON lines, from a file, standard input, or live from a broker.
//! Publishes nothing.

use std::io::Read as _;
use std::num::NonZeroU64;
use std::path::Path;
use std::time::Duration;

use super::command::{Arguments, CONFIG, Command, Operand, Opt, Value};
use super::config::source;
use super::exit::{Exit, Failure, Outcome};
use super::terminal::Terminal;
use crate::config;
use crate::core::presence::Topics;
use crate::core::telemetry::decoder::{Decoder, Lines, PAYLOAD_BYTES_MAX};
use crate::shell::mqtt::{self, Message, Notice, Settings};

pub(super) const COMMAND: Command = Command {
    path: &["decode"],
    summary: "Turn telemetry payloads into JSON lines",
    about: &[
        "Reads one payload from FILE or standard input, or with --connect everything that is published at a broker, and \
         prints JSON lines. Telemetry becomes one line of `type` tick for each moment, with `vehicle`, `boot_ms`, `wall_ms` \
         and `values` by series; births, events and status documents keep their fields and get a `type` in front.",
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
    let mut decoder = Decoder::new(lines);
    match arguments.value(&CONNECT) {
        Some(address) => {
            if !arguments.operands().is_empty() || arguments.value(&BIRTH).is_some() {
                return Err(usage("--connect reads from a broker; leave out FILE and --birth"));
            }
            let settings = settings(&address.to_string_lossy(), arguments)?;
            live(settings, arguments, &mut decoder, terminal)
        }
        None => {
            if arguments.value(&TOPIC).is_some() || arguments.value(&COUNT).is_some() {
                return Err(usage("--topic and --count go with --connect"));
            }
            file(arguments, &mut decoder, terminal)
        }
    }
}

fn usage(text: &str) -> Failure {
    Failure::new(Exit::Usage, text)
}

/// Files come from one vehicle, whichever that is.
const FILE_SOURCE: &str = "";

fn file(arguments: &Arguments, decoder: &mut Decoder, terminal: &Terminal) -> Outcome {
    if let Some(birth) = arguments.file(&BIRTH) {
        decode_file(&birth, decoder)?;
    }
    let path = arguments.operands().first().map_or(Path::new("-"), Path::new);
    for line in decode_file(path, decoder)? {
        terminal.print(&format!("{line}\n"))?;
    }
    Ok(Exit::Ok)
}

fn decode_file(path: &Path, decoder: &mut Decoder) -> Result<Vec<String>, Failure> {
    let name =
        if path == Path::new("-") { "standard input".into() } else { path.to_string_lossy() };
    let payload = read(path)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot read {name}: {error}")))?;
    decoder
        .decode(FILE_SOURCE, &payload)
        .map_err(|error| Failure::new(Exit::NotUnderstood, format!("{name}: {error}")))
}

/// Reads at most one byte more than any payload has, so that the decoder can say that there is too much.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let limit = PAYLOAD_BYTES_MAX as u64 + 1;
    let mut payload = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut payload)?;
    } else {
        std::fs::File::open(path)?.take(limit).read_to_end(&mut payload)?;
    }
    Ok(payload)
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
    decoder: &mut Decoder,
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
    let outcome = runtime.block_on(watch(settings, filter, count, decoder, terminal));
    // A name that is still being looked up shall not hold up the end.
    runtime.shutdown_timeout(Duration::ZERO);
    outcome
}

async fn watch(
    settings: Settings,
    filter: String,
    count: Option<NonZeroU64>,
    decoder: &mut Decoder,
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
                show(&message, decoder, terminal)?;
                left = left.map(|left| left - 1);
                if left == Some(0) {
                    return Ok(Exit::Ok);
                }
            }
        }
    }
    Ok(Exit::Ok)
}

fn show(message: &Message, decoder: &mut Decoder, terminal: &Terminal) -> Result<(), Failure> {
    let vehicle = message.topic.rsplit_once('/').map_or("", |(vehicle, _)| vehicle);
    match decoder.decode(vehicle, &message.payload) {
        Ok(lines) => lines.iter().try_for_each(|line| terminal.print(&format!("{line}\n"))),
        Err(error) => {
            complain(terminal, &format!("{}: {error}", message.topic));
            Ok(())
        }
    }
}

fn complain(terminal: &Terminal, text: &str) {
    eprintln!("outrider: {}", terminal.printable(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        assert_eq!(split("broker:1883"), Some(("broker", 1883)));
        assert_eq!(split("[fd00::1]:1883"), Some(("fd00::1", 1883)));
        for wrong in ["broker", ":1883", "broker:0", "broker:99999", "fd00::1:1883", ""] {
            assert_eq!(split(wrong), None, "{wrong}");
        }
    }
}
