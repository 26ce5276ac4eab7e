//! The order in which the fields of a kind of row stand, learned from the rows themselves.

use crate::json::Reader;

/// Known fields per row whose order is remembered by a [`Shape`]; the longest row (a link) has 11 and its end.
const SHAPE_STEPS_MAX: usize = 16;

/// Maps the keys of a kind of row to fields and remembers how the rows of a table run.
///
/// The daemons print every row of a table from the same template, and rows that follow each other often differ in a few
/// values only. What stood between two known values of the last row, skipped fields included, is therefore expected to
/// stand there again, byte for byte, and is passed over in one comparison; where it differs the row is read key by key.
pub struct Shape<'a, F> {
    known: fn(&[u8]) -> Option<F>,
    /// The bytes from one known value to the next, and what that one is; `None` for the end of the row.
    steps: [(&'a [u8], Option<F>); SHAPE_STEPS_MAX],
    at: usize,
}

impl<'a, F: Copy> Shape<'a, F> {
    /// A shape whose keys are told by `known`; keys it does not know are skipped with their values.
    pub fn new(known: fn(&[u8]) -> Option<F>) -> Shape<'a, F> {
        Shape { known, steps: [(&[], None); SHAPE_STEPS_MAX], at: 0 }
    }

    /// How many known fields of the row have been found.
    pub(crate) fn found(&self) -> usize {
        self.at
    }

    /// Goes on as if `found` known fields of the row had been found. A wrong number costs time and nothing else.
    pub(crate) fn resume(&mut self, found: usize) {
        self.at = found;
    }
}

impl<'a> Reader<'a> {
    /// Inside an object: the next field that `shape` knows, or `None` after the last key. Unknown keys are skipped.
    /// The field's value must be read or skipped next.
    pub fn field<F: Copy>(&mut self, shape: &mut Shape<'a, F>) -> Option<F> {
        if let Some(&(bytes, field)) = shape.steps.get(shape.at)
            && self.pass(bytes)
        {
            if field.is_some() {
                shape.at += 1;
            } else {
                shape.at = 0;
                self.depth = self.depth.saturating_sub(1);
            }
            return field;
        }
        let start = self.at;
        let field = loop {
            let Some(key) = self.key() else { break None };
            if let Some(field) = (shape.known)(key) {
                self.white_space();
                break Some(field);
            }
            self.skip();
        };
        if (field.is_some() || self.ended_object(start))
            && let Some(step) = shape.steps.get_mut(shape.at)
        {
            *step = (self.since(start), field);
        }
        shape.at = if field.is_some() { shape.at + 1 } else { 0 };
        field
    }

    /// Whether what was read since `start` ended with the closing brace of its own object. In a damaged answer the last
    /// brace can be that of another.
    pub(crate) fn ended_object(&self, start: usize) -> bool {
        !self.damaged && self.since(start).last() == Some(&b'}')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Field {
        A,
        C,
    }
    use Field::{A, C};

    /// All known fields of the rows of a list, with their values.
    fn fields(document: &[u8]) -> Vec<(Field, Option<i64>)> {
        let mut reader = Reader::new(document);
        let mut shape = Shape::new(|key| match key {
            b"a" => Some(A),
            b"c" => Some(C),
            _ => None,
        });
        let mut seen = Vec::new();
        assert!(reader.open_array());
        while reader.element() {
            assert!(reader.open_object());
            while let Some(field) = reader.field(&mut shape) {
                seen.push((field, reader.scalar().integer()));
            }
        }
        seen
    }

    #[test]
    fn rows_with_the_same_template_and_others_are_read_alike() {
        let document = br#"[{"a": 1,"b": "x","c": 2},{"a": 3,"b": "y","c": 4},{"c": 5, "a": 6},{"a": 7,"b": {"c": 0},"c": 8}]"#;
        let expected = [(A, 1), (C, 2), (A, 3), (C, 4), (C, 5), (A, 6), (A, 7), (C, 8)];
        assert_eq!(fields(document), expected.map(|(field, value)| (field, Some(value))));
    }

    #[test]
    fn a_row_without_closing_brace_does_not_end_the_next_one_early() {
        let mut reader = Reader::new(br#"[[{"a": 1,"b": {}],{"a": 2,"b": {},"c": 3}]"#);
        let mut shape = Shape::new(|key| (key == b"a" || key == b"c").then_some(()));
        let mut values = Vec::new();
        let mut row = |reader: &mut Reader<'static>| {
            assert!(reader.open_object());
            while reader.field(&mut shape).is_some() {
                values.push(reader.scalar().integer());
            }
        };
        assert!(reader.open_array() && reader.element() && reader.open_array());
        assert!(reader.element());
        row(&mut reader);
        assert!(!reader.element(), "the inner list has one row");
        assert!(reader.element());
        row(&mut reader);
        assert_eq!(values, [Some(1), Some(2), Some(3)]);
    }
}
