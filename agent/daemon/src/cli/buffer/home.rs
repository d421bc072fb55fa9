//! Who has the store: a daemon that runs, or nobody, so that we take it.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::remote::Remote;
use super::{nothing, object};
use crate::buffer::{Buffer, Machine, Offline, Part, Piece, SessionInfo};
use crate::cli::client::{Client, Peer};
use crate::cli::failure::{FORBIDDEN, Failure};
use crate::cli::socket;
use crate::clock;
use crate::config::{DEFAULT_PATH, Home};
use crate::sync::{self, Origin as _, Tally};
use crate::telemetry::Metrics;

/// Whoever has the store.
pub(super) enum Keeper {
    /// A daemon, over its socket.
    Daemon(Remote),
    /// Nobody: what a configuration says of it.
    Nobody(Box<Home>),
}

impl Keeper {
    /// Finds out who has the store that is meant.
    pub(super) fn find(peer: &Peer) -> Result<Self, Failure> {
        let client = peer.client(socket)?;
        let path = peer.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH));
        // Where only a socket is named, it is that daemon or none.
        if peer.socket.is_some() || !path.exists() && peer.config.is_none() || client.reaches()? {
            return Ok(Self::Daemon(Remote::new(client)));
        }
        let home = Home::read(path)?;
        owned(&home.gateway.state_dir)?;
        Ok(Self::Nobody(Box::new(home)))
    }

    /// The gateway's name.
    pub(super) fn gateway(&self) -> Result<String, Failure> {
        match self {
            Self::Daemon(remote) => remote.gateway(),
            Self::Nobody(home) => Ok(home.gateway.id.clone()),
        }
    }

    /// The store in figures.
    pub(super) fn stat(&self) -> Result<Value, Failure> {
        match self {
            Self::Daemon(remote) => remote.stat(),
            Self::Nobody(home) => object(&offline(home)?.stat(&home.buffer)?),
        }
    }

    /// Something to ask for one piece of a check after the other.
    pub(super) fn inspector(&self) -> Result<Inspector<'_>, Failure> {
        Ok(match self {
            Self::Daemon(remote) => Inspector::Daemon(remote),
            Self::Nobody(home) => Inspector::Store(Box::new(offline(home)?)),
        })
    }

    /// Carries all that is final to a folder.
    pub(super) fn export(&self, out: &Path) -> Result<Tally, Failure> {
        match self {
            Self::Daemon(remote) => sync::export(remote, out),
            Self::Nobody(home) => {
                let path = store(home);
                if Buffer::is_new(&path) {
                    return Err(nothing(&path));
                }
                let session = SessionInfo {
                    gateway: home.gateway.id.as_str().into(),
                    agent_version: env!("CARGO_PKG_VERSION").into(),
                    config_digest: home.digest.as_str().into(),
                    boot_id: clock::boot_id(),
                    machine: Machine::here(),
                    first: crate::buffer::unheard_of(clock::now()),
                };
                let buffer = Buffer::open(&path, &home.buffer, session, clock::now(), Metrics::new())?;
                Ok(sync::export(&(buffer, home.sync.clone()), out)?)
            }
        }
    }
}

/// Looks at the pieces of a store.
pub(super) enum Inspector<'a> {
    Daemon(&'a Remote),
    Store(Box<Offline>),
}

impl Inspector<'_> {
    pub(super) fn piece(&self, part: Part, after: u64) -> Result<Piece, Failure> {
        match self {
            Self::Daemon(remote) => remote.piece(part, after),
            Self::Store(store) => Ok(store.inspect(part, after)?),
        }
    }
}

fn store(home: &Home) -> PathBuf {
    home.gateway.state_dir.join("buffer")
}

fn offline(home: &Home) -> Result<Offline, Failure> {
    let path = store(home);
    Offline::open(&path)?.ok_or_else(|| nothing(&path))
}

/// Whoever opens a store writes files into its folder: they must be the daemon's, or it could not start again.
fn owned(state_dir: &Path) -> Result<(), Failure> {
    let Ok(found) = std::fs::metadata(state_dir) else { return Ok(()) };
    if found.uid() == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(Failure::new(
        FORBIDDEN,
        format!(
            "{} belongs to user {}, and what is opened there must stay that user's; start the daemon, or use \
             sudo -u '#{}'",
            state_dir.display(),
            found.uid(),
            found.uid()
        ),
    ))
}

/// The daemon at the other end of a socket.
impl Remote {
    fn new(client: Client) -> Self {
        Self { client }
    }
}
