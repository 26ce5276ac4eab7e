//! The connection to an MQTT broker: one task that connects, publishes, reports what the broker acknowledged, and tries
//! again. It keeps no queue and decides nothing about records; that is [`crate::core::outbox`]'s business. Each connection
//! is disposable: its own command channel, nothing carried over, and except for a collector's a clean start.
//!
//! # Decision (November 2026, in force): rumqttc's packets, our own connection
//!
//! Packets are read and written by the codecs of `rumqttc-v5-next` and `rumqttc-v4-next`, the maintained successors of
//! rumqttc; sockets, TLS, time limits and the count of what is in flight are ours (this file and the rooms below it).
//!
//! - Their event loop brings what we must not have: a second queue that replays by its own rules after a reconnect, a flush
//!   that waits for a stalled broker without looking at the keep-alive, and error values that do not tell a wrong password
//!   file from a wrong authority. A QoS 1 publisher needs four packet types; that loop is 15,000 lines per version.
//! - With only the codecs linked the TLS features of the crates stay off, and with them a second path to rustls-webpki,
//!   the system's certificates and their probing. Speaking 3.1.1 beside 5 then costs 16 kB of binary, and a TLS connection
//!   that publishes 60 kB of private memory (`examples/mqtt-memory.rs`, x86_64, release).
//! - Acknowledgements are tied to packet numbers that we gave, so "acknowledged" means that very record.
//!
//! Roads not taken: rumqttc 0.25 (its TLS pins a webpki with open advisories; without TLS it needs a relay behind a Unix
//! socket; it forgets which publish an acknowledgement belongs to); the successors' `AsyncClient` (above); codecs of our
//! own (the crates' ones are tested against hostile input by more people than ours would be).
//!
//! # What ends a connection
//!
//! No answer to TCP, TLS or CONNECT within [`Timing`]; nothing received for one and a half keep-alives although a ping was
//! sent (a broker that hangs or lies behind a dead link); pings answered but nothing acknowledged; anything the broker
//! refuses. Each has a text with a remedy ([`Event::Disconnected`]) and is followed by back-off, which starts small again
//! only after a connection that was stable.

mod greeting;
mod reach;
mod session;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config;
use crate::core::backoff::{self, Backoff};
use crate::core::delivery::{DropCause, RecordId};
use crate::core::outbox::Record;
use crate::core::presence::Speaker;
use crate::core::time::Mono;
use crate::shell::tls;

use session::Session;
pub use wire::Protocol;

/// Events on their way to the main loop. More only wait in the socket.
const EVENTS_MAX: usize = 64;

/// Most records in flight that any configuration may ask for; each costs an entry in a list that is searched linearly.
const IN_FLIGHT_MAX: usize = 1000;

/// Largest packet a publisher takes: it expects only acknowledgements, with a reason in words at most.
const PUBLISHER_PACKET_BYTES_MAX: u32 = 16 * 1024;

/// Largest packet a subscriber takes: more than any record that fits a vehicle's queue.
const SUBSCRIBER_PACKET_BYTES_MAX: u32 = 4 * 1024 * 1024;

/// Largest packet a collector takes: twice the largest message of records. A larger one is passed over and told.
const COLLECTOR_PACKET_BYTES_MAX: u32 = 2 * 1024 * 1024;

/// Publications that a collector takes without having acknowledged them: fills a link with long delay, and is what a sync of
/// the disk is shared by. Only MQTT 5 lets a client say so.
const COLLECTOR_RECEIVE_MAX: u16 = 256;

/// Arrivals on their way to a collector. With [`COLLECTOR_PACKET_BYTES_MAX`] this bounds memory; more wait in the socket.
const ARRIVALS_MAX: usize = 8;

/// Shortest keep-alive that is observed, whatever was asked for.
const KEEP_ALIVE_MIN: Duration = Duration::from_secs(1);

/// A broker is given this long to acknowledge something, however fast it was before. Where 15 % of the packets are lost each
/// way and the round trip is 3 s, TCP sends a packet again after 3, 9, 21 and 45 s; one in fifty needs the third, one in 170
/// the fourth.
const ACKNOWLEDGE_MIN: Duration = Duration::from_secs(60);

/// How long a goodbye may take before the connection is dropped without.
const GOODBYE_MAX: Duration = Duration::from_secs(2);

/// Hands records to one connection.
///
/// The one trait that all of MQTT is behind: the caller keeps records until [`Event::Acknowledged`] names them.
pub trait Publisher {
    /// Sends a record without waiting. At most as many may be without acknowledgement as [`Event::Connected`] said.
    ///
    /// # Errors
    ///
    /// [`Gone`] when the connection has ended: [`Event::Disconnected`] is on its way, nothing else need be done.
    fn submit(&mut self, id: RecordId, record: Record) -> Result<(), Gone>;
}

/// The connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// One connection, to publish on. It never revives: the next [`Event::Connected`] brings another.
#[derive(Debug)]
pub struct Link {
    commands: mpsc::Sender<(RecordId, Record)>,
    acknowledgements: mpsc::UnboundedSender<Receipt>,
}

impl Link {
    /// Tells the broker that a publication need not be sent again. Receipts go back in the order in which they came
    /// (MQTT 5 section 4.6). After the end of the connection this does nothing: the broker sends again.
    pub fn acknowledge(&self, receipt: Receipt) {
        let _ = self.acknowledgements.send(receipt);
    }
}

/// What the broker wants back for a publication; of use only on the connection that it came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt(u16);

impl Publisher for Link {
    fn submit(&mut self, id: RecordId, record: Record) -> Result<(), Gone> {
        self.commands.try_send((id, record)).map_err(|_| Gone)
    }
}

/// What happens on the way to and from the broker, in order.
#[derive(Debug)]
pub enum Event {
    /// A connection stands.
    Connected {
        /// To publish on.
        link: Link,
        /// Version in use.
        protocol: Protocol,
        /// Records it takes without having acknowledged them.
        in_flight_max: u16,
        /// Largest packet it takes, when it said (only MQTT 5 can).
        packet_bytes_max: Option<u32>,
    },
    /// The broker has this record; [`RecordId::UNKNOWN`] when it acknowledged what is not in flight.
    Acknowledged(RecordId),
    /// The broker will never take this record. The connection goes on.
    Refused {
        /// Which.
        id: RecordId,
        /// To count it under.
        cause: DropCause,
        /// For a person.
        reason: String,
    },
    /// An attempt failed or the connection ended. What was not acknowledged may or may not have arrived.
    Disconnected {
        /// For a person, with a remedy.
        reason: String,
        /// The next attempt follows after this time.
        retry_in: Duration,
    },
}

/// A publication that a subscriber received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its content.
    pub payload: Bytes,
    /// The broker had kept it from before the subscription.
    pub retained: bool,
}

/// What happens to a subscription, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The broker accepted the subscription.
    Subscribed,
    /// A publication.
    Message(Message),
    /// An attempt failed or the connection ended; another follows. What is published meanwhile is missed.
    Disconnected {
        /// For a person, with a remedy.
        reason: String,
    },
}

/// What happens to a collection, in order.
#[derive(Debug)]
pub enum Arrival {
    /// A connection stands. Receipts of an earlier one are void.
    Connected {
        /// To acknowledge and publish on.
        link: Link,
        /// Version in use.
        protocol: Protocol,
        /// The broker kept what was published since the connection before.
        resumed: bool,
        /// Records that may be submitted without acknowledgement.
        in_flight_max: u16,
    },
    /// The broker accepted the subscription.
    Subscribed,
    /// A publication.
    Message {
        /// What it is.
        message: Message,
        /// To be given back when its content is safe; `None` when the broker will not send it again anyway.
        receipt: Option<Receipt>,
    },
    /// A publication larger than is taken was passed over.
    TooLarge {
        /// Its topic.
        topic: String,
        /// Bytes of its packet.
        bytes: usize,
        /// As for a message.
        receipt: Option<Receipt>,
    },
    /// The broker has a record that was submitted.
    Acknowledged(RecordId),
    /// The broker will never take a record that was submitted.
    Refused {
        /// Which.
        id: RecordId,
        /// For a person.
        reason: String,
    },
    /// An attempt failed or the connection ended; another follows.
    Disconnected {
        /// For a person, with a remedy.
        reason: String,
    },
}

/// Time limits. The defaults allow for the worst link the project knows: 6 s round trip, 15 % loss each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// For TCP to connect to one address: four attempts of the kernel (SYN at 0, 1, 3 and 7 s) and a round trip.
    pub connect: Duration,
    /// For the TLS handshake, and again for the broker's first answer.
    pub answer: Duration,
    /// For the oldest record in flight, while others are not acknowledged either: the longest. Usually it is the measured
    /// time and four deviations, and no less than a minute.
    pub acknowledge: Duration,
    /// Between attempts.
    pub backoff: backoff::Policy,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            connect: Duration::from_secs(20),
            answer: Duration::from_secs(30),
            acknowledge: Duration::from_secs(120),
            backoff: backoff::Policy {
                first: Duration::from_secs(1),
                max: Duration::from_secs(60),
                stable: Duration::from_secs(60),
            },
        }
    }
}

/// Everything there is to know about a broker and our way to it. Files are read at each connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Which version to speak.
    pub protocol: config::MqttProtocol,
    /// Client identifier.
    pub client_id: String,
    /// User name.
    pub username: Option<String>,
    /// File holding the password in its first line.
    pub password_file: Option<PathBuf>,
    /// TLS, if it is used.
    pub tls: Option<tls::Files>,
    /// Keep-alive.
    pub keep_alive: Duration,
    /// Records in flight without acknowledgement.
    pub in_flight: usize,
    /// Time limits.
    pub timing: Timing,
}

impl Settings {
    /// From the configuration; `None` when no broker is configured.
    #[must_use]
    pub fn from_config(config: &config::Mqtt) -> Option<Settings> {
        let files = || tls::Files {
            ca: config.ca_file.clone(),
            certificate: config.certificate_file.clone(),
            key: config.key_file.clone(),
        };
        Some(Settings {
            host: config.host.clone()?,
            port: config.port,
            protocol: config.protocol,
            client_id: config.client_id.clone(),
            username: config.username.clone(),
            password_file: config.password_file.clone(),
            tls: config.tls.then(files),
            keep_alive: config.keep_alive,
            in_flight: config.in_flight,
            timing: Timing::default(),
        })
    }

    /// `host:port`, for people.
    #[must_use]
    pub fn broker(&self) -> String {
        if self.host.contains(':') && !self.host.starts_with('[') {
            return format!("[{}]:{}", self.host, self.port);
        }
        format!("{}:{}", self.host, self.port)
    }
}

/// The running task. Dropping it ends the task at once, so that the broker publishes the last will.
#[derive(Debug)]
pub struct Client {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Client {
    /// Publishes the offline status, says goodbye and ends the task; takes at most a few seconds. Events that still come
    /// are read and dropped: what they would have acknowledged counts as not acknowledged.
    pub async fn stop(mut self, mut events: mpsc::Receiver<Event>) {
        // Nobody listening means that the task has ended already.
        let _ = self.stop.send(true);
        let ended = async {
            while events.recv().await.is_some() {}
            let _ = (&mut self.task).await;
        };
        let _ = tokio::time::timeout(GOODBYE_MAX + Duration::from_secs(1), ended).await;
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts publishing to a broker; for as long as the client lives it is connected or trying to be.
///
/// `speaker` is who the retained documents on `status_topic` speak of: online after each connect, offline as last will and
/// at [`Client::stop`].
#[must_use]
pub fn publish(
    settings: Settings,
    speaker: Speaker,
    status_topic: String,
) -> (Client, mpsc::Receiver<Event>) {
    let (events, received) = mpsc::channel(EVENTS_MAX);
    (start(settings, Duty::Publish { events, speaker, status_topic }), received)
}

/// A subscription that outlives connections.
#[derive(Debug)]
pub struct Subscription {
    notices: mpsc::Receiver<Notice>,
    _client: Client,
}

impl Subscription {
    /// What happens next. `None` only when the runtime is shutting down.
    pub async fn next(&mut self) -> Option<Notice> {
        self.notices.recv().await
    }
}

/// Starts receiving what is published to `filter`, which may hold wildcards.
#[must_use]
pub fn subscribe(settings: Settings, filter: String) -> Subscription {
    let (notices, received) = mpsc::channel(EVENTS_MAX);
    Subscription {
        notices: received,
        _client: start(settings, Duty::Subscribe { notices, filter }),
    }
}

/// A subscription whose publications are acknowledged by the one who reads them, with a session that the broker keeps between
/// connections.
#[derive(Debug)]
pub struct Collection {
    arrivals: mpsc::Receiver<Arrival>,
    client: Client,
}

impl Collection {
    /// What happens next. `None` only when the runtime is shutting down. Cancel safe.
    pub async fn next(&mut self) -> Option<Arrival> {
        self.arrivals.recv().await
    }

    /// Says goodbye; what was not acknowledged comes again.
    pub async fn stop(self) {
        let Collection { mut arrivals, mut client } = self;
        let _ = client.stop.send(true);
        let ended = async {
            while arrivals.recv().await.is_some() {}
            let _ = (&mut client.task).await;
        };
        let _ = tokio::time::timeout(GOODBYE_MAX + Duration::from_secs(1), ended).await;
    }
}

/// Starts collecting what is published to `filter`. The broker is asked to keep what comes while nobody is connected for
/// `session_expiry`; MQTT 3.1.1 knows no such time, and its brokers keep it as long as they please.
#[must_use]
pub fn collect(settings: Settings, filter: String, session_expiry: Duration) -> Collection {
    let (arrivals, received) = mpsc::channel(ARRIVALS_MAX);
    let session_expiry_s = u32::try_from(session_expiry.as_secs()).unwrap_or(u32::MAX);
    let duty = Duty::Collect { arrivals, filter, session_expiry_s };
    Collection { arrivals: received, client: start(settings, duty) }
}

fn start(settings: Settings, duty: Duty) -> Client {
    let (stop, stopped) = watch::channel(false);
    let keeper = Keeper {
        dialect: Dialect::new(settings.protocol),
        backoff: Backoff::new(settings.timing.backoff),
        settings,
        duty,
        stopped,
        started: Instant::now(),
        connections: 0,
    };
    Client { stop, task: tokio::spawn(keeper.run()) }
}

/// What the connection is for.
enum Duty {
    Publish { events: mpsc::Sender<Event>, speaker: Speaker, status_topic: String },
    Subscribe { notices: mpsc::Sender<Notice>, filter: String },
    Collect { arrivals: mpsc::Sender<Arrival>, filter: String, session_expiry_s: u32 },
}

impl Duty {
    fn packet_bytes_max(&self) -> u32 {
        match self {
            Duty::Publish { .. } => PUBLISHER_PACKET_BYTES_MAX,
            Duty::Subscribe { .. } => SUBSCRIBER_PACKET_BYTES_MAX,
            Duty::Collect { .. } => COLLECTOR_PACKET_BYTES_MAX,
        }
    }

    async fn disconnected(&self, reason: String, retry_in: Duration) -> Result<(), End> {
        match self {
            Duty::Publish { events, .. } => {
                events.send(Event::Disconnected { reason, retry_in }).await.map_err(drop)
            }
            Duty::Subscribe { notices, .. } => {
                notices.send(Notice::Disconnected { reason }).await.map_err(drop)
            }
            Duty::Collect { arrivals, .. } => {
                arrivals.send(Arrival::Disconnected { reason }).await.map_err(drop)
            }
        }
        .map_err(|()| End::Stopped)
    }
}

/// Why an attempt or a connection ended.
#[derive(Debug)]
enum End {
    /// We were asked to stop, or nobody listens any more.
    Stopped,
    /// The broker does not speak the version we tried.
    WrongVersion,
    /// The broker closed the connection where its first answer should have been.
    Hushed(String),
    /// Anything else, with a remedy.
    Failed(String),
}

/// Which version to try next.
#[derive(Clone, Copy, Debug)]
struct Dialect {
    automatic: bool,
    next: Protocol,
}

impl Dialect {
    fn new(choice: config::MqttProtocol) -> Dialect {
        match choice {
            config::MqttProtocol::Auto => Dialect { automatic: true, next: Protocol::V5 },
            config::MqttProtocol::V5 => Dialect { automatic: false, next: Protocol::V5 },
            config::MqttProtocol::V311 => Dialect { automatic: false, next: Protocol::V311 },
        }
    }

    /// The version just tried is not for this broker, or seems not to be: the other one is next, and stays as long as it
    /// works. True when trying at once is worthwhile, that is when 3.1.1 has not been tried yet.
    fn change(&mut self) -> bool {
        if !self.automatic {
            return false;
        }
        self.next = match self.next {
            Protocol::V5 => Protocol::V311,
            Protocol::V311 => Protocol::V5,
        };
        self.next == Protocol::V311
    }
}

/// Keeps a connection for as long as the client lives.
struct Keeper {
    settings: Settings,
    duty: Duty,
    stopped: watch::Receiver<bool>,
    dialect: Dialect,
    backoff: Backoff,
    started: Instant,
    connections: u64,
}

impl Keeper {
    async fn run(mut self) {
        loop {
            let protocol = self.dialect.next;
            let reason = match self.connection().await {
                Ok(never) => match never {},
                Err(End::Stopped) => return,
                Err(End::WrongVersion) if self.dialect.change() => continue,
                Err(End::WrongVersion) => format!(
                    "the broker at {} does not speak MQTT {}: set `mqtt.protocol` to `auto`, or update the broker",
                    self.settings.broker(),
                    protocol.name()
                ),
                Err(End::Hushed(reason)) => {
                    self.dialect.change();
                    reason
                }
                Err(End::Failed(reason)) => reason,
            };
            let retry_in = self.backoff.failed(self.now(), random());
            if self.duty.disconnected(reason, retry_in).await.is_err() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(retry_in) => {}
                () = asked_to_stop(&mut self.stopped) => return,
            }
        }
    }

    /// One connection from the first packet to its end.
    async fn connection(&mut self) -> Result<std::convert::Infallible, End> {
        let number = self.connections + 1;
        let protocol = self.dialect.next;
        let accepted = tokio::select! {
            accepted = greeting::greet(&self.settings, &self.duty, protocol, number) => accepted?,
            () = asked_to_stop(&mut self.stopped) => return Err(End::Stopped),
        };
        self.connections = number;
        self.backoff.connected(self.now());
        Session::new(accepted, &self.settings, &self.duty, protocol, number)
            .live(&self.duty, &mut self.stopped)
            .await
    }

    /// The clock of the back-off starts with the task.
    fn now(&self) -> Mono {
        Mono::default() + self.started.elapsed()
    }
}

async fn asked_to_stop(stopped: &mut watch::Receiver<bool>) {
    // An error means that the client is gone, which asks for the same.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// For jitter, from the random source that TLS brings along. Without it vehicles would only try in step.
fn random() -> u32 {
    let mut bytes = [0; 4];
    let source = rustls::crypto::ring::default_provider().secure_random;
    if source.fill(&mut bytes).is_err() {
        return u32::MAX;
    }
    u32::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn automatic_falls_back_and_remembers() {
        let mut dialect = Dialect::new(config::MqttProtocol::Auto);
        assert_eq!(dialect.next, Protocol::V5);
        assert!(dialect.change(), "3.1.1 is worth trying at once");
        assert_eq!(dialect.next, Protocol::V311);
        assert!(!dialect.change(), "both were tried: back off");
        assert_eq!(dialect.next, Protocol::V5);
    }

    #[test]
    fn a_chosen_version_stays() {
        for choice in [config::MqttProtocol::V5, config::MqttProtocol::V311] {
            let mut dialect = Dialect::new(choice);
            let chosen = dialect.next;
            assert!(!dialect.change());
            assert_eq!(dialect.next, chosen);
        }
    }

    #[test]
    fn random_numbers_differ() {
        let numbers: std::collections::BTreeSet<u32> = (0..8).map(|_| random()).collect();
        assert!(numbers.len() > 1);
    }
}
