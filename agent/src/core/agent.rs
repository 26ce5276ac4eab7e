//! The agent itself: what to read next, what to publish, what to note. One input at a time, each with its moment; what is
//! to be done about it comes back as effects. Knows no daemon, file or connection, only what the shell says of them.

mod membership;
mod orders;
mod repeats;
mod uplink;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use olsr_bridge::failure::{Failure, FailureClass};
use olsr_bridge::view::MeshView;

use crate::config::{Config, DaemonChoice};
use crate::core::courier::{Fetched, RecordName};
use crate::core::delivery::{Class, DropCause, Limits, RecordId};
use crate::core::links::{Change, Reach, Setup};
use crate::core::membership::Wish;
use crate::core::membership::custom_metrics::Seat;
use crate::core::membership::steward::{Report, Task};
use crate::core::outbox::{Outbox, Record};
use crate::core::presence::Topics;
use crate::core::sample::Sample;
use crate::core::schedule::Schedule;
use crate::core::state::{Event, Identity, Severity, State};
use crate::core::telemetry::batch::{Batcher, BootId};
use crate::core::telemetry::dictionary::Version;
use crate::core::telemetry::document::EventDocument;
use crate::core::time::{ClockQuality, Mono, Now, millis};
use membership::Membership;
pub use orders::{Order, carry_out};
use repeats::{News, Repeats};
use spool::StreamTag;
use uplink::Uplink;
use words::{daemon_text, describe, reload_text};

/// Longest pause between polls of a daemon that does not answer: a daemon that came back is noticed within this time
/// (the routing daemon itself needs as long to find its neighbours).
const POLL_PAUSE_MAX: Duration = Duration::from_secs(30);

/// The state is looked at this often even when nothing happens: ages grow, deadlines pass.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// A wall clock that moves against the boot clock by more than this between two looks was set, not slewed: adjtimex slews
/// at most 0.5 ms a second.
const CLOCK_STEP_MIN_MS: u64 = 2_000;

/// Vehicles of one answer whose changes are told one by one: a convoy is, the city mesh it drives
/// into is told as a number, since a thousand lines and messages would push everything else out.
const CHANGES_TOLD_MAX: usize = 32;

/// Something that happened outside.
#[derive(Debug)]
pub enum Input {
    /// The deadline of [`Agent::deadline`] has come, or something else woke the loop.
    Tick,
    /// A poll of the routing daemon ended.
    Mesh {
        /// How long it took.
        took: Duration,
        /// The view, or why there is none.
        result: Result<Arc<MeshView>, Failure>,
    },
    /// A collector ended.
    Hardware {
        /// Its name.
        collector: &'static str,
        /// How long it ran.
        took: Duration,
        /// What it measured, or why it could measure nothing.
        result: Result<Vec<Sample>, String>,
    },
    /// The broker let us in.
    Connected {
        /// Protocol version for people.
        protocol: &'static str,
        /// Records it takes without acknowledgement.
        in_flight_max: u16,
        /// Bytes of a packet that it takes, if it said so.
        packet_bytes_max: Option<u32>,
    },
    /// The broker has this record.
    Acknowledged(RecordId),
    /// The broker will never take this record.
    Refused {
        /// Which.
        id: RecordId,
        /// Cause to count.
        cause: DropCause,
        /// For a person.
        reason: String,
    },
    /// The connection ended, or an attempt failed.
    Disconnected {
        /// For a person, with remedy.
        reason: String,
    },
    /// The configuration was read again. Only what can change while running is taken over.
    Reloaded {
        /// The new configuration.
        config: Box<Config>,
        /// Keys that took effect.
        effective: Vec<String>,
        /// Keys that wait for the next start.
        need_restart: Vec<String>,
    },
    /// The configuration could not be read again; the old one stays.
    ReloadFailed(String),
    /// The shell reads the daemon in another way from now on: a poll under way is not answered any more.
    PollerRestarted,
    /// The durable queue is open, or how it is now.
    Spool(Box<spool::Report>),
    /// The durable queue cannot be used, for a person.
    SpoolFailed(String),
    /// Everything of these streams that was accepted until now is durable.
    Durable(Vec<StreamTag>),
    /// What came of [`Order::Keep`].
    Kept {
        /// As ordered.
        stream: StreamTag,
        /// As ordered.
        stored: Bytes,
        /// Its name; `None` when the queue does not take it.
        name: Option<RecordName>,
    },
    /// What came of [`Order::Fetch`].
    Fetched(Fetched),
    /// Records were dropped, or something in the way of gathering does not work.
    GatherTrouble {
        /// Fixed word.
        kind: &'static str,
        /// The stream, if it concerns one.
        stream: String,
        /// One sentence.
        text: String,
    },
    /// Something in the shell's reach that people should know.
    Notice {
        /// How much it matters.
        severity: Severity,
        /// Fixed word.
        kind: &'static str,
        /// One sentence.
        text: String,
    },
    /// What came of [`Effect::Membership`].
    Membership(Report),
    /// The Nodes of the cluster beside this machine.
    Seats(Vec<Seat>),
    /// What the operator wants of federations.
    Wish(Wish),
    /// The agent is about to end: what was gathered is closed and queued.
    Stop,
}

/// Something the shell is to do.
#[derive(Debug)]
pub enum Effect {
    /// Read the routing daemon once and report it as [`Input::Mesh`].
    Poll,
    /// Run this collector once and report it as [`Input::Hardware`].
    Collect(&'static str),
    /// Hand this record to the connection.
    Submit(RecordId, Record),
    /// Have the durable queue do this.
    Order(Order),
    /// Do this about federations and report it as [`Input::Membership`].
    Membership(Task),
    /// Write this event to the log.
    Log(Event),
}

/// One collector's runs as the core sees them.
#[derive(Clone, Copy, Debug, Default)]
struct Running {
    since: Option<Mono>,
}

/// Everything the agent knows and intends.
#[derive(Debug)]
pub struct Agent {
    config: Config,
    state: State,
    outbox: Outbox,
    batcher: Batcher,
    topics: AgentTopics,
    poll: Schedule,
    polling: bool,
    poll_failures: u32,
    collect: Schedule,
    running: BTreeMap<&'static str, Running>,
    sample: Schedule,
    heartbeat: Schedule,
    /// Dictionary of the birth document that was queued last.
    born: Option<Version>,
    clock_offset_ms: Option<i64>,
    repeats: Repeats,
    uplink: Uplink,
    membership: Option<Membership>,
    effects: Vec<Effect>,
}

/// Topics as they are put into records.
#[derive(Debug)]
struct AgentTopics {
    birth: Arc<str>,
    telemetry: Arc<str>,
    event: Arc<str>,
}

impl Agent {
    /// An agent that starts at `now` on a machine with these collectors.
    #[must_use]
    pub fn new(config: Config, boot_id: &str, collectors: &[&'static str], now: Now) -> Agent {
        let topics = Topics::new(&config.mqtt.topic, &config.vehicle.name);
        let mut state = State {
            identity: Identity {
                vehicle: config.vehicle.name.clone(),
                kind: config.vehicle.kind.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                boot_id: boot_id.to_owned(),
            },
            started: now.mono,
            now,
            ..State::default()
        };
        state.collectors = collectors.iter().map(|name| (*name, Default::default())).collect();
        state.mqtt.configured = config.mqtt.host.is_some();
        state.mqtt.since_ms = now.mono.millis();
        state.spool.configured = config.spool.folder.is_some();
        state.spool.folder = config
            .spool
            .folder
            .as_ref()
            .map_or_else(String::new, |path| path.display().to_string());
        let limits = Limits { bytes: config.mqtt.queue_bytes, in_flight: config.mqtt.in_flight };
        let uplink = Uplink::new(&config, BootId::from_text(boot_id), topics.clone(), now.mono);
        let mut agent = Agent {
            state,
            outbox: Outbox::new(limits),
            batcher: Batcher::new(
                BootId::from_text(boot_id),
                config.mqtt.sample,
                config.mqtt.batch,
            ),
            topics: AgentTopics {
                birth: topics.birth.into(),
                telemetry: topics.telemetry.into(),
                event: topics.event.into(),
            },
            poll: Schedule::new(now.mono, config.mesh.interval),
            polling: false,
            poll_failures: 0,
            collect: Schedule::new(now.mono, config.hardware.interval),
            running: collectors.iter().map(|name| (*name, Running::default())).collect(),
            // The first tick waits for the first measurements.
            sample: Schedule::new(now.mono + config.mqtt.sample, config.mqtt.sample),
            heartbeat: Schedule::new(now.mono + HEARTBEAT, HEARTBEAT),
            born: None,
            clock_offset_ms: None,
            repeats: Repeats::default(),
            uplink,
            membership: None,
            effects: Vec::new(),
            config,
        };
        agent.configure_mesh(now.mono);
        agent
    }

    /// What is known, for whoever renders it.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// For what the shell itself counts: the HTTP server's numbers and the broker's name.
    pub fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Records in memory that wait for the broker or for its acknowledgement.
    #[must_use]
    pub fn records(&self) -> usize {
        self.outbox.window().records()
    }

    /// Those of them that end with the process: a birth document is made anew by each.
    #[must_use]
    pub fn mortal_records(&self) -> usize {
        self.records() - self.outbox.window().records_of(Class::Birth)
    }

    /// Whether more can leave, or its acknowledgement can come, on the connection that stands.
    #[must_use]
    pub fn is_sending(&self) -> bool {
        self.records() > 0 || self.uplink.is_busy()
    }

    /// When [`Input::Tick`] is due at the latest.
    #[must_use]
    pub fn deadline(&self) -> Mono {
        let poll = (self.mesh_wanted() && !self.polling).then(|| self.poll.due());
        let collect = (!self.running.is_empty()).then(|| self.collect.due());
        let sample = self.state.mqtt.configured.then(|| self.sample.due());
        [poll, collect, sample, self.uplink.due(), self.membership_due()]
            .into_iter()
            .flatten()
            .fold(self.heartbeat.due(), Mono::min)
    }

    /// Takes in what happened at `now` and returns what is to be done, in order.
    #[must_use]
    pub fn handle(&mut self, input: Input, now: Now) -> Vec<Effect> {
        self.watch_clock(now);
        self.state.now = now;
        match input {
            Input::Tick => {}
            Input::Mesh { took, result } => self.polled(took, result),
            Input::Hardware { collector, took, result } => self.collected(collector, took, result),
            Input::Connected { protocol, in_flight_max, packet_bytes_max } => {
                self.connected(protocol, in_flight_max, packet_bytes_max);
            }
            Input::Acknowledged(id) => self.acknowledged(id),
            Input::Refused { id, cause, reason } => self.refused(id, cause, reason),
            Input::Disconnected { reason } => self.disconnected(reason),
            Input::Reloaded { config, effective, need_restart } => {
                self.reloaded(*config, &effective, &need_restart);
            }
            Input::ReloadFailed(text) => {
                self.state.reloads.failed += 1;
                let text = format!("the configuration in force stays: {text}");
                self.note(Severity::Warning, "reload-failed", "", text);
            }
            Input::PollerRestarted => {
                self.polling = false;
                self.poll_failures = 0;
                self.poll = Schedule::new(now.mono, self.config.mesh.interval);
            }
            Input::Spool(report) => self.spool_reported(&report),
            Input::SpoolFailed(reason) => self.spool_failed(reason),
            Input::Durable(streams) => self.durable(&streams),
            Input::Kept { stream, stored, name } => self.kept(stream, stored, name),
            Input::Fetched(fetched) => self.fetched(fetched),
            Input::GatherTrouble { kind, stream, text } => {
                self.note(Severity::Warning, kind, &stream, text);
            }
            Input::Notice { severity, kind, text } => self.note(severity, kind, "", text),
            Input::Membership(report) => self.member_report(report),
            Input::Seats(seats) => self.state.seats = Some(seats),
            Input::Wish(wish) => self.member_wish(wish),
            Input::Stop => self.stop(),
        }
        self.due();
        self.send();
        std::mem::take(&mut self.effects)
    }

    /// One line on how the agent is, for the service manager.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut reachable = 0;
        let mut others = 0;
        for (_, vehicle) in self.state.vehicles.iter() {
            others += usize::from(vehicle.reach != Reach::Own);
            reachable += usize::from(matches!(
                vehicle.reach,
                Reach::Reachable { .. } | Reach::NotMeaningful
            ));
        }
        let mesh = match (&self.state.mesh.error, self.mesh_wanted()) {
            (_, false) => "no mesh configured".to_owned(),
            (Some((_, text)), true) => format!("routing daemon: {text}"),
            (None, true) => format!("{reachable} of {others} vehicles reachable"),
        };
        let broker = match (self.state.mqtt.configured, self.state.mqtt.connected) {
            (false, _) => "no broker configured",
            (true, true) => "broker connected",
            (true, false) => "broker away",
        };
        format!("{mesh}; {broker}")
    }

    fn mesh_wanted(&self) -> bool {
        self.config.mesh.daemon != DaemonChoice::None
    }

    fn configure_mesh(&mut self, at: Mono) {
        let mesh = &self.config.mesh;
        self.state.mesh.configured = mesh.daemon != DaemonChoice::None;
        self.state.mesh.interval_ms = millis(mesh.interval);
        let setup = Setup {
            policy: self.config.links.clone(),
            own: self.config.vehicle.name.clone(),
            vehicles: mesh.vehicles.clone(),
            unnamed_vehicles: mesh.unnamed_vehicles,
            poll_interval: mesh.interval,
        };
        self.state.vehicles.configure(setup, at);
    }

    /// Starts what is due.
    fn due(&mut self) {
        let now = self.state.now.mono;
        if self.state.mqtt.configured && self.sample.take(now) {
            self.sample_telemetry();
        }
        if self.heartbeat.take(now) {
            let changes = self.state.vehicles.silent(now);
            self.tell_changes(changes);
            self.look_at_link();
            self.check_deadlines();
            self.look_at_federations();
            for news in self.repeats.due(now) {
                self.tell(news);
            }
        }
        self.member_tick();
        if self.mesh_wanted() && !self.polling && self.poll.take(now) {
            self.polling = true;
            self.effects.push(Effect::Poll);
        }
        if !self.running.is_empty() && self.collect.take(now) {
            for (name, running) in &mut self.running {
                if running.since.is_none() {
                    running.since = Some(now);
                    self.effects.push(Effect::Collect(name));
                }
            }
        }
    }

    fn polled(&mut self, took: Duration, result: Result<Arc<MeshView>, Failure>) {
        let now = self.state.now.mono;
        self.polling = false;
        self.state.mesh.poll_us = micros(took);
        match result {
            Ok(view) => {
                self.poll_failures = 0;
                self.state.mesh.polls_ok += 1;
                let was = self.state.mesh.error.take();
                if was.is_some() || self.state.mesh.view.is_none() {
                    self.note(Severity::Info, "daemon-answers", "", daemon_text(&view));
                }
                let restarts = self.state.vehicles.daemon_restarts();
                let changes = self.state.vehicles.observe(&view, now);
                if self.state.vehicles.daemon_restarts() > restarts {
                    let text = "the routing daemon was restarted; costs are held until it knows its links again";
                    self.note(Severity::Warning, "daemon-restarted", "", text.to_owned());
                }
                self.state.mesh.view = Some(view);
                self.state.mesh.view_at = Some(now);
                self.tell_changes(changes);
            }
            Err(failure) => {
                *self.state.mesh.polls_failed.entry(failure.class).or_default() += 1;
                let known = self.state.mesh.error.as_ref().map(|(class, _)| *class);
                if known != Some(failure.class) {
                    self.note(Severity::Warning, "daemon-silent", "", failure.text.clone());
                }
                self.state.mesh.error = Some((failure.class, failure.text));
                self.poll_failures = self.poll_failures.saturating_add(1);
                self.poll.postpone(now + self.poll_pause(failure.class));
                let changes = self.state.vehicles.silent(now);
                self.tell_changes(changes);
            }
        }
        self.look_at_link();
    }

    /// Pause after a failed poll: doubling, so that a daemon in trouble is left alone. A busy one is asked as usual.
    fn poll_pause(&self, class: FailureClass) -> Duration {
        let interval = self.config.mesh.interval;
        match class {
            FailureClass::Busy => interval,
            FailureClass::Refused
            | FailureClass::Timeout
            | FailureClass::NotAllowed
            | FailureClass::NotFound
            | FailureClass::NotUnderstood
            | FailureClass::TooLarge
            | FailureClass::Io => {
                let doublings = self.poll_failures.saturating_sub(1).min(16);
                interval.saturating_mul(1 << doublings).min(POLL_PAUSE_MAX.max(interval))
            }
        }
    }

    fn tell_changes(&mut self, mut changes: Vec<Change>) {
        // What an operator may have to act on goes first.
        changes.sort_by_key(|change| change.to != Reach::Unreachable);
        let rest = changes.split_off(changes.len().min(CHANGES_TOLD_MAX));
        for change in changes {
            let (severity, kind, text) = describe(&change);
            self.note(severity, kind, &change.vehicle, text);
        }
        let Some(first) = rest.first() else { return };
        let (severity, _, text) = describe(first);
        let text = format!("{text}, and so on: {} more changes at once", rest.len());
        self.note(severity, "vehicles-changed", "", text);
    }

    fn collected(
        &mut self,
        collector: &'static str,
        took: Duration,
        result: Result<Vec<Sample>, String>,
    ) {
        let now = self.state.now.mono;
        if let Some(running) = self.running.get_mut(collector) {
            running.since = None;
        }
        let state = self.state.collectors.entry(collector).or_default();
        state.run_us = micros(took);
        let hung = std::mem::take(&mut state.hanging);
        let failed_before = state.error.is_some();
        match result {
            Ok(samples) => {
                state.ok += 1;
                state.ok_at = Some(now);
                state.error = None;
                self.state.hardware.replace(collector, now, samples);
                if hung || failed_before {
                    let text = format!("collector {collector} works again");
                    self.note(Severity::Info, "collector-works", collector, text);
                }
            }
            Err(error) => {
                // A run that overran its deadline was counted then.
                state.failed += u64::from(!hung);
                state.error = Some(error.clone());
                self.state.hardware.forget(collector);
                if !failed_before {
                    self.note(Severity::Warning, "collector-failed", collector, error);
                }
            }
        }
    }

    /// Notices collectors that are past their deadline. Their last values are forgotten: an old temperature is worse than
    /// none.
    fn check_deadlines(&mut self) {
        let now = self.state.now.mono;
        let deadline = self.config.hardware.deadline;
        let late: Vec<&'static str> = self
            .running
            .iter()
            .filter(|(_, running)| running.since.is_some_and(|since| now.since(since) > deadline))
            .map(|(name, _)| *name)
            .collect();
        for collector in late {
            let state = self.state.collectors.entry(collector).or_default();
            if state.hanging {
                continue;
            }
            state.hanging = true;
            state.failed += 1;
            let text = format!(
                "collector {collector} has not come back within {} ms; the others go on",
                deadline.as_millis()
            );
            state.error = Some(text.clone());
            self.state.hardware.forget(collector);
            self.note(Severity::Warning, "collector-hangs", collector, text);
        }
    }

    fn reloaded(&mut self, new: Config, effective: &[String], need_restart: &[String]) {
        self.state.reloads.ok += 1;
        let Config { mesh, links, log, .. } = new;
        if mesh.interval != self.config.mesh.interval {
            self.poll = Schedule::new(self.state.now.mono, mesh.interval);
        }
        self.config.mesh = mesh;
        self.config.links = links;
        self.config.log = log;
        self.configure_mesh(self.state.now.mono);
        self.note(Severity::Info, "reloaded", "", reload_text(effective, need_restart));
    }

    fn stop(&mut self) {
        if !self.state.mqtt.configured {
            return;
        }
        if let Some(batch) = self.batcher.close(self.state.now) {
            self.say_batch(&batch);
        }
        self.note(Severity::Info, "stopping", "", "the agent was told to stop".to_owned());
        self.close_uplink();
    }

    /// Notes an event; what repeats soon is told later.
    fn note(&mut self, severity: Severity, kind: &'static str, subject: &str, text: String) {
        let news = News { severity, kind, subject: subject.to_owned(), text };
        if let Some(news) = self.repeats.pass(self.state.now.mono, news) {
            self.tell(news);
        }
    }

    /// Tells an event: to the page, the log and the broker.
    fn tell(&mut self, news: News) {
        let News { severity, kind, subject, text } = news;
        let event = self.state.events.push(self.state.now, severity, kind, &subject, text);
        if self.state.mqtt.configured {
            let document = EventDocument::new(&self.state.identity, event.clone()).to_json();
            self.say_event(document);
        }
        self.effects.push(Effect::Log(event));
    }

    /// Notices a wall clock that was set, and a change of how far it can be believed.
    fn watch_clock(&mut self, now: Now) {
        let offset_ms = now.wall_ms.saturating_sub_unsigned(now.mono.millis());
        let before = self.clock_offset_ms.replace(offset_ms);
        let quality_before = self.state.now.quality;
        self.state.now = now;
        let Some(before) = before else { return };
        let stepped_ms = offset_ms.saturating_sub(before);
        if stepped_ms.unsigned_abs() >= CLOCK_STEP_MIN_MS {
            let text = format!(
                "the wall clock was set by {} s; order and ages do not depend on it",
                stepped_ms / 1000
            );
            self.note(Severity::Info, "clock-stepped", "", text);
        }
        if now.quality != quality_before {
            let text = match now.quality {
                ClockQuality::Unset => "the wall clock shows no believable date",
                ClockQuality::Unsynchronised => {
                    "the wall clock is believable but nothing keeps it right"
                }
                ClockQuality::Synchronised => "the wall clock is synchronised",
            };
            self.note(Severity::Info, "clock-quality", "", text.to_owned());
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
