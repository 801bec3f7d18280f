//! What one rendering may use: fuel for its work, and a stack for the deepest value that the fuel can build.
//!
//! The engine's fuel pays for instructions, for text and for the slots of lists, and refuses a long text before it is made.
//! It does not limit how deep values lie in each other, and the engine drops, prints and compares them by recursion. So a
//! template is rendered on a stack of its own, whose size follows from the fuel ([`Allowance::stack_bytes`]), and everything
//! here that looks into a value does so through [`charge`], which limits the depth and takes fuel for each value.
//!
//! `docs/security.md` says what these bounds leave open.

use std::{cell::Cell, thread};

use minijinja::{Error, ErrorKind, State, Value, value::ObjectRepr};

use crate::{Given, Message};

/// Fuel for every conversation.
const FUEL: u64 = 50_000;

/// Fuel for each message.
const FUEL_A_MESSAGE: u64 = 2_000;

/// Fuel for each byte of a message.
const FUEL_A_BYTE: u64 = 2;

/// The most fuel of a rendering.
const MOST_FUEL: u64 = 8_000_000;

/// Bytes that a JSON value counts for beside its text.
const VALUE_BYTES: usize = 64;

/// Stack for each fuel, in bytes: more than twice what any way to nest values with it was seen to use, by `nesting_tests`.
pub(super) const STACK_BYTES_A_FUEL: usize = 512;

/// Stack of the threads that render one conversation after another, in bytes: enough for some 20 kB of text.
const POOL_STACK_BYTES: usize = 64 << 20;

/// Stack for what such a thread does beside rendering, in bytes.
const CALLER_STACK_BYTES: usize = 2 << 20;

/// Stack for the engine's own frames, in bytes.
const STACK_BYTES: usize = 4 << 20;

/// How deep a value may be that is printed, written as JSON or formatted: deeper than JSON is read.
const DEPTH: usize = 130;

/// What one rendering may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    /// Instructions, or 64 bytes of text each.
    pub(super) fuel: u64,
}

impl Allowance {
    /// What rendering `messages` with what is given beside them is worth: it grows with their size.
    pub(super) fn of(messages: &[Message], given: &Given) -> Self {
        let beside = [&given.tools, &given.documents].into_iter().flatten();
        let beside: usize = beside.chain(given.arguments.values()).map(json_bytes).sum();
        let bytes: usize = messages.iter().map(message_bytes).sum::<usize>() + beside;
        let fuel = FUEL + FUEL_A_MESSAGE * messages.len() as u64 + FUEL_A_BYTE * bytes as u64;
        Self {
            fuel: fuel.min(MOST_FUEL),
        }
    }

    /// A stack on which every value that the fuel can build is dropped, printed and compared without an overflow.
    ///
    /// This is address space: only what is used of it takes memory.
    pub(super) fn stack_bytes(self) -> usize {
        STACK_BYTES + self.fuel as usize * STACK_BYTES_A_FUEL
    }
}

fn message_bytes(message: &Message) -> usize {
    let reasoning = message.reasoning_content.as_deref().unwrap_or_default();
    let other: usize = message
        .other
        .iter()
        .map(|(name, value)| name.len() + json_bytes(value))
        .sum();
    message.content.len() + reasoning.len() + other
}

fn json_bytes(value: &serde_json::Value) -> usize {
    let inside: usize = match value {
        serde_json::Value::String(text) => text.len(),
        serde_json::Value::Array(items) => items.iter().map(json_bytes).sum(),
        serde_json::Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + json_bytes(value)).sum(),
        _ => 0,
    };
    VALUE_BYTES + inside
}

/// Takes one fuel for each value in `value`, counted as often as it is there; returns about how many bytes it prints.
///
/// # Errors
///
/// If `value` is deeper than [`DEPTH`], and if the fuel does not suffice.
pub(super) fn charge(state: &State, value: &Value) -> Result<usize, Error> {
    charge_to(state, value, DEPTH)
}

/// Takes the fuel for so many bytes.
pub(super) fn pay_for(state: &State, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(bytes as u64 / 64)
}

/// Checks that the fuel suffices for so many bytes, which the engine takes it for once it is given them.
pub(super) fn check_fuel_for(state: &State, bytes: usize) -> Result<(), Error> {
    match state.fuel_levels() {
        Some((_, remaining)) if bytes as u64 / 64 > remaining => {
            Err(Error::new(ErrorKind::OutOfFuel, "a text is too long: out of fuel"))
        }
        _ => Ok(()),
    }
}

fn charge_to(state: &State, value: &Value, depth: usize) -> Result<usize, Error> {
    state.consume_fuel(1)?;
    let bytes = value.as_bytes().map_or(VALUE_BYTES, <[u8]>::len);
    let Some(object) = value.as_object() else {
        return Ok(bytes);
    };
    let depth = depth.checked_sub(1).ok_or_else(|| {
        let problem = format!("values put into each other more than {DEPTH} deep");
        Error::new(ErrorKind::InvalidOperation, problem)
    })?;
    let mut inside = bytes;
    if object.repr() == ObjectRepr::Map {
        for (key, value) in object.try_iter_pairs().into_iter().flatten() {
            let pair = charge_to(state, &key, depth)?.saturating_add(charge_to(state, &value, depth)?);
            inside = inside.saturating_add(pair);
        }
    } else {
        for item in object.try_iter().into_iter().flatten() {
            inside = inside.saturating_add(charge_to(state, &item, depth)?);
        }
    }
    Ok(inside)
}

thread_local! {
    /// Bytes of this thread's stack that a rendering may use.
    static STACK: Cell<usize> = const { Cell::new(0) };
}

/// Threads on which most conversations are rendered without a thread of their own; `None` if the system gives no such stacks.
pub(crate) fn rendering_pool() -> Option<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(rayon::current_num_threads())
        .stack_size(POOL_STACK_BYTES + CALLER_STACK_BYTES)
        .start_handler(|_| STACK.set(POOL_STACK_BYTES))
        .build()
        .ok()
}

/// Runs `work` of the engine on a stack of at least so many bytes: here, or on a thread of its own.
///
/// # Errors
///
/// Those of `work`; if the system gives no such stack; and if the engine panics.
pub(super) fn on_a_stack<T: Send>(
    stack_bytes: usize,
    work: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    let failed = |problem: String| Error::new(ErrorKind::InvalidOperation, problem);
    let died = |problem| Err(failed(format!("the template engine failed: {problem}")));
    if STACK.get() >= stack_bytes {
        return leadspan_files::guarded(work).unwrap_or_else(died);
    }
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(stack_bytes);
        thread
            .spawn_scoped(scope, || leadspan_files::guarded(work))
            .map_err(|problem| failed(format!("no thread with a stack of {stack_bytes} bytes: {problem}")))?
            .join()
            .unwrap_or_else(|_| Err("the thread died".to_owned()))
            .unwrap_or_else(died)
    })
}
