//! Finds the running agent for the commands that ask it something.

use std::path::PathBuf;

use super::client::{ANSWER_WITHIN, Answer, AskError, Endpoint, Upload, get, post};
use super::command::{Arguments, Opt, Value};
use super::config::source;
use super::exit::{Exit, Failure};
use crate::config::Config;

/// `--connect`, for asking another agent than the one of this machine's configuration.
pub(super) const CONNECT: Opt = Opt {
    long: "connect",
    short: None,
    value: Some(("HOST:PORT", Value::Address)),
    doc: "Ask the agent that serves HTTP there, such as another vehicle's",
};

/// Where the system's agent has its control socket, for users whose own agent would have it
/// elsewhere.
const SYSTEM_SOCKET: &str = "/run/outrider/control.sock";

/// Where the agent may be asked, best first: where the arguments say, else the control socket of
/// the configuration, the system's, and the HTTP port of the configuration, which anybody on this
/// machine may read.
///
/// # Errors
///
/// A configuration was named, by `--config` or in the environment, and is not valid.
pub(super) fn endpoints(arguments: &Arguments) -> Result<Vec<Endpoint>, Failure> {
    if let Some(address) = arguments.value(&CONNECT) {
        return Ok(vec![Endpoint::Tcp(address.to_string_lossy().into_owned())]);
    }
    let source = source(arguments);
    let config = match source.load() {
        Ok(config) => config,
        Err(error) if source.is_named() => {
            return Err(Failure::new(Exit::Config, error.to_string()));
        }
        // The system's configuration may be for the agent's eyes only; its usual places are still
        // worth a try.
        Err(_) => crate::config::default_config(source.machine()),
    };
    let mut endpoints: Vec<Endpoint> = of_config(&config);
    let system = Endpoint::Control(PathBuf::from(SYSTEM_SOCKET));
    // A named configuration means the agent that runs with it and no other.
    if !source.is_named() && !endpoints.contains(&system) {
        endpoints.insert(endpoints.len().min(1), system);
    }
    Ok(endpoints)
}

/// Where an agent with `config` can be asked from this machine.
pub(super) fn of_config(config: &Config) -> Vec<Endpoint> {
    let control = config.control.path.clone().map(Endpoint::Control);
    let tcp = config.http.listen.filter(|listen| listen.port() != 0).map(|mut listen| {
        if listen.ip().is_unspecified() {
            listen.set_ip(match listen.ip() {
                std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        Endpoint::Tcp(listen.to_string())
    });
    control.into_iter().chain(tcp).collect()
}

/// Asks the first agent that answers at one of `endpoints` for `path`.
///
/// # Errors
///
/// Nobody answered; the failure is that of the first endpoint that shows more than absence, else of
/// the first one.
pub(super) fn ask(endpoints: &[Endpoint], path: &str) -> Result<Answer, Failure> {
    let mut failures: Vec<(AskError, &Endpoint)> = Vec::new();
    for endpoint in endpoints {
        match get(endpoint, path, ANSWER_WITHIN) {
            Ok(answer) => return understood(answer, endpoint),
            Err(error) => failures.push((error, endpoint)),
        }
    }
    let telling = failures.iter().find(|(error, _)| !matches!(error, AskError::Absent));
    match telling.or(failures.first()) {
        Some((error, endpoint)) => Err(error.at(endpoint)),
        None => Err(Failure::new(
            Exit::Unreachable,
            "the configuration switches off both `[control] path` and `[http] listen`, so nothing \
             can ask the agent",
        )),
    }
}

/// Tells the first agent that answers at one of `endpoints` to do what `path` says. Only control sockets take that.
///
/// # Errors
///
/// Nobody took it; the failure is that of the first control socket.
pub(super) fn tell(endpoints: &[Endpoint], path: &str) -> Result<Answer, Failure> {
    let mut failures = Vec::new();
    for endpoint in endpoints.iter().filter(|endpoint| matches!(endpoint, Endpoint::Control(_))) {
        let order = Upload { path, content_type: None, body: &[] };
        match post(endpoint, &order, ANSWER_WITHIN) {
            Ok(answer) => return understood(answer, endpoint),
            Err(error) => failures.push(error.at(endpoint)),
        }
    }
    Err(failures.into_iter().next().unwrap_or_else(|| {
        let text = "the configuration switches off `[control] path`, and the agent takes orders \
                    nowhere else";
        Failure::new(Exit::Unreachable, text)
    }))
}

/// An answer with data, or what the agent says instead.
fn understood(answer: Answer, endpoint: &Endpoint) -> Result<Answer, Failure> {
    /// How the agent words a refusal.
    #[derive(serde::Deserialize)]
    struct Refusal {
        error: String,
    }
    if answer.code == 200 {
        return Ok(answer);
    }
    match serde_json::from_str::<Refusal>(&answer.body) {
        Ok(refusal) if answer.code == 503 => Err(Failure::new(Exit::Unreachable, refusal.error)),
        Ok(refusal) => Err(Failure::new(
            Exit::Failed,
            format!("the agent at {endpoint} refused: {}", refusal.error),
        )),
        Err(_) => {
            Err(AskError::NotUnderstood(format!("it answered with HTTP status {}", answer.code))
                .at(endpoint))
        }
    }
}

/// Reads the agent's document.
///
/// # Errors
///
/// It is not the document of an agent of this version.
pub(super) fn document<'a, T: serde::Deserialize<'a>>(body: &'a str) -> Result<T, Failure> {
    serde_json::from_str(body).map_err(|error| {
        Failure::new(
            Exit::NotUnderstood,
            format!(
                "cannot understand the agent's answer ({error}); is it of another version? try \
                     --json"
            ),
        )
    })
}
