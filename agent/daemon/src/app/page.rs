//! The page's doors: a port for browsers, a socket for the terminal.

use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

use explaind_core::domain::condition::Condition;
use explaind_core::pipeline::gateway::Seen;
use serde_json::{Value, json};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{AppError, io, status};
use crate::buffer::Buffer;
use crate::config::Settings;
use crate::mailbox::Mailbox;
use crate::question::Questions;
use crate::telemetry::Metrics;
use crate::web::{self, Tls, TlsError};

/// How the page reaches the driver, the rollout and the explainer.
pub(super) struct Ways {
    pub(super) mailbox: Mailbox,
    pub(super) rollout: Mailbox,
    pub(super) questions: Questions,
}

/// The page's TLS, if the configuration asks for any: before anything else is begun, so that a wrong file is told at once.
pub(super) fn tls(settings: &Settings) -> Result<Option<Tls>, AppError> {
    Tls::open(&settings.web, &settings.gateway.state_dir, &settings.gateway.id).map_err(|error| failed(settings, error))
}

/// What `explaind check` says of the page's certificate; nothing where there is no TLS.
///
/// # Errors
/// When a file that the configuration names cannot be used.
pub(crate) fn describe(settings: &Settings) -> Result<Option<String>, AppError> {
    Tls::describe(&settings.web, &settings.gateway.state_dir).map_err(|error| failed(settings, error))
}

fn failed(settings: &Settings, error: TlsError) -> AppError {
    match error {
        TlsError::Config { key, message } => AppError::Config(settings.problem(&format!("web.{key}"), message)),
        TlsError::Io { doing, error } => AppError::Io { doing, error },
    }
}

/// Whether people must see to the page's certificate. Without TLS an alert of before is over.
pub(super) fn condition(tls: Option<&Tls>) -> (Condition, Seen) {
    tls.map_or((Condition::CertificateEnds, Seen::Gone), Tls::condition)
}

/// What the status says of the page.
fn shown(address: SocketAddr, tls: Option<&Tls>) -> Value {
    let url = tls.map_or_else(|| format!("http://{address}/"), |tls| tls.url(address));
    json!({ "listen": address.to_string(), "url": url, "tls": tls.map(Tls::json) })
}

/// Listens, then serves the page to browsers and to the terminal's socket.
pub(super) async fn spawn(
    settings: &Settings,
    buffer: &Buffer,
    ways: Ways,
    metrics: Metrics,
    (status, tls): (status::Report, Option<Tls>),
    stop: &CancellationToken,
) -> Result<JoinHandle<io::Result<()>>, AppError> {
    let listen = settings.web.listen;
    let tcp = TcpListener::bind(listen).await.map_err(io(format!("listening on {listen} ([web] listen)")))?;
    let address = tcp.local_addr().map_err(io("asking for the page's address"))?;
    let socket = bind_socket(&settings.gateway.socket)?;
    let checked = buffer.clone();
    // Whoever asks whether it is ready may be anybody, whom it does not concern where files are.
    let state_dir = settings.gateway.state_dir.display().to_string();
    let hide = move |text: String| text.replace(&state_dir, "the state folder");
    let status = Arc::new(status);
    let (told, at_work) = (Arc::clone(&status), tls.clone());
    let whole = move || {
        let mut whole = told.json();
        whole["page"] = shown(address, at_work.as_ref());
        whole
    };
    let parts = web::Parts {
        gateway: settings.gateway.id.as_str().into(),
        assets: settings.assets.iter().map(|asset| Arc::clone(&asset.id)).collect(),
        feedback: settings.feedback.clone(),
        buffer: buffer.clone(),
        mailbox: ways.mailbox,
        rollout: ways.rollout,
        questions: ways.questions,
        metrics,
        status: Arc::new(whole),
        models: Arc::new(move || status.models()),
        ready: Arc::new(move || checked.check().map_err(|error| hide(error.to_string()))),
        state_dir: settings.gateway.state_dir.clone(),
        sync: settings.sync.clone(),
        registry: settings.registry.is_some(),
        config: settings.web.clone(),
        stop: stop.clone(),
    };
    let gateway = &settings.gateway.id;
    match &tls {
        None => tracing::info!(gateway, "explaind runs; its page is http://{address}/"),
        Some(tls) => {
            tracing::info!(gateway, "explaind runs; its page is {}", tls.url(address));
            let sha256 = tls.fingerprint();
            tracing::info!(
                sha256,
                "a browser that asks about the page's certificate must show this SHA-256 fingerprint"
            );
        }
    }
    Ok(tokio::spawn(web::serve(parts, (tcp, tls), socket)))
}

/// The terminal's socket. A file left behind by a run that was cut off is replaced; the store's lock already keeps a
/// second daemon out.
fn bind_socket(path: &Path) -> Result<UnixListener, AppError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(io(format!("creating {} for [gateway] socket", folder.display())))?;
    }
    // Only ever a socket: a path that names something else by mistake must not cost that.
    if std::fs::symlink_metadata(path).is_ok_and(|found| FileTypeExt::is_socket(&found.file_type())) {
        std::fs::remove_file(path).map_err(io(format!("removing the old socket {}", path.display())))?;
    }
    let listener =
        UnixListener::bind(path).map_err(io(format!("listening on {} ([gateway] socket)", path.display())))?;
    let group = std::os::unix::fs::PermissionsExt::from_mode(0o660);
    std::fs::set_permissions(path, group).map_err(io(format!("setting the mode of {}", path.display())))?;
    Ok(listener)
}
