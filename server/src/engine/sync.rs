//! What the threads of the engine share: locks, cells that are set once, pointers that are exchanged.
//!
//! In the library these are the types of `std` and of arc-swap themselves. In its unit tests they are the same behind a thin
//! wrapper, which does nothing outside of the models of the engine (`models`); inside, each use is a place where another thread may
//! go on, and who waits for a lock waits by the rules of the model. So what the models try is the code that serves.

#[cfg(not(test))]
pub(crate) use arc_swap::ArcSwap;
#[cfg(not(test))]
pub(crate) use std::sync::{Mutex, MutexGuard, OnceLock};

#[cfg(test)]
mod modelled;
#[cfg(test)]
pub(crate) use modelled::{ArcSwap, Mutex, MutexGuard, OnceLock};
