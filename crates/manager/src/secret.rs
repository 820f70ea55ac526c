//! A value that must not reach a log.

use std::fmt;

use serde::Deserialize;
use zeroize::Zeroize;

/// Keeps `T` out of every `Debug` output, and erases it from memory when it is dropped. There is no `Display` and no
/// `Serialize`.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Every use of this is a place to look at.
    pub(crate) fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use super::*;

    #[test]
    fn a_secret_does_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2".to_owned()))), "Some([secret])");
    }

    #[test]
    fn a_secret_is_erased_when_it_is_dropped() {
        struct Watched(Arc<AtomicBool>);
        impl Zeroize for Watched {
            fn zeroize(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let erased = Arc::new(AtomicBool::new(false));
        drop(Secret::new(Watched(erased.clone())));
        assert!(erased.load(Ordering::Relaxed));
    }
}
