//! The server while it is asked: every answer is checked, a server that went away is waited for, and one that comes back must be
//! the one that it was.

use std::{
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use leadspan_cache::ServerAnswers;
use leadspan_distribution::{Distributions, EntrySettings};

use super::{
    answer::{PositionAnswer, push_answer},
    facts::{Facts, facts, require_same_tokens, tokens},
    fingerprint::{self, difference, require_same_answers, require_steady},
    http::{Client, Failure},
    patience::{Patience, ServerWait, when},
    sglang, vllm,
};
use crate::{server_engine::ServerEngine, server_error::ServerError, teacher::Heard};

/// How often the fixed positions are asked about at the same time, to see how much answers differ under load.
const AT_ONCE: usize = 4;

/// A question: what follows each of some positions of a sequence?
pub(super) struct Question<'a> {
    /// What the sequence is, for messages.
    pub(super) about: String,
    /// The tokens up to the last target.
    pub(super) tokens: &'a [u32],
    /// Ascending positions.
    pub(super) positions: Vec<u32>,
}

/// A server that is the teacher.
pub(crate) struct Server {
    pub(super) client: Client,
    pub(super) engine: ServerEngine,
    pub(super) patience: Patience,
    pub(super) entries: EntrySettings,
    pub(super) vocabulary: usize,
    /// The most requests at a time.
    pub(super) requests: usize,
    /// What it said about itself when it was reached.
    pub(super) facts: Facts,
    /// Its answers at that time.
    pub(super) answers: ServerAnswers,
    /// Whether nothing has failed since it was compared with these.
    trusted: AtomicBool,
    comparing: Mutex<()>,
}

/// What a server is asked with.
pub(super) struct Asking {
    pub(super) client: Client,
    pub(super) engine: ServerEngine,
    pub(super) patience: Patience,
    pub(super) entries: EntrySettings,
    pub(super) vocabulary: usize,
    pub(super) requests: usize,
    /// `teacher.served_model`.
    pub(super) model: Option<String>,
}

impl Server {
    /// Reaches a server and asks about the tokens of the fixed positions, `ours` being the tokens of all of their text.
    ///
    /// # Errors
    ///
    /// A server that cannot be reached in time, serves another model, tokenizes otherwise, or answers wrongly.
    pub(super) fn reach(
        asking: Asking,
        ours: &[u32],
        model_path: &Path,
        stop: &AtomicBool,
        waiting: &mut dyn FnMut(ServerWait),
    ) -> Result<Self, ServerError> {
        let Asking {
            client,
            engine,
            patience,
            entries,
            vocabulary,
            requests,
            model,
        } = asking;
        let address = client.address().to_owned();
        let (facts, theirs) = patience.spend(&address, &when(stop), waiting, &mut || {
            let facts = facts(&client, engine, model.as_deref())?;
            let theirs = tokens(&client, &facts.model, fingerprint::TEXT)?;
            Ok((facts, theirs))
        })?;
        if let Some(theirs) = theirs {
            require_same_tokens(&theirs, ours, model_path)?;
        }
        let mut server = Self {
            client,
            engine,
            patience,
            entries,
            vocabulary,
            requests,
            facts,
            answers: ServerAnswers::default(),
            trusted: AtomicBool::new(true),
            comparing: Mutex::default(),
        };
        server.answers = server.remember(&fingerprint::prompt(ours), stop, waiting)?;
        require_steady(&server.answers)?;
        Ok(server)
    }

    /// The answers to the fixed positions, with how much they differ when they are asked about several times.
    pub(super) fn remember(
        &self,
        prompt: &[u32],
        stop: &AtomicBool,
        waiting: &mut dyn FnMut(ServerWait),
    ) -> Result<ServerAnswers, ServerError> {
        let question = fixed(prompt);
        let alone = self
            .patience
            .spend(self.client.address(), &when(stop), waiting, &mut || {
                self.answer(&question)
            })?;
        let mut first = fingerprint::remembered(prompt, &alone);
        let again: Vec<Question<'_>> = (0..AT_ONCE).map(|_| fixed(prompt)).collect();
        let again = self.ask(&again, stop, &mut |heard| {
            if let Heard::Waiting(wait) = heard {
                waiting(wait);
            }
        })?;
        let spread = again
            .iter()
            .map(|answers| difference(&first, &fingerprint::remembered(prompt, answers)));
        first.spread = spread.fold(0.0, f64::max) as f32;
        Ok(first)
    }

    /// The answers to `questions`, several at a time, in their order.
    pub(super) fn ask(
        &self,
        questions: &[Question<'_>],
        stop: &AtomicBool,
        heard: &mut dyn FnMut(Heard),
    ) -> Result<Vec<Distributions>, ServerError> {
        enum Note {
            Waiting(ServerWait),
            Answered(usize, Result<Distributions, ServerError>),
        }
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (next, failed) = (&next, &failed);
        let (sender, notes) = mpsc::channel();
        let mut answers: Vec<Option<Result<Distributions, ServerError>>> = questions.iter().map(|_| None).collect();
        thread::scope(|scope| {
            for _ in 0..self.requests.min(questions.len()) {
                let sender = sender.clone();
                scope.spawn(move || {
                    let stop = || stop.load(Ordering::Relaxed) || failed.load(Ordering::Relaxed);
                    while let Some((index, question)) = {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        questions.get(index).map(|question| (index, question))
                    } {
                        let waiting = &mut |wait| drop(sender.send(Note::Waiting(wait)));
                        let answer = self.patiently(question, &stop, waiting);
                        let is_last = answer.is_err();
                        failed.fetch_or(is_last, Ordering::Relaxed);
                        // The receiver lives as long as the threads.
                        let _ = sender.send(Note::Answered(index, answer));
                        if is_last {
                            break;
                        }
                    }
                });
            }
            drop(sender);
            let mut told: Option<String> = None;
            for note in notes {
                match note {
                    // Every request in flight waits for the same reason.
                    Note::Waiting(wait) if told.as_ref() != Some(&wait.why) => {
                        told = Some(wait.why.clone());
                        heard(Heard::Waiting(wait));
                    }
                    Note::Waiting(_) => {}
                    Note::Answered(index, answer) => {
                        heard(Heard::Sample);
                        answers[index] = Some(answer);
                    }
                }
            }
        });
        let mut all = Vec::with_capacity(questions.len());
        let mut ended = None;
        for answer in answers {
            match answer {
                Some(Ok(answer)) => all.push(answer),
                // The first failure made the others stop.
                Some(Err(error)) if !matches!(error, ServerError::Stopped) => return Err(error),
                Some(Err(_)) | None => ended = Some(ServerError::Stopped),
            }
        }
        ended.map_or(Ok(all), Err)
    }

    fn patiently(
        &self,
        question: &Question<'_>,
        stop: &dyn Fn() -> bool,
        waiting: &mut dyn FnMut(ServerWait),
    ) -> Result<Distributions, ServerError> {
        self.patience.spend(self.client.address(), stop, waiting, &mut || {
            if !self.trusted.load(Ordering::Acquire) {
                self.compare()?;
            }
            let answer = self.answer(question);
            if matches!(answer, Err(Failure::Passing(_))) {
                self.trusted.store(false, Ordering::Release);
            }
            answer
        })
    }

    /// Compares the server with what it was, also if nothing has failed: a server that is exchanged between two requests fails at none.
    /// `unit` is the work unit that was captured since.
    ///
    /// # Errors
    ///
    /// [`ServerError::Exchanged`] if it is another one.
    pub(super) fn confirm(
        &self,
        unit: &str,
        stop: &AtomicBool,
        waiting: &mut dyn FnMut(ServerWait),
    ) -> Result<(), ServerError> {
        self.trusted.store(false, Ordering::Release);
        let compared = self
            .patience
            .spend(self.client.address(), &when(stop), waiting, &mut || self.compare());
        compared.map_err(|error| match error {
            ServerError::OtherAnswers { .. } | ServerError::Changed { .. } | ServerError::OtherModel { .. } => {
                ServerError::Exchanged {
                    unit: unit.to_owned(),
                    changed: Box::new(error),
                }
            }
            error => error,
        })
    }

    /// Compares a server at which something failed with what it was: it may have been started anew, with other weights.
    fn compare(&self) -> Result<(), Failure> {
        let _one_at_a_time = self.comparing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.trusted.load(Ordering::Acquire) {
            return Ok(());
        }
        let now = facts(&self.client, self.engine, Some(&self.facts.model))?;
        if now.version != self.facts.version {
            return Err(Failure::Final(ServerError::Changed {
                what: "version",
                expected: self.facts.version.clone(),
                found: now.version,
            }));
        }
        let prompt = &self.answers.tokens;
        let answers = fingerprint::remembered(prompt, &self.answer(&fixed(prompt))?);
        self.require_answers(&answers).map_err(Failure::Final)?;
        self.trusted.store(true, Ordering::Release);
        Ok(())
    }

    fn require_answers(&self, now: &ServerAnswers) -> Result<(), ServerError> {
        require_same_answers(&self.answers, now)
    }

    /// The answer to one question, asked once.
    fn answer(&self, question: &Question<'_>) -> Result<Distributions, Failure> {
        let Question {
            about,
            tokens,
            positions,
        } = question;
        let k = (self.entries.top_k as usize).min(self.vocabulary);
        let (path, request, most) = match self.engine {
            ServerEngine::Vllm => (
                vllm::PATH,
                vllm::request(&self.facts.model, tokens, k),
                vllm::most_bytes(tokens.len(), k),
            ),
            ServerEngine::Sglang => (
                sglang::PATH,
                sglang::request(tokens, k),
                sglang::most_bytes(tokens.len(), k),
            ),
        };
        let body = self
            .client
            .post(path, request.to_string().as_bytes(), most)
            .map_err(|failure| match failure {
                // Engines name the setting in their own words.
                Failure::Final(ServerError::Refused {
                    path,
                    status: status @ (400 | 422),
                    said,
                    ..
                }) if said.contains("logprobs") => {
                    let asked = Some(k);
                    Failure::Final(ServerError::Refused {
                        path,
                        status,
                        said,
                        asked,
                    })
                }
                failure => failure,
            })?;
        let read = match self.engine {
            ServerEngine::Vllm => vllm::read(&body),
            // SGLang's answers name no model, as its requests do not.
            ServerEngine::Sglang => sglang::read(&body, tokens).map(|answers| (None, answers)),
        };
        let (model, answers) = read.map_err(|why| {
            let engine = self.engine.as_str();
            Failure::Final(ServerError::Form {
                path,
                engine,
                why: format!("{about}: {why}"),
            })
        })?;
        if let Some(found) = model.filter(|model| *model != self.facts.model) {
            return Err(Failure::Final(ServerError::AnsweredBy {
                about: about.clone(),
                asked: self.facts.model.clone(),
                found: found.escape_debug().take(200).collect(),
            }));
        }
        self.chosen(about, tokens, positions, answers).map_err(Failure::Final)
    }

    /// The distributions at `positions`, of answers about all.
    fn chosen(
        &self,
        about: &str,
        tokens: &[u32],
        positions: &[u32],
        mut answers: Vec<PositionAnswer>,
    ) -> Result<Distributions, ServerError> {
        if answers.len() + 1 != tokens.len() {
            return Err(ServerError::Length {
                about: about.to_owned(),
                expected: tokens.len(),
                found: answers.len() + 1,
            });
        }
        let mut chosen = Distributions::with_capacity(positions.len(), positions.len() * self.entries.top_k as usize);
        for &position in positions {
            let position = position as usize;
            let answer = std::mem::take(&mut answers[position]);
            push_answer(
                answer,
                tokens[position + 1],
                self.vocabulary,
                &self.entries,
                &mut chosen,
            )
            .map_err(|wrong| {
                let about = about.to_owned();
                ServerError::Answer { about, position, wrong }
            })?;
        }
        Ok(chosen)
    }
}

fn fixed(prompt: &[u32]) -> Question<'_> {
    Question {
        about: "the fixed positions".to_owned(),
        tokens: prompt,
        positions: (0..prompt.len().saturating_sub(1) as u32).collect(),
    }
}
