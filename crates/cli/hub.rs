//! Finds models that the pipeline file names by their Hub ids in the local Hub cache.

use std::path::PathBuf;

use leadspan_evaluate::Evaluation;
use leadspan_model::{HubCache, ModelError};
use leadspan_precompute::{Pipeline, ServerAuthorities, ServerKey, TextPipeline};

use crate::configuration::{StageTwo, TextOfModel};

/// The pipeline with the paths of its teacher and of its adapter resolved, and the key and certificate authorities for its server.
///
/// # Errors
///
/// If one of them is the id of a Hub model that was not downloaded.
pub(crate) fn with_teacher_found(mut pipeline: Pipeline) -> Result<Pipeline, ModelError> {
    let (teacher, cache) = (&mut pipeline.teacher, cache());
    let revision = teacher.revision.as_deref();
    teacher.model = if teacher.server.is_some() {
        cache.resolve_served(&teacher.model, &pipeline.base, revision)?
    } else {
        cache.resolve(&teacher.model, &pipeline.base, revision)?
    };
    if let Some(adapter) = &mut pipeline.teacher.adapter {
        *adapter = cache.resolve(adapter, &pipeline.base, None)?;
    }
    pipeline.server_key = std::env::var_os(ServerKey::VARIABLE).and_then(ServerKey::new);
    pipeline.server_authorities = ServerAuthorities::of_environment(|name| std::env::var_os(name));
    Ok(pipeline)
}

/// The pipeline for preparing text, with the path of its tokenizer resolved.
///
/// # Errors
///
/// If the tokenizer is that of a Hub model that was not downloaded.
pub(crate) fn with_tokenizer_found(text: TextOfModel) -> Result<TextPipeline, ModelError> {
    let TextOfModel { mut pipeline, revision } = text;
    let (written, revision) = (&pipeline.tokenizer, revision.as_deref());
    pipeline.tokenizer = if pipeline.is_served {
        cache().resolve_served(written, &pipeline.base, revision)?
    } else {
        cache().resolve(written, &pipeline.base, revision)?
    };
    Ok(pipeline)
}

/// Stage two with the path of its student resolved.
///
/// # Errors
///
/// If the student is the id of a Hub model that was not downloaded.
pub(crate) fn with_student_found(mut stage: StageTwo) -> Result<StageTwo, ModelError> {
    if let Some(model) = &stage.student.model {
        // The path is relative to the current folder. A Hub id is what the file says.
        let written = model.strip_prefix(&stage.base).unwrap_or(model);
        let found = cache().resolve(written, &stage.base, stage.student.revision.as_deref())?;
        stage.student.model = Some(stage.base.join(found));
    }
    Ok(stage)
}

/// An evaluation with the path of its model resolved.
///
/// # Errors
///
/// If the model is the id of a Hub model that was not downloaded.
pub(crate) fn with_evaluated_found(mut evaluation: Evaluation) -> Result<Evaluation, ModelError> {
    // As above, but a model on the command line is not relative to the pipeline file.
    let (base, model) = (&evaluation.base, &evaluation.model);
    let (written, base) = match model.strip_prefix(base) {
        Ok(written) => (written, base.clone()),
        Err(_) => (model.as_path(), PathBuf::new()),
    };
    let found = cache().resolve(written, &base, evaluation.settings.revision.as_deref())?;
    evaluation.model = base.join(found);
    if let Some(adapter) = &mut evaluation.settings.adapter {
        *adapter = cache().resolve(adapter, &evaluation.base, None)?;
    }
    Ok(evaluation)
}

/// The Hub cache of this machine. Its path is absolute, because relative paths of models are relative to the pipeline file.
fn cache() -> HubCache {
    let of_environment = HubCache::of_environment(|name| std::env::var_os(name));
    let absolute: PathBuf = std::path::absolute(of_environment.dir()).unwrap_or_else(|_| of_environment.dir().into());
    HubCache::new(absolute)
}
