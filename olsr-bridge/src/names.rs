//! The hosts file that olsrd's nameservice plugin writes.
//!
//! Lines read `10.1.2.2<TAB>ugv-bravo.mesh<TAB># 10.1.2.2`; the comment names the announcing main address, `# myself`
//! marks own names. Everything else in the file (a preamble of the operator, `localhost`) is passed over. The plugin
//! rewrites the file in place, so a short one is normal: the last line counts only with its newline. Names arrive over
//! the radio from anybody; those with characters that no host name has are left out and counted.

use std::net::IpAddr;

use crate::build::Builder;
use crate::number;
use crate::view::{HostName, Part};

/// Longest host name in DNS.
const NAME_MAX: usize = 253;

/// Reads the whole `file` into `builder`.
pub fn parse(file: &[u8], builder: &mut Builder) {
    let end = file.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    for line in file[..end].split(|&byte| byte == b'\n') {
        let Some(hash) = line.iter().position(|&byte| byte == b'#') else { continue };
        let (entry, comment) = (&line[..hash], line[hash + 1..].trim_ascii());
        let Some(announcer) = announcer(comment) else { continue };
        let mut words = entry.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let Some(address) = words.next().and_then(number::address) else { continue };
        for word in words {
            match host_name(word) {
                Some(name) => builder.name(HostName { name, address, node: announcer }),
                None => builder.complain(Part::Names, "a name that no host has was left out", word),
            }
        }
    }
    builder.read(Part::Names);
}

/// Who announced a line's names: `Some(None)` is this node itself, `None` is a comment of another kind.
fn announcer(comment: &[u8]) -> Option<Option<IpAddr>> {
    if comment == b"myself" {
        return Some(None);
    }
    let end = comment.iter().position(u8::is_ascii_whitespace).unwrap_or(comment.len());
    number::address(&comment[..end]).map(Some)
}

fn host_name(word: &[u8]) -> Option<String> {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if word.len() > NAME_MAX || !word.iter().all(allowed) {
        return None;
    }
    String::from_utf8(word.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::CostOptions;
    use crate::view::{DaemonKind, Protocol};

    fn names(file: &str) -> (Vec<HostName>, usize) {
        let mut builder = Builder::new(DaemonKind::Olsrd, Protocol::Jsoninfo);
        parse(file.as_bytes(), &mut builder);
        let view = builder.finish(&CostOptions::default());
        (view.names, view.complaints.len())
    }

    #[test]
    fn announced_names_and_own_names_are_read() {
        let (names, complaints) = names(
            "### do not edit\n127.0.0.1\tlocalhost\n10.1.2.1\tugv-alpha.mesh\t# myself\n\
             10.2.4.1\tmid1.ugv-bravo.mesh\t# 10.1.2.2 (mid #1)\n10.4.5.2\tcut-off\t# 10.4",
        );
        let node = Some("10.1.2.2".parse().unwrap());
        assert_eq!(
            names,
            [
                HostName {
                    name: "mid1.ugv-bravo.mesh".into(),
                    address: "10.2.4.1".parse().unwrap(),
                    node
                },
                HostName {
                    name: "ugv-alpha.mesh".into(),
                    address: "10.1.2.1".parse().unwrap(),
                    node: None
                },
            ]
        );
        assert_eq!(complaints, 0);
    }

    #[test]
    fn names_with_other_characters_are_left_out_and_counted() {
        let (names, complaints) =
            names("10.1.2.2\t<script>\t# 10.1.2.2\n10.1.2.2\tok\t# 10.1.2.2\n");
        assert_eq!(names.len(), 1);
        assert_eq!(complaints, 1);
    }
}
