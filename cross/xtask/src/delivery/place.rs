//! Network namespaces and the link between two of them. A namespace has no name and lives as long as the value that holds it,
//! so that nothing is left behind even when this program is killed.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;

use link::{Relay, WHOLE_FRAMES};
use nix::sched::{CloneFlags, setns, unshare};

use super::link::Profile;
use crate::packages;
use crate::steps::quiet;

/// Address of the vehicle on the link.
pub const VEHICLE: &str = "10.99.0.1";

/// Address of the command post on the link.
pub const POST: &str = "10.99.0.2";

/// Name of the interface at both ends.
const INTERFACE: &str = "mesh0";

/// What the kernel's token bucket lets pass at once, and how long a frame may wait for it: enough for the largest packet that
/// TCP hands down in one piece.
const BUCKET: [&str; 4] = ["burst", "256kb", "latency", "50ms"];

/// A network namespace.
#[derive(Clone)]
pub struct Place(Arc<File>);

impl Place {
    /// An empty one with loopback.
    pub fn new() -> Result<Place, String> {
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(|e| format!("making a network namespace: {e}; it takes root"))?;
            let path = "/proc/thread-self/ns/net";
            File::open(path).map_err(|e| format!("opening {path}: {e}"))
        });
        let file = made.join().map_err(|_| "making a network namespace failed".to_owned())??;
        let place = Place(Arc::new(file));
        place.ip(&["link", "set", "lo", "up"])?;
        Ok(place)
    }

    /// A path by which other programs find it while this one runs.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// A command that runs `program` here and ends with the thread that starts it.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path()));
        command.args(["setpriv", "--pdeathsig", "KILL", "--"]).arg(program);
        command
    }

    /// Runs `job` here on a thread of its own.
    pub fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> JoinHandle<Result<T, String>> {
        let file = Arc::clone(&self.0);
        std::thread::spawn(move || {
            setns(&*file, CloneFlags::CLONE_NEWNET)
                .map_err(|e| format!("entering a network namespace: {e}"))?;
            job()
        })
    }

    fn ip(&self, words: &[&str]) -> Result<(), String> {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg("ip").args(words);
        quiet(&mut command).map(drop)
    }

    /// Writes values below `/proc/sys/net` that hold here.
    fn set(&self, values: &[(&'static str, String)]) -> Result<(), String> {
        let values = values.to_vec();
        let set = self.run(move || {
            for (name, value) in values {
                let path = format!("/proc/sys/net/{name}");
                fs::write(&path, &value)
                    .map_err(|e| format!("writing `{value}` to {path}: {e}"))?;
            }
            Ok(())
        });
        join(set)
    }
}

/// What a thread came to.
pub fn join<T>(thread: JoinHandle<Result<T, String>>) -> Result<T, String> {
    thread.join().map_err(|_| "a thread of the measurement failed".to_owned())?
}

/// A vehicle and a command post with a link between them.
pub struct Ground {
    /// Where the vehicle's programs run.
    pub vehicle: Place,
    /// Where the command post's programs run.
    pub post: Place,
    relay: Option<Relay>,
}

impl Ground {
    /// With a link of this kind between both; `seed` decides which frames it loses. `congestion` is how TCP finds its rate.
    pub fn new(profile: Profile, congestion: &str, seed: u64) -> Result<Ground, String> {
        let [vehicle, post] = [Place::new()?, Place::new()?];
        let relay = if profile.is_plain() {
            let path = post.path();
            let peer = ["type", "veth", "peer", "name", INTERFACE, "netns", &path];
            vehicle.ip(&[&["link", "add", INTERFACE][..], &peer[..]].concat())?;
            for place in [&vehicle, &post] {
                let rate = format!("{}bit", profile.traits.bits_per_s);
                let mut command = Command::new("nsenter");
                command.arg(format!("--net={}", place.path())).args(["tc", "qdisc", "add"]);
                command.args(["dev", INTERFACE, "root", "tbf", "rate", &rate]).args(BUCKET);
                quiet(&mut command)?;
            }
            None
        } else {
            let middle = Place::new()?;
            middle.set(&[("ipv6/conf/all/disable_ipv6", "1".to_owned())])?;
            for (place, name) in [(&vehicle, "vehicle"), (&post, "post")] {
                let path = middle.path();
                place.ip(&[
                    "link", "add", INTERFACE, "type", "veth", "peer", "name", name, "netns", &path,
                ])?;
                let mut command = Command::new("nsenter");
                command.arg(format!("--net={}", place.path())).arg("ethtool");
                command.args(["-K", INTERFACE]).args(WHOLE_FRAMES);
                quiet(&mut command)?;
                middle.ip(&["link", "set", name, "up"])?;
            }
            let network = middle.0.try_clone().map_err(|e| format!("holding a namespace: {e}"))?;
            Some(Relay::start(network, ["vehicle", "post"], profile.traits, seed)?)
        };
        let ground = Ground { vehicle, post, relay };
        for (place, address) in [(&ground.vehicle, VEHICLE), (&ground.post, POST)] {
            place.set(&[
                ("ipv6/conf/all/disable_ipv6", "1".to_owned()),
                ("ipv4/tcp_congestion_control", congestion.to_owned()),
                // What a connection found out is not handed to the next one.
                ("ipv4/tcp_no_metrics_save", "1".to_owned()),
            ])?;
            place.ip(&["address", "add", &format!("{address}/30"), "dev", INTERFACE])?;
            place.ip(&["link", "set", INTERFACE, "up"])?;
        }
        Ok(ground)
    }

    /// Loses every frame, or lets them pass again.
    pub fn silence(&self, silent: bool) {
        if let Some(relay) = &self.relay {
            relay.silence(silent);
        }
    }

    /// Takes the vehicle's interface down, or up again.
    pub fn interface(&self, up: bool) -> Result<(), String> {
        self.vehicle.ip(&["link", "set", INTERFACE, if up { "up" } else { "down" }])
    }

    /// How late a frame came out at worst, beside the delay it should have had.
    pub fn worst_lateness_ms(&self) -> u64 {
        self.relay.as_ref().map_or(0, Relay::worst_lateness_ms)
    }
}

/// How TCP finds its rate on this machine unless told otherwise.
pub fn congestion_control() -> Result<String, String> {
    let path = "/proc/sys/net/ipv4/tcp_congestion_control";
    let name = fs::read_to_string(path).map_err(|e| format!("reading {path}: {e}"))?;
    Ok(name.trim().to_owned())
}

/// The full path of a program, since other programs look for it elsewhere.
pub fn path_of(program: &str) -> Result<std::path::PathBuf, String> {
    packages::find(program).ok_or(format!("{program} is missing"))
}
