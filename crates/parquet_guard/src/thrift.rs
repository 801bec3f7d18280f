//! The part of Thrift's compact protocol that is needed to read the numbers at the start of a structure.

/// The maximum depth of nested structures.
const DEPTH: u32 = 16;

/// Reads bytes. Methods return `None` if the bytes end too early or are not a structure.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The value of a field, if it is a number or a structure.
pub(crate) enum Value {
    Number(i64),
    /// The numbers of a nested structure, by field.
    Struct(Vec<(i64, i64)>),
    Other,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The number of bytes read so far.
    pub(crate) fn used(&self) -> usize {
        self.at
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn skip(&mut self, bytes: u64) -> Option<()> {
        let end = self.at.checked_add(usize::try_from(bytes).ok()?)?;
        (end <= self.bytes.len()).then(|| self.at = end)
    }

    /// The fields of a structure and their numbers, up to its end.
    pub(crate) fn structure(&mut self) -> Option<Vec<(i64, Value)>> {
        self.structure_at(DEPTH)
    }

    fn structure_at(&mut self, depth: u32) -> Option<Vec<(i64, Value)>> {
        let mut fields = Vec::new();
        let mut field = 0i64;
        loop {
            let header = self.byte()?;
            if header == 0 {
                return Some(fields);
            }
            field = match header >> 4 {
                0 => unzigzag(self.varint()?),
                delta => field.checked_add(i64::from(delta))?,
            };
            fields.push((field, self.value(header & 15, depth.checked_sub(1)?)?));
        }
    }

    fn value(&mut self, kind: u8, depth: u32) -> Option<Value> {
        match kind {
            // The kind of a boolean field holds its value.
            1 | 2 => {}
            3 => self.skip(1)?,
            4..=6 => return Some(Value::Number(unzigzag(self.varint()?))),
            7 => self.skip(8)?,
            8 => {
                let bytes = self.varint()?;
                self.skip(bytes)?;
            }
            9 | 10 => {
                let (size, kind) = self.list()?;
                for _ in 0..size {
                    self.item(kind, depth)?;
                }
            }
            12 => {
                let number = |(field, value)| match value {
                    Value::Number(number) => Some((field, number)),
                    _ => None,
                };
                return Some(Value::Struct(
                    self.structure_at(depth)?.into_iter().filter_map(number).collect(),
                ));
            }
            _ => return None,
        }
        Some(Value::Other)
    }

    fn item(&mut self, kind: u8, depth: u32) -> Option<()> {
        match kind {
            1 | 2 => self.skip(1),
            _ => self.value(kind, depth.checked_sub(1)?).map(drop),
        }
    }

    /// The numbers in field 5 of the structures that field 2 lists, which in a file's metadata are the nodes of its schema: how
    /// many children each has. The structure is read to its end.
    pub(crate) fn children(&mut self) -> Option<Vec<i64>> {
        let mut children = Vec::new();
        let mut field = 0i64;
        loop {
            let header = self.byte()?;
            if header == 0 {
                return Some(children);
            }
            field = match header >> 4 {
                0 => unzigzag(self.varint()?),
                delta => field.checked_add(i64::from(delta))?,
            };
            if (field, header & 15) != (2, 9) {
                self.value(header & 15, DEPTH)?;
                continue;
            }
            let (size, kind) = self.list()?;
            for _ in 0..size {
                if kind != 12 {
                    return None;
                }
                let fields = self.structure()?;
                let number = fields.iter().find_map(|(at, value)| match value {
                    Value::Number(number) if *at == 5 => Some(*number),
                    _ => None,
                });
                children.push(number.unwrap_or(0));
            }
        }
    }

    /// Size and kind of a list whose items follow.
    fn list(&mut self) -> Option<(u64, u8)> {
        let header = self.byte()?;
        let size = match header >> 4 {
            15 => self.varint()?,
            size => u64::from(size),
        };
        // An item takes at least one byte.
        (size <= (self.bytes.len() - self.at) as u64).then_some((size, header & 15))
    }
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_field_and_the_rest_is_skipped() {
        // 1: i32 0; 2: i32 300; 4 (delta 2): binary of 2; 5: struct {1: i32 -1}; 6: list of two i32; end; and more.
        let bytes = [
            0x15, 0, 0x15, 0xd8, 0x04, 0x28, 2, 7, 7, 0x1c, 0x15, 1, 0, 0x19, 0x25, 2, 4, 0, 99,
        ];
        let mut reader = Reader::new(&bytes);
        let fields = reader.structure().unwrap();
        assert_eq!(reader.used(), bytes.len() - 1);
        assert!(matches!(
            &fields[..],
            [
                (1, Value::Number(0)),
                (2, Value::Number(300)),
                (4, Value::Other),
                (5, Value::Struct(inner)),
                (6, Value::Other)
            ] if *inner == [(1, -1)]
        ));
        for length in 0..bytes.len() - 1 {
            assert!(Reader::new(&bytes[..length]).structure().is_none(), "{length}");
        }
    }

    #[test]
    fn lists_longer_than_their_bytes_and_endless_depth_are_no_structures() {
        // A list of 2^31 - 1 structures in no bytes.
        let list = [0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 7, 0];
        assert!(Reader::new(&list).structure().is_none());
        assert!(Reader::new(&vec![0x1c; 100_000]).structure().is_none());
        let mut lists = vec![0x19];
        lists.resize(100_000, 0x19);
        assert!(Reader::new(&lists).structure().is_none());
    }
}
