//! The types of the parent module with the places where shuttle lets another thread go on.
//!
//! All of them are the real ones with such a place before each use: shuttle runs one thread at a time, so that the real
//! ones never wait inside of a model. A lock is held in shuttle first, which knows who waits for whom, and tells when
//! nobody can go on.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;
use std::sync::{Arc, LockResult, PoisonError};

use shuttle::sync::atomic::AtomicBool;

/// Whether this is a thread of a model.
fn is_model() -> bool {
    shuttle::current::try_get_current_task().is_some()
}

/// A place where another thread may go on.
#[derive(Debug)]
struct Place(AtomicBool);

impl Place {
    const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    fn pass(&self) {
        if is_model() {
            self.0.load(Ordering::SeqCst);
        }
    }
}

/// [`std::sync::Mutex`].
#[derive(Debug)]
pub(crate) struct Mutex<T> {
    model: shuttle::sync::Mutex<()>,
    real: std::sync::Mutex<T>,
}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { model: shuttle::sync::Mutex::new(()), real: std::sync::Mutex::new(value) }
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let model = is_model().then(|| self.model.lock().unwrap_or_else(PoisonError::into_inner));
        match self.real.lock() {
            Ok(real) => Ok(MutexGuard { real, _model: model }),
            Err(poisoned) => Err(PoisonError::new(MutexGuard { real: poisoned.into_inner(), _model: model })),
        }
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

/// [`std::sync::MutexGuard`].
#[derive(Debug)]
pub(crate) struct MutexGuard<'m, T> {
    // In this order: who gets the model's lock finds the real one free.
    real: std::sync::MutexGuard<'m, T>,
    _model: Option<shuttle::sync::MutexGuard<'m, ()>>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.real
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.real
    }
}

/// [`std::sync::OnceLock`].
#[derive(Debug)]
pub(crate) struct OnceLock<T> {
    place: Place,
    real: std::sync::OnceLock<T>,
}

impl<T> OnceLock<T> {
    pub(crate) const fn new() -> Self {
        Self { place: Place::new(), real: std::sync::OnceLock::new() }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        self.place.pass();
        self.real.get()
    }

    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        self.place.pass();
        self.real.set(value)
    }

    /// `init` must have no places in it.
    pub(crate) fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
        self.place.pass();
        self.real.get_or_init(init)
    }

    /// Nobody else has it: no place.
    pub(crate) fn take(&mut self) -> Option<T> {
        self.real.take()
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// [`arc_swap::ArcSwap`].
#[derive(Debug)]
pub(crate) struct ArcSwap<T> {
    place: Place,
    real: arc_swap::ArcSwap<T>,
}

impl<T> ArcSwap<T> {
    pub(crate) fn from_pointee(value: T) -> Self {
        Self { place: Place::new(), real: arc_swap::ArcSwap::from_pointee(value) }
    }

    pub(crate) fn load(&self) -> arc_swap::Guard<Arc<T>> {
        self.place.pass();
        self.real.load()
    }

    pub(crate) fn load_full(&self) -> Arc<T> {
        self.place.pass();
        self.real.load_full()
    }

    pub(crate) fn store(&self, value: Arc<T>) {
        self.place.pass();
        self.real.store(value);
    }
}
