//! A command post: takes what arrives at the broker, drops what comes twice, and keeps it in the order of arrival.

use std::sync::{Arc, Mutex};

use outrider::config::MqttProtocol;
use outrider::core::presence::stream_of_topic;
use outrider::core::record;
use outrider::core::record::assemble::{Received, Receiver};
use outrider::shell::mqtt::{self, Notice};

use crate::Background;
use crate::program::until;

/// Memory for records that come in parts.
const INCOMPLETE_BYTES_MAX: u64 = 4 << 20;

/// A subscriber on a thread of its own.
pub struct Command {
    arrived: Arc<Mutex<Vec<(String, Received)>>>,
    _background: Background,
}

impl Command {
    /// Listens at the broker on this port; is subscribed when this returns.
    pub fn listen(port: u16) -> Command {
        let arrived: Arc<Mutex<Vec<(String, Received)>>> = Arc::default();
        let list = Arc::clone(&arrived);
        let (background, ()) = Background::start(move |ready| async move {
            let mut subscription = mqtt::subscribe(settings(port), "fleet/+/stream/+".to_owned());
            let mut receiver = Receiver::new(INCOMPLETE_BYTES_MAX);
            while let Some(notice) = subscription.next().await {
                match notice {
                    Notice::Subscribed => _ = ready.send(()),
                    Notice::Message(message) => {
                        let (vehicle, stream) = stream_of_topic(&message.topic).unwrap();
                        assert_eq!(vehicle, "hawk");
                        let records = record::decode(&message.payload).unwrap();
                        let received = receiver.take(vehicle, stream, records);
                        let named = received.into_iter().map(|record| (stream.to_owned(), record));
                        list.lock().unwrap().extend(named);
                    }
                    _ => {}
                }
            }
        });
        Command { arrived, _background: background }
    }

    /// What arrived of a stream.
    pub fn of(&self, stream: &str) -> Vec<Received> {
        let arrived = self.arrived.lock().unwrap();
        arrived.iter().filter(|(name, _)| name == stream).map(|(_, got)| got.clone()).collect()
    }

    /// Waits until so many records of a stream have arrived, and gives all.
    pub fn until(&self, stream: &str, count: usize) -> Vec<Received> {
        until(&format!("{count} of {stream}"), || self.of(stream).len() >= count);
        self.of(stream)
    }
}

fn settings(port: u16) -> mqtt::Settings {
    mqtt::Settings {
        host: "127.0.0.1".to_owned(),
        port,
        protocol: MqttProtocol::V5,
        client_id: "command".to_owned(),
        username: None,
        password_file: None,
        tls: None,
        keep_alive: std::time::Duration::from_secs(30),
        in_flight: 20,
        timing: mqtt::Timing::default(),
    }
}
