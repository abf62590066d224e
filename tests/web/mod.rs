//! A web server on loopback that serves the files of a directory.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// How it behaves.
#[derive(Clone, Copy, Default)]
pub(crate) struct Manners {
    /// Bytes after which each answer is cut off.
    pub(crate) cut: Option<usize>,
    /// Whether it knows ranges.
    pub(crate) ranges: bool,
}

/// A server that runs until the process ends.
pub(crate) struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) fn new(directory: &Path, manners: Manners) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, directory) = (requests.clone(), directory.to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, directory) = (seen.clone(), directory.clone());
                // A client that goes away is its own business.
                std::thread::spawn(move || serve(&stream.unwrap(), &directory, manners, &seen));
            }
        });
        Self { port, requests }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(stream: &TcpStream, directory: &Path, manners: Manners, seen: &Mutex<Vec<String>>) -> Option<()> {
    let mut lines = BufReader::new(stream);
    loop {
        let mut request = String::new();
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line == "\r\n" {
                break;
            }
            request += &line;
        }
        seen.lock().unwrap().push(request.clone());
        let place = decoded(request.split(' ').nth(1)?.trim_start_matches('/'));
        let Ok(bytes) = fs::read(directory.join(place)) else {
            (&mut &*stream)
                .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                .ok()?;
            continue;
        };
        let from = request
            .lines()
            .find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                let range = name.eq_ignore_ascii_case("range").then_some(value)?;
                range
                    .trim()
                    .strip_prefix("bytes=")?
                    .strip_suffix('-')?
                    .parse()
                    .ok()
            })
            .filter(|_| manners.ranges)
            .unwrap_or(0usize);
        let rest = bytes.get(from..).unwrap_or_default();
        let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
        let is_head = request.starts_with("HEAD");
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", rest.len());
        (&mut &*stream).write_all(head.as_bytes()).ok()?;
        if is_head {
            continue;
        }
        match manners.cut.filter(|&cut| cut < rest.len()) {
            Some(cut) => {
                (&mut &*stream).write_all(&rest[..cut]).ok()?;
                return None;
            }
            None => (&mut &*stream).write_all(rest).ok()?,
        }
    }
}

/// A path as it's written in a URL.
fn decoded(place: &str) -> String {
    let mut parts = place.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_at(2);
        text.push(char::from(u8::from_str_radix(code, 16).unwrap()));
        text += rest;
    }
    text
}
