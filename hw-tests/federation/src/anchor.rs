//! The first process of a host: a little machine made of namespaces, which ends with whoever holds its standard input.
//!
//! A host has its own network, process, mount, name and IPC namespaces. Its first process waits for the end of its input.
//! When the test that made it ends, even by SIGKILL, the kernel closes that input, the first process ends, and the kernel
//! kills every process of the host and lets go of its interfaces, mounts and rules. Nothing has a name outside, so nothing is
//! left behind; only control groups are not namespaced here, and the outer half removes those.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::wait;
use nix::unistd::sethostname;

/// First word of the outer half's arguments: `anchor KIND NAME FOLDER`.
pub const OUTER: &str = "anchor";

/// First word of the inner half's, which is the host's first process.
pub const INNER: &str = "anchor-init";

/// Begins the line that tells the inner half's process id.
pub const PID: &str = "pid ";

/// The line that says that the host is furnished.
pub const READY: &str = "ready";

/// Where control groups of the first version have their hierarchies.
pub const CGROUPS: &str = "/sys/fs/cgroup";

/// The hierarchies that a kubelet wants groups in.
const HIERARCHIES: &[&str] =
    &["cpu", "cpuacct", "cpuset", "memory", "pids", "devices", "freezer", "blkio", "systemd"];

/// Folders of a machine that have nothing of those of the machine outside, with what they are called on its disk. Containers
/// need some of them on a filesystem that is no overlay.
const OWN_FOLDERS: [(&str, &str); 3] = [
    ("/var/lib/rancher", "rancher"),
    ("/var/lib/kubelet", "kubelet"),
    ("/etc/systemd/system", "units"),
];

/// How long the first process sleeps when it has no child to wait for.
const IDLE: Duration = Duration::from_millis(100);

/// What a host is furnished with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Namespaces; it sees the machine's files.
    Plain,
    /// A machine of its own as far as k3s is concerned. Changes below `/etc` and `/var` are its own; they lie in the host's
    /// folder as on a disk, where a later host with the same folder finds them. `/run` is empty.
    Machine,
}

impl Kind {
    /// The word for it in arguments.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Plain => "plain",
            Kind::Machine => "machine",
        }
    }

    fn parse(word: &str) -> Result<Kind, String> {
        [Kind::Plain, Kind::Machine]
            .into_iter()
            .find(|kind| kind.word() == word)
            .ok_or(format!("there is no kind of host `{word}`"))
    }
}

/// Name of the control group of the host with this folder, the same after a power cut.
pub fn cgroup(folder: &Path) -> String {
    let part = |path: Option<&Path>| {
        let name = path.and_then(Path::file_name).unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    format!("federation-{}-{}", part(folder.parent()), part(Some(folder)))
}

/// Makes the control group of a host in every hierarchy, allowed what its parent is.
pub fn make_cgroups(name: &str) -> Result<(), String> {
    for hierarchy in HIERARCHIES {
        let parent = Path::new(CGROUPS).join(hierarchy);
        if !parent.is_dir() {
            return Err(format!(
                "there is no {}: the rig runs kubelets only where control groups are of the first version",
                parent.display()
            ));
        }
        let group = parent.join(name);
        make(&group)?;
        // A new cpuset is allowed nothing.
        for file in ["cpuset.cpus", "cpuset.mems"].iter().filter(|_| *hierarchy == "cpuset") {
            fs::read(parent.join(file))
                .and_then(|text| fs::write(group.join(file), text))
                .map_err(|e| format!("copying {file} to {}: {e}", group.display()))?;
        }
    }
    Ok(())
}

/// Runs as one of both halves.
pub fn main(half: &str, arguments: impl Iterator<Item = OsString>) -> Result<ExitCode, String> {
    let words: Vec<OsString> = arguments.collect();
    let [kind, name, folder] = &words[..] else {
        return Err(format!("`{half}` is for the rig's own use: KIND NAME FOLDER"));
    };
    let kind = Kind::parse(&kind.to_string_lossy())?;
    if half == OUTER {
        return outer(&words, Path::new(folder));
    }
    inner(kind, &name.to_string_lossy(), Path::new(folder))
}

/// Makes the namespaces, starts the inner half, and cleans up after it.
fn outer(words: &[OsString], folder: &Path) -> Result<ExitCode, String> {
    let flags = CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    let own = std::env::current_exe().map_err(|e| format!("finding this program: {e}"))?;
    unshare(flags).map_err(|e| format!("making namespaces: {e}; it takes root"))?;
    let mut child = Command::new(own)
        .arg(INNER)
        .args(words)
        .spawn()
        .map_err(|e| format!("starting a host's first process: {e}"))?;
    let pid = child.id() as i32;
    println!("{PID}{pid}");
    let status = child.wait().map_err(|e| format!("waiting for a host's end: {e}"))?;
    remove_cgroups(&cgroup(folder));
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Removes the groups that the kubelet and the container runtime made for a host. Their processes are dead or dying.
fn remove_cgroups(name: &str) {
    let Ok(hierarchies) = fs::read_dir(CGROUPS) else { return };
    for hierarchy in hierarchies.flatten() {
        let top = hierarchy.path().join(name);
        // A killed process leaves its group a moment later.
        for _ in 0..50 {
            if !top.exists() || remove_group(&top).is_ok() {
                break;
            }
            std::thread::sleep(IDLE);
        }
    }
}

fn remove_group(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

/// Furnishes the host, then waits for the end of standard input, and for children that others have left.
fn inner(kind: Kind, name: &str, folder: &Path) -> Result<ExitCode, String> {
    sethostname(name).map_err(|e| format!("naming the host `{name}`: {e}"))?;
    attach(None, "/", None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None)?;
    attach(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None)?;
    own_sysfs(folder)?;
    if kind == Kind::Machine {
        own_folders(folder)?;
    }
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    if !up.as_ref().is_ok_and(|status| status.success()) {
        return Err(format!("bringing loopback up: {up:?}"));
    }
    println!("{READY}");
    std::io::stdout().flush().map_err(|e| format!("saying that the host is ready: {e}"))?;
    std::thread::spawn(|| {
        let mut rest = Vec::new();
        // Whatever ends the reading, nobody holds the host any more.
        let _ = std::io::stdin().read_to_end(&mut rest);
        std::process::exit(0);
    });
    loop {
        if wait() == Err(Errno::ECHILD) {
            std::thread::sleep(IDLE);
        }
    }
}

/// A /sys that shows this host's interfaces, with the machine's control groups where they were.
fn own_sysfs(folder: &Path) -> Result<(), String> {
    let kept = folder.join("cgroup");
    fs::create_dir_all(&kept).map_err(|e| format!("making {}: {e}", kept.display()))?;
    let kept = kept.display().to_string();
    let recursive = MsFlags::MS_BIND | MsFlags::MS_REC;
    attach(Some(CGROUPS), &kept, None, recursive, None)?;
    attach(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), None)?;
    attach(Some(&kept), CGROUPS, None, recursive, None)
}

/// Own `/etc`, `/var` and `/run`.
fn own_folders(folder: &Path) -> Result<(), String> {
    let disk = folder.join("disk");
    for (place, short) in [("/etc", "etc"), ("/var", "var")] {
        let [upper, work] = ["upper", "work"].map(|part| disk.join(format!("{short}-{part}")));
        make(&upper)?;
        make(&work)?;
        let options =
            format!("lowerdir={place},upperdir={},workdir={}", upper.display(), work.display());
        attach(Some("overlay"), place, Some("overlay"), MsFlags::empty(), Some(&options))?;
    }
    for (place, name) in OWN_FOLDERS {
        let own = disk.join(name);
        make(&own)?;
        make(Path::new(place))?;
        attach(Some(&own.display().to_string()), place, None, MsFlags::MS_BIND, None)?;
    }
    attach(Some("run"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
}

fn make(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|e| format!("making {}: {e}", folder.display()))
}

/// mount(2) with an error that says what was to be where.
fn attach(
    source: Option<&str>,
    target: &str,
    kind: Option<&str>,
    flags: MsFlags,
    options: Option<&str>,
) -> Result<(), String> {
    mount(source, &PathBuf::from(target), kind, flags, options).map_err(|e| {
        format!("mounting {} on {target}: {e}", source.or(kind).unwrap_or("propagation"))
    })
}
