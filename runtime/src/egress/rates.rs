//! Token buckets and budgets; both fail closed.
//! It never waits: it answers at once.
