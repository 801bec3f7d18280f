//! Writing shards: what is refused, what is left behind, and which of two writers wins.

use std::fs;

use leadspan_diagnosis::Diagnosis as _;
use leadspan_distribution::Distributions;
use leadspan_sequence::SectionSet;

use super::{Shard, ShardWriter, adopt};
use crate::{CacheError, LayerDir, WorkUnit, tests::synthetic};

fn start(synthetic: &synthetic::Prepared) -> (LayerDir, WorkUnit, ShardWriter) {
    let layer = synthetic
        .cache
        .layer(&synthetic::coverage("0.5", SectionSet::ALL).into())
        .unwrap();
    let unit = layer.corpus().units()[0].clone();
    let writer = ShardWriter::create(&layer, &unit).unwrap();
    (layer, unit, writer)
}

fn push(writer: &mut ShardWriter, layer: &LayerDir, index: usize) -> Result<(), CacheError> {
    let sample = layer.corpus().sample(index);
    let positions: Vec<u32> = layer.layer().positions(sample).collect();
    writer.push_sample(
        index as u32,
        &positions,
        &synthetic::distributions(layer.corpus(), index, &positions),
    )
}

#[test]
fn an_uncommitted_writer_leaves_nothing_behind() {
    let synthetic = synthetic::prepared(6, 2, 4);
    let (layer, unit, mut writer) = start(&synthetic);
    push(&mut writer, &layer, 0).unwrap();
    assert!(!layer.is_committed(&unit) && layer.missing_units().unwrap().len() == layer.corpus().units().len());
    drop(writer);
    let names: Vec<_> = fs::read_dir(layer.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["layer.json"]);
}

#[test]
fn samples_out_of_order_or_with_other_positions_are_refused() {
    let synthetic = synthetic::prepared(6, 2, 4);
    let (layer, _, mut writer) = start(&synthetic);
    let refused = |result: Result<(), CacheError>, what: &str| {
        let error = result.unwrap_err();
        assert!(error.is_unexpected() && error.to_string().contains(what), "{error}");
    };
    refused(push(&mut writer, &layer, 1), "sample 0 cannot be written");
    push(&mut writer, &layer, 0).unwrap();
    refused(push(&mut writer, &layer, 0), "already");
    refused(push(&mut writer, &layer, 4), "another work unit");
    refused(
        writer.push_sample(1, &[0, 1], &Distributions::new()),
        "numbers of its positions",
    );
    let sample = layer.corpus().sample(1);
    refused(
        writer.push_sample(1, &[5], &synthetic::distributions(layer.corpus(), 1, &[5])),
        "the layer holds",
    );
    let mut impossible = Distributions::new();
    for &position in &layer.layer().positions(sample).collect::<Vec<_>>() {
        let distributions = synthetic::distributions(layer.corpus(), 1, &[position]);
        let mut stored = distributions.get(0);
        stored.tail_logprob = f32::NAN;
        impossible.push(stored);
    }
    let positions: Vec<u32> = layer.layer().positions(sample).collect();
    refused(writer.push_sample(1, &positions, &impossible), "not log-probabilities");
    refused(writer.commit().map(|_| ()), "left out");
}

#[test]
fn samples_without_positions_may_be_left_out() {
    let synthetic = synthetic::prepared_with_tokens(&[1, 9, 1, 1], 4);
    let (layer, unit, mut writer) = start(&synthetic);
    push(&mut writer, &layer, 1).unwrap();
    let receipt = writer.commit().unwrap();
    assert_eq!(receipt.positions, 3);
    assert_eq!(Shard::open_in(&layer, &unit).unwrap().footer().positions, 3);
}

#[test]
fn a_unit_without_any_position_is_an_empty_shard() {
    let synthetic = synthetic::prepared_with_tokens(&[1, 1], 2);
    let (layer, unit, writer) = start(&synthetic);
    assert_eq!(writer.commit().unwrap().positions, 0);
    let shard = Shard::open_in(&layer, &unit).unwrap();
    shard.check_all().unwrap();
    assert_eq!(shard.block_count(), 0);
}

#[test]
fn the_same_rows_give_the_same_bytes() {
    let bytes = || {
        let synthetic = synthetic::prepared(6, 2, 4);
        let (layer, unit, writer) = start(&synthetic);
        drop(writer);
        synthetic::write_shard(&layer, &unit);
        fs::read(layer.shard_path(&unit)).unwrap()
    };
    let first = bytes();
    assert_eq!(first, bytes());
    let version = concat!("leadspan ", env!("CARGO_PKG_VERSION")).as_bytes();
    assert!(
        !first.windows(version.len()).any(|window| window == version),
        "the crate version is in the file"
    );
}

#[test]
fn a_temporary_of_a_killed_writer_is_no_shard_and_goes_with_the_next_write() {
    let synthetic = synthetic::prepared(6, 2, 4);
    let (layer, unit, writer) = start(&synthetic);
    drop(writer);
    let stale = layer.path().join(".train-000000.parquet.kill00.tmp");
    fs::write(&stale, b"PAR1 and then the power went").unwrap();
    assert!(layer.missing_units().unwrap().contains(&unit));
    synthetic::write_shard(&layer, &unit);
    assert!(layer.is_committed(&unit) && !stale.exists());
}

#[test]
fn the_writer_that_comes_second_leaves_the_committed_shard_as_it_is() {
    let synthetic = synthetic::prepared(6, 2, 4);
    let (layer, unit, mut slow) = start(&synthetic);
    for index in unit.samples.clone() {
        push(&mut slow, &layer, index).unwrap();
    }
    synthetic::write_shard(&layer, &unit);
    let state = || {
        [layer.shard_path(&unit), layer.receipt_path(&unit)].map(|path| {
            let modified = fs::metadata(&path).unwrap().modified().unwrap();
            (fs::read(&path).unwrap(), modified)
        })
    };
    let before = state();
    let receipt = slow.with_device_class("another").commit().unwrap();
    assert_eq!(receipt.device_class, None);
    assert_eq!(state(), before);
}

#[test]
fn a_shard_whose_receipt_was_never_written_is_taken_up_where_it_is_sound() {
    let synthetic = synthetic::prepared(6, 2, 4);
    let (layer, unit, writer) = start(&synthetic);
    drop(writer);
    synthetic::write_shard(&layer, &unit);
    let sound = fs::read(layer.shard_path(&unit)).unwrap();
    let receipt = fs::read(layer.receipt_path(&unit)).unwrap();
    fs::remove_file(layer.receipt_path(&unit)).unwrap();
    assert!(!layer.is_committed(&unit));
    assert!(adopt(&layer, &unit).unwrap().is_some());
    assert_eq!(fs::read(layer.receipt_path(&unit)).unwrap(), receipt);
    // A damaged shard is replaced by the next writer.
    fs::remove_file(layer.receipt_path(&unit)).unwrap();
    fs::write(layer.shard_path(&unit), &sound[..sound.len() - 1]).unwrap();
    assert!(adopt(&layer, &unit).unwrap().is_none() && !layer.is_committed(&unit));
    synthetic::write_shard(&layer, &unit);
    assert_eq!(fs::read(layer.shard_path(&unit)).unwrap(), sound);
    assert_eq!(fs::read(layer.receipt_path(&unit)).unwrap(), receipt);
}
