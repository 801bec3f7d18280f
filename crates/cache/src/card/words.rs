//! What an identity says, in the words of a card.

use std::fmt::Write as _;

use leadspan_files::visible;

use crate::Identity;

pub(super) fn teacher(identity: &Identity) -> String {
    let Some(teacher) = &identity.teacher else {
        return "none: a prepared corpus alone".to_owned();
    };
    if let Some(imported) = &teacher.imported {
        return cell(&format!(
            "**unknown**: imported ({}); tails: {}; targets: {}",
            imported.layout, imported.tail, imported.targets
        ));
    }
    if let Some(server) = &teacher.server {
        let stated = [&server.revision, &server.quantisation].into_iter().flatten();
        let stated = stated.fold(String::new(), |text, value| text + ", " + value);
        return cell(&format!(
            "{} of {} {}{stated}",
            server.model, server.engine, server.version
        ));
    }
    let adapter = teacher
        .lora_blake3
        .as_ref()
        .map(|adapter| format!(", adapter `{adapter}`"));
    cell(&format!(
        "weights `{}`, configuration `{}`, {}{}",
        teacher.weights_blake3,
        teacher.config_blake3,
        teacher.dtype,
        adapter.unwrap_or_default()
    ))
}

pub(super) fn entries(identity: &Identity) -> String {
    let settings = &identity.entries;
    let mut text = format!("up to {} a position", settings.top_k);
    if let Some(top_p) = settings.top_p {
        let _ = write!(text, ", until they cover {top_p}");
    }
    if settings.tail_samples > 0 {
        let _ = write!(text, "; {} draws from the tail", settings.tail_samples);
    }
    if !settings.temperatures.is_empty() {
        let _ = write!(text, "; tails at temperatures {:?}", settings.temperatures);
    }
    text
}

/// Text that somebody else wrote, as a cell of a table.
pub(super) fn cell(text: &str) -> String {
    visible(text).replace('|', "\\|")
}
