//! Damaged databases are saved as far as they are intact: what is intact is there with its right value, what is missing lies in a
//! range that was reported, and nothing is made up. Verification tells the same of databases that cannot be opened.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use kestrel_io::{MemoryStorage, Storage};
use kestrel_txn::{
    Damage, Durability, Engine, EngineOptions, Isolation, SalvageOptions, SalvageReport, TreeId, diagnose,
    salvage,
};

type Files = BTreeMap<String, Vec<u8>>;
/// By tree's name and key.
type Model = BTreeMap<(String, Vec<u8>), Vec<u8>>;

/// Steele, Lea and Flood's SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

fn options() -> EngineOptions {
    EngineOptions { memory_budget: 1 << 20, log_segment_size: 256 << 10, ..EngineOptions::default() }
}

fn files(storage: &MemoryStorage) -> Files {
    let read = |name: &String| {
        let file = storage.open(name).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    };
    storage.list().unwrap().into_iter().map(|name| (name.clone(), read(&name))).collect()
}

fn storage(files: &Files) -> MemoryStorage {
    let storage = MemoryStorage::new();
    for (name, bytes) in files {
        storage.create(name).unwrap().write_all_at(bytes, 0).unwrap();
    }
    storage
}

/// A database whose process was killed; what it holds, and all values that each key ever had.
struct Made {
    files: Files,
    model: Model,
    ever: BTreeSet<(String, Vec<u8>, Vec<u8>)>,
    ids: BTreeMap<String, TreeId>,
}

const LAST: &[u8] = b"the last commit";
const NAMES: [&str; 3] = ["apples", "pears", "plums"];

fn make(seed: u64) -> Made {
    let mut random = Random(seed);
    let storage = MemoryStorage::new();
    let engine = Engine::open(Arc::new(storage.clone()), &options()).unwrap();
    let mut made =
        Made { files: Files::new(), model: Model::new(), ever: BTreeSet::new(), ids: BTreeMap::new() };
    let commits = 20 + random.below(60);
    for commit in 0..commits {
        let txn = engine.begin_write(Isolation::Snapshot).unwrap();
        for _ in 0..1 + random.below(30) {
            let name = NAMES[random.below(3) as usize].to_owned();
            let tree = *made.ids.entry(name.clone()).or_insert_with(|| txn.create_tree(&name).unwrap());
            let key = format!("{:04}", random.below(1500)).into_bytes();
            match random.below(20) {
                0 => {
                    let high = format!("{:04}", random.below(1500)).into_bytes();
                    let bounds = (Bound::Included(&key[..]), Bound::Excluded(&high[..]));
                    if key < high && random.below(4) == 0 {
                        txn.remove_range(tree, bounds.0, bounds.1).unwrap();
                        made.model.retain(|(n, k), _| *n != name || *k < key || *k >= high);
                    }
                }
                1..4 => {
                    txn.delete(tree, &key).unwrap();
                    made.model.remove(&(name, key));
                }
                kind => {
                    let len = match kind {
                        4 => 70_000 + random.below(3000),
                        5 => 2000 + random.below(2000),
                        _ => random.below(300),
                    };
                    let value = vec![random.below(256) as u8; len as usize];
                    txn.put(tree, &key, &value).unwrap();
                    made.ever.insert((name.clone(), key.clone(), value.clone()));
                    made.model.insert((name, key), value);
                }
            }
        }
        txn.commit(Durability::Immediate).unwrap();
        if random.below(12) == 0 || commit == commits / 2 {
            engine.checkpoint().unwrap();
        }
        engine.maintain().unwrap();
    }
    // Nothing proves that the last record was durable: this one is not looked for.
    let txn = engine.begin_write(Isolation::Snapshot).unwrap();
    txn.put(*made.ids.values().next().unwrap(), LAST, b"").unwrap();
    txn.commit(Durability::Immediate).unwrap();
    made.files = files(&storage);
    made.files.remove("kestrel.lock");
    drop(engine);
    made
}

/// Flips, zeroes or cuts something. Returns what, for messages.
fn harm(files: &mut Files, random: &mut Random) -> String {
    let names: Vec<String> =
        files.keys().filter(|name| !name.starts_with("kestrel.spare")).cloned().collect();
    // The data file more often than not.
    let name = match random.below(3) {
        0 => names[random.below(names.len() as u64) as usize].clone(),
        _ => "kestrel.data".to_owned(),
    };
    let bytes = files.get_mut(&name).unwrap();
    if bytes.is_empty() {
        return "nothing".to_owned();
    }
    // Mostly where something lies.
    let used = bytes.iter().rposition(|&byte| byte != 0).unwrap_or(0) as u64 + 1;
    let at = random.below(used) as usize;
    match random.below(6) {
        0 if random.below(4) == 0 => {
            bytes.truncate(at);
            format!("{name} is cut at {at}")
        }
        1 | 2 => {
            let start = at / 512 * 512;
            let end = (start + 512 * (1 + random.below(8) as usize)).min(bytes.len());
            bytes[start..end].fill(0);
            format!("{name} is zero from {start} to {end}")
        }
        3 => {
            // A superblock, or the first page.
            let at = [0, 40, 4096, 4160][random.below(4) as usize];
            bytes[at] ^= 1;
            format!("{name} is flipped at {at}")
        }
        _ => {
            bytes[at] ^= 1 << random.below(8);
            format!("{name} is flipped at {at}")
        }
    }
}

fn saved(engine: &Engine) -> Model {
    let read = engine.begin_read().unwrap();
    let mut all = Model::new();
    for tree in read.trees().unwrap() {
        for entry in read.range(tree.id, Bound::Unbounded, Bound::Unbounded).unwrap() {
            let (key, value) = entry.unwrap();
            if &*key == LAST {
                continue;
            }
            all.insert((tree.name.clone(), key.to_vec()), value.to_vec());
        }
    }
    all
}

fn names_it(damages: &[Damage], names: &[&str], key: &[u8]) -> bool {
    damages.iter().any(|damage| {
        let tree = damage.tree.as_deref().is_none_or(|tree| names.contains(&tree));
        tree && damage.keys.as_ref().is_none_or(|keys| keys.contains(key))
    })
}

fn check(made: &Made, saved: &Model, report: &SalvageReport, what: &str) {
    let numbered: BTreeMap<String, String> =
        made.ids.iter().map(|(name, id)| (format!("tree-{}", id.0), name.clone())).collect();
    let real = |name: &String| numbered.get(name).unwrap_or(name).clone();
    let saved: Model =
        saved.iter().map(|((name, key), value)| ((real(name), key.clone()), value.clone())).collect();
    let places: BTreeSet<&(String, Vec<u8>)> = saved.keys().chain(made.model.keys()).collect();
    for place in places {
        let (name, key) = place;
        let (found, expected) = (saved.get(place), made.model.get(place));
        if found == expected {
            continue;
        }
        let number = format!("tree-{}", made.ids[name].0);
        let names = [name.as_str(), number.as_str()];
        let said = names_it(&report.lost, &names, key) || names_it(&report.doubtful, &names, key);
        let key = String::from_utf8_lossy(key);
        let lens = (found.map(Vec::len), expected.map(Vec::len));
        assert!(said, "{what}: {name} {key} is wrong {lens:?} and not reported: {report:#?}");
        if let Some(value) = found {
            let ever = made.ever.contains(&(name.clone(), place.1.clone(), value.clone()));
            assert!(ever, "{what}: {name} {key} has a value that it never had");
        }
    }
}

fn save(files: &Files, options_: SalvageOptions) -> (Model, SalvageReport) {
    let source: Arc<dyn Storage> = Arc::new(storage(files));
    let target = Engine::open(Arc::new(MemoryStorage::new()), &options()).unwrap();
    let report = salvage(&source, &target, options_, &mut |_, _| {}).unwrap();
    assert_eq!(target.verify(&mut |_, _| {}).unwrap().damages, []);
    let entries: u64 = report.trees.iter().map(|tree| tree.entries).sum();
    let all = saved(&target);
    assert!([0, 1].contains(&(entries - all.len() as u64)));
    (all, report)
}

#[test]
fn what_is_intact_is_saved_as_it_is() {
    let mut commits = 0;
    for seed in 0..6 {
        let made = make(seed);
        let (all, report) = save(&made.files, SalvageOptions::default());
        assert!(all == made.model, "seed {seed}: {report:#?}");
        assert_eq!(
            (&report.damages, &report.lost, &report.doubtful),
            (&vec![], &vec![], &vec![]),
            "seed {seed}"
        );
        commits += report.commits;
        assert_eq!(report.commits_left_out, 0);
    }
    assert!(commits > 0);
}

#[test]
fn random_damage_loses_what_is_reported_and_nothing_is_made_up() {
    let (mut lost, mut doubtful, mut unopenable, mut whole) = (0, 0, 0, 0);
    for seed in 0..12 {
        let made = make(seed);
        for round in 0..25 {
            let mut random = Random(seed * 1000 + round);
            let mut harmed = made.files.clone();
            let what: Vec<String> =
                (0..1 + random.below(4)).map(|_| harm(&mut harmed, &mut random)).collect();
            let what = format!("seed {seed} round {round}: {}", what.join(", "));
            let source = storage(&harmed);
            let target = Engine::open(Arc::new(MemoryStorage::new()), &options()).unwrap();
            let shared: Arc<dyn Storage> = Arc::new(source.clone());
            let report = salvage(&shared, &target, SalvageOptions::default(), &mut |_, _| {})
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(target.verify(&mut |_, _| {}).unwrap().damages, [], "{what}");
            let all = saved(&target);
            check(&made, &all, &report, &what);
            assert!(files(&source) == harmed, "{what}: the source was changed");
            lost += u32::from(!report.lost.is_empty());
            doubtful += u32::from(!report.doubtful.is_empty());
            whole += u32::from(all == made.model);
            // What keeps it from being opened is found without opening it.
            if let Err(refused) = Engine::open(Arc::new(storage(&harmed)), &options()) {
                unopenable += 1;
                let found = diagnose(&shared, &mut |_, _| {}).unwrap();
                assert!(!found.damages.is_empty(), "{what}: {refused}");
            }
        }
    }
    // All of these came up.
    assert!(
        lost > 20 && doubtful > 3 && unopenable > 20 && whole > 20,
        "{lost} {doubtful} {unopenable} {whole}"
    );
}

#[test]
fn a_superblock_is_replaced_by_the_other_and_both_by_a_search() {
    let made = make(77);
    for slots in [&[0_usize][..], &[1], &[0, 1]] {
        let mut harmed = made.files.clone();
        for slot in slots {
            harmed.get_mut("kestrel.data").unwrap()[slot * 4096 + 40] ^= 1;
        }
        let (all, report) = save(&harmed, SalvageOptions::default());
        check(&made, &all, &report, &format!("slots {slots:?}"));
        assert!(!report.damages.is_empty());
        assert_eq!(report.checkpoint.is_none(), slots.len() == 2);
        assert!(all.len() * 10 > made.model.len() * 8, "{} of {}", all.len(), made.model.len());
    }
}

#[test]
fn commits_behind_a_hole_are_left_out_unless_asked_for() {
    let made = make(5);
    let used = |bytes: &Vec<u8>| bytes.iter().rposition(|&byte| byte != 0).unwrap_or(0);
    let mut log =
        made.files.iter().filter(|(name, bytes)| name.starts_with("kestrel.log") && used(bytes) > 64);
    let (name, bytes) = log.next_back().unwrap();
    let mut harmed = made.files.clone();
    harmed.get_mut(name).unwrap()[used(bytes) * 9 / 10] ^= 1;
    let (all, report) = save(&harmed, SalvageOptions::default());
    check(&made, &all, &report, "a hole");
    assert!(report.commits_left_out > 0, "{report:#?}");
    assert!(report.lost.iter().any(|damage| damage.tree.is_none()));
    let mut options = SalvageOptions::default();
    options.beyond_holes = true;
    let (all, report) = save(&harmed, options);
    check(&made, &all, &report, "beyond a hole");
    assert_eq!(report.commits_left_out, 0);
}
