//! The supervisor half answers as documented.

use std::time::Duration;

use federation::https::{Answer, Call, Server, Trust, block_on};
use federation::k3s::supervisor::{Fault, READING_MAX};
use federation::k3s::token::Token;
use federation::{ControlPlane, Ground, Options, Part, Shape, wait_for};

use crate::{LIMIT, PURPLE, equipment, shared};

/// Asks `red` with a token's credentials.
fn ask(plane: &ControlPlane, path: &str, token: &str) -> Answer {
    let authorization = Token::parse(token).unwrap().authorization();
    plane.call_as(Call::get(path).header("authorization", authorization), None).unwrap()
}

#[test]
fn anybody_may_ping_and_read_the_authority_and_nothing_else() {
    let red = &shared().red;
    let open = |path| red.call_as(Call::get(path), None).unwrap();
    assert_eq!((open("/ping").status, open("/ping").text().as_str()), (200, "pong"));
    assert_eq!(open("/cacerts").text(), red.server_ca());
    assert!(open("/ping").header("date").is_some(), "clocks are compared by it");
    for path in ["/v1-k3s/readyz", "/v1-k3s/config", "/version", "/readyz"] {
        assert_eq!(open(path).status, 401, "{path}");
    }
}

#[test]
fn tokens_open_what_they_should() {
    let red = &shared().red;
    let agent = red.agent_token().unwrap();
    let bootstrap = red.bootstrap_token(3600).unwrap();
    for token in [&agent, &red.server_token().unwrap(), &bootstrap] {
        assert_eq!(ask(red, "/v1-k3s/readyz", token).text(), "ok");
        assert_eq!(ask(red, "/v1-k3s/server-ca.crt", token).text(), red.server_ca());
        let servers = ask(red, "/v1-k3s/apiservers", token).json();
        assert_eq!(servers, serde_json::json!(["10.77.0.11:6443"]));
        assert_eq!(ask(red, "/v1-k3s/connect", token).status, 404, "it has no tunnel");
    }
    assert_eq!(ask(red, "/v1-k3s/readyz", "wrong").status, 401);
    assert_eq!(ask(red, "/v1-k3s/readyz", "abcdef.0123456789abcdef").status, 401);
    let expired = red.bootstrap_token(-10).unwrap();
    assert_eq!(ask(red, "/v1-k3s/readyz", &expired).status, 401);

    // A token that the API knows, of somebody who may not join.
    let account = serde_json::json!({ "spec": { "expirationSeconds": 3600 } }).to_string();
    let path = "/api/v1/namespaces/kube-system/serviceaccounts/default/token";
    let call = Call::with(hyper::Method::POST, path, "application/json", account);
    let token = wait_for("a service account's token", LIMIT, || {
        let answer = red.call(call.clone())?;
        Ok(answer.json()["status"]["token"].as_str().map(str::to_owned))
    });
    let call =
        Call::get("/v1-k3s/readyz").header("authorization", format!("Bearer {}", token.unwrap()));
    assert_eq!(red.call_as(call, None).unwrap().status, 403);
}

#[test]
fn a_server_that_starts_or_is_ordered_to_fail_says_so() {
    let ground = Ground::new(equipment()).unwrap();
    let options = Options {
        names: Some(vec!["elsewhere.example".to_owned()]),
        chained: true,
        ..Options::new(Shape::Federation)
    };
    let plane = ControlPlane::start(&ground, "purple", PURPLE, &options).unwrap();
    let token = plane.agent_token().unwrap();
    assert_eq!(ask(&plane, "/v1-k3s/readyz", &token).status, 200);

    // Its certificate lacks the address by which vehicles dial it.
    let server = |trust: &Trust| Server::new(&format!("{PURPLE}:6443"), trust, None).unwrap();
    let dial = |trust: &Trust| {
        let server = server(trust);
        let limit = Duration::from_secs(10);
        plane.host().enter(|| block_on(server.call(Call::get("/cacerts"), limit)))
    };
    let named = dial(&Trust::Authorities(plane.server_ca().to_owned())).unwrap_err();
    assert!(named.contains("not valid for name"), "{named}");
    let bundle = dial(&Trust::Anybody).unwrap().text();
    assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), 2);

    // More requests at a time than it takes.
    let slow = Fault { path: "/v1-k3s/".to_owned(), delay_ms: 600_000, status: None };
    plane.set_faults(vec![slow]).unwrap();
    std::thread::scope(|scope| {
        let ask = || ask(&plane, "/v1-k3s/readyz", &token).status;
        let waiting: Vec<_> = (0..READING_MAX).map(|_| scope.spawn(ask)).collect();
        wait_for("as many requests as it takes", LIMIT, || {
            Ok((plane.counts()?.reading == READING_MAX).then_some(()))
        })
        .unwrap();
        assert_eq!(ask(), 429);
        plane.set_faults(Vec::new()).unwrap();
        assert!(waiting.into_iter().all(|thread| thread.join().unwrap() == 200));
    });
    let ordered = Fault { path: "/v1-k3s/".to_owned(), delay_ms: 0, status: Some(429) };
    plane.set_faults(vec![ordered]).unwrap();
    assert_eq!(ask(&plane, "/v1-k3s/readyz", &token).header("retry-after"), Some("1"));
    plane.set_faults(Vec::new()).unwrap();

    let date = || {
        let answer = plane.call_as(Call::get("/ping"), None).unwrap();
        httpdate::parse_http_date(answer.header("date").unwrap()).unwrap()
    };
    let before = date();
    plane.set_clock_ahead(-7200).unwrap();
    assert!(date() < before, "two hours ago");
    plane.set_clock_ahead(0).unwrap();
    assert!(date() >= before);

    plane.stop_part(Part::ApiServer, true).unwrap();
    assert_eq!(ask(&plane, "/v1-k3s/readyz", &token).status, 503);
    assert_eq!(ask(&plane, "/v1-k3s/readyz", "wrong").status, 401);
    assert_eq!(plane.call_as(Call::get("/ping"), None).unwrap().status, 200);
    let counts = plane.counts().unwrap().counts;
    assert_eq!(counts["GET /v1-k3s/readyz 503"], 1, "{counts:?}");
    assert_eq!(counts["GET /v1-k3s/readyz 429"], 2, "{counts:?}");
}
