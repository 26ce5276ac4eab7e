//! Answers of olsrd 0.9.9 (0.9.5 and later look the same): the jsoninfo and txtinfo plugins, byte for byte in their form.
//!
//! Pure: a request and what the daemon knows go in, the bytes on the wire come out. Requests follow the daemon's rules:
//! tables are combined by concatenating their names and come out in the daemon's order, one unknown name spoils the
//! whole request, and whatever is not a GET is taken for a raw request.

mod json;
mod text;

use crate::mesh::View;

/// The tables of a request, as places in the daemon's own order.
type Tables = Vec<usize>;

/// One of olsrd's info plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plugin {
    /// `olsrd_jsoninfo.so.1.1`.
    Jsoninfo,
    /// `olsrd_txtinfo.so.1.1`.
    Txtinfo,
}

/// What an answer is made from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What the daemon knows of the mesh.
    pub view: &'a View,
    /// The daemon's process id.
    pub pid: u32,
    /// Wall time in Unix seconds.
    pub wall_s: u64,
    /// Time since the daemon started; fresh even when the tables come from the daemon's cache.
    pub uptime_ms: u64,
}

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Unknown table.
    NotFound,
    /// Nothing came in time.
    Timeout,
}

impl Refusal {
    fn text(self) -> &'static str {
        match self {
            Refusal::NotFound => "404 Not Found",
            Refusal::Timeout => "408 Request Timeout",
        }
    }
}

impl Plugin {
    fn server(self) -> &'static str {
        match self {
            Plugin::Jsoninfo => "OLSRD JSONINFO",
            Plugin::Txtinfo => "OLSRD TXTINFO",
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Plugin::Jsoninfo => "application/vnd.api+json",
            Plugin::Txtinfo => "text/plain; charset=utf-8",
        }
    }

    /// Names of the tables in the order of the daemon's answers.
    fn tables(self) -> &'static [&'static str] {
        match self {
            Plugin::Jsoninfo => &json::TABLES,
            Plugin::Txtinfo => &text::TABLES,
        }
    }

    /// Number of runtime tables; those after them belong to the start-up group.
    fn runtime(self) -> usize {
        match self {
            Plugin::Jsoninfo => json::RUNTIME,
            Plugin::Txtinfo => text::RUNTIME,
        }
    }

    /// Neighbours and links.
    fn neighbours(self) -> [usize; 2] {
        [0, 1]
    }

    /// The tables a path asks for, in the daemon's order.
    fn asked(self, path: &str) -> Result<Tables, Refusal> {
        let mut asked = Vec::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            match part {
                "all" => asked.extend(0..self.tables().len()),
                "runtime" => asked.extend(0..self.runtime()),
                "startup" => asked.extend(self.runtime()..self.tables().len()),
                "neighbours" => asked.extend(self.neighbours()),
                name => {
                    let table = self.tables().iter().position(|table| *table == name);
                    asked.push(table.ok_or(Refusal::NotFound)?);
                }
            }
        }
        if asked.is_empty() {
            asked.extend(0..self.tables().len());
        }
        asked.sort_unstable();
        asked.dedup();
        Ok(asked)
    }

    fn body(self, facts: &Facts<'_>, asked: Result<Tables, Refusal>, headers: bool) -> String {
        match (self, asked) {
            (_, Err(_)) if headers => String::new(),
            (Plugin::Jsoninfo, Ok(tables)) => json::document(facts, &tables),
            (Plugin::Jsoninfo, Err(refusal)) => json::error(facts, refusal.text()),
            (Plugin::Txtinfo, Ok(tables)) => text::document(facts, &tables),
            (Plugin::Txtinfo, Err(refusal)) => format!("error: {}\n", refusal.text()),
        }
    }

    /// The whole answer to `request`, as far as it came in one piece. An empty request timed out.
    #[must_use]
    pub fn answer(self, request: &[u8], facts: &Facts<'_>) -> Vec<u8> {
        let request = String::from_utf8_lossy(request);
        let line = request.lines().next().unwrap_or_default();
        let get = line.strip_prefix("GET ").and_then(|rest| {
            let (path, version) = rest.split_once(' ')?;
            matches!(version.trim_end(), "HTTP/1.0" | "HTTP/1.1").then_some(path)
        });
        let (path, headers) = match get {
            Some(path) => (path, true),
            None => (line.trim_end(), false),
        };
        let (path, headers) = if let Some(rest) = path.strip_prefix("/http/") {
            (rest, true)
        } else if let Some(rest) = path.strip_prefix("/plain/") {
            (rest, false)
        } else {
            (path, headers)
        };
        // jsoninfo sends headers whenever it could not tell what is wanted.
        let headers = headers || (self == Plugin::Jsoninfo && path.is_empty());
        let asked = if request.is_empty() {
            Err(Refusal::Timeout)
        } else if headers || path.is_empty() || path.starts_with('/') {
            self.asked(path)
        } else {
            Err(Refusal::NotFound)
        };
        let status = match &asked {
            Ok(_) => "200 OK",
            Err(refusal) => refusal.text(),
        };
        let body = self.body(facts, asked, headers);
        if !headers {
            return body.into_bytes();
        }
        let mut answer = format!(
            "HTTP/1.1 {status}\r\n\
             Date: {date}\r\n\
             Server: {server}\r\n\
             Connection: close\r\n\
             Content-Type: {content_type}\r\n\
             Access-Control-Allow-Origin: *\r\n\
             Access-Control-Allow-Methods: GET, POST, OPTIONS\r\n\
             Access-Control-Allow-Headers: Accept, Origin, X-Requested-With\r\n\
             Access-Control-Max-Age: 1728000\r\n\
             Content-Length: {length:<12}\r\n\
             Cache-Control: no-cache\r\n\
             \r\n",
            date = http_date(facts.wall_s),
            server = self.server(),
            content_type = self.content_type(),
            length = body.len(),
        );
        answer.push_str(&body);
        answer.into_bytes()
    }
}

/// A quality in 1/255 as the daemon prints it: cut to 1/1024, then rounded to three digits.
fn quality(value: u8) -> f64 {
    let steps = u32::from(value) * 1024 / 255;
    (f64::from(steps) / 1024.0 * 1000.0).round() / 1000.0
}

/// A date for a header (RFC 9110 section 5.6.7).
#[must_use]
pub fn http_date(unix_s: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let days = unix_s / 86_400;
    let weekday = DAYS[(days % 7) as usize];
    let (mut year, mut day) = (1970, days);
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 0;
    for length in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let second = unix_s % 86_400;
    format!(
        "{weekday}, {:02} {} {year} {:02}:{:02}:{:02} GMT",
        day + 1,
        MONTHS[month],
        second / 3600,
        second / 60 % 60,
        second % 60,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(http_date(1_795_210_065), "Fri, 20 Nov 2026 21:27:45 GMT");
        assert_eq!(http_date(1_709_164_800), "Thu, 29 Feb 2024 00:00:00 GMT");
    }

    #[test]
    fn tables_combine_in_the_daemons_order_and_one_bad_name_spoils_all() {
        let asked = |path| Plugin::Jsoninfo.asked(path);
        assert_eq!(asked("/routes//links/neighbors/links"), Ok(vec![0, 1, 2]));
        assert_eq!(asked("/neighbours"), Ok(vec![0, 1]));
        assert_eq!(asked("/"), asked("/all"));
        assert_eq!(asked("/links/nosuch"), Err(Refusal::NotFound));
        assert_eq!(asked("/links?x=1"), Err(Refusal::NotFound));
        assert_eq!(Plugin::Txtinfo.asked("/links"), Err(Refusal::NotFound));
        assert_eq!(Plugin::Txtinfo.asked("/lin"), Ok(vec![1]));
    }
}
