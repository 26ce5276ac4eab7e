//! Breaks text into lines, for comments in the default file and for the terminal.

/// Breaks `text` between words into lines of at most `width` characters; a longer word gets a line
/// of its own. Leading spaces are kept and repeated on every line.
#[must_use]
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let indent_width = text.len() - text.trim_start_matches(' ').len();
    let indent = &text[..indent_width];
    let mut lines = Vec::new();
    let mut line = String::from(indent);
    for word in text.split_whitespace() {
        let empty = line.len() == indent_width;
        if !empty && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::replace(&mut line, format!("{indent}{word}")));
            continue;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_wraps_between_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("  one two", 6), ["  one", "  two"]);
        assert_eq!(wrap("unbreakable a", 4), ["unbreakable", "a"]);
        assert_eq!(wrap("", 10), [""]);
    }
}
