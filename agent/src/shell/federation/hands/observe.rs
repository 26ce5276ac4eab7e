//! What the kernel shows of this machine: processes, mounts, interfaces, and the state that names what belongs to this k3s.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::ifaddrs::getifaddrs;

use crate::core::membership::cleanup::Claims;
use crate::core::membership::cleanup::interfaces::Interface;
use crate::core::membership::cleanup::mounts::{self, Mount, Places, network};
use crate::core::membership::cleanup::processes::{Process, others};
use crate::shell::tls::read_small_file;

/// What is read of the words and groups of a process: those that tell whose it is stand first, and a container's own may be megabytes.
const WORDS_MAX: u64 = 16 * 1024;

/// Bundles of the kubelet's containers, below the folder of k3s at run time.
pub const BUNDLES: &str = "containerd/io.containerd.runtime.v2.task/k8s.io";

/// What the network plugins keep.
pub const CNI: &str = "/var/lib/cni";

/// Everything that decisions are made of, at one time.
#[derive(Debug)]
pub struct World {
    pub processes: Vec<Process>,
    pub claims: Claims,
    /// No other Kubernetes has the same view of mounts.
    pub alone_in_mounts: bool,
    /// No other Kubernetes uses this network.
    pub alone_in_network: bool,
}

impl World {
    pub fn look(places: &Places) -> io::Result<World> {
        let processes = processes(&places.data)?;
        let claims = claims(places);
        let others = others(&processes, &claims);
        let alone_in_mounts = !others.iter().any(|other| shares_folders(other, places));
        let alone_in_network =
            !others.iter().any(|other| other.same_network && has_network_part(other));
        Ok(World { claims, alone_in_mounts, alone_in_network, processes })
    }

    /// Networks in which somebody lives.
    pub fn inhabited(&self) -> BTreeSet<u64> {
        self.processes.iter().filter(|one| !one.dead).map(|one| one.network).collect()
    }
}

/// Places without symbolic links on the way.
pub fn places(data_folder: &Path) -> Places {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    Places {
        run: real(Path::new("/run/k3s")),
        kubelet: real(Path::new("/var/lib/kubelet")),
        networks: real(Path::new("/run/netns")),
        data: real(data_folder),
    }
}

/// Whether this process sees mounts and network as the machine's first process does. A unit with a view of its own would remove
/// things there, and k3s would still have them.
pub fn sees_the_machine() -> bool {
    ["mnt", "net"].iter().all(|kind| {
        let own = fs::read_link(format!("/proc/self/ns/{kind}")).ok();
        own.is_some() && own == fs::read_link(format!("/proc/1/ns/{kind}")).ok()
    })
}

fn processes(data: &Path) -> io::Result<Vec<Process>> {
    let own = namespaces("self");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(pid) = name.parse::<i32>() else { continue };
        // What ends meanwhile cannot be read, and is no more.
        let Ok(stat) = fs::read(entry.path().join("stat")) else { continue };
        let mut process = Process { pid, ..Process::default() };
        if !process.read_stat(&String::from_utf8_lossy(&stat)) {
            continue;
        }
        let text = |file: &str| {
            let mut content = Vec::new();
            let opened = fs::File::open(entry.path().join(file));
            let _ = opened.and_then(|file| file.take(WORDS_MAX).read_to_end(&mut content));
            String::from_utf8_lossy(&content).into_owned()
        };
        process.read_words(&text("cmdline"));
        process.groups = text("cgroup");
        let [mounts, network_link] = namespaces(&name);
        process.same_mounts = mounts.is_some() && mounts == own[0];
        process.same_network = network_link.is_some() && network_link == own[1];
        let link = network_link.unwrap_or_default();
        process.network = network(&link.to_string_lossy()).unwrap_or_default();
        let exe = entry.path().join("exe");
        process.program = fs::read_link(&exe).unwrap_or_default();
        process.ours = is_file_of(&process, &exe, data);
        found.push(process);
    }
    Ok(found)
}

/// Whether a program is a file of this k3s's data. The path alone does not tell: in a container of its own another k3s has the
/// same one.
fn is_file_of(process: &Process, exe: &Path, data: &Path) -> bool {
    if !process.program.starts_with(data.join("data")) {
        return false;
    }
    let (Ok(running), named) = (fs::metadata(exe), fs::metadata(&process.program)) else {
        return false;
    };
    match named {
        Ok(named) => (running.dev(), running.ino()) == (named.dev(), named.ino()),
        // An upgrade has removed it meanwhile.
        Err(_) => process.same_mounts && running.nlink() == 0,
    }
}

fn namespaces(process: &str) -> [Option<PathBuf>; 2] {
    ["mnt", "net"].map(|kind| fs::read_link(format!("/proc/{process}/ns/{kind}")).ok())
}

/// Whether another one has its pods in the same folders. One in a container sees others there; one in a sandbox of its service
/// manager has mounts of its own, and the same folders.
fn shares_folders(process: &Process, places: &Places) -> bool {
    let root = PathBuf::from(format!("/proc/{}/root", process.pid));
    let same = |folder: &Path| {
        let theirs = fs::metadata(root.join(folder.strip_prefix("/").unwrap_or(folder)));
        let ours = fs::metadata(folder);
        ours.is_ok_and(|ours| {
            theirs.is_ok_and(|theirs| (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()))
        })
    };
    process.same_mounts || same(&places.kubelet) || same(&places.run)
}

/// Whether another k3s has pods: a mere control plane has no network of its own.
fn has_network_part(process: &Process) -> bool {
    process.data_folder().is_none_or(|data| {
        let root = PathBuf::from(format!("/proc/{}/root", process.pid));
        root.join(data.strip_prefix("/").unwrap_or(data)).join("agent/etc").exists()
    })
}

/// Entries of a folder; none when it cannot be read.
pub fn entries(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect();
    found.sort();
    found
}

fn small_text(path: &Path) -> String {
    String::from_utf8_lossy(&read_small_file(path).unwrap_or_default()).into_owned()
}

fn claims(places: &Places) -> Claims {
    let mut claims = Claims::default();
    let plugins = entries(&places.data.join("agent/containerd"));
    for (_, plugin) in plugins.iter().filter(|(name, _)| name.contains("cri")) {
        for kind in ["sandboxes", "containers"] {
            entries(&plugin.join(kind)).iter().for_each(|(name, _)| claims.add_id(name));
        }
    }
    let own_folder = format!("{}/agent/", places.data.display());
    for (id, bundle) in entries(&places.run.join(BUNDLES)) {
        let specification = small_text(&bundle.join("config.json"));
        if claims.has_id(&id) || specification.contains(&own_folder) {
            claims.add_id(&id);
            claims.add_named(&specification);
        }
    }
    for (name, path) in entries(&Path::new(CNI).join("results")) {
        if claims.has_id(&name) {
            let result = small_text(&path);
            claims.add_named(&result);
            claims.add_ports(&result);
        }
    }
    claims
}

/// Every mount of this view.
pub fn mounts() -> io::Result<Vec<Mount>> {
    fs::read("/proc/self/mountinfo").map(|text| mounts::read(&String::from_utf8_lossy(&text)))
}

/// Every interface of this network.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let mut addresses: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for entry in getifaddrs()? {
        let carried = addresses.entry(entry.interface_name).or_default();
        let Some(address) = entry.address else { continue };
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        carried.extend(v4.or(address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip()))));
    }
    let interfaces = addresses.into_iter().map(|(name, addresses)| {
        let folder = Path::new("/sys/class/net").join(&name);
        let master = fs::read_link(folder.join("master")).ok();
        let master = master.as_deref().and_then(Path::file_name);
        let above = entries(&folder);
        Interface {
            master: master.map(|name| name.to_string_lossy().into_owned()),
            uppers: above
                .iter()
                .filter_map(|(name, _)| name.strip_prefix("upper_").map(str::to_owned))
                .collect(),
            hardware: folder.join("device").exists(),
            name,
            addresses,
        }
    });
    Ok(interfaces.collect())
}
