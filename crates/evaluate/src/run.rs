//! Runs an evaluation, from the problems to the summary.

use std::{path::PathBuf, sync::atomic::Ordering, time::Duration};

use leadspan_corpus::{ChatTemplate, DataSettings, Problem, SectionSettings, problems};
use leadspan_model::{Decoder, Generation, ModelError, ModelSource, Prompt, Stop, TokenizerBundle, open_device};
use serde_json::{Value, json};

use crate::{
    AnswerEnd, Answered, EvaluateError, EvaluateSettings, EvaluationContext, EvaluationEvent, EvaluationSummary,
    GraderIdentity,
    asking::{Asking, add_system},
    evaluation_dir::{EvaluationDir, PartialAnswers},
    grader::{Grader, GraderCommand, Request, Verdict},
    held_out::held_out,
    stops::stops,
};

/// The model and the problems of an evaluation, and the folder of its results.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The folder to which the files of problems are relative.
    pub base: PathBuf,
    /// The model: a directory in the Hugging Face layout or a GGUF file.
    pub model: PathBuf,
    /// The exported adapter that is evaluated, if `model` is its base: a folder that also has the tokenizer. It must have been
    /// learnt on `model`.
    pub exported: Option<PathBuf>,
    /// The folder of the results.
    pub dir: PathBuf,
    /// A cache on whose validation samples losses are measured, if it exists and has the model's tokenizer.
    pub cache_dir: Option<PathBuf>,
    /// The thinking markers.
    pub sections: SectionSettings,
    /// All other settings; `model` and `dir` in them are ignored.
    pub settings: EvaluateSettings,
}

/// How an evaluation ended.
#[derive(Clone, Debug, PartialEq)]
pub enum EvaluationOutcome {
    /// It is finished.
    Done(EvaluationSummary),
    /// It had been finished before.
    AlreadyDone(EvaluationSummary),
    /// It was stopped. The same call continues with the missing problems.
    Stopped,
}

/// Evaluates a model.
///
/// # Errors
///
/// If the settings, the problems or the model cannot be used, the folder holds the results of another evaluation, or a file
/// cannot be read or written.
pub fn run(
    evaluation: &Evaluation,
    context: &EvaluationContext<'_>,
    events: &mut dyn FnMut(EvaluationEvent),
) -> Result<EvaluationOutcome, EvaluateError> {
    let settings = &evaluation.settings;
    let (data, pattern) = (settings.data()?, settings.pattern()?);
    let grader = settings.grader(&evaluation.base)?;
    let grader_identity = match &grader {
        Some(grader) => grader.identity()?,
        None => GraderIdentity::built_in(),
    };
    let (source, tokenizer) = opened(evaluation)?;
    let text = tokenizer
        .chat_template
        .as_deref()
        .ok_or_else(|| EvaluateError::NoChatTemplate {
            model: evaluation.model.clone(),
        })?;
    let arguments = &evaluation.sections.template_arguments;
    let template = ChatTemplate::of_model(text, tokenizer.named_tokens(), arguments)?
        .beside_tool_use(tokenizer.has_tool_use_template);
    let problems = problems_of(evaluation, &data)?;
    let sections = &evaluation.sections;
    let stops = stops(&source, &tokenizer, &template, (sections, &settings.stop))?;
    let mut identity = identity(evaluation, &source, (&tokenizer, text, &stops.tokens), &problems)?;
    if grader.is_some() {
        identity["grader"] = serde_json::to_value(&grader_identity).expect("texts serialize");
    }
    let without_effect = settings.without_effect(sections, &template);
    let asking = Asking::new(tokenizer, template, sections, pattern, stops.texts);
    let dir = EvaluationDir::open(&evaluation.dir, &identity, &mut |holder| {
        events(EvaluationEvent::Waiting(holder.clone()));
    })?;
    if let Some(summary) = dir.finished()? {
        return Ok(EvaluationOutcome::AlreadyDone(summary));
    }
    // Before the model, which may take minutes to load.
    let grader = grader.as_ref().map(GraderCommand::start).transpose()?;
    let decoder = Decoder::load(&source, settings.dtype, &open_device(&settings.device)?)?;
    let ids: Vec<&str> = problems.iter().map(|problem| problem.id.as_str()).collect();
    let answers = dir.answers_so_far(&ids)?;
    events(EvaluationEvent::Started {
        problems: problems.len() as u64,
        done: answers.len() as u64,
    });
    if !stops.are_of_turn {
        events(EvaluationEvent::NoEndOfTurn);
    }
    for (setting, because) in without_effect {
        events(EvaluationEvent::WithoutEffect { setting, because });
    }
    if grader.is_none() {
        asking.check_answers(&problems, events)?;
    }
    let mut asked = Asked {
        asking: &asking,
        grader,
        problems: &problems,
        partial: dir.partial()?,
        answers,
        began: (context.clock)(),
        tokens: 0,
        seconds: 0.0,
    };
    let ends = |tokens: &[u32]| asking.ends(tokens);
    let mut generation = Generation::new(&decoder, settings.generation(), stops.tokens)?;
    if asking.has_stop_texts() {
        generation = generation.ending_when(&ends);
    }
    if !asked.ask(generation, decoder.config().context(), context, events)? {
        return Ok(EvaluationOutcome::Stopped);
    }
    let Asked {
        mut answers,
        grader,
        tokens,
        seconds,
        ..
    } = asked;
    if let Some(grader) = grader
        && !grader.finish(context)?
    {
        return Ok(EvaluationOutcome::Stopped);
    }
    answers.sort_by_key(|answer| answer.index);
    let held_out = match evaluation.cache_dir.as_deref() {
        Some(cache) => held_out(
            cache,
            &decoder,
            (asking.tokenizer(), settings.dtype),
            context.stop,
            events,
        )?,
        None => None,
    };
    if context.stop.load(Ordering::Relaxed) {
        return Ok(EvaluationOutcome::Stopped);
    }
    let summary = EvaluationSummary::new(&answers, grader_identity, (seconds, tokens), held_out);
    dir.finish(&answers, &summary)?;
    Ok(EvaluationOutcome::Done(summary))
}

/// The model with its adapter, and its tokenizer.
fn opened(evaluation: &Evaluation) -> Result<(ModelSource, TokenizerBundle), ModelError> {
    let mut source = ModelSource::open(&evaluation.model)?;
    if let Some(exported) = &evaluation.exported {
        source = source.with_adapter(exported)?;
        source.require_base_of_adapter()?;
        return Ok((source, TokenizerBundle::open(exported)?));
    }
    if let Some(adapter) = &evaluation.settings.adapter {
        source = source.with_adapter(&evaluation.base.join(adapter))?;
        source.require_base_of_adapter()?;
    }
    let tokenizer = source.tokenizer()?;
    Ok((source, tokenizer))
}

/// The problems that are asked, with the system prompt of the settings before those that have none.
///
/// # Errors
///
/// [`EvaluateError::NoProblems`] if there is none, and if the files cannot be read.
fn problems_of(evaluation: &Evaluation, data: &DataSettings) -> Result<Vec<Problem>, EvaluateError> {
    let settings = &evaluation.settings;
    let mut problems = problems(&evaluation.base, data, &evaluation.sections, settings.answer.as_deref())?;
    problems.truncate(settings.problems.unwrap_or(usize::MAX));
    if problems.is_empty() {
        return Err(EvaluateError::NoProblems);
    }
    if let Some(system) = settings.system.as_deref().filter(|system| !system.is_empty()) {
        for problem in &mut problems {
            add_system(problem, system);
        }
    }
    Ok(problems)
}

/// The problems that a model is being asked.
struct Asked<'a> {
    asking: &'a Asking,
    grader: Option<Grader>,
    problems: &'a [Problem],
    partial: PartialAnswers,
    answers: Vec<Answered>,
    began: Duration,
    /// The tokens that this process has generated, and the seconds that this took.
    tokens: u64,
    seconds: f64,
}

impl Asked<'_> {
    /// Grades the answers so far anew, and asks all unanswered problems. Returns `false` if it was stopped.
    fn ask(
        &mut self,
        mut generation: Generation<'_>,
        context_tokens: usize,
        context: &EvaluationContext<'_>,
        events: &mut dyn FnMut(EvaluationEvent),
    ) -> Result<bool, EvaluateError> {
        let problems = self.problems;
        for mut answer in std::mem::take(&mut self.answers) {
            if let Some(problem) = problems.get(answer.index as usize) {
                self.asking.regrade(problem, &mut answer);
                if !self.grade(&mut answer, context)? {
                    return Ok(false);
                }
            }
            self.answers.push(answer);
        }
        let mut answered = vec![false; problems.len()];
        for answer in &self.answers {
            if let Some(place) = answered.get_mut(answer.index as usize) {
                *place = true;
            }
        }
        for (index, problem) in problems.iter().enumerate().filter(|(index, _)| !answered[*index]) {
            let index = index as u64;
            if let Some(tokens) = self.asking.prompt(problem, context_tokens)? {
                generation.push(Prompt { index, tokens })?;
            } else {
                let answer = self.asking.not_asked(problem, index);
                if !self.keep(answer, context, events)? {
                    return Ok(false);
                }
            }
        }
        self.began = (context.clock)();
        while !generation.is_idle() {
            if context.stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let finished = match generation.step(Stop::when(context.stop)) {
                Err(ModelError::Stopped) => return Ok(false),
                finished => finished?,
            };
            for generated in finished {
                self.tokens += generated.tokens.len() as u64;
                let answer = self.asking.graded(&problems[generated.index as usize], &generated)?;
                if !self.keep(answer, context, events)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Stores an answer and grades it. Returns `false` if it was stopped meanwhile; then it is graded on resumption.
    fn keep(
        &mut self,
        mut answer: Answered,
        context: &EvaluationContext<'_>,
        events: &mut dyn FnMut(EvaluationEvent),
    ) -> Result<bool, EvaluateError> {
        self.partial.add(&answer)?;
        if !self.grade(&mut answer, context)? {
            return Ok(false);
        }
        self.answers.push(answer);
        self.seconds = (context.clock)().saturating_sub(self.began).as_secs_f64();
        events(EvaluationEvent::Answered {
            done: self.answers.len() as u64,
            correct: self.answers.iter().filter(|answer| answer.correct).count() as u64,
            ungraded: self.answers.iter().filter(|answer| answer.ungraded.is_some()).count() as u64,
            tokens: self.tokens,
            seconds: self.seconds,
        });
        Ok(true)
    }

    /// Replaces the verdict of the built-in rules by that of the grader, if there is one. Returns `false` if it was stopped.
    fn grade(&mut self, answer: &mut Answered, context: &EvaluationContext<'_>) -> Result<bool, EvaluateError> {
        let Some(grader) = self.grader.as_mut().filter(|_| answer.end != AnswerEnd::PromptTooLong) else {
            return Ok(true);
        };
        let request = Request {
            index: answer.index,
            id: &answer.id,
            question: &answer.question,
            reference: &self.problems[answer.index as usize].reference,
            expected: &answer.expected,
            text: &answer.text,
            found: answer.found.as_deref(),
        };
        match grader.ask(&request, context)? {
            None => return Ok(false),
            Some(Verdict::Graded { correct, found }) => {
                answer.correct = correct;
                answer.found = found.or(answer.found.take());
            }
            Some(Verdict::Ungraded(because)) => {
                answer.correct = false;
                answer.ungraded = Some(because);
            }
        }
        Ok(true)
    }
}

/// All values on which the answers depend.
fn identity(
    evaluation: &Evaluation,
    source: &ModelSource,
    (tokenizer, template, stops): (&TokenizerBundle, &str, &[u32]),
    problems: &[Problem],
) -> Result<Value, EvaluateError> {
    let settings = &evaluation.settings;
    let mut hasher = blake3::Hasher::new();
    for problem in problems {
        let text = serde_json::to_vec(&(&problem.id, &problem.messages, &problem.reference));
        hasher.update(&text.expect("turns serialize"));
        let given = &problem.given;
        if let Some(tools) = &given.tools {
            hasher.update(b"\n").update(tools.to_string().as_bytes());
        }
        if given.documents.is_some() || !given.arguments.is_empty() {
            let more = json!({"documents": given.documents, "arguments": given.arguments});
            hasher.update(b"\n").update(more.to_string().as_bytes());
        }
        hasher.update(b"\n");
    }
    let mut identity = json!({
        "model": {
            "config": source.config_fingerprint(),
            "weights": source.weights_fingerprint()?,
            "tokenizer": tokenizer.fingerprint,
            "chat_template": blake3::hash(template.as_bytes()).to_hex().as_str(),
            "stop_tokens": stops,
            "dtype": settings.dtype,
        },
        "problems": { "count": problems.len(), "content": hasher.finalize().to_hex().as_str() },
        "thinking_end": evaluation.sections.thinking_end,
        "answer_pattern": settings.answer_pattern,
        "max_new_tokens": settings.max_new_tokens,
        "sampling": {
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "top_k": settings.top_k,
            "seed": settings.seed,
        },
    });
    // Evaluations that were made before these settings existed have neither.
    if !settings.stop.is_empty() {
        identity["stop"] = json!(settings.stop);
    }
    if let Some(adapter) = source.adapter_fingerprint()? {
        identity["model"]["adapter"] = json!(adapter);
    }
    if !evaluation.sections.template_arguments.is_empty() {
        identity["template_arguments"] = json!(evaluation.sections.template_arguments);
    }
    Ok(identity)
}
