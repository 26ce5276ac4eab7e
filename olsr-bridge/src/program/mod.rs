//! The command: arguments, sources, output, exit codes.

mod args;
mod files;
mod table;
mod text;

use std::ffi::OsString;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use olsr_bridge::client::Client;
use olsr_bridge::failure::{Failure, FailureClass};
use olsr_bridge::view::MeshView;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until};

use args::{Args, Command};

/// Exit code for arguments that are not understood.
const EXIT_USAGE: u8 = 2;
/// Exit code for a daemon or file that cannot be reached, is too slow, too busy or does not let us
/// in.
const EXIT_UNREACHABLE: u8 = 3;
/// Exit code for an answer that cannot be understood.
const EXIT_NOT_UNDERSTOOD: u8 = 4;

/// First and longest pause after a failure when watching.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Moves the cursor home and clears the screen and what scrolled off it.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

/// Runs the program with the arguments of the process.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match args::parse(arguments) {
        Ok(Command::Run(args)) => args,
        Ok(Command::Say(text)) => return printed(print(&text)),
        Err(problem) => {
            complain(&format!("{problem}\nTry `olsr-bridge --help`."));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if !args.files.is_empty() {
        return match files::view(&args) {
            Ok(reading) => {
                for problem in &reading.problems {
                    complain(&problem.to_string());
                }
                printed(show(&reading.view, &args))
            }
            Err(failure) => failed(&failure),
        };
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("starting: {error}"));
            return ExitCode::from(EXIT_UNREACHABLE);
        }
    };
    if args.watch { runtime.block_on(watch(&args)) } else { runtime.block_on(once(&args)) }
}

async fn once(args: &Args) -> ExitCode {
    match Client::new(args.options.clone()).sample().await {
        Ok(view) => printed(show(&view, args)),
        Err(failure) => failed(&failure),
    }
}

/// Samples until an interrupt, a termination or a closed output ends it.
async fn watch(args: &Args) -> ExitCode {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (mut interrupt, mut terminate) = match signals {
        (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
        (Err(error), _) | (_, Err(error)) => {
            complain(&format!("listening for signals: {error}"));
            return ExitCode::from(EXIT_UNREACHABLE);
        }
    };
    tokio::select! {
        code = watch_forever(args) => code,
        _ = interrupt.recv() => ExitCode::SUCCESS,
        _ = terminate.recv() => ExitCode::SUCCESS,
    }
}

async fn watch_forever(args: &Args) -> ExitCode {
    let mut client = Client::new(args.options.clone());
    let mut backoff = BACKOFF_FIRST;
    loop {
        let next = Instant::now() + args.interval;
        match client.sample().await {
            Ok(view) => {
                if let Err(error) = show(&view, args) {
                    return printed(Err(error));
                }
                backoff = BACKOFF_FIRST;
                sleep_until(next).await;
            }
            Err(failure) => {
                complain(&format!("{failure}; trying again in {} s", backoff.as_secs()));
                sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }
}

/// Prints a view in the form asked for.
fn show(view: &MeshView, args: &Args) -> io::Result<()> {
    if !args.json {
        let text = text::render(view);
        let clear = if args.watch && io::stdout().is_terminal() { CLEAR } else { "" };
        let gap = if args.watch && clear.is_empty() { "\n" } else { "" };
        return print(&format!("{clear}{text}{gap}"));
    }
    let text =
        if args.watch { serde_json::to_string(view) } else { serde_json::to_string_pretty(view) };
    print(&format!("{}\n", text.map_err(io::Error::other)?))
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Says something on standard error. When nobody can read that either there is nothing left to do.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "olsr-bridge: {text}");
}

/// A reader that went away (`| head`) ends the program as it wished.
fn printed(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("writing to standard output: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn failed(failure: &Failure) -> ExitCode {
    complain(&failure.to_string());
    ExitCode::from(match failure.class {
        FailureClass::Refused
        | FailureClass::Timeout
        | FailureClass::NotAllowed
        | FailureClass::Busy
        | FailureClass::Io => EXIT_UNREACHABLE,
        FailureClass::NotFound | FailureClass::NotUnderstood | FailureClass::TooLarge => {
            EXIT_NOT_UNDERSTOOD
        }
    })
}
