//! Label selectors in the form of a query (Kubernetes, "Labels and Selectors"): `a=b,c!=d,e in (f,g),h notin (i),j,!k`.

use std::collections::BTreeMap;

/// What labels have to be like.
pub(super) struct Selector<'a>(Vec<Requirement<'a>>);

/// About one label.
struct Requirement<'a> {
    key: &'a str,
    /// It has one of these values, or any when `None`.
    values: Option<Vec<&'a str>>,
    /// Or rather not.
    negated: bool,
}

impl<'a> Selector<'a> {
    /// Reads one; the empty one selects everything. `None` when it is none.
    pub(super) fn parse(text: &'a str) -> Option<Selector<'a>> {
        let mut requirements = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let list = rest.find('(').filter(|open| !rest[..*open].contains(','));
            let end = list.map_or(Some(0), |open| rest[open..].find(')').map(|at| open + at))?;
            let end = rest[end..].find(',').map_or(rest.len(), |at| end + at);
            requirements.push(Requirement::parse(rest[..end].trim())?);
            rest = match rest.get(end + 1..).map(str::trim) {
                // Behind a comma something has to come.
                Some("") => return None,
                after => after.unwrap_or_default(),
            };
        }
        Some(Selector(requirements))
    }

    pub(super) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels.get(requirement.key).map(String::as_str);
            let is_met = match (value, &requirement.values) {
                (None, _) => false,
                (Some(_), None) => true,
                (Some(value), Some(values)) => values.contains(&value),
            };
            is_met != requirement.negated
        })
    }
}

impl<'a> Requirement<'a> {
    fn parse(text: &'a str) -> Option<Requirement<'a>> {
        let of =
            |key: &'a str, values: Option<Vec<&'a str>>, negated| {
                let key = key.trim();
                let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
                let values_are = values.iter().flatten().all(|value| value.bytes().all(is_plain));
                (!key.is_empty() && key.bytes().all(is_plain) && values_are)
                    .then_some(Requirement { key, values, negated })
            };
        if let Some((before, list)) = text.split_once('(') {
            let values = list.strip_suffix(')')?.split(',').map(str::trim).collect();
            let (key, word) = before.trim().rsplit_once(' ')?;
            return match word {
                "in" => of(key, Some(values), false),
                "notin" => of(key, Some(values), true),
                _ => None,
            };
        }
        if let Some(key) = text.strip_prefix('!') {
            return of(key, None, true);
        }
        match text.split_once('=') {
            None => of(text, None, false),
            Some((key, value)) => {
                let value = Some(vec![value.strip_prefix('=').unwrap_or(value).trim()]);
                match key.strip_suffix('!') {
                    Some(key) => of(key, value, true),
                    None => of(key, value, false),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(selector: &str) -> Option<bool> {
        let labels = BTreeMap::from([
            ("kind".to_owned(), "truck".to_owned()),
            ("example.org/crew".to_owned(), "2".to_owned()),
        ]);
        Selector::parse(selector).map(|selector| selector.matches(&labels))
    }

    #[test]
    fn every_form_of_requirement_is_understood() {
        for selector in [
            "",
            "kind",
            "kind=truck",
            "kind==truck",
            "kind = truck , example.org/crew",
            "kind!=scout",
            "absent!=x",
            "!absent",
            "kind in (scout,truck)",
            "kind in (truck),example.org/crew notin (1, 3)",
            "absent notin (x)",
            "example.org/crew=2,kind in (scout, truck),!absent",
        ] {
            assert_eq!(selects(selector), Some(true), "{selector}");
        }
        for selector in [
            "absent",
            "!kind",
            "kind=scout",
            "kind!=truck",
            "absent=x",
            "kind in (scout)",
            "absent in (x)",
            "kind notin (truck,scout)",
            "kind=truck,absent",
        ] {
            assert_eq!(selects(selector), Some(false), "{selector}");
        }
    }

    #[test]
    fn what_is_no_selector_is_not_taken_for_one() {
        for selector in [
            ",",
            "kind,",
            "=x",
            "!",
            "kind of (x)",
            "kind in (x",
            "kind in x)",
            "a b",
            "(x)",
            "a=b=c",
        ] {
            assert_eq!(selects(selector), None, "{selector}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = selects(&text);
        }

        #[test]
        fn nothing_like_a_selector_makes_it_panic(text in "[a(),=! innot]{0,24}") {
            let _ = selects(&text);
        }
    }
}
