//! A committed shard, mapped into memory and checked before it is parsed.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use leadspan_sequence::Split;
use parquet::{
    arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection},
    file::metadata::PageIndexPolicy,
};
use serde::{Deserialize, Serialize};

use crate::{
    CacheError, Layer, LayerDir, WorkUnit,
    hashing::Region,
    mapping,
    plain::{self, Rows},
    seal::{DATA_START, Seal},
};

/// The key of the footer's metadata under which [`Footer`] stands as JSON.
pub(crate) const FOOTER_KEY: &str = "leadspan";

/// What a shard says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Footer {
    pub(crate) placement: Placement,
    /// What kind of device computed it, as the writer was told.
    pub(crate) device_class: Option<String>,
    pub(crate) positions: u64,
    pub(crate) entries: u64,
    pub(crate) row_groups: Vec<RowGroup>,
}

/// Where a shard belongs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placement {
    pub(crate) identity: String,
    pub(crate) layer: Layer,
    pub(crate) split: Split,
    pub(crate) unit: u32,
    pub(crate) first_sample: u64,
    pub(crate) samples: u64,
    /// The hash of the rows of the corpus that the unit holds.
    pub(crate) rows_blake3: String,
}

/// One row group: how many rows, and its bytes in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RowGroup {
    pub(crate) rows: u64,
    pub(crate) data: Region,
}

impl Footer {
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings always serialize")
    }
}

impl Placement {
    /// Where the shard of `unit` in `layer` belongs.
    pub(crate) fn of(layer: &LayerDir, unit: &WorkUnit) -> Self {
        Self {
            identity: layer.identity_fingerprint().to_owned(),
            layer: *layer.layer(),
            split: unit.split,
            unit: unit.number,
            first_sample: unit.samples.start as u64,
            samples: unit.samples.len() as u64,
            rows_blake3: layer.corpus().unit_fingerprint(unit),
        }
    }

    /// What tells this shard from one that belongs elsewhere, in the order in which it is best explained.
    fn marks(&self) -> [(&'static str, String); 4] {
        let (first, end) = (self.first_sample, self.first_sample + self.samples);
        [
            ("cache identity", self.identity.clone()),
            ("layer", self.layer.folder_name()),
            (
                "work unit",
                format!("{}-{:06}, samples {first} to {end}", self.split, self.unit),
            ),
            ("corpus fingerprint", self.rows_blake3.clone()),
        ]
    }
}

/// A shard whose seal and footer hold; its row groups are checked when they are first read.
#[derive(Debug)]
pub(crate) struct Shard {
    path: PathBuf,
    bytes: Bytes,
    metadata: ArrowReaderMetadata,
    footer: Footer,
    groups: Vec<Group>,
}

/// Where a row group lies, and whether its checksum was compared.
#[derive(Debug)]
struct Group {
    rows: Range<usize>,
    bytes: Range<usize>,
    checked: AtomicBool,
}

impl Shard {
    /// Maps the shard at `path` and checks everything but its row groups.
    pub(crate) fn open(path: &Path) -> Result<Self, CacheError> {
        let bytes = mapping::map(path)?;
        let seal = Seal::check(&bytes, path)?;
        let inconsistent = |problem: &str| CacheError::Inconsistent {
            path: path.to_owned(),
            problem: problem.to_owned(),
        };
        let options = ArrowReaderOptions::new().with_offset_index_policy(PageIndexPolicy::Required);
        let metadata = ArrowReaderMetadata::load(&bytes, options).map_err(CacheError::parquet("read", path))?;
        if metadata.schema().fields() != plain::schema().fields() {
            return Err(inconsistent("its columns are not those of a shard"));
        }
        let file = metadata.metadata().file_metadata();
        let text = file
            .key_value_metadata()
            .and_then(|pairs| pairs.iter().find(|pair| pair.key == FOOTER_KEY)?.value.as_deref())
            .ok_or_else(|| inconsistent("its footer does not say what it holds"))?;
        let footer: Footer = serde_json::from_str(text).map_err(|source| CacheError::BadJson {
            path: path.to_owned(),
            source,
        })?;
        let groups = locate_groups(&footer, &metadata, bytes.len() - seal.tail_bytes as usize).map_err(inconsistent)?;
        Ok(Self {
            path: path.to_owned(),
            bytes,
            metadata,
            footer,
            groups,
        })
    }

    /// Maps the shard of `unit` in `layer` and makes sure that it is that shard.
    pub(crate) fn open_in(layer: &LayerDir, unit: &WorkUnit) -> Result<Self, CacheError> {
        let shard = Self::open(&layer.shard_path(unit))?;
        let (found, expected) = (shard.footer.placement.marks(), Placement::of(layer, unit).marks());
        for ((field, found), (_, expected)) in found.into_iter().zip(expected) {
            if found != expected {
                return Err(CacheError::ForeignShard {
                    path: shard.path,
                    field,
                    found,
                    expected,
                });
            }
        }
        Ok(shard)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn footer(&self) -> &Footer {
        &self.footer
    }

    /// The size of the file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Compares the checksums of all row groups.
    pub(crate) fn check_all(&self) -> Result<(), CacheError> {
        (0..self.groups.len()).try_for_each(|group| self.check(group))
    }

    /// Compares the checksum of one row group, once: the Parquet library sees only bytes that were written by us.
    fn check(&self, index: usize) -> Result<(), CacheError> {
        let group = &self.groups[index];
        // Two threads may both do the work; neither harms the other.
        if group.checked.load(Ordering::Relaxed) {
            return Ok(());
        }
        if !self.footer.row_groups[index]
            .data
            .matches(&self.bytes[group.bytes.clone()])
        {
            return Err(CacheError::Damaged {
                path: self.path.clone(),
                part: format!("row group {index}"),
            });
        }
        group.checked.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Reads ranges of rows, ascending and apart, without touching the pages of others.
    ///
    /// # Panics
    ///
    /// Where a range ends beyond the shard's rows, which [`Footer`] counts.
    pub(crate) fn read(&self, ranges: &[Range<usize>]) -> Result<Rows, CacheError> {
        let wanted = || ranges.iter().filter(|range| !range.is_empty());
        let (Some(first), Some(last)) = (wanted().next(), wanted().next_back()) else {
            return Ok(Rows::default());
        };
        let group_of = |row: usize| self.groups.partition_point(|group| group.rows.end <= row);
        let groups = group_of(first.start)..group_of(last.end - 1) + 1;
        for index in groups.clone() {
            let rows = &self.groups[index].rows;
            if wanted().any(|range| range.start < rows.end && rows.start < range.end) {
                self.check(index)?;
            }
        }
        let origin = self.groups[groups.start].rows.start;
        let span = self.groups[groups.end - 1].rows.end - origin;
        let count: usize = wanted().map(ExactSizeIterator::len).sum();
        let relative = wanted().map(|range| range.start - origin..range.end - origin);
        let failed = || CacheError::parquet("read", &self.path);
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(self.bytes.clone(), self.metadata.clone())
            .with_row_groups(groups.collect())
            .with_row_selection(RowSelection::from_consecutive_ranges(relative, span))
            .with_batch_size(count)
            .build()
            .map_err(failed())?;
        let mut rows = Rows::default();
        for batch in reader {
            let batch = batch.map_err(|error| failed()(error.into()))?;
            let read = Rows::from_batch(&batch).map_err(|source| CacheError::NotDistributions {
                path: self.path.clone(),
                source,
            })?;
            if rows.len() == 0 {
                rows = read;
            } else {
                rows.samples.extend(read.samples);
                rows.positions.extend(read.positions);
                rows.distributions.append(&read.distributions);
            }
        }
        if rows.len() == count {
            Ok(rows)
        } else {
            let problem = format!("{} rows were read where {count} were selected", rows.len());
            Err(CacheError::Inconsistent {
                path: self.path.clone(),
                problem,
            })
        }
    }
}

/// Lays the footer's row groups end to end and compares them with what the Parquet footer says.
fn locate_groups(footer: &Footer, metadata: &ArrowReaderMetadata, data_end: usize) -> Result<Vec<Group>, &'static str> {
    let stated = metadata.metadata().row_groups();
    let mut groups: Vec<Group> = Vec::with_capacity(stated.len());
    let (mut row, mut byte) = (0, DATA_START);
    for group in &footer.row_groups {
        let end = usize::try_from(group.data.bytes)
            .ok()
            .and_then(|bytes| byte.checked_add(bytes));
        let end = end
            .filter(|&end| end <= data_end)
            .ok_or("its row groups end beyond its data")?;
        let rows = row..row + group.rows as usize;
        row = rows.end;
        groups.push(Group {
            rows,
            bytes: byte..end,
            checked: AtomicBool::new(false),
        });
        byte = end;
    }
    let agree = stated.len() == groups.len()
        && stated
            .iter()
            .zip(&groups)
            .all(|(stated, group)| stated.num_rows() == group.rows.len() as i64);
    if byte != data_end || !agree || footer.positions != row as u64 {
        return Err("its footer and its row groups disagree");
    }
    Ok(groups)
}
