//! Samples, sections, the lead span and supervised positions.
