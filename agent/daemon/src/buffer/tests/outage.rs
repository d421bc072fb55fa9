//! A disk that takes no writes: what is refused, what is not, and how it ends.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use super::*;
use crate::buffer::commit::Needs;
use crate::buffer::samples::{extra, fail, on_board, open_as};
use crate::buffer::write::Write;

fn states(buffer: &Buffer) -> Vec<String> {
    reports(buffer)
        .into_iter()
        .map(|(state, _)| state)
        .filter(|state| !matches!(&**state, "degraded" | "recovered"))
        .collect()
}

#[test]
fn while_the_store_is_out_predictions_are_refused_and_people_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let one = prediction(1, 65.0);
    let raise = transition(1, None, (Normal, Unacknowledged), Some(one.id), None);
    let (alert, named) = (raise.id, one.id);
    buffer.append(vec![one, raise]).unwrap();
    let mut news = buffer.subscribe();
    fail(&buffer);

    for refused in [vec![prediction(2, 1.0)], vec![prediction(2, 1.0), audit(2, "ada")], vec![extra(2, named)]] {
        assert!(matches!(buffer.append(refused), Err(BufferError::Broken(_))));
    }
    assert!(buffer.settle(vec![(named, explained(65.0))]).is_err() && buffer.check().is_err());
    assert!(buffer.mark_uploaded(Stream::Alerts, 1).is_err() && buffer.set_claimed().is_err());
    assert!(buffer.stat().degraded.unwrap().contains("cannot flush /x"));

    let seen = transition(3, Some(alert), (Unacknowledged, Acknowledged), None, Some("ada"));
    let said = vec![feedback(3, named), audit(3, "ada")];
    let stored = [buffer.append(vec![seen]).unwrap(), buffer.append(said.clone()).unwrap()].concat();
    assert_eq!(buffer.append(said).unwrap(), stored[1..], "repeating it stores nothing twice");
    assert_eq!(buffer.alert(alert).unwrap().acknowledged_by.as_deref(), Some("ada"));
    for record in &stored {
        assert_eq!(buffer.get(record.id).unwrap().as_ref(), Some(&**record));
        let told = std::iter::from_fn(|| news.try_recv().ok()).find(|told| told.id == record.id);
        assert_eq!(told.as_ref(), Some(record), "it is announced");
    }
    assert_eq!(sequences(&buffer.read(Stream::Alerts, 0, 9).unwrap()), [1, 2]);
    assert_eq!(sequences(&buffer.latest(Stream::Alerts, None, 9).unwrap()), [2, 1]);
    assert!(buffer.get(named).unwrap().is_some(), "the store is read on");

    // A kill now, and what was taken is there.
    let after = folder.path().join("killed");
    for part in ["buffer", "buffer.journal"] {
        copy_as_killed(&folder.path().join(part), &after.join(part));
    }
    fs::copy(folder.path().join("buffer.high_water"), after.join("buffer.high_water")).unwrap();
    let killed = open(&after);
    assert_eq!(killed.alerts(), buffer.alerts());
    assert_eq!(killed.read(Stream::Feedback, 0, 9).unwrap(), buffer.read(Stream::Feedback, 0, 9).unwrap());

    buffer.0.recover(at(60)).unwrap();
    assert!(buffer.check().is_ok() && buffer.stat().degraded.is_none());
    let again = buffer.append(vec![prediction(61, 1.0), feedback(61, named)]).unwrap();
    assert_eq!((again[0].sequence, again[1].sequence), (2, 2));
    for record in &stored {
        assert_eq!(buffer.get(record.id).unwrap().as_ref(), Some(&**record), "now in the store");
    }
    buffer.settle(vec![(named, explained(65.0))]).unwrap();
    let (alerts, store) = (buffer.alerts(), buffer.store_id());
    drop(buffer);
    let buffer = open_again(folder.path());
    assert_eq!((buffer.alerts(), buffer.store_id()), (alerts, store));
    assert_eq!((buffer.read(Stream::Predictions, 0, 9).unwrap().len(), states(&buffer)), (2, Vec::new()));
}

#[test]
fn a_write_whose_flush_fails_keeps_its_alert_and_its_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    buffer.append(vec![prediction(1, 65.0)]).unwrap();
    let core = &buffer.0;
    let (one, other) = (prediction(2, 65.0), audit(2, "ada"));
    let raise = transition(2, None, (Normal, Unacknowledged), Some(one.id), None);
    let mut state = core.writing().unwrap();
    let mut write = Write::new(&core.base, &state);
    write.push(one.clone()).unwrap();
    write.push(raise.clone()).unwrap();
    let failed = core.apply(&mut state, write).unwrap();
    let mut write = Write::new(&core.base, &state);
    write.push(other.clone()).unwrap();
    let taken = core.apply_for(&mut state, write, Needs::Journal).unwrap();
    drop(state);
    fail(&buffer);
    core.commit.make_durable(taken).unwrap();
    assert!(matches!(core.commit.make_durable(failed), Err(BufferError::Broken(_))));
    assert_eq!(sequences(&buffer.read(Stream::Predictions, 0, 9).unwrap()), [1], "it is not shown");
    assert!(buffer.alert(raise.id).is_some() && buffer.get(other.id).unwrap().is_some());
    assert_eq!(buffer.append(vec![raise.clone()]).unwrap()[0].sequence, 1, "tried again, it is the same");

    buffer.0.recover(at(60)).unwrap();
    assert!(buffer.alert(raise.id).is_some());
    // The store had it after all, but nobody ever explains it: it holds up no batch.
    let found = buffer.get(one.id).unwrap();
    if let Some(found) = &found {
        assert!(matches!(&found.settlement, Some(Settlement::Skipped { .. })), "{found:?}");
    }
    buffer.settle(vec![(buffer.read(Stream::Predictions, 0, 1).unwrap()[0].id, explained(1.0))]).unwrap();
    assert_eq!(buffer.pending(Stream::Predictions).unwrap().unwrap().through, 1 + u64::from(found.is_some()));
    assert_eq!(states(&buffer), Vec::<String>::new());
}

#[test]
fn a_store_that_is_gone_when_it_is_opened_again_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    buffer.append(vec![prediction(1, 65.0), feedback(1, Uuid::from_u128(1))]).unwrap();
    let lost = buffer.store_id();
    fail(&buffer);
    buffer.append(vec![feedback(2, Uuid::from_u128(1))]).unwrap();
    fs::remove_dir_all(folder.path().join("buffer")).unwrap();
    buffer.0.recover(at(60)).unwrap();
    assert_ne!(buffer.store_id(), lost);
    assert_eq!(buffer.predecessors(), [lost]);
    assert_eq!(buffer.read(Stream::Feedback, 0, 9).unwrap().len(), 2);
    let stored = buffer.append(vec![prediction(61, 1.0)]).unwrap();
    assert_eq!((stored[0].session.store_id, stored[0].sequence > 60_000), (buffer.store_id(), true));
}

/// A small file system of its own.
struct Small(PathBuf);

impl Small {
    /// `None`, and a word about it, where mounting is not allowed.
    fn mount(folder: &Path, size: &str) -> Option<Self> {
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]).arg(folder).output();
        if mounted.as_ref().is_ok_and(|output| output.status.success()) {
            return Some(Self(folder.to_owned()));
        }
        let _ = writeln!(std::io::stderr(), "not tested: a small file system cannot be mounted here: {mounted:?}");
        None
    }

    /// Makes it take writes or not, once nobody has a file open for writing: threads of a store that was dropped end by and by.
    fn remount(&self, how: &str) {
        let remount = || Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.0).output().unwrap();
        for _ in 0..200 {
            if remount().status.success() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("{:?}", remount());
    }

    /// Takes all room that is left.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = fs::File::create(&path).unwrap();
        for size in [64 << 10, 512] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// Opens it once the thread that looks after the one before has let go of it.
fn open_again(folder: &Path) -> Buffer {
    for _ in 0..200 {
        match try_open(folder, &Config::default()) {
            Err(BufferError::InUse { .. }) => std::thread::sleep(std::time::Duration::from_millis(50)),
            other => return other.unwrap(),
        }
    }
    panic!("it is still in use");
}

/// Appends predictions until they are refused.
fn until_refused(buffer: &Buffer) {
    for n in 0..200_000 {
        match buffer.append(vec![prediction(n, 1.0)]) {
            Ok(_) => {}
            Err(BufferError::Broken(_)) => return,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the disk does not fill");
}

#[test]
fn a_full_disk_stops_predictions_and_nobody_from_acknowledging_not_even_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Small::mount(folder.path(), "24m") else { return };
    let buffer = open(folder.path());
    let one = prediction(1, 65.0);
    let raise = transition(1, None, (Normal, Unacknowledged), Some(one.id), None);
    let (alert, named) = (raise.id, one.id);
    buffer.append(vec![one, raise]).unwrap();
    let filler = disk.fill();
    until_refused(&buffer);
    let predictions = buffer.read(Stream::Predictions, 0, 1).unwrap().len();
    assert_eq!(predictions, 1, "the store is read on");
    for n in 0..200 {
        buffer.append(vec![feedback(n, named), audit(n, "ada")]).unwrap();
    }
    buffer.append(vec![transition(9, Some(alert), (Unacknowledged, Acknowledged), None, Some("ada"))]).unwrap();
    assert!(buffer.0.recover(at(60)).is_err(), "there is no room yet");
    let (alerts, store) = (buffer.alerts(), buffer.store_id());
    drop(buffer);

    // Power comes back to a disk that is still full.
    let buffer = open_again(folder.path());
    assert!(buffer.stat().degraded.is_some());
    assert_eq!((buffer.alerts(), buffer.store_id()), (alerts, store));
    assert_eq!(buffer.read(Stream::Feedback, 0, 9999).unwrap().len(), 200);
    let late = buffer.append(vec![feedback(300, named), audit(300, "ben")]).unwrap();
    assert_eq!((late[0].sequence, late[1].sequence), (201, 201));
    assert!(matches!(buffer.append(vec![prediction(301, 1.0)]), Err(BufferError::Broken(_))));

    fs::remove_file(filler).unwrap();
    buffer.0.recover(at(400)).unwrap();
    assert_eq!(buffer.store_id(), store, "the same store");
    assert!(buffer.get(named).unwrap().is_some() && buffer.get(late[0].id).unwrap().is_some());
    buffer.append(vec![prediction(401, 1.0)]).unwrap();
    assert_eq!(buffer.alert(alert).unwrap().acknowledged_by.as_deref(), Some("ada"));
    drop(buffer);
    let buffer = open_again(folder.path());
    assert_eq!(buffer.read(Stream::Feedback, 0, 9999).unwrap().len(), 201);
    assert_eq!(states(&buffer), Vec::<String>::new(), "nothing was lost");
}

#[test]
fn the_journals_reserve_ends_with_a_refusal_and_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Small::mount(folder.path(), "24m") else { return };
    let buffer = open(folder.path());
    buffer.append(vec![feedback(0, Uuid::from_u128(1))]).unwrap();
    let reserve = buffer.stat().journal_reserve;
    assert!(reserve > 1 << 20, "{reserve}");
    let filler = disk.fill();
    until_refused(&buffer);
    let spoken = (1..100_000).take_while(|n| buffer.append(vec![health(*n)]).is_ok()).count();
    assert!((1000..100_000).contains(&spoken), "what the gateway says of itself ends first: {spoken}");
    let raises = |n: u64| transition(n, None, (Normal, Unacknowledged), None, None);
    let raised = (1..100_000).take_while(|n| buffer.append(vec![raises(*n)]).is_ok()).count();
    assert!((100..100_000).contains(&raised), "then alerts: {raised}");
    let many = (1..20_000).map(|n| feedback(n, Uuid::from_u128(1))).collect();
    assert!(matches!(buffer.append(many), Err(BufferError::Io { .. })), "more than fits, and nobody waits behind it");
    let taken = (1..100_000).take_while(|n| buffer.append(vec![feedback(*n, Uuid::from_u128(1))]).is_ok()).count();
    assert!((1000..100_000).contains(&taken), "and people last: {taken}");
    assert!(buffer.append(vec![audit(1, "ada")]).is_err());
    fs::remove_file(filler).unwrap();
    buffer.0.recover(at(400)).unwrap();
    buffer.append(vec![audit(2, "ada"), prediction(2, 1.0)]).unwrap();
    let read = buffer.read(Stream::Feedback, 0, 10_000).unwrap();
    assert_eq!(read.len(), taken + 1, "all that was acknowledged, and nothing that was refused");
    drop(buffer);
    let again = open_again(folder.path());
    assert_eq!(again.read(Stream::Feedback, 0, 10_000).unwrap(), read);
}

#[test]
fn a_start_on_a_read_only_disk_shows_what_the_journal_has_and_goes_on_once_it_takes_writes() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Small::mount(folder.path(), "24m") else { return };
    let buffer = open_as(folder.path(), on_board("1"));
    let one = prediction(1, 65.0);
    let raise = transition(1, None, (Normal, Unacknowledged), Some(one.id), None);
    let (alert, named) = (raise.id, one.id);
    buffer.append(vec![one, raise]).unwrap();
    buffer.append(vec![feedback(1, named)]).unwrap();
    let (alerts, store) = (buffer.alerts(), buffer.store_id());
    drop(buffer);
    disk.remount("ro");

    let path = folder.path().join("buffer");
    let elsewhere = Buffer::open(&path, &Config::default(), on_board("2"), at(0), Metrics::new());
    assert!(elsewhere.is_err(), "another machine gives out none of its numbers");
    let buffer = open_again(folder.path());
    assert!(buffer.stat().degraded.unwrap().contains("Read-only"), "{:?}", buffer.stat().degraded);
    assert_eq!((buffer.alerts(), buffer.store_id()), (alerts, store));
    assert_eq!(buffer.read(Stream::Feedback, 0, 9).unwrap().len(), 1);
    assert!(matches!(buffer.append(vec![prediction(2, 1.0)]), Err(BufferError::Broken(_))));
    let seen = transition(3, Some(alert), (Unacknowledged, Acknowledged), None, Some("ada"));
    let refused = buffer.append(vec![seen.clone()]).unwrap_err().to_string();
    assert!(refused.contains("journal") && refused.contains("read-only"), "{refused}");
    assert!(buffer.0.recover(at(60)).is_err() && buffer.unsettled().is_empty());
    assert!(try_open(folder.path(), &Config::default()).is_err(), "nobody else gets in");

    disk.remount("rw");
    buffer.0.recover(at(90)).unwrap();
    let stored = buffer.append(vec![seen]).unwrap();
    assert_eq!(stored[0].sequence, 2);
    buffer.append(vec![prediction(91, 1.0)]).unwrap();
    assert_eq!(buffer.alert(alert).unwrap().acknowledged_by.as_deref(), Some("ada"));
    assert!(buffer.get(named).unwrap().is_some() && buffer.store_id() == store);
    drop(buffer);
    let buffer = open_again(folder.path());
    assert_eq!(sequences(&buffer.read(Stream::Alerts, 0, 9).unwrap()), [1, 2]);
    assert_eq!(states(&buffer), Vec::<String>::new(), "nothing was lost");
}

#[test]
fn what_people_said_is_seen_in_the_journal_when_the_store_can_not_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let said = buffer.append(vec![feedback(1, Uuid::from_u128(1)), audit(1, "ada")]).unwrap();
    let counted = |buffer: &Buffer| -> Vec<(u64, u64)> {
        let state = buffer.0.state();
        [Stream::Feedback, Stream::Audit]
            .map(|stream| (state.cursors[stream].records, state.cursors[stream].bytes))
            .into()
    };
    let before = counted(&buffer);
    fail(&buffer);
    assert_eq!(buffer.0.show_journal(), None, "what is in the store is seen there");
    drop(buffer.0.base.store.close());
    assert_eq!(buffer.0.show_journal(), Some(true));
    for record in &said {
        assert_eq!(buffer.get(record.id).unwrap().as_ref(), Some(&**record));
    }
    assert_eq!(sequences(&buffer.read(Stream::Feedback, 0, 9).unwrap()), [1]);
    assert_eq!(counted(&buffer), before);
    buffer.0.recover(at(60)).unwrap();
    assert_eq!(counted(&buffer), before, "and once only when it works again");
    assert_eq!(sequences(&buffer.read(Stream::Feedback, 0, 9).unwrap()), [1]);
}

#[test]
fn our_own_records_never_fill_a_small_disk_however_long_they_are_thinned() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_disk) = Small::mount(folder.path(), "64m") else { return };
    let buffer = open(folder.path());
    let mut least = u64::MAX;
    // Later than this machine's own clock, by which the copy is reported.
    let mut seconds = 100_000_000;
    while buffer.last(Stream::Predictions) < 160_000 {
        seconds += 1;
        let stored = buffer.append((0..400).map(|_| prediction(seconds, 65.0)).collect());
        let stored = stored.unwrap_or_else(|error| panic!("after {seconds} s: {error}; {:?}", buffer.stat()));
        let settled = stored.iter().map(|record| (record.id, explained(65.0)));
        buffer.settle(settled.collect()).unwrap();
        // A copy takes a second or two; a plant does not write a hundred thousand records meanwhile.
        while buffer.0.renewing.is_running() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let disk = rustix::fs::statvfs(folder.path()).unwrap();
        least = least.min(disk.f_bavail * disk.f_frsize);
    }
    let stat = buffer.stat();
    assert!(stat.degraded.is_none() && !stat.full && stat.bound < stat.max_bytes, "{stat:?}");
    assert!(least > 1 << 20, "{least} bytes were free at the least");
    assert!(stat.bytes > 7 << 20, "and it is used: {stat:?}");
    assert!(states(&buffer).contains(&"renewed".to_owned()), "the store was written anew");
    assert!(stat.streams.iter().any(|one| one.stream == "predictions" && one.records < 50_000), "{stat:?}");
    buffer.append(vec![feedback(1, Uuid::from_u128(1)), audit(1, "ada")]).unwrap();
}

#[test]
fn a_damaged_store_waits_for_room_and_is_not_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_disk) = Small::mount(folder.path(), "40m") else { return };
    let elsewhere = tempfile::tempdir().unwrap();
    let buffer = open(elsewhere.path());
    for _ in 0..100 {
        buffer.append((0..100).map(|n| prediction(n, 1.0)).collect()).unwrap();
    }
    buffer.append(vec![feedback(1, Uuid::from_u128(1))]).unwrap();
    copy_as_killed(elsewhere.path(), folder.path());
    drop(buffer);
    let log = folder.path().join("buffer/db");
    let mut bytes = fs::read(&log).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[end / 2] ^= 0x10;
    fs::write(&log, &bytes).unwrap();

    // Room for half of it: the store gets written, and does not fit.
    let filler = folder.path().join("filler");
    let free = || crate::buffer::room::Room::free(folder.path()).unwrap();
    let room = u64::try_from(bytes.len() / 2).unwrap();
    fs::write(&filler, vec![1; usize::try_from(free() - room).unwrap()]).unwrap();
    for _ in 0..2 {
        let buffer = open_again(folder.path());
        assert!(buffer.stat().degraded.is_some());
        assert!(buffer.0.recover(at(60)).is_err());
        buffer.append(vec![feedback(2, Uuid::from_u128(1))]).unwrap();
        assert!(matches!(buffer.append(vec![prediction(2, 1.0)]), Err(BufferError::Broken(_))));
    }
    assert_eq!(fs::read(&log).unwrap(), bytes, "it is left as it is");
    fs::remove_file(filler).unwrap();

    let buffer = open_again(folder.path());
    let there = buffer.read(Stream::Predictions, 0, 10_000).unwrap().len();
    assert!((9000..=10_000).contains(&there), "{there}");
    assert!(buffer.check().is_ok() && buffer.read(Stream::Feedback, 0, 9).unwrap().len() == 3);
    assert!(states(&buffer).contains(&"salvaged".to_owned()));
}
