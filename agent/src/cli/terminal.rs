//! What the terminal can show, and the only place that writes to standard output.

use std::io::{ErrorKind, IsTerminal as _, Write as _};

use super::exit::{Exit, Failure};

/// Columns of the narrowest terminal that is served, and of output that is not a terminal.
pub const COLUMNS: usize = 80;

/// How a piece of text is shown where colours are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// As it is.
    #[default]
    Plain,
    /// A heading.
    Heading,
    /// All is well.
    Good,
    /// Somebody may want to look.
    Warning,
    /// It does not work.
    Bad,
    /// Old or unimportant.
    Faint,
}

/// What the other end can show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terminal {
    colour: bool,
    unicode: bool,
}

impl Terminal {
    /// Finds out about standard output: colours only on a terminal that has them and unless
    /// `NO_COLOR` is set, other letters than ASCII only where the locale is UTF-8.
    #[must_use]
    pub fn detect() -> Terminal {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let dumb = set("TERM").is_none_or(|term| term == "dumb");
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
        let locale = locale.map(|value| value.to_string_lossy().to_ascii_lowercase());
        Terminal {
            colour: std::io::stdout().is_terminal() && set("NO_COLOR").is_none() && !dumb,
            unicode: locale.is_some_and(|name| name.contains("utf-8") || name.contains("utf8")),
        }
    }

    /// A terminal that shows ASCII without colours.
    #[must_use]
    pub const fn plain() -> Terminal {
        Terminal { colour: false, unicode: false }
    }

    /// A terminal that shows ASCII in colours.
    #[cfg(test)]
    pub(super) const fn coloured() -> Terminal {
        Terminal { colour: true, unicode: false }
    }

    /// `text` in `style`, if there are colours.
    #[must_use]
    pub fn style(&self, text: &str, style: Style) -> String {
        let code = match style {
            Style::Plain => return text.to_owned(),
            Style::Heading => "1",
            Style::Good => "32",
            Style::Warning => "33",
            Style::Bad => "31",
            Style::Faint => "2",
        };
        if !self.colour || text.is_empty() {
            return text.to_owned();
        }
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// Text from elsewhere, made harmless and fit for this terminal.
    #[must_use]
    pub fn printable(&self, text: &str) -> String {
        super::text::printable(text, self.unicode)
    }

    /// Writes `text` to standard output at once.
    ///
    /// # Errors
    ///
    /// Quiet when the reader has gone (it had enough), with a message when the output cannot be
    /// written.
    pub fn print(&self, text: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                Err(Failure { exit: Exit::Ok, text: None })
            }
            Err(error) => {
                Err(Failure::new(Exit::Failed, format!("cannot write to standard output: {error}")))
            }
        }
    }

    /// Writes `document` as indented JSON with a final newline.
    ///
    /// # Errors
    ///
    /// As [`Terminal::print`].
    pub fn print_json(&self, document: &impl serde::Serialize) -> Result<(), Failure> {
        let mut text = serde_json::to_string_pretty(document).map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot write the result as JSON: {error}"))
        })?;
        text.push('\n');
        self.print(&text)
    }
}
