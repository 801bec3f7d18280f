//! Text generation: token by token, several samples at a time.
//!
//! A prompt goes through the decoder once, packed with other prompts, and leaves its keys and values. After that, every
//! step sends the newest token of each sample through the layers together. A waiting sample takes the place of a finished
//! one, so the batch stays full. No sample ever attends to padding.
//!
//! The tokens of a sample depend only on its prompt, the settings and its index, and not on the other samples of its batch:
//! on the CPU bit for bit, for any size of the batch.

mod passes;
mod sampler;
pub(crate) mod settings;
pub(crate) mod stop_tokens;

use std::{collections::VecDeque, fmt};

use candle_core::{DType, Tensor};
use leadspan_kernels::KeyValues;

use self::{
    passes::{run_newest_tokens, run_prompts},
    sampler::Sampler,
    settings::GenerationSettings,
};
use crate::{decoder::Decoder, error::ModelError, stop::Stop};

/// The most prompt tokens that go through the decoder together, unless one prompt alone has more.
const PROMPT_TOKENS: usize = 2048;

/// A text for the model to continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Identifies the sample. Together with the seed it determines the random draws.
    pub index: u64,
    /// Its tokens; at least one.
    pub tokens: Vec<u32>,
}

/// The continuation of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// The index of the prompt.
    pub index: u64,
    /// The new tokens, without the stop token. If they were ended by [`Generation::ending_when`], all of them.
    pub tokens: Vec<u32>,
    /// Why the generation ended.
    pub end: End,
}

/// Why the generation of a sample ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The model generated a stop token, or what [`Generation::ending_when`] asks for.
    Stopped,
    /// The limit of new tokens or the end of the model's context was reached.
    Cut,
}

/// Whether the tokens that were generated for a sample are its last.
type Ends<'a> = dyn Fn(&[u32]) -> bool + Sync + 'a;

/// A queue of prompts and the batch of samples that are being generated.
pub struct Generation<'a> {
    decoder: &'a Decoder,
    settings: GenerationSettings,
    stop_tokens: Vec<u32>,
    ends: Option<&'a Ends<'a>>,
    waiting: VecDeque<Prompt>,
    active: Vec<ActiveSample>,
}

/// A sample in the batch.
#[derive(Debug)]
struct ActiveSample {
    index: u64,
    prompt_tokens: usize,
    tokens: Vec<u32>,
    sampler: Sampler,
    /// The keys and values of all tokens but the newest, layer by layer.
    key_values: Vec<KeyValues>,
}

impl ActiveSample {
    /// The newest token, which has not gone through the decoder yet, and its position.
    fn newest(&self) -> (u32, u32) {
        let token = *self.tokens.last().expect("a sample in the batch has a new token");
        (token, (self.prompt_tokens + self.tokens.len() - 1) as u32)
    }
}

impl fmt::Debug for Generation<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Generation")
            .field("settings", &self.settings)
            .field("stop_tokens", &self.stop_tokens)
            .field("waiting", &self.waiting)
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}

impl<'a> Generation<'a> {
    /// An empty queue.
    ///
    /// # Errors
    ///
    /// If a setting is out of range, or the model has layers of linear attention.
    pub fn new(decoder: &'a Decoder, settings: GenerationSettings, stop_tokens: Vec<u32>) -> Result<Self, ModelError> {
        settings.check()?;
        if decoder.config().parts.linear.is_some() {
            return Err(ModelError::CannotGenerate {
                because: "it has layers of linear attention, which only read whole sequences",
            });
        }
        Ok(Self {
            decoder,
            settings,
            stop_tokens,
            ends: None,
            waiting: VecDeque::new(),
            active: Vec::new(),
        })
    }

    /// Also ends a sample when `ends` says so of its new tokens, such as by looking for a text in them. These tokens stay.
    #[must_use]
    pub fn ending_when(mut self, ends: &'a Ends<'a>) -> Self {
        self.ends = Some(ends);
        self
    }

    /// Adds a prompt to the end of the queue.
    ///
    /// # Errors
    ///
    /// If the prompt is empty, has a token outside the model's vocabulary, or fills the model's context.
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

    /// Whether nothing is waiting or being generated.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.active.is_empty()
    }

    /// How many prompts wait for a place in the batch.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Fills the batch, generates one more token of every sample in it, and returns the finished samples.
    ///
    /// # Errors
    ///
    /// If the device fails, or a logit is not finite. [`ModelError::Stopped`] if `stop` is requested before the last layer:
    /// the samples in the batch are then lost.
    pub fn step(&mut self, stop: Stop<'_>) -> Result<Vec<Generated>, ModelError> {
        // Runs on a thread of the pool: entering the pool hundreds of times a step would take longer than some of the work.
        rayon::scope(|_| {
            let mut finished = Vec::new();
            while self.active.len() < self.settings.batch_samples && !self.waiting.is_empty() {
                self.admit(stop)?;
                self.take_finished(&mut finished);
            }
            if !self.active.is_empty() {
                let logits = run_newest_tokens(self.decoder, &mut self.active, stop)?;
                append_tokens(&logits, &mut self.active)?;
                self.take_finished(&mut finished);
            }
            Ok(finished)
        })
    }

    /// Moves prompts from the queue into the batch and generates the first token of each.
    fn admit(&mut self, stop: Stop<'_>) -> Result<(), ModelError> {
        let room = self.settings.batch_samples - self.active.len();
        let mut tokens = 0;
        let fits = |prompt: &&Prompt| {
            tokens += prompt.tokens.len();
            tokens <= PROMPT_TOKENS
        };
        let count = self.waiting.iter().take(room).take_while(fits).count().max(1);
        let prompts: Vec<Prompt> = self.waiting.drain(..count).collect();
        let (logits, key_values) = run_prompts(self.decoder, &prompts, stop)?;
        let first = self.active.len();
        self.active
            .extend(prompts.iter().zip(key_values).map(|(prompt, key_values)| ActiveSample {
                index: prompt.index,
                prompt_tokens: prompt.tokens.len(),
                tokens: Vec::new(),
                sampler: Sampler::new(&self.settings.sampling, prompt.index),
                key_values,
            }));
        append_tokens(&logits, &mut self.active[first..])
    }

    /// Moves finished samples out of the batch.
    fn take_finished(&mut self, finished: &mut Vec<Generated>) {
        let context = self.decoder.config().context();
        let ends = |tokens: &[u32]| self.ends.is_some_and(|ends| ends(tokens));
        for mut sample in self.active.extract_if(.., |sample| {
            let (newest, position) = sample.newest();
            self.stop_tokens.contains(&newest)
                || ends(&sample.tokens)
                || sample.tokens.len() >= self.settings.max_new_tokens
                || position as usize + 1 >= context
        }) {
            let end = if self.stop_tokens.contains(&sample.newest().0) {
                sample.tokens.pop();
                End::Stopped
            } else if ends(&sample.tokens) {
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

/// Appends the next token of each sample, chosen by its row of `logits`.
fn append_tokens(logits: &Tensor, samples: &mut [ActiveSample]) -> Result<(), ModelError> {
    let logits = logits.to_dtype(DType::F32)?;
    for (row, sample) in samples.iter_mut().enumerate() {
        let token = sample.sampler.next_token(&logits.get(row)?)?;
        sample.tokens.push(token);
    }
    Ok(())
}
