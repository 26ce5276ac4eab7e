//! Reads what the API answers and keeps of it only what is used. One small reader for every kind of object
//! takes less room in the program than a derived one for each, and less memory than a reader that keeps everything.

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Keys that are kept, at whatever depth.
const KEYS: &[&str] = &[
    "addresses",
    "address",
    "caBundle",
    "causes",
    "conditions",
    "continue",
    "controller",
    "deletionTimestamp",
    "details",
    "field",
    "gitVersion",
    "items",
    "kind",
    "lastHeartbeatTime",
    "message",
    "metadata",
    "name",
    "namespace",
    "ownerReferences",
    "reason",
    "renewTime",
    "resourceVersion",
    "retryAfterSeconds",
    "service",
    "spec",
    "status",
    "type",
    "uid",
    "unschedulable",
    "volumes",
];

/// Keys that are kept with everything below them.
const WHOLE: &[&str] = &["annotations", "data", "emptyDir", "labels", "taints"];

/// Reads an object.
///
/// # Errors
/// It is no JSON.
pub(super) fn read(body: &[u8]) -> Result<Value, String> {
    let unreadable = |error| format!("the server's answer is not what Kubernetes answers: {error}");
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = Keep { whole: false }.deserialize(&mut reader).map_err(unreadable)?;
    reader.end().map_err(unreadable)?;
    Ok(value)
}

/// The text at a place (RFC 6901); empty when there is none.
pub(super) fn text<'a>(value: &'a Value, place: &str) -> &'a str {
    value.pointer(place).and_then(Value::as_str).unwrap_or_default()
}

/// The list at a place; empty when there is none. Some servers write null for nothing.
pub(super) fn list<'a>(value: &'a Value, place: &str) -> &'a [Value] {
    value.pointer(place).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A page of a list: the objects, and where the next page begins if there is one.
pub type Page<T> = (Vec<T>, Option<String>);

/// Reads a page of a list.
///
/// # Errors
/// It is none.
pub(super) fn page(body: &[u8]) -> Result<Page<Value>, String> {
    let mut page = read(body)?;
    let next = Some(text(&page, "/metadata/continue").to_owned()).filter(|next| !next.is_empty());
    match page.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => Ok((items, next)),
        Some(Value::Null) => Ok((Vec::new(), next)),
        _ => Err("the server's answer is not what Kubernetes answers: it is no list".to_owned()),
    }
}

/// Keeps the known keys, or everything when `whole`.
#[derive(Clone, Copy)]
struct Keep {
    whole: bool,
}

impl<'de> DeserializeSeed<'de> for Keep {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Keep {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut kept = Map::new();
        while let Some(key) = object.next_key::<String>()? {
            let whole = self.whole || WHOLE.contains(&key.as_str());
            if whole || KEYS.contains(&key.as_str()) {
                let value = object.next_value_seed(Keep { whole })?;
                kept.insert(key, value);
            } else {
                object.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Value::Object(kept))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_used_is_kept() {
        let body = br#"{"kind":"Node","metadata":{"name":"a","managedFields":[{"x":[1,{"name":"b"}]}],
            "labels":{"any":"c"}},"spec":{"taints":[{"key":"k","new":{"deep":1.5}}],"podCIDR":"d"},
            "status":{"images":[{"names":["e"]}],"conditions":[{"status":"True","message":"\u00e4"}]}}"#;
        let expected = json!({
            "kind": "Node",
            "metadata": { "name": "a", "labels": { "any": "c" } },
            "spec": { "taints": [{ "key": "k", "new": { "deep": 1.5 } }] },
            "status": { "conditions": [{ "status": "True", "message": "\u{e4}" }] },
        });
        assert_eq!(read(body).unwrap(), expected);
    }

    #[test]
    fn what_is_no_object_of_the_api_is_refused() {
        for body in [&b""[..], b"<html>", b"{", b"{} {}", b"{\"kind\":}"] {
            assert!(read(body).unwrap_err().contains("not what Kubernetes answers"), "{body:?}");
        }
        let deep = "[".repeat(100_000);
        assert!(read(deep.as_bytes()).is_err());
        assert!(page(b"{}").unwrap_err().contains("no list"));
        assert!(page(br#"{"items":{}}"#).is_err());
        assert_eq!(page(br#"{"items":null}"#), Ok((Vec::new(), None)));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = (read(&bytes), page(&bytes));
        }
    }
}
