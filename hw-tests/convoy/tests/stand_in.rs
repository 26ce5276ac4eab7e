//! The stand-ins on real sockets: read by the bridge to the same costs the mesh has, and with the daemons' manners.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use convoy::mesh::{Family, METRIC_PERFECT};
use convoy::olsrd::Plugin;
use convoy::stand_in::{Access, Clocked, Hazards, Olsrd, Olsrd2, loopback};
use convoy::world::{self, World};
use olsr_bridge::client::{Choice, Client, Options};
use olsr_bridge::failure::FailureClass;
use olsr_bridge::lookup::Resolution;
use olsr_bridge::view::{MeshView, NetworkCost};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Far more than any step takes, even on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(20);
/// Seven vehicles on their way out of reach of each other: lossy links and several hops.
const VEHICLES: usize = 7;
const MOMENT_MS: u64 = 22_000;

const ALL: [Choice; 4] =
    [Choice::Jsoninfo, Choice::Txtinfo, Choice::Olsrd2Http, Choice::Olsrd2Telnet];

fn family(choice: Choice) -> Family {
    match choice {
        Choice::Auto | Choice::Jsoninfo | Choice::Txtinfo => Family::Olsrd,
        Choice::Olsrd2Http | Choice::Olsrd2Telnet => Family::Olsrd2,
    }
}

/// Plays the daemon of node 0 as a task; gives its address.
fn play(choice: Choice, clocked: &Clocked, hazards: &Hazards) -> SocketAddr {
    let (clocked, hazards) = (clocked.clone(), hazards.clone());
    let olsrd = |plugin| {
        let server = Olsrd::bind(clocked.clone(), 0, plugin, loopback(0), hazards.clone()).unwrap();
        let address = server.address();
        tokio::spawn(server.run());
        address
    };
    let olsrd2 = |access| {
        let server =
            Olsrd2::bind(clocked.clone(), 0, access, loopback(0), hazards.clone()).unwrap();
        let address = server.address();
        tokio::spawn(server.run());
        address
    };
    match choice {
        Choice::Auto | Choice::Jsoninfo => olsrd(Plugin::Jsoninfo),
        Choice::Txtinfo => olsrd(Plugin::Txtinfo),
        Choice::Olsrd2Http => olsrd2(Access::Http),
        Choice::Olsrd2Telnet => olsrd2(Access::Telnet),
    }
}

fn client(choice: Choice, address: SocketAddr) -> Client {
    Client::new(Options { choice, connect: Some(address), timeout: PATIENCE, ..Options::default() })
}

/// A sample; a daemon that was too busy for a slow client is asked again, as the agent would.
async fn sample(client: &mut Client) -> MeshView {
    for _ in 0..20 {
        match client.sample().await {
            Ok(view) => return view,
            Err(failure) if failure.class == FailureClass::Busy => {}
            Err(failure) => panic!("{failure}"),
        }
    }
    panic!("busy twenty times")
}

fn drive(family: Family) -> World {
    let mut world = World::convoy(family, VEHICLES, 1);
    world.advance(MOMENT_MS);
    world
}

/// What the mesh says about reaching `to` from node 0: network cost and hops.
fn expected(world: &World, to: usize) -> Option<(f64, u32)> {
    let mesh = world.mesh();
    let paths = mesh.paths(0);
    let path = paths[to]?;
    let cost = match mesh.family() {
        Family::Olsrd => path.cost as f64 / 1024.0 * 100.0,
        Family::Olsrd2 => {
            // Both directions of each link count: own links as measured, others as their announcer told.
            let view = world.view(0).unwrap();
            let metrics = |from: usize, to: usize| {
                let own = view.neighbors.iter().find(|neighbor| from == 0 && neighbor.node == to);
                let told = view.edges.iter().find(|edge| (edge.from, edge.to) == (from, to));
                let back = view.edges.iter().find(|edge| (edge.to, edge.from) == (from, to));
                own.map(|own| own.metric).or(told.or(back).map(|edge| edge.metric)).unwrap()
            };
            let mut product = 0.0;
            let mut at = to;
            while at != 0 {
                let previous = paths[at].unwrap().previous;
                let (inbound, outbound) = metrics(previous, at);
                let perfect = f64::from(METRIC_PERFECT);
                product += f64::from(inbound) / perfect * f64::from(outbound) / perfect;
                at = previous;
            }
            product * 100.0
        }
    };
    Some((cost, path.hops))
}

#[tokio::test]
async fn the_bridge_reads_every_protocol_to_what_the_mesh_is() {
    for choice in ALL {
        let world = drive(family(choice));
        let clocked = Clocked::frozen(world.clone());
        let hazards = Hazards::default();
        let mut client = client(choice, play(choice, &clocked, &hazards));
        let view = sample(&mut client).await;
        assert_eq!(view.complaints, [], "{choice:?}");
        let mut several_hops = 0;
        for to in 1..VEHICLES {
            let address = IpAddr::from(world::loopback(to));
            match (view.resolve(address), expected(&world, to)) {
                (Resolution::Route { route, .. }, Some((cost, hops))) => {
                    let NetworkCost::Reachable(read) = route.cost else { panic!("{route:?}") };
                    assert!(
                        (f64::from(read) - cost).abs() <= 1.0,
                        "{choice:?}: {read} for {cost} to {to}"
                    );
                    let read_hops = route.hops.unwrap();
                    assert_eq!(read_hops, hops, "{choice:?} to {to}");
                    several_hops += usize::from(hops > 1);
                }
                (found, expected) => panic!("{choice:?}: {found:?} for {expected:?} to {to}"),
            }
        }
        assert!(several_hops > 0, "{choice:?}: the scene must have a path of several hops");
        // olsrd2 has each neighbour once more with its link-local address.
        let neighbors = view.neighbors.iter().filter(|neighbor| neighbor.address.is_ipv4());
        assert_eq!(neighbors.count(), world.view(0).unwrap().neighbors.len(), "{choice:?}");
        assert_eq!(hazards.unfinished_lines() + hazards.leaked_sessions(), 0, "{choice:?}");
    }
}

#[tokio::test]
async fn a_dead_vehicle_is_unreachable_and_the_rest_is_not() {
    for choice in ALL {
        let mut world = World::convoy(family(choice), 4, 1);
        world.stop(2, false);
        world.advance(20_000);
        let clocked = Clocked::frozen(world);
        let mut client = client(choice, play(choice, &clocked, &Hazards::default()));
        let view = sample(&mut client).await;
        let cost = |vehicle| view.resolve(world::loopback(vehicle).into()).cost();
        assert_eq!(cost(2), Some(NetworkCost::Unreachable), "{choice:?}");
        assert!(matches!(cost(1), Some(NetworkCost::Reachable(_))), "{choice:?}");
    }
}

#[tokio::test]
async fn a_stopped_daemon_refuses_and_comes_back_as_another_process() {
    for choice in ALL {
        let clocked = Clocked::new(World::convoy(family(choice), 2, 1));
        let address = play(choice, &clocked, &Hazards::default());
        let mut client = client(choice, address);
        let before = sample(&mut client).await;
        clocked.now().stop(0, true);
        let refused = async {
            loop {
                match client.sample().await {
                    Err(failure) if failure.class == FailureClass::Refused => return,
                    Err(_) | Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, refused).await.unwrap();
        clocked.now().start(0);
        let back = async {
            loop {
                match client.sample().await {
                    Ok(view) => return view,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let after = tokio::time::timeout(PATIENCE, back).await.unwrap();
        if let (Some(before), Some(after)) = (before.daemon.uptime_ms, after.daemon.uptime_ms) {
            assert!(after < before, "{choice:?}: {after} after {before}");
        }
        if choice == Choice::Jsoninfo {
            assert_ne!(before.daemon.pid, after.daemon.pid);
        }
    }
}

/// Everything the peer sends until it closes.
async fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A daemon that closes with unread input resets the connection; what came before counts.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn olsrd_times_out_the_silent_and_serves_the_next() {
    let clocked = Clocked::frozen(World::convoy(Family::Olsrd, 2, 1));
    let hazards = Hazards::default();
    let address = play(Choice::Jsoninfo, &clocked, &hazards);
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut next = TcpStream::connect(address).await.unwrap();
    next.write_all(b"GET /links HTTP/1.0\r\n\r\n").await.unwrap();
    assert!(read_all(&mut silent).await.starts_with("HTTP/1.1 408 Request Timeout\r\n"));
    assert!(read_all(&mut next).await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(hazards.late_requests(), 1);
    let mut long = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /links HTTP/1.0\r\nX: {}\r\n\r\n", "x".repeat(2000));
    long.write_all(request.as_bytes()).await.unwrap();
    read_all(&mut long).await;
    assert_eq!(hazards.long_requests(), 1);
}

#[tokio::test]
async fn olsrd_answers_from_its_cache_but_tells_the_time() {
    let clocked = Clocked::new(World::convoy(Family::Olsrd, 2, 1));
    let address = play(Choice::Jsoninfo, &clocked, &Hazards::default());
    let mut answers = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"/links").await.unwrap();
        answers.push(read_all(&mut stream).await);
    }
    let split = |answer: &str| {
        let (head, links) = answer.split_once("\"links\"").unwrap();
        (head.to_owned(), links.to_owned())
    };
    let ((head_one, links_one), (head_two, links_two)) = (split(&answers[0]), split(&answers[1]));
    assert_ne!(head_one, head_two, "the uptime is fresh");
    let uptime = |head: &str| -> u64 {
        let (_, rest) = head.split_once("\"timeSinceStartup\": ").unwrap();
        rest.split(',').next().unwrap().parse().unwrap()
    };
    // On a machine that held this test for a second the cache has run out.
    if uptime(&head_two) - uptime(&head_one) < 900 {
        assert_eq!(links_one, links_two);
    }
}

#[tokio::test]
async fn olsrd2_has_three_sessions_and_counts_what_would_hurt_it() {
    let clocked = Clocked::frozen(World::convoy(Family::Olsrd2, 2, 1));
    let hazards = Hazards::default();
    let address = play(Choice::Olsrd2Telnet, &clocked, &hazards);
    let mut sessions = Vec::new();
    for _ in 0..3 {
        let mut session = TcpStream::connect(address).await.unwrap();
        session.write_all(b"olsrv2info jsonraw originator\n").await.unwrap();
        let mut start = [0; 1];
        session.read_exact(&mut start).await.unwrap();
        sessions.push(session);
    }
    let mut fourth = TcpStream::connect(address).await.unwrap();
    let refusal = "Telnet service unavailable, too many sessions\n";
    assert_eq!(read_all(&mut fourth).await, refusal);
    assert_eq!(hazards.refused_sessions(), 1);
    let mut polite = sessions.pop().unwrap();
    polite.write_all(b"nosuch\nquit\n").await.unwrap();
    let answers = read_all(&mut polite).await;
    assert!(answers.ends_with("\n> Error, unknown command 'nosuch'\n\n> "), "{answers:?}");
    drop(sessions.pop());
    let mut rude = sessions.pop().unwrap();
    rude.write_all(b"olsrv2info jsonraw rou").await.unwrap();
    drop(rude);
    let counted = async {
        while hazards.leaked_sessions() < 1 || hazards.unfinished_lines() < 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.unwrap();
    assert_eq!((hazards.leaked_sessions(), hazards.unfinished_lines()), (1, 1));
}
