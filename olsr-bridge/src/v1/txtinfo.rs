//! olsrd's txtinfo plugin, all releases.
//!
//! Reads any combination of its tables out of one answer body. Columns are found by the names in each table's header
//! line, so column sets of old and current releases and of `vtime=true` are the same to it; unknown tables and columns
//! are passed over. Costs are ETX with three decimals in every release. There is no link status here, so links come
//! with an unknown one, and HELLO ages are not told. A table counts as read when the empty line behind it has arrived.

use crate::build::Builder;
use crate::cost::{Measure, etx};
use crate::http;
use crate::number::{self, Number};
use crate::v1::{Findings, release};
use crate::view::{
    Alias, AttachedNetwork, Edge, Gateway, Link, LinkStatus, Neighbor, NetworkCost, Part, Route,
};

/// Columns per row that are looked at. The widest table (gateways) has 10; lists of addresses may be longer.
const CELLS_MAX: usize = 16;

/// Reads the whole `body` into `builder`.
pub fn parse(body: &[u8], builder: &mut Builder) -> Findings {
    let mut findings = Findings::default();
    let mut state = State::Outside;
    // A line without its end is the beginning of a line that did not arrive.
    let lines = body.iter().rposition(|&byte| byte == b'\n').map(|end| &body[..end]);
    findings.truncated = body.last().is_some_and(|&byte| byte != b'\n');
    for line in lines.into_iter().flat_map(|lines| lines.split(|&byte| byte == b'\n')) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        state = step(state, line, builder, &mut findings);
    }
    if state.close(builder) {
        findings.truncated = true;
    }
    findings
}

/// Where in an answer a line stands.
enum State {
    Outside,
    Header(Table),
    Rows(Columns),
}

impl State {
    /// The end of the answer: whether it cut a table off. The gateways table of old releases has no empty line.
    fn close(self, builder: &mut Builder) -> bool {
        let part = match self {
            State::Rows(Columns { table: Table::Gateways, .. }) => {
                builder.read(Part::Gateways);
                return false;
            }
            State::Outside => return false,
            State::Header(table) | State::Rows(Columns { table, .. }) => table.part(),
        };
        if let Some(part) = part {
            builder.complain(part, "the table broke off; what is absent from it may exist", b"");
        }
        part.is_some()
    }
}

fn step(state: State, line: &[u8], builder: &mut Builder, findings: &mut Findings) -> State {
    if let Some(name) = line.strip_prefix(b"Table: ") {
        state.close(builder);
        return State::Header(Table::named(name.trim_ascii()));
    }
    match state {
        State::Outside => {
            if let Some(text) = line.strip_prefix(b"Version: ") {
                let text = String::from_utf8_lossy(text);
                builder.version(release(&text).to_owned());
                builder.read(Part::Daemon);
                findings.understood = true;
            } else if let Some(text) = line.strip_prefix(b"error: ") {
                findings.refusal = http::status_code(text).and_then(http::refusal);
            }
            State::Outside
        }
        State::Header(table) => {
            findings.understood |= table != Table::Other;
            State::Rows(Columns::new(table, line))
        }
        State::Rows(columns) if line.is_empty() => {
            if let Some(part) = columns.table.part() {
                builder.read(part);
            }
            State::Outside
        }
        State::Rows(columns) => {
            columns.row(line, builder);
            State::Rows(columns)
        }
    }
}

/// The tables that say something about the mesh.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Table {
    Links,
    Neighbors,
    Routes,
    Topology,
    Hna,
    Mid,
    Gateways,
    Interfaces,
    Other,
}

impl Table {
    fn named(name: &[u8]) -> Table {
        match name {
            b"Links" => Table::Links,
            b"Neighbors" => Table::Neighbors,
            b"Routes" => Table::Routes,
            b"Topology" => Table::Topology,
            b"HNA" => Table::Hna,
            b"MID" => Table::Mid,
            b"Gateways" => Table::Gateways,
            b"Interfaces" => Table::Interfaces,
            _ => Table::Other,
        }
    }

    /// The part of a view that is read when this table has ended.
    fn part(self) -> Option<Part> {
        match self {
            Table::Links => Some(Part::Links),
            Table::Neighbors => Some(Part::Neighbors),
            Table::Routes => Some(Part::Routes),
            Table::Topology => Some(Part::Topology),
            Table::Hna => Some(Part::Networks),
            Table::Mid => Some(Part::Aliases),
            Table::Gateways => Some(Part::Gateways),
            Table::Interfaces => Some(Part::Daemon),
            Table::Other => None,
        }
    }
}

/// The columns of one table, found by name.
struct Columns {
    table: Table,
    /// Separated by tabs; the gateways table since 0.9.5 is aligned with spaces.
    tabs: bool,
    /// Addresses are followed by a colon and their lifetime.
    lifetimes: bool,
    /// Positions of the columns that [`Columns::new`] asks for, in that order.
    at: [Option<usize>; 6],
}

impl Columns {
    fn new(table: Table, header: &[u8]) -> Columns {
        let tabs = header.contains(&b'\t');
        let names: Vec<&[u8]> = if tabs {
            header.split(|&byte| byte == b'\t').map(<[u8]>::trim_ascii).collect()
        } else {
            // The only name of two words stands in the second column.
            words(header).filter(|name| *name != b"IP").collect()
        };
        let wanted: &[&[u8]] = match table {
            Table::Links => &[b"Local IP", b"Remote IP", b"LQ", b"NLQ", b"Cost"],
            Table::Neighbors => &[b"IP address", b"SYM", b"MPR", b"MPRS", b"Will."],
            Table::Routes => &[b"Destination", b"Gateway IP", b"Metric", b"ETX", b"Interface"],
            Table::Topology => &[b"Last hop IP", b"Dest. IP", b"LQ", b"NLQ", b"Cost"],
            Table::Hna => &[b"Destination", b"Gateway", b"VTime"],
            Table::Mid => &[b"IP address"],
            Table::Gateways if tabs => {
                &[b"Status", b"Gateway IP", b"ETX", b"Hopcnt", b"Uplink", b"Downlnk"]
            }
            Table::Gateways => &[b"Status", b"Gateway", b"ETX", b"Hopcnt", b"Uplink", b"Downlnk"],
            Table::Interfaces => &[b"Src-Adress"],
            Table::Other => &[],
        };
        let mut at = [None; 6];
        for (place, name) in at.iter_mut().zip(wanted) {
            *place = names.iter().position(|known| known == name);
        }
        let lifetimes = header.windows(6).any(|window| window == b":VTime");
        Columns { table, tabs, lifetimes, at }
    }

    fn row(&self, line: &[u8], builder: &mut Builder) {
        let mut cells: [&[u8]; CELLS_MAX] = [b""; CELLS_MAX];
        if self.tabs {
            fill(&mut cells, line.split(|&byte| byte == b'\t').map(<[u8]>::trim_ascii));
        } else {
            fill(&mut cells, words(line));
        }
        let cell = |place: usize| self.at[place].and_then(|at| cells.get(at)).copied();
        let understood = match self.table {
            Table::Links => link(cell, builder),
            Table::Neighbors => self.neighbor(cell, line, builder),
            Table::Routes => route(cell, builder),
            Table::Topology => edge(cell, builder),
            Table::Hna => network(cell, builder),
            Table::Mid => self.aliases(cell, line, builder),
            Table::Gateways => gateway(cell, builder),
            Table::Interfaces => {
                // An interface that is down has no address.
                if let Some(address) = cell(0).and_then(number::address) {
                    builder.own_address(address);
                }
                Some(())
            }
            Table::Other => Some(()),
        };
        if let (None, Some(part)) = (understood, self.table.part()) {
            builder.complain(part, "a row that could not be read was left out", line);
        }
    }

    /// One table counts the neighbours two hops away in its last column, the other lists them from there on.
    fn neighbor<'a>(
        &self,
        cell: impl Fn(usize) -> Option<&'a [u8]>,
        line: &[u8],
        builder: &mut Builder,
    ) -> Option<()> {
        let address = number::address(cell(0)?)?;
        let symmetric = yes(cell(1)?)?;
        let after = self.at[4].map_or(5, |willingness| willingness + 1);
        let mut further = line.split(|&byte| byte == b'\t').skip(after).peekable();
        let two_hop = match further.peek().map(|text| number::parse(text)) {
            Some(Some(Number::Integer(count))) => u32::try_from(count).ok(),
            Some(Some(Number::Float(_))) => None,
            Some(None) | None => {
                u32::try_from(further.filter(|text| number::address(text).is_some()).count()).ok()
            }
        };
        builder.neighbor(Neighbor {
            address,
            symmetric,
            mpr: cell(2).and_then(yes).unwrap_or(false),
            mpr_selector: cell(3).and_then(yes).unwrap_or(false),
            willingness: cell(4).and_then(count).and_then(|number| u8::try_from(number).ok()),
            links: None,
            two_hop,
        });
        Some(())
    }

    /// `main`, then the aliases: after an empty cell and separated by tabs, or before 0.9.5 joined with `;`.
    fn aliases<'a>(
        &self,
        cell: impl Fn(usize) -> Option<&'a [u8]>,
        line: &[u8],
        builder: &mut Builder,
    ) -> Option<()> {
        let node = number::address(cell(0)?)?;
        let mut all = Some(());
        let list = line.split(|&byte| byte == b'\t' || byte == b';').skip(1);
        for text in list.filter(|text| !text.is_empty()) {
            let text = if self.lifetimes { without_lifetime(text) } else { text };
            match number::address(text) {
                Some(address) => builder.alias(Alias { node, address }),
                None => all = None,
            }
        }
        all
    }
}

fn fill<'a>(cells: &mut [&'a [u8]; CELLS_MAX], from: impl Iterator<Item = &'a [u8]>) {
    for (cell, text) in cells.iter_mut().zip(from) {
        *cell = text;
    }
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == b' ').filter(|word| !word.is_empty())
}

fn without_lifetime(text: &[u8]) -> &[u8] {
    match text.iter().rposition(|&byte| byte == b':') {
        Some(colon) => &text[..colon],
        None => text,
    }
}

fn yes(text: &[u8]) -> Option<bool> {
    match text {
        b"YES" => Some(true),
        b"NO" => Some(false),
        _ => None,
    }
}

fn count(text: &[u8]) -> Option<u32> {
    match number::parse(text)? {
        Number::Integer(value) => u32::try_from(value).ok(),
        Number::Float(_) => None,
    }
}

fn decimal(text: &[u8]) -> Option<f64> {
    match number::parse(text)? {
        Number::Integer(value) => Some(value as f64),
        Number::Float(value) => Some(value),
    }
}

/// LQ or NLQ as a share; what lies outside is corrupted.
fn quality(text: &[u8]) -> Option<f32> {
    decimal(text).filter(|share| (0.0..=1.0).contains(share)).map(|share| share as f32)
}

fn measure(text: &[u8]) -> Measure {
    match text {
        b"INFINITE" => Measure::Broken,
        _ => decimal(text).map_or(Measure::Missing, Measure::Etx),
    }
}

fn link<'a>(cell: impl Fn(usize) -> Option<&'a [u8]>, builder: &mut Builder) -> Option<()> {
    let local = number::address(cell(0)?)?;
    let remote = number::address(cell(1)?)?;
    builder.own_address(local);
    let link = Link {
        local: Some(local),
        remote,
        neighbor: None,
        interface: None,
        status: LinkStatus::Unknown,
        cost: None,
        quality_in: cell(2).and_then(quality),
        quality_out: cell(3).and_then(quality),
        metric_in_raw: None,
        metric_out_raw: None,
        rate_in_bps: None,
        hello_age_ms: None,
        hello_interval_ms: None,
        hello_validity_ms: None,
    };
    builder.link(link, measure(cell(4)?));
    Some(())
}

fn route<'a>(cell: impl Fn(usize) -> Option<&'a [u8]>, builder: &mut Builder) -> Option<()> {
    let route = Route {
        destination: number::prefix(cell(0)?)?,
        cost: NetworkCost::NotMeaningful,
        hops: cell(2).and_then(count),
        next_hop: cell(1).and_then(number::address),
        interface: cell(4).map(|name| builder.interface(name)),
        node: None,
        last_hop: None,
        link_local: false,
    };
    builder.route(route, measure(cell(3)?));
    Some(())
}

fn edge<'a>(cell: impl Fn(usize) -> Option<&'a [u8]>, builder: &mut Builder) -> Option<()> {
    let from = number::address(cell(0)?)?;
    let to = number::address(cell(1)?)?;
    let worse = || [2, 3].into_iter().filter_map(|at| cell(at).and_then(decimal)).reduce(f64::min);
    let edge = Edge { from, to, cost: None, out_raw: None, in_raw: None };
    builder.edge(edge, etx::edge_measure(measure(cell(4)?), worse));
    Some(())
}

fn network<'a>(cell: impl Fn(usize) -> Option<&'a [u8]>, builder: &mut Builder) -> Option<()> {
    let prefix = number::prefix(cell(0)?)?;
    let node = number::address(cell(1)?)?;
    // Own networks have no lifetime.
    let own = cell(2).and_then(decimal) == Some(0.0);
    builder.network(AttachedNetwork { prefix, node, own });
    Some(())
}

fn gateway<'a>(cell: impl Fn(usize) -> Option<&'a [u8]>, builder: &mut Builder) -> Option<()> {
    let gateway = Gateway {
        node: number::address(cell(1)?)?,
        selected: cell(0)?.contains(&b's'),
        uplink_kbps: cell(4).and_then(count).map(u64::from),
        downlink_kbps: cell(5).and_then(count).map(u64::from),
        cost: NetworkCost::NotMeaningful,
        hops: cell(3).and_then(count),
    };
    builder.gateway(gateway, measure(cell(2)?));
    Some(())
}
