//! Brings the real programs that the tests talk to. Installs Debian packages as root and says so; without root it only
//! says what to install. Never starts a service: tests start their own on free ports.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::steps::{quiet, run};

/// A program: names it is known by, and the Debian package that brings it.
pub type Program = (&'static [&'static str], &'static str);

/// What the tests need.
pub const FOR_TESTS: &[Program] = &[
    (&["cc"], "gcc"),
    (&["mosquitto"], "mosquitto"),
    (&["mosquitto_sub"], "mosquitto-clients"),
    (&["promtool"], "prometheus"),
    (&["chromium", "chromium-browser", "google-chrome"], "chromium"),
    (&["chromedriver"], "chromium-driver"),
    (&["minisign"], "minisign"),
    (&["qemu-arm-static"], "qemu-user-static"),
    (&["etcd"], "etcd-server"),
    (&["ip"], "iproute2"),
    (&["ethtool"], "ethtool"),
    (&["iptables-nft-save"], "iptables"),
    (&["openssl"], "openssl"),
    (&["containerd"], "containerd"),
    (&["runc"], "runc"),
    (&["dbus-daemon"], "dbus-daemon"),
    (&["systemctl"], "systemd"),
];

/// What the tests need that is no program on the search path.
pub const LIBRARIES_FOR_TESTS: &[&str] = &["containernetworking-plugins"];

/// cargo-deny, built once per target folder. 0.20 reads version 2 of the configuration.
const CARGO_DENY_VERSION: &str = "0.20.2";

/// Tells Debian's package scripts not to start what is being installed (see invoke-rc.d(8)).
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Begins the line of our policy that says which process it belongs to.
const POLICY_MARK: &str = "# cargo xtask installs packages, process ";

/// Where Debian puts programs that daemons are; the search path of a plain user lacks both.
const SYSTEM_FOLDERS: &[&str] = &["/usr/sbin", "/sbin"];

/// Makes every program available, and the `libraries` that they load only when asked to; or fails naming the packages.
pub fn ensure(programs: &[Program], libraries: &[&'static str]) -> Result<(), String> {
    let programs = programs
        .iter()
        .filter(|(names, _)| !names.iter().any(|name| find(name).is_some()))
        .map(|(names, package)| (names.join(" or "), *package));
    let libraries = libraries
        .iter()
        .filter(|package| !installed(package))
        .map(|package| ((*package).to_owned(), *package));
    let missing: Vec<(String, &str)> = programs.chain(libraries).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let root = quiet(Command::new("id").arg("-u")).is_ok_and(|uid| uid.trim() == "0");
    if !root || find("apt-get").is_none() {
        return Err(how_to_install(&missing));
    }
    let missing: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    println!("installing Debian packages: {}", missing.join(" "));
    run("package lists", Command::new("apt-get").args(["update", "-q"]))?;
    let held = hold_services(Path::new(POLICY))?;
    let result = run(
        "install packages",
        Command::new("apt-get")
            .args(["install", "-q", "-y", "--no-install-recommends"])
            .args(&missing)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    );
    if held {
        fs::remove_file(POLICY).map_err(|e| format!("removing {POLICY}: {e}"))?;
    }
    result
}

/// One line for each program that is missing, with the command that brings it.
fn how_to_install(missing: &[(String, &str)]) -> String {
    let lines = missing.iter().map(|(program, package)| {
        format!("{program} is missing; as root: apt-get install --no-install-recommends {package}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether dpkg has the package as it should be; one that was removed leaves a record and maybe its configuration.
fn installed(package: &str) -> bool {
    quiet(Command::new("dpkg-query").args(["--show", "--showformat=${Status}", package]))
        .is_ok_and(|status| status == "install ok installed")
}

/// Forbids service starts while packages are installed, by a script at `policy`; false when the machine has one of its
/// own, or another run of this program that is still going on has put one there.
///
/// An interrupted run leaves its script, which says whose it is: it forbids nothing once that process has ended, and the
/// next run takes it over.
fn hold_services(policy: &Path) -> Result<bool, String> {
    let failed = |e: std::io::Error| format!("writing {}: {e}", policy.display());
    if fs::read_to_string(policy).is_ok_and(|text| is_left_over(&text)) {
        fs::remove_file(policy).map_err(failed)?;
    }
    match fs::OpenOptions::new().write(true).create_new(true).open(policy) {
        Ok(mut file) => {
            file.write_all(policy_of(std::process::id()).as_bytes()).map_err(failed)?;
            file.set_permissions(fs::Permissions::from_mode(0o755)).map_err(failed)?;
            Ok(true)
        }
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(failed(e)),
    }
}

/// The script of the run with this process id; 101 forbids, 0 allows.
fn policy_of(pid: u32) -> String {
    format!("#!/bin/sh\n{POLICY_MARK}{pid}\n[ -e /proc/{pid} ] && exit 101\nexit 0\n")
}

/// Whether `policy` is the script of a run that has ended.
fn is_left_over(policy: &str) -> bool {
    let mut owner = policy.lines().filter_map(|line| line.strip_prefix(POLICY_MARK));
    owner.next().is_some_and(|pid| !Path::new("/proc").join(pid).exists())
}

/// The first executable called `name` on the search path, or where daemons are.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(SYSTEM_FOLDERS.iter().map(PathBuf::from));
    executable_in(folders, name)
}

/// A command that starts the very program that [`find`] found; one that fails by its name where there is none.
pub fn command(name: &str) -> Command {
    Command::new(find(name).unwrap_or_else(|| PathBuf::from(name)))
}

fn executable_in(folders: impl Iterator<Item = PathBuf>, name: &str) -> Option<PathBuf> {
    folders.map(|folder| folder.join(name)).find(|file| {
        fs::metadata(file)
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    })
}

/// Path of cargo-deny: the one on the search path, else one built into `tools`.
pub fn cargo_deny(tools: &Path) -> Result<PathBuf, String> {
    if let Some(found) = find("cargo-deny") {
        return Ok(found);
    }
    let program = tools.join("bin/cargo-deny");
    if !program.exists() {
        println!("building cargo-deny {CARGO_DENY_VERSION} (once)");
        run(
            "build cargo-deny",
            Command::new("cargo")
                // Unoptimised: it runs for seconds, and building it is most of what a fresh machine waits for.
                .args(["install", "--quiet", "--debug", "--locked", "cargo-deny", "--version"])
                .arg(CARGO_DENY_VERSION)
                .arg("--root")
                .arg(tools),
        )?;
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::process::Command;

    use super::{executable_in, hold_services, how_to_install, installed, policy_of};

    #[test]
    fn every_missing_program_has_its_own_line_with_its_command() {
        let missing =
            [("qemu-arm-static".to_owned(), "qemu-user-static"), ("cc".to_owned(), "gcc")];
        let text = how_to_install(&missing);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(
            lines[0].starts_with("qemu-arm-static ") && lines[0].ends_with(" qemu-user-static")
        );
        assert!(lines[1].starts_with("cc ") && lines[1].ends_with(" gcc"));
    }

    /// A process id that nobody has any more.
    fn ended() -> u32 {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        pid
    }

    #[test]
    fn services_are_held_and_a_policy_that_an_interrupted_run_left_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let policy = folder.path().join("policy-rc.d");
        let answer = || Command::new("sh").arg(&policy).status().unwrap().code();

        assert_eq!(hold_services(&policy), Ok(true));
        assert_eq!(answer(), Some(101), "forbidden while this process lives");
        assert_eq!(hold_services(&policy), Ok(false), "a run that goes on keeps its own");

        fs::write(&policy, policy_of(ended())).unwrap();
        assert_eq!(answer(), Some(0), "what is left over forbids nothing");
        assert_eq!(hold_services(&policy), Ok(true));
        assert_eq!(fs::read_to_string(&policy).unwrap(), policy_of(std::process::id()));

        fs::write(&policy, "#!/bin/sh\nexit 101\n").unwrap();
        assert_eq!(hold_services(&policy), Ok(false), "the machine's own");
        assert_eq!(fs::read_to_string(&policy).unwrap(), "#!/bin/sh\nexit 101\n");
    }

    #[test]
    fn the_first_executable_counts() {
        let folders: Vec<PathBuf> = ["/nowhere", "/etc", "/bin"].map(PathBuf::from).to_vec();
        let find = |name: &str| executable_in(folders.clone().into_iter(), name);
        assert_eq!(find("sh"), Some(PathBuf::from("/bin/sh")));
        assert_eq!(find("passwd"), Some(PathBuf::from("/bin/passwd")), "/etc/passwd is no program");
        assert_eq!(find("no-such-program"), None);
    }

    #[test]
    fn a_package_is_installed_or_not() {
        assert!(installed("dpkg"));
        assert!(!installed("no-such-package"));
    }
}
