//! Stand-ins for brokers that misbehave as no mosquitto can be made to: a few bytes of MQTT over a real TCP socket. They
//! stand in for the misbehaviour only; whatever is to work is tested against the real broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// CONNACK of version 5 that grants everything.
const ACCEPTED_5: [u8; 5] = [0x20, 0x03, 0x00, 0x00, 0x00];

/// CONNACK of version 3.1.1: unacceptable protocol version.
const WRONG_VERSION_311: [u8; 4] = [0x20, 0x02, 0x00, 0x01];

/// What a stand-in does with a connection.
#[derive(Clone, Copy)]
pub enum Manner {
    /// Takes everything and says nothing.
    Silent,
    /// Lets the client in and closes.
    Kicks,
    /// Answers pings and nothing else.
    NeverAcknowledges,
    /// Acknowledges everything but what ends with this.
    Forgets(&'static [u8]),
    /// Answers in HTTP.
    Web,
    /// Refuses version 5 as a 3.1.1 broker does; everything else is passed on to a real broker.
    Only311 { broker: u16 },
    /// The same, but closes the connection instead of answering.
    Only311Mute { broker: u16 },
}

/// A running stand-in; ends when dropped.
pub struct Double {
    pub port: u16,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Double {
    pub async fn start(manner: Manner) -> Double {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::Relaxed);
                // A client that goes away is no failure of the stand-in.
                tokio::spawn(async move { serve(client, manner).await.ok() });
            }
        });
        Double { port, connections, task }
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut client: TcpStream, manner: Manner) -> std::io::Result<()> {
    let mut first = vec![0; 4096];
    let length = client.read(&mut first).await?;
    first.truncate(length);
    match manner {
        Manner::Silent => drain(&mut client).await,
        Manner::Kicks => client.write_all(&ACCEPTED_5).await,
        Manner::NeverAcknowledges => {
            client.write_all(&ACCEPTED_5).await?;
            answer_pings(&mut client).await
        }
        Manner::Forgets(what) => {
            client.write_all(&ACCEPTED_5).await?;
            acknowledge_but(&mut client, what).await
        }
        Manner::Web => client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await,
        Manner::Only311 { broker } => {
            if version(&first) == 5 {
                return client.write_all(&WRONG_VERSION_311).await;
            }
            pass_on(client, &first, broker).await
        }
        Manner::Only311Mute { broker } => {
            if version(&first) == 5 {
                return Ok(());
            }
            pass_on(client, &first, broker).await
        }
    }
}

/// Protocol level of a CONNECT: behind a fixed header of two or three bytes and the name `MQTT` with its length.
fn version(connect: &[u8]) -> u8 {
    let name = connect.windows(4).position(|window| window == b"MQTT").unwrap();
    connect[name + 4]
}

async fn pass_on(mut client: TcpStream, first: &[u8], broker: u16) -> std::io::Result<()> {
    let mut broker = TcpStream::connect(("127.0.0.1", broker)).await?;
    broker.write_all(first).await?;
    tokio::io::copy_bidirectional(&mut client, &mut broker).await.map(drop)
}

async fn drain(client: &mut TcpStream) -> std::io::Result<()> {
    let mut ignored = [0; 4096];
    while client.read(&mut ignored).await? > 0 {}
    Ok(())
}

/// Every PINGREQ is two bytes on its own here, since the client sends nothing else by then.
async fn answer_pings(client: &mut TcpStream) -> std::io::Result<()> {
    let mut received = [0; 4096];
    loop {
        let length = client.read(&mut received).await?;
        if length == 0 {
            return Ok(());
        }
        if received[..length].ends_with(&[0xc0, 0x00]) {
            client.write_all(&[0xd0, 0x00]).await?;
        }
    }
}

/// Acknowledges publications of QoS 1 as they come.
async fn acknowledge_but(client: &mut TcpStream, forgotten: &[u8]) -> std::io::Result<()> {
    let mut input = Vec::new();
    let mut received = [0; 4096];
    loop {
        let length = client.read(&mut received).await?;
        if length == 0 {
            return Ok(());
        }
        input.extend(&received[..length]);
        // All packets here are shorter than 128 bytes, but for the status: two bytes of length at most.
        while let [first, length, rest @ ..] = &input[..] {
            let (length, header) = match (length, rest) {
                (0..128, _) => (usize::from(*length), 2),
                (_, [high, ..]) => (usize::from(length & 127) + usize::from(*high) * 128, 3),
                _ => break,
            };
            if input.len() < header + length {
                break;
            }
            let body = &input[header..header + length];
            if first & 0xf6 == 0x32 && !body.ends_with(forgotten) {
                let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
                client.write_all(&[0x40, 2, body[2 + topic], body[3 + topic]]).await?;
            } else if *first == 0xc0 {
                client.write_all(&[0xd0, 0]).await?;
            }
            input.drain(..header + length);
        }
    }
}
