//! Firewall rules as `iptables-save` prints them, and the input of `iptables-restore --noflush` that removes those of k3s: jumps
//! to its chains one by one, then its chains. All other rules, their order and their counters stay as they are; the kernel takes
//! a table's changes together or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Claims;

/// Begin the names of chains of kube-proxy, kube-router and the kubelet, of the network plugins, and of flannel.
const CHAINS: [&str; 3] = ["KUBE-", "CNI-", "FLANNEL-"];

/// Begin the names of those that all networks of the port mapping plugin share.
const SHARED: &str = "CNI-HOSTPORT-";

/// Begin the names of those of the firewall plugin, which k3s does not use.
const UNUSED: [&str; 3] = ["CNI-FORWARD", "CNI-ADMIN", "CNI-ISOLATION-"];

/// In comments: the network of k3s (flannel's, by the name in k3s's configuration of the plugins).
const NETWORK: &str = "name: \"cbr0\"";

/// Comments of rules that older flannel puts beside those of others.
const COMMENTS: [&str; 2] = ["flanneld masq", "flanneld forward"];

/// Rules that flannel writes without chain and comment, as that of k3s 1.21 did: known by the networks in them, since nothing else
/// tells them from other people's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flannel {
    /// `TABLE CHAIN REST` as `iptables-save` prints them.
    rules: BTreeSet<String>,
}

impl Flannel {
    /// For the networks in `subnet.env`, the file that flannel leaves for its network plugin: `NAME=NETWORK` by lines. What cannot
    /// be read names no rule.
    #[must_use]
    pub fn read(file: &str) -> Flannel {
        let value = |name: &str| {
            let mut lines = file.lines().filter_map(|line| line.trim().split_once('='));
            lines.find(|(key, _)| *key == name).and_then(|(_, value)| network(value))
        };
        let mut rules = BTreeSet::new();
        for [all, own, multicast] in [
            ["FLANNEL_NETWORK", "FLANNEL_SUBNET", "224.0.0.0/4"],
            ["FLANNEL_IPV6_NETWORK", "FLANNEL_IPV6_SUBNET", "ff00::/8"],
        ] {
            let (Some(all), Some(own)) = (value(all), value(own)) else { continue };
            for end in ["", " --random-fully"] {
                rules.insert(format!(
                    "nat POSTROUTING -s {all} ! -d {multicast} -j MASQUERADE{end}"
                ));
                rules.insert(format!("nat POSTROUTING ! -s {all} -d {all} -j MASQUERADE{end}"));
            }
            rules.insert(format!("nat POSTROUTING -s {all} -d {all} -j RETURN"));
            rules.insert(format!("nat POSTROUTING ! -s {all} -d {own} -j RETURN"));
            rules.insert(format!("filter FORWARD -s {all} -j ACCEPT"));
            rules.insert(format!("filter FORWARD -d {all} -j ACCEPT"));
        }
        Flannel { rules }
    }

    /// Whether rules of a flannel that names its own are among those of a machine: it writes no others, and what looks like those of
    /// an older one is an operator's.
    #[must_use]
    pub fn names_its_own(saved: &str) -> bool {
        saved.contains("FLANNEL-") || COMMENTS.iter().any(|comment| saved.contains(comment))
    }

    fn has(&self, table: &str, rule: &Rule<'_>) -> bool {
        self.rules.contains(&format!("{table} {} {}", rule.chain, rule.rest))
    }
}

/// A network as `iptables-save` prints it, without the bits of a host in it; no network when it is all there is.
fn network(text: &str) -> Option<String> {
    let (address, length) = text.trim().split_once('/')?;
    let length: u32 = length.parse().ok().filter(|length| *length > 0)?;
    let address = match address.parse().ok()? {
        IpAddr::V4(v4) => {
            let host = u32::MAX.checked_shr(length).unwrap_or(0);
            (length <= 32).then(|| IpAddr::V4((u32::from(v4) & !host).into()))?
        }
        IpAddr::V6(v6) => {
            let host = u128::MAX.checked_shr(length).unwrap_or(0);
            (length <= 128).then(|| IpAddr::V6((u128::from(v6) & !host).into()))?
        }
    };
    Some(format!("{address}/{length}"))
}

/// What goes.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// Everything of Kubernetes.
    All(&'a Flannel),
    /// Only what the network plugins made for sandboxes of this k3s.
    Evident(&'a Claims),
}

/// Input for `iptables-restore --noflush`; empty when nothing is to go.
#[must_use]
pub fn removal(saved: &str, scope: Scope<'_>) -> String {
    let mut script = String::new();
    let mut table = Table::default();
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = Table { name, ..Table::default() };
        } else if let Some(chain) = line.strip_prefix(':') {
            table.chains.extend(chain.split(' ').next());
        } else if line.starts_with("-A ") {
            table.rules.extend(Rule::read(line));
        } else if line == "COMMIT" {
            script += &table.removal(scope);
        }
    }
    script
}

#[derive(Debug, Default)]
struct Table<'a> {
    name: &'a str,
    chains: Vec<&'a str>,
    rules: Vec<Rule<'a>>,
}

/// `-A CHAIN REST`
#[derive(Debug)]
struct Rule<'a> {
    chain: &'a str,
    rest: &'a str,
    target: Option<String>,
    comment: Option<String>,
}

impl<'a> Rule<'a> {
    fn read(line: &'a str) -> Option<Rule<'a>> {
        let (chain, rest) = line.strip_prefix("-A ")?.split_once(' ')?;
        let words = words(rest);
        let after = |names: [&str; 2]| {
            let pair = words.windows(2).find(|pair| names.contains(&pair[0].as_str()));
            pair.map(|pair| pair[1].clone())
        };
        let (target, comment) = (after(["-j", "-g"]), after(["--comment", "--comment"]));
        Some(Rule { chain, rest, target, comment })
    }

    fn leads_to(&self, chains: &BTreeSet<&str>) -> bool {
        self.target.as_deref().is_some_and(|target| chains.contains(target))
    }
}

impl<'a> Table<'a> {
    fn removal(&self, scope: Scope<'_>) -> String {
        let (rules, chains) = match scope {
            Scope::All(flannel) => self.all(flannel),
            Scope::Evident(claims) => self.evident(claims),
        };
        if rules.is_empty() && chains.is_empty() {
            return String::new();
        }
        let mut script = format!("*{}\n", self.name);
        for rule in rules {
            script += &format!("-D {} {}\n", rule.chain, rule.rest);
        }
        // All are emptied before the first is deleted, since they lead to each other.
        for word in ["-F", "-X"] {
            chains.iter().for_each(|chain| script += &format!("{word} {chain}\n"));
        }
        script + "COMMIT\n"
    }

    fn all(&self, flannel: &Flannel) -> (Vec<&Rule<'a>>, BTreeSet<&'a str>) {
        let is_own = |chain: &&&str| {
            CHAINS.iter().any(|begin| chain.starts_with(begin)) && !self.is_of_others(chain)
        };
        let chains: BTreeSet<&str> = self.chains.iter().filter(is_own).copied().collect();
        let is_flannels = |rule: &Rule<'_>| match rule.comment.as_deref() {
            Some(comment) => COMMENTS.contains(&comment),
            None => flannel.has(self.name, rule),
        };
        let goes = |rule: &&Rule<'_>| {
            !chains.contains(rule.chain) && (rule.leads_to(&chains) || is_flannels(rule))
        };
        (self.rules.iter().filter(goes).collect(), chains)
    }

    /// Whether a chain of network plugins serves containers that are not k3s's, as podman's and nerdctl's are: a jump to it names
    /// another network, or it is shared with such, or of a plugin that k3s does not use.
    fn is_of_others(&self, chain: &str) -> bool {
        let names_another = |rule: &&Rule<'_>| {
            let comment = rule.comment.as_deref().unwrap_or_default();
            comment.contains("name: \"") && !comment.contains(NETWORK)
        };
        let mut others = self.rules.iter().filter(names_another);
        match chain {
            _ if UNUSED.iter().any(|begin| chain.starts_with(begin)) => true,
            _ if chain.starts_with(SHARED) => others.next().is_some(),
            _ => others.any(|rule| rule.chain == chain || rule.target.as_deref() == Some(chain)),
        }
    }

    /// Rules whose comment names a sandbox, and the chains to which nothing else leads.
    fn evident(&self, claims: &Claims) -> (Vec<&Rule<'a>>, BTreeSet<&'a str>) {
        let is_ours =
            |rule: &Rule<'_>| rule.comment.as_deref().is_some_and(|comment| claims.has_id(comment));
        let mut leading: BTreeMap<&str, bool> = BTreeMap::new();
        for rule in &self.rules {
            let chain = self.chains.iter().find(|chain| rule.target.as_deref() == Some(**chain));
            if let Some(chain) = chain.filter(|chain| chain.starts_with("CNI-")) {
                *leading.entry(chain).or_insert(true) &= is_ours(rule);
            }
        }
        let chains: BTreeSet<&str> =
            leading.into_iter().filter(|(_, ours)| *ours).map(|(chain, _)| chain).collect();
        let goes = |rule: &&Rule<'_>| !chains.contains(rule.chain) && is_ours(rule);
        (self.rules.iter().filter(goes).collect(), chains)
    }
}

/// Words as `iptables-save` quotes them: in double quotes, with a backslash before quotes and backslashes.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for letter in text.chars() {
        match (letter, words.last_mut()) {
            (_, Some(word)) if escaped => {
                word.push(letter);
                escaped = false;
            }
            ('\\', _) => escaped = true,
            ('"', _) => quoted = !quoted,
            (' ', _) if !quoted => words.push(String::new()),
            (_, Some(word)) => word.push(letter),
            (_, None) => {}
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "abababababababababababababababababababababababababababababababab";
    const OTHER: &str = "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";

    /// As iptables 1.8.9 prints it.
    fn saved() -> String {
        format!(
            r#"# Generated by iptables-save v1.8.9 (nf_tables) on Sat Nov 21 18:11:41 2026
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [12:720]
:CNI-0a1b - [0:0]
:CNI-9f8e - [0:0]
:CNI-DN-77 - [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
:FLANNEL-POSTRTG - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SERVICES - [0:0]
:KUBERNETES-MINE - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A PREROUTING -m comment --comment "not -j KUBE-SERVICES, but \"KUBE-\" in it" -j ACCEPT
-A PREROUTING -j KUBERNETES-MINE
-A POSTROUTING -s 10.42.0.5/32 -m comment --comment "name: \"cbr0\" id: \"{OWN}\"" -j CNI-0a1b
-A POSTROUTING -s 10.42.0.6/32 -m comment --comment "name: \"cbr0\" id: \"{OTHER}\"" -j CNI-9f8e
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A POSTROUTING -s 10.42.0.0/16 -m comment --comment "flanneld masq" -j MASQUERADE
-A CNI-0a1b -d 10.42.0.0/24 -m comment --comment "name: \"cbr0\" id: \"{OWN}\"" -j ACCEPT
-A CNI-9f8e -d 10.42.0.0/24 -m comment --comment "name: \"cbr0\" id: \"{OTHER}\"" -j ACCEPT
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"cbr0\" id: \"{OWN}\"" -m multiport --dports 80 -j CNI-DN-77
-A CNI-DN-77 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.42.0.5:80
-A KUBE-SERVICES -j KUBE-POSTROUTING
COMMIT
*filter
:INPUT ACCEPT [0:0]
-A INPUT -p udp -m udp --dport 698 -j ACCEPT
COMMIT
"#
        )
    }

    #[test]
    fn chains_of_containers_that_are_not_k3s_s_stay() {
        let saved = r#"*nat
:POSTROUTING ACCEPT [12:720]
:CNI-0a1b - [0:0]
:CNI-9f8e - [0:0]
:CNI-DN-11 - [0:0]
:CNI-DN-77 - [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
:CNI-HOSTPORT-MASQ - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A POSTROUTING -s 10.42.0.5/32 -m comment --comment "name: \"cbr0\" id: \"a\"" -j CNI-0a1b
-A POSTROUTING -s 10.88.0.6/32 -m comment --comment "name: \"podman\" id: \"b\"" -j CNI-9f8e
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"cbr0\" id: \"a\"" -j CNI-DN-77
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"podman\" id: \"b\"" -j CNI-DN-11
COMMIT
*filter
:CNI-ADMIN - [0:0]
:CNI-FORWARD - [0:0]
-A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD
COMMIT
"#;
        let script = r#"*nat
-D POSTROUTING -s 10.42.0.5/32 -m comment --comment "name: \"cbr0\" id: \"a\"" -j CNI-0a1b
-D CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"cbr0\" id: \"a\"" -j CNI-DN-77
-F CNI-0a1b
-F CNI-DN-77
-X CNI-0a1b
-X CNI-DN-77
COMMIT
"#;
        assert_eq!(removal(saved, Scope::All(&Flannel::default())), script);
    }

    #[test]
    fn jumps_and_chains_of_kubernetes_go_and_nothing_else() {
        let script = removal(&saved(), Scope::All(&Flannel::default()));
        let expected = format!(
            r#"*nat
-D PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-D PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-D POSTROUTING -s 10.42.0.5/32 -m comment --comment "name: \"cbr0\" id: \"{OWN}\"" -j CNI-0a1b
-D POSTROUTING -s 10.42.0.6/32 -m comment --comment "name: \"cbr0\" id: \"{OTHER}\"" -j CNI-9f8e
-D POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-D POSTROUTING -s 10.42.0.0/16 -m comment --comment "flanneld masq" -j MASQUERADE
-F CNI-0a1b
-F CNI-9f8e
-F CNI-DN-77
-F CNI-HOSTPORT-DNAT
-F FLANNEL-POSTRTG
-F KUBE-POSTROUTING
-F KUBE-SERVICES
-X CNI-0a1b
-X CNI-9f8e
-X CNI-DN-77
-X CNI-HOSTPORT-DNAT
-X FLANNEL-POSTRTG
-X KUBE-POSTROUTING
-X KUBE-SERVICES
COMMIT
"#
        );
        assert_eq!(script, expected);
    }

    #[test]
    fn rules_of_an_older_flannel_are_known_by_their_networks() {
        let file = "FLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_SUBNET=10.42.3.1/24\nFLANNEL_MTU=1450\n";
        let flannels = [
            "POSTROUTING -s 10.42.0.0/16 -d 10.42.0.0/16 -j RETURN",
            "POSTROUTING -s 10.42.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully",
            "POSTROUTING ! -s 10.42.0.0/16 -d 10.42.3.0/24 -j RETURN",
            "POSTROUTING ! -s 10.42.0.0/16 -d 10.42.0.0/16 -j MASQUERADE",
            "FORWARD -s 10.42.0.0/16 -j ACCEPT",
        ];
        let others = [
            "POSTROUTING -s 10.43.0.0/16 -d 10.43.0.0/16 -j RETURN",
            "FORWARD -s 10.42.0.0/17 -j ACCEPT",
            "FORWARD -s 10.42.0.0/16 -j DROP",
            "FORWARD -s 10.42.0.0/16 -i mesh0 -j ACCEPT",
            "INPUT -s 10.42.0.0/16 -j ACCEPT",
        ];
        let rules = |rules: &[&str], verb: &str| -> String {
            rules.iter().map(|rule| format!("{verb} {rule}\n")).collect()
        };
        let (natted, passed) = flannels.split_at(4);
        let saved = format!(
            "*nat\n{}{}COMMIT\n*filter\n{}{}COMMIT\n*mangle\n{}COMMIT\n",
            rules(natted, "-A"),
            rules(&others, "-A"),
            rules(passed, "-A"),
            rules(&others, "-A"),
            rules(&flannels, "-A"),
        );
        let script = removal(&saved, Scope::All(&Flannel::read(file)));
        let [natted, passed] = [natted, passed].map(|own| rules(own, "-D"));
        assert_eq!(script, format!("*nat\n{natted}COMMIT\n*filter\n{passed}COMMIT\n"));
        assert!(!Flannel::names_its_own(&saved));
        for named in [
            ":FLANNEL-FWD - [0:0]",
            "-A FORWARD -m comment --comment \"flanneld forward\" -j ACCEPT",
        ] {
            assert!(Flannel::names_its_own(&format!("*filter\n{named}\nCOMMIT\n{saved}")));
        }
        assert_eq!(removal(&saved, Scope::All(&Flannel::default())), "");
        assert_eq!(removal(&saved, Scope::Evident(&Claims::default())), "");

        let six =
            Flannel::read("FLANNEL_IPV6_NETWORK=fd42::/48\nFLANNEL_IPV6_SUBNET=fd42:0:0:1::1/64");
        assert!(six.rules.contains("nat POSTROUTING ! -s fd42::/48 -d fd42:0:0:1::/64 -j RETURN"));
        for wrong in
            ["", "FLANNEL_NETWORK=0.0.0.0/0\nFLANNEL_SUBNET=0.0.0.0/0", "FLANNEL_NETWORK=x"]
        {
            assert_eq!(Flannel::read(wrong), Flannel::default(), "{wrong}");
        }
    }

    #[test]
    fn beside_another_only_what_names_a_sandbox_goes() {
        let mut claims = Claims::default();
        claims.add_id(OWN);
        let script = removal(&saved(), Scope::Evident(&claims));
        let expected = format!(
            r#"*nat
-D POSTROUTING -s 10.42.0.5/32 -m comment --comment "name: \"cbr0\" id: \"{OWN}\"" -j CNI-0a1b
-D CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"cbr0\" id: \"{OWN}\"" -m multiport --dports 80 -j CNI-DN-77
-F CNI-0a1b
-F CNI-DN-77
-X CNI-0a1b
-X CNI-DN-77
COMMIT
"#
        );
        assert_eq!(script, expected);
        assert_eq!(removal(&saved(), Scope::Evident(&Claims::default())), "");
    }

    #[test]
    fn a_table_without_kubernetes_is_not_touched() {
        for text in ["", "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n", "COMMIT\n-A\n-A x\n:\n*\n"] {
            assert_eq!(removal(text, Scope::All(&Flannel::default())), "", "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            let text = format!("*nat\n:KUBE-A - [0:0]\n-A {text}\n{text}\nCOMMIT\n");
            let _ = removal(&text, Scope::All(&Flannel::read(&text)));
            let _ = removal(&text, Scope::Evident(&Claims::default()));
        }
    }
}
