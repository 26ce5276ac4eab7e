//! How records get in, with the real program: over its control socket, by `outrider put`, from folders and from a broker;
//! killed without warning, at its bounds, and with a disk that fails. What it kept is read with the spool's own library.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod bounds;
#[allow(dead_code, reason = "shared with other tests, which need other parts of it")]
#[path = "../mqtt/broker.rs"]
mod broker;
mod disk;
mod folder;
mod kept;
mod killed;
mod mqtt;
#[path = "../fixture/noise.rs"]
mod noise;
mod posting;
#[allow(dead_code, reason = "shared with other tests, which need other parts of it")]
#[path = "../trouble/program.rs"]
mod program;
mod put;
mod request;

/// A configuration with a spool and little else; `{folder}` is the test's own folder.
const SPOOL: &str = "[mesh]\ndaemon = \"none\"\n[hardware]\nenabled = false\n[http]\nlisten = \"off\"\n\
     [spool]\nfolder = \"{folder}/spool\"\nsize = \"8MiB\"\nsync_delay = \"20ms\"\n";
