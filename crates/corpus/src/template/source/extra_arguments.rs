//! Macros that take more arguments than they name, by Jinja2's `varargs` and `kwargs`. The engine has no such macros.

use super::tags::{Kind, Tag, next_tag};

/// What Jinja2 puts further arguments of a macro in.
const NAMES: [&str; 2] = ["varargs", "kwargs"];

/// The name of these that the body of a macro or call block uses and its head does not declare.
pub(in super::super) fn extra_arguments(source: &str) -> Option<&'static str> {
    // For each block that is open: the names that its head declares.
    let mut open: Vec<Vec<&str>> = Vec::new();
    let mut rest = source;
    while let Some((_, tag, after)) = next_tag(rest) {
        rest = after;
        match statement(&tag) {
            Some("macro" | "call") => open.push(names_in(&tag)),
            Some("endmacro" | "endcall") => drop(open.pop()),
            _ => {
                let used = names_in(&tag);
                let is_extra = |name: &&&str| used.contains(*name) && !open.iter().any(|head| head.contains(*name));
                if let Some(name) = NAMES.iter().find(is_extra)
                    && !open.is_empty()
                {
                    return Some(name);
                }
            }
        }
    }
    None
}

/// The word that a statement begins with.
fn statement<'a>(tag: &Tag<'a>) -> Option<&'a str> {
    let mut tokens = tag.tokens.iter().filter(|token| token.kind == Kind::Name);
    (tag.open == "{%")
        .then(|| tokens.next().map(|token| token.text))
        .flatten()
}

/// The variables in a tag: no attributes, and no names of arguments.
fn names_in<'a>(tag: &Tag<'a>) -> Vec<&'a str> {
    let text = |at: Option<usize>| at.and_then(|at| tag.tokens.get(at)).map_or("", |token| token.text);
    let is_head = matches!(statement(tag), Some("macro" | "call"));
    let is_variable = |at: usize| text(at.checked_sub(1)) != "." && (is_head || text(Some(at + 1)) != "=");
    let names = tag.tokens.iter().enumerate();
    names
        .filter(|(at, token)| token.kind == Kind::Name && is_variable(*at))
        .map(|(_, token)| token.text)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_undeclared_uses_inside_of_macros_count() {
        for (source, expected) in [
            ("{% macro f() %}{{ varargs }}{% endmacro %}", Some("varargs")),
            (
                "{%- macro f(a) -%}{% if kwargs.b %}{% endif %}{% endmacro %}",
                Some("kwargs"),
            ),
            ("{% call f() %}{{ kwargs }}{% endcall %}", Some("kwargs")),
            ("{% macro f(kwargs) %}{{ kwargs }}{% endmacro %}", None),
            ("{% macro f(kwargs={}) %}{{ kwargs }}{% endmacro %}", None),
            (
                "{% macro f() %}{{ a.kwargs }}{{ g(kwargs=1) }}kwargs{{ 'kwargs' }}{% endmacro %}",
                None,
            ),
            ("{% macro f() %}{% endmacro %}{{ kwargs }}{{ varargs }}", None),
        ] {
            assert_eq!(extra_arguments(source), expected, "{source}");
        }
    }
}
