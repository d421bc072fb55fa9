//! A connection that gives up on a peer that takes nothing any more, and that does not hang up on one that still talks.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// How long, and for how many bytes, a peer is listened to after our last word. Closing on somebody who still sends makes
/// their system throw away what we said: a refusal would be seen as a broken connection.
const LINGERING: Duration = Duration::from_secs(1);
const LEFT_UNREAD: usize = 1 << 20;

/// Whether a peer has begun to say something that is not yet a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard(Arc<AtomicBool>);

impl Heard {
    /// Notes it.
    pub(crate) fn set(&self, heard: bool) {
        self.0.store(heard, Ordering::Relaxed);
    }

    /// What was noted last.
    pub(crate) fn is(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Wraps a connection. Reading is bounded by whoever reads; a write that makes no progress for `longest` fails, so that
/// a peer who reads nothing cannot hold a connection (and an event stream) for ever.
pub(crate) struct Patient<S> {
    inner: S,
    longest: Duration,
    /// Runs while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
    heard: Heard,
    /// Whether the peer has said that it is done.
    ended: bool,
    /// Runs once our side is shut; with the bytes that may still come.
    lingering: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<S> Patient<S> {
    /// Lets writes wait for at most `longest`, and notes what is `heard`.
    pub(crate) fn new(inner: S, longest: Duration, heard: Heard) -> Self {
        Self { inner, longest, waiting: None, heard, ended: false, lingering: None }
    }

    fn bounded<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.waiting = None;
            return poll;
        }
        let longest = self.longest;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(longest)));
        if waiting.deadline() > Instant::now() {
            // Registers for the deadline; it is looked at again when it comes.
            ready!(waiting.as_mut().poll(cx));
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing any more")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.inner).poll_read(cx, buf);
        match &poll {
            Poll::Ready(Ok(())) if buf.filled().len() > before => self.heard.set(true),
            // Nothing more comes.
            Poll::Ready(_) => self.ended = true,
            Poll::Pending => {}
        }
        poll
    }
}

impl<S: AsyncRead + Unpin> Patient<S> {
    /// Reads and forgets, for a while.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (until, left) = self.lingering.get_or_insert_with(|| (Box::pin(sleep(LINGERING)), LEFT_UNREAD));
        let mut forgotten = [0; 2048];
        while !self.ended && *left > 0 {
            if until.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let mut buf = ReadBuf::new(&mut forgotten);
            match ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => *left = left.saturating_sub(buf.filled().len()),
                Ok(()) | Err(_) => self.ended = true,
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.bounded(cx, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write_vectored(cx, bytes);
        self.bounded(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_flush(cx);
        self.bounded(cx, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            let poll = Pin::new(&mut self.inner).poll_shutdown(cx);
            ready!(self.bounded(cx, poll))?;
        }
        ready!(self.poll_linger(cx));
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let (ours, mut theirs) = tokio::io::duplex(16);
        let mut ours = Patient::new(ours, Duration::from_millis(50), Heard::default());
        ours.write_all(b"0123456789").await.unwrap();
        let started = Instant::now();
        let error = ours.write_all(b"0123456789").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() >= Duration::from_millis(50));
        let mut taken = [0; 16];
        theirs.read_exact(&mut taken).await.unwrap();
    }

    #[tokio::test]
    async fn a_slow_peer_is_waited_for() {
        let (ours, mut theirs) = tokio::io::duplex(4);
        let mut ours = Patient::new(ours, Duration::from_secs(5), Heard::default());
        let writing = tokio::spawn(async move { ours.write_all(&[7; 64]).await });
        let mut taken = [0; 4];
        for _ in 0..16 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            theirs.read_exact(&mut taken).await.unwrap();
        }
        writing.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn who_still_talks_is_heard_out_for_a_while() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let heard = Heard::default();
        let mut ours = Patient::new(ours, Duration::from_secs(5), heard.clone());
        let talking = tokio::spawn(async move {
            let mut sent = 0;
            while theirs.write_all(&[7; 64]).await.is_ok() {
                sent += 64;
            }
            let mut answer = Vec::new();
            theirs.read_to_end(&mut answer).await.unwrap();
            (sent, answer)
        });
        ours.write_all(b"too large").await.unwrap();
        let begun = Instant::now();
        ours.shutdown().await.unwrap();
        assert!(begun.elapsed() < 2 * LINGERING, "{:?}", begun.elapsed());
        drop(ours);
        let (sent, answer) = talking.await.unwrap();
        assert!((1..LEFT_UNREAD + 1024).contains(&sent), "{sent}");
        assert_eq!(answer, b"too large");
        assert!(!heard.is(), "what is thrown away is no request");
    }

    #[tokio::test]
    async fn who_is_silent_is_not_waited_for_longer() {
        let (ours, theirs) = tokio::io::duplex(64);
        let mut ours = Patient::new(ours, Duration::from_secs(5), Heard::default());
        let begun = Instant::now();
        ours.shutdown().await.unwrap();
        assert!(begun.elapsed() >= LINGERING && begun.elapsed() < 3 * LINGERING, "{:?}", begun.elapsed());
        drop(theirs);
        ours.shutdown().await.unwrap();
    }
}
