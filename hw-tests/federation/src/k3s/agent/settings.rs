//! Settings of an agent, from everywhere k3s looks, in its order: command line, files, environment.
//!
//! The main file is `/etc/rancher/k3s/config.yaml`; drop-ins are the `*.yaml` and `*.yml` files of the folder named like it
//! with `.d`, in byte order, read even without a main file. A later file replaces a key, `key+` appends to it. Keys that the
//! agent does not know are named in the log and skipped in files, and an error on the command line.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::gethostname;
use ring::rand::{SecureRandom, SystemRandom};

use super::yaml;
use crate::k3s::{BALANCER_PORT, PORT};
use crate::programs::hex;

/// The main file unless another is named.
pub const MAIN_FILE: &str = "/etc/rancher/k3s/config.yaml";

/// Folder of what makes the node itself: password and id.
pub const NODE_FOLDER: &str = "/etc/rancher/node";

/// Folder for state unless another is named.
const DATA_FOLDER: &str = "/var/lib/rancher/k3s";

/// Keys with the environment variable that gives a default.
const KEYS: &[(&str, Option<&str>)] = &[
    ("server", Some("K3S_URL")),
    ("token", Some("K3S_TOKEN")),
    ("token-file", Some("K3S_TOKEN_FILE")),
    ("data-dir", Some("K3S_DATA_DIR")),
    ("node-name", Some("K3S_NODE_NAME")),
    ("with-node-id", None),
    ("node-label", None),
    ("node-taint", None),
    ("node-ip", None),
    ("lb-server-port", Some("K3S_LB_SERVER_PORT")),
    ("kubelet-arg", None),
];

/// Values of one source by key; a scalar is a list of one.
type Values = BTreeMap<String, Vec<String>>;

/// What the agent is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `https://host:port`.
    pub server: String,
    /// The token, unless it is in a file.
    pub token: Option<String>,
    /// File with the token.
    pub token_file: Option<PathBuf>,
    /// Folder for state.
    pub data: PathBuf,
    /// Name of the Node.
    pub node_name: String,
    /// Labels, `key=value`.
    pub labels: Vec<String>,
    /// Taints for the first registration, `key=value:Effect`.
    pub taints: Vec<String>,
    /// Addresses of the node.
    pub addresses: Vec<String>,
    /// Port of the load balancer.
    pub balancer_port: u16,
    /// Arguments for the kubelet, `flag=value`.
    pub kubelet: Vec<String>,
}

impl Settings {
    /// Reads them all.
    pub fn read(arguments: impl Iterator<Item = OsString>) -> Result<Settings, String> {
        let (line, file) = command_line(arguments)?;
        let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let file = file
            .or_else(|| environment("K3S_CONFIG_FILE").map(PathBuf::from))
            .unwrap_or_else(|| PathBuf::from(MAIN_FILE));
        let mut values = Values::new();
        for (key, variable) in KEYS {
            if let Some(value) = variable.and_then(environment) {
                values.insert((*key).to_owned(), vec![value]);
            }
        }
        values.extend(files(&file)?);
        values.extend(line);
        Settings::from_values(&values)
    }

    fn from_values(values: &Values) -> Result<Settings, String> {
        let all = |key: &str| values.get(key).cloned().unwrap_or_default();
        let last = |key: &str| all(key).pop();
        let mut node_name = match last("node-name") {
            Some(name) => name,
            None => {
                let name = gethostname().map_err(|e| format!("asking for the host name: {e}"))?;
                name.to_string_lossy().into_owned()
            }
        };
        if last("with-node-id").as_deref() == Some("true") {
            node_name = format!("{node_name}-{}", kept("id", 4)?);
        }
        let port = last("lb-server-port").unwrap_or_else(|| BALANCER_PORT.to_string());
        let balancer_port =
            port.parse().map_err(|_| format!("`{port}` is no port for the load balancer"))?;
        Ok(Settings {
            server: last("server").ok_or("a server is needed: --server or K3S_URL")?,
            token: last("token"),
            token_file: last("token-file").map(PathBuf::from),
            data: PathBuf::from(last("data-dir").unwrap_or_else(|| DATA_FOLDER.to_owned())),
            node_name,
            labels: all("node-label"),
            taints: all("node-taint"),
            addresses: all("node-ip"),
            balancer_port,
            kubelet: all("kubelet-arg"),
        })
    }

    /// `host:port` of the server.
    pub fn address(&self) -> Result<String, String> {
        let wrong = || format!("`{}` is no https://host:port", self.server);
        let rest = self.server.strip_prefix("https://").ok_or_else(wrong)?.trim_end_matches('/');
        if rest.is_empty() || rest.contains('/') {
            return Err(wrong());
        }
        Ok(if rest.contains(':') { rest.to_owned() } else { format!("{rest}:{PORT}") })
    }

    /// Folder of the agent's own state.
    pub fn agent_folder(&self) -> PathBuf {
        self.data.join("agent")
    }
}

/// The command line's values, and the main file when it names one.
fn command_line(
    mut arguments: impl Iterator<Item = OsString>,
) -> Result<(Values, Option<PathBuf>), String> {
    let (mut values, mut file) = (Values::new(), None);
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy().into_owned();
        let flag = text.strip_prefix("--").ok_or(format!("`{text}` is no flag"))?;
        let (key, value) = match flag.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None if flag == "with-node-id" => (flag.to_owned(), "true".to_owned()),
            None => {
                let value = arguments.next().ok_or(format!("--{flag} needs a value"))?;
                (flag.to_owned(), value.to_string_lossy().into_owned())
            }
        };
        if key == "config" {
            file = Some(PathBuf::from(value));
        } else if KEYS.iter().any(|(known, _)| *known == key) {
            values.entry(key).or_default().push(value);
        } else {
            return Err(format!("there is no flag --{key}"));
        }
    }
    Ok((values, file))
}

/// Values of the main file and its drop-ins.
fn files(main: &Path) -> Result<Values, String> {
    let mut folder = main.as_os_str().to_owned();
    folder.push(".d");
    let mut drop_ins: Vec<PathBuf> = match fs::read_dir(&folder) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).filter(|p| is_yaml(p)).collect(),
        Err(_) => Vec::new(),
    };
    drop_ins.sort();
    let mut values = Values::new();
    let main = main.exists().then(|| main.to_owned());
    for path in main.into_iter().chain(drop_ins) {
        let text =
            fs::read_to_string(&path).map_err(|e| format!("reading {}: {e}", path.display()))?;
        merge(&mut values, &text).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(values)
}

fn is_yaml(path: &Path) -> bool {
    let kind = path.extension().map(|kind| kind.to_string_lossy().to_lowercase());
    path.is_file() && kind.is_some_and(|kind| kind == "yaml" || kind == "yml")
}

/// Takes over what one file says.
fn merge(values: &mut Values, text: &str) -> Result<(), String> {
    for (key, list) in yaml::entries(text)? {
        let plain = key.strip_suffix('+').unwrap_or(&key);
        if !KEYS.iter().any(|(known, _)| *known == plain) {
            eprintln!("skipping the unknown key {plain}");
        } else if plain == key {
            values.insert(key, list);
        } else {
            values.entry(plain.to_owned()).or_default().extend(list);
        }
    }
    Ok(())
}

/// What `/etc/rancher/node/<name>` holds; random bytes in hexadecimal, made once and kept for ever.
pub fn kept(name: &str, bytes: usize) -> Result<String, String> {
    let path = Path::new(NODE_FOLDER).join(name);
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    if let Ok(text) = fs::read_to_string(&path) {
        return Ok(text.trim().to_owned());
    }
    fs::create_dir_all(NODE_FOLDER).map_err(failed)?;
    let mut random = vec![0; bytes];
    SystemRandom::new().fill(&mut random).map_err(|_| "there is no randomness".to_owned())?;
    let text = hex(&random);
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
    file.write_all(format!("{text}\n").as_bytes()).map_err(failed)?;
    Ok(text)
}

/// Writes a file that only root reads.
pub fn write(path: &Path, text: &str) -> Result<(), String> {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|e| format!("writing {}: {e}", path.display()))
}

/// A random number below `limit`.
pub fn random_below(limit: u64) -> Result<u64, String> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "there is no randomness".to_owned())?;
    Ok(u64::from_le_bytes(bytes) % limit)
}

#[cfg(test)]
mod tests {
    use super::{Settings, Values, command_line, merge};

    fn settings(files: &[&str], line: &[&str]) -> Result<Settings, String> {
        let mut values = Values::new();
        for text in files {
            merge(&mut values, text)?;
        }
        values.extend(command_line(line.iter().map(Into::into))?.0);
        Settings::from_values(&values)
    }

    #[test]
    fn later_files_replace_and_append_and_flags_beat_them() {
        let main = "server: https://10.0.0.1:6443\nnode-name: veh-1\nnode-label:\n- a=1\nx: 1\n";
        let found = settings(&[main, "node-label+: b=2\nserver: 'https://10.0.0.2'"], &[]).unwrap();
        assert_eq!(found.labels, ["a=1", "b=2"]);
        assert_eq!(found.address().unwrap(), "10.0.0.2:6443");
        let line = ["--server", "https://10.0.0.3:1", "--node-label=c=3"];
        let found = settings(&[main, "lb-server-port: 7000"], &line).unwrap();
        assert_eq!((found.labels, found.balancer_port), (vec!["c=3".to_owned()], 7000));
        assert_eq!(found.server, "https://10.0.0.3:1");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (files, line) in [
            (&["- a"][..], &[][..]),
            (&["server: {a: b}"], &[]),
            (&["node-name: a"], &[]),
            (&["server: x"], &["--colour", "red"]),
            (&["server: x"], &["--token"]),
            (&["server: x\nlb-server-port: many"], &[]),
        ] {
            assert!(settings(files, line).is_err(), "{files:?} {line:?}");
        }
        let found = settings(&["server: http://a\nnode-name: a"], &[]).unwrap();
        assert!(found.address().is_err());
    }
}
