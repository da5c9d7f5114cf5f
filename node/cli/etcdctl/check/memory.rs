//! How much memory a server has, by its metrics page.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const METRIC: &str = "process_resident_memory_bytes";

/// In bytes.
///
/// # Errors
/// The line to print.
pub async fn resident(endpoint: &str) -> Result<f64, String> {
    let address = endpoint.strip_prefix("http://").unwrap_or(endpoint).trim_end_matches('/');
    let page = fetch(address).await.map_err(|error| format!("fetch error: {error}"))?;
    let value = page.lines().find_map(|line| line.strip_prefix(METRIC)).map(str::trim).unwrap_or_default();
    if value.is_empty() {
        return Err(format!("could not find: {METRIC}"));
    }
    value.parse().map_err(|error| format!("parse error: {error}"))
}

/// The page with its head, in HTTP/1.0: it ends with the connection and has no chunks.
async fn fetch(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let mut page = Vec::new();
    stream.read_to_end(&mut page).await?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}
