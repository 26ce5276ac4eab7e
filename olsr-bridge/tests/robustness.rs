//! Feeds every parser with damaged answers: nothing may panic, hang or grow beyond its input, and no damage may make a
//! reachable peer look unreachable.

mod mesh;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mesh::{Dice, Mesh};
use olsr_bridge::build::{Builder, COMPLAINTS_MAX, ROWS_MAX};
use olsr_bridge::cost::CostOptions;
use olsr_bridge::lookup::Resolution;
use olsr_bridge::view::{DaemonKind, MeshView, Part, Protocol};
use olsr_bridge::{http, names, v1, v2};

/// A parser of this crate, as the fuzz targets name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parser {
    Jsoninfo,
    Txtinfo,
    Olsrd2,
    Names,
}

fn view(parser: Parser, answer: &[u8]) -> MeshView {
    view_of_parts(parser, answer, &[])
}

/// The view of an answer to a request for the parts `asked`.
fn view_of_parts(parser: Parser, answer: &[u8], asked: &[Part]) -> MeshView {
    let (kind, protocol) = match parser {
        Parser::Jsoninfo | Parser::Names => (DaemonKind::Olsrd, Protocol::Jsoninfo),
        Parser::Txtinfo => (DaemonKind::Olsrd, Protocol::Txtinfo),
        Parser::Olsrd2 => (DaemonKind::Olsrd2, Protocol::Olsrd2Http),
    };
    let mut builder = Builder::new(kind, protocol);
    let body = http::split(answer).body;
    match parser {
        Parser::Jsoninfo => {
            v1::jsoninfo::parse(body, &mut builder);
        }
        Parser::Txtinfo => {
            v1::txtinfo::parse(body, &mut builder);
        }
        Parser::Olsrd2 => v2::parse(body, &mut builder),
        Parser::Names => names::parse(body, &mut builder),
    }
    builder.expect(asked);
    builder.finish(&CostOptions::default())
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn fixture(path: &str) -> Vec<u8> {
    let path = fixtures().join(path);
    fs::read(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// Answers of every format and age, small enough to be cut at every byte.
fn samples() -> Vec<(Parser, Vec<u8>)> {
    [
        (Parser::Jsoninfo, "olsrd/pair/a/jsoninfo-links.http"),
        (Parser::Jsoninfo, "olsrd/hna/a/jsoninfo-routes.http"),
        (Parser::Jsoninfo, "olsrd/cut-heal/series/a/t012.0.http"),
        (Parser::Jsoninfo, "olsrd/smart-gateway/a/jsoninfo-gateways.http"),
        (Parser::Jsoninfo, "olsrd/pair/a/jsoninfo-interfaces.http"),
        (Parser::Jsoninfo, "olsrd/old-0.6.8.1/a/jsoninfo-routes.http"),
        (Parser::Jsoninfo, "olsrd/old-0.6.8.1/a/jsoninfo-mid.http"),
        (Parser::Jsoninfo, "olsrd/old-0.9.0.3/a/jsoninfo-topology.http"),
        (Parser::Txtinfo, "olsrd/hna/a/txtinfo-all.http"),
        (Parser::Txtinfo, "olsrd/txt-vtime/a/txtinfo-all.http"),
        (Parser::Txtinfo, "olsrd/old-0.6.6.2/a/txtinfo-all.raw"),
        (Parser::Olsrd2, "olsrd2/pair/a/telnet-nhdpinfo-jsonraw-link.raw"),
        (Parser::Olsrd2, "olsrd2/pair/a/telnet-netjsoninfo-graph.raw"),
        (Parser::Olsrd2, "olsrd2/errors/a/telnet-chain.raw"),
        (Parser::Names, "olsrd/nameservice/a/hosts.file"),
    ]
    .map(|(parser, path)| (parser, fixture(path)))
    .to_vec()
}

/// What no view may break, whatever it was read from: bounded lists, and a JSON form that reads back.
fn check(view: &MeshView, input: &[u8]) {
    let lists = [
        view.links.len(),
        view.neighbors.len(),
        view.routes.len(),
        view.edges.len(),
        view.networks.len(),
        view.aliases.len(),
        view.gateways.len(),
        view.names.len(),
    ];
    // The shortest row of any format takes more than two bytes.
    assert!(lists.into_iter().all(|rows| rows <= ROWS_MAX && rows <= input.len() / 2));
    assert!(view.complaints.len() <= COMPLAINTS_MAX);
}

#[test]
fn an_answer_cut_at_any_byte_never_makes_a_peer_unreachable() {
    for (parser, whole) in samples() {
        let complete = view(parser, &whole);
        let asked: Vec<Part> = complete.ages.iter().map(|age| age.part).collect();
        for end in 0..whole.len() {
            let cut = view_of_parts(parser, &whole[..end], &asked);
            check(&cut, &whole[..end]);
            for route in &complete.routes {
                let peer = route.destination.address;
                let before = complete.resolve(peer);
                if matches!(before, Resolution::Route { .. }) {
                    let after = cut.resolve(peer);
                    assert!(
                        !matches!(after, Resolution::Unreachable { .. }),
                        "{parser:?} cut at {end}: {peer} was {before:?} and is {after:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn flipped_bits_and_swapped_bytes_do_no_harm() {
    let mut dice = Dice(20_240_607);
    for (parser, whole) in samples() {
        for _ in 0..400 {
            let mut damaged = whole.clone();
            for _ in 0..=dice.below(8) {
                let at = dice.below(damaged.len());
                match dice.below(3) {
                    0 => damaged[at] ^= 1 << dice.below(8),
                    1 => damaged[at] = b"{}[]\",:\t\n09-.eE"[dice.below(15)],
                    _ => {
                        let other = dice.below(damaged.len());
                        damaged.swap(at, other);
                    }
                }
            }
            check(&view(parser, &damaged), &damaged);
        }
    }
}

#[test]
fn every_parser_survives_the_answers_of_every_other() {
    for (_, answer) in samples() {
        for parser in [Parser::Jsoninfo, Parser::Txtinfo, Parser::Olsrd2, Parser::Names] {
            check(&view(parser, &answer), &answer);
        }
    }
}

#[test]
fn nesting_bombs_and_endless_tokens_end() {
    let deadline = Instant::now() + Duration::from_secs(60);
    let bombs = [
        "[",
        "{\"links\":[",
        "{\"a\":",
        "\"",
        "{\"links\": [{\"remoteIP\": \"",
        "9",
        ",",
        "Table: Links\n",
    ];
    for bomb in bombs {
        let text = bomb.repeat(1_000_000 / bomb.len());
        for parser in [Parser::Jsoninfo, Parser::Txtinfo, Parser::Olsrd2, Parser::Names] {
            check(&view(parser, text.as_bytes()), text.as_bytes());
            assert!(Instant::now() < deadline, "{bomb:?} takes {parser:?} too long");
        }
    }
}

#[test]
fn ten_thousand_links_are_read_and_more_rows_than_any_mesh_has_are_counted() {
    let row = |n: usize| {
        format!(
            "{{\"localIP\": \"10.0.0.1\",\"remoteIP\": \"10.1.{}.{}\",\"linkCost\": 1.0}}",
            n / 250,
            n % 250
        )
    };
    let table = |rows: usize| {
        let rows: Vec<String> = (0..rows).map(row).collect();
        format!("{{\"links\": [{}]}}", rows.join(","))
    };
    let many = view(Parser::Jsoninfo, table(10_000).as_bytes());
    assert_eq!((many.links.len(), many.complaints.len()), (10_000, 0));
    let too_many = view(Parser::Jsoninfo, table(ROWS_MAX + 5).as_bytes());
    let left_out: u32 = too_many.complaints.iter().map(|complaint| complaint.count).sum();
    assert!(left_out >= 5, "{:?}", too_many.complaints);
}

#[test]
fn a_row_twice_is_one_row_and_a_contradiction_is_told() {
    let route = |etx: &str| {
        format!(
            "{{\"destination\": \"10.0.0.2\",\"genmask\": 32,\"gateway\": \"10.0.0.2\",\"metric\": 1,\"etx\": {etx},\"rtpMetricCost\": {etx},\"networkInterface\": \"wlan0\"}}"
        )
    };
    let twice = format!("{{\"routes\": [{0},{0}]}}", route("1.500000"));
    let same = view(Parser::Jsoninfo, twice.as_bytes());
    assert_eq!((same.routes.len(), same.complaints.len()), (1, 0));
    let other = format!("{{\"routes\": [{},{}]}}", route("1.500000"), route("9.000000"));
    let first = view(Parser::Jsoninfo, other.as_bytes());
    assert_eq!(first.routes, same.routes);
    assert_eq!(first.complaints.len(), 1);
}

#[test]
fn a_generated_mesh_is_read_whole() {
    let answer = Mesh::new(100, 7).jsoninfo();
    let view = view(Parser::Jsoninfo, answer.as_bytes());
    assert!(view.complaints.is_empty(), "{:?}", view.complaints);
    assert_eq!(view.networks.len(), 100);
    for network in view.networks.iter().filter(|network| !network.own) {
        let resolution = view.resolve(network.prefix.address);
        let Resolution::Route { node, .. } = resolution else { panic!("{resolution:?}") };
        assert_eq!(node, Some(network.node));
    }
    for part in
        [Part::Links, Part::Neighbors, Part::Routes, Part::Topology, Part::Networks, Part::Aliases]
    {
        assert_eq!(view.age_ms(part), Some(0), "{part:?}");
    }
}

/// Everything the fuzzer was started with or has found, so that no fault comes back.
#[test]
fn the_fuzz_corpus_does_no_harm() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (parser, folder) in [
        (Parser::Jsoninfo, "jsoninfo"),
        (Parser::Txtinfo, "txtinfo"),
        (Parser::Olsrd2, "olsrd2"),
        (Parser::Names, "names"),
    ] {
        let files: Vec<_> = fs::read_dir(corpus.join(folder)).unwrap().collect();
        assert!(!files.is_empty(), "no corpus for {folder}");
        for file in files {
            let input = fs::read(file.unwrap().path()).unwrap();
            check(&view(parser, &input), &input);
        }
    }
}
