//! What the user sees: a table that is redrawn each second on a terminal, and a line now and then elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use super::agents::Agent;
use super::observer::Traffic;
use super::relay::Relay;
use super::status::Look;

/// Vehicles up to which every cost to every other one has a column of its own on 80 columns.
const MATRIX_MAX: usize = 6;
/// Width of a column of costs.
const COLUMN: usize = 5;
/// With more vehicles the table would not fit 24 lines and could not be redrawn.
const ROWS_MAX: usize = 14;
/// Without a table a line comes at least this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Everything that is shown at one moment.
pub struct Scene<'a> {
    /// Since the convoy set off.
    pub elapsed: Duration,
    /// What is happening, in words.
    pub story: &'a str,
    /// The agents.
    pub agents: &'a [Agent],
    /// What each of them says.
    pub looked: &'a [Look],
    /// What arrived at the broker.
    pub traffic: &'a Traffic,
}

/// Where it is shown.
pub struct Screen {
    /// Lines can be redrawn.
    live: bool,
    colour: bool,
    drawn: usize,
    last_story: String,
    last_line: Option<Duration>,
}

/// How good a cost is, for colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grade {
    Own,
    Good,
    Fair,
    Poor,
    Gone,
    Unknown,
}

impl Grade {
    fn of(cost: Option<i64>) -> Grade {
        match cost {
            None => Grade::Unknown,
            Some(0) => Grade::Own,
            Some(..0) => Grade::Gone,
            Some(..=150) => Grade::Good,
            Some(..=400) => Grade::Fair,
            Some(_) => Grade::Poor,
        }
    }

    /// Codes of ECMA-48, "select graphic rendition".
    fn code(self) -> &'static str {
        match self {
            Grade::Own | Grade::Unknown => "2",
            Grade::Good => "32",
            Grade::Fair => "33",
            Grade::Poor => "31",
            Grade::Gone => "1;31",
        }
    }
}

impl Screen {
    /// Looks at standard output and the environment.
    pub fn new(vehicles: usize) -> Screen {
        let live = vehicles <= ROWS_MAX
            && std::io::stdout().is_terminal()
            && std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        let colour = live && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Screen { live, colour, drawn: 0, last_story: String::new(), last_line: None }
    }

    /// Says what was started and where to look.
    pub fn greet(&self, agents: &[Agent], relay: &Relay) {
        let mut text = String::new();
        for agent in agents {
            text.push_str(&format!("{:8}  http://{}/\n", agent.name, agent.page));
        }
        text.push_str(&format!("broker    {} ({})\n", relay.address(), relay.name()));
        if let Some(agent) = agents.first() {
            text.push_str(&format!("try       outrider status --connect {}\n", agent.page));
        }
        self.write(&text);
    }

    /// Shows one moment.
    pub fn show(&mut self, scene: &Scene<'_>) {
        if self.live {
            let lines = self.table(scene);
            let mut text = String::new();
            if self.drawn > 0 {
                // Up to where the table began, and clear to the end.
                text.push_str(&format!("\x1b[{}F\x1b[J", self.drawn));
            }
            text.push_str(&lines.join("\n"));
            text.push('\n');
            self.drawn = lines.len();
            self.write(&text);
            return;
        }
        let due = self.last_line.is_none_or(|last| scene.elapsed >= last + LINE_EVERY);
        if due || self.last_story != scene.story {
            self.last_story = scene.story.to_owned();
            self.last_line = Some(scene.elapsed);
            self.write(&line(scene));
        }
    }

    /// Leaves what is shown and goes on below it.
    pub fn leave(&mut self, text: &str) {
        self.drawn = 0;
        self.write(&format!("{text}\n"));
    }

    fn write(&self, text: &str) {
        let mut out = std::io::stdout();
        // A reader that went away is no reason to stop; the demo ends when it is told to.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    fn paint(&self, grade: Grade, text: &str) -> String {
        if self.colour { format!("\x1b[{}m{text}\x1b[0m", grade.code()) } else { text.to_owned() }
    }

    fn table(&self, scene: &Scene<'_>) -> Vec<String> {
        let seconds = scene.elapsed.as_secs();
        let mut lines = vec![
            String::new(),
            format!("{}:{:02}  {}", seconds / 60, seconds % 60, scene.story),
            format!("{}  {}", broker_line(scene), "Ctrl-C ends"),
            String::new(),
        ];
        let names: Vec<&str> = scene.agents.iter().map(|agent| agent.name.as_str()).collect();
        let matrix = names.len() <= MATRIX_MAX;
        let mut head = format!("{:8} {:22} ", "vehicle", "page");
        if matrix {
            for name in &names {
                let short: String = name.chars().take(COLUMN - 1).collect();
                head.push_str(&format!("{short:>COLUMN$}"));
            }
        } else {
            head.push_str(&format!("{:>11} {:>6} {:>6}", "reachable", "best", "worst"));
        }
        head.push_str(&format!(" {:>4} {:>8}", "MQTT", "memory"));
        lines.push(head);
        for (agent, look) in scene.agents.iter().zip(scene.looked) {
            let mut row = format!("{:8} {:22} ", agent.name, format!("http://{}/", agent.page));
            if matrix {
                for name in &names {
                    let cost = look.cost(name);
                    let text = format!("{:>COLUMN$}", cost_text(cost));
                    row.push_str(&self.paint(Grade::of(cost), &text));
                }
            } else {
                row.push_str(&summary(&names, look));
            }
            let mqtt = match look.status.as_ref().map(|status| status.mqtt.connected) {
                Some(true) => "up",
                Some(false) => "down",
                None => "?",
            };
            let memory = agent.resident_kib().map_or("?".to_owned(), |kib| {
                format!("{}.{} MB", kib / 1024, kib % 1024 * 10 / 1024)
            });
            row.push_str(&format!(" {mqtt:>4} {memory:>8}"));
            lines.push(row);
        }
        lines.push(String::new());
        lines.push("cost: 100 is one perfect hop, -1 unreachable, ? not known".into());
        lines
    }
}

/// A cost in five columns.
fn cost_text(cost: Option<i64>) -> String {
    match cost {
        None => "?".to_owned(),
        Some(0) => ".".to_owned(),
        Some(cost @ 10_000..) => format!("{}k", cost / 1000),
        Some(cost) => cost.to_string(),
    }
}

/// A long convoy in one row.
fn summary(names: &[&str], look: &Look) -> String {
    let costs: Vec<i64> =
        names.iter().filter_map(|name| look.cost(name)).filter(|cost| *cost > 0).collect();
    let number = |cost: Option<&i64>| cost_text(cost.copied());
    format!(
        "{:>11} {:>6} {:>6}",
        format!("{}/{}", costs.len(), names.len() - 1),
        number(costs.iter().min()),
        number(costs.iter().max()),
    )
}

fn broker_line(scene: &Scene<'_>) -> String {
    let births = scene.traffic.values().filter(|heard| heard.births > 0).count();
    let batches: u64 = scene.traffic.values().map(|heard| heard.batches).sum();
    let bytes: u64 = scene.traffic.values().map(|heard| heard.bytes).sum();
    let events: u64 = scene.traffic.values().map(|heard| heard.events).sum();
    format!(
        "MQTT: {births} births, {batches} batches of telemetry ({}.{} kB), {events} events",
        bytes / 1000,
        bytes % 1000 / 100,
    )
}

/// One line for a log.
fn line(scene: &Scene<'_>) -> String {
    let ready = scene.looked.iter().filter(|look| look.ready).count();
    let costs: Vec<String> = match (scene.looked.first(), scene.agents) {
        (Some(first), [_, others @ ..]) => {
            others.iter().map(|agent| cost_text(first.cost(&agent.name))).collect()
        }
        _ => Vec::new(),
    };
    format!(
        "{:>4} s  {}; {ready} ready; costs from {}: {}; {}\n",
        scene.elapsed.as_secs(),
        scene.story,
        scene.agents.first().map_or("", |agent| agent.name.as_str()),
        costs.join(" "),
        broker_line(scene),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_fit_their_column_and_have_a_grade() {
        for (cost, text, grade) in [
            (None, "?", Grade::Unknown),
            (Some(0), ".", Grade::Own),
            (Some(-1), "-1", Grade::Gone),
            (Some(100), "100", Grade::Good),
            (Some(151), "151", Grade::Fair),
            (Some(9_999), "9999", Grade::Poor),
            (Some(1_000_000), "1000k", Grade::Poor),
        ] {
            assert_eq!((cost_text(cost).as_str(), Grade::of(cost)), (text, grade));
            assert!(text.len() <= COLUMN);
        }
    }
}
