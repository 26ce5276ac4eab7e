//! A small MQTT broker for 3.1.1 and 5, for machines without mosquitto.
//!
//! QoS 0 and 1, retained messages, last wills, wildcards, keep-alive, and a second connection under the same name ends the first.
//! It has no sessions that outlive a connection, no QoS 2, no TLS, no users, does not count message expiry down, and listens on
//! loopback only: it serves the demo and its tests and is never part of a release. Everything it keeps is bounded.

mod connection;
pub mod packet;
pub mod topic;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

use packet::{Filter, Message};

/// Connections at a time; more wait in the listen queue.
const CONNECTIONS_MAX: usize = 256;
/// Retained messages; a new topic beyond that is passed on and not retained, and counted.
const RETAINED_MAX: usize = 4096;
/// Topic filters of one connection.
const FILTERS_MAX: usize = 100;
/// Messages that wait for one connection; a subscriber that is further behind is disconnected.
const QUEUE_MAX: usize = 256;

/// What the broker did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections accepted by CONNACK.
    pub connections: u64,
    /// Messages published by clients, wills included.
    pub received: u64,
    /// Messages handed to subscribers.
    pub sent: u64,
    /// Subscribers disconnected because they were too slow.
    pub slow: u64,
    /// Messages not retained for want of room.
    pub unretained: u64,
}

/// A message that waits for a connection.
#[derive(Clone, Debug)]
struct Delivery {
    message: Arc<Message>,
    retain: bool,
    at_least_once: bool,
}

#[derive(Debug)]
struct Client {
    /// Tells a connection from its successor of the same name.
    serial: u64,
    queue: mpsc::Sender<Delivery>,
    filters: Vec<Filter>,
    /// Ends the connection for an MQTT 5 reason.
    end: mpsc::Sender<u8>,
}

#[derive(Debug, Default)]
struct State {
    clients: BTreeMap<String, Client>,
    retained: BTreeMap<String, Arc<Message>>,
    counts: Counts,
    serial: u64,
}

#[derive(Clone, Debug, Default)]
struct Shared(Arc<Mutex<State>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No step between lock and unlock leaves the state half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Passes a message from client `from` on to all who want it and retains it if it says so.
    fn publish(&mut self, from: &str, message: Message) {
        self.counts.received += 1;
        let message = Arc::new(message);
        if message.retain {
            if message.payload.is_empty() {
                self.retained.remove(&message.topic);
            } else if self.retained.len() < RETAINED_MAX
                || self.retained.contains_key(&message.topic)
            {
                self.retained.insert(message.topic.clone(), Arc::clone(&message));
            } else {
                self.counts.unretained += 1;
            }
        }
        for (name, client) in &self.clients {
            let wanting = client.filters.iter().filter(|wanted| {
                topic::matches(&wanted.filter, &message.topic) && !(wanted.no_local && name == from)
            });
            // One copy with the best of what overlapping filters ask for.
            let Some(wish) = wanting
                .map(|wanted| (wanted.at_least_once, wanted.retain_as_published))
                .reduce(|one, other| (one.0 || other.0, one.1 || other.1))
            else {
                continue;
            };
            let delivery = Delivery {
                at_least_once: message.at_least_once && wish.0,
                retain: message.retain && wish.1,
                message: Arc::clone(&message),
            };
            match client.queue.try_send(delivery) {
                Ok(()) => self.counts.sent += 1,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    self.counts.slow += 1;
                    // Already told when this fails.
                    let _ = client.end.try_send(connection::QUOTA_EXCEEDED);
                }
                Err(mpsc::error::TrySendError::Closed(_)) => {}
            }
        }
    }
}

/// A broker that listens.
#[derive(Debug)]
pub struct Broker {
    listener: TcpListener,
    address: SocketAddr,
    shared: Shared,
}

/// Looks at a broker that runs.
#[derive(Clone, Debug)]
pub struct Watch(Shared);

impl Watch {
    /// What the broker did so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.lock().counts
    }
}

impl Broker {
    /// Listens on `address`.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn bind(address: SocketAddr) -> io::Result<Broker> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Broker { listener, address, shared: Shared::default() })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A look at what it does.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch(self.shared.clone())
    }

    /// Serves for ever; connections end with it.
    pub async fn run(self) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = tokio::task::JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            // A connection that ended before it was accepted is no reason to stop.
            let Ok((stream, _)) = self.listener.accept().await else { continue };
            let shared = self.shared.clone();
            connections.spawn(async move {
                connection::serve(stream, shared).await;
                drop(slot);
            });
        }
    }
}
