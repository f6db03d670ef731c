//! What an agent answers over HTTP, asked as plainly as it can be.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use crate::{Agent, patience};

/// An answer of HTTP.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Its head.
    pub head: String,
    /// Its body.
    pub body: String,
}

/// The samples of a scrape, by name and labels as they are written.
#[derive(Debug)]
pub struct Samples(pub BTreeMap<String, f64>);

impl Samples {
    /// Those of a text without comments.
    pub fn of(text: &str) -> Self {
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
            (series.to_owned(), value.parse().expect("a value is a number"))
        };
        Self(text.lines().filter(|line| !line.starts_with('#')).map(sample).collect())
    }

    /// One of root's tool, by its name and what is after the labels `tool` and `user`.
    pub fn of_tool(&self, name: &str, tool: &str, more: &str) -> Option<f64> {
        let more = if more.is_empty() {
            String::new()
        } else {
            format!(",{more}")
        };
        self.0
            .get(&format!("{name}{{tool=\"{tool}\",user=\"0\"{more}}}"))
            .copied()
    }

    /// The series of a family.
    pub fn family(&self, name: &str) -> BTreeMap<&str, f64> {
        let of = |(series, value): (&'_ String, &f64)| (series.split('{').next() == Some(name)).then_some(*value);
        let all = self.0.iter();
        all.filter_map(|(series, value)| Some((series.as_str(), of((series, value))?)))
            .collect()
    }
}

/// Sends bytes and reads what comes until the end; `None` where nothing does.
pub fn http(address: SocketAddr, request: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    stream
        .set_read_timeout(Some(patience(30)))
        .expect("a socket has a timeout");
    stream.write_all(request).expect("somebody reads");
    answer(&mut stream)
}

/// Reads an answer to its end; `None` where nothing comes.
pub(crate) fn answer(stream: &mut TcpStream) -> Option<Answer> {
    let mut read = Vec::new();
    stream.read_to_end(&mut read).ok();
    let text = String::from_utf8(read).expect("an answer is UTF-8");
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

impl Agent {
    /// Where it answers scrapes.
    pub fn metrics(&self) -> SocketAddr {
        let status = self.status(&[]);
        let address = status["agent"]["metrics"].as_str().expect("it answers scrapes");
        address.parse().expect("that is an address")
    }

    /// What it answers to a GET.
    pub fn get(&self, path: &str, headers: &str) -> Answer {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        http(self.metrics(), request.as_bytes()).expect("it answers")
    }

    /// The samples of a scrape.
    pub fn scrape(&self) -> Samples {
        let answer = self.get("/metrics", "");
        assert_eq!(answer.status, 200, "{}", answer.body);
        Samples::of(&answer.body)
    }
}
