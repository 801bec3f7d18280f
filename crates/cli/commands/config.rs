//! `leadspan config`: the reference of the pipeline file, or its JSON schema.

use serde_json::json;

use super::{Ending, Showing};
use crate::{arguments::ConfigArguments, failure::Result, keys, output, swept_name};

pub(super) fn run(arguments: &ConfigArguments, showing: Showing) -> Result<Ending> {
    if arguments.schema {
        let schema = swept_name::whole_schema();
        output::text(format_args!("{schema:#}"))?;
    } else if showing.json {
        output::json(&json!({ "keys": keys::all() }))?;
    } else {
        output::text(keys::reference().trim_end())?;
    }
    Ok(Ending::Done)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use serde_json::Value;

    use super::*;

    /// The part of the schema that a value of the file at `path` falls under; `None` if the schema refuses it.
    fn part<'a>(schema: &'a Value, path: &str, value: &toml::Value) -> Option<&'a Value> {
        let toml::Value::Table(entries) = value else {
            return Some(schema);
        };
        let Some(properties) = schema.get("properties") else {
            return (schema["type"] == "object").then_some(schema);
        };
        for (name, value) in entries {
            let inner = format!("{path}.{name}");
            assert!(
                properties
                    .get(name)
                    .and_then(|property| part(property, &inner, value))
                    .is_some(),
                "`{inner}` is not in the schema"
            );
        }
        Some(schema)
    }

    #[test]
    fn the_schema_has_every_key_of_the_pipelines_that_come_with_the_program() {
        let schema = swept_name::whole_schema();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folders = fs::read_dir(root.join("pipelines")).unwrap();
        let folders = folders.map(|folder| folder.unwrap().path());
        let files: Vec<_> = folders
            .chain([root.join("data/quickstart")])
            .flat_map(|folder| fs::read_dir(folder).unwrap())
            .map(|file| file.unwrap().path())
            .filter(|file| file.extension().is_some_and(|extension| extension == "toml"))
            .collect();
        assert!(files.len() > 1, "{files:?}");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            part(&schema, "", &toml::Value::Table(text.parse().unwrap())).unwrap();
            assert!(accepts(&schema, &json(&text)), "{}", file.display());
        }
    }

    /// Whether `schema` accepts `value`, by the keywords that the schema uses.
    fn accepts(schema: &Value, value: &Value) -> bool {
        let bound = |name: &str, holds: fn(f64, f64) -> bool| match (schema.get(name), value.as_f64()) {
            (Some(bound), Some(number)) => holds(number, bound.as_f64().unwrap()),
            _ => true,
        };
        let kind = |name: &Value| match name.as_str().unwrap() {
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("an unknown type `{other}`"),
        };
        let of_kind = match schema.get("type") {
            None => true,
            Some(Value::Array(names)) => names.iter().any(kind),
            Some(name) => kind(name),
        };
        let choice = |name: &str| {
            let choices = schema.get(name).and_then(Value::as_array);
            choices.is_none_or(|choices| choices.iter().any(|choice| accepts(choice, value)))
        };
        let text = match (schema.get("pattern"), value.as_str()) {
            (Some(pattern), Some(text)) => regex::Regex::new(pattern.as_str().unwrap()).unwrap().is_match(text),
            _ => true,
        };
        let list = value.as_array().is_none_or(|values| {
            let size = |name: &str, otherwise: u64| schema.get(name).and_then(Value::as_u64).unwrap_or(otherwise);
            let sized = (size("minItems", 0)..=size("maxItems", u64::MAX)).contains(&(values.len() as u64));
            let repeated = (1..values.len()).any(|index| values[..index].contains(&values[index]));
            let each = |items| values.iter().all(|value| accepts(items, value));
            sized
                && !(repeated && schema.get("uniqueItems") == Some(&Value::Bool(true)))
                && schema.get("items").is_none_or(each)
        });
        let table = value.as_object().is_none_or(|entries| {
            entries.iter().all(|(name, value)| {
                let named = schema.get("properties").and_then(|properties| properties.get(name));
                match named.or_else(|| schema.get("additionalProperties")) {
                    Some(Value::Bool(allowed)) => *allowed,
                    Some(inner) => accepts(inner, value),
                    None => true,
                }
            })
        });
        // JSON schema compares numbers by value.
        let same = |only: &Value| only == value || only.is_number() && only.as_f64() == value.as_f64();
        of_kind
            && choice("anyOf")
            && choice("oneOf")
            && schema.get("const").is_none_or(same)
            && schema
                .get("enum")
                .is_none_or(|words| words.as_array().unwrap().contains(value))
            && schema.get("not").is_none_or(|not| !accepts(not, value))
            && bound("minimum", |number, bound| number >= bound)
            && bound("exclusiveMinimum", |number, bound| number > bound)
            && bound("maximum", |number, bound| number <= bound)
            && bound("exclusiveMaximum", |number, bound| number < bound)
            && text
            && list
            && table
    }

    fn json(toml: &str) -> Value {
        serde_json::to_value(toml.parse::<toml::Table>().unwrap()).unwrap()
    }

    /// Keys, a value that each takes, and values that it refuses.
    const VALUES: &[(&str, &str, &str, &[&str])] = &[
        ("teacher", "device", "\"cuda:1\"", &["\"gpu\"", "\"cuda\""]),
        (
            "teacher",
            "server",
            "\"http://host:8000\"",
            &["\"host\"", "\"http://me:word@host\""],
        ),
        ("teacher", "engine", "\"vllm\"", &["\"other\""]),
        ("teacher", "requests", "8", &["0", "1025"]),
        ("teacher", "request_seconds", "1", &["0"]),
        (
            "teacher",
            "memory",
            "\"8 GiB\"",
            &["8", "\"8 GB\"", "\"0 GiB\"", "\"1.5 GiB\""],
        ),
        ("data", "max_tokens", "2", &["0", "1", "-1"]),
        ("data", "max_row_mib", "1", &["0", "-1"]),
        ("evaluate", "max_row_mib", "4294967295", &["0", "-1"]),
        ("data", "training", "1", &["0"]),
        ("data", "validation", "0.5", &["1.5", "-1"]),
        (
            "data",
            "where",
            "{ a = [1, \"b\"] }",
            &["{ a = [] }", "{ a = [[1]] }", "{ a = { b = 1 } }"],
        ),
        ("sections", "thinking_start", "\" <t>\"", &["\"\"", "\"  \""]),
        ("sections", "thinking_end", "\"<t>\"", &["\"\""]),
        (
            "cache",
            "lead_span_proportion",
            "\"0.50\"",
            &["\"half\"", "\"0\"", "\"1.5\"", "0", "1.5"],
        ),
        ("cache", "supervised_sections", "[\"answer\"]", &["[]", "[\"all\"]"]),
        ("cache", "top_k", "1048576", &["0", "1048577"]),
        ("cache", "top_p", "0.9", &["0.0", "1.0"]),
        ("cache", "tail_samples", "4096", &["4097"]),
        (
            "cache",
            "temperatures",
            "[2.0, 0.5]",
            &["[1.0]", "[0.0]", "[2.0, 2.0]", "[2, 3, 4, 5, 6, 7, 8, 9, 10]"],
        ),
        ("cache", "samples_per_shard", "1", &["0", "4294967296"]),
        ("cache", "batch_tokens", "1", &["0"]),
        ("cache", "head_chunk_mib", "1", &["0"]),
        ("student", "layers", "[0, 2]", &["[]", "[1, 1]", "[-1]"]),
        (
            "student",
            "lora",
            "{ rank = 1, alpha = 0.5, targets = \"all-linear\" }",
            &[
                "{ rank = 0 }",
                "{ alpha = 0 }",
                "{ targets = [] }",
                "{ targets = \"q_proj\" }",
                "{ targets = [1] }",
                "{ dropout = 0.1 }",
                "3",
            ],
        ),
        (
            "student",
            "lora",
            "{ targets = [\"q_proj\"], use_rslora = true }",
            &["{ merged = 1 }"],
        ),
        ("train", "lead_span_proportion", "1", &["0", "\"1e-3\""]),
        (
            "train",
            "lead_span",
            "{ mixture = [[0.33, 0.75], [1.0, 0.25]] }",
            &[
                "\"half\"",
                "{ growing = [0.1] }",
                "{ growing = [0.1, 1.5] }",
                "{ mixture = [] }",
                "{ other = 1 }",
            ],
        ),
        (
            "train",
            "positions",
            "{ teacher_entropy = 0.5 }",
            &["{ teacher_entropy = 0 }", "{ disagreement = 1.5 }", "\"some\"", "0.5"],
        ),
        (
            "train",
            "position_weights",
            "{ answer = 2.0, chain_of_thought = 1 }",
            &[
                "\"steep\"",
                "{ answer = 0 }",
                "{ exponential = 50 }",
                "{ linear = [1] }",
            ],
        ),
        ("train", "distillation_weight", "1", &["1.5", "-0.5"]),
        ("train", "learning_rate", "1e-4", &["0"]),
        ("train", "weight_decay", "0", &["-0.1"]),
        ("train", "warmup_share", "1.0", &["2"]),
        ("train", "gradient_clipping", "1", &["0"]),
        ("train", "epochs", "1", &["0", "10000001"]),
        ("train", "steps", "10000000", &["0", "10000001", "1.5"]),
        ("train", "batch_samples", "1", &["0"]),
        ("train", "micro_batch_tokens", "1", &["0"]),
        ("train", "keep_checkpoints", "1", &["0"]),
        ("train", "max_flops", "0", &["-1", "1e20"]),
        ("train", "temperature", "2", &["0"]),
        ("train", "jensen_shannon_beta", "0.5", &["0", "1"]),
        ("train", "skew", "0", &["1", "2", "-0.1"]),
        ("train", "device", "\"cpu\"", &["\"gpu\""]),
        ("replay", "share", "0.5", &["1", "-0.1"]),
        ("replay", "max_tokens", "2", &["1"]),
        ("evaluate", "problems", "1", &["0"]),
        ("evaluate", "stop", "[\"User:\"]", &["[1]", "\"User:\""]),
        (
            "sections",
            "template_arguments",
            "{ enable_thinking = true, depth = [1, { a = 'b' }] }",
            &["true", "[1]"],
        ),
        ("evaluate", "max_new_tokens", "1", &["0"]),
        ("evaluate", "batch_samples", "1", &["0"]),
        ("evaluate", "temperature", "0", &["-1"]),
        ("evaluate", "top_p", "1.0", &["0", "7"]),
        ("evaluate", "top_k", "1", &["0"]),
        ("evaluate", "device", "\"cpu\"", &["\"cuda:x\""]),
        ("sweep", "seed", "[1, 2]", &["[]", "[1, 1]", "1"]),
        ("sweep", "skew", "[0.5]", &["[2]"]),
        (
            "sweep",
            "cases",
            "[{ seed = 1, \"replay.share\" = 0.0 }, { lead_span = { growing = [0.1, 0.5] }, evaluate.problems = 3 }]",
            &[
                "{ seed = 1 }",
                "[{ seeed = 1 }]",
                "[{ seed = [1] }]",
                "[1]",
                "[{ dir = 'x' }]",
            ],
        ),
        (
            "sweep",
            "lead_span",
            "[\"constant\", { growing = [0.1, 0.5] }]",
            &["[\"half\"]", "{ growing = [0.1, 0.5] }"],
        ),
    ];

    #[test]
    fn the_schema_refuses_values_that_the_program_refuses() {
        let schema = swept_name::whole_schema();
        for (table, key, good, refused) in VALUES {
            let file = |value: &str| json(&format!("[{table}]\n{key} = {value}"));
            assert!(accepts(&schema, &file(good)), "{table}.{key} = {good}");
            for value in *refused {
                assert!(!accepts(&schema, &file(value)), "{table}.{key} = {value}");
            }
        }
    }

    #[test]
    fn the_schema_refuses_unknown_keys_in_every_table() {
        let schema = swept_name::whole_schema();
        assert_eq!(schema["additionalProperties"], false);
        for (name, table) in schema["properties"].as_object().unwrap() {
            assert_eq!(table["additionalProperties"], false, "{name}");
        }
        assert_eq!(
            schema["properties"]["data"]["properties"]["columns"]["additionalProperties"],
            false
        );
    }

    #[test]
    fn the_reference_has_every_key_with_its_type_default_and_meaning() {
        for key in keys::all() {
            assert!(!key.kind.contains("any") && !key.about.is_empty(), "{key:?}");
            assert!(!key.about.contains("](") && !key.about.ends_with('.'), "{key:?}");
        }
        let reference = keys::reference();
        assert!(
            reference.contains(
                "\n  top_k\n      integer; default 64\n      the most entries that are stored for a position\n"
            ),
            "{reference}"
        );
    }
}
