//! The control socket: faults on command, and counts of what was asked. One JSON order and one JSON reply per line.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::{READING_MAX, Supervisor, WRITING_MAX};

/// What goes wrong, for paths that begin with a prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Beginning of the paths, such as `/v1-k3s/` or `/api`.
    pub path: String,
    /// Wait before anything else, in ms; it is over when the faults change.
    pub delay_ms: u64,
    /// Answer with this status instead of the right one.
    pub status: Option<u16>,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// From now on these faults, and no others; the first that fits counts.
    Faults(Vec<Fault>),
    /// From now on say in all answers that the clock is this many seconds ahead.
    ClockAhead(i64),
    /// Tell what was asked.
    Counts,
}

/// The reply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Answers given since the start, by `METHOD PATH STATUS`.
    pub counts: BTreeMap<String, u64>,
    /// Reading join requests under way.
    pub reading: usize,
    /// Writing ones.
    pub writing: usize,
}

/// Faults that hold, and counts.
#[derive(Default)]
pub(crate) struct Control {
    faults: Mutex<Vec<Fault>>,
    counts: Mutex<BTreeMap<String, u64>>,
    clock_ahead_s: AtomicI64,
}

impl Control {
    /// The fault for a path.
    pub fn fault(&self, path: &str) -> Option<Fault> {
        locked(&self.faults).iter().find(|fault| path.starts_with(&fault.path)).cloned()
    }

    /// Counts an answer.
    pub fn count(&self, request: &str, status: u16) {
        *locked(&self.counts).entry(format!("{request} {status}")).or_default() += 1;
    }

    /// What the clock is said to be, if that is another time than it is.
    pub fn date(&self) -> Option<SystemTime> {
        let ahead_s = self.clock_ahead_s.load(Ordering::Relaxed);
        let by = Duration::from_secs(ahead_s.unsigned_abs());
        match ahead_s {
            0 => None,
            1.. => SystemTime::now().checked_add(by),
            _ => SystemTime::now().checked_sub(by),
        }
    }
}

impl Supervisor {
    fn follow(&self, order: Order) -> Reply {
        match order {
            Order::Faults(faults) => *locked(&self.control.faults) = faults,
            Order::ClockAhead(by_s) => self.control.clock_ahead_s.store(by_s, Ordering::Relaxed),
            Order::Counts => {}
        }
        Reply {
            counts: locked(&self.control.counts).clone(),
            reading: READING_MAX - self.reading.available_permits(),
            writing: WRITING_MAX - self.writing.available_permits(),
        }
    }
}

/// A panic elsewhere leaves both maps whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Listens on the socket; what it gives back serves orders for ever.
pub fn serve(supervisor: Arc<Supervisor>) -> Result<impl Future<Output = ()> + Send, String> {
    let path = supervisor.settings.control.clone();
    // One that an earlier process has left.
    let _ = std::fs::remove_file(&path);
    let listener =
        UnixListener::bind(&path).map_err(|e| format!("listening on {}: {e}", path.display()))?;
    Ok(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let supervisor = Arc::clone(&supervisor);
            tokio::spawn(async move {
                if let Err(e) = orders(&supervisor, stream).await {
                    eprintln!("control socket: {e}");
                }
            });
        }
    })
}

async fn orders(supervisor: &Supervisor, stream: UnixStream) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let reply = supervisor.follow(serde_json::from_str(&line)?);
        let mut line = serde_json::to_string(&reply)?;
        line.push('\n');
        writer.write_all(line.as_bytes()).await?;
    }
    Ok(())
}
