//! What an agent with a durable queue says itself: its telemetry and events come as records of two streams instead of on topics
//! of their own. Here such a record becomes what the message would have been. It stays a record as well: what cannot be read
//! is counted by its cause, and nothing of it is lost.
//!
//! The stream `telemetry` can be read in order by whoever has only the stream: a birth stands before the batches that need
//! its dictionary. Such a birth says what numbers mean and nothing else. Who the vehicle is and which boot is its latest is
//! said by the retained birth alone, because a record may have waited for weeks.

use super::moment::Moment;
use super::refusal::Refused;
use super::{Fleet, Taken, dictionary, json};
use crate::config::{EVENTS_STREAM, TELEMETRY_STREAM};
use crate::core::record::assemble::Received;
use crate::core::telemetry::Birth;
use crate::core::telemetry::document::{BIRTH_TYPE, FRAME_TYPE, JSON_TYPE};

/// What a record of an agent's own streams is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    Birth,
    Batch,
    Event,
}

impl Own {
    /// `None` for what somebody else put into the stream, and for any other stream.
    fn of(stream: &str, content_type: &str) -> Option<Own> {
        let essence = content_type.split(';').next().unwrap_or_default().trim_end();
        match (stream, essence) {
            (TELEMETRY_STREAM, BIRTH_TYPE) => Some(Own::Birth),
            (TELEMETRY_STREAM, FRAME_TYPE | JSON_TYPE) => Some(Own::Batch),
            (EVENTS_STREAM, JSON_TYPE) => Some(Own::Event),
            _ => None,
        }
    }
}

impl Fleet {
    /// Takes what a record of a vehicle's own stream says. `None` when the record is any record, to be handed on as it is.
    pub(super) fn own(
        &mut self,
        name: &str,
        stream: &str,
        record: &Received,
        arrived: Moment,
    ) -> Option<Result<Taken, Refused>> {
        let own = Own::of(stream, record.content_type.as_deref()?)?;
        let payload = &record.payload;
        Some(match own {
            Own::Birth => self.dictionary_of_stream(name, payload, arrived),
            Own::Batch => self.telemetry(name, payload, arrived),
            Own::Event => self.event(name, payload, arrived),
        })
    }

    fn dictionary_of_stream(
        &mut self,
        name: &str,
        payload: &[u8],
        arrived: Moment,
    ) -> Result<Taken, Refused> {
        let birth: Birth = json(payload)?;
        let dictionary = dictionary(&birth)?;
        self.heard(name, arrived)?;
        let vehicle = self.vehicles.get_mut(name).ok_or_else(Refused::full)?;
        vehicle.learn(&dictionary, &mut self.names);
        Ok(Taken { changed: true, ..Taken::default() })
    }
}
