//! `outrider check federation` against a server that shows what a pre-flight has to notice, and the client for the Kubernetes API
//! against one that does what real ones do seldom. TLS, certificates and sockets are real; the servers are doubles.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[cfg(feature = "kubernetes")]
mod api;
#[cfg(feature = "kubernetes")]
mod kube;
mod supervisor;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use outrider::config::{Machine, parse};
use outrider::core::membership::preflight::Stage;
use outrider::shell::federation::{Credentials, Plan, look};
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use supervisor::{Authority, Manner, PASSWORD, Supervisor, authority, below, certificate};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_outrider");

fn sha256(content: &[u8]) -> String {
    let hash = TLS13_AES_128_GCM_SHA256.tls13().unwrap().common.hash_provider.hash(content);
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bundle of one authority, and the hash that k3s gives it.
fn bundle(authority: &Authority) -> (Vec<u8>, String) {
    let pem = authority.pem().into_bytes();
    let hash = sha256(&pem);
    (pem, hash)
}

fn manner(bundle: &[u8]) -> Manner {
    Manner {
        bundle: bundle.to_vec(),
        readyz: 200,
        old: false,
        ahead_s: 0,
        silent: Vec::new(),
        plain: None,
    }
}

/// A vehicle that knows one federation, `purple`.
struct Vehicle {
    folder: TempDir,
}

/// What the program says of one stage.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    verdict: String,
    text: String,
    remedy: String,
}

impl Vehicle {
    fn new(servers: &[String], token: &str) -> Vehicle {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let file = path("purple.token");
        fs::write(&file, token).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let config = format!(
            "[k3s]\ndata_folder = {:?}\n[[federation]]\nname = \"purple\"\nservers = {servers:?}\ntoken_file = {file:?}\n",
            folder.path()
        );
        fs::write(path("outrider.toml"), config).unwrap();
        Vehicle { folder }
    }

    fn of(server: &Supervisor, hash: &str) -> Vehicle {
        Vehicle::new(&[server.address.to_string()], &format!("K10{hash}::node:{PASSWORD}\n"))
    }

    /// What `outrider check federation` says, and whether it finds a fault. With `named`, of `purple` by its name.
    fn check(&self, named: bool) -> (bool, Vec<Said>) {
        let mut command = Command::new(PROGRAM);
        command.env_clear().args(["check", "federation"]);
        if named {
            command.arg("purple");
        }
        let config = self.folder.path().join("outrider.toml");
        let output = command.arg("--json").arg("--config").arg(config).output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {output:?}"));
        let findings = report["findings"].as_array().unwrap();
        let text =
            |finding: &serde_json::Value, key: &str| finding[key].as_str().unwrap().to_owned();
        let said = findings.iter().map(|finding| Said {
            verdict: text(finding, "verdict"),
            text: text(finding, "text"),
            remedy: text(finding, "remedy"),
        });
        (output.status.code() == Some(1), said.collect())
    }

    /// The only fault that it says, which must be the last thing that it says.
    fn fault(&self, named: bool) -> Said {
        let (failed, mut said) = self.check(named);
        let faults = said.iter().filter(|said| said.verdict == "error").count();
        assert!(failed && faults == 1, "{said:#?}");
        let last = said.pop().unwrap();
        assert_eq!(last.verdict, "error", "{last:?}");
        assert!(!last.remedy.is_empty(), "{last:?}");
        last
    }

    fn sound(&self, named: bool) -> Vec<Said> {
        let (failed, said) = self.check(named);
        assert!(!failed, "{said:#?}");
        said
    }
}

fn stages(said: &[Said]) -> Vec<&str> {
    let stage = |said: &'_ Said| -> Option<usize> { said.text.find(':') };
    said.iter()
        .map(|said| said.text[..stage(said).unwrap()].strip_prefix("purple, ").unwrap())
        .collect()
}

#[test]
fn a_sound_federation_passes_every_stage_and_the_token_is_shown_once_and_only_when_asked() {
    let ca = authority("k3s-server-ca");
    let (pem, hash) = bundle(&ca);
    let server = Supervisor::start(certificate(&["127.0.0.1"], &ca, |_| {}), manner(&pem));
    let vehicle = Vehicle::of(&server, &hash);

    let cheap =
        ["credentials", "unit", "space", "route", "connect", "authority", "clock", "name", "speed"];
    let said = vehicle.sound(false);
    assert_eq!(stages(&said), cheap);
    assert!(server.asked().iter().all(|asked| asked.authorization.is_none()));
    let asked = server.asked().len();
    assert_eq!(asked, 5, "one /cacerts and four /ping: {:?}", server.asked());

    let said = vehicle.sound(true);
    // Without an account the API cannot be asked whether the name is free.
    assert_eq!(stages(&said), [&cheap[..], &["token", "node"]].concat());
    let shown: Vec<_> =
        server.asked().into_iter().filter(|asked| asked.authorization.is_some()).collect();
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0].path, "/v1-k3s/readyz");
}

#[test]
fn a_server_with_another_authority_is_a_stranger_and_sees_no_token() {
    let (_, hash) = bundle(&authority("k3s-server-ca"));
    let other = authority("k3s-server-ca");
    let (pem, _) = bundle(&other);
    let server = Supervisor::start(certificate(&["127.0.0.1"], &other, |_| {}), manner(&pem));
    let said = Vehicle::of(&server, &hash).fault(true);
    assert!(said.text.contains("authority: foreign cluster or man in the middle"), "{said:?}");
    assert!(said.text.contains(&hash), "{said:?}");
    assert!(server.asked().iter().all(|asked| asked.authorization.is_none()));
}

/// Somebody shows the real authority, which is public, and has a certificate of his own making.
#[test]
fn whoever_shows_the_right_authority_without_its_key_sees_no_token() {
    let ca = authority("k3s-server-ca");
    let (pem, hash) = bundle(&ca);
    let own = authority("k3s-server-ca");
    let server = Supervisor::start(certificate(&["127.0.0.1"], &own, |_| {}), manner(&pem));
    let said = Vehicle::of(&server, &hash).fault(true);
    assert!(said.text.contains("is not of the authority that it shows"), "{said:?}");
    assert!(server.asked().iter().all(|asked| asked.authorization.is_none()));
}

/// The same with a bundle whose chain, by its names, leads to the real root.
#[test]
fn a_bundle_that_only_borrows_the_right_root_is_not_trusted() {
    let ca = authority("k3s-root-ca");
    let forged = below("between", &authority("k3s-root-ca"));
    let pem = format!("{}{}", forged.pem(), ca.pem()).into_bytes();
    let server = Supervisor::start(certificate(&["127.0.0.1"], &forged, |_| {}), manner(&pem));
    let said = Vehicle::of(&server, &sha256(ca.der())).fault(true);
    assert!(said.text.contains("is not of the authority that it shows"), "{said:?}");
    assert!(server.asked().iter().all(|asked| asked.authorization.is_none()));
}

#[test]
fn an_authority_of_several_levels_is_named_by_its_root() {
    let root = authority("k3s-root-ca");
    let between = below("k3s-intermediate-ca", &root);
    let ca = below("k3s-server-ca", &between);
    let pem = format!("{}{}{}", ca.pem(), root.pem(), between.pem()).into_bytes();
    // The server sends its own certificate alone.
    let server = Supervisor::start(certificate(&["127.0.0.1"], &ca, |_| {}), manner(&pem));
    Vehicle::of(&server, &sha256(root.der())).sound(true);

    let said = Vehicle::of(&server, &sha256(&pem)).fault(true);
    assert!(said.text.contains("foreign cluster"), "{said:?}");
}

#[test]
fn a_certificate_for_other_names_is_told_from_a_stranger() {
    let ca = authority("k3s-server-ca");
    let (pem, hash) = bundle(&ca);
    let names = ["10.0.7.1", "kubernetes.default"];
    let server = Supervisor::start(certificate(&names, &ca, |_| {}), manner(&pem));
    let said = Vehicle::of(&server, &hash).fault(true);
    assert!(said.text.contains("name: the server's certificate is not for 127.0.0.1"), "{said:?}");
    assert!(said.remedy.contains("tls-san: [\"127.0.0.1\"]"), "{said:?}");
}

#[test]
fn answers_to_the_token_are_told_apart() {
    let ca = authority("k3s-server-ca");
    let (pem, hash) = bundle(&ca);
    let made = || certificate(&["127.0.0.1"], &ca, |_| {});
    for (readyz, words) in [(403, "403"), (429, "busy"), (503, "starting"), (302, "302")] {
        let server = Supervisor::start(made(), Manner { readyz, ..manner(&pem) });
        let said = Vehicle::of(&server, &hash).fault(true);
        assert!(said.text.contains("token:") && said.text.contains(words), "{said:?}");
    }
    let server = Supervisor::start(made(), manner(&pem));
    let token = format!("K10{hash}::node:wrong");
    let said = Vehicle::new(&[server.address.to_string()], &token).fault(true);
    assert!(said.text.contains("401"), "{said:?}");
    assert!(said.remedy.contains("k3s token create"), "{said:?}");
    let shown = server.asked().iter().filter(|asked| asked.authorization.is_some()).count();
    assert_eq!(shown, 1, "a wrong token is not tried again");
    let beside = Supervisor::start(made(), manner(&pem));
    let both = [server.address.to_string(), beside.address.to_string()];
    let said = Vehicle::new(&both, &token).fault(true);
    assert!(said.text.contains("401"), "{said:?}");
    assert_eq!(beside.asked(), [], "all servers look for it in the store that they share");

    let server = Supervisor::start(made(), Manner { old: true, ..manner(&pem) });
    Vehicle::of(&server, &hash).sound(true);
    let said = Vehicle::new(&[server.address.to_string()], &token).fault(true);
    assert!(said.text.contains("401"), "{said:?}");
}

#[test]
fn clocks_that_differ_are_found_before_certificates_fail_for_it() {
    let ca = authority("k3s-server-ca");
    let (pem, hash) = bundle(&ca);
    let made = || certificate(&["127.0.0.1"], &ca, |_| {});
    let server = Supervisor::start(made(), Manner { ahead_s: 2 * 3_600, ..manner(&pem) });
    let said = Vehicle::of(&server, &hash).fault(true);
    assert!(
        said.text.contains("clock: this clock is ") && said.text.contains("behind"),
        "{said:?}"
    );

    let server = Supervisor::start(made(), Manner { ahead_s: -600, ..manner(&pem) });
    let said = Vehicle::of(&server, &hash).sound(true);
    let clock = said.iter().find(|said| said.text.contains("clock:")).unwrap();
    assert_eq!(clock.verdict, "warning", "{clock:?}");

    let of_2090 = |parameters: &mut rcgen::CertificateParams| {
        parameters.not_before = rcgen::date_time_ymd(2090, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2091, 1, 1);
    };
    let server = Supervisor::start(certificate(&["127.0.0.1"], &ca, of_2090), manner(&pem));
    let said = Vehicle::of(&server, &hash).fault(true);
    assert!(said.text.contains("clock: by this machine's clock"), "{said:?}");
}

#[test]
fn a_link_on_which_requests_do_not_end_is_too_slow_for_k3s() {
    let ca = authority("k3s-server-ca");
    let (pem, hash) = bundle(&ca);
    let made = || certificate(&["127.0.0.1"], &ca, |_| {});
    let server = Supervisor::start(made(), Manner { silent: vec![1], ..manner(&pem) });
    let said = Vehicle::of(&server, &hash).sound(true);
    let speed = said.iter().find(|said| said.text.contains("speed:")).unwrap();
    assert_eq!(speed.verdict, "warning", "{speed:?}");

    let server = Supervisor::start(made(), Manner { silent: vec![0, 2], ..manner(&pem) });
    let said = Vehicle::of(&server, &hash).fault(true);
    assert!(said.text.contains("speed: link too slow for k3s to join"), "{said:?}");
    assert!(server.asked().iter().all(|asked| asked.authorization.is_none()));
}

#[test]
fn what_is_no_k3s_server_is_named() {
    let ca = authority("k3s-server-ca");
    let (pem, hash) = bundle(&ca);
    let made = || certificate(&["127.0.0.1"], &ca, |_| {});
    for plain in
        [b"SSH-2.0-x\r\n".to_vec(), b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), Vec::new()]
    {
        let server = Supervisor::start(made(), Manner { plain: Some(plain), ..manner(&pem) });
        let said = Vehicle::of(&server, &hash).fault(true);
        assert!(
            said.text.starts_with("purple, authority") || said.text.starts_with("purple, connect"),
            "{said:?}"
        );
    }
    for content in [b"<html>".to_vec(), Vec::new(), vec![b'x'; 100_000]] {
        let server = Supervisor::start(made(), manner(&content));
        let said = Vehicle::of(&server, &hash).fault(true);
        assert!(said.text.contains("authority:"), "{said:?}");
    }
}

#[test]
fn the_way_and_the_next_server_are_tried() {
    let ca = authority("k3s-server-ca");
    let (pem, hash) = bundle(&ca);
    let server = Supervisor::start(certificate(&["127.0.0.1"], &ca, |_| {}), manner(&pem));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let token = format!("K10{hash}::node:{PASSWORD}");
    let said = Vehicle::new(std::slice::from_ref(&closed), &token).fault(true);
    assert!(said.text.contains("connect:") && said.text.contains(&closed), "{said:?}");
    Vehicle::new(&[closed, server.address.to_string()], &token).sound(true);
}

#[test]
fn what_is_wrong_on_the_vehicle_is_said_before_anything_is_sent() {
    let ca = authority("k3s-server-ca");
    let (pem, hash) = bundle(&ca);
    let server = Supervisor::start(certificate(&["127.0.0.1"], &ca, |_| {}), manner(&pem));
    let servers = [server.address.to_string()];
    for (token, words) in [("", "holds no token"), ("K10x", "holds no token")] {
        let (failed, said) = Vehicle::new(&servers, token).check(true);
        assert!(failed && said[0].text.contains(words), "{said:#?}");
    }
    let (failed, said) = Vehicle::new(&servers, "hush").check(true);
    assert!(failed && said[0].text.contains("does not name the server's authority"), "{said:#?}");
    assert!(server.asked().iter().all(|asked| asked.authorization.is_none()));

    let vehicle = Vehicle::new(&servers, &format!("K10{hash}::server:{PASSWORD}"));
    let token = vehicle.folder.path().join("purple.token");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let said = vehicle.sound(true);
    assert!(said[0].text.contains("is that of a server"), "{said:#?}");
    assert!(said[1].text.contains("others on this vehicle may read"), "{said:#?}");

    let config = vehicle.folder.path().join("outrider.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("servers = [", "servers = [\"http://x\", ")).unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["check", "federation", "purple", "--config"]).arg(&config);
    let output = command.output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.code() == Some(1) && shown.contains("`http://x` is no server"),
        "{shown}"
    );
    let beside = vehicle.folder.path().join("spool");
    let greedy = format!("[spool]\nfolder = {beside:?}\nsize = \"1024GiB\"\n{text}");
    fs::write(&config, greedy).unwrap();
    let said = vehicle.sound(true);
    let space = said.iter().find(|said| said.text.contains("space:")).unwrap();
    let free_mib = space.text.split_whitespace().find_map(|word| word.parse::<u64>().ok());
    // No smaller disk holds such a spool and k3s.
    let expected = if free_mib.unwrap() < 1024 * 1024 + 512 { "warning" } else { "ok" };
    assert_eq!(space.verdict, expected, "{space:?}");
    assert_eq!(space.text.contains("the spool beside it"), expected == "warning", "{space:?}");
    fs::write(&config, text).unwrap();

    fs::remove_file(&token).unwrap();
    let (failed, said) = vehicle.check(true);
    assert!(failed && said[0].text.contains("cannot be read"), "{said:#?}");
}

#[test]
fn a_vehicle_that_cannot_join_anyway_keeps_its_token() {
    let ca = authority("k3s-server-ca");
    let (pem, hash) = bundle(&ca);
    let server = Supervisor::start(certificate(&["127.0.0.1"], &ca, |_| {}), manner(&pem));
    let vehicle = Vehicle::of(&server, &hash);
    let text = fs::read_to_string(vehicle.folder.path().join("outrider.toml")).unwrap();
    let config = parse(&text, &Machine::this()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (credentials, shown) in
        [(Credentials::Kept, 0), (Credentials::ForJoin, 0), (Credentials::Shown, 1)]
    {
        let plan = Plan {
            federation: &config.federation[0],
            unit: None,
            has_commands: false,
            // There is no room on a file system without blocks.
            data_folder: Path::new("/proc"),
            spool: &config.spool,
            vehicle: "alpha",
            node_name: "alpha",
            credentials,
        };
        let found = runtime.block_on(look(plan));
        assert!(found.iter().any(|finding| finding.stage == Stage::Space && finding.is_bad()));
        // The way to the server is looked at in any case.
        assert!(found.iter().any(|finding| finding.stage == Stage::Speed), "{found:#?}");
        let with_token = server.asked().into_iter().filter(|asked| asked.authorization.is_some());
        assert_eq!(with_token.count(), shown, "{credentials:?}: {found:#?}");
    }
}
