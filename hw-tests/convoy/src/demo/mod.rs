//! The demo: builds and starts the agents with everything below and above them, shows what they say, and ends it all.
//!
//! It speaks to the agents only as anybody could: their configuration file, their HTTP port, their broker, signals.

mod agents;
mod build;
mod observer;
mod options;
mod proof;
mod relay;
mod screen;
mod status;
mod tether;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use convoy::mesh::Family;
use convoy::olsrd::Plugin;
use convoy::stand_in::{Access, Clocked, Hazards, Olsrd, Olsrd2, loopback};
use convoy::world::{World, name};
use tokio::signal::unix::{Signal, SignalKind, signal};

use options::{Daemons, Options};
use proof::Proof;
pub use tether::{TETHER, tether};

/// Between two looks at the agents.
const LOOK: Duration = Duration::from_secs(1);

/// The drive goes on for so long after it has begun, with a daemon that is restarted near its end.
const SCRIPT: Duration = Duration::from_secs(80);

/// What may go wrong, as text that names operation, object and remedy.
type Failure = Box<dyn std::error::Error>;

/// Runs the demo.
pub fn main(arguments: impl Iterator<Item = OsString>) -> Result<ExitCode, Failure> {
    let options = match options::read(arguments) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", options::HELP);
            return Ok(ExitCode::SUCCESS);
        }
        Err(error) => {
            eprintln!("convoy: {error}\nTry `cargo convoy --help`.");
            return Ok(ExitCode::from(2));
        }
    };
    let program = build::outrider(&options)?;
    // One thread: children are tied to the thread that starts them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(&options, &program))
}

async fn run(options: &Options, program: &std::path::Path) -> Result<ExitCode, Failure> {
    let mut interrupts = Interrupts::new()?;
    let folder = tempfile::Builder::new().prefix("outrider-convoy-").tempdir()?;
    let relay = relay::start(folder.path(), options.own_broker).await?;
    let observer = observer::start(relay.address());
    let clocked =
        Clocked::new(World::convoy(options.daemons.family(), options.vehicles, options.seed));
    let hazards = Hazards::default();
    let mut agents = Vec::new();
    for (vehicle, page) in (0..options.vehicles).zip(agents::pages(options.page)) {
        let (word, daemon) = play(&clocked, vehicle, options.daemons, &hazards)?;
        let agent = agents::Config {
            vehicle,
            vehicles: options.vehicles,
            daemon: word,
            connect: daemon,
            page,
            broker: relay.address(),
        };
        agents.push(agent.start(program, folder.path())?);
    }
    if agents.len() < options.vehicles {
        return Err("there are not enough free ports for the pages; see --page".into());
    }
    let mut screen = screen::Screen::new(options.vehicles);
    screen.greet(&agents, &relay);
    let mut proof = Proof::new(options.vehicles);

    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let ended = loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = interrupts.any() => break Ended::Asked,
        }
        if let Some(error) = relay.failure() {
            break Ended::Failed(error);
        }
        let mut pending = Vec::new();
        for agent in &mut agents {
            if let Some(error) = agent.failure()? {
                return Err(error.into());
            }
            // All at once: one agent that is slow must not make the others look slow.
            pending.push(tokio::spawn(status::look(agent.page)));
        }
        let mut looked = Vec::new();
        for look in pending {
            looked.push(look.await?);
        }
        let elapsed = clocked.elapsed();
        let traffic = observer.traffic();
        proof.note(&looked, &traffic);
        let story = clocked.now().story();
        screen.show(&screen::Scene {
            elapsed,
            story: &story,
            agents: &agents,
            looked: &looked,
            traffic: &traffic,
        });
        if let Some(seconds) = options.seconds
            && (elapsed >= Duration::from_secs(seconds) || (elapsed >= SCRIPT && proof.summary().1))
        {
            break Ended::InTime;
        }
    };
    screen.leave("ending ...");
    if let Some(trouble) = observer.trouble() {
        println!("trouble   listening at the broker: {trouble}");
    }
    let clean = agents::end(agents).await;
    proof.note_end(clean, &hazards);
    let (text, complete) = proof.summary();
    println!("{text}");
    match ended {
        Ended::Asked => Ok(ExitCode::SUCCESS),
        Ended::InTime if complete => Ok(ExitCode::SUCCESS),
        Ended::InTime => Ok(ExitCode::FAILURE),
        Ended::Failed(error) => Err(error.into()),
    }
}

enum Ended {
    Asked,
    InTime,
    Failed(String),
}

/// Whatever tells a program to end: Ctrl-C, `kill`, a closed terminal.
struct Interrupts([Signal; 3]);

impl Interrupts {
    fn new() -> std::io::Result<Interrupts> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [one, two, three] = kinds.map(signal);
        Ok(Interrupts([one?, two?, three?]))
    }

    async fn any(&mut self) {
        let [one, two, three] = &mut self.0;
        tokio::select! {
            _ = one.recv() => {}
            _ = two.recv() => {}
            _ = three.recv() => {}
        }
    }
}

/// Starts the stand-in of one vehicle's daemon; gives the word for it in the agent's configuration and its address.
fn play(
    clocked: &Clocked,
    vehicle: usize,
    daemons: Daemons,
    hazards: &Hazards,
) -> Result<(&'static str, SocketAddr), Failure> {
    let plugin = match daemons {
        Daemons::Jsoninfo => Plugin::Jsoninfo,
        Daemons::Txtinfo => Plugin::Txtinfo,
        // The older interface must be seen to work beside the newer one.
        Daemons::Olsrd if vehicle == 3 => Plugin::Txtinfo,
        Daemons::Olsrd => Plugin::Jsoninfo,
        Daemons::Olsrd2 => {
            let (word, access) = match vehicle % 2 {
                0 => ("olsrd2-http", Access::Http),
                _ => ("olsrd2-telnet", Access::Telnet),
            };
            let server =
                Olsrd2::bind(clocked.clone(), vehicle, access, loopback(0), hazards.clone());
            let server = server.map_err(|error| cannot_play(vehicle, &error))?;
            let address = server.address();
            tokio::spawn(server.run());
            return Ok((word, address));
        }
    };
    let server = Olsrd::bind(clocked.clone(), vehicle, plugin, loopback(0), hazards.clone());
    let server = server.map_err(|error| cannot_play(vehicle, &error))?;
    let address = server.address();
    tokio::spawn(server.run());
    let word = match plugin {
        Plugin::Jsoninfo => "jsoninfo",
        Plugin::Txtinfo => "txtinfo",
    };
    Ok((word, address))
}

fn cannot_play(vehicle: usize, error: &std::io::Error) -> String {
    format!("cannot play the routing daemon of {}: {error}", name(vehicle))
}

impl Daemons {
    fn family(self) -> Family {
        match self {
            Daemons::Olsrd | Daemons::Jsoninfo | Daemons::Txtinfo => Family::Olsrd,
            Daemons::Olsrd2 => Family::Olsrd2,
        }
    }
}
