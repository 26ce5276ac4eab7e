//! From the control socket to the broker, with the real program: what was gathered while nobody listened leaves once there is
//! somebody, once, in order, whatever is killed or breaks meanwhile; what the agent itself says goes the same way.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[allow(dead_code, reason = "shared with other tests, which need other parts of it")]
#[path = "../mqtt/broker.rs"]
mod broker;
mod command;
#[path = "../fixture/ended.rs"]
mod ended;
mod liar;
mod limits;
#[path = "../fixture/noise.rs"]
mod noise;
mod own_words;
#[allow(dead_code, reason = "shared with other tests, which need other parts of it")]
#[path = "../trouble/program.rs"]
mod program;
#[allow(dead_code, reason = "shared with other tests, which need other parts of it")]
#[path = "../gather/request.rs"]
mod request;
mod survival;
#[path = "../delivery/way.rs"]
mod way;

use std::future::Future;
use std::path::Path;
use std::sync::mpsc;

use noise::noise;
use outrider::core::status::Status;
use program::PATIENCE;
use request::post;
use tokio::sync::oneshot;

/// A configuration with a spool and a broker at `{port}`; `{folder}` is the test's own folder.
const GRAVITY: &str = "[mesh]\ndaemon = \"none\"\n[hardware]\nenabled = false\n[http]\nlisten = \"off\"\n\
     [vehicle]\nname = \"hawk\"\n[spool]\nfolder = \"{folder}/spool\"\nsize = \"16MiB\"\nsync_delay = \"20ms\"\n\
     [[stream]]\nname = \"alarm\"\npriority = \"event\"\n[mqtt]\nhost = \"127.0.0.1\"\ntopic = \"fleet\"\n";

/// [`GRAVITY`] with more in section `[mqtt]` and after it.
fn config(port: u16, more: &str) -> String {
    format!("{GRAVITY}port = {port}\n{more}")
}

/// Brings one record, which is durable when this returns.
fn gather(folder: &Path, stream: &str, payload: &[u8]) {
    let socket = folder.join("control.sock");
    let path = format!("/v1/streams/{stream}");
    let reply = post(&socket, &path, "application/octet-stream", payload);
    assert_eq!(reply.code, 200, "{reply:?}");
}

/// Records that are held of a stream.
fn held(status: &Status, stream: &str) -> u64 {
    let found = status.spool.streams.iter().find(|shown| shown.name == stream);
    found.map_or(0, |shown| shown.held_records)
}

/// Something asynchronous on a thread of its own, until this is dropped.
struct Background(
    #[allow(dead_code, reason = "dropping it is what it is for")] oneshot::Sender<()>,
);

impl Background {
    /// Starts what `make` gives it to do. The other thing it gives is waited for.
    fn start<T: Send + 'static, F: Future<Output = ()>>(
        make: impl FnOnce(mpsc::Sender<T>) -> F + Send + 'static,
    ) -> (Background, T) {
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = make(tell) => {}
                    _ = stopped => {}
                }
            });
        });
        (Background(stop), told.recv_timeout(PATIENCE).expect("it starts in time"))
    }
}
