//! Whether data moves: the verdict behind `/healthz` and `/readyz`, with reasons a person can act on.
//!
//! Healthy is about now: the view of the mesh is young, no collector hangs, the broker takes what is queued. Ready is
//! about the start: the first view is there and every collector has answered once. What is not configured is no fault.
//! Nothing should restart the agent for being unhealthy: most reasons lie in the radio or in another program.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::core::state::State;

/// A view of the mesh older than this is a reason. Long enough for a restart of the routing daemon, which answers
/// within seconds.
pub const VIEW_AGE_MAX: Duration = Duration::from_secs(30);

/// A broker that has been away for longer is a reason. Shorter absences are everyday life on a radio link.
pub const BROKER_AWAY_MAX: Duration = Duration::from_secs(600);

/// The oldest record may wait this long while the broker is connected. Several times the default batch of 60 s, and
/// longer than a whole window needs on a link of 650 kbit/s with 3 s of delay.
pub const RECORD_AGE_MAX: Duration = Duration::from_secs(300);

/// The verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Data moves.
    pub healthy: bool,
    /// The first data has arrived.
    pub ready: bool,
    /// Why it is not healthy or not ready.
    pub reasons: Vec<Reason>,
}

/// What a reason speaks against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Against {
    /// Against being healthy.
    Healthy,
    /// Against being ready.
    Ready,
}

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// What it speaks against.
    pub against: Against,
    /// Fixed word for programs.
    pub code: Cow<'static, str>,
    /// What is wrong and where to look, for a person.
    pub text: String,
}

/// Judges the state at its own `now`.
#[must_use]
pub fn judge(state: &State) -> Health {
    let reasons: Vec<Reason> = [
        first_view(state),
        old_view(state),
        first_run(state),
        hanging(state),
        broker(state),
        queue(state),
    ]
    .into_iter()
    .flatten()
    .collect();
    let none_against = |against| !reasons.iter().any(|reason| reason.against == against);
    Health { healthy: none_against(Against::Healthy), ready: none_against(Against::Ready), reasons }
}

fn first_view(state: &State) -> Option<Reason> {
    (state.mesh.configured && state.mesh.view.is_none()).then(|| Reason {
        against: Against::Ready,
        code: Cow::Borrowed("mesh-not-seen"),
        text: format!("no view of the mesh yet{}", mesh_cause(state)),
    })
}

fn old_view(state: &State) -> Option<Reason> {
    let age = state.now.mono.since(state.mesh.view_at.unwrap_or(state.started));
    (state.mesh.configured && age > VIEW_AGE_MAX).then(|| Reason {
        against: Against::Healthy,
        code: Cow::Borrowed("mesh-view-old"),
        text: format!("no view of the mesh for {} s{}", age.as_secs(), mesh_cause(state)),
    })
}

fn mesh_cause(state: &State) -> String {
    state.mesh.error.as_ref().map_or_else(String::new, |(_, text)| format!(": {text}"))
}

fn first_run(state: &State) -> Option<Reason> {
    let waiting = names(state, |collector| collector.ok == 0 && collector.failed == 0);
    (!waiting.is_empty()).then(|| Reason {
        against: Against::Ready,
        code: Cow::Borrowed("collectors-not-run"),
        text: format!("collectors that have not answered yet: {waiting}"),
    })
}

fn hanging(state: &State) -> Option<Reason> {
    let hanging = names(state, |collector| collector.hanging);
    (!hanging.is_empty()).then(|| Reason {
        against: Against::Healthy,
        code: Cow::Borrowed("collectors-hanging"),
        text: format!(
            "collectors past their deadline: {hanging}; a sensor, disk or mount does not answer the kernel"
        ),
    })
}

fn names(state: &State, which: fn(&crate::core::state::CollectorState) -> bool) -> String {
    let names: Vec<&str> = state
        .collectors
        .iter()
        .filter(|(_, collector)| which(collector))
        .map(|(name, _)| *name)
        .collect();
    names.join(", ")
}

fn broker(state: &State) -> Option<Reason> {
    let mqtt = &state.mqtt;
    let away_ms = state.now.mono.millis().saturating_sub(mqtt.since_ms.max(state.started.millis()));
    let away = Duration::from_millis(away_ms);
    (mqtt.configured && !mqtt.connected && away > BROKER_AWAY_MAX).then(|| Reason {
        against: Against::Healthy,
        code: Cow::Borrowed("broker-away"),
        text: format!(
            "no connection to the MQTT broker {} for {} min{}",
            mqtt.broker,
            away.as_secs() / 60,
            mqtt.error.as_ref().map_or_else(String::new, |text| format!(": {text}"))
        ),
    })
}

fn queue(state: &State) -> Option<Reason> {
    let mqtt = &state.mqtt;
    let waiting_ms = state.now.mono.millis().saturating_sub(mqtt.oldest_ms?);
    let waiting = Duration::from_millis(waiting_ms);
    (mqtt.configured && mqtt.connected && waiting > RECORD_AGE_MAX).then(|| Reason {
        against: Against::Healthy,
        code: Cow::Borrowed("broker-slow"),
        text: format!(
            "the oldest of {} records has waited {} s for the MQTT broker {}",
            mqtt.queued,
            waiting.as_secs(),
            mqtt.broker
        ),
    })
}
