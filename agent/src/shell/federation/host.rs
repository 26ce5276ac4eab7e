//! Looks after the members of the cluster beside this machine: reads their Nodes now and then, has
//! [`crate::core::membership::host`] decide, and does that. Has their network costs served to the cluster, when that is wanted
//! ([`crate::core::membership::custom_metrics`]). A task of its own; what it did, and which Nodes there are, comes back to the
//! loop as news.

mod registrar;
mod serving;

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use self::registrar::{Registrar, Withdrawal};
use super::Beside;
use super::kube::{Cluster, Credential};
use crate::config::Config;
use crate::core::agent::Input;
use crate::core::membership::custom_metrics::{Costs, Own, Seat};
use crate::core::membership::host::{Care, Host, Settings, UNSEEN_PART};
use crate::core::membership::kube::written;
use crate::core::membership::{CaHash, Outcome, Server};
use crate::core::state::Severity;
use crate::shell::{clock, http};

/// Looks in the time after which a vehicle is silent: more than [`UNSEEN_PART`], so that each counts in full.
const LOOKS: u32 = UNSEEN_PART + 1;

/// Longest pause between two looks.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(60);

/// The same while the network costs are served: a Node that is not known yet has none, and schedulers let it pass.
const LOOK_EVERY_SERVING_MAX: Duration = Duration::from_secs(15);

/// News that wait for the loop; of more the oldest are told, since each is told again while it lasts.
const NEWS_MAX: usize = 64;

/// Begins to look after the cluster of `[host]`. `None` when there is none. What is served is answered by whom `http` asks.
#[must_use]
pub fn start(config: &Config, http: &http::Server) -> Option<Beside> {
    let (told, news) = mpsc::channel(NEWS_MAX);
    let (costs, priced) = watch::channel(Costs::new());
    let Some(server) = config.host.server.as_deref() else {
        let notice = registrar::stranded(config)?;
        tokio::spawn(async move { told.send(notice).await });
        return Some(Beside { news, costs });
    };
    let server = Server::parse(server).ok()?;
    let ca = CaHash::parse(config.host.ca_hash.as_deref()?)?;
    let credential = Credential::Token { file: config.host.account_file.clone()? };
    let settings = Settings { silent_after: config.host.silent_after };
    let own = Own {
        vehicle: config.vehicle.name.clone(),
        node_name: config.k3s.node_name(&config.vehicle.name),
        address: config
            .host
            .custom_metrics
            .map(|listen| listen.ip())
            .filter(|address| !address.is_unspecified()),
    };
    let mut registrar = Registrar::new(config, http);
    let mut withdrawal = Withdrawal::owed(config);
    let pause_max = if registrar.is_some() { LOOK_EVERY_SERVING_MAX } else { LOOK_EVERY_MAX };
    tokio::spawn(async move {
        let mut cluster = Cluster::new(vec![server], ca, credential);
        let mut host = Host::new(settings);
        let pause = (settings.silent_after / LOOKS).min(pause_max);
        // The loop has ended when nobody listens any more.
        while !told.is_closed() {
            // Those of the Nodes as they were at the round before.
            let costs = priced.borrow().clone();
            let mut news = round(&mut cluster, &mut host, &own, &costs).await;
            if let Some(registrar) = &mut registrar {
                news.extend(registrar.round(&mut cluster).await);
            }
            if let Some(owed) = &mut withdrawal {
                match owed.round(&mut cluster).await {
                    Ok(done) => {
                        withdrawal = None;
                        news.push(done);
                    }
                    Err(trouble) => news.extend(trouble),
                }
            }
            for news in news {
                let _ = told.try_send(news);
            }
            sleep(pause).await;
        }
    });
    Some(Beside { news, costs })
}

fn warning(kind: &'static str, text: String) -> Input {
    Input::Notice { severity: Severity::Warning, kind, text }
}

/// One look, and what follows from it.
async fn round(cluster: &mut Cluster, host: &mut Host, own: &Own, costs: &Costs) -> Vec<Input> {
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
    let seats = members.nodes.iter().filter_map(|node| Seat::of(node, own));
    let mut news = vec![Input::Seats(seats.collect())];
    if members.more {
        let text = format!(
            "the cluster has more than {} Nodes; the others have no network cost and are not looked after",
            members.nodes.len()
        );
        news.push(warning("host-blind", text));
    }
    for care in host.look(&members.nodes, costs, now.mono, wall.as_deref()) {
        let (uid, outcome, done) = match care {
            Care::Price { node, uid, annotations } => {
                let outcome = cluster.annotate(&node, Some(&uid), &annotations).await;
                tracing::debug!("wrote the network cost at {node}: {outcome:?}");
                (uid, outcome, None)
            }
            Care::Delete { node, uid, version, vehicle } => {
                let outcome = cluster.delete_as_seen(&node, &uid, &version).await;
                let text = format!("deleted the Node {node} of {vehicle}, which has left");
                let kind = "host-deleted";
                (uid, outcome, Some(Input::Notice { severity: Severity::Info, kind, text }))
            }
            Care::Annotate { node, uid, annotations, text } => {
                let outcome = cluster.annotate(&node, Some(&uid), &annotations).await;
                (uid, outcome, Some(warning("host-member", text)))
            }
        };
        if matches!(outcome, Outcome::Unreachable(_) | Outcome::NotYet { .. }) {
            host.failed(&uid, clock::now().mono);
        }
        match outcome.hindrance() {
            None => news.extend(done),
            Some(text) => news.push(warning("host-failed", text.to_owned())),
        }
    }
    news
}
