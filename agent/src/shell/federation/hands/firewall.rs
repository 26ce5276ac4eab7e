//! Removes firewall rules of Kubernetes by the programs that this machine has, each with its own view of the rules: the two
//! kernel interfaces (nf_tables and the older one) for the two families of addresses.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::program::run;
use super::clean_up::FLANNEL;
use super::observe::World;
use crate::core::membership::Outcome;
use crate::core::membership::cleanup::firewall::{Flannel, Scope, removal};
use crate::core::membership::cleanup::mounts::Places;
use crate::shell::replace::remove as remove_file;
use crate::shell::tls::read_small_file;

/// Programs, of each of which there are `-save` and `-restore`. The first of a family is one of the others.
const FAMILIES: [[&str; 3]; 2] = [
    ["iptables", "iptables-nft", "iptables-legacy"],
    ["ip6tables", "ip6tables-nft", "ip6tables-legacy"],
];

/// Flannel's networks, in the folder that it leaves for the network plugin.
const SUBNETS: &str = "subnet.env";

/// Where k3s has programs of its own, below its data.
const AUXILIARY: &str = "data/current/bin/aux";

/// Time for one program. Thousands of rules take a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// Part of what every program says when a right is missing.
const DENIED: &str = "ermission denied";

/// Attempts, if somebody else changes rules in between.
const ATTEMPTS: usize = 3;

/// When to try again.
const AGAIN: Duration = Duration::from_secs(10);

/// Removes them all, or only those for which there is evidence when another Kubernetes uses this network.
pub async fn sweep(places: &Places, world: &World, left: &mut Vec<String>) -> Result<(), Outcome> {
    let flannel =
        if world.alone_in_network { older_flannel(places).await } else { Flannel::default() };
    let all = Scope::All(&flannel);
    let scope = if world.alone_in_network { all } else { Scope::Evident(&world.claims) };
    let mut kept = false;
    for family in FAMILIES {
        let mut complaints = Vec::new();
        let mut read = false;
        for name in family {
            let Some(program) = find(name, &places.data) else { continue };
            match remove(&program, scope, all).await? {
                Ok(more) => {
                    read = true;
                    kept |= more;
                }
                Err(complaint) => complaints.push(complaint),
            }
        }
        // A kernel need not have both interfaces; but a missing right hides rules.
        complaints.retain(|complaint| !read || complaint.contains(DENIED));
        if !complaints.is_empty() {
            left.push(format!("firewall rules, which cannot be read: {}", complaints.join("; ")));
        }
    }
    if kept {
        left.push("firewall rules, since another Kubernetes uses this network".to_owned());
    }
    Ok(())
}

/// The rules of an older flannel, if it was one that was here. That it was not is settled for good before the first rule goes, since
/// nothing would show it afterwards.
async fn older_flannel(places: &Places) -> Flannel {
    let file = Path::new(FLANNEL).join(SUBNETS);
    let networks = read_small_file(&file).unwrap_or_default();
    if networks.is_empty() {
        return Flannel::default();
    }
    for program in FAMILIES.iter().flatten().filter_map(|name| find(name, &places.data)) {
        if saved(&program).await.is_ok_and(|saved| Flannel::names_its_own(&saved)) {
            // It goes later anyway. If it stays, a later clean-up only leaves more.
            let _ = remove_file(&file);
            return Flannel::default();
        }
    }
    Flannel::read(&String::from_utf8_lossy(&networks))
}

/// The rules as a program shows them; or why it shows none.
async fn saved(program: &Path) -> Result<String, String> {
    let save = format!("{}-save", program.display());
    let said = run(std::slice::from_ref(&save), "", PATIENCE).await?;
    if said.code == Some(0) { Ok(said.output) } else { Err(format!("`{save}`: {}", said.error)) }
}

/// Whether rules of Kubernetes remain; or why this program shows none.
async fn remove(
    program: &Path,
    scope: Scope<'_>,
    all: Scope<'_>,
) -> Result<Result<bool, String>, Outcome> {
    let restore =
        [format!("{}-restore", program.display()), "--noflush".to_owned(), "--wait=5".to_owned()];
    let mut complaint = String::new();
    for _ in 0..ATTEMPTS {
        let saved = match saved(program).await {
            Ok(saved) => saved,
            Err(text) => return Ok(Err(text)),
        };
        let script = removal(&saved, scope);
        if script.is_empty() {
            return Ok(Ok(!removal(&saved, all).is_empty()));
        }
        complaint = match run(&restore, &script, PATIENCE).await {
            Ok(said) if said.code == Some(0) => {
                tracing::debug!("removed rules by `{}`:\n{script}", restore[0]);
                String::new()
            }
            Ok(said) => said.error,
            Err(text) => text,
        };
    }
    let text = format!("firewall rules do not go by `{}`: {complaint}", restore[0]);
    Err(Outcome::NotYet { after: AGAIN, text })
}

/// A program by its name without ending, on the path or among k3s's own.
fn find(name: &str, data: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.push(data.join(AUXILIARY));
    let mut seen = BTreeSet::new();
    folders.retain(|folder| seen.insert(folder.clone()));
    let is_whole = |program: &PathBuf| {
        ["save", "restore"]
            .iter()
            .all(|ending| Path::new(&format!("{}-{ending}", program.display())).is_file())
    };
    folders.into_iter().map(|folder| folder.join(name)).find(is_whole)
}
