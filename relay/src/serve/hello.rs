//! The first bytes of a connection: read, looked at, and put back in front of the rest.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use meshd_core::clienthello::{ClientHello, MAX_CLIENT_HELLO, NotClientHello, Peek, peek};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// How long a client may take for its ClientHello.
pub const HELLO_TIME: Duration = Duration::from_secs(5);

/// Why a connection is closed before TLS starts.
#[derive(Debug, thiserror::Error)]
pub enum HelloError {
    /// Too slow.
    #[error("no ClientHello within 5 s")]
    Slow,
    /// The client closed it, or the network broke.
    #[error("closed before a ClientHello: {0}")]
    Closed(#[from] io::Error),
    /// Something else than TLS.
    #[error(transparent)]
    Other(#[from] NotClientHello),
}

/// Waits for the ClientHello, at most [`HELLO_TIME`] and [`MAX_CLIENT_HELLO`] bytes; what was read is replayed.
pub async fn read_hello<S: AsyncRead + Unpin>(stream: S) -> Result<(ClientHello, Replay<S>), HelloError> {
    tokio::time::timeout(HELLO_TIME, read(stream))
        .await
        .unwrap_or(Err(HelloError::Slow))
}

async fn read<S: AsyncRead + Unpin>(mut stream: S) -> Result<(ClientHello, Replay<S>), HelloError> {
    let mut seen = Vec::with_capacity(1024);
    loop {
        // the limit of `peek` is also that of the buffer: a full one is never answered with NeedMore
        let room = (MAX_CLIENT_HELLO - seen.len()) as u64;
        if (&mut stream).take(room.min(4096)).read_buf(&mut seen).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        match peek(&seen) {
            Peek::NeedMore => {}
            Peek::Hello(hello) => return Ok((hello, Replay { seen, at: 0, stream })),
            Peek::Refused(why) => return Err(why.into()),
        }
    }
}

/// A stream whose first bytes were read already.
#[derive(Debug)]
pub struct Replay<S> {
    seen: Vec<u8>,
    at: usize,
    stream: S,
}

impl<S> Replay<S> {
    /// What was read, and the rest; for who has read nothing of it yet.
    pub fn into_parts(self) -> (Vec<u8>, S) {
        (self.seen, self.stream)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Replay<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.at < self.seen.len() {
            let count = buf.remaining().min(self.seen.len() - self.at);
            let end = self.at + count;
            buf.put_slice(&self.seen[self.at..end]);
            self.at = end;
            if self.at == self.seen.len() {
                self.seen = Vec::new();
                self.at = 0;
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replay<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_given_up() {
        let (_held, stream) = tokio::io::duplex(64);
        assert!(matches!(read_hello(stream).await, Err(HelloError::Slow)));
    }

    #[tokio::test]
    async fn other_protocols_and_ends_are_told_apart() {
        assert!(matches!(
            read_hello(&b"GET / HTTP/1.1\r\n"[..]).await,
            Err(HelloError::Other(_))
        ));
        assert!(matches!(
            read_hello(&[22u8, 3][..]).await,
            Err(HelloError::Closed(_))
        ));
    }

    #[tokio::test]
    async fn what_was_read_comes_again() {
        let whole = [
            &[22, 3, 1, 0, 44, 1, 0, 0, 40, 3, 3][..],
            &[0; 34],
            &[1, 0, 1, 0],
            b"rest",
        ]
        .concat();
        let (mut client, server) = tokio::io::duplex(7);
        let sent = whole.clone();
        let writer = tokio::spawn(async move {
            client.write_all(&sent).await.unwrap();
            client.shutdown().await.unwrap();
        });
        let (hello, mut replay) = read_hello(server).await.unwrap();
        assert_eq!(hello, ClientHello::default());
        let mut again = Vec::new();
        replay.read_to_end(&mut again).await.unwrap();
        writer.await.unwrap();
        assert_eq!(again, whole);
    }
}
