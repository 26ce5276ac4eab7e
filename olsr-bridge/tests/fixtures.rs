//! Reads all captured answers in `fixtures/` and compares the views with what the captured meshes were.

mod captures;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use captures::{Reading, Scenario, differences, expected, readings, scenarios};
use olsr_bridge::view::MeshView;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

#[test]
fn every_view_tells_the_cost_and_hops_of_its_mesh() {
    let expected = expected(&root());
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for scenario in scenarios(&root()) {
        let expected = &expected[&scenario.daemon][&scenario.name];
        for reading in readings(&scenario) {
            seen.insert((scenario.daemon.clone(), scenario.name.clone(), reading.node.clone()));
            for difference in differences(&scenario, &reading, expected) {
                let Scenario { daemon, name, .. } = &scenario;
                let Reading { node, source, .. } = &reading;
                wrong.push(format!("{daemon}/{name} {node} {source}: {difference}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Every expectation was looked at, so a fixture that is not found cannot pass.
    for (daemon, scenarios) in expected.as_object().unwrap() {
        for (scenario, nodes) in scenarios.as_object().unwrap() {
            for (node, content) in nodes.as_object().unwrap() {
                let nodes = match node.as_str() {
                    "series" => content.as_object().unwrap().keys().cloned().collect(),
                    _ => vec![node.clone()],
                };
                for node in nodes {
                    let key = (daemon.clone(), scenario.clone(), node);
                    assert!(seen.contains(&key), "{key:?} was not read");
                }
            }
        }
    }
}

/// Scenario, node and source of the views that are compared whole.
const GOLDEN: [(&str, &str, &str, &str); 9] = [
    ("olsrd", "hna", "a", "jsoninfo tables"),
    ("olsrd", "lq0-hysteresis", "a", "jsoninfo tables"),
    ("olsrd", "nameservice", "a", "jsoninfo tables"),
    ("olsrd", "old-0.6.6.2", "a", "jsoninfo /all"),
    ("olsrd", "old-0.9.0.3", "a", "txtinfo tables"),
    ("olsrd", "smart-gateway", "a", "txtinfo /all"),
    ("olsrd", "txt-vtime", "a", "txtinfo tables"),
    ("olsrd2", "asymmetric", "a", "telnet"),
    ("olsrd2", "layer2", "a", "telnet"),
];

/// Compares whole views with `fixtures/golden`. `BLESS=1` writes them; look at the difference before committing it.
#[test]
fn whole_views_are_as_recorded() {
    let folder = root().join("golden");
    let scenarios = scenarios(&root());
    for (daemon, name, node, source) in GOLDEN {
        let scenario = scenarios.iter().find(|s| s.daemon == daemon && s.name == name).unwrap();
        let readings = readings(scenario);
        let reading = readings.iter().find(|r| r.node == node && r.source == source).unwrap();
        let text = serde_json::to_string_pretty(&reading.view).unwrap() + "\n";
        let file = format!("{daemon}-{name}-{}.json", source.replace([' ', '/'], "-"));
        let path = folder.join(file);
        if std::env::var_os("BLESS").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let recorded = fs::read_to_string(&path).unwrap();
        assert_eq!(text, recorded, "{}", path.display());
        let back: MeshView = serde_json::from_str(&recorded).unwrap();
        assert_eq!(back, reading.view, "{} does not survive its own JSON", path.display());
    }
}
