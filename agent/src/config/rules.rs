//! What texts the configuration accepts, and which keys need each other.

use super::Config;

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
    fn broker_hosts_have_no_port_and_no_scheme() {
        for text in ["broker.local", "10.0.0.1", "fd00::1"] {
            assert_eq!(host(text), Ok(()), "{text}");
        }
        for text in ["mqtt://x", "host:1883", "", "a b"] {
            assert!(host(text).is_err(), "{text}");
        }
    }
}
