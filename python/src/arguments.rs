//! Arguments of Python calls as the crates' types: what is read of every sample.

use leadspan_cache::{Cache, CacheError, Coverage, Missing, Reader};
use leadspan_sequence::{LeadSpanProportion, Section, SectionSet};
use pyo3::{
    Bound, PyAny, PyResult, Python,
    prelude::*,
    types::{PyBool, PyString},
};

use crate::errors;

/// A proportion and sections as they are given, each of which may be `None`.
pub(crate) type Given<'py> = (Option<Bound<'py, PyAny>>, Option<Vec<String>>);

/// What is read of every sample. What is not said is the most that the cache holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    proportion: Option<LeadSpanProportion>,
    sections: Option<SectionSet>,
}

impl Asked {
    /// # Errors
    ///
    /// If the proportion is none, or if the sections are none or have other names.
    pub(crate) fn new(py: Python<'_>, (proportion, sections): &Given<'_>) -> PyResult<Self> {
        let proportion = proportion.as_ref().map(|given| self::proportion(py, given));
        let sections = sections.as_ref().map(|names| self::sections(py, names));
        Ok(Self {
            proportion: proportion.transpose()?,
            sections: sections.transpose()?,
        })
    }

    /// A reader of what is asked for.
    ///
    /// # Errors
    ///
    /// Those of [`Reader::open`].
    pub(crate) fn open(self, cache: &Cache, missing: Missing) -> Result<Reader, CacheError> {
        let open = |proportion, sections| Reader::open(cache, Coverage { proportion, sections }, missing);
        match (self.proportion, self.sections) {
            (None, None) => Reader::open_largest(cache, missing),
            (Some(proportion), None) => {
                let sections = Reader::open_largest(cache, missing)?.coverage().sections;
                open(proportion, sections)
            }
            (Some(proportion), Some(sections)) => open(proportion, sections),
            (None, Some(sections)) => match open(LeadSpanProportion::WHOLE, sections) {
                Err(CacheError::ProportionNotCaptured { largest, .. }) => open(largest, sections),
                opened => opened,
            },
        }
    }
}

/// A number or a text; a number stands for the shortest decimal that denotes it, as in a pipeline file.
fn proportion(py: Python<'_>, given: &Bound<'_, PyAny>) -> PyResult<LeadSpanProportion> {
    let text: String = match given.cast::<PyString>() {
        Ok(text) => text.extract()?,
        Err(_) if given.is_instance_of::<PyBool>() => given.to_string(),
        // A number of single precision has a shorter decimal than the same number in double precision.
        Err(_) if given.hasattr("dtype")? => given.str()?.to_string().parse::<f64>()?.to_string(),
        Err(_) => given.extract::<f64>()?.to_string(),
    };
    text.parse::<LeadSpanProportion>()
        .map_err(|error| errors::value(py, &error.to_string()))
}

fn sections(py: Python<'_>, names: &[String]) -> PyResult<SectionSet> {
    let named: Result<Vec<Section>, _> = names.iter().map(|name| name.parse()).collect();
    let named = named.map_err(|error| errors::value(py, &format!("{error}")))?;
    SectionSet::new(named).ok_or_else(|| errors::value(py, "the list of sections is empty: name at least one"))
}
