//! Which errors are unexpected, and hints for the others.

use std::{io, path::Path};

use leadspan_diagnosis::Diagnosis;
use leadspan_files::Refusal;

use super::CacheError;
use crate::{identity::ABSENT, inventory::Inventory, layers::DESCRIPTION, replay::REPLAY};

impl Diagnosis for CacheError {
    fn is_unexpected(&self) -> bool {
        match self {
            Self::Io { source, .. } => leadspan_files::is_unexpected(source),
            Self::Parquet { .. }
            | Self::WrongSample { .. }
            | Self::NoSuchSample { .. }
            | Self::UnstorableCorpus { .. } => true,
            _ => false,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Io { source, path, action } => {
                let is_lost = source.kind() == io::ErrorKind::NotFound
                    && ["open", "read"].contains(action)
                    && (is_in_a_layer(path) || parent(path).ends_with("corpus"));
                if is_lost {
                    return Some(damage_hint(path));
                }
                let restored = Refusal::of(source).map(|_| restore_hint(path));
                leadspan_files::hint(source, path).or(restored)
            }
            Self::Unlisted { path, .. } if is_in_a_layer(path) => Some(damage_hint(path)),
            Self::Unlisted { path, inventory, .. } if path.ends_with(REPLAY) => Some(format!(
                "run `leadspan prepare`, which compares it with the data and then lists it in `{}`",
                inventory.display()
            )),
            Self::Unlisted { path, inventory, .. } => Some(format!(
                "restore `{}` from a copy; if you changed it on purpose, remove `{}` and run `leadspan precompute --finalize`",
                path.display(),
                inventory.display()
            )),
            Self::BadJson { path, .. } | Self::UnsupportedVersion { path, .. }
                if *path == Inventory::path(parent(path)) =>
            {
                Some(format!(
                    "restore `{}` from a copy, or remove it and run `leadspan precompute --finalize`, which makes it again",
                    path.display()
                ))
            }
            Self::NotACache { .. } | Self::NotPrepared { .. } | Self::NothingCaptured { .. } => {
                Some("make it with `leadspan precompute`".to_owned())
            }
            Self::Occupied { path, .. } => Some(format!(
                "choose a new or empty folder; if `{}` was a cache, restore its `identity.json` from a copy",
                path.display()
            )),
            Self::AlreadyPrepared { .. } => Some("point `cache.dir` at a new folder".to_owned()),
            Self::UnsupportedVersion { found, supported, .. } if supported.iter().all(|known| found > known) => {
                Some("use the version of leadspan that made it, or a newer one".to_owned())
            }
            Self::UnsupportedVersion { .. } => Some("make it again with `leadspan precompute`".to_owned()),
            Self::Imported { .. } => Some(
                "point `cache.dir` at a new folder to capture a teacher; an imported cache can be trained from, inspected and \
                 exported"
                    .to_owned(),
            ),
            Self::IdentityMismatch { field, stored, .. } => Some(identity_hint(field, stored)),
            Self::BadJson { path, .. } if is_in_a_layer(path) => Some(damage_hint(path)),
            Self::MissingPart { path } | Self::ForeignPart { path, .. } | Self::BadJson { path, .. } => {
                Some(restore_hint(path))
            }
            Self::StrayShard { path } => Some(format!("remove `{}`: nothing reads it", path.display())),
            Self::NotAShard { path }
            | Self::WrongSize { path, .. }
            | Self::Damaged { path, .. }
            | Self::ForeignShard { path, .. }
            | Self::Inconsistent { path, .. }
            | Self::NotDistributions { path, .. } => Some(damage_hint(path)),
            Self::ProportionNotCaptured { asked, .. } => Some(format!(
                "ask for less, or set `cache.lead_span_proportion = {asked}` and run `leadspan precompute` to add the rest"
            )),
            Self::SectionsNotCaptured { asked, .. } => {
                let names: Vec<String> = asked.iter().map(|section| format!("\"{section}\"")).collect();
                Some(format!(
                    "set `cache.supervised_sections = [{}]` and run `leadspan precompute` to add them",
                    names.join(", ")
                ))
            }
            Self::OtherOrigin { .. } => Some("choose a new or empty folder".to_owned()),
            Self::Unmergeable { fix, .. } => Some((*fix).to_owned()),
            Self::TopKNotCaptured { stored, .. } => Some(format!("set `--top-k` to a number from 1 to {stored}")),
            Self::DrawsOfSmallerTail { .. } => {
                Some("leave `--top-k` out, or capture with a smaller `cache.top_k` and `cache.tail_samples`".to_owned())
            }
            Self::NoSamples { .. } => Some("name at least one sample by its id, one id on a line".to_owned()),
            Self::IncompleteLayer { .. } => {
                Some(
                    "run `leadspan precompute` again, or the `leadspan cache import` that began it: they do only what is \
                     missing"
                        .to_owned(),
                )
            }
            Self::UnknownSample { first: Some(first), .. } => Some(format!(
                "ids look like `{first}`: a row's `id`, or its file and line; `leadspan cache export` lists them all"
            )),
            Self::UnfinishedLayer { unfinished, .. } => {
                let folder = match &**unfinished {
                    Self::IncompleteLayer { path, .. } => path.display().to_string(),
                    _ => "its folder".to_owned(),
                };
                Some(format!(
                    "run `leadspan precompute` with the proportion and sections of that layer, or delete `{folder}`"
                ))
            }
            _ => None,
        }
    }
}

fn identity_hint(field: &str, stored: &str) -> String {
    let elsewhere = "point `cache.dir` at a new folder";
    match field {
        _ if stored == ABSENT && field.starts_with("sections.") => {
            format!("leave `{field}` out to use this cache, or {elsewhere}")
        }
        "teacher.lora_blake3" if stored == ABSENT => {
            format!("leave `teacher.adapter` out to use this cache, or {elsewhere}")
        }
        "teacher.lora_blake3" => format!("set `teacher.adapter` to the adapter of this cache, or {elsewhere}"),
        _ if stored == ABSENT => format!("it was prepared without a teacher: {elsewhere}"),
        "top_k" | "top_p" | "tail_samples" | "temperatures" => {
            format!("set `cache.{field} = {stored}` to use this cache, or {elsewhere}")
        }
        "precision" => format!("set `cache.precision = \"{stored}\"` to use this cache, or {elsewhere}"),
        "teacher.dtype" => format!("set `teacher.dtype = \"{stored}\"` to use this cache, or {elsewhere}"),
        "codec" => elsewhere.to_owned(),
        _ if field.starts_with("teacher.") => format!("use the teacher that made this cache, or {elsewhere}"),
        _ if field.starts_with("sections.") => {
            format!("set `{field}` back to `{stored}` to use this cache, or {elsewhere}")
        }
        _ => format!("use the model files that made this cache, or {elsewhere}"),
    }
}

fn damage_hint(path: &Path) -> String {
    if parent(path).ends_with("tokenizer") {
        return format!(
            "remove `{}` and run `leadspan prepare` again, which writes it anew if the model's files are those of the cache, or \
             restore it from a copy",
            path.display()
        );
    }
    if is_in_a_layer(path) && path.ends_with(DESCRIPTION) {
        format!(
            "restore `{}` from a copy, or remove the folder `{}` and run `leadspan precompute`, which captures the layer again",
            path.display(),
            parent(path).display()
        )
    } else if is_in_a_layer(path) {
        format!(
            "run `leadspan cache verify --repair` to drop `{}`, then `leadspan precompute`: it redoes only that work unit",
            path.display()
        )
    } else {
        restore_hint(path)
    }
}

/// Whether a file lies in the folder of a layer.
fn is_in_a_layer(path: &Path) -> bool {
    path.parent()
        .and_then(Path::parent)
        .is_some_and(|folder| folder.ends_with("layers"))
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn restore_hint(path: &Path) -> String {
    format!("restore `{}` from a copy or make the cache again", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::errors::ParquetError;

    #[test]
    fn refusals_of_the_file_system_are_told_from_failures() {
        let of = |kind: io::ErrorKind| CacheError::io("open", "shard")(kind.into());
        assert!(!of(io::ErrorKind::PermissionDenied).is_unexpected());
        assert!(!of(io::ErrorKind::StorageFull).is_unexpected());
        assert!(of(io::ErrorKind::Other).is_unexpected());
    }

    #[test]
    fn what_is_lost_of_a_cache_is_restored_or_captured_again() {
        let of = |path: &str| CacheError::io("open", path)(io::ErrorKind::NotFound.into()).hint();
        assert_eq!(
            of("cache/corpus/tokens.u32").unwrap(),
            "restore `cache/corpus/tokens.u32` from a copy or make the cache again"
        );
        assert!(of("cache/layers/l/train-000000.parquet").unwrap().contains("--repair"));
        assert_eq!(of("elsewhere/tokens.u32"), None);
    }

    #[test]
    fn a_pipe_in_the_place_of_a_claim_is_not_said_to_be_part_of_the_cache() {
        let of = |path: &str| CacheError::io("claim", path)(Refusal::NotRegular("a named pipe").into());
        let hint = of("cache/.claims/preparing").hint().unwrap();
        assert!(hint.starts_with("remove `cache/.claims/preparing`"), "{hint}");
        let hint = of("cache/identity.json").hint().unwrap();
        assert!(hint.starts_with("restore `cache/identity.json`"), "{hint}");
    }

    #[test]
    fn a_layer_without_a_sound_description_is_restored_or_captured_again() {
        let path = Path::new("cache/layers/l/layer.json");
        let problem = || "it describes the layer `m`".to_owned();
        let edited = CacheError::Inconsistent {
            path: path.into(),
            problem: problem(),
        };
        let hint = edited.hint().unwrap();
        assert_eq!(
            hint,
            "restore `cache/layers/l/layer.json` from a copy, or remove the folder `cache/layers/l` and run `leadspan \
             precompute`, which captures the layer again"
        );
        let source = serde_json::from_str::<u8>("{").unwrap_err();
        let damaged = CacheError::BadJson {
            path: path.into(),
            source,
        };
        assert_eq!(damaged.hint().unwrap(), hint);
        let shard = path.with_file_name("train-000000.parquet");
        let foreign = CacheError::Inconsistent {
            path: shard,
            problem: problem(),
        };
        assert!(foreign.hint().unwrap().contains("--repair"));
    }

    #[test]
    fn an_io_error_beneath_the_parquet_library_keeps_its_kind() {
        let full = ParquetError::External(Box::new(io::Error::from(io::ErrorKind::StorageFull)));
        let error = CacheError::parquet("write", "shard")(full);
        assert!(matches!(&error, CacheError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull));
        assert!(error.hint().unwrap().contains("free some space"));
    }
}
