//! `outrider fleet`: receives what all vehicles send to a broker. Publishes nothing but what `--forward` asks for.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::command::{Arguments, CONFIG, Command, Opt, Value};
use super::config::source;
use super::decode::split;
use super::exit::{Exit, Failure, Outcome};
use super::terminal::Terminal;
use crate::config;
use crate::core::fleet::topic::Prefix;
use crate::shell::fleet::store::Places;
use crate::shell::fleet::{Options, run as receive};
use crate::shell::mqtt::{Settings, Timing};

pub(super) const COMMAND: Command = Command {
    path: &["fleet"],
    summary: "Receive what all vehicles send, for a command post or any vehicle",
    about: &[
        "Subscribes to everything below the prefix at a broker. Shows all vehicles on one page and exports their latest values \
         on one /metrics, with the label `vehicle` and the time at which they were measured; /api/fleet has the same as JSON.",
        "With --streams-to the records of the vehicles' streams are appended to FOLDER/<vehicle>/<stream>/000001.jsonl, one line \
         for each record; payloads that are large become files beside it, and files that a vehicle gathered from a folder are put \
         together again in FOLDER/<vehicle>/<stream>/files. With --forward readable JSON of everything is \
         published below another prefix.",
        "A message is acknowledged when what it says is on the disk, and what comes again is dropped: a crash or a power cut at \
         any moment loses nothing and repeats nothing in the files. What is forwarded may come twice after a crash. The broker is asked to \
         keep what comes while this program is away; what a broker loses it cannot know. mosquitto keeps 1000 messages unless \
         max_queued_messages says otherwise, and forgets them when it restarts unless persistence is on.",
        "User, password and TLS are those of section `[mqtt]` of the configuration that --config names. SIGTERM and SIGINT end \
         it. Logs to standard error; tells systemd when it is ready.",
    ],
    operands: &[],
    options: &[CONNECT, PREFIX, STATE, STREAMS, ROTATE, FORWARD, LISTEN, CLIENT, KEEP, CONFIG],
    examples: &[
        ("outrider fleet --connect 10.0.0.1:1883", "show all vehicles of a broker"),
        (
            "outrider fleet --connect 10.0.0.1:1883 --streams-to /data/streams",
            "write their streams to files as well",
        ),
        (
            "outrider fleet --config post.toml --listen 0.0.0.0:9696",
            "use broker, user and TLS of a configuration, and let others see the page",
        ),
    ],
    run,
};

/// `--connect`.
const CONNECT: Opt = Opt {
    long: "connect",
    short: None,
    value: Some(("HOST:PORT", Value::Address)),
    doc: "The MQTT broker; default that of section `[mqtt]` of the configuration",
};

/// `--prefix`.
const PREFIX: Opt = Opt {
    long: "prefix",
    short: None,
    value: Some(("TOPIC", Value::Text)),
    doc: "Take what vehicles with this `mqtt.topic` publish; default that of the configuration",
};

/// `--state`.
const STATE: Opt = Opt {
    long: "state",
    short: None,
    value: Some(("FOLDER", Value::File)),
    doc: "Keep what is known here; default $STATE_DIRECTORY, or outrider-fleet in $XDG_STATE_HOME or ~/.local/state",
};

/// `--streams-to`.
const STREAMS: Opt = Opt {
    long: "streams-to",
    short: None,
    value: Some(("FOLDER", Value::File)),
    doc: "Write records of streams to files below this folder",
};

/// `--rotate`.
const ROTATE: Opt = Opt {
    long: "rotate",
    short: None,
    value: Some(("SIZE", Value::Text)),
    doc: "Begin another file of lines at this size; default 64MiB. Closed files may be moved or removed at any time",
};

/// `--forward`.
const FORWARD: Opt = Opt {
    long: "forward",
    short: None,
    value: Some(("TOPIC", Value::Text)),
    doc: "Publish everything as JSON below TOPIC, as <TOPIC>/<vehicle>/telemetry and so on",
};

/// `--listen`.
const LISTEN: Opt = Opt {
    long: "listen",
    short: None,
    value: Some(("ADDRESS", Value::Text)),
    doc: "Serve page and metrics here, or nowhere with `off`; default 127.0.0.1:9696",
};

/// `--client-id`.
const CLIENT: Opt = Opt {
    long: "client-id",
    short: None,
    value: Some(("NAME", Value::Text)),
    doc: "Client identifier, under which the broker keeps what comes while this is away; default outrider-fleet-<host>",
};

/// `--keep`.
const KEEP: Opt = Opt {
    long: "keep",
    short: None,
    value: Some(("DURATION", Value::Duration)),
    doc: "Ask the broker to keep what comes while this is away for so long; default 7d. Only MQTT 5 has a way to say it",
};

/// Where page and metrics are by default: beside the agent's own port.
const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9696);

/// How long a broker is asked to keep what comes.
const KEEP_DEFAULT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Size of a file of lines: opened by any editor, copied in a minute.
const ROTATE_BYTES_DEFAULT: u64 = 64 << 20;

/// Smallest size of a file of lines, lest a stream become a heap of crumbs.
const ROTATE_BYTES_MIN: u64 = 4 << 10;

/// Documents on their way to the broker: enough for a link with long delay.
const IN_FLIGHT: usize = 64;

fn run(arguments: &Arguments, _: &Terminal) -> Outcome {
    let options = options(arguments)?;
    receive(options).map_err(|text| Failure::new(Exit::Failed, text))?;
    Ok(Exit::Ok)
}

fn usage(text: impl Into<String>) -> Failure {
    Failure::new(Exit::Usage, text.into())
}

fn text(arguments: &Arguments, option: &Opt) -> Option<String> {
    arguments.value(option).map(|value| value.to_string_lossy().into_owned())
}

fn options(arguments: &Arguments) -> Result<Options, Failure> {
    let source = source(arguments);
    let config = match source.load() {
        Ok(config) => config,
        Err(error) if source.is_named() => {
            return Err(Failure::new(Exit::Config, error.to_string()));
        }
        Err(_) => config::default_config(source.machine()),
    };
    let log = config.log.level;
    let mut mqtt = config.mqtt;
    if let Some(address) = text(arguments, &CONNECT) {
        let (host, port) = split(&address).ok_or_else(|| {
            usage(format!(
                "`{address}` is not HOST:PORT, such as `10.0.0.1:1883` or `[fd00::1]:1883`"
            ))
        })?;
        (mqtt.host, mqtt.port) = (Some(host.to_owned()), port);
    }
    let topic = topic(text(arguments, &PREFIX).unwrap_or(mqtt.topic.clone()), &PREFIX)?;
    let prefix = Prefix::new(&topic);
    mqtt.client_id = match text(arguments, &CLIENT) {
        Some(name) if name.is_empty() => return Err(usage("--client-id needs a name")),
        Some(name) => name,
        None => format!("outrider-fleet-{}", host_name()),
    };
    mqtt.in_flight = IN_FLIGHT;
    let settings = Settings::from_config(&mqtt).ok_or_else(|| {
        usage("no broker is named: give --connect HOST:PORT, or a configuration with `mqtt.host`")
    })?;
    let forward = text(arguments, &FORWARD).map(|text| topic_of_forward(text, &prefix));
    Ok(Options {
        settings: Settings { timing: Timing::default(), ..settings },
        prefix,
        forward: forward.transpose()?,
        places: Places {
            state: state(arguments)?,
            streams: arguments.file(&STREAMS),
            rotate_bytes: rotate(arguments)?,
        },
        listen: listen(arguments)?,
        session_expiry: match text(arguments, &KEEP) {
            None => KEEP_DEFAULT,
            Some(text) => config::units::parse_duration(&text)
                .map_err(|why| usage(format!("--keep takes a duration such as `2d`: {why}")))?,
        },
        log,
    })
}

fn topic(text: String, option: &Opt) -> Result<String, Failure> {
    if text.contains(['+', '#']) || text.starts_with('$') || text.chars().any(char::is_control) {
        let text = text.escape_debug();
        return Err(usage(format!("--{} `{text}` is no topic without wildcards", option.long)));
    }
    Ok(text)
}

/// What is published must not come back.
fn topic_of_forward(text: String, prefix: &Prefix) -> Result<(String, Prefix), Failure> {
    let text = topic(text, &FORWARD)?;
    let forward = Prefix::new(&text);
    if text.is_empty() || prefix.covers(&forward) {
        return Err(usage(format!(
            "--forward `{text}` lies below what is received ({}): choose a topic beside it",
            prefix.filter()
        )));
    }
    Ok((text, forward))
}

fn listen(arguments: &Arguments) -> Result<Option<SocketAddr>, Failure> {
    let Some(text) = text(arguments, &LISTEN) else { return Ok(Some(LISTEN_DEFAULT)) };
    if text == "off" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        usage(format!(
            "--listen takes an address and a port such as `0.0.0.0:9696`, or `off`, not `{text}`"
        ))
    })
}

fn rotate(arguments: &Arguments) -> Result<u64, Failure> {
    let Some(text) = text(arguments, &ROTATE) else { return Ok(ROTATE_BYTES_DEFAULT) };
    let bytes = config::units::parse_size(&text)
        .map_err(|why| usage(format!("--rotate takes a size such as `64MiB`: {why}")))?;
    if bytes < ROTATE_BYTES_MIN {
        return Err(usage(format!("--rotate {text} is too small; take at least 4KiB")));
    }
    Ok(bytes)
}

/// The folder of the state: where the service manager or the user keeps such.
fn state(arguments: &Arguments) -> Result<PathBuf, Failure> {
    if let Some(folder) = arguments.file(&STATE) {
        return Ok(folder);
    }
    let folder = |name: &str| {
        let value = std::env::var_os(name).filter(|value| Path::new(value).is_absolute())?;
        Some(PathBuf::from(value))
    };
    // systemd names several folders with colons between them; the first is ours.
    let given = std::env::var("STATE_DIRECTORY").ok();
    let given = given.and_then(|list| list.split(':').next().map(PathBuf::from));
    given
        .filter(|folder| folder.is_absolute())
        .or_else(|| folder("XDG_STATE_HOME").map(|home| home.join("outrider-fleet")))
        .or_else(|| folder("HOME").map(|home| home.join(".local/state/outrider-fleet")))
        .ok_or_else(|| usage("there is no home to keep the state in: give --state FOLDER"))
}

fn host_name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "host".to_owned())
}
