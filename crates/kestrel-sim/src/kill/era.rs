//! One directory and the lives of the database in it, each ended by a kill, until all begins anew.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use kestreldb::Database;
use kestreldb::storage::{MemoryStorage, Storage};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::moment::{Moment, Phase, kill};
use super::notes::{self, Note};
use super::summary::Summary;
use crate::writers::{Cut, Expected, Record, Setting, cut, judge};

/// The state of one directory, as far as it is known from outside.
pub(crate) struct Era {
    root: PathBuf,
    seed: u64,
    setting: Setting,
    random: SmallRng,
    life: u64,
    /// Whether a child has ever opened the database.
    opened: bool,
    /// What a judge, or a child, has found last. Whatever is opened next has to find the same, if nobody wrote meanwhile.
    found: Cut,
    /// What children after that have written down.
    record: Record,
    expected: Vec<Expected>,
    planted: Option<String>,
}

impl Era {
    /// Begins with an empty directory.
    pub(crate) fn new(root: &Path, seed: u64, planted: Option<String>) -> Result<Era, String> {
        let _ = fs::remove_dir_all(root);
        fs::create_dir_all(root).map_err(|error| format!("creating {}: {error}", root.display()))?;
        let setting = Setting::new(seed);
        let found: Cut = vec![0; usize::from(setting.writers)];
        Ok(Era {
            root: root.to_owned(),
            seed,
            setting,
            random: SmallRng::seed_from_u64(seed ^ 0x6b69_6c6c),
            life: 0,
            opened: false,
            record: Record::new(found.clone()),
            found,
            expected: (0..setting.writers).map(Expected::new).collect(),
            planted,
        })
    }

    fn database(&self) -> PathBuf {
        self.root.join("db")
    }

    /// One life and its end; then, most times, a judge. All that is wrong is an error.
    pub(crate) fn round(&mut self, summary: &mut Summary, last: bool) -> Result<(), String> {
        self.life += 1;
        let notes_path = self.root.join("notes");
        let _ = fs::remove_file(&notes_path);
        let moment = Moment::choose(&mut self.random, !self.opened);
        let gently = self.random.random_range(0..10_u32) == 0;
        self.run_child(&notes_path, (moment, gently)).map_err(|error| self.with_stderr(&error))?;
        let notes = notes::read(&notes_path)?;
        let phase = Phase::of(&notes, !self.opened);
        summary.killed(phase);
        self.take(&notes, summary)?;
        match self.random.random_range(0..8_u32) {
            _ if last => self.judge_in_place(summary),
            0 => self.judge_in_place(summary),
            // The next child meets what this one left, and may be killed while it recovers.
            1 | 2 => Ok(()),
            _ => self.judge_copy(summary),
        }
    }

    fn run_child(&mut self, notes: &Path, how: (Moment, bool)) -> Result<(), String> {
        let program = std::env::current_exe().map_err(|error| format!("this program's path: {error}"))?;
        let stderr = File::create(self.root.join("stderr")).map_err(|error| error.to_string())?;
        let mut child = Command::new(program)
            .arg("kill-child")
            .arg("--dir")
            .arg(self.database())
            .arg("--notes")
            .arg(notes)
            .args(["--seed", &self.seed.to_string(), "--life", &self.life.to_string()])
            .args(self.planted.iter().flat_map(|bug| ["--planted", bug]))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .map_err(|error| format!("starting a child: {error}"))?;
        let Some(input) = child.stdin.take() else { return Err("the child has no input".to_owned()) };
        let outcome = kill(&mut child, input, notes, how);
        if outcome.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        outcome
    }

    fn with_stderr(&self, error: &str) -> String {
        let said = fs::read_to_string(self.root.join("stderr")).unwrap_or_default();
        format!("{error}\n{}", said.trim_end())
    }

    /// Takes over what a child wrote down. If it came to open the database, what it found is judged first.
    fn take(&mut self, notes: &[Note], summary: &mut Summary) -> Result<(), String> {
        let mut found = vec![0; self.found.len()];
        for note in notes {
            match *note {
                Note::Found(writer, number) => found[usize::from(writer)] = number,
                Note::Open => {
                    self.opened = true;
                    self.check(&found, "the child that was started next", summary)?;
                }
                Note::Tried(writer, number) => self.record.tried(writer, number),
                Note::Committed(writer, number, at) => self.record.committed(writer, number, at),
                Note::Promised(writer, number) => self.record.promised(writer, number),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether what was found agrees with what was written down; from here on it has to stay.
    fn check(&mut self, found: &Cut, by: &str, summary: &mut Summary) -> Result<(), String> {
        let faults = self.record.check(found);
        if !faults.is_empty() {
            return Err(format!("found by {by}:\n{}", faults.join("\n")));
        }
        summary.commits += self.record.commits();
        summary.lost += self.record.lost(found);
        self.found.clone_from(found);
        self.record = Record::new(found.clone());
        Ok(())
    }

    /// Judges a copy in memory: the directory stays as the kill left it.
    fn judge_copy(&mut self, summary: &mut Summary) -> Result<(), String> {
        let copy = copy(&self.database())?;
        let Some(copy) = copy else { return self.nothing_there(summary) };
        let db = self.setting.builder().background(false).open_with_storage(Arc::new(copy));
        self.judge(&db.map_err(|error| format!("opening a copy: {error}"))?, "a copy", summary)
    }

    /// Judges the directory itself, and closes it.
    fn judge_in_place(&mut self, summary: &mut Summary) -> Result<(), String> {
        let db = self.setting.builder().open(self.database());
        let db = db.map_err(|error| format!("opening: {error}"))?;
        self.opened = true;
        self.judge(&db, "the parent", summary)?;
        db.close().map_err(|error| format!("closing: {error}"))
    }

    fn judge(&mut self, db: &Database, by: &str, summary: &mut Summary) -> Result<(), String> {
        let found = cut(db, self.setting.writers).map_err(|error| format!("reading the cut: {error}"))?;
        self.check(&found, by, summary)?;
        for (expected, number) in self.expected.iter_mut().zip(&found) {
            expected.advance(&self.setting.plan, *number);
        }
        summary.judged += 1;
        let mut faults = judge(db, &self.expected);
        if faults.is_empty() {
            return Ok(());
        }
        let more = faults.len().saturating_sub(20);
        faults.truncate(20);
        Err(format!("{by} at {found:?}:\n{}\nand {more} more", faults.join("\n")))
    }

    /// The child was killed before there was a directory.
    fn nothing_there(&mut self, summary: &mut Summary) -> Result<(), String> {
        let nothing = vec![0; self.found.len()];
        self.check(&nothing, "nobody, as there is no directory", summary)
    }
}

/// The files of a directory, in memory; `None` if there is no directory.
fn copy(from: &Path) -> Result<Option<MemoryStorage>, String> {
    if !from.exists() {
        return Ok(None);
    }
    let to = MemoryStorage::new();
    let files = fs::read_dir(from).and_then(|entries| {
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().into_string().unwrap_or_default();
            if name != "kestrel.lock" {
                to.create(&name)?.write_all_at(&fs::read(entry.path())?, 0)?;
            }
        }
        Ok(())
    });
    files.map_err(|error| format!("copying {}: {error}", from.display()))?;
    Ok(Some(to))
}
