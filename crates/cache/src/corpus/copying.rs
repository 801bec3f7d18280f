//! Copying a prepared corpus from one cache to another: as it is, or some of its samples.

use std::{io::Write as _, path::Path};

use leadspan_files::{commit_bytes, commit_file, create_folder};

use super::{
    description::{description_name, old_table_name, parse_description, table_name, tokens_name},
    files::CorpusWriter,
    prepared::PreparedCorpus,
};
use crate::{Cache, CacheError, hashing::Region, json, mapping};

impl Cache {
    /// Copies all parts of the corpus of `source`, byte for byte. Parts that are there already stay.
    ///
    /// # Errors
    ///
    /// The error of a file that is damaged or cannot be read or written; [`CacheError::ForeignPart`] if this cache has another
    /// corpus.
    pub(crate) fn copy_corpus_of(&self, source: &Self) -> Result<(), CacheError> {
        let parts = source.require_corpus()?.parts().len();
        let (from, to) = (source.corpus_dir(), self.corpus_dir());
        create_folder(&to)?;
        for part in 0..parts {
            let name = description_name(part);
            let path = from.join(&name);
            let bytes = json::read(&path)?.ok_or_else(|| CacheError::MissingPart { path: path.clone() })?;
            match json::read(&to.join(&name))? {
                Some(there) if there == bytes => continue,
                Some(_) => {
                    let path = to.join(&name);
                    return Err(CacheError::ForeignPart { path, before: None });
                }
                None => {}
            }
            let description = parse_description(&bytes, &path)?;
            let files = match &description.tokens {
                None => vec![(old_table_name(part), &description.table)],
                Some(tokens) => vec![(table_name(part), &description.table), (tokens_name(part), tokens)],
            };
            for (name, region) in files {
                copy_file(&from.join(&name), &to.join(&name), region)?;
            }
            commit_bytes(&to.join(&name), &bytes)?;
        }
        Ok(())
    }
}

/// Copies a file that must have this size and this hash.
fn copy_file(from: &Path, to: &Path, region: &Region) -> Result<(), CacheError> {
    let bytes = mapping::map(from)?;
    if !region.matches(&bytes) {
        let (path, part) = (from.to_owned(), "contents".to_owned());
        return Err(CacheError::Damaged { path, part });
    }
    Ok(commit_file(to, |file| file.write_all(&bytes))?)
}

/// Pushes a sample of another corpus with everything that is stored of it.
///
/// # Errors
///
/// [`CacheError::Damaged`] if its tokens differ from their checksum; [`CacheError::Io`] if the file system refuses.
pub(crate) fn push_copy(writer: &mut CorpusWriter, corpus: &PreparedCorpus, index: usize) -> Result<(), CacheError> {
    writer.push(corpus.sample(index), corpus.tokens(index)?, corpus.row_hash(index))?;
    if let Some((column, tokens)) = corpus.lead_span_column().zip(corpus.lead_span_tokens(index)) {
        writer.push_lead_span(column, tokens);
    }
    Ok(())
}
