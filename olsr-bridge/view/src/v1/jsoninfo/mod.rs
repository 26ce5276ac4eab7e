//! olsrd's jsoninfo plugin, releases 0.6.6 to 0.9.9.
//!
//! Reads any combination of its tables out of one answer body (or several that follow each other), wherever the
//! daemon's facts stand, and leaves rows, parts and complaints with a [`Builder`]. Releases differ in names, nesting
//! and number formats; each is recognised by what it sends, never by its version. A row that cannot be identified is
//! left out and counted; a table that does not end is not marked as read. Sends nothing and computes no cost.

mod alike;
mod rows;

use rows::{EdgeRow, GatewayRow, InterfaceRow, LinkRow, NeighborRow, NetworkRow, RouteRow, nodes};

use crate::build::Builder;
use crate::failure::FailureClass;
use crate::http;
use crate::json::{Reader, Scalar, Shape};
use crate::v1::{Findings, release};
use crate::view::Part;

/// Reads the whole `body` into `builder`.
pub fn parse(body: &[u8], builder: &mut Builder) -> Findings {
    let mut reader = Reader::new(body);
    let mut findings = Findings::default();
    while let (_, Some(_)) = reader.document() {
        // Whatever else begins here is skipped by this.
        if reader.open_object() {
            document(&mut reader, builder, &mut findings);
        }
    }
    findings.truncated = reader.truncated();
    findings
}

fn document<'a>(reader: &mut Reader<'a>, builder: &mut Builder, findings: &mut Findings) {
    while let Some(key) = reader.key() {
        let before = findings.understood;
        findings.understood = true;
        match key {
            b"pid" => {
                if let Some(pid) = reader.scalar().unsigned() {
                    builder.pid(pid);
                }
            }
            b"timeSinceStartup" => {
                if let Some(uptime) = reader.scalar().unsigned() {
                    builder.uptime_ms(u64::from(uptime));
                }
            }
            b"error" => findings.refusal = refusal(reader.scalar()),
            b"links" => table::<LinkRow<'a>>(reader, builder),
            b"neighbors" => table::<NeighborRow>(reader, builder),
            b"routes" => alike::table::<RouteRow<'a>>(reader, builder),
            b"topology" => alike::table::<EdgeRow<'a>>(reader, builder),
            b"hna" => table::<NetworkRow>(reader, builder),
            b"mid" => nodes(reader, builder),
            b"gateways" => gateways(reader, builder),
            b"interfaces" => table::<InterfaceRow>(reader, builder),
            b"version" => version(reader, builder),
            b"config" => config(reader, builder),
            _ => {
                findings.understood = before;
                reader.skip();
            }
        }
    }
}

fn refusal(error: Scalar<'_>) -> Option<FailureClass> {
    match error.text().and_then(http::status_code) {
        Some(code) => http::refusal(code),
        None => Some(FailureClass::NotUnderstood),
    }
}

/// A kind of row: how its keys map to fields, and how a complete row goes to the builder.
trait Row<'a>: Default {
    /// The part that is read when the table has ended, and that complaints are about.
    const PART: Part;

    /// What a key can mean.
    type Field: Copy;

    /// Which field a key names; others are skipped.
    fn field(key: &[u8]) -> Option<Self::Field>;

    /// Reads or skips the value of `field`.
    fn take(&mut self, field: Self::Field, reader: &mut Reader<'a>);

    /// Hands the complete row over.
    fn hand_over(self, builder: &mut Builder);
}

fn table<'a, R: Row<'a>>(reader: &mut Reader<'a>, builder: &mut Builder) {
    if rows::<R>(reader, builder) {
        builder.read(R::PART);
    }
}

/// Reads a list of rows and tells whether it was one that ended.
fn rows<'a, R: Row<'a>>(reader: &mut Reader<'a>, builder: &mut Builder) -> bool {
    let mut shape = Shape::new(R::field);
    objects(reader, builder, R::PART, |reader, builder| {
        let mut row = R::default();
        while let Some(field) = reader.field(&mut shape) {
            row.take(field, reader);
        }
        if !reader.truncated() {
            row.hand_over(builder);
        }
    })
}

/// Calls `row` inside each object of a list and tells whether it was a list that ended.
fn objects<'a>(
    reader: &mut Reader<'a>,
    builder: &mut Builder,
    part: Part,
    mut row: impl FnMut(&mut Reader<'a>, &mut Builder),
) -> bool {
    if !reader.open_array() {
        builder.complain(part, "a table that is no list was left out", b"");
        return false;
    }
    while reader.element() {
        if reader.open_object() {
            row(reader, builder);
        } else {
            builder.complain(part, "a row that is no object was left out", b"");
        }
    }
    if reader.truncated() {
        builder.complain(part, "the table broke off; what is absent from it may exist", b"");
    }
    !reader.truncated()
}

/// Smart gateways: a list before 0.9.5, since then an object with a list per address family.
fn gateways<'a>(reader: &mut Reader<'a>, builder: &mut Builder) {
    if reader.upcoming() != Some(b'{') {
        table::<GatewayRow>(reader, builder);
        return;
    }
    let mut complete = reader.open_object();
    while let Some(key) = reader.key() {
        match key {
            b"ipv4" | b"ipv6" => complete &= rows::<GatewayRow>(reader, builder),
            _ => reader.skip(),
        }
    }
    if complete && !reader.truncated() {
        builder.read(Part::Gateways);
    }
}

fn version(reader: &mut Reader<'_>, builder: &mut Builder) {
    if !reader.open_object() {
        builder.complain(Part::Daemon, "a version that is no object was left out", b"");
        return;
    }
    while let Some(key) = reader.key() {
        match key {
            b"version" => note_version(reader.scalar(), builder),
            _ => reader.skip(),
        }
    }
    if !reader.truncated() {
        builder.read(Part::Daemon);
    }
}

fn note_version(value: Scalar<'_>, builder: &mut Builder) {
    if let Some(text) = value.string() {
        builder.version(release(&text).to_owned());
    }
}

/// The configuration: `linkQuality.level` and `.algorithm`, before 0.9.5 `linkQualityLevel` and
/// `linkQualityAlgorithm`; the main address; before 0.9.5 also the version.
fn config(reader: &mut Reader<'_>, builder: &mut Builder) {
    if !reader.open_object() {
        builder.complain(Part::Daemon, "a configuration that is no object was left out", b"");
        return;
    }
    while let Some(key) = reader.key() {
        match key {
            b"mainIp" | b"mainIpAddress" => {
                let main = reader.scalar().address();
                if let Some(main) = main.filter(|address| !address.is_unspecified()) {
                    builder.own(main);
                }
            }
            b"olsrdVersion" => note_version(reader.scalar(), builder),
            b"linkQualityLevel" => note_level(reader.scalar(), builder),
            b"linkQualityAlgorithm" => note_algorithm(reader.scalar(), builder),
            b"linkQuality" => {
                if reader.open_object() {
                    while let Some(key) = reader.key() {
                        match key {
                            b"level" => note_level(reader.scalar(), builder),
                            b"algorithm" => note_algorithm(reader.scalar(), builder),
                            _ => reader.skip(),
                        }
                    }
                }
            }
            _ => reader.skip(),
        }
    }
    if !reader.truncated() {
        builder.read(Part::Daemon);
    }
}

fn note_level(value: Scalar<'_>, builder: &mut Builder) {
    if let Some(level) = value.integer() {
        builder.metric_level(level);
    }
}

/// The name is empty where the configuration leaves the algorithm to the daemon.
fn note_algorithm(value: Scalar<'_>, builder: &mut Builder) {
    if let Some(name) = value.string().filter(|name| !name.is_empty()) {
        builder.metric_name(name);
    }
}
