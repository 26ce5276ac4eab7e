//! `outrider fleet` at work: one loop that takes messages from the broker, has them made durable by a thread that may wait for
//! the disk, then acknowledges them, and answers who asks. Decides nothing about messages; `core::fleet` does.
//!
//! Messages that come close together share one sync of the disk. While the disk refuses, nothing is received: the connection
//! is closed so that the broker keeps what comes, the page goes on and says why, and the state is opened anew until it works.

mod outgoing;
pub mod store;
mod streams;

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use self::outgoing::Outgoing;
use self::store::{Group, Places, Recovered, Snapshot, Store};
use super::http::{self, Answer, Limits, Query, Read, Site};
use super::mqtt::{self, Arrival, Collection, Receipt, Settings};
use super::sdnotify::{Environment, Notifier};
use super::{clock, log};
use crate::core::fleet::document::{self, Broker, Storage};
use crate::core::fleet::exposition::{self, Plant};
use crate::core::fleet::journal::{self, Entry};
use crate::core::fleet::moment::Moment;
use crate::core::fleet::topic::Prefix;
use crate::core::fleet::{Fleet, Message, Publish};
use crate::core::telemetry::BootId;

/// A group waits this long for another message before it is made durable.
const GROUP_QUIET: Duration = Duration::from_millis(5);

/// A group waits no longer than this altogether.
const GROUP_AGE_MAX: Duration = Duration::from_millis(100);

/// Messages in one group, and bytes of its journal, beyond which no more are taken before it is durable.
const GROUP_MESSAGES_MAX: usize = 512;
const GROUP_BYTES_MAX: usize = 4 << 20;

/// Documents waiting to be forwarded, and their bytes, beyond which nothing more is taken in.
const FORWARDING_MAX: usize = 4096;
const FORWARDING_BYTES_MAX: usize = 32 << 20;

/// Pause before a state that could not be written is opened anew.
const OPEN_AGAIN: Duration = Duration::from_secs(5);

/// Pause between refusals in the log; all are counted.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The way to the broker.
    pub settings: Settings,
    /// Topics of the vehicles.
    pub prefix: Prefix,
    /// First levels of the topics that readable documents are published on.
    pub forward: Option<(String, Prefix)>,
    /// Folders.
    pub places: Places,
    /// Address of page and metrics.
    pub listen: Option<SocketAddr>,
    /// How long the broker is asked to keep what comes while we are away.
    pub session_expiry: Duration,
    /// Least severity of what is logged.
    pub log: tracing::Level,
}

/// Runs until it is told to stop.
///
/// # Errors
/// Why it could not start, for a person. Once it runs, nothing ends it but a signal.
pub fn run(options: Options) -> Result<(), String> {
    let _logging = log::start(options.log);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start the event loop: {error}"))?;
    let result = runtime.block_on(async {
        let mut shell = Shell::start(options).await?;
        shell.live().await;
        shell.stop().await;
        Ok(())
    });
    // A resolver that hangs must not hold up the end.
    runtime.shutdown_background();
    result
}

/// A state that was opened, or why it could not be.
type Opened = Result<Box<(Store, Recovered)>, String>;

/// The state on disk.
enum State {
    /// At hand.
    Ready(Box<Store>),
    /// With the thread that writes.
    Busy(JoinHandle<(Box<Store>, Result<(), String>)>),
    /// Could not be written; to be opened at this moment.
    Down(Instant),
    /// Being opened.
    Opening(JoinHandle<Opened>),
}

/// Messages on their way to the disk.
#[derive(Default)]
struct Gathering {
    group: Group,
    messages: usize,
    receipts: Vec<Receipt>,
    publishes: Vec<Publish>,
    publish_bytes: usize,
    /// When the first and the last of them came.
    since: Option<(Instant, Instant)>,
}

impl Gathering {
    fn is_full(&self) -> bool {
        self.messages >= GROUP_MESSAGES_MAX
            || self.group.journal.len() >= GROUP_BYTES_MAX
            || self.publish_bytes >= FORWARDING_BYTES_MAX
    }

    fn due(&self) -> Option<Instant> {
        let (first, last) = self.since?;
        Some(if self.is_full() { first } else { (last + GROUP_QUIET).min(first + GROUP_AGE_MAX) })
    }

    fn touch(&mut self) {
        let now = Instant::now();
        self.messages += 1;
        self.since = Some((self.since.map_or(now, |(first, _)| first), now));
    }
}

struct Shell {
    options: Options,
    boot: BootId,
    fleet: Fleet,
    state: State,
    collection: Option<Collection>,
    gathering: Gathering,
    /// What follows when the group that is being written is durable. Receipts of a connection that has ended are gone.
    committing: (Vec<Publish>, Vec<Receipt>),
    outgoing: Outgoing,
    /// Last number that the journal says is forwarded.
    noted: u64,
    broker: Broker,
    storage: Storage,
    server: http::Server,
    notifier: Notifier,
    alive_at: Option<Instant>,
    complained: Option<Instant>,
    unspoken: u64,
    terminate: Signal,
    interrupt: Signal,
}

/// Everything that can happen.
enum Event {
    Arrival(Option<Arrival>),
    Due,
    Committed(Box<Store>, Result<(), String>),
    Opened(Opened),
    OpenAgain,
    Http(http::Request),
    Second,
    Alive,
    Stop(&'static str),
}

fn open(options: &Options) -> Opened {
    let forward = options.forward.as_ref().map(|(_, prefix)| prefix);
    Store::open(&options.places, &options.prefix, forward, boot()).map(Box::new)
}

/// This machine's boot.
fn boot() -> BootId {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    BootId::from_text(text.trim())
}

impl Shell {
    async fn start(options: Options) -> Result<Shell, String> {
        let catch = |kind: SignalKind| {
            signal(kind)
                .map_err(|error| format!("cannot catch signal {}: {error}", kind.as_raw_value()))
        };
        let (terminate, interrupt) =
            (catch(SignalKind::terminate())?, catch(SignalKind::interrupt())?);
        let notifier = Notifier::new(&Environment::this()).unwrap_or_else(|error| {
            tracing::warn!("the service manager cannot be told anything: {error}");
            Notifier::default()
        });
        let tcp = match options.listen {
            None => None,
            Some(listen) => Some(
                http::bind_tcp_as(listen, "with --listen").map_err(|error| error.to_string())?,
            ),
        };
        let listening = tcp.as_ref().and_then(|listener| listener.local_addr().ok());
        let opened = open(&options)?;
        let storage = Storage {
            state: options.places.state.display().to_string(),
            streams: options.places.streams.as_ref().map(|folder| folder.display().to_string()),
            forward: options.forward.as_ref().map(|(text, _)| text.clone()),
            ..Storage::default()
        };
        let mut shell = Shell {
            boot: boot(),
            fleet: Fleet::new(options.prefix.clone(), None),
            state: State::Down(Instant::now()),
            collection: None,
            gathering: Gathering::default(),
            committing: Default::default(),
            outgoing: Outgoing::default(),
            noted: 0,
            broker: Broker { address: options.settings.broker(), ..Broker::default() },
            storage,
            server: http::serve_site(Site::Fleet, tcp, None, Limits::default()),
            alive_at: notifier.alive_period().map(|_| Instant::now()),
            notifier,
            complained: None,
            unspoken: 0,
            terminate,
            interrupt,
            options,
        };
        shell.opened(Ok(opened));
        let page = match listening {
            Some(address) => format!("fleet page on http://{address}/"),
            None => "no fleet page".to_owned(),
        };
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            broker = shell.broker.address,
            topics = shell.fleet.filter(),
            "receiving; {page}"
        );
        // A service manager that cannot be told waits in vain; we need not.
        let _ = shell.notifier.ready("receiving");
        Ok(shell)
    }

    async fn live(&mut self) {
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        loop {
            let event = self.next(&mut seconds).await;
            match event {
                Event::Arrival(Some(arrival)) => self.arrival(arrival),
                // Only a runtime that ends ends a collection.
                Event::Arrival(None) => self.collection = None,
                Event::Due => self.commit(false),
                Event::Committed(store, result) => self.committed(store, result),
                Event::Opened(opened) => self.opened(opened),
                Event::OpenAgain => {
                    let options = self.options.clone();
                    let opening = tokio::task::spawn_blocking(move || open(&options));
                    self.state = State::Opening(opening);
                }
                Event::Http(request) => {
                    let answer = self.answer(request.query);
                    // A client that has left needs no answer.
                    let _ = request.reply.send(answer);
                }
                Event::Second => self.publish_page(),
                Event::Alive => {
                    let _ = self.notifier.alive();
                    self.alive_at =
                        self.notifier.alive_period().map(|period| Instant::now() + period);
                }
                Event::Stop(signal) => {
                    tracing::info!("stopping after {signal}");
                    return;
                }
            }
        }
    }

    /// Waits for the next event. Cancel safe: every source is.
    async fn next(&mut self, seconds: &mut tokio::time::Interval) -> Event {
        let room = !self.gathering.is_full()
            && self.outgoing.unforwarded().len() < FORWARDING_MAX
            && self.outgoing.unforwarded_bytes() < FORWARDING_BYTES_MAX
            && matches!(self.state, State::Ready(_) | State::Busy(_));
        let due = self.gathering.due().filter(|_| matches!(self.state, State::Ready(_)));
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Event::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Event::Stop("SIGINT"),
            () = at(self.alive_at) => Event::Alive,
            event = of_state(&mut self.state) => event,
            Some(request) = self.server.requests.recv() => Event::Http(request),
            _ = seconds.tick() => Event::Second,
            () = at(due) => Event::Due,
            arrival = arrival(self.collection.as_mut()), if room => Event::Arrival(arrival),
        }
    }

    fn moment(&self) -> Moment {
        Moment::new(self.boot, clock::now())
    }

    fn arrival(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Connected { link, protocol, resumed, in_flight_max } => {
                self.void_receipts();
                self.broker.protocol = protocol.name().to_owned();
                self.broker.resumed = resumed;
                self.broker.connects += 1;
                self.outgoing.connected(link, in_flight_max);
            }
            Arrival::Subscribed => {
                self.broker.connected = true;
                self.broker.error = None;
                let kept = if self.broker.resumed {
                    "the broker kept what came meanwhile"
                } else {
                    "a session begins"
                };
                tracing::info!("connected to {}; {kept}", self.broker.address);
            }
            Arrival::Message { message, receipt } => self.message(&message, receipt),
            Arrival::TooLarge { topic, bytes, receipt } => {
                let arrived = self.moment();
                self.fleet.too_large(&topic, bytes, arrived);
                self.complain();
                self.gathering.touch();
                self.gathering.receipts.extend(receipt);
            }
            Arrival::Acknowledged(id) => self.outgoing.done(id),
            Arrival::Refused { id, reason } => {
                tracing::warn!("a document is not forwarded: {reason}");
                self.outgoing.done(id);
            }
            Arrival::Disconnected { reason } => {
                if self.broker.connected || self.broker.error.is_none() {
                    tracing::warn!("{reason}");
                }
                self.broker.connected = false;
                self.broker.error = Some(reason);
                self.void_receipts();
                self.outgoing.disconnected();
            }
        }
    }

    /// Receipts are of use on their own connection only; the broker sends again what they were for.
    fn void_receipts(&mut self) {
        self.gathering.receipts.clear();
        self.committing.1.clear();
    }

    fn message(&mut self, message: &mqtt::Message, receipt: Option<Receipt>) {
        let arrived = self.moment();
        let refused: u64 = self.fleet.refused().values().sum();
        let (topic, payload) = (message.topic.as_str(), &message.payload);
        let taken = self.fleet.take(&Message { topic, payload, arrived });
        if self.fleet.refused().values().sum::<u64>() > refused {
            self.complain();
        }
        let gathering = &mut self.gathering;
        gathering.touch();
        gathering.receipts.extend(receipt);
        if taken.changed {
            journal::put(&mut gathering.group.journal, &Entry::Message { topic, payload, arrived });
        }
        gathering.group.writes.extend(taken.writes);
        gathering.group.steps.extend(taken.steps);
        gathering.publish_bytes +=
            taken.publishes.iter().map(|publish| publish.payload.len()).sum::<usize>();
        gathering.publishes.extend(taken.publishes);
    }

    /// Says why a message was turned away, now and then.
    fn complain(&mut self) {
        let quiet = self.complained.is_some_and(|at| at.elapsed() < COMPLAIN_EVERY);
        if quiet {
            self.unspoken += 1;
            return;
        }
        self.complained = Some(Instant::now());
        let more = std::mem::take(&mut self.unspoken);
        if let Some((topic, text)) = self.fleet.last_refusal() {
            tracing::warn!(topic = %topic.escape_debug(), more, "a message was turned away: {text}");
        }
    }

    /// Hands what was gathered to the thread that writes.
    fn commit(&mut self, last: bool) {
        let State::Ready(store) = std::mem::replace(&mut self.state, State::Down(Instant::now()))
        else {
            return;
        };
        let Gathering { mut group, receipts, publishes, .. } = std::mem::take(&mut self.gathering);
        let forwarded = self.outgoing.forwarded();
        if forwarded > self.noted && !group.journal.is_empty() {
            self.noted = forwarded;
            journal::put(&mut group.journal, &Entry::Forwarded { up_to: forwarded });
        }
        if store.wants_snapshot() || last {
            let unforwarded = self.outgoing.unforwarded().chain(&publishes).cloned().collect();
            group.snapshot = Some(Snapshot { fleet: self.fleet.snapshot(), unforwarded });
        }
        if group.journal.is_empty() && group.snapshot.is_none() {
            // Everything in it was known, and what was before it is durable.
            self.state = State::Ready(store);
            self.outgoing.hand_over(publishes, receipts);
            return;
        }
        self.committing = (publishes, receipts);
        self.state = State::Busy(tokio::task::spawn_blocking(move || {
            let mut store = store;
            let result = store.commit(group);
            (store, result)
        }));
    }

    fn committed(&mut self, mut store: Box<Store>, result: Result<(), String>) {
        self.storage.journal_bytes = store.journal_bytes();
        self.look_at_files(&mut store);
        match result {
            Ok(()) => {
                self.storage.commits += 1;
                self.state = State::Ready(store);
                let (publishes, receipts) = std::mem::take(&mut self.committing);
                self.outgoing.hand_over(publishes, receipts);
            }
            Err(error) => {
                drop(store);
                self.storage_down(error);
            }
        }
    }

    fn look_at_files(&mut self, store: &mut Store) {
        let (counts, complaints) = store.files();
        for text in complaints {
            tracing::warn!("{text}");
        }
        (self.storage.files, self.storage.damaged_files) = (counts.whole, counts.damaged);
    }

    /// Nothing can be kept: whatever is not acknowledged stays with the broker.
    fn storage_down(&mut self, error: String) {
        if self.storage.error.is_none() {
            tracing::error!("{error}; nothing is received until it works again");
        }
        self.storage.error = Some(error);
        self.state = State::Down(Instant::now() + OPEN_AGAIN);
        // Dropped without a goodbye, which the broker takes for a broken link: it keeps the session.
        self.collection = None;
        self.broker.connected = false;
        self.gathering = Gathering::default();
        self.committing = Default::default();
        self.outgoing = Outgoing::default();
    }

    fn opened(&mut self, opened: Opened) {
        let (mut store, Recovered { fleet, unforwarded, damage }) = match opened {
            Ok(opened) => *opened,
            Err(error) => return self.storage_down(error),
        };
        if self.storage.error.take().is_some() {
            tracing::info!("{} works again", self.storage.state);
        }
        for text in &damage {
            tracing::warn!("{text}");
        }
        self.storage.damage = damage;
        self.storage.journal_bytes = store.journal_bytes();
        self.look_at_files(&mut store);
        self.fleet = fleet;
        self.state = State::Ready(Box::new(store));
        self.noted = 0;
        if self.options.forward.is_some() {
            self.outgoing.hand_over(unforwarded, Vec::new());
        }
        let filter = self.fleet.filter();
        let settings = self.options.settings.clone();
        self.collection = Some(mqtt::collect(settings, filter, self.options.session_expiry));
    }

    fn document(&self) -> Answer {
        let now = (clock::now(), self.boot);
        let document = document::document(&self.fleet, &self.broker, &self.storage, now);
        Answer::json(200, &document)
    }

    fn publish_page(&self) {
        self.server.hub.publish_document(|| self.document().body);
    }

    fn answer(&self, query: Query) -> Answer {
        let plant = Plant {
            connected: self.broker.connected,
            storage: self.storage.error.is_none(),
            commits: self.storage.commits,
            journal_bytes: self.storage.journal_bytes,
            files: self.storage.files,
            damaged_files: self.storage.damaged_files,
            forwarding: self.outgoing.unforwarded().len() as u64,
        };
        match query {
            Query::Read(Read::Metrics(format)) => {
                let text = exposition::render(&self.fleet, &plant, &self.moment(), format);
                Answer {
                    code: 200,
                    content_type: format.content_type(),
                    body: Bytes::from(text),
                    view_age_ms: None,
                }
            }
            Query::Read(Read::Status) => self.document(),
            Query::Read(Read::Health | Read::Ready) => {
                let healthy = plant.connected && plant.storage;
                let reasons: Vec<&String> =
                    self.storage.error.iter().chain(&self.broker.error).collect();
                let verdict = serde_json::json!({ "healthy": healthy, "reasons": reasons });
                Answer::json(if healthy { 200 } else { 503 }, &verdict)
            }
            Query::Read(Read::Mesh | Read::Streams | Read::Federation)
            | Query::Reload
            | Query::Aggregated(_)
            | Query::Wish(_) => Answer::error(404, "a fleet has no such document"),
        }
    }

    /// Makes durable what was taken, acknowledges it and says goodbye.
    async fn stop(mut self) {
        let _ = self.notifier.stopping();
        if let State::Busy(busy) = &mut self.state
            && let Ok((store, result)) = busy.await
        {
            self.committed(store, result);
        }
        self.commit(true);
        if let State::Busy(busy) = &mut self.state
            && let Ok((store, result)) = busy.await
        {
            self.committed(store, result);
        }
        if let Some(collection) = self.collection {
            collection.stop().await;
        }
    }
}

/// What the state has to say; waits for ever while it is at hand.
async fn of_state(state: &mut State) -> Event {
    match state {
        State::Ready(_) => std::future::pending().await,
        State::Busy(busy) => match busy.await {
            Ok((store, result)) => Event::Committed(store, result),
            Err(error) => Event::Opened(Err(format!("the thread that writes ended: {error}"))),
        },
        State::Down(until) => {
            sleep_until(*until).await;
            Event::OpenAgain
        }
        State::Opening(opening) => match opening.await {
            Ok(opened) => Event::Opened(opened),
            Err(error) => Event::Opened(Err(format!("the thread that opens ended: {error}"))),
        },
    }
}

/// Ends at `moment`, or never.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// What comes next; waits for ever without a collection.
async fn arrival(collection: Option<&mut Collection>) -> Option<Arrival> {
    match collection {
        Some(collection) => collection.next().await,
        None => std::future::pending().await,
    }
}
