//! Stage one: the teacher's forward pass over the lead spans, written to shards.
