//! `cargo xtask delivery`: how much of a link the agent fills, and what it loses under faults, beside plain TCP and beside
//! mosquitto's bridge in the same run.
//!
//! Everything is real: the release binary, mosquitto, TCP of the kernel in network namespaces, and links of the classes LAN,
//! Best and Average between them. LAN is a veth pair cut down to 1 Gbit/s by the kernel; the others are carried by a thread of
//! this program ([`::link::Relay`]), because the kernels it runs on often have no netem. Needs root; leaves nothing behind.
//!
//! - *Links*: a spool full of records of 1000 bytes that cannot be compressed, brought in over the control socket, is delivered
//!   to a broker at the other side. What counts is payload, from the connection to the last acknowledgement, against the mean
//!   of two plain transfers of as many bytes, one before and one after. Each run loses frames by the same seed as the plain
//!   transfer after it.
//! - *Faults*: records come steadily from a local client; the link breaks, the vehicle's program and the command post's broker
//!   are killed ([`faults::story`]). The agent gets them over its control socket, durably; a mosquitto on the vehicle by QoS 1,
//!   for a bridge that is set up as carefully as it can be, in two ways ([`programs::bridge`]). Arrivals are watched at the command post's
//!   broker; the agent's are read by the project's own receiver.
//!
//! The agent has its defaults but for a large spool.

mod faults;
mod figures;
mod filling;
mod link;
mod mqtt;
mod place;
mod programs;

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use self::faults::Rival;
use self::figures::{Contest, Filling, TARGET_PERCENT};
use self::link::{PROFILES, Profile};
use crate::packages;
use crate::steps::executables;

/// Debian packages of what is measured beside the agent, and of what makes the links.
const PACKAGES: &[packages::Program] = &[
    (&["mosquitto"], "mosquitto"),
    (&["ip"], "iproute2"),
    (&["ethtool"], "ethtool"),
    (&["nsenter"], "util-linux"),
];

/// What holds for a whole run.
pub struct Setting {
    binary: PathBuf,
    folder: PathBuf,
    repetitions: u64,
    congestion: String,
}

impl Setting {
    /// An empty folder for one measurement.
    fn fresh_folder(&self, name: &str) -> Result<PathBuf, String> {
        let folder = self.folder.join(name);
        // What an earlier run left is of no use; a folder that is not there is none.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|e| format!("making {}: {e}", folder.display()))?;
        Ok(folder)
    }
}

/// Measures. `arguments` are those after the command's name.
pub fn measure(arguments: &[String]) -> Result<(), String> {
    let options = Options::read(arguments)?;
    packages::ensure(PACKAGES, &[])?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => executables("build the agent", &["--release", "--package", "outrider"])?
            .remove("outrider")
            .ok_or("cargo built no outrider")?,
    };
    let binary = binary.canonicalize().map_err(|e| format!("finding {}: {e}", binary.display()))?;
    let here = std::env::current_dir().map_err(|e| format!("current folder: {e}"))?;
    let congestion = match options.congestion {
        Some(name) => name,
        None => place::congestion_control()?,
    };
    let setting = Setting {
        binary,
        folder: here.join("target/delivery"),
        repetitions: options.repetitions,
        congestion,
    };
    let mut fillings = Vec::new();
    for profile in &options.links {
        println!("==> filling {} by TCP with {}", profile.name, setting.congestion);
        fillings.push(filling::measure(&setting, *profile)?);
    }
    let contests = if options.faults { contests(&setting)? } else { Vec::new() };
    report(&setting, &fillings, &contests);
    if let Some(path) = &options.json {
        let document = json!({
            "congestion_control": setting.congestion,
            "links": fillings.iter().map(Filling::json).collect::<Vec<_>>(),
            "faults": contests.iter().map(Contest::json).collect::<Vec<_>>(),
        });
        fs::write(path, format!("{document:#}\n"))
            .map_err(|e| format!("writing {}: {e}", path.display()))?;
    }
    let misses = misses(&fillings, &contests);
    if misses.is_empty() { Ok(()) } else { Err(misses.join("; ")) }
}

/// All of them under the same faults.
fn contests(setting: &Setting) -> Result<Vec<Contest>, String> {
    let words = ["--package", "outrider", "--example", "arrivals"];
    let reader = executables("build the receiver", &words)?
        .remove("arrivals")
        .ok_or("cargo built no arrivals")?;
    let run = |rival| faults::run(setting, &reader, rival);
    Rival::ALL.into_iter().map(run).collect()
}

fn report(setting: &Setting, fillings: &[Filling], contests: &[Contest]) {
    println!("\nBinary {}; TCP with {}.", setting.binary.display(), setting.congestion);
    if !fillings.is_empty() {
        println!("Median of {} runs (least..greatest):\n", setting.repetitions);
        print!("{}", figures::links_table(fillings));
    }
    if !contests.is_empty() {
        println!(
            "\n{}: a record of {} bytes every {} ms; {}.\n",
            faults::PROFILE.name,
            faults::RECORD_BYTES,
            faults::RECORD_EVERY.as_millis(),
            faults::story()
        );
        print!("{}", figures::contest_table(contests));
    }
}

/// Everything that is not as it should be. How mosquitto does is no part of that.
fn misses(fillings: &[Filling], contests: &[Contest]) -> Vec<String> {
    let mut misses = Vec::new();
    for filling in fillings {
        let (name, percent) = (filling.profile.name, filling.percent());
        if percent < TARGET_PERCENT {
            misses.push(format!(
                "{name} is filled to {percent:.1} %, the target is {TARGET_PERCENT} %"
            ));
        }
    }
    for contest in contests.iter().filter(|contest| contest.name == Rival::Outrider.name()) {
        if contest.lost > 0 || contest.repeats > 0 {
            let Contest { lost, repeats, .. } = contest;
            misses.push(format!("under faults {lost} records were lost and {repeats} came twice"));
        }
    }
    misses
}

#[derive(Debug, PartialEq, Eq)]
struct Options {
    binary: Option<PathBuf>,
    json: Option<PathBuf>,
    links: Vec<Profile>,
    faults: bool,
    repetitions: u64,
    congestion: Option<String>,
}

impl Options {
    fn read(arguments: &[String]) -> Result<Options, String> {
        let mut options = Options {
            binary: None,
            json: None,
            links: Vec::new(),
            faults: false,
            repetitions: 5,
            congestion: None,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--binary" => options.binary = Some(PathBuf::from(value()?)),
                "--json" => options.json = Some(PathBuf::from(value()?)),
                "--congestion" => options.congestion = Some(value()?.clone()),
                "--faults" => options.faults = true,
                "--link" => {
                    let name = value()?;
                    let known = PROFILES.iter().find(|known| known.name.eq_ignore_ascii_case(name));
                    options.links.push(*known.ok_or(format!("there is no link `{name}`"))?);
                }
                "--repetitions" => {
                    let text = value()?;
                    let number = text.parse().ok().filter(|number| *number > 0);
                    options.repetitions =
                        number.ok_or(format!("`{text}` is not a number of repetitions"))?;
                }
                other => return Err(format!("delivery has no option `{other}`")),
            }
        }
        if options.links.is_empty() && !options.faults {
            (options.links, options.faults) = (PROFILES.to_vec(), true);
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::{Options, PROFILES};

    fn read(words: &str) -> Result<Options, String> {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        Options::read(&words)
    }

    #[test]
    fn everything_is_measured_unless_something_is_named() {
        let all = read("").unwrap();
        assert_eq!((all.links.len(), all.faults), (3, true));
        let some = read("--link best --repetitions 2").unwrap();
        assert_eq!((some.links, some.faults, some.repetitions), (vec![PROFILES[1]], false, 2));
        assert!(read("--faults").unwrap().links.is_empty());
        for wrong in ["--link worst", "--repetitions 0", "--json", "--fast"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
