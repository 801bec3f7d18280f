//! From data sets to tokenized, sectioned and ordered samples.
