//! Where each setting of this command was given. Libraries check values that they were passed, and their errors name the key;
//! this says which line of the pipeline file, `--set` or flag it came from.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::place::Place;

static PLACES: Mutex<BTreeMap<String, Place>> = Mutex::new(BTreeMap::new());

fn places() -> MutexGuard<'static, BTreeMap<String, Place>> {
    PLACES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes where keys were given, unless that is known: a sweep reads the same file again for each of its runs.
pub(crate) fn note_first(given: impl IntoIterator<Item = (String, Place)>) {
    let mut places = places();
    for (key, place) in given {
        places.entry(key).or_insert(place);
    }
}

/// Notes where a key was given after all.
pub(crate) fn note(key: &str, place: Place) {
    places().insert(key.to_owned(), place);
}

/// Notes that a key was given where another one was, from which it follows.
pub(crate) fn note_with(key: &str, other: &str) {
    let mut places = places();
    match places.get(other).cloned() {
        Some(place) => places.insert(key.to_owned(), place),
        None => places.remove(key),
    };
}

/// Sentences that say where the settings that a message is about were given. A setting that the message begins with is its subject;
/// of one that it only mentions, a line of the pipeline file is no news.
pub(crate) fn notes_about(messages: &[String]) -> Vec<String> {
    notes(messages, &places())
}

fn notes(messages: &[String], places: &BTreeMap<String, Place>) -> Vec<String> {
    let mut notes = Vec::new();
    for message in messages {
        for (index, word) in message.split('`').enumerate().skip(1).step_by(2) {
            let key = word.split([' ', '=']).next().unwrap_or_default();
            let Some(place) = places.get(key) else { continue };
            let is_subject = index == 1 && message.starts_with('`');
            let is_news = is_subject || !matches!(place, Place::Line { .. });
            let is_said = messages.iter().any(|message| message.contains(&place.to_string()));
            let note = format!("`{key}` is set {}", place.after_set());
            if is_news && !is_said && !notes.contains(&note) {
                notes.push(note);
            }
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_message_about_a_setting_gets_the_place_where_it_was_given() {
        let places = BTreeMap::from([
            ("train.epochs".to_owned(), Place::line(Path::new("p.toml"), 12)),
            ("train.seed".to_owned(), Place::Override("train.seed=1".to_owned())),
            (
                "cache.lead_span_proportion".to_owned(),
                Place::Flag("--proportion 0.25".to_owned()),
            ),
        ]);
        let notes = |message: &str| notes(&["could not train `run`".to_owned(), message.to_owned()], &places);
        assert_eq!(
            notes("`train.epochs` is `0`, but it must be a positive whole number"),
            ["`train.epochs` is set at `p.toml`, line 12"]
        );
        assert_eq!(
            notes("`train.export` is `best`, but `cache.lead_span_proportion` is only 0.25 and `train.seed = 1`"),
            [
                "`cache.lead_span_proportion` is set by `--proportion 0.25`",
                "`train.seed` is set by `--set train.seed=1`"
            ]
        );
        assert!(notes("`run` holds a run that differs in `train.epochs`").is_empty());
        assert!(notes("`p.toml`, line 12: `train.epochs` cannot be used").is_empty());
        assert!(notes("`train.dir` is nowhere").is_empty());
    }
}
