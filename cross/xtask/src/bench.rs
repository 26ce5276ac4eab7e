//! What the agent needs around it to be measured or checked as it runs on a vehicle: a broker with TLS, a stand-in daemon
//! with a mesh of any size, and a folder for configurations and logs. Everything is real, on loopback, on free ports, and
//! ends with the value that holds it.

mod children;
mod figures;
mod listener;
pub mod page;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::packages;
use crate::steps::quiet;
pub use children::Child;
pub use figures::Figures;

/// Longest wait for anything: long enough for the agent under an emulator on a machine with much other work, so that only
/// what hangs is given up. Nothing is judged by its speed.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// Folder, ports and certificates of one run.
pub struct Bench {
    /// Configurations, certificates and logs.
    pub folder: PathBuf,
    /// Port of the broker's listener with TLS 1.3 and nothing older.
    pub broker_tls: u16,
    /// Port of its listener without TLS.
    pub broker_plain: u16,
    convoy: PathBuf,
}

/// What an agent follows and where it sends.
#[derive(Clone, Copy)]
pub struct Follow<'a> {
    /// Port of the routing daemon.
    pub daemon: u16,
    /// Further lines of the configuration, the first ones of its section `[mqtt]`.
    pub more: &'a str,
}

impl Bench {
    /// Clears `folder` and makes certificates there; `convoy` is the program that plays routing daemons.
    pub fn new(folder: &Path, convoy: &Path) -> Result<Bench, String> {
        // What an earlier run left is of no use; a folder that is not there is none.
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).map_err(|e| format!("making {}: {e}", folder.display()))?;
        let bench = Bench {
            folder: folder.to_owned(),
            broker_tls: free_port()?,
            broker_plain: free_port()?,
            convoy: convoy.to_owned(),
        };
        bench.certificates()?;
        Ok(bench)
    }

    /// Writes a file into the folder.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf, String> {
        let path = self.folder.join(name);
        fs::write(&path, content).map_err(|e| format!("writing {}: {e}", path.display()))?;
        Ok(path)
    }

    /// An authority and a certificate for the broker on 127.0.0.1.
    fn certificates(&self) -> Result<(), String> {
        let openssl = |arguments: &[&str]| {
            quiet(packages::command("openssl").args(arguments).current_dir(&self.folder))
        };
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let authority = [
            "req",
            "-x509",
            "-days",
            "2",
            "-subj",
            "/CN=bench",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
        ];
        openssl(&[&authority[..], &key[..]].concat())?;
        self.write("san", "subjectAltName=IP:127.0.0.1\n")?;
        let request =
            ["req", "-new", "-subj", "/CN=broker", "-keyout", "broker.key", "-out", "broker.csr"];
        openssl(&[&request[..], &key[..]].concat())?;
        openssl(&[
            "x509",
            "-req",
            "-days",
            "2",
            "-in",
            "broker.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-extfile",
            "san",
            "-out",
            "broker.pem",
        ])?;
        Ok(())
    }

    /// A broker that lets everybody in.
    pub fn broker(&self) -> Result<Child, String> {
        let folder = self.folder.display();
        let user = quiet(Command::new("id").arg("-un"))?;
        let config = self.write(
            "mosquitto.conf",
            format!(
                "user {}\nper_listener_settings true\nlistener {} 127.0.0.1\nallow_anonymous true\n\
                 listener {} 127.0.0.1\nallow_anonymous true\ncertfile {folder}/broker.pem\nkeyfile {folder}/broker.key\n\
                 tls_version tlsv1.3\n",
                user.trim(),
                self.broker_plain,
                self.broker_tls
            ),
        )?;
        let mut command = packages::command("mosquitto");
        command.arg("-c").arg(config);
        Child::start("mosquitto", &mut command, &self.folder, Some(self.broker_tls))
    }

    /// A routing daemon on `port` that sees a moving mesh of `nodes` vehicles.
    pub fn daemon(&self, nodes: u32, protocol: &str, port: u16) -> Result<Child, String> {
        let mut command = Command::new(&self.convoy);
        command.args(["serve", "--nodes", &nodes.to_string(), "--protocol", protocol]);
        command.arg("--listen").arg(format!("127.0.0.1:{port}"));
        Child::start(protocol, &mut command, &self.folder, Some(port))
    }

    /// The agent as vehicle `name`, started by `words`, and the port of its pages.
    pub fn agent(
        &self,
        name: &str,
        words: &[&str],
        follow: Option<Follow<'_>>,
    ) -> Result<(Child, u16), String> {
        let port = free_port()?;
        let folder = self.folder.display();
        let rest = match follow {
            None => "[mesh]\ndaemon = \"none\"\n".to_owned(),
            Some(Follow { daemon, more }) => format!(
                "[mesh]\ndaemon = \"jsoninfo\"\nconnect = \"127.0.0.1:{daemon}\"\n\
                 [mqtt]\nhost = \"127.0.0.1\"\nport = {}\ntls = true\nca_file = \"{folder}/ca.pem\"\n{more}",
                self.broker_tls
            ),
        };
        let config = self.write(
            &format!("{name}.toml"),
            format!(
                "[vehicle]\nname = \"{name}\"\n[http]\nlisten = \"127.0.0.1:{port}\"\n\
                 [control]\npath = \"{folder}/{name}.sock\"\n{rest}"
            ),
        )?;
        let (program, arguments) = words.split_first().ok_or("an agent is started by no words")?;
        let mut command = packages::command(program);
        command.args(arguments).arg("run").arg("--config").arg(config);
        Ok((Child::start(name, &mut command, &self.folder, Some(port))?, port))
    }
}

/// A port that nobody holds at the moment.
pub fn free_port() -> Result<u16, String> {
    TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|e| format!("finding a free port: {e}"))
}

/// Asks `condition` every `pause` until it has an answer.
pub fn until<T>(
    what: &str,
    pause: Duration,
    mut condition: impl FnMut() -> Result<Option<T>, String>,
) -> Result<T, String> {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if let Some(answer) = condition()? {
            return Ok(answer);
        }
        std::thread::sleep(pause);
    }
    Err(format!("waited {} s for {what}", PATIENCE.as_secs()))
}
