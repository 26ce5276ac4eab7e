//! The release targets and the pinned tools, read from `cross/targets.toml`.

use std::fs;
use std::path::Path;

use serde::Deserialize;

/// Where the data is, from the workspace's root.
const FILE: &str = "cross/targets.toml";

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    pub toolchain: Pins,
    #[serde(rename = "target")]
    pub targets: Vec<Target>,
}

/// Versions that a release is built with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    pub rustc: String,
    pub zig: String,
    pub rust_src_suites: Vec<String>,
}

/// One kind of vehicle computer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    pub name: String,
    pub triple: String,
    pub zig: String,
    pub zig_cpu: String,
    pub machine: Machine,
    pub bits: u8,
    pub arm: Option<u64>,
    pub deb: Option<String>,
    pub ipk: String,
    pub oci: Oci,
    pub budget_bytes: u64,
    pub emulator: Vec<String>,
}

/// Machines of the ELF header.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Machine {
    #[serde(rename = "x86_64")]
    X86_64,
    Aarch64,
    Arm,
}

/// A platform as the OCI image specification names it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oci {
    pub architecture: String,
    pub variant: Option<String>,
}

impl Release {
    /// Reads the file of this workspace.
    pub fn read() -> Result<Release, String> {
        let text =
            fs::read_to_string(Path::new(FILE)).map_err(|e| format!("reading {FILE}: {e}"))?;
        toml::from_str(&text).map_err(|e| format!("reading {FILE}: {e}"))
    }

    /// The targets called `names`, in the file's order; all when none is named.
    pub fn select(&self, names: &[String]) -> Result<Vec<Target>, String> {
        let known = |name: &String| self.targets.iter().any(|target| target.name == *name);
        if let Some(unknown) = names.iter().find(|name| !known(name)) {
            let all: Vec<&str> = self.targets.iter().map(|target| target.name.as_str()).collect();
            return Err(format!("there is no target `{unknown}`; there are {}", all.join(", ")));
        }
        let wanted = |target: &&Target| names.is_empty() || names.contains(&target.name);
        Ok(self.targets.iter().filter(wanted).cloned().collect())
    }
}

impl Target {
    /// Words that run a binary of this target here: none on such a machine, else the emulator.
    pub fn runner(&self) -> &[String] {
        if std::env::consts::ARCH == self.name { &[] } else { &self.emulator }
    }

    /// The triple as it stands in names of environment variables.
    pub fn variable(&self) -> String {
        self.triple.replace('-', "_")
    }
}
