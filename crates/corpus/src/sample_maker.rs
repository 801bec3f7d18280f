//! Makes a sample of a row: parses it, filters it, lays out the conversation, renders it, finds the sections, and
//! tokenizes. The result depends only on the row and the settings.

use leadspan_sequence::SectionBounds;
use serde_json::Value;
use tokenizers::Tokenizer;

use crate::{
    ChatTemplate, CorpusError, DataSettings, DropReason, Message, RowProblem, RowRules, SectionSettings,
    WithoutMarkers,
    control_tokens::ControlTokens,
    data_settings::MIN_TOKENS,
    layout::Row,
    lead_span::LeadSpanCell,
    row_problem::kind_of,
    rows::{RawRow, RowContent},
    sections::{ChainOfThoughtBytes, find_chain_of_thought},
    tokenize::PlainTokenizer,
    turn,
};

/// The settings, template and tokenizer that make a row into a sample.
pub(crate) struct SampleMaker<'a> {
    data: &'a DataSettings,
    sections: &'a SectionSettings,
    template: &'a ChatTemplate,
    tokenizer: PlainTokenizer,
    control_tokens: ControlTokens,
    /// The names of the files, by index.
    names: &'a [String],
    rules: RowRules,
}

/// The outcome of a well-formed row that `data.where` lets through.
#[derive(Debug)]
pub(crate) struct MadeSample {
    /// The row's own id, or `FILE:LINE`.
    pub(crate) id: String,
    /// Whether no chain of thought is closed in it.
    pub(crate) without_markers: bool,
    /// Its tokens and sections, or why it has none.
    pub(crate) outcome: Result<SampleContent, DropReason>,
}

/// A sample without its id.
#[derive(Debug)]
pub(crate) struct SampleContent {
    pub(crate) tokens: Vec<u32>,
    pub(crate) bounds: SectionBounds,
    pub(crate) row_hash: [u8; 32],
    /// How many of its tokens the row asks to keep.
    pub(crate) lead_span: Option<u32>,
}

/// Why a row has no outcome.
#[derive(Debug)]
pub(crate) enum RowError {
    /// The row is malformed: it stops the run or is left out, as `data.on_bad_row` says.
    Bad(RowProblem),
    /// The run must stop.
    Fatal(CorpusError),
}

impl From<RowProblem> for RowError {
    fn from(problem: RowProblem) -> Self {
        Self::Bad(problem)
    }
}

impl<'a> SampleMaker<'a> {
    /// # Errors
    ///
    /// A tokenizer whose truncation cannot be turned off.
    pub(crate) fn new(
        data: &'a DataSettings,
        sections: &'a SectionSettings,
        template: &'a ChatTemplate,
        tokenizer: &Tokenizer,
        names: &'a [String],
        rules: RowRules,
    ) -> Result<Self, CorpusError> {
        Ok(Self {
            data,
            sections,
            template,
            tokenizer: PlainTokenizer::new(tokenizer)?,
            control_tokens: ControlTokens::of(tokenizer, sections),
            names,
            rules,
        })
    }

    /// The outcome of a row; `None` if `data.where` leaves it out.
    pub(crate) fn make(&self, raw: &RawRow) -> Result<Option<MadeSample>, RowError> {
        let row = raw.content.fields(self.rules)?;
        if self.data.filter.accepts(&row) {
            self.make_of(raw, row).map(Some).map_err(|error| match error {
                RowError::Bad(problem) => RowError::Bad(beside_fields(problem, &raw.content, self.rules)),
                fatal @ RowError::Fatal(_) => fatal,
            })
        } else {
            Ok(None)
        }
    }

    fn make_of(&self, raw: &RawRow, mut row: Row) -> Result<MadeSample, RowError> {
        let id = id_of(&mut row)?.unwrap_or_else(|| format!("{}:{}", self.names[raw.file], raw.number));
        let column = self.data.lead_span_column.as_deref();
        let lead_span = column.map(|column| LeadSpanCell::of(&row, column)).transpose()?;
        let options = self.data.layout_options(self.sections, self.rules);
        let conversation = self.data.format().conversation(row, options)?;
        let dropped = |id, reason| {
            let without_markers = reason == DropReason::WithoutMarkers;
            Ok(MadeSample {
                id,
                without_markers,
                outcome: Err(reason),
            })
        };
        // A turn that only calls tools says something.
        let is_empty = |last: &Message| last.is_empty() && !(self.rules >= RowRules::Third && last.calls_tools());
        if conversation.messages.last().is_none_or(is_empty) {
            return dropped(id, DropReason::EmptyContent);
        }
        let edges = if self.rules >= RowRules::Fifth {
            self.control_tokens.edges(&conversation.messages)
        } else {
            Vec::new()
        };
        let rendered = turn::render(self.template, conversation, self.sections, self.rules)?;
        for edge in edges {
            edge.check(&rendered.text)?;
        }
        let Some(content_start) = rendered.content_start else {
            return dropped(id, DropReason::ContentNotFound);
        };
        let found = find_chain_of_thought(&rendered.text, content_start, self.sections);
        let chain_of_thought = match (found, self.sections.without_markers) {
            (Some(bytes), _) => bytes,
            (None, _) if rendered.has_thinking => return dropped(id, DropReason::ThinkingRemoved),
            (None, WithoutMarkers::Skip) => return dropped(id, DropReason::WithoutMarkers),
            (None, WithoutMarkers::Answer) => ChainOfThoughtBytes::none(content_start),
            (None, WithoutMarkers::Error) => {
                return Err(RowError::Fatal(CorpusError::WithoutMarkers {
                    file: self.names[raw.file].clone(),
                    line: raw.number,
                    thinking_end: self.sections.thinking_end.clone(),
                }));
            }
        };
        let made = |outcome| MadeSample {
            id: id.clone(),
            without_markers: found.is_none(),
            outcome,
        };
        // The memory that tokenizing takes is hundreds of times the text.
        if self.tokenizer.fewest_tokens(&rendered.text) > self.data.max_tokens() {
            return Ok(made(Err(DropReason::TooLong)));
        }
        let tokens = self.tokenizer.tokenize(&rendered.text).map_err(|source| {
            let file = self.names[raw.file].clone();
            RowError::Fatal(CorpusError::Tokenize {
                file,
                line: raw.number,
                source,
            })
        })?;
        let outcome = match tokens.ids.len() {
            count if count < MIN_TOKENS => Err(DropReason::TooShort),
            count if count > self.data.max_tokens() => Err(DropReason::TooLong),
            _ => {
                let bounds = chain_of_thought.bounds(&tokens);
                let lead_span = lead_span.map(|cell| cell.kept(tokens.ids.len())).transpose()?;
                Ok(SampleContent {
                    row_hash: row_hash(&id, &tokens.ids, bounds, lead_span),
                    tokens: tokens.ids,
                    bounds,
                    lead_span,
                })
            }
        };
        Ok(made(outcome))
    }
}

/// The problem of a row, with the names of its fields if it lacks one. Not all columns of a table are read, so its rows name only
/// another conversation.
pub(crate) fn beside_fields(problem: RowProblem, content: &RowContent, rules: RowRules) -> RowProblem {
    match (problem, content) {
        (RowProblem::MissingField { field }, RowContent::Line(_) | RowContent::Record { .. })
            if !field.contains(['.', '[']) =>
        {
            let fields = content.fields(rules).unwrap_or_default();
            let is_told = |name: &str| matches!(content, RowContent::Line(_)) || name == "conversations";
            let names = fields.iter().map(|(name, _)| name.clone());
            let row = names.filter(|name| is_told(name)).collect();
            RowProblem::NoSuchField { field, row }
        }
        (problem, _) => problem,
    }
}

/// The hash of a sample's content: see [`Prepared::row_hashes`](crate::Prepared::row_hashes).
pub(crate) fn row_hash(id: &str, tokens: &[u32], bounds: SectionBounds, lead_span: Option<u32>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(id.len() as u64).to_le_bytes()).update(id.as_bytes());
    let bounds = [bounds.prompt_end(), bounds.chain_of_thought_end(), bounds.tokens()];
    let numbers: Vec<u8> = tokens
        .iter()
        .chain(&bounds)
        .chain(&lead_span)
        .flat_map(|number| number.to_le_bytes())
        .collect();
    *hasher.update(&numbers).finalize().as_bytes()
}

/// The row's own id; `None` if it has none.
pub(crate) fn id_of(row: &mut Row) -> Result<Option<String>, RowProblem> {
    let field = || "id".to_owned();
    match row.remove("id") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(id)) if id.is_empty() => Err(RowProblem::EmptyField { field: field() }),
        Some(Value::String(id)) => Ok(Some(id)),
        Some(Value::Number(id)) => Ok(Some(row.written("id", &id).into_owned())),
        Some(other) => Err(RowProblem::WrongType {
            field: field(),
            expected: "a string or a number",
            found: kind_of(&other),
        }),
    }
}
