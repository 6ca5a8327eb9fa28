//! Planting a bug by its name, if one is given.

use kestrel_check::planted::Bug;

/// Plants a bug, in a build that has any.
pub(crate) fn plant(name: Option<&str>) -> Result<(), String> {
    let Some(name) = name else { return Ok(()) };
    let Some(&bug) = Bug::ALL.iter().find(|bug| format!("{bug:?}") == name) else {
        return Err(format!("no bug is called {name}; there are: {:?}", Bug::ALL));
    };
    switch_on(bug)
}

#[cfg(kestrel_planted)]
fn switch_on(bug: Bug) -> Result<(), String> {
    kestrel_check::planted::plant(Some(bug));
    Ok(())
}

#[cfg(not(kestrel_planted))]
fn switch_on(bug: Bug) -> Result<(), String> {
    let build = "RUSTFLAGS=\"--cfg kestrel_planted\" CARGO_TARGET_DIR=target/planted";
    Err(format!("this build has no {bug:?}; run the same command with {build} in front"))
}
