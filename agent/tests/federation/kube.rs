//! The client for the Kubernetes API against a server that does what real ones do seldom. That real ones understand it is tested
//! with those, in `hw-tests/federation`.

use std::fs;
use std::net::{SocketAddr, TcpListener};

use outrider::core::membership::kube::{DrainPolicy, Loss, Progress, Taint};
use outrider::core::membership::{CaHash, NodeSeen, Outcome, Server};
use outrider::shell::federation::kube::{Cluster, Credential};
use tempfile::TempDir;

use crate::api::{Answer, Api, Asked, Script};
use crate::bundle;
use crate::supervisor::{Authority, authority, certificate};

const NODE: &str = r#"{"metadata":{"name":"veh","uid":"u1","resourceVersion":"7"},"spec":{"taints":[]},
    "status":{"conditions":[{"type":"Ready","status":"True"}]}}"#;

const VERSION: &str = r#"{"gitVersion":"v1.33.4+k3s1"}"#;

/// A federation whose authority is known, and a vehicle with a token for it.
struct Scene {
    authority: Authority,
    folder: TempDir,
}

impl Scene {
    fn new() -> Scene {
        let scene =
            Scene { authority: authority("k3s-server-ca"), folder: tempfile::tempdir().unwrap() };
        scene.write_token("hush.one");
        scene
    }

    fn write_token(&self, token: &str) {
        fs::write(self.folder.path().join("token"), token).unwrap();
    }

    fn server(&self, script: Script) -> Api {
        let identity = certificate(&["127.0.0.1"], &self.authority, |_| {});
        Api::start(identity, &bundle(&self.authority).0, script)
    }

    fn cluster(&self, servers: &[SocketAddr]) -> Cluster {
        let hash = CaHash::parse(&bundle(&self.authority).1).unwrap();
        let servers = servers.iter().map(|server| Server::parse(&server.to_string()).unwrap());
        let file = self.folder.path().join("token");
        Cluster::new(servers.collect(), hash, Credential::Token { file })
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn say(status: u16, body: &str) -> Answer {
    Answer::Say(status, "", body.to_owned())
}

fn present() -> Result<NodeSeen, Outcome> {
    Ok(NodeSeen::Present { uid: "u1".to_owned(), ready: true })
}

fn lease(second: u32, uid: &str) -> String {
    format!(
        r#"{{"metadata":{{"ownerReferences":[{{"kind":"Node","uid":"{uid}"}}]}},
            "spec":{{"renewTime":"1970-01-01T00:00:0{second}.000000Z"}}}}"#
    )
}

fn connections(asked: &[Asked]) -> Vec<usize> {
    asked.iter().map(|asked| asked.connection).collect()
}

/// Where nobody listens.
fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_stranger_sees_no_credential() {
    let scene = Scene::new();
    let other = authority("k3s-server-ca");
    let strange = |bundle: &[u8]| {
        let identity = certificate(&["127.0.0.1"], &other, |_| {});
        Api::start(identity, bundle, Box::new(|_, _| say(200, NODE)))
    };
    let own = strange(&bundle(&other).0);
    let outcome = run(scene.cluster(&[own.address]).seen("veh", None)).unwrap_err();
    assert!(
        matches!(&outcome, Outcome::Refused(text) if text.contains("foreign cluster")),
        "{outcome:?}"
    );
    // The real authority is public: everybody can show it.
    let borrowed = strange(&bundle(&scene.authority).0);
    let outcome = run(scene.cluster(&[borrowed.address]).seen("veh", None)).unwrap_err();
    let Outcome::Refused(text) = &outcome else { panic!("{outcome:?}") };
    assert!(text.contains("not of the authority"), "{text}");
    assert!(own.asked().is_empty() && borrowed.asked().is_empty());
}

#[test]
fn one_connection_carries_a_burst_and_another_follows_when_it_has_ended() {
    let scene = Scene::new();
    let api = scene.server(Box::new(|_, before| match before {
        2 => Answer::Last(200, VERSION.to_owned()),
        3 => Answer::Say(200, "connection: close\r\n", VERSION.to_owned()),
        _ => say(200, VERSION),
    }));
    run(async {
        let mut cluster = scene.cluster(&[nowhere(), api.address]);
        for _ in 0..6 {
            assert_eq!(cluster.version().await.unwrap(), "v1.33.4+k3s1");
        }
        cluster.close();
        cluster.version().await.unwrap();
    });
    let asked = api.asked();
    // The first connection showed the authority.
    assert_eq!(connections(&asked), [1, 1, 1, 2, 3, 3, 4]);
    assert!(asked.iter().all(|asked| asked.header("authorization") == Some("Bearer hush.one")));
    let outcome = run(scene.cluster(&[nowhere(), nowhere()]).seen("veh", None)).unwrap_err();
    assert!(matches!(&outcome, Outcome::Unreachable(text) if text.contains("; ")), "{outcome:?}");
    assert!(matches!(run(scene.cluster(&[]).seen("veh", None)), Err(Outcome::Refused(_))));
}

#[test]
fn a_request_without_an_answer_is_made_once_more() {
    let scene = Scene::new();
    let api = scene.server(Box::new(|_, before| match before {
        1 => Answer::Silence,
        _ => say(200, NODE),
    }));
    run(async {
        let mut cluster = scene.cluster(&[api.address]);
        assert_eq!(cluster.seen("veh", None).await, present());
        assert_eq!(cluster.cordon("veh", Some("u1")).await, Outcome::Done);
    });
    let asked = api.asked();
    assert_eq!(connections(&asked), [1, 1, 2]);
    assert_eq!((&asked[1].line, &asked[1].body), (&asked[2].line, &asked[2].body));
    assert_eq!(asked[2].header("content-type"), Some("application/merge-patch+json"));
}

#[test]
fn answers_that_are_none_or_too_large_do_no_harm() {
    let scene = Scene::new();
    let page = "<html>".to_owned();
    let large = format!("\"{}\"", "x".repeat(5 << 20));
    for (body, part) in
        [(page, "not what Kubernetes answers"), (large, "larger than 4194304 bytes")]
    {
        let api = scene.server(Box::new(move |_, _| say(200, &body)));
        let outcome = run(scene.cluster(&[api.address]).node("veh")).unwrap_err();
        let (Outcome::Refused(text) | Outcome::Unreachable(text)) = &outcome else {
            panic!("{outcome:?}")
        };
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_busy_server_is_left_alone_for_as_long_as_it_says() {
    let scene = Scene::new();
    for (status, head, expected) in
        [(503, "retry-after: 7\r\n", 7), (429, "Retry-After: 3\r\n", 3), (502, "", 10)]
    {
        let api = scene.server(Box::new(move |_, _| Answer::Say(status, head, String::new())));
        let outcome = run(scene.cluster(&[api.address]).cordon("veh", None));
        let Outcome::NotYet { after, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(
            (after.as_secs(), api.asked().len()),
            (expected, 1),
            "and not asked again at once"
        );
    }
}

#[test]
fn a_token_that_was_exchanged_is_used_without_a_restart() {
    let scene = Scene::new();
    let api = scene.server(Box::new(|asked, _| match asked.header("authorization") {
        Some("Bearer hush.two") => say(200, NODE),
        _ => say(401, r#"{"message":"Unauthorized"}"#),
    }));
    run(async {
        let mut cluster = scene.cluster(&[api.address]);
        let outcome = cluster.seen("veh", None).await.unwrap_err();
        assert!(matches!(&outcome, Outcome::Refused(text) if text.contains("401")), "{outcome:?}");
        assert!(!format!("{cluster:?} {outcome:?}").contains("hush"));
        scene.write_token("hush.two\n");
        assert_eq!(cluster.seen("veh", None).await, present());
        fs::remove_file(scene.folder.path().join("token")).unwrap();
        cluster.close();
        let outcome = cluster.seen("veh", None).await.unwrap_err();
        assert!(
            matches!(&outcome, Outcome::Refused(text) if text.contains("token")),
            "{outcome:?}"
        );
    });
}

#[test]
fn taints_are_made_anew_when_somebody_else_was_faster() {
    let scene = Scene::new();
    let taint = Taint { key: "k".to_owned(), value: String::new(), effect: "NoSchedule" };
    for (conflicts, expected) in [(2, 6), (100, 10)] {
        let api =
            scene.server(Box::new(move |asked, before| match asked.line.starts_with("PATCH") {
                true if before / 2 < conflicts => {
                    say(409, r#"{"reason":"Conflict","message":"m"}"#)
                }
                _ => say(200, NODE),
            }));
        let outcome =
            run(scene.cluster(&[api.address]).taint("veh", std::slice::from_ref(&taint), &[]));
        assert_eq!(outcome == Outcome::Done, conflicts == 2, "{outcome:?}");
        assert!(matches!(outcome, Outcome::Done | Outcome::NotYet { .. }));
        let asked = api.asked();
        assert_eq!(asked.len(), expected, "reading and writing by turns, and not for ever");
        assert!(asked[1].body.contains(r#""resourceVersion":"7""#), "{}", asked[1].body);
    }
}

/// Pods with these names, controlled by somebody.
fn pods(names: &[&str], next: &str) -> String {
    let pod = |name: &&str| {
        format!(
            r#"{{"metadata":{{"name":"{name}","namespace":"n","uid":"u-{name}","ownerReferences":[{{"kind":"ReplicaSet","controller":true}}]}}}}"#
        )
    };
    let items: Vec<String> = names.iter().map(pod).collect();
    format!(r#"{{"metadata":{{"continue":"{next}"}},"items":[{}]}}"#, items.join(","))
}

#[test]
fn a_round_of_draining_goes_on_past_pods_that_are_held_and_stops_when_the_server_is_busy() {
    const HELD: &str = r#"{"reason":"TooManyRequests","message":"Cannot evict","details":{"retryAfterSeconds":12,
        "causes":[{"reason":"DisruptionBudget","message":"budget b is being processed"}]}}"#;
    let scene = Scene::new();
    let policy = DrainPolicy { empty_dir: Loss::Refuse, bare: Loss::Refuse };
    let api = scene.server(Box::new(|asked, _| {
        let evicts = |pod: &str| asked.line.contains(&format!("/pods/{pod}/eviction"));
        match asked.line.as_str() {
            line if line.contains("continue=") => say(200, &pods(&["gone", "going"], "")),
            line if line.starts_with("GET") => say(200, &pods(&["held", "several"], "a+b=")),
            _ if evicts("held") => say(429, HELD),
            _ if evicts("several") => {
                say(500, r#"{"message":"more than one PodDisruptionBudget"}"#)
            }
            _ if evicts("gone") => say(404, r#"{"reason":"NotFound"}"#),
            _ => say(201, "{}"),
        }
    }));
    let mut progress = Progress::default();
    let outcome = run(scene.cluster(&[api.address]).drain("veh", policy, &mut progress));
    let Outcome::NotYet { after, text } = &outcome else { panic!("{outcome:?}") };
    assert_eq!(after.as_secs(), 12);
    assert_eq!(
        text,
        "the server holds n/held (budget b is being processed), n/several (more than one \
         PodDisruptionBudget); waiting for the end of n/going"
    );
    assert_eq!((progress.evicted, progress.left), (1, 3));
    let asked = api.asked();
    assert!(asked[1].line.ends_with("&continue=a%2Bb%3D"), "{}", asked[1].line);
    assert!(asked[2].body.contains(r#"{"uid":"u-held"}"#), "{}", asked[2].body);

    for (status, body) in [(429, "{}"), (503, ""), (403, "{}")] {
        let api = scene.server(Box::new(move |asked, _| match asked.line.starts_with("GET") {
            true => say(200, &pods(&["a", "b", "c"], "")),
            false => say(status, body),
        }));
        let outcome = run(scene.cluster(&[api.address]).drain("veh", policy, &mut progress));
        assert_eq!(matches!(outcome, Outcome::Refused(_)), status == 403, "{outcome:?}");
        assert_eq!(api.asked().len(), 2, "{outcome:?}");
    }
}

#[test]
fn a_list_that_ended_midway_is_begun_anew_later() {
    let scene = Scene::new();
    let api = scene.server(Box::new(|asked, _| match asked.line.contains("continue=") {
        true => say(410, r#"{"reason":"Expired"}"#),
        false => say(200, &pods(&["a"], "next")),
    }));
    let mut progress = Progress::default();
    let outcome =
        run(scene.cluster(&[api.address]).drain("veh", DrainPolicy::default(), &mut progress));
    assert!(matches!(outcome, Outcome::NotYet { .. }), "{outcome:?}");
    assert_eq!(progress, Progress::default(), "nothing was evicted");

    // One that does not end is taken in up to a bound.
    let api = scene.server(Box::new(|asked, _| match asked.line.starts_with("GET") {
        true => say(200, &pods(&["x"; 50], "again")),
        false => say(404, r#"{"reason":"NotFound"}"#),
    }));
    let outcome =
        run(scene.cluster(&[api.address]).drain("veh", DrainPolicy::default(), &mut progress));
    assert!(
        matches!(&outcome, Outcome::NotYet { text, .. } if text.contains("more pods")),
        "{outcome:?}"
    );
    let lists = api.asked().iter().filter(|asked| asked.line.starts_with("GET")).count();
    assert_eq!(lists, 20);
}

#[test]
fn a_node_that_is_ready_is_watched_by_its_lease_as_long_as_that_is_its_own_and_renewed() {
    let scene = Scene::new();
    let api = scene.server(Box::new(|asked, before| {
        match (asked.line.ends_with("/leases/veh"), before) {
            (false, 8..) => say(404, r#"{"reason":"NotFound"}"#),
            (false, _) => say(200, NODE),
            (true, 1..=5) => say(200, &lease(2, "u1")),
            (true, 7) => say(200, &lease(3, "another")),
            (true, _) => say(404, r#"{"reason":"NotFound"}"#),
        }
    }));
    run(async {
        let mut cluster = scene.cluster(&[api.address]);
        for _ in 0..3 {
            assert_eq!(cluster.seen("veh", None).await, present());
        }
        // The unit was started after its last word.
        let old = Ok(NodeSeen::Present { uid: "u1".to_owned(), ready: false });
        assert_eq!(cluster.seen("veh", Some(2_000)).await, old);
        assert_eq!(cluster.seen("veh", None).await, present());
        assert_eq!(cluster.seen("veh", None).await, Ok(NodeSeen::Missing));
    });
    let lines: Vec<_> = api.asked().iter().map(|asked| asked.line.contains("/leases/")).collect();
    assert_eq!(lines, [false, true, true, true, false, true, false, true, false]);
}

#[test]
fn a_leave_is_taken_back_once_and_nothing_is_asked_when_there_is_none() {
    let scene = Scene::new();
    let api = scene.server(Box::new(|_, before| match before {
        0 => say(200, NODE),
        1 => say(200, r#"{"metadata":{"name":"veh","uid":"u1","annotations":{"outrider.internal/leaving":"x"}}}"#),
        2 => say(503, ""),
        _ => say(200, NODE),
    }));
    run(async {
        let mut cluster = scene.cluster(&[api.address]);
        assert_eq!(cluster.seen("veh", None).await, present());
        assert_eq!(cluster.returned("veh", "u1").await, Outcome::Done);
        let mut cluster = scene.cluster(&[api.address]);
        cluster.seen("veh", None).await.unwrap();
        assert_eq!(cluster.returned("veh", "another").await, Outcome::Done);
        assert!(matches!(cluster.returned("veh", "u1").await, Outcome::NotYet { .. }));
        for _ in 0..2 {
            assert_eq!(cluster.returned("veh", "u1").await, Outcome::Done);
        }
    });
    let lines: Vec<_> = api.asked().into_iter().map(|asked| asked.line).collect();
    let (get, patch) = ("GET /api/v1/nodes/veh", "PATCH /api/v1/nodes/veh");
    assert_eq!(lines, [get, get, patch, patch]);
    assert!(api.asked()[3].body.contains(r#""uid":"u1""#));
}
