//! The base that an adapter names, compared with the model that it is used with.
//!
//! Two ids of Hub models can be compared. A path cannot: models are copied and renamed. Nor are owners compared, who publish the
//! same model again, or what the ends of names say about number formats.

use std::path::{Component, Path};

/// What names of the same model in another format end with.
const FORMATS: [&str; 10] = [
    "-4bit", "-8bit", "-awq", "-bf16", "-bnb", "-fp8", "-gguf", "-gptq", "-hf", "-unsloth",
];

/// The id of the Hub model in the local cache at `path`, if it is another than that of `base`.
pub(super) fn another_model(path: &Path, base: &str) -> Option<String> {
    let (owner, name) = hub_id(path)?;
    let (of_base, base_name) = base.split_once('/')?;
    let is_id = !of_base.is_empty() && ![".", "..", "~"].contains(&of_base) && !base_name.contains('/');
    (is_id && !base_name.is_empty() && plain(name) != plain(base_name)).then(|| format!("{owner}/{name}"))
}

/// Owner and name of the Hub model in the local cache at `path`; `None` if `path` is not in such a cache.
pub(in crate::weights) fn hub_id(path: &Path) -> Option<(&str, &str)> {
    let folder = path.components().find_map(|component| match component {
        Component::Normal(name) => name.to_str()?.strip_prefix("models--"),
        _ => None,
    })?;
    folder.split_once("--")
}

/// A name without what it says about the format.
fn plain(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    let mut rest = name.strip_prefix("meta-").unwrap_or(&name);
    while let Some(shorter) = FORMATS.iter().find_map(|format| rest.strip_suffix(format)) {
        rest = shorter;
    }
    rest.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_of_different_models_differ() {
        let of = |folder: &str, base: &str| {
            let path = format!("/cache/hub/models--{folder}/snapshots/0123");
            another_model(Path::new(&path), base)
        };
        for (folder, base) in [
            ("Qwen--Qwen3-8B", "Qwen/Qwen3-8B"),
            ("Qwen--Qwen3-8B", "unsloth/qwen3-8b-unsloth-bnb-4bit"),
            ("Qwen--Qwen3-8B-GGUF", "Qwen/Qwen3-8B"),
            ("meta-llama--Llama-3.1-8B", "unsloth/Meta-Llama-3.1-8B-bnb-4bit"),
            ("Qwen--Qwen3-8B", "/data/models/base"),
            ("Qwen--Qwen3-8B", "../models/base"),
            ("Qwen--Qwen3-8B", "../base"),
            ("Qwen--Qwen3-8B", "runs/one/merged"),
            ("Qwen--Qwen3-8B", "base"),
        ] {
            assert_eq!(of(folder, base), None, "{folder} {base}");
        }
        for base in ["Qwen/Qwen3-8B-Base", "Qwen/Qwen3-4B", "Qwen/Qwen2.5-7B"] {
            assert_eq!(of("Qwen--Qwen3-8B", base).as_deref(), Some("Qwen/Qwen3-8B"), "{base}");
        }
        assert_eq!(another_model(Path::new("/models/Qwen3-8B"), "Qwen/Qwen3-8B-Base"), None);
    }
}
