//! A batch on its way out: in pieces, each when its turn has come, and with an eye on whether it gets on.
//!
//! A limit on the time of the whole is too short for a modem or too long for a server that hangs, and a batch that is cut
//! off is sent again whole. So what is limited is the time in which nothing gets on.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

/// The largest piece.
const PIECE: usize = 16 << 10;
/// How long nothing may get on, not counting what lies in buffers.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes a second of the slowest uplink that is waited for.
pub(super) const SLOWEST: u64 = 1 << 10;
/// What buffers on the way may hold: it counts as gone and may not be there yet.
const IN_BUFFERS: u64 = 2 << 20;

/// How fast batches may go, all together. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Pace {
    /// Bytes per second.
    rate: Option<u64>,
    /// When the next piece may go.
    free_at: Arc<Mutex<Option<Instant>>>,
}

impl Pace {
    pub(super) fn new(rate: Option<u64>) -> Self {
        Self { rate, free_at: Arc::default() }
    }

    /// The size of a piece: what may go in a quarter of a second, so that the line is not taken up for long.
    fn piece(&self) -> usize {
        let quarter = self.rate.map_or(PIECE, |rate| usize::try_from(rate / 4).unwrap_or(PIECE));
        quarter.clamp(1, PIECE)
    }

    /// Takes the next turn, for so many bytes: when they may go. `None`: at once.
    fn turn(&self, bytes: usize) -> Option<Instant> {
        let takes = Duration::from_secs_f64(bytes as f64 / self.rate? as f64);
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let begin = free_at.map_or(now, |at| at.max(now));
        *free_at = Some(begin + takes);
        (begin > now).then_some(begin)
    }
}

/// The body of a request.
pub(super) struct Upload {
    left: Bytes,
    pace: Pace,
    /// Until the turn of the next piece has come.
    turn: Option<Pin<Box<Sleep>>>,
    /// Whether the next piece has a turn.
    due: bool,
    progress: Progress,
}

impl Upload {
    /// Content to send, and how to see whether it gets on.
    pub(super) fn new(content: Vec<u8>, pace: &Pace) -> (Self, Progress) {
        let size = u64::try_from(content.len()).unwrap_or(u64::MAX);
        let patience = PATIENCE.saturating_add(Duration::from_secs(size.min(IN_BUFFERS) / SLOWEST));
        let progress = Progress { at: Arc::new(Mutex::new(Instant::now())), patience };
        let upload =
            Self { left: content.into(), pace: pace.clone(), turn: None, due: false, progress: progress.clone() };
        (upload, progress)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if this.left.is_empty() {
            return Poll::Ready(None);
        }
        let size = this.left.len().min(this.pace.piece());
        if !std::mem::replace(&mut this.due, true) {
            this.turn = this.pace.turn(size).map(|at| Box::pin(sleep_until(at)));
        }
        if let Some(turn) = &mut this.turn {
            ready!(turn.as_mut().poll(context));
        }
        (this.turn, this.due) = (None, false);
        this.progress.note();
        Poll::Ready(Some(Ok(Frame::data(this.left.split_to(size)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.left.len()).unwrap_or(u64::MAX))
    }
}

/// Whether an upload gets on.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    /// When a piece last went.
    at: Arc<Mutex<Instant>>,
    patience: Duration,
}

impl Progress {
    fn note(&self) {
        *self.last() = Instant::now();
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves once nothing has got on for too long, and says for how long.
    pub(super) async fn stalled(&self) -> Duration {
        loop {
            let due = *self.last() + self.patience;
            if due <= Instant::now() {
                return self.patience;
            }
            sleep_until(due).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn pieces_go_no_faster_than_is_allowed_and_all_of_them_go() {
        let content: Vec<u8> = (0..10_000).map(|n| (n % 251) as u8).collect();
        let pace = Pace::new(Some(20_000));
        let (begun, mut total) = (Instant::now(), 0);
        for _ in 0..2 {
            let (mut upload, _) = Upload::new(content.clone(), &pace);
            assert_eq!(upload.size_hint().exact(), Some(10_000));
            let mut sent = Vec::new();
            while let Some(Ok(frame)) = upload.frame().await {
                let piece = frame.into_data().unwrap();
                sent.extend_from_slice(&piece);
                total += piece.len();
                let most = 20_000.0 * begun.elapsed().as_secs_f64() + 5001.0;
                assert!(total as f64 <= most, "{total} bytes after {:?}", begun.elapsed());
            }
            assert!(sent == content && upload.is_end_stream());
        }
        assert!(begun.elapsed() >= Duration::from_millis(740), "20,000 bytes a second, the last piece not counted");
        let (upload, _) = Upload::new(content.clone(), &Pace::default());
        assert!(upload.collect().await.unwrap().to_bytes() == content);
    }

    #[tokio::test]
    async fn it_is_given_up_when_nothing_gets_on_and_not_before() {
        let (mut upload, mut progress) = Upload::new(vec![0; 5 * PIECE], &Pace::default());
        assert_eq!(progress.patience, PATIENCE + Duration::from_secs(80), "more where more lies in buffers");
        progress.patience = Duration::from_secs(1);
        let begun = Instant::now();
        let watched = tokio::spawn(async move { progress.stalled().await });
        // Longer in all than nothing may get on.
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert!(!watched.is_finished());
            upload.frame().await.unwrap().unwrap();
        }
        assert_eq!(watched.await.unwrap(), Duration::from_secs(1));
        assert!(begun.elapsed() >= Duration::from_millis(2500));
    }
}
