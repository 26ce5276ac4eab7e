//! Asks this vehicle's service manager about k3s. Starts and stops nothing.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::core::membership::preflight::{Finding, Stage};
use crate::core::membership::unit::{NAMES, PROPERTIES, Service, judge};
use crate::shell::tls::read_small_file;

/// The one file by which this agent tells k3s where to go. It sorts behind what operators usually name theirs: of two files the
/// later one counts.
pub const DROP_IN: &str = "/etc/rancher/k3s/config.yaml.d/zz-outrider.yaml";

/// Where systemd leaves a sign that it manages this machine (sd_booted(3)).
const SYSTEMD: &str = "/run/systemd/system";

/// Time for one answer. systemd answers in milliseconds; one that is busy starting a machine may take seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is to be said of the service `name`, or of the first of [`NAMES`] that runs an agent, or that there is.
pub async fn look(name: Option<&str>) -> Finding {
    if !Path::new(SYSTEMD).exists() {
        return Finding::skipped(Stage::Unit, "this machine is not managed by systemd");
    }
    let names: Vec<&str> = name.map_or(NAMES.to_vec(), |name| vec![name]);
    let mut found: Option<Service> = None;
    for name in names {
        match service(name).await {
            Ok(Some(service)) if service.is_agent() => {
                found = Some(service);
                break;
            }
            Ok(other) => found = found.or(other),
            Err(text) => return Finding::skipped(Stage::Unit, text),
        }
    }
    judge(found.as_ref(), Path::new(DROP_IN).exists())
}

/// A service of systemd with the environment of its files, as far as they can be read.
async fn service(name: &str) -> Result<Option<Service>, String> {
    let unit = format!("{name}.service");
    let mut command = Command::new("systemctl");
    command.args(["show", "--no-pager", "--property", PROPERTIES, "--", &unit]);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let failed = |why: String| format!("`systemctl show {unit}` cannot be asked: {why}");
    let output = timeout(PATIENCE, command.output())
        .await
        .map_err(|_| failed(format!("no answer within {} s", PATIENCE.as_secs())))?
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let mut service = Service::from_systemd(name, &String::from_utf8_lossy(&output.stdout));
    if let Some(service) = &mut service {
        for file in service.environment_files.clone() {
            // Most of them are optional; one that is there may be for root alone.
            let content = read_small_file(Path::new(&file)).unwrap_or_default();
            service.add_environment(&String::from_utf8_lossy(&content));
        }
    }
    Ok(service)
}
