//! Puts on record that the gateway runs with another configuration than before.

use explaind_core::domain::record::{Audit, Body, NewRecord, Session, Stream};
use explaind_core::domain::time::Now;

use crate::buffer::{Buffer, BufferError};
use crate::clock;

/// Digits of a configuration's digest that are told.
const DIGITS: usize = 12;

/// Compares the present configuration and version with those that the newest record was made under.
pub(super) fn note(buffer: &Buffer, config: &str, now: Now) {
    if let Err(error) = try_note(buffer, config, now) {
        tracing::error!(%error, "whether the configuration has changed is not on record");
    }
}

fn try_note(buffer: &Buffer, config: &str, now: Now) -> Result<(), BufferError> {
    let Some(before) = before(buffer)?.filter(|before| *before.config_digest != *config) else { return Ok(()) };
    let short = |digest: &str| digest.chars().take(DIGITS).collect::<String>();
    let outcome = format!("changed from {} to {}", short(&before.config_digest), short(config));
    let body = Body::Audit(Audit::new("explaind", "configuration", "gateway", outcome));
    buffer.append(vec![NewRecord { id: clock::mint(now), at: now, body }]).map(drop)
}

/// The run that made the newest audit record; where there is none yet, the newest of any.
fn before(buffer: &Buffer) -> Result<Option<std::sync::Arc<Session>>, BufferError> {
    let others = Stream::ALL.into_iter().filter(|stream| *stream != Stream::Audit);
    for streams in [vec![Stream::Audit], others.collect()] {
        let mut newest = Vec::new();
        for stream in streams {
            newest.extend(buffer.latest(stream, None, 1)?);
        }
        if let Some(record) = newest.into_iter().max_by_key(|record| record.id) {
            return Ok(Some(record.session));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::SessionInfo;
    use crate::buffer::samples::{at, health, open, open_as, session};

    fn told(buffer: &Buffer) -> Vec<(String, String)> {
        let audits = buffer.read(Stream::Audit, 0, 10).unwrap().into_iter().map(|record| match record.body {
            Body::Audit(audit) => (audit.action, audit.outcome),
            other => panic!("{other:?}"),
        });
        audits.collect()
    }

    #[test]
    fn another_configuration_is_on_record_once() {
        let folder = tempfile::tempdir().unwrap();
        let buffer = open(folder.path());
        note(&buffer, "c0ffee", at(1));
        buffer.append(vec![health(2)]).unwrap();
        note(&buffer, "c0ffee", at(3));
        assert_eq!(told(&buffer), [], "a new gateway has no configuration before, and the same is no change");
        drop(buffer);
        let digest = "0123456789abcdef0123";
        let buffer = open_as(folder.path(), SessionInfo { config_digest: digest.into(), ..session() });
        for _ in 0..2 {
            note(&buffer, digest, at(4));
        }
        let expected = ("configuration".to_owned(), "changed from c0ffee to 0123456789ab".to_owned());
        assert_eq!(told(&buffer), [expected]);
    }
}
