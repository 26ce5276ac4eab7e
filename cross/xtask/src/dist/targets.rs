//! The release targets and the pinned tools, read from `cross/targets.toml`.

use std::fs;

use serde::{Deserialize, Serialize};

use super::toolchain::Wish;

/// Where the data is, from the workspace's root.
const FILE: &str = "cross/targets.toml";

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    pub toolchain: Pins,
    #[serde(rename = "target")]
    pub targets: Vec<Target>,
}

/// Versions that a release is built with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    pub rustc: String,
    pub std: Wish,
    pub own_musl: String,
    pub zig: String,
    pub rust_src_suites: Vec<String>,
}

/// One kind of vehicle computer. The file says what the fields mean.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    pub name: String,
    pub triple: String,
    pub zig: String,
    pub zig_cpu: String,
    pub rust_features: Option<String>,
    /// Sequences of instructions that stand in several places are made functions.
    #[serde(default)]
    pub outline: bool,
    pub machine: Machine,
    pub bits: u8,
    pub arm: Option<u64>,
    pub deb: Option<String>,
    pub ipk: String,
    pub oci: Oci,
    pub budget_bytes: u64,
    pub emulators: Vec<Vec<String>>,
}

/// Machines of the ELF header.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Machine {
    #[serde(rename = "x86_64")]
    X86_64,
    Aarch64,
    Arm,
}

/// A platform as the OCI image specification names it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Oci {
    pub architecture: String,
    pub variant: Option<String>,
}

impl Targets {
    /// Reads the file of this workspace.
    pub fn read() -> Result<Targets, String> {
        let text = fs::read_to_string(FILE).map_err(|e| format!("reading {FILE}: {e}"))?;
        Targets::parse(&text).map_err(|e| format!("reading {FILE}: {e}"))
    }

    fn parse(text: &str) -> Result<Targets, String> {
        toml::from_str(text).map_err(|e| e.to_string())
    }
}

/// The targets called `names`, in the file's order; all when none is named.
pub fn select(targets: Vec<Target>, names: &[String]) -> Result<Vec<Target>, String> {
    let known = |name: &String| targets.iter().any(|target| target.name == *name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        let all: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        return Err(format!("there is no target `{unknown}`; there are {}", all.join(", ")));
    }
    let wanted = |target: &Target| names.is_empty() || names.contains(&target.name);
    Ok(targets.into_iter().filter(wanted).collect())
}

impl Target {
    /// Words that run a binary of this target here: none on such a machine, else the first emulator.
    pub fn runner(&self) -> &[String] {
        if std::env::consts::ARCH == self.name {
            return &[];
        }
        self.emulators.first().map_or(&[], Vec::as_slice)
    }

    /// The emulators besides [`Target::runner`], which a binary has to run under, too.
    pub fn further_runners(&self) -> impl Iterator<Item = &[String]> {
        self.emulators.iter().map(Vec::as_slice).filter(|words| *words != self.runner())
    }

    /// Whether the C library's time can be shorter than the kernel's, so that dates past 2038 have to be tried.
    pub fn has_short_time(&self) -> bool {
        self.bits == 32
    }

    /// The triple as it stands in names of environment variables.
    pub fn variable(&self) -> String {
        self.triple.replace('-', "_")
    }
}

#[cfg(test)]
mod processors;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::{FILE, Machine, Targets, select};
    use crate::dist::fixtures;

    fn text() -> String {
        fs::read_to_string(fixtures::root().join(FILE)).unwrap()
    }

    #[test]
    fn the_four_vehicle_computers_are_there() {
        let targets = Targets::parse(&text()).unwrap().targets;
        let triples: BTreeSet<&str> = targets.iter().map(|target| target.triple.as_str()).collect();
        assert_eq!(
            triples.into_iter().collect::<Vec<_>>(),
            [
                "aarch64-unknown-linux-musl",
                "arm-unknown-linux-musleabihf",
                "armv7-unknown-linux-musleabihf",
                "x86_64-unknown-linux-musl",
            ]
        );
        for target in &targets {
            assert_eq!(target.has_short_time(), target.machine == Machine::Arm, "{}", target.name);
            assert_eq!(target.arm.is_some(), target.machine == Machine::Arm, "{}", target.name);
            assert!(!target.emulators.is_empty(), "{}", target.name);
            let ways = target.further_runners().count() + usize::from(!target.runner().is_empty());
            assert_eq!(ways, target.emulators.len(), "{}: each is used once", target.name);
        }
    }

    #[test]
    fn targets_are_chosen_by_name_in_the_order_of_the_file() {
        let chosen = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            select(Targets::parse(&text()).unwrap().targets, &names)
        };
        let names = |targets: Vec<super::Target>| -> Vec<String> {
            targets.into_iter().map(|target| target.name).collect()
        };
        assert_eq!(names(chosen(&["armv6", "x86_64"]).unwrap()), ["x86_64", "armv6"]);
        assert_eq!(names(chosen(&[]).unwrap()).len(), 4);
        assert!(chosen(&["armv8"]).unwrap_err().contains("there are x86_64, aarch64"));
    }

    #[test]
    fn a_file_with_a_field_that_nobody_reads_is_refused() {
        let odd = text().replacen("\nzig_cpu =", "\nzig_cpus =", 1);
        assert_ne!(odd, text());
        assert!(Targets::parse(&odd).unwrap_err().contains("zig_cpus"));
    }
}
