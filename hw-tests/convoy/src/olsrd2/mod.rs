//! Answers of olsrd2 (OONF) 0.15.1: the commands of its telnet and HTTP plugins that an agent has a use for.
//!
//! Pure, like [`crate::olsrd`]. Played are `nhdpinfo`, `olsrv2info`, `netjsoninfo` and `systeminfo` in the form `jsonraw`, for the
//! tables listed in this module; everything else is refused in the daemon's words. Dual stack as by default: every radio link
//! appears with IPv4 and with its IPv6 link-local addresses, whose originators no other network can reach.

mod netjson;
mod tables;

use crate::mesh::View;
use crate::olsrd::http_date;

/// What an answer is made from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What the daemon knows of the mesh.
    pub view: &'a View,
    /// Wall time in Unix seconds.
    pub wall_s: u64,
}

/// What a command comes to.
enum Outcome {
    Text(String),
    /// The command is not known.
    Unknown(String),
}

/// What the daemon says to one command, without the newline and prompt of a session.
#[must_use]
pub fn command(line: &str, facts: &Facts<'_>) -> String {
    match run(line, facts) {
        Outcome::Text(text) | Outcome::Unknown(text) => text,
    }
}

fn run(line: &str, facts: &Facts<'_>) -> Outcome {
    let line = line.trim();
    let (name, parameter) = match line.split_once(' ') {
        Some((name, parameter)) => (name, Some(parameter.trim())),
        None => (line, None),
    };
    let known: fn(&str, &Facts<'_>) -> Option<String> = match name {
        "nhdpinfo" => tables::nhdpinfo,
        "olsrv2info" => tables::olsrv2info,
        "systeminfo" => tables::systeminfo,
        "netjsoninfo" => netjson::netjsoninfo,
        _ => return Outcome::Unknown(format!("Error, unknown command '{name}'\n")),
    };
    let Some(parameter) = parameter else {
        return Outcome::Text(format!(
            "Error, '{name}' command needs a parameter\n\
             Unknown parameter for command '{name}': (null)\n"
        ));
    };
    let answer = match name {
        "netjsoninfo" => known(parameter, facts),
        _ => parameter.strip_prefix("jsonraw ").and_then(|table| known(table, facts)),
    };
    Outcome::Text(
        answer.unwrap_or_else(|| format!("Unknown parameter for command '{name}': {parameter}\n")),
    )
}

/// The answer to a one-shot line such as `/nhdpinfo jsonraw link/quit`: all answers without anything between them. `//` begins
/// exactly one command that may contain slashes.
#[must_use]
pub fn one_shot(line: &str, facts: &Facts<'_>) -> String {
    if let Some(only) = line.strip_prefix("//") {
        return command(only, facts);
    }
    line.split('/')
        .map(str::trim)
        .filter(|part| !part.is_empty() && !matches!(*part, "quit" | "exit"))
        .map(|part| command(part, facts))
        .collect()
}

/// The HTTP plugin's whole answer to a request head.
#[must_use]
pub fn http(head: &str, facts: &Facts<'_>) -> Vec<u8> {
    let line = head.lines().next().unwrap_or_default();
    let words: Vec<&str> = line.split(' ').collect();
    let [method, path, "HTTP/1.0" | "HTTP/1.1"] = words[..] else {
        return http_error("400", "Bad Request", facts);
    };
    if method != "GET" {
        return http_error("501", "Not Implemented", facts);
    }
    let Some(commands) = path.strip_prefix("/telnet/") else {
        return http_error("404", "Not Found", facts);
    };
    let mut body = String::new();
    for part in commands.replace("%20", " ").split('/').filter(|part| !part.is_empty()) {
        match run(part, facts) {
            Outcome::Text(text) => body.push_str(&text),
            Outcome::Unknown(_) => return http_error("404", "Not Found", facts),
        }
    }
    http_answer("200 OK", "text/plain", &body, facts)
}

fn http_error(code: &str, reason: &str, facts: &Facts<'_>) -> Vec<u8> {
    let body = format!(
        "<html><head><title>OLSRd2 0.15.1 http server</title></head>\
         <body><h1>HTTP error {code}: {reason}</h1></body></html>"
    );
    http_answer(&format!("{code} {reason}"), "text/html", &body, facts)
}

fn http_answer(status: &str, content_type: &str, body: &str, facts: &Facts<'_>) -> Vec<u8> {
    format!(
        "HTTP/1.0 {status}\r\n\
         Date: {date}\r\n\
         Server: 0.15.1\r\n\
         Connection: closed\r\n\
         Access-Control-Allow-Origin: *\r\n\
         Content-Type: {content_type}\r\n\
         Content-length: {length}\r\n\
         Cache-Control: no-cache\r\n\
         \r\n\
         {body}",
        date = http_date(facts.wall_s),
        length = body.len(),
    )
    .into_bytes()
}

/// A metric as a bit rate, which it stands for: three digits after the point at most, cut, with a prefix from 1000 on.
fn rate(metric: u64, hops: u32) -> String {
    if metric >= u64::from(crate::mesh::METRIC_INFINITE) && hops <= 1 {
        return "infinite".to_owned();
    }
    let bits = (1_u64 << 31) * u64::from(hops.max(1)) / metric.max(1);
    for (unit, prefix) in [(1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")] {
        if bits >= unit {
            let text = format!("{}.{:03}", bits / unit, bits % unit * 1000 / unit);
            let text = text.trim_end_matches('0').trim_end_matches('.');
            return format!("{text}{prefix}bit/s");
        }
    }
    format!("{bits}bit/s")
}

/// Milliseconds as seconds without needless zeros.
fn seconds(ms: u64) -> String {
    let text = format!("{}.{:03}", ms / 1000, ms % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_read_like_captured_ones() {
        for (metric, hops, text) in [
            (1, 1, "2.147Gbit/s"),
            (39, 1, "55.063Mbit/s"),
            (440, 1, "4.88Mbit/s"),
            (2_105_088, 1, "1.02kbit/s"),
            (2_105_089, 2, "2.04kbit/s"),
            (2_146_048, 1, "1kbit/s"),
            (2_154_240, 1, "996bit/s"),
            (6_315_265, 4, "1.36kbit/s"),
            (16_777_215, 1, "infinite"),
        ] {
            assert_eq!(rate(metric, hops), text);
        }
    }

    #[test]
    fn seconds_lose_their_needless_zeros() {
        assert_eq!(
            [0, 500, 5_000, 4_724, 5_060].map(seconds),
            ["0", "0.5", "5", "4.724", "5.06"].map(String::from)
        );
    }
}
