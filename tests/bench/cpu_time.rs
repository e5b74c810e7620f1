//! CPU time of this thread: what other programs do on the machine does not count.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Spent by this thread so far.
pub fn thread() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("below a second"))
}
