//! Databases that cannot be opened.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use kestreldb::storage::MemoryStorage;
use kestreldb::{Database, ErrorKind};

use crate::fails;
use crate::forbidden::ReadOnlyDirectory;

const DATA_FILE: &str = "kestrel.data";
const SLOT: usize = 4_096;
/// Where a superblock's checksum of the bytes before it lies.
const CHECKSUM_AT: usize = 508;
const VERSION_AT: usize = 8;

/// A database with one entry; its directory.
fn created() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let db = Database::open(directory.path()).unwrap();
    db.tree("t").unwrap().put("k", "v").unwrap();
    db.close().unwrap();
    directory
}

/// Changes the bytes of the data file.
fn tamper(directory: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let path = directory.join(DATA_FILE);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_log_without_its_data_file_is_damage_however_it_is_opened() {
    let directory = created();
    fs::remove_file(directory.path().join(DATA_FILE)).unwrap();
    for create in [true, false] {
        let opened = Database::builder().create(create).open(directory.path());
        fails(opened, ErrorKind::Corrupted, &["kestrel.data"]);
    }
}

/// The CRC-32 of IEEE 802.3, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

#[test]
fn a_second_opening_is_told_who_has_it_open() {
    let directory = created();
    let db = Database::open(directory.path()).unwrap();
    let holder = format!("process {} (", std::process::id());
    fails(Database::open(directory.path()), ErrorKind::Locked, &[&holder]);
    db.close().unwrap();
    Database::open(directory.path()).unwrap();
}

#[test]
fn what_does_not_exist_is_not_created_against_the_will() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("typo");
    fails(Database::builder().create(false).open(&path), ErrorKind::NotFound, &["typo"]);
    assert!(!path.exists());
    fails(Database::builder().create(false).open(directory.path()), ErrorKind::NotFound, &[]);
    assert!(!directory.path().join(DATA_FILE).exists());
}

#[test]
fn a_directory_of_other_things_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("thesis.tex"), "\\section{Falcons}").unwrap();
    fails(Database::open(directory.path()), ErrorKind::NotADatabase, &["thesis.tex", "give a directory"]);
    let mut left: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["kestrel.lock", "thesis.tex"]);

    let file = directory.path().join("thesis.tex");
    fails(Database::open(&file), ErrorKind::NotADatabase, &["thesis.tex", "not a directory"]);
    fails(Database::builder().create(false).open(&file), ErrorKind::NotADatabase, &["thesis.tex"]);
}

#[test]
fn what_a_crash_left_of_a_creation_does_not_keep_a_directory_from_being_used() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("kestrel.data.new"), "half made").unwrap();
    let db = Database::open(directory.path()).unwrap();
    db.tree("t").unwrap().put("k", "v").unwrap();
    db.close().unwrap();
    assert_eq!(Database::open(directory.path()).unwrap().trees().unwrap().len(), 1);
}

#[test]
fn a_data_file_of_something_else_is_recognised() {
    let directory = created();
    tamper(directory.path(), |bytes| bytes[..2 * SLOT].fill(b'x'));
    fails(Database::open(directory.path()), ErrorKind::NotADatabase, &[]);
}

#[test]
fn a_newer_format_is_refused_even_if_only_one_slot_has_it() {
    for slots in [0..1, 1..2, 0..2] {
        let directory = created();
        tamper(directory.path(), |bytes| {
            for slot in slots {
                let slot = &mut bytes[slot * SLOT..];
                slot[VERSION_AT..VERSION_AT + 4].copy_from_slice(&77_u32.to_le_bytes());
                let checksum = crc32(&slot[..CHECKSUM_AT]).to_le_bytes();
                slot[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&checksum);
            }
        });
        fails(Database::open(directory.path()), ErrorKind::NewerFormat, &[]);
    }
}

#[test]
fn a_cut_or_damaged_superblock_is_damage() {
    for len in [0, 1, 100, CHECKSUM_AT] {
        let directory = created();
        tamper(directory.path(), |bytes| bytes.truncate(len));
        fails(Database::open(directory.path()), ErrorKind::Corrupted, &[]);
    }
    for at in [VERSION_AT, 20, 100, CHECKSUM_AT, CHECKSUM_AT + 3] {
        let directory = created();
        tamper(directory.path(), |bytes| {
            bytes[at] ^= 0x10;
            bytes[SLOT + at] ^= 0x10;
        });
        fails(Database::open(directory.path()), ErrorKind::Corrupted, &[]);
    }
}

#[test]
fn arguments_that_make_no_sense_are_named() {
    for size in [0, 1_000, 2_048, 5_000, 131_072] {
        let result = Database::builder().page_size(size).in_memory();
        fails(result, ErrorKind::InvalidArgument, &[&size.to_string(), "page size"]);
    }
}

#[test]
fn an_existing_database_keeps_its_page_size() {
    let storage = Arc::new(MemoryStorage::new());
    let open = |size| Database::builder().page_size(size).open_with_storage(storage.clone()).unwrap();
    open(16_384).close().unwrap();
    assert_eq!(open(4_096).page_size(), 16_384);
}

#[test]
fn a_directory_without_permissions_is_an_error_of_the_storage() {
    let storage = ReadOnlyDirectory(MemoryStorage::new());
    fails(Database::open_with_storage(Arc::new(storage)), ErrorKind::Io, &[]);

    let files = MemoryStorage::new();
    let db = Database::open_with_storage(Arc::new(files.clone())).unwrap();
    db.close().unwrap();
    fails(Database::open_with_storage(Arc::new(ReadOnlyDirectory(files))), ErrorKind::Io, &[]);
}

#[cfg(unix)]
#[test]
fn a_real_directory_without_permissions_too() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("forbidden");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(path.join("test"), "").is_err() {
        fails(Database::open(&path), ErrorKind::Io, &[]);
    } else {
        // Root may write anywhere; the storage above stands in for it.
        fs::remove_file(path.join("test")).unwrap();
        Database::open(&path).unwrap().close().unwrap();
    }
}
