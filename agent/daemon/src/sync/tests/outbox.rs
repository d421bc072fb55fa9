//! Wherever it is cut off, a batch arrives once, with the bytes of its first try.

use super::*;

/// What an earlier version would have written of the same records.
const EARLIER: &[u8] = b"the same records, in an earlier version's bytes";

struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    /// Ten records of health, and a batch of the first six that is closed.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let buffer = open(folder.path());
        buffer.append((0..10).map(health).collect()).unwrap();
        buffer.close(Stream::Health, Self::batch()).unwrap();
        Self { folder }
    }

    fn batch() -> Closed {
        Closed { first: 1, last: 6, closed_at: at(9).utc }
    }

    /// The file in the outbox.
    fn file(&self) -> PathBuf {
        self.folder.path().join("buffer.outbox/health/1-6.parquet")
    }

    /// Where it belongs in the registry.
    fn place() -> String {
        batch_path("line-3", Stream::Health, &status::date(Self::batch().closed_at), 1, 6)
    }

    /// Starts once more and sends all; returns what the registry has.
    async fn finish(&self) -> BTreeMap<String, Vec<u8>> {
        let buffer = open(self.folder.path());
        let mut sync = sync(&buffer, registry(self.folder.path()), 100);
        sync.round(true, &EVER()).await.unwrap();
        assert_eq!((buffer.waiting(Stream::Health), sync.status.snapshot().conflicts), (0, 0));
        assert_eq!(files(&self.folder.path().join("buffer.outbox")), BTreeMap::new(), "nothing is left in the outbox");
        let mut found = files(&self.folder.path().join("registry"));
        found.retain(|name, _| name.contains("/health/"));
        assert_eq!(found.len(), 2, "{:?}", found.keys());
        found
    }
}

#[tokio::test]
async fn bounds_alone_are_enough_as_an_earlier_version_left_them() {
    let scene = Scene::new();
    assert!(!scene.file().exists());
    let found = scene.finish().await;
    assert!(found.contains_key(&Scene::place()));
    assert_eq!(sequences(scene.folder.path(), "line-3", Stream::Health), (1..=10).collect::<Vec<i64>>());
}

#[tokio::test]
async fn every_try_sends_the_file_also_after_an_upgrade() {
    let scene = Scene::new();
    open(scene.folder.path()).fill(Stream::Health, EARLIER).unwrap();
    assert_eq!(scene.finish().await[&Scene::place()], EARLIER);
}

#[tokio::test]
async fn a_file_without_its_digest_was_never_sent_and_is_made_anew() {
    let scene = Scene::new();
    fs::create_dir_all(scene.file().parent().unwrap()).unwrap();
    fs::write(scene.file(), EARLIER).unwrap();
    scene.finish().await;
    assert_eq!(sequences(scene.folder.path(), "line-3", Stream::Health), (1..=10).collect::<Vec<i64>>());
}

#[tokio::test]
async fn what_arrived_and_was_not_noted_is_not_sent_again() {
    let scene = Scene::new();
    {
        let buffer = open(scene.folder.path());
        let mut sync = sync(&buffer, registry(scene.folder.path()), 100);
        sync.claim(Duration::ZERO).await.unwrap();
        buffer.fill(Stream::Health, EARLIER).unwrap();
        sync.put(&Scene::place(), EARLIER.to_vec()).await.unwrap();
    }
    assert_eq!(scene.finish().await[&Scene::place()], EARLIER);
}

#[tokio::test]
async fn a_lost_file_is_looked_for_in_the_registry_before_it_is_made_anew() {
    let ways: [fn(&Path); 2] = [|path| fs::remove_file(path).unwrap(), |path| fs::write(path, "rubbish").unwrap()];
    for arrived in [true, false] {
        for lose in ways {
            let scene = Scene::new();
            {
                let buffer = open(scene.folder.path());
                let mut sync = sync(&buffer, registry(scene.folder.path()), 100);
                sync.claim(Duration::ZERO).await.unwrap();
                buffer.fill(Stream::Health, EARLIER).unwrap();
                if arrived {
                    sync.put(&Scene::place(), EARLIER.to_vec()).await.unwrap();
                }
            }
            lose(&scene.file());
            let found = scene.finish().await;
            assert_eq!(found[&Scene::place()] == EARLIER, arrived);
        }
    }
}

#[tokio::test]
async fn damaged_bounds_are_asked_for_in_the_registry() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    buffer.append((0..10).map(health).collect()).unwrap();
    let mut first = sync(&buffer, registry(folder.path()), 6);
    first.claim(Duration::ZERO).await.unwrap();
    let (stream, batch) = first.next(true).await.unwrap().unwrap();
    let content = encode(&buffer, stream, batch, Names::plain()).unwrap().unwrap();
    buffer.fill(stream, &content).unwrap();
    let path = batch_path("line-3", stream, &status::date(batch.closed_at), batch.first, batch.last);
    first.put(&path, content).await.unwrap();
    buffer.spoil_bounds(stream);
    drop((first, buffer));

    let buffer = open(folder.path());
    assert_eq!((buffer.closed(stream), buffer.in_doubt()), (None, true));
    drop(buffer);
    let buffer = open(folder.path());
    assert!(buffer.in_doubt(), "until the registry was asked");
    sync(&buffer, registry(folder.path()), 100).round(true, &EVER()).await.unwrap();
    assert!(!buffer.in_doubt());
    let sent = sequences(folder.path(), "line-3", Stream::Health);
    assert_eq!(sent, (1..=sent.len() as i64).collect::<Vec<i64>>(), "each once");
    assert!(sent.len() > 10, "the find is on record as well");
}

#[tokio::test]
async fn a_batch_that_is_not_the_closed_one_any_more_is_neither_sent_nor_marked() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    buffer.append((0..10).map(health).collect()).unwrap();
    let mut sync = sync(&buffer, registry(folder.path()), 100);
    sync.claim(Duration::ZERO).await.unwrap();
    // As after a repair in which the bounds were lost.
    sync.send(Stream::Health, Scene::batch()).await.unwrap();
    assert_eq!(buffer.waiting(Stream::Health), 10);
    sync.round(true, &EVER()).await.unwrap();
    assert_eq!(sequences(folder.path(), "line-3", Stream::Health), (1..=10).collect::<Vec<i64>>());
}
