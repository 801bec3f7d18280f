//! Bounds on what a template may build, whatever it says.
//!
//! The engine's fuel pays for instructions, strings and the slots of lists. It does not pay for what stands in a list more
//! than once, or is put together only when it is looked at: doubling a list sixty times costs next to nothing, printing it
//! afterwards takes 2^60 items. Nor does it limit how deep values lie in each other, and they are dropped, printed and
//! compared by recursion. So every value of a template is held to two bounds, counted as if nothing were shared: the bytes
//! of it with all it contains ([`Allowance`]), and how deep it goes ([`DEPTH`]). [`checked`] adds the checks to the
//! instructions that the engine compiled:
//!
//! - what makes a list or map, or may return one, is followed by [`PLAIN`]: the value is within both bounds, and whatever
//!   the engine would put together later (concatenated, repeated, reversed and sliced lists) is put together now, since
//!   such values hide how deep they are;
//! - what looks into its operands is preceded by [`OPERANDS`]: all of them together are within the bounds, and visiting
//!   them is paid for in fuel;
//! - what is stored in a namespace is first [`STORED`]: plain, and neither a namespace nor a loop, which would hold
//!   themselves and never be freed.
//!
//! The engine's instructions have no promise of stability. Its version is pinned, and the tests here fail where a check
//! has ceased to work.

use minijinja::{
    Environment, Error, ErrorKind, State, Value,
    machinery::{Instruction, Instructions},
    value::{DynObject, ObjectRepr, Serde, Tuple},
};
use serde::{Serialize, Serializer};

/// How deep values may lie in each other: deeper than JSON is read, and a small part of a thread's stack.
const DEPTH: usize = 130;

/// What a value counts for beside its text.
const VALUE_BYTES: usize = 32;

/// Fuel that an environment starts with; [`BEGIN`] takes away what the conversation at hand is not worth.
pub(super) const FUEL: u64 = u32::MAX as u64;

/// Names of the checks, which are filters. Whoever calls them by name, with `map`, gains nothing.
const BEGIN: &str = "bounds:begin";
const OPERANDS: &str = "bounds:operands";
const OPERANDS_OF_METHOD: &str = "bounds:operands_of_method";
const PLAIN: &str = "bounds:plain";
const STORED: &str = "bounds:stored";

/// What one rendering may use. Both grow with the conversation, so that the longest has enough.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    /// Instructions, or 64 bytes of text each.
    fuel: u64,
    /// The most bytes of a value with all that it contains.
    value_bytes: usize,
}

impl Allowance {
    /// What rendering `context` is worth.
    pub(super) fn of(context: &Value) -> Result<Self, Error> {
        let mut measure = Measure::up_to(usize::MAX);
        measure.add(context, DEPTH)?;
        Ok(Self {
            fuel: 2_000_000 + 2 * measure.bytes as u64,
            value_bytes: (4 << 20) + measure.bytes.saturating_mul(4),
        })
    }
}

/// Adds the filters that the checks are.
pub(super) fn add_filters(environment: &mut Environment<'_>) {
    environment.add_filter(BEGIN, |state: &mut State, fuel: u64, value_bytes: usize| {
        state.get_or_insert_extension(ValueBytes(value_bytes));
        state.consume_fuel(FUEL.saturating_sub(fuel))
    });
    environment.add_filter(OPERANDS, |state: &State, operands: Value| {
        operands_of(state, operands, false)
    });
    environment.add_filter(OPERANDS_OF_METHOD, |state: &State, operands: Value| {
        operands_of(state, operands, true)
    });
    environment.add_filter(PLAIN, |state: &State, value: Value| match value.as_object() {
        Some(object) if kind(object) != Kind::Live => plain(state, value),
        _ => Ok(value),
    });
    environment.add_filter(STORED, |state: &State, value: Value| match value.as_object() {
        Some(_) => plain(state, value),
        None => Ok(value),
    });
}

/// The bytes that a value may have, where filters find them.
struct ValueBytes(usize);

/// Charges for visiting a value, which must be within the bounds, and gives its bytes.
pub(super) fn charge(state: &State, value: &Value) -> Result<usize, Error> {
    let mut measure = Measure::of_state(state);
    measure.add(value, DEPTH)?;
    state.consume_fuel(measure.values / 2)?;
    Ok(measure.bytes)
}

/// The operands, where all together are within the bounds. Namespaces and loops may be operands, but not in others, and
/// not given to a method: a loop's `changed` keeps what it is given.
fn operands_of(state: &State, operands: Value, of_method: bool) -> Result<Value, Error> {
    let mut measure = Measure::of_state(state);
    for (place, operand) in operands.try_iter()?.enumerate() {
        match operand.as_object() {
            Some(object) if kind(object) == Kind::Live && !(of_method && place > 0) => {
                for item in contents(object) {
                    measure.add(&item, DEPTH)?;
                }
            }
            _ => measure.add(&operand, DEPTH)?,
        }
    }
    state.consume_fuel(measure.values / 2)?;
    Ok(operands)
}

/// The value with everything lazy in it put together.
fn plain(state: &State, value: Value) -> Result<Value, Error> {
    let mut measure = Measure::of_state(state);
    measure.add(&value, DEPTH)?;
    state.consume_fuel(measure.values / 2)?;
    Ok(if measure.lazy { put_together(&value) } else { value })
}

fn put_together(value: &Value) -> Value {
    let mut measure = Measure::up_to(usize::MAX);
    let lazy = measure.add(value, DEPTH).is_ok() && measure.lazy;
    match value.as_object().filter(|_| lazy && !value.is_kwargs()) {
        None => value.clone(),
        Some(object) if object.repr() == ObjectRepr::Map => {
            let pairs = object.try_iter_pairs().into_iter().flatten();
            let pairs = pairs.map(|(key, value)| (put_together(&key), put_together(&value)));
            Value::from(Serde(Pairs(pairs.collect())))
        }
        Some(object) => {
            let items = object.try_iter().into_iter().flatten();
            let items: Vec<Value> = items.map(|item| put_together(&item)).collect();
            if value.is_tuple() {
                Value::from(Tuple::from(items))
            } else {
                Value::from(items)
            }
        }
    }
}

/// A map in the order of its pairs.
struct Pairs(Vec<(Value, Value)>);

impl Serialize for Pairs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

/// What an object is to the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Holds what it shows.
    Plain,
    /// May hold more than it shows.
    Lazy,
    /// Can be changed after it was made.
    Live,
    /// Holds nothing of the template's.
    Leaf,
}

fn kind(object: &DynObject) -> Kind {
    // The engine's own types, most of them private.
    let path = object.type_name();
    let outer = path.split('<').next().unwrap_or(path);
    match outer.rsplit("::").next().unwrap_or(outer) {
        "Namespace" | "Loop" => Kind::Live,
        "Macro" => Kind::Leaf,
        "Vec" | "Tuple" | "GroupTuple" | "IndexMap" | "StaticKeyMap" | "KwargsValues" => Kind::Plain,
        _ if object.repr() == ObjectRepr::Plain => Kind::Leaf,
        _ => Kind::Lazy,
    }
}

/// Items of a list; keys and values of a map.
fn contents(object: &DynObject) -> Box<dyn Iterator<Item = Value> + '_> {
    match object.repr() {
        ObjectRepr::Map => Box::new(
            object
                .try_iter_pairs()
                .into_iter()
                .flatten()
                .flat_map(|(key, value)| [key, value]),
        ),
        _ => Box::new(object.try_iter().into_iter().flatten()),
    }
}

/// What values come to, counted as often as they are there.
struct Measure {
    most: usize,
    bytes: usize,
    values: u64,
    /// Whether there is something that may hold more than it shows.
    lazy: bool,
}

impl Measure {
    fn up_to(most: usize) -> Self {
        Self {
            most,
            bytes: 0,
            values: 0,
            lazy: false,
        }
    }

    fn of_state(state: &State) -> Self {
        Self::up_to(state.get_extension::<ValueBytes>().map_or(0, |most| most.0))
    }

    fn add(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let text = value.as_bytes().map_or(0, <[u8]>::len);
        self.bytes = self.bytes.saturating_add(text + VALUE_BYTES);
        self.values += 1;
        if self.bytes > self.most {
            let problem = format!("a value of more than {} bytes, with all it contains", self.most);
            return Err(Error::new(ErrorKind::InvalidOperation, problem));
        }
        let Some(object) = value.as_object() else {
            return Ok(());
        };
        match kind(object) {
            Kind::Leaf => return Ok(()),
            Kind::Live => {
                let problem = "a namespace or loop cannot be part of another value";
                return Err(Error::new(ErrorKind::InvalidOperation, problem));
            }
            Kind::Lazy => self.lazy = true,
            Kind::Plain => {}
        }
        let depth = depth.checked_sub(1).ok_or_else(|| {
            let problem = format!("values put into each other more than {DEPTH} deep");
            Error::new(ErrorKind::InvalidOperation, problem)
        })?;
        contents(object).try_for_each(|item| self.add(&item, depth))
    }
}

/// The instructions of a template with its checks, and what begins a rendering of this allowance.
pub(super) fn checked<'source>(compiled: &Instructions<'source>, allowance: Allowance) -> Instructions<'source> {
    let groups: Vec<Group<'source>> = (0..).map_while(|at| compiled.get(at)).map(Group::of).collect();
    let begin = [
        Instruction::LoadConst(Value::from(allowance.fuel)),
        Instruction::LoadConst(Value::from(allowance.value_bytes)),
        Instruction::ApplyFilter(BEGIN, Some(2), !0),
        Instruction::DiscardTop,
    ];
    // Where each instruction, or what comes before it, will stand.
    let mut starts = vec![begin.len() as u32];
    for group in &groups {
        starts.push(starts[starts.len() - 1] + (group.before.len() + 1 + group.after.len()) as u32);
    }
    let mut checked = Instructions::new(compiled.name(), compiled.source());
    for instruction in begin {
        checked.add(instruction);
    }
    for (at, mut group) in groups.into_iter().enumerate() {
        if let Some(target) = target_of(&mut group.itself) {
            *target = starts.get(*target as usize).copied().unwrap_or(*target);
        }
        let span = compiled.get_span(at as u32);
        let line = compiled.get_line(at as u32);
        for instruction in group.before.into_iter().chain([group.itself]).chain(group.after) {
            match (span, line) {
                (Some(span), _) => checked.add_with_span(instruction, span),
                (None, Some(line)) => checked.add_with_line(instruction, line as u16),
                (None, None) => checked.add(instruction),
            };
        }
    }
    checked
}

/// Where an instruction may jump to.
fn target_of<'a>(instruction: &'a mut Instruction<'_>) -> Option<&'a mut u32> {
    match instruction {
        Instruction::Iterate(target)
        | Instruction::Jump(target)
        | Instruction::JumpIfFalse(target)
        | Instruction::JumpIfFalseOrPop(target)
        | Instruction::JumpIfTrueOrPop(target)
        | Instruction::BuildMacro(_, target, _) => Some(target),
        _ => None,
    }
}

/// An instruction with its checks.
struct Group<'source> {
    before: Vec<Instruction<'source>>,
    itself: Instruction<'source>,
    after: Vec<Instruction<'source>>,
}

impl<'source> Group<'source> {
    fn of(instruction: &Instruction<'source>) -> Self {
        let check = |name| Instruction::ApplyFilter(name, Some(1), !0);
        // As a list, so that the check sees all of them, and back onto the stack, without their number.
        let top = |count: usize, name| {
            vec![
                Instruction::BuildList(Some(count)),
                check(name),
                Instruction::UnpackLists(1),
                Instruction::DiscardTop,
            ]
        };
        let arguments = |count: Option<u16>, name| match count {
            Some(0) => Vec::new(),
            Some(count) => top(usize::from(count), name),
            None => vec![Instruction::BuildList(None), check(name), Instruction::UnpackLists(1)],
        };
        let plain = || vec![check(PLAIN)];
        let (before, after) = match instruction {
            // Keyword arguments are operands of the call that follows.
            Instruction::BuildList(_) | Instruction::BuildTuple(_) | Instruction::Slice => (Vec::new(), plain()),
            // Keys are hashed.
            Instruction::BuildMap(pairs) if *pairs > 0 => (top(2 * pairs, OPERANDS), plain()),
            Instruction::GetItem | Instruction::Emit => (top(1, OPERANDS), Vec::new()),
            Instruction::Add | Instruction::Mul => (top(2, OPERANDS), plain()),
            Instruction::StringConcat
            | Instruction::Eq
            | Instruction::Ne
            | Instruction::Lt
            | Instruction::Lte
            | Instruction::Gt
            | Instruction::Gte
            | Instruction::In
            | Instruction::CompareAndPreserve(_) => (top(2, OPERANDS), Vec::new()),
            Instruction::SetAttr(_) => (vec![Instruction::Swap, check(STORED), Instruction::Swap], Vec::new()),
            Instruction::PerformTest(_, count, _) => (arguments(*count, OPERANDS), Vec::new()),
            Instruction::ApplyFilter(_, count, _)
            | Instruction::CallFunction(_, count)
            | Instruction::CallObject(count) => (arguments(*count, OPERANDS), plain()),
            Instruction::CallMethod(_, count) => (arguments(*count, OPERANDS_OF_METHOD), plain()),
            _ => (Vec::new(), Vec::new()),
        };
        Self {
            before,
            itself: instruction.clone(),
            after,
        }
    }
}
