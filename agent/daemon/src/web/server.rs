//! Accepts connections on both doors and speaks HTTP/1.1 on them, within limits.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access::Peer;
use super::patience::{Heard, Patient};
use super::places::{Place, Places};
use super::refusals::Refusals;
use super::tls::Tls;
use super::wire::{Door, Guarded, Served, Wire};

/// Most connections at once on the socket. More wait in the kernel's queue. Those on the port: see `places`.
const MOST_SOCKET: usize = 64;
/// Longest time for a connection's first byte and for a request's head; an idle connection is closed after it too.
const HEAD: Duration = Duration::from_secs(15);
/// Longest time to agree on keys.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// What a TLS connection begins with; no request does.
const TLS_BEGINS: u8 = 0x16;
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
    router: TowerToHyperService<Router>,
    tls: Option<Arc<Tls>>,
    places: Places,
    refusals: Refusals,
    tracker: TaskTracker,
    /// No new requests.
    stop: CancellationToken,
    /// Nothing at all any more.
    over: CancellationToken,
}

/// Serves both doors until `stop`; the port by TLS, if there is any.
pub(crate) async fn run(
    router: Router,
    (tcp, tls): (TcpListener, Option<Tls>),
    socket: UnixListener,
    stop: CancellationToken,
) {
    let tls = tls.map(Arc::new);
    let doors = Doors {
        router: TowerToHyperService::new(router),
        tls: tls.clone(),
        places: Places::default(),
        refusals: Refusals::default(),
        tracker: TaskTracker::new(),
        stop: stop.clone(),
        over: CancellationToken::new(),
    };
    let renewing = async {
        if let Some(tls) = &tls {
            tls.renew(&stop).await;
        }
    };
    let telling = async {
        tokio::select! {
            () = doors.refusals.tell() => {}
            () = stop.cancelled() => {}
        }
    };
    tokio::join!(accept_tcp(&doors, tcp), accept_socket(&doors, socket), renewing, telling);
    doors.tracker.close();
    if timeout(FAREWELL, doors.tracker.wait()).await.is_err() {
        tracing::warn!("some connections did not end in time and were cut");
        doors.over.cancel();
        doors.tracker.wait().await;
    }
}

async fn accept_tcp(doors: &Doors, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            () = doors.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                let from = from.ip().to_canonical();
                match doors.places.take(from) {
                    Some(place) => {
                        doors.tracker.spawn(welcome(doors.clone(), stream, from, place));
                    }
                    None => {
                        doors.refusals.note("connection", from, || "every place has a request under way".to_owned());
                    }
                }
            }
            Err(error) => refused(&error).await,
        }
    }
}

/// What a connection on the port begins with decides what is spoken on it. Until it has said anything, nothing is kept
/// for it but its place.
async fn welcome(doors: Doors, stream: TcpStream, from: IpAddr, place: Place) {
    // Small answers and events should not wait for more.
    let _ = stream.set_nodelay(true);
    let Ok(local) = stream.local_addr() else { return };
    let mut first = [0];
    let begun = within(&doors, &place, HEAD, stream.peek(&mut first)).await;
    if !matches!(begun, Some(Ok(1))) {
        return;
    }
    let mut wire = Wire { local: local.ip().to_canonical(), guarded: Guarded::Plain, host: None };
    let Some(tls) = doors.tls.clone() else { return enter(doors, stream, from, wire, place).await };
    wire.host = tls.host();
    if first != [TLS_BEGINS] {
        wire.guarded = Guarded::Misplaced;
        return enter(doors, stream, from, wire, place).await;
    }
    wire.guarded = Guarded::Tls { own: tls.is_own() };
    let agreed = within(&doors, &place, HANDSHAKE, tls.acceptor().accept(stream)).await;
    match agreed {
        Some(Ok(stream)) => enter(doors, stream, from, wire, place).await,
        Some(Err(error)) => doors.refusals.note("handshake", from, || format!("no TLS came about: {error}")),
        // Too slow, given away, or everything stops.
        None => {}
    }
}

/// What comes of it, unless that takes too long, somebody else is given the place, or everything stops.
async fn within<T>(doors: &Doors, place: &Place, longest: Duration, what: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = timeout(longest, what) => done.ok(),
        () = place.given_away() => None,
        () = doors.stop.cancelled() => None,
    }
}

/// Serves a connection on the port for as long as it has its place.
async fn enter<S>(doors: Doors, stream: S, from: IpAddr, wire: Wire, place: Place)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    place.greeted();
    let place = Arc::new(place);
    let refusals = doors.refusals.clone();
    let door = Door { wire, place: Arc::clone(&place), refusals: refusals.clone() };
    let served = Served { router: doors.router.clone(), peer: Peer::Tcp(from), door: Some(door) };
    let stream = Patient::new(stream, STALLED, place.heard().clone());
    let ended = tokio::select! {
        ended = serve(&doors, stream, served) => ended,
        () = place.given_away() => return,
    };
    // Broken connections are the peer's business; what was no request, or came too slowly to become one, is told.
    match ended {
        Err(error) if error.is_parse() => {
            refusals.note("nonsense", from, || format!("this is no request: {error}"));
        }
        Err(error) if error.is_timeout() && place.heard().is() => {
            refusals.note("slow-head", from, || format!("the head of a request took more than {} s", HEAD.as_secs()));
        }
        _ => {}
    }
}

async fn accept_socket(doors: &Doors, listener: UnixListener) {
    let places = Arc::new(Semaphore::new(MOST_SOCKET));
    loop {
        let place = tokio::select! {
            () = doors.stop.cancelled() => return,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let accepted = tokio::select! {
            () = doors.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let doors = doors.clone();
                doors.tracker.clone().spawn(async move {
                    let _place = place;
                    match credentials(&stream).await {
                        Ok(peer) => {
                            let served = Served { router: doors.router.clone(), peer, door: None };
                            let stream = Patient::new(stream, STALLED, Heard::default());
                            let _ = serve(&doors, stream, served).await;
                        }
                        Err(error) => tracing::warn!(%error, "a connection on the socket does not say whose it is"),
                    }
                });
            }
            Err(error) => refused(&error).await,
        }
    }
}

async fn refused(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    sleep(PAUSE).await;
}

async fn serve<S>(doors: &Doors, stream: Patient<S>, served: Served) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(LARGEST_HEAD)
        .max_headers(MOST_HEADERS)
        .serve_connection(io, served);
    tokio::pin!(connection);
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = doors.over.cancelled() => return Ok(()),
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
