//! Held-out losses of an evaluated model.

use std::{path::Path, sync::atomic::AtomicBool};

use leadspan_cache::{Cache, CacheError, Missing, Reader};
use leadspan_model::{Decoder, Stop, StoredDtype, TokenizerBundle};
use leadspan_train::{HeldOut, TrainError, held_out_losses};

use crate::{EvaluateError, EvaluationEvent, HeldOutLosses};

/// The losses on the validation samples of the cache in `path`, if they can be measured.
pub(crate) fn held_out(
    path: &Path,
    decoder: &Decoder,
    (tokenizer, dtype): (&TokenizerBundle, StoredDtype),
    stop: &AtomicBool,
    events: &mut dyn FnMut(EvaluationEvent),
) -> Result<Option<HeldOut>, EvaluateError> {
    let mut not_measured = |because: String| {
        events(EvaluationEvent::HeldOut(HeldOutLosses::NotMeasured(because)));
        Ok(None)
    };
    let at = path.display();
    if !path.is_dir() {
        return not_measured(format!("there is no cache `{at}`"));
    }
    if dtype == StoredDtype::Native {
        return not_measured("the model's head is quantised".to_owned());
    }
    let cache = Cache::open(path)?;
    if cache.identity().tokenizer != tokenizer.fingerprint {
        return not_measured(format!("the cache `{at}` was made with another tokenizer"));
    }
    let reader = match Reader::open_largest(&cache, Missing::Allowed) {
        Ok(reader) => reader,
        Err(error @ CacheError::NothingCaptured { .. }) => return not_measured(error.to_string()),
        Err(error) => return Err(error.into()),
    };
    events(EvaluationEvent::HeldOut(HeldOutLosses::Measured));
    match held_out_losses(decoder, &reader, Stop::when(stop)) {
        Err(error @ (TrainError::Context { .. } | TrainError::TokenOutsideVocabulary { .. })) => {
            events(EvaluationEvent::HeldOut(HeldOutLosses::NotMeasured(error.to_string())));
            Ok(None)
        }
        measured => Ok(measured?),
    }
}
