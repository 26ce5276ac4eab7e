//! Writes the licence texts of everything that is linked in: one file to put beside the programs.
//!
//! Takes the files that come with the components, whole and all of them: both texts of a dual licence, and those of parts
//! that a component took from elsewhere. Chooses no licence and judges none (cargo-deny does that). Equal texts are printed
//! once; line ends, blanks at line ends and empty lines around a text do not make a difference. A component without a text
//! is an error, unless the data file names a text that stands in for it and why.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::linked::{Component, Inventory, Texts};

/// The data file of texts that stand in, from the workspace's root.
pub const STAND_INS: &str = "cross/licences.toml";

/// How a file that holds a licence is called: one of these words, in front or behind a separator.
const WORDS: &[&str] = &["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];

/// Endings of files that may be called like a licence and are about something else.
const PROGRAMS: &[&str] = &["RS", "C", "H", "S", "GO", "PY", "SH", "JSON", "TOML", "YML", "YAML"];

/// Texts that stand in for those that components lack.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandIns {
    #[serde(rename = "stand-in", default)]
    entries: Vec<StandIn>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StandIn {
    names: BTreeSet<String>,
    licence: String,
    texts: Vec<PathBuf>,
    reason: String,
}

impl StandIns {
    /// Reads the data file of the workspace at `root`.
    pub fn read(root: &Path) -> Result<StandIns, String> {
        let path = root.join(STAND_INS);
        let text =
            fs::read_to_string(&path).map_err(|e| format!("reading {}: {e}", path.display()))?;
        StandIns::parse(&text).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Reads the data file's text.
    pub fn parse(text: &str) -> Result<StandIns, String> {
        toml::from_str(text).map_err(|e| e.to_string())
    }

    fn of(&self, component: &Component) -> Option<&StandIn> {
        self.entries.iter().find(|entry| entry.names.contains(&component.name))
    }
}

/// One file of one component.
struct Found {
    /// As the reader is told: the file's path inside the component, or the kept one.
    name: String,
    text: String,
}

/// One text with everybody it belongs to.
struct Group {
    text: String,
    /// Component and file, in the order of the components.
    users: Vec<String>,
}

/// The whole document. `root` is the workspace's, `title` its first line. Fails naming every component that lacks a text and
/// every entry of the data file
/// that is no longer needed.
pub fn document(
    inventory: &Inventory,
    stand_ins: &StandIns,
    root: &Path,
    title: &str,
) -> Result<String, String> {
    let mut linked: Vec<&Component> = inventory.third_party().collect();
    linked.sort_by_key(|component| (&component.name, &component.version, &component.purl));

    let mut problems: Vec<String> = Vec::new();
    let mut groups: Vec<Group> = Vec::new();
    let mut by_text: BTreeMap<String, usize> = BTreeMap::new();
    let mut list = String::new();
    for component in &linked {
        let found = match texts(component, stand_ins, root) {
            Ok(found) => found,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        let mut numbers = BTreeSet::new();
        for Found { name, text } in found {
            let number = *by_text.entry(text.clone()).or_insert_with(|| {
                groups.push(Group { text, users: Vec::new() });
                groups.len()
            });
            groups[number - 1]
                .users
                .push(format!("{} {} ({name})", component.name, component.version));
            numbers.insert(number);
        }
        let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
        let Component { name, version, licence, .. } = component;
        // Writing to a string does not fail.
        let _ = writeln!(list, "{name} {version}\n    {licence}\n    texts {}", numbers.join(", "));
    }
    for entry in &stand_ins.entries {
        if !linked.iter().any(|component| entry.names.contains(&component.name)) {
            let names: Vec<&str> = entry.names.iter().map(String::as_str).collect();
            problems.push(format!(
                "{}: {STAND_INS} has a text for this, and it is not linked in; take it out",
                names.join(", ")
            ));
        }
    }
    if !problems.is_empty() {
        return Err(problems.join("\n"));
    }
    Ok(render(title, inventory, stand_ins, &list, &groups))
}

fn render(
    title: &str,
    inventory: &Inventory,
    stand_ins: &StandIns,
    list: &str,
    groups: &[Group],
) -> String {
    let rule = "=".repeat(100);
    let mut text = format!(
        "{title}\n\nThe programs for {} contain these works of others, under these licences. \"OR\" leaves the choice to you.\n\n\
         {list}\nTexts kept with Outrider's sources, because a work comes without them:\n\n",
        inventory.target
    );
    for entry in &stand_ins.entries {
        let names: Vec<&str> = entry.names.iter().map(String::as_str).collect();
        let _ = writeln!(text, "{}\n    {}", names.join(", "), entry.reason);
    }
    for (index, group) in groups.iter().enumerate() {
        let _ = write!(
            text,
            "\n{rule}\nText {} of {}, of:\n  {}\n{rule}\n\n{}\n",
            index + 1,
            groups.len(),
            group.users.join("\n  "),
            group.text
        );
    }
    text
}

/// The texts of one component: its own, else those that stand in.
fn texts(component: &Component, stand_ins: &StandIns, root: &Path) -> Result<Vec<Found>, String> {
    let Component { name, version, licence, .. } = component;
    let (base, own) = match &component.texts {
        Texts::Below(folder) => (folder.clone(), files_below(folder)?),
        Texts::Files(files) => (PathBuf::new(), files.clone()),
        Texts::StandIn => (PathBuf::new(), Vec::new()),
    };
    match (own.is_empty(), stand_ins.of(component)) {
        (false, None) => own.iter().map(|file| read(file, &base)).collect(),
        (false, Some(_)) => Err(format!(
            "{name} {version}: comes with its own licence texts now; take it out of {STAND_INS}"
        )),
        (true, None) => Err(format!(
            "{name} {version} ({licence}): comes without any licence text; look for one at its makers' and put it into \
             {STAND_INS} with the reason"
        )),
        (true, Some(entry)) if entry.licence != *licence => Err(format!(
            "{name} {version}: {STAND_INS} has a text for `{}`, and its licence is `{licence}`; look again",
            entry.licence
        )),
        (true, Some(entry)) => {
            entry.texts.iter().map(|file| read(&root.join(file), root)).collect()
        }
    }
}

/// Reads a text in the form in which texts are compared.
fn read(file: &Path, base: &Path) -> Result<Found, String> {
    let bytes = fs::read(file).map_err(|e| format!("reading {}: {e}", file.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let text = lines.join("\n").trim_matches('\n').to_owned();
    if text.is_empty() {
        return Err(format!("{}: a licence text with nothing in it", file.display()));
    }
    let name = match file.strip_prefix(base) {
        Ok(inside) if !base.as_os_str().is_empty() => inside.to_string_lossy().into_owned(),
        _ => file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    };
    Ok(Found { name, text })
}

/// Every file below `folder` that is called like a licence, sorted.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let failed = |e: std::io::Error| format!("listing {}: {e}", folder.display());
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // Of the entry itself: a link to a folder is not followed, so there are no circles.
            if entry.file_type().map_err(failed)?.is_dir() {
                folders.push(entry.path());
            } else if is_licence(&entry.file_name().to_string_lossy()) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a file is called like a licence: `LICENSE-MIT`, `COPYING`, `third-party-license.txt`, but not `notice.rs`.
fn is_licence(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let mut parts = name.split(['-', '_', '.']);
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    parts.any(|part| WORDS.contains(&part)) && !PROGRAMS.contains(&ending)
}

#[cfg(test)]
mod tests;
