//! The files of a cache by their names, in the order in which they are copied.

use leadspan_files::is_tokenizer_file;

/// The folder of the samples to replay, a cache of its own inside a cache.
const REPLAY: &str = "replay/";

pub(crate) const IDENTITY: &str = "identity.json";
pub(crate) const INVENTORY: &str = "inventory.json";
pub(crate) const ORIGIN: &str = "origin.json";

/// What a file of a cache is. Each describes what stands before it in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Tokenizer,
    /// `identity.json`, which makes a folder a cache.
    Identity,
    /// `origin.json`, which says what a cache was cut from or merged of.
    Origin,
    /// The samples or tokens of a part of the corpus.
    Data,
    /// The description of a part of the corpus, which makes the data a part.
    Description,
    /// `layer.json`.
    Layer,
    Shard,
    /// What makes a shard a work unit of the cache.
    Receipt,
    Manifest,
    Inventory,
}

impl Kind {
    /// What a file is; `None` if it is no file of a cache. No such name leads out of the cache's folder.
    pub(crate) fn of(name: &str) -> Option<Self> {
        if let Some(inside) = name.strip_prefix(REPLAY) {
            // Its files are listed by the inventory around it.
            return Self::of_plain(inside)
                .filter(|kind| !kind.is_of_layer() && !matches!(kind, Self::Inventory | Self::Origin));
        }
        Self::of_plain(name)
    }

    fn of_plain(name: &str) -> Option<Self> {
        match name {
            IDENTITY => return Some(Self::Identity),
            INVENTORY => return Some(Self::Inventory),
            ORIGIN => return Some(Self::Origin),
            _ => {}
        }
        let mut parts = name.split('/');
        match (parts.next()?, parts.next()?, parts.next(), parts.next()) {
            ("tokenizer", file, None, None) => is_tokenizer_file(file).then_some(Self::Tokenizer),
            ("corpus", file, None, None) => Self::of_corpus(file),
            ("layers", layer, Some(file), None) if is_layer(layer) => match file {
                "layer.json" => Some(Self::Layer),
                "manifest.json" => Some(Self::Manifest),
                _ => match file.rsplit_once('.')? {
                    (unit, "parquet") if is_unit(unit) => Some(Self::Shard),
                    (unit, "json") if is_unit(unit) => Some(Self::Receipt),
                    _ => None,
                },
            },
            _ => None,
        }
    }

    fn of_corpus(file: &str) -> Option<Self> {
        let (stem, end) = file.rsplit_once('.')?;
        let (stem, number) = stem
            .split_once('-')
            .map_or((stem, None), |(stem, number)| (stem, Some(number)));
        if number.is_some_and(|number| number.len() < 3 || !is_digits(number)) {
            return None;
        }
        match (stem, end) {
            ("samples", "arrow" | "parquet") | ("tokens", "u32") => Some(Self::Data),
            ("prepared", "json") => Some(Self::Description),
            _ => None,
        }
    }

    /// Whether it is in the folder of a layer.
    pub(crate) fn is_of_layer(self) -> bool {
        matches!(self, Self::Layer | Self::Shard | Self::Receipt | Self::Manifest)
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether it may be the name of a layer's folder, such as `0-0.5-prompt+chain_of_thought+answer`.
pub(crate) fn is_layer(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_digit())
        && name
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || ".-_+,".contains(letter))
}

/// Whether it is the name of a work unit, such as `train-000004`.
pub(crate) fn is_unit(name: &str) -> bool {
    let (Some((split, number)), true) = (name.split_once('-'), name.is_ascii()) else {
        return false;
    };
    matches!(split, "train" | "validation") && number.len() >= 6 && is_digits(number)
}

/// The layer's folder and the work unit of a shard, by the name of its file.
pub(crate) fn unit_of(shard: &str) -> Option<(String, String)> {
    let (layer, file) = shard.strip_prefix("layers/")?.split_once('/')?;
    Some((layer.to_owned(), file.strip_suffix(".parquet")?.to_owned()))
}

/// The place of a file among those that are copied. The files inside `replay/` come after those around it.
pub(crate) fn order(kind: Kind, name: &str) -> (Kind, bool, &str) {
    (kind, name.starts_with(REPLAY), name)
}

/// Where the corpus's file `file` is, given the name of the description beside it.
pub(crate) fn beside(description: &str, file: &str) -> String {
    let folder = description.rsplit_once('/').map_or("", |(folder, _)| folder);
    format!("{folder}/{file}")
}

/// The number in the names of the files of a part of the corpus, with its hyphen, such as `-001`; nothing for the first part.
pub(crate) fn part_of(name: &str) -> &str {
    let file = name.rsplit_once('/').map_or(name, |(_, file)| file);
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    stem.find('-').map_or("", |at| &stem[at..])
}

/// The ending of the number of the part with this index.
pub(crate) fn part_ending(part: usize) -> String {
    match part {
        0 => String::new(),
        _ => format!("-{part:03}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_cache_are_known_by_their_names_and_no_other_is() {
        let layer = "layers/0-0.5-prompt+chain_of_thought+answer";
        for (name, kind) in [
            ("identity.json", Kind::Identity),
            ("inventory.json", Kind::Inventory),
            ("origin.json", Kind::Origin),
            ("tokenizer/tokenizer.json", Kind::Tokenizer),
            ("corpus/samples.arrow", Kind::Data),
            ("corpus/samples-001.parquet", Kind::Data),
            ("corpus/tokens-012.u32", Kind::Data),
            ("corpus/prepared.json", Kind::Description),
            ("replay/corpus/prepared-001.json", Kind::Description),
            ("replay/identity.json", Kind::Identity),
            (&format!("{layer}/layer.json"), Kind::Layer),
            (&format!("{layer}/manifest.json"), Kind::Manifest),
            (&format!("{layer}/train-000000.parquet"), Kind::Shard),
            (&format!("{layer}/validation-1234567.json"), Kind::Receipt),
        ] {
            assert_eq!(Kind::of(name), Some(kind), "{name}");
        }
        for name in [
            "",
            "notes.txt",
            ".weights.json",
            "tokenizer/../identity.json",
            "tokenizer/evil.py",
            "tokenizer",
            "corpus/prepared-1.json",
            "corpus/prepared-0x1.json",
            "layers/../train-000000.parquet",
            "layers/.hidden/layer.json",
            "layers/0-0.5-answer/.train-000000.parquet.Ab12cd.tmp",
            "layers/0-0.5-answer/train-1.parquet",
            "layers/0-0.5-answer/train-00000x.json",
            "layers/0-0.5-answer/deep/layer.json",
            "replay/layers/0-0.5-answer/layer.json",
            "replay/replay/identity.json",
            "replay/inventory.json",
            "replay/origin.json",
            "/identity.json",
        ] {
            assert_eq!(Kind::of(name), None, "{name}");
        }
    }

    #[test]
    fn each_file_comes_after_what_it_describes() {
        let mut names = [
            "inventory.json",
            "replay/identity.json",
            "corpus/prepared-001.json",
            "corpus/prepared.json",
            "identity.json",
            "corpus/tokens.u32",
            "tokenizer/tokenizer.json",
        ];
        names.sort_by_key(|name| order(Kind::of(name).unwrap(), name));
        assert_eq!(
            names,
            [
                "tokenizer/tokenizer.json",
                "identity.json",
                "replay/identity.json",
                "corpus/tokens.u32",
                "corpus/prepared-001.json",
                "corpus/prepared.json",
                "inventory.json"
            ]
        );
        assert_eq!(
            (part_of("corpus/prepared.json"), part_of("corpus/prepared-001.json")),
            ("", "-001")
        );
        assert_eq!((part_ending(0), part_ending(1)), (String::new(), "-001".to_owned()));
        assert_eq!(
            beside("replay/corpus/prepared.json", "tokens.u32"),
            "replay/corpus/tokens.u32"
        );
    }
}
