//! What the licence texts of a release must say, and what is refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::super::fixtures;
use super::super::linked::{Component, Inventory, Origin, Texts};
use super::{StandIns, document, is_licence};

/// A crate of the registry whose folder below `base` has these files.
fn component(base: &Path, name: &str, files: &[(&str, &str)]) -> Component {
    let folder = base.join(name);
    fs::create_dir_all(&folder).unwrap();
    for (file, text) in files {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    Component {
        library: None,
        purl: format!("pkg:cargo/{name}@1.0.0"),
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        origin: Origin::Registry,
        licence: "MIT".to_owned(),
        repository: None,
        sha256: None,
        cpe: None,
        texts: Texts::Below(folder),
        needs: Default::default(),
    }
}

fn inventory(components: Vec<Component>) -> Inventory {
    let components: BTreeMap<_, _> =
        components.into_iter().map(|component| (component.purl.clone(), component)).collect();
    Inventory { target: "t".to_owned(), components }
}

fn stand_in(name: &str, licence: &str) -> StandIns {
    let text = format!(
        "[[stand-in]]\nnames = [\"{name}\"]\nlicence = \"{licence}\"\ntexts = [\"kept.txt\"]\nreason = \"It forgot.\"\n"
    );
    StandIns::parse(&text).unwrap()
}

#[test]
fn equal_texts_are_printed_once_with_all_they_belong_to() {
    let base = tempfile::tempdir().unwrap();
    let inventory = inventory(vec![
        component(base.path(), "one", &[("LICENSE-MIT", "Terms\nof use\n"), ("NOTICE", "By one.")]),
        component(base.path(), "two", &[("license-mit", "\nTerms  \r\nof use\r\n\r\n")]),
        component(
            base.path(),
            "six",
            &[("third_party/fiat/LICENSE", "Others"), ("COPYING", "Six")],
        ),
    ]);
    let text = document(&inventory, &StandIns::default(), base.path(), "Licences").unwrap();
    assert_eq!(text.matches("Terms\nof use\n").count(), 1);
    assert!(text.contains("  one 1.0.0 (LICENSE-MIT)\n  two 1.0.0 (license-mit)\n"), "{text}");
    assert!(text.contains("six 1.0.0 (third_party/fiat/LICENSE)\n"), "{text}");
    assert!(text.contains("one 1.0.0\n    MIT\n    texts 1, 2\n"), "{text}");
    assert!(text.starts_with("Licences\n\nThe programs for t "), "{text}");
}

#[test]
fn what_is_ours_or_only_ran_during_the_build_is_not_in_it() {
    let base = tempfile::tempdir().unwrap();
    let ours = Component { origin: Origin::Own, ..component(base.path(), "ours", &[]) };
    let macros = Component { origin: Origin::BuildOnly, ..component(base.path(), "macros", &[]) };
    let other = component(base.path(), "other", &[("LICENSE", "Terms")]);
    let inventory = inventory(vec![ours, macros, other]);
    let text = document(&inventory, &StandIns::default(), base.path(), "Licences").unwrap();
    assert!(!text.contains("ours 1") && !text.contains("macros"), "{text}");
}

#[test]
fn every_component_without_a_text_is_named() {
    let base = tempfile::tempdir().unwrap();
    let inventory = inventory(vec![
        component(base.path(), "bare", &[("src/notice.rs", "pub struct Notice;")]),
        component(base.path(), "fine", &[("LICENSE", "Terms")]),
        component(base.path(), "blank", &[("LICENSE", " \n")]),
    ]);
    let message = document(&inventory, &StandIns::default(), base.path(), "Licences").unwrap_err();
    assert!(message.contains("bare 1.0.0 (MIT): comes without any licence text"), "{message}");
    assert!(message.contains("blank/LICENSE: a licence text with nothing in it"), "{message}");
    assert!(!message.contains("fine"), "{message}");
}

#[test]
fn a_kept_text_stands_in_and_says_why() {
    let base = tempfile::tempdir().unwrap();
    fs::write(base.path().join("kept.txt"), "Kept terms").unwrap();
    let bare = inventory(vec![component(base.path(), "bare", &[])]);
    let text = document(&bare, &stand_in("bare", "MIT"), base.path(), "Licences").unwrap();
    assert!(text.contains("bare\n    It forgot.\n"), "{text}");
    assert!(text.contains("  bare 1.0.0 (kept.txt)\n"), "{text}");
    assert!(text.ends_with("\n\nKept terms\n"), "{text}");

    let fails = |inventory: &Inventory, stand_ins: &StandIns, expected: &str| {
        let message = document(inventory, stand_ins, base.path(), "Licences").unwrap_err();
        assert!(message.contains(expected), "{message}");
    };
    fails(&bare, &stand_in("bare", "ISC"), "has a text for `ISC`, and its licence is `MIT`");
    let own = inventory(vec![component(base.path(), "own", &[("LICENSE", "Terms")])]);
    fails(&own, &stand_in("own", "MIT"), "comes with its own licence texts now");
    fails(&own, &stand_in("gone", "MIT"), "gone: cross/licences.toml has a text for this");
    fs::remove_file(base.path().join("kept.txt")).unwrap();
    fails(&bare, &stand_in("bare", "MIT"), "kept.txt");
}

#[test]
fn entries_that_are_not_understood_are_refused() {
    let message = StandIns::parse("[[stand-in]]\nname = \"one\"\n").unwrap_err();
    assert!(message.contains("name"), "{message}");
}

#[test]
fn everything_that_this_workspace_links_has_its_texts() {
    let folder = tempfile::tempdir().unwrap();
    let root = fixtures::root();
    let inventory = fixtures::inventory(folder.path());
    let stand_ins = StandIns::read(&root).unwrap();
    let text = document(&inventory, &stand_ins, &root, "Licences").unwrap();
    assert_eq!(text, document(&inventory, &stand_ins, &root, "Licences").unwrap());
    for (component, file) in [
        ("ring", "LICENSE-BoringSSL"),
        ("ring", "third_party/fiat/LICENSE"),
        ("memchr", "UNLICENSE"),
        ("musl", "COPYRIGHT"),
        ("core", "cross/licences/Unicode-3.0.txt"),
    ] {
        let (start, end) = (format!("  {component} "), format!(" ({file})"));
        let there = |line: &str| line.starts_with(&start) && line.ends_with(&end);
        assert!(text.lines().any(there), "{component}: {file}");
    }
}

#[test]
fn licences_are_known_by_their_files_names() {
    for name in [
        "LICENSE",
        "LICENSE-APACHE",
        "license.md",
        "LICENSE-2.0",
        "COPYING",
        "UNLICENSE",
        "third-party-license.txt",
        "LICENSE-other-bits",
        "NOTICE",
        "COPYRIGHT",
        "LICENSE.TXT",
    ] {
        assert!(is_licence(name), "{name}");
    }
    for name in ["notice.rs", "license.py", "README.md", "licensing.txt", "copyright.h"] {
        assert!(!is_licence(name), "{name}");
    }
}
