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

    /// The name in a text model of what a model with images calls `stored`, by either of its ways; other names stay as they are.
    pub(super) fn of_text_model(stored: &str) -> String {
        if let Some(part) = stored.strip_prefix("model.language_model.") {
            return format!("model.{part}");
        }
        match stored.strip_prefix("language_model.") {
            Some(part) if part.starts_with("model.") || part.starts_with("lm_head.") => part.to_owned(),
            _ => stored.to_owned(),
        }
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
            assert_eq!(TextNames::of_text_model(stored), "model.embed_tokens.weight");
            assert_eq!(TextNames::of_text_model(head), "lm_head.weight");
        }
        assert_eq!(TextNames::of(|_| false), TextNames::Alone);
        let tower = "model.vision_tower.layers.0.weight";
        assert_eq!(TextNames::of_text_model(tower), tower);
    }
}
