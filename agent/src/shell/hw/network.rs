//! Network interfaces: counters from /proc/net/dev (all interfaces in one read; the same numbers as the files under
//! `statistics/`), state from /sys/class/net (Documentation/ABI/testing/sysfs-class-net). Addresses, routes and CAN
//! bit timing are not read: they need netlink and are the routing daemon's business.

use std::collections::BTreeMap;

use crate::core::catalog::hardware as catalog;
use crate::core::sample::Metric;

use super::Collector;
use super::tree::{Cause, Output, Scale, Tree};

/// Interfaces reported, those with hardware behind them first: radios, Ethernet ports, CAN buses, a tunnel or two.
const INTERFACES_MAX: usize = 32;

/// Loopback, the pods' ends of k3s and container networks, and devices that only exist as the kernel's templates.
pub(super) const UNINTERESTING: &[&str] = &[
    "lo", "veth*", "cali*", "lxc*", "ifb*", "dummy*", "sit0", "tunl0", "gre0", "gretap0",
    "erspan0", "ip6tnl0", "ip6gre0", "ip_vti0", "ip6_vti0",
];

/// Mbit/s in bytes per second.
const MEGABITS: Scale = Scale::Times(125_000.0);

const CLASS: &str = "sys/class/net";

/// Columns of /proc/net/dev that are used; 8 to receive (bytes packets errs drop fifo frame compressed multicast), then
/// 8 to send (bytes packets errs drop fifo colls carrier compressed).
const COLUMNS: [(usize, &Metric); 8] = [
    (0, &catalog::NETWORK_RECEIVED),
    (1, &catalog::NETWORK_PACKETS_RECEIVED),
    (2, &catalog::NETWORK_RECEIVE_ERRORS),
    (3, &catalog::NETWORK_RECEIVE_DROPS),
    (8, &catalog::NETWORK_SENT),
    (9, &catalog::NETWORK_PACKETS_SENT),
    (10, &catalog::NETWORK_SEND_ERRORS),
    (11, &catalog::NETWORK_SEND_DROPS),
];
const COLUMNS_COUNT: usize = 16;

pub(super) struct Network;

impl Collector for Network {
    fn collect(&mut self, tree: &mut Tree, output: &mut Output<'_>) {
        let interfaces = choose(tree, output);
        let mut counters = read_counters(&interfaces, tree, output);
        for Interface { name, .. } in &interfaces {
            if let Some(counters) = counters.remove(name) {
                for ((_, metric), value) in COLUMNS.iter().zip(counters) {
                    output.put(metric, &[name], value);
                }
            }
        }
        for interface in &interfaces {
            read_state(interface, tree, output);
        }
    }
}

struct Interface {
    name: String,
    has_device: bool,
}

/// The interfaces to report: wanted, those with hardware first, bounded in number.
fn choose(tree: &mut Tree, output: &mut Output<'_>) -> Vec<Interface> {
    let names = tree.wanted(format_args!("{CLASS}"), output);
    let mut interfaces: Vec<Interface> = names
        .into_iter()
        // A file among the interfaces.
        .filter(|name| name != "bonding_masters")
        .map(|name| {
            let has_device = tree.exists(format_args!("{CLASS}/{name}/device"));
            Interface { name, has_device }
        })
        .collect();
    interfaces.sort_by_key(|interface| !interface.has_device);
    if interfaces.len() > INTERFACES_MAX {
        for interface in &interfaces[INTERFACES_MAX..] {
            let name = &interface.name;
            output.complain(
                Cause::Bound,
                format_args!("interface `{name}` beyond {INTERFACES_MAX}; choose by `include`"),
            );
        }
        interfaces.truncate(INTERFACES_MAX);
    }
    interfaces
}

fn read_counters(
    interfaces: &[Interface],
    tree: &mut Tree,
    output: &mut Output<'_>,
) -> BTreeMap<String, [f64; COLUMNS.len()]> {
    let mut counters = BTreeMap::new();
    let Some(text) = tree.text(format_args!("proc/net/dev"), output) else { return counters };
    // Two lines of headings. Names may contain colons (aliases), numbers cannot.
    for line in text.lines().skip(2) {
        let Some((name, numbers)) = line.rsplit_once(':') else { continue };
        let name = name.trim();
        if !interfaces.iter().any(|interface| interface.name == name) {
            continue;
        }
        match parse_counters(numbers) {
            Some(values) => {
                counters.insert(name.to_owned(), values);
            }
            None => output.complain(
                Cause::Garbage,
                format_args!("`/proc/net/dev` has no {COLUMNS_COUNT} numbers for `{name}`"),
            ),
        }
    }
    counters
}

fn parse_counters(numbers: &str) -> Option<[f64; COLUMNS.len()]> {
    let mut all = [0.0; COLUMNS_COUNT];
    let mut fields = numbers.split_ascii_whitespace();
    for value in &mut all {
        *value = fields.next()?.parse::<u64>().ok()? as f64;
    }
    Some(COLUMNS.map(|(column, _)| all[column]))
}

fn read_state(interface: &Interface, tree: &mut Tree, output: &mut Output<'_>) {
    let name = interface.name.as_str();
    let operstate = tree.text(format_args!("{CLASS}/{name}/operstate"), output);
    let operstate = operstate.unwrap_or("unknown").to_owned();
    let up = match operstate.as_str() {
        "up" => true,
        // CAN, tunnels and old drivers never leave this state.
        "unknown" => tree.number(format_args!("{CLASS}/{name}/carrier"), output) == Some(1.0),
        _ => false,
    };
    output.put(&catalog::NETWORK_UP, &[name], f64::from(u8::from(up)));
    let kind = kind(interface, tree, output);
    output.put(&catalog::NETWORK_INFO, &[name, kind, &operstate], 1.0);
    for (file, metric, scale) in [
        ("carrier_changes", &catalog::NETWORK_CARRIER_CHANGES, Scale::ONE),
        ("mtu", &catalog::NETWORK_MTU, Scale::ONE),
    ] {
        let value = tree.number(format_args!("{CLASS}/{name}/{file}"), output);
        output.put_scaled(metric, &[name], value, scale);
    }
    // -1 means unknown.
    if let Some(speed @ 0.0..) = tree.number(format_args!("{CLASS}/{name}/speed"), output) {
        output.put_scaled(&catalog::NETWORK_SPEED, &[name], Some(speed), MEGABITS);
    }
}

fn kind(interface: &Interface, tree: &mut Tree, output: &mut Output<'_>) -> &'static str {
    /// Values of `type`, from include/uapi/linux/if_arp.h.
    const ARPHRD_ETHER: f64 = 1.0;
    const ARPHRD_CAN: f64 = 280.0;
    let name = &interface.name;
    if tree.exists(format_args!("{CLASS}/{name}/phy80211")) {
        return "wifi";
    }
    match tree.number(format_args!("{CLASS}/{name}/type"), output) {
        Some(ARPHRD_CAN) => "can",
        _ if !interface.has_device => "virtual",
        Some(ARPHRD_ETHER) => "ethernet",
        _ => "other",
    }
}
