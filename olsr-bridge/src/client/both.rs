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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::build::Builder;
    use crate::cost::CostOptions;
    use crate::v1::jsoninfo;
    use crate::view::DaemonKind;

    /// An answer of olsrd with one link and one route, to `peer`.
    fn answer(own: &str, peer: &str, bits: u8) -> String {
        format!(
            "{{\"pid\": 7,\"timeSinceStartup\": 1000,\
             \"links\": [{{\"localIP\": \"{own}\",\"remoteIP\": \"{peer}\",\"linkCost\": 1.000000,\
             \"currentLinkStatus\": \"SYMMETRIC\",\"linkQuality\": 1.0,\"neighborLinkQuality\": 1.0}}],\
             \"routes\": [{{\"destination\": \"{peer}\",\"genmask\": {bits},\"gateway\": \"{peer}\",\
             \"metric\": 1,\"etx\": 1.000000}}]}}\n"
        )
    }

    fn view(answer: &str) -> MeshView {
        let mut builder = Builder::new(DaemonKind::Olsrd, Protocol::Jsoninfo);
        jsoninfo::parse(answer.as_bytes(), &mut builder);
        builder.finish(&CostOptions::default())
    }

    fn ipv4() -> MeshView {
        view(&answer("10.0.0.1", "10.0.0.2", 32))
    }

    fn ipv6() -> String {
        answer("fd00::1", "fd00::2", 128)
    }

    #[test]
    fn only_the_other_family_is_another_daemon() {
        let (v4, v6, nothing) = (ipv4(), view(&ipv6()), view("{\"links\": []}"));
        assert!(is_other_family(&v4, &v6) && is_other_family(&v6, &v4));
        assert!(!is_other_family(&v4, &v4) && !is_other_family(&v4, &nothing));
        let mut both = ipv4();
        merge(&mut both, &v6, 0);
        assert!(!is_other_family(&both, &v6), "one daemon that shows both families is complete");
    }

    #[test]
    fn ages_are_those_of_the_older_reading() {
        let mut both = ipv4();
        merge(&mut both, &view(&ipv6()), 2500);
        assert_eq!((both.links.len(), both.routes.len()), (2, 2));
        assert_eq!(both.age_ms(Part::Routes), Some(2500));
    }

    /// Serves `answers` one after the other, then refuses.
    async fn serve(listener: TcpListener, answers: Vec<String>) {
        for answer in answers {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    }

    #[tokio::test]
    async fn rows_of_a_silent_second_daemon_are_held_and_said_to_be_old() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // Each sample reads the tables; the first also the configuration, which this one answers
        // with tables.
        let server = tokio::spawn(serve(listener, vec![ipv6(), ipv6()]));
        let (mut second, mut buffer) = (Second::default(), Vec::new());
        let options = Options::default();

        let mut first = ipv4();
        second.add(&mut first, Protocol::Jsoninfo, address, &options, &mut buffer).await;
        assert_eq!((first.routes.len(), first.complaints.len()), (2, 0));
        server.await.unwrap();

        tokio::time::sleep(Duration::from_millis(5)).await;
        let mut later = ipv4();
        second.add(&mut later, Protocol::Jsoninfo, address, &options, &mut buffer).await;
        assert_eq!((later.routes.len(), later.complaints.len()), (2, 1));
        assert!(later.age_ms(Part::Routes).is_some_and(|age| age >= 5));
    }

    #[tokio::test]
    async fn nobody_on_the_other_address_is_no_complaint() {
        let address = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };
        let mut view = ipv4();
        let mut second = Second::default();
        let options = Options::default();
        second.add(&mut view, Protocol::Jsoninfo, address, &options, &mut Vec::new()).await;
        assert_eq!(view, ipv4());
    }
}
