//! Everything of a vehicle that a clean-up could harm, as text, line by line.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use federation::Host;
use serde_json::Value;

/// Folders whose files are part of it.
const FOLDERS: [&str; 7] = [
    "/etc/rancher",
    "/run/flannel",
    "/run/k3s",
    "/var/srv",
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/var/lib/rancher/second",
];

const RULES: [&str; 3] = ["iptables-nft-save", "iptables-legacy-save", "ip6tables-nft-save"];

/// All of it.
pub fn snapshot(host: &Host) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", host.pid())).unwrap();
    lines.extend(mounts.lines().map(|line| format!("mount {line}")));
    lines.extend(processes(host));
    for words in [["-j", "link"], ["-j", "address"], ["-j", "route"]] {
        let listed: Value = serde_json::from_str(&host.run("ip", &words).unwrap()).unwrap();
        for one in listed.as_array().unwrap() {
            // Whether an address has been tried out yet is a matter of time.
            lines.insert(format!("{} {one}", words[1]).replace("\"tentative\":true,", ""));
        }
    }
    for program in RULES {
        let saved = host.run(program, &[]).unwrap();
        let mut table = String::new();
        for (index, line) in saved.lines().filter(|line| !line.starts_with('#')).enumerate() {
            if line.starts_with('*') {
                table = line.to_owned();
            }
            // Without counters; with the place among the others, since their order decides.
            let line = line.split(" [").next().unwrap();
            lines.insert(format!("{program} {table} {index:03} {line}"));
        }
    }
    for folder in FOLDERS {
        files(host, folder.into(), &mut lines);
    }
    lines
}

/// Processes with number and start, which together are given once.
fn processes(host: &Host) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(host.path("/proc")).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // The first is the rig's, and looks after the others.
        if name.parse::<u32>().is_ok_and(|pid| pid > 1) {
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let Some((_, fields)) = stat.rsplit_once(") ") else { continue };
            let fields: Vec<&str> = fields.split(' ').collect();
            if fields[0] != "Z" {
                let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                let words = String::from_utf8_lossy(&words).replace('\0', " ");
                found.push(format!("process {name} {} {words}", fields[19]));
            }
        }
    }
    found
}

/// Files below a folder, with what is in them.
fn files(host: &Host, folder: PathBuf, lines: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(host.path(&folder.to_string_lossy())) else { return };
    for entry in entries.flatten() {
        let path = folder.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files(host, path, lines);
        } else {
            // Reading a pipe would wait for its other end.
            let content = if kind.is_file() { fs::read(entry.path()) } else { Ok(Vec::new()) };
            let content = content.unwrap_or_default();
            let short = content.len() < 4096;
            let content = if short { String::from_utf8_lossy(&content) } else { "long".into() };
            lines.insert(format!("file {} {content:?}", path.display()));
        }
    }
}

/// Fails with what differs.
pub fn assert_same(now: &BTreeSet<String>, before: &BTreeSet<String>, when: &str) {
    let gone: Vec<_> = before.difference(now).collect();
    let more: Vec<_> = now.difference(before).collect();
    assert!(gone.is_empty() && more.is_empty(), "{when}: gone {gone:#?}, and left {more:#?}");
}
