//! The jsoninfo plugin's document: one line, keys in the daemon's order, floats as C's `%f`.

use std::fmt::Write as _;

use super::{Facts, quality};
use crate::mesh::{LinkSeen, NeighborSeen, Status, View};

/// Tables in the order of the document.
pub(super) const TABLES: [&str; 14] = [
    "neighbors",
    "links",
    "routes",
    "hna",
    "mid",
    "topology",
    "gateways",
    "interfaces",
    "2hop",
    "sgw",
    "pudposition",
    "version",
    "config",
    "plugins",
];
/// The first of [`TABLES`] that `/runtime` does not have.
pub(super) const RUNTIME: usize = 11;

/// A broken link's cost in the links table, in the topology table, and a broken path's.
const LINK_BROKEN: f64 = 4_194_304.0;
const EDGE_BROKEN: f64 = 4_096.0;
const PATH_BROKEN: f64 = 4_294_967_295.0;

const VERSION: &str = r#"{"version": "olsr.org - pre-0.9.9-git_3653c47b-hash_83ca2734d898514cc8e903178d63941c","gitDescriptor": "v0.9.7-129-g3653c47b-dirty","gitSha": "3653c47b88653be6c5dcf9e8ce3a5efbb69684a4","releaseVersion": "pre-0.9.9","sourceHash": "83ca2734d898514cc8e903178d63941c"}"#;
const PLUGINS: &str = r#"[{"plugin": "olsrd_netjson.so.1.1","parameters": {"accept": "127.0.0.1","port": "2005"}},{"plugin": "olsrd_txtinfo.so.1.1","parameters": {"accept": "127.0.0.1","port": "2006"}},{"plugin": "olsrd_jsoninfo.so.1.1","parameters": {"uuidfile": "uuid","accept": "127.0.0.1","port": "9090"}}]"#;

/// The metadata that begins every answer, without closing brace.
fn head(facts: &Facts<'_>) -> String {
    let name = &facts.view.nodes[facts.view.node].name;
    format!(
        "{{\"pid\": {},\"systemTime\": {},\"timeSinceStartup\": {},\"configurationChecksum\": \"{:08x}\",\
         \"uuid\": \"uuid-of-{name}\"",
        facts.pid,
        facts.wall_s,
        facts.uptime_ms & 0xffff_ffff,
        checksum(name),
    )
}

/// A stable number for a node's configuration (FNV-1a), where the daemon has a hash of its file.
fn checksum(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

pub(super) fn error(facts: &Facts<'_>, text: &str) -> String {
    format!("{},\"error\": \"{text}\"}}\n", head(facts))
}

pub(super) fn document(facts: &Facts<'_>, tables: &[usize]) -> String {
    let mut out = head(facts);
    let view = facts.view;
    for table in tables {
        // Writing to a String cannot fail, here and below.
        let name = if TABLES[*table] == "pudposition" { "pudPosition" } else { TABLES[*table] };
        let _ = write!(out, ",\"{name}\": ");
        match TABLES[*table] {
            "neighbors" => list(&mut out, &view.neighbors, |out, neighbor| {
                neighbor_row(out, view, neighbor, false);
            }),
            "links" => list(&mut out, &view.links, |out, link| link_row(out, facts, link)),
            "routes" => routes(&mut out, view),
            "hna" => networks(&mut out, view, false),
            "mid" => aliases(&mut out, view),
            "topology" => topology(&mut out, view),
            "gateways" => out.push_str("{\"ipv4\": [],\"ipv6\": []}"),
            "interfaces" => interfaces(&mut out, facts),
            "2hop" => list(&mut out, &view.neighbors, |out, neighbor| {
                neighbor_row(out, view, neighbor, true);
            }),
            "sgw" => out.push_str("{\"egress\": [],\"ipv4\": [],\"ipv6\": []}"),
            "pudposition" => out.push_str("{}"),
            "version" => out.push_str(VERSION),
            "config" => config(&mut out, facts),
            "plugins" => out.push_str(PLUGINS),
            unknown => unreachable!("`{unknown}` is in TABLES and has no writer"),
        }
    }
    out.push_str("}\n");
    out
}

fn list<T>(out: &mut String, rows: &[T], mut row: impl FnMut(&mut String, &T)) {
    out.push('[');
    for (index, item) in rows.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        row(out, item);
    }
    out.push(']');
}

fn neighbor_row(out: &mut String, view: &View, neighbor: &NeighborSeen, two_hop: bool) {
    let _ = write!(
        out,
        "{{\"ipAddress\": \"{}\",\"symmetric\": {},\"willingness\": 3,\"isMultiPointRelay\": {relay},\
         \"wasMultiPointRelay\": {relay},\"multiPointRelaySelector\": {},\"skip\": {relay},\
         \"neighbor2nocov\": 0,\"linkcount\": {},",
        view.main(neighbor.node),
        neighbor.symmetric,
        neighbor.selector,
        neighbor.links,
        relay = neighbor.relay,
    );
    if two_hop {
        out.push_str("\"twoHopNeighbors\": ");
        list(out, &neighbor.two_hop, |out, far| {
            let _ = write!(out, "\"{}\"", view.main(*far));
        });
        out.push(',');
    }
    let _ = write!(out, "\"twoHopNeighborCount\": {}}}", neighbor.two_hop.len());
}

fn status(status: Option<Status>) -> &'static str {
    match status {
        Some(Status::Symmetric) => "SYMMETRIC",
        Some(Status::Heard) => "ASYMMETRIC",
        Some(Status::Lost) => "LOST",
        None => "UNSPECIFIED",
    }
}

fn link_row(out: &mut String, facts: &Facts<'_>, link: &LinkSeen) {
    let view = facts.view;
    let interface = &view.nodes[view.node].interfaces[link.interface];
    let timers = &view.timers;
    let _ = write!(
        out,
        "{{\"localIP\": \"{}\",\"remoteIP\": \"{}\",\"olsrInterface\": \"{name}\",\"ifName\": \"{name}\",\
         \"validityTime\": {},\"symmetryTime\": {},\"asymmetryTime\": {},\"vtime\": {},\
         \"currentLinkStatus\": \"{}\",\"previousLinkStatus\": \"{}\",\"hysteresis\": 0.000000,\
         \"pending\": false,\"lostLinkTime\": 0,\"helloTime\": 0,\"lastHelloTime\": 0,\"seqnoValid\": false,\
         \"seqno\": 0,\"lossHelloInterval\": {},\"lossTime\": {},\"lossMultiplier\": 65536,\
         \"linkCost\": {:.6},\"linkQuality\": {:.6},\"neighborLinkQuality\": {:.6}}}",
        interface.address,
        view.address(link.remote),
        link.valid_ms,
        link.symmetric_ms,
        // Absolute, in the daemon's own time, which the tables' cache holds still.
        view.uptime_ms.saturating_add_signed(link.heard_ms),
        timers.hello_validity_ms,
        status(Some(link.status)),
        status(link.previous),
        timers.hello_ms,
        link.loss_ms,
        link.cost_1024().map_or(LINK_BROKEN, |cost| f64::from(cost) / 1024.0),
        quality(link.quality.0),
        quality(link.quality.1),
        name = interface.name,
    );
}

fn routes(out: &mut String, view: &View) {
    let own = &view.nodes[view.node];
    list(out, &view.routes, |out, route| {
        let etx = route.cost as f64 / 1024.0;
        let _ = write!(
            out,
            "{{\"destination\": \"{}\",\"genmask\": {},\"gateway\": \"{}\",\"metric\": {},\"etx\": {etx:.6},\
             \"rtpMetricCost\": {etx:.6},\"networkInterface\": \"{}\"}}",
            route.prefix.0,
            route.prefix.1,
            view.address(route.gateway),
            route.hops,
            own.interfaces[route.interface].name,
        );
    });
}

fn networks(out: &mut String, view: &View, own_only: bool) {
    let rows: Vec<_> =
        view.networks.iter().filter(|row| !own_only || row.node == view.node).collect();
    list(out, &rows, |out, network| {
        let _ = write!(
            out,
            "{{\"gateway\": \"{}\",\"destination\": \"{}\",\"genmask\": {},\"validityTime\": {}}}",
            view.main(network.node),
            network.prefix.0,
            network.prefix.1,
            network.valid_ms,
        );
    });
}

fn aliases(out: &mut String, view: &View) {
    list(out, &view.aliases, |out, alias| {
        let valid_ms = alias.valid_ms;
        let _ = write!(
            out,
            "{{\"main\": {{\"ipAddress\": \"{}\",\"validityTime\": {valid_ms}}},\"aliases\": ",
            view.main(alias.node),
        );
        list(out, &view.nodes[alias.node].interfaces[1..], |out, interface| {
            let _ = write!(
                out,
                "{{\"ipAddress\": \"{}\",\"validityTime\": {valid_ms}}}",
                interface.address,
            );
        });
        out.push('}');
    });
}

fn topology(out: &mut String, view: &View) {
    list(out, &view.edges, |out, edge| {
        let own = edge.from == view.node;
        let (path, hops) = match edge.path {
            Some((cost, hops)) => (cost as f64 / 1024.0, hops),
            None => (PATH_BROKEN, 0),
        };
        let _ = write!(
            out,
            "{{\"lastHopIP\": \"{}\",\"pathCost\": {path:.6},\"validityTime\": {},\"refCount\": {},\
             \"msgSeq\": {},\"msgHops\": {},\"hops\": {hops},\"ansn\": {ansn},\"tcIgnored\": 0,\"errSeq\": 0,\
             \"errSeqValid\": false,\"destinationIP\": \"{}\",\"tcEdgeCost\": {:.6},\"ansnEdge\": {ansn},\
             \"linkQuality\": {:.6},\"neighborLinkQuality\": {:.6}}}",
            view.main(edge.from),
            edge.valid_ms,
            if own { 2 + edge.siblings } else { 2 + 2 * edge.siblings },
            edge.sequence & 0xffff,
            edge.message_hops,
            view.main(edge.to),
            edge.cost_1024().map_or(EDGE_BROKEN, |cost| f64::from(cost) / 1024.0),
            quality(edge.quality.0),
            quality(edge.quality.1),
            ansn = if own { 0 } else { edge.ansn },
        );
    });
}

/// The four pairs of interval and validity in seconds, as three objects of the configuration repeat them.
fn message_times(seconds: [(f64, f64); 4]) -> String {
    let mut out = String::new();
    for (name, (interval, validity)) in ["hello", "tc", "mid", "hna"].into_iter().zip(seconds) {
        let _ = write!(
            out,
            "\"{name}\": {{\"emissionInterval\": {interval:.6},\"validityTime\": {validity:.6}}},"
        );
    }
    out
}

fn interface_config(
    multicast: &str,
    mode_times: &str,
    multipliers: i32,
    auto_detect: bool,
) -> String {
    format!(
        "{{\"ipv4Broadcast\": \"0.0.0.0\",\"ipv6Multicast\": \"{multicast}\",\"ipv4Source\": \"0.0.0.0\",\
         \"ipv6Source\": \"0.0.0.0\",\"ipv6SourcePrefixLength\": 0,\"mode\": \"mesh\",\"weightValue\": 0,\
         \"weightFixed\": false,{mode_times}\"linkQualityMultipliers\": [],\
         \"linkQualityMultipliersCount\": {multipliers},\"autoDetectChanges\": {auto_detect}}}"
    )
}

fn interfaces(out: &mut String, facts: &Facts<'_>) {
    let view = facts.view;
    let timers = &view.timers;
    let s = |ms: u64| ms as f64 / 1000.0;
    let announce = (s(timers.announce_ms), s(timers.announce_validity_ms));
    let times = message_times([
        (s(timers.hello_ms), s(timers.hello_validity_ms)),
        (s(timers.tc_ms), s(timers.tc_validity_ms)),
        announce,
        announce,
    ]);
    let config = interface_config("255.2.0.0", &times, 0, true);
    let defaults = interface_config("0.0.0.0", &message_times([(0.0, 0.0); 4]), -1, false);
    let rows: Vec<_> = view.nodes[view.node].interfaces.iter().enumerate().collect();
    list(out, &rows, |out, (index, interface)| {
        let until = |period_ms: u64| period_ms - view.uptime_ms % period_ms;
        let _ = write!(
            out,
            "{{\"name\": \"{name}\",\"configured\": true,\"hostEmulation\": false,\
             \"hostEmulationAddress\": \"0.0.0.0\",\"olsrInterface\": {{\"up\": true,\
             \"ipv4Address\": \"{address}\",\"ipv4Netmask\": \"{mask}\",\"ipv4Broadcast\": \"255.255.255.255\",\
             \"mode\": \"mesh\",\"ipv6Address\": \"::\",\"ipv6Multicast\": \"::\",\"ipAddress\": \"{address}\",\
             \"emulatedInterface\": false,\"olsrSocket\": {socket},\"sendSocket\": {send},\"metric\": 0,\
             \"mtu\": 1472,\"flags\": 4163,\"index\": {kernel},\"wireless\": {wireless},\"name\": \"{name}\",\
             \"seqNum\": {sequence},\"messageTimes\": {{\"hello\": {hello},\"tc\": {tc},\"mid\": {mid},\
             \"hna\": {mid}}},\"icmpRedirectBackup\": true,\"spoofFilterBackup\": true,\
             \"helloEmissionInterval\": {hello_ms},\"validityTimes\": {{\"hello\": {},\"tc\": {},\
             \"mid\": {announce},\"hna\": {announce}}},\"forwardingTimeout\": {forwarding},\
             \"sgwZeroBwTimeout\": 0,\"ttlIndex\": 1,\"immediateSendTc\": false}},\
             \"InterfaceConfiguration\": {config},\"InterfaceConfigurationDefaults\": {defaults}}}",
            timers.hello_validity_ms,
            timers.tc_validity_ms,
            name = interface.name,
            address = interface.address,
            mask = netmask(interface.prefix_length),
            socket = 6 + 2 * index,
            send = 7 + 2 * index,
            kernel = 2 + index,
            wireless = interface.wireless,
            sequence = (view.uptime_ms / timers.hello_ms) & 0xffff,
            hello = until(timers.hello_ms),
            tc = until(timers.tc_ms),
            mid = until(timers.announce_ms),
            hello_ms = timers.hello_ms,
            announce = timers.announce_validity_ms,
            forwarding = view.uptime_ms.saturating_sub(500),
        );
    });
}

/// A prefix length as IPv4 netmask.
pub(super) fn netmask(length: u8) -> std::net::Ipv4Addr {
    let bits = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
    std::net::Ipv4Addr::from(bits)
}

fn config(out: &mut String, facts: &Facts<'_>) {
    let view = facts.view;
    let main = view.main(view.node);
    let _ = write!(
        out,
        "{{\"configurationChecksum\": \"{:08x}\",\"cli\": [\"olsrd\",\"-f\",\"olsrd.conf\",\"-nofork\"],\
         \"configurationFile\": \"olsrd.conf\",\"olsrPort\": 698,\"debugLevel\": 0,\"noFork\": true,\
         \"pidFile\": \"\",\"hostEmulation\": false,\"ipVersion\": 4,\"allowNoInt\": true,\"tosValue\": 192,\
         \"rtProto\": 3,\"rtTable\": {{\"main\": 254,\"default\": 254,\"tunnel\": 254,\"priority\": -1,\
         \"tunnelPriority\": -1,\"defaultOlsrPriority\": -1,\"defaultPriority\": -1}},\
         \"willingness\": {{\"willingness\": 3,\"auto\": false,\"updateInterval\": 20.000000}},\
         \"fib\": {{\"metric\": \"flat\",\"metricDefault\": \"approx\"}},\
         \"hysteresis\": {{\"enabled\": false,\"scaling\": 0.500000,\"thresholdLow\": 0.300000,\
         \"thresholdHigh\": 0.800000}},\"hna\": ",
        checksum(&view.nodes[view.node].name),
    );
    networks(out, view, true);
    let defaults = interface_config(
        "255.2.0.0",
        &message_times([(2.0, 20.0), (5.0, 300.0), (5.0, 300.0), (5.0, 300.0)]),
        0,
        true,
    );
    let _ = write!(
        out,
        ",\"pollrate\": 0.050000,\"nicChgsPollInt\": 2.500000,\"clearScreen\": true,\"tcRedundancy\": 2,\
         \"mprCoverage\": 7,\"linkQuality\": {{\"level\": 2,\"fishEye\": true,\"aging\": 0.050000,\
         \"algorithm\": \"etx_ff\"}},\"minTCVTime\": 0.000000,\"setIpForward\": true,\
         \"lockFile\": \"olsrd.lock\",\"useNiit\": false,\"smartGateway\": {{\"enabled\": false,\
         \"alwaysRemoveServerTunnel\": false,\"allowNAT\": true,\"uplinkNAT\": true,\"useCount\": 1,\
         \"takeDownPercentage\": 25,\"instanceId\": \"\",\"policyRoutingScript\": \"\",\
         \"egress\": {{\"interfaces\": [],\"interfacesCount\": 0,\"file\": \"\",\"filePeriod\": 5000}},\
         \"statusFile\": \"\",\"tablesOffset\": 90,\"rulesOffset\": 0,\"period\": 10000,\"stableCount\": 6,\
         \"threshold\": 0,\"costsCalculation\": {{\"exitLinkUp\": 1,\"exitLinkDown\": 1,\"etx\": 1,\
         \"dividerEtx\": 0}},\"maxCostMaxEtx\": 2560,\"uplink\": \"both\",\
         \"bandwidth\": {{\"uplinkKbps\": 128,\"downlinkKbps\": 1024}},\
         \"prefix\": {{\"prefix\": \"0.0.0.0\",\"length\": 0}}}},\"mainIp\": \"{main}\",\
         \"unicastSourceIpAddress\": \"{main}\",\"srcIpRoutes\": false,\"maxPrefixLength\": 32,\"ipSize\": 4,\
         \"delgw\": false,\"maxSendMessageJitter\": 0.500000,\"exitValue\": 0,\"maxTcValidTime\": 1.000000,\
         \"niit4to6InterfaceIndex\": 0,\"niit6to4InterfaceIndex\": 0,\"hasIpv4Gateway\": false,\
         \"hasIpv6Gateway\": false,\"ioctlSocket\": 3,\"routeNetlinkSocket\": 4,\"routeMonitorSocket\": 5,\
         \"linkQualityNatThreshold\": 1.000000,\"brokenLinkCost\": 4194304,\"brokenRouteCost\": 4294967295,\
         \"ipcConnectMaxConnections\": 0,\"ipcConnectAllowed\": [],\"interfaceDefaults\": {defaults},\
         \"os\": \"GNU/Linux\",\"startTime\": {}}}",
        facts.wall_s.saturating_sub(facts.uptime_ms / 1000),
    );
}
