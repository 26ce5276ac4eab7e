//! Runs a real containerd and a real kubelet as children, the way k3s has them inside: both die with this process, and the
//! containers live on.
//!
//! Paths are k3s's own. Flannel has no double: as soon as the Node has a pod network, a plain bridge `cni0` gets it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::notify_ready;
use super::settings::{Settings, write};
use crate::https::{Call, Server};
use crate::image::IMAGE;
use crate::programs::find;

/// Names the kubelet to run; without it a Node is kept without one.
pub const KUBELET: &str = "K3S_DOUBLE_KUBELET";

/// Names the control group below which the vehicle's pods are.
pub const CGROUP: &str = "K3S_DOUBLE_CGROUP";

/// Where the container runtime listens.
pub const RUNTIME: &str = "/run/k3s/containerd/containerd.sock";

/// State of the container runtime that a restart of the machine may lose.
const RUNTIME_STATE: &str = "/run/k3s/containerd";

/// The program that holds containers.
const SHIM: &str = "containerd-shim-runc-v2";

/// Where Debian has the network plugins.
const PLUGINS: &str = "/usr/lib/cni";

/// How long one look at the API may take, and the wait between two.
const LOOK: (Duration, Duration) = (Duration::from_secs(5), Duration::from_millis(500));

/// The first minor version of Kubernetes whose kubelet takes containerd without being told.
const REMOTE_BY_DEFAULT: u32 = 24;

/// Runs both until one ends, which is an error.
pub async fn run(
    settings: &Settings,
    kubelet: &Path,
    heartbeat_s: u64,
    api: &Server,
) -> Result<(), String> {
    let mut containerd = containerd(settings).await?;
    import(settings).await?;
    let mut kubelet = start(settings, kubelet, heartbeat_s).await?;
    let name = settings.node_name.as_str();
    tokio::select! {
        ended = containerd.wait() => Err(format!("containerd has ended: {ended:?}")),
        ended = kubelet.wait() => Err(format!("the kubelet has ended: {ended:?}")),
        failed = network(settings, name, api) => Err(failed),
    }
}

/// A program that is killed with this process, with its output in `log`.
fn child(program: &Path, log: &Path) -> Result<Command, String> {
    let open = fs::OpenOptions::new().create(true).append(true).open(log);
    let failed = |e: std::io::Error| format!("writing {}: {e}", log.display());
    let file = open.map_err(failed)?;
    let tether = find("setpriv").ok_or("setpriv is missing; it is in Debian's util-linux")?;
    let mut command = Command::new(tether);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).stdin(Stdio::null());
    command.stdout(file.try_clone().map_err(failed)?).stderr(file);
    Ok(command)
}

fn folder(path: PathBuf) -> Result<PathBuf, String> {
    fs::create_dir_all(&path).map_err(|e| format!("making {}: {e}", path.display()))?;
    Ok(path)
}

/// Starts containerd, and waits until it answers.
async fn containerd(settings: &Settings) -> Result<Child, String> {
    let agent = settings.agent_folder();
    let root = folder(agent.join("containerd"))?;
    let etc = folder(agent.join("etc/containerd"))?;
    let network = folder(agent.join("etc/cni/net.d"))?;
    folder(PathBuf::from(RUNTIME_STATE))?;
    let config = etc.join("config.toml");
    let text = format!(
        "version = 2\n\
         root = {root:?}\n\
         state = {RUNTIME_STATE:?}\n\
         [grpc]\n\
         address = {RUNTIME:?}\n\
         [plugins.\"io.containerd.grpc.v1.cri\"]\n\
         sandbox_image = {IMAGE:?}\n\
         # Without the right to raise them, runc would fail over values below its own.\n\
         restrict_oom_score_adj = true\n\
         [plugins.\"io.containerd.grpc.v1.cri\".containerd]\n\
         snapshotter = \"overlayfs\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\n\
         runtime_type = \"io.containerd.runc.v2\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\".cni]\n\
         bin_dir = {PLUGINS:?}\n\
         conf_dir = {network:?}\n"
    );
    write(&config, &text)?;
    let program =
        find("containerd").ok_or("containerd is missing; it is in Debian's containerd")?;
    let mut command = child(&program, &root.join("containerd.log"))?;
    let path = std::env::var("PATH").unwrap_or_default();
    let mut containerd = command
        .env("PATH", format!("{}:{path}", shim(settings)?.display()))
        .arg("--config")
        .arg(&config)
        .spawn()
        .map_err(|e| format!("starting containerd: {e}"))?;
    while ctr(&["version"]).await.is_err() {
        if let Ok(Some(status)) = containerd.try_wait() {
            return Err(format!("containerd ended while it started: {status}"));
        }
        tokio::time::sleep(LOOK.1).await;
    }
    Ok(containerd)
}

/// A folder with the program that holds containers. k3s unpacks its own below its data, by which its processes are told from
/// those of others.
fn shim(settings: &Settings) -> Result<PathBuf, String> {
    let program = find(SHIM).ok_or(format!("{SHIM} is missing; it is in Debian's containerd"))?;
    let folder = folder(settings.data.join("data/double/bin"))?;
    let (part, whole) = (folder.join("part"), folder.join(SHIM));
    if !whole.exists() {
        // The name appears when everything is in it.
        fs::copy(&program, &part)
            .and_then(|_| fs::rename(&part, &whole))
            .map_err(|e| format!("copying {} to {}: {e}", program.display(), whole.display()))?;
    }
    Ok(folder)
}

async fn ctr(words: &[&str]) -> Result<(), String> {
    let mut command = Command::new("ctr");
    command.args(["--address", RUNTIME, "--namespace", "k8s.io"]).args(words);
    let output = command.output().await.map_err(|e| format!("starting ctr: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ctr {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr)))
}

/// Imports the archives that lie ready.
async fn import(settings: &Settings) -> Result<(), String> {
    let Ok(entries) = fs::read_dir(settings.agent_folder().join("images")) else { return Ok(()) };
    for entry in entries.flatten() {
        ctr(&["images", "import", &entry.path().display().to_string()]).await?;
    }
    Ok(())
}

/// Starts the kubelet.
async fn start(settings: &Settings, kubelet: &Path, heartbeat_s: u64) -> Result<Child, String> {
    let agent = settings.agent_folder();
    let config = agent.join("etc/kubelet.json");
    write(&config, &kubelet_config(&agent, heartbeat_s).to_string())?;
    let mut command = child(kubelet, &agent.join("kubelet.log"))?;
    let mut flag = |name: &str, value: &str| {
        command.arg(format!("--{name}={value}"));
    };
    flag("config", &config.display().to_string());
    flag("kubeconfig", &agent.join("kubelet.kubeconfig").display().to_string());
    flag("root-dir", "/var/lib/kubelet");
    flag("cert-dir", &agent.join("pki").display().to_string());
    flag("container-runtime-endpoint", &format!("unix://{RUNTIME}"));
    flag("hostname-override", &settings.node_name);
    flag("node-labels", &settings.labels.join(","));
    if !settings.taints.is_empty() {
        flag("register-with-taints", &settings.taints.join(","));
    }
    if let Some(address) = settings.addresses.first() {
        flag("node-ip", address);
    }
    if minor_version(kubelet).await? < REMOTE_BY_DEFAULT {
        flag("container-runtime", "remote");
    }
    for argument in &settings.kubelet {
        command.arg(format!("--{argument}"));
    }
    command.spawn().map_err(|e| format!("starting the kubelet: {e}"))
}

/// 20 of `Kubernetes v1.20.2`.
async fn minor_version(kubelet: &Path) -> Result<u32, String> {
    let output = Command::new(kubelet).arg("--version").output().await;
    let output = output.map_err(|e| format!("asking the kubelet for its version: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let minor = text.split('.').nth(1).and_then(|minor| minor.parse().ok());
    minor.ok_or(format!("`{}` is no version of a kubelet", text.trim()))
}

fn kubelet_config(agent: &Path, heartbeat_s: u64) -> Value {
    let cgroup = std::env::var(CGROUP).unwrap_or_default();
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": { "anonymous": { "enabled": false }, "webhook": { "enabled": true },
                            "x509": { "clientCAFile": agent.join("client-ca.crt") } },
        "authorization": { "mode": "Webhook" },
        "tlsCertFile": agent.join("serving-kubelet.crt"),
        "tlsPrivateKeyFile": agent.join("serving-kubelet.key"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{cgroup}"),
        "enforceNodeAllocatable": [],
        // The machine that runs tests may be short of room; no pod is to be evicted for that.
        "evictionHard": { "memory.available": "1Mi", "nodefs.available": "1Mi",
                          "imagefs.available": "1Mi" },
        "imageGCHighThresholdPercent": 100,
        "failSwapOn": false,
        "makeIPTablesUtilChains": false,
        "readOnlyPort": 0,
        "resolvConf": "",
        "clusterDomain": "cluster.local",
        "staticPodPath": agent.join("pod-manifests"),
        "nodeStatusUpdateFrequency": format!("{heartbeat_s}s"),
        "nodeLeaseDurationSeconds": heartbeat_s * 4,
    })
}

/// Gives pods their network once the Node has one, and tells the service manager; then only comes back with an error.
async fn network(settings: &Settings, name: &str, api: &Server) -> String {
    loop {
        let answer = api.call(Call::get(&format!("/api/v1/nodes/{name}")), LOOK.0).await;
        let network =
            answer.ok().and_then(|a| a.json()["spec"]["podCIDR"].as_str().map(str::to_owned));
        if let Some(network) = network {
            if let Err(e) = write_network(settings, &network) {
                return e;
            }
            notify_ready();
            eprintln!("node {name} has the pod network {network}");
            return std::future::pending().await;
        }
        tokio::time::sleep(LOOK.1).await;
    }
}

fn write_network(settings: &Settings, network: &str) -> Result<(), String> {
    let list = json!({
        "cniVersion": "0.4.0",
        "name": "cbr0",
        "plugins": [{
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": true,
            "hairpinMode": true,
            "ipMasq": false,
            "ipam": { "type": "host-local", "ranges": [[{ "subnet": network }]],
                      "routes": [{ "dst": "0.0.0.0/0" }] },
        }],
    });
    let folder = settings.agent_folder().join("etc/cni/net.d");
    // The name appears when everything is in it: containerd watches the folder.
    let (part, whole) = (folder.join("10-flannel.part"), folder.join("10-flannel.conflist"));
    write(&part, &list.to_string())?;
    fs::rename(&part, &whole).map_err(|e| format!("moving {}: {e}", part.display()))
}
