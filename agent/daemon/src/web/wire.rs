//! The connection that a request comes by, as handlers see it, and what surrounds the router on it: the connection's
//! place is taken while there is work, and a body has to come at a least rate.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Extensions, Request, Response};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::time::{Instant, Sleep, sleep_until};

use super::access::Peer;
use super::places::{Place, Work};
use super::problem::Problem;
use super::refusals::{Refusals, short};

/// How quickly a body has to come.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// So long it may take in any case,
    grace: Duration,
    /// and a second more for each so many bytes that have arrived.
    rate: u64,
}

/// What a poor link brings, and somebody who holds a place on purpose would have to pay for.
const USUAL: Pace = Pace { grace: Duration::from_secs(5), rate: 1024 };

/// How a connection is kept from others' eyes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guarded {
    /// Not at all: loopback.
    Plain,
    /// By TLS. `own`: with a certificate of the site's own.
    Tls {
        /// Whether the certificate is one of the site's own.
        own: bool,
    },
    /// Not at all, on a port that is for TLS: it is told so, and nothing else.
    Misplaced,
}

/// What is known of the connection that a request came by. A request over the socket has none.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    /// Our end of it.
    pub(crate) local: IpAddr,
    pub(crate) guarded: Guarded,
    /// The machine's name, where the page may be asked for by it.
    pub(crate) host: Option<Arc<str>>,
}

impl Wire {
    /// Whether this request came by TLS of our own.
    pub(crate) fn is_tls(extensions: &Extensions) -> bool {
        extensions.get::<Self>().is_some_and(|wire| matches!(wire.guarded, Guarded::Tls { .. }))
    }
}

/// Set once a body came too slowly.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slow(Arc<AtomicBool>);

impl Slow {
    /// Whether it did.
    pub(crate) fn is(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The router as one connection sees it.
pub(super) struct Served {
    pub(super) router: TowerToHyperService<Router>,
    pub(super) peer: Peer,
    /// On the port only.
    pub(super) door: Option<Door>,
}

/// What a connection on the port has, and one on the socket has not.
pub(super) struct Door {
    pub(super) wire: Wire,
    pub(super) place: Arc<Place>,
    pub(super) refusals: Refusals,
}

impl Service<Request<Incoming>> for Served {
    type Response = Response<Held>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let slow = Slow::default();
        let mut request = request.map(|body| Timely::new(body, slow.clone(), USUAL));
        let extensions = request.extensions_mut();
        extensions.insert(self.peer.clone());
        extensions.insert(slow);
        let mut work = None;
        let mut noted = None;
        if let (Some(door), Peer::Tcp(from)) = (&self.door, &self.peer) {
            extensions.insert(door.wire.clone());
            work = Some(door.place.work());
            let asked = format!("{} {}", request.method(), short(request.uri().path()));
            noted = Some((door.refusals.clone(), *from, asked));
        }
        let answering = self.router.call(request);
        Box::pin(async move {
            let response = match answering.await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            if let Some((refusals, from, asked)) = noted
                && let Some(kind) = kind(&response)
            {
                let why = response.extensions().get::<Problem>().map(|problem| problem.detail.clone());
                refusals.note(kind, from, || match why {
                    Some(why) => format!("{asked} ({})", short(&why)),
                    None => asked,
                });
            }
            Ok(response.map(|inner| Held { inner, _work: work }))
        })
    }
}

/// Under which name a refusal is counted; `None` for what happens every day.
fn kind(response: &Response<Body>) -> Option<&'static str> {
    if response.extensions().get::<Trick>().is_some() {
        return Some("path");
    }
    match response.status().as_u16() {
        400 => Some("request"),
        401 => Some("sign-in"),
        403 => Some("forbidden"),
        408 => Some("slow-body"),
        411 => Some("length"),
        413 => Some("size"),
        414 => Some("address"),
        421 => Some("host"),
        429 => Some("rate"),
        _ => None,
    }
}

/// Marks the answer to an address that no honest client writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trick;

/// A request's body that has to come at a least rate.
pub(super) struct Timely<B> {
    inner: B,
    slow: Slow,
    pace: Pace,
    /// When somebody first waited for it.
    since: Option<Instant>,
    arrived: u64,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<B> Timely<B> {
    fn new(inner: B, slow: Slow, pace: Pace) -> Self {
        Self { inner, slow, pace, since: None, arrived: 0, waiting: None }
    }
}

impl<B> HttpBody for Timely<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<axum::BoxError>,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                this.arrived = this.arrived.saturating_add(bytes as u64);
                return Poll::Ready(Some(Ok(frame)));
            }
            Poll::Ready(other) => return Poll::Ready(other.map(|frame| frame.map_err(Into::into))),
            Poll::Pending => {}
        }
        let since = *this.since.get_or_insert_with(Instant::now);
        let earned = Duration::from_millis(this.arrived.saturating_mul(1000) / this.pace.rate);
        let deadline = since + this.pace.grace + earned;
        let waiting = this.waiting.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if waiting.deadline() != deadline {
            waiting.as_mut().reset(deadline);
        }
        if waiting.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        this.slow.0.store(true, Ordering::Relaxed);
        Poll::Ready(Some(Err("the body comes too slowly".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// An answer's body; while it is sent, its connection is at work.
pub(super) struct Held {
    inner: Body,
    _work: Option<Work>,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use futures::stream;
    use tokio::time::sleep;

    use super::*;

    /// A body of so many pieces of so many bytes, each after so long.
    async fn read(pieces: usize, bytes: usize, pause: Duration) -> (Option<usize>, bool) {
        let drip = stream::unfold(0, move |sent| async move {
            sleep(pause).await;
            (sent < pieces).then(|| (Ok::<_, Infallible>(Bytes::from(vec![b'x'; bytes])), sent + 1))
        });
        let (slow, pace) = (Slow::default(), Pace { grace: Duration::from_millis(300), rate: 10_240 });
        let body = Timely::new(Body::from_stream(Box::pin(drip)), slow.clone(), pace);
        (to_bytes(Body::new(body), usize::MAX).await.ok().map(|bytes| bytes.len()), slow.is())
    }

    #[tokio::test]
    async fn a_body_that_trickles_is_given_up_and_one_over_a_poor_link_is_not() {
        let begun = Instant::now();
        assert_eq!(read(1000, 1, Duration::from_millis(20)).await, (None, true));
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        assert_eq!(read(64, 1024, Duration::from_millis(10)).await, (Some(64 * 1024), false));
        assert_eq!(read(1, 10, Duration::from_millis(50)).await, (Some(10), false));
        assert_eq!(read(0, 0, Duration::ZERO).await, (Some(0), false));
    }
}
