//! Whether layers that are added to a cache hold positions that it has already. Pure.

use super::layer::{Band, Layer};

/// Finds the first layer of `added` that is not in `held`, but has positions of a layer in `held`. Returns both.
///
/// Layers are given by the names of their folders; other names are passed over. A cache to which such a layer is added would
/// hold positions twice.
pub fn overlapping_layers<'a>(
    added: impl IntoIterator<Item = &'a str>,
    held: &[&'a str],
) -> Option<(&'a str, &'a str)> {
    let known: Vec<(&str, Layer)> = held.iter().filter_map(|&name| Some((name, parse(name)?))).collect();
    let mut new = added.into_iter().filter(|name| !held.contains(name));
    new.find_map(|name| {
        let layer = parse(name)?;
        let (other, _) = known.iter().find(|(_, other)| overlap(&layer, other))?;
        Some((name, *other))
    })
}

fn overlap(one: &Layer, other: &Layer) -> bool {
    let meet = |band: &Band, with: &Band| band.above < Some(with.up_to) && with.above < Some(band.up_to);
    let mut bands = one.bands().iter();
    bands.any(|band| other.band(band.section).is_some_and(|with| meet(band, with)))
}

/// The layer whose folder has this name.
fn parse(name: &str) -> Option<Layer> {
    let mut bands = Vec::new();
    for group in name.split(',') {
        let (above, rest) = group.split_once('-')?;
        let (up_to, sections) = rest.split_once('-')?;
        let above = if above == "0" { None } else { Some(above.parse().ok()?) };
        let up_to = up_to.parse().ok()?;
        for section in sections.split('+') {
            let section = section.parse().ok()?;
            bands.push(Band { section, above, up_to });
        }
    }
    bands.sort_by_key(|band| band.section);
    let layer = Layer::try_from(bands).ok()?;
    (layer.folder_name() == name).then_some(layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_folders_are_read_back_and_others_are_no_layers() {
        for name in [
            "0-0.5-prompt+chain_of_thought+answer",
            "0.5-1.0-answer",
            "0-0.75-prompt+answer,0.5-0.75-chain_of_thought",
        ] {
            assert_eq!(parse(name).unwrap().folder_name(), name);
        }
        for name in [
            "",
            "answer",
            "0-0.5",
            "0-0.50-answer",
            "0.5-0.25-answer",
            "0-0.5-answer+prompt",
        ] {
            assert!(parse(name).is_none(), "{name}");
        }
    }

    #[test]
    fn layers_that_share_positions_are_found_and_the_same_ones_are_not() {
        let all = |band: &str| format!("{band}-prompt+chain_of_thought+answer");
        let [quarter, half, later] = ["0-0.25", "0-0.5", "0.5-0.75"].map(all);
        let (quarter, half, later) = (quarter.as_str(), half.as_str(), later.as_str());
        assert_eq!(overlapping_layers([later, half], &[quarter]), Some((half, quarter)));
        assert_eq!(overlapping_layers([half, later], &[half]), None);
        // What overlaps already is not added.
        assert_eq!(overlapping_layers([quarter, half], &[quarter, half, later]), None);
        // Other sections share no positions.
        assert_eq!(
            overlapping_layers(["0-1.0-answer"], &["0-0.5-prompt+chain_of_thought"]),
            None
        );
        let mixed = "0-0.75-prompt,0.5-0.75-answer";
        assert_eq!(overlapping_layers([mixed], &["0-0.5-answer"]), None);
        assert_eq!(
            overlapping_layers([mixed], &["0-0.6-answer"]),
            Some((mixed, "0-0.6-answer"))
        );
    }
}
