//! What machine and system this is (kernel, distribution, model, boot id), how long it runs, and its hardware
//! watchdogs (Documentation/watchdog/watchdog-api.rst, ABI/testing/sysfs-class-watchdog). Watchdogs are looked at,
//! never opened: opening one arms it.

use crate::core::catalog::hardware as catalog;

use super::Collector;
use super::tree::{Cause, Output, Scale, Tree};

/// Boards have one or two, one of them made of software.
const WATCHDOGS_MAX: usize = 8;
/// `WDIOF_CARDRESET` of include/uapi/linux/watchdog.h: the last reset came from the watchdog.
const CARD_RESET: u32 = 0x20;

const CLASS: &str = "sys/class/watchdog";

/// Keeps what cannot change while the machine runs.
#[derive(Default)]
pub(super) struct System {
    identity: Option<[String; 4]>,
    boot_id: Option<String>,
}

impl Collector for System {
    fn collect(&mut self, tree: &mut Tree, output: &mut Output<'_>) {
        read_uptime(tree, output);
        let boot_time = tree.text(format_args!("proc/stat"), output).and_then(|text| {
            text.lines().find_map(|line| line.strip_prefix("btime ")?.parse::<u64>().ok())
        });
        let boot_time = boot_time.map(|seconds| seconds as f64);
        output.put_scaled(&catalog::BOOT_TIME, &[], boot_time, Scale::ONE);
        if self.boot_id.is_none() {
            let path = format_args!("proc/sys/kernel/random/boot_id");
            self.boot_id = tree.text(path, output).map(str::to_owned);
        }
        if let Some(boot_id) = &self.boot_id {
            output.put(&catalog::BOOT_INFO, &[boot_id], 1.0);
        }
        if self.identity.is_none() {
            self.identity = identify(tree, output);
        }
        if let Some(identity) = &self.identity {
            output.put(&catalog::SYSTEM_INFO, &identity.each_ref().map(String::as_str), 1.0);
        }
        let watchdogs = tree.numbered(format_args!("{CLASS}"), "watchdog", output);
        for watchdog in output.bounded(watchdogs, WATCHDOGS_MAX, "watchdogs") {
            read_watchdog(&watchdog, tree, output);
        }
    }
}

fn read_uptime(tree: &mut Tree, output: &mut Output<'_>) {
    let Some(text) = tree.text(format_args!("proc/uptime"), output) else { return };
    let seconds = text.split(' ').next().and_then(|seconds| seconds.parse::<f64>().ok());
    match seconds.filter(|seconds| seconds.is_finite()) {
        Some(seconds) => output.put(&catalog::UPTIME, &[], seconds),
        None => output.complain(Cause::Garbage, format_args!("`/proc/uptime` has {text:?}")),
    }
}

/// Kernel, architecture, system and model; `None` where not even the kernel is known.
fn identify(tree: &mut Tree, output: &mut Output<'_>) -> Option<[String; 4]> {
    let kernel = tree.text(format_args!("proc/sys/kernel/osrelease"), output)?.to_owned();
    // Since Linux 6.1; before, what this program was built for is the best answer.
    let architecture = tree.text(format_args!("proc/sys/kernel/arch"), output);
    let architecture = architecture.unwrap_or(std::env::consts::ARCH).to_owned();
    let release = match tree.text(format_args!("etc/os-release"), output) {
        Some(text) => os_name(text),
        None => tree.text(format_args!("usr/lib/os-release"), output).map_or("", os_name),
    };
    let release = release.to_owned();
    Some([kernel, architecture, release, model(tree, output)])
}

/// `PRETTY_NAME` of os-release(5).
fn os_name(text: &str) -> &str {
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("").trim_matches(['"', '\''])
}

/// Model from the device tree (ARM) or the firmware's tables (x86).
fn model(tree: &mut Tree, output: &mut Output<'_>) -> String {
    if let Some(model) = tree.text(format_args!("sys/firmware/devicetree/base/model"), output) {
        return model.to_owned();
    }
    let mut table = |file: &str| {
        let text = tree.text(format_args!("sys/class/dmi/id/{file}"), output);
        text.unwrap_or("").to_owned()
    };
    let (vendor, product) = (table("sys_vendor"), table("product_name"));
    format!("{vendor} {product}").trim().to_owned()
}

fn read_watchdog(watchdog: &str, tree: &mut Tree, output: &mut Output<'_>) {
    let identity = tree.text(format_args!("{CLASS}/{watchdog}/identity"), output).unwrap_or("");
    output.put(&catalog::WATCHDOG_INFO, &[watchdog, identity], 1.0);
    if let Some(state) = tree.text(format_args!("{CLASS}/{watchdog}/state"), output) {
        let active = f64::from(u8::from(state == "active"));
        output.put(&catalog::WATCHDOG_ACTIVE, &[watchdog], active);
    }
    let timeout = tree.number(format_args!("{CLASS}/{watchdog}/timeout"), output);
    output.put_scaled(&catalog::WATCHDOG_TIMEOUT, &[watchdog], timeout, Scale::ONE);
    if let Some(status) = tree.number(format_args!("{CLASS}/{watchdog}/bootstatus"), output) {
        let caused = f64::from(u8::from(status as u32 & CARD_RESET != 0));
        output.put(&catalog::WATCHDOG_CAUSED_BOOT, &[watchdog], caused);
    }
}
