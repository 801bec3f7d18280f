//! Mutations: plain functions of bytes and a seed.

use serde_json::{Map, Value};

/// Numbers that look random and are the same everywhere (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, or 0 where there is none.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.next().checked_rem(end as u64).unwrap_or(0) as usize
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// A length that is short more often than not.
    fn length(&mut self) -> usize {
        let most = 1 << self.below(10);
        1 + self.below(most)
    }

    /// A number of the kind that breaks readers, where `near` is one that is right.
    pub(crate) fn extreme(&mut self, near: u64) -> u64 {
        match self.below(12) {
            0 => 0,
            1 => 1,
            2 => u64::MAX,
            3 => u64::from(u32::MAX),
            4 => 1 << 31,
            5 => (1 << 31) - 1,
            6 => 1 << 63,
            7 => near.wrapping_add(1),
            8 => near.wrapping_sub(1),
            9 => near.wrapping_mul(1 + self.below(1000) as u64),
            10 => 1 << self.below(64),
            _ => self.next() >> self.below(64),
        }
    }
}

/// `bytes` with one to four changes of any kind.
pub(crate) fn mutated(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    change(&mut bytes, random, true);
    while random.once_in(3) {
        change(&mut bytes, random, true);
    }
    bytes
}

/// `bytes` with one to four changes that leave it as long as it is.
pub(crate) fn mutated_in_place(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    change(&mut bytes, random, false);
    while random.once_in(3) {
        change(&mut bytes, random, false);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, random: &mut Random, any_length: bool) {
    let place = random.below(bytes.len());
    let end = bytes.len().min(place + random.length());
    match random.below(if any_length { 13 } else { 8 }) {
        _ if bytes.is_empty() => {}
        0 | 1 => bytes[place] ^= 1 << random.below(8),
        2 => bytes[place] = random.next() as u8,
        3 => {
            let fill = *random.pick(&[0, 0xff, 0x7f, 0x80, b'[', b'9']);
            bytes[place..end].fill(fill);
        }
        4 => bytes[place..end]
            .iter_mut()
            .for_each(|byte| *byte = random.next() as u8),
        // A number of fixed width.
        5 => {
            let width = *random.pick(&[2, 4, 8]);
            let place = if random.once_in(2) { place / 4 * 4 } else { place };
            if let Some(number) = bytes.get_mut(place..place + width) {
                let mut whole = [0; 8];
                whole[..width].copy_from_slice(number);
                let extreme = random.extreme(u64::from_le_bytes(whole));
                number.copy_from_slice(&extreme.to_le_bytes()[..width]);
            }
        }
        // A number of as many bytes as it needs, seven bits in each.
        6 => {
            let mut number = random.extreme(place as u64);
            for byte in &mut bytes[place..] {
                *byte = number as u8 & 0x7f | u8::from(number > 0x7f) << 7;
                number >>= 7;
                if number == 0 {
                    break;
                }
            }
        }
        7 => {
            let from = random.below(bytes.len());
            let length = (end - place).min(bytes.len() - from);
            bytes.copy_within(from..from + length, place);
        }
        8 => bytes.truncate(place),
        9 => drop(bytes.drain(place..end)),
        10 => {
            let inserted: Vec<u8> = (0..end - place).map(|_| random.next() as u8).collect();
            drop(bytes.splice(place..place, inserted));
        }
        11 => {
            let again = bytes[place..end].to_vec();
            drop(bytes.splice(place..place, again));
        }
        _ => {
            let fill = *random.pick(&[0, 0xff, b'[', b'{', b'"', b'9', b' ']);
            let inserted = vec![fill; random.length() * 4];
            drop(bytes.splice(place..place, inserted));
        }
    }
}

/// The text of a JSON document of which a value was replaced, or some bytes.
pub(crate) fn mutated_json(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    match serde_json::from_slice::<Value>(bytes) {
        Ok(mut value) if !random.once_in(4) => {
            mutate_value(&mut value, random);
            while random.once_in(3) {
                mutate_value(&mut value, random);
            }
            serde_json::to_vec(&value).unwrap()
        }
        _ => mutated(bytes, random),
    }
}

/// Replaces a value somewhere inside of `value`.
pub(crate) fn mutate_value(value: &mut Value, random: &mut Random) {
    match value {
        Value::Object(fields) if !fields.is_empty() && !random.once_in(6) => mutate_field(fields, random),
        Value::Array(items) if !items.is_empty() && !random.once_in(6) => {
            let index = random.below(items.len());
            match random.below(8) {
                0 => drop(items.remove(index)),
                1 => items.push(items[index].clone()),
                2 => items.reverse(),
                _ => mutate_value(&mut items[index], random),
            }
        }
        _ => *value = other_value(value, random),
    }
}

fn mutate_field(fields: &mut Map<String, Value>, random: &mut Random) {
    let key = fields.keys().nth(random.below(fields.len())).unwrap().clone();
    match random.below(10) {
        0 => drop(fields.remove(&key)),
        1 => {
            let moved = fields.remove(&key).unwrap();
            fields.insert(format!("{key}{}", random.below(3)), moved);
        }
        2 => drop(fields.insert(format!("another {key}"), other_value(&Value::Null, random))),
        _ => mutate_value(fields.get_mut(&key).unwrap(), random),
    }
}

fn other_value(value: &Value, random: &mut Random) -> Value {
    let near = value.as_u64().unwrap_or(3);
    match random.below(if value.is_string() { 14 } else { 10 }) {
        0..5 => random.extreme(near).into(),
        5 => (random.extreme(near) as i64).into(),
        6 => (*random.pick(&[0.5, -1.0, 1e308, -1e308, 1e-320])).into(),
        7 => random
            .pick(&[Value::Null, true.into(), Value::Array(Vec::new()), Map::new().into()])
            .clone(),
        8 => (0..random.below(60)).fold(value.clone(), |value, _| Value::Array(vec![value])),
        9 => random
            .pick(&["", "0", "\0", "../../etc/passwd", "é\u{10ffff}"])
            .to_string()
            .into(),
        _ => {
            let text = value.as_str().unwrap_or_default();
            String::from_utf8_lossy(&mutated(text.as_bytes(), random)).into()
        }
    }
}
