//! Accepts connections on both doors and speaks HTTP/1.1 on them, within limits.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access::Peer;
use super::patience::Patient;

/// Most connections at once, on either door. More wait in the kernel's queue.
const MOST_TCP: usize = 256;
const MOST_SOCKET: usize = 64;
/// Longest time for a request's head; an idle connection is closed after it too.
const HEAD: Duration = Duration::from_secs(15);
/// Longest time in which a peer takes nothing of an answer.
const STALLED: Duration = Duration::from_secs(30);
/// Largest head of a request.
const LARGEST_HEAD: usize = 32 * 1024;
/// Most header lines of a request.
const MOST_HEADERS: usize = 64;
/// How long requests under way may take once everything stops.
const FAREWELL: Duration = Duration::from_secs(5);
/// Pause after a failed accept: out of file descriptors, mostly, which passes.
const PAUSE: Duration = Duration::from_millis(200);
/// Largest `/etc/passwd` looked at.
const LARGEST_PASSWD: u64 = 1 << 20;

#[derive(Clone)]
struct Doors {
    router: Router,
    tracker: TaskTracker,
    /// No new requests.
    stop: CancellationToken,
    /// Nothing at all any more.
    over: CancellationToken,
}

/// Serves both doors until `stop`.
pub(crate) async fn run(router: Router, tcp: TcpListener, socket: UnixListener, stop: CancellationToken) {
    let doors = Doors { router, tracker: TaskTracker::new(), stop, over: CancellationToken::new() };
    tokio::join!(accept_tcp(&doors, tcp), accept_socket(&doors, socket));
    doors.tracker.close();
    if timeout(FAREWELL, doors.tracker.wait()).await.is_err() {
        tracing::warn!("some connections did not end in time and were cut");
        doors.over.cancel();
        doors.tracker.wait().await;
    }
}

async fn accept_tcp(doors: &Doors, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(MOST_TCP));
    while let Some(place) = next_place(doors, &places).await {
        tokio::select! {
            () = doors.stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    // Small answers and events should not wait for more.
                    let _ = stream.set_nodelay(true);
                    let peer = Peer::Tcp(from.ip());
                    doors.tracker.spawn(serve(doors.clone(), stream, peer, place));
                }
                Err(error) => refused(&error).await,
            },
        }
    }
}

async fn accept_socket(doors: &Doors, listener: UnixListener) {
    let places = Arc::new(Semaphore::new(MOST_SOCKET));
    while let Some(place) = next_place(doors, &places).await {
        tokio::select! {
            () = doors.stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let doors = doors.clone();
                    doors.tracker.clone().spawn(async move {
                        match credentials(&stream).await {
                            Ok(peer) => serve(doors, stream, peer, place).await,
                            Err(error) => tracing::warn!(%error, "a connection on the socket does not say whose it is"),
                        }
                    });
                }
                Err(error) => refused(&error).await,
            },
        }
    }
}

async fn next_place(doors: &Doors, places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    tokio::select! {
        () = doors.stop.cancelled() => None,
        place = Arc::clone(places).acquire_owned() => place.ok(),
    }
}

async fn refused(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    sleep(PAUSE).await;
}

async fn serve<S>(doors: Doors, stream: S, peer: Peer, _place: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = doors.router.layer(Extension(peer));
    let service = TowerToHyperService::new(router);
    let io = TokioIo::new(Patient::new(stream, STALLED));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(LARGEST_HEAD)
        .max_headers(MOST_HEADERS)
        .serve_connection(io, service);
    tokio::pin!(connection);
    let mut stopping = false;
    loop {
        tokio::select! {
            // Broken connections are the peer's business; what they broke off is logged where it matters.
            _ = connection.as_mut() => return,
            () = doors.over.cancelled() => return,
            () = doors.stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Who is on the other end of the socket, by the kernel's word.
async fn credentials(stream: &UnixStream) -> io::Result<Peer> {
    let uid = stream.peer_cred()?.uid();
    let name = name_of(uid).await.unwrap_or_else(|| format!("uid:{uid}"));
    Ok(Peer::Socket { uid, name: name.into() })
}

/// The name of a local user. Users of a directory service have none here; their number says enough.
async fn name_of(uid: u32) -> Option<String> {
    use tokio::io::AsyncReadExt as _;
    let mut text = Vec::new();
    tokio::fs::File::open("/etc/passwd").await.ok()?.take(LARGEST_PASSWD).read_to_end(&mut text).await.ok()?;
    name_in(&String::from_utf8_lossy(&text), uid)
}

pub(crate) fn name_in(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, number) = (fields.next()?, fields.next()?, fields.next()?);
        (number.parse() == Ok(uid) && !name.is_empty()).then(|| name.chars().take(32).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_by_passwd() {
        let passwd =
            "root:x:0:0:root:/root:/bin/bash\nbroken\nexplaind:x:998:998::/var/lib/explaind:/usr/sbin/nologin\n";
        assert_eq!(name_in(passwd, 0).as_deref(), Some("root"));
        assert_eq!(name_in(passwd, 998).as_deref(), Some("explaind"));
        assert_eq!(name_in(passwd, 1), None);
    }
}
