//! Names that every template of Jinja2 sees, and the engine lacks.

use std::{fmt, sync::Arc};

use minijinja::{
    Environment, Error, Value,
    value::{Object, ObjectRepr, Rest},
};

use super::arguments::invalid;

/// Functions of Jinja2 that cannot be had. They are defined, so that tests for them say what they say in transformers.
const WITHOUT: [&str; 3] = ["cycler", "joiner", "lipsum"];

/// What `self` is in a template: it would give the template's blocks, which no chat template has.
#[derive(Debug)]
struct TemplateReference;

impl Object for TemplateReference {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<TemplateReference None>")
    }
}

/// Adds the names.
pub(super) fn add(environment: &mut Environment) {
    environment.add_global("self", Value::from_object(TemplateReference));
    for name in WITHOUT {
        environment.add_function(name, move |_: Rest<Value>| -> Result<Value, Error> {
            Err(invalid(format!("the function `{name}` is not supported")))
        });
    }
}
