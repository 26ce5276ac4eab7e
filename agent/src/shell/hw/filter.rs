//! Which devices, mount points, interfaces and sensors a collector reports: shell-like patterns with `*` (any run of
//! characters, `/` included) and `?` (one character). No character classes, no escapes: kernel names need neither.

/// The choice for one collector.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    include: Vec<String>,
    exclude: Vec<String>,
}

impl Filter {
    /// Reports what matches `include` (everything when it is empty) and does not match `exclude`. What a collector
    /// leaves out by itself (`uninteresting`) counts only while nobody asked for something explicitly.
    pub fn new(include: &[String], exclude: &[String], uninteresting: &[&str]) -> Filter {
        let mut exclude = exclude.to_vec();
        if include.is_empty() {
            exclude.extend(uninteresting.iter().map(|pattern| (*pattern).to_owned()));
        }
        Filter { include: include.to_vec(), exclude }
    }

    /// True when `name` is reported.
    pub fn allows(&self, name: &str) -> bool {
        let included =
            self.include.is_empty() || self.include.iter().any(|pattern| matches(pattern, name));
        included && !self.exclude.iter().any(|pattern| matches(pattern, name))
    }
}

/// True when the whole of `name` matches `pattern`. Time is bounded by the product of the lengths: after a mismatch
/// only the latest `*` takes one character more.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&wanted) if wanted == b'?' || wanted == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((star_p, star_n)) = star else { return false };
                star = Some((star_p, star_n + 1));
                p = star_p + 1;
                n = star_n + 1;
            }
        }
    }
    pattern[p..].iter().all(|&left| left == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, expected) in [
            ("eth0", "eth0", true),
            ("eth0", "eth01", false),
            ("eth*", "eth0", true),
            ("eth*", "veth0", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("eth?", "eth", false),
            ("eth?", "eth7", true),
            ("/var/*/pods", "/var/lib/kubelet/pods", true),
            ("*a*b*c", "xxaxxbxxbxc", true),
            ("*a*b*c", "xxaxxbxxbxd", false),
            ("**", "anything", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} against {name}");
        }
    }

    /// The obvious definition, exponential in the number of stars.
    fn matches_slowly(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => {
                matches_slowly(rest, name)
                    || name.split_first().is_some_and(|(_, tail)| matches_slowly(pattern, tail))
            }
            (Some((&p, rest)), Some((&n, tail))) => {
                (p == b'?' || p == n) && matches_slowly(rest, tail)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_obvious_definition(pattern in "[ab*?]{0,8}", name in "[abc]{0,10}") {
            prop_assert_eq!(
                matches(&pattern, &name),
                matches_slowly(pattern.as_bytes(), name.as_bytes())
            );
        }
    }

    #[test]
    fn an_explicit_include_overrules_what_is_left_out_by_default() {
        let by_default = Filter::new(&[], &[], &["lo", "veth*"]);
        assert!(by_default.allows("eth0") && !by_default.allows("lo"));
        let asked =
            Filter::new(&["lo".to_owned(), "wlan*".to_owned()], &["wlan1".to_owned()], &["lo"]);
        assert!(asked.allows("lo") && asked.allows("wlan0"));
        assert!(!asked.allows("wlan1") && !asked.allows("eth0"));
    }
}
