//! The entropy coder: range asymmetric numeral systems with fixed frequencies.

/// The sum of a context's frequencies.
pub(super) const TOTAL: u32 = 1 << TOTAL_BITS;
const TOTAL_BITS: u32 = 12;
/// The lowest state between symbols; a block starts and ends with it.
pub(super) const LOWEST_STATE: u32 = 1 << 16;

/// Frequencies in proportion to `counts` that sum to [`TOTAL`], at least 1 for each symbol that occurs. Empty if no symbol
/// occurs.
pub(super) fn frequencies(counts: &[u64]) -> Vec<u32> {
    let all: u64 = counts.iter().sum();
    if all == 0 {
        return Vec::new();
    }
    let symbols = counts.iter().rposition(|&count| count > 0).map_or(0, |last| last + 1);
    let counts = &counts[..symbols];
    let share = |&count: &u64| (u128::from(count) * u128::from(TOTAL) / u128::from(all)) as u32;
    let mut frequencies: Vec<u32> = counts
        .iter()
        .map(|count| share(count).max(u32::from(*count > 0)))
        .collect();
    // The rounding error is corrected where it changes the cost least: per occurrence, log₂ of the frequency.
    let ratio = |index: usize, frequency: u32| counts[index] as f64 / f64::from(frequency);
    while frequencies.iter().sum::<u32>() != TOTAL {
        let missing = frequencies.iter().sum::<u32>() < TOTAL;
        let candidates = (0..symbols).filter(|&index| frequencies[index] > u32::from(!missing));
        let chosen = if missing {
            candidates.max_by(|&a, &b| ratio(a, frequencies[a]).total_cmp(&ratio(b, frequencies[b])))
        } else {
            candidates.min_by(|&a, &b| ratio(a, frequencies[a] - 1).total_cmp(&ratio(b, frequencies[b] - 1)))
        };
        let chosen = chosen.expect("of at most 128 symbols that share 4096, one can give or take");
        frequencies[chosen] = frequencies[chosen] + u32::from(missing) - u32::from(!missing);
    }
    frequencies
}

/// The encoder's table: frequency and cumulative frequency of each symbol of one context.
#[derive(Clone, Debug)]
pub(super) struct Ranges(Vec<(u32, u32)>);

impl Ranges {
    pub(super) fn new(frequencies: &[u32]) -> Self {
        let mut start = 0;
        let range = |&frequency: &u32| {
            let range = (frequency, start);
            start += frequency;
            range
        };
        Self(frequencies.iter().map(range).collect())
    }

    /// Whether a symbol has a frequency.
    pub(super) fn has(&self, symbol: u8) -> bool {
        self.0.get(symbol as usize).is_some_and(|&(frequency, _)| frequency > 0)
    }
}

/// The decoder's table: the symbol of each slot of each context. Small, so that it stays in the processor's cache.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    /// The symbol of each slot of each context in use.
    symbols: Vec<u8>,
    /// For each context in use and each symbol: its frequency (16 bits), and the sum of those before it (16 bits).
    ranges: Vec<u32>,
    /// The index of each context among those in use; out of range if the context is unused.
    places: Vec<usize>,
}

/// The number of symbols that the table has room for.
const SYMBOLS: usize = super::integers::TOKENS;

impl Slots {
    /// The slots of all contexts. `None` if the frequencies of a context do not sum to [`TOTAL`] or are too many.
    pub(super) fn new(contexts: &[Vec<u32>]) -> Option<Self> {
        let used = contexts.iter().filter(|frequencies| !frequencies.is_empty());
        let mut symbols = Vec::with_capacity(used.clone().count() * TOTAL as usize);
        let mut ranges = Vec::with_capacity(used.clone().count() * SYMBOLS);
        for frequencies in used.clone() {
            let sum: u64 = frequencies.iter().map(|&frequency| u64::from(frequency)).sum();
            if frequencies.len() > SYMBOLS || sum != u64::from(TOTAL) {
                return None;
            }
            let mut start = 0;
            for (symbol, &frequency) in frequencies.iter().enumerate() {
                symbols.extend((0..frequency).map(|_| symbol as u8));
                ranges.push(frequency | start << 16);
                start += frequency;
            }
            ranges.resize(ranges.len().next_multiple_of(SYMBOLS), 0);
        }
        let absent = used.count();
        let mut next = 0;
        let place = |frequencies: &Vec<u32>| {
            if frequencies.is_empty() {
                absent
            } else {
                next += 1;
                next - 1
            }
        };
        let places = contexts.iter().map(place).collect();
        Some(Self {
            symbols,
            ranges,
            places,
        })
    }
}

/// Encodes symbols, last first: appends the state and the words to `block`.
///
/// Every symbol has a frequency in its table.
pub(super) fn encode<'a>(symbols: impl Iterator<Item = (&'a Ranges, u8)>, words: &mut Vec<u16>, block: &mut Vec<u8>) {
    words.clear();
    let mut state = LOWEST_STATE;
    for (ranges, symbol) in symbols {
        let (frequency, start) = ranges.0[symbol as usize];
        debug_assert!(frequency > 0, "the model was fitted to these positions");
        if u64::from(state) >= u64::from(frequency) << (32 - TOTAL_BITS) {
            words.push(state as u16);
            state >>= 16;
        }
        state = ((state / frequency) << TOTAL_BITS) + start + state % frequency;
    }
    block.extend_from_slice(&state.to_le_bytes());
    block.extend(words.iter().rev().flat_map(|word| word.to_le_bytes()));
}

/// The decoder: takes words from the front of a block.
pub(super) struct Decoder<'a> {
    state: u32,
    block: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    /// Starts at the head of a block. `None` if the block is too short to have one.
    pub(super) fn new(block: &'a [u8]) -> Option<Self> {
        let state = u32::from_le_bytes(block.get(..4)?.try_into().ok()?);
        Some(Self { state, block, at: 4 })
    }

    /// The next symbol, or `None` if the context is unused. Reading past the end gives zeros;
    /// [`bytes_used`](Self::bytes_used) then exceeds the length.
    #[inline(always)]
    pub(super) fn symbol(&mut self, slots: &Slots, context: usize) -> Option<u8> {
        let slot = (self.state & (TOTAL - 1)) as usize;
        let place = slots.places[context];
        let symbol = *slots.symbols.get(place * TOTAL as usize + slot)?;
        let range = *slots.ranges.get(place * SYMBOLS + symbol as usize)?;
        let mut state = (range & 0xffff) * (self.state >> TOTAL_BITS) + slot as u32 - (range >> 16);
        // Whether a word is needed is unpredictable, so both outcomes are computed without a branch.
        let word = match self.block.get(self.at..self.at + 2) {
            Some(word) => u16::from_le_bytes([word[0], word[1]]),
            None => 0,
        };
        let wanted = state < LOWEST_STATE;
        let refilled = state << 16 | u32::from(word);
        state = if wanted { refilled } else { state };
        self.at += 2 * usize::from(wanted);
        self.state = state;
        Some(symbol)
    }

    pub(super) fn bytes_used(&self) -> usize {
        self.at
    }

    pub(super) fn is_at_its_end(&self) -> bool {
        self.state == LOWEST_STATE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frequencies_keep_every_symbol_and_sum_to_the_total() {
        assert_eq!(frequencies(&[0, 0]), [0u32; 0]);
        assert_eq!(frequencies(&[0, 9, 0]), [0, 4096]);
        assert_eq!(frequencies(&[1, 1, 2]), [1024, 1024, 2048]);
        // One in a million still gets its slot.
        assert_eq!(frequencies(&[1_000_000, 1]), [4095, 1]);
        let many: Vec<u64> = (0..128).map(|symbol| if symbol == 7 { 1 << 40 } else { 1 }).collect();
        assert_eq!(frequencies(&many)[7], 4096 - 127);
    }

    #[test]
    fn frequencies_that_do_not_sum_to_the_total_are_refused() {
        let of = |frequencies: &[u32]| Slots::new(&[vec![], frequencies.to_vec()]);
        let slots = of(&[4096]).unwrap();
        assert_eq!(Decoder::new(&[0; 4]).unwrap().symbol(&slots, 0), None);
        assert_eq!(Decoder::new(&[0; 4]).unwrap().symbol(&slots, 1), Some(0));
        for wrong in [&[4095][..], &[4096, 1], &[u32::MAX, 1], &[32; 129]] {
            assert!(of(wrong).is_none());
        }
    }

    proptest! {
        #[test]
        fn symbols_come_back_in_order(symbols in prop::collection::vec((0usize..2, 0u8..128), 0..400)) {
            let of = |context: usize| {
                let mut counts = [0; 128];
                for (_, symbol) in symbols.iter().filter(|(of, _)| *of == context) {
                    counts[*symbol as usize] += 1;
                }
                frequencies(&counts)
            };
            let contexts = [of(0), of(1)];
            let ranges = [Ranges::new(&contexts[0]), Ranges::new(&contexts[1])];
            let slots = Slots::new(&contexts).unwrap();
            let mut block = Vec::new();
            let reversed = symbols.iter().rev().map(|&(context, symbol)| (&ranges[context], symbol));
            encode(reversed, &mut Vec::new(), &mut block);
            let mut decoder = Decoder::new(&block).unwrap();
            for (context, symbol) in symbols {
                prop_assert_eq!(decoder.symbol(&slots, context), Some(symbol));
            }
            prop_assert!(decoder.is_at_its_end());
            prop_assert_eq!(decoder.bytes_used(), block.len());
        }
    }
}
