//! The files of [`kept`](crate::core::membership::kept): where they are, what is in them, and changing them so that a power cut
//! leaves each as it was or as it is to be. All new content is on the disk before the first file is replaced; a full disk thus
//! changes nothing.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::core::membership::kept::{
    Act, Files, Kept, OPERATOR, Seen, Spot, is_credential, is_folder_name,
};
use crate::shell::replace::{PRIVATE_FOLDER, Unplaced, is_absent, make_folder, remove};
use crate::shell::tls::read_small_file;

const TOKEN: &str = "token";

/// Name of a kept node password.
pub const PASSWORD: &str = "node-password";
const EARLIER: &str = "node-password.earlier";
const CREDENTIALS: &str = "agent";

/// Where everything lies.
#[derive(Clone, Debug)]
pub struct Places {
    /// The drop-in.
    pub drop_in: PathBuf,
    /// The node password.
    pub password: PathBuf,
    /// Folder of k3s's state as an agent.
    pub agent: PathBuf,
    /// Folder of this agent, with one folder for each federation.
    pub keep: PathBuf,
}

impl Places {
    /// The token's file that the drop-in of a federation names.
    pub fn token(&self, federation: &str) -> PathBuf {
        self.keep.join(federation).join(TOKEN)
    }

    fn path(&self, spot: &Spot) -> PathBuf {
        match spot {
            Spot::DropIn => self.drop_in.clone(),
            Spot::Password => self.password.clone(),
            Spot::Credential(name) => self.agent.join(name),
            Spot::Balancer(name) => self.agent.join("etc").join(name),
            Spot::Token(whose) => self.token(whose),
            Spot::KeptPassword(whose) => self.keep.join(whose).join(PASSWORD),
            Spot::EarlierPassword(whose) => self.keep.join(whose).join(EARLIER),
            Spot::KeptCredential(whose, name) => self.keep.join(whose).join(CREDENTIALS).join(name),
        }
    }

    /// What lies there.
    ///
    /// # Errors
    /// Something cannot be read; the text names it.
    pub fn look(&self) -> Result<Seen, String> {
        let mut seen = Seen {
            drop_in: text(&self.drop_in)?,
            password: text(&self.password)?.map(bare),
            credentials: credentials(&self.agent)?,
            ..Seen::default()
        };
        for whose in names(&self.keep)? {
            if whose == OPERATOR || is_folder_name(&whose) {
                let folder = self.keep.join(&whose);
                // k3s gets credentials anew and the token is configured: a bad sector in one federation's is no reason to be
                // kept from another.
                let unreadable = |text: String| tracing::warn!("going on without it: {text}");
                let kept = Kept {
                    password: text(&folder.join(PASSWORD))?.map(bare),
                    credentials: credentials(&folder.join(CREDENTIALS))
                        .map_err(unreadable)
                        .unwrap_or_default(),
                    token: text(&folder.join(TOKEN)).map_err(unreadable).unwrap_or_default(),
                };
                seen.kept.insert(whose, kept);
            }
        }
        Ok(seen)
    }

    /// Does all of it, in order. What was done when it fails stays done, and nothing was done when there is no room.
    ///
    /// # Errors
    /// A file cannot be written or removed; the text names it and says what to do.
    pub fn perform(&self, acts: Vec<Act>) -> Result<(), String> {
        let mut ready: Vec<(Step, PathBuf)> = Vec::new();
        for act in acts {
            let step = match act {
                Act::Write(spot, content) => {
                    let path = self.path(&spot);
                    self.make_folder(&path)
                        .map_err(|error| complaint("making a folder for", &path, &error))?;
                    let unplaced = Unplaced::write(&path, &content)
                        .map_err(|error| complaint("writing", &path, &error))?;
                    (Step::Place(unplaced), path)
                }
                Act::Remove(spot) => (Step::Remove, self.path(&spot)),
            };
            ready.push(step);
        }
        for (step, path) in ready {
            match step {
                Step::Place(unplaced) => {
                    unplaced.place(&path).map_err(|error| complaint("replacing", &path, &error))?;
                }
                Step::Remove => {
                    remove(&path).map_err(|error| complaint("removing", &path, &error))?
                }
            }
        }
        Ok(())
    }

    /// The folder of a file; those of this agent are for nobody else.
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        let Some(folder) = path.parent() else { return Ok(()) };
        let own = path.starts_with(&self.keep);
        make_folder(folder, if own { PRIVATE_FOLDER } else { 0o755 })?;
        let mut private = Some(folder).filter(|_| own);
        while let Some(folder) = private.filter(|folder| folder.starts_with(&self.keep)) {
            if fs::metadata(folder)?.permissions().mode() & 0o777 != PRIVATE_FOLDER {
                fs::set_permissions(folder, Permissions::from_mode(PRIVATE_FOLDER))?;
            }
            private = folder.parent();
        }
        Ok(())
    }
}

enum Step {
    Place(Unplaced),
    Remove,
}

fn complaint(doing: &str, path: &Path, error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free room on that disk",
        io::ErrorKind::ReadOnlyFilesystem => "; it has to be writable for k3s to change clusters",
        io::ErrorKind::PermissionDenied => {
            "; this agent has to run as root for that, see outrider-federation.conf"
        }
        _ => "",
    };
    format!("{doing} {}: {error}{remedy}", path.display())
}

/// The text of a file, if there is one.
fn text(path: &Path) -> Result<Option<String>, String> {
    match read_small_file(path) {
        Ok(content) => String::from_utf8(content)
            .map(Some)
            .map_err(|_| format!("{} is no text; move it away", path.display())),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(complaint("reading", path, &error)),
    }
}

fn bare(text: String) -> String {
    text.trim().to_owned()
}

/// Names in a folder that are text; none when there is no such folder.
fn names(folder: &Path) -> Result<Vec<String>, String> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(complaint("reading", folder, &error)),
    };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.collect())
}

fn credentials(folder: &Path) -> Result<Files, String> {
    let mut files = Files::new();
    for name in names(folder)?.into_iter().filter(|name| is_credential(name)) {
        let path = folder.join(&name);
        match read_small_file(&path) {
            Ok(content) => drop(files.insert(name, content)),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(complaint("reading", &path, &error)),
        }
    }
    Ok(files)
}
