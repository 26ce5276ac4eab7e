//! Has the custom metrics served to the cluster beside this machine, and registered there: listens, lets in whom the cluster
//! vouches for as its proxy, and writes its certificate into the APIServices that lead here. Takes that back when it is switched
//! off.
//!
//! An APIService that leads to somebody else is left alone, and said loudly. So is one that the agent of another vehicle has
//! registered: there has to be one.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::serving::{self, Identity};
use super::warning;
use crate::config::Config;
use crate::core::agent::Input;
use crate::core::membership::Outcome;
use crate::core::membership::custom_metrics::{GROUP, VERSIONS};
use crate::core::membership::kube::aggregation::ProxyTrust;
use crate::core::state::Severity;
use crate::shell::federation::kube::Cluster;
use crate::shell::http::{self, Behind, Door};
use crate::shell::replace;

/// The file of what gives the rights.
const MANIFEST: &str = "images/kubernetes/custom-metrics.yaml";

/// Serves and registers.
pub(super) struct Registrar {
    listen: SocketAddr,
    vehicle: String,
    folder: PathBuf,
    door: Arc<Door>,
    behind: Behind,
    accepting: JoinSet<()>,
    identity: Option<Identity>,
    /// Whom the door was opened for last.
    proxy: Option<ProxyTrust>,
    /// Versions whose APIService was written since the start.
    written: BTreeSet<&'static str>,
    /// What was said last, so that it is not said again each time.
    said: Option<String>,
}

impl Registrar {
    /// Nothing is served yet. `None` when nothing is to be served.
    pub(super) fn new(config: &Config, server: &http::Server) -> Option<Registrar> {
        let door = Arc::new(Door::default());
        Some(Registrar {
            listen: config.host.custom_metrics?,
            vehicle: config.vehicle.name.clone(),
            folder: config.membership.folder.clone(),
            behind: server.behind(Arc::clone(&door)),
            door,
            accepting: JoinSet::new(),
            identity: None,
            proxy: None,
            written: BTreeSet::new(),
            said: None,
        })
    }

    /// Does what is still to be done, and looks whether what was done still holds. The news are what has changed.
    pub(super) async fn round(&mut self, cluster: &mut Cluster) -> Option<Input> {
        let mut seen = self.look(cluster).await;
        if seen.is_err() {
            // Somebody may have changed an APIService in between, as its controllers do when it is new.
            seen = self.look(cluster).await;
        }
        let (severity, text) = match seen {
            Ok(()) => (Severity::Info, format!("the cluster is served {GROUP} on {}", self.listen)),
            Err(text) => (Severity::Warning, text),
        };
        if self.said.as_ref() == Some(&text) {
            return None;
        }
        self.said = Some(text.clone());
        Some(Input::Notice { severity, kind: "host-metrics", text })
    }

    async fn look(&mut self, cluster: &mut Cluster) -> Result<(), String> {
        if self.identity.is_none() {
            self.identity = Some(Identity::load_or_make(&self.folder)?);
        }
        let identity = self.identity.as_ref().expect("it was put there");
        let proxy = cluster.proxy_trust().await.map_err(hindered)?;
        if self.proxy.as_ref() != Some(&proxy) {
            self.door.open(identity.trusting(proxy.clone())?);
            self.proxy = Some(proxy);
        }
        if self.accepting.is_empty() {
            let place = "at `custom_metrics` in section `[host]`";
            let listener =
                http::bind_tcp_as(self.listen, place).map_err(|error| error.to_string())?;
            self.accepting.spawn(self.behind.accept(listener));
        }
        let mut found = false;
        for version in VERSIONS {
            let service = cluster.api_service(version).await.map_err(hindered)?;
            let Some(service) = service else { continue };
            found = true;
            if !service.is_ours {
                return Err(format!(
                    "the APIService {version}.{GROUP} leads to somebody else, such as a prometheus-adapter, and was left alone; \
                     one of the two has to go"
                ));
            }
            if service.ca_bundle == identity.ca_bundle {
                if !service.unavailable.is_empty() {
                    return Err(format!(
                        "the API server cannot use {version}.{GROUP}: {}; compare the address in {MANIFEST} with {}",
                        service.unavailable, self.listen
                    ));
                }
                continue;
            }
            // Whoever wrote it is known by the id; with one id for two, the one that was there first gives way.
            let is_owned = !service.owner.is_empty() && service.owner != self.vehicle;
            if !service.ca_bundle.is_empty() && (is_owned || self.written.contains(version)) {
                let owner = if is_owned { service.owner.as_str() } else { "another of this name" };
                return Err(format!(
                    "the APIService {version}.{GROUP} was registered by the agent of {owner}: take `custom_metrics` out of one of \
                     the two configurations; if that agent is no more, `kubectl delete apiservice {version}.{GROUP}` and apply \
                     {MANIFEST}"
                ));
            }
            let bundle = &identity.ca_bundle;
            let led = cluster.lead_here(version, &service, bundle, &self.vehicle).await;
            led.map_err(hindered)?;
            self.written.insert(version);
        }
        if found { Ok(()) } else { Err(format!("no APIService leads here: apply {MANIFEST}")) }
    }
}

/// Takes back what was registered earlier, when there is nothing to be served any more. It is owed for as long as the
/// certificate is there.
pub(super) struct Withdrawal {
    vehicle: String,
    folder: PathBuf,
    /// What was said last, so that it is not said again each time.
    said: Option<String>,
}

/// What is said when something was registered, and nobody says any more where.
pub(super) fn stranded(config: &Config) -> Option<Input> {
    let file = serving::file(&config.membership.folder);
    let text = format!(
        "this agent has registered {GROUP} in a cluster, and without `server` in section `[host]` it cannot take that back: no \
         namespace can be deleted there before somebody does `kubectl delete apiservice {}`; then remove {}",
        VERSIONS.map(|version| format!("{version}.{GROUP}")).join(" "),
        file.display()
    );
    file.exists().then(|| warning("host-metrics", text))
}

impl Withdrawal {
    /// `None` when nothing is owed.
    pub(super) fn owed(config: &Config) -> Option<Withdrawal> {
        let folder = config.membership.folder.clone();
        let is_owed = config.host.custom_metrics.is_none() && serving::file(&folder).exists();
        let vehicle = config.vehicle.name.clone();
        is_owed.then_some(Withdrawal { vehicle, folder, said: None })
    }

    /// What came of it, if that is news. Not to be called again once it is good.
    pub(super) async fn round(&mut self, cluster: &mut Cluster) -> Result<Input, Option<Input>> {
        let kind = "host-metrics";
        match self.take_back(cluster).await {
            Ok(()) => {
                let text = format!("{GROUP} is not served any more, and nothing leads here");
                Ok(Input::Notice { severity: Severity::Info, kind, text })
            }
            Err(text) => {
                let text = format!(
                    "{text}; while an APIService of {GROUP} leads nowhere, no namespace can be deleted: `kubectl delete apiservice` \
                     cures that, and without {} this is not tried again",
                    serving::file(&self.folder).display()
                );
                let is_news = self.said.as_ref() != Some(&text);
                self.said = Some(text.clone());
                Err(is_news.then(|| warning(kind, text)))
            }
        }
    }

    async fn take_back(&self, cluster: &mut Cluster) -> Result<(), String> {
        let identity = Identity::load(&self.folder)?;
        for version in VERSIONS {
            let service = cluster.api_service(version).await.map_err(hindered)?;
            let Some(service) = service.filter(|service| service.is_ours) else { continue };
            // What has this certificate is ours, whatever this vehicle was called then.
            if service.ca_bundle != identity.ca_bundle {
                if !service.owner.is_empty() && service.owner != self.vehicle {
                    // Another agent serves the cluster by now.
                    continue;
                }
                if !service.ca_bundle.is_empty() {
                    return Err(format!(
                        "the APIService {version}.{GROUP} has the certificate of somebody else"
                    ));
                }
            }
            cluster.withdraw(version, &service).await.map_err(hindered)?;
        }
        let path = serving::file(&self.folder);
        replace::remove(&path).map_err(|error| format!("removing {}: {error}", path.display()))
    }
}

fn hindered(outcome: Outcome) -> String {
    let text = outcome.hindrance().unwrap_or_default();
    match outcome {
        Outcome::Refused(_) => format!("{text}; the host's account needs {MANIFEST}"),
        Outcome::Done | Outcome::Unreachable(_) | Outcome::NotYet { .. } => text.to_owned(),
    }
}
