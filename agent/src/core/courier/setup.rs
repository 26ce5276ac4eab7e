//! What is configured of streams and of the way out, in the courier's terms.

use std::sync::Arc;

use crate::config;
use crate::core::pacing::{Limits, Urgency};

/// Which end of a stream goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The oldest: everything in order.
    #[default]
    BacklogFirst,
    /// What has just come in, then the oldest.
    LiveFirst,
}

/// What is configured of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSetup {
    /// Its name, as [`crate::core::record::check_stream_name`] wants it.
    pub name: Arc<str>,
    /// How much it matters.
    pub urgency: Urgency,
    /// Its part of what the link carries, against the other streams that are no events; at least 1.
    pub weight: u32,
    /// Held while the cost of the link is above this.
    pub hold_above: Option<u32>,
    /// Which end goes first.
    pub order: Order,
}

impl StreamSetup {
    /// As the configuration has it.
    #[must_use]
    pub fn configured(stream: &config::Stream, delivery: &config::Delivery) -> StreamSetup {
        let urgency = match stream.priority {
            config::Priority::Event => Urgency::Event,
            config::Priority::Normal => Urgency::Normal,
            config::Priority::Bulk => Urgency::Bulk,
        };
        let bulk_above = (urgency == Urgency::Bulk).then_some(delivery.hold_bulk_above);
        let own_above = stream.hold_above.map(|cost| u32::try_from(cost).unwrap_or(u32::MAX));
        let is_telemetry = stream.name == config::TELEMETRY_STREAM;
        let order = match delivery.order {
            config::DeliveryOrder::LiveFirst if is_telemetry => Order::LiveFirst,
            config::DeliveryOrder::LiveFirst | config::DeliveryOrder::BacklogFirst => {
                Order::BacklogFirst
            }
        };
        StreamSetup {
            name: stream.name.as_str().into(),
            urgency,
            weight: u32::from(stream.weight),
            hold_above: own_above.or(bulk_above),
            order,
        }
    }
}

/// Numbers that do not change with the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of messages without acknowledgement.
    pub memory_bytes: u64,
}

/// The caps of the configuration.
#[must_use]
pub fn limits(delivery: &config::Delivery) -> Limits {
    Limits { bytes_per_s: delivery.rate, bytes_per_day: delivery.bytes_per_day }
}
