//! The rows of jsoninfo's tables: which keys mean what, and what a complete row is worth.

use std::net::IpAddr;

use crate::build::Builder;
use crate::cost::{Measure, etx};
use crate::json::{Reader, Scalar, Shape};
use crate::v1::jsoninfo::alike::AlikeRow;
use crate::v1::jsoninfo::{Row, objects};
use crate::view::{
    Alias, AttachedNetwork, Edge, Gateway, Link, LinkStatus, Neighbor, NetworkCost, Part, Prefix,
    Route,
};

/// Timers from here on are 32 bit differences that went below zero: they have just expired.
const EXPIRED: u32 = 1 << 31;

/// A cost: floats are ETX, integers are steps of older releases.
fn measure(value: Scalar<'_>) -> Measure {
    match value {
        Scalar::Float(etx) => Measure::Etx(etx),
        Scalar::Integer(steps) => Measure::EtxScaled(steps),
        Scalar::Text(_) | Scalar::Bool(_) | Scalar::Word(_) | Scalar::Missing => Measure::Missing,
    }
}

/// LQ or NLQ as a share; what lies outside is corrupted.
fn quality(value: Scalar<'_>) -> Option<f32> {
    value.number().filter(|share| (0.0..=1.0).contains(share)).map(|share| share as f32)
}

#[derive(Default)]
pub(super) struct LinkRow<'a> {
    local: Option<IpAddr>,
    remote: Option<IpAddr>,
    interface: Option<&'a [u8]>,
    status: Option<LinkStatus>,
    cost: Measure,
    quality_in: Option<f32>,
    quality_out: Option<f32>,
    symmetry_ms: Option<u32>,
    validity_ms: Option<u32>,
    interval_ms: Option<u32>,
}

#[derive(Clone, Copy)]
pub(super) enum LinkField {
    Local,
    Remote,
    Interface,
    Status,
    Cost,
    QualityIn,
    QualityOut,
    Symmetry,
    Validity,
    Interval,
}

impl<'a> Row<'a> for LinkRow<'a> {
    const PART: Part = Part::Links;
    type Field = LinkField;

    fn field(key: &[u8]) -> Option<LinkField> {
        match key {
            b"localIP" => Some(LinkField::Local),
            b"remoteIP" => Some(LinkField::Remote),
            b"ifName" => Some(LinkField::Interface),
            b"currentLinkStatus" => Some(LinkField::Status),
            b"linkCost" => Some(LinkField::Cost),
            b"linkQuality" => Some(LinkField::QualityIn),
            b"neighborLinkQuality" => Some(LinkField::QualityOut),
            b"symmetryTime" => Some(LinkField::Symmetry),
            b"vtime" => Some(LinkField::Validity),
            b"lossHelloInterval" => Some(LinkField::Interval),
            _ => None,
        }
    }

    fn take(&mut self, field: LinkField, reader: &mut Reader<'a>) {
        let value = reader.scalar();
        match field {
            LinkField::Local => self.local = value.address(),
            LinkField::Remote => self.remote = value.address(),
            LinkField::Interface => self.interface = value.text(),
            LinkField::Status => self.status = Some(status(value)),
            LinkField::Cost => self.cost = measure(value),
            LinkField::QualityIn => self.quality_in = quality(value),
            LinkField::QualityOut => self.quality_out = quality(value),
            LinkField::Symmetry => self.symmetry_ms = value.unsigned(),
            LinkField::Validity => self.validity_ms = value.unsigned(),
            LinkField::Interval => self.interval_ms = value.unsigned(),
        }
    }

    fn hand_over(self, builder: &mut Builder) {
        let Some(remote) = self.remote else {
            builder.complain(
                Part::Links,
                "a link without a readable remote address was left out",
                b"",
            );
            return;
        };
        if self.cost == Measure::Missing {
            builder.complain(
                Part::Links,
                "a link without a readable cost is shown without one",
                b"",
            );
        }
        if let Some(local) = self.local {
            builder.own_address(local);
        }
        let status = self.status.unwrap_or(LinkStatus::Unknown);
        let validity_ms = self.validity_ms.filter(|&validity| validity > 0);
        let link = Link {
            local: self.local,
            remote,
            neighbor: None,
            interface: self.interface.map(text),
            status,
            cost: None,
            quality_in: self.quality_in,
            quality_out: self.quality_out,
            metric_in_raw: None,
            metric_out_raw: None,
            rate_in_bps: None,
            hello_age_ms: hello_age(status, validity_ms, self.symmetry_ms),
            hello_interval_ms: self.interval_ms.filter(|&interval| interval > 0),
            hello_validity_ms: validity_ms,
        };
        builder.link(link, self.cost);
    }
}

fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

fn status(value: Scalar<'_>) -> LinkStatus {
    match value {
        Scalar::Text(b"SYMMETRIC") => LinkStatus::Symmetric,
        Scalar::Text(b"ASYMMETRIC") => LinkStatus::Asymmetric,
        Scalar::Text(b"LOST") => LinkStatus::Lost,
        Scalar::Text(_)
        | Scalar::Integer(_)
        | Scalar::Float(_)
        | Scalar::Bool(_)
        | Scalar::Word(_)
        | Scalar::Missing => LinkStatus::Unusable,
    }
}

/// Time since the HELLO that last confirmed the link: what its validity has already lost.
fn hello_age(status: LinkStatus, validity_ms: Option<u32>, left_ms: Option<u32>) -> Option<u32> {
    if status != LinkStatus::Symmetric {
        return None;
    }
    match (validity_ms?, left_ms?) {
        (validity, left) if left >= EXPIRED => Some(validity.saturating_add(left.wrapping_neg())),
        (validity, left) => Some(validity.saturating_sub(left)),
    }
}

#[derive(Default)]
pub(super) struct NeighborRow {
    address: Option<IpAddr>,
    symmetric: Option<bool>,
    mpr: bool,
    mpr_selector: bool,
    willingness: Option<u8>,
    links: Option<u32>,
    two_hop: Option<u32>,
}

#[derive(Clone, Copy)]
pub(super) enum NeighborField {
    Address,
    Symmetric,
    Mpr,
    MprSelector,
    Willingness,
    Links,
    TwoHop,
}

impl<'a> Row<'a> for NeighborRow {
    const PART: Part = Part::Neighbors;
    type Field = NeighborField;

    fn field(key: &[u8]) -> Option<NeighborField> {
        match key {
            b"ipAddress" | b"ipv4Address" | b"ipv6Address" => Some(NeighborField::Address),
            b"symmetric" => Some(NeighborField::Symmetric),
            b"isMultiPointRelay" | b"multiPointRelay" => Some(NeighborField::Mpr),
            b"multiPointRelaySelector" => Some(NeighborField::MprSelector),
            b"willingness" => Some(NeighborField::Willingness),
            b"linkcount" => Some(NeighborField::Links),
            b"twoHopNeighborCount" => Some(NeighborField::TwoHop),
            _ => None,
        }
    }

    fn take(&mut self, field: NeighborField, reader: &mut Reader<'a>) {
        let value = reader.scalar();
        match field {
            NeighborField::Address => self.address = value.address(),
            NeighborField::Symmetric => self.symmetric = value.boolean(),
            NeighborField::Mpr => self.mpr = value.boolean().unwrap_or(false),
            NeighborField::MprSelector => self.mpr_selector = value.boolean().unwrap_or(false),
            NeighborField::Willingness => {
                self.willingness = value.unsigned().and_then(|number| u8::try_from(number).ok());
            }
            NeighborField::Links => self.links = value.unsigned(),
            NeighborField::TwoHop => self.two_hop = value.unsigned(),
        }
    }

    fn hand_over(self, builder: &mut Builder) {
        let (Some(address), Some(symmetric)) = (self.address, self.symmetric) else {
            let fault = "a neighbor without a readable address or state was left out";
            builder.complain(Part::Neighbors, fault, b"");
            return;
        };
        builder.neighbor(Neighbor {
            address,
            symmetric,
            mpr: self.mpr,
            mpr_selector: self.mpr_selector,
            willingness: self.willingness,
            links: self.links,
            two_hop: self.two_hop,
        });
    }
}

#[derive(Clone, Copy, Default)]
pub(super) struct RouteRow<'a> {
    destination: Option<IpAddr>,
    length: Option<i64>,
    gateway: Option<IpAddr>,
    hops: Option<u32>,
    etx: Measure,
    fixed_point: &'a [u8],
    interface: Option<&'a [u8]>,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum RouteField {
    Destination,
    Length,
    Gateway,
    Hops,
    Etx,
    FixedPoint,
    Interface,
}

impl<'a> Row<'a> for RouteRow<'a> {
    const PART: Part = Part::Routes;
    type Field = RouteField;

    fn field(key: &[u8]) -> Option<RouteField> {
        match key {
            b"destination" => Some(RouteField::Destination),
            b"genmask" => Some(RouteField::Length),
            b"gateway" => Some(RouteField::Gateway),
            b"metric" => Some(RouteField::Hops),
            b"etx" => Some(RouteField::Etx),
            b"rtpMetricCost" => Some(RouteField::FixedPoint),
            b"networkInterface" => Some(RouteField::Interface),
            _ => None,
        }
    }

    #[inline]
    fn take(&mut self, field: RouteField, reader: &mut Reader<'a>) {
        match field {
            RouteField::Destination => self.destination = reader.address(),
            RouteField::Length => self.length = reader.scalar().integer(),
            RouteField::Gateway => self.gateway = reader.address(),
            RouteField::Hops => self.hops = reader.scalar().unsigned(),
            RouteField::Etx => {
                self.etx = reader.scalar().number().map_or(Measure::Missing, Measure::Etx);
            }
            RouteField::FixedPoint => self.fixed_point = reader.raw(),
            RouteField::Interface => self.interface = reader.text(),
        }
    }

    fn hand_over(self, builder: &mut Builder) {
        let Some(destination) = prefix(self.destination, self.length) else {
            let fault = "a route without a readable destination was left out";
            builder.complain(Part::Routes, fault, b"");
            return;
        };
        let measure = match self.etx {
            Measure::Missing => measure(Scalar::of_token(self.fixed_point)),
            etx => etx,
        };
        if measure == Measure::Missing {
            let fault = "a route without a readable cost is shown without one";
            builder.complain(Part::Routes, fault, b"");
        }
        let route = Route {
            destination,
            cost: NetworkCost::NotMeaningful,
            hops: self.hops,
            next_hop: self.gateway,
            interface: self.interface.map(|name| builder.interface(name)),
            node: None,
            last_hop: None,
            link_local: false,
        };
        builder.route(route, measure);
    }
}

impl<'a> AlikeRow<'a> for RouteRow<'a> {
    const NAME: RouteField = RouteField::Destination;

    fn name(&mut self) -> &mut Option<IpAddr> {
        &mut self.destination
    }
}

fn prefix(address: Option<IpAddr>, length: Option<i64>) -> Option<Prefix> {
    let host = Prefix::host(address?);
    let length = u8::try_from(length?).ok().filter(|&length| length <= host.length)?;
    Some(Prefix { address: host.address, length })
}

#[derive(Clone, Copy, Default)]
pub(super) struct EdgeRow<'a> {
    from: Option<IpAddr>,
    to: Option<IpAddr>,
    cost: Measure,
    qualities: [&'a [u8]; 2],
    path_cost: &'a [u8],
    hops: &'a [u8],
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum EdgeField {
    From,
    To,
    Cost,
    Inbound,
    Outbound,
    PathCost,
    Hops,
}

impl<'a> Row<'a> for EdgeRow<'a> {
    const PART: Part = Part::Topology;
    type Field = EdgeField;

    fn field(key: &[u8]) -> Option<EdgeField> {
        match key {
            b"lastHopIP" => Some(EdgeField::From),
            b"destinationIP" => Some(EdgeField::To),
            b"tcEdgeCost" => Some(EdgeField::Cost),
            b"linkQuality" => Some(EdgeField::Inbound),
            b"neighborLinkQuality" => Some(EdgeField::Outbound),
            b"pathCost" => Some(EdgeField::PathCost),
            b"hops" => Some(EdgeField::Hops),
            _ => None,
        }
    }

    #[inline]
    fn take(&mut self, field: EdgeField, reader: &mut Reader<'a>) {
        match field {
            EdgeField::From => self.from = reader.address(),
            EdgeField::To => self.to = reader.address(),
            EdgeField::Cost => self.cost = measure(reader.scalar()),
            EdgeField::Inbound => self.qualities[0] = reader.raw(),
            EdgeField::Outbound => self.qualities[1] = reader.raw(),
            EdgeField::PathCost => self.path_cost = reader.raw(),
            EdgeField::Hops => self.hops = reader.raw(),
        }
    }

    fn hand_over(self, builder: &mut Builder) {
        let (Some(from), Some(to)) = (self.from, self.to) else {
            builder.complain(Part::Topology, "an edge without two readable ends was left out", b"");
            return;
        };
        if self.cost == Measure::Missing {
            let fault = "an edge without a readable cost is shown without one";
            builder.complain(Part::Topology, fault, b"");
        }
        // Only this node itself is reached at no cost and without a hop; a node without a path has no hops either.
        if self.path_cost == b"0.000000" && self.hops == b"0" {
            builder.own(from);
        }
        let edge = Edge { from, to, cost: None, out_raw: None, in_raw: None };
        builder.edge(edge, etx::edge_measure(self.cost, || self.worse_quality()));
    }
}

impl<'a> AlikeRow<'a> for EdgeRow<'a> {
    const NAME: EdgeField = EdgeField::To;

    fn name(&mut self) -> &mut Option<IpAddr> {
        &mut self.to
    }
}

impl EdgeRow<'_> {
    fn worse_quality(&self) -> Option<f64> {
        let numbers = self.qualities.iter().filter_map(|raw| Scalar::of_token(raw).number());
        numbers.reduce(f64::min)
    }
}

#[derive(Default)]
pub(super) struct NetworkRow {
    node: Option<IpAddr>,
    destination: Option<IpAddr>,
    length: Option<i64>,
    validity_ms: Option<u32>,
}

#[derive(Clone, Copy)]
pub(super) enum NetworkField {
    Node,
    Destination,
    Length,
    Validity,
}

impl<'a> Row<'a> for NetworkRow {
    const PART: Part = Part::Networks;
    type Field = NetworkField;

    fn field(key: &[u8]) -> Option<NetworkField> {
        match key {
            b"gateway" => Some(NetworkField::Node),
            b"destination" => Some(NetworkField::Destination),
            b"genmask" => Some(NetworkField::Length),
            b"validityTime" => Some(NetworkField::Validity),
            _ => None,
        }
    }

    fn take(&mut self, field: NetworkField, reader: &mut Reader<'a>) {
        match field {
            NetworkField::Node => self.node = reader.address(),
            NetworkField::Destination => self.destination = reader.address(),
            NetworkField::Length => self.length = reader.scalar().integer(),
            NetworkField::Validity => self.validity_ms = reader.scalar().unsigned(),
        }
    }

    fn hand_over(self, builder: &mut Builder) {
        let (Some(node), Some(prefix)) = (self.node, prefix(self.destination, self.length)) else {
            let fault = "a network without a readable prefix and announcer was left out";
            builder.complain(Part::Networks, fault, b"");
            return;
        };
        let own = self.validity_ms == Some(0);
        builder.network(AttachedNetwork { prefix, node, own });
    }
}

#[derive(Clone, Copy)]
enum NodeField {
    Address,
    Main,
    Aliases,
}

fn node_field(key: &[u8]) -> Option<NodeField> {
    match key {
        b"ipAddress" => Some(NodeField::Address),
        b"main" => Some(NodeField::Main),
        b"aliases" => Some(NodeField::Aliases),
        _ => None,
    }
}

/// The alias table: `{"main": {"ipAddress"}, "aliases": [..]}` per node, before 0.9.5 `{"ipAddress", "aliases": [..]}`.
pub(super) fn nodes<'a>(reader: &mut Reader<'a>, builder: &mut Builder) {
    let mut shape = Shape::new(node_field);
    let mut inner = Shape::new(node_field);
    let mut between: &[u8] = &[];
    let mut addresses = Vec::new();
    let complete = objects(reader, builder, Part::Aliases, |reader, builder| {
        let mut main = None;
        let mut unreadable = false;
        addresses.clear();
        while let Some(field) = reader.field(&mut shape) {
            match field {
                NodeField::Address => main = reader.address(),
                NodeField::Main => main = address_of(reader, &mut inner),
                NodeField::Aliases if !reader.open_array() => unreadable = true,
                NodeField::Aliases => {
                    let found = |address| match address {
                        Some(address) => addresses.push(address),
                        None => unreadable = true,
                    };
                    each_address(reader, &mut inner, &mut between, found);
                }
            }
        }
        if reader.truncated() {
            return;
        }
        if unreadable || main.is_none() {
            builder.complain(
                Part::Aliases,
                "an alias without a readable address was left out",
                b"",
            );
        }
        let Some(node) = main else { return };
        for address in &addresses {
            builder.alias(Alias { node, address: *address });
        }
    });
    if complete {
        builder.read(Part::Aliases);
    }
}

/// Calls `found` with the `ipAddress` of each object in the list that has been entered.
///
/// What stood `between` two addresses, from the rest of one object to the beginning of the next, is expected to stand
/// between the next two as well.
fn each_address<'a>(
    reader: &mut Reader<'a>,
    shape: &mut Shape<'a, NodeField>,
    between: &mut &'a [u8],
    mut found: impl FnMut(Option<IpAddr>),
) {
    let mut behind = None;
    while reader.element() {
        let mut address = None;
        if !reader.open_object() {
            behind = None;
            found(None);
            continue;
        }
        while let Some(field) = reader.field(shape) {
            match field {
                NodeField::Address => {
                    if let Some(behind) = behind.take() {
                        *between = reader.since(behind);
                    }
                    address = reader.address();
                    while reader.pass(between) {
                        found(address);
                        address = reader.address();
                    }
                    behind = Some(reader.position());
                }
                NodeField::Main | NodeField::Aliases => reader.skip(),
            }
        }
        found(address);
    }
}

/// The `ipAddress` of the object that stands here.
fn address_of<'a>(reader: &mut Reader<'a>, shape: &mut Shape<'a, NodeField>) -> Option<IpAddr> {
    let mut address = None;
    if reader.open_object() {
        while let Some(field) = reader.field(shape) {
            match field {
                NodeField::Address => address = reader.address(),
                NodeField::Main | NodeField::Aliases => reader.skip(),
            }
        }
    }
    address
}

#[derive(Default)]
pub(super) struct GatewayRow {
    node: Option<IpAddr>,
    selected: bool,
    uplink_kbps: Option<u64>,
    downlink_kbps: Option<u64>,
    cost: Measure,
    hops: Option<u32>,
}

#[derive(Clone, Copy)]
pub(super) enum GatewayField {
    Node,
    Selected,
    Status,
    Uplink,
    Downlink,
    Cost,
    Hops,
}

impl<'a> Row<'a> for GatewayRow {
    const PART: Part = Part::Gateways;
    type Field = GatewayField;

    fn field(key: &[u8]) -> Option<GatewayField> {
        match key {
            b"originator" | b"ipAddress" => Some(GatewayField::Node),
            b"selected" => Some(GatewayField::Selected),
            b"ipv4Status" | b"ipv6Status" => Some(GatewayField::Status),
            b"uplink" | b"uplinkSpeed" => Some(GatewayField::Uplink),
            b"downlink" | b"downlinkSpeed" => Some(GatewayField::Downlink),
            b"pathcost" | b"tcPathCost" => Some(GatewayField::Cost),
            b"hops" | b"hopCount" => Some(GatewayField::Hops),
            _ => None,
        }
    }

    fn take(&mut self, field: GatewayField, reader: &mut Reader<'a>) {
        let value = reader.scalar();
        let speed = || value.integer().and_then(|speed| u64::try_from(speed).ok());
        match field {
            GatewayField::Node => self.node = value.address(),
            GatewayField::Selected => self.selected = value.boolean().unwrap_or(false),
            GatewayField::Status => self.selected |= value.text() == Some(b"s"),
            GatewayField::Uplink => self.uplink_kbps = speed(),
            GatewayField::Downlink => self.downlink_kbps = speed(),
            GatewayField::Cost => self.cost = measure(value),
            GatewayField::Hops => self.hops = value.unsigned(),
        }
    }

    fn hand_over(self, builder: &mut Builder) {
        let Some(node) = self.node else {
            builder.complain(
                Part::Gateways,
                "a gateway without a readable address was left out",
                b"",
            );
            return;
        };
        let gateway = Gateway {
            node,
            selected: self.selected,
            uplink_kbps: self.uplink_kbps,
            downlink_kbps: self.downlink_kbps,
            cost: NetworkCost::NotMeaningful,
            hops: self.hops,
        };
        builder.gateway(gateway, self.cost);
    }
}

/// An own interface: flat before 0.9.5, since then with its running state in `olsrInterface`.
#[derive(Default)]
pub(super) struct InterfaceRow {
    addresses: Vec<IpAddr>,
    hello_interval_ms: Option<u32>,
}

#[derive(Clone, Copy)]
pub(super) enum InterfaceField {
    Running,
    Address,
    HelloInterval,
}

fn interface_field(key: &[u8]) -> Option<InterfaceField> {
    match key {
        b"olsrInterface" => Some(InterfaceField::Running),
        b"ipAddress" | b"ipv4Address" | b"ipv6Address" => Some(InterfaceField::Address),
        b"helloEmissionInterval" => Some(InterfaceField::HelloInterval),
        _ => None,
    }
}

impl<'a> Row<'a> for InterfaceRow {
    const PART: Part = Part::Daemon;
    type Field = InterfaceField;

    fn field(key: &[u8]) -> Option<InterfaceField> {
        interface_field(key)
    }

    fn take(&mut self, field: InterfaceField, reader: &mut Reader<'a>) {
        match field {
            InterfaceField::Address => self.addresses.extend(reader.scalar().address()),
            InterfaceField::HelloInterval => self.hello_interval_ms = reader.scalar().unsigned(),
            InterfaceField::Running => {
                if !reader.open_object() {
                    return;
                }
                while let Some(key) = reader.key() {
                    match interface_field(key) {
                        Some(InterfaceField::Running) | None => reader.skip(),
                        Some(field) => self.take(field, reader),
                    }
                }
            }
        }
    }

    fn hand_over(self, builder: &mut Builder) {
        // The other family's address of an interface reads 0.0.0.0 or ::.
        for address in self.addresses.into_iter().filter(|address| !address.is_unspecified()) {
            builder.own_address(address);
        }
        if let Some(interval_ms) = self.hello_interval_ms.filter(|&interval| interval > 0) {
            builder.hello_interval_ms(interval_ms);
        }
    }
}
