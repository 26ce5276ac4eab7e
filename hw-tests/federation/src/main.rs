//! `k3s-double`: the two halves of the double of k3s, and the first process of the rig's hosts.

use std::process::ExitCode;

use federation::{anchor, k3s};

const USAGE: &str = "\
Usage: k3s-double agent [--KEY VALUE]...      join as k3s does; keys as in k3s's config.yaml
       k3s-double supervisor FILE             serve joins in front of a kube-apiserver
       k3s-double --version                   print the version of its Kubernetes, as k3s does
";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next().unwrap_or_default();
    let result = match first.to_str() {
        Some(half @ (anchor::OUTER | anchor::INNER)) => anchor::main(half, arguments),
        Some("agent") => k3s::agent::main(arguments),
        Some("--version") => {
            println!("k3s version v1.20.2+k3s1 (double)");
            return ExitCode::SUCCESS;
        }
        Some("supervisor") => k3s::supervisor::main(arguments),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("k3s-double: {error}");
        ExitCode::FAILURE
    })
}
