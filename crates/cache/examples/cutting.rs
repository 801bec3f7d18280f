//! Cuts a cache to shorter proportions, compares every value, and measures the bytes that are touched and the time.
//!
//!     cargo run --release -p leadspan-cache --example cutting -- CACHE FOLDER
//!
//! CACHE holds whole samples. The cuts are written into FOLDER, which must not be there.

#![expect(clippy::print_stdout, reason = "an example that prints is a program")]

use std::{error::Error, fs, path::Path, time::Instant};

use leadspan_cache::{Cache, Coverage, CutSettings, Following, Missing, Reader, cut, verify};
use leadspan_sequence::SectionSet;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(source), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("name a cache and a folder for its cuts".into());
    };
    let source = Cache::open(Path::new(&source))?;
    let folder = Path::new(&folder);
    fs::create_dir(folder)?;
    let whole: u64 = source.inspect()?.layers.iter().map(|layer| layer.shard_bytes).sum();
    println!("shards of the source: {whole} bytes\n");
    println!("proportion  bytes touched  of the source  bytes of the cut  seconds  positions compared");
    for proportion in ["0.1", "0.25", "0.5", "0.75", "1"] {
        let out = folder.join(proportion);
        let settings = CutSettings {
            proportion: Some(proportion.parse()?),
            ..CutSettings::default()
        };
        let started = Instant::now();
        let made = cut(
            &source,
            &out,
            &settings,
            &mut Following {
                stop: &|| false,
                progress: &mut |_| {},
                waiting: &mut |_| {},
            },
        )?;
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "{proportion:>10}  {:>13}  {:>13.3}  {:>16}  {seconds:>7.2}  {:>18}",
            made.bytes_read,
            made.bytes_read as f64 / whole as f64,
            made.shard_bytes,
            compared(&source, &Cache::open(&out)?, proportion)?
        );
    }
    Ok(())
}

/// Verifies a cut and compares all that it holds with the source, to the bit. Returns the number of positions.
fn compared(source: &Cache, cut: &Cache, proportion: &str) -> Result<usize, Box<dyn Error>> {
    if let Some(problem) = verify(cut, &mut |_| {})?.problems.first() {
        return Err(problem.error.to_string().into());
    }
    let asked = Coverage {
        proportion: proportion.parse()?,
        sections: SectionSet::ALL,
    };
    let of_source = Reader::open(source, asked, Missing::Refused)?;
    let of_cut = Reader::open(cut, asked, Missing::Refused)?;
    let mut positions = 0;
    for sample in 0..of_source.corpus().len() as u32 {
        let (expected, found) = (of_source.span(sample)?, of_cut.span(sample)?);
        if expected != found {
            return Err(format!("sample {sample} reads otherwise").into());
        }
        positions += found.positions.len();
    }
    Ok(positions)
}
