//! The stored form of teacher distributions: prepared corpus, Parquet shards, memory-mapped reader.
