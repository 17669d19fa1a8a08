//! What the twin computes in, and on how many cores.

use std::fmt::Debug;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

/// f32, as the GPU; or f64, whose rounding can be neglected beside the GPU's.
pub trait Real:
    Copy
    + Debug
    + Default
    + PartialOrd
    + Send
    + Sync
    + 'static
    + From<f32>
    + Into<f64>
    + Add<Output = Self>
    + AddAssign
    + Sub<Output = Self>
    + Mul<Output = Self>
    + MulAssign
    + Div<Output = Self>
    + Neg<Output = Self>
    + Sum
{
    /// The nearest number.
    fn of(value: f64) -> Self;
    /// e^x
    fn exp(self) -> Self;
    /// ln(1 + x)
    fn ln_1p(self) -> Self;
    /// √x
    fn sqrt(self) -> Self;
}

macro_rules! real {
    ($t:ty) => {
        impl Real for $t {
            fn of(value: f64) -> Self {
                value as Self
            }
            fn exp(self) -> Self {
                <$t>::exp(self)
            }
            fn ln_1p(self) -> Self {
                <$t>::ln_1p(self)
            }
            fn sqrt(self) -> Self {
                <$t>::sqrt(self)
            }
        }
    };
}
real!(f32);
real!(f64);

/// Multiplications below which threads cost more than they save.
const SMALL: usize = 1 << 21;

/// `work` on each item, on all cores where there are threads; results in the order of the items.
/// `cost`: multiplications in all.
pub(crate) fn each<I: Send, O: Send>(items: Vec<I>, cost: usize, work: impl Fn(I) -> O + Sync) -> Vec<O> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(items.len());
    if cores < 2 || cost < SMALL {
        return items.into_iter().map(work).collect();
    }
    let mut shares: Vec<Vec<(usize, I)>> = (0..cores).map(|_| Vec::new()).collect();
    for (i, item) in items.into_iter().enumerate() {
        // In turn: later tokens have more to attend to.
        shares[i % cores].push((i, item));
    }
    let mut done: Vec<(usize, O)> = std::thread::scope(|scope| {
        let run = |share: Vec<(usize, I)>| {
            let work = &work;
            scope.spawn(move || share.into_iter().map(|(i, item)| (i, work(item))).collect::<Vec<_>>())
        };
        let threads: Vec<_> = shares.into_iter().map(run).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Vec<(usize, O)>>| match thread.join() {
            Ok(share) => share,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        threads.into_iter().flat_map(join).collect()
    });
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, result)| result).collect()
}
