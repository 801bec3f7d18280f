//! The entries of a table of the pipeline file in the order in which they were written.

use std::borrow::Cow;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

type Entry<'t, 'i> = (&'t Spanned<Cow<'i, str>>, &'t Spanned<DeValue<'i>>);

/// The entries of a table in the order in which they were written, so that the first mistake is reported first.
pub(crate) fn in_written_order<'t, 'i>(table: &'t DeTable<'i>) -> Vec<Entry<'t, 'i>> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}
