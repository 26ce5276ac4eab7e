//! The status document keeps its schema: programs and the page rely on every name in it.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeSet;

use outrider::core::membership::report::{DeferredStatus, FederationStatus, MembershipStatus};
use outrider::core::status::{SCHEMA, Status, document};
use outrider::core::time::ClockQuality;
use serde_json::Value;

mod fixture;

use fixture::Convoy;

/// Where each value of the document stands: `vehicles[].cost number`.
fn paths(at: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                paths(&format!("{at}.{name}"), value, found);
            }
        }
        Value::Array(items) => {
            for item in items {
                paths(&format!("{at}[]"), item, found);
            }
        }
        Value::Null => {}
        Value::Bool(_) => _ = found.insert(format!("{at} boolean")),
        Value::Number(_) => _ = found.insert(format!("{at} number")),
        Value::String(_) => _ = found.insert(format!("{at} string")),
    }
}

fn whole() -> Status {
    let mut convoy = Convoy::new(12);
    convoy.lose(11);
    convoy.run(40);
    convoy.hang_thermal();
    let first = document(&convoy.state);
    convoy.silence();
    convoy.run(40);
    convoy.lose_broker();
    convoy.lose_disk();
    let mut second = document(&convoy.state);
    // One document in which as much as possible is present.
    second.vehicles.extend(first.vehicles);
    second.membership = MembershipStatus {
        configured: true,
        federation: Some("purple".to_owned()),
        federations: vec![FederationStatus {
            cost: Some(100),
            near_ms: Some(1),
            round_trip_ms: Some(1),
            refusal: Some("a stranger".to_owned()),
            ..FederationStatus::default()
        }],
        deferred: vec![DeferredStatus { uid: Some("1".to_owned()), ..DeferredStatus::default() }],
        unsaved: Some("no space left".to_owned()),
        ..MembershipStatus::default()
    };
    second
}

#[test]
fn the_schema_is_what_it_was() {
    let mut found = BTreeSet::new();
    paths("", &serde_json::to_value(whole()).unwrap(), &mut found);
    let found: Vec<String> = found.into_iter().collect();
    let known: Vec<&str> = include_str!("fixture/status.schema").lines().collect();
    assert_eq!(
        found, known,
        "fields may be added to fixture/status.schema; one that goes or changes needs another SCHEMA"
    );
    assert_eq!(SCHEMA, 1);
}

#[test]
fn the_document_reads_back_as_it_was() {
    let status = whole();
    let text = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
    assert!(!text.contains('\n'), "one line, as server-sent events need it");
}

#[test]
fn sixty_vehicles_fit_a_thin_link() {
    let text = serde_json::to_string(&document(&Convoy::new(60).state)).unwrap();
    assert!(text.len() < 64 * 1024, "{} bytes", text.len());
}

#[test]
fn the_document_says_only_what_is_known() {
    let mut convoy = Convoy::new(4);
    let own = document(&convoy.state).vehicles.into_iter().find(|v| v.name == "veh-02").unwrap();
    assert_eq!((own.cost, own.next_hop, own.hello_age_ms), (Some(0), None, None));
    convoy.state.now.quality = ClockQuality::Unset;
    let status = document(&convoy.state);
    assert_eq!(status.clock.wall_ms, None, "a clock at 1970 is not told");
    assert!(status.events.len() <= 50 && status.events_total > 0);
    let neighbor = status.vehicles.iter().find(|v| v.neighbor).unwrap();
    assert_eq!(neighbor.next_vehicle.as_deref(), Some(neighbor.name.as_str()));
    let quality = neighbor.quality_in.unwrap();
    assert_eq!(quality, (quality * 1000.0).round() / 1000.0, "no digits out of nothing");
}
