//! Writers, readers and a checkpoint at once.

use std::sync::atomic::AtomicBool;
use std::thread;

use kestrel_io::MemoryStorage;

use super::*;

const WRITERS: u32 = 3;
const PAGES: u32 = 200;

#[test]
fn writers_readers_and_checkpoints_do_not_disturb_each_other() {
    let storage = MemoryStorage::new();
    let store = create(&storage, PAGE_SIZE).unwrap();
    // Each writer owns some pages; the checkpoint takes what the locked table says.
    let tables: Vec<Mutex<Pages>> = (0..WRITERS).map(|_| Mutex::default()).collect();
    let stop = AtomicBool::new(false);
    let mut final_state = CheckpointState { next_page: WRITERS * PAGES, ..CheckpointState::default() };
    thread::scope(|scope| {
        for (writer, table) in (0..).zip(&tables) {
            let (store, stop) = (&store, &stop);
            scope.spawn(move || write_and_read(store, writer, table, stop));
        }
        for lsn in 1..150 {
            let mut writer = store.begin_checkpoint().unwrap();
            for table in &tables {
                // The lock stands for what keeps an image's live claim from ending while it is set.
                for (page, content) in table.lock().iter() {
                    writer.set(*page, Some((content.at, content.blob_len())));
                }
            }
            final_state.lsn = lsn;
            writer.finish(&final_state).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    let pages: Pages = tables.iter().flat_map(|table| table.lock().clone()).collect();
    let mut writer = store.begin_checkpoint().unwrap();
    for (page, content) in &pages {
        writer.set(*page, Some((content.at, content.blob_len())));
    }
    writer.finish(&final_state).unwrap();
    check(&store, &pages);
    let owned = pages.values().map(|content| (content.at, content.blob_len()));
    assert_eq!(store.verify_live_claims(owned), Vec::<String>::new());
    check(&PageStore::open(&storage).unwrap().0, &pages);
}

fn write_and_read(store: &PageStore, writer: u32, table: &Mutex<Pages>, stop: &AtomicBool) {
    let mut random = Random(writer.into());
    let mut timestamp = 0;
    while !stop.load(Ordering::Relaxed) {
        timestamp += 1;
        let page = writer * PAGES + random.below(PAGES.into()) as u32;
        let (len, byte) = (random.below(4000) as usize, random.below(256) as u8);
        let bytes = vec![byte; len];
        let (at, blob) = if random.below(10) == 0 {
            let (at, checksum) =
                store.write_blob(PageId(page), TreeId(page % 7), Timestamp(timestamp), &bytes).unwrap();
            (at, Some((len as u32, checksum)))
        } else {
            (store.write_images(&[image(page, timestamp, &bytes)], Claim::Live).unwrap()[0], None)
        };
        let content = Content { at, blob, timestamp: Timestamp(timestamp), bytes };
        let old = table.lock().insert(PageId(page), content);
        if let Some(old) = old {
            read(store, PageId(page), &old).unwrap();
            store.release_live(old.at, old.blob_len());
        }
        let (other, content) = {
            let table = table.lock();
            let (page, content) = table.iter().nth(random.below(table.len() as u64) as usize).unwrap();
            (*page, content.clone())
        };
        read(store, other, &content).unwrap();
    }
}
