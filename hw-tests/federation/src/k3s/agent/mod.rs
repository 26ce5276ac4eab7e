//! The agent half: joins as `k3s agent` does, then runs a real kubelet or keeps a Node alive itself.
//!
//! - Settings come from the command line, the main file with its drop-ins, and the environment, in k3s's order.
//! - The authority is checked against the token's hash before anything else, every 2 s for ever until that works.
//! - Every request of the join has a connection of its own and 10 s, which cannot be configured; any failure starts the
//!   sequence anew after 0 to 5 s.
//! - Then the load balancer listens on loopback, and the API server must be ready behind it within 15 minutes.
//! - `READY=1` goes to the service manager when the Node is ready.
//!
//! It has no tunnel, no flannel and no kube-proxy, and never cleans up, as k3s does not either.

mod balancer;
mod join;
mod kubelet;
mod node;
mod settings;
mod yaml;

use std::ffi::OsString;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::https::{Call, Server, Trust, block_on};
use crate::k3s::token::Token;
use settings::Settings;

pub use kubelet::{CGROUP, KUBELET, RUNTIME};
pub use settings::{MAIN_FILE, NODE_FOLDER};

/// Sets the seconds between two heartbeats; a Lease lasts four of them, as the kubelet's does.
pub const HEARTBEAT: &str = "K3S_DOUBLE_HEARTBEAT_S";

/// Seconds between two heartbeats unless told otherwise.
const HEARTBEAT_S: u64 = 10;

/// Limit of one request of the join, with its connection.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Wait between two looks at the server's authority.
const VALIDATE_EVERY: Duration = Duration::from_secs(2);

/// Longest wait before the sequence is begun anew.
const RESTART_WITHIN_MS: u64 = 5_000;

/// How long the API server may take to be ready, before the process gives up.
const API_DEADLINE: Duration = Duration::from_secs(15 * 60);

/// Limit of one look at the API server, and the wait between two.
const API_LOOK: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(2));

/// How long a missing token file is waited for.
const TOKEN_FILE_DEADLINE: Duration = Duration::from_secs(4 * 60);

/// Runs until it is killed, or its settings or server give no hope.
pub fn main(arguments: impl Iterator<Item = OsString>) -> Result<ExitCode, String> {
    let settings = Settings::read(arguments)?;
    block_on(run(settings))?;
    Ok(ExitCode::SUCCESS)
}

async fn run(settings: Settings) -> Result<(), String> {
    let token = Token::parse(&token_text(&settings).await?)?;
    eprintln!("joining {} as {}", settings.server, settings.node_name);
    loop {
        match join::validate(&settings.address()?, &token).await {
            Ok(_) => break,
            Err(e) => eprintln!("cannot validate the server: {e}"),
        }
        tokio::time::sleep(VALIDATE_EVERY).await;
    }
    let credentials = loop {
        match join::obtain(&settings, &token).await {
            Ok(credentials) => break credentials,
            Err(e) => eprintln!("cannot join, beginning anew: {e}"),
        }
        tokio::time::sleep(Duration::from_millis(settings::random_below(RESTART_WITHIN_MS)?)).await;
    };
    balancer::start(&settings).await?;
    let api = Server::new(
        &format!("127.0.0.1:{}", settings.balancer_port),
        &Trust::Authorities(credentials.server_ca.clone()),
        Some(&credentials.kubelet),
    )?;
    api_ready(&api).await?;
    join::learn_addresses(&settings, &credentials).await?;
    let heartbeat = std::env::var(HEARTBEAT).ok().and_then(|text| text.parse().ok());
    let heartbeat_s = heartbeat.unwrap_or(HEARTBEAT_S).max(1);
    match std::env::var_os(KUBELET).map(PathBuf::from) {
        Some(kubelet) => kubelet::run(&settings, &kubelet, heartbeat_s, &api).await,
        None => node::keep(&settings, heartbeat_s, &api).await,
    }
}

/// The token itself; from its file when one is named.
async fn token_text(settings: &Settings) -> Result<String, String> {
    let Some(file) = &settings.token_file else {
        return settings
            .token
            .clone()
            .ok_or("a token is needed: --token or --token-file".to_owned());
    };
    let begin = Instant::now();
    loop {
        match std::fs::read_to_string(file) {
            Ok(text) => return Ok(text),
            Err(e) if begin.elapsed() > TOKEN_FILE_DEADLINE => {
                return Err(format!("reading {}: {e}", file.display()));
            }
            Err(_) => tokio::time::sleep(VALIDATE_EVERY).await,
        }
    }
}

/// Waits for the API server behind the load balancer.
async fn api_ready(api: &Server) -> Result<(), String> {
    let begin = Instant::now();
    loop {
        match api.call(Call::get("/readyz"), API_LOOK.0).await {
            Ok(answer) if answer.status == 200 => return Ok(()),
            Ok(answer) => eprintln!("the API server answers {}", answer.status),
            Err(e) => eprintln!("the API server is not ready: {e}"),
        }
        if begin.elapsed() > API_DEADLINE {
            return Err("the API server was not ready in time".to_owned());
        }
        tokio::time::sleep(API_LOOK.1).await;
    }
}

/// Tells the service manager, if there is one.
fn notify_ready() {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET").map(PathBuf::from) else { return };
    let told = UnixDatagram::unbound().and_then(|socket| socket.send_to(b"READY=1", &path));
    if let Err(e) = told {
        eprintln!("telling {} that the node is ready: {e}", path.display());
    }
}
