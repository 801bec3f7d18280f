//! Values that lie in each other as deep as the fuel allows: the stack of a rendering suffices for them, twice over.

use std::{fs, thread};

use super::{bounds::STACK_BYTES_A_FUEL, *};

/// Ways to put the attribute `x` of a namespace into one more value, or several, with as little fuel as possible.
///
/// `zip` and `groupby` are not among them: the engine's work doubles with each level, so that it never gets deep.
fn steps() -> Vec<(&'static str, String)> {
    let repeated = |link: &str| format!("{{% set ns.x = ns.x{} %}}", link.repeat(20));
    let nested = |open: &str, close: &str| format!("{{% set ns.x = {}ns.x{} %}}", open.repeat(20), close.repeat(20));
    vec![
        ("list", nested("[", "]")),
        ("tuple", nested("(", ",)")),
        ("map", nested("{'a': ", "}")),
        ("dict", nested("dict(a=", ")")),
        ("namespace", nested("namespace(x=", ")")),
        ("batch", repeated("|batch(1)")),
        ("slice into one", repeated("|slice(1)")),
        ("items of a map", nested("{'a': ", "}|items|list")),
        ("items", nested("{'a': ", "}|items")),
        ("items method", nested("{'a': ", "}.items()")),
        ("dictsort", nested("{'a': ", "}|dictsort")),
        ("merged maps", nested("{'a': 1}|chain({'b': ", "})")),
        ("slice", repeated("[0:]")),
        ("backwards", repeated("[::-1]")),
        ("repeated", repeated("*1")),
        ("reversed", repeated("|reverse")),
        ("added", repeated("+[1]")),
        ("added and sliced", repeated("[0:]+[1]")),
        (
            "loop",
            "{% for k in [ns.x] %}{% set ns.x = loop %}{% endfor %}".to_owned(),
        ),
        (
            "changed",
            "{% for k in [1] %}{% set a = loop.changed(ns.x) %}{% set ns.x = loop %}{% endfor %}".to_owned(),
        ),
    ]
}

/// Ways to look into a deep value `ns.x`, or into two of them, without a check of its depth.
const WALKS: [&str; 15] = [
    "",
    "{{ ns.x ~ '' }}",
    "{{ (ns.x ~ '')|length }}",
    "{{ ns.x == y }}",
    "{{ ns.x < y }}",
    "{{ y in [ns.x] }}",
    "{{ {ns.x: 1}|length }}",
    "{{ [ns.x]|join|length }}",
    "{{ [ns.x, y]|sort|length }}",
    "{{ [ns.x, y]|unique|list|length }}",
    "{{ ns.x|length }}",
    "{{ ns.x|list|length }}",
    "{% for a in ns.x %}{% endfor %}",
    "{{ ns.x|upper|length }}",
    "{{ 'a'.join(ns.x)|length }}",
];

/// Bytes of this thread's stack that were used so far.
fn stack_used() -> usize {
    let here = 0u8;
    let address = &raw const here as usize;
    let maps = fs::read_to_string("/proc/self/smaps").unwrap();
    let mut lines = maps.lines().skip_while(|line| {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let range = range.and_then(|(start, end)| {
            Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
        });
        range.is_none_or(|range| !range.contains(&address))
    });
    let resident = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
    let kilobytes: usize = resident.trim().trim_end_matches(" kB").parse().unwrap();
    kilobytes << 10
}

/// The stack grows with the fuel; a little of it is enough to measure.
const ALLOWANCE: Allowance = Allowance { fuel: 5_000 };

/// Bytes of stack that a rendering without deep values uses at most.
const FLAT_BYTES: usize = 512 << 10;

/// Whether the fuel pays for `times` steps and a look, and the bytes of stack that they use.
fn rendered(step: &str, times: usize, look: &str) -> (bool, usize) {
    let tower = format!("{{% set ns.x = [1] %}}{{% for i in range({times}) %}}{step}{{% endfor %}}");
    // The second value is as deep as the first, and shares nothing with it.
    let other = if look.contains('y') {
        format!("{tower}{{% set y = ns.x %}}")
    } else {
        String::new()
    };
    let source = format!("{{% set ns = namespace(x=1) %}}{other}{tower}{look}");
    let template = ChatTemplate::new(&source, None, None).unwrap();
    let thread = thread::Builder::new().stack_size(ALLOWANCE.stack_bytes());
    let work = move || {
        let paid = match template.render_within(ALLOWANCE, &[], &Given::default(), false) {
            Ok(_) => true,
            Err(error) => error.kind() != ErrorKind::OutOfFuel,
        };
        (paid, stack_used())
    };
    thread.spawn(work).unwrap().join().unwrap()
}

#[test]
fn the_stack_suffices_twice_for_whatever_the_fuel_can_nest() {
    for (name, step) in steps() {
        let (mut most, mut too_many) = (1usize, 10_000);
        while too_many - most > most / 20 + 1 {
            let times = most.midpoint(too_many);
            if rendered(&step, times, "").0 {
                most = times;
            } else {
                too_many = times;
            }
        }
        for look in WALKS {
            let times = if look.contains('y') { most / 2 } else { most };
            let used = rendered(&step, times, look)
                .1
                .max(rendered(&step, times * 9 / 10, look).1);
            let deep = used.saturating_sub(FLAT_BYTES);
            assert!(
                2 * deep < ALLOWANCE.fuel as usize * STACK_BYTES_A_FUEL,
                "{name}, {times} times, {look}: {used} bytes of stack"
            );
        }
    }
}
