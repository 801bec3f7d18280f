//! Shards that are damaged, truncated, swapped or foreign give a named error and never a panic.

use std::{
    fs,
    path::{Path, PathBuf},
};

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use leadspan_diagnosis::Diagnosis as _;
use leadspan_sequence::SectionSet;
use parquet::arrow::ArrowWriter;
use std::sync::Arc;

use crate::{
    Cache, CacheError, Missing, Reader,
    hashing::Region,
    json,
    shard::Shard,
    shard::seal::{DATA_START, PARQUET_MAGIC, Seal},
    tests::synthetic,
};

/// Opens the cache and reads every sample of it.
fn read_all(cache: &Cache) -> Result<(), CacheError> {
    let reader = Reader::open(cache, synthetic::coverage("1.0", SectionSet::ALL), Missing::Refused)?;
    (0..reader.corpus().len() as u32).try_for_each(|index| reader.span(index).map(drop))
}

fn first_shard(cache: &Cache) -> PathBuf {
    let layer = cache.layers().unwrap().remove(0);
    layer.shard_path(&layer.corpus().units()[0])
}

/// A captured cache, the path of its first shard and that shard's bytes.
fn captured() -> (synthetic::Prepared, PathBuf, Vec<u8>) {
    let captured = synthetic::captured("1.0", SectionSet::ALL);
    let shard = first_shard(&captured.cache);
    let bytes = fs::read(&shard).unwrap();
    (captured, shard, bytes)
}

#[test]
fn verify_finds_every_flipped_bit_of_a_shard() {
    let captured = synthetic::prepared_with_tokens(&[9], 1);
    synthetic::capture(&captured.cache, &synthetic::coverage("1.0", SectionSet::ALL).into());
    let shard = first_shard(&captured.cache);
    let sound = fs::read(&shard).unwrap();
    let problems = || crate::verify(&captured.cache, &mut |_| {}).unwrap().problems;
    assert!(problems().is_empty());
    for bit in 0..sound.len() * 8 {
        let mut flipped = sound.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&shard, flipped).unwrap();
        let problems = problems();
        assert_eq!(problems.len(), 1, "bit {bit}");
        let error = &problems[0].error;
        assert!(!error.is_unexpected(), "bit {bit}: {error}");
        assert!(error.to_string().contains("train-000000.parquet"), "bit {bit}: {error}");
    }
}

#[test]
fn a_flipped_bit_in_any_byte_of_a_shard_is_named() {
    let (captured, shard, sound) = captured();
    read_all(&captured.cache).unwrap();
    // One bit of every byte, a different one from byte to byte.
    for byte in 0..sound.len() {
        let mut flipped = sound.clone();
        flipped[byte] ^= 1 << (byte % 8);
        fs::write(&shard, flipped).unwrap();
        // A reader does not read page headers and lengths; `verify` reads everything.
        let error = match read_all(&captured.cache) {
            Err(error) => error,
            Ok(()) => {
                crate::verify(&captured.cache, &mut |_| {})
                    .unwrap()
                    .problems
                    .remove(0)
                    .error
            }
        };
        assert!(
            !error.is_unexpected() && error.to_string().contains("train-000000.parquet"),
            "byte {byte}: {error}"
        );
        if byte >= DATA_START {
            assert!(matches!(error, CacheError::Damaged { .. }), "byte {byte}: {error}");
            assert!(error.hint().unwrap().contains("redoes only that work unit"));
        }
    }
}

#[test]
fn a_shard_cut_at_any_length_is_found() {
    let (captured, shard, sound) = captured();
    for length in (0..sound.len()).step_by(13).chain([sound.len() - 1]) {
        fs::write(&shard, &sound[..length]).unwrap();
        let error = read_all(&captured.cache).unwrap_err();
        let named = if length < DATA_START {
            matches!(error, CacheError::NotAShard { .. })
        } else {
            matches!(error, CacheError::WrongSize { found, .. } if found == length as u64)
        };
        assert!(named, "{length} bytes: {error}");
    }
    fs::write(&shard, [&sound[..], b"more"].concat()).unwrap();
    assert!(matches!(read_all(&captured.cache), Err(CacheError::WrongSize { .. })));
}

#[test]
fn a_receipt_that_was_edited_is_named_whether_the_inventory_lists_its_shard_or_not() {
    let captured = synthetic::captured("1.0", SectionSet::ALL);
    let layer = captured.cache.layers().unwrap().remove(0);
    let receipt = layer.receipt_path(&layer.corpus().units()[0]);
    let sound = fs::read_to_string(&receipt).unwrap();
    for listed in [false, true] {
        if listed {
            layer.write_manifest().unwrap();
            captured.cache.take_inventory().unwrap();
        }
        for key in [
            "positions",
            "entries",
            "retained_mass",
            "identity",
            "rows_blake3",
            "device_class",
            "shard",
        ] {
            let mut edited: serde_json::Value = serde_json::from_str(&sound).unwrap();
            edited[key] = match &edited[key] {
                serde_json::Value::Number(number) if number.is_u64() => 1.into(),
                serde_json::Value::Number(_) => 1.5.into(),
                serde_json::Value::Object(_) => serde_json::json!({ "bytes": 1, "blake3": edited[key]["blake3"] }),
                _ => "edited".into(),
            };
            fs::write(&receipt, json::to_bytes(&edited)).unwrap();
            let cache = Cache::open(captured.cache.dir()).unwrap();
            let error = read_all(&cache).expect_err(key);
            assert!(error.to_string().contains("train-000000"), "{key}, {listed}: {error}");
            assert!(!error.is_unexpected() && error.hint().is_some(), "{error}");
        }
        fs::write(&receipt, &sound).unwrap();
        read_all(&Cache::open(captured.cache.dir()).unwrap()).unwrap();
    }
}

#[test]
fn a_shard_of_a_newer_version_is_refused_by_name() {
    let (captured, shard, mut bytes) = captured();
    bytes[12] = 9;
    fs::write(&shard, bytes).unwrap();
    let error = read_all(&captured.cache).unwrap_err();
    assert!(
        matches!(error, CacheError::UnsupportedVersion { found: 9, .. }),
        "{error}"
    );
}

#[test]
fn files_that_are_no_shards_are_refused() {
    let (captured, shard, _) = captured();
    let column: ArrayRef = Arc::new(UInt32Array::from(vec![1, 2, 3]));
    let batch = RecordBatch::try_from_iter([("sample", column)]).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    let somebody_elses_parquet = writer.into_inner().unwrap();
    for foreign in [
        &b"rows of text, called .parquet"[..],
        b"",
        &[0; 4096],
        &somebody_elses_parquet,
    ] {
        fs::write(&shard, foreign).unwrap();
        assert!(matches!(read_all(&captured.cache), Err(CacheError::NotAShard { .. })));
    }
}

/// Puts forged bytes in the place of a shard, and a receipt that fits them.
fn put(shard: &Path, bytes: &[u8]) {
    let receipt = shard.with_extension("json");
    let mut stated: serde_json::Value = serde_json::from_slice(&fs::read(&receipt).unwrap()).unwrap();
    stated["shard"] = serde_json::to_value(Region::of(bytes)).unwrap();
    let tail: [u8; 32] = bytes[36..68].try_into().unwrap();
    stated["tail_blake3"] = blake3::Hash::from_bytes(tail).to_hex().as_str().into();
    fs::write(receipt, json::to_bytes(&stated)).unwrap();
    fs::write(shard, bytes).unwrap();
}

/// Replaces the first shard of a cache by that of another one. Returns the property in which they differ.
fn mark_of_a_shard_from(other: &Cache) -> &'static str {
    let (captured, shard, _) = captured();
    fs::copy(first_shard(other), &shard).unwrap();
    match read_all(&captured.cache).unwrap_err() {
        CacheError::ForeignShard { field, .. } => field,
        error => panic!("{error}"),
    }
}

#[test]
fn a_shard_of_another_cache_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut identity = synthetic::identity();
    identity.teacher.as_mut().unwrap().dtype = "bf16".into();
    let other = Cache::create_or_open(folder.path(), &identity, &[]).unwrap();
    let corpus = synthetic::corpus(11, 3, 4);
    other
        .write_corpus(
            &synthetic::samples_of(&corpus),
            &synthetic::row_hashes_of(&corpus),
            corpus.samples_per_shard(),
            corpus.provenance().clone(),
        )
        .unwrap();
    synthetic::capture(&other, &synthetic::coverage("1.0", SectionSet::ALL).into());
    assert_eq!(mark_of_a_shard_from(&other), "cache identity");
}

#[test]
fn a_shard_of_another_layer_unit_or_corpus_is_refused() {
    assert_eq!(
        mark_of_a_shard_from(&synthetic::captured("0.5", SectionSet::ALL).cache),
        "layer"
    );
    let smaller_units = synthetic::prepared(11, 3, 3);
    synthetic::capture(
        &smaller_units.cache,
        &synthetic::coverage("1.0", SectionSet::ALL).into(),
    );
    assert_eq!(mark_of_a_shard_from(&smaller_units.cache), "work unit");

    let folder = tempfile::tempdir().unwrap();
    let other = Cache::create_or_open(folder.path(), &synthetic::identity(), &[]).unwrap();
    let corpus = synthetic::corpus(11, 3, 4);
    let mut hashes = synthetic::row_hashes_of(&corpus);
    hashes[2][0] ^= 1;
    other
        .write_corpus(
            &synthetic::samples_of(&corpus),
            &hashes,
            corpus.samples_per_shard(),
            corpus.provenance().clone(),
        )
        .unwrap();
    synthetic::capture(&other, &synthetic::coverage("1.0", SectionSet::ALL).into());
    assert_eq!(mark_of_a_shard_from(&other), "corpus fingerprint");
}

/// Changes of a byte that affect signs, lengths and types.
const CHANGES: [u8; 5] = [0x01, 0x02, 0x40, 0x80, 0xff];

/// The offset of the page index and footer of a shard.
fn tail_start(shard: &[u8]) -> usize {
    shard.len() - u64::from_le_bytes(shard[28..36].try_into().unwrap()) as usize
}

/// The shard with these row groups, which follow space for the seal, and this tail.
fn sealed(data: &[u8], tail: &[u8]) -> Vec<u8> {
    let seal = Seal {
        file_bytes: (data.len() + tail.len()) as u64,
        tail_bytes: tail.len() as u64,
        tail_blake3: *blake3::hash(tail).as_bytes(),
    };
    [PARQUET_MAGIC, &seal.to_bytes()[..], &data[DATA_START..], tail].concat()
}

#[test]
fn a_footer_that_was_forged_anywhere_is_an_error_or_a_footer() {
    let (captured, shard, sound) = captured();
    let (data, tail) = sound.split_at(tail_start(&sound));
    for at in 0..tail.len() {
        for change in CHANGES {
            let mut forged = tail.to_vec();
            forged[at] ^= change;
            put(&shard, &sealed(data, &forged));
            let _ = read_all(&captured.cache);
        }
    }
}

#[test]
fn a_head_that_was_forged_anywhere_is_an_error_or_a_head() {
    let (captured, shard, sound) = captured();
    let (data, tail) = sound.split_at(tail_start(&sound));
    let head = Shard::open(&shard).unwrap().footer().row_groups[0].head.clone();
    let range = DATA_START..DATA_START + head.bytes as usize;
    let place = tail
        .windows(64)
        .position(|text| text == head.blake3.as_bytes())
        .unwrap();
    for at in range.clone() {
        for change in CHANGES {
            let mut forged = data.to_vec();
            forged[at] ^= change;
            let mut tail = tail.to_vec();
            tail[place..place + 64].copy_from_slice(Region::of(&forged[range.clone()]).blake3.as_bytes());
            put(&shard, &sealed(&forged, &tail));
            let _ = read_all(&captured.cache);
        }
    }
}

#[test]
fn a_page_of_negative_length_is_refused() {
    let captured = synthetic::prepared_with_tokens(&[400; 8], 8);
    synthetic::capture(&captured.cache, &synthetic::coverage("1.0", SectionSet::ALL).into());
    let shard = first_shard(&captured.cache);
    let sound = fs::read(&shard).unwrap();
    let (data, tail) = sound.split_at(tail_start(&sound));
    let varint = |number: u64| -> Vec<u8> {
        let bytes = (0..=number.ilog2() / 7).map(|group| (number >> (7 * group)) as u8 & 0x7f | 0x80);
        let mut bytes: Vec<u8> = bytes.collect();
        *bytes.last_mut().unwrap() &= 0x7f;
        bytes
    };
    // In the page index: 0x16 and the offset, 0x15 and the length, both doubled. The lowest bit is the sign.
    let head = Shard::open(&shard).unwrap().footer().row_groups[0].head.bytes as usize;
    let offset = [&[0x16][..], &varint(2 * (DATA_START + head) as u64), &[0x15]].concat();
    let at = tail.windows(offset.len()).position(|bytes| bytes == offset).unwrap();
    let mut forged = tail.to_vec();
    forged[at + offset.len()] ^= 1;
    fs::write(&shard, sealed(data, &forged)).unwrap();
    let error = read_all(&captured.cache).unwrap_err();
    assert!(matches!(error, CacheError::Inconsistent { .. }), "{error}");
}

/// Forges each byte of a file of a corpus with a matching checksum. Returns how many of the changes were refused.
fn forge_everywhere(cache: &Path, file: &str, checksum: &str) -> usize {
    let folder = cache.join("corpus");
    let (path, description) = (folder.join(file), folder.join("prepared.json"));
    let sound = fs::read(&path).unwrap();
    let mut stated: serde_json::Value = serde_json::from_slice(&fs::read(&description).unwrap()).unwrap();
    let mut refused = 0;
    for at in 0..sound.len() {
        for change in CHANGES {
            let mut forged = sound.clone();
            forged[at] ^= change;
            stated[checksum] = serde_json::to_value(Region::of(&forged)).unwrap();
            fs::write(&path, forged).unwrap();
            fs::write(&description, json::to_bytes(&stated)).unwrap();
            let corpus = Cache::open(cache).unwrap().corpus();
            let tokens = corpus.and_then(|corpus| corpus.map_or(Ok(()), |corpus| corpus.check_tokens(0..corpus.len())));
            refused += usize::from(tokens.is_err());
        }
    }
    fs::write(&path, &sound).unwrap();
    stated[checksum] = serde_json::to_value(Region::of(&sound)).unwrap();
    fs::write(&description, json::to_bytes(&stated)).unwrap();
    assert!(Cache::open(cache).unwrap().corpus().is_ok());
    refused
}

#[test]
fn a_corpus_that_was_forged_anywhere_is_an_error_or_a_corpus() {
    let synthetic = synthetic::prepared(3, 1, 2);
    let dir = synthetic.cache.dir();
    let size = |file: &str| fs::metadata(dir.join("corpus").join(file)).unwrap().len() as usize;
    // Most of the small table is padding and headers that are not used.
    assert!(forge_everywhere(dir, "samples.arrow", "table") > size("samples.arrow") / 2);
    // Each token is covered by the checksum of its sample.
    let refused = forge_everywhere(dir, "tokens.u32", "tokens");
    assert_eq!(refused, size("tokens.u32") * CHANGES.len());
}

#[test]
fn a_corpus_of_format_2_that_was_forged_anywhere_is_an_error_or_a_corpus() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/caches/format-2-standard");
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("corpus")).unwrap();
    for file in ["identity.json", "corpus/prepared.json", "corpus/samples.parquet"] {
        fs::copy(golden.join(file), folder.path().join(file)).unwrap();
    }
    let refused = forge_everywhere(folder.path(), "samples.parquet", "table");
    assert!(
        refused
            > fs::metadata(folder.path().join("corpus/samples.parquet"))
                .unwrap()
                .len() as usize
    );
}
