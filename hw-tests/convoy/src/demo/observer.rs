//! Listens at the broker like any consumer would, with a client that is not ours, and counts what arrives.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rumqttc_v5::mqttbytes::QoS;
use rumqttc_v5::mqttbytes::v5::Packet;
use rumqttc_v5::{AsyncClient, Event, MqttOptions};

/// First part of the agents' topics, their default.
const PREFIX: &str = "outrider";
/// Births name every series: with thirty vehicles they are larger than the client takes by default (10 KiB).
const MESSAGE_BYTES_MAX: u32 = 1024 * 1024;
/// Pause before another attempt when the broker went away.
const RETRY: Duration = Duration::from_millis(500);

/// What arrived from one vehicle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Birth documents.
    pub births: u64,
    /// Telemetry batches.
    pub batches: u64,
    /// Bytes of telemetry payload.
    pub bytes: u64,
    /// Events.
    pub events: u64,
}

/// What arrived, by vehicle.
pub type Traffic = BTreeMap<String, Heard>;

/// Listens as a task.
#[derive(Debug)]
pub struct Observer {
    notes: Arc<Mutex<Notes>>,
}

/// What the task has seen.
#[derive(Debug, Default)]
struct Notes {
    traffic: Traffic,
    trouble: Option<String>,
}

impl Observer {
    /// What has arrived so far.
    pub fn traffic(&self) -> Traffic {
        // Counters are whole at any moment.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).traffic.clone()
    }

    /// Why the latest connection that failed did so.
    pub fn trouble(&self) -> Option<String> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).trouble.clone()
    }
}

/// Starts to listen at `broker`.
pub fn start(broker: SocketAddr) -> Observer {
    let notes = Arc::default();
    tokio::spawn(listen(broker, Arc::clone(&notes)));
    Observer { notes }
}

async fn listen(broker: SocketAddr, notes: Arc<Mutex<Notes>>) {
    let mut options = MqttOptions::new("convoy-observer", (broker.ip().to_string(), broker.port()));
    options.set_max_packet_size(Some(MESSAGE_BYTES_MAX));
    let (client, mut events) = AsyncClient::builder(options).capacity(10).build();
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                // It fails only when the event loop is gone, and that is here.
                let _ = client.subscribe(format!("{PREFIX}/#"), QoS::AtLeastOnce).await;
            }
            Ok(Event::Incoming(Packet::Publish(message))) => {
                let topic = String::from_utf8_lossy(&message.topic);
                let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
                note(&mut notes.traffic, &topic, message.payload.len());
            }
            Ok(_) => {}
            Err(error) => {
                notes.lock().unwrap_or_else(PoisonError::into_inner).trouble =
                    Some(error.to_string());
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Counts a message on `PREFIX/vehicle/kind`.
fn note(traffic: &mut Traffic, topic: &str, bytes: usize) {
    let mut levels = topic.split('/').skip(1);
    let (Some(vehicle), Some(kind), None) = (levels.next(), levels.next(), levels.next()) else {
        return;
    };
    let heard = traffic.entry(vehicle.to_owned()).or_default();
    match kind {
        "birth" => heard.births += 1,
        "telemetry" => {
            heard.batches += 1;
            heard.bytes += bytes as u64;
        }
        "event" => heard.events += 1,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_by_vehicle_and_kind() {
        let mut traffic = Traffic::new();
        for (topic, bytes) in [
            ("outrider/alpha/birth", 900),
            ("outrider/alpha/telemetry", 40),
            ("outrider/alpha/telemetry", 50),
            ("outrider/bravo/event", 10),
            ("outrider/alpha/telemetry/deeper", 1),
            ("outrider/alpha", 1),
        ] {
            note(&mut traffic, topic, bytes);
        }
        assert_eq!(traffic["alpha"], Heard { births: 1, batches: 2, bytes: 90, events: 0 });
        assert_eq!(traffic["bravo"].events, 1);
        assert_eq!(traffic.len(), 2);
    }
}
