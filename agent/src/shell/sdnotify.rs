//! Tells the service manager how the agent is: ready, reloading, stopping, alive (the sd_notify
//! protocol of systemd).
//!
//! One datagram per message to the socket in `NOTIFY_SOCKET`; without one nothing is sent and every
//! call succeeds. Never blocks: a service manager that does not read its socket costs messages, not
//! the agent.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Characters of a status line that are sent: more than `systemctl status` shows in a line.
const STATUS_CHARS_MAX: usize = 200;

/// The connection to the service manager, if there is one.
#[derive(Debug, Default)]
pub struct Notifier {
    manager: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

/// What the service manager put into the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `NOTIFY_SOCKET`: a path, or `@` and an abstract name.
    pub socket: Option<OsString>,
    /// `WATCHDOG_USEC`: the watchdog's timeout in microseconds.
    pub watchdog_usec: Option<OsString>,
    /// `WATCHDOG_PID`: the process the watchdog waits for, all if absent.
    pub watchdog_pid: Option<OsString>,
}

impl Environment {
    /// The environment of this process.
    #[must_use]
    pub fn this() -> Environment {
        Environment {
            socket: std::env::var_os("NOTIFY_SOCKET"),
            watchdog_usec: std::env::var_os("WATCHDOG_USEC"),
            watchdog_pid: std::env::var_os("WATCHDOG_PID"),
        }
    }
}

impl Notifier {
    /// Prepares to talk to the manager that `environment` names.
    ///
    /// # Errors
    ///
    /// The socket is named and cannot be used. The agent can go on without; trying again does not
    /// help.
    pub fn new(environment: &Environment) -> io::Result<Notifier> {
        let Some(name) = environment.socket.as_deref().filter(|name| !name.is_empty()) else {
            return Ok(Notifier::default());
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Notifier { manager: Some((socket, address(name)?)), watchdog: watchdog(environment) })
    }

    /// How often [`Notifier::alive`] has to be called: half the watchdog's timeout. `None` when
    /// nobody waits for it.
    #[must_use]
    pub fn alive_period(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The agent has started, or has finished a reload; `status` says in one line how it is.
    ///
    /// # Errors
    ///
    /// The manager does not take the message now; the next one may pass. The same holds for all
    /// messages below.
    pub fn ready(&self, status: &str) -> io::Result<()> {
        self.send(&format!("READY=1\nSTATUS={}", one_line(status)))
    }

    /// One line on how the agent is.
    ///
    /// # Errors
    ///
    /// As [`Notifier::ready`].
    pub fn status(&self, status: &str) -> io::Result<()> {
        self.send(&format!("STATUS={}", one_line(status)))
    }

    /// A reload begins; [`Notifier::ready`] ends it.
    ///
    /// # Errors
    ///
    /// As [`Notifier::ready`].
    pub fn reloading(&self) -> io::Result<()> {
        if self.manager.is_none() {
            return Ok(());
        }
        // The manager compares this with the moment of its own request (systemd.service,
        // Type=notify-reload).
        let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()))
    }

    /// The agent is about to end.
    ///
    /// # Errors
    ///
    /// As [`Notifier::ready`].
    pub fn stopping(&self) -> io::Result<()> {
        self.send("STOPPING=1")
    }

    /// The agent is alive.
    ///
    /// # Errors
    ///
    /// As [`Notifier::ready`].
    pub fn alive(&self) -> io::Result<()> {
        if self.watchdog.is_none() {
            return Ok(());
        }
        self.send("WATCHDOG=1")
    }

    fn send(&self, message: &str) -> io::Result<()> {
        let Some((socket, address)) = &self.manager else { return Ok(()) };
        socket.send_to_addr(message.as_bytes(), address)?;
        Ok(())
    }
}

/// The address behind a value of `NOTIFY_SOCKET`.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("NOTIFY_SOCKET={} is neither a path nor an abstract name", name.display()),
        )),
    }
}

/// Half the watchdog's timeout, if it waits for this process.
fn watchdog(environment: &Environment) -> Option<Duration> {
    let number = |value: &OsString| value.to_str().and_then(|text| text.parse::<u64>().ok());
    let usec = environment.watchdog_usec.as_ref().and_then(number).filter(|usec| *usec > 1)?;
    let ours = match &environment.watchdog_pid {
        None => true,
        Some(pid) => number(pid) == Some(u64::from(std::process::id())),
    };
    ours.then(|| Duration::from_micros(usec / 2))
}

/// Text without line breaks, which would end the assignment: names in it may come over the radio.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(STATUS_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service manager's socket.
    struct Manager(UnixDatagram);

    impl Manager {
        fn receive(&self) -> String {
            let mut buffer = [0; 1024];
            self.0.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let length = self.0.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        }
    }

    fn environment(socket: &str) -> Environment {
        Environment { socket: Some(socket.into()), ..Environment::default() }
    }

    #[test]
    fn messages_arrive_at_a_socket_in_the_file_system() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = Manager(UnixDatagram::bind(&path).unwrap());
        let notifier = Notifier::new(&environment(path.to_str().unwrap())).unwrap();
        notifier.ready("mesh of 6").unwrap();
        assert_eq!(manager.receive(), "READY=1\nSTATUS=mesh of 6");
        notifier.status("a\nMAINPID=1").unwrap();
        assert_eq!(manager.receive(), "STATUS=a MAINPID=1");
        notifier.stopping().unwrap();
        assert_eq!(manager.receive(), "STOPPING=1");
    }

    #[test]
    fn messages_arrive_at_an_abstract_socket() {
        let name = format!("outrider-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = Manager(UnixDatagram::bind_addr(&address).unwrap());
        let notifier = Notifier::new(&environment(&format!("@{name}"))).unwrap();
        notifier.reloading().unwrap();
        let message = manager.receive();
        let usec = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(usec.parse::<u64>().unwrap() > 0);
    }

    #[test]
    fn the_watchdog_is_fed_at_half_its_time_and_only_by_its_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = Manager(UnixDatagram::bind(&path).unwrap());
        let with = |usec: &str, pid: Option<String>| {
            Notifier::new(&Environment {
                socket: Some(path.clone().into()),
                watchdog_usec: Some(usec.into()),
                watchdog_pid: pid.map(Into::into),
            })
            .unwrap()
        };
        let own = Some(std::process::id().to_string());
        assert_eq!(with("30000000", own).alive_period(), Some(Duration::from_secs(15)));
        assert_eq!(with("30000000", None).alive_period(), Some(Duration::from_secs(15)));
        assert_eq!(with("30000000", Some("1".into())).alive_period(), None);
        for usec in ["0", "1", "", "x", "-5"] {
            assert_eq!(with(usec, None).alive_period(), None, "{usec}");
        }
        with("30000000", None).alive().unwrap();
        assert_eq!(manager.receive(), "WATCHDOG=1");
    }

    #[test]
    fn without_a_manager_everything_succeeds() {
        for socket in [None, Some("".into())] {
            let notifier =
                Notifier::new(&Environment { socket, ..Environment::default() }).unwrap();
            notifier.ready("fine").unwrap();
            notifier.reloading().unwrap();
            notifier.alive().unwrap();
            notifier.stopping().unwrap();
            assert_eq!(notifier.alive_period(), None);
        }
    }

    #[test]
    fn a_manager_that_is_away_or_does_not_read_is_an_error_and_not_a_hang() {
        assert!(Notifier::new(&environment("relative")).is_err());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let notifier = Notifier::new(&environment(path.to_str().unwrap())).unwrap();
        assert!(notifier.ready("fine").is_err());
        let _deaf = UnixDatagram::bind(&path).unwrap();
        let refused = (0..100_000).find(|_| notifier.status("fine").is_err());
        assert!(refused.is_some(), "a full socket must refuse");
    }
}
