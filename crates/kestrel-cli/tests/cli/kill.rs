//! Loads that are killed, and what they leave.
//!
//! Each round starts `load` on generated lines, kills it (SIGKILL) at a moment that follows from a seed, and
//! looks: the database must be whole, and hold exactly a prefix of the input in whole batches on top of what
//! was there: all that was acknowledged, and at most one batch more. Rounds go on in the same directory, and
//! write partly the same keys, until a fresh one is taken.
//!
//! `KESTREL_LONG=1` runs 50 rounds instead of 8; `KESTREL_SEED=N` takes another seed than 1.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::Place;
use crate::random::{Random, mix};

/// Keys that rounds draw from; more than the lines of a round, so that these have different keys.
const KEYS: u64 = 50_000;
/// A directory is given up after so many rounds.
const ROUNDS_PER_DIRECTORY: u64 = 4;

/// When a load is killed.
#[derive(Debug)]
enum Moment {
    /// So long after its start: while it opens, loads or closes.
    After(Duration),
    /// Some time after it acknowledged so many batches.
    Behind { batch: u64, delay: Duration },
}

/// A load to be killed.
#[derive(Debug)]
struct Round {
    number: u64,
    lines: u64,
    batch: u64,
    durability: &'static str,
    acknowledged: bool,
    memory: &'static str,
    moment: Moment,
    /// How long after its start the next opening, which recovers, is killed too.
    recovery_killed: Option<Duration>,
}

impl Round {
    fn draw(number: u64, random: &mut Random) -> Round {
        let lines = 1 + random.below(KEYS / 2);
        let batch = 1 + random.below(200);
        let batches = lines.div_ceil(batch);
        let delay = Duration::from_micros(random.below(20_000));
        let moment = match number % 3 {
            0 => Moment::After(Duration::from_millis(1 + random.below(400))),
            1 => Moment::Behind { batch: 1 + random.below(batches), delay },
            // Closing, which makes a checkpoint.
            _ => Moment::Behind { batch: batches, delay },
        };
        let by_time = matches!(moment, Moment::After(_));
        Round {
            number,
            lines,
            batch,
            durability: if number.is_multiple_of(2) { "immediate" } else { "eventual" },
            acknowledged: !by_time || random.below(3) > 0,
            memory: if random.below(2) == 0 { "4M" } else { "64M" },
            moment,
            recovery_killed: (random.below(2) == 0).then(|| Duration::from_micros(random.below(15_000))),
        }
    }

    fn key(&self, line: u64) -> Vec<u8> {
        // Half of the keys of a round are those of the round before.
        let key = (line + self.number * self.lines / 2) % KEYS;
        format!("{:016x}", mix(key)).into_bytes()
    }

    fn value(&self, line: u64) -> Vec<u8> {
        // Some are longer than a quarter of a page, so they lie outside the pages.
        let len = if line.is_multiple_of(301) { 3000 } else { mix(line) as usize % 90 };
        format!("round {} line {line} {}", self.number, "x".repeat(len)).into_bytes()
    }

    fn input(&self) -> Vec<u8> {
        (0..self.lines)
            .flat_map(|line| [&self.key(line)[..], b"\t", &self.value(line), b"\n"].concat())
            .collect()
    }

    /// Starts the load and kills it; returns whether it had ended by itself.
    fn kill(&self, place: &Place, input: &Path, acknowledgements: &Path) -> bool {
        let batch = self.batch.to_string();
        let mut command = place.command(&["load", "--tree", "t", "--format", "tsv", "--batch", &batch]);
        command.args(["--durability", self.durability, "--memory", self.memory]).arg(input);
        if self.acknowledged {
            command.arg("--ack").arg(acknowledgements);
        }
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        match self.moment {
            Moment::After(delay) => thread::sleep(delay),
            Moment::Behind { batch, delay } => {
                let started = Instant::now();
                while acknowledged(acknowledgements).0 < batch && child.try_wait().unwrap().is_none() {
                    assert!(started.elapsed() < Duration::from_secs(60), "{self:?}: no progress");
                    thread::sleep(Duration::from_micros(500));
                }
                thread::sleep(delay);
            }
        }
        end(child)
    }

    /// Adds the prefix that the database holds to the model, after checking that it is one that may be left.
    fn check(
        &self,
        place: &Place,
        model: &mut BTreeMap<Vec<u8>, Vec<u8>>,
        ended: bool,
        acknowledgements: &Path,
    ) {
        if !place.db().join("kestrel.data").exists() {
            assert!(!ended && acknowledged(acknowledgements).0 == 0 && model.is_empty(), "{self:?}");
            return;
        }
        place.assert_whole();
        let scanned = if place.ok(&["trees"]).ends_with("  t\n") {
            place.run(&["scan", "--tree", "t"]).stdout
        } else {
            Vec::new()
        };
        let found = entries(&scanned);
        let mark = format!("round {} ", self.number).into_bytes();
        let stored = found.values().filter(|value| value.starts_with(&mark)).count() as u64;
        assert!(
            stored.is_multiple_of(self.batch) || stored == self.lines,
            "{self:?}: {stored} entries are no whole batches"
        );
        let (batches, entries) = acknowledged(acknowledgements);
        assert_eq!(entries, (batches * self.batch).min(self.lines), "{self:?}");
        assert!(stored >= entries, "{self:?}: {entries} entries were acknowledged, {stored} are there");
        if self.acknowledged {
            assert!(stored <= entries + self.batch, "{self:?}: {stored} entries, {entries} acknowledged");
        }
        if ended {
            assert_eq!(stored, self.lines, "{self:?}: it had come to its end");
        }
        model.extend((0..stored).map(|line| (self.key(line), self.value(line))));
        assert!(found == *model, "{self:?}: with the first {stored} lines something else should be there");
    }
}

/// Kills a process; returns whether it had ended before.
fn end(mut child: Child) -> bool {
    let ended = child.try_wait().unwrap().is_some();
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(!ended || status.success(), "{status}");
    status.success()
}

/// The last line that was acknowledged: batches and entries.
fn acknowledged(path: &Path) -> (u64, u64) {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let Some(last) = whole.lines().last() else { return (0, 0) };
    let (batches, entries) = last.split_once(' ').unwrap();
    assert_eq!(whole.lines().count().to_string(), batches, "a line is missing");
    (batches.parse().unwrap(), entries.parse().unwrap())
}

fn entries(scanned: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let lines = scanned.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let entry = |line: &[u8]| {
        let tab = line.iter().position(|&byte| byte == b'\t').unwrap();
        (line[..tab].to_vec(), line[tab + 1..].to_vec())
    };
    lines.map(entry).collect()
}

#[test]
fn a_killed_load_leaves_the_batches_it_acknowledged_and_at_most_one_more() {
    let rounds = if std::env::var_os("KESTREL_LONG").is_some() { 50 } else { 8 };
    let seed = std::env::var("KESTREL_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut random = Random(seed);
    let mut place = Place::new();
    let mut model = BTreeMap::new();
    let mut killed = 0;
    for number in 1..=rounds {
        let round = Round::draw(number, &mut random);
        let input = place.file("input.tsv", &round.input());
        let acknowledgements = place.path(&format!("ack-{number}"));
        let ended = round.kill(&place, &input, &acknowledgements);
        killed += u64::from(!ended);
        println!("seed {seed}: {round:?}: {}", if ended { "had ended" } else { "killed" });
        if let Some(delay) = round.recovery_killed {
            let recovering =
                place.command(&["trees"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            thread::sleep(delay);
            let mut recovering = recovering;
            recovering.kill().unwrap();
            recovering.wait().unwrap();
        }
        round.check(&place, &mut model, ended, &acknowledgements);
        if number.is_multiple_of(ROUNDS_PER_DIRECTORY) {
            place = Place::new();
            model.clear();
        }
    }
    // How many end before they are killed depends on the machine.
    assert!(killed > 0, "none of {rounds} loads was killed, all were faster");
}
