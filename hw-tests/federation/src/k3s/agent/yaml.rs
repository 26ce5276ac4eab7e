//! Reads what k3s takes from a YAML file: one mapping of keys to texts or lists of texts.

use saphyr_parser::{Event, Parser, ScalarStyle};

/// A key with its values; a text is a list of one, nothing is an empty list.
pub type Entry = (String, Vec<String>);

/// The entries of the first document, in their order. Numbers and truth values stay as they are written.
pub fn entries(text: &str) -> Result<Vec<Entry>, String> {
    let mut events = Vec::new();
    for event in Parser::new_from_str(text) {
        events.push(event.map_err(|e| format!("this is no YAML: {e}"))?.0);
    }
    let begin = |event: &Event<'_>| matches!(event, Event::DocumentStart(_));
    let mut rest = events.into_iter().skip_while(|event| !begin(event)).skip(1);
    match rest.next() {
        None | Some(Event::DocumentEnd) => return Ok(Vec::new()),
        Some(Event::Scalar(text, style, ..)) if is_null(&text, style) => return Ok(Vec::new()),
        Some(Event::MappingStart(..)) => {}
        Some(_) => return Err("this is no mapping of keys to values".to_owned()),
    }
    let mut entries = Vec::new();
    loop {
        let key = match rest.next() {
            Some(Event::MappingEnd) => return Ok(entries),
            Some(Event::Scalar(text, ..)) => text.into_owned(),
            _ => return Err("a key is no text".to_owned()),
        };
        let values = match rest.next() {
            Some(Event::Scalar(text, style, ..)) if is_null(&text, style) => Vec::new(),
            Some(Event::Scalar(text, ..)) => vec![text.into_owned()],
            Some(Event::SequenceStart(..)) => list(&key, &mut rest)?,
            _ => return Err(format!("{key} is neither a text nor a list")),
        };
        entries.push((key, values));
    }
}

/// The rest of a list.
fn list<'a>(
    key: &str,
    events: &mut impl Iterator<Item = Event<'a>>,
) -> Result<Vec<String>, String> {
    let mut values = Vec::new();
    loop {
        match events.next() {
            Some(Event::SequenceEnd) => return Ok(values),
            Some(Event::Scalar(text, ..)) => values.push(text.into_owned()),
            _ => return Err(format!("{key} has something else than texts in its list")),
        }
    }
}

/// Whether an unquoted text stands for nothing.
fn is_null(text: &str, style: ScalarStyle) -> bool {
    style == ScalarStyle::Plain && ["", "~", "null", "Null", "NULL"].contains(&text)
}

#[cfg(test)]
mod tests {
    use super::entries;

    #[test]
    fn texts_lists_and_nothing_are_read() {
        let text = "---\n# a comment\na: 'x: y'\nb:\n- 1.30\n- \"two\"\nc: [p, q]\nd:\ne: \"\"\n";
        let owned = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
        let wanted = [
            ("a".to_owned(), owned(&["x: y"])),
            ("b".to_owned(), owned(&["1.30", "two"])),
            ("c".to_owned(), owned(&["p", "q"])),
            ("d".to_owned(), owned(&[])),
            ("e".to_owned(), owned(&[""])),
        ];
        assert_eq!(entries(text).unwrap(), wanted);
        for empty in ["", "# nothing\n", "---\n", "~"] {
            assert_eq!(entries(empty).unwrap(), [], "{empty:?}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in ["- a", "text", "a: {b: c}", "a: [[b]]", "a: 'b", "a: b: c", "? [a]\n: b"] {
            assert!(entries(bad).is_err(), "{bad:?}");
        }
    }
}
