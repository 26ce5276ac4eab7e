//! The service that runs k3s on this vehicle, as its manager describes it, and whether a drop-in of the configuration can decide
//! where that k3s goes.
//!
//! k3s puts what its files say before its command line, so flags in the unit beat every file; files beat the environment
//! (k3s 1.34, `pkg/configfilearg`). `K3S_URL` and `K3S_TOKEN`, which the installer writes, are therefore no obstacle.

use std::collections::BTreeMap;
use std::path::Path;

use super::Unit;
use super::preflight::{Cure, Finding, Stage};

/// Units that are looked for, best first: what the installer of k3s calls an agent, and anything.
pub const NAMES: [&str; 2] = ["k3s-agent", "k3s"];

/// Flags that decide what the drop-in has to decide, in every way k3s takes them.
const DECIDING: [&str; 5] = ["--server", "-s", "--token", "-t", "--token-file"];

/// Flags that lead k3s to other files.
const LEADING: [&str; 2] = ["--config", "-c"];

/// Flags that say where k3s keeps its data, and the same in the environment.
const DATA: [&str; 2] = ["--data-dir", "-d"];
const DATA_VARIABLE: &str = "K3S_DATA_DIR";

/// The same in the environment.
const LEADING_VARIABLE: &str = "K3S_CONFIG_FILE";

/// Sub-command of an agent.
const AGENT: &str = "agent";

/// A service as its manager knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Name without ending.
    pub name: String,
    /// Whether it runs.
    pub state: Unit,
    /// It ended and waits to be started again by its manager, as a k3s does that was told of no server.
    pub waits: bool,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Environment as the unit sets it.
    pub environment: BTreeMap<String, String>,
    /// Files with more of it.
    pub environment_files: Vec<String>,
}

/// What [`Service::from_systemd`] wants to be shown, for `systemctl show --property=`.
pub const PROPERTIES: &str =
    "LoadState,ActiveState,SubState,Job,ExecStart,Environment,EnvironmentFiles";

impl Service {
    /// Reads what `systemctl show` printed of [`PROPERTIES`]. `None` when there is no such unit.
    #[must_use]
    pub fn from_systemd(name: &str, shown: &str) -> Option<Service> {
        let properties: Vec<(&str, &str)> =
            shown.lines().filter_map(|line| line.split_once('=')).collect();
        let values = |wanted: &'static str| {
            properties.iter().filter(move |(name, _)| *name == wanted).map(|(_, value)| *value)
        };
        let first = |wanted| values(wanted).next().unwrap_or_default();
        // One that was masked or broken while it runs is still to be stopped; what it runs is not shown any more, so only a name
        // that says it will do.
        let is_loaded = first("LoadState") == "loaded";
        let is_down = matches!(first("ActiveState"), "inactive" | "failed" | "");
        if !is_loaded && (is_down || name != NAMES[0]) {
            return None;
        }
        // Its number; while other jobs have to end first, the unit does not show that it is to start.
        let queued = !matches!(first("Job"), "" | "0");
        let state = match first("ActiveState") {
            "active" | "reloading" | "refreshing" => Unit::Active,
            "activating" => Unit::Starting,
            "deactivating" => Unit::Stopping,
            _ if queued => Unit::Starting,
            "failed" => Unit::Failed,
            _ => Unit::Stopped,
        };
        // { path=/usr/local/bin/k3s ; argv[]=/usr/local/bin/k3s agent ; ignore_errors=no ; ... }
        let command = first("ExecStart").split_once("argv[]=").map_or("", |(_, rest)| rest);
        let command = command.split(" ; ").next().unwrap_or_default();
        let environment = words(first("Environment"));
        // /etc/default/k3s-agent (ignore_errors=yes)
        let files = values("EnvironmentFiles").filter_map(|file| file.split(" (").next());
        Some(Service {
            name: name.to_owned(),
            state,
            waits: first("SubState").starts_with("auto-restart"),
            command: words(command),
            environment: environment.iter().filter_map(|word| assignment(word)).collect(),
            environment_files: files.filter(|file| !file.is_empty()).map(str::to_owned).collect(),
        })
    }

    /// Takes in a file of `NAME=value` lines, as service managers and shells read them.
    pub fn add_environment(&mut self, file: &str) {
        let lines = file.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
        let bare = |line: &str| line.strip_prefix("export ").unwrap_or(line).to_owned();
        self.environment.extend(lines.filter_map(|line| assignment(&bare(line))));
    }

    /// Whether it runs k3s as an agent.
    #[must_use]
    pub fn is_agent(&self) -> bool {
        self.command
            .iter()
            .skip(1)
            .find(|word| !word.starts_with('-'))
            .is_some_and(|word| word == AGENT)
    }

    /// What it runs, when that is known and is no agent: this agent leaves such a service alone.
    #[must_use]
    pub fn stranger(&self) -> Option<String> {
        (!self.command.is_empty() && !self.is_agent()).then(|| self.command.join(" "))
    }

    /// Its words without the values that are written into them.
    fn flags(&self) -> impl Iterator<Item = &str> {
        self.command.iter().skip(1).map(|word| word.split('=').next().unwrap_or_default())
    }

    /// Where it says that its data is, if it does.
    fn data_folder(&self) -> Option<&str> {
        let mut words = self.command.iter().skip(1).map(String::as_str);
        while let Some(word) = words.next() {
            let (flag, value) = word.split_once('=').map_or((word, None), |(f, v)| (f, Some(v)));
            if DATA.contains(&flag)
                && let Some(folder) = value.or_else(|| words.next())
            {
                return Some(folder);
            }
        }
        self.environment.get(DATA_VARIABLE).map(String::as_str)
    }

    /// Why an agent must not be told where to go while this service is beside it: a server that reads the same files would follow.
    #[must_use]
    pub fn follows(&self) -> Option<Finding> {
        let command = self.stranger()?;
        if self.flags().any(|flag| LEADING.contains(&flag))
            || self.environment.contains_key(LEADING_VARIABLE)
        {
            return None;
        }
        Some(Finding::bad(
            Stage::Unit,
            Cure::Person,
            format!(
                "the service {} of this machine runs `{command}`, and would read what the agent is told",
                self.name
            ),
            "a server leads a cluster of its own: let vehicles join with machines that have none, or give it a `--config` of its own",
        ))
    }

    /// The flag or variable that keeps a drop-in from deciding where this k3s goes.
    fn obstacle(&self) -> Option<String> {
        let mut deciding =
            self.flags().filter(|flag| DECIDING.contains(flag) || LEADING.contains(flag));
        let variable = self.environment.contains_key(LEADING_VARIABLE);
        deciding.next().map(str::to_owned).or_else(|| variable.then(|| LEADING_VARIABLE.to_owned()))
    }
}

/// Whether a join can use the service; `equipped` when this agent's drop-in is in place. `data_folder` is where this agent takes
/// k3s's data to be.
#[must_use]
pub fn judge(service: Option<&Service>, data_folder: &Path, equipped: bool) -> Finding {
    const STAGE: Stage = Stage::Unit;
    let bad = |text: String, remedy: String| Finding::bad(STAGE, Cure::Person, text, remedy);
    let Some(service) = service else {
        return bad(
            format!("there is no service {}", NAMES.join(" or ")),
            "install k3s as an agent without starting it: INSTALL_K3S_SKIP_START=true INSTALL_K3S_SKIP_ENABLE=true \
             INSTALL_K3S_EXEC=agent"
                .to_owned(),
        );
    };
    let name = &service.name;
    if let Some(command) = service.stranger() {
        return bad(
            format!("the service {name} runs `{command}`, which is no agent"),
            "name the service of an agent in `k3s.unit`; a server leads a cluster of its own and joins no other".to_owned(),
        );
    }
    if let Some(other) = service.data_folder().filter(|other| Path::new(other) != data_folder) {
        return bad(
            format!(
                "the service {name} keeps its data in {other}, and this agent looks in {}",
                data_folder.display()
            ),
            format!("set `data_folder = \"{other}\"` in section `[k3s]`"),
        );
    }
    if let Some(obstacle) = service.obstacle() {
        return bad(
            format!(
                "`{obstacle}` in the service {name} decides before any file which cluster it joins"
            ),
            format!(
                "move it from the unit into /etc/rancher/k3s/config.yaml, then `systemctl daemon-reload`; see `systemctl cat {name}`"
            ),
        );
    }
    // One that was told of no server ends by itself a moment after each start; for how long that takes, nobody can tell it from one
    // that looks for somebody else's.
    let cure = match service.state {
        _ if service.waits || equipped => None,
        Unit::Active => Some(Cure::Person),
        Unit::Starting | Unit::Stopping => Some(Cure::Time),
        Unit::Stopped | Unit::Failed | Unit::Absent => None,
    };
    if let Some(cure) = cure {
        return Finding::bad(
            STAGE,
            cure,
            format!("the service {name} runs already, in a cluster that somebody else chose"),
            format!("`systemctl disable --now {name}` if this agent is to choose from now on"),
        );
    }
    Finding::good(
        STAGE,
        format!("the service {name} runs k3s as an agent and leaves the choice to its files"),
    )
}

/// `NAME=value`, the value without quotes around it.
fn assignment(word: &str) -> Option<(String, String)> {
    let (name, value) = word.split_once('=')?;
    let quoted =
        |quote: char| value.strip_prefix(quote).and_then(|value| value.strip_suffix(quote));
    let value = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
    (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
}

/// Words, of which those in double quotes may have blanks.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for letter in text.chars() {
        let word = words.last_mut().expect("there is always one");
        match letter {
            _ if escaped => {
                word.push(letter);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => word.push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::super::preflight::Verdict;
    use super::*;

    const DATA: &str = "/var/lib/rancher/k3s";

    fn judged(service: Option<&Service>, equipped: bool) -> Finding {
        judge(service, Path::new(DATA), equipped)
    }

    /// What systemd 252 shows of a unit, with these arguments after `agent`.
    fn shown(arguments: &str, active: &str) -> String {
        format!(
            "ExecStart={{ path=/usr/local/bin/k3s ; argv[]=/usr/local/bin/k3s agent{arguments} ; ignore_errors=no ; \
             start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }}\n\
             Environment=\"A=two words\" B=1\n\
             EnvironmentFiles=/etc/default/k3s-agent (ignore_errors=yes)\n\
             EnvironmentFiles=/etc/systemd/system/k3s-agent.service.env (ignore_errors=yes)\n\
             LoadState=loaded\nActiveState={active}\n"
        )
    }

    fn service(arguments: &str, active: &str) -> Service {
        Service::from_systemd("k3s-agent", &shown(arguments, active)).unwrap()
    }

    #[test]
    fn a_unit_is_read() {
        let service = service("", "inactive");
        assert_eq!(service.command, ["/usr/local/bin/k3s", "agent"]);
        assert_eq!(service.environment["A"], "two words");
        assert_eq!(service.environment["B"], "1");
        assert_eq!(
            service.environment_files,
            ["/etc/default/k3s-agent", "/etc/systemd/system/k3s-agent.service.env"]
        );
        assert_eq!(service.state, Unit::Stopped);
        assert!(judged(Some(&self::service("", "activating")), false).verdict != Verdict::Good);
        let waits = self::service("", "activating\nSubState=auto-restart");
        assert!(judged(Some(&waits), false).verdict == Verdict::Good, "it goes nowhere by itself");
        assert!(judged(Some(&service), false).verdict == Verdict::Good);
        let states = [
            ("active", Unit::Active),
            ("activating", Unit::Starting),
            ("deactivating", Unit::Stopping),
            ("failed", Unit::Failed),
        ];
        for (word, state) in states {
            assert_eq!(self::service("", word).state, state, "{word}");
        }
        let queued = shown("", "inactive") + "Job=4711\n";
        assert_eq!(Service::from_systemd("k3s-agent", &queued).unwrap().state, Unit::Starting);
        assert_eq!(
            Service::from_systemd("k3s", "LoadState=not-found\nActiveState=inactive\n"),
            None
        );
        assert_eq!(Service::from_systemd("k3s", ""), None);
    }

    #[test]
    fn what_decides_before_the_files_is_an_obstacle() {
        let flags = [
            " --server https://10.0.0.1:6443",
            " --server=https://10.0.0.1:6443",
            " -s https://10.0.0.1:6443",
            " --node-name x --token-file /etc/token",
            " --token=\"a b\"",
            " -c /etc/other.yaml",
            " --config=/etc/other.yaml",
        ];
        for arguments in flags {
            let finding = judged(Some(&service(arguments, "inactive")), false);
            assert!(finding.is_bad() && finding.text.contains("decides before"), "{finding:?}");
        }
        for arguments in
            [" --node-name x", " --node-label=-s=1", " --server-side", " --kubelet-arg=v=2"]
        {
            let finding = judged(Some(&service(arguments, "inactive")), false);
            assert_eq!(finding.verdict, Verdict::Good, "{finding:?}");
        }
    }

    #[test]
    fn data_that_lies_elsewhere_is_told_before_it_is_missed() {
        for (arguments, is_bad) in [
            (" --data-dir /mnt/ssd", true),
            (" --data-dir=/mnt/ssd", true),
            (" -d /mnt/ssd", true),
            (" -d /var/lib/rancher/k3s", false),
            (" --data-dir=/var/lib/rancher/k3s/", false),
            (" --data-dir", false),
        ] {
            let finding = judged(Some(&service(arguments, "inactive")), false);
            assert_eq!(finding.is_bad(), is_bad, "{finding:?}");
            assert!(!is_bad || finding.remedy.contains("data_folder = \"/mnt/ssd\""));
        }
        let mut service = service("", "inactive");
        service.add_environment("K3S_DATA_DIR=/mnt/ssd");
        assert!(judged(Some(&service), false).is_bad());
    }

    #[test]
    fn one_that_was_masked_while_it_runs_is_still_there() {
        let masked = "LoadState=masked\nActiveState=active\n";
        assert_eq!(Service::from_systemd("k3s-agent", masked).unwrap().state, Unit::Active);
        assert_eq!(Service::from_systemd("k3s", masked), None, "it may be a server");
        assert_eq!(
            Service::from_systemd("k3s-agent", "LoadState=masked\nActiveState=failed\n"),
            None
        );
    }

    #[test]
    fn a_server_beside_an_agent_would_read_what_the_agent_is_told() {
        let server = |arguments: &str| {
            let text = shown(arguments, "inactive").replace("k3s agent", "k3s server");
            Service::from_systemd("k3s", &text).unwrap()
        };
        let finding = server("").follows().unwrap();
        assert!(finding.is_bad() && finding.text.contains("k3s server"), "{finding:?}");
        assert_eq!(server(" --config=/etc/server.yaml").follows(), None);
        let mut led = server("");
        led.add_environment("K3S_CONFIG_FILE=/etc/server.yaml");
        assert_eq!(led.follows(), None);
        assert_eq!(service("", "active").follows(), None);
    }

    #[test]
    fn the_environment_that_the_installer_writes_is_no_obstacle() {
        let mut service = service("", "inactive");
        service.add_environment(
            "K3S_URL='https://10.0.0.1:6443'\nK3S_TOKEN=\"x\"\n# K3S_CONFIG_FILE=/a\n\n=\n",
        );
        assert_eq!(service.environment["K3S_URL"], "https://10.0.0.1:6443");
        assert_eq!(service.environment["K3S_TOKEN"], "x");
        assert_eq!(judged(Some(&service), false).verdict, Verdict::Good);
        service.add_environment("export K3S_CONFIG_FILE=/etc/other.yaml\n");
        assert!(judged(Some(&service), false).text.contains("K3S_CONFIG_FILE"));
    }

    #[test]
    fn a_k3s_that_somebody_else_started_is_left_alone() {
        for (active, cure) in
            [("active", Cure::Person), ("activating", Cure::Time), ("deactivating", Cure::Time)]
        {
            let service = service("", active);
            let finding = judged(Some(&service), false);
            assert!(finding.text.contains("runs already"));
            assert_eq!(finding.verdict, Verdict::Bad(cure), "{active}");
            assert_eq!(judged(Some(&service), true).verdict, Verdict::Good);
        }
    }

    #[test]
    fn a_server_and_nothing_are_no_agents() {
        assert!(judged(None, false).is_bad());
        let text = shown("", "active").replace("k3s agent", "k3s server");
        let server = Service::from_systemd("k3s", &text).unwrap();
        assert!(judged(Some(&server), false).text.contains("no agent"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = Service::from_systemd("k3s", &text);
            let text = format!("LoadState=loaded\nExecStart={text}\nEnvironment={text}\n");
            let _ = judged(Service::from_systemd("k3s", &text).as_ref(), false);
        }
    }
}
