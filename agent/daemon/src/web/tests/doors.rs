//! Both doors with real connections: the socket's credentials, raw bytes, and the end.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::rig::{Rig, SOON};
use crate::web::server;

/// The port, the socket and the server behind them.
async fn open(rig: &Rig) -> (u16, std::path::PathBuf, JoinHandle<()>) {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = tcp.local_addr().unwrap().port();
    let path = rig.folder.path().join("explaind.sock");
    let socket = UnixListener::bind(&path).unwrap();
    (port, path, tokio::spawn(server::run(rig.router.clone(), (tcp, None), socket, rig.stop.clone())))
}

async fn say(port: u16, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_lets_the_daemons_own_user_act() {
    let rig = Rig::new().await;
    let (alert, ..) = rig.raise("press-7");
    let (_, path, _) = open(&rig).await;
    let mut stream = UnixStream::connect(path).await.unwrap();
    let request = format!("POST /api/v1/alerts/{alert}/acknowledge HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"state\":\"acknowledged\""), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_and_oversize_are_refused_and_the_door_stays_open() {
    let rig = Rig::new().await;
    let (port, ..) = open(&rig).await;
    let heads = "X-Pad: 0123456789\r\n".repeat(10_000);
    for bytes in [
        "nonsense\r\n\r\n".to_owned(),
        format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{heads}\r\n"),
        "POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: 1000000000\r\n\r\nuser=x"
            .to_owned(),
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        // The server may hang up while we still talk.
        let _ = stream.write_all(bytes.as_bytes()).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let mut stream = say(port, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    let mut answer = String::new();
    timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_comes_soon_although_somebody_listens() {
    let rig = Rig::new().await;
    let browser = rig.sign_in("viewer").await;
    let (port, _, server) = open(&rig).await;
    let request = format!("GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nCookie: {}\r\n\r\n", browser.cookie);
    let mut listener = say(port, &request).await;
    let _idle = say(port, "").await;
    let mut heard = [0; 16];
    timeout(SOON, listener.read_exact(&mut heard)).await.unwrap().unwrap();
    assert!(heard.starts_with(b"HTTP/1.1 200"));
    let asked = Instant::now();
    rig.stop.cancel();
    timeout(SOON, server).await.unwrap().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(6), "{:?}", asked.elapsed());
}
