//! `[[gather.mqtt]]`: what a broker on this vehicle publishes becomes records.
//!
//! Subscribed with QoS 1 in a session that the broker keeps for [`SESSION_EXPIRY`], so that nothing is missed while the agent
//! is away. A publication is acknowledged when its record is durable, in the order of arrival; a record that finds no room
//! waits here, with it what comes after, and the broker keeps the rest. After a lost connection the broker sends again what
//! was not acknowledged: at least once. Publications with QoS 0 are taken as they come, and lost when nobody is connected.
//!
//! The payload is the record, as it is. Its content type is `application/mqtt; topic="<topic>"`, in which bytes other than
//! printable ASCII, and `"`, `\` and `%`, are written as `%` and two hexadecimal digits; a topic that does not fit in 127
//! bytes is left out and told once. Retained publications are what was known before the subscription, sent again at each
//! connection: they are passed over.

use std::collections::VecDeque;
use std::time::Duration;

use spool::{RecordId, StreamName};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::{Ack, Intake, Refused, Teller};
use crate::config::{GatherMqtt, MqttProtocol};
use crate::core::record::CONTENT_TYPE_BYTES_MAX;
use crate::shell::mqtt::{Arrival, Link, Message, Receipt, Settings, Timing, collect};

/// How long the broker keeps what comes while the agent is away.
pub const SESSION_EXPIRY: Duration = Duration::from_secs(7 * 86_400);

/// Longest pause before a refused record is tried again.
const REFUSED_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Time without traffic after which the connection is probed.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Publications that may wait for their sync. The broker sends no more than it may have unacknowledged, so this is only
/// reached by QoS 0.
const WAITING_MAX: usize = 1_024;

/// Takes what one broker publishes, for ever.
pub async fn watch(config: GatherMqtt, client_id: String, intake: Intake, teller: Teller) {
    let settings = Settings {
        host: config.host.clone(),
        port: config.port,
        protocol: MqttProtocol::Auto,
        client_id,
        username: config.username.clone(),
        password_file: config.password_file.clone(),
        tls: None,
        keep_alive: KEEP_ALIVE,
        in_flight: 1,
        timing: Timing::default(),
    };
    let broker = settings.broker();
    let mut collection = collect(settings, config.filter.clone(), SESSION_EXPIRY);
    let (answers, mut answered) = mpsc::channel(WAITING_MAX);
    let mut queue = Queue {
        config,
        broker,
        intake,
        teller,
        answers,
        link: None,
        connection: 0,
        next: 0,
        waiting: VecDeque::new(),
    };
    loop {
        tokio::select! {
            biased;
            Some((number, result)) = answered.recv() => queue.answered(number, result).await,
            arrival = collection.next(), if queue.waiting.len() < WAITING_MAX => match arrival {
                Some(arrival) => queue.arrived(arrival).await,
                None => return,
            },
        }
    }
}

/// A publication whose record is not durable yet, or that stands behind one.
struct Waiting {
    number: u64,
    /// The connection by which it came; its receipt is of use only there.
    connection: u64,
    receipt: Option<Receipt>,
    /// Kept until it is durable, to be handed in again if it has to be.
    message: Option<Message>,
}

struct Queue {
    config: GatherMqtt,
    broker: String,
    intake: Intake,
    teller: Teller,
    answers: mpsc::Sender<(u64, Result<RecordId, Refused>)>,
    link: Option<Link>,
    connection: u64,
    next: u64,
    /// In the order of arrival.
    waiting: VecDeque<Waiting>,
}

impl Queue {
    async fn arrived(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Connected { link, .. } => {
                self.link = Some(link);
                self.connection += 1;
            }
            Arrival::Message { message, receipt } => {
                let wanted = !message.retained;
                self.wait_for(receipt, wanted.then(|| message.clone()));
                if wanted {
                    self.hand_in(self.next - 1, &message).await;
                }
                self.acknowledge();
            }
            Arrival::TooLarge { topic, bytes, receipt } => {
                self.lost(&topic, bytes);
                self.wait_for(receipt, None);
                self.acknowledge();
            }
            Arrival::Disconnected { reason } => {
                self.link = None;
                let text = format!("nothing is gathered from {}: {reason}", self.broker);
                self.teller.trouble("gather-mqtt", &self.config.stream, text);
            }
            // Nothing is published on this connection.
            Arrival::Subscribed | Arrival::Acknowledged(_) | Arrival::Refused { .. } => {}
        }
    }

    fn wait_for(&mut self, receipt: Option<Receipt>, message: Option<Message>) {
        let (number, connection) = (self.next, self.connection);
        self.next += 1;
        self.waiting.push_back(Waiting { number, connection, receipt, message });
    }

    /// Hands a record in, as often as it takes.
    async fn hand_in(&mut self, number: u64, message: &Message) {
        let content_type = self.content_type(&message.topic);
        loop {
            let answers = self.answers.clone();
            // There is room for one answer of each that waits.
            let reply = move |result| _ = answers.try_send((number, result));
            let offered = match self.intake.target(&self.config.stream).await {
                Ok(target) => {
                    let payload = &message.payload;
                    self.intake
                        .put(&target, Some(&content_type), payload, Ack::Durable, reply)
                        .await
                }
                Err(refused) => Err(refused),
            };
            match offered {
                Ok(()) => return,
                Err(Refused::TooLarge { .. }) => {
                    self.lost(&message.topic, message.payload.len());
                    self.done(number);
                    return;
                }
                Err(refused) => self.wait_for_room(&refused).await,
            }
        }
    }

    /// The spool has answered for a record.
    async fn answered(&mut self, number: u64, result: Result<RecordId, Refused>) {
        let Err(refused) = result else {
            self.done(number);
            return self.acknowledge();
        };
        let waiting = self.waiting.iter().find(|waiting| waiting.number == number);
        let Some(message) = waiting.and_then(|waiting| waiting.message.clone()) else { return };
        self.wait_for_room(&refused).await;
        self.hand_in(number, &message).await;
        self.acknowledge();
    }

    fn done(&mut self, number: u64) {
        if let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.number == number) {
            waiting.message = None;
        }
    }

    /// Gives receipts back, up to the first record that is not durable.
    fn acknowledge(&mut self) {
        while self.waiting.front().is_some_and(|waiting| waiting.message.is_none()) {
            let Some(waiting) = self.waiting.pop_front() else { return };
            if waiting.connection == self.connection
                && let (Some(link), Some(receipt)) = (&self.link, waiting.receipt)
            {
                link.acknowledge(receipt);
            }
        }
    }

    async fn wait_for_room(&self, refused: &Refused) {
        if !matches!(refused, Refused::Busy) {
            let text = format!("publications of {} wait: {refused}", self.broker);
            self.teller.trouble("gather-waits", &self.config.stream, text);
        }
        let pause = Duration::from_secs(refused.retry_after_s().unwrap_or(u32::MAX).into());
        sleep(pause.min(REFUSED_PAUSE_MAX)).await;
    }

    fn lost(&self, topic: &str, bytes: usize) {
        let text = format!(
            "a publication of {bytes} bytes on {topic} at {} is larger than the {} bytes a record may have; it is \
             lost",
            self.broker,
            self.intake.payload_bytes_max()
        );
        self.teller.trouble("gather-lost", &self.config.stream, text);
    }

    fn content_type(&self, topic: &str) -> String {
        let told = content_type(topic);
        told.unwrap_or_else(|| {
            let text = format!(
                "topics of {} are too long to be kept with their records, such as {topic}",
                self.broker
            );
            self.teller.trouble("gather-topic", &self.config.stream, text);
            "application/mqtt".to_owned()
        })
    }
}

/// The content type that tells a topic, if it fits.
fn content_type(topic: &str) -> Option<String> {
    use std::fmt::Write as _;
    let mut text = "application/mqtt; topic=\"".to_owned();
    for byte in topic.bytes() {
        if (0x20..0x7f).contains(&byte) && !b"\"\\%".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text.push('"');
    (text.len() <= CONTENT_TYPE_BYTES_MAX).then_some(text)
}

/// Identifier of the session: the same at each start, and another one for each table.
pub(super) fn client_id(vehicle: &str, config: &GatherMqtt) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let filter: String = config.filter.chars().map(plain).collect();
    // What reads the same may still be two filters.
    let mark = StreamName::new(&config.stream).map_or(0, |name| name.tag().0)
        ^ config.filter.bytes().fold(0, |sum: u32, byte| sum.rotate_left(5) ^ u32::from(byte));
    format!("outrider-{vehicle}-gather-{filter}-{mark:08x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_told_in_plain_characters_or_not_at_all() {
        let told = content_type("sensors/a b/\u{b0}C\"").unwrap();
        assert_eq!(told, "application/mqtt; topic=\"sensors/a b/%C2%B0C%22\"");
        assert_eq!(content_type(&"t".repeat(101)).map(|text| text.len()), Some(127));
        assert_eq!(content_type(&"t".repeat(102)), None);
    }

    #[test]
    fn sessions_of_two_tables_have_two_identifiers() {
        let id = |filter: &str| {
            let config = GatherMqtt {
                filter: filter.to_owned(),
                stream: "s".to_owned(),
                host: String::new(),
                port: 1883,
                username: None,
                password_file: None,
            };
            client_id("alpha", &config)
        };
        assert_ne!(id("a/b"), id("a-b"));
        assert_eq!(id("a/b"), id("a/b"));
        assert!(id("a/b").starts_with("outrider-alpha-gather-a-b-"));
    }
}
