//! How it leaves: what the agent itself says, and what was gathered.
//!
//! With a durable queue, events and telemetry are records of its streams [`config::EVENTS_STREAM`] and
//! [`config::TELEMETRY_STREAM`] and leave as everything else that is gathered, by the courier. Without one, or while it
//! takes nothing, they wait in memory, in the outbox. Birth documents are retained by the broker, so the outbox carries them
//! at any rate; a copy stands in the telemetry stream before the batches that need it, since a backlog may come from a boot
//! whose birth document the broker has long replaced.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use spool::{StreamName, StreamTag};

use super::{Agent, Effect, Order};
use crate::config::{self, Config, TelemetryFormat};
use crate::core::catalog;
use crate::core::courier::{
    self, Courier, Fetched, Held, RecordName, Request, Settings, StreamId, StreamSetup,
};
use crate::core::delivery::{Class, DropCause, RecordId};
use crate::core::links::Reach;
use crate::core::outbox::Record;
use crate::core::pacing::{Budget, DayCount, LinkState};
use crate::core::presence::Topics;
use crate::core::record::{Stamp, stored};
use crate::core::state::Severity;
use crate::core::telemetry::batch::{Batch, BootId};
use crate::core::telemetry::dictionary::Version;
use crate::core::telemetry::document::{
    BIRTH_TYPE, Birth, FRAME_TYPE, Format, JSON_TYPE, Sending, Telemetry,
};
use crate::core::telemetry::frame;
use crate::core::time::{Mono, millis};

/// What the agent says while the queue is being opened is kept this many times; more waits in memory as without a queue.
const EARLY_MAX: usize = 64;

/// Batches in the telemetry stream after which the birth document is repeated, so that a stream of which parts were dropped or
/// thinned out can still be read: some percent of its bytes.
const BIRTH_EVERY: u32 = 100;

/// A day's count is saved when this part of the cap was spent since: a power cut lets no more than that be spent twice.
const DAY_SAVED_DIVISOR: u64 = 100;

/// And after so much of the day, so that it comes to its end also on a vehicle that is never on for a whole one.
const DAY_SAVED_EVERY_MS: u64 = 10 * 60 * 1000;

/// Something that the agent says.
#[derive(Debug)]
struct Said {
    class: Class,
    content_type: &'static str,
    payload: Vec<u8>,
}

/// Whether the durable queue takes what the agent says.
#[derive(Debug)]
enum Queue {
    /// There is none, or it cannot be used.
    Away,
    /// Soon; this was said meanwhile.
    Opening(Vec<Said>),
    /// It does.
    Open,
}

/// The birth document that was last put into the telemetry stream.
#[derive(Clone, Copy, Debug)]
struct Born {
    version: Version,
    batches: u32,
}

/// The way out of the durable queue.
#[derive(Debug)]
pub(super) struct Uplink {
    boot: BootId,
    courier: Courier,
    queue: Queue,
    ids: BTreeMap<StreamTag, StreamId>,
    /// By the place that the courier knows them by.
    tags: Vec<StreamTag>,
    born: Option<Born>,
    /// Own records of which the queue has not said whether it keeps them.
    keeping: usize,
    /// The next free place on the connection is for what was gathered: the last one was not.
    is_next: bool,
    /// When the courier can do something although nothing has happened.
    due: Option<Mono>,
    day_saved: DayCount,
    /// Cost of the way while this connection stands, as long as there was one.
    link_cost: Option<u32>,
}

impl Uplink {
    pub(super) fn new(config: &Config, boot: BootId, topics: Topics, now: Mono) -> Uplink {
        let limits = courier::limits(&config.delivery);
        let settings = Settings { memory_bytes: config.delivery.memory };
        let budget = Budget::new(limits, DayCount::default(), now);
        let queue = match (&config.spool.folder, &config.mqtt.host) {
            (Some(_), Some(_)) => Queue::Opening(Vec::new()),
            (None, _) | (_, None) => Queue::Away,
        };
        Uplink {
            boot,
            courier: Courier::new(Vec::new(), topics, settings, budget),
            queue,
            ids: BTreeMap::new(),
            tags: Vec::new(),
            born: None,
            keeping: 0,
            is_next: false,
            due: None,
            day_saved: DayCount::default(),
            link_cost: None,
        }
    }

    pub(super) fn due(&self) -> Option<Mono> {
        self.due
    }

    /// Whether something is on its way.
    pub(super) fn is_busy(&self) -> bool {
        self.keeping > 0 || !self.courier.is_idle()
    }

    /// The order that a request of the courier is, unless it is for the connection.
    fn order(&self, request: Request) -> Result<Order, (RecordId, Record)> {
        let tag = |id: StreamId| self.tags.get(usize::from(id.0)).copied().unwrap_or(StreamTag(0));
        Ok(match request {
            Request::Fetch { stream, round, bytes, records } => {
                Order::Fetch { stream: tag(stream), id: stream, round, bytes, records }
            }
            Request::Acknowledge { stream, records } => {
                Order::Acknowledge { stream: tag(stream), records }
            }
            Request::Rewind(stream) => Order::Rewind(tag(stream)),
            Request::Publish(id, record) => return Err((id, record)),
        })
    }

    /// Passes on what the courier requests.
    fn carry(&mut self, requests: Vec<Request>, effects: &mut Vec<Effect>) {
        for request in requests {
            effects.push(match self.order(request) {
                Ok(order) => Effect::Order(order),
                Err((id, record)) => {
                    self.is_next = false;
                    Effect::Submit(id, record)
                }
            });
        }
    }

    /// What is to be remembered of the day, if it is time for that, or the last time.
    fn day_to_save(
        &mut self,
        config: &config::Delivery,
        last: bool,
        now: Mono,
    ) -> Option<DayCount> {
        let cap = config.bytes_per_day?;
        let day = self.courier.budget().day(now);
        let begun_anew = day.bytes < self.day_saved.bytes;
        let spent = day.bytes.saturating_sub(self.day_saved.bytes);
        let grown_ms = day.elapsed_ms.saturating_sub(self.day_saved.elapsed_ms);
        let due = begun_anew
            || spent >= (cap / DAY_SAVED_DIVISOR).max(1)
            || (day.bytes > 0 && grown_ms >= if last { 1 } else { DAY_SAVED_EVERY_MS });
        due.then(|| {
            self.day_saved = day;
            day
        })
    }
}

impl Agent {
    /// Goes on with a day that was begun before the start.
    pub fn resume_day(&mut self, day: DayCount) {
        let limits = courier::limits(&self.config.delivery);
        *self.uplink.courier.budget() = Budget::new(limits, day, self.state.now.mono);
        self.uplink.day_saved = day;
    }

    /// Whether a stream of the durable queue is known; one that came into being since is with the next report.
    #[must_use]
    pub fn knows_stream(&self, stream: StreamTag) -> bool {
        self.uplink.ids.contains_key(&stream)
    }

    /// Hands over what the connection and the durable queue take now.
    pub(super) fn send(&mut self) {
        let now = self.state.now.mono;
        let Agent { uplink, outbox, effects, .. } = self;
        outbox.beside(uplink.courier.in_flight());
        // What waits in memory could keep a broker busy that takes few messages at a time, and nothing gathered would ever leave.
        if uplink.is_next {
            let requests = uplink.courier.work_in_turn(now, outbox.window().free());
            uplink.carry(requests, effects);
            outbox.beside(uplink.courier.in_flight());
        }
        while let Some((id, record)) = outbox.next_to_send() {
            uplink.is_next = true;
            uplink.courier.budget().spend(record.payload.len() as u64, now);
            effects.push(Effect::Submit(id, record));
        }
        let requests = uplink.courier.work(now, outbox.window().free());
        uplink.carry(requests, effects);
        outbox.beside(uplink.courier.in_flight());
        let cramped = uplink.courier.take_cramped().map(|setup| Arc::clone(&setup.name));
        uplink.due = uplink.courier.deadline(now);
        self.save_day(false);
        self.outbox.report(&mut self.state.mqtt);
        self.state.mqtt.oldest_ms = self.outbox.window().oldest().map(Mono::millis);
        self.state.delivery.observe(&mut self.uplink.courier, now);
        if let Some(stream) = cramped {
            let text = format!(
                "the broker's largest packet is too small for a record of stream {stream}, and for a part of one; \
                 raise it (mosquitto: max_packet_size)"
            );
            self.note(Severity::Warning, "packets-too-small", &stream, text);
        }
    }

    /// The last words: what is not safe yet waits in memory, and the day is remembered.
    pub(super) fn close_uplink(&mut self) {
        if matches!(self.uplink.queue, Queue::Opening(_)) {
            self.switch(Queue::Away);
        }
        self.save_day(true);
    }

    /// Has the day remembered if it is time for that, or the last time.
    fn save_day(&mut self, last: bool) {
        let now = self.state.now.mono;
        if let Some(day) = self.uplink.day_to_save(&self.config.delivery, last, now) {
            self.effects.push(Effect::Order(Order::SaveDay(day)));
        }
    }

    pub(super) fn connected(
        &mut self,
        protocol: &'static str,
        in_flight_max: u16,
        packet_bytes_max: Option<u32>,
    ) {
        let now = self.state.now.mono;
        let mqtt = &mut self.state.mqtt;
        mqtt.connected = true;
        mqtt.connects += 1;
        mqtt.protocol = protocol.to_owned();
        mqtt.since_ms = now.millis();
        mqtt.error = None;
        let text = format!("connected to the broker {}, MQTT {protocol}", mqtt.broker);
        self.outbox.connected(in_flight_max);
        let slots = u16::try_from(self.config.mqtt.in_flight).unwrap_or(u16::MAX);
        self.uplink.courier.connected(slots.min(in_flight_max), packet_bytes_max, now);
        // The broker may have lost what it kept.
        self.announce();
        self.note(Severity::Info, "broker-connected", "", text);
    }

    pub(super) fn disconnected(&mut self, reason: String) {
        let mqtt = &mut self.state.mqtt;
        let first = mqtt.connected || mqtt.error.is_none();
        if mqtt.connected {
            mqtt.connected = false;
            mqtt.since_ms = self.state.now.mono.millis();
        }
        let known = mqtt.error.as_deref() == Some(reason.as_str());
        mqtt.error = Some(reason.clone());
        self.outbox.connection_lost();
        self.uplink.courier.disconnected();
        self.uplink.link_cost = None;
        if first || !known {
            self.note(Severity::Warning, "broker-away", "", reason);
        }
    }

    pub(super) fn acknowledged(&mut self, id: RecordId) {
        if Courier::owns(id) {
            self.uplink.courier.acknowledged(id, self.state.now.mono);
        } else {
            self.outbox.acknowledged(id);
        }
    }

    pub(super) fn refused(&mut self, id: RecordId, cause: DropCause, reason: String) {
        let known = if Courier::owns(id) {
            self.uplink.courier.refused(id, cause, self.state.now.mono)
        } else {
            self.outbox.refused(id, cause)
        };
        if known {
            self.note(Severity::Warning, "record-refused", "", reason);
        }
    }

    /// What the links say of the way to the broker.
    pub(super) fn look_at_link(&mut self) {
        let vehicles = &self.state.vehicles;
        let reach = match (&self.config.delivery.vehicle, &self.config.mqtt.host) {
            (Some(name), _) => vehicles.get(name).map(|vehicle| vehicle.reach),
            (None, Some(host)) => vehicles.of_host(host).map(|vehicle| vehicle.reach),
            (None, None) => None,
        };
        let link = LinkState::to(reach.unwrap_or(Reach::Unknown), false);
        // A connection may outlive its route for a while. That is no time to send everything.
        let before = self.uplink.link_cost.filter(|_| self.state.mqtt.connected);
        self.uplink.link_cost = link.cost.or(before);
        let link = LinkState { cost: self.uplink.link_cost, ..link };
        self.uplink.courier.link(link, self.state.now.mono);
    }

    pub(super) fn spool_reported(&mut self, report: &spool::Report) {
        let spool = &mut self.state.spool;
        let (was_open, was_degraded) = (spool.open, spool.degraded);
        spool.observe(report, self.state.now.mono);
        let held = spool.streams.values().map(|stream| stream.held_records).sum::<u64>();
        let reason = spool.error.clone().unwrap_or_default();
        let degraded = spool.degraded;
        self.supply(report);
        if !was_open {
            let text = format!("the spool is open and holds {held} records");
            self.note(Severity::Info, "spool-open", "", text);
        }
        if degraded && !was_degraded {
            let text = format!(
                "the spool's disk takes nothing, so records wait in memory and a power cut would take \
                 them: {reason}"
            );
            self.note(Severity::Warning, "spool-degraded", "", text);
        } else if was_degraded && !degraded {
            let text = "the spool's disk takes records again".to_owned();
            self.note(Severity::Info, "spool-recovered", "", text);
        }
    }

    /// Tells the courier which streams there are and what they hold.
    fn supply(&mut self, report: &spool::Report) {
        let uplink = &mut self.uplink;
        let configured = self.config.streams();
        for stream in &report.streams {
            // Records whose stream's name was lost to damage are somebody's data.
            let name = stream.name.as_ref().map_or_else(
                || format!("unnamed-{:08x}", stream.tag.0),
                |name| name.as_str().to_owned(),
            );
            let setup = || {
                let known = configured.iter().find(|configured| configured.name == name);
                let policy = known.cloned().unwrap_or(config::Stream::undeclared(&name));
                StreamSetup::configured(&policy, &self.config.delivery)
            };
            let id = match uplink.ids.get(&stream.tag) {
                Some(id) => *id,
                None => {
                    let id = uplink.courier.add(setup());
                    uplink.ids.insert(stream.tag, id);
                    uplink.tags.push(stream.tag);
                    id
                }
            };
            if uplink.courier.setup(id).is_some_and(|known| *known.name != *name) {
                uplink.courier.change(id, setup());
            }
            if stream.held.records > stream.handed_out {
                uplink.courier.available(id);
            }
        }
        if self.state.mqtt.configured {
            self.switch(Queue::Open);
        }
    }

    /// What was said while it was not known whether the queue takes it goes where it belongs now.
    fn switch(&mut self, queue: Queue) {
        if let Queue::Opening(early) = std::mem::replace(&mut self.uplink.queue, queue) {
            early.into_iter().for_each(|said| self.say(said));
        }
    }

    pub(super) fn spool_failed(&mut self, reason: String) {
        let known = self.state.spool.error.as_deref() == Some(reason.as_str());
        self.state.spool.failed(reason.clone());
        self.switch(Queue::Away);
        if !known {
            let text = format!("nothing can be gathered, the spool is closed: {reason}");
            self.note(Severity::Warning, "spool-closed", "", text);
        }
    }

    pub(super) fn durable(&mut self, streams: &[StreamTag]) {
        for id in streams.iter().filter_map(|tag| self.uplink.ids.get(tag)) {
            self.uplink.courier.available(*id);
        }
    }

    pub(super) fn fetched(&mut self, fetched: Fetched) {
        self.uplink.courier.fetched(fetched);
    }

    /// The queue keeps a record of the agent's own, or does not: then it waits in memory.
    pub(super) fn kept(&mut self, stream: StreamTag, stored: Bytes, kept: Option<RecordName>) {
        let uplink = &mut self.uplink;
        uplink.keeping = uplink.keeping.saturating_sub(1);
        match (kept, uplink.ids.get(&stream)) {
            (Some(name), Some(id)) => {
                uplink.courier.live(*id, Held { name, stored });
                uplink.courier.available(*id);
            }
            (Some(_), None) => {}
            (None, _) => {
                let stored = stored::load(stored);
                let content_type = stored.content_type.as_deref();
                let class = match stream == own_stream(Class::Event) {
                    true => Class::Event,
                    false => Class::Telemetry,
                };
                match content_type == Some(BIRTH_TYPE) {
                    true => uplink.born = None,
                    false => self.enqueue(class, stored.payload),
                }
            }
        }
    }

    /// Says something to whoever listens at the broker, sooner or later.
    fn say(&mut self, said: Said) {
        match &mut self.uplink.queue {
            Queue::Opening(early) if early.len() < EARLY_MAX => early.push(said),
            Queue::Open => self.keep(&said),
            // The retained one does without a queue.
            Queue::Away | Queue::Opening(_) if said.content_type == BIRTH_TYPE => {
                self.uplink.born = None;
            }
            Queue::Away | Queue::Opening(_) => self.enqueue(said.class, Bytes::from(said.payload)),
        }
    }

    fn keep(&mut self, said: &Said) {
        let stamp = Stamp::of(self.uplink.boot, self.state.now);
        let stored = stored::store(&stamp, Some(said.content_type), &said.payload).into();
        let stream = own_stream(said.class);
        self.uplink.keeping += 1;
        self.effects.push(Effect::Order(Order::Keep { stream, stored }));
    }

    /// Lets it wait in memory. What finds no room is counted by the outbox.
    fn enqueue(&mut self, class: Class, payload: Bytes) {
        let topic = match class {
            Class::Birth => &self.topics.birth,
            Class::Event => &self.topics.event,
            Class::Telemetry => &self.topics.telemetry,
        };
        let record = Record { topic: Arc::clone(topic), payload, retain: false };
        let _ = self.outbox.enqueue(self.state.now.mono, class, record);
    }

    pub(super) fn say_event(&mut self, document: Vec<u8>) {
        self.say(Said { class: Class::Event, content_type: JSON_TYPE, payload: document });
    }

    pub(super) fn sample_telemetry(&mut self) {
        let state = &self.state;
        let batch = self.batcher.tick(state.now, |sink| {
            // The dictionary is bounded, so this vehicle's own series come before those of a mesh of any size.
            catalog::agent::visit(state, sink);
            let mut labels: Vec<&str> = Vec::new();
            for (_, sample) in state.hardware.iter() {
                labels.clear();
                labels.extend(sample.labels.iter().map(AsRef::as_ref));
                sink(sample.metric, &labels, sample.value);
            }
            catalog::mesh::visit(state, sink);
        });
        self.state.mqtt.lost_values = self.batcher.losses().total();
        if let Some(batch) = batch {
            self.say_batch(&batch);
        }
    }

    pub(super) fn say_batch(&mut self, batch: &Batch) {
        let version = self.batcher.dictionary().version();
        if self.born != Some(version) {
            self.announce();
        }
        let (content_type, payload) = match self.config.mqtt.format {
            TelemetryFormat::Compact => (FRAME_TYPE, frame::encode(batch)),
            TelemetryFormat::Json => {
                let vehicle = &self.state.identity.vehicle;
                match Telemetry::new(vehicle, batch, self.batcher.dictionary()) {
                    Ok(document) => (JSON_TYPE, document.to_json()),
                    Err(wrong) => {
                        let text = format!("batch {} could not be written: {wrong}", batch.number);
                        self.note(Severity::Warning, "telemetry-lost", "", text);
                        return;
                    }
                }
            }
        };
        self.keep_birth(version);
        self.say(Said { class: Class::Telemetry, content_type, payload });
    }

    /// Puts the birth document into the telemetry stream where the batch that follows needs it.
    fn keep_birth(&mut self, version: Version) {
        if matches!(self.uplink.queue, Queue::Away) {
            return;
        }
        match &mut self.uplink.born {
            Some(born) if born.version == version && born.batches < BIRTH_EVERY => {
                born.batches += 1;
            }
            Some(_) | None => {
                let payload = self.birth().to_json();
                self.uplink.born = Some(Born { version, batches: 1 });
                self.say(Said { class: Class::Telemetry, content_type: BIRTH_TYPE, payload });
            }
        }
    }

    fn birth(&self) -> Birth {
        let sending = Sending {
            format: match self.config.mqtt.format {
                TelemetryFormat::Compact => Format::Compact,
                TelemetryFormat::Json => Format::Json,
            },
            sample_ms: millis(self.config.mqtt.sample),
            batch_ms: millis(self.config.mqtt.batch),
        };
        let dictionary = self.batcher.dictionary();
        Birth::new(&self.state.identity, sending, dictionary, self.state.now)
    }

    /// Queues the birth document for whoever listens now.
    fn announce(&mut self) {
        let dictionary = self.batcher.dictionary();
        let before = self.born.replace(dictionary.version());
        let serves_older_batches = before.is_none_or(|version| dictionary.contains(version));
        let topic = Arc::clone(&self.topics.birth);
        let payload = Bytes::from(self.birth().to_json());
        let record = Record { topic, payload, retain: true };
        let now = self.state.now.mono;
        // A dictionary that was begun anew cannot read the batches that still wait: their birth goes out before it. What
        // finds no room is counted by the outbox.
        let _ = if serves_older_batches {
            self.outbox.enqueue(now, Class::Birth, record)
        } else {
            self.outbox.enqueue_beside(now, Class::Birth, record)
        };
    }
}

/// The stream of the durable queue that a class of what the agent says belongs to.
fn own_stream(class: Class) -> StreamTag {
    let name = match class {
        Class::Event => config::EVENTS_STREAM,
        Class::Birth | Class::Telemetry => config::TELEMETRY_STREAM,
    };
    StreamName::new(name).map_or(StreamTag(0), |name| name.tag())
}

#[cfg(test)]
mod tests;
