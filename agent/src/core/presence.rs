//! Names and words under which this vehicle appears at the broker: its topics and its status document.
//!
//! | topic                         | retained | what                                                        |
//! |-------------------------------|----------|-------------------------------------------------------------|
//! | `<prefix>/<vehicle>/birth`     | yes      | who this is, versions, series dictionary                    |
//! | `<prefix>/<vehicle>/status`    | yes      | a [`Status`] document; the last will is one too             |
//! | `<prefix>/<vehicle>/telemetry` | no       | batches of samples                                          |
//! | `<prefix>/<vehicle>/event`     | no       | one event                                                   |
//! | `<prefix>/<vehicle>/stream/<name>` | no   | records of one stream                                       |

use serde::{Deserialize, Serialize};

/// Longest vehicle name in a topic, in bytes. MQTT allows 65,535 for a whole topic; brokers and file systems behind them
/// do not enjoy that, and 255 is the longest host name.
pub const VEHICLE_BYTES_MAX: usize = 255;

/// Version of the [`Status`] document.
pub const STATUS_VERSION: u8 = 1;

/// The topics of one vehicle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// Retained: who this is.
    pub birth: String,
    /// Retained: whether it is connected.
    pub status: String,
    /// Batches of samples.
    pub telemetry: String,
    /// Single events.
    pub event: String,
    /// In front of the name of a stream.
    streams: String,
}

impl Topics {
    /// Topics of `vehicle` below `prefix`, which may itself have several levels.
    #[must_use]
    pub fn new(prefix: &str, vehicle: &str) -> Topics {
        let levels: Vec<String> =
            prefix.split('/').filter(|level| !level.is_empty()).map(topic_level).collect();
        let mut base = levels.join("/");
        if !base.is_empty() {
            base.push('/');
        }
        base.push_str(&topic_level(vehicle));
        Topics {
            birth: format!("{base}/birth"),
            status: format!("{base}/status"),
            telemetry: format!("{base}/telemetry"),
            event: format!("{base}/event"),
            streams: format!("{base}/{STREAM_LEVEL}/"),
        }
    }

    /// Records of the stream `name`, which is a name as [`crate::core::record::check_stream_name`] wants it.
    #[must_use]
    pub fn stream(&self, name: &str) -> String {
        format!("{}{}", self.streams, topic_level(name))
    }
}

/// The level in front of the name of a stream.
const STREAM_LEVEL: &str = "stream";

/// Vehicle (as in its topics) and stream of a topic that [`Topics::stream`] gave, whatever its prefix; `None` for another.
#[must_use]
pub fn stream_of_topic(topic: &str) -> Option<(&str, &str)> {
    let (rest, name) = topic.rsplit_once('/')?;
    let (rest, level) = rest.rsplit_once('/')?;
    let vehicle = rest.rsplit_once('/').map_or(rest, |(_, vehicle)| vehicle);
    (level == STREAM_LEVEL && !vehicle.is_empty() && !name.is_empty()).then_some((vehicle, name))
}

/// `name` as one level of a topic: what MQTT gives a meaning (`+`, `#`, `/`, a leading `$`) or forbids (NUL, control
/// characters; MQTT 5 section 1.5.4) becomes `_`. Distinct names that differ only there share their topics.
#[must_use]
pub fn topic_level(name: &str) -> String {
    let mut level = String::new();
    for (index, character) in name.chars().enumerate() {
        let replaced = match character {
            '+' | '#' | '/' => '_',
            '$' if index == 0 => '_',
            character if character.is_control() => '_',
            character => character,
        };
        if level.len() + replaced.len_utf8() > VEHICLE_BYTES_MAX {
            break;
        }
        level.push(replaced);
    }
    if level.is_empty() {
        level.push('_');
    }
    level
}

/// Connected or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// Connected to the broker.
    Online,
    /// Not connected.
    Offline,
}

/// Why a vehicle is offline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OfflineCause {
    /// The broker lost the connection: out of reach, out of power, crashed. This one is the last will.
    ConnectionLost,
    /// The agent was stopped and said so.
    Stopped,
}

/// The JSON document on the `status` topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// [`STATUS_VERSION`]; additions do not change it.
    pub version: u8,
    /// Name of the vehicle, as configured, not as in the topic.
    pub vehicle: String,
    /// Connected or not.
    pub status: Presence,
    /// Why not, when offline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<OfflineCause>,
    /// The kernel's boot id.
    pub boot_id: String,
    /// Connections since the agent started, from 1: pairs an offline document with the online one it ends.
    pub connection: u64,
}

/// Who the status documents speak of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Speaker {
    /// Name of the vehicle.
    pub vehicle: String,
    /// The kernel's boot id.
    pub boot_id: String,
}

impl Speaker {
    /// The document for connection number `connection`; `offline` is `None` while it lasts.
    #[must_use]
    pub fn status(&self, connection: u64, offline: Option<OfflineCause>) -> Vec<u8> {
        let status = Status {
            version: STATUS_VERSION,
            vehicle: self.vehicle.clone(),
            status: if offline.is_some() { Presence::Offline } else { Presence::Online },
            cause: offline,
            boot_id: self.boot_id.clone(),
            connection,
        };
        serde_json::to_vec(&status).expect("strings and numbers always serialise")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn topics_lie_below_prefix_and_vehicle() {
        let topics = Topics::new("fleet/outrider/", "hawk");
        assert_eq!(topics.birth, "fleet/outrider/hawk/birth");
        assert_eq!(topics.status, "fleet/outrider/hawk/status");
        assert_eq!(topics.telemetry, "fleet/outrider/hawk/telemetry");
        assert_eq!(topics.event, "fleet/outrider/hawk/event");
        assert_eq!(Topics::new("", "hawk").event, "hawk/event");
        assert_eq!(topics.stream("gps"), "fleet/outrider/hawk/stream/gps");
    }

    #[test]
    fn the_topic_of_a_stream_names_vehicle_and_stream() {
        for prefix in ["", "fleet", "fleet/outrider"] {
            let topic = Topics::new(prefix, "hawk").stream("gps");
            assert_eq!(stream_of_topic(&topic), Some(("hawk", "gps")));
        }
        for topic in ["fleet/hawk/telemetry", "stream/gps", "/stream/gps", "a/stream/", ""] {
            assert_eq!(stream_of_topic(topic), None, "{topic}");
        }
    }

    #[test]
    fn characters_with_a_meaning_are_replaced() {
        assert_eq!(topic_level("a+b#c/d\0e\nf"), "a_b_c_d_e_f");
        assert_eq!(topic_level("$SYS"), "_SYS");
        assert_eq!(topic_level("cash$"), "cash$");
        assert_eq!(topic_level(""), "_");
        assert_eq!(topic_level(&"ü".repeat(200)).len(), 254);
    }

    #[test]
    fn status_documents_are_as_documented() {
        let speaker = Speaker { vehicle: "hawk".to_owned(), boot_id: "b".to_owned() };
        assert_eq!(
            String::from_utf8(speaker.status(3, None)).unwrap(),
            r#"{"version":1,"vehicle":"hawk","status":"online","boot_id":"b","connection":3}"#
        );
        assert_eq!(
            String::from_utf8(speaker.status(3, Some(OfflineCause::ConnectionLost))).unwrap(),
            r#"{"version":1,"vehicle":"hawk","status":"offline","cause":"connection-lost","boot_id":"b","connection":3}"#
        );
    }

    proptest! {
        #[test]
        fn no_vehicle_name_leaves_its_level(name in any::<String>()) {
            let level = topic_level(&name);
            prop_assert!(!level.is_empty() && level.len() <= VEHICLE_BYTES_MAX);
            prop_assert!(!level.contains(['+', '#', '/', '\0']) && !level.starts_with('$'));
            prop_assert_eq!(topic_level(&level), level.clone());
            prop_assert_eq!(Topics::new("p", &name).event.split('/').count(), 3);
        }
    }
}
