//! Shows that the emulated processors of `cross/targets.toml` end a program with an instruction beyond its target's baseline,
//! with programs of a few instructions made here, so that no compiler for the target is needed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use super::{FILE, Target, Targets, select};
use crate::dist::fixtures;
use crate::packages;

/// Signal of an illegal instruction.
const SIGILL: i32 = 4;

/// Where the program is loaded.
const ADDRESS: u64 = 0x1_0000;

/// Code that ends a program with status 0: `exit(0)`.
const EXIT_ARM: &[u8] = &[0, 0, 0xa0, 0xe3, 1, 0x70, 0xa0, 0xe3, 0, 0, 0, 0xef];
const EXIT_AARCH64: &[u8] = &[0, 0, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 1, 0, 0, 0xd4];
const EXIT_X86_64: &[u8] = &[0xb8, 0x3c, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05];

/// What no processor of the baseline has, as it stands in memory.
const BEYOND: &[(&str, &str, &[u8])] = &[
    ("x86_64", "haddps xmm0, xmm0 (SSE3)", &[0xf2, 0x0f, 0x7c, 0xc0]),
    ("x86_64", "pshufb xmm0, xmm0 (SSSE3)", &[0x66, 0x0f, 0x38, 0x00, 0xc0]),
    ("x86_64", "lock cmpxchg16b [rsp]", &[0xf0, 0x48, 0x0f, 0xc7, 0x0c, 0x24]),
    ("x86_64", "lahf", &[0x9f]),
    ("x86_64", "popcnt eax, eax", &[0xf3, 0x0f, 0xb8, 0xc0]),
    ("x86_64", "vaddps ymm0, ymm0, ymm0 (AVX)", &[0xc5, 0xfc, 0x58, 0xc0]),
    ("aarch64", "ldadd w0, w0, [x0] (LSE)", &[0, 0, 0x20, 0xb8]),
    ("aarch64", "sdot v0.4s, v0.16b, v0.16b", &[0, 0x94, 0x80, 0x4e]),
    ("armv7", "vadd.i32 q0, q0, q0 (NEON)", &[0x40, 0x08, 0x20, 0xf2]),
    ("armv7", "vadd.f64 d16, d16, d16 (32 registers)", &[0xa0, 0x0b, 0x70, 0xee]),
    ("armv7", "sdiv r0, r0, r1", &[0x10, 0xf1, 0x10, 0xe7]),
    ("armv6", "movw r0, #0 (ARMv7)", &[0, 0, 0, 0xe3]),
    ("armv6", "vmov.f64 d0, #1 (VFPv3)", &[0, 0x0b, 0xb7, 0xee]),
    ("armv6", "vadd.i32 q0, q0, q0 (NEON)", &[0x40, 0x08, 0x20, 0xf2]),
];

/// A static program that executes `code` from its start.
fn program(target: &Target, code: &[u8]) -> Vec<u8> {
    let (class, machine, flags, heads): (u8, u16, u32, u64) = match target.name.as_str() {
        "x86_64" => (2, 62, 0, 64 + 56),
        "aarch64" => (2, 183, 0, 64 + 56),
        // Version 5 of the ABI, hardware floating point.
        _ => (1, 40, 0x0500_0400, 52 + 32),
    };
    let mut bytes = vec![0x7f, b'E', b'L', b'F', class, 1, 1];
    bytes.resize(16, 0);
    let narrow = class == 1;
    let put = |bytes: &mut Vec<u8>, value: u64, width: usize| {
        bytes.extend_from_slice(&value.to_le_bytes()[..width]);
    };
    let word = if narrow { 4 } else { 8 };
    let (head, entry) = if narrow { (52, 32) } else { (64, 56) };
    let (executable, version, loaded, read_execute, page) = (2, 1, 1, 5, 0x1000);
    let size = heads + code.len() as u64;
    for (value, width) in [
        (executable, 2),
        (machine.into(), 2),
        (version, 4),
        (ADDRESS + heads, word),
        (head, word),
        (0, word),
        (flags.into(), 4),
        (head, 2),
        (entry, 2),
        (1, 2),
        (0, 2),
        (0, 2),
        (0, 2),
        (loaded, 4),
    ] {
        put(&mut bytes, value, width);
    }
    if !narrow {
        put(&mut bytes, read_execute, 4);
    }
    for value in [0, ADDRESS, ADDRESS, size, size] {
        put(&mut bytes, value, word);
    }
    if narrow {
        put(&mut bytes, read_execute, 4);
    }
    put(&mut bytes, page, word);
    bytes.extend_from_slice(code);
    bytes
}

fn run(folder: &Path, target: &Target, words: &[String], code: &[u8]) -> ExitStatus {
    let exit = match target.name.as_str() {
        "x86_64" => EXIT_X86_64,
        "aarch64" => EXIT_AARCH64,
        _ => EXIT_ARM,
    };
    let file = folder.join("program");
    fs::write(&file, program(target, &[code, exit].concat())).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let emulator = packages::find(&words[0]).expect("the package qemu-user-static");
    // No core dump beside the sources.
    let mut command = Command::new(emulator);
    command.args(&words[1..]).arg(&file).current_dir(folder).stderr(Stdio::null());
    command.status().unwrap()
}

#[test]
fn what_is_beyond_the_baseline_is_refused_by_one_of_the_emulators() {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(fixtures::root().join(FILE)).unwrap();
    let targets = Targets::parse(&text).unwrap().targets;
    for target in &targets {
        for words in &target.emulators {
            let status = run(folder.path(), target, words, &[]);
            assert!(status.success(), "{}: a program that only ends: {status}", words.join(" "));
        }
    }
    for (name, instruction, code) in BEYOND {
        let target = select(targets.clone(), &[(*name).to_owned()]).unwrap().remove(0);
        let refused = target
            .emulators
            .iter()
            .any(|words| run(folder.path(), &target, words, code).signal() == Some(SIGILL));
        assert!(refused, "{name}: {instruction}");
    }
}

/// What rustc takes for granted when it compiles for a target as releases do.
fn rust_features(target: &Target) -> String {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "cfg", "--target", &target.triple]);
    if let Some(features) = &target.rust_features {
        rustc.arg(format!("-Ctarget-feature={features}"));
    }
    // Features of 32-bit ARM are told to compilers that take unstable ones only.
    let output = rustc.env("RUSTC_BOOTSTRAP", "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn rust_code_takes_no_more_for_granted_than_the_baseline_has() {
    let text = fs::read_to_string(fixtures::root().join(FILE)).unwrap();
    let find = |name: &str| {
        select(Targets::parse(&text).unwrap().targets, &[name.to_owned()]).unwrap().remove(0)
    };
    for (name, has, beyond) in [
        ("x86_64", "sse2", &["sse3", "cmpxchg16b", "popcnt", "avx"][..]),
        ("aarch64", "neon", &["lse", "crc", "aes", "sha2", "dotprod"]),
        ("armv7", "v7", &["d32", "neon"]),
        ("armv6", "vfp2", &["v7", "thumb2", "vfp3", "d32", "neon"]),
    ] {
        let told = rust_features(&find(name));
        let granted = |feature: &str| told.contains(&format!("target_feature=\"{feature}\""));
        assert!(granted(has), "{name}: {told}");
        let over: Vec<&&str> = beyond.iter().filter(|feature| granted(feature)).collect();
        assert!(over.is_empty(), "{name}: {over:?}");
    }
    let mut plain = find("armv7");
    plain.rust_features = None;
    assert!(rust_features(&plain).contains("\"d32\""), "`rust_features` of armv7 can go");
}
