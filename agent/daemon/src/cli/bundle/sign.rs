//! `explaind bundle sign`

use std::path::{Path, PathBuf};

use ct_codecs::{Base64, Decoder as _};
use explaind_core::model::{Model, bundle};
use minisign::{PublicKey, SecretKey, SecretKeyBox};

use super::{files, refused, text};
use crate::cli::failure::{DATA, FORBIDDEN, Failure, IO, SOFTWARE};
use crate::cli::{password, print};

/// The size of a secret key: algorithms, salt, limits, number, key and checksum.
const KEY_BYTES: usize = 158;
/// Where its checksum begins.
const CHECKSUM: usize = 126;

/// What to sign, with what.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The bundle's folder
    #[arg(long, value_name = "DIR")]
    bundle: PathBuf,
    /// The secret key, as `minisign -G` makes it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Read the key's password from the first line of this file; absent: it is asked for, or read from standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let folder = &args.bundle;
    let files = files(folder)?;
    let key = text(&args.key)?;
    // Nobody should vouch for what would be refused.
    let model = Model::load(&files).map_err(|error| refused(folder, &error))?;
    model.verify().map_err(|error| refused(folder, &error))?;
    let key = unlock(&args.key, &key, args.password_file.as_deref())?;
    let failed = |error: minisign::PError| Failure::new(SOFTWARE, format!("the bundle cannot be signed: {error}"));
    let public = PublicKey::from_secret_key(&key).map_err(failed)?;
    let signed = files.get(bundle::SUMS).map_or(&[][..], Vec::as_slice);
    let manifest = model.manifest();
    let time = jiff::Timestamp::now().as_second();
    // In the words of minisign's own, and which bundle it was.
    let comment = format!("timestamp:{time}\tfile:{}\t{} {}", bundle::SUMS, manifest.name, manifest.version);
    let signature = minisign::sign(Some(&public), &key, signed, Some(&comment), None).map_err(failed)?;
    write(folder, &signature.into_string())?;
    let id = public.keynum().iter().rev().map(|byte| format!("{byte:02X}")).collect::<String>();
    print::line(&format!("{} {} is signed with key {id}", manifest.name, manifest.version))
}

/// The secret key itself; the password is asked for where there is one.
fn unlock(path: &Path, text: &str, password_file: Option<&Path>) -> Result<SecretKey, Failure> {
    let wrong = |code, what: &str| Failure::new(code, format!("{}: {what}", path.display()));
    let unread = || wrong(DATA, "this is no secret key of minisign; name the .key file that `minisign -G` wrote");
    let line = text.lines().nth(1).map(str::trim).unwrap_or_default();
    let bytes = Base64::decode_to_vec(line, None).ok().filter(|bytes| bytes.len() == KEY_BYTES).ok_or_else(unread)?;
    let boxed = || SecretKeyBox::from_string(text).map_err(|_| unread());
    match (bytes.get(..2), bytes.get(2..4)) {
        // Without a password minisign leaves the checksum empty, which the crate's own reading takes for damage. A key that
        // is damaged makes a signature that its own public half refuses.
        (Some(b"Ed"), Some([0, 0])) if bytes.iter().skip(CHECKSUM).all(|byte| *byte == 0) => {
            SecretKey::from_bytes(&bytes).map_err(|_| unread())
        }
        (Some(b"Ed"), Some([0, 0])) => boxed()?
            .into_unencrypted_secret_key()
            .map_err(|_| wrong(DATA, "the key is damaged; take a copy that is whole")),
        // Whether it is one at all is known before anybody is asked for anything.
        (Some(b"Ed"), Some(b"Sc")) => {
            let password = password::once(password_file, "Password of the key: ")?;
            boxed()?
                .into_secret_key(Some(password))
                .map_err(|_| wrong(FORBIDDEN, "the password is wrong, or the key is damaged; try again"))
        }
        _ => Err(unread()),
    }
}

/// Puts the signature beside what it signs, at once.
fn write(folder: &Path, signature: &str) -> Result<(), Failure> {
    let path = folder.join(bundle::SIGNATURE);
    let io = |error: std::io::Error| {
        let code = if error.kind() == std::io::ErrorKind::PermissionDenied { FORBIDDEN } else { IO };
        Failure::new(code, format!("{}: {error}", path.display()))
    };
    // Not in the folder: a file too many would make it no bundle.
    let mut draft = folder.as_os_str().to_owned();
    draft.push(".minisig.partial");
    let draft = PathBuf::from(draft);
    std::fs::write(&draft, signature).and_then(|()| std::fs::File::open(&draft)?.sync_all()).map_err(io)?;
    std::fs::rename(&draft, &path).map_err(io)
}
