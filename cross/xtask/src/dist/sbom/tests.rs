//! The bill of materials: its shape, its identity and its validity.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::fixtures;
use super::{Facts, Tool, document, rfc3339, uuid};

fn tools() -> Vec<Tool> {
    let tool =
        |name: &str, version: &str| Tool { name: name.to_owned(), version: version.to_owned() };
    vec![tool("zig", "0.17.0"), tool("rustc", "1.95.0")]
}

#[test]
fn the_bill_of_this_workspace_is_whole_and_repeats() {
    let folder = tempfile::tempdir().unwrap();
    let inventory = fixtures::inventory(folder.path());
    let facts = Facts { commit: "c0ffee", epoch_s: 1_790_000_000, tools: &tools() };
    let text = document(&inventory, &facts).unwrap();
    assert_eq!(text, document(&fixtures::inventory(folder.path()), &facts).unwrap());

    let bom: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(bom["specVersion"], "1.6");
    assert_eq!(bom["metadata"]["timestamp"], "2026-09-21T14:13:20Z");
    assert_eq!(bom["metadata"]["component"]["bom-ref"], "pkg:generic/outrider@0.1.0");
    assert_eq!(bom["formulation"][0]["components"][0]["name"], "rustc");

    let components = bom["components"].as_array().unwrap();
    let one = |name: &str| components.iter().find(|one| one["name"] == name).unwrap();
    assert_eq!(one("ring")["scope"], "required");
    assert_eq!(one("ring")["licenses"][0]["expression"], "Apache-2.0 AND ISC");
    assert_eq!(one("ring")["hashes"][0]["content"].as_str().unwrap().len(), 64);
    assert_eq!(one("serde_derive")["scope"], "excluded");
    assert_eq!(one("musl")["cpe"], "cpe:2.3:a:musl-libc:musl:1.2.5:*:*:*:*:*:*:*");
    assert!(!components.iter().any(|one| one["name"] == "outrider"), "it is the bill's subject");

    // The graph names every linked component, each reference is known, and all can be reached from the program.
    let graph = bom["dependencies"].as_array().unwrap();
    let text_of = |value: &Value| value.as_str().unwrap().to_owned();
    let required = components.iter().filter(|one| one["scope"] == "required");
    let mut expected: BTreeSet<String> = required.map(|one| text_of(&one["bom-ref"])).collect();
    expected.insert("pkg:generic/outrider@0.1.0".to_owned());
    assert_eq!(graph.iter().map(|one| text_of(&one["ref"])).collect::<BTreeSet<_>>(), expected);
    let mut reached = BTreeSet::new();
    let mut open = vec!["pkg:generic/outrider@0.1.0".to_owned()];
    while let Some(purl) = open.pop() {
        let node = graph.iter().find(|one| one["ref"] == purl.as_str()).unwrap();
        if reached.insert(purl) {
            open.extend(node["dependsOn"].as_array().unwrap().iter().map(text_of));
        }
    }
    assert_eq!(reached, expected);
}

#[test]
fn another_content_has_another_serial_number() {
    let folder = tempfile::tempdir().unwrap();
    let inventory = fixtures::inventory(folder.path());
    let serial = |commit: &str| {
        let facts = Facts { commit, epoch_s: 0, tools: &[] };
        let bom: Value = serde_json::from_str(&document(&inventory, &facts).unwrap()).unwrap();
        bom["serialNumber"].as_str().unwrap().to_owned()
    };
    assert!(serial("a").starts_with("urn:uuid:"));
    assert_ne!(serial("a"), serial("b"));
}

#[test]
fn a_bill_needs_its_program() {
    let folder = tempfile::tempdir().unwrap();
    let mut inventory = fixtures::inventory(folder.path());
    inventory.components.remove("pkg:generic/outrider@0.1.0");
    let facts = Facts { commit: "", epoch_s: 0, tools: &[] };
    assert!(document(&inventory, &facts).unwrap_err().contains("outrider is not among"));
}

#[test]
fn a_uuid_says_its_version_and_variant() {
    let zeros = uuid(&"0".repeat(64));
    assert_eq!(zeros, "00000000-0000-8000-8000-000000000000");
    assert_eq!(uuid(&"f".repeat(64)), "ffffffff-ffff-8fff-bfff-ffffffffffff");
}

#[test]
fn seconds_become_dates() {
    for (epoch_s, expected) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (951_868_800, "2000-03-01T00:00:00Z"),
        (1_709_164_800, "2024-02-29T00:00:00Z"),
        (1_735_689_599, "2024-12-31T23:59:59Z"),
        (2_147_483_648, "2038-01-19T03:14:08Z"),
        (4_107_542_399, "2100-02-28T23:59:59Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
        (253_402_300_799, "9999-12-31T23:59:59Z"),
    ] {
        assert_eq!(rfc3339(epoch_s).unwrap(), expected);
    }
    assert!(rfc3339(253_402_300_800).unwrap_err().contains("9999"));
}
