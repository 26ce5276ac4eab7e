//! Plain text for terminals: wrapping and tables. Knows neither colours nor commands.

pub use crate::config::wrap::wrap;

/// Wraps `text` into lines that begin with `indent` spaces, the first with `head` padded to that
/// width.
#[must_use]
pub fn hang(head: &str, indent: usize, text: &str, width: usize) -> String {
    let mut out = String::new();
    let fits = head.chars().count() + 2 <= indent;
    if fits {
        out.push_str(&format!("{head:indent$}"));
    } else {
        out.push_str(head);
        out.push('\n');
        out.push_str(&" ".repeat(indent));
    }
    let lines = wrap(text, width.saturating_sub(indent).max(20));
    out.push_str(&lines.join(&format!("\n{}", " ".repeat(indent))));
    out.push('\n');
    out
}

/// Cuts `text` to `width` characters, the last of which then is `~`.
#[must_use]
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept.push('~');
    kept
}

/// `text` with everything that could move a terminal's cursor or turn its writing direction, and
/// unless `unicode` everything beyond ASCII, shown as `?`.
#[must_use]
pub fn printable(text: &str, unicode: bool) -> String {
    let shown = |c: char| !c.is_control() && !invisible(c) && (unicode || c.is_ascii());
    text.chars().map(|c| if shown(c) { c } else { '?' }).collect()
}

/// Characters that show nothing themselves but change how others are shown (Unicode Bidi_Control
/// and zero width).
fn invisible(c: char) -> bool {
    matches!(
        c,
        '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
    )
}

/// How a column is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A cell and the name of the style it is shown in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// What it says.
    pub text: String,
    /// How it is shown.
    pub style: super::terminal::Style,
}

impl Cell {
    /// A cell in the default style.
    #[must_use]
    pub fn plain(text: impl Into<String>) -> Cell {
        Cell { text: text.into(), style: super::terminal::Style::Plain }
    }

    /// A cell in another style.
    #[must_use]
    pub fn styled(text: impl Into<String>, style: super::terminal::Style) -> Cell {
        Cell { text: text.into(), style }
    }
}

/// Lays out rows below their headings, two spaces between columns. Columns whose cells are all
/// empty are left out, and the widest columns are cut when the rows would be wider than `width`.
#[must_use]
pub fn table(
    columns: &[(&str, Align)],
    rows: &[Vec<Cell>],
    width: usize,
    terminal: &super::terminal::Terminal,
) -> String {
    let used: Vec<usize> = (0..columns.len())
        .filter(|index| rows.iter().any(|row| !row[*index].text.is_empty()))
        .collect();
    let mut widths: Vec<usize> = used
        .iter()
        .map(|index| {
            let cells = rows.iter().map(|row| row[*index].text.chars().count());
            cells.chain([columns[*index].0.chars().count()]).max().unwrap_or(0)
        })
        .collect();
    shrink(&mut widths, width);
    let mut out = String::new();
    let heading: Vec<Cell> = columns
        .iter()
        .map(|(name, _)| Cell::styled(*name, super::terminal::Style::Heading))
        .collect();
    for row in std::iter::once(&heading).chain(rows) {
        let mut line = String::new();
        for (place, (index, width)) in used.iter().zip(&widths).enumerate() {
            let cell = &row[*index];
            let text = cut(&cell.text, *width);
            let padding = " ".repeat(width - text.chars().count());
            let shown = terminal.style(&text, cell.style);
            let last = place + 1 == used.len();
            match columns[*index].1 {
                Align::Left if last => line.push_str(&shown),
                Align::Left => line.push_str(&format!("{shown}{padding}  ")),
                Align::Right if last => line.push_str(&format!("{padding}{shown}")),
                Align::Right => line.push_str(&format!("{padding}{shown}  ")),
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// A column cut shorter than this says nothing.
const COLUMN_CHARS_MIN: usize = 8;

/// Takes from the widest columns until all fit side by side.
fn shrink(widths: &mut [usize], width: usize) {
    let gaps = 2 * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > width {
        let Some(widest) = widths.iter_mut().max().filter(|widest| **widest > COLUMN_CHARS_MIN)
        else {
            return;
        };
        *widest -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::terminal::Terminal;

    #[test]
    fn a_head_too_long_for_its_column_gets_its_own_line() {
        assert_eq!(hang("  --a", 8, "text", 80), "  --a   text\n");
        assert_eq!(hang("  --long-one", 8, "text", 80), "  --long-one\n        text\n");
    }

    #[test]
    fn nothing_from_the_radio_moves_the_cursor() {
        assert_eq!(printable("a\u{1b}[2Jb\r\n", true), "a?[2Jb??");
        assert_eq!(printable("caf\u{e9}", false), "caf?");
        assert_eq!(printable("caf\u{e9}", true), "caf\u{e9}");
        assert_eq!(printable("a\u{202e}b\u{200b}", true), "a?b?");
    }

    #[test]
    fn tables_align_and_drop_empty_columns() {
        let columns = [("name", Align::Left), ("gone", Align::Left), ("cost", Align::Right)];
        let row = |a: &str, c: &str| vec![Cell::plain(a), Cell::plain(""), Cell::plain(c)];
        let text = table(&columns, &[row("alpha", "100"), row("b", "2")], 80, &Terminal::plain());
        assert_eq!(text, "name   cost\nalpha   100\nb         2\n");
    }

    #[test]
    fn a_table_too_wide_cuts_its_names() {
        let columns = [("name", Align::Left), ("x", Align::Left)];
        let rows = [vec![Cell::plain("n".repeat(100)), Cell::plain("y")]];
        let text = table(&columns, &rows, 40, &Terminal::plain());
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
        assert!(text.contains('~'));
    }
}
