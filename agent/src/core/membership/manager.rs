//! What the programs of service managers are asked and told about k3s, and what their answers mean.
//!
//! | manager | asked by | says Starting | knows when k3s has joined |
//! |---|---|---|---|
//! | systemd | `systemctl show` | yes, also while only the job is queued | yes, by `Type=notify` |
//! | OpenRC | `rc-service NAME status` | while the start script runs | no: Active is a supervised process |
//! | any other | a configured command | no | no: Active is status 0 |
//!
//! Status codes: OpenRC 0.45, `sh/openrc-run.sh` and `sh/supervise-daemon.sh`; for others those of the Linux Standard Base 5.0,
//! "Init Script Actions".

use std::collections::BTreeMap;

use super::Unit;
use super::unit::{NAMES, PROPERTIES, Service};

/// Stands for the unit's name in a configured command.
const PLACEHOLDER: &str = "{unit}";

/// What a service is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Run.
    Start,
    /// End if running, then run.
    Restart,
    /// End.
    Stop,
}

impl Verb {
    /// The word that every manager has for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Verb::Start => "start",
            Verb::Restart => "restart",
            Verb::Stop => "stop",
        }
    }
}

/// A service manager, by the programs that speak for it.
pub trait Manager: Send + Sync {
    /// The command that tells the state of a unit.
    fn question(&self, unit: &str) -> Vec<String>;

    /// What it answered: its status, `None` when a signal ended it, and what it printed. `None` when there is no such unit.
    ///
    /// # Errors
    /// The status is none that the question has.
    fn answer(
        &self,
        unit: &str,
        code: Option<i32>,
        output: &str,
    ) -> Result<Option<Service>, String>;

    /// The command that tells a unit something; none of them waits until k3s has joined.
    fn order(&self, verb: Verb, unit: &str) -> Vec<String>;

    /// Names that are looked for when none is configured, best first.
    fn names(&self) -> &'static [&'static str] {
        &NAMES
    }
}

/// Which manager runs k3s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManagerChoice {
    /// systemd.
    Systemd,
    /// OpenRC.
    OpenRc,
    /// Another, by commands.
    Commands(Commands),
}

impl ManagerChoice {
    /// It.
    #[must_use]
    pub fn manager(&self) -> &dyn Manager {
        match self {
            ManagerChoice::Systemd => &Systemd,
            ManagerChoice::OpenRc => &OpenRc,
            ManagerChoice::Commands(commands) => commands,
        }
    }
}

/// systemd.
#[derive(Clone, Copy, Debug)]
pub struct Systemd;

impl Manager for Systemd {
    fn question(&self, unit: &str) -> Vec<String> {
        let unit = format!("{unit}.service");
        words(&["systemctl", "show", "--no-pager", "--property", PROPERTIES, "--", &unit])
    }

    fn answer(
        &self,
        unit: &str,
        code: Option<i32>,
        output: &str,
    ) -> Result<Option<Service>, String> {
        match code {
            Some(0) => Ok(Service::from_systemd(unit, output)),
            Some(_) | None => Err(ended(code)),
        }
    }

    fn order(&self, verb: Verb, unit: &str) -> Vec<String> {
        words(&["systemctl", "--no-block", verb.word(), "--", &format!("{unit}.service")])
    }
}

/// OpenRC.
#[derive(Clone, Copy, Debug)]
pub struct OpenRc;

impl Manager for OpenRc {
    fn question(&self, unit: &str) -> Vec<String> {
        words(&["rc-service", unit, "status"])
    }

    fn answer(&self, unit: &str, code: Option<i32>, _: &str) -> Result<Option<Service>, String> {
        let state = match code {
            Some(0) => Unit::Active,
            // rc-service itself: there is no such service.
            Some(1) => return Ok(None),
            Some(3) => Unit::Stopped,
            Some(4) => Unit::Stopping,
            // 16: it waits for something else, such as the network.
            Some(8 | 16) => Unit::Starting,
            // 32: it crashed; 64: its supervisor is gone.
            Some(32 | 64) => Unit::Failed,
            Some(_) | None => return Err(ended(code)),
        };
        Ok(Some(service(unit, state)))
    }

    fn order(&self, verb: Verb, unit: &str) -> Vec<String> {
        words(&["rc-service", unit, verb.word()])
    }

    /// It does not tell what a service runs, and the other name is that of a server as the installer makes it.
    fn names(&self) -> &'static [&'static str] {
        &NAMES[..1]
    }
}

/// Commands of any other manager: program and arguments, without a shell. `{unit}` in an argument stands for the unit's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commands {
    /// Starts it and returns.
    pub start: Vec<String>,
    /// Restarts it and returns.
    pub restart: Vec<String>,
    /// Stops it.
    pub stop: Vec<String>,
    /// Ends with 0 when it runs, 3 when not, 4 when there is none, and 1 or 2 when it died.
    pub status: Vec<String>,
}

impl Manager for Commands {
    fn question(&self, unit: &str) -> Vec<String> {
        named(&self.status, unit)
    }

    fn answer(&self, unit: &str, code: Option<i32>, _: &str) -> Result<Option<Service>, String> {
        let state = match code {
            Some(0) => Unit::Active,
            Some(1 | 2) => Unit::Failed,
            Some(3) => Unit::Stopped,
            Some(4) => return Ok(None),
            Some(_) | None => return Err(ended(code)),
        };
        Ok(Some(service(unit, state)))
    }

    fn order(&self, verb: Verb, unit: &str) -> Vec<String> {
        let command = match verb {
            Verb::Start => &self.start,
            Verb::Restart => &self.restart,
            Verb::Stop => &self.stop,
        };
        named(command, unit)
    }
}

/// A service of which nothing but its state is known.
fn service(unit: &str, state: Unit) -> Service {
    Service {
        name: unit.to_owned(),
        state,
        waits: false,
        command: Vec::new(),
        environment: BTreeMap::new(),
        environment_files: Vec::new(),
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn named(command: &[String], unit: &str) -> Vec<String> {
    command.iter().map(|word| word.replace(PLACEHOLDER, unit)).collect()
}

fn ended(code: Option<i32>) -> String {
    match code {
        Some(code) => format!("it ended with status {code}"),
        None => "a signal ended it".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(manager: &dyn Manager, code: Option<i32>, output: &str) -> Result<Unit, String> {
        let service = manager.answer("k3s-agent", code, output)?;
        Ok(service.map_or(Unit::Absent, |service| service.state))
    }

    #[test]
    fn no_order_waits_for_a_join() {
        assert_eq!(
            Systemd.order(Verb::Restart, "k3s-agent"),
            ["systemctl", "--no-block", "restart", "--", "k3s-agent.service"]
        );
        assert_eq!(OpenRc.order(Verb::Start, "k3s"), ["rc-service", "k3s", "start"]);
    }

    #[test]
    fn statuses_of_openrc_are_read() {
        let cases = [
            (0, Unit::Active),
            (1, Unit::Absent),
            (3, Unit::Stopped),
            (4, Unit::Stopping),
            (8, Unit::Starting),
            (16, Unit::Starting),
            (32, Unit::Failed),
            (64, Unit::Failed),
        ];
        for (code, expected) in cases {
            assert_eq!(state(&OpenRc, Some(code), ""), Ok(expected), "{code}");
        }
        assert!(state(&OpenRc, Some(2), "").is_err());
        assert!(state(&OpenRc, None, "").is_err());
        assert!(state(&Systemd, Some(1), "").is_err());
    }

    #[test]
    fn configured_commands_get_the_name_and_no_shell() {
        let list = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let commands = Commands {
            start: list("sv up {unit}"),
            restart: list("sv restart {unit}"),
            stop: list("sv down /etc/sv/{unit}"),
            status: list("sv check {unit}"),
        };
        assert_eq!(commands.order(Verb::Stop, "k3s; rm"), ["sv", "down", "/etc/sv/k3s; rm"]);
        assert_eq!(commands.question("k3s"), ["sv", "check", "k3s"]);
        let expected = [Unit::Active, Unit::Failed, Unit::Failed, Unit::Stopped, Unit::Absent];
        for (code, expected) in (0..).zip(expected) {
            assert_eq!(state(&commands, Some(code), ""), Ok(expected), "{code}");
        }
        assert!(state(&commands, Some(127), "").unwrap_err().contains("127"));
    }
}
