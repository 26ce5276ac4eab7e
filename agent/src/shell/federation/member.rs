//! Carries out what the core wants of federations: tries, looks, saves and steps, each in a task of its own, and what came of it
//! back to the loop. Decides nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{Mutex as Turns, mpsc};
use tokio::time::{Instant, timeout_at};

use super::hands::{CleanedUp, Commands, Equipment, Hands, ManagerChoice, Settings};
use super::kube::{Cluster, Credential};
use super::{Credentials, Plan, look, look_for, probe, read_token};
use crate::config::{self, Config, K3s, LocalData};
use crate::core::membership::cleanup::NeverTouch;
use crate::core::membership::kube::{
    Announcement, DrainPolicy, KIND, Loss, MemberName, Owner, Progress, Publisher, VEHICLE, Word,
    label,
};
use crate::core::membership::preflight::{Cure, Finding, Stage, Verdict};
use crate::core::membership::steward::{Context, Report, Task, Unseen};
use crate::core::membership::{
    CaHash, Deferred, Intent, LeaveStep, NodeSeen, Outcome, Server, Step, Token, drop_in,
};
use crate::shell::clock;
use crate::shell::replace::write_private;

/// File of the intent, in the folder of the membership.
const INTENT: &str = "intent.json";

/// Largest intent that is read: one has a few hundred bytes.
const INTENT_BYTES_MAX: u64 = 64 * 1024;

/// After a Node was deleted its server deletes the password, within seconds.
const BURIAL: Duration = Duration::from_secs(5);

/// An account that a server did not take is tried again after so long: somebody may have mended it.
const ACCOUNT_AGAIN: Duration = Duration::from_secs(1_800);

/// What is known of this vehicle, its k3s and its federations.
#[derive(Debug)]
struct Vehicle {
    name: String,
    kind: String,
    k3s: K3s,
    node_name: String,
    spool: config::Spool,
    folder: PathBuf,
    drain: DrainPolicy,
    federations: BTreeMap<String, config::Federation>,
    hands: Hands,
    /// Connections to the servers' APIs, used one after the other.
    clusters: Turns<BTreeMap<String, Cluster>>,
    memory: Mutex<Memory>,
}

/// What one task leaves for the next.
#[derive(Debug, Default)]
struct Memory {
    /// When the service was told to start, in milliseconds since 1970: what the server heard of the Node before was another run.
    started_ms: Option<i64>,
    progress: Progress,
    publisher: Publisher,
    /// The server of each federation that accepted a connection last.
    reached: BTreeMap<String, Server>,
    /// That which passed the pre-flight last.
    passed: BTreeMap<String, Server>,
    /// The federation whose servers did not take the vehicle's account last, and since when.
    useless: Option<(String, Instant)>,
}

/// The one that carries out.
#[derive(Debug)]
pub struct Member {
    vehicle: Arc<Vehicle>,
    told: mpsc::UnboundedSender<Report>,
    /// What came of tasks, for the core.
    pub reports: mpsc::UnboundedReceiver<Report>,
}

impl Member {
    /// For the federations of `config`, with what was stored, and what is to be said about that. `None` when there are none, and
    /// nothing is left of any.
    #[must_use]
    pub fn start(config: &Config) -> Option<(Member, Intent, Option<String>)> {
        let folder = config.membership.folder.clone();
        let (intent, trouble) = match stored(&folder.join(INTENT)) {
            Ok(intent) => (intent, None),
            Err(text) => (Some(Intent::default()), Some(text)),
        };
        if config.federation.is_empty() && intent.is_none() {
            return None;
        }
        let loss = match config.membership.local_data {
            LocalData::Evict => Loss::Evict,
            LocalData::Refuse => Loss::Refuse,
        };
        let hands = Hands::new(Settings {
            manager: manager(&config.k3s),
            unit: config.k3s.unit.clone(),
            data_folder: config.k3s.data_folder.clone(),
            keep: folder.clone(),
        });
        let federations = config
            .federation
            .iter()
            .map(|federation| (federation.name.clone(), federation.clone()));
        let vehicle = Vehicle {
            name: config.vehicle.name.clone(),
            kind: config.vehicle.kind.clone(),
            node_name: config.k3s.node_name(&config.vehicle.name),
            k3s: config.k3s.clone(),
            spool: config.spool.clone(),
            folder,
            drain: DrainPolicy { empty_dir: loss, bare: loss },
            federations: federations.collect(),
            hands,
            clusters: Turns::default(),
            memory: Mutex::default(),
        };
        let (told, reports) = mpsc::unbounded_channel();
        let member = Member { vehicle: Arc::new(vehicle), told, reports };
        Some((member, intent.unwrap_or_default(), trouble))
    }

    /// Begins a task.
    pub fn take(&self, task: Task, context: Context) {
        let (vehicle, told) = (self.vehicle.clone(), self.told.clone());
        tokio::spawn(async move {
            let report = vehicle.carry_out(task, context).await;
            // Nobody listens any more when the agent ends.
            let _ = told.send(report);
        });
    }
}

impl Vehicle {
    async fn carry_out(&self, task: Task, context: Context) -> Report {
        match task {
            Task::Try { federation, within } => {
                let took = self.reach(&federation, within).await;
                Report::Tried { federation, took }
            }
            Task::Look => {
                let unit = self.hands.unit().await;
                let drop_in = self.hands.drop_in();
                let equipped = drop_in.as_deref().and_then(drop_in::equipped);
                let outdated = match (&drop_in, &equipped) {
                    (Some(drop_in), Some(name)) => self.is_outdated(name, drop_in),
                    (Some(_) | None, _) => false,
                };
                Report::Looked { unit, equipped, outdated }
            }
            Task::AskForNode { federation, member } => {
                Report::Node(self.node(&federation, context.word.filter(|_| member)).await)
            }
            Task::Save(intent) => Report::Saved(self.save(*intent).await),
            Task::Step(step) => {
                let outcome = self.step(&step, &context.never_touch).await;
                Report::Finished { step, outcome }
            }
        }
    }

    /// Whether k3s has something else than the configuration says. The server that it has is as good as any that is configured.
    fn is_outdated(&self, name: &str, drop_in: &str) -> bool {
        self.equipment(name, drop_in::server(drop_in))
            .is_ok_and(|equipment| !self.hands.is_equipped_with(&equipment, drop_in))
    }

    fn federation(&self, name: &str) -> Result<&config::Federation, Outcome> {
        // A server that cannot be asked is no reason to stay: what it has to be told is deferred.
        self.federations.get(name).ok_or_else(|| {
            Outcome::Unreachable(format!("{name} is no longer in the configuration"))
        })
    }

    /// How long the first server that answers took to accept a connection.
    async fn reach(&self, federation: &str, within: Duration) -> Option<Duration> {
        for server in self.federation(federation).ok()?.servers() {
            let until = Instant::now() + within;
            let Ok(Ok(targets)) = timeout_at(until, probe::targets(&server)).await else {
                continue;
            };
            for target in targets {
                let started = Instant::now();
                let connected = timeout_at(started + within, TcpStream::connect(target.address));
                if let Ok(Ok(_)) = connected.await {
                    let took = started.elapsed();
                    self.memory().reached.insert(federation.to_owned(), server);
                    return Some(took);
                }
            }
        }
        None
    }

    async fn node(&self, federation: &str, word: Option<Word>) -> Result<NodeSeen, Unseen> {
        // A start that lies in the future was dated by a clock that was set since.
        let now_ms = clock::now().wall_ms;
        let since_ms = self.memory().started_ms.filter(|started| *started <= now_ms);
        let node_name = self.node_name.as_str();
        let mut clusters = self.clusters.lock().await;
        let (outcome, stranger) = match self.cluster(&mut clusters, federation) {
            Ok(cluster) => match cluster.seen(node_name, since_ms).await {
                Ok(seen) => {
                    if let (NodeSeen::Present { uid, .. }, Some(word)) = (&seen, &word) {
                        self.say(cluster, uid, word).await;
                    }
                    return Ok(seen);
                }
                Err(outcome) => (outcome, cluster.is_stranger()),
            },
            Err(outcome) => (outcome, false),
        };
        let is_useless = !stranger && self.note_refusal(federation, &outcome);
        if stranger || is_useless {
            // Or the federation has another authority, whose token may have come meanwhile.
            clusters.remove(federation);
        }
        Err(Unseen {
            text: outcome.hindrance().unwrap_or("it gave no answer").to_owned(),
            silent: stranger || matches!(outcome, Outcome::Unreachable(_)),
        })
    }

    /// Remembers that a server has refused what the account should be allowed to do, if that is what came of it: from now on the
    /// kubelet's right has to do.
    fn note_refusal(&self, federation: &str, outcome: &Outcome) -> bool {
        let Outcome::Refused(text) = outcome else { return false };
        if !self.federation(federation).is_ok_and(|known| known.account_file.is_some()) {
            return false;
        }
        if self.useless(federation).is_none() {
            tracing::warn!("going on in {federation} by the kubelet's right alone: {text}");
        }
        self.memory().useless = Some((federation.to_owned(), Instant::now()));
        true
    }

    /// Says at the own Node what is new, and takes back what is not so any more.
    async fn say(&self, cluster: &mut Cluster, uid: &str, word: &Word) {
        if cluster.has_lost_cost(uid) {
            self.memory().publisher.forget();
        }
        let due = self.memory().publisher.due(uid, word, clock::now().mono);
        if let Some(annotations) = due {
            let outcome = cluster.annotate(&self.node_name, Some(uid), &annotations).await;
            tracing::debug!("annotated the own Node: {outcome:?}");
            self.memory().publisher.tried(uid, word, &outcome, clock::now().mono);
        }
        // It may be back before what it had said on leaving took effect.
        let outcome = cluster.returned(&self.node_name, uid).await;
        if outcome != Outcome::Done {
            tracing::debug!("the Node still says that it leaves: {outcome:?}");
        }
    }

    async fn save(&self, intent: Intent) -> Result<(), String> {
        let folder = self.folder.clone();
        let saved = tokio::task::spawn_blocking(move || save(&folder, &intent)).await;
        saved.unwrap_or_else(|_| Err("saving the intent ended early".to_owned()))
    }

    async fn step(&self, step: &Step, never: &NeverTouch) -> Outcome {
        match step {
            Step::Preflight { federation } => self.preflight(federation).await,
            Step::Equip { federation } => {
                let preferred = {
                    let memory = self.memory();
                    memory.passed.get(federation).or(memory.reached.get(federation)).cloned()
                };
                match self.equipment(federation, preferred) {
                    Ok(equipment) => self.hands.equip(equipment).await,
                    Err(outcome) => outcome,
                }
            }
            Step::Start => {
                self.memory().started_ms = Some(clock::now().wall_ms);
                self.hands.start().await
            }
            Step::Restart => {
                // A k3s that cannot come up again would take the kubelet from pods that run.
                if let Some(outcome) = self.obstacle().await {
                    return outcome;
                }
                self.memory().started_ms = Some(clock::now().wall_ms);
                self.hands.restart().await
            }
            Step::Part { federation, uid, step } => {
                self.part(federation, uid.as_deref(), *step, never).await
            }
            Step::Finish(Deferred { federation, uid }) => {
                self.finish(federation, uid.as_deref()).await
            }
        }
    }

    /// What would keep k3s from coming up again. Room is needed to begin with, not to go on.
    async fn obstacle(&self) -> Option<Outcome> {
        let federation = self.federations.get(&drop_in::equipped(&self.hands.drop_in()?)?)?;
        let findings = look(self.plan(federation, Credentials::Kept)).await;
        let mut bad = findings.iter().filter(|finding| finding.is_bad());
        let bad = bad.find(|finding| finding.stage != Stage::Space)?;
        Some(Outcome::Unreachable(format!("k3s is not restarted: {}", bad.text)))
    }

    fn plan<'a>(
        &'a self,
        federation: &'a config::Federation,
        credentials: Credentials,
    ) -> Plan<'a> {
        Plan {
            federation,
            unit: self.k3s.unit.as_deref(),
            has_commands: !self.k3s.start_command.is_empty(),
            data_folder: &self.k3s.data_folder,
            spool: &self.spool,
            vehicle: &self.name,
            node_name: &self.node_name,
            credentials,
        }
    }

    /// Whether a federation can be joined.
    async fn preflight(&self, name: &str) -> Outcome {
        let federation = match self.federation(name) {
            Ok(federation) => federation,
            Err(outcome) => return outcome,
        };
        // What is wrong here is found before another federation is left for this one.
        if let Err(text) = self.labels() {
            return Outcome::Refused(text);
        }
        let (findings, server) = look_for(self.plan(federation, Credentials::ForJoin)).await;
        if let Some(server) = server {
            self.memory().passed.insert(name.to_owned(), server);
        }
        if let Some(bad) = findings.iter().find(|finding| finding.is_bad()) {
            return judged(bad);
        }
        for doubt in findings.iter().filter(|finding| finding.verdict == Verdict::Doubt) {
            tracing::warn!("before joining {name}: {}", doubt.told());
        }
        self.bury(name, federation).await
    }

    /// Deletes a Node that is left of an earlier life of this vehicle: its server knows the vehicle by a password that is gone, and
    /// would refuse it for as long as the Node is there.
    async fn bury(&self, name: &str, federation: &config::Federation) -> Outcome {
        if federation.account_file.is_none() || self.hands.has_password(name) {
            return Outcome::Done;
        }
        let node_name = self.node_name.as_str();
        let mut clusters = self.clusters.lock().await;
        let cluster = match self.cluster(&mut clusters, name) {
            Ok(cluster) => cluster,
            Err(outcome) => return outcome,
        };
        let node = match cluster.node(node_name).await {
            Ok(Some(node)) => node,
            // An account that is of no use is a doubt about the federation, which was told, and no obstacle.
            Ok(None) | Err(Outcome::Refused(_)) => return Outcome::Done,
            Err(outcome) => return outcome,
        };
        if node.owner(&self.name) != Owner::Us {
            return Outcome::Done;
        }
        if node.ready == Some(true) {
            // Not "not yet": each look shows the token, so the pause has to grow while the other lives.
            return Outcome::Unreachable(format!(
                "the Node {node_name} in {name} is alive: another vehicle has a copy of this one's configuration, or this one was a \
                 member a moment ago"
            ));
        }
        match cluster.delete(node_name, Some(&node.uid), &self.name).await {
            Outcome::Done => Outcome::NotYet {
                after: BURIAL,
                text: format!(
                    "deleted the Node {node_name} that an earlier life of this vehicle left in {name}"
                ),
            },
            other => other,
        }
    }

    /// The token for a federation, and the authority to trust.
    fn token(&self, federation: &config::Federation) -> Result<(Token, CaHash), Outcome> {
        let token = read_token(&federation.token_file)
            .map_err(|(text, remedy)| Outcome::Refused(format!("{text}; {remedy}")))?;
        let Some(ca) = token.ca().or(federation.ca_hash()) else {
            return Err(Outcome::Refused(format!(
                "nobody said which authority to trust in {}: use the full token, or set `ca_hash`",
                federation.name
            )));
        };
        Ok((token, ca))
    }

    /// What k3s is to have for a federation, with the server that is preferred if it is configured.
    fn equipment(&self, name: &str, preferred: Option<Server>) -> Result<Equipment, Outcome> {
        let federation = self.federation(name)?;
        let (token, ca) = self.token(federation)?;
        let servers = federation.servers();
        let preferred = preferred.filter(|server| servers.contains(server));
        let server = preferred.or(servers.first().cloned());
        let Some(server) = server else {
            return Err(Outcome::Refused(format!("no server of {name} is configured")));
        };
        let address: Option<IpAddr> = self.k3s.node_ip.as_deref().and_then(|ip| ip.parse().ok());
        Ok(Equipment {
            federation: name.to_owned(),
            server,
            token,
            ca,
            node_name: self.node_name.clone(),
            node_ip: address.into_iter().collect(),
            flannel_iface: self.k3s.interface.clone(),
            labels: self.labels().map_err(Outcome::Refused)?,
            taints: Vec::new(),
        })
    }

    /// Labels of the Node, `key=value`.
    fn labels(&self) -> Result<Vec<String>, String> {
        let more = self.k3s.labels.iter().filter_map(|label| label.split_once('='));
        let name = MemberName {
            vehicle: self.name.clone(),
            // Free text for people; only what can be a label is one.
            kind: Some(self.kind.clone())
                .filter(|kind| !kind.is_empty() && label(KIND, kind).is_ok()),
            zone: self.k3s.zone.clone(),
            region: self.k3s.region.clone(),
            more: more.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        };
        let labels = name.labels()?;
        Ok(labels
            .into_iter()
            .filter_map(|(key, value)| value.map(|value| format!("{key}={value}")))
            .collect())
    }

    /// One step out of a federation.
    async fn part(
        &self,
        federation: &str,
        uid: Option<&str>,
        step: LeaveStep,
        never: &NeverTouch,
    ) -> Outcome {
        match step {
            LeaveStep::Announce | LeaveStep::Cordon | LeaveStep::Drain | LeaveStep::Delete => {
                self.told(federation, uid, step).await
            }
            LeaveStep::Stop => self.hands.stop().await,
            LeaveStep::CleanUp => {
                let CleanedUp { outcome, left } = self.hands.clean_up(never).await;
                for left in left {
                    tracing::info!("left where it is: {left}");
                }
                outcome
            }
            LeaveStep::Strip => {
                self.clusters.lock().await.remove(federation);
                self.hands.strip(federation).await
            }
        }
    }

    /// Has the API of a federation do its part of leaving.
    async fn told(&self, federation: &str, uid: Option<&str>, step: LeaveStep) -> Outcome {
        let mut clusters = self.clusters.lock().await;
        let cluster = match self.cluster(&mut clusters, federation) {
            Ok(cluster) => cluster,
            Err(outcome) => return outcome,
        };
        let name = self.node_name.as_str();
        let announcement = Announcement {
            since_ms: clock::now().believable_wall_ms(),
            reason: "the vehicle leaves".to_owned(),
        };
        let outcome = match step {
            LeaveStep::Announce => cluster.announce(name, uid, Some(&announcement)).await,
            LeaveStep::Cordon => cluster.cordon(name, uid).await,
            LeaveStep::Drain => {
                let mut progress = std::mem::take(&mut self.memory().progress);
                let outcome = cluster.drain(name, self.drain, &mut progress).await;
                self.memory().progress = progress;
                return outcome;
            }
            LeaveStep::Delete | LeaveStep::Stop | LeaveStep::CleanUp | LeaveStep::Strip => {
                let refusal = self.no_account(federation);
                if refusal.is_some() || self.useless(federation).is_some() {
                    // By the kubelet's right, what lets an agent beside the server delete the Node.
                    let mut annotations = Announcement::annotation(Some(&announcement));
                    annotations.insert(VEHICLE.to_owned(), Some(self.name.clone()));
                    let outcome = cluster.annotate(name, uid, &annotations).await;
                    tracing::debug!("said for the last time that the vehicle leaves: {outcome:?}");
                }
                match refusal {
                    Some(refusal) => return refusal,
                    None => return cluster.delete(name, uid, &self.name).await,
                }
            }
        };
        if self.note_refusal(federation, &outcome) {
            clusters.remove(federation);
        }
        outcome
    }

    /// Deletes what is owed. A Node without a known identity that is alive is not what was left behind.
    async fn finish(&self, federation: &str, uid: Option<&str>) -> Outcome {
        if let Some(refusal) = self.no_account(federation) {
            return refusal;
        }
        let mut clusters = self.clusters.lock().await;
        let cluster = match self.cluster(&mut clusters, federation) {
            Ok(cluster) => cluster,
            Err(outcome) => return outcome,
        };
        let name = self.node_name.as_str();
        if uid.is_none()
            && let Ok(Some(node)) = cluster.node(name).await
            && node.ready == Some(true)
        {
            return Outcome::Unreachable(format!(
                "the Node {name} in {federation} is alive: this vehicle was there a moment ago, or another has its name now"
            ));
        }
        cluster.delete(name, uid, &self.name).await
    }

    /// Why this vehicle cannot delete its Node, if it cannot.
    fn no_account(&self, federation: &str) -> Option<Outcome> {
        let known = match self.federation(federation) {
            Ok(known) => known,
            Err(outcome) => return Some(outcome),
        };
        known.account_file.is_none().then(|| {
            Outcome::Refused(format!(
                "this vehicle has no account in {federation} and cannot delete its Node: set `account_file`, or have somebody else \
                 delete it"
            ))
        })
    }

    /// The API of a federation, by the vehicle's account, or by the kubelet's right when that is of no use.
    fn cluster<'a>(
        &self,
        clusters: &'a mut BTreeMap<String, Cluster>,
        name: &str,
    ) -> Result<&'a mut Cluster, Outcome> {
        let federation = self.federation(name)?;
        if let Some(since) = self.useless(name)
            && since.elapsed() > ACCOUNT_AGAIN
        {
            self.memory().useless = None;
            clusters.remove(name);
        }
        match clusters.entry(name.to_owned()) {
            std::collections::btree_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let (_, ca) = self.token(federation)?;
                let credential = match &federation.account_file {
                    Some(file) if self.useless(name).is_none() => {
                        Credential::Token { file: file.clone() }
                    }
                    Some(_) | None => Credential::of_kubelet(&self.k3s.data_folder),
                };
                Ok(entry.insert(Cluster::new(federation.servers(), ca, credential)))
            }
        }
    }

    /// Since when the servers of this federation do not take the vehicle's account, if they do not.
    fn useless(&self, name: &str) -> Option<Instant> {
        self.memory()
            .useless
            .as_ref()
            .filter(|(useless, _)| useless == name)
            .map(|(_, since)| *since)
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The manager of services that the configuration names by its commands.
fn manager(k3s: &K3s) -> Option<ManagerChoice> {
    (!k3s.start_command.is_empty()).then(|| {
        ManagerChoice::Commands(Commands {
            start: k3s.start_command.clone(),
            restart: k3s.restart_command.clone(),
            stop: k3s.stop_command.clone(),
            status: k3s.status_command.clone(),
        })
    })
}

/// What the machine is told of a stage that was not passed.
fn judged(bad: &Finding) -> Outcome {
    match bad.verdict {
        Verdict::Bad(Cure::Person) => Outcome::Refused(bad.told()),
        Verdict::Bad(Cure::Time) | Verdict::Good | Verdict::Doubt | Verdict::Skipped => {
            Outcome::Unreachable(bad.told())
        }
    }
}

/// The stored intent; `None` when nothing was ever stored.
fn stored(path: &Path) -> Result<Option<Intent>, String> {
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(told(error)),
        Ok(metadata) if metadata.len() > INTENT_BYTES_MAX => {
            return Err(format!("{} is too large for an intent", path.display()));
        }
        Ok(_) => {}
    }
    let content = fs::read(path).map_err(told)?;
    Intent::from_json(&content).map(Some).map_err(|error| format!("{}: {error}", path.display()))
}

/// Makes an intent durable: the old one or the new one is there at any moment.
fn save(folder: &Path, intent: &Intent) -> Result<(), String> {
    let path = folder.join(INTENT);
    write_private(&path, &intent.to_json()).map_err(|error| {
        format!(
            "cannot keep where the vehicle is going in {}: {error}; see `[membership] folder`",
            path.display()
        )
    })
}
