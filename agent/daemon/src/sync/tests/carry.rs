//! Export and import: what central has afterwards is what sync would have brought, whatever is cut off or repeated.

use super::*;
use crate::buffer::samples::{on_board, open_as};
use crate::sync::{self, Batch, Begun, ImportError, Origin, Place, Sent, Tally};

/// Copies a state folder as it is.
fn copy(from: &Path, to: &Path) {
    for (name, content) in files(from) {
        let path = to.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// Something of everything, in several batches of three.
fn furnish(folder: &Path) {
    let buffer = open(folder);
    for n in 0..7 {
        let one = prediction(n, n as f64);
        let raise = transition(n, None, (Normal, Unacknowledged), Some(one.id), None);
        let stored = buffer.append(vec![one, raise, audit(n, "ada"), health(n)]).unwrap();
        buffer.settle(vec![(stored[0].id, explained(n as f64))]).unwrap();
        buffer.append(vec![feedback(n, stored[0].id), extra(n, stored[0].id)]).unwrap();
    }
    buffer.append(vec![prediction(9, 1.0)]).unwrap();
}

const BOUNDS: Config = Config { batch_records: 3, batch_age: Duration::MAX, authors: Authors::Pseudonyms };

fn export(buffer: &Buffer, medium: &Path) -> Result<Tally, SyncError> {
    sync::export(&(buffer.clone(), BOUNDS), medium)
}

fn import(medium: &Path, central: &Path) -> Result<Tally, ImportError> {
    sync::import(medium, &registry(central))
}

/// A medium with what a furnished store had.
fn carried(folder: &Path) -> (Buffer, PathBuf) {
    furnish(&folder.join("state"));
    let (buffer, medium) = (open(&folder.join("state")), folder.join("medium"));
    export(&buffer, &medium).unwrap();
    (buffer, medium)
}

#[test]
fn central_has_the_same_bytes_as_if_it_had_been_sent() {
    let folder = tempfile::tempdir().unwrap();
    let (sent, carried) = (folder.path().join("sent"), folder.path().join("carried"));
    furnish(&sent);
    copy(&sent, &carried);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let one = open(&sent);
    runtime.block_on(sync(&one, registry(&sent), 3).round(true, &EVER())).unwrap();

    let (other, medium) = (open(&carried), folder.path().join("medium"));
    assert_eq!(one.store_id(), other.store_id());
    let tally = export(&other, &medium).unwrap();
    assert_eq!((tally.stored, tally.already_there, tally.set_aside, tally.records), (18, 0, 0, 42));
    let as_sent = files(&sent.join("registry"));
    assert_eq!(as_sent.len(), 19, "batches and store.json: {:?}", as_sent.keys());
    assert_eq!(files(&medium), as_sent, "the medium is laid out as the registry");
    fs::create_dir(folder.path().join("central")).unwrap();
    let central = folder.path().join("central");
    assert_eq!(import(&medium, &central).unwrap(), tally);
    assert_eq!(files(&central.join("registry")), as_sent);

    // What it had is sent as with sync, but for the prediction whose explanation is not settled.
    for stream in Stream::ALL {
        assert_eq!(one.uploaded(stream), other.uploaded(stream), "{}", stream.as_str());
        assert_eq!(other.waiting(stream), u64::from(stream == Stream::Predictions));
    }
    // Once more, on both sides: nothing changes.
    assert_eq!(export(&other, &medium).unwrap(), Tally { gateways: 1, ..Tally::default() });
    let again = import(&medium, &central).unwrap();
    assert_eq!((again.stored, again.already_there), (0, 18));
    assert_eq!(files(&central.join("registry")), as_sent);
}

/// A store whose daemon goes away: at one of these calls, before or after it was heard.
struct CutOff {
    store: (Buffer, Config),
    calls: std::cell::Cell<u32>,
    heard: bool,
}

impl CutOff {
    fn cut<T>(&self, work: impl FnOnce() -> Result<T, SyncError>) -> Result<T, SyncError> {
        let left = self.calls.get();
        self.calls.set(left.saturating_sub(1));
        let away = || Err(SyncError::Foreign("it went away".to_owned()));
        match left {
            0 if self.heard => work().and_then(|_| away()),
            0 => away(),
            _ => work(),
        }
    }
}

impl Origin for CutOff {
    type Error = SyncError;

    fn gateway(&self) -> Result<String, SyncError> {
        self.store.gateway()
    }

    fn begin(&self, place: &Place) -> Result<Begun, SyncError> {
        self.cut(|| self.store.begin(place))
    }

    fn next(&self, begun: &Begun) -> Result<Option<Batch>, SyncError> {
        self.cut(|| self.store.next(begun))
    }

    fn sent(&self, sent: &Sent) -> Result<(), SyncError> {
        self.cut(|| self.store.sent(sent))
    }
}

#[test]
fn an_export_that_is_cut_off_anywhere_is_repeated_without_loss_or_doubling() {
    let folder = tempfile::tempdir().unwrap();
    furnish(&folder.path().join("state"));
    let buffer = open(&folder.path().join("state"));
    let medium = folder.path().join("medium");
    let mut cuts = 0;
    // Each try gets a little further and is cut off, before or after the store has heard of it, until one is not.
    for calls in 0..200 {
        let origin = CutOff { store: (buffer.clone(), BOUNDS), calls: (calls % 9).into(), heard: calls % 2 == 0 };
        match sync::export(&origin, &medium) {
            Ok(_) => break,
            Err(_) => cuts += 1,
        }
    }
    assert!(cuts > 5, "{cuts}");
    fs::rename(&medium, folder.path().join("registry")).unwrap();
    for stream in Stream::ALL {
        assert_eq!(sequences(folder.path(), "line-3", stream), (1..=7).collect::<Vec<i64>>(), "{}", stream.as_str());
    }
}

#[test]
fn what_is_written_while_it_runs_is_for_the_next_time() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    buffer.append((0..5).map(health).collect()).unwrap();
    let place = Place { name: "the medium".to_owned(), mark: None, holds_batches: false };
    let begun = sync::begin(&buffer, &place).unwrap();
    buffer.append((5..9).map(health).collect()).unwrap();
    let mut numbers = Vec::new();
    while let Some(batch) = sync::next(&buffer, &BOUNDS, &begun).unwrap() {
        numbers.push(batch.numbers);
        let (first, last) = batch.numbers;
        let sent = Sent { stream: batch.stream.as_str().to_owned(), first, last, aside: None };
        sync::sent(&buffer, &sent).unwrap();
        // Whoever did not hear that it was done says it again.
        sync::sent(&buffer, &sent).unwrap();
    }
    assert_eq!((numbers, buffer.uploaded(Stream::Health)), (vec![(1, 3), (4, 5)], 5));
    // Nothing is let go of that was never handed out.
    sync::sent(&buffer, &Sent { stream: "health".to_owned(), first: 6, last: 9, aside: None }).unwrap();
    assert_eq!(buffer.uploaded(Stream::Health), 5);
}

#[test]
fn the_medium_of_another_store_is_refused_and_an_empty_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (_first, medium) = carried(folder.path());
    let before = files(&medium);
    let second = open(&folder.path().join("other"));
    second.append(vec![health(1)]).unwrap();
    let refused = export(&second, &medium).unwrap_err().to_string();
    assert!(refused.contains("medium/line-3 holds batches of another store"), "{refused}");
    fs::remove_file(medium.join("line-3/store.json")).unwrap();
    let refused = export(&second, &medium).unwrap_err().to_string();
    assert!(refused.contains("does not say of which store"), "{refused}");
    assert_eq!(files(&medium).len() + 1, before.len());
    assert_eq!((second.uploaded(Stream::Health), second.closed(Stream::Health)), (0, None));
    // Media go to and fro, and come back empty.
    fs::remove_dir_all(&medium).unwrap();
    assert_eq!(export(&second, &medium).unwrap().stored, 1);
    second.append(vec![health(2)]).unwrap();
    fs::remove_dir_all(&medium).unwrap();
    assert_eq!(export(&second, &medium).unwrap().stored, 1);
    assert!(files(&medium).keys().any(|name| name.ends_with("/2-2.parquet")));
}

#[test]
fn what_is_no_export_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (_buffer, medium) = carried(folder.path());
    let stranger = folder.path().join("stranger");
    let (_other, theirs) = carried(&stranger);
    let batch = |medium: &Path, stream: &str| {
        let name = files(medium).into_keys().find(|name| name.starts_with(&format!("line-3/{stream}/"))).unwrap();
        (name.clone(), medium.join(name))
    };
    let (_, alerts) = batch(&medium, "alerts");
    let (name, audit) = batch(&medium, "audit");
    let whole = fs::read(&alerts).unwrap();
    type Spoil<'a> = Box<dyn Fn(&Path) + 'a>;
    let spoil: [(&str, Spoil<'_>); 9] = [
        ("cannot be read as Parquet", Box::new(|to| fs::write(to.join(rel(&medium, &alerts)), b"PAR1PAR1").unwrap())),
        ("cannot be read as Parquet", {
            Box::new(|to| fs::write(to.join(rel(&medium, &alerts)), &whole[..whole.len() / 2]).unwrap())
        }),
        (
            "columns are not those of audit",
            Box::new(|to| fs::write(to.join(&name), fs::read(&alerts).unwrap()).unwrap()),
        ),
        ("records of another store", {
            Box::new(|to| fs::write(to.join(rel(&medium, &audit)), fs::read(theirs.join(&name)).unwrap()).unwrap())
        }),
        ("called like no batch", Box::new(|to| fs::write(to.join(&name).with_file_name("notes.txt"), "").unwrap())),
        ("called like no day", Box::new(|to| fs::create_dir(to.join("line-3/alerts/monday")).unwrap())),
        ("no stream of this version", Box::new(|to| fs::create_dir(to.join("line-3/gossip")).unwrap())),
        ("its folder is called", Box::new(|to| fs::rename(to.join("line-3"), to.join("line-4")).unwrap())),
        ("nothing says whose", Box::new(|to| fs::remove_file(to.join("line-3/store.json")).unwrap())),
    ];
    for (n, (reason, spoil)) in spoil.iter().enumerate() {
        let spoilt = folder.path().join(format!("spoilt-{n}"));
        copy(&medium, &spoilt);
        spoil(&spoilt);
        let central = folder.path().join(format!("central-{n}"));
        fs::create_dir(&central).unwrap();
        let error = import(&spoilt, &central).unwrap_err();
        assert!(matches!(error, ImportError::Content { .. }), "{reason}: {error}");
        assert!(error.to_string().contains(reason) && !error.to_string().contains('\n'), "{reason}: {error}");
        assert!(files(&central).is_empty(), "{reason}");
    }
    let nothing = folder.path().join("nothing");
    assert!(matches!(import(&nothing, folder.path()), Err(ImportError::Missing { .. })));
    fs::create_dir(&nothing).unwrap();
    assert!(matches!(import(&nothing, folder.path()), Err(ImportError::Missing { .. })));
    // What people and file systems leave on a medium is none of ours.
    fs::write(medium.join("read me.txt"), "ask Anna").unwrap();
    fs::create_dir(medium.join("System Volume Information")).unwrap();
    fs::write(medium.join(&name).with_file_name(".1-3.parquet.part"), "cut off").unwrap();
    assert_eq!(import(&medium, folder.path()).unwrap().stored, 18);
}

fn rel(root: &Path, path: &Path) -> PathBuf {
    path.strip_prefix(root).unwrap().to_owned()
}

#[test]
fn what_central_has_otherwise_is_left_and_ours_goes_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let (_buffer, medium) = carried(folder.path());
    let central = folder.path().join("registry");
    let names: Vec<String> = files(&medium).into_keys().collect();
    let health = |numbers: &str| {
        names.iter().find(|name| name.contains("/health/") && name.ends_with(&format!("/{numbers}.parquet"))).unwrap()
    };
    // The same name with other content, and other bounds over the same numbers.
    for (name, content) in [(health("1-3").clone(), "a"), (health("4-6").replace("4-6", "5-5"), "b")] {
        let path = central.join(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    fs::copy(medium.join("line-3/store.json"), central.join("line-3/store.json")).unwrap();
    let tally = import(&medium, folder.path()).unwrap();
    assert_eq!((tally.stored, tally.set_aside), (16, 2));
    let there = files(&central);
    assert_eq!(there[health("1-3")], b"a");
    assert!(!there.contains_key(health("4-6")));
    let aside: Vec<_> = there.keys().filter(|name| name.starts_with("line-3/conflicts/health/")).collect();
    assert_eq!(aside.len(), 2, "{aside:?}");
    let again = import(&medium, folder.path()).unwrap();
    assert_eq!((again.stored, again.set_aside, again.already_there), (0, 0, 18));
    assert_eq!(files(&central), there);
}

#[test]
fn whose_a_gateway_is_holds_for_media_as_for_sync() {
    let folder = tempfile::tempdir().unwrap();
    let (lost, early) = carried(folder.path());
    let state = folder.path().join("state");
    let lost_id = lost.store_id();
    drop(lost);
    fs::remove_dir_all(state.join("buffer")).unwrap();
    let buffer = open(&state);
    let late = folder.path().join("late");
    assert!(export(&buffer, &late).unwrap().stored > 0);

    // The later one first: the earlier one is of a store that this one took over from.
    import(&late, folder.path()).unwrap();
    import(&early, folder.path()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mark = runtime.block_on(registry(folder.path()).store("line-3")).unwrap().unwrap();
    assert_eq!((mark.store_id, mark.predecessors), (buffer.store_id(), vec![lost_id]));
    let sent = sequences(folder.path(), "line-3", Stream::Feedback);
    assert_eq!(sent, (1..=7).collect::<Vec<i64>>());

    // A stranger of the same name is not let in, nor one with a name that nobody has.
    let (_stranger, theirs) = carried(&folder.path().join("stranger"));
    let before = files(&folder.path().join("registry"));
    let refused = import(&theirs, folder.path()).unwrap_err().to_string();
    assert!(refused.contains("belongs to another store") && refused.contains("another [gateway] id"), "{refused}");
    fs::remove_file(folder.path().join("registry/line-3/store.json")).unwrap();
    let refused = import(&late, folder.path()).unwrap_err().to_string();
    assert!(refused.contains("names no store any more"), "{refused}");
    assert_eq!(files(&folder.path().join("registry")).len() + 1, before.len());
}

#[test]
fn a_store_that_lived_under_another_id_before_says_so_on_the_medium() {
    let folder = tempfile::tempdir().unwrap();
    let original = open_as(folder.path(), on_board("1"));
    original.append((0..4).map(health).collect()).unwrap();
    let original_id = original.store_id();
    drop(original);
    let moved = open_as(folder.path(), on_board("2"));
    assert_ne!(moved.store_id(), original_id);
    let medium = folder.path().join("medium");
    export(&moved, &medium).unwrap();
    let mark: registry::StoreMark =
        serde_json::from_slice(&fs::read(medium.join("line-3/store.json")).unwrap()).unwrap();
    assert_eq!((mark.store_id, mark.records_of), (moved.store_id(), vec![original_id]));
    import(&medium, folder.path()).unwrap();
    assert_eq!(sequences(folder.path(), "line-3", Stream::Health)[..4], [1, 2, 3, 4]);
}
