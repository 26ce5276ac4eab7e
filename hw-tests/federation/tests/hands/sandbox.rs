//! The agent's unit as it ships: with the drop-in for federations its hands can do everything, and without it they touch nothing.

use federation::Host;
use federation::systemd::Manager;

use crate::laid::{OURS, operators, shared_rules};
use crate::snapshot::{assert_same, snapshot};
use crate::{script, vehicle};

const UNIT: &str = include_str!("../../../../images/systemd/outrider.service");
const DROP_IN: &str = include_str!("../../../../images/systemd/outrider-federation.conf");

/// Lines of the unit that are about the agent's own program and user.
const OTHER: [&str; 9] = [
    "Type=",
    "ExecStart=",
    "ExecReload=",
    "Restart=",
    "WatchdogSec=",
    "DynamicUser=",
    "User=",
    "Documentation=",
    "WantedBy=",
];

/// Cleans up as a service with the settings of the unit; what it said, and how it ended.
fn clean_up(host: &Host, drop_in: &str) -> (String, String) {
    let kept = UNIT.lines().filter(|line| !OTHER.iter().any(|other| line.starts_with(other)));
    let hands = env!("CARGO_BIN_EXE_hands");
    let own = format!(
        "[Service]\nType=oneshot\nExecStart={hands} clean-up\nStandardOutput=truncate:/var/said\nStandardError=append:/var/said\n"
    );
    let unit = kept.collect::<Vec<_>>().join("\n") + "\n" + &own;
    host.write("/etc/systemd/system/outrider.service", &unit).unwrap();
    host.write("/etc/systemd/system/outrider.service.d/federation.conf", drop_in).unwrap();
    script(host, "systemctl daemon-reload; systemctl start outrider || true");
    let shown =
        host.run("systemctl", &["show", "--property=Result,ExecMainStatus", "outrider"]).unwrap();
    (host.read("/var/said").unwrap_or_default(), shown)
}

#[test]
fn the_unit_that_ships_can_clean_up_with_its_drop_in_and_touches_nothing_without() {
    let vehicle = vehicle("shipped", 69);
    let host = vehicle.host();
    let _manager = Manager::start(&vehicle).unwrap();
    let _operators = operators(host);
    let before = snapshot(host);
    let _shim = OURS.lay(host);
    shared_rules(host);
    let during = snapshot(host);

    // With mounts of its own, as the unit has without the drop-in.
    let apart = DROP_IN.replace("ProtectHome=no", "ProtectHome=read-only");
    assert_ne!(apart, DROP_IN);
    let (said, result) = clean_up(host, &apart);
    assert!(said.contains("does not see the machine's own mounts"), "{said} {result}");
    assert_same(&snapshot(host), &during, "in a view of its own");

    let (said, result) = clean_up(host, DROP_IN);
    assert_eq!((said.as_str(), result.as_str()), ("", "Result=success\nExecMainStatus=0\n"));
    assert_same(&snapshot(host), &before, "with the drop-in");
}
