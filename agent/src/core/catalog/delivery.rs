//! Metrics of how gathered records leave.
//!
//! [`visit`] names every value in catalog order, one family after the other; nothing without a spool or without a broker.

use crate::core::catalog::{Sink, count, flag};
use crate::core::courier::{DeliveryState, StreamCounts};
use crate::core::sample::Metric;
use crate::core::state::State;

/// Messages without acknowledgement.
pub static IN_FLIGHT: Metric = Metric::gauge(
    "outrider_delivery_in_flight_messages",
    "Messages of gathered records that the broker has not acknowledged.",
    &[],
);
/// Their bytes.
pub static IN_FLIGHT_BYTES: Metric = Metric::gauge(
    "outrider_delivery_in_flight_bytes",
    "Bytes of the messages of gathered records that the broker has not acknowledged.",
    &[],
);
/// How many bytes that may be.
pub static WINDOW_BYTES: Metric = Metric::gauge(
    "outrider_delivery_window_bytes",
    "Bytes that may be without acknowledgement; what the link carries in the time of one.",
    &[],
);
/// What arrives.
pub static GOODPUT: Metric = Metric::gauge(
    "outrider_delivery_goodput_bytes_per_second",
    "Bytes a second of gathered records that the broker acknowledged when there was enough to send.",
    &[],
)
.in_telemetry(2);
/// Time of an acknowledgement.
pub static ROUND_TRIP: Metric = Metric::gauge(
    "outrider_delivery_round_trip_seconds",
    "Shortest time from a message to its acknowledgement on this connection.",
    &[],
);
/// Cost of the way.
pub static LINK_COST: Metric = Metric::gauge(
    "outrider_delivery_link_cost",
    "Network cost to the vehicle that the broker is on, where that is known.",
    &[],
);
/// Part of the tariff that is used.
pub static DAY_BYTES: Metric = Metric::gauge(
    "outrider_delivery_day_bytes",
    "Bytes that left in the current 24 hours of running time.",
    &[],
);
/// Acknowledgements of nothing.
pub static STRAY: Metric = Metric::counter(
    "outrider_delivery_stray_acknowledgements_total",
    "Acknowledgements of messages that were not in flight; they free nothing.",
    &[],
);

/// Messages.
pub static MESSAGES: Metric = Metric::counter(
    "outrider_delivery_messages_total",
    "Messages of a stream that were handed to the connection, repeats included.",
    &["stream"],
);
/// Bytes.
pub static BYTES: Metric = Metric::counter(
    "outrider_delivery_bytes_total",
    "Bytes of the messages of a stream that were handed to the connection, repeats included.",
    &["stream"],
);
/// Bytes before compression.
pub static RAW_BYTES: Metric = Metric::counter(
    "outrider_delivery_raw_bytes_total",
    "Bytes that the messages of a stream would have had without compression.",
    &["stream"],
);
/// Refusals.
pub static REFUSED: Metric = Metric::counter(
    "outrider_delivery_refused_messages_total",
    "Messages of a stream that the broker refused; what is in them waits.",
    &["stream"],
);
/// Held.
pub static HELD: Metric = Metric::gauge(
    "outrider_delivery_held",
    "1 while a stream is held because of the cost of the link or a strained membership.",
    &["stream"],
);

/// All metrics of this module, in the order [`visit`] names them.
pub static ALL: &[&Metric] = &[
    &IN_FLIGHT,
    &IN_FLIGHT_BYTES,
    &WINDOW_BYTES,
    &GOODPUT,
    &ROUND_TRIP,
    &LINK_COST,
    &DAY_BYTES,
    &STRAY,
    &MESSAGES,
    &BYTES,
    &RAW_BYTES,
    &REFUSED,
    &HELD,
];

/// Names every value about the delivery.
pub fn visit(state: &State, sink: &mut Sink<'_>) {
    if !state.spool.configured || !state.mqtt.configured {
        return;
    }
    let DeliveryState { way, .. } = &state.delivery;
    sink(&IN_FLIGHT, &[], count(way.in_flight));
    sink(&IN_FLIGHT_BYTES, &[], count(way.in_flight_bytes));
    sink(&WINDOW_BYTES, &[], count(way.window_bytes));
    if let Some(goodput) = way.goodput {
        sink(&GOODPUT, &[], count(goodput));
    }
    if let Some(trip_ms) = way.round_trip_ms {
        sink(&ROUND_TRIP, &[], count(trip_ms) / 1000.0);
    }
    if let Some(cost) = way.link_cost {
        sink(&LINK_COST, &[], f64::from(cost));
    }
    sink(&DAY_BYTES, &[], count(way.day_bytes));
    sink(&STRAY, &[], count(way.stray));
    for_each(&state.delivery, &MESSAGES, sink, |stream| count(stream.messages));
    for_each(&state.delivery, &BYTES, sink, |stream| count(stream.bytes));
    for_each(&state.delivery, &RAW_BYTES, sink, |stream| count(stream.raw_bytes));
    for_each(&state.delivery, &REFUSED, sink, |stream| count(stream.refused));
    for_each(&state.delivery, &HELD, sink, |stream| flag(stream.held));
}

fn for_each(
    delivery: &DeliveryState,
    metric: &'static Metric,
    sink: &mut Sink<'_>,
    value: fn(&StreamCounts) -> f64,
) {
    for (name, stream) in &delivery.streams {
        sink(metric, &[name], value(stream));
    }
}
