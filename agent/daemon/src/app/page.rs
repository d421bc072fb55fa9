//! The page's doors: a port for browsers, a socket for the terminal.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{AppError, io, status};
use crate::buffer::Buffer;
use crate::config::Settings;
use crate::mailbox::Mailbox;
use crate::question::Questions;
use crate::telemetry::Metrics;
use crate::web;

/// How the page reaches the driver, the rollout and the explainer.
pub(super) struct Ways {
    pub(super) mailbox: Mailbox,
    pub(super) rollout: Mailbox,
    pub(super) questions: Questions,
}

/// Listens, then serves the page to browsers and to the terminal's socket.
pub(super) async fn spawn(
    settings: &Settings,
    buffer: &Buffer,
    ways: Ways,
    metrics: Metrics,
    status: status::Report,
    stop: &CancellationToken,
) -> Result<JoinHandle<io::Result<()>>, AppError> {
    let listen = settings.web.listen;
    let tcp = TcpListener::bind(listen).await.map_err(io(format!("listening on {listen} ([web] listen)")))?;
    let address = tcp.local_addr().map_err(io("asking for the page's address"))?;
    let socket = bind_socket(&settings.gateway.socket)?;
    let checked = buffer.clone();
    let status = Arc::new(status);
    let told = Arc::clone(&status);
    let parts = web::Parts {
        gateway: settings.gateway.id.as_str().into(),
        assets: settings.assets.iter().map(|asset| Arc::clone(&asset.id)).collect(),
        feedback: settings.feedback.clone(),
        buffer: buffer.clone(),
        mailbox: ways.mailbox,
        rollout: ways.rollout,
        questions: ways.questions,
        metrics,
        status: Arc::new(move || told.json()),
        models: Arc::new(move || status.models()),
        ready: Arc::new(move || checked.check().map_err(|error| error.to_string())),
        state_dir: settings.gateway.state_dir.clone(),
        sync: settings.sync.clone(),
        registry: settings.registry.is_some(),
        config: settings.web.clone(),
        stop: stop.clone(),
    };
    tracing::info!(gateway = settings.gateway.id, "explaind runs; its page is http://{address}/");
    Ok(tokio::spawn(web::serve(parts, tcp, socket)))
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
