//! Programs started for a measurement or a check, ended by their process id when it is over.

use std::fs::File;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Time a program has to answer on its port; valgrind makes the agent fifty times slower, an emulator twenty times.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Time a program has to end when asked to.
const END_WITHIN: Duration = Duration::from_secs(60);

/// A running program. Dropping it kills it.
pub struct Child {
    name: String,
    child: std::process::Child,
    log: PathBuf,
}

impl Child {
    /// Starts a program with its output in `folder`, and waits until something listens on `port`.
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
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Ok(Some(status)) = child.child.try_wait() {
                return Err(format!("{name} ended with {status}; see {}", log.display()));
            }
            if started.elapsed() > READY_WITHIN {
                return Err(format!("{name} does not listen on {port}; see {}", log.display()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(child)
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
        while started.elapsed() < END_WITHIN {
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
