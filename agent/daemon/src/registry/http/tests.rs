use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::registry::RegistryError;

/// A server that gives one answer after the other, whatever is asked for, and remembers the questions. After `...` in an
/// answer it is silent.
struct Peer {
    url: Url,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    async fn new(answers: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (noted, next) = (Arc::clone(&asked), Arc::new(AtomicUsize::new(0)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = answers.get(next.fetch_add(1, Ordering::Relaxed)).cloned().unwrap_or_default();
                tokio::spawn(answer_once(stream, answer, Arc::clone(&noted)));
            }
        });
        Self { url, asked }
    }

    fn http(&self, patience: Duration) -> Http {
        let route =
            Route { url: self.url.clone(), access: Access::Open, ca_file: None, proxy: None, pace: Pace::default() };
        Http { patience, ..Http::new(route) }
    }

    /// The `Range` of each question.
    fn ranges(&self) -> Vec<Option<String>> {
        let range = |text: &String| {
            let line = text.lines().find_map(|line| line.strip_prefix("range: "))?;
            Some(line.trim().to_owned())
        };
        self.asked.lock().unwrap().iter().map(range).collect()
    }
}

async fn answer_once(mut stream: TcpStream, answer: Vec<u8>, noted: Arc<Mutex<Vec<String>>>) {
    let (mut asked, mut piece) = (Vec::new(), [0; 4096]);
    while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
        let got = stream.read(&mut piece).await.unwrap_or(0);
        if got == 0 {
            return;
        }
        asked.extend_from_slice(&piece[..got]);
    }
    noted.lock().unwrap().push(String::from_utf8_lossy(&asked).to_lowercase());
    let silent = answer.strip_suffix(b"...");
    let _ = stream.write_all(silent.unwrap_or(&answer)).await;
    if silent.is_some() {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes(), body].concat()
}

/// The whole, or what is left of it when it is cut off.
fn whole(body: &[u8], cut: usize) -> Vec<u8> {
    answer(&format!("200 OK\r\nContent-Length: {}", body.len()), &body[..cut])
}

fn part(range: &str, body: &[u8]) -> Vec<u8> {
    answer(&format!("206 Partial Content\r\nContent-Range: {range}\r\nContent-Length: {}", body.len()), body)
}

const FILE: &[u8] = b"0123456789";
const PATIENT: Duration = Duration::from_secs(20);

/// What came of a fetch into a file that has `there` already: the size it says, and the content.
async fn fetch(http: &Http, there: &[u8], most: u64) -> (Result<Option<u64>, RegistryError>, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, there).unwrap();
    let mut file = tokio::fs::File::options().write(true).open(&path).await.unwrap();
    let got = http.fetch("files/x", u64::try_from(there.len()).unwrap(), most, &mut file).await;
    (got, std::fs::read(&path).unwrap())
}

#[tokio::test]
async fn a_cut_file_goes_on_where_it_was_cut_at_any_byte() {
    for cut in 0..FILE.len() {
        let rest = part(&format!("bytes {cut}-9/10"), &FILE[cut..]);
        let peer = Peer::new(vec![whole(FILE, cut), if cut == 0 { whole(FILE, 10) } else { rest }]).await;
        let http = peer.http(PATIENT);
        let (got, content) = fetch(&http, b"", 10).await;
        assert!(matches!(got, Err(RegistryError::Server { .. })), "{got:?}");
        assert_eq!(content, &FILE[..cut], "what came stays");
        let (got, content) = fetch(&http, &content, 10).await;
        assert_eq!((got.unwrap(), content.as_slice()), (Some(10), FILE));
        let range = (cut > 0).then(|| format!("bytes={cut}-"));
        assert_eq!(peer.ranges(), [None, range]);
    }
}

#[tokio::test]
async fn a_server_without_parts_or_with_wrong_ones_gives_the_whole() {
    let there = b"01234";
    let cases = [
        vec![whole(FILE, 10)],
        vec![part("bytes 4-9/10", &FILE[4..]), whole(FILE, 10)],
        vec![part("pages 5-9/10", &FILE[5..]), whole(FILE, 10)],
        vec![answer("206 Partial Content\r\nContent-Length: 5", &FILE[5..]), whole(FILE, 10)],
        vec![answer("416 Range Not Satisfiable\r\nContent-Range: bytes */3", b""), whole(FILE, 10)],
    ];
    for answers in cases {
        let questions = answers.len();
        let peer = Peer::new(answers).await;
        let (got, content) = fetch(&peer.http(PATIENT), there, 10).await;
        assert_eq!((got.unwrap(), content.as_slice()), (Some(10), FILE));
        let mut expected = vec![Some("bytes=5-".to_owned())];
        expected.resize(questions, None);
        assert_eq!(peer.ranges(), expected);
    }
    let peer = Peer::new(vec![part("bytes 5-9/10", &FILE[5..])]).await;
    let (got, content) = fetch(&peer.http(PATIENT), b"", 10).await;
    let said = got.unwrap_err().to_string();
    assert!(said.contains("another part") && content.is_empty(), "a part of what was asked for whole: {said}");
}

#[tokio::test]
async fn what_is_no_file_is_said_and_leaves_what_was_there() {
    let cases = [
        (answer("200 OK\r\nContent-Type: text/html; charset=utf-8", b"<html>sign in</html>"), "a web page in place"),
        (answer("500 Internal Server Error", b"<html>oh</html>"), "500"),
        (answer("502 Bad Gateway\r\nContent-Type: text/html", &vec![b'x'; 1 << 20]), "502"),
        (answer("302 Found\r\nLocation: https://login.example.com/", b""), "it sends us elsewhere (302 Found)"),
        (answer("404 Not Found", b"<html>nothing</html>"), "is url that of an MLflow server?"),
        (part("bytes 5-99/100", &[b'x'; 95]), "there are more than the 10 bytes"),
        (answer("206 Partial Content\r\nContent-Range: bytes 5-9/10", &[b'x'; 95]), "there are more than"),
        (answer("nonsense", b""), ""),
    ];
    for (answer, says) in cases {
        let peer = Peer::new(vec![answer]).await;
        let (got, content) = fetch(&peer.http(PATIENT), b"01234", 10).await;
        let error = got.unwrap_err();
        let said = error.to_string();
        // What turns out to be longer than announced while it comes is not what was begun.
        let endless = says == "there are more than";
        let kind = match says.contains("more than") {
            true => matches!(error, RegistryError::Content { .. }),
            false => matches!(error, RegistryError::Server { .. }),
        };
        assert!(kind && said.contains(says), "{said}");
        assert!(said.starts_with(peer.url.as_str().trim_end_matches('/')), "{said}");
        assert_eq!(content, if endless { b"" } else { &b"01234"[..] }, "{said}");
    }
    let missing = answer("404 Not Found", br#"{"error_code": "RESOURCE_DOES_NOT_EXIST"}"#);
    let peer = Peer::new(vec![missing]).await;
    assert_eq!(fetch(&peer.http(PATIENT), b"", 10).await.0.unwrap(), None);
}

#[tokio::test]
async fn a_server_that_falls_silent_is_left() {
    let patience = Duration::from_millis(300);
    let begun = std::time::Instant::now();
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
    let refusal = b"HTTP/1.1 500 Oh\r\nContent-Length: 10\r\n\r\n";
    for silent in [b"...".to_vec(), [&head[..], b"012..."].concat(), [&refusal[..], b"012..."].concat()] {
        let peer = Peer::new(vec![silent]).await;
        let said = fetch(&peer.http(patience), b"", 10).await.0.unwrap_err().to_string();
        assert!(said.contains("nothing came for"), "{said}");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn a_server_that_drips_is_left_and_a_slow_link_is_not() {
    let (over, second) = (Duration::from_secs(60), Duration::from_secs(1));
    let lasts = |bytes: u64, seconds: u32| {
        let (mut flow, begin) = (download::Flow::new(over), tokio::time::Instant::now());
        (0..seconds).all(|n| flow.goes_on(bytes, begin + n * second))
    };
    assert!(lasts(SLOWEST, 10_000));
    assert!(lasts(1, 60), "a minute is waited for");
    assert!(!lasts(SLOWEST - 100, 61));
}

#[tokio::test]
async fn an_alias_that_is_not_there_is_nothing_and_another_mistake_is_one() {
    let cases = [
        (answer("400 Bad Request", br#"{"error_code": "INVALID_PARAMETER_VALUE", "message": "no alias"}"#), true),
        (answer("404 Not Found", br#"{"error_code": "RESOURCE_DOES_NOT_EXIST"}"#), true),
        (answer("400 Bad Request", br#"{"error_code": "BAD_REQUEST", "message": "what?"}"#), false),
        (answer("400 Bad Request", b"<html>"), false),
        (answer("200 OK", b"<html>"), false),
        (answer("503 Service Unavailable\r\nRetry-After: 7", b"<html>"), false),
    ];
    for (answer, missing) in cases {
        let peer = Peer::new(vec![answer]).await;
        let found = peer.http(PATIENT).get_named("alias", &[("name", "a b")]).await;
        assert_eq!(matches!(found, Ok(None)), missing, "{found:?}");
        assert!(missing || found.is_err(), "{found:?}");
        assert!(peer.asked.lock().unwrap()[0].starts_with("get /alias?name=a+b "));
    }
}

#[test]
fn a_server_may_ask_for_patience_within_bounds() {
    let headers = |pairs: &[(reqwest::header::HeaderName, &str)]| -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    };
    let busy = StatusCode::SERVICE_UNAVAILABLE;
    let asked = |text: &str| rest(busy, &headers(&[(RETRY_AFTER, text)]));
    assert_eq!(asked("7"), Some(Duration::from_secs(7)));
    assert_eq!(asked("99999999"), Some(LONGEST_REST));
    assert_eq!([asked("-1"), asked("soon"), asked("Wed, 21 Oct 2026 07:28:00 GMT")], [None; 3]);
    let by = |date: &str| {
        let date = (DATE, date);
        rest(busy, &headers(&[(RETRY_AFTER, "Wed, 21 Oct 2026 07:28:00 GMT"), date]))
    };
    assert_eq!(by("Wed, 21 Oct 2026 07:27:30 GMT"), Some(Duration::from_secs(30)));
    assert_eq!(by("Wed, 21 Oct 2026 07:29:00 GMT"), None, "that is over");
    assert_eq!(rest(StatusCode::OK, &headers(&[(RETRY_AFTER, "7")])), None);
}
