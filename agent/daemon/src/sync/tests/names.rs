//! People under pseudonyms in what is sent, and the audit chain, which can be followed at both ends.

use explaind_core::domain::record::{Audit, Body, NewRecord};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::buffer::Part;

/// A sync that calls people so.
fn calling(buffer: &Buffer, folder: &Path, authors: Authors) -> Sync {
    let config = Config { batch_records: 100, batch_age: Duration::MAX, authors };
    Sync::new(buffer.clone(), registry(folder), config, Metrics::new(), Status::default())
}

/// An audit record.
fn did(seconds: u64, actor: &str, object: &str) -> NewRecord {
    NewRecord { body: Body::Audit(Audit::new(actor, "users_add", object, "done")), ..audit(seconds, actor) }
}

/// What people did: three of them by name, one claimed, one no person.
fn work(buffer: &Buffer) {
    let raised = prediction(1, 65.0);
    let id = raised.id;
    buffer.append(vec![raised, feedback(2, id)]).unwrap();
    buffer.append(vec![transition(3, None, (Normal, Unacknowledged), None, Some("mqtt:ada"))]).unwrap();
    for record in [did(4, "ada", "user bertha"), did(5, "registry", "gateway"), did(6, "mqtt:clara", "page")] {
        buffer.append(vec![record]).unwrap();
    }
}

fn column(folder: &Path, stream: Stream, name: &str) -> Vec<Option<String>> {
    let below = format!("line-3/{}/", stream.as_str());
    let sent = files(&folder.join("registry")).into_iter().filter(|(path, _)| path.starts_with(&below));
    let cells = sent.flat_map(|(path, _)| {
        let rows = rows(folder.join("registry").join(path));
        (0..rows.num_rows()).map(|row| text(&rows, name, row).map(str::to_owned)).collect::<Vec<_>>()
    });
    cells.collect()
}

/// Follows the chain as central can, by the columns alone.
fn follow(folder: &Path) {
    let of = |name| column(folder, Stream::Audit, name).into_iter().map(Option::unwrap).collect::<Vec<_>>();
    let path = files(&folder.join("registry")).into_iter().find(|(path, _)| path.starts_with("line-3/audit/")).unwrap();
    let rows = rows(folder.join("registry").join(path.0));
    let sequences = rows.column_by_name("sequence").unwrap().as_primitive::<Int64Type>().values().to_vec();
    let times =
        rows.column_by_name("recorded_at").unwrap().as_primitive::<TimestampMicrosecondType>().values().to_vec();
    let mut before = "0".repeat(64);
    for (row, hash) in of("hash").into_iter().enumerate() {
        assert_eq!(of("previous_hash")[row], before);
        let unhex =
            |text: &str| (0..32).map(|n| u8::from_str_radix(&text[2 * n..2 * n + 2], 16).unwrap()).collect::<Vec<_>>();
        let mut hasher = Sha256::new();
        hasher.update(unhex(&before));
        hasher.update(of("record_id")[row].parse::<Uuid>().unwrap().as_bytes());
        hasher.update(sequences[row].to_le_bytes());
        hasher.update(times[row].to_le_bytes());
        for name in ["hashed_actor", "action", "hashed_object", "outcome"] {
            let text = &of(name)[row];
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text);
        }
        assert_eq!(hasher.finalize().to_vec(), unhex(&hash), "row {row}");
        before = hash;
    }
}

#[tokio::test]
async fn no_name_of_a_person_is_sent_and_the_chain_can_be_followed_at_both_ends() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    work(&buffer);
    calling(&buffer, folder.path(), Authors::default()).round(true, &EVER()).await.unwrap();
    for (path, bytes) in files(&folder.path().join("registry")) {
        for name in ["bertha", "clara"] {
            let found = bytes.windows(name.len()).any(|part| part == name.as_bytes());
            assert!(!found, "{name} is in {path}");
        }
    }
    let key = buffer.pseudonyms();
    let (ada, bertha) = (key.of("ada"), key.of("bertha"));
    assert_eq!(column(folder.path(), Stream::Feedback, "author"), [Some(ada.clone())]);
    assert_eq!(column(folder.path(), Stream::Alerts, "author"), [Some(format!("mqtt:{ada}"))]);
    let actors = [ada, "registry".to_owned(), key.of("mqtt:clara")].map(Some);
    assert_eq!(column(folder.path(), Stream::Audit, "actor"), actors);
    let objects = [format!("user {bertha}"), "gateway".to_owned(), "page".to_owned()].map(Some);
    assert_eq!(column(folder.path(), Stream::Audit, "object"), objects);
    follow(folder.path());
    assert_eq!(buffer.inspect(Part::Records(Stream::Audit), 0).unwrap().findings, []);
    let there = buffer.read(Stream::Feedback, 0, 10).unwrap();
    assert!(matches!(&there[0].body, Body::Feedback(feedback) if feedback.author == "ada"), "here it is a name");
}

#[tokio::test]
async fn names_are_sent_where_that_is_configured_and_the_chain_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    work(&buffer);
    calling(&buffer, folder.path(), Authors::Names).round(true, &EVER()).await.unwrap();
    assert_eq!(column(folder.path(), Stream::Feedback, "author"), [Some("ada".to_owned())]);
    let actors = ["ada", "registry", "mqtt:clara"].map(|name| Some(name.to_owned()));
    assert_eq!(column(folder.path(), Stream::Audit, "actor"), actors);
    let hashed = ["ada", "registry", "mqtt:clara"].map(|name| Some(buffer.pseudonyms().of(name)));
    assert_eq!(column(folder.path(), Stream::Audit, "hashed_actor"), hashed);
    follow(folder.path());
}

#[tokio::test]
async fn a_closed_batch_stays_as_it_is_when_the_setting_or_the_key_is_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    work(&buffer);
    let closed = Closed { first: 1, last: 2, closed_at: at(9).utc };
    buffer.close(Stream::Audit, closed).unwrap();
    let names = Names::of(&buffer, Authors::Pseudonyms);
    let bytes = encode(&buffer, Stream::Audit, closed, names).unwrap().unwrap();
    buffer.fill_batch(Stream::Audit, closed, &bytes).unwrap();
    let before = buffer.pseudonyms().clone();
    drop(buffer);

    fs::remove_file(folder.path().join("pseudonyms.key")).unwrap();
    let buffer = open(folder.path());
    assert_ne!(buffer.pseudonyms().id(), before.id());
    buffer.append(vec![did(7, "ada", "user dora")]).unwrap();
    calling(&buffer, folder.path(), Authors::Names).round(true, &EVER()).await.unwrap();
    let sent = files(&folder.path().join("registry"));
    let first = sent.iter().find(|(path, _)| path.starts_with("line-3/audit/") && path.ends_with("/1-2.parquet"));
    assert_eq!(first.unwrap().1, &bytes);
    let rest = sent.keys().find(|path| path.starts_with("line-3/audit/") && path.ends_with("/3-4.parquet"));
    let rest = rows(folder.path().join("registry").join(rest.unwrap()));
    assert_eq!((text(&rest, "actor", 0), text(&rest, "actor", 1)), (Some("mqtt:clara"), Some("ada")));
    assert_eq!(text(&rest, "hashed_actor", 0), Some(before.of("mqtt:clara").as_str()), "by the key of its day");
    assert_eq!(text(&rest, "hashed_actor", 1), Some(buffer.pseudonyms().of("ada").as_str()));
    let piece = buffer.inspect(Part::Records(Stream::Audit), 0).unwrap();
    assert_eq!(piece.findings, [], "another key is no forgery");
    assert_eq!(piece.other_keys.into_iter().collect::<Vec<_>>(), [before.id()]);
}
