//! From a stream of bytes to an open connection: the first packet, the broker's answer, and what a refusal means.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::reach::{Stream, reach, seconds};
use super::wire::{self, Hello, Incoming, Keeping, Login, Protocol, Refusal, Terms, Will};
use super::{COLLECTOR_RECEIVE_MAX, Duty, End, KEEP_ALIVE_MIN, Settings};
use crate::core::presence::OfflineCause;
use crate::shell::tls;

/// Room for the broker's answer: more than any is long.
const ANSWER_BYTES: usize = 4096;

/// A connection that the broker has accepted.
pub struct Accepted {
    pub stream: Box<dyn Stream>,
    pub terms: Terms,
    /// What came together with the answer.
    pub input: BytesMut,
}

/// Connects, says hello and waits to be let in. `number` is the number this connection will have.
pub async fn greet(
    settings: &Settings,
    duty: &Duty,
    protocol: Protocol,
    number: u64,
) -> Result<Accepted, End> {
    let hello = hello(settings, duty, number).map_err(End::Failed)?;
    let stream = reach(settings).await.map_err(End::Failed)?;
    let limit = settings.timing.answer;
    let accepted = timeout(limit, ask(stream, hello, settings, protocol)).await.map_err(|_| {
        End::Failed(format!(
            "{} accepted the connection but did not answer MQTT within {}: it hangs or is overloaded, or something else than \
             a broker listens there",
            settings.broker(),
            seconds(limit)
        ))
    })??;
    if !accepted.terms.acknowledges {
        return Err(End::Failed(format!(
            "{} acknowledges nothing (it allows QoS 0 only): allow QoS 1 on the broker",
            settings.broker()
        )));
    }
    Ok(accepted)
}

fn hello(settings: &Settings, duty: &Duty, number: u64) -> Result<Hello, String> {
    let password = settings.password_file.as_deref().map(|path| {
        tls::read_small_file(path).map_err(|error| {
            format!(
                "cannot read the password in {}: {error}; check `mqtt.password_file` and its permissions",
                path.display()
            )
        })
    });
    let password = password.transpose()?.map(|mut password| {
        let first_line =
            password.split(|byte| b"\r\n".contains(byte)).next().map_or(0, <[u8]>::len);
        password.truncate(first_line);
        Bytes::from(password)
    });
    let login = match (settings.username.clone(), password) {
        (Some(username), password) => Some(Login { username, password }),
        (None, Some(_)) => {
            return Err("a password needs a user name: set `mqtt.username`".to_owned());
        }
        (None, None) => None,
    };
    let will = match duty {
        Duty::Publish { speaker, status_topic, .. } => Some(Will {
            topic: status_topic.clone(),
            payload: speaker.status(number, Some(OfflineCause::ConnectionLost)),
        }),
        Duty::Subscribe { .. } | Duty::Collect { .. } => None,
    };
    let session = match duty {
        Duty::Collect { session_expiry_s, .. } => {
            Some(Keeping { expiry_s: *session_expiry_s, receive_max: COLLECTOR_RECEIVE_MAX })
        }
        Duty::Publish { .. } | Duty::Subscribe { .. } => None,
    };
    let keep_alive = settings.keep_alive.max(KEEP_ALIVE_MIN).as_secs();
    Ok(Hello {
        client_id: settings.client_id.clone(),
        keep_alive_s: u16::try_from(keep_alive).unwrap_or(u16::MAX),
        login,
        will,
        packet_bytes_max: duty.packet_bytes_max(),
        session,
    })
}

/// Sends the first packet and reads the answer.
async fn ask(
    mut stream: Box<dyn Stream>,
    hello: Hello,
    settings: &Settings,
    protocol: Protocol,
) -> Result<Accepted, End> {
    let packet_bytes_max = hello.packet_bytes_max;
    let mut first = BytesMut::new();
    wire::write_hello(&mut first, protocol, hello).map_err(|e| {
        End::Failed(format!("client identifier, user name or last will cannot be sent: {e:?}"))
    })?;
    // A broker that refuses our certificate says so where its answer should be, after which writing fails as well: then
    // reading finds the better reason.
    let written = write(&mut stream, &first).await;
    let mut input = BytesMut::with_capacity(ANSWER_BYTES);
    loop {
        match stream.read_buf(&mut input).await {
            Ok(0) => return Err(hushed(settings, &io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => {}
            Err(read) => {
                let cause = written.err().filter(|_| tls::explain(&read, "").is_none());
                return Err(hushed(settings, &cause.unwrap_or(read)));
            }
        }
        let answer = wire::read_first(&mut input, protocol, packet_bytes_max)
            .map_err(|why| not_mqtt(settings, &why))?;
        match answer {
            Some(Incoming::Accepted(terms)) => return Ok(Accepted { stream, terms, input }),
            Some(Incoming::Refused(refusal)) => return Err(refused(settings, refusal)),
            Some(_) => return Err(not_mqtt(settings, "its first packet is no answer")),
            None if wire::is_no_answer(&input) => {
                return Err(not_mqtt(settings, "what it sends is no answer"));
            }
            None => {}
        }
    }
}

async fn write(stream: &mut Box<dyn Stream>, packet: &[u8]) -> io::Result<()> {
    stream.write_all(packet).await?;
    stream.flush().await
}

fn not_mqtt(settings: &Settings, why: &str) -> End {
    End::Failed(format!(
        "what answers at {} does not speak MQTT ({why}): check `mqtt.port`, and whether the broker wants TLS there",
        settings.broker()
    ))
}

fn hushed(settings: &Settings, error: &io::Error) -> End {
    let broker = settings.broker();
    if let Some(text) = tls::explain(error, &settings.host) {
        return End::Failed(format!("{broker}: {text}"));
    }
    End::Hushed(format!(
        "{broker} closed the connection instead of answering ({error}): check that it wants no TLS here if `mqtt.tls` is off, \
         and see its log"
    ))
}

fn refused(settings: &Settings, refusal: Refusal) -> End {
    let broker = settings.broker();
    End::Failed(match refusal {
        Refusal::Protocol => return End::WrongVersion,
        Refusal::Credentials => format!(
            "{broker} refuses these credentials: check `mqtt.username` and the content of `mqtt.password_file`{}",
            if settings.username.is_none() { " (no user name is set)" } else { "" }
        ),
        Refusal::ClientId => format!(
            "{broker} refuses the client identifier `{}`: set `mqtt.client_id` to one it allows",
            settings.client_id
        ),
        Refusal::Busy => {
            format!("{broker} is not available at the moment, or at its limit of clients")
        }
        Refusal::NoRetained => format!(
            "{broker} keeps no retained messages, which the last will needs: allow them on the broker"
        ),
        Refusal::Other(why) => format!("{broker} refuses the connection: {why}"),
    })
}
