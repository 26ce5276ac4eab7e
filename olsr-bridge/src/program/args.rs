//! The command line.

use std::ffi::OsString;
use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;
use olsr_bridge::client::{Choice, Options};

const HELP: &str = "\
Prints what the OLSR routing daemon of this machine knows: links, routes and the
network cost of each destination (100 is one perfect hop).

Usage: olsr-bridge [--once | --watch] [options]

  --once                print one view and exit (the default)
  --watch               print a view again and again until interrupted
  --json                print JSON: one document, or one line per view
  --connect HOST:PORT   read the daemon at this address instead of searching the
                        default ports on 127.0.0.1 and ::1
  --daemon KIND         auto (the default), jsoninfo, txtinfo, olsrd2-http or
                        olsrd2-telnet
  --file PATH           read saved answers of a daemon instead; may be repeated;
                        `-` is standard input
  --names FILE          hosts file written by olsrd's nameservice plugin
  --timeout SECONDS     longest wait for one answer (default 3)
  --interval SECONDS    time between two views (default 1, which is the least)
  -h, --help            print this
  -V, --version         print the version

Exit codes: 0 done; 1 output failed; 2 arguments not understood; 3 the daemon or
file cannot be reached, is too busy or does not let us in; 4 its answer cannot
be understood.
";

/// Shortest time between two views: daemons cache their tables for a second.
const INTERVAL_MIN: f64 = 1.0;
/// Longest time between two views that is not a slip of the finger.
const INTERVAL_MAX: f64 = 86_400.0;
/// Bounds of the time for one answer; olsrd's own scheduling alone can take 50 ms.
const TIMEOUT_MIN: f64 = 0.1;
const TIMEOUT_MAX: f64 = 600.0;

/// What to do.
pub enum Command {
    Run(Args),
    Say(String),
}

/// Everything that was asked for.
pub struct Args {
    pub watch: bool,
    pub json: bool,
    pub files: Vec<PathBuf>,
    pub interval: Duration,
    pub options: Options,
}

/// Reads the arguments, the program's name first.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut parser = lexopt::Parser::from_iter(arguments);
    let mut args = Args {
        watch: false,
        json: false,
        files: Vec::new(),
        interval: Duration::from_secs(1),
        options: Options::default(),
    };
    let mut once = false;
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Long("once") => once = true,
            Long("watch") => args.watch = true,
            Long("json") => args.json = true,
            Long("connect") => {
                let text = value(&mut parser)?;
                let address = text.to_socket_addrs().ok().and_then(|mut found| found.next());
                let Some(address) = address else {
                    return Err(format!(
                        "`--connect {text}` is no address; write HOST:PORT, for example 127.0.0.1:9090 or [::1]:9090"
                    ));
                };
                args.options.connect = Some(address);
            }
            Long("daemon") => {
                let text = value(&mut parser)?;
                args.options.choice =
                    text.parse::<Choice>().map_err(|error| format!("--daemon: {error}"))?;
            }
            Long("file") => args.files.push(path(&mut parser)?),
            Long("names") => args.options.names_file = Some(path(&mut parser)?),
            Long("timeout") => {
                args.options.timeout = seconds(&mut parser, "timeout", TIMEOUT_MIN, TIMEOUT_MAX)?;
            }
            Long("interval") => {
                args.interval = seconds(&mut parser, "interval", INTERVAL_MIN, INTERVAL_MAX)?;
            }
            Short('h') | Long("help") => return Ok(Command::Say(HELP.to_owned())),
            Short('V') | Long("version") => {
                return Ok(Command::Say(format!("olsr-bridge {}\n", env!("CARGO_PKG_VERSION"))));
            }
            other => return Err(other.unexpected().to_string()),
        }
    }
    if once && args.watch {
        return Err("`--once` and `--watch` exclude each other".to_owned());
    }
    if !args.files.is_empty() && (args.watch || args.options.connect.is_some()) {
        return Err(
            "`--file` reads saved answers once; it takes neither `--watch` nor `--connect`"
                .to_owned(),
        );
    }
    Ok(Command::Run(args))
}

fn value(parser: &mut lexopt::Parser) -> Result<String, String> {
    parser.value().and_then(|value| value.string()).map_err(|error| error.to_string())
}

fn path(parser: &mut lexopt::Parser) -> Result<PathBuf, String> {
    parser.value().map(PathBuf::from).map_err(|error| error.to_string())
}

fn seconds(
    parser: &mut lexopt::Parser,
    name: &str,
    min: f64,
    max: f64,
) -> Result<Duration, String> {
    let text = value(parser)?;
    match text.parse::<f64>() {
        Ok(seconds) if (min..=max).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("`--{name} {text}`: write seconds from {min} to {max}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(arguments: &[&str]) -> Result<Args, String> {
        let all = std::iter::once("olsr-bridge").chain(arguments.iter().copied());
        match parse(all.map(OsString::from))? {
            Command::Run(args) => Ok(args),
            Command::Say(text) => Err(text),
        }
    }

    #[test]
    fn the_defaults_print_one_view_of_whatever_daemon_is_there() {
        let args = run(&[]).unwrap();
        assert!(!args.watch && !args.json && args.files.is_empty());
        assert_eq!((args.options.choice, args.options.connect), (Choice::Auto, None));
        assert_eq!(args.interval, Duration::from_secs(1));
    }

    #[test]
    fn every_option_arrives() {
        let args = run(&[
            "--watch",
            "--json",
            "--connect",
            "[::1]:9091",
            "--daemon=txtinfo",
            "--names",
            "/run/hosts",
            "--timeout",
            "0.5",
            "--interval=2.5",
        ])
        .unwrap();
        assert!(args.watch && args.json);
        assert_eq!(args.options.connect, Some("[::1]:9091".parse().unwrap()));
        assert_eq!(args.options.choice, Choice::Txtinfo);
        assert_eq!(args.options.names_file, Some(PathBuf::from("/run/hosts")));
        assert_eq!(args.options.timeout, Duration::from_millis(500));
        assert_eq!(args.interval, Duration::from_millis(2500));
    }

    #[test]
    fn mistakes_are_named() {
        for (arguments, word) in [
            (&["--once", "--watch"][..], "exclude"),
            (&["--connect", "9090"], "HOST:PORT"),
            (&["--daemon", "babel"], "babel"),
            (&["--interval", "0.2"], "from 1 to"),
            (&["--timeout", "soon"], "soon"),
            (&["--file", "x", "--watch"], "--file"),
            (&["--nosuch"], "nosuch"),
            (&["something"], "something"),
            (&["--connect"], "connect"),
        ] {
            let problem = run(arguments).err().unwrap();
            assert!(problem.contains(word), "{arguments:?}: {problem}");
        }
    }

    #[test]
    fn help_fits_a_serial_console() {
        assert!(HELP.lines().all(|line| line.len() <= 80));
    }
}
