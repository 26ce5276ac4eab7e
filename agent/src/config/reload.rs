//! What a reload changes: which keys differ, and which of them wait for a restart.

use super::Config;
use super::key::TakesEffect;
use super::keys;

/// The keys that differ between two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Keys that take effect now, as `section.key`.
    pub effective: Vec<String>,
    /// Keys that take effect at the next start, as `section.key`, and tables that do, as `stream log`.
    pub need_restart: Vec<String>,
}

/// Compares the running configuration with the one just read.
#[must_use]
pub fn reload(old: &Config, new: &Config) -> Changes {
    let mut changes = Changes::default();
    for (section, key) in keys::all() {
        if key.field.equal(old, new) {
            continue;
        }
        let name = format!("{}.{}", section.name, key.name);
        match key.takes_effect {
            TakesEffect::OnReload => changes.effective.push(name),
            TakesEffect::OnRestart => changes.need_restart.push(name),
        }
    }
    changes.need_restart.extend(keys::LISTS.iter().flat_map(|list| list.changes(old, new)));
    changes
}
