//! The custom metrics API: served by the program beside a server, read through the real aggregator with the rights that Telemetry
//! Aware Scheduling has, and refused to everybody else. All files that ship for it are applied to the real server.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use federation::https::{Answer, Call, Server, Trust, block_on};
use federation::pki::{Authority, Identity, Subject};
use federation::{ControlPlane, Host, Options, Process, wait_for};
use hyper::Method;
use serde_json::{Value, json};

use crate::rbac::wrong;
use crate::rider::{CONFIG, kill, run};
use crate::{HOST, LIMIT, authority_of, shared, token_of, vehicle};

const MANIFEST: &str = include_str!("../../../../images/kubernetes/custom-metrics.yaml");
const POLICY: &str = include_str!("../../../../images/kubernetes/tas-policy.yaml");
const ADAPTER: &str = include_str!("../../../../images/kubernetes/prometheus-adapter.yaml");

/// A control plane of its own: what is registered here concerns everybody who asks it for anything.
const BRONZE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 15);

/// Where the program serves.
const SERVED: &str = "10.77.0.71:6480";

const GROUP: &str = "/apis/custom.metrics.k8s.io";
const ALL: &str = "/apis/custom.metrics.k8s.io/v1beta2/nodes/*/olsr-network-cost";
const API_SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const VERSIONS: [&str; 2] = ["v1beta2.custom.metrics.k8s.io", "v1beta1.custom.metrics.k8s.io"];

/// What the host's account may do beside what its other file gives it.
const RIGHTS: &[(&str, bool)] = &[
    ("get apiservice/v1beta2.custom.metrics.k8s.io", true),
    ("patch apiservice/v1beta2.custom.metrics.k8s.io", true),
    ("delete apiservice/v1beta1.custom.metrics.k8s.io", true),
    ("get configmap/extension-apiserver-authentication --namespace=kube-system", true),
    ("get apiservice/v1.apps", false),
    ("patch apiservice/v1.apps", false),
    ("list apiservices", false),
    ("create apiservices", false),
    ("update apiservice/v1beta2.custom.metrics.k8s.io", false),
    ("get configmap/other --namespace=kube-system", false),
    ("patch configmap/extension-apiserver-authentication --namespace=kube-system", false),
    ("patch endpoints/outrider-metrics --namespace=outrider-host", false),
    ("create clusterrolebindings", false),
    ("* *", false),
];

/// The captured answer of an olsrd, given to whoever asks on a host's loopback. It sees four others: 10.77.0.2 and 10.77.0.3 at
/// 100, 10.77.0.4 at 200 and 10.77.0.5 at 300.
struct Daemon {
    silent: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    fn start(host: &Host) -> Daemon {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../olsr-bridge/fixtures");
        let said = std::fs::read(fixtures.join("olsrd/diamond5/a/jsoninfo-all.http")).unwrap();
        let listener = host.enter(|| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 9090));
            let listener = listener.map_err(|error| error.to_string())?;
            listener.set_nonblocking(true).map_err(|error| error.to_string())?;
            Ok(listener)
        });
        let listener = listener.unwrap();
        let (silent, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (is_silent, has_ended) = (Arc::clone(&silent), Arc::clone(&ended));
        let thread = thread::spawn(move || {
            while !has_ended.load(Ordering::Relaxed) {
                let Ok((mut stream, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(20));
                    continue;
                };
                if is_silent.load(Ordering::Relaxed) {
                    continue;
                }
                // A client that goes away early is no concern of the daemon.
                let _ = stream.set_nonblocking(false);
                let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(&said);
            }
        });
        Daemon { silent, ended, thread: Some(thread) }
    }

    fn silence(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // A panic in there has been printed already.
        let _ = self.thread.take().unwrap().join();
    }
}

/// A Node with these addresses, by type, that is the vehicle's of this id.
fn add_node(plane: &ControlPlane, name: &str, addresses: &[(&str, &str)], vehicle: Option<&str>) {
    let annotations = vehicle.map(|id| json!({ "outrider.internal/vehicle": id }));
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": name, "annotations": annotations, "labels": { "kind": name } },
    });
    plane.apply(&node.to_string()).unwrap();
    let addresses: Vec<Value> =
        addresses.iter().map(|(of, at)| json!({ "type": of, "address": at })).collect();
    let status = json!({ "status": { "addresses": addresses } }).to_string();
    let path = format!("/api/v1/nodes/{name}/status");
    let patch = Call::with(Method::PATCH, &path, "application/merge-patch+json", status);
    plane.call(patch).unwrap().expect(200, &path).unwrap();
}

/// Costs by Node.
fn costs(document: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = document["items"].as_array().cloned().unwrap_or_default();
    let of = |item: &Value| (text(&item["describedObject"]["name"]), text(&item["value"]));
    let mut costs: Vec<(String, String)> = items.iter().map(of).collect();
    costs.sort();
    costs
}

fn expected(costs: [(&str, &str); 6]) -> Vec<(String, String)> {
    costs.map(|(name, cost)| (name.to_owned(), cost.to_owned())).to_vec()
}

const COSTS: [(&str, &str); 6] = [
    ("beside", "0"),
    ("by-address", "100"),
    ("by-external", "200"),
    ("by-id", "300"),
    ("gone", "-1"),
    ("unmapped", "-1"),
];

/// Waits until every Node has these costs, as the account of TAS sees it.
fn wait_costs(plane: &ControlPlane, wanted: [(&str, &str); 6], program: &Process) {
    let mut last = String::new();
    let there = wait_for("the network costs", LIMIT, || {
        last = match raw(plane, ALL, "tas") {
            Ok(text) => text,
            Err(error) => error,
        };
        let document = serde_json::from_str(&last).unwrap_or_default();
        Ok((costs(&document) == expected(wanted)).then_some(()))
    });
    there.unwrap_or_else(|error| panic!("{error}: {last}\n{}", program.last_words()));
}

/// What `kubectl get --raw` says to an account.
fn raw(plane: &ControlPlane, path: &str, account: &str) -> Result<String, String> {
    let account = format!("--as=system:serviceaccount:default:{account}");
    plane.kubectl(&["get", "--raw", path, &account])
}

/// Waits for a condition of an APIService.
fn wait_available(plane: &ControlPlane, name: &str, program: &Process) -> Value {
    let path = format!("{API_SERVICES}/{name}");
    let mut last = Value::Null;
    let there = wait_for("an APIService to be available", LIMIT, || {
        last = plane.get(&path)?.unwrap_or_default();
        let conditions = last["status"]["conditions"].as_array().into_iter().flatten();
        let mut available = conditions.filter(|condition| condition["type"] == "Available");
        // Before the first look at who is behind it, it may be said to be.
        let is_led = last["spec"]["caBundle"].is_string();
        let is_available = available.any(|condition| condition["status"] == "True");
        Ok((is_led && is_available).then(|| last.clone()))
    });
    there.unwrap_or_else(|error| panic!("{error}: {last:#}\n{}", program.last_words()))
}

/// Asks the program itself, from the control plane's host.
fn direct(plane: &ControlPlane, call: Call, identity: Option<&Identity>) -> Result<Answer, String> {
    let server = Server::new(SERVED, &Trust::Anybody, identity)?;
    plane.host().enter(|| block_on(server.call(call, Duration::from_secs(30))))
}

/// A metric of the program on its host.
fn metric(host: &Host, series: &str) -> Option<String> {
    let text = host.enter(|| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 9110));
        let asked = || {
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text).map(|_| text)
        };
        asked().map_err(|error: std::io::Error| error.to_string())
    });
    let text = text.unwrap();
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')).map(str::to_owned)
}

/// A cluster whose host runs the program, with a daemon that can fall silent.
struct Site {
    daemon: Daemon,
    program: Option<Process>,
    beside: federation::Vehicle,
    plane: ControlPlane,
}

impl Site {
    fn new() -> Site {
        let plane =
            ControlPlane::start(&shared().ground, "bronze", BRONZE, &Options::k3s()).unwrap();
        plane.apply(HOST).unwrap();
        plane.apply(&MANIFEST.replace("10.0.7.1", "10.77.0.71")).unwrap();
        let token = token_of(&plane, "outrider-host", "host-token");
        let beside = vehicle("beside", 71);
        let config = format!(
            "[vehicle]\nname = \"beside\"\n[http]\nlisten = \"127.0.0.1:9110\"\n[hardware]\nenabled = false\n\
             [mesh]\ndaemon = \"jsoninfo\"\nconnect = \"127.0.0.1:9090\"\nvehicles = {{ echo = [\"10.77.0.5\"] }}\n\
             [links]\nstale_after = \"2s\"\nunknown_after = \"10s\"\nwarmup_min = \"0s\"\nwarmup_hellos = 0\n\
             warmup_window = \"0s\"\nsmooth_up = \"0s\"\nsmooth_down = \"0s\"\nreturn_delay = \"0s\"\n\
             return_hellos = 0\nunseen_hold = \"0s\"\nunreachable_hold = \"0s\"\n\
             [host]\nserver = \"{BRONZE}\"\nca_hash = \"{}\"\naccount_file = \"/etc/outrider/host.account\"\n\
             silent_after = \"20s\"\ncustom_metrics = \"{SERVED}\"\n",
            authority_of(&plane)
        );
        beside.host().write(CONFIG, &config).unwrap();
        beside.host().write("/etc/outrider/host.account", &token).unwrap();
        let daemon = Daemon::start(beside.host());
        let mut site = Site { daemon, program: None, beside, plane };
        site.start();
        site
    }

    fn start(&mut self) {
        self.program = Some(run(self.beside.host()));
    }

    fn kill(&mut self) {
        kill(self.program.take().unwrap());
    }

    fn program(&self) -> &Process {
        self.program.as_ref().unwrap()
    }

    /// Waits until it has said this.
    fn wait_said(&self, words: &str) {
        crate::wait_log(self.program(), words);
    }
}

#[test]
fn the_network_costs_are_read_through_the_aggregator_and_by_nobody_else() {
    let mut site = Site::new();
    let plane = &site.plane;
    let internal = |address: &'static str| ("InternalIP", address);
    add_node(plane, "beside", &[internal("10.77.0.71")], None);
    add_node(plane, "by-address", &[internal("10.77.0.2")], None);
    let two = [("ExternalIP", "10.77.0.4"), internal("172.16.0.1"), ("Hostname", "x")];
    add_node(plane, "by-external", &two, None);
    add_node(plane, "by-id", &[internal("172.16.0.2")], Some("echo"));
    add_node(plane, "gone", &[internal("10.77.0.99")], Some("golf"));
    add_node(plane, "unmapped", &[internal("172.16.0.3")], None);
    let reader = "--clusterrole=outrider-metrics-reader";
    let account = "--serviceaccount=default:tas";
    plane.kubectl(&["create", "clusterrolebinding", "tas", reader, account]).unwrap();

    let registered = VERSIONS.map(|name| wait_available(plane, name, site.program()));
    let bundles = registered.map(|service| service["spec"]["caBundle"].clone());
    assert!(bundles[0].is_string() && bundles[0] == bundles[1], "{bundles:?}");
    wait_costs(plane, COSTS, site.program());
    let written = wait_for("the costs at Nodes without an agent", LIMIT, || {
        let of = |node: &str| {
            let node = plane.get(&format!("/api/v1/nodes/{node}"))?.unwrap_or_default();
            let cost = &node["metadata"]["annotations"]["outrider.internal/network-cost"];
            Ok::<_, String>(cost.as_str().map(str::to_owned))
        };
        let seen =
            [of("beside")?, of("by-address")?, of("by-external")?, of("by-id")?, of("gone")?];
        let wanted = [Some("0"), Some("100"), Some("200"), None, None];
        if seen.each_ref().map(Option::as_deref) == wanted {
            Ok(Some(()))
        } else {
            Err(format!("{seen:?}"))
        }
    });
    written.unwrap_or_else(|error| panic!("{error}\n{}", site.program().last_words()));

    // What clients find out first, and the forms in which they ask.
    let get = |path: &str| -> Value {
        let text = raw(plane, path, "tas").unwrap_or_else(|error| panic!("{path}: {error}"));
        serde_json::from_str(&text).unwrap()
    };
    let group = plane.get(GROUP).unwrap().unwrap();
    assert_eq!(group["preferredVersion"]["version"], "v1beta2", "{group:#}");
    let discovered = plane.get(&format!("{GROUP}/v1beta2")).unwrap().unwrap();
    assert_eq!(discovered["resources"][0]["name"], "nodes/olsr-network-cost", "{discovered:#}");
    assert_eq!(costs(&get(&ALL.replace('*', "%2A"))), expected(COSTS));
    assert_eq!(costs(&get(&ALL.replace("v1beta2", "v1beta1"))), expected(COSTS));
    assert_eq!(costs(&get(&format!("{ALL}-raw"))).len(), COSTS.len());
    let one = get(&ALL.replace('*', "by-id"));
    assert_eq!(costs(&one), [("by-id".to_owned(), "300".to_owned())]);
    assert!(one["items"][0]["timestamp"].as_str().is_some_and(|at| at.ends_with('Z')), "{one:#}");
    let selected = get(&format!("{ALL}?labelSelector=kind%20in%20(by-id,gone)&unknown=1"));
    assert_eq!(costs(&selected).len(), 2, "{selected:#}");
    for missing in [ALL.replace("cost", "cash"), ALL.replace('*', "nobody")] {
        let refusal = raw(plane, &missing, "tas").unwrap_err();
        assert!(refusal.contains("NotFound"), "{missing}: {refusal}");
    }

    // Who may not read it does not get past the API server; who is not the API server gets nothing.
    let refusal = raw(plane, ALL, "stranger").unwrap_err();
    assert!(refusal.contains("Forbidden"), "{refusal}");
    let forged = || {
        let call = Call::get(ALL).header("x-remote-user", "system:admin");
        call.header("x-remote-group", "system:masters")
    };
    let refused = direct(plane, forged(), None).unwrap();
    assert_eq!((refused.status, &refused.json()["code"]), (401, &json!(401)), "{}", refused.text());
    let front = Authority::read(plane.pki(), "request-header-ca").unwrap();
    let named = front.issue(Subject::Client { name: "mallory", group: None }).unwrap();
    assert_eq!(direct(plane, forged(), Some(&named)).unwrap().status, 401);
    let of_another = Identity::read(plane.pki(), "admin").unwrap();
    let refused = direct(plane, forged(), Some(&of_another));
    assert!(refused.is_err(), "a client of another authority got {refused:?}");
    let proxy = Identity::read(plane.pki(), "auth-proxy").unwrap();
    assert_eq!(direct(plane, Call::get(ALL), Some(&proxy)).unwrap().status, 200);
    for (path, code) in
        [("/openapi/v2", 404), ("/apis", 404), ("/metrics", 404), ("/v1/status", 404)]
    {
        let answer = direct(plane, Call::get(path), Some(&proxy)).unwrap();
        assert_eq!((answer.status, &answer.json()["kind"]), (code, &json!("Status")), "{path}");
    }
    let post = Call::with(Method::POST, ALL, "application/json", "{}");
    assert_eq!(direct(plane, post, Some(&proxy)).unwrap().status, 405);

    // Strangers who say nothing do not keep the API server out, not even from its own address.
    let address: SocketAddr = SERVED.parse().unwrap();
    let connect = |_| TcpStream::connect(address).map_err(|error| error.to_string());
    let silent: Vec<TcpStream> = plane.host().enter(|| (0..120).map(connect).collect()).unwrap();
    assert!(silent.len() > 96, "{}", silent.len());
    assert_eq!(direct(plane, Call::get(ALL), Some(&proxy)).unwrap().status, 200);
    wait_costs(plane, COSTS, site.program());
    drop(silent);

    let host = site.beside.host();
    let count =
        |mapping: &str| metric(host, &format!("outrider_host_nodes{{mapping=\"{mapping}\"}}"));
    assert_eq!(count("own").as_deref(), Some("1"));
    assert_eq!((count("mesh").as_deref(), count("unmapped").as_deref()), (Some("3"), Some("2")));
    assert_eq!(wrong(plane, "outrider-host", "host", RIGHTS), Vec::<String>::new());

    // The daemon falls silent, and comes back.
    site.daemon.silence(true);
    let unreachable = COSTS.map(|(name, cost)| (name, if cost == "0" { cost } else { "-1" }));
    wait_costs(plane, unreachable, site.program());
    site.daemon.silence(false);
    wait_costs(plane, COSTS, site.program());

    // Somebody else's registration is left alone, also when it comes later.
    merge(
        plane,
        VERSIONS[1],
        &json!({ "spec": { "caBundle": null, "service": { "name": "adapter" } } }),
    );
    site.wait_said("leads to somebody else");
    let left = plane.get(&format!("{API_SERVICES}/{}", VERSIONS[1])).unwrap().unwrap();
    assert!(left["spec"]["caBundle"].is_null(), "{left:#}");
    merge(plane, VERSIONS[1], &json!({ "spec": { "service": { "name": "outrider-metrics" } } }));
    wait_available(plane, VERSIONS[1], site.program());

    // So is ours, once another agent has put its certificate there: there would be no end to it.
    let strange = BASE64_STANDARD.encode(front.bundle());
    merge(plane, VERSIONS[0], &json!({ "spec": { "caBundle": strange } }));
    site.wait_said("registered by the agent of another of this name");
    let owner = json!({ "outrider.internal/vehicle": "bravo" });
    merge(plane, VERSIONS[0], &json!({ "metadata": { "annotations": owner } }));
    // Nor does one that has just started take it from another.
    site.kill();
    site.start();
    site.wait_said("registered by the agent of bravo");
    let plane = &site.plane;
    let left = plane.get(&format!("{API_SERVICES}/{}", VERSIONS[0])).unwrap().unwrap();
    assert_eq!(left["spec"]["caBundle"], strange);
    merge(plane, VERSIONS[0], &json!({ "spec": { "caBundle": null } }));
    let ours = wait_for("it to be registered again", LIMIT, || {
        let service = plane.get(&format!("{API_SERVICES}/{}", VERSIONS[0]))?.unwrap_or_default();
        Ok((service["spec"]["caBundle"] == bundles[0]).then_some(()))
    });
    ours.unwrap_or_else(|error| panic!("{error}\n{}", site.program().last_words()));

    // The certificate outlasts the program.
    site.kill();
    site.start();
    let plane = &site.plane;
    let again = wait_available(plane, VERSIONS[0], site.program());
    wait_costs(plane, COSTS, site.program());
    assert_eq!(again["spec"]["caBundle"], bundles[0]);

    // Without the cluster it says what it cannot take back.
    site.kill();
    let config = site.beside.host().read(CONFIG).unwrap();
    let (without, _) = config.split_once("[host]").unwrap();
    site.beside.host().write(CONFIG, without).unwrap();
    site.start();
    site.wait_said("it cannot take that back");

    // Switched off, it takes back what would keep namespaces from being deleted, by whatever name it goes now.
    site.kill();
    let config: String = config
        .replace("name = \"beside\"", "name = \"renamed\"")
        .lines()
        .filter(|line| !line.starts_with("custom_metrics"))
        .fold(String::new(), |text, line| text + line + "\n");
    site.beside.host().write(CONFIG, &config).unwrap();
    site.start();
    let plane = &site.plane;
    let gone = wait_for("the registrations to be taken back", LIMIT, || {
        let mut left = 0;
        for name in VERSIONS {
            left += usize::from(plane.get(&format!("{API_SERVICES}/{name}"))?.is_some());
        }
        Ok((left == 0).then_some(()))
    });
    gone.unwrap_or_else(|error| panic!("{error}\n{}", site.program().last_words()));
    site.wait_said("nothing leads here");
    plane.kubectl(&["create", "namespace", "brief"]).unwrap();
    plane.kubectl(&["delete", "namespace", "brief", "--wait=false"]).unwrap();
    let gone = wait_for("the namespace to go", LIMIT, || {
        Ok(plane.get("/api/v1/namespaces/brief")?.is_none().then_some(()))
    });
    gone.unwrap();
}

/// Changes an APIService as somebody else would.
fn merge(plane: &ControlPlane, name: &str, patch: &Value) {
    let words = ["patch", "apiservice", name, "--type=merge", "--patch", &patch.to_string()];
    plane.kubectl(&words).unwrap();
}

/// The kind of a policy as Telemetry Aware Scheduling defines it, in the fields that it reads.
fn policy_kind() -> Value {
    let rule = json!({
        "type": "object", "required": ["metricname", "operator"],
        "properties": {
            "metricname": { "type": "string", "pattern": "^[a-zA-Z0-9_-]+$" },
            "operator": { "type": "string", "enum": ["Equals", "LessThan", "GreaterThan"] },
            "target": { "type": "integer", "format": "int64" },
            "labels": { "type": "array", "items": { "type": "string" } },
        },
    });
    let strategy = json!({
        "type": "object", "required": ["rules"],
        "properties": {
            "policyName": { "type": "string" },
            "logicalOperator": { "type": "string", "enum": ["anyOf", "allOf"] },
            "rules": { "type": "array", "items": rule },
        },
    });
    let spec = json!({
        "type": "object", "required": ["strategies"],
        "properties": { "strategies": { "type": "object", "additionalProperties": strategy } },
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "taspolicies.telemetry.intel.com" },
        "spec": {
            "group": "telemetry.intel.com", "scope": "Namespaced",
            "names": { "kind": "TASPolicy", "plural": "taspolicies", "singular": "taspolicy" },
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "properties": { "spec": spec } } },
            }],
        },
    })
}

#[test]
fn the_policy_and_the_adapters_rule_are_what_the_server_takes() {
    let red = &shared().red;
    red.apply(&policy_kind().to_string()).unwrap();
    let applied = wait_for("the kind of policies to be known", LIMIT, || {
        let group = red.get("/apis/telemetry.intel.com/v1alpha1/taspolicies")?;
        Ok(group.map(|_| ()))
    });
    applied.unwrap();
    red.apply(POLICY).unwrap();
    let path =
        "/apis/telemetry.intel.com/v1alpha1/namespaces/default/taspolicies/olsr-network-cost";
    let policy = red.get(path).unwrap().unwrap();
    let rules = &policy["spec"]["strategies"]["dontschedule"]["rules"];
    // What is out of reach is excluded whatever it costs.
    assert_eq!((&rules[0]["target"], &rules[0]["operator"]), (&json!(600), &json!("GreaterThan")));
    assert_eq!((&rules[1]["target"], &rules[1]["operator"]), (&json!(0), &json!("LessThan")));
    let refused = red.apply(&POLICY.replace("GreaterThan\n", "MoreThan\n")).unwrap_err();
    assert!(refused.contains("operator"), "{refused}");
    red.kubectl(&["delete", "customresourcedefinition", "taspolicies.telemetry.intel.com"])
        .unwrap();

    red.apply(ADAPTER).unwrap();
    let map = red.get("/api/v1/namespaces/default/configmaps/outrider-prometheus-adapter").unwrap();
    let rule = map.unwrap()["data"]["config.yaml"].as_str().unwrap().to_owned();
    assert!(rule.contains("seriesQuery: 'olsr_network_cost") && rule.contains("max("), "{rule}");
}
