//! The jsoninfo plugin of olsrd (OLSRv1), and what is common to both of its info plugins.

pub mod jsoninfo;

use crate::failure::FailureClass;

/// What an answer turned out to be, beside the rows that went to the builder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The daemon refused: it sent an error instead of tables.
    pub refusal: Option<FailureClass>,
    /// The answer is of this format at all: a table or something about the daemon was found.
    pub understood: bool,
    /// The answer ended in the middle. Tables that had ended before are whole.
    pub truncated: bool,
}

/// Short form of a version text: `olsr.org - 0.9.0.3-git_0000000-hash_... (built on ...)` is release `0.9.0.3`.
#[must_use]
pub fn release(text: &str) -> &str {
    let text = text.trim();
    let text = text.strip_prefix("olsr.org").unwrap_or(text).trim_start();
    let text = text.strip_prefix('-').unwrap_or(text).trim_start();
    let end = text.find("-git_").or_else(|| text.find(' ')).unwrap_or(text.len());
    &text[..end]
}
