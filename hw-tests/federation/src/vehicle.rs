//! Vehicles: machines that join clusters, at the end of a link that can be cut.

use std::net::Ipv4Addr;
use std::path::Path;

use crate::anchor::Kind;
use crate::host::{Ground, Host};
use crate::k3s::agent::MAIN_FILE;
use crate::process::Process;

/// Seconds between two heartbeats of a vehicle without a kubelet; its Lease then lasts as long as control planes here wait.
const HEARTBEAT_S: &str = "2";

/// A vehicle. Everything on it ends with this value.
#[derive(Debug)]
pub struct Vehicle {
    host: Host,
    address: Ipv4Addr,
    double: std::path::PathBuf,
}

impl Vehicle {
    /// One at this address, with nothing running on it.
    pub fn new(ground: &Ground, name: &str, address: Ipv4Addr) -> Result<Vehicle, String> {
        let host = ground.host(Kind::Machine, name, address)?;
        Ok(Vehicle { host, address, double: ground.equipment().double.clone() })
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

    /// Writes k3s's main file as an operator would, for a cluster at `url` with this token.
    pub fn configure(&self, url: &str, token: &str) -> Result<(), String> {
        let address = self.address;
        let text = format!("server: {url}\ntoken: \"{token}\"\nnode-ip:\n  - {address}\n");
        self.host.write(MAIN_FILE, &text)
    }

    /// Starts the agent half of the double without a kubelet: it registers a Node and keeps it.
    pub fn start_agent(&self) -> Result<Process, String> {
        let mut command = self.host.command(Path::new(&self.double));
        command.arg("agent").env("K3S_DOUBLE_HEARTBEAT_S", HEARTBEAT_S);
        self.host.spawn("k3s-agent", &mut command)
    }
}
