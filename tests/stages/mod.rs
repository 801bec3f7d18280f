//! Both stages, with the real program.

mod appending;
mod ending;
mod exporting;
mod training;

const PRECOMPUTE: [&str; 3] = ["precompute", "-c", "pipeline.toml"];
const TRAIN: [&str; 3] = ["train", "-c", "pipeline.toml"];
