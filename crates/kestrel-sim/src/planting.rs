//! Planting a bug by its name.

use kestrel_check::planted::Bug;

/// Plants a bug in place of the one before, or takes that away.
pub(crate) fn plant(name: Option<&str>) -> Result<Option<Bug>, String> {
    let find = |name| Bug::ALL.iter().copied().find(|bug| format!("{bug:?}") == name);
    let bug = match name {
        Some(name) => {
            Some(find(name).ok_or_else(|| format!("there is no bug {name}; there are {:?}", Bug::ALL))?)
        }
        None => None,
    };
    #[cfg(kestrel_planted)]
    kestrel_check::planted::plant(bug);
    match bug {
        Some(bug) if cfg!(not(kestrel_planted)) => {
            Err(format!("{bug:?} can be planted only in a build with RUSTFLAGS=\"--cfg kestrel_planted\""))
        }
        bug => Ok(bug),
    }
}
