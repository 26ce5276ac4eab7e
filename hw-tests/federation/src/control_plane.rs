//! One cluster's control plane on a host of its own: real etcd, kube-apiserver, kube-controller-manager and kube-scheduler,
//! and the supervisor half of the double in front.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::anchor::Kind;
use crate::ground::Ground;
use crate::host::Host;
use crate::https::{Answer, Call, Server, Trust, block_on};
use crate::k3s::agent::MAIN_FILE;
use crate::k3s::supervisor::{Fault, Order, POD_NETWORK, Reply, SERVICE_NETWORK, Settings};
use crate::k3s::token::fingerprint;
use crate::k3s::{BOOTSTRAP_GROUP, PORT};
use crate::pki::{Authority, Identity, Subject, write_token_keys};
use crate::process::{Process, wait_for};
use crate::programs::{Programs, hex};

/// How long a control plane may take to be ready; it takes 4 to 8 s on two idle cores.
pub const READY_TIMEOUT: Duration = Duration::from_secs(300);

/// Limit of one request that the rig makes.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Limit of one kubectl.
const KUBECTL_TIMEOUT: &str = "180";

/// Where the kube-apiserver is when the supervisor has its port.
const BEHIND: &str = "127.0.0.1:6444";

/// Where etcd is, on loopback of the control plane's host.
const ETCD: &str = "http://127.0.0.1:2379";

/// The first address of the service network: the kube-apiserver's own.
const SERVICE_ADDRESS: &str = "10.43.0.1";

/// How soon a silent node counts as lost. Kubernetes waits 40 s; no test should.
pub const NODE_GRACE: Duration = Duration::from_secs(16);

/// The same for a real k3s, whose kubelets renew their Leases every 10 s, which cannot be configured.
const K3S_NODE_GRACE: Duration = Duration::from_secs(25);

/// Nothing routes service addresses here; aggregated APIs are reached at their endpoints.
const AGGREGATOR_ROUTING: &str = "enable-aggregator-routing=true";

/// Where a real k3s server has its certificates.
const K3S_TLS: &str = "/var/lib/rancher/k3s/server/tls";

/// What its authorities and identities are called there, and here.
const K3S_PKI: [(&str, &str); 5] = [
    ("server-ca", "server-ca"),
    ("client-ca", "client-ca"),
    ("request-header-ca", "request-header-ca"),
    ("client-admin", "admin"),
    ("client-auth-proxy", "auth-proxy"),
];

/// A program of a control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The store.
    Etcd,
    /// The API.
    ApiServer,
    /// Controllers: node lifecycle, garbage collection, tokens, disruption budgets and the rest.
    ControllerManager,
    /// Binds pods to nodes.
    Scheduler,
    /// The double's half: joins, and everything else passed on to the API.
    Supervisor,
    /// A real k3s, which is all of the others.
    K3s,
}

impl Part {
    /// The program's name, which is also its log's.
    pub fn name(self) -> &'static str {
        match self {
            Part::Etcd => "etcd",
            Part::ApiServer => "kube-apiserver",
            Part::ControllerManager => "kube-controller-manager",
            Part::Scheduler => "kube-scheduler",
            Part::Supervisor => "supervisor",
            Part::K3s => "k3s",
        }
    }
}

/// How much of a control plane runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// etcd and the API on port 6443: 0.35 GB.
    Api,
    /// With controllers and scheduler: 0.45 GB.
    Cluster,
    /// With the supervisor on port 6443 and the API behind it, as k3s: nodes may join.
    Federation,
}

impl Shape {
    fn parts(self) -> &'static [Part] {
        let all = &[
            Part::Etcd,
            Part::ApiServer,
            Part::ControllerManager,
            Part::Scheduler,
            Part::Supervisor,
        ];
        match self {
            Shape::Api => &all[..2],
            Shape::Cluster => &all[..4],
            Shape::Federation => all,
        }
    }
}

/// What may differ between control planes.
#[derive(Clone, Debug)]
pub struct Options {
    /// What runs.
    pub shape: Shape,
    /// Names and addresses that the server's certificate has beside 127.0.0.1 and the service's; `None` is the host's address.
    pub names: Option<Vec<String>>,
    /// The authority of servers is an intermediate one, so that `/cacerts` serves two certificates. Only for the double.
    pub chained: bool,
    /// A real k3s is to run, when there is one; the double otherwise.
    pub k3s: bool,
}

impl Options {
    /// The usual control plane of this shape.
    pub fn new(shape: Shape) -> Options {
        Options { shape, names: None, chained: false, k3s: false }
    }

    /// Everything that a federation needs, as a real k3s when there is one.
    pub fn k3s() -> Options {
        Options { k3s: true, ..Options::new(Shape::Federation) }
    }
}

/// A control plane. It ends with this value; its methods may be called by several tests at a time.
#[derive(Debug)]
pub struct ControlPlane {
    host: Host,
    address: Ipv4Addr,
    shape: Shape,
    programs: Programs,
    double: PathBuf,
    pki: PathBuf,
    server_ca: String,
    agent_secret: String,
    server_secret: String,
    /// A real k3s.
    k3s: Option<PathBuf>,
    running: Mutex<BTreeMap<Part, Process>>,
}

impl ControlPlane {
    /// Starts one at `address` and waits until it is ready.
    pub fn start(
        ground: &Ground,
        name: &str,
        address: Ipv4Addr,
        options: &Options,
    ) -> Result<ControlPlane, String> {
        let programs = Programs::find()?;
        let k3s = programs.k3s.clone().filter(|_| options.k3s);
        // k3s has places of its own, where one of this machine's may be.
        let kind = if k3s.is_some() { Kind::Machine } else { Kind::Plain };
        let host = ground.host(kind, name, address)?;
        let pki = host.folder().join("pki");
        fs::create_dir_all(&pki).map_err(|e| format!("making {}: {e}", pki.display()))?;
        let server_ca = match k3s {
            Some(_) => String::new(),
            None => write_pki(&pki, name, address, options)?,
        };
        let mut plane = ControlPlane {
            host,
            address,
            shape: options.shape,
            programs,
            double: ground.equipment().double.clone(),
            pki,
            server_ca,
            agent_secret: secret()?,
            server_secret: secret()?,
            k3s,
            running: Mutex::default(),
        };
        if plane.k3s.is_some() {
            plane.configure_k3s(options)?;
            plane.start_part(Part::K3s)?;
            plane.server_ca = plane.adopt_pki()?;
        } else {
            plane.write_settings()?;
            for part in options.shape.parts() {
                plane.start_part(*part)?;
            }
        }
        plane.wait_ready()?;
        Ok(plane)
    }

    /// The host it runs on.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Whether it is a real k3s.
    pub fn is_real(&self) -> bool {
        self.k3s.is_some()
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// What k3s agents have as `server`.
    pub fn url(&self) -> String {
        format!("https://{}:{PORT}", self.address)
    }

    /// What `/cacerts` serves.
    pub fn server_ca(&self) -> &str {
        &self.server_ca
    }

    /// Folder with authorities and identities; `admin.crt` and `admin.key` are the administrator's.
    pub fn pki(&self) -> &Path {
        &self.pki
    }

    /// The full token of agents.
    pub fn agent_token(&self) -> Result<String, String> {
        Ok(format!("K10{}::node:{}", fingerprint(&self.server_ca)?, self.agent_secret))
    }

    /// The full token of servers, which no vehicle should have.
    pub fn server_token(&self) -> Result<String, String> {
        Ok(format!("K10{}::server:{}", fingerprint(&self.server_ca)?, self.server_secret))
    }

    /// Makes a bootstrap token as `k3s token create` does, and gives its full form; it ends after `seconds`.
    pub fn bootstrap_token(&self, seconds: i64) -> Result<String, String> {
        let (id, secret) = (&secret()?[..6], &secret()?[..16]);
        let end = time::OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
        let end = end
            .format(&time::format_description::well_known::Rfc3339)
            .map_err(|e| format!("writing a time: {e}"))?;
        let manifest = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": format!("bootstrap-token-{id}"), "namespace": "kube-system" },
            "type": "bootstrap.kubernetes.io/token",
            "stringData": {
                "token-id": id, "token-secret": secret, "expiration": end,
                "usage-bootstrap-authentication": "true",
                "auth-extra-groups": BOOTSTRAP_GROUP,
            },
        });
        self.apply(&manifest.to_string())?;
        Ok(format!("K10{}::{id}.{secret}", fingerprint(&self.server_ca)?))
    }

    /// Starts a part that does not run. Does not wait until it is ready.
    pub fn start_part(&self, part: Part) -> Result<(), String> {
        let mut command = self.host.command(&self.program(part));
        command.args(self.arguments(part));
        let process = self.host.spawn(part.name(), &mut command)?;
        self.running().insert(part, process);
        Ok(())
    }

    /// Stops a part: SIGTERM, or SIGKILL when `kill`.
    pub fn stop_part(&self, part: Part, kill: bool) -> Result<(), String> {
        let process = self.running().remove(&part);
        let process = process.ok_or(format!("{} does not run", part.name()))?;
        if kill {
            drop(process);
        } else {
            process.stop();
        }
        Ok(())
    }

    /// Waits until the API says that it is ready, with everything that came with it.
    pub fn wait_ready(&self) -> Result<(), String> {
        let ready = wait_for("a control plane to be ready", READY_TIMEOUT, || {
            if let Some(words) = self.last_words() {
                return Err(words);
            }
            let answer = self.call(Call::get("/readyz"))?;
            Ok((answer.status == 200).then_some(()))
        });
        ready.map_err(|e| format!("{}: {e}{}", self.host.name(), self.all_last_words()))
    }

    /// The last words of a part that has ended though nobody stopped it.
    fn last_words(&self) -> Option<String> {
        let mut running = self.running();
        running.values_mut().find_map(|part| part.ended().is_some().then(|| part.last_words()))
    }

    /// The end of the log of every part.
    pub fn all_last_words(&self) -> String {
        self.running().values().map(|part| format!("\n{}", part.last_words())).collect()
    }

    /// Asks its port as administrator, from its own host.
    pub fn call(&self, call: Call) -> Result<Answer, String> {
        let identity = Identity::read(&self.pki, "admin")?;
        self.call_as(call, Some(&identity))
    }

    /// Asks its port with another identity, or with what the headers have.
    pub fn call_as(&self, call: Call, identity: Option<&Identity>) -> Result<Answer, String> {
        let trust = Trust::Authorities(self.server_ca.clone());
        let server = Server::new(&format!("127.0.0.1:{PORT}"), &trust, identity)?;
        self.host.enter(|| block_on(server.call(call, CALL_TIMEOUT)))
    }

    /// Runs kubectl as administrator.
    pub fn kubectl(&self, words: &[&str]) -> Result<String, String> {
        self.kubectl_with(words, "")
    }

    /// Applies a manifest as administrator.
    pub fn apply(&self, manifest: &str) -> Result<String, String> {
        self.kubectl_with(&["apply", "-f", "-"], manifest)
    }

    /// Runs kubectl as administrator with this input.
    pub fn kubectl_with(&self, words: &[&str], input: &str) -> Result<String, String> {
        let what = format!("kubectl {}", words.join(" "));
        let failed = |e: std::io::Error| format!("{what}: {e}");
        let mut command = self.host.command(Path::new("timeout"));
        command.arg(KUBECTL_TIMEOUT).arg(self.programs.kubernetes("kubectl"));
        command.arg("--kubeconfig").arg(self.pki.join("admin.kubeconfig")).args(words);
        command.env("HOME", self.host.folder());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not read its input says why itself.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(failed)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        Err(format!("{what}: {text}{}", String::from_utf8_lossy(&output.stderr).trim()))
    }

    /// An object of the API; `None` when it does not exist.
    pub fn get(&self, path: &str) -> Result<Option<Value>, String> {
        let answer = self.call(Call::get(path))?;
        if answer.status == 404 {
            return Ok(None);
        }
        Ok(Some(answer.expect(200, path)?.json()))
    }

    /// Whether a Node is ready: `True`, `False`, `Unknown`, or `None` without Node or condition.
    pub fn node_ready(&self, name: &str) -> Result<Option<String>, String> {
        let Some(node) = self.get(&format!("/api/v1/nodes/{name}"))? else { return Ok(None) };
        let conditions = node["status"]["conditions"].as_array();
        let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
        Ok(ready.and_then(|condition| condition["status"].as_str()).map(str::to_owned))
    }

    /// Waits until the readiness of a Node is this.
    pub fn wait_node(&self, name: &str, ready: &str, limit: Duration) -> Result<(), String> {
        wait_for(&format!("node {name} to have Ready={ready}"), limit, || {
            Ok((self.node_ready(name)?.as_deref() == Some(ready)).then_some(()))
        })
    }

    /// From now on the supervisor has these faults, and no others.
    pub fn set_faults(&self, faults: Vec<Fault>) -> Result<(), String> {
        self.order(&Order::Faults(faults)).map(drop)
    }

    /// From now on its answers say that its clock is this many seconds ahead, or behind when negative. Its certificates stay
    /// as they are.
    pub fn set_clock_ahead(&self, by_s: i64) -> Result<(), String> {
        self.order(&Order::ClockAhead(by_s)).map(drop)
    }

    /// What the supervisor has answered since it was started, and what it is at.
    pub fn counts(&self) -> Result<Reply, String> {
        self.order(&Order::Counts)
    }

    fn order(&self, order: &Order) -> Result<Reply, String> {
        if self.k3s.is_some() {
            return Err("a real k3s takes no orders from tests; start the double".to_owned());
        }
        let failed = |e: std::io::Error| format!("ordering the supervisor: {e}");
        let mut stream = UnixStream::connect(self.control()).map_err(failed)?;
        let line = serde_json::to_string(order).map_err(|e| format!("writing an order: {e}"))?;
        stream.write_all(format!("{line}\n").as_bytes()).map_err(failed)?;
        let mut reply = String::new();
        BufReader::new(stream).read_line(&mut reply).map_err(failed)?;
        serde_json::from_str(&reply).map_err(|e| format!("reading the supervisor's reply: {e}"))
    }

    fn control(&self) -> PathBuf {
        self.host.folder().join("supervisor.sock")
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<Part, Process>> {
        // A test that panicked while it held this left the map whole.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an operator of a small server for joins would write.
    fn configure_k3s(&self, options: &Options) -> Result<(), String> {
        let address = self.address.to_string();
        let names = options.names.clone().unwrap_or_else(|| vec![address.clone()]);
        let grace = format!("node-monitor-grace-period={}s", K3S_NODE_GRACE.as_secs());
        let settings = serde_json::json!({
            "token": self.server_secret,
            "agent-token": self.agent_secret,
            "node-ip": [address],
            "advertise-address": self.address,
            "tls-san": names,
            "disable-agent": true,
            "disable": ["coredns", "local-storage", "metrics-server", "servicelb", "traefik"],
            "disable-network-policy": true,
            "kube-apiserver-arg": [AGGREGATOR_ROUTING],
            "kube-controller-manager-arg": ["node-monitor-period=1s", grace],
        });
        // JSON is YAML.
        self.host.write(MAIN_FILE, &settings.to_string())
    }

    /// Waits until a real k3s has made its authorities and identities, and puts them where those of the double are; gives what
    /// `/cacerts` serves.
    fn adopt_pki(&self) -> Result<String, String> {
        let made = wait_for("k3s to make its certificates", READY_TIMEOUT, || {
            if let Some(words) = self.last_words() {
                return Err(words);
            }
            let made = |(name, _): &(&str, &str)| {
                let file = self.host.path(K3S_TLS).join(name);
                ["crt", "key"].iter().all(|kind| file.with_extension(kind).exists())
            };
            Ok(K3S_PKI.iter().all(made).then_some(()))
        });
        made.map_err(|e| format!("{e}{}", self.all_last_words()))?;
        for (theirs, ours) in K3S_PKI {
            let [certificate, key] =
                ["crt", "key"].map(|kind| format!("{K3S_TLS}/{theirs}.{kind}"));
            // Theirs is in a form that not everything here reads.
            let key = self.host.run("openssl", &["pkcs8", "-topk8", "-nocrypt", "-in", &key])?;
            let identity = Identity { certificate: self.host.read(&certificate)?, key };
            identity.write(&self.pki, ours)?;
        }
        self.write_kubeconfigs(&format!("127.0.0.1:{PORT}"), &["admin"])?;
        self.host.read(&format!("{K3S_TLS}/server-ca.crt"))
    }

    /// Kubeconfigs of the parts and the supervisor's settings.
    fn write_settings(&self) -> Result<(), String> {
        let api = match self.shape {
            Shape::Api | Shape::Cluster => format!("127.0.0.1:{PORT}"),
            Shape::Federation => BEHIND.to_owned(),
        };
        self.write_kubeconfigs(&api, &["controller-manager", "scheduler"])?;
        self.write_kubeconfigs(&format!("127.0.0.1:{PORT}"), &["admin"])?;
        let settings = Settings {
            listen: (Ipv4Addr::UNSPECIFIED, PORT).into(),
            advertised: vec![format!("{}:{PORT}", self.address)],
            api,
            pki: self.pki.clone(),
            agent_token: self.agent_secret.clone(),
            server_token: self.server_secret.clone(),
            control: self.control(),
        };
        let text = serde_json::to_string_pretty(&settings)
            .map_err(|e| format!("writing the supervisor's settings: {e}"))?;
        self.write_beside_pki("supervisor.json", &text)
    }

    /// Kubeconfigs of the identities with these names, for the API at `address`.
    fn write_kubeconfigs(&self, address: &str, names: &[&str]) -> Result<(), String> {
        let ca = self.pki.join("server-ca.crt");
        for name in names {
            let [certificate, key] =
                ["crt", "key"].map(|kind| self.pki.join(format!("{name}.{kind}")));
            let text = kubeconfig(&format!("https://{address}"), &ca, &certificate, &key);
            self.write_beside_pki(&format!("{name}.kubeconfig"), &text)?;
        }
        Ok(())
    }

    fn write_beside_pki(&self, name: &str, text: &str) -> Result<(), String> {
        let path = self.pki.join(name);
        fs::write(&path, text).map_err(|e| format!("writing {}: {e}", path.display()))
    }

    fn program(&self, part: Part) -> PathBuf {
        match part {
            Part::K3s => self.k3s.clone().unwrap_or_default(),
            Part::Etcd => self.programs.etcd.clone(),
            Part::Supervisor => self.double.clone(),
            Part::ApiServer | Part::ControllerManager | Part::Scheduler => {
                self.programs.kubernetes(part.name())
            }
        }
    }

    fn arguments(&self, part: Part) -> Vec<String> {
        let pki = |name: &str| self.pki.join(name).display().to_string();
        match part {
            Part::Etcd => {
                let data = self.host.folder().join("etcd").display().to_string();
                vec![
                    format!("--data-dir={data}"),
                    format!("--listen-client-urls={ETCD}"),
                    format!("--advertise-client-urls={ETCD}"),
                    "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
                    // Test data; what a test says of lost power is about vehicles.
                    "--unsafe-no-fsync".to_owned(),
                ]
            }
            Part::ApiServer => self.api_server_arguments(),
            Part::ControllerManager => vec![
                format!("--kubeconfig={}", pki("controller-manager.kubeconfig")),
                format!("--root-ca-file={}", pki("server-ca.crt")),
                format!("--service-account-private-key-file={}", pki("sa.key")),
                format!("--cluster-signing-cert-file={}", pki("client-ca.crt")),
                format!("--cluster-signing-key-file={}", pki("client-ca.key")),
                "--use-service-account-credentials=true".to_owned(),
                "--controllers=*,bootstrapsigner,tokencleaner".to_owned(),
                "--leader-elect=false".to_owned(),
                "--allocate-node-cidrs=true".to_owned(),
                format!("--cluster-cidr={POD_NETWORK}"),
                format!("--service-cluster-ip-range={SERVICE_NETWORK}"),
                "--node-monitor-period=1s".to_owned(),
                format!("--node-monitor-grace-period={}s", NODE_GRACE.as_secs()),
            ],
            Part::Scheduler => vec![
                format!("--kubeconfig={}", pki("scheduler.kubeconfig")),
                "--leader-elect=false".to_owned(),
            ],
            Part::Supervisor => vec!["supervisor".to_owned(), pki("supervisor.json")],
            Part::K3s => vec!["server".to_owned()],
        }
    }

    fn api_server_arguments(&self) -> Vec<String> {
        let pki = |flag: &str, name: &str| format!("--{flag}={}", self.pki.join(name).display());
        let (bind, port) = match self.shape {
            Shape::Api | Shape::Cluster => ("0.0.0.0", PORT),
            Shape::Federation => ("127.0.0.1", PORT + 1),
        };
        let plain = [
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--enable-bootstrap-token-auth=true",
            // k3s answers nobody without credentials.
            "--anonymous-auth=false",
            "--allow-privileged=true",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--api-audiences=https://kubernetes.default.svc",
            "--kubelet-preferred-address-types=InternalIP",
            "--requestheader-allowed-names=system:auth-proxy",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
        ];
        let mut arguments: Vec<String> = plain.map(str::to_owned).to_vec();
        arguments.extend([
            format!("--{AGGREGATOR_ROUTING}"),
            format!("--etcd-servers={ETCD}"),
            format!("--bind-address={bind}"),
            format!("--secure-port={port}"),
            format!("--advertise-address={}", self.address),
            format!("--service-cluster-ip-range={SERVICE_NETWORK}"),
            pki("tls-cert-file", "apiserver.crt"),
            pki("tls-private-key-file", "apiserver.key"),
            pki("client-ca-file", "client-ca.crt"),
            pki("requestheader-client-ca-file", "request-header-ca.crt"),
            pki("proxy-client-cert-file", "auth-proxy.crt"),
            pki("proxy-client-key-file", "auth-proxy.key"),
            pki("kubelet-client-certificate", "api-kubelet.crt"),
            pki("kubelet-client-key", "api-kubelet.key"),
            pki("service-account-key-file", "sa.pub"),
            pki("service-account-signing-key-file", "sa.key"),
        ]);
        arguments
    }
}

/// Authorities and identities as k3s has them; gives what `/cacerts` serves.
fn write_pki(
    folder: &Path,
    name: &str,
    address: Ipv4Addr,
    options: &Options,
) -> Result<String, String> {
    let root = Authority::root(&format!("k3s-server-ca@{name}"))?;
    let servers = if options.chained {
        root.intermediate(&format!("k3s-server-intermediate@{name}"))?
    } else {
        root
    };
    let clients = Authority::root(&format!("k3s-client-ca@{name}"))?;
    let front = Authority::root(&format!("k3s-request-header-ca@{name}"))?;
    servers.write(folder, "server-ca")?;
    clients.write(folder, "client-ca")?;
    front.write(folder, "request-header-ca")?;
    let own = ["127.0.0.1", "localhost", "kubernetes.default.svc", SERVICE_ADDRESS];
    let mut alternatives: Vec<String> = own.map(str::to_owned).to_vec();
    match &options.names {
        Some(names) => alternatives.extend(names.clone()),
        None => alternatives.push(address.to_string()),
    }
    let server = Subject::Server { name: "k3s", alternatives: &alternatives };
    let mut identity = servers.issue(server)?;
    if options.chained {
        identity.certificate += servers.bundle();
    }
    identity.write(folder, "apiserver")?;
    let masters = Some("system:masters");
    for (file, user, group) in [
        ("admin", "system:admin", masters),
        ("api-kubelet", "system:apiserver", masters),
        ("controller-manager", "system:kube-controller-manager", None),
        ("scheduler", "system:kube-scheduler", None),
    ] {
        clients.issue(Subject::Client { name: user, group })?.write(folder, file)?;
    }
    let proxy = Subject::Client { name: "system:auth-proxy", group: None };
    front.issue(proxy)?.write(folder, "auth-proxy")?;
    write_token_keys(folder)?;
    Ok(servers.bundle().to_owned())
}

/// A kubeconfig with one cluster and one user, all in files.
pub fn kubeconfig(server: &str, authority: &Path, certificate: &Path, key: &Path) -> String {
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "local",
                       "cluster": { "server": server, "certificate-authority": authority } }],
        "users": [{ "name": "user",
                    "user": { "client-certificate": certificate, "client-key": key } }],
        "contexts": [{ "name": "default", "context": { "cluster": "local", "user": "user" } }],
        "current-context": "default",
    });
    config.to_string()
}

/// 32 hexadecimal digits that nobody knows.
fn secret() -> Result<String, String> {
    let mut bytes = [0; 16];
    let random = ring::rand::SystemRandom::new();
    ring::rand::SecureRandom::fill(&random, &mut bytes)
        .map_err(|_| "there is no randomness".to_owned())?;
    Ok(hex(&bytes))
}
