//! The last stages of the pre-flight, which need the Kubernetes API: whether the name of the Node is free, and whether the two
//! versions of Kubernetes can work together. Asked with the vehicle's own account, which cannot read more than that.

use std::path::Path;
use std::time::Duration;

use super::Plan;
use super::kube::{Cluster, Credential};
use super::program::run;
use super::service::{SYSTEMD, find};
use crate::core::membership::kube::Owner;
use crate::core::membership::manager::Systemd;
use crate::core::membership::preflight::{Cure, Finding, Stage, version_skew};
use crate::core::membership::{CaHash, Outcome, Server};

/// Time for k3s to say its version. At its first start it unpacks itself, which takes an SD card a minute.
const VERSION_PATIENCE: Duration = Duration::from_secs(60);

/// k3s's program where the service does not tell it.
const K3S: &str = "k3s";

/// Whose the Node of this vehicle's name is, and whether the versions fit.
pub(super) async fn look(plan: &Plan<'_>, server: Option<&Server>, ca: CaHash) -> Vec<Finding> {
    const NODE: Stage = Stage::Node;
    let Some(file) = &plan.federation.account_file else {
        return vec![Finding::doubt(
            NODE,
            "this vehicle has no account in the cluster: its Node stays behind when it leaves",
            "make one with images/kubernetes/vehicle.yaml and set `account_file`",
        )];
    };
    let credential = Credential::Token { file: file.clone() };
    // That which has just answered, before others.
    let mut servers = plan.federation.servers();
    servers.sort_by_key(|known| Some(known) != server);
    let mut cluster = Cluster::new(servers, ca, credential);
    let name = plan.node_name;
    let owner = match cluster.owner(name, plan.vehicle).await {
        Ok(owner) => owner,
        // The vehicle can be a member without; only its Node will stay behind.
        Err(Outcome::Refused(text)) => {
            return vec![Finding::doubt(
                NODE,
                format!("the vehicle's account is of no use: {text}"),
                "make it anew with images/kubernetes/vehicle.yaml; until then the Node stays behind when the vehicle leaves",
            )];
        }
        Err(Outcome::Unreachable(text) | Outcome::NotYet { text, .. }) => {
            let remedy = "nothing if the server is starting; otherwise see its log";
            return vec![Finding::bad(NODE, Cure::Time, text, remedy)];
        }
        Err(Outcome::Done) => Owner::Nobody,
    };
    let first = match owner {
        Owner::Nobody => Finding::good(NODE, format!("no other vehicle is called {name}")),
        Owner::Us => Finding::good(NODE, format!("the Node {name} is this vehicle's own")),
        Owner::Other(other) => Finding::bad(
            NODE,
            Cure::Person,
            format!("two vehicles have one name: the Node {name} is that of the vehicle {other}"),
            format!(
                "give this vehicle another `[k3s] node_name`, or delete that Node if {other} is gone"
            ),
        ),
    };
    let second = version(plan.unit, &mut cluster).await;
    vec![first, second]
}

async fn version(unit: Option<&str>, cluster: &mut Cluster) -> Finding {
    const VERSION: Stage = Stage::Version;
    let own = match own_version(unit).await {
        Ok(own) => own,
        Err(text) => return Finding::skipped(VERSION, text),
    };
    match cluster.version().await {
        Ok(server) => match version_skew(&server, &own) {
            Some(text) => Finding::bad(
                VERSION,
                Cure::Person,
                text,
                "install a k3s of the server's version on this vehicle",
            ),
            None => Finding::good(VERSION, format!("{own} here, {server} at the server")),
        },
        Err(outcome) => {
            Finding::skipped(VERSION, format!("the server did not tell its version: {outcome:?}"))
        }
    }
}

/// What this vehicle's k3s says of itself, such as `v1.33.4+k3s1`.
async fn own_version(unit: Option<&str>) -> Result<String, String> {
    let service = match Path::new(SYSTEMD).exists() {
        true => find(&Systemd, unit).await?,
        false => None,
    };
    let named = service.and_then(|service| service.command.first().cloned());
    let program = named.unwrap_or_else(|| K3S.to_owned());
    let said = run(&[program.clone(), "--version".to_owned()], "", VERSION_PATIENCE).await?;
    // k3s version v1.33.4+k3s1 (148243c4)
    let version = said.output.split_whitespace().find(|word| word.starts_with("v1."));
    version.map(str::to_owned).ok_or_else(|| format!("`{program} --version` told no version"))
}
