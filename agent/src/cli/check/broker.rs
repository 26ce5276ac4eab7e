//! Does the broker let us in?

use std::time::Duration;

use tokio::time::timeout;

use super::{Check, Context, Finding};
use crate::shell::mqtt::{Notice, Settings, Timing, subscribe};

pub(super) const CHECK: Check = Check {
    id: "broker",
    title: "MQTT broker",
    reason: "telemetry and events go there",
    needs_config: true,
    run,
};

/// Time for all of it: connecting, TLS, logging in, and once more with the older protocol.
const WITHIN: Duration = Duration::from_secs(20);

/// Attempts: the second speaks the older protocol if the first was refused for the newer one.
const ATTEMPTS: usize = 2;

fn run(context: &Context) -> Vec<Finding> {
    let mqtt = &context.config.mqtt;
    let Some(settings) = Settings::from_config(mqtt) else {
        return Finding::skipped("none is configured");
    };
    let broker = settings.broker();
    let settings = Settings {
        // A second client of the same name would throw the running agent out.
        client_id: format!("{}-check", settings.client_id),
        timing: Timing {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(5),
            ..settings.timing
        },
        ..settings
    };
    // Own topic: what a broker with access rules lets this vehicle read if anything.
    let filter = format!("{}/{}/check", mqtt.topic, context.config.vehicle.name);
    let attempt = async {
        let mut reason = String::new();
        let mut subscription = subscribe(settings, filter);
        for _ in 0..ATTEMPTS {
            match subscription.next().await {
                Some(Notice::Subscribed | Notice::Message(_)) => return Ok(()),
                Some(Notice::Disconnected { reason: cause }) => reason = cause,
                None => break,
            }
        }
        Err(reason)
    };
    match context.wait(async { timeout(WITHIN, attempt).await }) {
        Ok(Ok(())) => Finding::ok(format!("{broker} lets this vehicle in")),
        Ok(Err(reason)) => vec![Finding::error(
            format!("cannot use {broker}: {reason}"),
            "compare section `[mqtt]` with the broker's settings and log; the agent keeps trying",
        )],
        Err(_) => vec![Finding::error(
            format!("{broker} did not let this vehicle in within {} s", WITHIN.as_secs()),
            "see whether packets get through: `ping` and the broker's log",
        )],
    }
}
