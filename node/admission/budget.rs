//! Memory that requests and answers on their way may take together (DESIGN D15). Small ones are not counted: their
//! number is bounded by other means, and counting would cost more than it saves.

use super::AdmissionError;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is shorter is not counted.
pub const WORTH_BYTES: usize = 64 << 10;

/// One for all connections of a member. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit_bytes: usize,
    taken_bytes: AtomicUsize,
}

/// Part of the budget, given back when it is dropped.
#[derive(Debug)]
pub struct Taken {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    /// None: there is no limit.
    pub fn new(limit_bytes: Option<usize>) -> Self {
        Self(Arc::new(Inner { limit_bytes: limit_bytes.unwrap_or(usize::MAX), taken_bytes: AtomicUsize::new(0) }))
    }

    pub fn limit_bytes(&self) -> usize {
        self.0.limit_bytes
    }

    pub fn taken_bytes(&self) -> usize {
        self.0.taken_bytes.load(Ordering::Relaxed)
    }

    /// Nothing yet; see [`Taken::grow`].
    pub fn begin(&self) -> Taken {
        Taken { budget: self.clone(), bytes: 0 }
    }

    /// # Errors
    /// `OutOfMemory` if there is not so much left.
    pub fn take(&self, bytes: usize) -> Result<Taken, AdmissionError> {
        let mut taken = self.begin();
        taken.grow(bytes)?;
        Ok(taken)
    }

    /// For what is there already, whether or not so much is left: others then have less.
    pub fn charge(&self, bytes: usize) -> Taken {
        self.0.taken_bytes.fetch_add(bytes, Ordering::Relaxed);
        Taken { budget: self.clone(), bytes }
    }
}

impl Taken {
    /// # Errors
    /// `OutOfMemory` if there is not so much left; then nothing more was taken.
    pub fn grow(&mut self, bytes: usize) -> Result<(), AdmissionError> {
        let Inner { limit_bytes, taken_bytes } = &*self.budget.0;
        let fits = |taken: usize| taken.checked_add(bytes).filter(|taken| taken <= limit_bytes);
        match taken_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => {
                self.bytes += bytes;
                Ok(())
            }
            Err(_) => Err(AdmissionError::OutOfMemory),
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.budget.0.taken_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_given_back_and_no_more_than_there_is() {
        let budget = Budget::new(Some(100));
        let mut first = budget.take(60).expect("there is room");
        assert_eq!(first.grow(41), Err(AdmissionError::OutOfMemory));
        assert!(first.grow(40).is_ok() && budget.take(1).is_err());
        let beyond = budget.charge(7);
        assert_eq!(budget.taken_bytes(), 107);
        drop(first);
        assert_eq!((budget.taken_bytes(), budget.take(94).err()), (7, Some(AdmissionError::OutOfMemory)));
        drop(beyond);
        assert_eq!(budget.taken_bytes(), 0);
        assert!(Budget::new(None).take(usize::MAX).is_ok());
    }
}
