//! Running the command.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A directory for a test, with a database in it that does not exist at first.
pub(crate) struct Place {
    directory: TempDir,
}

/// How a run of the command ended.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// The command, to be given arguments.
pub(crate) fn kestrel() -> Command {
    Command::new(env!("CARGO_BIN_EXE_kestrel"))
}

impl Place {
    pub(crate) fn new() -> Place {
        Place { directory: TempDir::new().unwrap() }
    }

    /// A path in the test's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The database.
    pub(crate) fn db(&self) -> PathBuf {
        self.path("db")
    }

    /// Makes a file in the test's directory.
    pub(crate) fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The command with the database and arguments.
    pub(crate) fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = kestrel();
        command.arg(self.db()).args(arguments);
        command
    }

    /// Runs the command on the database.
    pub(crate) fn run(&self, arguments: &[impl AsRef<OsStr>]) -> Run {
        Run::of(self.command(arguments).stdin(Stdio::null()).output().unwrap())
    }

    /// Runs the command, which must do what it is asked to and say nothing on the standard error; returns
    /// what it prints.
    pub(crate) fn ok(&self, arguments: &[impl AsRef<OsStr>]) -> String {
        self.run(arguments).ok()
    }

    /// Runs the command, which must refuse in one line with exit code 1; returns the line.
    pub(crate) fn refused(&self, arguments: &[impl AsRef<OsStr>]) -> String {
        self.run(arguments).refused()
    }

    /// Runs the command with a standard input.
    pub(crate) fn run_with_input(&self, arguments: &[impl AsRef<OsStr>], input: &[u8]) -> Run {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // The command may end before it has read all.
        let _ = child.stdin.take().unwrap().write_all(input);
        Run::of(child.wait_with_output().unwrap())
    }

    /// Loads a text into the tree `t`.
    pub(crate) fn load(&self, format: &str, input: &[u8]) -> String {
        self.run_with_input(&["load", "--tree", "t", "--format", format], input).ok()
    }

    /// All lines that `scan` prints with further arguments.
    pub(crate) fn scan(&self, arguments: &[&str]) -> Vec<String> {
        self.ok(&[&["scan", "--tree", "t"], arguments].concat()).lines().map(str::to_owned).collect()
    }

    /// The database, which must be whole.
    pub(crate) fn assert_whole(&self) {
        let said = self.ok(&["verify"]);
        assert!(said.starts_with("ok: "), "{said}");
    }
}

impl Run {
    pub(crate) fn of(output: Output) -> Run {
        Run {
            code: output.status.code().unwrap(),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""));
        String::from_utf8(self.stdout).unwrap()
    }

    #[track_caller]
    pub(crate) fn refused(self) -> String {
        assert_eq!((self.code, self.stdout.as_slice()), (1, &b""[..]), "{}", self.stderr);
        let line = self.stderr.strip_prefix("kestrel: ").unwrap().strip_suffix('\n').unwrap();
        assert!(!line.contains('\n'), "{line}");
        line.to_owned()
    }
}

/// Whether there is a database in a directory, or what one is made of.
pub(crate) fn is_database(path: &Path) -> bool {
    path.join("kestrel.data").exists()
}
