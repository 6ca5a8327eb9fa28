//! What is written is read, and what is dropped leaves nothing.

use kestrel_io::MemoryStorage;

use super::*;

#[test]
fn images_of_all_sizes_come_back() {
    for page_size in [4096, 8192, 16384, 32768, 65536] {
        let storage = MemoryStorage::new();
        let store = create(&storage, page_size).unwrap();
        let capacity = store.image_capacity();
        assert_eq!(capacity, page_size - 64);
        let mut random = Random(page_size.into());
        let lens = [0, 1, 31, 479, 480, 481, 512, 992, 993, capacity - 1, capacity];
        let contents: Vec<_> = lens.iter().map(|&len| random.bytes(len.into())).collect();
        let images: Vec<_> = (0u32..).zip(&contents).map(|(page, bytes)| image(page, 5, bytes)).collect();
        let locations = store.write_images(&images, Claim::Live).unwrap();
        let mut out = vec![];
        for ((page, bytes), at) in (0u32..).zip(&contents).zip(&locations) {
            let header = store.read_image(PageId(page), *at, &mut out).unwrap();
            assert_eq!((header.len as usize, header.timestamp), (bytes.len(), Timestamp(5)));
            assert_eq!(&out, bytes);
            assert_eq!(usize::from(at.sectors()), (bytes.len() + 32).div_ceil(512));
        }
        for pair in locations.windows(2) {
            assert_eq!(pair[0].extent(None).end(), pair[1].sector(), "back to back");
        }
        assert_eq!(store.verify_live_claims(locations.iter().map(|at| (*at, None))), Vec::<String>::new());
    }
}

#[test]
fn blobs_up_to_8_mib_come_back() {
    let storage = MemoryStorage::new();
    let store = create(&storage, PAGE_SIZE).unwrap();
    let mut random = Random(1);
    let mut blobs = vec![];
    for len in [0, 1, 480, 481, 65_536, 65_537, 1 << 20, (1 << 20) - 32, 3_000_000, 8 << 20] {
        let bytes = random.bytes(len);
        let (at, checksum) = store.write_blob(PageId(7), TreeId(1), Timestamp(2), &bytes).unwrap();
        assert_eq!(checksum, crc32fast::hash(&bytes));
        blobs.push((at, checksum, bytes));
    }
    for (at, checksum, bytes) in &blobs {
        let len = bytes.len() as u32;
        assert_eq!(&store.read_blob(PageId(7), *at, len, *checksum).unwrap(), bytes);
        // Recovery knows it under another page id.
        assert_eq!(&store.read_blob(PageId(8), *at, len, *checksum).unwrap(), bytes);
        for wrong in [
            store.read_blob(PageId(7), *at, len + 1, *checksum),
            store.read_blob(PageId(7), *at, u32::MAX, *checksum),
            store.read_blob(PageId(7), *at, len, checksum ^ 0x10000),
            store.read_blob(PageId(7), *at, len, checksum ^ 1),
        ] {
            assert!(matches!(wrong, Err(Error::Corrupted { page: Some(_), .. })), "{wrong:?}");
        }
    }
}

#[test]
fn checkpoints_come_back() {
    for page_size in [4096, 65536] {
        let storage = MemoryStorage::new();
        assert!(!PageStore::exists(&storage).unwrap());
        let mut workload = Workload::new(create(&storage, page_size).unwrap(), 3);
        assert!(PageStore::exists(&storage).unwrap());
        for round in 0..30 {
            workload.round(40).unwrap();
            workload.check();
            let (store, state) = PageStore::open(&storage).unwrap();
            assert_eq!(state, workload.state());
            assert_eq!((store.page_size(), store.database()), (page_size, DATABASE));
            check(&store, &workload.pages);
            if round % 3 == 0 {
                let pages = std::mem::take(&mut workload.pages);
                workload = Workload::resume(store, &state, pages, round);
                workload.check();
            }
        }
    }
}

#[test]
fn a_new_database_is_empty() {
    let storage = MemoryStorage::new();
    drop(create(&storage, PAGE_SIZE).unwrap());
    let (store, state) = PageStore::open(&storage).unwrap();
    assert_eq!(state, CheckpointState { user: b"first".to_vec(), ..CheckpointState::default() });
    check(&store, &Pages::new());
    assert_eq!(store.durable_entry(PageId(0)), None);
    assert!(create(&storage, PAGE_SIZE).is_err(), "it exists");
    for page_size in [0, 512, 2048, 5000, 1 << 17] {
        assert!(create(&MemoryStorage::new(), page_size).is_err(), "{page_size}");
    }
}

#[test]
fn an_unfinished_creation_is_cleared_away() {
    let storage = MemoryStorage::new();
    storage.create("kestrel.data.new").unwrap().write_all_at(b"rubbish", 0).unwrap();
    assert!(!PageStore::exists(&storage).unwrap());
    create(&storage, PAGE_SIZE).unwrap();
    assert_eq!(storage.list().unwrap(), ["kestrel.data"]);
}

#[test]
fn a_dropped_checkpoint_leaves_nothing() {
    let storage = MemoryStorage::new();
    let mut workload = Workload::new(create(&storage, PAGE_SIZE).unwrap(), 4);
    workload.round(100).unwrap();
    let store = &workload.store;
    let free = store.free_bytes();
    let before: Vec<_> = (0..600).map(|page| store.durable_entry(PageId(page))).collect();

    let bytes = vec![1; 2000];
    let live = store.write_images(&[image(1, 99, &bytes), image(2, 99, &bytes)], Claim::Live).unwrap();
    let mut writer = store.begin_checkpoint().unwrap();
    writer.set(PageId(1), Some((live[0], None)));
    writer.set(PageId(1), Some((live[1], None)));
    let durable = store.write_images(&[image(3, 99, &bytes), image(4, 99, &bytes)], Claim::Durable).unwrap();
    writer.set(PageId(3), Some((durable[0], None)));
    let both = store.write_images(&[image(5, 99, &bytes)], Claim::Both).unwrap();
    for page in 100..200 {
        writer.set(PageId(page), None);
    }
    // A page back where it was.
    let (page, content) = workload.pages.iter().find(|(page, _)| page.0 >= 200).unwrap();
    writer.set(*page, None);
    writer.set(*page, Some((content.at, content.blob_len())));
    assert_eq!(store.durable_entry(PageId(1)), before[1], "nothing is durable yet");
    drop(writer);

    for at in live.into_iter().chain(both) {
        store.release_live(at, None);
    }
    assert_eq!(store.free_bytes(), free);
    let after: Vec<_> = (0..600).map(|page| store.durable_entry(PageId(page))).collect();
    assert_eq!(after, before);
    workload.check();
    workload.round(100).unwrap();
    workload.check();
}

#[test]
fn checksums_are_read_back_when_they_are_not_remembered() {
    let storage = MemoryStorage::new();
    let store = create(&storage, PAGE_SIZE).unwrap();
    let bytes = vec![3; 1000];
    let at = store.write_images(&[image(1, 5, &bytes)], Claim::Live).unwrap()[0];
    let (blob_at, checksum) = store.write_blob(PageId(2), TreeId(2), Timestamp(5), &bytes).unwrap();
    *store.fresh.lock() = Fresh::default();
    let state = CheckpointState { next_page: 3, ..CheckpointState::default() };
    let mut writer = store.begin_checkpoint().unwrap();
    writer.set(PageId(1), Some((at, None)));
    writer.set(PageId(2), Some((blob_at, Some(1000))));
    writer.finish(&state).unwrap();
    let (store, _) = PageStore::open(&storage).unwrap();
    store.read_image(PageId(1), at, &mut vec![]).unwrap();
    assert_eq!(store.durable_entry(PageId(2)).unwrap().checksum, checksum);

    // A checkpoint does not vouch for what it cannot read.
    let mut writer = store.begin_checkpoint().unwrap();
    writer.set(PageId(0), Some((at, None)));
    let Err(Error::Corrupted { page: Some(PageId(0)), .. }) = writer.finish(&state) else {
        panic!("accepted")
    };
    assert_eq!(store.durable_entry(PageId(0)), None);
}

#[test]
#[should_panic(expected = "page 5 is not below 5")]
fn pages_never_given_out_are_refused() {
    let store = create(&MemoryStorage::new(), PAGE_SIZE).unwrap();
    let at = store.write_images(&[image(5, 5, b"x")], Claim::Live).unwrap()[0];
    let mut writer = store.begin_checkpoint().unwrap();
    writer.set(PageId(5), Some((at, None)));
    let _ = writer.finish(&CheckpointState { next_page: 5, ..CheckpointState::default() });
}

#[test]
fn page_ids_reach_the_last() {
    let storage = MemoryStorage::new();
    let store = create(&storage, PAGE_SIZE).unwrap();
    let page = PageId(u32::MAX - 1);
    let at = store.write_images(&[image(page.0, 5, b"far")], Claim::Both).unwrap()[0];
    let mut writer = store.begin_checkpoint().unwrap();
    writer.set(page, Some((at, None)));
    writer.finish(&CheckpointState { next_page: u32::MAX, ..CheckpointState::default() }).unwrap();
    let (store, state) = PageStore::open(&storage).unwrap();
    assert_eq!(state.next_page, u32::MAX);
    let mut out = vec![];
    store.read_image(page, at, &mut out).unwrap();
    assert_eq!(out, b"far");
}
