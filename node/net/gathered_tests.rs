//! What leaves a connection, and when.

use super::*;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Notes the length of each write; nothing can be read from it.
#[derive(Clone, Default)]
struct Noting(Arc<Mutex<Vec<usize>>>);

impl Noting {
    fn writes(&self) -> Vec<usize> {
        self.0.lock().expect("no panic while noting").clone()
    }
}

impl AsyncRead for Noting {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Noting {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // A socket takes what it has room for.
        let taken = bytes.len().min(40 << 10);
        self.0.lock().expect("no panic while noting").push(taken);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// One poll of a task that serves: it reads, then it writes each part and flushes after it.
async fn serve(gathered: &mut Gathered, parts: &[&[u8]]) {
    poll_fn(|cx| {
        let mut space = [0; 8];
        assert!(Pin::new(&mut *gathered).poll_read(cx, &mut ReadBuf::new(&mut space)).is_pending());
        for part in parts {
            let mut rest = *part;
            while !rest.is_empty() {
                match Pin::new(&mut *gathered).poll_write(cx, rest) {
                    Poll::Ready(count) => rest = &rest[count.expect("a note")..],
                    Poll::Pending => panic!("notes never wait"),
                }
            }
            assert!(Pin::new(&mut *gathered).poll_flush(cx).is_ready());
        }
        assert!(Pin::new(&mut *gathered).poll_flush(cx).is_ready());
        Poll::Ready(())
    })
    .await;
}

#[tokio::test]
async fn parts_of_two_polls_leave_as_one_write() {
    let noting = Noting::default();
    let mut gathered = Gathered::new(Box::new(noting.clone()));
    serve(&mut gathered, &[b"message", b"trailers"]).await;
    assert!(noting.writes().is_empty(), "the task will be polled again");
    serve(&mut gathered, &[]).await;
    assert_eq!(noting.writes(), [15]);
    serve(&mut gathered, &[]).await;
    assert_eq!(noting.writes(), [15], "nothing waits any more");
}

#[tokio::test]
async fn what_is_large_is_not_copied_and_keeps_its_place() {
    let noting = Noting::default();
    let mut gathered = Gathered::new(Box::new(noting.clone()));
    let page = vec![7; LARGE_BYTES];
    serve(&mut gathered, &[b"small", &page, b"end"]).await;
    assert_eq!(noting.writes(), [5, LARGE_BYTES]);
    serve(&mut gathered, &[]).await;
    assert_eq!(noting.writes(), [5, LARGE_BYTES, 3]);
}

#[tokio::test]
async fn what_waits_is_bounded() {
    let noting = Noting::default();
    let mut gathered = Gathered::new(Box::new(noting.clone()));
    let part = vec![7; LARGE_BYTES - 1];
    serve(&mut gathered, &[&part, &part, &part, &part, &part]).await;
    assert_eq!(noting.writes().iter().sum::<usize>(), 4 * (LARGE_BYTES - 1));
}

#[tokio::test]
async fn a_protocol_that_does_not_read_between_is_not_forgotten() {
    let (near, mut far) = tokio::io::duplex(1024);
    let mut gathered = Gathered::new(Box::new(near));
    let answer = tokio::spawn(async move {
        gathered.write_all(b"answer").await.expect("an open pipe");
        for _ in 0..=PUT_OFF {
            gathered.flush().await.expect("an open pipe");
        }
        gathered
    });
    let mut read = [0; 6];
    far.read_exact(&mut read).await.expect("the answer");
    assert_eq!(&read, b"answer");
    let mut gathered = answer.await.expect("no panic");
    gathered.write_all(b"farewell").await.expect("an open pipe");
    gathered.shutdown().await.expect("an open pipe");
    let mut rest = String::new();
    far.read_to_string(&mut rest).await.expect("the end");
    assert_eq!(rest, "farewell");
}

#[tokio::test]
async fn a_flush_that_was_put_off_wakes_its_task() {
    let noting = Noting::default();
    let mut gathered = Gathered::new(Box::new(noting.clone()));
    let mut polls = 0;
    poll_fn(|cx| {
        polls += 1;
        assert!(Pin::new(&mut gathered).poll_read(cx, &mut ReadBuf::new(&mut [0; 8])).is_pending());
        if polls == 1 {
            assert!(Pin::new(&mut gathered).poll_write(cx, b"answer").is_ready());
        }
        assert!(Pin::new(&mut gathered).poll_flush(cx).is_ready());
        if noting.writes().is_empty() { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    assert_eq!((polls, noting.writes()), (2, vec![6]));
}
