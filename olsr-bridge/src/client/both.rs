//! A second olsrd for the other address family, added to the first one's view.

use std::net::{IpAddr, SocketAddr};

use tokio::time::Instant;

use super::source::Source;
use super::{DETECT_TIMEOUT, Options, SECOND_FORGET, SECOND_PROBE_PERIOD};
use crate::view::{Complaint, MeshView, Part, PartAge, Protocol};

/// What is known about the second daemon.
#[derive(Debug, Default)]
pub(super) struct Second {
    source: Option<Source>,
    /// Its last view, held while it is silent.
    held: Option<(MeshView, Instant)>,
    probed: Option<Instant>,
}

impl Second {
    /// Reads the second daemon at `address` if there is one and adds its rows to `view`. Its
    /// failures are complaints.
    pub(super) async fn add(
        &mut self,
        view: &mut MeshView,
        protocol: Protocol,
        address: SocketAddr,
        options: &Options,
        buffer: &mut Vec<u8>,
    ) {
        let now = Instant::now();
        let known = self.source.is_some();
        let due = self.probed.is_none_or(|at| now.duration_since(at) >= SECOND_PROBE_PERIOD);
        if !known && !due {
            return;
        }
        self.probed = Some(now);
        let mut source = self.source.take().unwrap_or_else(|| Source::new(protocol, address));
        match source.sample(options, options.timeout.min(DETECT_TIMEOUT), buffer).await {
            Ok(other) if is_other_family(view, &other) => {
                merge(view, &other, 0);
                self.held = Some((other, Instant::now()));
                self.source = Some(source);
            }
            Ok(_) => self.held = None,
            Err(failure) => {
                let Some((held, at)) = &self.held else { return };
                let silent = at.elapsed();
                if silent >= SECOND_FORGET {
                    self.held = None;
                    return;
                }
                merge(view, held, u64::try_from(silent.as_millis()).unwrap_or(u64::MAX));
                view.complaints.push(Complaint {
                    part: Part::Daemon,
                    text: format!("the daemon of the other address family: {failure}"),
                    count: 1,
                });
                self.source = Some(source);
            }
        }
    }
}

/// Whether `other` shows addresses, and only of the family that `view` does not show. Else it is
/// the same daemon reached by another address, or one that has nothing to say yet.
fn is_other_family(view: &MeshView, other: &MeshView) -> bool {
    let (mine, others) = (families(view), families(other));
    matches!((mine, others), ([true, false], [false, true]) | ([false, true], [true, false]))
}

/// Whether IPv4 and IPv6 addresses occur.
fn families(view: &MeshView) -> [bool; 2] {
    let addresses = view
        .own
        .iter()
        .chain(&view.own_addresses)
        .copied()
        .chain(view.links.iter().map(|link| link.remote))
        .chain(view.routes.iter().map(|route| route.destination.address));
    let mut seen = [false; 2];
    for address in addresses {
        match address {
            IpAddr::V4(_) => seen[0] = true,
            IpAddr::V6(_) => seen[1] = true,
        }
    }
    seen
}

/// Adds the rows of `other`, read `held_ms` before now, and makes every age that of the older
/// reading.
fn merge(view: &mut MeshView, other: &MeshView, held_ms: u64) {
    view.own.extend_from_slice(&other.own);
    view.own_addresses.extend_from_slice(&other.own_addresses);
    view.links.extend_from_slice(&other.links);
    view.neighbors.extend_from_slice(&other.neighbors);
    view.routes.extend_from_slice(&other.routes);
    view.edges.extend_from_slice(&other.edges);
    view.networks.extend_from_slice(&other.networks);
    view.aliases.extend_from_slice(&other.aliases);
    view.gateways.extend_from_slice(&other.gateways);
    for name in &other.names {
        if !view.names.contains(name) {
            view.names.push(name.clone());
        }
    }
    view.complaints.extend_from_slice(&other.complaints);
    for PartAge { part, age_ms } in &other.ages {
        let age_ms = age_ms.saturating_add(held_ms);
        match view.ages.iter_mut().find(|age| age.part == *part) {
            Some(age) => age.age_ms = age.age_ms.max(age_ms),
            None => view.ages.push(PartAge { part: *part, age_ms }),
        }
    }
}
