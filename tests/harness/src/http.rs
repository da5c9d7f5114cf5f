//! Plain HTTP/1.1 requests, one connection each: health, metrics, version.

use anyhow::{Context, bail};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(10);

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// As `name: value`, names in lower case.
    pub headers: Vec<String>,
    pub body: String,
}

/// GET of `path` at a loopback port.
///
/// # Errors
/// When the server cannot be reached, does not answer within ten seconds, or does not speak HTTP.
pub async fn get(port: u16, path: &str) -> anyhow::Result<Reply> {
    send(port, "GET", path).await
}

/// A request without a body; errors as [`get`].
pub async fn send(port: u16, method: &str, path: &str) -> anyhow::Result<Reply> {
    exchange(port, method, path, &[], "").await
}

/// POST of `body` to `path`; errors as [`get`].
pub async fn post(port: u16, path: &str, body: &str) -> anyhow::Result<Reply> {
    exchange(port, "POST", path, &[], body).await
}

/// A request with further headers, as `Name: value`, one named `Host` in place of the usual; errors as [`get`].
pub async fn exchange(port: u16, method: &str, path: &str, headers: &[&str], body: &str) -> anyhow::Result<Reply> {
    let (status, headers, body) = exchange_bytes(port, method, path, headers, body).await?;
    let body = String::from_utf8(body).context("body is not text")?;
    Ok(Reply { status, headers, body })
}

/// GET of what need not be text: status and body; errors as [`get`].
pub async fn get_bytes(port: u16, path: &str) -> anyhow::Result<(u16, Vec<u8>)> {
    let (status, _, body) = exchange_bytes(port, "GET", path, &[], "").await?;
    Ok((status, body))
}

/// Status, headers and body.
type Parts = (u16, Vec<String>, Vec<u8>);

async fn exchange_bytes(port: u16, method: &str, path: &str, headers: &[&str], body: &str) -> anyhow::Result<Parts> {
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.context("connect")?;
        let host = format!("Host: 127.0.0.1:{port}");
        let named = headers.iter().any(|header| header.starts_with("Host: "));
        let lines = headers.iter().copied().chain((!named).then_some(&host[..]));
        let lines: String = lines.map(|line| format!("{line}\r\n")).collect();
        let length = body.len();
        let request =
            format!("{method} {path} HTTP/1.1\r\n{lines}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.context("send request")?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.context("read reply")?;
        parse(&bytes)
    };
    tokio::time::timeout(PATIENCE, exchange).await.context("no HTTP reply in time")?
}

fn parse(bytes: &[u8]) -> anyhow::Result<Parts> {
    let split = bytes.windows(4).position(|window| window == b"\r\n\r\n").context("no end of headers")?;
    let head = std::str::from_utf8(&bytes[..split]).context("headers are not text")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status line")?;
    let headers: Vec<String> = lines
        .map(|line| match line.split_once(": ") {
            Some((name, value)) => format!("{}: {value}", name.to_lowercase()),
            None => line.to_owned(),
        })
        .collect();
    let mut body = bytes[split + 4..].to_vec();
    if headers.iter().any(|header| header == "transfer-encoding: chunked") {
        body = unchunk(&body)?;
    }
    Ok((status.parse().context("status is a number")?, headers, body))
}

fn unchunk(mut rest: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line_end = rest.windows(2).position(|window| window == b"\r\n").context("no chunk size")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line_end])?.trim(), 16).context("chunk size")?;
        rest = &rest[line_end + 2..];
        if size == 0 {
            return Ok(body);
        }
        if rest.len() < size + 2 {
            bail!("a chunk is cut short");
        }
        body.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn chunks_are_joined() {
        let reply = parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n");
        let (status, _, body) = reply.expect("a well-formed reply");
        assert_eq!((status, &body[..]), (200, &b"abcd"[..]));
    }
}
