//! CPU time of this thread: what other programs do on the machine does not count.

use std::fs;
use std::time::Duration;

/// Spent by this thread so far (`/proc/thread-self/schedstat`, first field, nanoseconds). Exact only
/// to the last scheduler tick while the thread keeps running, so what is measured takes tens of
/// milliseconds.
pub fn thread() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_whitespace().next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.expect("Linux counts run time by thread"))
}
