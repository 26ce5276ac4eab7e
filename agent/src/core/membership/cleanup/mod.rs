//! What a stopped k3s leaves on a vehicle, and what of it is to be removed: given what the kernel shows, names processes, mounts,
//! interfaces and firewall rules. Decides by evidence, and never by the name of a process alone.
//!
//! # What is this k3s's
//!
//! | thing | evidence |
//! |---|---|
//! | a shim, containerd | its program is a file below `<data folder>/data` |
//! | a process of a container | it descends from such a shim, or its control group names a container of this k3s |
//! | a container, a sandbox | its folder below `<data folder>/agent/containerd/io.containerd.*cri*` |
//! | a pod, a network namespace | the bundle of such a container names it, or the network plugin's result for such a sandbox |
//! | a mount below `/run/k3s` | the container or sandbox in its path, or its overlay's folders |
//! | a port of `cni0`, a rule of a `CNI-` chain | the network plugin's result, or the rule's comment, names such a sandbox |
//!
//! With no other Kubernetes that has the same folders, whatever lies in the places of k3s (below `/run/k3s`,
//! `/var/lib/kubelet/pods` and `plugins`, `/run/netns/cni-*`, `/var/lib/cni`) is what is left of it, even when the evidence was lost
//! with the power; with none in the same network, so are `cni0`, its ports, flannel's interfaces and the chains `KUBE-`, `CNI-`
//! and `FLANNEL`. While another one lives there ([`processes::others`]), only that is removed for which there is evidence, and the
//! rest is left and told. A network namespace in which a process lives is never removed.
//!
//! # What is never touched
//!
//! Interfaces of the mesh ([`NeverTouch`]) by name or by an address that they carry, whatever their name is and wherever they are
//! plugged in; interfaces of hardware; images; everything of another k3s.

pub mod firewall;
pub mod interfaces;
pub mod mounts;
pub mod processes;

use std::collections::BTreeSet;
use std::net::IpAddr;

/// Interfaces that are neither deleted nor moved nor brought down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NeverTouch {
    /// By name.
    pub interfaces: BTreeSet<String>,
    /// By an address that they carry.
    pub addresses: BTreeSet<IpAddr>,
}

/// Letters of a container's or sandbox's id: SHA-256 in hexadecimal.
const ID_LENGTH: usize = 64;

/// Letters of a pod's uid, which is a UUID.
const UID_LENGTH: usize = 36;

/// What there is evidence for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// Containers and sandboxes.
    pub ids: BTreeSet<String>,
    /// Pods.
    pub pods: BTreeSet<String>,
    /// Network namespaces, by the name of their file.
    pub namespaces: BTreeSet<String>,
    /// Interfaces of this machine that lead into such a namespace.
    pub ports: BTreeSet<String>,
}

impl Claims {
    /// Takes in the name of a folder, if it is one of a container or sandbox.
    pub fn add_id(&mut self, name: &str) {
        if name.len() == ID_LENGTH && name.bytes().all(|letter| letter.is_ascii_hexdigit()) {
            self.ids.insert(name.to_owned());
        }
    }

    /// Whether a text, such as a path or a name, has the id of a container or sandbox of this k3s.
    #[must_use]
    pub fn has_id(&self, text: &str) -> bool {
        let parts = text.split(|letter: char| !letter.is_ascii_alphanumeric());
        parts.filter(|part| part.len() == ID_LENGTH).any(|part| self.ids.contains(part))
    }

    /// Takes in what a container of this k3s names: `text` is the specification of its bundle (OCI), or the network plugin's
    /// result (CNI), both JSON.
    pub fn add_named(&mut self, text: &str) {
        let uids = text.split("/pods/").skip(1).map(first_name);
        self.pods.extend(uids.filter(|uid| uid.len() == UID_LENGTH).map(str::to_owned));
        let namespaces = text.split("/netns/").skip(1).map(first_name);
        self.namespaces
            .extend(namespaces.filter(|name| name.starts_with("cni-")).map(str::to_owned));
    }

    /// Takes in the interfaces outside of the sandbox in the network plugin's result, as libcni keeps it
    /// (`{"kind":"cniCacheV1","containerId":...,"result":{"interfaces":[{"name":...,"sandbox":...}]}}`); bridges among them are
    /// shared and no ports.
    pub fn add_ports(&mut self, result: &str) {
        let Ok(value) = serde_json::from_str::<serde_json::Value>(result) else { return };
        let interfaces = value["result"]["interfaces"].as_array();
        for interface in interfaces.into_iter().flatten() {
            let inside = interface["sandbox"].as_str().is_some_and(|sandbox| !sandbox.is_empty());
            match interface["name"].as_str() {
                Some(name) if !inside && name.starts_with("veth") => {
                    self.ports.insert(name.to_owned());
                }
                Some(_) | None => {}
            }
        }
    }
}

/// Up to the end of a path's part or of a JSON string.
fn first_name(text: &str) -> &str {
    text.split(['/', '"', '\\', ',', ' ']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0a1b2c3d-0000-1111-2222-333344445555";

    #[test]
    fn a_bundle_names_its_pod_and_its_network() {
        let mut claims = Claims::default();
        claims.add_named(&format!(
            r#"{{"mounts":[{{"destination":"/etc/hosts","source":"/var/lib/kubelet/pods/{UID}/etc-hosts"}},
               {{"source":"/srv/pods/short/x"}}],"linux":{{"namespaces":[{{"type":"network","path":"/var/run/netns/cni-1-2"}},
               {{"path":"/run/netns/vpn"}}]}}}}"#
        ));
        assert_eq!(claims.pods, [UID.to_owned()].into());
        assert_eq!(claims.namespaces, ["cni-1-2".to_owned()].into());
    }

    #[test]
    fn a_result_of_the_network_plugin_names_its_port_and_not_the_bridge() {
        let mut claims = Claims::default();
        claims.add_ports(
            r#"{"kind":"cniCacheV1","containerId":"x","result":{"interfaces":[{"name":"cni0","mac":"a"},
               {"name":"veth1a2b","mac":"b"},{"name":"eth0","sandbox":"/var/run/netns/cni-1"},{"name":"vethin","sandbox":"/x"}]}}"#,
        );
        assert_eq!(claims.ports, ["veth1a2b".to_owned()].into());
        for text in ["", "{}", "[1]", r#"{"result":{"interfaces":{"name":"veth1"}}}"#] {
            claims.add_ports(text);
        }
        assert_eq!(claims.ports.len(), 1);
    }

    #[test]
    fn an_id_is_a_whole_word() {
        let mut claims = Claims::default();
        let id = "ab".repeat(32);
        claims.add_id(&id);
        claims.add_id("short");
        claims.add_id(&"zz".repeat(32));
        assert_eq!(claims.ids.len(), 1);
        assert!(claims.has_id(&format!("/kubepods/pod1/{id}")));
        assert!(claims.has_id(&format!("cri-containerd-{id}.scope")));
        assert!(claims.has_id(&format!("cbr0-{id}-eth0")));
        assert!(!claims.has_id(&format!("{id}00")));
        assert!(!claims.has_id(&"cd".repeat(32)));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            let mut claims = Claims::default();
            claims.add_named(&text);
            claims.add_named(&format!("/pods/{text}/netns/{text}"));
            claims.add_ports(&text);
            let _ = claims.has_id(&text);
        }
    }
}
