//! Bytes on a socket that no library would write.

use crate::engine::generate;
use keelstone_harness::Random;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ANSWER_LIMIT: Duration = Duration::from_millis(30);
const MAX_ANSWER_BYTES: usize = 1 << 16;

/// Writes all of it, closes this side and reads what comes, a little while. The answer's first line, in words.
pub async fn send(port: u16, bytes: &[u8]) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(bytes).await?;
        let mut answer = Vec::new();
        let mut limited = (&mut stream).take(MAX_ANSWER_BYTES as u64);
        // Most connections stay open: what has come by then is the answer.
        let read = tokio::time::timeout(ANSWER_LIMIT, limited.read_to_end(&mut answer)).await;
        Ok::<_, std::io::Error>((answer, read.is_ok()))
    };
    match exchange.await {
        Ok((answer, closed)) => {
            let first: String = answer.iter().take(16).map(|byte| char::from(*byte)).collect();
            format!("{}{}", first.escape_default(), if closed { " closed" } else { "" })
        }
        Err(error) => format!("{:?}", error.kind()),
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The beginning of an HTTP/2 connection and frames of any kind, length and content.
pub fn http2(random: &mut Random) -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    bytes.extend(b"\0\0\0\x04\0\0\0\0\0");
    for _ in 0..random.below(6) {
        let content: Vec<u8> = match random.below(4) {
            // :method POST, :scheme http, :path /, te and the like stand in HPACK's static table.
            0 => vec![0x83, 0x86, 0x84, 0x41, 0x01, b'a'],
            1 => generate::message("etcdserverpb.TxnRequest", random),
            2 => vec![0; random.below(40) as usize],
            _ => (0..random.below(40)).map(|_| random.draw() as u8).collect(),
        };
        let announced = if random.chance(85) { content.len() as u32 } else { random.draw() as u32 };
        bytes.extend(&announced.to_be_bytes()[1..]);
        bytes.push(random.below(12) as u8);
        bytes.push(if random.chance(50) { 5 } else { random.draw() as u8 });
        bytes.extend((random.below(6) as u32).to_be_bytes());
        bytes.extend(content);
    }
    bytes
}
