//! Templates that were written to do harm: rendering them ends, in little memory, on a thread with a small stack.
//!
//! `docs/security.md` says which templates are not bounded: they are not tried here. This is a test program of its own,
//! because it counts allocations.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::{
    alloc::System,
    error::Error,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use leadspan_corpus::{ChatTemplate, Message, Role};
use leadspan_memory::Counting;

#[global_allocator]
static ALLOCATOR: Counting<System> = Counting::new(System);

/// The most bytes that rendering a few words may hold.
const PEAK_BYTES: usize = 64 << 20;

/// The stack of a thread that prepares a corpus, in bytes.
const STACK_BYTES: usize = 2 << 20;

/// A lock that keeps the other tests from allocating.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Renders a few words on a small stack, and checks that at most [`PEAK_BYTES`] are held meanwhile and none afterwards.
fn render(source: &str) -> Result<String, String> {
    let source = source.to_owned();
    let render = move || {
        let before = ALLOCATOR.restart_peak();
        let rendered = {
            let template = ChatTemplate::new(&source, None, None);
            let messages = [
                Message::new(Role::User, "question"),
                Message::new(Role::Assistant, "answer"),
            ];
            template
                .and_then(|template| template.render(&messages, false))
                .map_err(|error| error.source().unwrap().to_string())
        };
        let peak = ALLOCATOR.peak() - before;
        assert!(peak < PEAK_BYTES, "{source} held {peak} bytes");
        let kept = ALLOCATOR.held().saturating_sub(before);
        let result = rendered.as_ref().map_or_else(String::capacity, String::capacity);
        assert!(kept < result + 100_000, "{source} leaves {kept} bytes behind");
        rendered
    };
    let thread = thread::Builder::new().stack_size(STACK_BYTES);
    thread.spawn(render).unwrap().join().unwrap()
}

/// A template that runs `step` so many times on the attribute `x` of a namespace.
fn repeated(start: &str, times: usize, step: &str, end: &str) -> String {
    let outer = (times / 100).max(1);
    let inner = times / outer;
    format!(
        "{{% set ns = namespace(x={start}) %}}{{% for i in range({outer}) %}}{{% for j in range({inner}) %}}{step}\
         {{% endfor %}}{{% endfor %}}{end}"
    )
}

#[test]
fn texts_and_lists_that_double_in_a_loop_are_refused_however_cheap_each_doubling() {
    let _alone = alone();
    let starts_and_steps = [
        ("(1,)", "ns.x + ns.x"),
        ("[1]", "ns.x * 2"),
        ("[1]", "ns.x[:] + ns.x[::-1]"),
        ("[1]", "ns.x|list + ns.x|reverse|list"),
        ("'0123456789'", "ns.x ~ ns.x"),
        ("'0123456789'", "ns.x + ns.x"),
        ("'0123456789'", "ns.x * 2"),
        ("'0123456789'", "[ns.x, ns.x]|join"),
        ("'0123456789'", "''.join([ns.x, ns.x])"),
        ("'0123456789'", "'{}{}'.format(ns.x, ns.x)"),
        ("'0123456789'", "'%s%s'|format(ns.x, ns.x)"),
        ("'0123456789'", "ns.x|replace('0', '00')"),
        ("'0123456789'", "ns.x.replace('0', '00')"),
        ("'0123456789'", "[ns.x, ns.x]|tojson"),
        ("'0123456789'", "[ns.x]|tojson|tojson"),
        ("['0123456789']", "ns.x|map('replace', '0', '00')|list"),
    ];
    for (start, step) in starts_and_steps {
        let set = format!("{{% set ns.x = {step} %}}");
        for end in ["", "{{ ns.x }}"] {
            let source = repeated(start, 10_000, &set, end);
            let error = render(&source).unwrap_err();
            let refused = ["out of fuel", "large", "cannot be written as JSON"];
            assert!(refused.iter().any(|text| error.contains(text)), "{source}: {error}");
        }
    }
}

#[test]
fn lists_that_hold_others_twice_are_dropped_but_never_printed() {
    let _alone = alone();
    for step in [
        "[ns.x, ns.x]",
        "(ns.x, ns.x)",
        "{'a': ns.x, 'b': ns.x}",
        "dict(a=ns.x, b=ns.x)",
        "(ns.x, ns.x)|batch(1)|list",
        "{'a': [ns.x, ns.x]}|dictsort",
    ] {
        let set = format!("{{% set ns.x = {step} %}}");
        for times in [40, 1_000] {
            render(&repeated("[1]", times, &set, "")).unwrap();
            for end in [
                "{{ ns.x }}",
                "{{ ns }}",
                "{{ ns.x|tojson }}",
                "{{ ns.x|string }}",
                "{{ ns.x|pprint }}",
                "{{ '%s'|format(ns.x) }}",
                "{{ '{}'.format(ns.x) }}",
            ] {
                let source = repeated("[1]", times, &set, end);
                let error = render(&source).unwrap_err();
                let refused = ["out of fuel", "put into each other"];
                assert!(refused.iter().any(|text| error.contains(text)), "{source}: {error}");
            }
        }
    }
}

#[test]
fn what_is_large_at_once_is_refused_before_it_is_made() {
    let _alone = alone();
    for source in [
        "{{ 'x' * 100000000000 }}",
        "{{ 'x' * 99999999 * 10 }}",
        "{{ ['x'] * 100000000000 }}",
        "{{ ['x'] * 99999999 }}",
        "{{ (1,) * 99999999 }}",
        "{{ range(99999)|list * 1000 }}",
        "{% for a in range(9999) %}{{ 'a line that is written again and again' * 10000 }}{% endfor %}",
        "{{ ('x' * 100000)|replace('x', 'y' * 100000) }}",
        "{{ ('x' * 100000).replace('x', 'y' * 100000) }}",
        "{{ ('x' * 1000000).join(range(10000)) }}",
        "{{ range(10000)|join('x' * 1000000) }}",
        "{{ 'x'|indent(100000000000) }}",
        "{{ 'x'|center(100000000000) }}",
        "{{ '%99999999999d'|format(1) }}",
        "{{ '%.99999999999f'|format(1.5) }}",
        "{{ '%*d'|format(99999999999, 1) }}",
        "{{ '{:>99999999999}'.format(1) }}",
        "{% set a = 'x' * 1000000 %}{{ ('{0}' * 100000).format(a) }}",
        "{% set a = 'x' * 1000000 %}{{ ('%(a)s' * 100000)|format({'a': a}) }}",
        "{% set a = 'x' * 1000000 %}{{ [a] * 100000 }}",
        "{% set a = 'x' * 1000000 %}{{ ([a] * 1000)|tojson }}",
        "{% set a = 'x' * 1000000 %}{{ [a] * 1000 + [0.5] }}",
        "{% set a = 'x' * 1000000 %}{{ '' ~ ([a] * 1000 + [0.5]) }}",
        "{% set a = 'x' * 1000000 %}{{ ([a] * 1000 + [0.5])|string }}",
        "{% set a = 'x' * 1000000 %}{{ ([a] * 1000 + [0.5])|pprint }}",
        "{% set a = 'x' * 1000000 %}{{ [[a] * 1000 + [0.5]]|join }}",
        "{% set a = 'x' * 1000000 %}{{ '%s'|format([a] * 1000 + [0.5]) }}",
        "{% set a = 'x' * 1000000 %}{{ '{}'.format([a] * 1000 + [0.5]) }}",
        "{% set a = 'x' * 1000000 %}{{ (['0'] * 10000)|map('replace', '0', a)|list }}",
        "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro m(x) %}{{ m([x, x]) }}{% endmacro %}{{ m([1]) }}",
        "{% macro m(x) %}{{ x }}{{ m(x=x ~ x) }}{% endmacro %}{{ m('0123456789') }}",
        "{% for a in [[1]] recursive %}{{ loop([[a, a]]) }}{% endfor %}",
    ] {
        let error = render(source).unwrap_err();
        assert!(!error.contains("syntax error"), "{source}: {error}");
    }
}

#[test]
fn values_that_are_put_into_each_other_again_and_again_end_the_rendering_or_are_dropped() {
    let _alone = alone();
    let ends = [
        "",
        "{{ ns.x }}",
        "{{ ns }}",
        "{{ ns.x|tojson }}",
        "{{ ns.x ~ '' }}",
        "{{ ns.x == [ns.x] }}",
    ];
    for step in [
        "{% set ns.x = [ns.x] %}",
        "{% set ns.x = (ns.x,) %}",
        "{% set ns.x = {'a': ns.x} %}",
        "{% set ns.x = dict(a=ns.x) %}",
        "{% set ns.x = [ns.x]|map('reverse')|list %}",
        "{% set ns.x = [ns.x]|batch(1)|list %}",
        "{% set ns.x = namespace(x=ns.x) %}",
    ] {
        for (times, end) in [1_000, 20_000]
            .into_iter()
            .flat_map(|times| ends.map(|end| (times, end)))
        {
            let rendered = render(&repeated("[1]", times, step, end));
            // Comparing and joining are not limited in depth: the stack is large enough for whatever the fuel can build.
            match rendered {
                Err(error) => assert!(
                    error.contains("out of fuel") || error.contains("put into each other"),
                    "{step}{end}: {error}"
                ),
                Ok(_) => assert!(times == 1_000 && ["", ends[4], ends[5]].contains(&end), "{step}{end}"),
            }
        }
    }
}

#[test]
fn namespaces_and_loops_that_hold_themselves_are_not_printed() {
    let _alone = alone();
    for step in [
        "{% set ns.x = ns %}",
        "{% set ns.x = [ns] %}",
        "{% set ns.x = loop %}{% set ns.y = ns %}",
        "{% for k in [ns.x] %}{% set ns.x = loop %}{% endfor %}{% set ns.y = ns %}",
        "{% set a = loop.changed(loop) %}{% set ns.x = ns %}",
    ] {
        for end in [
            "{{ ns }}",
            "{{ ns|tojson }}",
            "{{ ns|string }}",
            "{{ ns|pprint }}",
            "{{ '%s'|format(ns) }}",
        ] {
            let error = render(&repeated("[1]", 100, step, end)).unwrap_err();
            assert!(
                error.contains("put into each other") || error.contains("out of fuel"),
                "{step}{end}: {error}"
            );
        }
    }
}

#[test]
fn lists_that_are_sliced_reversed_or_added_to_again_and_again_stay_lists() {
    let _alone = alone();
    for step in [
        "ns.x[0:]",
        "ns.x[::-1]",
        "ns.x|reverse",
        "ns.x|list",
        "ns.x|map('reverse')",
        "[] + ns.x",
        "ns.x * 1",
    ] {
        let source = repeated("[[1, 2]]", 2_000, &format!("{{% set ns.x = {step} %}}"), "{{ ns.x }}");
        assert_eq!(render(&source).unwrap(), "[[1, 2]]", "{source}");
    }
}

#[test]
fn sources_that_nest_without_end_are_refused() {
    let _alone = alone();
    let many = 10_000;
    for source in [
        format!("{{{{ {}1 }}}}", "[".repeat(many)),
        format!("{{{{ {}1{} }}}}", "(".repeat(many), ")".repeat(many)),
        "{% if a %}".repeat(many / 2),
        "{% for a in b %}".repeat(many / 4),
        "x".repeat(1 << 20),
        format!("{{{{ f({}) }}}}", "1,".repeat(66_000)),
    ] {
        assert!(render(&source).is_err(), "{}", &source[..40]);
    }
}

#[test]
fn sources_of_long_chains_are_read_or_refused() {
    let _alone = alone();
    let many = 6_000;
    for (start, link, end) in [
        ("{{ 1", "+1", " }}"),
        ("{{ ", "not ", "a }}"),
        ("{{ ", "-", "a }}"),
        ("{{ ", "a ** ", "a }}"),
        ("{{ a", "+a", " }}"),
        ("{{ a", "~a", " }}"),
        ("{{ a", " or a", " }}"),
        ("{{ a", " and a", " }}"),
        ("{{ a", "<a", " }}"),
        ("{{ a", "|d", " }}"),
        ("{{ a", ".a", " }}"),
        ("{{ a", "[0]", " }}"),
        ("{{ a", "()", " }}"),
        ("{{ a", " is b", " }}"),
        ("{{ a", " if a else a", " }}"),
        ("{{ [a", ",a", "] }}"),
        ("{% if a %}", "{% elif a %}", "{% endif %}"),
        ("", "{% set a = [a] %}", ""),
        ("", "{% macro a() %}{% endmacro %}", ""),
    ] {
        let times = many.min(65_000 / link.len());
        drop(render(&format!("{start}{}{end}", link.repeat(times))));
    }
}
