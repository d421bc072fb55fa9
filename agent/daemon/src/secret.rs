//! Secrets come from files and systemd credentials, never from the configuration itself.

use std::path::{Path, PathBuf};

/// No password or token is longer, in bytes.
const LONGEST_SECRET: u64 = 64 << 10;

/// Where a password or token is kept; never the secret itself, so that `Debug` output and status pages cannot show it.
#[derive(Debug, Clone)]
pub(crate) enum Secret {
    /// A file that holds it and nothing else.
    File(PathBuf),
    /// The name of a systemd credential.
    Credential(String),
}

impl Secret {
    /// Reads it. Done at every connection, so that a changed one needs no restart.
    pub(crate) fn read(&self) -> Result<String, String> {
        let path = match self {
            Self::File(path) => path.clone(),
            Self::Credential(name) => {
                let folder = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                    format!(
                        "there is no credential \"{name}\": systemd passed none; add LoadCredential= to the service"
                    )
                })?;
                Path::new(&folder).join(name)
            }
        };
        let size = std::fs::metadata(&path).map_err(|error| unreadable(&path, &error))?.len();
        if size > LONGEST_SECRET {
            return Err(format!("{} is too large for a secret ({size} bytes)", path.display()));
        }
        let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("cannot read the secret in {}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_loses_its_line_end_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, " pass word \r\n").unwrap();
        assert_eq!(Secret::File(path).read().unwrap(), " pass word ");
        assert!(Secret::File(folder.path().join("none")).read().unwrap_err().contains("cannot read"));
    }
}
