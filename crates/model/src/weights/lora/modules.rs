//! The projections of a student that get adapters, by the rules of PEFT, and the names of the adapters' tensors.

use std::collections::BTreeSet;

use super::settings::{LoraSettings, LoraTargets, refusal};
use crate::{config::DecoderConfig, error::ModelError, weights::joined::is_joined};

/// The projections of a layer.
const PROJECTIONS: [&str; 7] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
];

/// The projections that get adapters.
#[derive(Clone, Debug)]
pub(crate) struct AdaptedModules {
    /// Their modules, such as `model.layers.0.self_attn.q_proj`.
    modules: BTreeSet<String>,
    /// How a configuration lists them.
    listed: Vec<String>,
}

impl AdaptedModules {
    /// The projections that `settings` choose of a student.
    ///
    /// A name stands for the module of that name and for those that end with it after a dot, as in PEFT.
    ///
    /// # Errors
    ///
    /// [`ModelError::Lora`] if a name is that of no projection, or of one that is stored as part of another weight.
    pub(crate) fn of(settings: &LoraSettings, config: &DecoderConfig) -> Result<Self, ModelError> {
        let joins = config.family.description().stores_joined_weights;
        let short = |projection: &str| projection.rsplit('.').next().unwrap_or(projection).to_owned();
        let available: Vec<&str> = PROJECTIONS
            .into_iter()
            .filter(|projection| !(joins && is_joined(projection)))
            .collect();
        let names: Vec<String> = available.iter().map(|projection| short(projection)).collect();
        let refuse = |found: &str| {
            let because = if joins {
                "it must name a projection that this family stores alone"
            } else {
                "it must name a projection of the student"
            };
            refusal("targets", &found, format!("{because}: {}", quoted(&names)))
        };
        let listed = match &settings.targets {
            LoraTargets::Named(named) if named.is_empty() => return Err(refuse("[]")),
            LoraTargets::Named(named) => as_set(named)?,
            LoraTargets::All(_) if joins => return Err(refuse("all-linear")),
            LoraTargets::All(_) => names.clone(),
        };
        let layers = 0..config.num_hidden_layers;
        let all: Vec<String> = layers
            .flat_map(|layer| available.iter().map(move |part| format!("model.layers.{layer}.{part}")))
            .collect();
        let mut modules = BTreeSet::new();
        for name in &listed {
            let below = format!(".{name}");
            let is_meant = |module: &&String| *module == name || module.ends_with(&below);
            let mut meant = all.iter().filter(is_meant).peekable();
            if meant.peek().is_none() {
                return Err(refuse(name));
            }
            modules.extend(meant.cloned());
        }
        Ok(Self { modules, listed })
    }

    /// The module of the weight `name`, if it gets an adapter.
    pub(crate) fn of_weight<'a>(&self, name: &'a str) -> Option<&'a str> {
        let module = name.strip_suffix(".weight")?;
        self.modules.contains(module).then_some(module)
    }

    /// How a configuration lists them: names in alphabetical order, all projections in that of a layer.
    pub(crate) fn listed(&self) -> Vec<&str> {
        self.listed.iter().map(String::as_str).collect()
    }
}

/// Names in alphabetical order: their order has no effect.
///
/// # Errors
///
/// [`ModelError::Lora`] if a name is listed twice.
fn as_set(named: &[String]) -> Result<Vec<String>, ModelError> {
    let mut names = named.to_vec();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(twice) => Err(refusal("targets", &twice[0], "it is listed twice".to_owned())),
        None => Ok(names),
    }
}

/// The names of A and of B of a module, as PEFT writes them.
pub(crate) fn tensor_names(module: &str) -> [String; 2] {
    ["A", "B"].map(|matrix| format!("base_model.model.{module}.lora_{matrix}.weight"))
}

fn quoted(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{families::Family, weights::lora::settings::AllLinear};

    fn settings(targets: LoraTargets) -> LoraSettings {
        LoraSettings {
            rank: 2,
            alpha: 4.0,
            targets,
            use_rslora: false,
            merged: false,
        }
    }

    fn named(names: &[&str]) -> LoraSettings {
        settings(LoraTargets::Named(names.iter().map(|&name| name.to_owned()).collect()))
    }

    /// A student of two layers.
    fn student() -> DecoderConfig {
        DecoderConfig {
            num_hidden_layers: 2,
            ..DecoderConfig::for_test(4)
        }
    }

    #[test]
    fn names_stand_for_modules_that_end_with_them_after_a_dot() {
        let of = |names: &[&str]| {
            let found = AdaptedModules::of(&named(names), &student()).unwrap();
            found.modules.into_iter().collect::<Vec<_>>()
        };
        let queries = ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"];
        assert_eq!(of(&["q_proj"]), queries);
        assert_eq!(of(&["self_attn.q_proj", "q_proj"]), queries);
        assert_eq!(of(&["1.self_attn.q_proj"]), queries[1..]);
        assert_eq!(of(&["model.layers.0.self_attn.q_proj"]), queries[..1]);
        let both = AdaptedModules::of(&named(&["v_proj", "q_proj"]), &student()).unwrap();
        assert_eq!((both.modules.len(), both.listed()), (4, vec!["q_proj", "v_proj"]));
        let twice = AdaptedModules::of(&named(&["v_proj", "q_proj", "v_proj"]), &student()).unwrap_err();
        assert_eq!(
            twice.to_string(),
            "`student.lora.targets` is `v_proj`, but it is listed twice"
        );
        assert_eq!(
            both.of_weight("model.layers.1.self_attn.v_proj.weight"),
            Some("model.layers.1.self_attn.v_proj")
        );
        assert_eq!(both.of_weight("model.layers.1.self_attn.k_proj.weight"), None);
        assert_eq!(both.of_weight("model.layers.1.self_attn.v_proj.bias"), None);
        let all = AdaptedModules::of(&settings(LoraTargets::All(AllLinear::Every)), &student()).unwrap();
        assert_eq!((all.modules.len(), all.listed().len()), (14, 7));
    }

    #[test]
    fn a_name_that_is_that_of_no_projection_is_refused_with_those_that_are() {
        for name in [
            "c_attn",
            "proj",
            "embed_tokens",
            "lm_head",
            "input_layernorm",
            "model.layers.2.self_attn.q_proj",
            "q_proj.weight",
            "all-linear",
            "",
        ] {
            let error = AdaptedModules::of(&named(&["q_proj", name]), &student()).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "`student.lora.targets` is `{name}`, but it must name a projection of the student: `q_proj`, `k_proj`, \
                     `v_proj`, `o_proj`, `gate_proj`, `up_proj`, `down_proj`"
                )
            );
        }
        let message = AdaptedModules::of(&named(&[]), &student()).unwrap_err().to_string();
        assert!(message.contains("is `[]`"), "{message}");
    }

    #[test]
    fn projections_that_are_stored_joined_are_refused_and_the_others_are_not() {
        let joined = DecoderConfig {
            family: Family::Phi3,
            ..student()
        };
        for settings in [
            named(&["q_proj"]),
            named(&["qkv_proj"]),
            named(&["o_proj", "up_proj"]),
            settings(LoraTargets::All(AllLinear::Every)),
        ] {
            let message = AdaptedModules::of(&settings, &joined).unwrap_err().to_string();
            assert!(
                message.ends_with("that this family stores alone: `o_proj`, `down_proj`"),
                "{message}"
            );
        }
        let found = AdaptedModules::of(&named(&["o_proj", "down_proj"]), &joined).unwrap();
        assert_eq!(found.modules.len(), 4);
    }
}
