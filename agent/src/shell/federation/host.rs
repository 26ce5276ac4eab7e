//! Looks after the members of the cluster beside this machine: reads their Nodes now and then, has
//! [`crate::core::membership::host`] decide, and does that. A task of its own; what it did comes back to the loop as news.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::kube::{Cluster, Credential};
use crate::config;
use crate::core::agent::Input;
use crate::core::membership::host::{Care, Host, Settings};
use crate::core::membership::kube::written;
use crate::core::membership::{CaHash, Server};
use crate::core::state::Severity;
use crate::shell::clock;

/// Looks in the time after which a vehicle is silent.
const LOOKS: u32 = 4;

/// Longest pause between two looks.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(60);

/// News that wait for the loop; of more the oldest are told, since each is told again while it lasts.
const NEWS_MAX: usize = 64;

/// Begins to look after the cluster of `[host]`. `None` when there is none.
#[must_use]
pub fn start(config: &config::Host) -> Option<mpsc::Receiver<Input>> {
    let server = Server::parse(config.server.as_deref()?).ok()?;
    let ca = CaHash::parse(config.ca_hash.as_deref()?)?;
    let credential = Credential::Token { file: config.account_file.clone()? };
    let settings = Settings { silent_after: config.silent_after };
    let (told, news) = mpsc::channel(NEWS_MAX);
    tokio::spawn(async move {
        let mut cluster = Cluster::new(vec![server], ca, credential);
        let mut host = Host::new(settings);
        let pause = (settings.silent_after / LOOKS).min(LOOK_EVERY_MAX);
        // The loop has ended when nobody listens any more.
        while !told.is_closed() {
            for news in round(&mut cluster, &mut host).await {
                let _ = told.try_send(news);
            }
            sleep(pause).await;
        }
    });
    Some(news)
}

/// One look, and what follows from it.
async fn round(cluster: &mut Cluster, host: &mut Host) -> Vec<Input> {
    let warning = |kind, text| Input::Notice { severity: Severity::Warning, kind, text };
    let members = match cluster.members().await {
        Ok(members) => members,
        Err(outcome) => {
            return outcome
                .hindrance()
                .map(|text| {
                    warning("host-blind", format!("the cluster's members cannot be seen: {text}"))
                })
                .into_iter()
                .collect();
        }
    };
    let now = clock::now();
    let wall = now.believable_wall_ms().map(written);
    let mut news = Vec::new();
    for care in host.look(&members.nodes, now.mono, wall.as_deref()) {
        let (outcome, done) = match care {
            Care::Delete { node, uid, vehicle } => {
                let outcome = cluster.delete(&node, Some(&uid), &vehicle).await;
                let text = format!("deleted the Node {node} of {vehicle}, which has left");
                (outcome, Input::Notice { severity: Severity::Info, kind: "host-deleted", text })
            }
            Care::Annotate { node, annotations, text, .. } => {
                (cluster.annotate(&node, &annotations).await, warning("host-member", text))
            }
        };
        match outcome.hindrance() {
            None => news.push(done),
            Some(text) => news.push(warning("host-failed", text.to_owned())),
        }
    }
    news
}
