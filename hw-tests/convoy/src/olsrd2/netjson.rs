//! `netjsoninfo`: graphs and routes on one line, the only place where both directions of far links are told.

use super::tables::{STACKS, Stack, bind_address, originator};
use super::{Facts, rate};
use crate::mesh::{Status, View};

const HEAD: &str = r#""protocol":"olsrv2","version":"0.15.1","revision":"v0.15.1-185-gb2164126""#;

pub(super) fn netjsoninfo(parameters: &str, facts: &Facts<'_>) -> Option<String> {
    let view = facts.view;
    let mut parts = Vec::new();
    for parameter in parameters.split(' ').filter(|parameter| !parameter.is_empty()) {
        match parameter {
            "graph" => parts.extend(STACKS.map(|stack| graph(view, stack))),
            "route" => parts.extend(STACKS.map(|stack| route(view, stack))),
            "domain" => parts.push(domain(view)),
            unknown => parts.push(format!(
                "{{\"type\":\"Error\",\"message\":\"Could not parse sub-command for netjsoninfo\",\
                 \"parameter\":\"{unknown}\"}}"
            )),
        }
    }
    Some(format!("{{\"type\":\"NetworkCollection\",\"collection\": [{}]}}", parts.join(",")))
}

fn topology_id(stack: Stack) -> &'static str {
    match stack {
        Stack::V4 => "ipv4_0",
        Stack::V6 => "ipv6_0",
    }
}

fn twin(stack: Stack) -> Stack {
    match stack {
        Stack::V4 => Stack::V6,
        Stack::V6 => Stack::V4,
    }
}

fn domain(view: &View) -> String {
    let domains = STACKS.map(|stack| {
        let own = originator(view, view.node, stack);
        format!(
            "{{\"id\":\"{}\",\"number\":0,\"router_id\":\"id_{own}\",\"router_addr\":\"{own}\",\
             \"metric\":\"ff_dat_metric\",\"mpr\":\"mpr\"}}",
            topology_id(stack),
        )
    });
    format!("{{\"type\":\"NetworkDomain\",{HEAD},\"domain\": [{}]}}", domains.join(","))
}

/// Costs of one edge with their texts: (out, in).
fn costs(out: u32, inbound: u32) -> (String, String) {
    (
        format!("\"cost\":{out},\"cost_text\":\"{}\"", rate(out.into(), 1)),
        format!("\"in_cost\":{inbound},\"in_text\":\"{}\"", rate(inbound.into(), 1)),
    )
}

fn graph(view: &View, stack: Stack) -> String {
    let own = originator(view, view.node, stack);
    let own_twin = originator(view, view.node, twin(stack));
    let dual = |node: usize| {
        let address = originator(view, node, twin(stack));
        format!(",\"dualstack_id\":\"id_{address}\",\"dualstack_addr\":\"{address}\"")
    };
    format!(
        "{{\"type\":\"NetworkGraph\",{HEAD},\"router_id\":\"id_{own}\",\"metric\":\"ff_dat_metric\",\
         \"topology_id\":\"{}\",\"properties\": {{\"router_addr\":\"{own}\",\
         \"dualstack_id\":\"id_{own_twin}\",\"dualstack_topology\":\"{}\",\"dualstack_addr\":\"{own_twin}\"}},\
         \"nodes\": [{}],\"links\": [{}]}}",
        topology_id(stack),
        topology_id(twin(stack)),
        graph_nodes(view, stack, dual).join(","),
        graph_links(view, stack).join(","),
    )
}

fn graph_nodes(view: &View, stack: Stack, dual: impl Fn(usize) -> String) -> Vec<String> {
    let neighbors: Vec<usize> = view.neighbors.iter().map(|neighbor| neighbor.node).collect();
    let mut known: Vec<usize> = view.edges.iter().flat_map(|edge| [edge.from, edge.to]).collect();
    known.extend(&neighbors);
    known.push(view.node);
    known.sort_unstable();
    known.dedup();
    let mut nodes = Vec::new();
    for node in known {
        let address = originator(view, node, stack);
        let (kind, twins) = if node == view.node {
            ("local", dual(node))
        } else if neighbors.contains(&node) {
            ("node", dual(node))
        } else {
            ("node", String::new())
        };
        nodes.push(format!(
            "{{\"id\":\"id_{address}\",\"label\":\"{address}\",\"properties\": {{\"router_id\":\"id_{address}\",\
             \"router_addr\":\"{address}\"{twins},\"type\":\"{kind}\"}}}}"
        ));
        if stack == Stack::V6 {
            continue;
        }
        for (network, length) in view
            .networks
            .iter()
            .filter(|network| network.node == node)
            .map(|network| network.prefix)
        {
            nodes.push(format!(
                "{{\"id\":\"id_{address}_{network}/{length}\",\"label\":\"{address} - {network}/{length}\",\
                 \"properties\": {{\"router_id\":\"id_{address}\",\"router_addr\":\"{address}\",\
                 \"type\":\"attached\"}}}}"
            ));
        }
    }
    nodes
}

fn graph_links(view: &View, stack: Stack) -> Vec<String> {
    let mut links = Vec::new();
    let own = originator(view, view.node, stack);
    let in_tree = |to: usize| {
        stack == Stack::V4 && view.routes.iter().any(|route| route.node == to && route.hops == 1)
    };
    for neighbor in view.neighbors.iter().filter(|neighbor| neighbor.symmetric) {
        let other = originator(view, neighbor.node, stack);
        let tree = in_tree(neighbor.node);
        let (inbound, outbound) = neighbor.metric;
        let (cost, in_cost) = costs(outbound, inbound);
        let radios: Vec<String> = view
            .links
            .iter()
            .filter(|link| link.remote.0 == neighbor.node && link.status == Status::Symmetric)
            .map(|link| {
                let (cost, in_cost) = costs(link.metric.1, link.metric.0);
                format!(
                    "{{\"interface\":\"{}\",\"source_addr\":\"{}\",\"target_addr\":\"{}\",{cost},{in_cost},\
                     \"outgoing_tree\":{tree}}}",
                    view.nodes[view.node].interfaces[link.interface].name,
                    bind_address(view, (view.node, link.interface), stack),
                    bind_address(view, link.remote, stack),
                )
            })
            .collect();
        links.push(format!(
            "{{\"source\":\"id_{own}\",\"target\":\"id_{other}\",{cost},\"properties\": {{{in_cost},\
             \"outgoing_tree\":{tree},\"source_addr\":\"{own}\",\"target_addr\":\"{other}\",\"type\":\"local\",\
             \"links\": [{}]}}}}",
            radios.join(","),
        ));
        let (cost, in_cost) = costs(inbound, outbound);
        links.push(far_link(&own.to_string(), &other.to_string(), &cost, &in_cost, false));
    }
    for edge in &view.edges {
        let own_neighbor =
            view.neighbors.iter().any(|neighbor| neighbor.symmetric && neighbor.node == edge.from);
        if edge.to == view.node && own_neighbor {
            continue;
        }
        let (cost, in_cost) = costs(edge.metric.1, edge.metric.0);
        let target = originator(view, edge.to, stack).to_string();
        let source = originator(view, edge.from, stack).to_string();
        let tree = stack == Stack::V4 && edge.in_tree;
        links.push(far_link(&target, &source, &cost, &in_cost, tree));
    }
    if stack == Stack::V4 {
        for network in &view.networks {
            let source = originator(view, network.node, stack);
            let (address, length) = network.prefix;
            let tree = view
                .routes
                .iter()
                .any(|route| route.prefix == network.prefix && route.node == network.node);
            links.push(format!(
                "{{\"source\":\"id_{source}\",\"target\":\"id_{source}_{address}/{length}\",\"cost\":1,\
                 \"cost_text\":\"{}\",\"properties\": {{\"outgoing_tree\":{tree},\"source_addr\":\"{source}\",\
                 \"target_addr\":\"{address}/{length}\",\"hopcount\":2,\"type\":\"attached\"}}}}",
                rate(1, 1),
            ));
        }
    }
    links
}

fn far_link(target: &str, source: &str, cost: &str, in_cost: &str, tree: bool) -> String {
    format!(
        "{{\"source\":\"id_{source}\",\"target\":\"id_{target}\",{cost},\"properties\": {{{in_cost},\
         \"outgoing_tree\":{tree},\"source_addr\":\"{source}\",\"target_addr\":\"{target}\",\"type\":\"node\"}}}}"
    )
}

/// Routes; with link-local originators there are none for IPv6.
fn route(view: &View, stack: Stack) -> String {
    let own = originator(view, view.node, stack);
    let rows: Vec<String> = match stack {
        Stack::V6 => Vec::new(),
        Stack::V4 => view.routes.iter().map(|row| route_row(view, row)).collect(),
    };
    format!(
        "{{\"type\":\"NetworkRoutes\",{HEAD},\"router_id\":\"id_{own}\",\"metric\":\"ff_dat_metric\",\
         \"topology_id\":\"{}\",\"properties\": {{\"router_addr\":\"{own}\"}},\"routes\": [{}]}}",
        topology_id(stack),
        rows.join(","),
    )
}

fn route_row(view: &View, row: &crate::mesh::RouteSeen) -> String {
    let (address, length) = row.prefix;
    let target = if length == 32 { address.to_string() } else { format!("{address}/{length}") };
    let next = originator(view, row.gateway.0, Stack::V4);
    let last = originator(view, row.last_hop, Stack::V4);
    format!(
        "{{\"destination\":\"{target}\",\"next\":\"{}\",\"device\":\"{}\",\"cost\":{},\
         \"cost_text\":\"{} ({hops} hops)\",\"properties\": {{\"destination_id\":\"id_{target}\",\
         \"next_router_id\":\"id_{target}\",\"next_router_addr\":\"{next}\",\"hops\":{hops},\
         \"last_router_id\":\"id_{last}\",\"last_router_addr\":\"{last}\"}}}}",
        view.address(row.gateway),
        view.nodes[view.node].interfaces[row.interface].name,
        row.cost,
        rate(row.cost, row.hops),
        hops = row.hops,
    )
}
