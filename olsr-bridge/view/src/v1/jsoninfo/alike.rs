//! Reads the long tables, whose rows repeat each other but for one address.
//!
//! olsrd lists the edges of one node after each other, and a mesh has few ways out of a node, so most routes share all but
//! their destination with a recent one. What stands before and behind that address is compared with what stood there in
//! earlier rows; where it is the same, so is what it says, and no value is read again. A row that is not alike is read
//! field by field, and nothing but time depends on how alike the rows are.

use std::net::IpAddr;

use crate::build::Builder;
use crate::json::{Reader, Shape};
use crate::v1::jsoninfo::{Row, objects};

/// Endings that are remembered. A node has about as many ways out, and what differs in its cost is found among them;
/// more are compared in vain more often than they help.
const ENDINGS: usize = 8;

/// A row that one of its addresses tells from others. [`Row::take`] must depend on the value alone.
pub(super) trait AlikeRow<'a>: Row<'a, Field: PartialEq> + Copy {
    /// The field that tells rows apart.
    const NAME: Self::Field;

    /// The value of that field.
    fn name(&mut self) -> &mut Option<IpAddr>;
}

/// Reads a list of rows that are alike.
pub(super) fn table<'a, R: AlikeRow<'a>>(reader: &mut Reader<'a>, builder: &mut Builder) {
    let mut shape = Shape::new(R::field);
    let mut recent = Recent::<R>::new();
    let complete = objects(reader, builder, R::PART, |reader, builder| {
        if let Some(row) = recent.row(reader, &mut shape) {
            row.hand_over(builder);
        }
    });
    if complete {
        builder.read(R::PART);
    }
}

/// What recent rows looked like, and what they said.
struct Recent<'a, R> {
    /// The bytes from the opening brace up to the name; empty when there is nothing to compare with.
    beginning: &'a [u8],
    /// What the beginning says, and how many fields it holds.
    begun: (R, usize),
    /// What stood behind the name up to the closing brace in rows with this beginning, and those rows.
    endings: [(&'a [u8], R); ENDINGS],
    /// How many endings have been remembered; the first ones are replaced again.
    learned: usize,
    /// The ending that was met last, and is therefore expected first.
    last: usize,
}

impl<'a, R: AlikeRow<'a>> Recent<'a, R> {
    fn new() -> Recent<'a, R> {
        let nothing = R::default();
        let endings = [(&[][..], nothing); ENDINGS];
        Recent { beginning: &[], begun: (nothing, 0), endings, learned: 0, last: 0 }
    }

    /// Reads the row whose opening brace has been passed; `None` if the answer ends in it.
    fn row(&mut self, reader: &mut Reader<'a>, shape: &mut Shape<'a, R::Field>) -> Option<R> {
        let start = reader.position();
        if !reader.pass_inlined(self.beginning) {
            return self.rest(R::default(), start, None, reader, shape);
        }
        let (mut row, found) = self.begun;
        row.take(R::NAME, reader);
        if let Some(alike) = self.alike(reader) {
            let name = *row.name();
            row = *alike;
            *row.name() = name;
            return Some(row);
        }
        shape.resume(found);
        self.rest(row, start, Some(reader.position()), reader, shape)
    }

    /// Passes over one of the known endings and tells which row had it.
    fn alike(&mut self, reader: &mut Reader<'a>) -> Option<&R> {
        let known = &self.endings[..self.learned.min(ENDINGS)];
        let last = known.get(self.last)?;
        if reader.pass_to_end(last.0) {
            return Some(&last.1);
        }
        self.last = known.iter().position(|(ending, _)| reader.pass_to_end(ending))?;
        Some(&known[self.last].1)
    }

    /// Reads the rest of a `row` that began at `start` and whose name, where it is known, ended at `named`.
    fn rest(
        &mut self,
        mut row: R,
        start: usize,
        mut named: Option<usize>,
        reader: &mut Reader<'a>,
        shape: &mut Shape<'a, R::Field>,
    ) -> Option<R> {
        let mut named_twice = false;
        while let Some(field) = reader.field(shape) {
            if field != R::NAME {
                row.take(field, reader);
                continue;
            }
            named_twice |= named.is_some();
            self.begin(reader.since(start), row, shape.found());
            row.take(field, reader);
            named = Some(reader.position());
        }
        if reader.truncated() {
            return None;
        }
        match named {
            Some(named) if !named_twice && reader.ended_object(named) => {
                self.last = self.learned % ENDINGS;
                self.endings[self.last] = (reader.since(named), row);
                self.learned += 1;
            }
            // Nothing may be concluded from such a row.
            Some(_) | None => self.begin(&[], R::default(), 0),
        }
        Some(row)
    }

    /// Remembers another beginning; the endings say nothing about rows that begin like this.
    fn begin(&mut self, beginning: &'a [u8], row: R, found: usize) {
        (self.beginning, self.begun) = (beginning, (row, found));
        self.learned = 0;
    }
}

#[cfg(test)]
mod tests {
    use crate::build::Builder;
    use crate::cost::CostOptions;
    use crate::v1::jsoninfo;
    use crate::view::{DaemonKind, MeshView, Protocol};

    fn view(table: &str, rows: &[&str]) -> MeshView {
        let answer = format!("{{\"{table}\": [{}]}}", rows.join(","));
        let mut builder = Builder::new(DaemonKind::Olsrd, Protocol::Jsoninfo);
        jsoninfo::parse(answer.as_bytes(), &mut builder);
        builder.finish(&CostOptions::default())
    }

    /// What each row says when it is the only one.
    fn one_by_one<T: Clone>(table: &str, rows: &[&str], list: fn(&MeshView) -> &Vec<T>) -> Vec<T> {
        rows.iter().flat_map(|row| list(&view(table, &[row])).clone()).collect()
    }

    const EDGES: [&str; 9] = [
        r#"{"lastHopIP": "10.0.0.1","pathCost": 0.000000,"hops": 0,"destinationIP": "10.0.0.2","tcEdgeCost": 1.000000,"linkQuality": 1.0}"#,
        r#"{"lastHopIP": "10.0.0.1","pathCost": 0.000000,"hops": 0,"destinationIP": "10.0.0.3","tcEdgeCost": 1.000000,"linkQuality": 1.0}"#,
        r#"{"lastHopIP": "10.0.0.1","pathCost": 0.000000,"hops": 0,"destinationIP": "10.0.0.4","tcEdgeCost": 2.500000,"linkQuality": 1.0}"#,
        r#"{"lastHopIP": "10.0.0.2","pathCost": 1.000000,"hops": 1,"destinationIP": "10.0.0.4","tcEdgeCost": 2.500000,"linkQuality": 1.0}"#,
        r#"{"lastHopIP": "10.0.0.2","pathCost": 1.000000,"hops": 1,"destinationIP": "10.0.0.5","tcEdgeCost": 2.500000,"linkQuality": 1.0}"#,
        r#"{"destinationIP": "10.0.0.3","lastHopIP": "10.0.0.4","tcEdgeCost": 3.000000}"#,
        r#"{"destinationIP": "10.0.0.2","lastHopIP": "10.0.0.5","tcEdgeCost": 3.000000}"#,
        r#"{"destinationIP": "10.0.0.9","lastHopIP": "10.0.0.5","tcEdgeCost": 3.000000}"#,
        r#"{"destinationIP": "10.0.0.10","lastHopIP": "10.0.0.5"}"#,
    ];

    #[test]
    fn alike_rows_say_what_each_says_alone() {
        let alone = one_by_one("topology", &EDGES, |view| &view.edges);
        assert_eq!(alone.len(), EDGES.len());
        assert_eq!(view("topology", &EDGES).edges, alone);
    }

    #[test]
    fn routes_take_turns_among_recent_ways_out() {
        let rows: Vec<String> = (0..60)
            .map(|node| {
                let (way, cost) = (node % 3, node % 11);
                format!(
                    "{{\"destination\": \"10.0.0.{node}\",\"genmask\": 32,\"gateway\": \"10.0.1.{way}\",\"metric\": 2,\"etx\": 2.{cost},\"networkInterface\": \"m{way}\"}}"
                )
            })
            .collect();
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        let alone = one_by_one("routes", &rows, |view| &view.routes);
        let together = view("routes", &rows).routes;
        let said = |routes: &[crate::view::Route]| {
            let said = |route: &crate::view::Route| {
                (route.destination, route.cost, route.next_hop, route.interface.clone())
            };
            routes.iter().map(said).collect::<Vec<_>>()
        };
        assert_eq!(said(&together), said(&alone));
    }

    #[test]
    fn a_row_that_names_itself_twice_is_no_example() {
        let rows = [
            r#"{"destinationIP": "10.0.0.1","lastHopIP": "10.0.0.9","destinationIP": "10.0.0.2"}"#,
            r#"{"destinationIP": "10.0.0.3","lastHopIP": "10.0.0.9","destinationIP": "10.0.0.4"}"#,
        ];
        let alone = one_by_one("topology", &rows, |view| &view.edges);
        assert_eq!(view("topology", &rows).edges, alone);
    }

    #[test]
    fn a_bad_name_costs_its_row_and_no_other() {
        let bad = EDGES[1].replace("10.0.0.3", "10.0.0.\"3");
        let rows = [EDGES[0], &bad, EDGES[2]];
        let found = view("topology", &rows);
        assert_eq!(found.edges, one_by_one("topology", &[EDGES[0], EDGES[2]], |view| &view.edges));
        assert_eq!(found.complaints.iter().map(|complaint| complaint.count).sum::<u32>(), 1);
    }
}
