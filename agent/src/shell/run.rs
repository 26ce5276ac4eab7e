//! The loop of `outrider run`: everything that can happen is one `Event`, everything the core wants done is one
//! [`Effect`], and a reader sees both on one screen each.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use spool::{Fate, StreamName, StreamTag};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::config::{Config, ConfigSource, EVENTS_STREAM, TELEMETRY_STREAM, reload};
use crate::core::agent::{Agent, Effect, Input};
use crate::core::membership::steward::Report;
use crate::core::membership::{Wish, custom_metrics};
use crate::core::presence::{Speaker, Topics};
use crate::core::state::Severity;
use crate::core::telemetry::BootId;
use crate::core::time::Mono;
use crate::shell::federation::member::Member;
use crate::shell::federation::{Beside, host};
use crate::shell::gather::{Sources, Trouble};
use crate::shell::http::{self, Answer, Query};
use crate::shell::hw::{self, Hardware, Started};
use crate::shell::mesh::{Polled, Poller};
use crate::shell::mqtt::{self, Publisher as _};
use crate::shell::orders::Orders;
use crate::shell::sdnotify::{Environment, Notifier};
use crate::shell::spool::{News, SpoolKeeper};
use crate::shell::{clock, log};

/// Threads for what blocks the caller: name resolution of the broker, reading certificates. Two, so that one that hangs
/// does not stop the other.
const BLOCKING_THREADS_MAX: usize = 2;

/// Stack of such a thread: glibc's resolver wants some 100 KiB, musl's less.
const BLOCKING_STACK_BYTES: usize = 256 * 1024;

/// Time at the end for records to be acknowledged. Service managers wait 90 s; an operator on a console does not.
const FAREWELL_MAX: Duration = Duration::from_secs(3);

/// Time at the end for those who brought records to take their answers.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// Pause between attempts to listen on an address that was in use.
const LISTEN_AGAIN: Duration = Duration::from_secs(30);

/// Pause between status lines for the service manager.
const STATUS_LINE_EVERY: Duration = Duration::from_secs(5);

/// Runs the agent until it is told to stop.
///
/// # Errors
/// Why it could not start, for a person. Once it runs, nothing ends it but a signal.
pub fn run(config: Config, source: &ConfigSource) -> Result<(), String> {
    let logging = log::start(config.log.level);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_stack_size(BLOCKING_STACK_BYTES)
        .build()
        .map_err(|error| format!("starting the event loop: {error}"))?;
    let result = runtime.block_on(async {
        let mut shell = Shell::start(config, source, logging).await?;
        shell.live().await;
        shell.stop().await;
        Ok(())
    });
    // A resolver that hangs must not hold up the end.
    runtime.shutdown_background();
    result
}

/// Everything that can happen.
enum Event {
    Deadline,
    Mesh(Polled),
    Hardware(hw::Report),
    Mqtt(mqtt::Event),
    Http(http::Request),
    Spool(News),
    Answer(Input),
    Host(Input),
    Retry,
    Trouble(Trouble),
    Member(Report),
    Reload,
    ListenAgain,
    Alive,
    StatusLine,
    Stop(&'static str),
}

/// The broker's side, when one is configured.
struct Broker {
    client: mqtt::Client,
    events: mpsc::Receiver<mqtt::Event>,
    link: Option<mqtt::Link>,
}

struct Shell<'a> {
    agent: Agent,
    source: &'a ConfigSource,
    logging: log::Control,
    poller: Option<Poller>,
    hardware: Option<(Hardware, mpsc::Receiver<hw::Report>)>,
    broker: Option<Broker>,
    server: http::Server,
    spool: Option<(SpoolKeeper, Orders)>,
    sources: Option<Sources>,
    member: Option<Member>,
    /// What is done for the members of the cluster beside this machine.
    host: Option<Beside>,
    /// Who waits for an order about federations to be kept.
    wishers: Vec<oneshot::Sender<Answer>>,
    listen_again: Option<Instant>,
    notifier: Notifier,
    alive_at: Option<Instant>,
    status_at: Instant,
    status_line: String,
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl<'a> Shell<'a> {
    async fn start(
        config: Config,
        source: &'a ConfigSource,
        logging: log::Control,
    ) -> Result<Shell<'a>, String> {
        let now = clock::now();
        let notifier = Notifier::new(&Environment::this()).unwrap_or_else(|error| {
            tracing::warn!("the service manager cannot be told anything: {error}");
            Notifier::default()
        });
        let catch = |kind: SignalKind| {
            signal(kind)
                .map_err(|error| format!("catching signal {}: {error}", kind.as_raw_value()))
        };
        let (hangup, terminate, interrupt) = (
            catch(SignalKind::hangup())?,
            catch(SignalKind::terminate())?,
            catch(SignalKind::interrupt())?,
        );
        let hardware = config.hardware.enabled.then(|| Hardware::new(&config.hardware));
        let collectors = hardware.as_ref().map_or(&[][..], |(hardware, _)| hardware.collectors());
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let mut agent = Agent::new(config, boot_id.trim(), collectors, now);

        let mut trouble = Vec::new();
        let control = match &agent.config().control.path {
            None => None,
            Some(path) => match http::bind_control(path).await {
                Ok(socket) => Some(socket),
                Err(error) if error.held_by_another() => return Err(error.to_string()),
                Err(error) => {
                    trouble.push(("control-socket", error.to_string()));
                    None
                }
            },
        };
        let mut listen_again = None;
        let tcp = agent.config().http.listen.and_then(|listen| {
            http::bind_tcp(listen)
                .map_err(|error| {
                    trouble.push(("http-listen", error.to_string()));
                    listen_again = Some(Instant::now() + LISTEN_AGAIN);
                })
                .ok()
        });
        // As bound, since port 0 becomes any free one.
        let listening = tcp.as_ref().and_then(|listener| listener.local_addr().ok());
        let server = http::serve(tcp, control, http::Limits::default());
        let spool = spool(&mut agent, BootId::from_text(boot_id.trim()));
        if let Some((spool, _)) = &spool {
            server.take_records(spool.intake().clone());
        }
        let sources =
            spool.as_ref().map(|(spool, _)| Sources::start(agent.config(), spool.intake()));
        let broker = broker(&agent);
        let member = member(&mut agent, &mut trouble);
        let host = host::start(agent.config(), &server);
        let mut shell = Shell {
            poller: Poller::start(&agent.config().mesh),
            agent,
            source,
            logging,
            hardware,
            broker,
            server,
            spool,
            sources,
            member,
            host,
            wishers: Vec::new(),
            listen_again,
            alive_at: notifier.alive_period().map(|_| Instant::now()),
            notifier,
            status_at: Instant::now() + STATUS_LINE_EVERY,
            status_line: String::new(),
            hangup,
            terminate,
            interrupt,
        };
        shell.greet(listening, trouble);
        Ok(shell)
    }

    /// Says in the log where to look, and what does not work.
    fn greet(&mut self, listening: Option<SocketAddr>, trouble: Vec<(&'static str, String)>) {
        let config = self.agent.config();
        let listen = match listening {
            Some(address) => format!("status page on http://{address}/"),
            None => "no status page".to_owned(),
        };
        let mqtt = mqtt::Settings::from_config(&config.mqtt).map(|settings| settings.broker());
        tracing::info!(
            vehicle = config.vehicle.name,
            version = env!("CARGO_PKG_VERSION"),
            broker = mqtt.as_deref().unwrap_or("none"),
            "running; {listen}"
        );
        if let Some(broker) = mqtt {
            self.agent.state_mut().mqtt.broker = broker;
        }
        for (kind, text) in trouble {
            self.feed(Input::Notice { severity: Severity::Warning, kind, text });
        }
        self.tell("ready", self.notifier.ready(&self.agent.summary()));
    }

    /// The loop.
    async fn live(&mut self) {
        self.feed(Input::Tick);
        loop {
            match self.next().await {
                Event::Deadline => self.feed(Input::Tick),
                Event::Mesh(Polled { took, result }) => self.feed(Input::Mesh { took, result }),
                Event::Hardware(report) => self.report(report),
                Event::Mqtt(event) => self.mqtt(event),
                Event::Http(request) => self.answer(request),
                Event::Spool(news) => self.spool_news(news),
                Event::Answer(input) => self.feed(input),
                Event::Retry => self.carry_out(),
                Event::Trouble(Trouble { kind, stream, text }) => {
                    self.feed(Input::GatherTrouble { kind, stream, text });
                }
                Event::Host(input) => self.host_news(input),
                Event::Member(report) => {
                    self.feed(Input::Membership(report));
                    self.answer_wishers();
                }
                Event::Reload => {
                    let answer = self.reload();
                    tracing::debug!("reload after a signal: {answer:?}");
                }
                Event::ListenAgain => self.listen_again(),
                Event::Alive => {
                    self.tell("alive", self.notifier.alive());
                    self.alive_at =
                        self.notifier.alive_period().map(|period| Instant::now() + period);
                }
                Event::StatusLine => self.status_line(),
                Event::Stop(signal) => {
                    tracing::info!("stopping after {signal}");
                    return;
                }
            }
            self.server.hub.publish(self.agent.state());
        }
    }

    /// Waits for the next event. Cancel safe: every source is.
    async fn next(&mut self) -> Event {
        let deadline = instant(self.agent.deadline());
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Event::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Event::Stop("SIGINT"),
            _ = self.hangup.recv() => Event::Reload,
            () = at(self.alive_at) => Event::Alive,
            event = receive(self.broker.as_mut().map(|broker| &mut broker.events)) => Event::Mqtt(event),
            polled = receive(self.poller.as_mut().map(|poller| &mut poller.answers)) => Event::Mesh(polled),
            report = receive(self.hardware.as_mut().map(|(_, reports)| reports)) => Event::Hardware(report),
            () = tokio::time::sleep_until(deadline) => Event::Deadline,
            report = reported(self.member.as_mut()) => Event::Member(report),
            input = receive(self.host.as_mut().map(|host| &mut host.news)) => Event::Host(input),
            trouble = receive(self.sources.as_mut().map(|sources| &mut sources.troubles)) => Event::Trouble(trouble),
            event = spool_event(self.spool.as_mut()) => event,
            request = receive(Some(&mut self.server.requests)) => Event::Http(request),
            () = at(self.listen_again) => Event::ListenAgain,
            () = tokio::time::sleep_until(self.status_at) => Event::StatusLine,
        }
    }

    /// Takes in what the host's side has seen, and tells it what its Nodes cost.
    fn host_news(&mut self, input: Input) {
        self.feed(input);
        if let Some(host) = &self.host {
            host.costs.send_replace(custom_metrics::costs(self.agent.state()));
        }
    }

    /// Feeds the core and does what it wants done.
    fn feed(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for effect in self.agent.handle(input, clock::now()) {
                match effect {
                    Effect::Poll => {
                        if let Some(poller) = &self.poller {
                            poller.ask();
                        }
                    }
                    Effect::Collect(collector) => inputs.extend(self.collect(collector)),
                    Effect::Submit(id, record) => {
                        // A connection that is gone reports itself; the record then waits for the next one.
                        if let Some(link) = self.broker.as_mut().and_then(|b| b.link.as_mut()) {
                            let _ = link.submit(id, record);
                        }
                    }
                    Effect::Order(order) => {
                        if let Some((_, orders)) = &mut self.spool {
                            orders.take(order);
                        }
                    }
                    Effect::Membership(task) => {
                        if let Some(member) = &self.member {
                            member.take(task, self.agent.member_context());
                        }
                    }
                    Effect::Log(event) => log::event(&event),
                }
            }
        }
        self.carry_out();
    }

    /// Passes on what was ordered of the spool. Comes after every input, most of which order nothing.
    fn carry_out(&mut self) {
        if let Some((spool, orders)) = &mut self.spool
            && orders.is_waiting()
        {
            orders.work(spool.handle().as_ref());
        }
    }

    /// Starts a collector; what cannot be started is reported as failed at once.
    fn collect(&mut self, collector: &'static str) -> Option<Input> {
        let started =
            self.hardware.as_mut().map_or(Started::Unknown, |(hw, _)| hw.start(collector));
        let error = match started {
            Started::Yes => return None,
            Started::StillRunning => "its previous run has not ended",
            Started::Unknown => "there is no such collector",
            Started::NoThread => "the kernel refused a thread for it; it is tried again",
        };
        let result = Err(format!("starting collector {collector}: {error}"));
        Some(Input::Hardware { collector, took: Duration::ZERO, result })
    }

    fn report(&mut self, report: hw::Report) {
        for complaint in &report.complaints {
            tracing::debug!(collector = report.collector, "{complaint}");
        }
        let hw::Report { collector, took, result, .. } = report;
        self.feed(Input::Hardware { collector, took, result });
    }

    fn mqtt(&mut self, event: mqtt::Event) {
        let input = match event {
            mqtt::Event::Connected { link, protocol, in_flight_max, packet_bytes_max } => {
                if let Some(broker) = &mut self.broker {
                    broker.link = Some(link);
                }
                Input::Connected { protocol: protocol.name(), in_flight_max, packet_bytes_max }
            }
            mqtt::Event::Acknowledged(id) => Input::Acknowledged(id),
            mqtt::Event::Refused { id, cause, reason } => Input::Refused { id, cause, reason },
            mqtt::Event::Disconnected { reason, retry_in } => {
                tracing::debug!("broker: {reason}; next attempt in {} ms", retry_in.as_millis());
                if let Some(broker) = &mut self.broker {
                    broker.link = None;
                }
                Input::Disconnected { reason }
            }
        };
        self.feed(input);
    }

    fn spool_news(&mut self, news: News) {
        let News {
            opened,
            refused_streams,
            durable,
            dropped,
            damaged_bytes,
            health_changed,
            report,
        } = news;
        if let Some(report) = report {
            self.feed(Input::Spool(report));
        }
        if let Some(Err(reason)) = opened {
            self.feed(Input::SpoolFailed(reason));
        }
        for (stream, text) in refused_streams {
            self.feed(Input::GatherTrouble { kind: "stream-refused", stream, text });
        }
        for ((tag, fate), count) in dropped {
            let stream = self.stream_name(tag);
            // What the queue refuses of the agent's own words waits in memory. To tell of it would only add to that.
            let own = [EVENTS_STREAM, TELEMETRY_STREAM].contains(&stream.as_str());
            if own && fate == Fate::Refused {
                continue;
            }
            let text = format!(
                "stream {stream} lost {} records ({} bytes): {}",
                count.records,
                count.bytes,
                fate.word()
            );
            self.feed(Input::GatherTrouble { kind: "records-dropped", stream, text });
        }
        if damaged_bytes > 0 {
            let text = format!(
                "{damaged_bytes} bytes of the spool are not what was written; copies are in its quarantine"
            );
            self.feed(Input::GatherTrouble { kind: "spool-damaged", stream: String::new(), text });
        }
        let strange = durable.keys().any(|stream| !self.agent.knows_stream(*stream));
        if !durable.is_empty() {
            self.feed(Input::Durable(durable.into_keys().collect()));
        }
        if (health_changed || strange)
            && let Some((spool, _)) = &self.spool
        {
            spool.ask_for_report();
        }
    }

    fn stream_name(&self, tag: StreamTag) -> String {
        let names = self.agent.state().spool.streams.keys();
        let of_tag = |name: &&String| StreamName::new(name).is_ok_and(|name| name.tag() == tag);
        names.into_iter().find(of_tag).cloned().unwrap_or_else(|| tag.to_string())
    }

    fn answer(&mut self, request: http::Request) {
        let answer = match request.query {
            Query::Read(read) => {
                self.agent.state_mut().http = self.server.state();
                self.agent.state_mut().now = clock::now();
                http::answer(self.agent.state(), read)
            }
            Query::Aggregated(target) => {
                self.agent.state_mut().now = clock::now();
                let unreachable = self.agent.config().host.unreachable_cost;
                let answer = custom_metrics::answer(self.agent.state(), unreachable, &target);
                Answer::aggregated(answer)
            }
            Query::Reload => self.reload(),
            Query::Wish(wish) => match self.wish(wish) {
                Ok(()) => {
                    self.wishers.push(request.reply);
                    return self.answer_wishers();
                }
                Err(answer) => answer,
            },
        };
        reply(request.reply, answer);
    }

    /// Tells those who said what is to be done about federations, once that outlasts a power cut.
    fn answer_wishers(&mut self) {
        if self.wishers.is_empty() {
            return;
        }
        let answer = match self.agent.wish_kept() {
            None => return,
            Some(Ok(())) => Answer::json(200, &self.agent.state().membership),
            Some(Err(error)) => Answer::error(
                503,
                &format!("this is not done before it can be kept over a power cut: {error}"),
            ),
        };
        for wisher in self.wishers.drain(..) {
            reply(wisher, answer.clone());
        }
    }

    /// Takes in what the operator wants of federations.
    fn wish(&mut self, wish: Wish) -> Result<(), Answer> {
        let names: Vec<&str> = self
            .agent
            .config()
            .federation
            .iter()
            .map(|federation| federation.name.as_str())
            .collect();
        if self.member.is_none() {
            let text = "no federation is configured; `[[federation]]` names one";
            return Err(Answer::error(409, text));
        }
        if let Wish::Join(name) = &wish
            && !names.contains(&name.as_str())
        {
            let text = format!("no federation is called `{name}`; there are: {}", names.join(", "));
            return Err(Answer::error(404, &text));
        }
        self.feed(Input::Wish(wish));
        Ok(())
    }

    /// Reads the configuration again.
    fn reload(&mut self) -> Answer {
        self.tell("reloading", self.notifier.reloading());
        let answer = match self.source.load() {
            Ok(config) => {
                let changes = reload(self.agent.config(), &config);
                self.logging.set(config.log.level);
                if config.mesh != self.agent.config().mesh {
                    self.poller = Poller::start(&config.mesh);
                    self.feed(Input::PollerRestarted);
                }
                let document = serde_json::json!({
                    "changed": &changes.effective,
                    "need_restart": &changes.need_restart,
                });
                self.feed(Input::Reloaded {
                    config: Box::new(config),
                    effective: changes.effective,
                    need_restart: changes.need_restart,
                });
                Answer::json(200, &document)
            }
            Err(error) => {
                self.feed(Input::ReloadFailed(error.to_string()));
                Answer::error(422, &error.to_string())
            }
        };
        self.tell("ready", self.notifier.ready(&self.agent.summary()));
        answer
    }

    fn listen_again(&mut self) {
        self.listen_again = None;
        let Some(listen) = self.agent.config().http.listen else { return };
        match http::bind_tcp(listen) {
            Ok(listener) => self.listen(listener),
            Err(error) => {
                tracing::debug!("{error}");
                self.listen_again = Some(Instant::now() + LISTEN_AGAIN);
            }
        }
    }

    fn listen(&mut self, listener: TcpListener) {
        let text = "the status page's address is free now; listening".to_owned();
        self.server.listen(listener);
        self.feed(Input::Notice { severity: Severity::Info, kind: "http-listens", text });
    }

    fn status_line(&mut self) {
        self.status_at = Instant::now() + STATUS_LINE_EVERY;
        let line = self.agent.summary();
        if line != self.status_line {
            self.tell("status", self.notifier.status(&line));
            self.status_line = line;
        }
    }

    /// A message that the service manager did not take is worth a look, no more.
    fn tell(&self, what: &str, sent: std::io::Result<()>) {
        if let Err(error) = sent {
            tracing::debug!("telling the service manager `{what}`: {error}");
        }
    }

    /// Sends what can be sent in a short time and says goodbye.
    async fn stop(mut self) {
        self.tell("stopping", self.notifier.stopping());
        self.feed(Input::Stop);
        let until = Instant::now() + FAREWELL_MAX;
        while self.has_last_words() {
            match tokio::time::timeout_at(until, self.last_words()).await {
                Ok(Event::Mqtt(event)) => self.mqtt(event),
                Ok(Event::Spool(news)) => self.spool_news(news),
                Ok(Event::Answer(input)) => self.feed(input),
                Ok(_) => self.carry_out(),
                Err(_) => break,
            }
        }
        let left = self.agent.mortal_records();
        if left > 0 {
            tracing::warn!("{left} records were not acknowledged by the broker and are lost");
        }
        self.sources = None;
        if let Some((spool, _)) = self.spool.take() {
            let left = spool.close().await;
            if left > 0 {
                tracing::warn!("{left} gathered records could not be written and are lost");
            }
            self.server.drain(ANSWERS_WITHIN).await;
        }
        if let Some(Broker { client, events, .. }) = self.broker {
            client.stop(events).await;
        }
    }

    /// Whether something can still leave, or be kept.
    fn has_last_words(&self) -> bool {
        let linked = self.broker.as_ref().is_some_and(|broker| broker.link.is_some());
        let waiting = self.spool.as_ref().is_some_and(|(_, orders)| orders.due().is_some());
        waiting || (linked && self.agent.is_sending())
    }

    /// What still matters after the loop has ended.
    async fn last_words(&mut self) -> Event {
        tokio::select! {
            event = receive(self.broker.as_mut().map(|broker| &mut broker.events)) => Event::Mqtt(event),
            event = spool_event(self.spool.as_mut()) => event,
        }
    }
}

/// The spool and the way to order something of it, if one is configured.
fn spool(agent: &mut Agent, boot: BootId) -> Option<(SpoolKeeper, Orders)> {
    let config = agent.config();
    let keeper = SpoolKeeper::open(&config.spool, &config.streams(), boot)?;
    let orders = Orders::new(config.spool.folder.as_deref()?);
    if let Some(day) = orders.saved_day() {
        agent.resume_day(day);
    }
    Some((keeper, orders))
}

/// The one that carries out what is to be done about federations, if there are any.
fn member(agent: &mut Agent, trouble: &mut Vec<(&'static str, String)>) -> Option<Member> {
    let Some((member, intent, lost)) = Member::start(agent.config()) else {
        if !agent.config().federation.is_empty() {
            let text =
                "this program was built without the feature `kubernetes`: no federation is joined";
            trouble.push(("federation-absent", text.to_owned()));
        }
        return None;
    };
    agent.take_charge(intent);
    trouble.extend(lost.map(|text| ("federation-intent", text)));
    Some(member)
}

/// The connection to the broker, if one is configured.
fn broker(agent: &Agent) -> Option<Broker> {
    let config = agent.config();
    let settings = mqtt::Settings::from_config(&config.mqtt)?;
    let identity = &agent.state().identity;
    let speaker = Speaker { vehicle: identity.vehicle.clone(), boot_id: identity.boot_id.clone() };
    let topics = Topics::new(&config.mqtt.topic, &config.vehicle.name);
    let (client, events) = mqtt::publish(settings, speaker, topics.status);
    Some(Broker { client, events, link: None })
}

/// The runtime's moment of a moment on the boot clock. The runtime's clock stands still in suspend, which only delays a
/// wake-up that suspend delays anyway.
fn instant(moment: Mono) -> Instant {
    Instant::now() + moment.since(clock::now().mono)
}

/// Ends at `moment`, or never.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// What arrives next; waits for ever when there is no source or it has ended.
async fn receive<T>(source: Option<&mut mpsc::Receiver<T>>) -> T {
    let received = match source {
        Some(source) => source.recv().await,
        None => None,
    };
    match received {
        Some(item) => item,
        None => std::future::pending().await,
    }
}

/// What came of a task about federations; waits for ever when there are none.
async fn reported(member: Option<&mut Member>) -> Report {
    let report = match member {
        Some(member) => member.reports.recv().await,
        None => None,
    };
    match report {
        Some(report) => report,
        None => std::future::pending().await,
    }
}

/// What happens to the spool or comes of an order; waits for ever when there is none.
async fn spool_event(spool: Option<&mut (SpoolKeeper, Orders)>) -> Event {
    let Some((keeper, orders)) = spool else { return std::future::pending().await };
    let retry = orders.due();
    tokio::select! {
        biased;
        Some(answer) = orders.answers.recv() => Event::Answer(answer),
        () = at(retry) => Event::Retry,
        news = keeper.next() => Event::Spool(news),
    }
}

/// A client that has left needs no answer.
fn reply(to: oneshot::Sender<Answer>, answer: Answer) {
    let _ = to.send(answer);
}
