//! The papers of one target: bill of materials and licence texts.

use std::fs;
use std::path::{Path, PathBuf};

use super::licences;
use super::linked::Inventory;
use super::sbom::{self, Tool};

/// Packages whose programs are released.
pub const PROGRAMS: &[&str] = &["outrider", "olsr-bridge"];

/// Virtual environment of the validator, from the workspace's root.
const VENV: &str = "target/cross/venv-sbom";

/// What the papers are about.
pub struct Papers<'a> {
    /// Folder of the workspace.
    pub root: &'a Path,
    /// Version of the release.
    pub version: &'a str,
    /// Commit that is built.
    pub commit: &'a str,
    /// SOURCE_DATE_EPOCH, in seconds since 1970.
    pub epoch_s: u64,
    /// What builds.
    pub tools: &'a [Tool],
}

/// Brings what the papers of the workspace `root` are checked with.
pub fn prepare(root: &Path) -> Result<(), String> {
    sbom::validator(root, &root.join(VENV)).map(drop)
}

impl Papers<'_> {
    /// Writes bill of materials (checked) and licence texts of one target into `folder`; returns their paths.
    pub fn write(&self, folder: &Path, inventory: &Inventory) -> Result<[PathBuf; 2], String> {
        let Papers { root, version, commit, epoch_s, tools } = *self;
        let target = &inventory.target;
        let file = |name: String, text: String| {
            let path = folder.join(name);
            fs::write(&path, text).map_err(|e| format!("writing {}: {e}", path.display()))?;
            Ok::<PathBuf, String>(path)
        };
        let facts = sbom::Facts { commit, epoch_s, tools };
        let bill = file(
            format!("outrider-{version}-{target}.cdx.json"),
            sbom::document(inventory, &facts)?,
        )?;
        sbom::check(root, &root.join(VENV), &bill)?;
        let title = format!("Licences of what Outrider {version} contains");
        let stand_ins = licences::StandIns::read(root)?;
        let texts = file(
            format!("outrider-{version}-{target}.THIRD-PARTY-LICENSES.txt"),
            licences::document(inventory, &stand_ins, root, &title)?,
        )?;
        Ok([bill, texts])
    }
}
