//! Measures how many bytes reading touches, for `docs/benchmarks.md`.
//!
//!     cargo run --release -p leadspan-cache --example reading -- CACHE
//!
//! CACHE holds whole samples. Prints the share of the shards' bytes that is read for shorter proportions of all
//! training samples, and then the bytes that are read for single samples, each with a new reader.

#![expect(clippy::print_stdout, reason = "an example that prints is a program")]

use std::{error::Error, path::Path};

use leadspan_cache::{BytesRead, Cache, Coverage, Missing, Reader};
use leadspan_sequence::{SectionSet, Split};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("name a cache")?;
    let cache = Cache::open(Path::new(&path))?;
    let open = |proportion: &str| -> Result<Reader, Box<dyn Error>> {
        let asked = Coverage {
            proportion: proportion.parse()?,
            sections: SectionSet::ALL,
        };
        Ok(Reader::open(&cache, asked, Missing::Allowed)?)
    };
    let touched_at = |proportion: &str| -> Result<(u64, u64), Box<dyn Error>> {
        let reader = open(proportion)?;
        let (mut positions, mut samples) = (0, Vec::new());
        samples.extend(reader.corpus().of_split(Split::Train));
        for sample in samples {
            positions += reader.span(sample)?.positions.len() as u64;
        }
        Ok((touched(reader.bytes_read()), positions))
    };
    let (all_bytes, all_positions) = touched_at("1")?;
    println!("all training samples: {all_positions} positions, {all_bytes} bytes of heads and blocks\n");
    println!("proportion  of the positions  of the bytes  more than the proportion");
    for proportion in ["0.1", "0.25", "0.5", "0.75"] {
        let (bytes, positions) = touched_at(proportion)?;
        let share = bytes as f64 / all_bytes as f64;
        println!(
            "{proportion:>10}  {:>16.3}  {share:>12.3}  {:>24.3}",
            positions as f64 / all_positions as f64,
            share - proportion.parse::<f64>()?
        );
    }
    let mut ratios = Vec::new();
    let samples = open("1")?.corpus().len() as u32;
    for sample in 0..samples {
        let reader = open("1")?;
        if !reader.span(sample)?.positions.is_empty() {
            let read = reader.bytes_read();
            ratios.push(touched(read) as f64 / read.blocks as f64);
        }
    }
    ratios.sort_by(f64::total_cmp);
    let at = |share: f64| ratios[(share * (ratios.len() - 1) as f64) as usize];
    println!(
        "\none sample alone, bytes touched over its own: median {:.2}, 99th percentile {:.2}, largest {:.2}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    Ok(())
}

fn touched(read: BytesRead) -> u64 {
    read.heads + read.blocks
}
