//! A broker that acknowledges twice, out of order and what was never sent. No mosquitto can be made to, so this is a stand-in:
//! a few bytes of MQTT 5 over a real TCP socket.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::program::{Agent, until};
use crate::{config, gather, held};

/// CONNACK that grants everything but more than nine messages at once (property 0x21, Receive Maximum).
const ACCEPTED: [u8; 8] = [0x20, 0x06, 0x00, 0x00, 0x03, 0x21, 0x00, 0x09];

/// Messages of which the acknowledgements are collected and then sent in the wrong order.
const AT_ONCE: usize = 3;

/// When nothing comes for so long, what is owed is settled.
const SILENCE: Duration = Duration::from_millis(200);

/// Payloads of what came.
type Came = Arc<Mutex<Vec<Vec<u8>>>>;

#[test]
fn acknowledgements_free_what_they_name_and_nothing_else() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let came: Came = Arc::default();
    let list = Arc::clone(&came);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            // Who goes away is served no longer.
            let _ = serve(client.unwrap(), &list);
        }
    });
    let mut agent = Agent::start(&config(port, "protocol = \"5\"\n"));
    agent.until("it is connected", |status| status.mqtt.state.connected && status.spool.open);
    for number in 0..30 {
        gather(agent.folder.path(), "gps", format!("position {number}").as_bytes());
    }
    agent.until("all is delivered", |status| held(status, "gps") == 0);
    let status = agent.until("it has counted", |status| {
        let gps = status.spool.streams.iter().find(|stream| stream.name == "gps").unwrap();
        gps.acknowledged_records == 30
    });
    let gps = &status.spool.streams.iter().find(|stream| stream.name == "gps").unwrap();
    assert!(gps.dropped.is_empty(), "{gps:?}");
    assert!(status.mqtt.state.connected, "{:?}", status.mqtt);
    until("each has come", || {
        let came = came.lock().unwrap().concat();
        let text = String::from_utf8_lossy(&came).into_owned();
        (0..30).all(|number| text.contains(&format!("position {number}")))
    });
}

/// Serves one client until it goes away.
fn serve(mut client: TcpStream, came: &Came) -> std::io::Result<()> {
    let mut owed: Vec<[u8; 2]> = Vec::new();
    loop {
        let mut kind = [0];
        client.set_read_timeout(Some(SILENCE))?;
        match client.read_exact(&mut kind) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                settle(&mut client, &mut owed)?;
                continue;
            }
            read => read?,
        }
        client.set_read_timeout(None)?;
        let body = body(&mut client)?;
        match kind[0] >> 4 {
            1 => client.write_all(&ACCEPTED)?,
            3 => {
                let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
                let id = [body[2 + topic], body[3 + topic]];
                came.lock().unwrap().push(body[4 + topic..].to_vec());
                owed.push(id);
                // A number that is not in use.
                client.write_all(&acknowledgement([0xee, 0xee]))?;
                if owed.len() >= AT_ONCE {
                    settle(&mut client, &mut owed)?;
                }
            }
            12 => client.write_all(&[0xd0, 0])?,
            14 => return Ok(()),
            _ => {}
        }
    }
}

/// Acknowledges what came, the last first, and each twice.
fn settle(client: &mut TcpStream, owed: &mut Vec<[u8; 2]>) -> std::io::Result<()> {
    for id in owed.drain(..).rev() {
        client.write_all(&acknowledgement(id))?;
        client.write_all(&acknowledgement(id))?;
    }
    Ok(())
}

fn acknowledgement([high, low]: [u8; 2]) -> [u8; 4] {
    [0x40, 2, high, low]
}

/// What follows the first byte of a packet and its length.
fn body(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let (mut length, mut shift) = (0, 0);
    loop {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    client.read_exact(&mut body)?;
    Ok(body)
}
