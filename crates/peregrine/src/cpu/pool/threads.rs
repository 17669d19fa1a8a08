//! The threads that compute: as many as the machine has cores, or as `RAYON_NUM_THREADS` says,
//! shared by all devices of the process.

use std::sync::LazyLock;

use rayon::{ThreadPool, ThreadPoolBuilder};

/// Fewer where the system does not give so many; `None` where it gives none at all.
static POOL: LazyLock<Option<ThreadPool>> = LazyLock::new(|| {
    let name = |index| format!("peregrine {index}");
    let pool = |count| ThreadPoolBuilder::new().num_threads(count).thread_name(name).build().ok();
    std::iter::successors(Some(threads()), |count| (*count > 1).then_some(count / 2)).find_map(pool)
});

/// Asked once: what is shared out by it stays the same, and the system looks into several files for
/// it. The variable is rayon's own.
static THREADS: LazyLock<usize> = LazyLock::new(|| {
    let asked = std::env::var("RAYON_NUM_THREADS").ok().and_then(|count| count.parse().ok()).filter(|count| *count > 0);
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
});

/// How many there are.
pub fn threads() -> usize {
    *THREADS
}

/// Runs `work` on one of them, so that what it shares out is near.
pub fn run<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    match POOL.as_ref() {
        Some(pool) => pool.install(work),
        None => work(),
    }
}
