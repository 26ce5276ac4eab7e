//! Are the files with passwords and keys there, and nobody else's business?

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{Check, Context, Finding};
use crate::shell::mqtt::Settings;
use crate::shell::tls;

pub(super) const CHECK: Check = Check {
    id: "credentials",
    title: "Credentials",
    reason: "the broker lets in only who can prove who it is, and so does whoever steals the proof",
    needs_config: true,
    run,
};

/// Permissions of others: reading or writing.
const OTHERS: u32 = 0o006;

fn run(context: &Context) -> Vec<Finding> {
    let mqtt = &context.config.mqtt;
    let secrets = [("password_file", &mqtt.password_file), ("key_file", &mqtt.key_file)];
    let mut findings: Vec<Finding> = secrets
        .iter()
        .filter_map(|(key, path)| path.as_deref().and_then(|path| secret(key, path)))
        .collect();
    if let Some(files) = Settings::from_config(mqtt).and_then(|settings| settings.tls)
        && let Err(error) = tls::client_config(&files)
    {
        findings.push(Finding::error(
            error.to_string(),
            "put the file right; the agent reads it anew at each connection and needs no restart",
        ));
    }
    if !findings.is_empty() {
        return findings;
    }
    if secrets.iter().all(|(_, path)| path.is_none()) && !mqtt.tls {
        return Finding::skipped("none are configured");
    }
    Finding::ok("all files can be read, and secrets only by their owners")
}

/// What is wrong with a file that holds a secret.
fn secret(key: &str, path: &Path) -> Option<Finding> {
    let shown = path.display();
    if let Err(error) = tls::read_small_file(path) {
        return Some(Finding::error(
            format!("`{key}`: {shown} cannot be read: {error}"),
            "check the path, and let the agent's user read the file",
        ));
    }
    let mode = fs::metadata(path).ok()?.permissions().mode();
    (mode & OTHERS != 0).then(|| {
        Finding::warning(
            format!("`{key}`: everybody on this machine may read or change {shown}"),
            format!("chmod o= {shown}"),
        )
    })
}
