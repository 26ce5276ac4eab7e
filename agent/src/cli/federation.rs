//! `outrider federation`: in which federation the vehicle is and why, and what the operator wants instead.

use super::agent::{CONNECT, ask, document, endpoints, tell};
use super::command::{Arguments, CONFIG, Command, JSON, Operand, Opt, Value};
use super::exit::{Exit, Failure, Outcome};
use super::terminal::{COLUMNS, Style, Terminal};
use super::text::{Align, Cell, table, wrap};
use super::units::age;
use crate::core::membership::State;
use crate::core::membership::report::{FederationStatus, MembershipStatus};

pub(super) const LIST: Command = Command {
    path: &["federation", "list"],
    summary: "Show in which federation this vehicle is, why, and what comes next",
    about: &[
        "Asks the running agent. COST is the network cost of the way to the federation's nearest \
         server, 100 for one perfect hop, `-` when it is out of contact; ANSWERS is how long its \
         server takes to answer.",
        "What is owed to servers that could not be reached when the vehicle left is listed below: \
         it is done when there is a way again.",
    ],
    operands: &[],
    options: &[JSON, CONNECT, CONFIG],
    examples: &[("outrider federation list", "see where this vehicle stands")],
    run: list,
};

pub(super) const JOIN: Command = Command {
    path: &["federation", "join"],
    summary: "Have this vehicle join a federation and stay",
    about: &[
        "The vehicle leaves the federation that it is in, if it is another one, and joins as soon \
         as there is contact and the pre-flight holds (`outrider check federation NAME`). It stays \
         until `outrider federation leave` or `release`, also over a power cut.",
    ],
    operands: &[Operand {
        name: "NAME",
        value: Value::Text,
        required: true,
        doc: "NAME of the federation in the configuration",
    }],
    options: &[JSON, CONFIG],
    examples: &[("outrider federation join purple", "go to purple")],
    run: join,
};

/// Without moving pods away first.
const NOW: Opt = Opt {
    long: "now",
    short: None,
    value: None,
    doc: "Do not move pods away first, and do not wait for the server",
};

pub(super) const LEAVE: Command = Command {
    path: &["federation", "leave"],
    summary: "Have this vehicle leave its federation and join none",
    about: &[
        "Says so at the server, moves the pods away within their disruption budgets, deletes the \
         Node, stops k3s and cleans up what it left. What needs the server and cannot reach it is \
         done later. The vehicle stays out until `outrider federation join` or `release`, also over \
         a power cut.",
    ],
    operands: &[],
    options: &[NOW, JSON, CONFIG],
    examples: &[
        ("outrider federation leave", "leave before the vehicle is put away"),
        ("outrider federation leave --now", "leave a federation that lets no pod go"),
    ],
    run: leave,
};

pub(super) const HOLD: Command = Command {
    path: &["federation", "hold"],
    summary: "Have everything about federations stay as it is",
    about: &[
        "Nothing is joined, left, started, restarted or cleaned up, whatever the links do, until \
         `outrider federation release`. For the time of a repair.",
    ],
    operands: &[],
    options: &[JSON, CONFIG],
    examples: &[("outrider federation hold", "repair k3s by hand")],
    run: |arguments, terminal| wish(arguments, terminal, "hold"),
};

pub(super) const RELEASE: Command = Command {
    path: &["federation", "release"],
    summary: "Take back `join`, `leave` or `hold`: let policy decide again",
    about: &["The configuration and the links decide again in which federation the vehicle is."],
    operands: &[],
    options: &[JSON, CONFIG],
    examples: &[("outrider federation release", "go on by policy")],
    run: |arguments, terminal| wish(arguments, terminal, "release"),
};

fn list(arguments: &Arguments, terminal: &Terminal) -> Outcome {
    let answer = ask(&endpoints(arguments)?, "/v1/federation")?;
    print(arguments, terminal, &answer.body)
}

fn join(arguments: &Arguments, terminal: &Terminal) -> Outcome {
    let name = arguments.operands().first().map(|name| name.to_string_lossy()).unwrap_or_default();
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        let text = format!("`{}` cannot be the name of a federation", name.escape_debug());
        return Err(Failure::new(Exit::Usage, text));
    }
    wish(arguments, terminal, &format!("join/{name}"))
}

fn leave(arguments: &Arguments, terminal: &Terminal) -> Outcome {
    wish(arguments, terminal, if arguments.flag(&NOW) { "leave-now" } else { "leave" })
}

fn wish(arguments: &Arguments, terminal: &Terminal, word: &str) -> Outcome {
    let answer = tell(&endpoints(arguments)?, &format!("/v1/federation/{word}"))?;
    print(arguments, terminal, &answer.body)
}

fn print(arguments: &Arguments, terminal: &Terminal, body: &str) -> Outcome {
    let status: MembershipStatus = document(body)?;
    if arguments.flag(&JSON) {
        terminal.print(&format!("{}\n", body.trim_end()))?;
    } else {
        terminal.print(&render(&status, terminal))?;
    }
    Ok(Exit::Ok)
}

/// How much a state needs a person's eye.
pub(super) fn style(state: State) -> Style {
    match state {
        State::Member => Style::Good,
        State::Strained => Style::Warning,
        State::Solo | State::Evaluating | State::Joining | State::Leaving | State::Held => {
            Style::Plain
        }
    }
}

/// The membership as text.
#[must_use]
pub fn render(status: &MembershipStatus, terminal: &Terminal) -> String {
    if !status.configured {
        return "no federation is configured; `[[federation]]` names one\n".to_owned();
    }
    let mut text = String::new();
    let sentence = terminal.printable(&status.sentence);
    for line in wrap(&sentence, COLUMNS) {
        text.push_str(&format!("{}\n", terminal.style(&line, style(status.state))));
    }
    let wanted = match status.wish.as_str() {
        "policy" => None,
        "hold" => Some("held by the operator".to_owned()),
        "join" => Some("the operator said which federation to be in".to_owned()),
        _ => Some("the operator said to be in none".to_owned()),
    };
    if let Some(wanted) = wanted {
        text.push_str(&format!("{wanted}; `outrider federation release` ends that\n"));
    }
    if let Some(error) = &status.unsaved {
        let line = format!("nothing is done: {}", terminal.printable(error));
        for line in wrap(&line, COLUMNS) {
            text.push_str(&format!("{}\n", terminal.style(&line, Style::Bad)));
        }
    }
    text.push('\n');
    text.push_str(&federations(status, terminal));
    for owed in &status.deferred {
        let node = match &owed.uid {
            Some(uid) => format!("this vehicle's Node ({})", terminal.printable(uid)),
            None => "a Node of this vehicle's name".to_owned(),
        };
        let line = format!(
            "owed to {}: delete {node}, if it is still there, when there is a way",
            terminal.printable(&owed.federation)
        );
        for line in wrap(&line, COLUMNS) {
            text.push_str(&format!("{line}\n"));
        }
    }
    text
}

fn federations(status: &MembershipStatus, terminal: &Terminal) -> String {
    let columns = [
        ("FEDERATION", Align::Left),
        ("PRIORITY", Align::Right),
        ("COST", Align::Right),
        ("NEAR FOR", Align::Right),
        ("ANSWERS", Align::Right),
    ];
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let row = |federation: &FederationStatus| {
        let is_present = status.federation.as_ref() == Some(&federation.name);
        let style = if is_present { style(status.state) } else { Style::Plain };
        vec![
            Cell::styled(federation.name.as_str(), style),
            Cell::plain(federation.priority.to_string()),
            Cell::plain(or_dash(federation.cost.map(|cost| cost.to_string()))),
            Cell::plain(or_dash(federation.near_ms.map(age))),
            Cell::plain(or_dash(federation.round_trip_ms.map(|ms| format!("{ms} ms")))),
        ]
    };
    let rows: Vec<Vec<Cell>> = status.federations.iter().map(row).collect();
    let mut text = table(&columns, &rows, COLUMNS, terminal);
    for federation in &status.federations {
        let Some(refusal) = &federation.refusal else { continue };
        let line = terminal.printable(&format!("{}: {refusal}", federation.name));
        for line in wrap(&line, COLUMNS) {
            text.push_str(&format!("{}\n", terminal.style(&line, Style::Warning)));
        }
    }
    text
}
