//! Network interfaces as `/sys/class/net` shows them, and which of them are to be deleted.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::NeverTouch;

/// The bridge into which pods are plugged.
const BRIDGE: &str = "cni0";

/// Interfaces that flannel and kube-proxy make.
const OWN: [&str; 5] = ["flannel.1", "flannel-v6.1", "flannel-wg", "flannel-wg-v6", "kube-ipvs0"];

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// What it is plugged into.
    pub master: Option<String>,
    /// Interfaces made on top of it, which would go with it.
    pub uppers: Vec<String>,
    /// There is hardware behind it.
    pub hardware: bool,
    /// Addresses that it carries.
    pub addresses: Vec<IpAddr>,
}

/// What is to be deleted, and what is left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Names, in this order.
    pub delete: Vec<String>,
    /// Left, and why.
    pub left: Vec<String>,
}

/// Which interfaces are to be deleted. `alone` when no other Kubernetes uses this network; otherwise only `ports` are evident.
#[must_use]
pub fn plan(
    interfaces: &[Interface],
    never: &NeverTouch,
    ports: &BTreeSet<String>,
    alone: bool,
) -> Plan {
    let mut plan = Plan::default();
    let kept =
        |interface: &Interface| interface.hardware || is_kept(interface, interfaces, never, 0);
    let mut plugged = false;
    for port in interfaces.iter().filter(|port| port.master.as_deref() == Some(BRIDGE)) {
        if kept(port) {
            plugged = true;
            plan.left.push(format!(
                "{}, which is not to be touched and is plugged into {BRIDGE}",
                port.name
            ));
        } else if alone || ports.contains(&port.name) {
            plan.delete.push(port.name.clone());
        }
    }
    for interface in interfaces {
        let name = interface.name.as_str();
        if name != BRIDGE && !OWN.contains(&name) {
            continue;
        }
        if kept(interface) || (name == BRIDGE && plugged) {
            plan.left.push(format!(
                "{name}, since something that is not to be touched is it, or depends on it"
            ));
        } else if alone {
            plan.delete.push(interface.name.clone());
        } else {
            plan.left.push(format!("{name}, since another Kubernetes uses this network"));
        }
    }
    plan
}

/// Whether it is on the list, or something made on top of it is.
fn is_kept(interface: &Interface, all: &[Interface], never: &NeverTouch, depth: usize) -> bool {
    let listed = never.interfaces.contains(&interface.name)
        || interface.addresses.iter().any(|address| never.addresses.contains(address));
    // The kernel stacks at most 8; more would be a circle.
    let above = |upper: &String| {
        // What a port is plugged into is above it too, and stays when the port goes.
        let found = all
            .iter()
            .find(|other| other.name == *upper && interface.master.as_ref() != Some(upper));
        found.is_some_and(|other| is_kept(other, all, never, depth + 1))
    };
    listed || (depth < 8 && interface.uppers.iter().any(above))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, master: Option<&str>) -> Interface {
        let uppers = master.iter().map(|master| (*master).to_owned()).collect();
        Interface {
            name: name.to_owned(),
            master: master.map(str::to_owned),
            uppers,
            ..Interface::default()
        }
    }

    fn machine() -> Vec<Interface> {
        let mut eth0 = interface("eth0", None);
        eth0.hardware = true;
        // flannel's tunnel is made on top of it.
        eth0.uppers = vec!["flannel.1".to_owned()];
        vec![
            interface("lo", None),
            eth0,
            interface("cni0", None),
            interface("veth1", Some("cni0")),
            interface("veth2", Some("cni0")),
            interface("docker0", None),
            interface("veth3", Some("docker0")),
            interface("flannel.1", None),
            interface("kube-ipvs0", None),
        ]
    }

    fn names(plan: &Plan) -> Vec<&str> {
        plan.delete.iter().map(String::as_str).collect()
    }

    fn never(interfaces: &[&str], addresses: &[&str]) -> NeverTouch {
        NeverTouch {
            interfaces: interfaces.iter().map(|name| (*name).to_owned()).collect(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn alone_all_of_k3s_goes_and_the_ports_first() {
        let plan = plan(&machine(), &NeverTouch::default(), &BTreeSet::new(), true);
        assert_eq!(names(&plan), ["veth1", "veth2", "cni0", "flannel.1", "kube-ipvs0"]);
        assert_eq!(plan.left, [""; 0]);
    }

    #[test]
    fn beside_another_only_ports_with_evidence_go() {
        let ports = ["veth2".to_owned(), "veth3".to_owned()].into();
        let plan = plan(&machine(), &NeverTouch::default(), &ports, false);
        assert_eq!(names(&plan), ["veth2"]);
        assert_eq!(plan.left.len(), 3, "{:?}", plan.left);
    }

    #[test]
    fn the_mesh_is_never_touched_whatever_it_is_called_and_wherever_it_is_plugged_in() {
        let by_name =
            plan(&machine(), &never(&["flannel.1", "veth1"], &[]), &BTreeSet::new(), true);
        assert_eq!(names(&by_name), ["veth2", "kube-ipvs0"], "cni0 would let go of veth1");
        assert_eq!(by_name.left.len(), 3);

        let mut machine = machine();
        machine[8].addresses = vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let by_address = plan(&machine, &never(&[], &["fd00::1"]), &BTreeSet::new(), true);
        assert_eq!(names(&by_address), ["veth1", "veth2", "cni0", "flannel.1"]);

        // A VLAN of the mesh on top of the bridge would go with it.
        machine[2].uppers = vec!["mesh".to_owned()];
        machine.push(interface("mesh", None));
        let by_what_is_above = plan(&machine, &never(&["mesh"], &[]), &BTreeSet::new(), true);
        assert_eq!(names(&by_what_is_above), ["veth1", "veth2", "flannel.1", "kube-ipvs0"]);
    }

    #[test]
    fn hardware_in_the_bridge_stays_and_so_does_the_bridge() {
        let mut machine = machine();
        machine[1].master = Some("cni0".to_owned());
        let plan = plan(&machine, &NeverTouch::default(), &BTreeSet::new(), true);
        assert_eq!(names(&plan), ["veth1", "veth2", "flannel.1", "kube-ipvs0"]);
    }

    #[test]
    fn a_circle_of_interfaces_ends() {
        let mut machine = machine();
        machine[2].uppers = vec!["flannel.1".to_owned()];
        machine[7].uppers = vec!["cni0".to_owned()];
        assert_eq!(plan(&machine, &NeverTouch::default(), &BTreeSet::new(), true).delete.len(), 5);
    }
}
