//! Keeps a Node alive without a kubelet: registers it once, renews its Lease and patches its status under the node's own
//! certificate. Real are the requests and who they are from; no pod ever runs.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::notify_ready;
use super::settings::Settings;
use crate::https::{Answer, Call, Connection, Server};

/// Longest time that one request may take, in seconds: a heartbeat that is late is better than none.
const REQUEST_S_MAX: u64 = 10;

/// Where Leases of nodes are.
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

const JSON: &str = "application/json";

/// For objects whose lists are merged by key, such as conditions.
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// Registers the Node and keeps it until this process ends. Failures are told and tried again, for ever.
pub async fn keep(settings: &Settings, heartbeat_s: u64, api: &Server) -> Result<(), String> {
    let limit = Duration::from_secs((3 * heartbeat_s).min(REQUEST_S_MAX));
    let mut api = Api { server: api.clone(), connection: None, limit };
    while let Err(e) = register(settings, &mut api).await {
        eprintln!("registering {}: {e}", settings.node_name);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let mut told = false;
    loop {
        match beat(settings, &mut api, heartbeat_s).await {
            Ok(()) if !told => {
                notify_ready();
                told = true;
                eprintln!("node {} is ready", settings.node_name);
            }
            Ok(()) => {}
            Err(e) => eprintln!("heartbeat of {}: {e}", settings.node_name),
        }
        tokio::time::sleep(Duration::from_secs(heartbeat_s)).await;
    }
}

/// The API server over one connection that is kept, and made anew after a failure.
struct Api {
    server: Server,
    connection: Option<Connection>,
    limit: Duration,
}

impl Api {
    async fn call(&mut self, call: Call) -> Result<Answer, String> {
        let limit = self.limit;
        let work = async {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => self.server.connect().await?,
            };
            let answer = connection.call(call).await?;
            self.connection = Some(connection);
            Ok(answer)
        };
        tokio::time::timeout(limit, work)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", limit.as_secs())))
    }
}

fn node_path(settings: &Settings) -> String {
    format!("/api/v1/nodes/{}", settings.node_name)
}

/// Creates the Node, or brings the labels of the one that is there up to date; never done again, so that a Node that is deleted
/// stays deleted until the next start.
async fn register(settings: &Settings, api: &mut Api) -> Result<(), String> {
    let path = node_path(settings);
    let found = api.call(Call::get(&path)).await?;
    if found.status == 200 {
        let patch = json!({ "metadata": { "labels": labels(settings) } }).to_string();
        let call = Call::with(Method::PATCH, &path, STRATEGIC, patch);
        return api.call(call).await?.expect(200, "labels").map(drop);
    }
    let taints: Vec<Value> = settings.taints.iter().filter_map(|text| taint(text)).collect();
    let node = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": settings.node_name, "labels": labels(settings) },
        "spec": { "taints": taints },
    });
    let call = Call::with(Method::POST, "/api/v1/nodes", JSON, node.to_string());
    api.call(call).await?.expect(201, "creating the Node").map(drop)
}

fn labels(settings: &Settings) -> Value {
    let mut labels = json!({
        "kubernetes.io/hostname": settings.node_name,
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": "k3s",
    });
    for (key, value) in settings.labels.iter().filter_map(|label| label.split_once('=')) {
        labels[key] = json!(value);
    }
    labels
}

/// `key=value:Effect` or `key:Effect`.
fn taint(text: &str) -> Option<Value> {
    let (left, effect) = text.rsplit_once(':')?;
    let (key, value) = left.split_once('=').unwrap_or((left, ""));
    Some(json!({ "key": key, "value": value, "effect": effect }))
}

/// One heartbeat: Lease, then status.
async fn beat(settings: &Settings, api: &mut Api, heartbeat_s: u64) -> Result<(), String> {
    let path = node_path(settings);
    let node = api.call(Call::get(&path)).await?.expect(200, "reading the own Node")?.json();
    renew(settings, api, &node, heartbeat_s * 4).await?;
    let patch = json!({ "status": status(settings, &node)? }).to_string();
    let call = Call::with(Method::PATCH, &format!("{path}/status"), STRATEGIC, patch);
    api.call(call).await?.expect(200, "status").map(drop)
}

async fn renew(
    settings: &Settings,
    api: &mut Api,
    node: &Value,
    lasts_s: u64,
) -> Result<(), String> {
    let name = &settings.node_name;
    let owner = json!([{ "apiVersion": "v1", "kind": "Node", "name": name,
                         "uid": node["metadata"]["uid"] }]);
    let spec = json!({ "holderIdentity": name, "leaseDurationSeconds": lasts_s,
                       "renewTime": micro_time(OffsetDateTime::now_utc()) });
    let patch = json!({ "metadata": { "ownerReferences": owner }, "spec": spec });
    let path = format!("{LEASES}/{name}");
    let call = Call::with(Method::PATCH, &path, "application/merge-patch+json", patch.to_string());
    let answer = api.call(call).await?;
    if answer.status != 404 {
        return answer.expect(200, "renewing the Lease").map(drop);
    }
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": name, "ownerReferences": owner },
        "spec": spec,
    });
    let call = Call::with(Method::POST, LEASES, JSON, lease.to_string());
    api.call(call).await?.expect(201, "creating the Lease").map(drop)
}

/// A time with six fractional digits.
fn micro_time(at: OffsetDateTime) -> String {
    let (date, [hour, minute, second]) = (at.date(), [at.hour(), at.minute(), at.second()]);
    let (year, month, day) = date.to_calendar_date();
    format!(
        "{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:06}Z",
        u8::from(month),
        at.microsecond()
    )
}

fn status(settings: &Settings, node: &Value) -> Result<Value, String> {
    let whole = OffsetDateTime::now_utc().replace_nanosecond(0).map_err(|e| e.to_string())?;
    let now = whole.format(&Rfc3339).map_err(|e| format!("writing a time: {e}"))?;
    let since = |kind: &str, status: &str| {
        let conditions = node["status"]["conditions"].as_array();
        conditions
            .into_iter()
            .flatten()
            .find(|condition| condition["type"] == kind && condition["status"] == status)
            .map_or(json!(now), |condition| condition["lastTransitionTime"].clone())
    };
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({ "type": kind, "status": status, "reason": reason, "message": "",
                "lastHeartbeatTime": now, "lastTransitionTime": since(kind, status) })
    };
    let mut addresses = vec![json!({ "type": "Hostname", "address": settings.node_name })];
    for address in &settings.addresses {
        addresses.push(json!({ "type": "InternalIP", "address": address }));
    }
    let room = json!({ "cpu": "2", "memory": "1Gi", "pods": "110", "ephemeral-storage": "1Gi" });
    Ok(json!({
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID"),
            condition("Ready", "True", "KubeletReady"),
        ],
        "addresses": addresses,
        "capacity": room,
        "allocatable": room,
    }))
}
