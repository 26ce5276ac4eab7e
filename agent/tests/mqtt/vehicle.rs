//! The publishing side as the agent's main loop drives it: an outbox, a client, and a count of every acknowledgement.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outrider::config::MqttProtocol;
use outrider::core::backoff::Policy;
use outrider::core::delivery::{Class, Limits, RecordId};
use outrider::core::outbox::{Outbox, Record};
use outrider::core::presence::Speaker;
use outrider::core::time::Mono;
use outrider::shell::mqtt::{
    self, Client, Event, Link, Notice, Protocol, Publisher, Settings, Subscription, Timing,
};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Nothing here takes long; on a machine that does much else it may.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Settings for a broker on loopback, with short waits between attempts.
pub fn settings(port: u16, client_id: &str) -> Settings {
    Settings {
        host: "127.0.0.1".to_owned(),
        port,
        protocol: MqttProtocol::Auto,
        client_id: client_id.to_owned(),
        username: None,
        password_file: None,
        tls: None,
        keep_alive: Duration::from_secs(30),
        in_flight: 20,
        timing: Timing {
            backoff: Policy {
                first: Duration::from_millis(40),
                max: Duration::from_millis(300),
                stable: Duration::from_secs(60),
            },
            ..Timing::default()
        },
    }
}

/// A publishing client with its outbox.
pub struct Vehicle {
    pub outbox: Outbox,
    pub acknowledged: BTreeMap<RecordId, u32>,
    pub refusals: Vec<String>,
    pub reasons: Vec<String>,
    pub waits: Vec<Duration>,
    pub protocols: Vec<Protocol>,
    pub in_flight_max: u16,
    link: Option<Link>,
    client: Client,
    events: mpsc::Receiver<Event>,
}

impl Vehicle {
    pub fn start(settings: Settings) -> Vehicle {
        Vehicle::with_queue(settings, 1024 * 1024)
    }

    pub fn with_queue(settings: Settings, bytes: usize) -> Vehicle {
        let speaker = Speaker { vehicle: "hawk".to_owned(), boot_id: "boot".to_owned() };
        let limits = Limits { bytes, in_flight: settings.in_flight };
        let (client, events) = mqtt::publish(settings, speaker, "fleet/hawk/status".to_owned());
        Vehicle {
            outbox: Outbox::new(limits),
            acknowledged: BTreeMap::new(),
            refusals: Vec::new(),
            reasons: Vec::new(),
            waits: Vec::new(),
            protocols: Vec::new(),
            in_flight_max: 0,
            link: None,
            client,
            events,
        }
    }

    pub fn enqueue(&mut self, topic: &str, payload: impl Into<Bytes>, retain: bool) {
        let record = Record { topic: Arc::from(topic), payload: payload.into(), retain };
        self.outbox.enqueue(Mono::default(), Class::Telemetry, record);
        self.pump();
    }

    /// Hands over what may leave.
    fn pump(&mut self) {
        let Some(link) = &mut self.link else { return };
        while let Some((id, record)) = self.outbox.next_to_send() {
            if link.submit(id, record).is_err() {
                return;
            }
        }
    }

    /// Takes the next event as the main loop does.
    pub async fn step(&mut self) {
        let event = timeout(PATIENCE, self.events.recv()).await;
        let event = event
            .unwrap_or_else(|_| {
                panic!("nothing happened for {PATIENCE:?}; so far: {:?}", self.reasons)
            })
            .expect("the task runs as long as the client lives");
        match event {
            Event::Connected { link, protocol, in_flight_max, .. } => {
                self.link = Some(link);
                self.protocols.push(protocol);
                self.in_flight_max = in_flight_max;
                self.outbox.connected(in_flight_max);
            }
            Event::Acknowledged(id) => {
                assert!(self.outbox.acknowledged(id), "{id:?} was not in flight");
                *self.acknowledged.entry(id).or_default() += 1;
            }
            Event::Refused { id, cause, reason } => {
                assert!(self.outbox.refused(id, cause));
                self.refusals.push(reason);
            }
            Event::Disconnected { reason, retry_in } => {
                self.link = None;
                self.outbox.connection_lost();
                self.reasons.push(reason);
                self.waits.push(retry_in);
            }
        }
        self.pump();
    }

    pub async fn until(&mut self, done: impl Fn(&Vehicle) -> bool) {
        while !done(self) {
            self.step().await;
        }
    }

    pub async fn until_connected(&mut self) {
        self.until(|vehicle| vehicle.link.is_some()).await;
    }

    /// Until nothing waits or flies.
    pub async fn until_delivered(&mut self) {
        self.until(|vehicle| vehicle.outbox.window().records() == 0).await;
    }

    /// Until the latest failure says all of `words`.
    pub async fn until_reason(&mut self, words: &[&str]) -> String {
        let says = |vehicle: &Vehicle| {
            vehicle
                .reasons
                .last()
                .is_some_and(|reason| words.iter().all(|word| reason.contains(word)))
        };
        for _ in 0..20 {
            if says(self) {
                return self.reasons.pop().unwrap();
            }
            self.step().await;
        }
        panic!("no failure says {words:?}; there were {:#?}", self.reasons);
    }

    pub async fn stop(self) {
        self.client.stop(self.events).await;
    }
}

/// The next message of a subscription, past whatever else happens to it.
pub async fn next_message(subscription: &mut Subscription) -> mqtt::Message {
    let message = async {
        loop {
            match subscription.next().await {
                Some(Notice::Message(message)) => return message,
                Some(Notice::Subscribed | Notice::Disconnected { .. }) => {}
                None => panic!("the subscription ended"),
            }
        }
    };
    timeout(PATIENCE, message).await.expect("a message within a minute")
}

/// Waits until the broker took the subscription.
pub async fn subscribed(settings: Settings, filter: &str) -> Subscription {
    let mut subscription = mqtt::subscribe(settings, filter.to_owned());
    let notice = timeout(PATIENCE, subscription.next()).await.expect("an answer within a minute");
    assert_eq!(notice, Some(Notice::Subscribed));
    subscription
}
