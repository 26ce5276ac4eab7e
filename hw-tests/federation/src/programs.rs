//! Finds the programs that the rig runs. What is missing is named, with the command that brings it; nothing is skipped.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ring::digest::{Context, SHA256, digest};

/// The recipe that the cached programs were built by, and what it gives; see `cargo xtask kubernetes`.
const RECIPE: [&str; 2] = [
    include_str!("../../../cross/kubernetes/build.sh"),
    include_str!("../../../cross/kubernetes/SHA256SUMS"),
];

/// Names a folder with programs to use instead.
const ASSETS: &str = "KUBEBUILDER_ASSETS";

/// Where Debian puts programs that daemons are; the search path of a plain user lacks both.
const SYSTEM_FOLDERS: &[&str] = &["/usr/sbin", "/sbin"];

/// What control planes and nodes are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// Folder with kube-apiserver, kube-controller-manager, kube-scheduler, kubectl and kubelet.
    pub kubernetes: PathBuf,
    /// etcd: from the same folder when it is there, else the system's.
    pub etcd: PathBuf,
    /// A real k3s, when the search path has one. The double stands in for it where tests do not need to give it orders.
    pub k3s: Option<PathBuf>,
}

impl Programs {
    /// Those of `KUBEBUILDER_ASSETS`, else the ones that `cargo xtask kubernetes` has built, which must have the sums that the
    /// recipe gives. Looked for once per process.
    pub fn find() -> Result<Programs, String> {
        static FOUND: OnceLock<Result<Programs, String>> = OnceLock::new();
        FOUND.get_or_init(Programs::look).clone()
    }

    fn look() -> Result<Programs, String> {
        let given = std::env::var_os(ASSETS).filter(|folder| !folder.is_empty());
        let checked = given.is_none();
        let kubernetes = given.map_or_else(built, |folder| Ok(PathBuf::from(folder)))?;
        for line in RECIPE[1].lines() {
            let mut words = line.split_whitespace();
            let (sum, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let path = kubernetes.join(name);
            let shown = path.display();
            if !path.is_file() {
                return Err(format!("there is no {shown}; `cargo xtask kubernetes` builds it"));
            }
            if checked && sha256(&path)? != sum {
                return Err(format!(
                    "{shown} is not what the recipe gives; `cargo xtask kubernetes` says more"
                ));
            }
        }
        let own = kubernetes.join("etcd");
        let etcd = if own.is_file() {
            own
        } else {
            find("etcd").ok_or("etcd is missing; as root: apt-get install etcd-server")?
        };
        Ok(Programs { kubernetes, etcd, k3s: find("k3s") })
    }

    /// Path of one of Kubernetes's programs.
    pub fn kubernetes(&self, name: &str) -> PathBuf {
        self.kubernetes.join(name)
    }
}

/// Where `cargo xtask kubernetes` puts them.
fn built() -> Result<PathBuf, String> {
    let absolute =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .ok_or("neither XDG_CACHE_HOME nor HOME is set")?;
    let sum = digest(&SHA256, RECIPE.concat().as_bytes());
    Ok(cache.join("outrider").join(format!("kubernetes-{}", &hex(sum.as_ref())[..16])))
}

/// SHA-256 of a file, in hexadecimal.
fn sha256(path: &Path) -> Result<String, String> {
    let failed = |e: std::io::Error| format!("reading {}: {e}", path.display());
    let mut file = fs::File::open(path).map_err(failed)?;
    let (mut context, mut buffer) = (Context::new(&SHA256), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(hex(context.finish().as_ref())),
            length => context.update(&buffer[..length]),
        }
    }
}

/// Hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first file called `name` on the search path, or where daemons are.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SYSTEM_FOLDERS.iter().map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| fs::metadata(file).is_ok_and(|meta| meta.is_file()) && Path::is_absolute(file))
}
