//! Text from a model: tokens one after the other, several samples at a time.
//!
//! A prompt goes through the decoder once, packed with others; what attention needs of it is kept, and from then on every
//! step feeds the one new token of each sample through the layers together. A sample that is finished leaves the batch and
//! a waiting one takes its place, so the batch stays full. There is no padding that a sample could see.
//!
//! What a sample gets depends on its prompt, the settings and its index, and on nothing that shares a pass with it: bit for
//! bit on the CPU, whatever the size of the batch.

mod choice;
mod settings;
mod stop_tokens;

use std::{collections::VecDeque, sync::Arc};

use candle_core::{DType, Device, Tensor};

use self::choice::Choice;
pub use self::{
    settings::{GenerationSettings, Sampling},
    stop_tokens::stop_tokens,
};
use crate::{
    Decoder, ModelError, Packed,
    decoder::min_rows::MIN_ROWS,
    kernels::{KeyValues, Pass, cached_attention},
    stop::Stop,
};

/// Tokens of prompts that go through the decoder together at most, unless one prompt alone has more.
const PROMPT_TOKENS: usize = 2048;

/// What a model is to continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Names the sample; with the seed it decides what is drawn.
    pub index: u64,
    /// Its tokens, at least one.
    pub tokens: Vec<u32>,
}

/// What a model made of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// That of the prompt.
    pub index: u64,
    /// The new tokens, without the stop token.
    pub tokens: Vec<u32>,
    /// Why there are no more.
    pub end: End,
}

/// Why a sample is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The model gave a stop token.
    Stopped,
    /// There were as many tokens as are allowed, or as the model's context holds.
    Cut,
}

/// Samples that are being generated and those that wait for it.
#[derive(Debug)]
pub struct Generation<'a> {
    decoder: &'a Decoder,
    settings: GenerationSettings,
    stop_tokens: Vec<u32>,
    waiting: VecDeque<Prompt>,
    active: Vec<Active>,
}

/// A sample in the batch.
#[derive(Debug)]
struct Active {
    index: u64,
    prompt_tokens: usize,
    tokens: Vec<u32>,
    choice: Choice,
    /// What was kept of its tokens, layer by layer; all of them but the newest.
    kept: Vec<KeyValues>,
}

impl Active {
    /// The newest token, which was not fed yet, and its position.
    fn newest(&self) -> (u32, u32) {
        let token = *self.tokens.last().expect("a sample in the batch has a new token");
        (token, (self.prompt_tokens + self.tokens.len() - 1) as u32)
    }
}

impl<'a> Generation<'a> {
    /// Nothing to generate yet.
    ///
    /// # Errors
    ///
    /// Settings with which nothing could be generated.
    pub fn new(decoder: &'a Decoder, settings: GenerationSettings, stop_tokens: Vec<u32>) -> Result<Self, ModelError> {
        settings.check()?;
        Ok(Self {
            decoder,
            settings,
            stop_tokens,
            waiting: VecDeque::new(),
            active: Vec::new(),
        })
    }

    /// Adds a prompt behind those that wait.
    ///
    /// # Errors
    ///
    /// A prompt without tokens, with one that the model does not know, or that leaves no room in the model's context.
    pub fn push(&mut self, prompt: Prompt) -> Result<(), ModelError> {
        let (context, vocabulary) = (self.decoder.config().context(), self.decoder.config().vocab_size);
        if prompt.tokens.is_empty() {
            return Err(ModelError::EmptyPrompt);
        }
        if let Some(&token) = prompt.tokens.iter().find(|&&token| token as usize >= vocabulary) {
            return Err(ModelError::TokenOutsideVocabulary { token, vocabulary });
        }
        if prompt.tokens.len() >= context {
            return Err(ModelError::Context {
                tokens: prompt.tokens.len() + 1,
                context,
            });
        }
        self.waiting.push_back(prompt);
        Ok(())
    }

    /// Whether nothing is left to do.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.active.is_empty()
    }

    /// How many prompts wait for a place in the batch.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Fills the batch up and gives every sample in it one more token; returns those that are finished.
    ///
    /// # Errors
    ///
    /// If the device fails, or the model's scores are not numbers; [`ModelError::Stopped`] if `stop` is requested before the
    /// last layer: the samples in the batch are then lost.
    pub fn step(&mut self, stop: Stop<'_>) -> Result<Vec<Generated>, ModelError> {
        // On one of the threads that share the work: handing over to them hundreds of times a step would take longer than
        // some of what is handed over.
        rayon::scope(|_| {
            let mut finished = Vec::new();
            while self.active.len() < self.settings.batch_samples && !self.waiting.is_empty() {
                self.admit(stop)?;
                self.take_finished(&mut finished);
            }
            if !self.active.is_empty() {
                let logits = feed(self.decoder, &mut self.active, stop)?;
                choose(&logits, &mut self.active)?;
                self.take_finished(&mut finished);
            }
            Ok(finished)
        })
    }

    /// Takes prompts into the batch, each with its first token.
    fn admit(&mut self, stop: Stop<'_>) -> Result<(), ModelError> {
        let room = self.settings.batch_samples - self.active.len();
        let mut tokens = 0;
        let fits = |prompt: &&Prompt| {
            tokens += prompt.tokens.len();
            tokens <= PROMPT_TOKENS
        };
        let count = self.waiting.iter().take(room).take_while(fits).count().max(1);
        let prompts: Vec<Prompt> = self.waiting.drain(..count).collect();
        let (logits, kept) = read_prompts(self.decoder, &prompts, stop)?;
        let first = self.active.len();
        self.active
            .extend(prompts.iter().zip(kept).map(|(prompt, kept)| Active {
                index: prompt.index,
                prompt_tokens: prompt.tokens.len(),
                tokens: Vec::new(),
                choice: Choice::new(&self.settings.sampling, prompt.index),
                kept,
            }));
        choose(&logits, &mut self.active[first..])
    }

    /// Moves the samples that are finished out of the batch.
    fn take_finished(&mut self, finished: &mut Vec<Generated>) {
        let context = self.decoder.config().context();
        for mut sample in self.active.extract_if(.., |sample| {
            let (newest, position) = sample.newest();
            self.stop_tokens.contains(&newest)
                || sample.tokens.len() >= self.settings.max_new_tokens
                || position as usize + 1 >= context
        }) {
            let end = if self.stop_tokens.contains(&sample.newest().0) {
                sample.tokens.pop();
                End::Stopped
            } else {
                End::Cut
            };
            finished.push(Generated {
                index: sample.index,
                tokens: sample.tokens,
                end,
            });
        }
    }
}

/// Runs prompts through the decoder: the scores of what follows each, `[prompts, V]`, and what is kept of each.
fn read_prompts(
    decoder: &Decoder,
    prompts: &[Prompt],
    stop: Stop<'_>,
) -> Result<(Tensor, Vec<Vec<KeyValues>>), ModelError> {
    let packed = Packed::new(prompts.iter().map(|prompt| prompt.tokens.as_slice()));
    let packed = packed.filled_up_to(MIN_ROWS).unwrap_or(packed);
    let pass = Pass::from(decoder.kernels());
    let mut hidden = decoder.embed(&packed)?;
    let fused = pass.fuse(&hidden);
    let spans: Vec<(usize, usize)> = (packed.edges().windows(2))
        .take(prompts.len())
        .map(|edges| (edges[0], edges[1] - edges[0]))
        .collect();
    let mut kept: Vec<Vec<KeyValues>> = prompts.iter().map(|_| Vec::new()).collect();
    for layer in decoder.layers() {
        stop.check()?;
        let shape = layer.attention_shape();
        let rotated = (decoder.rotary(), packed.positions());
        hidden = layer.forward_with(&hidden, rotated, pass, |queries, keys, values| {
            for (kept, &span) in kept.iter_mut().zip(&spans) {
                kept.push(KeyValues::new((keys, values), span, shape, fused)?);
            }
            crate::kernels::attention(queries, keys, values, shape, packed.shared_edges(), pass)
        })?;
    }
    let last: Vec<u32> = spans.iter().map(|(first, count)| (first + count - 1) as u32).collect();
    let last = Tensor::from_slice(&last, last.len(), decoder.device())?;
    Ok((scores(decoder, &hidden.index_select(&last, 0)?)?, kept))
}

/// Runs the newest token of each sample through the decoder: the scores of what follows, `[samples, V]`.
fn feed(decoder: &Decoder, samples: &mut [Active], stop: Stop<'_>) -> Result<Tensor, ModelError> {
    let count = samples.len();
    let (mut tokens, mut positions): (Vec<u32>, Vec<u32>) = samples.iter().map(Active::newest).unzip();
    let pass = Pass::skinny(decoder.kernels());
    let rows = rows_together(decoder, pass, count)?;
    tokens.resize(rows, 0);
    positions.resize(rows, 0);
    let positions: Arc<[u32]> = positions.into();
    let mut hidden = decoder.embed_tokens(&tokens)?;
    for (index, layer) in decoder.layers().iter().enumerate() {
        stop.check()?;
        let shape = layer.attention_shape();
        let rotated = (decoder.rotary(), &positions);
        hidden = layer.forward_with(&hidden, rotated, pass, |queries, keys, values| {
            let mut kept: Vec<&mut KeyValues> = samples.iter_mut().map(|sample| &mut sample.kept[index]).collect();
            cached_attention(queries, keys, values, shape, &mut kept)
        })?;
    }
    scores(decoder, &hidden.narrow(0, 0, count)?.contiguous()?)
}

/// The head's scores of a few hidden states before the last normalisation, `[N, V]` in CPU memory.
fn scores(decoder: &Decoder, hidden: &Tensor) -> Result<Tensor, ModelError> {
    let pass = Pass::skinny(decoder.kernels());
    let count = hidden.dim(0)?;
    let rows = rows_together(decoder, pass, count)?;
    let hidden = hidden.pad_with_zeros(0, 0, rows - count)?;
    let scores = decoder.head().scores(&decoder.norm().forward(&hidden, pass)?, pass)?;
    Ok(scores.narrow(0, 0, count)?.to_device(&Device::Cpu)?)
}

/// How many rows go through the decoder for `count` of them. Stock products of few rows add up in another order on the CPU,
/// and what a sample gets must not depend on how many others there are.
fn rows_together(decoder: &Decoder, pass: Pass<'_>, count: usize) -> Result<usize, ModelError> {
    let one = decoder.embed_tokens(&[0])?;
    let any_number = pass.uses_skinny_product(&one) || !decoder.device().is_cpu();
    Ok(if any_number { count } else { count.max(MIN_ROWS) })
}

/// Gives each sample its next token, from its row of `logits`.
fn choose(logits: &Tensor, samples: &mut [Active]) -> Result<(), ModelError> {
    let logits = logits.to_dtype(DType::F32)?;
    for (row, sample) in samples.iter_mut().enumerate() {
        let token = sample.choice.of(&logits.get(row)?)?;
        sample.tokens.push(token);
    }
    Ok(())
}
