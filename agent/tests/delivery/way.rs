//! A way to a broker that breaks after some bytes, sometimes in the middle of an acknowledgement.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Bytes that each connection carries to the broker before it breaks, in turn.
const TO_BROKER: [usize; 6] = [9_000, 40_000, 20_001, 70_000, 15_007, 33_333];

/// Bytes that each carries back, in turn: some end with an acknowledgement lost or cut in two.
const FROM_BROKER: [usize; 5] = [61, 10_000, 42, 97, 10_000];

/// Relays connections until it is dropped.
pub struct Way {
    pub port: u16,
    broken: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Way {
    /// A way to a broker on this machine.
    pub async fn open(broker: u16) -> Way {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let broken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&broken);
        let task = tokio::spawn(async move {
            for number in 0.. {
                let Ok((mut vehicle, _)) = listener.accept().await else { return };
                let mut broker = TcpStream::connect(("127.0.0.1", broker)).await.unwrap();
                let (from_vehicle, to_vehicle) = vehicle.split();
                let (from_broker, to_broker) = broker.split();
                let there = carry(from_vehicle, to_broker, TO_BROKER[number % TO_BROKER.len()]);
                let back = carry(from_broker, to_vehicle, FROM_BROKER[number % FROM_BROKER.len()]);
                tokio::select! {
                    () = there => {}
                    () = back => {}
                }
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Way { port, broken, task }
    }

    /// Connections that ended.
    pub fn broken(&self) -> usize {
        self.broken.load(Ordering::Relaxed)
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Carries `left` bytes, or until one of both ends.
async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut left: usize) {
    let mut buffer = [0; 4096];
    while left > 0 {
        let room = left.min(buffer.len());
        let Ok(count @ 1..) = from.read(&mut buffer[..room]).await else { return };
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
        left -= count;
    }
}
