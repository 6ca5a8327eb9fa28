//! Where the database is, and opening it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use kestreldb::{Builder, Database, ErrorKind};

use crate::byte_size::ByteSize;
use crate::escape::{argument_bytes, unescape};
use crate::failure::{Failure, Outcome};

/// Which database, and how to open it and to read arguments: what all commands have in common.
#[derive(clap::Args, Debug)]
pub(crate) struct Place {
    /// The directory of the database; or give --db.
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    /// The directory of the database.
    #[arg(long, global = true, value_name = "DIR")]
    db: Option<PathBuf>,
    /// Memory for the database: bytes, or a number with K, M or G behind it [default: 256M].
    #[arg(long, global = true, value_name = "BYTES")]
    memory: Option<ByteSize>,
    /// Reads escapes in keys, values, prefixes and bounds that are arguments.
    ///
    /// \\ is a backslash, \t a tab, \n a line feed, \r a carriage return, \0 a zero byte, \xNN the byte with
    /// these two hexadecimal digits. Without this option an argument is taken byte for byte.
    #[arg(long, short = 'e', global = true)]
    escape: bool,
}

/// Whether a command makes a database where there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Missing {
    /// It is an error.
    Refuse,
    /// It is created, with pages of so many bytes or the default.
    Create { page_size: Option<u32> },
}

impl Place {
    /// The bytes that an argument stands for.
    pub(crate) fn bytes(&self, argument: &OsStr) -> Outcome<Vec<u8>> {
        let bytes = argument_bytes(argument);
        if self.escape { unescape(&bytes).map_err(Failure::new) } else { Ok(bytes) }
    }

    /// Opens the database, runs `body`, and closes the database, also after a failure.
    pub(crate) fn with_database<T>(
        &self,
        missing: Missing,
        body: impl FnOnce(&Database) -> Outcome<T>,
    ) -> Outcome<T> {
        let db = self.open(missing)?;
        let outcome = body(&db);
        let closed = db.close();
        let value = outcome?;
        closed?;
        Ok(value)
    }

    /// How the arguments say that a database is to be opened.
    pub(crate) fn builder(&self) -> Builder {
        match self.memory {
            Some(ByteSize(bytes)) => Builder::new().memory_budget(bytes),
            None => Builder::new(),
        }
    }

    /// That there is no database.
    pub(crate) fn not_found(path: &Path) -> Failure {
        Failure::new(format!("there is no database in {}; `load` and `put` create one", path.display()))
    }

    /// The directory, for messages.
    pub(crate) fn path_shown(&self) -> String {
        self.path().map(|path| path.display().to_string()).unwrap_or_default()
    }

    fn open(&self, missing: Missing) -> Outcome<Database> {
        let path = self.path()?;
        let mut builder = self.builder();
        builder = match missing {
            Missing::Refuse => builder.create(false),
            Missing::Create { page_size: None } => builder,
            Missing::Create { page_size: Some(bytes) } => builder.page_size(bytes),
        };
        builder.open(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Place::not_found(path),
            _ => error.into(),
        })
    }

    /// The database's directory.
    pub(crate) fn path(&self) -> Outcome<&Path> {
        match (&self.directory, &self.db) {
            (Some(path), None) | (None, Some(path)) => Ok(path),
            (None, None) => Err(Failure::new(
                "which database? Give its directory before the command or with --db, for example \
                 `kestrel shop.kestrel trees`",
            )),
            (Some(before), Some(db)) => Err(Failure::new(format!(
                "two databases are named, {} and {}; give one",
                before.display(),
                db.display()
            ))),
        }
    }
}
