//! How the C library's allocator is asked to treat what is large.
//!
//! A generation is a few arrays of megabytes. By default glibc learns from the first large array that is
//! freed to keep such memory for itself, in an arena of each thread, so that after two pushes a process
//! holds two or three generations that nobody uses. With a fixed threshold they go back to the system
//! when they are freed. Other C libraries do that anyhow. Layer 8.

/// Octets from which on an array is a mapping of its own.
#[cfg(target_env = "gnu")]
const MAPPED_MIN: libc::c_int = 256 << 10;

/// Free octets at the end of an arena that are given back.
#[cfg(target_env = "gnu")]
const TRIMMED_MIN: libc::c_int = 1 << 20;

/// Has large arrays given back to the system when they are freed, from now on.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "mallopt has no safe form")]
pub fn give_back_large() {
    for (option, octets) in [(libc::M_MMAP_THRESHOLD, MAPPED_MIN), (libc::M_TRIM_THRESHOLD, TRIMMED_MIN)] {
        // SAFETY: mallopt(3) takes two numbers and changes only when the allocator maps and trims; it takes
        // the allocator's own lock, so other threads may allocate meanwhile.
        if unsafe { libc::mallopt(option, octets) } == 0 {
            tracing::debug!(option, octets, "the allocator does as it likes");
        }
    }
}

/// Nothing to do.
#[cfg(not(target_env = "gnu"))]
pub fn give_back_large() {}
