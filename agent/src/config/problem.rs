//! What is wrong with a configuration, where, and how to put it right.

use std::fmt;
use std::ops::Range;

/// A fault at a place in the text, before the place has been turned into line and column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Bytes of the text it concerns.
    pub span: Range<usize>,
    /// What is wrong and what to do.
    pub text: String,
}

/// One fault in a configuration file, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong and what to do about it, in one sentence.
    pub text: String,
    /// The line itself, cut to what fits a narrow terminal.
    pub excerpt: String,
    /// How many characters of the excerpt are concerned, from `column`.
    pub width: usize,
}

/// Characters of a line that are shown, so that a problem fits 80 columns with its margin.
const EXCERPT_CHARS_MAX: usize = 70;

impl Problem {
    /// Places `fault` in `text`.
    pub(crate) fn locate(text: &str, fault: Fault) -> Problem {
        let start = floor_boundary(text, fault.span.start);
        let end = floor_boundary(text, fault.span.end.max(start));
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_text = text[line_start..].lines().next().unwrap_or("");
        let marked_end = end.min(line_start + line_text.len()).max(start);
        Problem {
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            text: fault.text,
            excerpt: line_text
                .chars()
                .take(EXCERPT_CHARS_MAX)
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect(),
            width: text[start..marked_end].chars().count().max(1),
        }
    }
}

impl fmt::Display for Problem {
    /// The sentence with its place, then the line with the place marked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.text)?;
        if self.excerpt.trim().is_empty() {
            return Ok(());
        }
        write!(f, "\n    | {}", self.excerpt)?;
        if self.column > EXCERPT_CHARS_MAX {
            return Ok(());
        }
        let marks = self.width.min(EXCERPT_CHARS_MAX + 1 - self.column);
        write!(f, "\n    | {:indent$}{}", "", "^".repeat(marks), indent = self.column - 1)
    }
}

/// The nearest character boundary at or before `at`, inside the text.
fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locate(text: &str, span: Range<usize>) -> Problem {
        Problem::locate(text, Fault { span, text: "wrong".to_owned() })
    }

    #[test]
    fn a_fault_is_placed_and_marked() {
        let problem = locate("[mesh]\nintervall = \"1s\"\n", 7..16);
        assert_eq!((problem.line, problem.column), (2, 1));
        assert_eq!(
            problem.to_string(),
            "line 2, column 1: wrong\n    | intervall = \"1s\"\n    | ^^^^^^^^^"
        );
    }

    #[test]
    fn columns_count_characters_not_bytes() {
        assert_eq!(locate("é = 1", 5..6).column, 5);
    }

    #[test]
    fn long_lines_and_places_outside_the_text_stay_printable() {
        let long = format!("{} = 1", "x".repeat(500));
        for span in [0..500, 499..505, 10_000..20_000] {
            let printed = locate(&long, span).to_string();
            assert!(printed.lines().all(|line| line.chars().count() <= 80), "{printed}");
        }
        let empty = locate("", 0..0);
        assert_eq!((empty.line, empty.column), (1, 1));
    }
}
