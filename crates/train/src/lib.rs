//! Stage two: a student learns from the cache.
