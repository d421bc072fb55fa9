//! Passwords, as people give them: never as an argument, which everybody on the machine could read.

use std::fs::File;
use std::io::{self, BufRead as _, IsTerminal as _, Read, Write as _};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::failure::{DATA, Failure, IO, MISSING};

/// Longest password read.
const LONGEST: u64 = 4096;

/// A password that is chosen: asked for twice on a terminal, else the first line of a file or of standard input.
pub(super) fn chosen(file: Option<&Path>) -> Result<String, Failure> {
    let first = once(file, "Password: ")?;
    if file.is_none() && io::stdin().is_terminal() && first != asked("The same again: ").map_err(unread)? {
        return Err(Failure::new(DATA, "the two passwords differ; try again"));
    }
    Ok(first)
}

/// A password that there is already.
pub(super) fn once(file: Option<&Path>, question: &str) -> Result<String, Failure> {
    if let Some(path) = file {
        let fail = |error: io::Error| Failure::new(MISSING, format!("cannot read {}: {error}", path.display()));
        return first_line(File::open(path).map_err(fail)?).map_err(fail);
    }
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return first_line(stdin.lock()).map_err(unread);
    }
    asked(question).map_err(unread)
}

fn unread(error: io::Error) -> Failure {
    Failure::new(IO, format!("the password could not be read: {error}"))
}

fn first_line(from: impl Read) -> io::Result<String> {
    let mut line = String::new();
    io::BufReader::new(from.take(LONGEST)).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// Asks on the terminal without showing what is typed. The terminal is put right again whatever happens.
fn asked(question: &str) -> io::Result<String> {
    let stdin = io::stdin();
    let mut out = io::stdout().lock();
    let before = tcgetattr(&stdin)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    // Before the question: what is typed as soon as it is seen is neither shown nor dropped.
    tcsetattr(&stdin, OptionalActions::Flush, &silent)?;
    let line = out.write_all(question.as_bytes()).and_then(|()| out.flush()).and_then(|()| first_line(stdin.lock()));
    tcsetattr(&stdin, OptionalActions::Now, &before)?;
    out.write_all(b"\n")?;
    line
}
