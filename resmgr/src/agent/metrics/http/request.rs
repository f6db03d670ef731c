//! The head of a request: what of it matters, or what is wrong with it. Pure.

use crate::export::metrics::Format;

/// Bytes that a head may have.
pub(super) const MOST_BYTES: usize = 8 << 10;

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// It is none.
    NotHttp,
    /// Its head has more than [`MOST_BYTES`].
    TooLong,
    /// Its method is neither GET nor HEAD.
    Method,
    /// Its version is another.
    Version,
}

/// What matters of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The path, without what is asked of it.
    pub(super) path: String,
    /// The format that is liked best.
    pub(super) format: Format,
    /// The head of the answer is all that is wanted.
    pub(super) without_body: bool,
}

impl Head {
    /// The head at the beginning of what has been read; `None` where more has to come.
    pub(super) fn parse(read: &[u8]) -> Option<Result<Self, Bad>> {
        // A character may be cut; no request that is meant for this has one.
        let Ok(text) = std::str::from_utf8(read) else {
            return Some(Err(Bad::NotHttp));
        };
        let end = text.find("\r\n\r\n").or_else(|| text.find("\n\n"));
        if end.is_none() && text.split_once('\n').is_none() {
            return None;
        }
        let mut lines = text[..end.unwrap_or(text.len())].lines();
        let first = match request_line(lines.next().unwrap_or_default()) {
            Ok(first) => first,
            // What is no request need not be waited for.
            Err(bad) => return Some(Err(bad)),
        };
        end?;
        let accepted: Vec<&str> = lines
            .filter_map(|line| line.split_once(':'))
            .filter(|(name, _)| name.eq_ignore_ascii_case("accept"))
            .map(|(_, value)| value)
            .collect();
        Some(Ok(Self {
            format: Format::accepted(&accepted.join(",")),
            ..first
        }))
    }
}

fn request_line(line: &str) -> Result<Head, Bad> {
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = words[..] else {
        return Err(Bad::NotHttp);
    };
    let is_token = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_alphabetic());
    if !is_token || !target.starts_with(['/', '*']) || !version.starts_with("HTTP/") {
        return Err(Bad::NotHttp);
    }
    if !["HTTP/1.1", "HTTP/1.0"].contains(&version) {
        return Err(Bad::Version);
    }
    let without_body = match method {
        "GET" => false,
        "HEAD" => true,
        _ => return Err(Bad::Method),
    };
    let path = target.split('?').next().unwrap_or_default().to_owned();
    Ok(Head {
        path,
        format: Format::Prometheus,
        without_body,
    })
}

#[cfg(test)]
mod tests {
    //! Requests as clients send them, and as others do.
    use super::*;

    fn get(path: &str, format: Format) -> Head {
        Head {
            path: path.to_owned(),
            format,
            without_body: false,
        }
    }

    #[test]
    fn a_request_is_known_once_its_head_is_whole() {
        let whole =
            b"GET /metrics?name=x HTTP/1.1\r\nHost: localhost\r\naccept: application/openmetrics-text\r\n\r\nrest";
        let end = whole.len() - "rest".len();
        for cut in 0..end {
            assert_eq!(Head::parse(&whole[..cut]), None, "{cut}");
        }
        assert_eq!(Head::parse(whole), Some(Ok(get("/metrics", Format::OpenMetrics))));
        assert_eq!(
            Head::parse(b"GET /healthz HTTP/1.0\n\n"),
            Some(Ok(get("/healthz", Format::Prometheus)))
        );
    }

    #[test]
    fn what_is_no_request_is_known_by_its_first_line() {
        for (text, bad) in [
            (&b"hello\r\n"[..], Bad::NotHttp),
            (b"\r\n", Bad::NotHttp),
            (b"\n\n", Bad::NotHttp),
            (b"GET  HTTP/1.1\r\n", Bad::NotHttp),
            (b"GET http://x/metrics HTTP/1.1\r\n", Bad::NotHttp),
            (b"\x16\x03\x01\x02\x00\x01\xff", Bad::NotHttp),
            (b"POST /metrics HTTP/1.1\r\n", Bad::Method),
            (b"PRI * HTTP/2.0\r\n", Bad::Version),
            (b"GET /metrics HTTP/9.9\r\n", Bad::Version),
        ] {
            assert_eq!(Head::parse(text), Some(Err(bad)), "{}", text.escape_ascii());
        }
    }
}
