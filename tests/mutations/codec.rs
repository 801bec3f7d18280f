//! Blocks and models of the codec, which a shard's checksums guard elsewhere.

use std::rc::Rc;

use leadspan_distribution::{
    Distributions,
    codec::{Layout, Model, Precision},
};

use crate::{
    cache::{distributions, settings},
    harness::{Case, Reader},
    mutation::{Random, mutated},
};

/// Positions of a block.
const POSITIONS: usize = 12;

struct Coded {
    layout: Layout,
    model: Model,
    blocks: Vec<Vec<u8>>,
}

pub(crate) fn readers() -> Vec<Reader> {
    let coded: Rc<Vec<Coded>> = Rc::new(
        [Precision::Standard, Precision::Fine, Precision::Exact]
            .map(coded)
            .into(),
    );
    let of_models = Rc::clone(&coded);
    vec![
        Reader {
            name: "codec-blocks",
            share: 250,
            mutate: Box::new(move |random| mutated_block(&coded, random)),
        },
        Reader {
            name: "codec-models",
            share: 60,
            mutate: Box::new(move |random| mutated_model(&of_models, random)),
        },
    ]
}

fn coded(precision: Precision) -> Coded {
    let stored = distributions(1, 20 * POSITIONS);
    let layout = Layout::new(&settings(), precision);
    let model = Model::fit(&stored, layout);
    let encoder = model.encoder();
    let blocks = (0..20)
        .map(|block| encoder.encode(&stored, block * POSITIONS..(block + 1) * POSITIONS))
        .collect();
    drop(encoder);
    Coded { layout, model, blocks }
}

fn mutated_block(coded: &Rc<Vec<Coded>>, random: &mut Random) -> Case {
    let precision = random.below(coded.len());
    let block: &Vec<u8> = random.pick(&coded[precision].blocks);
    let block = mutated(block, random);
    let positions = if random.once_in(8) {
        random.below(200)
    } else {
        POSITIONS
    };
    let coded = Rc::clone(coded);
    Case {
        bytes: block.len(),
        read: Box::new(move || decode(&coded[precision].model, &block, positions)),
    }
}

fn decode(model: &Model, block: &[u8], positions: usize) -> Result<(), String> {
    let mut decoded = Distributions::new();
    model
        .decode(block, positions, &mut decoded)
        .map_err(|error| error.to_string())?;
    assert_eq!(decoded.len(), positions);
    // Whoever reads a position looks at all of it.
    decoded
        .iter()
        .for_each(|position| assert_eq!(position.token_ids.len(), position.logprobs.len()));
    Ok(())
}

fn mutated_model(coded: &Rc<Vec<Coded>>, random: &mut Random) -> Case {
    let Coded { layout, model, blocks } = random.pick(coded);
    let numbers = |list: &[u32], random: &mut Random| {
        let mut list = list.to_vec();
        match random.below(6) {
            0 => drop(list.pop()),
            1 => list.push(random.extreme(7) as u32),
            2 => list.clear(),
            // A sum that stays what it was.
            3 => {
                let (from, to) = (random.below(list.len()), random.below(list.len()));
                let moved = random.below(list[from] as usize + 1) as u32;
                list[from] -= moved;
                list[to] += moved;
            }
            _ => {
                let place = random.below(list.len());
                list[place] = random.extreme(u64::from(list[place])) as u32;
            }
        }
        list
    };
    let (mut numbering, mut frequencies) = (model.numbering().to_vec(), model.frequencies());
    if random.once_in(3) {
        numbering = numbers(&numbering, random);
    } else {
        frequencies = numbers(&frequencies, random);
    }
    let (layout, block) = (*layout, random.pick(blocks).clone());
    Case {
        bytes: 4 * (numbering.len() + frequencies.len()),
        read: Box::new(move || {
            let model = Model::from_parts(layout, numbering, &frequencies).map_err(|error| error.to_string())?;
            decode(&model, &block, POSITIONS)
        }),
    }
}
