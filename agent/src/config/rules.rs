//! What texts the configuration accepts, and which keys need each other.

use olsr_bridge::cost::COST_MAX;
use spool::limits::STREAMS_MAX;

use super::Config;
use crate::core::membership::kube;
use crate::core::membership::{CaHash, Server};
use crate::core::record::{CONTENT_TYPE_BYTES_MAX, check_stream_name};

/// Longest vehicle name: one DNS label, which is what a host name and a Kubernetes label may hold.
pub(crate) const VEHICLE_NAME_CHARS_MAX: usize = 63;

/// Longest path of a Unix socket on Linux: `sun_path` holds 108 bytes with its final zero.
pub(crate) const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Longest topic prefix; MQTT allows 65535 bytes, and every message carries it.
const TOPIC_CHARS_MAX: usize = 200;

/// Accepts what can be a vehicle's name everywhere: in a topic, a metric label and a file name.
pub(crate) fn vehicle_name(name: &str) -> Result<(), String> {
    let length_fits = (1..=VEHICLE_NAME_CHARS_MAX).contains(&name.len());
    let letters_fit = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if length_fits && letters_fit && name.as_bytes()[0].is_ascii_alphanumeric() {
        return Ok(());
    }
    Err(format!(
        "`{}` is not a vehicle name; write 1 to {VEHICLE_NAME_CHARS_MAX} letters, digits, `-`, `_` \
         or `.`, beginning with a letter or digit",
        name.escape_debug()
    ))
}

/// Turns a host name into a vehicle name, whatever it contains. `None` when nothing of it can be
/// used.
pub(crate) fn vehicle_name_of_host(host: &str) -> Option<String> {
    let name: String = host
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' || c == '_' { c } else { '-' })
        .collect::<String>()
        .trim_matches(['-', '.', '_'])
        .chars()
        .take(VEHICLE_NAME_CHARS_MAX)
        .collect();
    vehicle_name(&name).is_ok().then(|| name.to_ascii_lowercase())
}

/// Accepts any text of one line.
pub(crate) fn one_line(text: &str) -> Result<(), String> {
    if text.chars().any(char::is_control) {
        return Err("control characters are not allowed here; write one line of text".to_owned());
    }
    Ok(())
}

/// Accepts a text of one line that is not empty.
pub(crate) fn not_empty(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("this is empty; write a value or leave the key out".to_owned());
    }
    one_line(text)
}

/// Accepts a host name or an IP address without port.
pub(crate) fn host(text: &str) -> Result<(), String> {
    not_empty(text)?;
    let address = text.parse::<std::net::IpAddr>().is_ok();
    let name = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if address || name {
        return Ok(());
    }
    Err(format!(
        "`{text}` is not a host name or address; the port has a key of its own, and there is no \
         `mqtt://` in front"
    ))
}

/// Accepts what may begin the topics.
pub(crate) fn topic(text: &str) -> Result<(), String> {
    not_empty(text)?;
    if text.contains(['+', '#']) || text.starts_with(['/', '$']) || text.ends_with('/') {
        return Err(format!(
            "`{text}` cannot begin a topic; leave out `+` and `#`, `/` at either end, and `$` in \
             front"
        ));
    }
    if text.chars().count() > TOPIC_CHARS_MAX {
        return Err(format!("longer than {TOPIC_CHARS_MAX} characters; every message carries it"));
    }
    Ok(())
}

/// Accepts the name of a stream.
pub(crate) fn stream_name(text: &str) -> Result<(), String> {
    check_stream_name(text)
}

/// Accepts a server of a federation.
pub(crate) fn server(text: &str) -> Result<(), String> {
    Server::parse(text).map(drop)
}

/// Accepts the name of a service (systemd.unit(5)).
pub(crate) fn unit(text: &str) -> Result<(), String> {
    let fits = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.@:".contains(&b));
    if !fits || text.is_empty() || text.starts_with('-') || text.ends_with(".service") {
        return Err(format!(
            "`{}` is no service; write its name without `.service`, such as \"k3s-agent\"",
            text.escape_debug()
        ));
    }
    Ok(())
}

/// Accepts the hash of an authority.
pub(crate) fn ca_hash(text: &str) -> Result<(), String> {
    match CaHash::parse(text) {
        Some(_) => Ok(()),
        None => Err("this is no hash; write the 64 digits after `K10` in a full token".to_owned()),
    }
}

/// Accepts the name of a Node.
pub(crate) fn node_name(text: &str) -> Result<(), String> {
    kube::node_name(text)
}

/// Accepts an IP address.
pub(crate) fn address(text: &str) -> Result<(), String> {
    match text.parse::<std::net::IpAddr>() {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("`{}` is no IP address", text.escape_debug())),
    }
}

/// Accepts the name of an interface (`IFNAMSIZ` of Linux).
pub(crate) fn interface(text: &str) -> Result<(), String> {
    let fits = (1..16).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':');
    if fits && !text.starts_with('.') {
        return Ok(());
    }
    Err(format!("`{}` cannot be the name of an interface, such as `wlan0`", text.escape_debug()))
}

/// Accepts the zone of a Node.
pub(crate) fn zone(text: &str) -> Result<(), String> {
    kube::label(kube::ZONE, text)
}

/// Accepts the region of a Node.
pub(crate) fn region(text: &str) -> Result<(), String> {
    kube::label(kube::REGION, text)
}

/// Accepts `key=value` for a further label of a Node.
pub(crate) fn label(text: &str) -> Result<(), String> {
    let Some((key, value)) = text.split_once('=') else {
        return Err(format!("`{}` is no label; write `key=value`", text.escape_debug()));
    };
    if [kube::ZONE, kube::REGION, kube::VEHICLE, kube::KIND].contains(&key) {
        return Err(format!("the label `{key}` has a key of its own in the configuration"));
    }
    kube::label(key, value)
}

/// Accepts what can be a media type: short, printable ASCII.
pub(crate) fn content_type(text: &str) -> Result<(), String> {
    not_empty(text)?;
    if text.len() > CONTENT_TYPE_BYTES_MAX || !text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Err(format!(
            "`{}` is no media type; write one like \"image/jpeg\", of at most \
             {CONTENT_TYPE_BYTES_MAX} characters",
            text.escape_debug()
        ));
    }
    Ok(())
}

/// Accepts a topic filter (MQTT 5 section 4.7.1).
pub(crate) fn topic_filter(text: &str) -> Result<(), String> {
    not_empty(text)?;
    let levels: Vec<&str> = text.split('/').collect();
    let alone = |level: &str| level.len() == 1 || !level.contains(['+', '#']);
    let hash_last = levels.iter().rev().skip(1).all(|level| *level != "#");
    if levels.iter().all(|level| alone(level)) && hash_last && text.len() <= TOPIC_CHARS_MAX {
        return Ok(());
    }
    Err(format!(
        "`{text}` is no topic filter; `+` and `#` stand for whole levels, `#` only for the last, and \
         {TOPIC_CHARS_MAX} bytes are enough"
    ))
}

/// Combinations of keys that cannot work, each as the key it is put right at and what to do.
pub(crate) fn contradictions(config: &Config) -> Vec<(&'static str, &'static str, String)> {
    let mut found = Vec::new();
    let mqtt = &config.mqtt;
    let files = [
        ("ca_file", mqtt.ca_file.is_some()),
        ("certificate_file", mqtt.certificate_file.is_some()),
        ("key_file", mqtt.key_file.is_some()),
    ];
    for (key, given) in files {
        if given && !mqtt.tls {
            found.push(("mqtt", key, "needs TLS; write `tls = true` beside it".to_owned()));
        }
    }
    match (&mqtt.certificate_file, &mqtt.key_file) {
        (Some(_), None) => {
            let text = "a certificate needs its private key; write `key_file` beside it";
            found.push(("mqtt", "certificate_file", text.to_owned()));
        }
        (None, Some(_)) => {
            let text = "a private key needs its certificate; write `certificate_file` beside it";
            found.push(("mqtt", "key_file", text.to_owned()));
        }
        (Some(_), Some(_)) | (None, None) => {}
    }
    let host = &config.host;
    let needed =
        [("ca_hash", host.ca_hash.is_some()), ("account_file", host.account_file.is_some())];
    for (key, given) in needed {
        if host.server.is_some() && !given {
            let text = "is missing: without it the server is not asked for anything";
            found.push(("host", key, text.to_owned()));
        }
    }
    for (key, given) in
        needed.into_iter().chain([("custom_metrics", host.custom_metrics.is_some())])
    {
        if host.server.is_none() && given {
            found.push(("host", key, "needs a server; write `server` beside it".to_owned()));
        }
    }
    if host.custom_metrics.is_some_and(|listen| listen.ip().is_loopback()) {
        let text =
            "Kubernetes leads nobody to a loopback address; write another one of this machine";
        found.push(("host", "custom_metrics", text.to_owned()));
    }
    if (0..=i64::from(COST_MAX)).contains(&host.unreachable_cost) {
        let text =
            format!("a vehicle in reach can cost as much; write -1, or more than {COST_MAX}");
        found.push(("host", "unreachable_cost", text));
    }
    let k3s = &config.k3s;
    let commands = [
        ("start_command", &k3s.start_command),
        ("restart_command", &k3s.restart_command),
        ("stop_command", &k3s.stop_command),
        ("status_command", &k3s.status_command),
    ];
    if commands.iter().any(|(_, words)| !words.is_empty()) {
        for (key, _) in commands.iter().filter(|(_, words)| words.is_empty()) {
            let text = "is missing: the commands for k3s's service belong together";
            found.push(("k3s", *key, text.to_owned()));
        }
    }
    if mqtt.password_file.is_some() && mqtt.username.is_none() {
        let text = "a password needs a user name; write `username` beside it";
        found.push(("mqtt", "password_file", text.to_owned()));
    }
    if mqtt.batch < mqtt.sample {
        let text = "a batch must cover at least one sample; it is shorter than `sample`";
        found.push(("mqtt", "batch", text.to_owned()));
    }
    if let Some(path) = &config.control.path
        && path.as_os_str().len() > SOCKET_PATH_BYTES_MAX
    {
        found.push((
            "control",
            "path",
            format!("longer than the {SOCKET_PATH_BYTES_MAX} bytes a Unix socket's path may have"),
        ));
    }
    if let Some(folder) = &config.spool.folder
        && let Some(within) = config
            .gather
            .folder
            .iter()
            .find(|gather| gather.path.starts_with(folder) || folder.starts_with(&gather.path))
    {
        let text = format!(
            "it is gathered from: `[[gather.folder]]` has {}; give the two different places",
            within.path.display()
        );
        found.push(("spool", "folder", text));
    }
    let streams = config.stream_names().len() + config.spool.undeclared_max;
    if streams > STREAMS_MAX {
        let text = format!(
            "together with those that are declared or gathered this makes {streams} streams; a \
             spool has at most {STREAMS_MAX}"
        );
        found.push(("spool", "undeclared_max", text));
    }
    found
}

/// Whether `name` can also be a Kubernetes node's name (RFC 1123 subdomain).
pub(crate) fn is_node_name(name: &str) -> bool {
    name.split('.').all(|label| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vehicle_names_fit_topics_labels_and_files() {
        for name in ["alpha", "Bravo-2", "node_3.convoy", "7"] {
            assert_eq!(vehicle_name(name), Ok(()), "{name}");
        }
        for name in ["", "-a", "a/b", "a b", "a+", "ä", "..", &"x".repeat(64)] {
            assert!(vehicle_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn any_host_name_gives_a_usable_name_or_none() {
        assert_eq!(vehicle_name_of_host("Truck 7.local").as_deref(), Some("truck-7.local"));
        assert_eq!(vehicle_name_of_host("--x--").as_deref(), Some("x"));
        assert_eq!(vehicle_name_of_host("(none)").as_deref(), Some("none"));
        assert_eq!(vehicle_name_of_host(""), None);
        assert_eq!(vehicle_name_of_host("..."), None);
        let long = vehicle_name_of_host(&"y".repeat(300));
        assert_eq!(long.map(|name| name.len()), Some(VEHICLE_NAME_CHARS_MAX));
    }

    #[test]
    fn topics_have_no_wildcards() {
        assert_eq!(topic("outrider"), Ok(()));
        assert_eq!(topic("convoy/red"), Ok(()));
        for text in ["", "a/#", "+/x", "/a", "a/", "$SYS", &"t".repeat(201)] {
            assert!(topic(text).is_err(), "{text}");
        }
    }

    #[test]
    fn filters_have_wildcards_for_whole_levels() {
        for text in ["#", "+", "a/+/b", "a/#", "/a", "$SYS/#"] {
            assert_eq!(topic_filter(text), Ok(()), "{text}");
        }
        for text in ["", "a#", "#/a", "a/b+", "a\0", &"t".repeat(201)] {
            assert!(topic_filter(text).is_err(), "{text}");
        }
    }

    #[test]
    fn media_types_are_short_and_plain() {
        assert_eq!(content_type("application/json; charset=utf-8"), Ok(()));
        for text in ["", "a\nb", "b\u{e4}h", &"t".repeat(128)] {
            assert!(content_type(text).is_err(), "{text}");
        }
    }

    #[test]
    fn broker_hosts_have_no_port_and_no_scheme() {
        for text in ["broker.local", "10.0.0.1", "fd00::1"] {
            assert_eq!(host(text), Ok(()), "{text}");
        }
        for text in ["mqtt://x", "host:1883", "", "a b"] {
            assert!(host(text).is_err(), "{text}");
        }
    }
}
