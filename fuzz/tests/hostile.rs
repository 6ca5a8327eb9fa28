//! Every number in a database's files, made to lie. `KESTREL_LONG=1` goes over all places, otherwise over a part;
//! `KESTREL_FUZZ_FIRST` chooses which.
#![allow(clippy::unwrap_used, reason = "a failure fails the test")]

use std::time::Duration;

#[test]
fn numbers_that_lie_cost_neither_time_nor_memory() {
    let first = std::env::var("KESTREL_FUZZ_FIRST").map_or(0, |first| first.parse().unwrap());
    let stride = if std::env::var_os("KESTREL_LONG").is_some() { 1 } else { 17 };
    let before = kestrel_io::thread_time().unwrap_or_default();
    let (opened, refused) = kestrel_fuzz::hostile::sweep(first % stride, stride);
    let taken = kestrel_io::thread_time().unwrap_or_default() - before;
    println!("{opened} databases, {refused} refused, {taken:?}");
    assert!(opened > 1000 && refused > opened / 20 && refused < opened);
    // On the average a hundredth of the second that one may take.
    assert!(taken < Duration::from_millis(100) * u32::try_from(opened).unwrap());
}
