//! What Kubernetes takes as a name or a label, and the labels by which all members of a federation are named alike. Refuses
//! before the server does, with words that lead to the line of the configuration.

use std::collections::BTreeMap;

use super::{KIND, REGION, VEHICLE, ZONE};

/// Longest label value, and longest name in a label's key (Kubernetes, "Labels and Selectors").
const LABEL_MAX: usize = 63;

/// Longest DNS name (RFC 1123 section 2.1).
const NAME_MAX: usize = 253;

/// Whether `name` can be a Node's (RFC 1123 subdomain).
///
/// # Errors
/// It cannot; the text says what can.
pub fn node_name(name: &str) -> Result<(), String> {
    if is_dns_name(name) {
        return Ok(());
    }
    Err(format!(
        "`{}` cannot be a Node's name: use small letters, digits, `-` and `.`, with a letter or digit at both ends of each \
         part, {NAME_MAX} at most",
        name.escape_debug()
    ))
}

/// Whether a label may have this key and value, and may be written at the own Node by the kubelet's certificate.
///
/// # Errors
/// It may not; the text says why.
pub fn label(key: &str, value: &str) -> Result<(), String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let shown = key.escape_debug();
    if prefix.is_some_and(|prefix| !is_dns_name(prefix)) {
        return Err(format!(
            "label `{shown}`: what stands before `/` must be a DNS name in small letters"
        ));
    }
    if !is_word(name) {
        return Err(format!(
            "label `{shown}`: use 1 to {LABEL_MAX} letters, digits, `-`, `_` and `.`, with a letter or digit at both ends"
        ));
    }
    let reserved = |domain: &str| {
        prefix.is_some_and(|prefix| {
            prefix.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    };
    if (reserved("kubernetes.io") || reserved("k8s.io")) && ![ZONE, REGION].contains(&key) {
        return Err(format!(
            "label `{shown}` is Kubernetes's own; a vehicle may set no others of these than `{ZONE}` and `{REGION}`"
        ));
    }
    if value.is_empty() || is_word(value) {
        return Ok(());
    }
    Err(format!(
        "label `{shown}` cannot have the value `{}`: use at most {LABEL_MAX} letters, digits, `-`, `_` and `.`, with a letter \
         or digit at both ends",
        value.escape_debug()
    ))
}

/// How a member is named in its federation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberName {
    /// Id of the vehicle.
    pub vehicle: String,
    /// What kind of vehicle it is.
    pub kind: Option<String>,
    /// What fails together.
    pub zone: Option<String>,
    /// What zones are parts of.
    pub region: Option<String>,
    /// Further labels.
    pub more: BTreeMap<String, String>,
}

impl MemberName {
    /// The labels, checked; a key that is not set here is to be removed, if it is there.
    ///
    /// # Errors
    /// The first that cannot be.
    pub fn labels(&self) -> Result<BTreeMap<String, Option<String>>, String> {
        let own = [
            (VEHICLE, Some(&self.vehicle)),
            (KIND, self.kind.as_ref()),
            (ZONE, self.zone.as_ref()),
            (REGION, self.region.as_ref()),
        ];
        let mut labels = BTreeMap::new();
        for (key, value) in own {
            if let Some(value) = value {
                label(key, value)?;
            }
            // Zones and regions may be the work of others.
            if value.is_some() || ![ZONE, REGION].contains(&key) {
                labels.insert(key.to_owned(), value.cloned());
            }
        }
        for (key, value) in &self.more {
            label(key, value)?;
            if labels.contains_key(key) {
                return Err(format!("label `{key}` is set by its own key of the configuration"));
            }
            labels.insert(key.clone(), Some(value.clone()));
        }
        Ok(labels)
    }
}

/// RFC 1123 subdomain.
pub(super) fn is_dns_name(name: &str) -> bool {
    let part = |part: &str| {
        let inner = part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        inner && !part.is_empty() && !part.starts_with('-') && !part.ends_with('-')
    };
    name.len() <= NAME_MAX && name.split('.').all(part)
}

/// Name in a label's key, or value of one.
fn is_word(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let end = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    let bytes = text.as_bytes();
    text.len() <= LABEL_MAX
        && text.bytes().all(inner)
        && end(bytes.first().copied())
        && end(bytes.last().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_what_kubernetes_takes() {
        for (key, value) in [
            ("role", "scout"),
            ("outrider.internal/kind", "UGV_2.a"),
            ("a.b/c", ""),
            (ZONE, "north"),
            (&"k".repeat(63), &"v".repeat(63)),
        ] {
            assert_eq!(label(key, value), Ok(()), "{key}={value}");
        }
        for (key, value, part) in [
            ("", "x", "letters"),
            ("/x", "x", "DNS name"),
            ("A.b/x", "x", "DNS name"),
            ("a/b/c", "x", "letters"),
            ("-a", "x", "at both ends"),
            (&"k".repeat(64), "x", "1 to 63"),
            ("a", "two words", "cannot have the value"),
            ("a", "ends-", "cannot have the value"),
            ("a", &"v".repeat(64), "at most 63"),
            ("kubernetes.io/role", "x", "Kubernetes's own"),
            ("node-restriction.kubernetes.io/x", "x", "Kubernetes's own"),
            ("x.k8s.io/a", "x", "Kubernetes's own"),
        ] {
            let error = label(key, value).unwrap_err();
            assert!(error.contains(part), "{key}={value}: {error}");
        }
        assert_eq!(label("notkubernetes.io/x", "x"), Ok(()));
    }

    #[test]
    fn nodes_have_dns_names() {
        for name in ["veh-001", "a.b", "0"] {
            assert_eq!(node_name(name), Ok(()), "{name}");
        }
        for name in ["", "Veh", "a..b", "-a", "a-", "a/b", "a%2f", "\u{e4}", &"a".repeat(254)] {
            assert!(node_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn members_are_named_alike() {
        let mut name = MemberName {
            vehicle: "veh-001".to_owned(),
            zone: Some("north".to_owned()),
            more: BTreeMap::from([("crew".to_owned(), "2".to_owned())]),
            ..MemberName::default()
        };
        let labels = name.labels().unwrap();
        let shown: Vec<_> =
            labels.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        let expected =
            [("crew", Some("2")), (KIND, None), (VEHICLE, Some("veh-001")), (ZONE, Some("north"))];
        assert_eq!(shown, expected);
        name.more.insert(ZONE.to_owned(), "south".to_owned());
        assert!(name.labels().unwrap_err().contains("its own key"));
        name.more.clear();
        name.kind = Some("a b".to_owned());
        assert!(name.labels().unwrap_err().contains(KIND));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(key: String, value: String) {
            let _ = label(&key, &value);
            let _ = node_name(&key);
        }
    }
}
