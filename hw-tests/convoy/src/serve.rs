//! `convoy serve`: plays the routing daemon of one vehicle in the middle of a mesh of any size.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use convoy::mesh::Family;
use convoy::olsrd::Plugin;
use convoy::stand_in::{Access, Clocked, Hazards, Olsrd, Olsrd2, loopback};
use convoy::world::World;

const HELP: &str = "\
Plays a routing daemon that sees a mesh of vehicles which drive in circles.

Usage: cargo convoy serve [OPTIONS]

  --nodes N            size of the mesh, 1 to 2000 (default 100)
  --protocol NAME      jsoninfo (default), txtinfo, olsrd2-http or olsrd2-telnet
  --listen HOST:PORT   where (default 127.0.0.1:9090)
  --still              vehicles keep their places
  --seconds S          end after S seconds
  --seed N             another mesh (default 1)
";

/// More would take minutes to warm up.
const NODES_MAX: usize = 2000;

/// What is played.
#[derive(Clone, Copy)]
enum Protocol {
    Olsrd(Plugin),
    Olsrd2(Access),
}

/// What the command line asks for.
struct Options {
    nodes: usize,
    protocol: Protocol,
    listen: SocketAddr,
    moving: bool,
    seconds: Option<u64>,
    seed: u64,
}

fn options(arguments: impl Iterator<Item = OsString>) -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut options = Options {
        nodes: 100,
        protocol: Protocol::Olsrd(Plugin::Jsoninfo),
        listen: loopback(9090),
        moving: true,
        seconds: None,
        seed: 1,
    };
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("nodes") => options.nodes = parser.value()?.parse()?,
            Long("protocol") => {
                let name = parser.value()?.string()?;
                options.protocol = match name.as_str() {
                    "jsoninfo" => Protocol::Olsrd(Plugin::Jsoninfo),
                    "txtinfo" => Protocol::Olsrd(Plugin::Txtinfo),
                    "olsrd2-http" => Protocol::Olsrd2(Access::Http),
                    "olsrd2-telnet" => Protocol::Olsrd2(Access::Telnet),
                    _ => return Err(format!("there is no protocol `{name}`; see --help").into()),
                };
            }
            Long("listen") => options.listen = parser.value()?.parse()?,
            Long("still") => options.moving = false,
            Long("seconds") => options.seconds = Some(parser.value()?.parse()?),
            Long("seed") => options.seed = parser.value()?.parse()?,
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    if !(1..=NODES_MAX).contains(&options.nodes) {
        return Err(format!("--nodes must be from 1 to {NODES_MAX}").into());
    }
    Ok(Some(options))
}

/// Runs the command.
pub fn main(
    arguments: impl Iterator<Item = OsString>,
) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let Some(options) = options(arguments)? else {
        print!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(options))
}

async fn serve(options: Options) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let Options { nodes, protocol, listen, moving, seed, .. } = options;
    let hazards = Hazards::default();
    let cannot = |error| format!("cannot listen on {listen}: {error}");
    let (server, address): (Pin<Box<dyn Future<Output = ()>>>, SocketAddr) = match protocol {
        Protocol::Olsrd(plugin) => {
            let clocked = Clocked::new(World::field(Family::Olsrd, nodes, moving, seed));
            let server = Olsrd::bind(clocked, 0, plugin, listen, hazards).map_err(cannot)?;
            let address = server.address();
            (Box::pin(server.run()), address)
        }
        Protocol::Olsrd2(access) => {
            let clocked = Clocked::new(World::field(Family::Olsrd2, nodes, moving, seed));
            let server = Olsrd2::bind(clocked, 0, access, listen, hazards).map_err(cannot)?;
            let address = server.address();
            (Box::pin(server.run()), address)
        }
    };
    println!("{nodes} nodes on {address}");
    let end = async {
        match options.seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = server => {}
        () = end => {}
        result = tokio::signal::ctrl_c() => result?,
    }
    Ok(ExitCode::SUCCESS)
}
