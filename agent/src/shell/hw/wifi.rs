//! Wi-Fi interfaces: how well their peers are heard and at which bit rate, from the kernel's nl80211 over generic
//! netlink ([`super::nl80211`]), which needs no privilege. In an infrastructure network the only peer is the access
//! point; in an ad-hoc or 802.11s network every neighbour in radio range is one. Where nl80211 is missing (old vendor
//! drivers), signal and quality come from /proc/net/wireless, without rates. Scanning, and anything else that would
//! disturb the radio, is never asked for.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, setsockopt, sockopt,
};
use nix::sys::statfs::{SYSFS_MAGIC, statfs};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::core::catalog::hardware as catalog;

use super::Collector;
use super::nl80211::{self, Message, Station};
use super::tree::{Cause, Output, Scale, Tree};

/// A vehicle has one to three radios.
const INTERFACES_MAX: usize = 8;
/// Peers reported singly per interface, strongest first. A convoy fits; an access point may have hundreds.
const PEERS_MAX: usize = 24;
/// Peers read per interface before the answer is given up.
const PEERS_READ_MAX: usize = 512;
/// Longest wait for an answer of the kernel, which normally is there before the call returns.
const ANSWER_SECONDS_MAX: i64 = 1;
/// What the kernel puts into one datagram of a dump at most (NLMSG_GOODSIZE is 8 KiB; it grows to 32 KiB for a reader
/// that offers that much).
const DATAGRAM_BYTES: usize = 32 * 1024;
/// Quality that cfg80211 calls full.
const QUALITY_FULL: f64 = 70.0;
/// nl80211 counts bit rates in units of 100 kbit/s; this is one in bytes per second.
const RATE_UNIT: Scale = Scale::Times(12_500.0);

#[derive(Default)]
pub(super) struct Wifi {
    netlink: Netlink,
}

#[derive(Default)]
enum Netlink {
    #[default]
    Untried,
    /// This kernel has no nl80211, or the tree is not this kernel's.
    Missing,
    Open(Radio),
}

impl Collector for Wifi {
    fn collect(&mut self, tree: &mut Tree, output: &mut Output<'_>) {
        let interfaces = wireless_interfaces(tree, output);
        let mut heard = Vec::new();
        if !interfaces.is_empty() {
            self.ask_kernel(&interfaces, &mut heard, tree, output);
        }
        read_wireless(&heard, tree, output);
    }
}

struct Interface {
    name: String,
    index: u32,
}

fn wireless_interfaces(tree: &mut Tree, output: &mut Output<'_>) -> Vec<Interface> {
    const CLASS: &str = "sys/class/net";
    let mut names = tree.wanted(format_args!("{CLASS}"), output);
    names.retain(|name| tree.exists(format_args!("{CLASS}/{name}/phy80211")));
    let names = output.bounded(names, INTERFACES_MAX, "Wi-Fi interfaces");
    let mut with_index = |name: String| {
        let index = tree.number(format_args!("{CLASS}/{name}/ifindex"), output)?;
        Some(Interface { name, index: index as u32 })
    };
    names.into_iter().filter_map(&mut with_index).collect()
}

impl Wifi {
    /// Reports what nl80211 knows; `heard` becomes the names of the interfaces whose signal is known.
    fn ask_kernel(
        &mut self,
        interfaces: &[Interface],
        heard: &mut Vec<String>,
        tree: &mut Tree,
        output: &mut Output<'_>,
    ) {
        if matches!(self.netlink, Netlink::Untried) {
            self.netlink = match open(tree) {
                Ok(Some(radio)) => Netlink::Open(radio),
                Ok(None) => Netlink::Missing,
                Err(error) => {
                    // Tried again in the next run.
                    return output.complain(Cause::Unreadable, format_args!("nl80211: {error}"));
                }
            };
        }
        let Netlink::Open(radio) = &mut self.netlink else { return };
        for Interface { name, index } in interfaces {
            if let Err(error) = radio.report(name, *index, heard, output) {
                let what = format_args!("nl80211 about `{name}`: {error}");
                output.complain(Cause::Unreadable, what);
            }
        }
    }
}

/// Opens nl80211; `None` where it cannot be or would answer about another machine than the tree shows.
fn open(tree: &mut Tree) -> nix::Result<Option<Radio>> {
    let is_kernel = statfs(tree.path(format_args!("sys")))
        .is_ok_and(|status| status.filesystem_type() == SYSFS_MAGIC);
    if !is_kernel {
        return Ok(None);
    }
    let mut radio = Radio::connect()?;
    match radio.family("nl80211") {
        Ok(family) => {
            radio.family = family;
            Ok(Some(radio))
        }
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A generic netlink socket.
struct Radio {
    socket: OwnedFd,
    family: u16,
    sequence: u32,
}

impl Radio {
    fn connect() -> nix::Result<Radio> {
        let socket = socket::socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkGeneric,
        )?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(ANSWER_SECONDS_MAX))?;
        Ok(Radio { socket, family: 0, sequence: 0 })
    }

    /// The number under which this kernel has a family; `ENOENT` when it has not.
    fn family(&mut self, name: &str) -> nix::Result<u16> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut family = None;
        self.exchange(&nl80211::family_request(self.sequence, name), |data| {
            family = family.or_else(|| nl80211::family_id(data));
        })?;
        family.ok_or(Errno::EBADMSG)
    }

    fn report(
        &mut self,
        name: &str,
        index: u32,
        heard: &mut Vec<String>,
        output: &mut Output<'_>,
    ) -> nix::Result<()> {
        let mut frequency = None;
        self.sequence = self.sequence.wrapping_add(1);
        let request = nl80211::interface_request(self.sequence, self.family, index);
        self.exchange(&request, |data| frequency = nl80211::frequency_mhz(data))?;
        let frequency = frequency.map(f64::from);
        output.put_scaled(&catalog::WIFI_FREQUENCY, &[name], frequency, Scale::Times(1e6));

        let mut stations = Vec::new();
        self.sequence = self.sequence.wrapping_add(1);
        let request = nl80211::stations_request(self.sequence, self.family, index);
        self.exchange(&request, |data| {
            if stations.len() < PEERS_READ_MAX {
                stations.extend(nl80211::station(data));
            }
        })?;
        if put_stations(name, stations, output) {
            heard.push(name.to_owned());
        }
        Ok(())
    }

    /// Sends a request and hands the attributes of every message of the answer to `each`.
    fn exchange(&mut self, request: &[u8], mut each: impl FnMut(&[u8])) -> nix::Result<()> {
        let socket = self.socket.as_raw_fd();
        socket::send(socket, request, MsgFlags::empty())?;
        let mut buffer = vec![0; DATAGRAM_BYTES];
        // Every datagram has at least one message, so this many are enough for any answer that is read.
        for _ in 0..PEERS_READ_MAX {
            let length = socket::recv(socket, &mut buffer, MsgFlags::empty())?;
            for message in nl80211::messages(&buffer[..length], self.sequence) {
                match message {
                    Message::Data(data) => each(data),
                    Message::End(0) => return Ok(()),
                    Message::End(error) => return Err(Errno::from_raw(error.saturating_neg())),
                    Message::Malformed => return Err(Errno::EBADMSG),
                }
            }
        }
        Err(Errno::EMSGSIZE)
    }
}

/// Reports the peers of an interface; true when the signal of one is known.
fn put_stations(name: &str, mut stations: Vec<Station>, output: &mut Output<'_>) -> bool {
    output.put(&catalog::WIFI_PEERS, &[name], stations.len() as f64);
    // An address decides between equals, so that a list beyond the bound is the same in each run.
    stations
        .sort_unstable_by_key(|station| (std::cmp::Reverse(station.signal_dbm), station.address));
    if let Some(strongest) = stations.first() {
        let signal = strongest.signal_dbm.map(f64::from);
        output.put_scaled(&catalog::WIFI_SIGNAL, &[name], signal, Scale::ONE);
        let (send, receive) = (strongest.send_rate, strongest.receive_rate);
        output.put_scaled(&catalog::WIFI_SEND_RATE, &[name], send.map(f64::from), RATE_UNIT);
        output.put_scaled(&catalog::WIFI_RECEIVE_RATE, &[name], receive.map(f64::from), RATE_UNIT);
    }
    for station in stations.iter().take(PEERS_MAX) {
        let [a, b, c, d, e, f] = station.address;
        let labels = [name, &format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")];
        for (metric, value, scale) in [
            (&catalog::WIFI_STATION_SEND_RATE, station.send_rate, RATE_UNIT),
            (&catalog::WIFI_STATION_RECEIVE_RATE, station.receive_rate, RATE_UNIT),
            (&catalog::WIFI_STATION_RETRIES, station.retries, Scale::ONE),
            (&catalog::WIFI_STATION_FAILURES, station.failures, Scale::ONE),
        ] {
            output.put_scaled(metric, &labels, value.map(f64::from), scale);
        }
        let signal = station.signal_dbm.map(f64::from);
        output.put_scaled(&catalog::WIFI_STATION_SIGNAL, &labels, signal, Scale::ONE);
    }
    if stations.len() > PEERS_MAX {
        let what = format_args!("{} peers on `{name}`, {PEERS_MAX} shown", stations.len());
        output.complain(Cause::Bound, what);
    }
    stations.iter().any(|station| station.signal_dbm.is_some())
}

/// Signal, quality and noise from /proc/net/wireless; the signal only for interfaces that are not in `heard`. Lines are
/// `wlan0: 0000   54.  -56.  -256 ...`: status, quality, level, noise; a full stop marks a fresh value.
fn read_wireless(heard: &[String], tree: &mut Tree, output: &mut Output<'_>) {
    /// What the kernel shows where a driver knows no noise.
    const NOISE_UNKNOWN: f64 = -256.0;
    let Some(text) = tree.text(format_args!("proc/net/wireless"), output) else { return };
    for line in text.lines().skip(2).take(INTERFACES_MAX) {
        let Some((name, values)) = line.rsplit_once(':') else { continue };
        let name = name.trim();
        if !output.wants(name) {
            continue;
        }
        let mut fields = values.split_ascii_whitespace().skip(1);
        let mut next = || fields.next()?.trim_end_matches('.').parse::<i32>().ok().map(f64::from);
        let (Some(quality), Some(level), Some(noise)) = (next(), next(), next()) else {
            let what = format_args!("`/proc/net/wireless` has the line {line:?}");
            output.complain(Cause::Garbage, what);
            continue;
        };
        output.put(&catalog::WIFI_QUALITY, &[name], (quality / QUALITY_FULL).clamp(0.0, 1.0));
        // Levels of drivers that do not count in dBm are positive.
        if level < 0.0 && !heard.iter().any(|heard| heard == name) {
            output.put(&catalog::WIFI_SIGNAL, &[name], level);
        }
        if noise < 0.0 && noise > NOISE_UNKNOWN {
            output.put(&catalog::WIFI_NOISE, &[name], noise);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::hw::filter::Filter;

    #[test]
    fn the_running_kernel_answers_generic_netlink() {
        let mut radio = Radio::connect().unwrap();
        // The controller's own family has a fixed number and is in every kernel.
        assert_eq!(radio.family("nlctrl"), Ok(16));
        assert_eq!(radio.family("no such family"), Err(Errno::ENOENT));
        // The socket is still good after a refusal.
        assert_eq!(radio.family("nlctrl"), Ok(16));
    }

    #[test]
    fn the_strongest_peer_speaks_for_the_interface_and_the_list_is_bounded() {
        let stations = (0..100)
            .map(|number| Station {
                address: [2, 0, 0, 0, 0, number],
                signal_dbm: Some(-90 + (number as i8) / 2),
                send_rate: Some(10 * u32::from(number)),
                ..Station::default()
            })
            .collect();
        let filter = Filter::default();
        let mut output = Output::new(&filter, 0);
        assert!(put_stations("wlan0", stations, &mut output));
        let (samples, complaints) = output.finish("wifi");
        let lines: Vec<String> = samples.unwrap().iter().map(ToString::to_string).collect();
        for expected in [
            r#"outrider_wifi_peers{interface="wlan0"} 100"#,
            r#"outrider_wifi_signal_dbm{interface="wlan0"} -41"#,
            r#"outrider_wifi_send_rate_bytes_per_second{interface="wlan0"} 12250000"#,
            r#"outrider_wifi_station_signal_dbm{interface="wlan0",station="02:00:00:00:00:62"} -41"#,
            r#"outrider_hardware_skipped_items{collector="wifi",cause="bound"} 1"#,
        ] {
            assert!(lines.iter().any(|line| line == expected), "{expected} is not in {lines:#?}");
        }
        let single = lines.iter().filter(|line| line.contains("station_signal")).count();
        assert_eq!(single, PEERS_MAX);
        assert_eq!(complaints, ["100 peers on `wlan0`, 24 shown"]);
    }
}
