//! The ground: a switch with hosts, and the links between them, which can be cut and shaped.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use link::{Relay, Traits, WHOLE_FRAMES};

use crate::anchor::Kind;
use crate::host::Host;

/// What the rig needs from the test that uses it.
#[derive(Clone, Debug)]
pub struct Equipment {
    /// Folder for state and logs, usually `env!("CARGO_TARGET_TMPDIR")`.
    pub folder: PathBuf,
    /// The program `k3s-double`, `env!("CARGO_BIN_EXE_k3s-double")` in this crate's tests.
    pub double: PathBuf,
}

/// A switch with hosts.
#[derive(Debug)]
pub struct Ground {
    equipment: Equipment,
    folder: PathBuf,
    // Before the switch, on which they work.
    shaped: Mutex<BTreeMap<Ipv4Addr, Shaped>>,
    /// Links that are cut, also while nobody is at their end.
    cut: Mutex<BTreeSet<Ipv4Addr>>,
    switch: Host,
}

/// A link that is not that of a short cable.
#[derive(Debug)]
struct Shaped {
    traits: Traits,
    seed: u64,
    _relay: Relay,
}

/// Name of the switch's bridge.
const BRIDGE: &str = "br0";

/// Prefix length of the hosts' network.
const PREFIX: u8 = 24;

impl Ground {
    /// An empty one. Folders of runs that have ended are removed first.
    pub fn new(equipment: Equipment) -> Result<Ground, String> {
        let runs = equipment.folder.join("federation");
        remove_ended(&runs);
        let unique = unique();
        let folder = runs.join(format!("{}-{unique}", std::process::id()));
        let switch = Host::start(Kind::Plain, "switch", folder.join("switch"), &equipment.double)?;
        switch.run("ip", &["link", "add", BRIDGE, "type", "bridge"])?;
        switch.run("ip", &["link", "set", BRIDGE, "up"])?;
        Ok(Ground { equipment, folder, shaped: Mutex::default(), cut: Mutex::default(), switch })
    }

    /// What it was made with.
    pub fn equipment(&self) -> &Equipment {
        &self.equipment
    }

    /// A host at `address`, with a default route into the switch's network. One of a name that there was before has its disk,
    /// and one at an address that there was before has its link.
    pub fn host(&self, kind: Kind, name: &str, address: Ipv4Addr) -> Result<Host, String> {
        let host = Host::start(kind, name, self.folder.join(name), &self.equipment.double)?;
        let port = port(address);
        let pid = host.pid().to_string();
        let peer = ["type", "veth", "peer", "name", "eth0", "netns", &pid];
        // The kernel takes down the interfaces of a host that has ended a moment later.
        let _ = self.switch_network(&["link", "delete", &port]);
        // The switch's namespaces would not know the host's process by this number, so its network alone is entered.
        self.switch_network(&[&["link", "add", &port][..], &peer[..]].concat())?;
        self.switch_network(&["link", "set", &port, "master", BRIDGE, "up"])?;
        host.run("ip", &["link", "set", "eth0", "address", &hardware(address)])?;
        host.run("ip", &["address", "add", &format!("{address}/{PREFIX}"), "dev", "eth0"])?;
        host.run("ip", &["link", "set", "eth0", "up"])?;
        host.run("ip", &["route", "add", "default", "dev", "eth0"])?;
        know_neighbours(&host, address)?;
        let was_cut = locked(&self.cut).contains(&address);
        let shape = locked(&self.shaped).get(&address).map(|shaped| (shaped.traits, shaped.seed));
        if let Some((traits, seed)) = shape {
            self.shape(&host, address, traits, seed)?;
        }
        if was_cut {
            self.cut(address)?;
        }
        Ok(host)
    }

    /// Cuts the link of the host with this address: its interface stays up, and nothing comes through.
    pub fn cut(&self, address: Ipv4Addr) -> Result<(), String> {
        locked(&self.cut).insert(address);
        self.switch_network(&["link", "set", &joint(self.is_shaped(address), address), "nomaster"])
    }

    /// Restores a link that was cut.
    pub fn restore(&self, address: Ipv4Addr) -> Result<(), String> {
        locked(&self.cut).remove(&address);
        let joint = joint(self.is_shaped(address), address);
        self.switch_network(&["link", "set", &joint, "master", BRIDGE])
    }

    /// Gives the link of a host these traits, in place of those of a short cable; a cut link is restored. `seed` decides which
    /// frames are lost.
    pub fn shape(
        &self,
        host: &Host,
        address: Ipv4Addr,
        traits: Traits,
        seed: u64,
    ) -> Result<(), String> {
        let [port, outer, inner] = [port(address), joint(true, address), far_end(address)];
        locked(&self.cut).remove(&address);
        if locked(&self.shaped).remove(&address).is_none() {
            let peer = ["type", "veth", "peer", "name", &inner];
            self.switch_network(&[&["link", "add", &outer][..], &peer[..]].concat())?;
            self.on_switch("ethtool", &[&["-K", &outer][..], &WHOLE_FRAMES[..]].concat())?;
        }
        host.run("ethtool", &[&["-K", "eth0"][..], &WHOLE_FRAMES[..]].concat())?;
        self.switch_network(&["link", "set", &port, "nomaster"])?;
        self.switch_network(&["link", "set", &inner, "up"])?;
        self.switch_network(&["link", "set", &outer, "master", BRIDGE, "up"])?;
        let path = format!("/proc/{}/ns/net", self.switch.pid());
        let network = File::open(&path).map_err(|e| format!("opening {path}: {e}"))?;
        let relay = Relay::start(network, [&port, &inner], traits, seed)?;
        locked(&self.shaped).insert(address, Shaped { traits, seed, _relay: relay });
        Ok(())
    }

    fn is_shaped(&self, address: Ipv4Addr) -> bool {
        locked(&self.shaped).contains_key(&address)
    }

    fn switch_network(&self, words: &[&str]) -> Result<(), String> {
        self.on_switch("ip", words)
    }

    fn on_switch(&self, program: &str, words: &[&str]) -> Result<(), String> {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.switch.pid())).arg(program).args(words);
        let output = command.output().map_err(|e| format!("starting nsenter: {e}"))?;
        if output.status.success() {
            return Ok(());
        }
        let error = String::from_utf8_lossy(&output.stderr);
        Err(format!("`{program} {}` on the switch failed: {}", words.join(" "), error.trim()))
    }
}

/// A test that panicked while it held one of the maps left it whole.
fn locked<T>(map: &Mutex<T>) -> MutexGuard<'_, T> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hardware address of a host.
fn hardware(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// Tells a host the hardware address of every other that there may be. A shaped link stands for a way of several hops, on which
/// nobody asks for hardware addresses; asked over it, answers would come after the kernel has given up.
fn know_neighbours(host: &Host, own: Ipv4Addr) -> Result<(), String> {
    let [a, b, c, last] = own.octets();
    let others = (1..=254).filter(|other| *other != last).map(|other| {
        let other = Ipv4Addr::new(a, b, c, other);
        format!("neighbour add {other} lladdr {} dev eth0 nud permanent\n", hardware(other))
    });
    let file = host.folder().join("neighbours");
    fs::write(&file, others.collect::<String>())
        .map_err(|e| format!("writing {}: {e}", file.display()))?;
    host.run("ip", &["-batch", &file.display().to_string()]).map(drop)
}

/// Name of the switch's interface towards a host.
fn port(address: Ipv4Addr) -> String {
    let [_, _, third, last] = address.octets();
    format!("p-{third}-{last}")
}

/// Name of the switch's interface that is in the bridge for a host: its own, or that of the relay which shapes its link.
fn joint(shaped: bool, address: Ipv4Addr) -> String {
    if shaped { port(address).replacen('p', "j", 1) } else { port(address) }
}

/// Name of the interface at the other end of the relay's.
fn far_end(address: Ipv4Addr) -> String {
    port(address).replacen('p', "f", 1)
}

/// A number that this process has not given before.
fn unique() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Removes the folders of processes that are no more.
fn remove_ended(runs: &Path) {
    for entry in fs::read_dir(runs).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let alive = name.split('-').next().is_some_and(|pid| Path::new("/proc").join(pid).exists());
        if !alive {
            // What cannot be removed costs room only, and the next run tries again.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
