//! gofail's way to say what happens at a [`Point`](super::Point): the variable `GOFAIL_FAILPOINTS` at the start, and an HTTP server
//! at the address in `GOFAIL_HTTP`. It has a thread of its own, so that it answers whatever stands still.

use super::point::set;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// Bytes that a request may have, head and body each.
const MAX_BYTES: u64 = 64 * 1024;
/// How long a client may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sets what the environment says, and serves for the rest of the process if it says where.
///
/// # Errors
/// It names no points, or the address cannot be had.
pub fn serve_points() -> io::Result<()> {
    if let Ok(pairs) = std::env::var("GOFAIL_FAILPOINTS") {
        for pair in pairs.split(';').filter(|pair| !pair.is_empty()) {
            let (name, term) = pair.split_once('=').unwrap_or((pair, ""));
            set::set(name, term).map_err(|error| io::Error::other(format!("{pair}: {error}")))?;
        }
    }
    if let Ok(address) = std::env::var("GOFAIL_HTTP") {
        let listener = TcpListener::bind(address)?;
        std::thread::Builder::new().name("failpoints".into()).spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that went away misses its own answer.
                serve(&stream).ok();
            }
        })?;
    }
    Ok(())
}

/// One request a connection.
fn serve(mut stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = BufReader::new(stream.take(MAX_BYTES));
    let mut line = String::new();
    head.read_line(&mut line)?;
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let mut body_bytes = 0;
    loop {
        line.clear();
        if head.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            body_bytes = value.trim().parse::<u64>().map_err(io::Error::other)?.min(MAX_BYTES);
        }
    }
    let mut body = String::new();
    head.take(body_bytes).read_to_string(&mut body)?;
    let (status, text) = answer(&method, path.trim_start_matches('/'), &body);
    write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\n")?;
    // An answer without content says nothing of its length either.
    if !status.starts_with("204") {
        write!(stream, "Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n", text.len())?;
    }
    write!(stream, "\r\n{text}")
}

fn answer(method: &str, name: &str, body: &str) -> (&'static str, String) {
    match method {
        "GET" if name.is_empty() => {
            ("200 OK", set::list().iter().map(|(name, term)| format!("{name}={term}\n")).collect())
        }
        "GET" => match set::list().into_iter().find(|(known, _)| known == name) {
            Some((_, term)) => ("200 OK", format!("{term}\n")),
            None => ("404 Not Found", format!("failed to GET: {}\n", set::NotSet::Unknown)),
        },
        "PUT" => done(set::set(name, body), "fail to set failpoint: "),
        "DELETE" => done(set::unset(name), "failed to delete failpoint "),
        _ => ("405 Method Not Allowed", "Method not allowed\n".to_owned()),
    }
}

fn done(done: Result<(), set::NotSet>, failed: &str) -> (&'static str, String) {
    match done {
        Ok(()) => ("204 No Content", String::new()),
        Err(error) => ("400 Bad Request", format!("{failed}{error}\n")),
    }
}
