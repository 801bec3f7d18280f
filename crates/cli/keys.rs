//! Every key of the pipeline file, with its default and what it is for.
//!
//! The settings themselves are the libraries' types; this table is what `--help` shows and what an unknown key is
//! compared with. A test keeps the two in agreement.

use std::fmt::Write as _;

/// One key of the pipeline file.
pub(crate) struct Key {
    /// The table it belongs to.
    pub(crate) table: &'static str,
    /// Its name inside the table, dotted where tables nest.
    pub(crate) name: &'static str,
    /// What holds where the file says nothing.
    pub(crate) default: Unset,
    /// What it is for, in a few words, on as many lines as it takes.
    pub(crate) about: &'static str,
}

/// What holds where the file does not set a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unset {
    /// The file must set it where its table is needed.
    Required,
    /// It stays unset.
    Absent,
    /// This TOML value.
    Is(&'static str),
}

use Unset::{Absent, Is, Required};

const fn key(table: &'static str, name: &'static str, default: Unset, about: &'static str) -> Key {
    Key {
        table,
        name,
        default,
        about,
    }
}

const ALL_SECTIONS: Unset = Is(r#"["prompt", "chain_of_thought", "answer"]"#);

const FORMATS: &str =
    "messages (OpenAI roles) | columns | open-thoughts |\nbespoke-stratos | sky-t1 | synthetic-1 | nemotron";
const LOSSES: &str = "forward_kl | reverse_kl | jensen_shannon |\nskew_kl | skew_reverse_kl | total_variation";
const TAIL_POLICIES: &str = "bucket | renormalize_teacher | renormalize_both | sampled";

/// All keys, in the order in which `--help` shows them.
#[rustfmt::skip] // One key a line: it is a table.
pub(crate) const KEYS: &[Key] = &[
    key("teacher", "model", Required, "directory, FILE.gguf or id of a Hub model"),
    key("teacher", "revision", Absent, "branch, tag or commit of a Hub model"),
    key("teacher", "dtype", Is("\"f32\""), "f32 | bf16 | f16 | native (a GGUF's own quantised weights)"),
    key("teacher", "device", Is("\"cpu\""), "cpu | cuda:N"),
    key("data", "files", Is("[]"), "JSON lines (.gz, .zst), .parquet, .arrow, or patterns"),
    key("data", "path", Absent, "or a folder: the Hub's, or `save_to_disk`'s"),
    key("data", "split", Absent, "split of that folder; train where it is not set"),
    key("data", "format", Is("\"messages\""), FORMATS),
    key("data", "where", Is("{}"), "rows that are read: { field = \"value\", other = [1, 2] }"),
    key("data", "system_prompt", Is("\"drop\""), "drop | keep, where the format has a field for it"),
    key("data", "max_tokens", Is("4096"), "longer samples are dropped, never cut"),
    key("data", "training", Absent, "training samples, at most; drawn by the seed"),
    key("data", "validation", Is("0"), "held-out samples: a share (0.05), a count (500), or 0"),
    key("data", "seed", Is("0"), "decides the order and what is held out"),
    key("data", "on_bad_row", Is("\"stop\""), "stop | skip (left out and counted)"),
    key("data", "columns.question", Is("\"question\""), "field read by format = \"columns\""),
    key("data", "columns.chain_of_thought", Is("\"chain_of_thought\""), "likewise"),
    key("data", "columns.answer", Is("\"answer\""), "likewise"),
    key("sections", "thinking_start", Is("\"<think>\""), "text that opens the chain of thought"),
    key("sections", "thinking_end", Is("\"</think>\""), "text that closes it"),
    key("sections", "without_markers", Is("\"skip\""), "skip | error | answer (the whole turn is answer)"),
    key("cache", "dir", Required, "folder of the cache"),
    key("cache", "lead_span_proportion", Is("1.0"), "leading share of every sequence to capture, at most 1"),
    key("cache", "supervised_sections", ALL_SECTIONS, "sections whose tokens are captured as targets"),
    key("cache", "top_k", Is("64"), "entries stored for a position, at most"),
    key("cache", "top_p", Absent, "stop at the entry that covers this much probability"),
    key("cache", "tail_samples", Is("0"), "draws from the tail, which keep the target unbiased"),
    key("cache", "temperatures", Is("[]"), "others than 1 at which students may be trained"),
    key("cache", "precision", Is("\"standard\""), "standard | fine (for reverse KL) | exact (f32)"),
    key("cache", "samples_per_shard", Is("1024"), "samples of one work unit"),
    key("cache", "batch_tokens", Absent, "tokens of a teacher's pass: 2048; 16384 on a GPU"),
    key("cache", "head_chunk_mib", Absent, "MiB of a chunk of its logits: 64; 512 on a GPU"),
    key("student", "model", Absent, "directory, FILE.gguf or Hub id to start from"),
    key("student", "revision", Absent, "branch, tag or commit of a Hub model"),
    key("student", "layers", Absent, "layers of `model` to keep, such as [0, 5, 10]"),
    key("student", "config", Absent, "config.json of a student that starts from random weights"),
    key("student", "seed", Is("0"), "decides those weights"),
    key("student", "tokenizer", Absent, "directory or FILE.gguf, where neither teacher nor model"),
    key("train", "dir", Required, "folder of the run: metrics, exported student"),
    key("train", "lead_span_proportion", Is("0.5"), "leading share of every sequence to learn from"),
    key("train", "supervised_sections", ALL_SECTIONS, "sections whose tokens are learnt"),
    key("train", "loss", Is("\"forward_kl\""), LOSSES),
    key("train", "tail_policy", Is("\"bucket\""), TAIL_POLICIES),
    key("train", "jensen_shannon_beta", Is("0.5"), "the teacher's weight in jensen_shannon, between 0 and 1"),
    key("train", "skew", Is("0.1"), "of skew_kl and skew_reverse_kl, from 0 to below 1"),
    key("train", "distillation_weight", Is("0.5"), "weight of the divergence; the rest is cross-entropy"),
    key("train", "temperature", Is("1.0"), "of both distributions in the divergence"),
    key("train", "learning_rate", Is("4e-6"), "the schedule's peak"),
    key("train", "weight_decay", Is("0.05"), "not applied to norms and biases"),
    key("train", "warmup_share", Is("0.1"), "share of the steps that warm up; cosine decay follows"),
    key("train", "gradient_clipping", Is("1.0"), "largest gradient norm"),
    key("train", "epochs", Is("2"), "passes over all samples"),
    key("train", "max_flops", Absent, "operations at which no step begins any more; 0: no step"),
    key("train", "batch_samples", Is("8"), "samples of one optimizer step"),
    key("train", "micro_batch_tokens", Is("2048"), "tokens of one forward and backward pass"),
    key("train", "activation_checkpointing", Is("false"), "compute layers again on the way back, to hold less"),
    key("train", "normalization", Is("\"token\""), "token | sequence: what the loss is a mean of"),
    key("train", "seed", Is("0"), "decides the order of the samples"),
    key("train", "dtype", Is("\"f32\""), "f32 | bf16, of parameters and activations; masters are f32"),
    key("train", "device", Is("\"cpu\""), "cpu | cuda:N"),
    key("train", "checkpoint_steps", Is("500"), "steps between checkpoints; 0: only when stopped by a signal"),
    key("train", "keep_checkpoints", Is("2"), "newest checkpoints that are kept, beside the best"),
    key("train", "export", Is("\"last\""), "last | best (lowest held-out loss after an epoch)"),
    key("replay", "share", Is("0.0"), "of each step, complete samples by cross-entropy alone"),
    key("replay", "files", Is("[]"), "this and what follows as in [data]"),
    key("replay", "path", Absent, "likewise"),
    key("replay", "split", Absent, "likewise"),
    key("replay", "format", Is("\"messages\""), "likewise"),
    key("replay", "where", Is("{}"), "likewise"),
    key("replay", "system_prompt", Is("\"drop\""), "likewise"),
    key("replay", "max_tokens", Is("4096"), "likewise"),
    key("replay", "on_bad_row", Is("\"stop\""), "likewise"),
    key("replay", "columns.question", Is("\"question\""), "likewise"),
    key("replay", "columns.chain_of_thought", Is("\"chain_of_thought\""), "likewise"),
    key("replay", "columns.answer", Is("\"answer\""), "likewise"),
    key("evaluate", "model", Absent, "directory, FILE.gguf or Hub id; not set: what train exports"),
    key("evaluate", "revision", Absent, "branch, tag or commit of a Hub model"),
    key("evaluate", "dir", Absent, "folder of the results; not set: evaluation in `train.dir`"),
    key("evaluate", "files", Is("[]"), "problems, in files as in [data]"),
    key("evaluate", "path", Absent, "or a folder: the Hub's, or `save_to_disk`'s"),
    key("evaluate", "split", Absent, "split of that folder; test where it is not set"),
    key("evaluate", "format", Is("\"messages\""), "as in [data]; columns need no chain of thought"),
    key("evaluate", "where", Is("{}"), "rows that are read: { field = \"value\", other = [1, 2] }"),
    key("evaluate", "system_prompt", Is("\"drop\""), "drop | keep, where the format has a field for it"),
    key("evaluate", "columns.question", Is("\"question\""), "field read by format = \"columns\""),
    key("evaluate", "columns.chain_of_thought", Is("\"chain_of_thought\""), "not read here"),
    key("evaluate", "columns.answer", Is("\"answer\""), "the right answer"),
    key("evaluate", "answer", Absent, "field of the right answer; not set: the format's"),
    key("evaluate", "answer_pattern", Absent, "regular expression that finds the answer in a text"),
    key("evaluate", "problems", Absent, "only so many, from the first on"),
    key("evaluate", "max_new_tokens", Is("512"), "tokens of an answer, at most"),
    key("evaluate", "batch_samples", Is("8"), "problems at a time; answers do not depend on it"),
    key("evaluate", "temperature", Is("0.0"), "0 takes the most probable token, others draw"),
    key("evaluate", "top_p", Is("1.0"), "draw from the most probable tokens of this mass"),
    key("evaluate", "top_k", Absent, "draw from so many of the most probable tokens"),
    key("evaluate", "seed", Is("0"), "decides what is drawn"),
    key("evaluate", "dtype", Is("\"f32\""), "f32 | bf16 | f16 | native (a GGUF's own weights)"),
    key("evaluate", "device", Is("\"cpu\""), "cpu | cuda:N"),
    key("sweep", "dir", Required, "folder of the runs' folders"),
    key("sweep", "baselines", Is("[]"), "untrained, supervised, equal_compute"),
    key("sweep", "evaluate", Absent, "whether students are evaluated; not set: if [evaluate] is"),
];

/// The tables, in the order in which they first appear.
pub(crate) fn tables() -> Vec<&'static str> {
    let mut tables: Vec<_> = KEYS.iter().map(|key| key.table).collect();
    tables.dedup();
    tables
}

/// The keys of one table.
pub(crate) fn keys_of(table: &str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.table == table)
}

/// Whether `name` is a key of `table`.
pub(crate) fn is_key(table: &str, name: &str) -> bool {
    keys_of(table).any(|key| key.name == name)
}

/// Whether `name` is a table nested in `table`.
pub(crate) fn is_nested_table(table: &str, name: &str) -> bool {
    keys_of(table).any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

/// The table whose name is nearest to `given`, where one is near.
pub(crate) fn nearest_table(given: &str) -> Option<String> {
    nearest(given, tables().into_iter().map(|table| (table, format!("[{table}]"))))
}

/// The full name of the key that was most likely meant by `name` in `table`.
///
/// A key of the same table is preferred; a key of that very name in another table comes next.
pub(crate) fn nearest_key(table: &str, name: &str) -> Option<String> {
    let full = |key: &Key| format!("{}.{}", key.table, key.name);
    nearest(name, keys_of(table).map(|key| (key.name, full(key))))
        .or_else(|| KEYS.iter().find(|key| key.name == name).map(full))
        .or_else(|| nearest(name, KEYS.iter().map(|key| (key.name, full(key)))))
}

/// How alike two names must be, from 0 to 1, for one to be suggested for the other.
const ALIKE: f64 = 0.8;

fn nearest(given: &str, known: impl Iterator<Item = (&'static str, String)>) -> Option<String> {
    known
        .map(|(name, shown)| (strsim::jaro_winkler(given, name), shown))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, shown)| shown)
}

/// The keys of some tables as `--help` shows them: a file that could be pasted, defaults filled in.
pub(crate) fn help(shown: &[&str]) -> String {
    const WIDTH: usize = 32;
    let mut text = String::from("Keys of the pipeline file, with their defaults (paths are relative to the file):\n");
    for table in shown {
        let _ = write!(text, "\n  [{table}]\n");
        for key in keys_of(table) {
            let (setting, about) = match key.default {
                Required => (format!("{} = …", key.name), format!("required: {}", key.about)),
                Absent => (format!("# {} = …", key.name), key.about.to_owned()),
                Is(value) => (format!("{} = {value}", key.name), key.about.to_owned()),
            };
            let mut abouts = about.lines();
            let beside = if setting.len() > WIDTH { None } else { abouts.next() };
            let _ = match beside {
                Some(about) => writeln!(text, "  {setting:WIDTH$}  # {about}"),
                None => writeln!(text, "  {setting}"),
            };
            for about in abouts {
                let _ = writeln!(text, "  {:WIDTH$}  # {about}", "");
            }
        }
    }
    text.push_str("\nAny of them can be set for one run: --set table.key=value\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_suggests_the_one_that_was_meant() {
        assert_eq!(nearest_key("cache", "top_kk").as_deref(), Some("cache.top_k"));
        assert_eq!(
            nearest_key("train", "lead_span_proprotion").as_deref(),
            Some("train.lead_span_proportion")
        );
        assert_eq!(
            nearest_key("data", "columns.anser").as_deref(),
            Some("data.columns.answer")
        );
        assert_eq!(nearest_key("data", "zzz"), None);
        assert_eq!(nearest_table("trian").as_deref(), Some("[train]"));
        assert_eq!(nearest_table("kitchen"), None);
    }

    #[test]
    fn a_key_of_another_table_is_suggested_with_its_table() {
        assert_eq!(nearest_key("teacher", "top_k").as_deref(), Some("cache.top_k"));
    }

    #[test]
    fn help_lines_fit_a_terminal() {
        for line in help(&tables()).lines() {
            assert!(line.chars().count() <= 98, "{line}");
        }
    }
}
