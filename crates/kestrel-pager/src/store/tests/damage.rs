//! Damage is found, and named.

use std::sync::Arc;

use kestrel_io::{MemoryStorage, StorageFile};

use super::*;
use crate::store::format::CHUNK_SECTORS;

/// A database of some pages, and its file.
fn database() -> (MemoryStorage, Arc<dyn StorageFile>, Workload) {
    let storage = MemoryStorage::new();
    let mut workload = Workload::new(create(&storage, PAGE_SIZE).unwrap(), 12);
    for _ in 0..3 {
        workload.round(40).unwrap();
    }
    let file = storage.open("kestrel.data").unwrap();
    (storage, file, workload)
}

fn flip(file: &dyn StorageFile, at: u64) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

#[test]
fn a_flipped_byte_of_an_image_or_blob_is_found_and_named() {
    let (_, file, workload) = database();
    for (page, content) in &workload.pages {
        let extent = content.at.extent(content.blob_len());
        let len = content.bytes.len() as u64;
        let payload = [0, len / 2, len.saturating_sub(1)].into_iter().filter(|&at| at < len);
        for at in payload.chain(extent.bytes() - 32..extent.bytes()) {
            flip(&*file, extent.offset() + at);
            match read(&workload.store, *page, content) {
                Err(Error::Corrupted { page: Some(named), offset, .. }) => {
                    assert_eq!((named, offset), (*page, extent.offset()));
                }
                other => panic!("byte {at} of {page}: {other:?}"),
            }
            flip(&*file, extent.offset() + at);
        }
        read(&workload.store, *page, content).unwrap();
    }
}

#[test]
fn an_older_or_misdirected_image_is_found() {
    let storage = MemoryStorage::new();
    let store = create(&storage, PAGE_SIZE).unwrap();
    let file = storage.open("kestrel.data").unwrap();
    let images = [image(1, 1, &[1; 900]), image(1, 2, &[2; 900]), image(2, 2, &[3; 900])];
    let [old, new, other] = store.write_images(&images, Claim::Both).unwrap()[..] else {
        panic!("three images")
    };
    let mut writer = store.begin_checkpoint().unwrap();
    writer.set(PageId(1), Some((new, None)));
    writer.finish(&CheckpointState { next_page: 3, ..CheckpointState::default() }).unwrap();
    let copy = |from: Location, to: Location| {
        let mut bytes = vec![0; 1024];
        file.read_exact_at(&mut bytes, from.offset()).unwrap();
        file.write_all_at(&bytes, to.offset()).unwrap();
    };
    let found = |page: u32, at: Location| match store.read_image(PageId(page), at, &mut vec![]) {
        Err(Error::Corrupted { page: Some(named), detail, .. }) if named.0 == page => detail,
        other => panic!("{other:?}"),
    };
    copy(other, old);
    assert_eq!(found(1, old), "an image of page 2 lies there");
    assert_eq!(
        found(1, Location::new(new.sector() + 100, 0, 0)),
        "a blob lies where a page image is expected"
    );
    let wrong_tag = Location::new(new.sector(), new.sectors(), new.tag() ^ 1);
    assert_eq!(found(1, wrong_tag), "this is an older image");

    // An older image whose tag is the same by chance: the directory's full checksum tells.
    let mut payload = vec![0; 900];
    let stale = (0u32..).find_map(|n| {
        payload[..4].copy_from_slice(&n.to_le_bytes());
        let header = ImageHeader { tree: TreeId(1), timestamp: Timestamp(1), len: 900 };
        let mut footer = format::Footer::new(PageId(1), header, None);
        let bytes = footer.seal(store.seed, &[&payload]);
        (footer.checksum as u16 == new.tag()).then_some(bytes)
    });
    payload.resize(1024 - 32, 0);
    payload.extend_from_slice(&stale.unwrap());
    file.write_all_at(&payload, new.offset()).unwrap();
    assert_eq!(found(1, new), "this is an older image");
}

#[test]
fn a_flipped_byte_of_the_directory_is_found() {
    let (storage, file, workload) = database();
    let (root, chunks) = {
        let directory = workload.store.directory.read();
        (
            directory.root,
            directory.references.iter().flatten().map(format::ChunkReference::extent).collect::<Vec<_>>(),
        )
    };
    assert_eq!(chunks.len(), 3);
    let used = 16 + 3 * 16 + workload.state().user.len() as u64;
    let bytes = (0..used).map(|at| root.offset() + at);
    let chunk_bytes = chunks.iter().flat_map(|chunk| {
        assert_eq!(chunk.sectors, CHUNK_SECTORS);
        (0..4096).step_by(7).map(|at| chunk.offset() + at)
    });
    for at in bytes.chain(chunk_bytes) {
        flip(&*file, at);
        match PageStore::open(&storage) {
            Err(Error::Corrupted { page: None, offset, detail }) => {
                assert!(offset <= at && at < offset + 4096, "{offset} for {at}");
                assert!(detail.contains("checksum"), "{detail}");
            }
            other => panic!("byte {at}: {other:?}"),
        }
        flip(&*file, at);
    }
    check(&PageStore::open(&storage).unwrap().0, &workload.pages);
}

#[test]
fn a_flipped_byte_of_a_superblock_falls_back_to_the_other() {
    let (storage, file, workload) = database();
    // Numbers 0 and 1 are the creation's, so the third checkpoint is number 4.
    for at in 0..512 {
        flip(&*file, at);
        let opened = PageStore::open(&storage);
        match opened {
            Ok((_, state)) => assert_eq!(state.lsn, workload.round - 1, "byte {at}"),
            // The extents that only the older checkpoint needs may be in use again, which is found.
            Err(Error::Corrupted { .. }) => {}
            Err(other) => panic!("byte {at}: {other}"),
        }
        flip(&*file, 4096 + at);
        match PageStore::open(&storage) {
            Err(Error::NoSuperblock { .. }) => assert!(at >= 8, "byte {at}"),
            Err(Error::NotADatabase { .. }) => assert!(at < 8, "byte {at}"),
            other => panic!("byte {at}: {other:?}"),
        }
        flip(&*file, at);
        assert_eq!(PageStore::open(&storage).unwrap().1, workload.state(), "byte {at}");
        flip(&*file, 4096 + at);
    }
}

#[test]
fn a_cut_file_is_refused_or_whole() {
    let (_, file, workload) = database();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let ends = workload.pages.values().map(|c| c.at.extent(c.blob_len()).end());
    let (root, last) = {
        let directory = workload.store.directory.read();
        (directory.root, ends.chain(directory.own_extents().map(Extent::end)).max().unwrap() * 512)
    };
    let interesting = [0, 1, 511, 512, 4095, 4096, 8192, 65536, root.offset(), last - 1, last, last + 1];
    for len in interesting.into_iter().chain((0..last).step_by(5000)) {
        let cut = MemoryStorage::new();
        cut.create("kestrel.data").unwrap().write_all_at(&bytes[..len as usize], 0).unwrap();
        match PageStore::open(&cut) {
            Ok((store, state)) => {
                assert!(len >= last, "{len} of {last}");
                check(&store, &workload.pages);
                // The file is made whole again by what is written next.
                let mut workload = Workload::resume(store, &state, workload.pages.clone(), 1);
                workload.round(300).unwrap();
                workload.check();
                check(&PageStore::open(&cut).unwrap().0, &workload.pages);
            }
            Err(Error::NoSuperblock { .. } | Error::Corrupted { .. }) => {
                assert!(len < last, "{len} of {last}");
            }
            Err(other) => panic!("{len}: {other}"),
        }
    }
}

#[test]
fn a_longer_file_is_fine() {
    let (storage, file, workload) = database();
    file.set_len(1 << 40).unwrap();
    let (store, _) = PageStore::open(&storage).unwrap();
    check(&store, &workload.pages);
}

#[test]
fn another_databases_pages_are_refused() {
    let (_, file, workload) = database();
    let state = CheckpointState::default();
    let storage = MemoryStorage::new();
    let other = PageStore::create(&storage, StoreOptions { page_size: PAGE_SIZE }, 99, &state).unwrap();
    let (page, content) = workload.pages.iter().find(|(_, content)| content.blob.is_none()).unwrap();
    let mut bytes = vec![0; content.at.extent(None).bytes() as usize];
    file.read_exact_at(&mut bytes, content.at.offset()).unwrap();
    storage.open("kestrel.data").unwrap().write_all_at(&bytes, content.at.offset()).unwrap();
    let read = other.read_image(*page, content.at, &mut vec![]);
    assert!(matches!(read, Err(Error::Corrupted { .. })), "{read:?}");
}

#[test]
fn what_is_not_a_database_is_called_so() {
    let open = |bytes: &[u8]| {
        let storage = MemoryStorage::new();
        storage.create("kestrel.data").unwrap().write_all_at(bytes, 0).unwrap();
        PageStore::open(&storage).map(|_| ())
    };
    assert!(
        matches!(open(b"PNG or whatever").map(drop), Err(Error::NoSuperblock { .. })),
        "too short to tell"
    );
    assert!(matches!(open(&[b'a'; 100_000]), Err(Error::NotADatabase { .. })));
    assert!(matches!(open(&[0; 100_000]), Err(Error::NoSuperblock { .. })));
    assert!(matches!(open(b""), Err(Error::NoSuperblock { .. })));
    assert!(matches!(PageStore::open(&MemoryStorage::new()), Err(Error::Io { .. })));
}

#[test]
fn a_directory_that_lies_is_refused() {
    // Two pages at one place: the checksums are right, what they say is not.
    let storage = MemoryStorage::new();
    let store = create(&storage, PAGE_SIZE).unwrap();
    let at = store.write_images(&[image(1, 1, b"x")], Claim::Both).unwrap()[0];
    let checksum = store.fresh.lock().set(at).unwrap();
    let entry = DirectoryEntry { location: at, blob_len: None, checksum };
    let write = |pages: &[(usize, DirectoryEntry)], next_page: u32| {
        let mut chunk = directory::Chunk::new();
        for (index, entry) in pages {
            chunk.set(*index, Some(*entry));
        }
        let state = CheckpointState { next_page, ..CheckpointState::default() };
        let number = 2;
        let written =
            store.write_directory([(0, &chunk)].into_iter(), vec![], (number, &state), &mut vec![]).unwrap();
        store.write_superblock(&written.superblock).unwrap();
        PageStore::open(&storage).map(|_| ())
    };
    assert!(write(&[(1, entry)], 2).is_ok());
    let refused = |result: Result<(), Error>, named: u32, what: &str| match result {
        Err(Error::Corrupted { page: Some(page), detail, .. })
            if page.0 == named && detail.contains(what) => {}
        other => panic!("{other:?}"),
    };
    refused(write(&[(1, entry), (2, entry)], 3), 2, "something else");
    refused(write(&[(1, entry), (7, entry)], 7), 7, "never given out");
    let far = Location::new(Location::SECTORS - 1, at.sectors(), at.tag());
    refused(write(&[(3, DirectoryEntry { location: far, ..entry })], 4), 3, "the file ends before");
    let contradiction = DirectoryEntry { checksum: checksum ^ 1, ..entry };
    refused(write(&[(3, contradiction)], 4), 3, "makes no sense");
}
