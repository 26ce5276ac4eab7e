//! Where the configuration comes from: which file, and what only this machine knows.

use std::ffi::OsString;
use std::fmt;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use super::parse::{default_config, parse};
use super::problem::Problem;
use super::{Config, rules};

/// The file that is read when none is named; it may be missing.
pub const DEFAULT_FILE: &str = "/etc/outrider/outrider.toml";

/// The environment variable that names a file.
pub const FILE_VARIABLE: &str = "OUTRIDER_CONFIG";

/// Bytes a configuration file may have: hundreds of times a full one, and a wrong file hurts
/// nobody.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Vehicle name when the machine has no usable host name.
const NAME_OF_LAST_RESORT: &str = "outrider";

/// What only this machine knows and defaults depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Name made from the host name.
    pub vehicle_name: String,
    /// Where the control socket is unless configured.
    pub control_socket: PathBuf,
    /// Where gathered data is kept unless configured; `None` when nobody has made a place for it.
    pub spool_folder: Option<PathBuf>,
}

impl Machine {
    /// Asks the system and the environment.
    #[must_use]
    pub fn this() -> Machine {
        let host = nix::unistd::gethostname().unwrap_or_default();
        Machine::from_parts(
            &host.to_string_lossy(),
            nix::unistd::geteuid().is_root(),
            std::env::var_os("RUNTIME_DIRECTORY"),
            std::env::var_os("XDG_RUNTIME_DIR"),
        )
        .with_state(std::env::var_os("STATE_DIRECTORY"))
    }

    /// With a folder for what outlives the agent, as systemd gives one.
    #[must_use]
    pub fn with_state(self, state_directory: Option<OsString>) -> Machine {
        let folder = first_folder(state_directory).map(|folder| folder.join("spool"));
        Machine { spool_folder: folder, ..self }
    }

    /// The same from given answers.
    #[must_use]
    pub fn from_parts(
        host_name: &str,
        root: bool,
        runtime_directory: Option<OsString>,
        xdg_runtime_dir: Option<OsString>,
    ) -> Machine {
        let of_service = first_folder(runtime_directory);
        let of_user = xdg_runtime_dir
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .filter(|_| !root)
            .map(|dir| dir.join("outrider"));
        let directory = of_service.or(of_user).unwrap_or_else(|| PathBuf::from("/run/outrider"));
        Machine {
            vehicle_name: rules::vehicle_name_of_host(host_name)
                .unwrap_or_else(|| NAME_OF_LAST_RESORT.to_owned()),
            control_socket: directory.join("control.sock"),
            spool_folder: None,
        }
    }
}

/// The first of the folders that systemd names in a variable, separated by colons.
fn first_folder(list: Option<OsString>) -> Option<PathBuf> {
    let list = list?.to_string_lossy().into_owned();
    let first = PathBuf::from(list.split(':').next().unwrap_or_default());
    first.is_absolute().then_some(first)
}

/// Which file is the configuration; read again on reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSource {
    path: PathBuf,
    /// Somebody named it, so it has to be there.
    named: bool,
    machine: Machine,
}

impl ConfigSource {
    /// The file of `--config`, else of `$OUTRIDER_CONFIG`, else the default file if it exists.
    #[must_use]
    pub fn find(
        option: Option<PathBuf>,
        variable: Option<OsString>,
        machine: Machine,
    ) -> ConfigSource {
        let named = option.or(variable.filter(|value| !value.is_empty()).map(PathBuf::from));
        ConfigSource {
            named: named.is_some(),
            path: named.unwrap_or_else(|| PathBuf::from(DEFAULT_FILE)),
            machine,
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether somebody named the file, on the command line or in the environment.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.named
    }

    /// What defaults depend on.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Whether defaults hold because nobody named a file and the default one is missing.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        let metadata = self.path.symlink_metadata();
        !self.named && metadata.is_err_and(|error| error.kind() == ErrorKind::NotFound)
    }

    /// Reads and validates the file. Blocks on the file system.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or all its problems.
    pub fn load(&self) -> Result<Config, LoadError> {
        let text = match self.read() {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound && !self.named => {
                return Ok(default_config(&self.machine));
            }
            Err(cause) => return Err(LoadError::Unreadable { path: self.path.clone(), cause }),
        };
        parse(&text, &self.machine)
            .map_err(|problems| LoadError::Invalid { path: self.path.clone(), problems })
    }

    fn read(&self) -> std::io::Result<String> {
        let mut text = String::new();
        let file = std::fs::File::open(&self.path)?;
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            let reason = format!("it is larger than {FILE_BYTES_MAX} bytes");
            return Err(std::io::Error::new(ErrorKind::FileTooLarge, reason));
        }
        Ok(text)
    }
}

/// Why there is no configuration. Trying again helps only after the file was changed.
#[derive(Debug)]
pub enum LoadError {
    /// The file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The file was read and is not valid.
    Invalid {
        /// The file.
        path: PathBuf,
        /// All its problems in its order, at least one.
        problems: Vec<Problem>,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Unreadable { path, cause } => {
                write!(f, "cannot read configuration {}: ", path.display())?;
                match cause.kind() {
                    ErrorKind::NotFound => f.write_str(
                        "there is no such file; `outrider config default` prints one to begin with",
                    ),
                    ErrorKind::PermissionDenied => {
                        f.write_str("permission denied; let the user of the agent read the file")
                    }
                    ErrorKind::InvalidData => f.write_str("it is not UTF-8 text"),
                    _ => write!(f, "{cause}"),
                }
            }
            LoadError::Invalid { path, problems } => {
                let count = problems.len();
                let noun = if count == 1 { "problem" } else { "problems" };
                write!(f, "{count} {noun} in {}:", path.display())?;
                problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The cause is already part of the text.
        None
    }
}
