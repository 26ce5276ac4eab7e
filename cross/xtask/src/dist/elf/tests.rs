//! Which programs pass and which do not, with programs that the machine's own compiler makes in all the wrong ways.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{check, check_debug};
use crate::dist::targets::{Target, Targets, select};

/// What makes a program that passes, after the compiler's name.
const RIGHT: &[&str] = &["-static-pie", "-Wl,-z,relro,-z,now,--build-id=sha1", "-s"];

/// This machine's kind, with a budget that a program with a C library fits into.
fn target() -> Target {
    let text = include_str!("../../../../targets.toml");
    let targets: Targets = toml::from_str(text).unwrap();
    let name = std::env::consts::ARCH.to_owned();
    let mut target = select(targets.targets, &[name]).unwrap().remove(0);
    target.budget_bytes = 4 << 20;
    target
}

fn compile(folder: &Path, flags: &[&str]) -> Vec<u8> {
    let (source, program) = (folder.join("main.c"), folder.join("main"));
    fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let mut compiler = Command::new("cc");
    compiler.arg("-o").arg(&program).arg(&source).args(flags);
    let output = compiler.output().expect("a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::read(program).unwrap()
}

#[test]
fn a_program_that_is_as_it_should_be_passes() {
    let folder = tempfile::tempdir().unwrap();
    let data = compile(folder.path(), RIGHT);
    let facts = check(&data, &target(), true).unwrap();
    assert_eq!(facts.bytes, data.len() as u64);
    assert!(facts.pie);
    assert_eq!(facts.build_id.len(), 40, "{}", facts.build_id);
}

#[test]
fn every_fault_is_found_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let id = "-Wl,-z,relro,--build-id=sha1";
    for (flags, faults) in [
        (&["-pie", id, "-s"][..], &["asks for a dynamic linker", "needs a shared library"][..]),
        (&["-static", "-no-pie", id, "-s"], &["not position independent"]),
        (&["-static-pie", id, "-s", "-Wl,-z,execstack"], &["its stack is executable"]),
        (&["-static-pie", id], &["not stripped"]),
        (&["-static-pie", id, "-g"], &["not stripped", "carries debug information"]),
        (&["-static-pie", "-s", "-Wl,--build-id=none"], &["has no build id"]),
        (&["-static-pie", "-s", id, "-Wl,-z,norelro"], &["its relocated data stay writable"]),
        (
            &["-nostdlib", "-static-pie", "-s", id, "-Wl,-N,-e,main"],
            &["has code that can be written"],
        ),
    ] {
        let message = check(&compile(folder.path(), flags), &target(), true).unwrap_err();
        for fault in faults {
            assert!(message.contains(fault), "{flags:?}: {message}");
        }
    }
}

#[test]
fn a_program_for_another_machine_or_over_its_budget_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = compile(folder.path(), RIGHT);
    let mut small = target();
    small.budget_bytes = 1000;
    let message = check(&data, &small, true).unwrap_err();
    assert_eq!(message, format!("has {} bytes, 1000 are allowed", data.len()));

    let targets: Targets = toml::from_str(include_str!("../../../../targets.toml")).unwrap();
    let arm = select(targets.targets, &["armv6".to_owned()]).unwrap().remove(0);
    let message = check(&data, &arm, true).unwrap_err();
    for fault in ["another machine", "wrong word size", "Tag_CPU_arch is nothing and not 6"] {
        assert!(message.contains(fault), "{message}");
    }
}

#[test]
fn what_is_no_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = compile(folder.path(), RIGHT);
    for bad in [&b""[..], b"#!/bin/sh\n", &data[..64], &data[..data.len() / 2]] {
        assert!(check(bad, &target(), true).is_err());
    }
}

#[test]
fn debug_information_has_to_belong_to_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let whole = compile(folder.path(), &["-static-pie", "-Wl,--build-id=sha1", "-g"]);
    let id = object::Object::build_id(&object::File::parse(&*whole).unwrap()).unwrap().unwrap();
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(check_debug(&whole, &id), Ok(()));
    assert!(check_debug(&whole, "00ff").unwrap_err().contains("and not `00ff`"));
    let bare = compile(folder.path(), &["-static-pie", "-Wl,--build-id=0x00ff", "-s"]);
    assert!(check_debug(&bare, "00ff").unwrap_err().contains("no line tables"));
}
