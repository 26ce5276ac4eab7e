//! Measures what reading an olsrd answer costs.
//!
//! `measure make NODES FILE` writes the composite answer of a mesh of NODES nodes; `measure parse FILE...` reads files
//! (with or without HTTP head, one after the other into one view) and prints what came out and how much memory
//! it took. Count instructions with `valgrind --tool=callgrind --toggle-collect='*::view_of'`.

use std::process::ExitCode;
use std::{env, fs};

use olsr_bridge::build::Builder;
use olsr_bridge::cost::CostOptions;
use olsr_bridge::view::{DaemonKind, MeshView, Protocol};
use olsr_bridge::{http, v1};

#[path = "../tests/mesh/mod.rs"]
mod mesh;

/// The part that is measured: from the answers' bytes to the view.
#[inline(never)]
fn view_of(answers: &[Vec<u8>]) -> MeshView {
    let mut builder = Builder::new(DaemonKind::Olsrd, Protocol::Jsoninfo);
    for answer in answers {
        v1::jsoninfo::parse(http::split(answer).body, &mut builder);
    }
    builder.finish(&CostOptions::default())
}

/// Largest resident size so far and now in KiB, as Linux counts it.
fn memory_kib() -> Option<(u64, u64)> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    Some((field("VmHWM:")?, field("VmRSS:")?))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["make", nodes, file] => {
            let Ok(nodes) = nodes.parse() else { return usage() };
            let answer = mesh::Mesh::new(nodes, 7).jsoninfo();
            match fs::write(file, answer) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failed(file, &error),
            }
        }
        ["parse", files @ ..] if !files.is_empty() => {
            let mut answers = Vec::new();
            for file in files {
                match fs::read(file) {
                    Ok(bytes) => answers.push(bytes),
                    Err(error) => return failed(file, &error),
                }
            }
            let before = memory_kib();
            let view = view_of(&answers);
            let after = memory_kib();
            println!(
                "{} bytes: {} links, {} neighbors, {} routes, {} edges, {} networks, {} aliases, {} complaints",
                answers.iter().map(Vec::len).sum::<usize>(),
                view.links.len(),
                view.neighbors.len(),
                view.routes.len(),
                view.edges.len(),
                view.networks.len(),
                view.aliases.len(),
                view.complaints.len(),
            );
            if let (Some((_, before)), Some((peak, after))) = (before, after) {
                println!(
                    "resident before {before} KiB, peak {peak} KiB, with the view {after} KiB"
                );
            }
            ExitCode::SUCCESS
        }
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: measure make NODES FILE | measure parse FILE...");
    ExitCode::from(2)
}

fn failed(file: &str, error: &std::io::Error) -> ExitCode {
    eprintln!("{file}: {error}");
    ExitCode::FAILURE
}
