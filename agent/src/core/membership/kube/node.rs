//! A Node as the API shows it, with the few fields that are used, and the patches that change one.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::json::{list, page, read, text};
use super::{LEAVING, Page, VEHICLE, wall_ms};
use crate::core::membership::NodeSeen;

/// A Node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Name.
    pub name: String,
    /// Identity: another Node of the same name has another one.
    pub uid: String,
    /// Version of the object, for changes that must not undo somebody else's.
    pub resource_version: String,
    /// Condition Ready; `None` when the server says that it does not know, or nobody has said yet.
    pub ready: Option<bool>,
    /// When its kubelet last wrote that condition, by the clock of its machine, in milliseconds since 1970.
    pub heartbeat_ms: Option<i64>,
    /// When its kubelet last renewed its Lease, by the same clock; `None` unless the Lease was asked for and is there.
    pub lease_ms: Option<i64>,
    /// Nothing is scheduled to it.
    pub unschedulable: bool,
    /// Taints, with every field that they have.
    pub taints: Vec<Value>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Addresses of every type, the internal ones first, without those that are names.
    pub addresses: Vec<String>,
}

/// Whose Node it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// No vehicle has put its id there.
    Nobody,
    /// Ours.
    Us,
    /// A vehicle with this id has the same name: one of the two has to be given another.
    Other(String),
}

/// A taint that is to be there. Two are the same when key and effect are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value; may be empty.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: &'static str,
}

impl Node {
    fn of(object: &Value) -> Result<Node, String> {
        let conditions = list(object, "/status/conditions");
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
        let ready = ready.unwrap_or(&Value::Null);
        let mut addresses: Vec<&Value> = list(object, "/status/addresses").iter().collect();
        addresses.sort_by_key(|address| text(address, "/type") != INTERNAL);
        let node = Node {
            name: text(object, "/metadata/name").to_owned(),
            uid: text(object, "/metadata/uid").to_owned(),
            resource_version: text(object, "/metadata/resourceVersion").to_owned(),
            ready: match text(ready, "/status") {
                "True" => Some(true),
                "False" => Some(false),
                _ => None,
            },
            heartbeat_ms: wall_ms(text(ready, "/lastHeartbeatTime")),
            lease_ms: None,
            unschedulable: object.pointer("/spec/unschedulable") == Some(&Value::Bool(true)),
            taints: list(object, "/spec/taints").to_vec(),
            annotations: texts(object, "/metadata/annotations"),
            labels: texts(object, "/metadata/labels"),
            addresses: addresses
                .into_iter()
                .filter(|address| !NAMES.contains(&text(address, "/type")))
                .map(|address| text(address, "/address").to_owned())
                .collect(),
        };
        if node.name.is_empty() || node.uid.is_empty() {
            return Err(
                "the server's answer is not what Kubernetes answers: it is no Node".to_owned()
            );
        }
        Ok(node)
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is none.
    pub fn read(body: &[u8]) -> Result<Node, String> {
        Node::of(&read(body)?)
    }

    /// Reads a page of a list, and where the next begins.
    ///
    /// # Errors
    /// It is none.
    pub fn read_page(body: &[u8]) -> Result<Page<Node>, String> {
        let (objects, next) = page(body)?;
        let nodes = objects.iter().map(Node::of).collect::<Result<_, _>>()?;
        Ok((nodes, next))
    }

    /// When its kubelet was last heard of, by the clock of its machine, in milliseconds since 1970.
    #[must_use]
    pub fn heard_ms(&self) -> Option<i64> {
        self.heartbeat_ms.max(self.lease_ms)
    }

    /// For the machine: ready is a Node whose kubelet was heard of after `since_ms`, when its unit was started. Both are of one
    /// clock, since it is the own Node.
    #[must_use]
    pub fn seen(&self, since_ms: Option<i64>) -> NodeSeen {
        let heard = since_ms.is_none_or(|since| self.heard_ms().is_some_and(|heard| heard > since));
        NodeSeen::Present { uid: self.uid.clone(), ready: self.ready == Some(true) && heard }
    }

    /// Whether it says that its vehicle leaves.
    #[must_use]
    pub fn says_that_it_leaves(&self) -> bool {
        self.annotations.contains_key(LEAVING)
    }

    /// Whose it is.
    #[must_use]
    pub fn owner(&self, vehicle: &str) -> Owner {
        match self.annotations.get(VEHICLE) {
            None => Owner::Nobody,
            Some(id) if id == vehicle => Owner::Us,
            Some(id) => Owner::Other(id.clone()),
        }
    }
}

/// Where a Lease says when it was last renewed.
const RENEWED: &str = "/spec/renewTime";

/// Type of the address by which the Nodes of a cluster reach each other.
const INTERNAL: &str = "InternalIP";

/// Types of addresses that are names.
const NAMES: [&str; 3] = ["Hostname", "InternalDNS", "ExternalDNS"];

/// The texts of an object by key.
fn texts(object: &Value, place: &str) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for (key, value) in object.pointer(place).and_then(Value::as_object).into_iter().flatten() {
        if let Some(text) = value.as_str() {
            texts.insert(key.clone(), text.to_owned());
        }
    }
    texts
}

/// What a kubelet says by its Lease: 845 bytes where the Node has 4,246 and more, renewed every 10 s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Identity of the Node that it is of; empty when it does not say.
    pub node_uid: String,
    /// When it was last renewed, by the clock of its machine, in milliseconds since 1970.
    pub renewed_ms: Option<i64>,
}

impl Lease {
    /// Reads one.
    ///
    /// # Errors
    /// It is none.
    pub fn read(body: &[u8]) -> Result<Lease, String> {
        let lease = read(body)?;
        let mut owners = list(&lease, "/metadata/ownerReferences").iter();
        let node = owners.find(|owner| owner["kind"] == "Node").unwrap_or(&Value::Null);
        Ok(Lease {
            node_uid: text(node, "/uid").to_owned(),
            renewed_ms: wall_ms(text(&lease, RENEWED)),
        })
    }
}

/// Name and renewal of each Lease of a page, in milliseconds since 1970, and where the next page begins.
///
/// # Errors
/// It is no list.
pub fn read_leases(body: &[u8]) -> Result<Page<(String, i64)>, String> {
    let (objects, next) = page(body)?;
    let renewed = objects
        .iter()
        .filter_map(|lease| {
            Some((text(lease, "/metadata/name").to_owned(), wall_ms(text(lease, RENEWED))?))
        })
        .collect();
    Ok((renewed, next))
}

/// `gitVersion` of `/version`, such as `v1.33.4+k3s1`.
///
/// # Errors
/// It is not there.
pub fn read_version(body: &[u8]) -> Result<String, String> {
    match text(&read(body)?, "/gitVersion") {
        "" => {
            Err("the server's answer is not what Kubernetes answers: it has no version".to_owned())
        }
        version => Ok(version.to_owned()),
    }
}

/// Merge patch by which nothing, or something again, is scheduled to a Node. With `uid`, to no other of its name.
#[must_use]
pub fn cordon(on: bool, uid: Option<&str>) -> Vec<u8> {
    // Kubernetes leaves out what is false, and so does everybody who compares.
    let unschedulable = if on { Value::Bool(true) } else { Value::Null };
    let mut patch = json!({ "spec": { "unschedulable": unschedulable } });
    if let Some(uid) = uid {
        patch["metadata"] = json!({ "uid": uid });
    }
    patch.to_string().into_bytes()
}

/// Merge patch by which a vehicle that came back takes back that it leaves: the word, and the cordon that went with it.
#[must_use]
pub fn back(uid: &str) -> Vec<u8> {
    let patch = json!({
        "metadata": { "uid": uid, "annotations": { LEAVING: null } },
        "spec": { "unschedulable": null },
    });
    patch.to_string().into_bytes()
}

/// Merge patch that sets annotations (`annotations`) or labels (`labels`), and removes those that are `None`.
#[must_use]
pub fn keys(kind: Keys, keys: &BTreeMap<String, Option<String>>, uid: Option<&str>) -> Vec<u8> {
    let mut values = Map::new();
    for (key, value) in keys {
        values.insert(key.clone(), value.clone().into());
    }
    let mut metadata = Map::new();
    metadata.insert(kind.field().to_owned(), Value::Object(values));
    if let Some(uid) = uid {
        metadata.insert("uid".to_owned(), uid.into());
    }
    json!({ "metadata": metadata }).to_string().into_bytes()
}

/// What keys are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// For people and programs.
    Annotations,
    /// What objects are selected by.
    Labels,
}

impl Keys {
    const fn field(self) -> &'static str {
        match self {
            Keys::Annotations => "annotations",
            Keys::Labels => "labels",
        }
    }
}

/// Merge patch that replaces the taints of the Node of this version. The list is replaced as a whole by every kind of patch,
/// which is why the version has to be that of the Node it was made from.
#[must_use]
pub fn taints(resource_version: &str, taints: &[Value]) -> Vec<u8> {
    let patch = json!({
        "metadata": { "resourceVersion": resource_version },
        "spec": { "taints": taints },
    });
    patch.to_string().into_bytes()
}

/// The taints of a Node after some were added and others, by key and effect, removed; `None` when they are so already.
#[must_use]
pub fn tainted(present: &[Value], add: &[Taint], remove: &[Taint]) -> Option<Vec<Value>> {
    let is = |present: &Value, taint: &Taint| {
        present["key"] == taint.key.as_str() && present["effect"] == taint.effect
    };
    let same = |present: &Value, taint: &Taint| {
        is(present, taint) && present["value"].as_str().unwrap_or_default() == taint.value
    };
    let mut after: Vec<Value> = present
        .iter()
        .filter(|have| !remove.iter().any(|taint| is(have, taint)))
        .filter(|have| !add.iter().any(|taint| is(have, taint) && !same(have, taint)))
        .cloned()
        .collect();
    for taint in add {
        if !after.iter().any(|have| is(have, taint)) {
            after.push(json!({ "key": taint.key, "value": taint.value, "effect": taint.effect }));
        }
    }
    (after != present).then_some(after)
}

/// Body of a deletion that spares every other object of the name. Kubernetes 1.0 and later know it.
#[must_use]
pub fn delete(uid: &str) -> Vec<u8> {
    json!({ "preconditions": { "uid": uid } }).to_string().into_bytes()
}

/// The same, which spares this one too when it is no longer as it was seen. Kubernetes 1.14 and later know it.
#[must_use]
pub fn delete_as_seen(uid: &str, resource_version: &str) -> Vec<u8> {
    let preconditions = json!({ "uid": uid, "resourceVersion": resource_version });
    json!({ "preconditions": preconditions }).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = r#"{"kind":"Node","metadata":{"name":"veh-001","uid":"u1","resourceVersion":"7",
        "labels":{"a":"b"},"annotations":{"outrider.internal/vehicle":"alpha"},"managedFields":[{"x":1}]},
        "spec":{"podCIDR":"10.42.0.0/24","unschedulable":true,"taints":[{"key":"k","effect":"NoSchedule","timeAdded":"t"}]},
        "status":{"conditions":[{"type":"MemoryPressure","status":"False"},
            {"type":"Ready","status":"True","lastHeartbeatTime":"2026-11-21T10:00:00Z"}],
            "addresses":[{"type":"InternalIP","address":"10.0.0.1"},{"type":"Hostname","address":"veh-001"}],
            "images":[{"names":["x"]}]}}"#;

    #[test]
    fn a_node_is_read_with_what_is_used_of_it() {
        let node = Node::read(NODE.as_bytes()).unwrap();
        assert_eq!((node.name.as_str(), node.uid.as_str()), ("veh-001", "u1"));
        assert_eq!((node.resource_version.as_str(), node.ready), ("7", Some(true)));
        assert!(node.unschedulable);
        assert_eq!(node.addresses, ["10.0.0.1"]);
        assert_eq!(node.labels["a"], "b");
        assert_eq!(node.owner("alpha"), Owner::Us);
        assert_eq!(node.owner("bravo"), Owner::Other("alpha".to_owned()));
        let bare = Node::read(br#"{"metadata":{"name":"a","uid":"u"}}"#).unwrap();
        assert_eq!((bare.ready, bare.owner("alpha")), (None, Owner::Nobody));
        assert!(Node::read(b"{}").unwrap_err().contains("no Node"));
        assert!(Node::read(b"<html>").unwrap_err().contains("not what Kubernetes answers"));
    }

    #[test]
    fn ready_counts_when_the_kubelet_was_heard_after_its_start() {
        let mut node = Node::read(NODE.as_bytes()).unwrap();
        let heard = node.heard_ms().unwrap();
        let ready = |node: &Node, since: Option<i64>| match node.seen(since) {
            NodeSeen::Present { ready, .. } => ready,
            other => panic!("{other:?}"),
        };
        assert!(ready(&node, None));
        assert!(ready(&node, Some(heard - 1)));
        assert!(!ready(&node, Some(heard)), "that is from before");
        node.lease_ms = Some(heard + 10_000);
        assert!(ready(&node, Some(heard)), "the Lease is younger");
        node.ready = None;
        assert!(!ready(&node, None));
        (node.heartbeat_ms, node.lease_ms, node.ready) = (None, None, Some(true));
        assert!(!ready(&node, Some(0)));
    }

    #[test]
    fn lists_say_where_they_go_on() {
        let page = format!(r#"{{"metadata":{{"continue":"abc"}},"items":[{NODE},{NODE}]}}"#);
        let (nodes, next) = Node::read_page(page.as_bytes()).unwrap();
        assert_eq!((nodes.len(), next.as_deref()), (2, Some("abc")));
        let (nodes, next) = Node::read_page(br#"{"metadata":{},"items":null}"#).unwrap();
        assert_eq!((nodes.len(), next), (0, None));
        let leases = br#"{"items":[{"metadata":{"name":"a"},"spec":{"renewTime":"1970-01-01T00:00:01.000000Z"}},
            {"metadata":{"name":"b"},"spec":{}}]}"#;
        let owned = br#"{"metadata":{"ownerReferences":[{"kind":"Node","uid":"u"}]},
            "spec":{"renewTime":"1970-01-01T00:00:02.000000Z"}}"#;
        let lease = Lease::read(owned).unwrap();
        assert_eq!((lease.node_uid.as_str(), lease.renewed_ms), ("u", Some(2_000)));
        let (leases, _) = read_leases(leases).unwrap();
        assert_eq!(leases, [("a".to_owned(), 1_000)]);
    }

    #[test]
    fn the_version_is_that_of_the_pre_flight() {
        let body = br#"{"major":"1","minor":"33+","gitVersion":"v1.33.4+k3s1"}"#;
        assert_eq!(read_version(body).unwrap(), "v1.33.4+k3s1");
        assert!(read_version(b"{}").is_err());
    }

    #[test]
    fn patches_have_the_form_of_rfc_7396() {
        let text = |patch: Vec<u8>| String::from_utf8(patch).unwrap();
        assert_eq!(text(cordon(true, None)), r#"{"spec":{"unschedulable":true}}"#);
        let lifted = r#"{"metadata":{"uid":"u"},"spec":{"unschedulable":null}}"#;
        assert_eq!(text(cordon(false, Some("u"))), lifted);
        let map = BTreeMap::from([("a".to_owned(), Some("1".to_owned())), ("b".to_owned(), None)]);
        let patch = text(keys(Keys::Annotations, &map, None));
        assert_eq!(patch, r#"{"metadata":{"annotations":{"a":"1","b":null}}}"#);
        assert!(text(keys(Keys::Labels, &map, Some("u"))).contains(r#""uid":"u""#));
        let back = r#"{"metadata":{"annotations":{"outrider.internal/leaving":null},"uid":"u"},"spec":{"unschedulable":null}}"#;
        assert_eq!(text(super::back("u")), back);
        assert_eq!(text(delete("u")), r#"{"preconditions":{"uid":"u"}}"#);
    }

    #[test]
    fn the_taints_of_others_are_left_as_they_are() {
        let unreachable = json!({ "key": "node.kubernetes.io/unreachable", "effect": "NoExecute",
            "timeAdded": "2026-11-21T10:00:00Z", "new": { "field": 1 } });
        let taint = |value: &str| Taint {
            key: "outrider.internal/far".to_owned(),
            value: value.to_owned(),
            effect: "NoSchedule",
        };
        let present = [unreachable.clone()];
        let added = tainted(&present, &[taint("1")], &[]).unwrap();
        assert_eq!((added.len(), &added[0]), (2, &unreachable));
        assert_eq!(tainted(&added, &[taint("1")], &[]), None, "it is there");
        let changed = tainted(&added, &[taint("2")], &[]).unwrap();
        assert_eq!((changed.len(), changed[1]["value"].as_str()), (2, Some("2")));
        assert_eq!(tainted(&changed, &[], &[taint("")]).unwrap(), present);
        assert_eq!(tainted(&present, &[], &[taint("")]), None);
        // The same key with another effect is another taint.
        let hard = Taint { effect: "NoExecute", ..taint("1") };
        assert_eq!(tainted(&added, &[hard], &[]).unwrap().len(), 3);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = (Node::read(&bytes), Node::read_page(&bytes), read_leases(&bytes));
            let _ = (Lease::read(&bytes), read_version(&bytes));
        }
    }
}
