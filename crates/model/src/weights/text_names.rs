//! The names of the weights of a text model that is part of a model with images.

/// Where the text model is among the names of a model's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextNames {
    /// The model is a text model.
    Alone,
    /// Decoder and head are part of `language_model`.
    Inside,
    /// The decoder is `model.language_model`, and the head stands outside.
    InsideModel,
}

impl TextNames {
    /// The names in a model that has the weights of which `has` says so.
    pub(super) fn of(has: impl Fn(&str) -> bool) -> Self {
        let embedding = "model.embed_tokens.weight";
        [Self::Alone, Self::Inside, Self::InsideModel]
            .into_iter()
            .find(|names| has(&names.stored(embedding)))
            .unwrap_or(Self::Alone)
    }

    /// The name of the weight that a text model calls `name`.
    pub(super) fn stored(self, name: &str) -> String {
        match (self, name.strip_prefix("model.")) {
            (Self::Inside, _) => format!("language_model.{name}"),
            (Self::InsideModel, Some(part)) => format!("model.language_model.{part}"),
            (Self::Alone, _) | (Self::InsideModel, None) => name.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_model_is_found_inside_another() {
        for (stored, head) in [
            ("model.embed_tokens.weight", "lm_head.weight"),
            (
                "language_model.model.embed_tokens.weight",
                "language_model.lm_head.weight",
            ),
            ("model.language_model.embed_tokens.weight", "lm_head.weight"),
        ] {
            let names = TextNames::of(|name| name == stored);
            assert_eq!(names.stored("model.embed_tokens.weight"), stored);
            assert_eq!(names.stored("lm_head.weight"), head);
        }
        assert_eq!(TextNames::of(|_| false), TextNames::Alone);
    }
}
