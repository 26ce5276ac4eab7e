//! Whether data moves: the verdict behind `/healthz` and `/readyz`, with reasons a person can act on.
//!
//! Healthy is about now: the view of the mesh is young, no collector hangs, the broker takes what is queued, the disk
//! takes what is gathered. Ready is
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
        spool(state),
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

fn spool(state: &State) -> Option<Reason> {
    let spool = &state.spool;
    let text = spool.error.as_ref().filter(|_| spool.configured)?;
    let (code, what) = match (spool.open, spool.degraded) {
        (false, _) => ("spool-closed", "there is no spool"),
        (true, true) => ("spool-degraded", "the spool's disk takes nothing"),
        (true, false) => ("spool-unreadable", "what the spool holds cannot be read"),
    };
    Some(Reason {
        against: Against::Healthy,
        code: Cow::Borrowed(code),
        text: format!("{what}: {text}"),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use olsr_bridge::failure::FailureClass;
    use olsr_bridge::view::MeshView;

    use super::*;
    use crate::core::state::CollectorState;
    use crate::core::time::Mono;

    const START: Mono = Mono::from_millis(60_000);

    /// A state `seconds` after a start one minute after boot.
    fn at(seconds: u64) -> State {
        let mut state = State { started: START, ..State::default() };
        state.now.mono = START + Duration::from_secs(seconds);
        state
    }

    fn codes(state: &State) -> Vec<String> {
        judge(state).reasons.into_iter().map(|reason| reason.code.into_owned()).collect()
    }

    fn view() -> Arc<MeshView> {
        let text = r#"{"daemon":"olsrd","version":null,"protocol":"jsoninfo","pid":null,
            "uptime_ms":null,"metric":"etx","metric_name":null,"hello_interval_ms":null,
            "own":[],"own_addresses":[],"links":[],"neighbors":[],"destinations":[],"edges":[],
            "networks":[],"aliases":[],"gateways":[],"names":[],"ages":[],"complaints":[]}"#;
        Arc::new(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn what_is_not_configured_is_no_fault() {
        let state = at(1_000_000);
        let expected = Health { healthy: true, ready: true, reasons: Vec::new() };
        assert_eq!(judge(&state), expected);
    }

    #[test]
    fn the_mesh_must_answer_first_for_ready_then_for_healthy() {
        let mut state = at(5);
        state.mesh.configured = true;
        assert_eq!(codes(&state), ["mesh-not-seen"]);
        assert!(judge(&state).healthy && !judge(&state).ready);

        state.now.mono = START + VIEW_AGE_MAX + Duration::from_millis(1);
        state.mesh.error = Some((FailureClass::Refused, "nobody listens at X".to_owned()));
        let health = judge(&state);
        assert!(!health.healthy && !health.ready);
        assert!(health.reasons.iter().all(|reason| reason.text.contains("nobody listens at X")));

        state.mesh.view = Some(view());
        state.mesh.view_at = Some(START);
        assert_eq!(codes(&state), ["mesh-view-old"]);
        state.mesh.view_at = Some(state.now.mono);
        assert_eq!(codes(&state), [""; 0]);
    }

    #[test]
    fn a_hanging_collector_is_named_and_a_failing_one_is_none_of_our_business() {
        let mut state = at(100);
        state.collectors.insert("cpu", CollectorState { ok: 1, ..CollectorState::default() });
        let broken =
            CollectorState { failed: 9, error: Some("EIO".into()), ..CollectorState::default() };
        state.collectors.insert("power", broken);
        assert!(judge(&state).healthy && judge(&state).ready, "an unreadable sensor is an answer");
        state.collectors.insert("thermal", CollectorState::default());
        assert_eq!(codes(&state), ["collectors-not-run"]);
        let hanging = CollectorState { failed: 1, hanging: true, ..CollectorState::default() };
        state.collectors.insert("thermal", hanging);
        let health = judge(&state);
        assert!(!health.healthy && health.ready);
        assert!(
            health.reasons[0].text.contains("thermal") && !health.reasons[0].text.contains("power")
        );
    }

    #[test]
    fn a_broker_may_be_away_for_a_while() {
        let mut state = at(0);
        state.mqtt.configured = true;
        state.now.mono = START + BROKER_AWAY_MAX;
        assert_eq!(codes(&state), [""; 0], "counted from the start of the agent, not from boot");
        state.now.mono = START + BROKER_AWAY_MAX + Duration::from_millis(1);
        assert_eq!(codes(&state), ["broker-away"]);
        state.mqtt.connected = true;
        assert_eq!(codes(&state), [""; 0]);

        state.mqtt.oldest_ms = Some(state.now.mono.millis());
        state.now.mono = state.now.mono + RECORD_AGE_MAX;
        assert_eq!(codes(&state), [""; 0]);
        state.now.mono = state.now.mono + Duration::from_millis(1);
        assert_eq!(codes(&state), ["broker-slow"]);
        state.mqtt.connected = false;
        state.mqtt.since_ms = state.now.mono.millis();
        assert_eq!(codes(&state), [""; 0], "away for a moment: the records wait, as they should");
    }
}
