//! Tables that fit a terminal of 80 columns.

/// Width of the serial consoles that this must be readable on.
pub const WIDTH: usize = 80;

/// Space between two columns.
const GAP: usize = 2;

/// Least width that a column is cut to.
const COLUMN_MIN: usize = 8;

/// How a column is set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Text: left; cut in the middle when the table is too wide, the widest column first.
    Text,
    /// Numbers: right; never cut.
    Number,
}

/// A table with a header line.
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(columns: &[(&'static str, Align)]) -> Table {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row with one cell per column.
    pub fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.columns.len(), "a row has a cell for each column");
        self.rows.push(cells);
    }

    /// Lines without trailing spaces. A column in which nothing stands is left out.
    pub fn render(&self) -> String {
        let used: Vec<usize> = (0..self.columns.len())
            .filter(|column| self.rows.iter().any(|row| !row[*column].is_empty()))
            .collect();
        let mut widths: Vec<usize> =
            used.iter().map(|column| self.natural_width(*column)).collect();
        self.shrink(&used, &mut widths);
        let header: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
        let mut text = self.line(&used, &widths, |column| header[column].to_owned());
        for row in &self.rows {
            text += &self.line(&used, &widths, |column| row[column].clone());
        }
        text
    }

    fn natural_width(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0).max(self.columns[column].0.chars().count())
    }

    /// Cuts the widest text column until all fit.
    fn shrink(&self, used: &[usize], widths: &mut [usize]) {
        let gaps = GAP * used.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > WIDTH {
            let widest = (0..used.len())
                .filter(|at| self.columns[used[*at]].1 == Align::Text && widths[*at] > COLUMN_MIN)
                .max_by_key(|at| widths[*at]);
            let Some(widest) = widest else { return };
            widths[widest] -= 1;
        }
    }

    fn line(&self, used: &[usize], widths: &[usize], cell: impl Fn(usize) -> String) -> String {
        let mut line = String::new();
        for (column, width) in used.iter().zip(widths) {
            if !line.is_empty() {
                line += &" ".repeat(GAP);
            }
            let text = cut(&cell(*column), *width);
            line += &match self.columns[*column].1 {
                Align::Text => format!("{text:<width$}"),
                Align::Number => format!("{text:>width$}"),
            };
        }
        line.truncate(line.trim_end().len());
        line + "\n"
    }
}

/// `text` in at most `width` characters, its middle replaced: both ends of an address tell more
/// than its middle.
fn cut(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width {
        return text.to_owned();
    }
    let front = (width - 1).div_ceil(2);
    let back = width - 1 - front;
    let start: String = text.chars().take(front).collect();
    let end: String = text.chars().skip(count - back).collect();
    format!("{start}…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_and_empty_columns_go() {
        let mut table =
            Table::new(&[("name", Align::Text), ("none", Align::Text), ("cost", Align::Number)]);
        table.row(vec!["alpha".into(), String::new(), "100".into()]);
        table.row(vec!["b".into(), String::new(), "1000000".into()]);
        assert_eq!(table.render(), "name      cost\nalpha      100\nb      1000000\n");
    }

    #[test]
    fn nothing_is_wider_than_the_console() {
        let mut table = Table::new(&[("a", Align::Text), ("b", Align::Text), ("c", Align::Number)]);
        table.row(
            vec!["2001:db8:1111:2222:3333:4444:5555:6666".into(); 2]
                .into_iter()
                .chain(["7".into()])
                .collect(),
        );
        let text = table.render();
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.contains('…'));
    }

    #[test]
    fn the_middle_is_what_is_cut() {
        assert_eq!(cut("fe80::4c08:57ff:fe9e:4db", 11), "fe80:…e:4db");
    }
}
