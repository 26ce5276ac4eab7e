//! Reads what olsrd2 (OONF) prints: any number of answers one after the other, without a separator,
//! in any order.
//!
//! Understands the `json` and `jsonraw` forms of `nhdpinfo` (link, neighbor, interface),
//! `olsrv2info` (originator, route, edge, attached_network, lan), `systeminfo` (version, time),
//! `layer2info` (neighbor) and `netjsoninfo graph`. Error lines in place of an answer and tables it
//! does not know do not touch the rest. It does not believe timers of anything that is not
//! symmetric: olsrd2 prints leftovers there.
//!
//! **Identity.** A node is its originator, one per address family. Where it has no routable address
//! of a family, its originator is link-local (fe80::/10, 169.254.0.0/16); such a node is in the
//! view, marked as link-local.
//!
//! **Domains.** olsrd2 can route several domains, each with a metric of its own. A view is of one:
//! the first that a table names; rows of others are counted as left out.

mod graph;
mod rows;
mod tables;
#[cfg(test)]
mod tests;

use crate::build::Builder;
use crate::json::Reader;
use crate::view::Part;
use rows::Rows;

/// Reads everything in `input` into `builder`. A part counts as read when its table came with its
/// end.
pub fn parse(input: &[u8], builder: &mut Builder) {
    let mut reader = Reader::new(input);
    let mut rows = Rows::default();
    loop {
        let (between, start) = reader.document();
        error_lines(between, builder);
        match start {
            None => break,
            Some(b'{') => {
                if reader.open_object() {
                    answer(&mut reader, &mut rows, builder);
                }
            }
            Some(_) => {
                builder.complain(Part::Daemon, "an answer that is no object was skipped", b"");
                reader.skip();
            }
        }
    }
    if reader.truncated() {
        builder.complain(Part::Daemon, "the answer broke off; complete tables in it count", b"");
    }
    if reader.damaged() {
        builder.complain(Part::Daemon, "something that is no JSON was skipped", b"");
    }
    rows.hand_over(builder);
}

/// One answer: an object with one table, or a NetworkCollection.
fn answer<'a>(reader: &mut Reader<'a>, rows: &mut Rows<'a>, builder: &mut Builder) {
    while let Some(key) = reader.key() {
        match key {
            b"link" => tables::links(reader, rows, builder),
            b"neighbor" => tables::neighbors(reader, rows, builder),
            b"interface" => tables::interfaces(reader, builder),
            b"originator" => tables::originators(reader, rows, builder),
            b"route" => tables::routes(reader, rows, builder),
            b"edge" => tables::edges(reader, rows, builder),
            b"attached_network" => tables::networks(reader, rows, builder),
            b"lan" => tables::lans(reader, rows, builder),
            b"version" => tables::version(reader, builder),
            b"time" => tables::time(reader, builder),
            b"collection" => graph::collection(reader, rows, builder),
            _ => reader.skip(),
        }
    }
}

/// Lines that stand where an answer should be, or prompts of an interactive session.
fn error_lines(text: &[u8], builder: &mut Builder) {
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        if line.is_empty() || line == b">" {
            continue;
        }
        let fault = if line.starts_with(b"Error, unknown command") {
            "the daemon was built without a command; what that tells is missing"
        } else if line.starts_with(b"Unknown parameter") || line.starts_with(b"Error,") {
            "the daemon did not accept a command; what that tells is missing"
        } else {
            "text that is no answer was skipped"
        };
        builder.complain(Part::Daemon, fault, line);
    }
}
