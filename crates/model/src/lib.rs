//! One decoder for teacher and student: configuration, weights, forward, tokenizer.
