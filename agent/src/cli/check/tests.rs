//! Each check against what it is there to find, with real sockets and files.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::thread;

use super::*;
use crate::config::Machine;

/// A folder with a configuration file.
struct Setup {
    folder: tempfile::TempDir,
}

impl Setup {
    fn new() -> Setup {
        Setup { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>, mode: u32) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn context(&self, config: &str) -> Context {
        let file = self.write("outrider.toml", config, 0o644);
        let machine = Machine::from_parts("alpha", true, Some(self.folder.path().into()), None);
        Context::new(ConfigSource::find(Some(file.into()), None, machine)).unwrap()
    }

    /// What the check `id` finds with `config`.
    fn look(&self, id: &str, config: &str) -> Vec<Finding> {
        let check = CHECKS.iter().find(|check| check.id == id).expect(id);
        look(check, &self.context(config))
    }

    /// The verdict of the only finding, and its text and remedy in one.
    fn one(&self, id: &str, config: &str) -> (Verdict, String) {
        let findings = self.look(id, config);
        assert_eq!(findings.len(), 1, "{findings:#?}");
        let finding = &findings[0];
        if matches!(finding.verdict, Verdict::Warning | Verdict::Error) {
            assert!(!finding.remedy.is_empty(), "{finding:#?}");
        }
        (finding.verdict, format!("{} / {}", finding.text, finding.remedy))
    }
}

/// A port of loopback on which nobody listens.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn every_check_has_its_own_id_and_its_reason() {
    let ids: BTreeSet<&str> = CHECKS.iter().map(|check| check.id).collect();
    assert_eq!(ids.len(), CHECKS.len());
    assert!(CHECKS.iter().map(|check| &check.id).eq(IDS));
    for check in CHECKS {
        assert!(!check.reason.ends_with('.') && !check.title.ends_with('.'), "{}", check.id);
    }
}

#[test]
fn findings_fit_a_serial_console() {
    let long = "a text that goes on and on ".repeat(10);
    for check in CHECKS {
        for finding in [Finding::error(&long, &long), Finding::warning("x\u{1b}[2J", "y")] {
            let text = render(check, &finding, &Terminal::plain());
            assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
            assert!(!text.contains('\u{1b}'));
        }
    }
}

#[test]
fn each_problem_of_the_configuration_is_a_finding_and_what_depends_on_it_is_skipped() {
    let setup = Setup::new();
    let config = "[mesh]\nintervall = \"1s\"\ntimeout = 3\n";
    let findings = setup.look("configuration", config);
    assert_eq!(findings.len(), 2, "{findings:#?}");
    assert!(findings[0].text.contains("line 2") && findings[0].text.contains("`interval`"));
    for check in CHECKS.iter().filter(|check| check.needs_config) {
        assert_eq!(setup.one(check.id, config).0, Verdict::Skipped, "{}", check.id);
    }
    assert_eq!(setup.one("configuration", "").0, Verdict::Ok);
}

#[test]
fn names_that_many_machines_have_are_pointed_out() {
    let setup = Setup::new();
    let with = |name: &str| setup.one("identity", &format!("[vehicle]\nname = \"{name}\"\n"));
    assert_eq!(with("alpha").0, Verdict::Ok);
    assert_eq!(with("localhost").0, Verdict::Warning);
    assert!(with("Alpha").1.contains("lower-case"));
    assert!(with("a_b").1.contains("Kubernetes"));
}

#[test]
fn a_daemon_that_is_away_is_an_error_with_a_remedy() {
    let setup = Setup::new();
    let config =
        format!("[mesh]\ndaemon = \"jsoninfo\"\nconnect = \"127.0.0.1:{}\"\n", free_port());
    let (verdict, text) = setup.one("daemon", &config);
    assert_eq!(verdict, Verdict::Error);
    assert!(text.contains("load its plugin"), "{text}");
    assert_eq!(setup.one("metric", &config).0, Verdict::Skipped);
    assert_eq!(setup.one("daemon", "[mesh]\ndaemon = \"none\"\n").0, Verdict::Skipped);
}

#[test]
fn a_port_held_by_another_program_is_an_error() {
    let setup = Setup::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        // Some other web server.
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        }
    });
    let config = format!("[http]\nlisten = \"{address}\"\n");
    let (verdict, text) = setup.one("http", &config);
    assert_eq!(verdict, Verdict::Error);
    assert!(text.contains("held by another program") && text.contains("ss -ltnp"), "{text}");
}

#[test]
fn a_free_port_is_good_and_an_open_one_is_pointed_out() {
    let setup = Setup::new();
    let port = free_port();
    let on =
        |address: &str| setup.look("http", &format!("[http]\nlisten = \"{address}:{port}\"\n"));
    assert_eq!(on("127.0.0.1")[0].verdict, Verdict::Ok);
    let open = on("0.0.0.0");
    assert_eq!((open[0].verdict, open[1].verdict), (Verdict::Ok, Verdict::Warning));
    assert_eq!(setup.one("http", "[http]\nlisten = \"off\"\n").0, Verdict::Skipped);
}

#[test]
fn an_agent_that_does_not_run_is_a_warning() {
    let setup = Setup::new();
    let config = format!("[control]\npath = \"{}\"\n", setup.path("control.sock").display());
    let (verdict, text) = setup.one("control", &config);
    assert_eq!(verdict, Verdict::Warning);
    assert!(text.contains("no agent is running"), "{text}");
}

#[test]
fn what_is_no_agent_on_the_control_socket_is_an_error() {
    let setup = Setup::new();
    let path = setup.path("control.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.write_all(b"220 mail ready\r\n");
        }
    });
    let config = format!("[control]\npath = \"{}\"\n", path.display());
    assert_eq!(setup.one("control", &config).0, Verdict::Error);
}

#[test]
fn secrets_that_everybody_may_read_are_pointed_out() {
    let setup = Setup::new();
    let config = |file: &str| {
        format!("[mqtt]\nhost = \"127.0.0.1\"\nusername = \"a\"\npassword_file = \"{file}\"\n")
    };
    let open = setup.write("open", "secret", 0o644);
    let (verdict, text) = setup.one("credentials", &config(&open));
    assert_eq!(verdict, Verdict::Warning);
    assert!(text.contains("chmod o="), "{text}");
    let closed = setup.write("closed", "secret", 0o640);
    assert_eq!(setup.one("credentials", &config(&closed)).0, Verdict::Ok);
    let (verdict, text) = setup.one("credentials", &config("/nonexistent/password"));
    assert_eq!(verdict, Verdict::Error);
    assert!(text.contains("/nonexistent/password"), "{text}");
    assert_eq!(setup.one("credentials", "").0, Verdict::Skipped);
}

#[test]
fn files_without_certificate_are_errors() {
    let setup = Setup::new();
    let ca = setup.write("ca.pem", "not a certificate", 0o644);
    let config = format!("[mqtt]\nhost = \"127.0.0.1\"\ntls = true\nca_file = \"{ca}\"\n");
    let (verdict, text) = setup.one("credentials", &config);
    assert_eq!(verdict, Verdict::Error);
    assert!(text.contains("ca.pem"), "{text}");
}

/// A self-signed certificate that is valid between two days counted from now.
fn certificate(from_days: i64, until_days: i64) -> String {
    let mut parameters = rcgen::CertificateParams::new(vec!["alpha".to_owned()]).unwrap();
    let today = rcgen::date_time_ymd(1970, 1, 1)
        + std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let day = std::time::Duration::from_secs(86_400);
    let shift = |days: i64| {
        let distance = day * u32::try_from(days.unsigned_abs()).unwrap();
        if days < 0 { today - distance } else { today + distance }
    };
    parameters.not_before = shift(from_days);
    parameters.not_after = shift(until_days);
    parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
}

#[test]
fn certificates_are_judged_by_their_dates() {
    let setup = Setup::new();
    for (from, until, verdict, words) in [
        (-10, 100, Verdict::Ok, "valid for"),
        (-10, 10, Verdict::Warning, "expires in"),
        (-10, -1, Verdict::Error, "expired on"),
        (2, 100, Verdict::Error, "not valid before"),
    ] {
        let ca = setup.write("ca.pem", certificate(from, until), 0o644);
        let config = format!("[mqtt]\nhost = \"127.0.0.1\"\ntls = true\nca_file = \"{ca}\"\n");
        let (found, text) = setup.one("certificates", &config);
        assert_eq!(found, verdict, "{text}");
        assert!(text.contains(words), "{text}");
    }
    // A good certificate beside a bad one does not hide it.
    let both = certificate(-10, 100) + &certificate(-10, -1);
    let ca = setup.write("ca.pem", both, 0o644);
    let config = format!("[mqtt]\nhost = \"127.0.0.1\"\ntls = true\nca_file = \"{ca}\"\n");
    assert_eq!(setup.one("certificates", &config).0, Verdict::Error);
    assert_eq!(setup.one("certificates", "").0, Verdict::Skipped);
}

#[test]
fn a_broker_that_is_away_is_an_error() {
    let setup = Setup::new();
    let config = format!("[mqtt]\nhost = \"127.0.0.1\"\nport = {}\n", free_port());
    let (verdict, text) = setup.one("broker", &config);
    assert_eq!(verdict, Verdict::Error);
    assert!(text.contains("cannot use 127.0.0.1:"), "{text}");
    assert_eq!(setup.one("broker", "").0, Verdict::Skipped);
}

#[test]
fn hardware_that_cannot_be_read_is_an_error() {
    let setup = Setup::new();
    assert_eq!(setup.one("hardware", "").0, Verdict::Ok);
    let config = format!("[hardware]\nroot = \"{}\"\n", setup.folder.path().display());
    let (verdict, text) = setup.one("hardware", &config);
    assert_eq!(verdict, Verdict::Error);
    assert!(text.contains("proc/stat"), "{text}");
}
