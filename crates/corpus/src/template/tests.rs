//! Reduced templates of the kinds that models have, and the texts that they must render.

use super::*;
use crate::Role;

/// SmolLM2-Instruct: a default system prompt.
pub(crate) const SMOLLM2: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Qwen3: thinking is cut out of turns before the last question and rewritten after it.
pub(crate) const QWEN3: &str = r#"{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set content = message.content %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is defined and message.reasoning_content is not none %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in message.content %}
                {%- set content = message.content.split('</think>')[-1].lstrip('\n') %}
                {%- set reasoning_content = message.content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or (not loop.last and reasoning_content)) %}
            {{- '<|im_start|>' + message.role + '\n<think>\n' + reasoning_content.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {{- '\n<tool_call>\n{"name": "' + tool_call.function.name + '", "arguments": ' }}
                {{- tool_call.function.arguments | tojson }}
                {{- '}\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {{- '<|im_start|>user\n<tool_response>\n' + message.content + '\n</tool_response><|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}
"#;

/// Llama 3.2: begin-of-text token, trimmed contents, today's date.
pub(crate) const LLAMA3: &str = r#"{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\nToday Date: " + date_string + "\n\n<|eot_id|>" }}
{%- for message in messages %}
    {%- if message.role == 'developer' %}{{ raise_exception('no developers here') }}{% endif %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"#;

/// Like Qwen3-Thinking's: the generation prompt opens the thinking, and finished turns do the same.
pub(crate) const OPENS_THINKING: &str = r"{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\n' }}
    {%- if message.role == 'assistant' %}
        {{- '<think>\n' + message.reasoning_content + '\n</think>\n\n' }}
    {%- endif %}
    {{- message.content + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n<think>\n' }}{%- endif %}";

/// The R1 family's generation prompt, with unchanged finished turns.
pub(crate) const R1: &str = "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}\
    {{ '<|User|>' + message['content'] }}{% else %}{{ '<|Assistant|>' + message['content'] + eos_token }}{% endif %}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|Assistant|><think>\\n' }}{% endif %}";

/// The R1 family as published: thinking is cut out of every finished turn.
pub(crate) const REMOVES_THINKING: &str = "{% for message in messages %}{% set content = message['content'] %}\
    {% if message['role'] == 'assistant' and '</think>' in content %}{% set content = content.split('</think>')[-1] %}\
    {% endif %}{{ '<|' + message['role'] + '|>' + content }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|assistant|><think>\\n' }}{% endif %}";

/// Has no generation prompt.
pub(crate) const NO_GENERATION_PROMPT: &str =
    "{% for message in messages %}### {{ message.role }}:\n{{ message.content }}\n\n{% endfor %}";

/// Refuses a conversation that does not end with the assistant's turn.
pub(crate) const REFUSES_OPEN_CONVERSATIONS: &str = "{% if messages[-1].role != 'assistant' %}\
    {{ raise_exception('must end with the assistant') }}{% endif %}\
    {% for message in messages %}{{ message.role }}: {{ message.content }};{% endfor %}";

fn conversation() -> Vec<Message> {
    vec![
        Message::new(Role::User, "one"),
        Message::new(Role::Assistant, "<think>\nfirst\n</think>\n\nuno"),
        Message::new(Role::User, "two"),
        Message::new(Role::Assistant, "<think>\nsecond\n</think>\n\ndos"),
    ]
}

fn rendered(source: &str, messages: &[Message], add_generation_prompt: bool) -> String {
    ChatTemplate::new(source, Some("<bos>"), Some("<eos>"))
        .unwrap()
        .render(messages, add_generation_prompt)
        .unwrap()
}

#[test]
fn a_default_system_prompt_is_written_and_a_finished_conversation_gets_no_generation_prompt() {
    let messages = [Message::new(Role::User, "q"), Message::new(Role::Assistant, "a")];
    let system = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n";
    let expected = format!("{system}<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n");
    assert_eq!(rendered(SMOLLM2, &messages, false), expected);
    let expected = format!("{system}<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n");
    assert_eq!(rendered(SMOLLM2, &messages[..1], true), expected);
}

#[test]
fn thinking_is_given_under_the_name_that_the_template_reads() {
    let mut messages = [Message::new(Role::User, "q"), Message::new(Role::Assistant, "a")];
    messages[1].reasoning_content = Some("r".to_owned());
    let source =
        "{% for m in messages %}{% if 'thinking' in m %}<{{ m.thinking }}>{% endif %}{{ m.content }};{% endfor %}";
    assert_eq!(rendered(source, &messages, false), "q;<r>a;");
    let reads = |source: &str| ChatTemplate::new(source, None, None).unwrap().reads_reasoning_content();
    assert!(reads(source));
    // Neither a setting of this name nor a longer one is such a field.
    for source in [
        "{% if thinking %}t{% endif %}",
        "{{ messages[0].thinking_budget }}",
        "{{ block['thinking'] }}",
    ] {
        assert!(!reads(source), "{source}");
    }
    // A template that reads both is given the usual name alone.
    let both = "{{ messages[1].reasoning_content or messages[1].thinking }}{{ messages[1].thinking is defined }}";
    assert_eq!(rendered(both, &messages, false), "rFalse");
}

#[test]
fn qwen3_cuts_thinking_out_of_earlier_turns_only() {
    assert_eq!(
        rendered(QWEN3, &conversation(), false),
        "<|im_start|>user\none<|im_end|>\n<|im_start|>assistant\nuno<|im_end|>\n<|im_start|>user\ntwo<|im_end|>\n\
         <|im_start|>assistant\n<think>\nsecond\n</think>\n\ndos<|im_end|>\n"
    );
}

#[test]
fn tool_calls_reach_the_template_and_are_written_as_json() {
    let mut call = Message::new(Role::Assistant, "");
    let calls = serde_json::json!([{"function": {"name": "add", "arguments": {"a": 1, "b": "<2>"}}}]);
    call.other.insert("tool_calls".into(), calls);
    let text = rendered(QWEN3, &[Message::new(Role::User, "q"), call], false);
    assert!(
        text.contains(r#"{"name": "add", "arguments": {"a": 1, "b": "<2>"}}"#),
        "{text}"
    );
}

#[test]
fn special_tokens_trimming_and_the_fixed_date_come_out_as_in_transformers() {
    assert_eq!(
        rendered(LLAMA3, &[Message::new(Role::User, " q \n")], true),
        "<bos><|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024\n\n<|eot_id|>\
         <|start_header_id|>user<|end_header_id|>\n\nq<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    );
    let bare = ChatTemplate::new("[{{ bos_token }}{{ eos_token }}]", None, None).unwrap();
    assert_eq!(bare.render(&[], false).unwrap(), "[]");
}

#[test]
fn blocks_on_lines_of_their_own_leave_no_white_space() {
    let source = "{% for message in messages %}\n    {% if loop.index > 2 %}\n    {% break %}\n    {% endif %}\n{{ message.content }}\n{% endfor %}\nend\n";
    assert_eq!(
        rendered(source, &conversation(), false),
        "one\n<think>\nfirst\n</think>\n\nuno\nend"
    );
}

#[test]
fn generation_blocks_are_transparent() {
    let source = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}";
    assert_eq!(rendered(source, &[Message::new(Role::User, "q")], false), "q");
}

#[test]
fn nothing_is_escaped_for_html() {
    assert_eq!(
        rendered(
            "{{ messages[0].content }}",
            &[Message::new(Role::User, "<a & 'b'>")],
            false
        ),
        "<a & 'b'>"
    );
}

#[test]
fn a_template_that_refuses_says_why() {
    let template = ChatTemplate::new(LLAMA3, None, None).unwrap();
    let error = template
        .render(&[Message::new(Role::Developer, "q")], false)
        .unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("no developers here"), "{cause}");
}

#[test]
fn a_template_that_does_not_end_runs_out_of_fuel() {
    let source = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}";
    let template = ChatTemplate::new(source, None, None).unwrap();
    assert!(matches!(template.render(&[], false), Err(CorpusError::Template { .. })));
}

#[test]
fn namespaces_hold_lists_and_texts_that_grow_as_real_templates_let_them() {
    let source = "{% set ns = namespace(found=[], text='', system=none) %}{% for m in messages %}\
        {% set ns.found = ns.found + [m] %}{% set ns.text = ns.text ~ m.role ~ ';' %}{% endfor %}\
        {% for m in ns.found[1:] if m.role == 'user' %}{{ m.content }}{{ loop.index }}{% endfor %}\
        {{ ns.text }}{{ ns.found|length }}{{ ([{'role': 'system'}] + messages)[0].role }}\
        {% set m = messages|selectattr('role', 'equalto', 'user')|list %}{{ m|map(attribute='content')|join('|') }}\
        {% macro show(m, mark) %}<{{ m.role }}{{ mark }}>{% endmacro %}{{ show(messages[-1], mark='!') }}\
        {% for name, value in {'a': 1, 'b': [2, (3,)]}.items() %}{{ name }}={{ value }},{% endfor %}\
        {{ [1, 2, 3][1:] is sequence }}{{ ({'a': 1, 'b': [2][:]}|chain({'c': 3}))|tojson }}{{ (1, 2)[::-1] }}{{ messages[1:][-1].role }}{{ 'a' if (1 in [1] and not 2 in (1,)) else 'b' }}";
    assert_eq!(
        rendered(source, &conversation(), false),
        "two1user;assistant;user;assistant;4systemone|two<assistant!>a=1,b=[2, (3,)],True{\"a\": 1, \"b\": [2], \"c\": 3}(2, 1)assistanta"
    );
}

#[test]
fn an_error_names_the_line_of_the_template() {
    let template = ChatTemplate::new("a\n{% set b = [1] + [2] %}\n{{ raise_exception('no') }}", None, None).unwrap();
    let cause = template.try_render(&[], &Given::default(), false).unwrap_err();
    assert_eq!(cause.line(), Some(3), "{cause}");
}

#[test]
fn a_template_reaches_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret.txt");
    std::fs::write(&path, "secret").unwrap();
    for path in [path.to_str().unwrap(), "Cargo.toml", "./Cargo.toml", NAME] {
        for source in [
            format!("{{% include '{path}' %}}"),
            format!("{{% include '{path}' ignore missing %}}"),
            format!("{{% extends '{path}' %}}"),
            format!("{{% import '{path}' as file %}}"),
            format!("{{% from '{path}' import anything %}}"),
        ] {
            let error = ChatTemplate::new(&source, None, None).unwrap_err();
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert!(cause.contains("unknown statement"), "{source}: {cause}");
        }
        for function in ["open", "load", "include", "read"] {
            let template = ChatTemplate::new(&format!("{{{{ {function}('{path}') }}}}"), None, None).unwrap();
            let error = template.render(&[], false).unwrap_err();
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert!(cause.contains(&format!("{function} is unknown")), "{cause}");
        }
    }
}

#[test]
fn a_long_conversation_has_fuel_enough() {
    let turn = "a rather long turn ".repeat(5_000);
    let messages: Vec<Message> = (0..200)
        .map(|index| Message::new(if index % 2 == 0 { Role::User } else { Role::Assistant }, turn.clone()))
        .collect();
    assert!(rendered(QWEN3, &messages, false).len() > 19_000_000);
}

/// Looks from every message at all later ones, as templates with tools do.
const PAIRS: &str = "{% for m in messages %}{% set ns = namespace(found=false) %}{% for later in messages[loop.index:] %}\
    {% if later.role == 'assistant' and not later.tool_calls %}{% set ns.found = true %}{% endif %}{% endfor %}\
    {{ m.role ~ ': ' ~ m.content }}{% endfor %}";

#[test]
fn real_templates_need_a_tenth_of_the_fuel_at_most() {
    let turns = |count: usize, turn: &str| -> Vec<Message> {
        let role = |index| if index % 2 == 0 { Role::User } else { Role::Assistant };
        (0..count).map(|index| Message::new(role(index), turn)).collect()
    };
    let thinking = |bytes: usize| format!("<think>\n{}\n</think>\n\nIt is four.", "so ".repeat(bytes / 3));
    let conversations = [
        turns(2, "q"),
        turns(500, "four words or so"),
        turns(2, &thinking(1 << 20)),
        turns(40, &thinking(50_000)),
    ];
    let fixture = include_str!("../../../../tests/fixtures/tiny-teacher/chat_template.jinja");
    let templates = [
        SMOLLM2,
        QWEN3,
        LLAMA3,
        R1,
        REMOVES_THINKING,
        NO_GENERATION_PROMPT,
        fixture,
    ];
    let needed = |source: &str, messages: &[Message]| {
        let template = ChatTemplate::new(source, Some("<bos>"), Some("<eos>")).unwrap();
        let allowance = Allowance::of(messages, &Given::default());
        let mut environment = template.environment.clone();
        environment.set_fuel(Some(allowance.fuel));
        let context = Value::from(Serde(Context {
            messages,
            tools: None,
            documents: None,
            add_generation_prompt: true,
        }));
        let rendered = environment
            .get_template(NAME)
            .unwrap()
            .render_captured(context)
            .unwrap();
        let (consumed, _) = rendered.state().fuel_levels().unwrap();
        consumed as f64 / allowance.fuel as f64
    };
    for messages in &conversations {
        for source in templates {
            let share = needed(source, messages);
            assert!(share < 0.1, "{share} for {} messages: {source}", messages.len());
        }
    }
    let share = needed(PAIRS, &turns(100, "four words or so"));
    assert!(share < 0.5, "{share}");
}

#[test]
fn a_template_of_more_bytes_than_the_engine_counts_is_refused() {
    let error = ChatTemplate::new(&"x".repeat(SOURCE_BYTES + 1), None, None).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("it has 65536 bytes; 65535 are the most"), "{cause}");
    ChatTemplate::new(&"x".repeat(SOURCE_BYTES), None, None).unwrap();
}

#[test]
fn broken_syntax_is_an_error_of_the_template() {
    assert!(matches!(
        ChatTemplate::new("{% for %}", None, None),
        Err(CorpusError::InvalidTemplate { .. })
    ));
}

#[test]
fn tools_reach_the_template_or_are_refused() {
    let tools = serde_json::json!([{"type": "function", "function": {"name": "add"}}]);
    let messages = [Message::new(Role::User, "q")];
    let of = |source: &str, tools: Option<&serde_json::Value>| {
        let template = ChatTemplate::new(source, None, None).unwrap();
        let given = Given {
            tools: tools.cloned(),
            ..Given::default()
        };
        let rendered = template.try_render(&messages, &given, false);
        rendered.map_err(|error| error.to_string())
    };
    let source = "{% for tool in tools or [] %}{{ tool.function.name }}: {{ tool|tojson }};{% endfor %}{{ messages[0].content }}";
    let expected = r#"add: {"type": "function", "function": {"name": "add"}};q"#;
    assert_eq!(of(source, Some(&tools)).as_deref(), Ok(expected));
    assert_eq!(of(source, None).as_deref(), Ok("q"));
    let refused = of(SMOLLM2, Some(&tools)).unwrap_err();
    assert!(refused.contains("does not write `tools`"), "{refused}");
}
