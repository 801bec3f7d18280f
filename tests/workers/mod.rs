//! Many workers on one cache, as a batch scheduler starts and kills them.

mod cost;
mod ending;
mod finalizing;
mod waiting;

use std::{fs, path::PathBuf, process::Output};

use crate::program::Workplace;

const PRECOMPUTE: [&str; 3] = ["precompute", "-c", "pipeline.toml"];

fn rows() -> Workplace {
    Workplace::with_rows(120, 200)
}

fn message(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The folder of the only layer of a workplace's cache.
fn layer(place: &Workplace) -> PathBuf {
    let mut folders = fs::read_dir(place.path("cache/layers")).unwrap();
    folders.next().unwrap().unwrap().path()
}

/// Removes some units of the only layer, as if they had not been done.
fn remove_units(place: &Workplace, units: &[&str]) {
    let layer = layer(place);
    fs::remove_file(layer.join("manifest.json")).unwrap();
    for unit in units {
        for end in ["parquet", "json"] {
            fs::remove_file(layer.join(format!("{unit}.{end}"))).unwrap();
        }
    }
}

/// Checks that no temporary file, claim of a dead worker or other hidden file is left, except for the names in `but`.
fn assert_nothing_hidden(place: &Workplace) {
    let hidden = place.contents().into_keys().filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with('.')
            && name != ".weights.json"
            && name != ".data.json"
            && path.starts_with(place.path("cache"))
    });
    assert_eq!(hidden.collect::<Vec<_>>(), [] as [PathBuf; 0]);
}
