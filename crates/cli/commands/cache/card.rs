//! `leadspan cache card`: a data set card, which describes a cache to those who find it on a model hub.

use std::{fmt, path::Path, path::PathBuf};

use leadspan_cache::{Cache, Card};
use leadspan_files::{commit_bytes, read_unlinked};
use serde::Serialize;

use super::audited;
use crate::{
    arguments::CardArguments,
    commands::{Ending, Showing},
    failure::{Context as _, Result},
    outputs::{self, OutputRefusal},
    path_text,
};

/// The most bytes of an earlier card.
const MOST_BYTES: u64 = 1 << 20;

/// What every card has.
const TITLE: &str = "\n# Teacher distributions\n";

pub(super) fn run(cache: &Cache, arguments: &CardArguments, showing: Showing) -> Result<Ending> {
    let card = Card::of(cache).with_context(|| format!("could not describe `{}`", cache.dir().display()))?;
    let fidelity = arguments
        .audit
        .as_deref()
        .map(|path| audited::figures(path, cache))
        .transpose()?;
    let card = card.licensed(arguments.license.as_deref()).audited(fidelity);
    let Some(out) = &arguments.out else {
        showing.result(&card)?;
        return Ok(Ending::Done);
    };
    let inputs: Vec<&Path> = [&arguments.folder.config, &arguments.audit]
        .into_iter()
        .filter_map(|path| path.as_deref())
        .collect();
    outputs::check_file(out, arguments.overwrite, &inputs)?;
    let is_card = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(TITLE);
    if out.exists() && !read_unlinked(out, MOST_BYTES).is_ok_and(|bytes| is_card(&bytes)) {
        let path = out.clone();
        return Err(OutputRefusal::Foreign { path }.into());
    }
    commit_bytes(out, card.to_string().as_bytes()).with_context(|| "could not write the card".to_owned())?;
    showing.result(&Written { out: out.clone(), card })?;
    Ok(Ending::Done)
}

/// The result of the command if it writes a file.
#[derive(Serialize)]
struct Written {
    #[serde(serialize_with = "path_text::as_text")]
    out: PathBuf,
    #[serde(flatten)]
    card: Card,
}

impl fmt::Display for Written {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "wrote the card to `{}`", self.out.display())
    }
}
