//! The program's own Kubernetes client against the real API: Nodes read, marked and deleted by the credentials that ship, and
//! drained of real pods, over links that are slow or cut.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use federation::https::{Call, block_on};
use federation::{AVERAGE, Traits, Vehicle, wait_for};
use hyper::Method;
use outrider::core::membership::kube::drain::Pod;
use outrider::core::membership::kube::{
    Announcement, DrainPolicy, LEAVING, Loss, MemberName, NETWORK_COST, Owner, Progress, Taint,
    Word, ZONE,
};
use outrider::core::membership::{CaHash, NodeSeen, Outcome, Server};
use outrider::shell::federation::kube::{Cluster, Credential};
use serde_json::{Value, json};

use crate::{
    LIMIT, RED, account_of, authority_of, container, member, pod, shared, token_of, vehicle,
    wait_pods_allowed, wait_ready,
};

const EVICT_ALL: DrainPolicy = DrainPolicy { empty_dir: Loss::Evict, bare: Loss::Evict };

fn cluster(credential: &Credential) -> Cluster {
    let server = Server::parse(&RED.to_string()).unwrap();
    Cluster::new(vec![server], authority_of(&shared().red), credential.clone())
}

/// What the kubelet of a vehicle has.
fn certificate(vehicle: &Vehicle) -> Credential {
    Credential::of_kubelet(&vehicle.host().path("/var/lib/rancher/k3s"))
}

/// A token, in a file on a vehicle.
pub fn stored(vehicle: &Vehicle, name: &str, token: &str) -> Credential {
    let file = vehicle.host().folder().join(format!("{name}.token"));
    fs::write(&file, token).unwrap();
    Credential::Token { file }
}

/// The account for a Node, on a vehicle.
fn account(vehicle: &Vehicle, node: &str) -> Credential {
    stored(vehicle, node, &account_of(&shared().red, node))
}

/// Does work whose sockets are the vehicle's.
pub fn on<T: Send>(vehicle: &Vehicle, work: impl AsyncFnOnce() -> T + Send) -> T {
    vehicle.host().enter(|| block_on(async { Ok(work().await) })).unwrap()
}

fn node(name: &str) -> Value {
    shared().red.get(&format!("/api/v1/nodes/{name}")).unwrap().unwrap_or_default()
}

fn refused(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Refused(text) => text,
        other => panic!("{other:?}"),
    }
}

fn not_yet(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::NotYet { text, .. } => text,
        other => panic!("{other:?}"),
    }
}

/// The identity of a Node that is ready, or soon is again: where much else runs, heartbeats are late.
async fn identity_of(api: &mut Cluster, name: &str) -> String {
    let until = Instant::now() + LIMIT;
    loop {
        match api.seen(name, None).await {
            Ok(NodeSeen::Present { uid, ready: true }) => return uid,
            other => assert!(Instant::now() < until, "{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[test]
fn a_node_is_marked_by_its_kubelet_and_tainted_and_deleted_by_its_account_alone() {
    let red = &shared().red;
    let (vehicle, agent) = member("marked", 50);
    let (kubelet, own) = (certificate(&vehicle), account(&vehicle, "marked"));
    let other = account(&vehicle, "somebody-else");
    let unknown = account(&vehicle, "forgotten");
    // Its token is good for ten seconds more: the API server remembers whom it has let in.
    red.kubectl(&["delete", "secret", "forgotten-token", "--namespace=outrider"]).unwrap();

    let identity = on(&vehicle, async || {
        let mut api = cluster(&kubelet);
        assert!(api.version().await.unwrap().starts_with("v1."));
        let identity = identity_of(&mut api, "marked").await;
        assert_eq!(node("marked")["metadata"]["uid"], identity.as_str());
        let far = i64::MAX;
        let seen = api.seen("marked", Some(far)).await.unwrap();
        assert_eq!(seen, NodeSeen::Present { uid: identity.clone(), ready: false });
        assert_eq!(api.seen("nobody", None).await.unwrap(), NodeSeen::Missing);

        // By the certificate of its kubelet: annotations, labels, cordon, and nothing else.
        let word = Word { vehicle: "alpha".to_owned(), network_cost: Some(512), ..Word::default() };
        assert_eq!(api.annotate("marked", None, &word.annotations()).await, Outcome::Done);
        let name = MemberName {
            vehicle: "alpha".to_owned(),
            kind: Some("UGV".to_owned()),
            zone: Some("north".to_owned()),
            ..MemberName::default()
        };
        assert_eq!(api.label("marked", &name.labels().unwrap()).await, Outcome::Done);
        let seen = api.node("marked").await.unwrap().unwrap();
        assert_eq!(
            (seen.annotations[NETWORK_COST].as_str(), seen.labels[ZONE].as_str()),
            ("512", "north")
        );
        assert_eq!(seen.addresses, ["10.77.0.50"]);
        assert_eq!(api.owner("marked", "alpha").await.unwrap(), Owner::Us);
        let twin = Owner::Other("alpha".to_owned());
        assert_eq!(api.owner("marked", "bravo").await.unwrap(), twin, "two vehicles, one name");
        let leaving = Announcement { since_ms: Some(0), reason: "to purple".to_owned() };
        assert_eq!(api.announce("marked", Some(&identity), Some(&leaving)).await, Outcome::Done);
        assert_eq!(
            node("marked")["metadata"]["annotations"][LEAVING],
            "1970-01-01T00:00:00Z to purple"
        );
        assert_eq!(api.announce("marked", Some(&identity), None).await, Outcome::Done);
        assert_eq!(node("marked")["metadata"]["annotations"].get(LEAVING), None);
        let taint =
            Taint { key: "outrider.internal/far".into(), value: "1".into(), effect: "NoSchedule" };
        let outcome = api.taint("marked", std::slice::from_ref(&taint), &[]).await;
        assert!(refused(&outcome).contains("vehicle.yaml"), "{outcome:?}");
        let outcome = api.delete("marked", Some(&identity), "alpha").await;
        assert!(refused(&outcome).contains("deleting Node marked"), "{outcome:?}");

        // Another Node than the one that was meant is not touched.
        let stale = Some("00000000-0000-0000-0000-000000000000");
        assert_eq!(api.cordon("marked", stale).await, Outcome::Done);
        assert_eq!(node("marked")["spec"].get("unschedulable"), None);
        assert_eq!(api.cordon("marked", Some(&identity)).await, Outcome::Done);
        assert_eq!(node("marked")["spec"]["unschedulable"], true);
        assert_eq!(api.cordon("marked", Some(&identity)).await, Outcome::Done);
        assert_eq!(api.uncordon("marked", None).await, Outcome::Done);
        assert_eq!(node("marked")["spec"].get("unschedulable"), None);

        // A vehicle that comes back takes back what it said and did when it left, and no operator's cordon.
        assert_eq!(api.cordon("marked", None).await, Outcome::Done);
        assert_eq!(identity_of(&mut api, "marked").await, identity);
        assert_eq!(api.returned("marked", &identity).await, Outcome::Done);
        assert_eq!(node("marked")["spec"]["unschedulable"], true, "it was cordoned by somebody");
        assert_eq!(api.announce("marked", Some(&identity), Some(&leaving)).await, Outcome::Done);
        assert_eq!(identity_of(&mut api, "marked").await, identity);
        assert_eq!(api.returned("marked", &identity).await, Outcome::Done);
        assert_eq!(node("marked")["spec"].get("unschedulable"), None);
        assert_eq!(node("marked")["metadata"]["annotations"].get(LEAVING), None);

        // By somebody else's account: nothing.
        let mut stranger = cluster(&other);
        for outcome in [
            stranger.cordon("marked", None).await,
            stranger.delete("marked", Some(&identity), "alpha").await,
            stranger.node("marked").await.unwrap_err(),
            stranger.members().await.unwrap_err(),
        ] {
            assert!(refused(&outcome).contains("not allowed (403)"), "{outcome:?}");
        }
        identity
    });

    // The controller's taints stay beside ours.
    agent.stop();
    red.wait_node("marked", "Unknown", LIMIT).unwrap();
    let taints = |expected: &[&str]| {
        wait_for("these taints", LIMIT, || {
            let taints = node("marked")["spec"]["taints"].to_string();
            let all = expected.iter().all(|key| taints.contains(key));
            if all { Ok(Some(())) } else { Err(taints) }
        })
        .unwrap();
    };
    taints(&["node.kubernetes.io/unreachable"]);
    on(&vehicle, async || {
        let mut api = cluster(&own);
        let present = |uid: &str| NodeSeen::Present { uid: uid.to_owned(), ready: false };
        assert_eq!(api.seen("marked", None).await.unwrap(), present(&identity));
        assert!(!api.has_lost_cost(&identity));
        let taint =
            Taint { key: "outrider.internal/far".into(), value: "1".into(), effect: "NoSchedule" };
        for _ in 0..2 {
            assert_eq!(api.taint("marked", std::slice::from_ref(&taint), &[]).await, Outcome::Done);
        }
        taints(&["outrider.internal/far", "node.kubernetes.io/unreachable"]);
        assert_eq!(api.taint("marked", &[], &[taint]).await, Outcome::Done);
        let left = node("marked")["spec"]["taints"].to_string();
        assert!(!left.contains("outrider") && left.contains("unreachable"), "{left}");

        // A Node is deleted when it is the one that was meant, or that of this vehicle.
        let stale = Some("00000000-0000-0000-0000-000000000000");
        assert_eq!(api.delete("marked", stale, "alpha").await, Outcome::Done);
        assert_eq!(api.delete("marked", None, "bravo").await, Outcome::Done);
        assert_eq!(node("marked")["metadata"]["uid"], identity.as_str());

        // Nor is one that changed since it was looked at: here, its cost was taken away.
        let version =
            async |api: &mut Cluster| api.node("marked").await.unwrap().unwrap().resource_version;
        let before = version(&mut api).await;
        let nothing = BTreeMap::from([(NETWORK_COST.to_owned(), None)]);
        assert_eq!(api.annotate("marked", Some(&identity), &nothing).await, Outcome::Done);
        let outcome = api.delete_as_seen("marked", &identity, &before).await;
        assert!(not_yet(&outcome).contains("deleting Node marked"), "{outcome:?}");
        assert_eq!(api.seen("marked", None).await.unwrap(), present(&identity));
        assert!(api.has_lost_cost(&identity) && !api.has_lost_cost(&identity), "once");
        // The controllers may still have something to write there.
        let mut outcome = outcome;
        for _ in 0..5 {
            let now = version(&mut api).await;
            outcome = api.delete_as_seen("marked", &identity, &now).await;
            if outcome == Outcome::Done {
                break;
            }
        }
        assert_eq!(outcome, Outcome::Done);
        for _ in 0..2 {
            assert_eq!(api.delete("marked", Some(&identity), "alpha").await, Outcome::Done);
        }
        assert_eq!(node("marked"), Value::Null);
        assert_eq!(api.delete("marked", None, "alpha").await, Outcome::Done);
        assert_eq!(api.seen("marked", None).await.unwrap(), NodeSeen::Missing);
        assert_eq!(api.cordon("marked", Some(&identity)).await, Outcome::Done);
        let nothing = BTreeMap::from([("a".to_owned(), Some("b".to_owned()))]);
        let outcome = api.annotate("marked", None, &nothing).await;
        assert!(not_yet(&outcome).contains("there is no Node marked"), "{outcome:?}");
        assert_eq!(node("marked"), Value::Null, "a patch makes none");

        let outcome = loop {
            let mut api = cluster(&unknown);
            match api.node("forgotten").await {
                Err(outcome) => break outcome,
                Ok(_) => std::thread::sleep(Duration::from_millis(500)),
            }
        };
        assert!(refused(&outcome).contains("(401)"), "{outcome:?}");
        let mut stranger = Cluster::new(
            vec![Server::parse(&RED.to_string()).unwrap()],
            CaHash([7; 32]),
            own.clone(),
        );
        let outcome = stranger.node("marked").await.unwrap_err();
        assert!(refused(&outcome).contains("foreign cluster"), "{outcome:?}");
    });
}

/// Of a pod that runs on one Node alone.
fn specification(node: &str, more: &Value) -> Value {
    let mut spec = json!({
        "nodeSelector": { "kubernetes.io/hostname": node },
        "containers": [container(&[])],
        // Nobody waits for those whose end is not looked at.
        "terminationGracePeriodSeconds": 0,
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

fn workload(kind: &str, app: &str, node: &str, more: &Value) -> Value {
    let mut workload = json!({
        "apiVersion": "apps/v1", "kind": kind,
        "metadata": { "name": app, "namespace": "default" },
        "spec": {
            "selector": { "matchLabels": { "app": app } },
            "template": { "metadata": { "labels": { "app": app } }, "spec": specification(node, more) },
        },
    });
    if kind == "Deployment" {
        workload["spec"]["replicas"] = json!(1);
    }
    workload
}

/// Name, and whether it is ending, of each pod that is bound to a Node, by name without what controllers add.
fn pods(node: &str) -> Vec<(String, bool)> {
    let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}");
    let list = shared().red.get(&path).unwrap().unwrap();
    let mut pods: Vec<(String, bool)> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|pod| {
            let name = pod["metadata"]["name"].as_str().unwrap();
            let name = name.split('-').next().unwrap().to_owned();
            (name, pod["metadata"]["deletionTimestamp"].is_string())
        })
        .collect();
    pods.sort();
    pods
}

fn names(pods: &[(String, bool)]) -> Vec<&str> {
    pods.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn a_node_is_drained_of_real_pods_within_their_budgets_through_a_cut_of_the_link() {
    let (red, ground) = (&shared().red, &shared().ground);
    let vehicle = vehicle("drained", 51);
    let kept = pod("static", &json!({ "containers": [container(&[])] }));
    let manifest = "/var/lib/rancher/k3s/agent/pod-manifests/static.json";
    vehicle.host().run("mkdir", &["-p", manifest.rsplit_once('/').unwrap().0]).unwrap();
    vehicle.host().write(manifest, &kept.to_string()).unwrap();
    vehicle.configure(&red.url(), &red.agent_token().unwrap()).unwrap();
    let agent = vehicle.start_node().unwrap();
    wait_pods_allowed(red);
    let patient =
        json!({ "terminationGracePeriodSeconds": 30, "containers": [container(&["10"])] });
    let scratch = json!({ "volumes": [{ "name": "scratch", "emptyDir": {} }] });
    let bare = pod("bare", &specification("drained", &json!({ "nodeName": "drained" })));
    let budget = |least: u32| {
        json!({
            "apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget",
            "metadata": { "name": "never-below", "namespace": "default" },
            "spec": { "minAvailable": least, "selector": { "matchLabels": { "app": "held" } } },
        })
    };
    let all = json!({ "apiVersion": "v1", "kind": "List", "items": [
        workload("DaemonSet", "everywhere", "drained", &json!({})),
        workload("Deployment", "held", "drained", &json!({})),
        workload("Deployment", "patient", "drained", &patient),
        workload("Deployment", "scratch", "drained", &scratch),
        bare,
        budget(1),
    ] });
    red.apply(&all.to_string()).unwrap();
    wait_ready("drained", &agent);
    let everyone = ["bare", "everywhere", "held", "patient", "scratch", "static"];
    wait_for("every pod to be ready", LIMIT, || {
        let path = "/api/v1/pods?fieldSelector=spec.nodeName%3Ddrained%2Cstatus.phase%3DRunning";
        let list = red.get(path)?.unwrap_or_default();
        let ready = list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|pod| pod["status"]["containerStatuses"][0]["ready"] == true);
        Ok((ready.count() == everyone.len()).then_some(()))
    })
    .unwrap_or_else(|e| panic!("{e}\n{:?}\n{}", pods("drained"), agent.last_words()));
    let healthy = "/apis/policy/v1beta1/namespaces/default/poddisruptionbudgets/never-below";
    wait_for("the budget to count its pod", LIMIT, || {
        let budget = red.get(healthy)?.unwrap_or_default();
        Ok((budget["status"]["currentHealthy"] == 1).then_some(()))
    })
    .unwrap();

    let own = certificate(&vehicle);
    on(&vehicle, async || {
        let mut api = cluster(&own);
        let mut progress = Progress::default();
        // The second time by the Lease of a real kubelet, which names the Node that it is of.
        let identity = identity_of(&mut api, "drained").await;
        assert_eq!(identity_of(&mut api, "drained").await, identity);
        let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/drained";
        let lease = red.get(lease).unwrap().unwrap();
        assert_eq!(lease["metadata"]["ownerReferences"][0]["uid"], identity.as_str());
        assert_eq!(api.cordon("drained", Some(&identity)).await, Outcome::Done);

        // Nobody goes while policy refuses one.
        let refuse = DrainPolicy::default();
        let outcome = api.drain("drained", refuse, &mut progress).await;
        assert!(refused(&outcome).contains("default/bare has no controller"), "{outcome:?}");
        let refuse = DrainPolicy { bare: Loss::Evict, ..refuse };
        let outcome = api.drain("drained", refuse, &mut progress).await;
        assert!(refused(&outcome).contains("has an emptyDir volume"), "{outcome:?}");
        assert!(!refused(&outcome).contains("bare"), "{outcome:?}");
        let still: Vec<_> = everyone.map(|name| (name.to_owned(), false)).into();
        assert_eq!(pods("drained"), still);

        // The budget holds one; the others get the time to end that they ask for.
        let outcome = api.drain("drained", EVICT_ALL, &mut progress).await;
        let text = not_yet(&outcome);
        assert!(text.contains("the server holds default/held-"), "{text}");
        assert!(text.contains("never-below"), "{text}");
        assert!(text.contains("waiting for the end of"), "{text}");
        assert!(text.contains("default/patient-"), "{text}");
        assert_eq!(progress.evicted, 3);
        let ending = pods("drained").into_iter().find(|(name, _)| name == "patient");
        assert!(ending.is_some_and(|(_, ending)| ending), "it takes ten seconds to end");

        // The link is cut in the middle, and nothing is remembered of the rounds before.
        ground.cut(vehicle.address()).unwrap();
        let outcome = api.drain("drained", EVICT_ALL, &mut progress).await;
        assert!(matches!(outcome, Outcome::Unreachable(_)), "{outcome:?}");
        ground.restore(vehicle.address()).unwrap();
        let mut progress = Progress::default();
        let mut api = cluster(&own);
        wait_for("the patient pod to end", LIMIT, || {
            Ok((names(&pods("drained")) == ["everywhere", "held", "static"]).then_some(()))
        })
        .unwrap_or_else(|e| panic!("{e}\n{:?}", pods("drained")));
        let outcome = api.drain("drained", EVICT_ALL, &mut progress).await;
        assert!(not_yet(&outcome).starts_with("the server holds default/held-"), "{outcome:?}");
        assert_eq!((progress.evicted, progress.left), (0, 1));

        red.apply(&budget(0).to_string()).unwrap();
        let mut rounds = 0;
        loop {
            match api.drain("drained", EVICT_ALL, &mut progress).await {
                Outcome::Done => break,
                Outcome::NotYet { .. } if rounds < 200 => rounds += 1,
                other => panic!("{other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        assert_eq!(progress.evicted, 1);
        assert_eq!(names(&pods("drained")), ["everywhere", "static"]);
        assert_eq!(api.drain("drained", refuse, &mut progress).await, Outcome::Done);
    });
    let apps = ["delete", "--wait=false", "daemonset/everywhere", "deployment/held"];
    red.kubectl(
        &[&apps[..], &["deployment/patient", "deployment/scratch", "pdb/never-below"]].concat(),
    )
    .unwrap();
}

#[test]
fn an_average_link_carries_every_operation_and_lists_of_several_pages() {
    let (red, ground) = (&shared().red, &shared().ground);
    let (vehicle, _agent) = member("remote", 52);
    wait_pods_allowed(red);
    // A Node without a kubelet is enough for pods that nobody has to end.
    let make = |count: u32| {
        let spec = json!({
            "nodeName": "remote", "terminationGracePeriodSeconds": 0, "containers": [container(&[])],
        });
        let pods: Vec<Value> =
            (0..count).map(|number| pod(&format!("many-{number}"), &spec)).collect();
        red.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": pods }).to_string())
    };
    make(60).unwrap();

    // The server heeds whose eviction it is: a pod of the same name that was made meanwhile stays.
    let other = json!({ "items": [
        { "metadata": { "name": "many-0", "namespace": "default", "uid": "of-an-earlier-one" } } ] });
    let (other, _) = Pod::read_page(other.to_string().as_bytes()).unwrap();
    let path = "/api/v1/namespaces/default/pods/many-0/eviction";
    let evict = Call::with(Method::POST, path, "application/json", other[0].eviction());
    assert_eq!(red.call(evict).unwrap().status, 409);
    let own = account(&vehicle, "remote");
    let host = stored(&vehicle, "host", &token_of(red, "outrider-host", "host-token"));
    on(&vehicle, async || {
        let (mut api, mut progress) = (cluster(&own), Progress::default());
        let outcome = api.drain("remote", EVICT_ALL, &mut progress).await;
        assert!(not_yet(&outcome).ends_with("and 57 more"), "{outcome:?}");
        assert_eq!(progress.evicted, 60, "on two pages");
        assert_eq!(api.drain("remote", EVICT_ALL, &mut progress).await, Outcome::Done);
    });
    make(3).unwrap();
    let queue = Duration::from_secs(1);
    ground.shape(vehicle.host(), vehicle.address(), Traits { queue, ..AVERAGE }, 1).unwrap();
    on(&vehicle, async || {
        let mut api = cluster(&own);
        // Each may fail on such a link, and none does harm by being repeated.
        let again =
            |outcome: &Outcome| matches!(outcome, Outcome::Unreachable(_) | Outcome::NotYet { .. });
        let identity = identity_of(&mut api, "remote").await;
        let leaving = Announcement { since_ms: None, reason: "out of reach".to_owned() };
        let mut progress = Progress::default();
        for step in 0..4 {
            loop {
                let outcome = match step {
                    0 => api.announce("remote", Some(&identity), Some(&leaving)).await,
                    1 => api.cordon("remote", Some(&identity)).await,
                    2 => api.drain("remote", EVICT_ALL, &mut progress).await,
                    _ => api.delete("remote", Some(&identity), "alpha").await,
                };
                if outcome == Outcome::Done {
                    break;
                }
                assert!(again(&outcome), "{step}: {outcome:?}");
            }
            if step == 1 {
                let mut api = cluster(&host);
                let members = loop {
                    match api.members().await {
                        Ok(members) => break members,
                        Err(outcome) => assert!(again(&outcome), "{outcome:?}"),
                    }
                };
                let seen = members.nodes.iter().find(|node| node.name == "remote").unwrap();
                assert_eq!((seen.uid.as_str(), seen.unschedulable), (identity.as_str(), true));
                assert!(seen.lease_ms.is_some() && !members.more);
                assert_eq!(seen.annotations[LEAVING], "out of reach");
            }
        }
        // An eviction whose answer was lost is not counted, and the pod is gone all the same.
        assert!(progress.evicted <= 3, "{progress:?}");
        assert_eq!(pods("remote"), []);
        assert_eq!(node("remote"), Value::Null);
        assert!(api.round_trip().is_some_and(|trip| trip >= AVERAGE.round_trip));
    });
}
