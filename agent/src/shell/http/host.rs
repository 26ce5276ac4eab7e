//! Which `Host` a request over TCP may name.
//!
//! A foreign web page can let its own name resolve to a vehicle's address and then read this page with the visitor's
//! browser (DNS rebinding). The request then names the foreign host. Names that the public DNS can delegate are therefore
//! refused; addresses, single labels and private suffixes are what people and scrapers use on a vehicle.

use std::net::IpAddr;

/// Suffixes that public DNS does not delegate: RFC 6761, RFC 6762, RFC 8375, ICANN's reservation of `internal`, what
/// olsrd's nameservice plugin is commonly set to, and what home routers hand out.
const PRIVATE_SUFFIXES: [&str; 8] =
    ["localhost", "local", "home.arpa", "internal", "lan", "mesh", "olsr", "test"];

/// Whether `host`, the value of the header field with or without port, is one of ours.
pub(super) fn is_private(host: &str) -> bool {
    let name = without_port(host);
    let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    if literal.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let valid = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if !name.split('.').all(valid) {
        return false;
    }
    let below = |suffix: &str| {
        name.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    !name.contains('.') || PRIVATE_SUFFIXES.iter().any(|suffix| below(suffix))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // Several colons outside brackets are an IPv6 address without port.
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit())
                && (name.ends_with(']') || !name.contains(':')) =>
        {
            name
        }
        Some(_) | None => host,
    }
}

#[cfg(test)]
mod tests {
    use super::is_private;

    #[test]
    fn addresses_labels_and_private_names_are_ours() {
        for host in [
            "127.0.0.1:9695",
            "127.0.0.1",
            "[::1]:9695",
            "[fd00::7]",
            "localhost",
            "LOCALHOST:9695",
            "veh-3",
            "veh_3:9695",
            "veh-3.local",
            "veh-3.mesh.",
            "outrider.default.svc.cluster.local:9695",
            "router.lan",
        ] {
            assert!(is_private(host), "{host}");
        }
    }

    #[test]
    fn names_that_anybody_can_register_are_not() {
        for host in [
            "evil.example.com",
            "127.0.0.1.nip.io",
            "veh-3.evil.net:9695",
            "notlocal.xyz",
            "evillocal.com",
            "a.notmesh",
            "",
            ":9695",
            "a..local",
            "a b",
            "<script>",
            "user@127.0.0.1",
        ] {
            assert!(!is_private(host), "{host}");
        }
    }
}
