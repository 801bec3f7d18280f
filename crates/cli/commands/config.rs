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
