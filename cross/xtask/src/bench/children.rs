//! Programs started for a measurement or a check, ended by their process id when it is over.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::listener::{Listener, listener};

/// A running program. Dropping it kills it.
pub struct Child {
    name: String,
    child: std::process::Child,
    log: PathBuf,
}

impl Child {
    /// Starts a program with its output in `folder`, and waits until it listens on `port` itself: something else that does
    /// is not what has to be asked.
    pub fn start(
        name: &str,
        command: &mut Command,
        folder: &Path,
        port: Option<u16>,
    ) -> Result<Child, String> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).map_err(|e| format!("writing {}: {e}", log.display()))?;
        let error = file.try_clone().map_err(|e| format!("writing {}: {e}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(error)
            .spawn()
            .map_err(|e| format!("starting {name}: {e}"))?;
        let mut child = Child { name: name.to_owned(), child, log: log.clone() };
        let Some(port) = port else { return Ok(child) };
        let started = Instant::now();
        loop {
            match listener(child.pid(), port)? {
                Listener::Process => return Ok(child),
                Listener::Nobody => {}
                Listener::Other => {
                    return Err(format!("{name} cannot listen on {port}: another process does"));
                }
            }
            if let Ok(Some(status)) = child.child.try_wait() {
                return Err(format!("{name} ended with {status}; see {}", log.display()));
            }
            if started.elapsed() > PATIENCE {
                return Err(format!("{name} does not listen on {port}; see {}", log.display()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file with everything it has printed.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Asks it to end, waits until it has, and tells how it ended.
    pub fn stop(mut self) -> Result<ExitStatus, String> {
        let kill = Command::new("kill").arg("-TERM").arg(self.pid().to_string()).status();
        kill.map_err(|e| format!("ending {}: {e}", self.name))?;
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(format!("{} does not end when asked to; see {}", self.name, self.log.display()))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::process::Command;

    use super::Child;

    #[test]
    fn what_another_process_listens_on_is_not_the_program() {
        let folder = tempfile::tempdir().unwrap();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = other.local_addr().unwrap().port();
        let mut command = Command::new("sleep");
        let started = Child::start("sleep", command.arg("60"), folder.path(), Some(port));
        let why = started.err().expect("a program that listens to nothing");
        assert!(why.ends_with("another process does"), "{why}");
    }

    #[test]
    fn a_program_that_ends_before_it_listens_is_told_with_its_status() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        let started = Child::start("sh", command.args(["-c", "exit 3"]), folder.path(), Some(1));
        let why = started.err().expect("a program that listens to nothing");
        assert!(why.contains("status: 3"), "{why}");
    }
}
