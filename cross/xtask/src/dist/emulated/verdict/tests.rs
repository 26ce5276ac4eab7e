//! Shows for each judgement what it lets pass and what it refuses.

use super::*;

fn version_json(architecture: &str, build: &str) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    serde_json::json!({
        "name": "outrider", "version": version, "architecture": architecture, "build": build
    })
    .to_string()
    .into_bytes()
}

#[test]
fn a_version_is_of_this_build_and_machine() {
    let judge = |json: &[u8]| version(json, Machine::Arm, "commit abc");
    assert!(judge(&version_json("arm", "commit abc")).is_ok());
    assert!(judge(&version_json("arm", "commit abd")).unwrap_err().contains("`build`"));
    assert!(judge(&version_json("x86_64", "commit abc")).unwrap_err().contains("`architecture`"));
    let without_build = br#"{"name":"outrider","version":"0.1.0","architecture":"arm"}"#;
    assert!(judge(without_build).is_err());
    assert!(judge(b"outrider 0.1.0").is_err());
}

#[test]
fn a_refusal_has_its_status_and_names_the_line() {
    let said = "line 4, column 8: `port`: this is a string";
    assert!(invalid_configuration(Some(5), said).is_ok());
    for (code, said) in
        [(Some(0), said), (Some(1), said), (None, said), (Some(5), ""), (Some(5), "line 3")]
    {
        assert!(invalid_configuration(code, said).is_err(), "{code:?} {said}");
    }
    let wrong = INVALID_CONFIGURATION.lines().nth(3);
    assert_eq!(wrong, Some("port = \"many\""), "the mistake is in the line that is asked for");
}

#[test]
fn outputs_are_equal_or_refused() {
    assert!(same_lines("x", b"a\n", b"a\n").is_ok());
    assert!(same_lines("x", b"a\nb", b"a\nc").unwrap_err().contains("from byte 2"));
    assert!(same_lines("x", b"a\n", b"a\nb\n").is_err());
    assert!(same_lines("x", b"", b"").is_err(), "nothing equals nothing, and shows nothing");
    assert!(same_bytes("x", b"{} ", b"{}").is_err());
}

/// A page of a mesh with these costs to others.
fn page(own: &str, others: &[&str]) -> String {
    let mut page =
        format!("# TYPE olsr_network_cost gauge\nolsr_network_cost{{node=\"me\"}} {own}\n");
    for (number, cost) in others.iter().enumerate() {
        page += &format!("olsr_network_cost{{node=\"{number}\"}} {cost}\n");
    }
    page + "olsr_network_cost_raw{node=\"me\"} 0.5\n"
}

#[test]
fn costs_are_of_the_whole_mesh_and_sane() {
    let near = ["100"; 9];
    assert!(costs(&page("0", &near), "me", 10).is_ok());
    let rim = [&near[..8], &["-1"]].concat();
    assert!(costs(&page("0", &rim), "me", 9).is_err(), "more costs than nodes");
    assert!(costs(&page("0", &rim), "me", 10).is_err(), "8 of 9 are not enough");
    let many = [&["100"; 18][..], &["-1"]].concat();
    assert!(costs(&page("0", &many), "me", 20).is_ok());
    assert!(costs("", "me", 10).is_err(), "a page without costs");
    assert!(costs(&page("0", &[]), "me", 10).is_err(), "nobody else");
    assert!(costs(&page("1", &near), "me", 10).is_err(), "own cost");
    assert!(costs(&page("0", &near), "you", 10).is_err(), "another vehicle");
    for odd in ["0", "-2", "99.5", "1000001", "NaN", "+Inf"] {
        let others = [&near[..], &[odd]].concat();
        assert!(costs(&page("0", &others), "me", 11).is_err(), "{odd}");
    }
}

fn message(last: &str, payload: &str) -> Message {
    Message { topic: format!("outrider/me/{last}"), payload: payload.into() }
}

#[test]
fn messages_come_back_from_hex() {
    let text = "outrider/me/telemetry 00ff7b\noutrider/me/birth \noutrider/me/ev";
    let read = messages(text).unwrap();
    assert_eq!(read.len(), 2, "the last line is not whole");
    assert_eq!(read[0].payload, [0, 255, 0x7b]);
    assert_eq!(read[1], message("birth", ""));
    for odd in ["outrider/me/birth 0\n", "outrider/me/birth 0g\n", "Error\n"] {
        assert!(messages(odd).is_err(), "{odd}");
    }
}

const ONLINE: &str = r#"{"status":"online"}"#;
const STOPPED: &str = r#"{"status":"offline","cause":"stopped"}"#;
const LOST: &str = r#"{"status":"offline","cause":"connection-lost"}"#;

#[test]
fn a_course_begins_online_and_ends_in_order() {
    let (birth, telemetry) = (message("birth", "{}"), message("telemetry", "x"));
    let (online, stopped, lost) =
        (message("status", ONLINE), message("status", STOPPED), message("status", LOST));
    let judge = |messages: &[&Message]| {
        let messages: Vec<Message> = messages.iter().map(|message| (*message).clone()).collect();
        course(&messages, "me")
    };
    assert!(judge(&[&birth, &online, &telemetry, &stopped]).is_ok());
    for (bad, why) in [
        (&[&online, &telemetry, &stopped][..], "no birth"),
        (&[&birth, &online, &stopped], "no telemetry"),
        (&[&birth, &online, &telemetry], "no end"),
        (&[&birth, &telemetry, &stopped], "never online"),
        (&[&birth, &online, &telemetry, &lost], "the last will"),
        (&[&birth, &online, &telemetry, &lost, &online, &stopped], "lost in between"),
        (&[&birth, &online, &telemetry, &stopped, &lost], "the last will after the farewell"),
    ] {
        assert!(judge(bad).is_err(), "{why}");
    }
    assert!(course(&[birth, online, telemetry, stopped], "you").is_err(), "another vehicle");
}

#[test]
fn the_end_is_seen_and_kept() {
    assert_eq!(offline(&[message("status", ONLINE)]), Ok(false));
    assert_eq!(offline(&[message("status", ONLINE), message("status", LOST)]), Ok(true));
    assert_eq!(offline(&[message("event", STOPPED)]), Ok(false));
    assert!(offline(&[message("status", "?")]).is_err());
    assert!(kept_status(STOPPED).is_ok());
    for bad in [ONLINE, LOST, "", "{}"] {
        assert!(kept_status(bad).is_err(), "{bad}");
    }
}

#[test]
fn decoded_moments_are_of_the_vehicle_and_have_costs() {
    let with = r#"{"vehicle":"me","values":{"olsr_network_cost{node=\"me\"}":0}}"#;
    let without = r#"{"vehicle":"me","values":{"outrider_load1":0}}"#;
    let mut moments = Moments::default();
    moments.add(&format!("{with}\n{without}\n"), "me").unwrap();
    assert_eq!(moments, Moments { all: 2, with_costs: 1 });
    assert!(moments.add(with, "you").is_err());
    assert!(moments.add("no JSON", "me").is_err());
}

fn tests_of(lines: &str) -> Tests {
    let mut tests = Tests::default();
    lines.lines().for_each(|line| tests.add(line));
    tests
}

#[test]
fn tests_count_when_enough_passed_and_none_did_not() {
    let two = "running 2 tests\ntest a::b ... ok\ntest golden ... ok\n\
               test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
    assert_eq!(tests_of(two).suffice(2, &["golden"]), Ok(()));
    assert!(tests_of(two).suffice(3, &["golden"]).is_err(), "too few");
    assert!(tests_of(two).suffice(2, &["silver"]).is_err(), "a golden one is missing");
    assert!(tests_of("running 0 tests\n").suffice(1, &[]).is_err(), "zero tests");
    for bad in ["test c ... FAILED", "test c ... ignored"] {
        assert!(tests_of(&format!("{two}{bad}\n")).suffice(2, &["golden"]).is_err(), "{bad}");
    }
}
