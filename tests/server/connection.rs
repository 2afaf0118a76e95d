//! One connection: requests in, answers out.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::answer::Answer;
use super::{Ask, PATIENCE, Shared, lock};

const PIECE_LEN: usize = 64 << 10;

pub(crate) fn serve(stream: TcpStream, shared: &Shared) {
    drop(stream.set_read_timeout(Some(PATIENCE)));
    drop(stream.set_nodelay(true));
    let socket = stream.try_clone();
    match &shared.tls {
        None => drop(converse(stream, shared)),
        Some(config) => {
            let connection = rustls::ServerConnection::new(Arc::clone(config));
            let connection = connection.expect("a TLS connection");
            drop(converse(
                rustls::StreamOwned::new(connection, stream),
                shared,
            ));
        }
    }
    if let Ok(socket) = socket {
        drop(socket.shutdown(Shutdown::Write));
    }
}

fn converse(stream: impl Read + Write, shared: &Shared) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream)? {
        if !answer(stream.get_mut(), &request, shared)? {
            return Ok(());
        }
    }
    Ok(())
}

pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        let is_it = |(own, _): &&(String, String)| own == name;
        self.headers
            .iter()
            .find(is_it)
            .map(|(_, value)| value.as_str())
    }

    fn from(&self) -> Option<u64> {
        let range = self.header("range")?.strip_prefix("bytes=")?;
        range.split_once('-')?.0.parse().ok()
    }
}

pub(crate) fn read_request(stream: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next(), words.next());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => {
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            None => break,
        }
    }
    Ok(Some(Request {
        method: method.unwrap_or_default(),
        path: path.unwrap_or_default(),
        headers,
    }))
}

/// Answers a request; whether the connection goes on.
fn answer(stream: &mut impl Write, request: &Request, shared: &Shared) -> io::Result<bool> {
    let found = lock(&shared.answers).get(&request.path).cloned();
    let mut answer = found.unwrap_or_else(|| Arc::new(Answer::status(404)));
    // Only what brings bytes counts as an attempt.
    let count = |answer: &Answer| match request.method.as_str() {
        "HEAD" => 0,
        _ => answer.count(),
    };
    let mut number = count(&answer);
    if let Some(next) = answer.next.clone().filter(|_| number > 0) {
        number = count(&next);
        answer = next;
    }
    let reply = Reply::of(&answer, request, number);
    let mut ask = Ask {
        method: request.method.clone(),
        path: request.path.clone(),
        from: request.from(),
        if_range: request.header("if-range").map(str::to_owned),
        status: reply.status,
        sent: 0,
    };
    shared.begin();
    let result = write_head(stream, &answer, &reply).and_then(|()| {
        if request.method == "HEAD" || reply.is_bodyless() {
            return Ok(true);
        }
        write_body(stream, &answer, &reply, number, &mut ask.sent, shared)
    });
    shared.end(Some(ask));
    result
}

/// What a request gets.
struct Reply {
    status: u16,
    from: u64,
    to: u64,
    total: u64,
}

impl Reply {
    fn of(answer: &Answer, request: &Request, number: u32) -> Self {
        let total = answer.content.len();
        let whole = |status| Self {
            status,
            from: 0,
            to: total,
            total,
        };
        if let Some(status) = answer.failure(number) {
            return Self {
                to: 0,
                ..whole(status)
            };
        }
        if answer.etag.is_some() && request.header("if-none-match") == answer.etag.as_deref() {
            return whole(304);
        }
        let is_same = answer.ignores_if_range
            || request
                .header("if-range")
                .is_none_or(|known| Some(known) == answer.etag.as_deref());
        match request.from() {
            Some(from) if answer.status == 200 && !answer.ignores_ranges && is_same => {
                if from >= total {
                    return Self {
                        to: 0,
                        ..whole(416)
                    };
                }
                let from = (from + answer.range_shift).min(total);
                Self {
                    from,
                    to: total.min(from.saturating_add(answer.range_most)),
                    ..whole(206)
                }
            }
            _ => whole(answer.status),
        }
    }

    fn is_bodyless(&self) -> bool {
        [204, 304].contains(&self.status)
    }
}

fn write_head(stream: &mut impl Write, answer: &Answer, reply: &Reply) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Whatever\r\n", reply.status);
    let mut add = |name: &str, value: &str| head.push_str(&format!("{name}: {value}\r\n"));
    if let Some(etag) = &answer.etag {
        add("ETag", etag);
    }
    if answer.chunked {
        add("Transfer-Encoding", "chunked");
    } else if !reply.is_bodyless() && !answer.open_ended {
        let len = answer.claimed_len.unwrap_or(reply.to - reply.from);
        add("Content-Length", &len.to_string());
    }
    match reply.status {
        206 => {
            let (from, to, total) = (reply.from, reply.to.saturating_sub(1), reply.total);
            add("Content-Range", &format!("bytes {from}-{to}/{total}"));
        }
        416 => add("Content-Range", &format!("bytes */{}", reply.total)),
        _ => {}
    }
    for (name, value) in &answer.headers {
        add(name, value);
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.flush()
}

/// Sends the body, as well or as badly as the answer does; whether the connection
/// goes on.
fn write_body(
    stream: &mut impl Write,
    answer: &Answer,
    reply: &Reply,
    number: u32,
    sent: &mut u64,
    shared: &Shared,
) -> io::Result<bool> {
    let len = reply.to - reply.from;
    let cut = answer.cut(number).filter(|cut| *cut < len);
    let stall = answer.stall_after.filter(|_| number == 0);
    let end = cut.into_iter().chain(stall).min().unwrap_or(len).min(len);
    let mut piece = vec![0; PIECE_LEN];
    while *sent < end {
        let n = usize::try_from(end - *sent).map_or(PIECE_LEN, |left| left.min(PIECE_LEN));
        let piece = &mut piece[..n];
        answer.content.read(piece, reply.from + *sent);
        if answer.chunked {
            write!(stream, "{n:x}\r\n")?;
        }
        stream.write_all(piece)?;
        if answer.chunked {
            stream.write_all(b"\r\n")?;
        }
        stream.flush()?;
        *sent += n as u64;
        thread::sleep(answer.pause);
    }
    if stall.is_some_and(|stall| stall <= end) {
        shared.end(None);
        while !shared.stop.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(20));
        }
        shared.begin();
        return Ok(false);
    }
    if cut.is_some() {
        return Ok(false);
    }
    if answer.chunked {
        stream.write_all(b"0\r\n\r\n")?;
        stream.flush()?;
    }
    Ok(answer.claimed_len.is_none() && !answer.open_ended)
}
