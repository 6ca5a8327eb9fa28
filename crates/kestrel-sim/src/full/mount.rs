//! A small file system of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Tmpfs,
    /// In a file.
    Ext4,
}

/// Mounted until dropped.
#[derive(Debug)]
pub(crate) struct Mount {
    at: PathBuf,
}

impl Mount {
    /// Mounts a file system of so many bytes below `root`. An error says why that cannot be done here.
    pub(crate) fn new(root: &Path, kind: Kind, bytes: u64) -> Result<Mount, String> {
        let at = root.join("mounted");
        fs::create_dir_all(&at).map_err(|error| format!("creating {}: {error}", at.display()))?;
        match kind {
            Kind::Tmpfs => {
                let size = format!("size={bytes}");
                run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at))?;
            }
            Kind::Ext4 => {
                let image = root.join("image");
                let made = File::create(&image).and_then(|file| file.set_len(bytes));
                made.map_err(|error| format!("creating {}: {error}", image.display()))?;
                run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))?;
                run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at))?;
            }
        }
        Ok(Mount { at })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.at
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("umount").arg(&self.at)) {
            eprintln!("{error}");
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name} cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{name} failed: {}", said.trim())) }
}
