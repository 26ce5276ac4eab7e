//! Vehicles: machines that join clusters, at the end of a link that can be cut.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::anchor::{self, Kind};
use crate::ground::{Equipment, Ground};
use crate::host::Host;
use crate::image::{self, IMAGE};
use crate::k3s::agent::{CGROUP, HEARTBEAT, KUBELET, MAIN_FILE};
use crate::process::Process;
use crate::programs::Programs;

/// Seconds between two heartbeats of a vehicle without a kubelet; its Lease then lasts half as long as control planes here wait.
pub const HEARTBEAT_S: &str = "2";

/// A vehicle. Everything on it ends with this value.
#[derive(Debug)]
pub struct Vehicle {
    host: Host,
    address: Ipv4Addr,
    double: PathBuf,
    images: PathBuf,
}

impl Vehicle {
    /// One at this address, with nothing running on it.
    pub fn new(ground: &Ground, name: &str, address: Ipv4Addr) -> Result<Vehicle, String> {
        let host = ground.host(Kind::Machine, name, address)?;
        let Equipment { folder, double } = ground.equipment().clone();
        Ok(Vehicle { host, address, double, images: folder.join("federation-image") })
    }

    /// Cuts its power: everything on it ends at once. Then starts it anew, with its disk and its link as they were and nothing
    /// running on it.
    pub fn power_cycle(&mut self, ground: &Ground) -> Result<(), String> {
        let name = self.host.name().to_owned();
        self.host.cut_power();
        self.host = ground.host(Kind::Machine, &name, self.address)?;
        Ok(())
    }

    /// Its host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Its name, which is its Node's too unless told otherwise.
    pub fn name(&self) -> &str {
        self.host.name()
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The program of the double.
    pub fn double(&self) -> &Path {
        &self.double
    }

    /// Writes k3s's main file as an operator would, for a cluster at `url` with this token.
    pub fn configure(&self, url: &str, token: &str) -> Result<(), String> {
        let address = self.address;
        let text = format!("server: {url}\ntoken: \"{token}\"\nnode-ip:\n  - {address}\n");
        self.host.write(MAIN_FILE, &text)
    }

    /// Starts the agent half of the double without a kubelet: it registers a Node and keeps it.
    pub fn start_agent(&self) -> Result<Process, String> {
        self.host.spawn("k3s-agent", &mut self.agent())
    }

    /// Starts the agent half with a real kubelet and container runtime, and the rig's image ready to be used.
    pub fn start_node(&self) -> Result<Process, String> {
        let mut command = self.agent();
        for (name, value) in self.node_environment()? {
            command.env(name, value);
        }
        self.host.spawn("k3s-agent", &mut command)
    }

    /// Prepares for a real kubelet, and gives the environment that makes the agent half start it.
    pub fn node_environment(&self) -> Result<Vec<(&'static str, String)>, String> {
        let group = self.prepare_node()?;
        let kubelet = Programs::find()?.kubernetes("kubelet").display().to_string();
        Ok(vec![(KUBELET, kubelet), (CGROUP, group)])
    }

    /// Writes what an operator of a real k3s agent would set beside the cluster, on a machine of which others use the rest.
    pub fn prepare_k3s(&self) -> Result<(), String> {
        let group = self.prepare_node()?;
        let settings = serde_json::json!({
            "pause-image": IMAGE,
            "kubelet-arg": [
                format!("cgroup-root=/{group}"),
                format!("kubelet-cgroups=/{group}"),
                format!("runtime-cgroups=/{group}"),
                "enforce-node-allocatable=",
                "eviction-hard=memory.available<1Mi,nodefs.available<1Mi,imagefs.available<1Mi",
                "image-gc-high-threshold=100",
                "volume-plugin-dir=/var/lib/kubelet/volume-plugins",
            ],
        });
        // JSON is YAML.
        self.host.write(&format!("{MAIN_FILE}.d/10-machine.yaml"), &settings.to_string())
    }

    /// The rig's image where k3s takes images from, and a control group for the vehicle, which it names.
    fn prepare_node(&self) -> Result<String, String> {
        let archive = image::archive(&self.images)?;
        let ready = self.host.path("/var/lib/rancher/k3s/agent/images");
        let failed = |e: std::io::Error| format!("giving {} an image: {e}", self.name());
        fs::create_dir_all(&ready).map_err(failed)?;
        fs::copy(archive, ready.join("pod.tar")).map_err(failed)?;
        let group = anchor::cgroup(self.host.folder());
        anchor::make_cgroups(&group)?;
        Ok(group)
    }

    fn agent(&self) -> Command {
        let mut command = self.host.command(Path::new(&self.double));
        command.arg("agent").env(HEARTBEAT, HEARTBEAT_S);
        command
    }
}
