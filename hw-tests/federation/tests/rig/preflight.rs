//! `outrider check federation` against a real API server behind the double's supervisor, from vehicles with a real systemd and
//! links of the project's classes: what it foretells is what the double's agent then meets.

use std::time::Duration;

use federation::systemd::{self, Manager, UNIT};
use federation::{AVERAGE, Traits, Vehicle, WORST};
use serde_json::Value;

use crate::rider::{CONFIG, outrider};
use crate::{RED, account_of, shared, vehicle, wait_ready};

const ACCOUNT: &str = "/etc/outrider/red.account";
const TOKEN: &str = "/etc/outrider/red.token";

/// A vehicle that was told about `red`, with this token for it.
fn told(name: &str, last: u8, token: &str) -> Vehicle {
    let vehicle = vehicle(name, last);
    let config = format!(
        "[vehicle]\nname = \"{name}\"\n[[federation]]\nname = \"red\"\nservers = [\"{RED}\"]\ntoken_file = {TOKEN:?}\n\
         account_file = {ACCOUNT:?}\n"
    );
    vehicle.host().write(CONFIG, &config).unwrap();
    vehicle.host().write(TOKEN, token).unwrap();
    vehicle.host().write(ACCOUNT, &account_of(&shared().red, name)).unwrap();
    vehicle.host().run("chmod", &["600", TOKEN, ACCOUNT]).unwrap();
    vehicle
}

/// What the program finds, each as verdict, stage and text with remedy.
fn check(vehicle: &Vehicle) -> Vec<[String; 3]> {
    let mut command = vehicle.host().command(&outrider());
    command.args(["check", "federation", "red", "--json", "--config", CONFIG]);
    let output = command.output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let findings = report["findings"].as_array().unwrap();
    let shown = |finding: &Value| {
        let text = |key: &str| finding[key].as_str().unwrap().to_owned();
        let said = text("text");
        let (stage, rest) = said.split_once(": ").unwrap();
        let stage = stage.strip_prefix("red, ").unwrap().to_owned();
        [text("verdict"), stage, format!("{rest} / {}", text("remedy"))]
    };
    findings.iter().map(shown).collect()
}

/// The stage and text of the only fault.
fn fault(vehicle: &Vehicle) -> (String, String) {
    let found = check(vehicle);
    let faults: Vec<_> = found.iter().filter(|finding| finding[0] == "error").collect();
    assert_eq!(faults.len(), 1, "{found:#?}");
    (faults[0][1].clone(), faults[0][2].clone())
}

fn is_sound(vehicle: &Vehicle) -> Vec<[String; 3]> {
    let found = check(vehicle);
    assert!(found.iter().all(|finding| finding[0] != "error"), "{found:#?}");
    found
}

#[test]
fn a_federation_that_can_be_joined_passes_and_the_real_api_judges_the_token() {
    let red = &shared().red;
    let vehicle = told("asks", 40, &red.agent_token().unwrap());
    let _manager = Manager::start(&vehicle).unwrap();
    systemd::install_unit(&vehicle, false).unwrap();
    let found = is_sound(&vehicle);
    let stages: Vec<&str> = found.iter().map(|finding| finding[1].as_str()).collect();
    let all = [
        "credentials",
        "unit",
        "space",
        "route",
        "connect",
        "authority",
        "clock",
        "name",
        "speed",
        "token",
        "node",
        "version",
    ];
    assert_eq!(stages, all);
    assert!(found.iter().all(|finding| finding[0] == "ok"), "{found:#?}");
    // Nothing was left at the server by asking.
    assert_eq!(red.get("/api/v1/nodes/asks").unwrap(), None);
    let secret = "/api/v1/namespaces/kube-system/secrets/asks.node-password.k3s";
    assert_eq!(red.get(secret).unwrap(), None);

    vehicle.host().write(TOKEN, &red.bootstrap_token(3_600).unwrap()).unwrap();
    is_sound(&vehicle);
    vehicle.host().write(TOKEN, &red.bootstrap_token(-60).unwrap()).unwrap();
    let (stage, text) = fault(&vehicle);
    assert!(stage == "token" && text.contains("401"), "{stage}: {text}");
    vehicle.host().write(TOKEN, &red.server_token().unwrap()).unwrap();
    let found = is_sound(&vehicle);
    assert!(found[0][0] == "warning" && found[0][2].contains("that of a server"), "{found:#?}");
}

#[test]
fn a_unit_that_decides_for_itself_or_runs_for_somebody_else_is_found_under_a_real_systemd() {
    let red = &shared().red;
    let vehicle = told("flags", 41, &red.agent_token().unwrap());
    let host = vehicle.host();
    let _manager = Manager::start(&vehicle).unwrap();
    let (stage, text) = fault(&vehicle);
    assert!(stage == "unit" && text.contains("there is no service"), "{stage}: {text}");

    systemd::install_unit(&vehicle, false).unwrap();
    let unit = format!("/etc/systemd/system/{UNIT}");
    let plain = host.read(&unit).unwrap();
    let double = format!("ExecStart={} agent", vehicle.double().display());
    assert!(plain.contains(&double));
    let with = |arguments: &str| {
        host.write(&unit, &plain.replace(&double, &format!("{double} {arguments}"))).unwrap();
        host.run("systemctl", &["daemon-reload"]).unwrap();
        fault(&vehicle)
    };
    for arguments in
        ["--server https://10.77.0.12:6443", "-t x", "--token-file=/x", "--config /x.yaml"]
    {
        let (stage, text) = with(arguments);
        assert!(stage == "unit" && text.contains("decides before any file"), "{stage}: {text}");
    }
    host.write(&unit, &plain.replace(&double, &double.replace(" agent", " server"))).unwrap();
    host.run("systemctl", &["daemon-reload"]).unwrap();
    let (stage, text) = fault(&vehicle);
    assert!(stage == "unit" && text.contains("no agent"), "{stage}: {text}");

    host.write(&unit, &plain).unwrap();
    host.write(&format!("{unit}.env"), "K3S_CONFIG_FILE=/etc/other.yaml\n").unwrap();
    host.run("systemctl", &["daemon-reload"]).unwrap();
    let (stage, text) = fault(&vehicle);
    assert!(stage == "unit" && text.contains("K3S_CONFIG_FILE"), "{stage}: {text}");
    host.write(&format!("{unit}.env"), "K3S_URL=https://10.77.0.12:6443\nK3S_TOKEN=x\n").unwrap();
    is_sound(&vehicle);

    vehicle.configure(&red.url(), &red.agent_token().unwrap()).unwrap();
    host.run("systemctl", &["start", "--no-block", UNIT]).unwrap();
    let (stage, text) = fault(&vehicle);
    assert!(stage == "unit" && text.contains("runs already"), "{stage}: {text}");
    host.run("systemctl", &["stop", UNIT]).unwrap();
}

#[test]
fn the_links_on_which_k3s_joins_are_told_from_those_on_which_it_never_does() {
    let shared = shared();
    let token = shared.red.agent_token().unwrap();
    let queue = Duration::from_secs(1);
    let average = Traits { queue, ..AVERAGE };
    let good = told("average", 42, &token);
    shared.ground.shape(good.host(), good.address(), average, 1).unwrap();
    is_sound(&good);
    good.configure(&shared.red.url(), &token).unwrap();
    let agent = good.start_agent().unwrap();
    wait_ready("average", &agent);

    let bad = told("worst", 43, &token);
    shared.ground.shape(bad.host(), bad.address(), WORST, 1).unwrap();
    let (stage, text) = fault(&bad);
    assert!(stage == "speed" || stage == "connect", "{stage}: {text}");
    assert!(text.contains("within 8 s"), "{stage}: {text}");

    shared.ground.cut(bad.address()).unwrap();
    let (stage, text) = fault(&bad);
    assert_eq!(stage, "connect", "{text}");
}
