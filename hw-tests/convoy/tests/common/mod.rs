//! Captured scenarios as meshes of the model.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use convoy::mesh::{Family, Interface, Mesh, Node, Timers};
use serde_json::Value;

/// The bytes of a captured file.
pub fn fixture(path: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The mesh a scenario describes, its daemons about a minute old.
pub fn mesh(family: Family, scenario: &str) -> Mesh {
    let folder = match family {
        Family::Olsrd => "olsrd",
        Family::Olsrd2 => "olsrd2",
    };
    let path = Path::new(folder).join(scenario).join("scenario.json");
    let scenario: Value = serde_json::from_slice(&fixture(path.to_str().unwrap())).unwrap();
    let described = scenario["nodes"].as_object().unwrap();
    let names: Vec<&String> = described.keys().collect();
    let address = |text: &Value| text.as_str().unwrap().split('/').next().unwrap().to_owned();
    let nodes: Vec<Node> = described
        .iter()
        .map(|(name, node)| {
            let addresses = node["addresses"].as_object().unwrap();
            let loopback: Ipv4Addr = address(&addresses["lo"][0]).parse().unwrap();
            let radios = addresses.iter().filter(|(interface, _)| *interface != "lo");
            let interfaces = radios.map(|(interface, addresses)| {
                let link_local: Ipv6Addr = address(&addresses[1]).parse().unwrap();
                let [.., a, b, c, d, e, f, g, h] = link_local.octets();
                assert_eq!([d, e], [0xff, 0xfe], "made from the hardware address");
                Interface {
                    name: interface.clone(),
                    address: address(&addresses[0]).parse().unwrap(),
                    prefix_length: 24,
                    link_local,
                    mac: [a ^ 2, b, c, f, g, h],
                    wireless: false,
                }
            });
            let networks = match (family, name.as_str(), path.to_str().unwrap().contains("lan")) {
                (Family::Olsrd2, "b", true) => vec![(Ipv4Addr::new(192, 168, 21, 0), 25)],
                _ => Vec::new(),
            };
            Node { name: name.clone(), interfaces: interfaces.collect(), loopback, networks }
        })
        .collect();
    let end = |from: &str, to: &str| {
        let node = names.iter().position(|name| *name == from).unwrap();
        let interface = format!("m{from}{to}");
        let radios = &nodes[node].interfaces;
        (node, radios.iter().position(|radio| radio.name == interface).unwrap())
    };
    let pairs: Vec<_> = scenario["topology"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| {
            let (one, other) = pair.as_str().unwrap().split_once('-').unwrap();
            [end(one, other), end(other, one)]
        })
        .collect();
    let mut mesh = Mesh::new(family, Timers::FAST, nodes, &pairs, 1);
    mesh.advance(60_000);
    mesh
}
