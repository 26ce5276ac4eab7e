//! Removes what a stopped k3s left, step by step; what is to be removed is decided in [`crate::core::membership::cleanup`] from
//! what the kernel shows at that moment, so that the work can end anywhere and begin again.
//!
//! Processes come first, since they hold the rest; files last, since some of them say whose the rest is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::PRIVILEGES;
use super::link;
use super::observe::{BUNDLES, CNI, World, entries, interfaces, mounts};
use crate::core::membership::Outcome;
use crate::core::membership::cleanup::NeverTouch;
use crate::core::membership::cleanup::interfaces;
use crate::core::membership::cleanup::mounts::{self, Places, is_mounted};
use crate::core::membership::cleanup::processes::{Identity, Next, Process, next};

/// Killed processes end within this time, unless they wait for a disk or a dead file server.
const DEATH_PATIENCE: Duration = Duration::from_secs(20);

/// What was killed with its service ends within this time.
const ALONE_PATIENCE: Duration = Duration::from_secs(2);

/// Between two looks at what is about to end.
const LOOK: Duration = Duration::from_millis(50);

/// Rounds of undoing mounts: some show only when others are gone.
const ROUNDS: usize = 8;

/// When to try again what did not end in time.
const AGAIN: Duration = Duration::from_secs(10);

/// Network of k3s's own plugin configuration.
const NETWORK: &str = "cbr0";

/// What flannel leaves for the network plugin.
pub const FLANNEL: &str = "/run/flannel";

/// What is left, for people.
pub type Left = Vec<String>;

/// Everything but the firewall and files.
pub fn sweep(places: &Places, never: &NeverTouch) -> Result<Left, Outcome> {
    let mut left = Left::new();
    end_processes(places)?;
    wait_alone(places)?;
    undo_mounts(places, &mut left)?;
    delete_interfaces(places, never, &mut left)?;
    Ok(left)
}

fn not_yet(text: String) -> Outcome {
    Outcome::NotYet { after: AGAIN, text }
}

/// Only a person helps against a missing right.
fn failed(doing: &str, what: &str, error: &io::Error) -> Outcome {
    let text = format!("{doing} {what}: {error}");
    match error.kind() {
        io::ErrorKind::PermissionDenied => Outcome::Refused(format!("{text}; {PRIVILEGES}")),
        _ => not_yet(text),
    }
}

pub fn unseen(error: io::Error) -> Outcome {
    not_yet(format!("the kernel does not show what there is: {error}"))
}

fn end_processes(places: &Places) -> Result<(), Outcome> {
    let begin = Instant::now();
    loop {
        let world = World::look(places).map_err(unseen)?;
        let own = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
        let doomed = match next(&world.processes, &world.claims, own) {
            Next::Nothing => return Ok(()),
            Next::Kill(doomed) => doomed,
            Next::Runs(pid) => {
                return Err(not_yet(format!("k3s still runs, as process {pid}")));
            }
            Next::Inside => {
                let text = "this agent runs in a container of the k3s that it is to clean up after; run it as a service";
                return Err(Outcome::Refused(text.to_owned()));
            }
        };
        if begin.elapsed() > DEATH_PATIENCE {
            let pids: Vec<String> = doomed.iter().map(|one| one.pid.to_string()).collect();
            return Err(not_yet(format!(
                "processes of containers do not end: {}",
                pids.join(", ")
            )));
        }
        for identity in doomed {
            end(identity);
        }
        sleep(LOOK);
    }
}

/// Waits a moment while another Kubernetes lives: it may be a part of this one that ends with its service.
fn wait_alone(places: &Places) -> Result<(), Outcome> {
    let begin = Instant::now();
    loop {
        let world = World::look(places).map_err(unseen)?;
        let alone = world.alone_in_mounts && world.alone_in_network;
        if alone || begin.elapsed() > ALONE_PATIENCE {
            return Ok(());
        }
        sleep(LOOK);
    }
}

/// Kills a process, unless its number has been given to another.
fn end(identity: Identity) {
    let stat = fs::read(format!("/proc/{}/stat", identity.pid)).unwrap_or_default();
    let mut process = Process { pid: identity.pid, ..Process::default() };
    if process.read_stat(&String::from_utf8_lossy(&stat)) && process.identity() == identity {
        // One that has ended meanwhile is fine; whether it did is looked at next.
        let _ = kill(Pid::from_raw(identity.pid), Signal::SIGKILL);
        tracing::debug!("killed process {} of a container", identity.pid);
    }
}

fn undo_mounts(places: &Places, left: &mut Left) -> Result<(), Outcome> {
    for _ in 0..ROUNDS {
        let world = World::look(places).map_err(unseen)?;
        let seen = mounts().map_err(unseen)?;
        let plan =
            mounts::plan(&seen, places, &world.claims, world.alone_in_mounts, &world.inhabited());
        if plan.undo.is_empty() {
            let told =
                |point: PathBuf| format!("the mount {}, which may be another's", point.display());
            left.extend(plan.left.into_iter().map(told));
            remove_network_files(places, &world);
            return Ok(());
        }
        for point in plan.undo {
            undo(&point)?;
        }
    }
    Err(not_yet("mounts of containers come back again and again".to_owned()))
}

fn undo(point: &Path) -> Result<(), Outcome> {
    let nofollow = MntFlags::UMOUNT_NOFOLLOW;
    let undone = match umount2(point, nofollow) {
        // Somebody looks into it who is no container: it goes when that ends.
        Err(Errno::EBUSY) => umount2(point, nofollow | MntFlags::MNT_DETACH),
        undone => undone,
    };
    match undone {
        Ok(()) => {
            tracing::debug!("undid the mount {}", point.display());
            Ok(())
        }
        // Undone meanwhile.
        Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(error) => Err(failed("undoing the mount", &point.display().to_string(), &error.into())),
    }
}

/// The files on which networks of pods were mounted.
fn remove_network_files(places: &Places, world: &World) {
    let Ok(seen) = mounts() else { return };
    for (name, path) in entries(&places.networks) {
        let goes = world.alone_in_mounts || world.claims.namespaces.contains(&name);
        if goes && name.starts_with("cni-") && !is_mounted(&seen, &path) {
            // An empty file in the way of nobody.
            let _ = fs::remove_file(path);
        }
    }
}

fn delete_interfaces(places: &Places, never: &NeverTouch, left: &mut Left) -> Result<(), Outcome> {
    let begin = Instant::now();
    loop {
        let world = World::look(places).map_err(unseen)?;
        let seen = interfaces().map_err(unseen)?;
        let plan = interfaces::plan(&seen, never, &world.claims.ports, world.alone_in_network);
        if plan.delete.is_empty() {
            left.extend(plan.left.iter().map(|what| format!("the interface {what}")));
            return Ok(());
        }
        if begin.elapsed() > DEATH_PATIENCE {
            return Err(not_yet(format!("interfaces do not go: {}", plan.delete.join(", "))));
        }
        for name in plan.delete {
            link::delete(&name).map_err(|error| failed("deleting the interface", &name, &error))?;
            tracing::debug!("deleted the interface {name}");
        }
        sleep(LOOK);
    }
}

/// Files that a next cluster would stumble over.
pub fn remove_files(places: &Places, left: &mut Left) -> Result<(), Outcome> {
    let world = World::look(places).map_err(unseen)?;
    let (claims, alone) = (&world.claims, world.alone_in_mounts);
    for (uid, path) in entries(&places.kubelet.join("pods")) {
        if alone || claims.pods.contains(&uid) {
            remove(&path)?;
        }
    }
    let leases = entries(&Path::new(CNI).join("networks"));
    for (network, folder) in leases {
        if alone && network == NETWORK {
            remove(&folder)?;
            continue;
        }
        for (_, lease) in entries(&folder) {
            // The plugin host-local writes the sandbox into the file of its address.
            let sandbox = fs::read_to_string(&lease).unwrap_or_default();
            if claims.has_id(&sandbox) {
                remove(&lease)?;
            }
        }
    }
    for (name, path) in entries(&Path::new(CNI).join("results")) {
        let is_of_k3s = name.strip_prefix(NETWORK).is_some_and(|rest| rest.starts_with('-'));
        if claims.has_id(&name) || (alone && is_of_k3s) {
            remove(&path)?;
        }
    }
    if alone {
        for (name, path) in entries(&places.kubelet) {
            if name.ends_with("_manager_state") {
                remove(&path)?;
            }
        }
        remove(Path::new(FLANNEL))?;
        return remove(&places.run.join("containerd"));
    }
    left.push(format!(
        "the state of kubelet and flannel, which may be another's ({})",
        places.kubelet.display()
    ));
    for (id, bundle) in entries(&places.run.join(BUNDLES)) {
        if claims.has_id(&id) {
            remove(&bundle)?;
        }
    }
    for (_, plugin) in entries(&places.run.join("containerd")) {
        for kind in ["sandboxes", "containers"] {
            for (id, path) in entries(&plugin.join(kind)) {
                if claims.has_id(&id) {
                    remove(&path)?;
                }
            }
        }
    }
    Ok(())
}

/// Removes a file or a folder with everything in it, unless something is mounted there: what is mounted may be somebody's data.
fn remove(path: &Path) -> Result<(), Outcome> {
    let seen = mounts().map_err(unseen)?;
    if is_mounted(&seen, path) {
        return Err(not_yet(format!("something is still mounted at or below {}", path.display())));
    }
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Ok(()) => {
            tracing::debug!("removed {}", path.display());
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("removing", &path.display().to_string(), &error)),
    }
}
