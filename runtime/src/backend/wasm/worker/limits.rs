//! Limits of one call inside wasmtime: its memories together, its tables and instances.
//! It never frees anything: a guest that is refused more memory sees an allocation that failed.

use wasmtime::ResourceLimiter;

/// Entries of all tables of a call together.
const TABLE_ENTRIES_MAX: usize = 256 * 1024;
/// Core instances of a call.
const INSTANCES_MAX: usize = 64;
/// Tables of a call.
const TABLES_MAX: usize = 64;
/// Memories of a call.
const MEMORIES_MAX: usize = 16;

/// What a call's memories and tables have, and may have.
#[derive(Debug)]
pub(super) struct Limiter {
    memory_bytes_max: u64,
    memory_bytes: u64,
    peak_bytes: u64,
    table_entries: usize,
    /// The most that was asked for and refused.
    refused_bytes: Option<u64>,
}

impl Limiter {
    pub(super) const fn new(memory_bytes_max: u64) -> Self {
        Self { memory_bytes_max, memory_bytes: 0, peak_bytes: 0, table_entries: 0, refused_bytes: None }
    }

    /// What its memories have together.
    pub(super) const fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// The memories and tables of a guest that was made before its call are the call's.
    pub(super) fn take_over(&mut self, before: &Self) {
        self.memory_bytes = before.memory_bytes;
        self.peak_bytes = before.memory_bytes;
        self.table_entries = before.table_entries;
    }

    /// The most that its memories had together.
    pub(super) const fn peak_bytes(&self) -> u64 {
        self.peak_bytes
    }

    /// The most that it wanted and did not get: a guest that broke afterwards broke of that.
    pub(super) const fn refused_bytes(&self) -> Option<u64> {
        self.refused_bytes
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = u64::try_from(desired.saturating_sub(current)).unwrap_or(u64::MAX);
        let wanted = self.memory_bytes.saturating_add(more);
        if wanted > self.memory_bytes_max {
            self.refused_bytes = self.refused_bytes.max(Some(wanted));
            return Ok(false);
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.memory_bytes = wanted;
        self.peak_bytes = self.peak_bytes.max(wanted);
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.table_entries.saturating_add(desired.saturating_sub(current));
        if wanted > TABLE_ENTRIES_MAX || maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.table_entries = wanted;
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memories_count_together_and_a_refusal_is_kept() {
        let mut limiter = Limiter::new(100);
        assert!(limiter.memory_growing(0, 60, None).expect("it answers"));
        assert!(!limiter.memory_growing(0, 60, None).expect("it answers"), "another memory");
        assert!(limiter.memory_growing(60, 100, None).expect("it answers"));
        assert_eq!((limiter.peak_bytes(), limiter.refused_bytes()), (100, Some(120)));
        assert!(limiter.memory_growing(0, 0, None).expect("it answers"), "nothing more is nothing");
    }

    #[test]
    fn tables_have_an_end() {
        let mut limiter = Limiter::new(0);
        assert!(limiter.table_growing(0, TABLE_ENTRIES_MAX, None).expect("it answers"));
        assert!(!limiter.table_growing(0, 1, None).expect("it answers"));
    }
}
