//! Whether the layers of two sides can be in one cache: no position may be in two of them. Pure.

use std::collections::BTreeMap;

use leadspan_cache::Band;
use serde::Deserialize;

use crate::{StoreError, records::parsed};

/// Layers that one side has and the other has not: their bands, by the names of their folders.
pub(crate) type Layers = BTreeMap<String, Vec<Band>>;

/// What `layer.json` says.
#[derive(Deserialize)]
struct Description {
    bands: Vec<Band>,
}

/// The name of the folder and the bands of a layer, by the bytes of its description.
///
/// # Errors
///
/// [`StoreError::BadJson`], which names `place`.
pub(crate) fn described(description: &str, bytes: &[u8], place: &str) -> Result<(String, Vec<Band>), StoreError> {
    let folder = description.rsplit('/').nth(1).unwrap_or(description);
    Ok((folder.to_owned(), parsed::<Description>(bytes, place)?.bands))
}

/// How two sides differ if a layer of one holds positions of a layer of the other; `None` if all can be in one cache.
pub(crate) fn difference(here: &Layers, there: &Layers) -> Option<String> {
    here.iter().find_map(|(one, bands)| {
        let (other, _) = there.iter().find(|(_, others)| have_common(bands, others))?;
        Some(format!(": `{one}` here and `{other}` there hold the same positions"))
    })
}

/// Whether bands hold a position in common. A band holds what is above one proportion, up to another.
fn have_common(one: &[Band], other: &[Band]) -> bool {
    let meet = |one: &Band, other: &Band| {
        one.section == other.section && one.above < Some(other.up_to) && other.above < Some(one.up_to)
    };
    one.iter().any(|one| other.iter().any(|other| meet(one, other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bands that text such as `0-0.5 answer, 0.5-1 prompt` names.
    fn bands(text: &str) -> Vec<Band> {
        let band = |text: &str| {
            let (range, section) = text.split_once(' ').unwrap();
            let (above, up_to) = range.split_once('-').unwrap();
            Band {
                section: serde_json::from_value(section.into()).unwrap(),
                above: (above != "0").then(|| above.parse().unwrap()),
                up_to: up_to.parse().unwrap(),
            }
        };
        text.split(", ").map(band).collect()
    }

    #[test]
    fn layers_of_two_sides_can_be_in_one_cache_if_they_hold_no_position_in_common() {
        for (one, other, expected) in [
            ("0-0.25 answer", "0-0.5 answer", true),
            ("0-0.5 answer", "0-0.5 answer", true),
            ("0-0.25 answer", "0.25-0.5 answer", false),
            ("0-0.5 answer", "0.25-0.75 answer", true),
            ("0.25-0.5 answer", "0-1 answer", true),
            ("0.5-0.75 answer", "0.75-1 answer", false),
            ("0-1 prompt", "0-1 answer", false),
            ("0-1 prompt, 0-0.5 answer", "0.25-1 answer", true),
            ("0-1 prompt, 0-0.25 answer", "0.25-1 answer", false),
        ] {
            let side = |text: &str| Layers::from([(text.to_owned(), bands(text))]);
            for (here, there) in [(one, other), (other, one)] {
                let found = difference(&side(here), &side(there));
                assert_eq!(found.is_some(), expected, "{here} and {there}");
                if let Some(how) = found {
                    assert!(how.contains(&format!("`{here}` here and `{there}` there")), "{how}");
                }
            }
        }
    }
}
