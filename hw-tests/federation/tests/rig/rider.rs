//! Vehicles with the whole program: k3s below a real systemd, federations in their configuration, and what they say of themselves.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use federation::systemd::{self, Manager, UNIT, install_k3s, install_unit};
use federation::{ControlPlane, Host, Process, Vehicle, wait_for};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{LIMIT, account_of, container, home, shared, vehicle};

/// Its configuration.
pub const CONFIG: &str = "/etc/outrider/outrider.toml";

/// Where it keeps where it is going.
const INTENT: &str = "/var/lib/outrider/membership/intent.json";

/// What k3s is told by it.
pub const DROP_IN: &str = "/etc/rancher/k3s/config.yaml.d/zz-outrider.yaml";

/// The program as the sources say, built as the test was.
pub fn outrider() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let words = ["build", "--quiet", "--locked", "--package", "outrider", "--bin", "outrider"];
        let status = Command::new(cargo).args(words).status().unwrap();
        assert!(status.success(), "outrider could not be built");
        let own = std::env::current_exe().unwrap();
        own.parent().and_then(|folder| folder.parent()).unwrap().join("outrider")
    };
    BUILT.get_or_init(build).clone()
}

/// Starts the program on a host, with its configuration there.
pub fn run(host: &Host) -> Process {
    let mut command = host.command(&outrider());
    command.args(["run", "--config", CONFIG]);
    host.spawn("outrider", &mut command).unwrap()
}

/// Kills it.
pub fn kill(mut program: Process) {
    program.signal(Signal::SIGKILL);
    program.wait(LIMIT);
}

/// A vehicle with systemd, k3s's unit and the program.
pub struct Rider {
    pub vehicle: Vehicle,
    manager: Option<Manager>,
    agent: Option<Process>,
}

/// A federation as a vehicle knows it.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    pub name: &'a str,
    pub plane: &'a ControlPlane,
    pub priority: u32,
    /// Further keys.
    pub more: &'a str,
}

impl Rider {
    /// One that knows these federations; the program is not started.
    pub fn new(name: &str, last: u8, known: &[Known<'_>]) -> Rider {
        Rider::with(name, last, known, false)
    }

    /// The same, with a real kubelet and real pods when `pods`.
    pub fn with(name: &str, last: u8, known: &[Known<'_>], pods: bool) -> Rider {
        let vehicle = vehicle(name, last);
        let manager = Some(Manager::start(&vehicle).unwrap());
        match known.iter().any(|known| known.plane.is_real()) {
            true => install_k3s(&vehicle, pods).unwrap(),
            false => install_unit(&vehicle, pods).unwrap(),
        }
        // As k3s's installer leaves it: it starts with the machine, whatever this program had in mind.
        vehicle.host().run("systemctl", &["enable", UNIT]).unwrap();
        let mut config = format!(
            "[vehicle]\nname = \"{name}\"\nkind = \"truck\"\n[mesh]\ndaemon = \"none\"\n[k3s]\nnode_ip = \"{}\"\n\
             zone = \"{name}\"\n[membership]\ndwell = \"1s\"\n",
            vehicle.address()
        );
        for Known { name: federation, plane, priority, more } in known {
            let (token, account) = (
                format!("/etc/outrider/{federation}.token"),
                format!("/etc/outrider/{federation}.account"),
            );
            config += &format!(
                "[[federation]]\nname = \"{federation}\"\nservers = [\"{}\"]\ntoken_file = {token:?}\n\
                 account_file = {account:?}\npriority = {priority}\njoin_after = \"1s\"\nstrain_after = \"4s\"\n{more}\n",
                plane.address()
            );
            vehicle.host().write(&token, &plane.agent_token().unwrap()).unwrap();
            vehicle.host().write(&account, &account_of(plane, name)).unwrap();
            vehicle.host().run("chmod", &["600", &token, &account]).unwrap();
        }
        vehicle.host().write(CONFIG, &config).unwrap();
        Rider { vehicle, manager, agent: None }
    }

    pub fn start(&mut self) {
        self.agent = Some(run(self.vehicle.host()));
    }

    pub fn kill(&mut self) {
        kill(self.agent.take().unwrap());
    }

    pub fn power_cycle(&mut self) {
        (self.agent, self.manager) = (None, None);
        self.vehicle.power_cycle(&shared().ground).unwrap();
        self.manager = Some(Manager::start(&self.vehicle).unwrap());
        self.start();
    }

    /// What `outrider federation WORDS --json` prints.
    pub fn ask(&self, words: &[&str]) -> Result<Value, String> {
        let mut command = self.vehicle.host().command(&outrider());
        command.arg("federation").args(words).args(["--json", "--config", CONFIG]);
        let output = command.output().unwrap();
        serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    pub fn tell(&self, words: &[&str]) {
        let told = wait_for("the program to take an order", LIMIT, || Ok(self.ask(words).ok()));
        told.unwrap();
    }

    /// Waits until the program says that the vehicle is in this state, about this federation.
    pub fn wait(&self, state: &str, federation: Option<&str>) -> Value {
        self.wait_within(LIMIT, state, federation)
    }

    /// The same, for what takes longer than most.
    pub fn wait_within(&self, limit: Duration, state: &str, federation: Option<&str>) -> Value {
        let what = format!("{} to be {state} of {federation:?}", self.vehicle.name());
        let mut last = Value::Null;
        let found = wait_for(&what, limit, || {
            let Ok(status) = self.ask(&["list"]) else { return Ok(None) };
            let is = status["state"] == state
                && (federation.is_none() || status["federation"].as_str() == federation);
            last = status.clone();
            Ok(is.then_some(status))
        });
        found.unwrap_or_else(|error| {
            let agent = self.agent.as_ref().map(Process::last_words).unwrap_or_default();
            panic!("{error}\n{last:#}\n{agent}")
        })
    }

    /// Waits until the program says this of why it is where it is, or of why it does not join.
    pub fn wait_said(&self, words: &str) -> Value {
        let mut last = Value::Null;
        let said = wait_for(&format!("{words:?} from {}", self.vehicle.name()), LIMIT, || {
            last = self.ask(&["list"])?;
            let refusals = last["federations"].as_array().into_iter().flatten();
            let mut texts = refusals.map(|one| &one["refusal"]).chain([&last["sentence"]]);
            let said = texts.any(|text| text.as_str().is_some_and(|text| text.contains(words)));
            Ok(said.then(|| last.clone()))
        });
        said.unwrap_or_else(|error| {
            let agent = self.agent.as_ref().map(Process::last_words).unwrap_or_default();
            panic!("{error}\n{last:#}\n{agent}")
        })
    }

    /// Changes its configuration, which the program reads when it starts anew.
    pub fn change(&mut self, from: &str, to: &str) {
        let config = self.vehicle.host().read(CONFIG).unwrap();
        assert!(config.contains(from), "{config}");
        self.vehicle.host().write(CONFIG, &config.replace(from, to)).unwrap();
        if self.agent.is_some() {
            self.kill();
            self.start();
        }
    }

    /// k3s was never started, and never told anything.
    pub fn assert_untouched(&self) {
        let started = systemd::property(self.vehicle.host(), "ExecMainStartTimestampMonotonic");
        assert_eq!(started.unwrap(), "0", "k3s was started");
        assert!(!self.vehicle.host().path(DROP_IN).exists(), "k3s was told");
    }

    /// Waits until what is stored about the membership holds one of these texts, looking as often as the machine allows: which.
    pub fn wait_stored<'t>(&self, texts: &[&'t str]) -> &'t str {
        let path = self.vehicle.host().path(INTENT);
        let until = Instant::now() + LIMIT;
        loop {
            let stored = fs::read_to_string(&path).unwrap_or_default();
            if let Some(text) = texts.iter().find(|text| stored.contains(**text)) {
                return text;
            }
            assert!(Instant::now() < until, "{} never stored {texts:?}", self.vehicle.name());
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until a pod with the label `app` of the vehicle's name runs on it.
    pub fn wait_pod(&self, plane: &ControlPlane) {
        let name = self.vehicle.name();
        let selector = format!("--selector=app={name}");
        let running = wait_for("the pod to run", LIMIT, || {
            let pods = plane.kubectl(&["get", "pods", &selector, "--output=json"])?;
            let pods: Value = serde_json::from_str(&pods).map_err(|error| error.to_string())?;
            let mut items = pods["items"].as_array().into_iter().flatten();
            Ok(items
                .any(|pod| pod["status"]["phase"] == "Running" && pod["spec"]["nodeName"] == name)
                .then_some(()))
        });
        running.unwrap_or_else(|error| {
            panic!("{error}\n{:#}", self.ask(&["list"]).unwrap_or_default())
        });
    }

    /// k3s's process.
    pub fn process(&self) -> String {
        systemd::property(self.vehicle.host(), "MainPID").unwrap()
    }

    /// Whether k3s runs or tries to. A real one that was stopped counts as failed: it ends with a complaint.
    pub fn runs_k3s(&self) -> bool {
        !["inactive", "failed"].contains(&self.unit().as_str())
    }

    /// State of k3s's unit.
    pub fn unit(&self) -> String {
        systemd::property(self.vehicle.host(), "ActiveState").unwrap()
    }
}

pub fn node(plane: &ControlPlane, name: &str) -> Option<Value> {
    plane.get(&format!("/api/v1/nodes/{name}")).unwrap()
}

/// Waits until a Node says which vehicle it is of, the one of the same name.
pub fn wait_told(plane: &ControlPlane, name: &str) {
    let told = wait_for("the Node to tell its vehicle", LIMIT, || {
        let node = node(plane, name).unwrap_or_default();
        let vehicle = &node["metadata"]["annotations"]["outrider.internal/vehicle"];
        Ok((*vehicle == name).then_some(()))
    });
    told.unwrap();
}

pub fn red() -> Known<'static> {
    Known { name: "red", plane: home(), priority: 10, more: "leave_after = \"15s\"" }
}

/// A workload of one pod that can only run on this vehicle.
pub fn workload(node: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": node, "namespace": "default" },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": { "app": node } },
            "template": {
                "metadata": { "labels": { "app": node } },
                "spec": {
                    "nodeSelector": { "outrider.internal/vehicle": node },
                    "containers": [container(&["1"])],
                },
            },
        },
    })
}
