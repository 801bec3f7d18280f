//! A server as a teacher that runs: samples become questions, answers become distributions.

use std::sync::{Arc, atomic::AtomicBool};

use leadspan_cache::{Layer, PreparedCorpus};
use leadspan_distribution::Distributions;
use leadspan_model::{Distrust, ModelError};

use super::server::{Question, Server};
use crate::{
    CacheSettings, PrecomputeError,
    batches::CapturedSpan,
    captured::Captured,
    server_error::ServerError,
    teacher::{Heard, Part, Said, Teacher},
};

/// How many tokens of several samples are one batch: enough that requests of some thousand tokens keep a server busy.
const BATCH_TOKENS: usize = 32_768;

impl Teacher for Arc<Server> {
    /// One sample is one request.
    fn capture(
        &self,
        batch: &[CapturedSpan],
        layer: &Layer,
        corpus: &PreparedCorpus,
        stop: &AtomicBool,
        heard: &mut dyn FnMut(Heard) -> Result<(), ModelError>,
    ) -> Result<Captured, PrecomputeError> {
        let questions: Vec<Question<'_>> = batch
            .iter()
            .map(|span| {
                let sample = corpus.sample(span.sample as usize);
                let tokens = corpus.tokens(span.sample as usize)?;
                Ok(Question {
                    about: format!("sample `{}`", sample.id),
                    tokens: &tokens[..=span.tokens as usize],
                    positions: layer.positions(sample).collect(),
                })
            })
            .collect::<Result<_, PrecomputeError>>()?;
        let mut told = Ok(());
        let answers = self.ask(&questions, stop, &mut |event| {
            if told.is_ok() {
                told = heard(event);
            }
        })?;
        told?;
        heard(Heard::Done(Part::Layers))?;
        let mut captured = Captured::default();
        for answer in answers {
            captured.push(answer);
        }
        heard(Heard::Done(Part::Head))?;
        Ok(captured)
    }

    fn finish(&self, captured: Captured) -> Result<Distributions, PrecomputeError> {
        captured.finish(self.vocabulary, &self.entries)
    }

    fn visit(
        &self,
        id: &str,
        tokens: &[u32],
        positions: &[u32],
        heard: &mut dyn FnMut(Heard),
        visit: &mut dyn FnMut(usize, Said<'_>),
    ) -> Result<(), PrecomputeError> {
        let Some(&last) = positions.last() else { return Ok(()) };
        let question = Question {
            about: format!("sample `{id}`"),
            tokens: &tokens[..last as usize + 2],
            positions: positions.to_vec(),
        };
        let answers = self.ask(&[question], &AtomicBool::new(false), heard)?;
        for (place, position) in answers.iter().flat_map(Distributions::iter).enumerate() {
            visit(place, Said::Entries(position));
        }
        Ok(())
    }

    fn confirm(
        &self,
        unit: &str,
        stop: &AtomicBool,
        heard: &mut dyn FnMut(Heard) -> Result<(), ModelError>,
    ) -> Result<(), PrecomputeError> {
        let mut told = Ok(());
        Server::confirm(self, unit, stop, &mut |wait| {
            if told.is_ok() {
                told = heard(Heard::Waiting(wait));
            }
        })?;
        told?;
        Ok(())
    }

    fn batch_tokens(&self, settings: &CacheSettings) -> usize {
        settings.batch_tokens.unwrap_or(BATCH_TOKENS)
    }

    /// The tokens that are sent end with a target, and one is generated.
    fn check_length(&self, id: &str, fed_tokens: u32) -> Result<(), PrecomputeError> {
        let tokens = fed_tokens as usize + 2;
        match self.facts.context {
            Some(context) if tokens > context => Err(ServerError::BeyondContext {
                sample: id.to_owned(),
                tokens,
                context,
            }
            .into()),
            _ => Ok(()),
        }
    }

    fn device_class(&self) -> String {
        format!("{} {}", self.engine.as_str(), self.facts.version)
    }

    fn distrust(&self) -> Option<&Distrust> {
        None
    }

    fn synchronize(&self) -> Result<(), ModelError> {
        Ok(())
    }
}
