//! `explaind bundle`: models made, looked at, checked, signed, carried to and from the registry, and taken back.

mod create;
mod inspect;
mod pull;
mod push;
mod rollback;
mod sign;
mod table;
mod verify;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use explaind_core::model::{BundleError, Files, Model};

use super::failure::{CONFIG, DATA, FORBIDDEN, Failure, IO, MISSING, UNAVAILABLE, USAGE};
use crate::config::{self, DEFAULT_PATH};
use crate::folder::files_of;
use crate::registry::{self, DirectoryConfig, MlflowConfig, Registry, RegistryError};

/// The largest file read: a model, or a table of rows.
const MOST_BYTES: u64 = 1 << 30;

/// What to do with a bundle.
#[derive(Subcommand)]
pub(super) enum Args {
    /// Make a bundle from a model and a table of reference rows
    ///
    /// The background is sampled evenly from each class or tenth of the target, or of what the model says; the same files
    /// give the same bundle. Without --manifest one is drafted from the names in the model and in the table: read it.
    Create(create::Args),
    /// Show what a bundle is: model, features, files, signature, card
    Inspect(inspect::Args),
    /// Check digests, shapes and golden rows, and with --key who signed it
    Verify(verify::Args),
    /// Sign a bundle with a secret key of minisign
    ///
    /// Writes SHA256SUMS.minisig. Keys are made by `minisign -G`; the password is asked for, or read from standard input or a
    /// file. `minisign -Vm SHA256SUMS -p KEY.pub` checks the same signature.
    Sign(sign::Args),
    /// Put a bundle into the registry as a version of a model
    ///
    /// The same bundle again is the same version. A push that was cut off is done again.
    Push(push::Args),
    /// Fetch a version of a model from the registry
    ///
    /// Its digests are checked before the folder appears: it is there whole or not at all. Over a link that is cut it goes on
    /// where it was, if the server gives parts of files, as long as each try brings more.
    Pull(pull::Args),
    /// Have the running daemon go back to the bundle that it ran before
    ///
    /// It is still on the gateway, so no registry is needed. What ran until now is not taken again until the registry offers
    /// another version.
    Rollback(rollback::Args),
}

/// Runs the verb. `by_config` finds the socket that a configuration names.
pub(super) fn run(
    args: &Args,
    by_config: impl FnOnce(Option<&Path>) -> Result<PathBuf, Failure>,
) -> Result<(), Failure> {
    match args {
        Args::Create(args) => create::run(args),
        Args::Inspect(args) => inspect::run(args),
        Args::Verify(args) => verify::run(args),
        Args::Sign(args) => sign::run(args),
        Args::Push(args) => push::run(args),
        Args::Pull(args) => pull::run(args),
        Args::Rollback(args) => rollback::run(args, by_config),
    }
}

/// Which registry is meant, and how it knows us.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// An MLflow server (http:// or https://), or a folder (a path or file://); absent: the [registry] of --config
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    registry: Option<String>,
    /// The configuration whose [registry] is meant
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Who we are to the MLflow server
    #[arg(long, value_name = "NAME", requires = "registry")]
    username: Option<String>,
    /// A file with the password that goes with --username
    #[arg(long, value_name = "FILE", requires = "username")]
    registry_password_file: Option<PathBuf>,
    /// A file with a bearer token, in place of a user and a password
    #[arg(long, value_name = "FILE", requires = "registry")]
    token_file: Option<PathBuf>,
    /// Who vouches for the server, as PEM, in place of the system's certificates
    #[arg(long, value_name = "FILE", requires = "registry")]
    ca_file: Option<PathBuf>,
    /// A proxy, in place of the one that the environment names
    #[arg(long, value_name = "URL", requires = "registry")]
    proxy: Option<String>,
}

impl Place {
    fn registry(&self) -> Result<Registry, Failure> {
        Ok(Registry::new(&self.settings()?))
    }

    fn settings(&self) -> Result<registry::Config, Failure> {
        let Some(named) = &self.registry else {
            let path = self.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH));
            if self.config.is_none() && !path.exists() {
                let sentence = "no registry is named; give --registry URL, or --config FILE with a [registry]";
                return Err(Failure::new(USAGE, sentence));
            }
            return Ok(config::registry(path)?);
        };
        let wrong = |code, reason: &str| Failure::new(code, format!("--registry {named}: {reason}"));
        if !named.starts_with("http://") && !named.starts_with("https://") {
            let path = match named.split_once("://") {
                Some(("file", path)) if path.starts_with('/') => PathBuf::from(path),
                Some(_) => {
                    return Err(wrong(USAGE, "write http://…, https://…, file:///a/folder, or the path of a folder"));
                }
                None => PathBuf::from(named),
            };
            return Ok(registry::Config::Directory(DirectoryConfig { path }));
        }
        let mut table = toml::Table::new();
        let mut set = |key: &str, value: Option<String>| value.map(|value| table.insert(key.to_owned(), value.into()));
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        set("url", Some(named.clone()));
        set("username", self.username.clone());
        set("password_file", path(&self.registry_password_file));
        set("token_file", path(&self.token_file));
        set("ca_file", path(&self.ca_file));
        set("proxy", self.proxy.clone());
        let config: MlflowConfig = table.try_into().map_err(|error: toml::de::Error| wrong(USAGE, error.message()))?;
        let config = registry::Config::Mlflow(Box::new(config));
        config.check().map_err(|(key, reason)| wrong(CONFIG, &format!("{key} {reason}")))?;
        Ok(config)
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        let code = match &error {
            RegistryError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => FORBIDDEN,
            RegistryError::Io { .. } => IO,
            RegistryError::Server { .. } | RegistryError::Busy { .. } => UNAVAILABLE,
            RegistryError::Forbidden { .. } => FORBIDDEN,
            RegistryError::Missing { .. } | RegistryError::NoAlias { .. } => MISSING,
            RegistryError::Name { .. } => USAGE,
            RegistryError::Content { .. } | RegistryError::Conflict { .. } => DATA,
        };
        Self::new(code, error.to_string())
    }
}

/// What speaks to a registry runs on this, and is over when the verb is.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(IO, format!("cannot start what speaks to the registry: {error}")))
}

/// Reads a file that a person names, however much there is behind the name.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let missing = |error: std::io::Error| {
        let code = if error.kind() == std::io::ErrorKind::PermissionDenied { FORBIDDEN } else { MISSING };
        Failure::new(code, format!("{}: {error}", path.display()))
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(missing)?.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(missing)?;
    if bytes.len() as u64 > MOST_BYTES {
        let message = format!("{} has more than {MOST_BYTES} bytes, the most that are read at once", path.display());
        return Err(Failure::new(DATA, message));
    }
    Ok(bytes)
}

/// A file's text.
fn text(path: &Path) -> Result<String, Failure> {
    String::from_utf8(read(path)?)
        .map_err(|_| Failure::new(DATA, format!("{}: not UTF-8; save it as UTF-8", path.display())))
}

/// Reads the files of a bundle's folder.
fn files(folder: &Path) -> Result<Files, Failure> {
    if !folder.is_dir() {
        let message = "there is no such folder; name one that bundle create made";
        return Err(Failure::new(MISSING, place(folder, message)));
    }
    files_of(folder).map_err(|message| Failure::new(DATA, place(folder, message)))
}

/// Loads the bundle in a folder, for verbs that take one.
pub(super) fn load(folder: &Path) -> Result<Model, Failure> {
    let files = files(folder)?;
    Model::load(&files).map_err(|error| refused(folder, &error))
}

fn refused(folder: &Path, error: &BundleError) -> Failure {
    Failure::new(DATA, place(folder, error))
}

fn place(folder: &Path, message: impl std::fmt::Display) -> String {
    format!("bundle {}: {message}", folder.display())
}

/// A folder that is to be made must not be there.
fn must_be_new(out: &Path) -> Result<(), Failure> {
    // A link that leads nowhere is something, too.
    if std::fs::symlink_metadata(out).is_err() {
        return Ok(());
    }
    let message = format!("{} exists; name a folder that does not, so that no bundle is overwritten", out.display());
    Err(Failure::new(IO, message))
}

/// A folder beside the one that is to be, under a name that says so. It goes when it is dropped.
struct Draft {
    path: PathBuf,
    out: PathBuf,
}

impl Draft {
    fn of(out: &Path) -> Result<Self, Failure> {
        must_be_new(out)?;
        let mut path = out.as_os_str().to_owned();
        path.push(".partial");
        let draft = Self { path: PathBuf::from(path), out: out.to_owned() };
        let io = |error: std::io::Error| Failure::new(IO, format!("{}: {error}", draft.path.display()));
        if draft.path.exists() {
            std::fs::remove_dir_all(&draft.path).map_err(io)?;
        }
        std::fs::create_dir_all(&draft.path).map_err(io)?;
        Ok(draft)
    }

    /// Gives it its name.
    fn publish(self) -> Result<(), Failure> {
        let io = |error: std::io::Error| Failure::new(IO, format!("{}: {error}", self.out.display()));
        let sync = |path: &Path| std::fs::File::open(path).and_then(|folder| folder.sync_all());
        sync(&self.path).map_err(io)?;
        must_be_new(&self.out)?;
        std::fs::rename(&self.path, &self.out).map_err(io)?;
        let parent = self.out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        sync(parent).map_err(io)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After it was published it is no longer there; and who clears it otherwise is the next try.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
