//! The one file by which this agent tells k3s where to go: its text, and whose it is. Every value is quoted, and none that could
//! break out of its quotes is taken.
//!
//! k3s 1.34 reads the files of `config.yaml.d` in byte order; a key of a later one replaces that of an earlier one, and `key+`
//! adds to it (`pkg/configfilearg`). Labels and taints are added, so that those of the operator's own file stay.

use std::net::IpAddr;
use std::path::Path;

use super::{CaHash, Server, Token};

/// Begins the first line, which ends with the federation's name as a JSON string.
const HEAD: &str = "# outrider: equipped for ";

/// What k3s is to be told for one federation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Equipment {
    /// Name of the federation.
    pub federation: String,
    /// The server to join by.
    pub server: Server,
    /// The token.
    pub token: Token,
    /// The authority to trust, whether the token names it or the configuration.
    pub ca: CaHash,
    /// Name of the Node.
    pub node_name: String,
    /// Addresses of the Node, at most one of a family; empty for k3s's own choice.
    pub node_ip: Vec<IpAddr>,
    /// Interface that carries the pods' network; k3s takes that of the default route, which a mesh may not have.
    pub flannel_iface: Option<String>,
    /// Labels, `key=value`.
    pub labels: Vec<String>,
    /// Taints for the first registration, `key=value:Effect`.
    pub taints: Vec<String>,
}

impl Equipment {
    /// The text of the drop-in, which names the token by its file.
    ///
    /// # Errors
    /// A value has a character that no such value has; the text names it.
    pub fn drop_in(&self, token_file: &Path) -> Result<String, String> {
        let token_file = token_file.to_str().ok_or_else(|| {
            format!("k3s could not read the name of {}: it is no UTF-8", token_file.display())
        })?;
        let mut text = format!(
            "{HEAD}{}\n# It rewrites and removes this file; what is yours belongs into config.yaml.\n",
            quoted("federation", &self.federation)?
        );
        let mut line = |key: &str, value: &str| -> Result<(), String> {
            text += &format!("{key}: {}\n", quoted(key, value)?);
            Ok(())
        };
        line("server", &format!("https://{}", self.server))?;
        line("token-file", token_file)?;
        line("node-name", &self.node_name)?;
        if let Some(interface) = &self.flannel_iface {
            line("flannel-iface", interface)?;
        }
        let addresses: Vec<String> = self.node_ip.iter().map(IpAddr::to_string).collect();
        let lists =
            [("node-ip", &addresses), ("node-label+", &self.labels), ("node-taint+", &self.taints)];
        for (key, values) in lists.into_iter().filter(|(_, values)| !values.is_empty()) {
            text += &format!("{key}:\n");
            for value in values {
                text += &format!("  - {}\n", quoted(key, value)?);
            }
        }
        Ok(text)
    }

    /// The token for its file: in full, since k3s trusts whoever answers to one that names no authority.
    #[must_use]
    pub fn token_text(&self) -> String {
        format!("{}\n", self.token.full(self.ca))
    }
}

/// The federation for which a drop-in was written. `None` when this agent did not write it.
#[must_use]
pub fn equipped(drop_in: &str) -> Option<String> {
    let name = drop_in.lines().next()?.strip_prefix(HEAD)?;
    serde_json::from_str(name).ok()
}

/// The server that a drop-in of this agent names.
#[must_use]
pub fn server(drop_in: &str) -> Option<Server> {
    let url = drop_in.lines().find_map(|line| line.strip_prefix("server: "))?;
    let url: String = serde_json::from_str(url).ok()?;
    Server::parse(url.strip_prefix("https://")?).ok()
}

/// A double-quoted scalar of YAML 1.2. A JSON string is one as long as it has no control characters.
fn quoted(key: &str, value: &str) -> Result<String, String> {
    let printable = |letter: char| {
        !letter.is_control() && !matches!(letter, '\u{2028}' | '\u{2029}' | '\u{feff}')
    };
    if value.is_empty() || !value.chars().all(printable) {
        return Err(format!(
            "`{}` cannot be the {key} of k3s: it is empty or has control characters; correct it in the configuration",
            value.escape_debug()
        ));
    }
    Ok(serde_json::to_string(value).expect("a string serialises"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn equipment() -> Equipment {
        Equipment {
            federation: "purple".to_owned(),
            server: Server::parse("10.0.7.1").unwrap(),
            token: Token::parse("abc123.0123456789abcdef").unwrap(),
            ca: CaHash::parse(HASH).unwrap(),
            node_name: "veh-0042".to_owned(),
            node_ip: vec!["10.0.7.42".parse().unwrap(), "fd00::42".parse().unwrap()],
            flannel_iface: Some("wlan0".to_owned()),
            labels: vec!["a/b=c".to_owned(), "d=".to_owned()],
            taints: vec!["e=f:NoSchedule".to_owned()],
        }
    }

    #[test]
    fn everything_is_in_it_and_the_token_is_not() {
        let text = equipment().drop_in(Path::new("/keep/purple/token")).unwrap();
        assert_eq!(
            text,
            "# outrider: equipped for \"purple\"\n\
             # It rewrites and removes this file; what is yours belongs into config.yaml.\n\
             server: \"https://10.0.7.1:6443\"\n\
             token-file: \"/keep/purple/token\"\n\
             node-name: \"veh-0042\"\n\
             flannel-iface: \"wlan0\"\n\
             node-ip:\n  - \"10.0.7.42\"\n  - \"fd00::42\"\n\
             node-label+:\n  - \"a/b=c\"\n  - \"d=\"\n\
             node-taint+:\n  - \"e=f:NoSchedule\"\n"
        );
        assert_eq!(equipped(&text).as_deref(), Some("purple"));
        let bare = Equipment {
            labels: Vec::new(),
            taints: Vec::new(),
            node_ip: Vec::new(),
            flannel_iface: None,
            ..equipment()
        };
        let text = bare.drop_in(Path::new("/t")).unwrap();
        assert_eq!(text.lines().count(), 5, "{text}");
    }

    #[test]
    fn a_short_token_is_written_in_full() {
        assert_eq!(equipment().token_text(), format!("K10{HASH}::abc123.0123456789abcdef\n"));
        let bare = Equipment { token: Token::parse("pass").unwrap(), ..equipment() };
        assert_eq!(bare.token_text(), format!("K10{HASH}::node:pass\n"));
    }

    #[test]
    fn no_value_breaks_out_of_its_quotes() {
        let nasty =
            Equipment { labels: vec!["a=\"\\ # {}: [x] 'y' *z &w !v %".to_owned()], ..equipment() };
        let text = nasty.drop_in(Path::new("/t")).unwrap();
        assert!(text.contains(r##"  - "a=\"\\ # {}: [x] 'y' *z &w !v %""##), "{text}");
        for bad in ["a=b\nserver: x", "a\0", "\u{85}", "\u{2028}", "", "\t"] {
            let bad = Equipment { labels: vec![bad.to_owned()], ..equipment() };
            let error = bad.drop_in(Path::new("/t")).unwrap_err();
            assert!(error.contains("node-label"), "{error}");
        }
        let named = Equipment { federation: "x\"y".to_owned(), ..equipment() };
        let text = named.drop_in(Path::new("/t")).unwrap();
        assert_eq!(equipped(&text).as_deref(), Some("x\"y"));
    }

    #[test]
    fn what_others_wrote_names_no_federation() {
        for text in [
            "",
            "server: x\n",
            "# outrider: equipped for purple\n",
            "\n# outrider: equipped for \"a\"",
        ] {
            assert_eq!(equipped(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_written_value_is_one_line(value: String) {
            let equipment = Equipment { node_name: value.clone(), ..equipment() };
            if let Ok(text) = equipment.drop_in(Path::new("/t")) {
                let line = text.lines().find_map(|line| line.strip_prefix("node-name: ")).unwrap();
                assert_eq!(serde_json::from_str::<String>(line).unwrap(), value);
                assert_eq!(text.lines().count(), 14);
            }
        }
    }
}
