//! Metrics of the agent itself: who it is, collectors, MQTT, the spool, HTTP, events, reloads.
//!
//! [`visit`] names every value in catalog order, one family after the other.

use crate::core::catalog::{Sink, count, flag};
use crate::core::sample::Metric;
use crate::core::state::State;

/// Build.
pub static BUILD_INFO: Metric =
    Metric::info("outrider_build_info", "Version of the agent.", &["version"]);
/// Vehicle.
pub static VEHICLE_INFO: Metric = Metric::info(
    "outrider_vehicle_info",
    "This vehicle: name, kind, boot id of its kernel.",
    &["vehicle", "kind", "boot_id"],
);
/// Uptime of the agent.
pub static UPTIME: Metric = Metric::gauge(
    "outrider_agent_uptime_seconds",
    "Time since the agent started, suspend included.",
    &[],
);
/// Collector runs that ended well.
pub static COLLECTOR_RUNS: Metric = Metric::counter(
    "outrider_collector_runs_total",
    "Runs of a hardware collector that ended well.",
    &["collector"],
);
/// Collector runs that did not.
pub static COLLECTOR_FAILURES: Metric = Metric::counter(
    "outrider_collector_failures_total",
    "Runs of a hardware collector that failed or overran their deadline.",
    &["collector"],
);
/// Whether the latest run ended well.
pub static COLLECTOR_SUCCESS: Metric = Metric::gauge(
    "outrider_collector_success",
    "1 when the latest run of a hardware collector ended well.",
    &["collector"],
);
/// Whether it has not come back.
pub static COLLECTOR_HANGING: Metric = Metric::gauge(
    "outrider_collector_hanging",
    "1 while a hardware collector is past its deadline and has not come back.",
    &["collector"],
);
/// Duration.
pub static COLLECTOR_DURATION: Metric = Metric::gauge(
    "outrider_collector_duration_seconds",
    "Duration of the latest run of a hardware collector.",
    &["collector"],
);
/// Age of its values.
pub static COLLECTOR_AGE: Metric = Metric::gauge(
    "outrider_collector_age_seconds",
    "Time since a hardware collector last ended well.",
    &["collector"],
);

/// Whether the broker answers.
pub static MQTT_CONNECTED: Metric = Metric::gauge(
    "outrider_mqtt_connected",
    "1 while the MQTT broker has accepted the connection.",
    &[],
);
/// Time in this state.
pub static MQTT_STATE_AGE: Metric = Metric::gauge(
    "outrider_mqtt_state_age_seconds",
    "Time since the MQTT connection came up or went away.",
    &[],
);
/// Connections made.
pub static MQTT_CONNECTS: Metric = Metric::counter(
    "outrider_mqtt_connects_total",
    "Connections to the MQTT broker that were accepted.",
    &[],
);
/// Queue in records.
pub static MQTT_QUEUED_RECORDS: Metric = Metric::gauge(
    "outrider_mqtt_queued_records",
    "Records waiting for the MQTT broker or for its acknowledgement.",
    &[],
)
.in_telemetry(0);
/// Queue in bytes.
pub static MQTT_QUEUED_BYTES: Metric = Metric::gauge(
    "outrider_mqtt_queued_bytes",
    "Bytes of records waiting for the MQTT broker or for its acknowledgement.",
    &[],
)
.in_telemetry(0);
/// Acknowledged records.
pub static MQTT_ACKNOWLEDGED: Metric = Metric::counter(
    "outrider_mqtt_acknowledged_records_total",
    "Records the MQTT broker acknowledged.",
    &[],
);
/// Lost records.
pub static MQTT_DROPPED: Metric = Metric::counter(
    "outrider_mqtt_dropped_records_total",
    "Records dropped before the MQTT broker acknowledged them, by cause.",
    &["cause"],
);
/// Payload bytes.
pub static MQTT_SENT_BYTES: Metric = Metric::counter(
    "outrider_mqtt_sent_bytes_total",
    "Payload bytes handed to the MQTT connection, repeats included.",
    &[],
);
/// Lost values.
pub static MQTT_LOST_VALUES: Metric = Metric::counter(
    "outrider_mqtt_lost_values_total",
    "Values left out of telemetry: no room for their series, or no number that can be sent.",
    &[],
);

/// Answers.
pub static HTTP_REQUESTS: Metric = Metric::counter(
    "outrider_http_requests_total",
    "HTTP requests answered, by route and status code.",
    &["route", "code"],
);
/// Refusals.
pub static HTTP_REFUSED: Metric = Metric::counter(
    "outrider_http_refused_total",
    "HTTP connections and requests turned away, by cause.",
    &["cause"],
);
/// Connections.
pub static HTTP_CONNECTIONS: Metric =
    Metric::gauge("outrider_http_connections", "HTTP connections open now.", &[]);
/// Streams.
pub static HTTP_STREAMS: Metric =
    Metric::gauge("outrider_http_streams", "Live status streams open now.", &[]);

/// Events.
pub static EVENTS: Metric =
    Metric::counter("outrider_events_total", "Events noted since start.", &[]);
/// Reloads.
pub static CONFIG_RELOADS: Metric = Metric::counter(
    "outrider_config_reloads_total",
    "Requests to read the configuration again, by result.",
    &["result"],
);

/// All metrics of this module, in the order [`visit`] names them.
pub static ALL: &[&Metric] = &[
    &BUILD_INFO,
    &VEHICLE_INFO,
    &UPTIME,
    &COLLECTOR_RUNS,
    &COLLECTOR_FAILURES,
    &COLLECTOR_SUCCESS,
    &COLLECTOR_HANGING,
    &COLLECTOR_DURATION,
    &COLLECTOR_AGE,
    &MQTT_CONNECTED,
    &MQTT_STATE_AGE,
    &MQTT_CONNECTS,
    &MQTT_QUEUED_RECORDS,
    &MQTT_QUEUED_BYTES,
    &MQTT_ACKNOWLEDGED,
    &MQTT_DROPPED,
    &MQTT_SENT_BYTES,
    &MQTT_LOST_VALUES,
    &HTTP_REQUESTS,
    &HTTP_REFUSED,
    &HTTP_CONNECTIONS,
    &HTTP_STREAMS,
    &EVENTS,
    &CONFIG_RELOADS,
];

/// Names every value about the agent itself.
pub fn visit(state: &State, sink: &mut Sink<'_>) {
    identity(state, sink);
    collectors(state, sink);
    if state.mqtt.configured {
        mqtt(state, sink);
    }
    super::spool::visit(state, sink);
    super::delivery::visit(state, sink);
    super::membership::visit(state, sink);
    http(state, sink);
    sink(&EVENTS, &[], count(state.events.issued()));
    sink(&CONFIG_RELOADS, &["failed"], count(state.reloads.failed));
    sink(&CONFIG_RELOADS, &["ok"], count(state.reloads.ok));
}

fn identity(state: &State, sink: &mut Sink<'_>) {
    let identity = &state.identity;
    sink(&BUILD_INFO, &[&identity.version], 1.0);
    sink(&VEHICLE_INFO, &[&identity.vehicle, &identity.kind, &identity.boot_id], 1.0);
    sink(&UPTIME, &[], state.now.mono.since(state.started).as_secs_f64());
}

fn collectors(state: &State, sink: &mut Sink<'_>) {
    for (name, collector) in &state.collectors {
        sink(&COLLECTOR_RUNS, &[name], count(collector.ok));
    }
    for (name, collector) in &state.collectors {
        sink(&COLLECTOR_FAILURES, &[name], count(collector.failed));
    }
    for (name, collector) in &state.collectors {
        let success = collector.ok > 0 && collector.error.is_none() && !collector.hanging;
        sink(&COLLECTOR_SUCCESS, &[name], flag(success));
    }
    for (name, collector) in &state.collectors {
        sink(&COLLECTOR_HANGING, &[name], flag(collector.hanging));
    }
    for (name, collector) in &state.collectors {
        sink(&COLLECTOR_DURATION, &[name], count(collector.run_us) / 1e6);
    }
    for (name, collector) in &state.collectors {
        if let Some(at) = collector.ok_at {
            sink(&COLLECTOR_AGE, &[name], state.now.mono.since(at).as_secs_f64());
        }
    }
}

fn mqtt(state: &State, sink: &mut Sink<'_>) {
    let mqtt = &state.mqtt;
    sink(&MQTT_CONNECTED, &[], flag(mqtt.connected));
    let state_age_ms = state.now.mono.millis().saturating_sub(mqtt.since_ms);
    sink(&MQTT_STATE_AGE, &[], count(state_age_ms) / 1000.0);
    sink(&MQTT_CONNECTS, &[], count(mqtt.connects));
    sink(&MQTT_QUEUED_RECORDS, &[], count(mqtt.queued));
    sink(&MQTT_QUEUED_BYTES, &[], count(mqtt.queued_bytes));
    sink(&MQTT_ACKNOWLEDGED, &[], count(mqtt.acknowledged));
    for (cause, dropped) in &mqtt.dropped {
        sink(&MQTT_DROPPED, &[cause], count(*dropped));
    }
    sink(&MQTT_SENT_BYTES, &[], count(mqtt.sent_bytes));
    sink(&MQTT_LOST_VALUES, &[], count(mqtt.lost_values));
}

fn http(state: &State, sink: &mut Sink<'_>) {
    for ((route, code), requests) in &state.http.requests {
        sink(&HTTP_REQUESTS, &[route, &code.to_string()], count(*requests));
    }
    for (cause, refused) in &state.http.refused {
        sink(&HTTP_REFUSED, &[cause], count(*refused));
    }
    sink(&HTTP_CONNECTIONS, &[], count(state.http.connections));
    sink(&HTTP_STREAMS, &[], count(state.http.streams));
}
