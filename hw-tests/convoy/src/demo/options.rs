//! The demo's command line.

use std::ffi::OsString;
use std::path::PathBuf;

use super::agents::PAGE_PORT;

pub const HELP: &str = "\
Runs a convoy on this machine: real outrider processes, stand-ins for their
routing daemons that replay a drive, and an MQTT broker.

Usage: cargo convoy [OPTIONS]
       cargo convoy serve --help

  --vehicles N       2 to 30 (default 6)
  --daemon NAME      what the stand-ins play: olsrd (default; jsoninfo, and
                     txtinfo on the fourth vehicle), jsoninfo, txtinfo, olsrd2
  --seconds S        end when everything was seen (after about 80 s), or after
                     S seconds with an exit code that is not 0
  --page PORT        port of the first page (default 9695); the others follow,
                     ports in use are left out
  --seed N           other chances for each packet (default 1)
  --own-broker       do without mosquitto even if it is installed
  --no-build         take the outrider that is already built
  --outrider PATH    take this outrider

It ends by itself with --seconds, otherwise with Ctrl-C. Nothing is installed
and nothing is left behind.
";

/// Vehicles at most: more do not fit any screen and few machines.
const VEHICLES_MAX: usize = 30;

/// What the stand-ins play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daemons {
    /// olsrd with either of its interfaces.
    Olsrd,
    /// olsrd, all with jsoninfo.
    Jsoninfo,
    /// olsrd, all with txtinfo.
    Txtinfo,
    /// olsrd2, over HTTP and telnet in turn.
    Olsrd2,
}

/// What the user asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Number of vehicles.
    pub vehicles: usize,
    /// Their daemons.
    pub daemons: Daemons,
    /// When to end.
    pub seconds: Option<u64>,
    /// Port of the first page.
    pub page: u16,
    /// Seed of the mesh.
    pub seed: u64,
    /// Use the demo's own broker in any case.
    pub own_broker: bool,
    /// Build the agent first.
    pub build: bool,
    /// The agent.
    pub outrider: Option<PathBuf>,
}

/// Reads the command line; nothing when help is wanted.
pub fn read(arguments: impl Iterator<Item = OsString>) -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut options = Options {
        vehicles: 6,
        daemons: Daemons::Olsrd,
        seconds: None,
        page: PAGE_PORT,
        seed: 1,
        own_broker: false,
        build: true,
        outrider: None,
    };
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("vehicles") => options.vehicles = parser.value()?.parse()?,
            Long("daemon") => {
                let name = parser.value()?.string()?;
                options.daemons = match name.as_str() {
                    "olsrd" => Daemons::Olsrd,
                    "jsoninfo" => Daemons::Jsoninfo,
                    "txtinfo" => Daemons::Txtinfo,
                    "olsrd2" => Daemons::Olsrd2,
                    _ => return Err(format!("there is no daemon `{name}`").into()),
                };
            }
            Long("seconds") => options.seconds = Some(parser.value()?.parse()?),
            Long("page") => options.page = parser.value()?.parse()?,
            Long("seed") => options.seed = parser.value()?.parse()?,
            Long("own-broker") => options.own_broker = true,
            Long("no-build") => options.build = false,
            Long("outrider") => options.outrider = Some(parser.value()?.into()),
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    if !(2..=VEHICLES_MAX).contains(&options.vehicles) {
        return Err(format!("--vehicles must be from 2 to {VEHICLES_MAX}").into());
    }
    Ok(Some(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Options>, lexopt::Error> {
        read(text.split_whitespace().map(OsString::from))
    }

    #[test]
    fn options_are_read_and_nonsense_is_refused() {
        let options =
            parse("--vehicles 12 --daemon olsrd2 --seconds 9 --no-build").unwrap().unwrap();
        assert_eq!((options.vehicles, options.daemons), (12, Daemons::Olsrd2));
        assert_eq!((options.seconds, options.build), (Some(9), false));
        assert_eq!(parse("--help").unwrap(), None);
        for wrong in ["--vehicles 1", "--vehicles 31", "--daemon babel", "--vehicels 3", "now"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn help_fits_a_serial_console() {
        assert!(HELP.lines().all(|line| line.len() < 80));
    }
}
