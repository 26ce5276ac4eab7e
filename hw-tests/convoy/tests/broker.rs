//! The broker with clients that others wrote: mosquitto's (packages `mosquitto-clients`) and rumqttc's, in both versions of MQTT.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use convoy::broker::{Broker, Watch};
use convoy::stand_in::loopback;

/// Far more than any step takes, even on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(20);

/// A broker on a thread of its own; it ends with the process.
fn broker() -> (SocketAddr, Watch) {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let broker = Broker::bind(loopback(0)).await.unwrap();
            sender.send((broker.address(), broker.watch())).unwrap();
            broker.run().await;
        });
    });
    receiver.recv_timeout(PATIENCE).unwrap()
}

/// A child that does not outlive the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn mosquitto(program: &str, address: SocketAddr, version: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(["-h", "127.0.0.1", "-p", &address.port().to_string(), "-V", version]);
    command.args(arguments);
    command
}

/// `mosquitto_sub` that has subscribed: it prints a first retained message as proof.
fn subscribe(
    address: SocketAddr,
    version: &str,
    arguments: &[&str],
) -> (Running, BufReader<ChildStdout>) {
    static SUBSCRIBERS: AtomicU32 = AtomicU32::new(0);
    let ready = format!("ready/{}", SUBSCRIBERS.fetch_add(1, Ordering::Relaxed));
    publish(address, version, &["-t", &ready, "-m", "ready", "-r", "-q", "1"]);
    let mut command =
        mosquitto("mosquitto_sub", address, version, &["-t", &ready, "-F", "%t %r %q %p"]);
    let child = command.args(arguments).stdout(Stdio::piped()).spawn();
    let mut child = Running(child.expect("mosquitto_sub starts; package mosquitto-clients"));
    let mut lines = BufReader::new(child.0.stdout.take().unwrap());
    assert!(line(&mut lines).starts_with(&format!("{ready} 1 ")), "subscribed");
    (child, lines)
}

fn line(lines: &mut impl BufRead) -> String {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

fn publish(address: SocketAddr, version: &str, arguments: &[&str]) {
    let status = mosquitto("mosquitto_pub", address, version, arguments).status();
    assert!(status.expect("mosquitto_pub starts; package mosquitto-clients").success());
}

/// Waits until `condition` holds.
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn mosquittos_clients_publish_subscribe_and_retain_in_both_versions() {
    for (publisher, subscriber) in [("5", "5"), ("311", "5"), ("5", "311"), ("311", "311")] {
        let (address, watch) = broker();
        publish(address, publisher, &["-t", "convoy/a/birth", "-m", "early", "-r", "-q", "1"]);
        let (_child, mut lines) =
            subscribe(address, subscriber, &["-t", "convoy/+/birth", "-t", "convoy/#", "-q", "1"]);
        // Two filters match, each brings the retained message (MQTT 5 section 3.8.4).
        assert_eq!(line(&mut lines), "convoy/a/birth 1 1 early");
        assert_eq!(line(&mut lines), "convoy/a/birth 1 1 early");
        publish(address, publisher, &["-t", "other/a", "-m", "unwanted", "-q", "1"]);
        publish(address, publisher, &["-t", "convoy/b/telemetry", "-m", "one", "-q", "1"]);
        publish(address, publisher, &["-t", "convoy/b/telemetry", "-m", "two", "-q", "0"]);
        assert_eq!(line(&mut lines), "convoy/b/telemetry 0 1 one");
        assert_eq!(line(&mut lines), "convoy/b/telemetry 0 0 two");
        // An empty retained message clears the topic: a newcomer sees none.
        publish(address, publisher, &["-t", "convoy/a/birth", "-n", "-r", "-q", "1"]);
        assert_eq!(line(&mut lines), "convoy/a/birth 0 1");
        let (_late, mut late) = subscribe(address, subscriber, &["-t", "convoy/#", "-q", "1"]);
        publish(address, publisher, &["-t", "convoy/b/event", "-m", "after", "-q", "1"]);
        assert_eq!(line(&mut late), "convoy/b/event 0 1 after");
        assert_eq!(watch.counts().slow, 0);
    }
}

#[test]
fn large_payloads_arrive_whole() {
    let (address, _) = broker();
    let (_child, mut lines) = subscribe(address, "5", &["-t", "big", "-q", "1"]);
    let text = "0123456789abcdef".repeat(20_000);
    let mut command = mosquitto("mosquitto_pub", address, "5", &["-t", "big", "-s", "-q", "1"]);
    let mut child = Running(command.stdin(Stdio::piped()).spawn().unwrap());
    child.0.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.0.wait().unwrap().success());
    assert_eq!(line(&mut lines), format!("big 0 1 {text}"));
}

#[test]
fn a_vanished_client_leaves_its_will_and_one_that_says_goodbye_does_not() {
    let (address, _) = broker();
    for version in ["5", "311"] {
        let (_child, mut lines) = subscribe(address, version, &["-t", "will/#", "-q", "1"]);
        let will =
            ["--will-topic", "will/x", "--will-payload", "gone", "--will-qos", "1", "-t", "none"];
        let (vanishing, _) = subscribe(address, version, &will);
        drop(vanishing);
        assert_eq!(line(&mut lines), "will/x 0 1 gone", "killed");
        publish(
            address,
            version,
            &[
                "--will-topic",
                "will/y",
                "--will-payload",
                "gone",
                "-t",
                "will/z",
                "-m",
                "bye",
                "-q",
                "1",
            ],
        );
        assert_eq!(line(&mut lines), "will/z 0 1 bye");
        publish(address, version, &["-t", "will/end", "-m", "end", "-q", "1"]);
        assert_eq!(line(&mut lines), "will/end 0 1 end", "no will after a goodbye");
    }
}

#[test]
fn a_second_connection_under_the_same_name_ends_the_first() {
    let (address, watch) = broker();
    let (_first, mut lines) = subscribe(address, "5", &["-t", "x", "-i", "same", "-q", "1"]);
    let before = watch.counts().connections;
    let (_second, _) = subscribe(address, "5", &["-t", "y", "-i", "same", "-q", "1"]);
    assert!(watch.counts().connections > before);
    // mosquitto_sub ends when it is told that its session was taken over; otherwise this would wait for ever.
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

#[test]
fn silence_beyond_the_keep_alive_ends_a_connection_and_brings_its_will() {
    let (address, _) = broker();
    let (_child, mut lines) = subscribe(address, "311", &["-t", "will", "-q", "1"]);
    let mut silent = TcpStream::connect(address).unwrap();
    // CONNECT, 3.1.1, clean, will on topic `will` with payload `!`, keep-alive 1 s, client `s`.
    silent.write_all(b"\x10\x16\0\x04MQTT\x04\x06\0\x01\0\x01s\0\x04will\0\x01!").unwrap();
    let mut answer = [0; 4];
    silent.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0x20, 2, 0, 0]);
    assert_eq!(line(&mut lines), "will 0 0 !");
    assert_eq!(silent.read(&mut answer).unwrap(), 0, "closed");
}

#[test]
fn nonsense_ends_the_connection_and_nothing_else() {
    let (address, _) = broker();
    for nonsense in [
        b"GET / HTTP/1.1\r\n\r\n".as_slice(),
        b"\x10\xff\xff\xff\xff\xff",
        b"\x30\x05\0\x01aaa",
        b"\x10\x0c\0\x04MQTT\x09\x02\0\x3c\0\0",
        b"\x10\x00",
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(nonsense).unwrap();
        let mut answer = Vec::new();
        // Closing with unread bytes may show as a reset.
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer == [0x20, 2, 0, 1], "{nonsense:?}: {answer:?}");
    }
    publish(address, "5", &["-t", "still", "-m", "alive", "-q", "1"]);
}

#[test]
fn a_subscriber_that_stops_reading_is_dropped_and_counted() {
    let (address, watch) = broker();
    let mut stalled = TcpStream::connect(address).unwrap();
    stalled.write_all(b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01q\x82\x06\0\x01\0\x01t\0").unwrap();
    let mut answer = [0; 9];
    stalled.read_exact(&mut answer).unwrap();
    let payload = vec![b'x'; 16_381];
    let mut publisher = TcpStream::connect(address).unwrap();
    publisher.write_all(b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01p").unwrap();
    let packet = [b"\x30\x80\x80\x01\0\x01t".as_slice(), &payload].concat();
    until("the stalled subscriber is given up", || {
        publisher.write_all(&packet).unwrap();
        watch.counts().slow > 0
    });
    publish(address, "5", &["-t", "still", "-m", "alive", "-q", "1"]);
}

#[tokio::test]
async fn rumqttc_exchanges_messages_across_versions() {
    let (address, _) = broker();
    let options = rumqttc_v5::MqttOptions::new("five", ("127.0.0.1", address.port()));
    let (five, mut five_events) = rumqttc_v5::AsyncClient::builder(options).capacity(10).build();
    let broker = ("127.0.0.1", address.port());
    let options = rumqttc_v4::MqttOptions::new("four", broker);
    let (four, mut four_events) = rumqttc_v4::AsyncClient::builder(options).capacity(10).build();
    five.subscribe("from/four", rumqttc_v5::mqttbytes::QoS::AtLeastOnce).await.unwrap();
    four.subscribe("from/five", rumqttc_v4::QoS::AtLeastOnce).await.unwrap();
    let mut got = Vec::new();
    let exchange = async {
        while got.len() < 2 {
            tokio::select! {
                event = five_events.poll() => {
                    use rumqttc_v5::mqttbytes::v5::Packet;
                    match event.unwrap() {
                        rumqttc_v5::Event::Incoming(Packet::SubAck(_)) => {
                            let options =
                                rumqttc_v5::PublishOptions::new(rumqttc_v5::mqttbytes::QoS::AtLeastOnce);
                            five.publish("from/five", "hello from 5", options.retain(true)).await.unwrap();
                        }
                        rumqttc_v5::Event::Incoming(Packet::Publish(publish)) => {
                            got.push(String::from_utf8(publish.payload.to_vec()).unwrap());
                        }
                        _ => {}
                    }
                }
                event = four_events.poll() => {
                    use rumqttc_v4::Packet;
                    match event.unwrap() {
                        rumqttc_v4::Event::Incoming(Packet::SubAck(_)) => {
                            let options = rumqttc_v4::PublishOptions::new(rumqttc_v4::QoS::AtLeastOnce);
                            four.publish("from/four", "hello from 4", options.retain(true)).await.unwrap();
                        }
                        rumqttc_v4::Event::Incoming(Packet::Publish(publish)) => {
                            got.push(String::from_utf8(publish.payload.to_vec()).unwrap());
                        }
                        _ => {}
                    }
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, exchange).await.unwrap();
    got.sort_unstable();
    assert_eq!(got, ["hello from 4", "hello from 5"]);
}
