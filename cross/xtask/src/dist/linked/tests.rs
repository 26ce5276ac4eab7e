//! Which crates count as linked in, from answers of cargo kept as fixtures.

use std::collections::BTreeSet;
use std::path::Path;

use super::super::bom::PROGRAMS;
use super::super::fixtures;
use super::{Graph, Input, Origin, Runtime, Texts, encode, graph, inventory};

/// A program that links `a` and through it `b`, and runs the proc-macro `m` with its `b` and the build script's `c`.
fn small(lock: &str, packages: &str) -> Graph {
    Graph {
        linked: "0 app v0.1.0 (/w/app)\n1 a v1.0.0\n2 b v2.0.0+spec\n".to_owned(),
        built: "0 app v0.1.0 (/w/app)\n1 a v1.0.0\n2 b v2.0.0+spec\n1 m v3.0.0 (proc-macro)\n2 b v2.0.0+spec (*)\n2 c v4.0.0\n"
            .to_owned(),
        metadata: format!(r#"{{"workspace_root": "/w", "packages": [{packages}]}}"#),
        lock: lock.to_owned(),
    }
}

fn package(name: &str, version: &str, licence: &str, source: &str, folder: &str) -> String {
    let quoted =
        |text: &str| if text.is_empty() { "null".to_owned() } else { format!("\"{text}\"") };
    format!(
        r#"{{"name": "{name}", "version": "{version}", "license": {}, "repository": null, "source": {},
            "manifest_path": "{folder}/Cargo.toml"}}"#,
        quoted(licence),
        quoted(source)
    )
}

fn packages(b: &str) -> String {
    let registry = |name: &str, version: &str| {
        package(name, version, "MIT", "registry+index", &format!("/registry/{name}"))
    };
    [
        package("app", "0.1.0", "MIT", "", "/w/app"),
        registry("a", "1.0.0"),
        b.to_owned(),
        registry("m", "3.0.0"),
        registry("c", "4.0.0"),
        registry("only-for-tests", "5.0.0"),
    ]
    .join(",")
}

fn lock(names: &[(&str, &str)]) -> String {
    let entry = |(name, version): &(&str, &str)| {
        format!(
            "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\nchecksum = \"{name}{version}\"\n"
        )
    };
    names.iter().map(entry).collect()
}

const ALL: &[(&str, &str)] = &[("a", "1.0.0"), ("b", "2.0.0+spec"), ("m", "3.0.0"), ("c", "4.0.0")];

fn take(programs: &Graph) -> Result<super::Inventory, String> {
    let folder = tempfile::tempdir().unwrap();
    let std = fixtures::std(folder.path());
    let zig = fixtures::zig(&folder.path().join("zig"));
    inventory(&Input {
        target: "t",
        programs,
        std: &std,
        rust: "1.95.0",
        zig: &zig,
        runtime: Runtime::Zig,
    })
}

#[test]
fn what_is_linked_is_told_from_what_only_runs_during_the_build() {
    let b = package("b", "2.0.0+spec", "MIT/Apache-2.0", "registry+index", "/registry/b");
    let taken = take(&small(&lock(ALL), &packages(&b))).unwrap();

    let origin = |purl: &str| taken.components.get(purl).map(|component| component.origin);
    assert_eq!(origin("pkg:generic/app@0.1.0"), Some(Origin::Own));
    assert_eq!(origin("pkg:cargo/a@1.0.0"), Some(Origin::Registry));
    assert_eq!(origin("pkg:cargo/b@2.0.0%2Bspec"), Some(Origin::Registry), "m uses it too");
    assert_eq!(origin("pkg:cargo/m@3.0.0"), Some(Origin::BuildOnly));
    assert_eq!(origin("pkg:cargo/c@4.0.0"), Some(Origin::BuildOnly));
    assert_eq!(origin("pkg:cargo/only-for-tests@5.0.0"), None);
    assert_eq!(origin("pkg:github/rust-lang/rust@1.95.0#library/std"), Some(Origin::Rust));
    assert_eq!(origin("pkg:generic/musl@1.2.5"), Some(Origin::Runtime));

    let b = &taken.components["pkg:cargo/b@2.0.0%2Bspec"];
    assert_eq!(b.licence, "MIT OR Apache-2.0", "the old notation is translated");
    assert_eq!(b.sha256.as_deref(), Some("b2.0.0+spec"));
    assert_eq!(b.texts, Texts::Below("/registry/b".into()));
    let std = &taken.components["pkg:github/rust-lang/rust@1.95.0#library/std"];
    assert_eq!((std.version.as_str(), &std.texts), ("1.95.0", &Texts::StandIn));
}

#[test]
fn the_graph_goes_from_the_programs_through_std_to_the_c_library() {
    let b = package("b", "2.0.0+spec", "MIT", "registry+index", "/registry/b");
    let taken = take(&small(&lock(ALL), &packages(&b))).unwrap();
    let needs = |purl: &str| -> Vec<&str> {
        taken.components[purl].needs.iter().map(String::as_str).collect()
    };
    let std = "pkg:github/rust-lang/rust@1.95.0#library/std";
    assert_eq!(needs("pkg:generic/app@0.1.0"), ["pkg:cargo/a@1.0.0", std]);
    assert_eq!(needs("pkg:cargo/a@1.0.0"), ["pkg:cargo/b@2.0.0%2Bspec"]);
    assert_eq!(
        needs(std),
        [
            "pkg:cargo/cfg-if@1.0.4",
            "pkg:generic/musl@1.2.5",
            "pkg:github/rust-lang/rust@1.95.0#library/core",
            "pkg:pypi/ziglang@0.17.0#ziglang/lib/c",
            "pkg:pypi/ziglang@0.17.0#ziglang/lib/compiler_rt",
            "pkg:pypi/ziglang@0.17.0#ziglang/lib/libunwind",
        ]
    );
    assert_eq!(
        needs("pkg:github/rust-lang/rust@1.95.0#library/compiler_builtins"),
        ["pkg:github/rust-lang/rust@1.95.0#library/core"]
    );
}

#[test]
fn a_toolchain_with_its_own_std_links_its_own_c_library() {
    let folder = tempfile::tempdir().unwrap();
    let zig = fixtures::zig(&folder.path().join("zig"));
    let runtime = Runtime::Toolchain { musl: "1.2.3" };
    let of_toolchain: Vec<String> =
        runtime.components(&zig, "1.95.0").into_iter().map(|component| component.purl).collect();
    assert_eq!(
        of_toolchain,
        ["pkg:generic/musl@1.2.3", "pkg:github/rust-lang/rust@1.95.0#src/llvm-project/libunwind"]
    );
}

#[test]
fn crates_that_nobody_could_look_up_are_refused() {
    let faults = [
        (package("b", "2.0.0+spec", "", "registry+index", "/registry/b"), "names no licence"),
        (package("b", "2.0.0+spec", "MIT", "git+https://host/b", "/git/b"), "neither a registry"),
        (package("x", "1.0.0", "MIT", "registry+index", "/registry/x"), "cargo metadata does not"),
    ];
    for (b, expected) in faults {
        let message = take(&small(&lock(ALL), &packages(&b))).unwrap_err();
        assert!(message.starts_with("b 2.0.0+spec: ") && message.contains(expected), "{message}");
    }
    let b = package("b", "2.0.0+spec", "MIT", "registry+index", "/registry/b");
    let message = take(&small(&lock(&ALL[..1]), &packages(&b))).unwrap_err();
    assert!(message.contains("b 2.0.0+spec: the lock file has no checksum"), "{message}");
}

#[test]
fn answers_of_cargo_that_are_not_understood_are_refused() {
    for (text, expected) in [
        ("", "no package"),
        ("outrider v0.1.0", "no depth"),
        ("0 outrider", "no depth"),
        ("0 outrider v0.1.0\n2 tokio v1.0.0", "a level is missing"),
    ] {
        let message = graph::tree(text).unwrap_err();
        assert!(message.contains(expected), "`{text}`: {message}");
    }
}

#[test]
fn this_workspace_links_what_the_programs_use_and_nothing_of_tests_and_tools() {
    let folder = tempfile::tempdir().unwrap();
    let taken = fixtures::inventory(folder.path());
    let names = |wanted: Origin| -> BTreeSet<&str> {
        let components = taken.components.values();
        components.filter(|one| one.origin == wanted).map(|one| one.name.as_str()).collect()
    };
    let linked = names(Origin::Registry);
    for name in ["ring", "rustls", "rumqttc-v4-next", "rumqttc-v5-next", "tokio", "hyper", "serde"]
    {
        assert!(linked.contains(name), "{name} is linked in");
    }
    let build = names(Origin::BuildOnly);
    for name in ["serde_derive", "tokio-macros", "syn", "cc"] {
        assert!(
            build.contains(name) && !linked.contains(name),
            "{name} only runs during the build"
        );
    }
    assert_eq!(
        names(Origin::Own),
        PROGRAMS.iter().copied().chain(["olsr-view", "spool"]).collect()
    );

    // They are in the workspace, so that their absence says something.
    let graph = Graph::of_workspace(&fixtures::root(), PROGRAMS, fixtures::TARGET).unwrap();
    for name in ["proptest", "rcgen", "tempfile", "convoy", "xtask"] {
        assert!(graph.metadata.contains(&format!("\"name\":\"{name}\"")), "{name} has gone");
        assert!(!taken.components.values().any(|one| one.name == name), "{name} is listed");
    }
}

#[test]
fn missing_sources_of_rust_are_said_with_the_remedy() {
    let message = match Graph::of_std(Path::new("/nowhere/library"), &[], fixtures::TARGET) {
        Ok(_) => String::new(),
        Err(message) => message,
    };
    assert!(message.contains("rustup component add rust-src"), "{message}");
}

#[test]
fn versions_are_encoded_for_package_urls() {
    assert_eq!(encode("1.2.1+spec-1.1.0"), "1.2.1%2Bspec-1.1.0");
    assert_eq!(encode("0.1.0-rc.1_~"), "0.1.0-rc.1_~");
    assert_eq!(encode("a b/é"), "a%20b%2F%C3%A9");
}
