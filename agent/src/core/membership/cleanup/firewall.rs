//! Firewall rules as `iptables-save` prints them, and the input of `iptables-restore --noflush` that removes those of k3s: jumps
//! to its chains one by one, then its chains. All other rules, their order and their counters stay as they are; the kernel takes
//! a table's changes together or not at all.

use std::collections::{BTreeMap, BTreeSet};

use super::Claims;

/// Begin the names of chains of kube-proxy, kube-router and the kubelet, of the network plugins, and of flannel.
const CHAINS: [&str; 3] = ["KUBE-", "CNI-", "FLANNEL-"];

/// Comments of rules that older flannel puts beside those of others.
const COMMENTS: [&str; 2] = ["flanneld masq", "flanneld forward"];

/// What goes.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// Everything of Kubernetes.
    All,
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
            Scope::All => self.all(),
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

    fn all(&self) -> (Vec<&Rule<'a>>, BTreeSet<&'a str>) {
        let is_own = |chain: &&&str| CHAINS.iter().any(|begin| chain.starts_with(begin));
        let chains: BTreeSet<&str> = self.chains.iter().filter(is_own).copied().collect();
        let is_flannels = |rule: &Rule<'_>| {
            rule.comment.as_deref().is_some_and(|comment| COMMENTS.contains(&comment))
        };
        let goes = |rule: &&Rule<'_>| {
            !chains.contains(rule.chain) && (rule.leads_to(&chains) || is_flannels(rule))
        };
        (self.rules.iter().filter(goes).collect(), chains)
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
    fn jumps_and_chains_of_kubernetes_go_and_nothing_else() {
        let script = removal(&saved(), Scope::All);
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
            assert_eq!(removal(text, Scope::All), "", "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            let text = format!("*nat\n:KUBE-A - [0:0]\n-A {text}\n{text}\nCOMMIT\n");
            let _ = removal(&text, Scope::All);
            let _ = removal(&text, Scope::Evident(&Claims::default()));
        }
    }
}
