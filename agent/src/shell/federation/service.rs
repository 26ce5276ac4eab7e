//! Asks this vehicle's service manager about k3s. Starts and stops nothing.

use std::path::Path;
use std::time::Duration;

use super::program::run;
use crate::core::membership::manager::{Manager, OpenRc, Systemd};
use crate::core::membership::preflight::{Finding, Stage};
use crate::core::membership::unit::{Service, judge};
use crate::shell::tls::read_small_file;

/// The one file by which this agent tells k3s where to go. It sorts behind what operators usually name theirs: of two files the
/// later one counts.
pub const DROP_IN: &str = "/etc/rancher/k3s/config.yaml.d/zz-outrider.yaml";

/// Where systemd leaves a sign that it manages this machine (sd_booted(3)).
pub const SYSTEMD: &str = "/run/systemd/system";

/// Where OpenRC has its state while it manages the machine.
pub const OPENRC: &str = "/run/openrc";

/// Time for one answer. systemd answers in milliseconds; one that is busy starting a machine may take seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is to be said of the service `name`, or of the first of the usual names that runs an agent, or that there is; and of what
/// else would read k3s's files. The operator's own commands are not asked before there is something to order.
pub async fn look(name: Option<&str>, data_folder: &Path, has_commands: bool) -> Finding {
    if has_commands {
        let text = "the service is known to the configured commands alone";
        return Finding::skipped(Stage::Unit, text);
    }
    let manager: &dyn Manager = match () {
        () if Path::new(SYSTEMD).exists() => &Systemd,
        () if Path::new(OPENRC).exists() => &OpenRc,
        () => {
            let text = "this machine is managed neither by systemd nor by OpenRC";
            return Finding::skipped(Stage::Unit, text);
        }
    };
    let found = match find(manager, name).await {
        Ok(found) => found,
        Err(text) => return Finding::skipped(Stage::Unit, text),
    };
    let finding = judge(found.as_ref(), data_folder, Path::new(DROP_IN).exists());
    let Some(found) = found.filter(|_| !finding.is_bad()) else { return finding };
    for name in manager.names().iter().filter(|name| **name != found.name) {
        if let Ok(Some(beside)) = service(manager, name).await
            && let Some(bad) = beside.follows()
        {
            return bad;
        }
    }
    finding
}

/// The service `name`, or the first of the usual names that runs an agent as far as can be told, or that there is.
pub async fn find(manager: &dyn Manager, name: Option<&str>) -> Result<Option<Service>, String> {
    let names: Vec<&str> = name.map_or(manager.names().to_vec(), |name| vec![name]);
    let mut found: Option<Service> = None;
    for name in names {
        match service(manager, name).await? {
            Some(service) if service.stranger().is_none() => return Ok(Some(service)),
            other => found = found.or(other),
        }
    }
    Ok(found)
}

/// A service with the environment of its files, as far as they can be read.
async fn service(manager: &dyn Manager, name: &str) -> Result<Option<Service>, String> {
    let question = manager.question(name);
    let said = run(&question, "", PATIENCE).await?;
    let mut service = manager
        .answer(name, said.code, &said.output)
        .map_err(|why| format!("`{}` gave no answer: {why} {}", question.join(" "), said.error))?;
    if let Some(service) = &mut service {
        for file in service.environment_files.clone() {
            // Most of them are optional; one that is there may be for root alone.
            let content = read_small_file(Path::new(&file)).unwrap_or_default();
            service.add_environment(&String::from_utf8_lossy(&content));
        }
    }
    Ok(service)
}
