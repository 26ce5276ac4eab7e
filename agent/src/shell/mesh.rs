//! Reads the routing daemon when asked to. One request at a time; when to ask is the core's business.

use std::sync::Arc;
use std::time::{Duration, Instant};

use olsr_bridge::client::{Choice, Client, Options};
use olsr_bridge::cost::CostOptions;
use olsr_bridge::failure::Failure;
use olsr_bridge::view::MeshView;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::config::{self, DaemonChoice};

/// The end of one poll.
#[derive(Debug)]
pub struct Polled {
    /// How long it took.
    pub took: Duration,
    /// The view, or why there is none.
    pub result: Result<Arc<MeshView>, Failure>,
}

/// The task that reads the daemon. Dropping it ends the task and its connection.
#[derive(Debug)]
pub struct Poller {
    asks: mpsc::Sender<()>,
    /// Answers, one for each [`Poller::ask`].
    pub answers: mpsc::Receiver<Polled>,
    task: JoinHandle<()>,
}

impl Poller {
    /// Prepares; asks nothing yet. `None` when no daemon is to be read.
    #[must_use]
    pub fn start(config: &config::Mesh) -> Option<Poller> {
        let mut client = Client::new(options(config)?);
        let (asks, mut asked) = mpsc::channel::<()>(1);
        let (answer, answers) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            while asked.recv().await.is_some() {
                let started = Instant::now();
                let result = client.sample().await.map(Arc::new);
                if answer.send(Polled { took: started.elapsed(), result }).await.is_err() {
                    return;
                }
            }
        });
        Some(Poller { asks, answers, task })
    }

    /// Asks for one poll. The core never asks again before it was answered, so there is always room.
    pub fn ask(&self) {
        let _ = self.asks.try_send(());
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How to read the daemon by this configuration; `None` for no mesh.
#[must_use]
pub fn options(config: &config::Mesh) -> Option<Options> {
    let choice = match config.daemon {
        DaemonChoice::Auto => Choice::Auto,
        DaemonChoice::Jsoninfo => Choice::Jsoninfo,
        DaemonChoice::Txtinfo => Choice::Txtinfo,
        DaemonChoice::Olsrd2Http => Choice::Olsrd2Http,
        DaemonChoice::Olsrd2Telnet => Choice::Olsrd2Telnet,
        DaemonChoice::None => return None,
    };
    Some(Options {
        choice,
        connect: config.connect,
        timeout: config.timeout,
        names_file: config.names_file.clone(),
        cost: CostOptions {
            floor_per_hop: config.cost_floor_per_hop,
            reference_rate: config.reference_rate,
        },
        ..Options::default()
    })
}
