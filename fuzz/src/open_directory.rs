//! Hostile data files given to the page store.
//!
//! A data file as the crate writes it, with several checkpoints, is changed as the input says; then, if the input says
//! so, all checksums are made right again. Opening and reading must end, with errors or without. What can be read while no
//! checksum was forged is what one of the checkpoints held. A file that opens takes a further checkpoint, and
//! opens again with it.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use kestrel_io::MemoryStorage;
use kestrel_pager::{
    CheckpointState, Claim, DirectoryEntry, ImageWrite, PageId, PageStore, StoreOptions, Timestamp, TreeId,
};

use crate::allowance::Allowance;
use crate::files::{Files, Noticed};
use crate::input::Input;
use crate::repair;

const DATABASE: u128 = 0x004b_6573_7472_656c;
/// More than a directory chunk has entries.
const PAGES: u32 = 600;

/// The pages of a checkpoint.
type Pages = BTreeMap<PageId, Vec<u8>>;

/// A file, and its checkpoints by their log positions.
struct Template {
    files: Files,
    checkpoints: BTreeMap<u64, Pages>,
}

/// Runs one input.
pub fn run(data: &[u8]) {
    static TEMPLATES: OnceLock<Vec<Template>> = OnceLock::new();
    let templates =
        TEMPLATES.get_or_init(|| vec![template(4096, 1, 3), template(4096, 6, 40), template(65536, 3, 5)]);
    let mut input = Input::new(data);
    let template = &templates[input.below(templates.len())];
    let mut files = template.files.clone();
    let mut noticed = files.vandalise(&mut input);
    if input.one_in(2) {
        noticed = Noticed::Perhaps;
        for (_, bytes) in files.iter_mut() {
            repair::data_file(bytes, DATABASE);
        }
    }
    let storage = files.storage();
    let _allowance = Allowance::new(files.bytes(), 0);
    let Ok((store, state)) = PageStore::open(&storage) else { return };
    let truth = template.checkpoints.get(&state.lsn).filter(|_| noticed == Noticed::Surely);
    if noticed == Noticed::Surely {
        let truth = truth.expect("no checkpoint from nowhere");
        let mut pages = Vec::new();
        store.for_each_durable(|page, _| pages.push(page));
        assert!(pages.iter().eq(truth.keys()), "the directory changed");
        assert_eq!(state.user, user(state.lsn));
    }
    assert_eq!(store.verify_claims(), [""; 0]);
    let readable = read_all(&store, truth);
    go_on(&storage, store, &state, &readable, &mut input);
}

/// Reads whatever can be read.
fn read_all(store: &PageStore, truth: Option<&Pages>) -> Pages {
    let mut entries: Vec<(PageId, DirectoryEntry)> = Vec::new();
    store.for_each_durable(|page, entry| entries.push((page, entry)));
    let mut readable = Pages::new();
    for (page, entry) in entries {
        let bytes = match entry.blob_len {
            Some(len) => store.read_blob(page, entry.location, len, entry.checksum),
            None => {
                let mut bytes = Vec::new();
                store.read_image(page, entry.location, &mut bytes).map(|_| bytes)
            }
        };
        let Ok(bytes) = bytes else { continue };
        if let Some(truth) = truth {
            assert_eq!(truth.get(&page), Some(&bytes), "{page} changed");
        }
        readable.insert(page, bytes);
    }
    readable
}

/// One more checkpoint, which must hold and must not disturb what was readable.
fn go_on(
    storage: &MemoryStorage,
    store: PageStore,
    state: &CheckpointState,
    readable: &Pages,
    input: &mut Input<'_>,
) {
    let mut expected = readable.clone();
    let next_page = state.next_page.max(1);
    let mut writer = store.begin_checkpoint().expect("nothing failed yet");
    for _ in 0..input.below(8) {
        let page = PageId(input.word() % next_page);
        let payload = vec![input.byte(); usize::from(input.short()) % (store.image_capacity() as usize + 1)];
        let write = ImageWrite { page, tree: TreeId(1), timestamp: Timestamp(9), parts: [&payload, &[]] };
        // A hostile file may leave no room.
        let Ok(locations) = store.write_images(&[write], Claim::Durable) else { return };
        writer.set(page, Some((locations[0], None)));
        expected.insert(page, payload);
    }
    let lsn = state.lsn.wrapping_add(1);
    let finished =
        writer.finish(&CheckpointState { lsn, next_page, user: state.user.clone(), timestamp: Timestamp(9) });
    if finished.is_err() {
        return;
    }
    assert_eq!(store.verify_claims(), [""; 0]);
    drop(store);
    let (store, state) = PageStore::open(storage).expect("a file that was written to opens again");
    assert_eq!(state.lsn, lsn);
    assert!(read_all(&store, None) == expected, "the new checkpoint holds something else");
}

fn user(lsn: u64) -> Vec<u8> {
    vec![lsn as u8; lsn as usize * 100]
}

fn template(page_size: u32, checkpoints: u64, changes: u32) -> Template {
    let storage = MemoryStorage::new();
    let mut state = CheckpointState { next_page: PAGES, ..CheckpointState::default() };
    let store = PageStore::create(&storage, StoreOptions { page_size }, DATABASE, &state).unwrap();
    let mut pages = Pages::new();
    let mut live = BTreeMap::new();
    let mut known = BTreeMap::from([(0, Pages::new())]);
    for number in 1..=checkpoints {
        let mut writer = store.begin_checkpoint().unwrap();
        for change in 0..changes {
            let page = PageId((number as u32 * 7919 + change * change * 31) % PAGES);
            let timestamp = Timestamp(number * 10);
            let payload = vec![
                change as u8;
                (change as usize * 977 + number as usize * 131) % (page_size as usize - 64)
            ];
            let at = match change % 5 {
                4 => None,
                3 => {
                    let (at, _) = store.write_blob(page, TreeId(2), timestamp, &payload).unwrap();
                    Some((at, Some(payload.len() as u32)))
                }
                _ => {
                    let write = ImageWrite { page, tree: TreeId(1), timestamp, parts: [&payload, &[]] };
                    Some((store.write_images(&[write], Claim::Both).unwrap()[0], None))
                }
            };
            writer.set(page, at);
            let old = match at {
                Some(at) => {
                    pages.insert(page, payload);
                    live.insert(page, at)
                }
                None => {
                    pages.remove(&page);
                    live.remove(&page)
                }
            };
            if let Some((location, blob_len)) = old {
                store.release_live(location, blob_len);
            }
        }
        state = CheckpointState {
            lsn: number,
            timestamp: Timestamp(number * 10),
            next_page: PAGES,
            user: user(number),
        };
        writer.finish(&state).unwrap();
        known.insert(number, pages.clone());
    }
    let mut files = Files::of(&storage);
    // The rest was never written. Without it there is less to copy for each input.
    files.trim("kestrel.data");
    Template { files, checkpoints: known }
}
