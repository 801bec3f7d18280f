//! The source of a template, as the engine can run it.
//!
//! Four things are changed before it is compiled. Line ends become `\n`, as Jinja2 reads them. transformers adds the tags
//! `generation` and `endgeneration` to the language to mark the assistant's tokens; they become a scope of their own, which is
//! what they are apart from the mark. The engine's operator `%` does not format text, so `a % b` becomes a call of the filter
//! [`MODULO`], which does what Python does. Of floats it makes other texts than Python, so the operands of `~` go through the filter
//! [`TEXT`].

mod escapes;
mod extra_arguments;
mod operators;
mod tags;

pub(super) use self::{
    escapes::unknown_escape,
    extra_arguments::extra_arguments,
    operators::{MODULO, TEXT},
};
use self::{
    operators::rewritten,
    tags::{Tag, is_word, next_tag},
};

/// The source with these changes.
pub(super) fn adapted(source: &str) -> String {
    let lines = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut text = String::with_capacity(lines.len());
    let mut rest = lines.as_str();
    while let Some((before, tag, after)) = next_tag(rest) {
        text += before;
        text += &adapted_tag(&tag);
        rest = after;
    }
    text + rest
}

/// A tag with these changes.
fn adapted_tag(tag: &Tag<'_>) -> String {
    let is_rewritten = tag.tokens.iter().any(|token| ["%", "~"].contains(&token.text));
    let inner = if tag.open == "{%" && is_word(&tag.tokens, "generation") {
        tag.inner.replace("generation", "with")
    } else if tag.open == "{%" && is_word(&tag.tokens, "endgeneration") {
        tag.inner.replace("endgeneration", "endwith")
    } else if is_rewritten {
        rewritten(tag)
    } else {
        tag.inner.to_owned()
    };
    [tag.open, &inner, tag.close].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_become_those_of_unix() {
        assert_eq!(adapted("a\r\nb\rc\n{{ 'd\r\n' }}"), "a\nb\nc\n{{ 'd\n' }}");
    }

    #[test]
    fn generation_tags_become_scopes_outside_of_text() {
        let source = "{%- generation -%}{{ generation }}{% endgeneration %} {% if x %}generation{% endif %} {% open";
        let expected = "{%- with -%}{{ generation }}{% endwith %} {% if x %}generation{% endif %} {% open";
        assert_eq!(adapted(source), expected);
        for unchanged in [
            "a{%}b",
            "{%}{%generation%}",
            "{# {% generation %} #}",
            "{% raw %}{% generation %}{%- endraw %}",
            "{{ '{% generation %}' }}",
        ] {
            assert_eq!(adapted(unchanged), unchanged);
        }
        assert_eq!(adapted("{%%}{%generation%}"), "{%%}{%with%}");
    }

    #[test]
    fn a_percent_sign_is_a_call_of_a_filter_with_its_operands() {
        for (source, expected) in [
            ("'%s' % x", "('%s' )|python_modulo( x)"),
            ("a % b + c", "(a )|python_modulo( b) + c"),
            ("c + a % b", "c + (a )|python_modulo( b)"),
            ("a * b % c * d", "(a * b )|python_modulo( c) * d"),
            ("a%b%c", "((a)|python_modulo(b))|python_modulo(c)"),
            ("-a % -b", "(-a )|python_modulo( -b)"),
            (
                "a.b[0](1)|f % x|g(2) == 1",
                "(a.b[0](1)|f )|python_modulo( x|g(2)) == 1",
            ),
            ("(a % b, [c % d])", "((a )|python_modulo( b), [(c )|python_modulo( d)])"),
            ("not a % b", "not (a )|python_modulo( b)"),
            ("{'a': b % {'c': 1}}", "{'a': (b )|python_modulo( {'c': 1})}"),
            ("x if a % 2 else y", "x if (a )|python_modulo( 2) else y"),
            ("2 ** 3 % 5", "(2 ** 3 )|python_modulo( 5)"),
            ("'%' ~ 'a %} b'", "'%' ~ 'a %} b'"),
        ] {
            assert_eq!(adapted(&format!("{{{{ {source} }}}}")), format!("{{{{ {expected} }}}}"));
        }
        assert_eq!(
            adapted("{% if a % 2 == 0 %}b % c{% endif %}"),
            "{% if (a )|python_modulo( 2) == 0 %}b % c{% endif %}"
        );
        assert_eq!(adapted("{%- elif (a) % 2 %}"), "{%- elif ((a) )|python_modulo( 2) %}");
        assert_eq!(
            adapted("{%- set a = '%s' % b -%}"),
            "{%- set a = ('%s' )|python_modulo( b) -%}"
        );
        // What is not an expression stays as it is.
        for broken in ["{{ % }}", "{{ ) % ( }}", "{{ a % }}", "{{ 1 %", "{% % %}"] {
            drop(adapted(broken));
        }
    }
    #[test]
    fn operands_of_a_concatenation_become_texts_unless_they_are() {
        for (source, expected) in [
            ("'a' ~ b", "'a' ~ (b)|python_text"),
            ("a ~ 'b' ~ c", "(a)|python_text ~ 'b' ~ (c)|python_text"),
            ("1 + a ~ b * 2 + c", "1 + (a)|python_text ~ (b * 2)|python_text + c"),
            ("-a.b[0]|f ~ 1e-5", "(-a.b[0]|f)|python_text ~ (1e-5)|python_text"),
            (
                "a % 2 ~ b if c ~ d == e",
                "((a )|python_modulo( 2))|python_text ~ (b)|python_text if (c)|python_text ~ (d)|python_text == e",
            ),
            (
                "x is defined ~ y is not none",
                "(x is defined)|python_text ~ (y is not none)|python_text",
            ),
            (
                "1 is divisibleby 3 ~ (x is in [1] and z)",
                "(1 is divisibleby 3)|python_text ~ ((x is in [1] and z))|python_text",
            ),
            (
                "'a' 'b' ~ f(c ~ d)",
                "'a' 'b' ~ (f((c)|python_text ~ (d)|python_text))|python_text",
            ),
        ] {
            assert_eq!(adapted(&format!("{{{{ {source} }}}}")), format!("{{{{ {expected} }}}}"));
        }
        assert_eq!(
            adapted("{%- elif (a) ~ b %}"),
            "{%- elif ((a))|python_text ~ (b)|python_text %}"
        );
        for broken in ["{{ ~ }}", "{{ a ~ }}", "{{ ~ ) a ~ (", "{% ~ %}"] {
            drop(adapted(broken));
        }
    }
}
