//! One request over HTTP, and numbers on a page of metrics.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use super::PATIENCE;

/// The status code and the content of `path` on `port`.
pub fn get(port: u16, path: &str) -> Result<(u16, String), String> {
    let failed = |e: String| format!("asking port {port} for {path}: {e}");
    let connected = || -> io::Result<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    };
    let stream = connected().map_err(|e| failed(e.to_string()))?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    exchange(stream, request.as_bytes()).map_err(failed)
}

/// The status code and the content that `request` is answered with, after which the other side closes.
pub fn exchange(mut stream: impl Read + Write, request: &[u8]) -> Result<(u16, String), String> {
    stream.write_all(request).map_err(|e| e.to_string())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(|e| e.to_string())?;
    let answer = String::from_utf8_lossy(&answer);
    let odd = || format!("it answered `{}`", answer.lines().next().unwrap_or("nothing"));
    let (head, content) = answer.split_once("\r\n\r\n").ok_or_else(odd)?;
    let version = ["HTTP/1.1 ", "HTTP/1.0 "].iter().find_map(|known| head.strip_prefix(known));
    let code = version.and_then(|rest| rest.get(..3)?.parse().ok());
    Ok((code.ok_or_else(odd)?, content.to_owned()))
}

/// The metrics page on `port`.
pub fn scrape(port: u16) -> Result<String, String> {
    match get(port, "/metrics")? {
        (200, page) => Ok(page),
        (code, _) => Err(format!("scraping port {port}: status {code}")),
    }
}

/// The value of every series of a metric on a page, with its labels as they stand in braces.
pub fn series<'a>(page: &'a str, metric: &str) -> Vec<(&'a str, f64)> {
    page.lines()
        .filter_map(|line| line.strip_prefix(metric)?.rsplit_once(' '))
        .filter(|(labels, _)| labels.is_empty() || labels.starts_with('{'))
        .filter_map(|(labels, value)| Some((labels, value.parse().ok()?)))
        .collect()
}

/// The sum of all series of a metric on a page; `None` when there is none.
pub fn value(page: &str, metric: &str) -> Option<f64> {
    let series = series(page, metric);
    (!series.is_empty()).then(|| series.iter().map(|(_, value)| value).sum())
}

#[cfg(test)]
mod tests {
    use super::{series, value};

    #[test]
    fn series_are_found_by_the_whole_name() {
        let page = "# TYPE a gauge\na{x=\"1\"} 2\na{x=\"2\"} -1\na_b 7\nc 4\n";
        assert_eq!(series(page, "a"), [("{x=\"1\"}", 2.0), ("{x=\"2\"}", -1.0)]);
        assert_eq!(value(page, "a"), Some(1.0));
        assert_eq!(value(page, "c"), Some(4.0));
        assert_eq!(value(page, "d"), None);
    }
}
