//! The rows of a Parquet table that lie in pages of too many bytes, and the selection of the others.

use std::ops::Range;

use leadspan_parquet_guard::LargePage;
use parquet::{
    arrow::arrow_reader::RowSelection,
    file::metadata::{ParquetMetaData, RowGroupMetaData},
};

/// Consecutive rows that are not read, because they need a page of too many bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unread {
    /// The rows, counted from 0 in the file.
    pub(super) rows: Range<u64>,
    /// The page.
    pub(super) page: LargePage,
}

/// The rows that need one of these pages, in ascending order.
pub(super) fn unread(metadata: &ParquetMetaData, large: Vec<LargePage>) -> Vec<Unread> {
    let starts = group_starts(metadata);
    let mut all: Vec<Unread> = large
        .into_iter()
        .map(|page| {
            let start = starts[page.group];
            Unread {
                rows: start + page.rows.start..start + page.rows.end,
                page,
            }
        })
        .collect();
    all.sort_by_key(|unread| (unread.rows.start, unread.rows.end));
    let mut apart: Vec<Unread> = Vec::new();
    for unread in all {
        match apart.last_mut() {
            // Of rows that need several pages, the first page is named.
            Some(last) if unread.rows.start < last.rows.end => last.rows.end = last.rows.end.max(unread.rows.end),
            _ => apart.push(unread),
        }
    }
    apart
}

/// The row groups of which rows are read, and which of their rows.
///
/// No page is decoded of which all rows are left out. Row groups without any row that is read do not count: pages of lists do not
/// always show which rows they have, so they would be decoded.
pub(super) fn selection(metadata: &ParquetMetaData, unread: &[Unread]) -> (Vec<usize>, RowSelection) {
    let (mut groups, mut selected, mut before) = (Vec::new(), Vec::new(), 0);
    for (group, start) in group_starts(metadata).into_iter().enumerate() {
        let rows = start..start + rows_of(metadata.row_group(group));
        let mut read = Vec::new();
        let mut next = rows.start;
        for left_out in unread
            .iter()
            .filter(|unread| unread.rows.start < rows.end && unread.rows.end > rows.start)
        {
            read.push(next..left_out.rows.start.max(next));
            next = left_out.rows.end.min(rows.end);
        }
        read.push(next..rows.end);
        read.retain(|range| !range.is_empty());
        if !read.is_empty() {
            groups.push(group);
            let place = |row: u64| (row - rows.start) as usize + before;
            selected.extend(read.into_iter().map(|range| place(range.start)..place(range.end)));
            before += (rows.end - rows.start) as usize;
        }
    }
    (
        groups,
        RowSelection::from_consecutive_ranges(selected.into_iter(), before),
    )
}

/// The first row of each group, counted from 0.
fn group_starts(metadata: &ParquetMetaData) -> Vec<u64> {
    let groups = metadata.row_groups().iter();
    groups
        .scan(0u64, |next, group| {
            let start = *next;
            *next = start.saturating_add(rows_of(group));
            Some(start)
        })
        .collect()
}

fn rows_of(group: &RowGroupMetaData) -> u64 {
    u64::try_from(group.num_rows()).unwrap_or(0)
}
