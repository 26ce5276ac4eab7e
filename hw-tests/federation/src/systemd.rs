//! A real systemd manager on a vehicle, and k3s's unit for it.
//!
//! It is the user manager, which needs not be a machine's first process and has the same D-Bus interface. Bus and private
//! socket lie where those of the system manager are, so that `systemctl` and any program that asks the system bus find it
//! without being told. Units lie in `/etc/systemd/system`, which is empty at first and lies on
//! the vehicle's disk.

use std::path::Path;
use std::time::Duration;

use crate::anchor::{self, CGROUPS};
use crate::host::Host;
use crate::k3s::agent::HEARTBEAT;
use crate::process::{Process, wait_for};
use crate::programs::Programs;
use crate::vehicle::{HEARTBEAT_S, Vehicle};

/// k3s's unit for agents.
pub const UNIT: &str = "k3s-agent.service";

/// Where units are.
const UNITS: &str = "/etc/systemd/system";

/// The system bus.
const BUS: &str = "/run/dbus/system_bus_socket";

/// Folder of the manager at run time.
const RUNTIME: &str = "/run/user/0";

/// Home of the manager, where a user manager keeps what is enabled; a link leads from there to the units.
const HOME: &str = "/var/lib/manager";

/// A bus like the system's, but one that starts nothing itself and lets everybody speak.
const BUS_CONFIG: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"#;

/// How long bus and manager may take to answer; they take a tenth of a second.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Targets that units may depend on, and what each wants. What is enabled starts with the manager.
const TARGETS: &[(&str, &str)] = &[
    ("default", "Wants=multi-user.target\n"),
    ("multi-user", ""),
    ("basic", ""),
    ("sysinit", ""),
    ("network-online", ""),
    ("shutdown", ""),
    ("exit", ""),
];

/// The manager. It ends with this value; what it started lives on until the vehicle ends.
#[derive(Debug)]
pub struct Manager {
    _bus: Process,
    _manager: Process,
}

impl Manager {
    /// Starts it.
    pub fn start(vehicle: &Vehicle) -> Result<Manager, String> {
        let host = vehicle.host();
        let kept = format!("{HOME}/systemd");
        host.run("mkdir", &["-p", "/run/systemd/system", "/run/dbus", RUNTIME, &kept])?;
        host.run("ln", &["-sfn", UNITS, &format!("{kept}/user")])?;
        for (target, more) in TARGETS {
            let unit = format!("[Unit]\nDefaultDependencies=no\n{more}");
            host.write(&format!("{UNITS}/{target}.target"), &unit)?;
        }
        host.write("/run/dbus/bus.conf", BUS_CONFIG)?;
        let mut bus = host.command(Path::new("dbus-daemon"));
        bus.args(["--config-file=/run/dbus/bus.conf", "--nofork", "--nopidfile"]);
        let bus = host.spawn("dbus", &mut bus)?;
        wait_for("the bus", START_TIMEOUT, || Ok(host.path(BUS).exists().then_some(())))?;

        let group = anchor::cgroup(host.folder());
        anchor::make_cgroups(&group)?;
        // Its groups come below its own, and that is the vehicle's. 0 is whoever writes.
        let script = format!(
            "for h in systemd unified; do \
               [ -d {CGROUPS}/$h ] && mkdir -p {CGROUPS}/$h/{group} \
                 && echo 0 > {CGROUPS}/$h/{group}/cgroup.procs; \
             done; exec \"$@\""
        );
        let program = ["/lib/systemd/systemd", "--user"];
        let mut manager = host.command(Path::new("sh"));
        manager.args(["-c", &script, "sh"]).args(program);
        manager.env("XDG_RUNTIME_DIR", RUNTIME).env("SYSTEMD_UNIT_PATH", UNITS);
        manager.env("HOME", HOME).env("XDG_CONFIG_HOME", HOME).env("XDG_DATA_HOME", HOME);
        manager.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={BUS}"));
        let manager = host.spawn("systemd", &mut manager)?;
        host.run("ln", &["-s", &format!("{RUNTIME}/systemd/private"), "/run/systemd/private"])?;
        let running = wait_for("the manager", START_TIMEOUT, || {
            host.run("systemctl", &["show", "--property=Version"]).map(Some)
        });
        running.map_err(|e| format!("{e}\n{}", manager.last_words()))?;
        Ok(Manager { _bus: bus, _manager: manager })
    }
}

/// What systemd says about a property of k3s's unit.
pub fn property(host: &Host, name: &str) -> Result<String, String> {
    let show = ["show", "--value", &format!("--property={name}"), UNIT];
    Ok(host.run("systemctl", &show)?.trim().to_owned())
}

/// Installs the double's agent half as [`install_k3s`] installs k3s: with a real kubelet when `node`.
pub fn install_unit(vehicle: &Vehicle, node: bool) -> Result<(), String> {
    let mut environment = vec![(HEARTBEAT, HEARTBEAT_S.to_owned())];
    if node {
        environment.extend(vehicle.node_environment()?);
    }
    install(vehicle, vehicle.double(), environment)
}

/// Installs k3s's unit as its installer does. Settings beside the files may go to `k3s-agent.service.env`. The program is a real
/// k3s when there is one, with a kubelet that runs pods; else the double, which has a kubelet when `node`.
pub fn install_k3s(vehicle: &Vehicle, node: bool) -> Result<(), String> {
    match &Programs::find()?.k3s {
        Some(k3s) => {
            vehicle.prepare_k3s()?;
            install(vehicle, k3s, Vec::new())
        }
        None => install_unit(vehicle, node),
    }
}

fn install(
    vehicle: &Vehicle,
    program: &Path,
    mut environment: Vec<(&str, String)>,
) -> Result<(), String> {
    environment.push(("PATH", std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin"));
    let environment: String = environment
        .iter()
        .map(|(name, value)| format!("Environment=\"{name}={value}\"\n"))
        .collect();
    let unit = format!(
        "[Unit]\n\
         Description=Lightweight Kubernetes\n\
         Wants=network-online.target\n\
         After=network-online.target\n\
         [Service]\n\
         Type=notify\n\
         EnvironmentFile=-{UNITS}/{UNIT}.env\n\
         {environment}\
         KillMode=process\n\
         Delegate=yes\n\
         TimeoutStartSec=0\n\
         Restart=always\n\
         RestartSec=5s\n\
         ExecStart={program} agent\n\
         StandardOutput=append:{log}\n\
         StandardError=append:{log}\n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        program = program.display(),
        log = vehicle.host().log_of("k3s-agent").display(),
    );
    vehicle.host().write(&format!("{UNITS}/{UNIT}"), &unit)?;
    vehicle.host().run("systemctl", &["daemon-reload"]).map(drop)
}
