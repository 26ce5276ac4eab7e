//! Checks, measurements and release engineering of Outrider, as commands: `cargo xtask <command>`.
//!
//! Runs other programs and reads what they say; knows nothing of how the agent works inside.

mod apt;
mod bench;
mod delivery;
mod dist;
mod footprint;
mod kubernetes;
mod packages;
mod python;
mod steps;
mod test;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask <command>

Commands:
  test       install what the tests need, then check formatting, lints, documentation,
             dependencies and licences, and run every test
  kubernetes build the Kubernetes that tests run against, unless it has been built, and print its
             folder
  footprint  measure size, memory, processor time and bytes on the wire, beside collectd
             and node_exporter; [--seconds N] (default 600) [--binary PATH]
  delivery   measure how much of each link is filled, beside plain TCP, and what is lost under
             faults, beside mosquitto's bridge; needs root; [--link LAN|Best|Average]...
             [--faults] (default all of these) [--repetitions N] (default 5) [--binary PATH]
             [--congestion NAME] (default the kernel's) [--json FILE]
  dist       build static programs for vehicles, check them in every way there is, and put them
             into a folder ready to publish; [--target NAME]... (default all of
             cross/targets.toml) [--out FOLDER] (default dist) [--std auto|own|source]
             [--sign KEYFILE --verify PUBKEY]; `--std own` gives larger programs, to
             compare
  costs      list what each crate costs in a program before stripping; --binary PATH [--json]
  guest      boot an emulated 32-bit ARM machine and run binaries for it on dates past 2038;
             --outrider PATH [--olsr-bridge PATH] --init PATH (of `guest`, from cross/guest)
";

/// Goes to the workspace's root, from where all paths in this program count, and returns it.
fn enter_workspace() -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let enter = |root: &Path| {
        let root = root.canonicalize()?;
        std::env::set_current_dir(&root)?;
        Ok(root)
    };
    enter(&root).map_err(|e: std::io::Error| format!("entering {}: {e}", root.display()))
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let result = match arguments.next().as_deref() {
        Some("test") => test::run_all(),
        Some("kubernetes") => kubernetes::prepare().map(|folder| println!("{}", folder.display())),
        Some("footprint") => footprint::measure(&arguments.collect::<Vec<_>>()),
        Some("delivery") => delivery::measure(&arguments.collect::<Vec<_>>()),
        Some("guest") => dist::guest::run(&arguments.collect::<Vec<_>>()),
        Some("costs") => dist::costs::run(&arguments.collect::<Vec<_>>()),
        Some("dist") => dist::run(&arguments.collect::<Vec<_>>()),
        Some("help" | "--help" | "-h") => {
            print!("{USAGE}");
            Ok(())
        }
        other => {
            if let Some(other) = other {
                eprintln!("xtask: there is no command `{other}`");
            }
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
