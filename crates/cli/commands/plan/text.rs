//! A plan as text, in lines of 80 columns.

use std::fmt::Write as _;

use leadspan_precompute::{
    AtProportion, Basis, Calibration, Division, LayerPlan, Lengths, MemoryBound, Plan, SizeSource, StreamedPasses,
};

use super::PlanContext;
use crate::{
    amounts::{bytes, grouped, rounded, short, short_duration, spelt},
    commands::prepare,
};

/// The length of the longest bar of the histogram, in characters.
const BAR: usize = 40;

pub(super) fn described(plan: &Plan, context: &PlanContext) -> String {
    let mut text = String::new();
    corpus(plan, &mut text);
    lengths(&plan.lengths, &mut text);
    proportions(plan, &mut text);
    left(plan, &mut text);
    if plan.left.units > 0 {
        memory(plan, &mut text);
        space(plan, context, &mut text);
        time(plan, context, &mut text);
    }
    text
}

fn corpus(plan: &Plan, text: &mut String) {
    let report = &plan.report;
    let about = if let Basis::Sampled { .. } = plan.basis {
        "about "
    } else {
        ""
    };
    let _ = writeln!(
        text,
        "corpus     {about}{} training and {} validation samples of {} rows",
        grouped(report.kept_train),
        grouped(report.kept_validation),
        grouped(report.rows)
    );
    let tokens = &report.tokens;
    let _ = writeln!(
        text,
        "           {} tokens: {} prompt, {} chain of thought, {} answer",
        grouped(tokens.total()),
        short(tokens.prompt as f64),
        short(tokens.chain_of_thought as f64),
        short(tokens.answer as f64)
    );
    let _ = match plan.basis {
        Basis::Prepared => writeln!(text, "           as it was prepared"),
        Basis::Extended { samples } => writeln!(
            text,
            "           as it was prepared, and {} samples of rows appended since",
            grouped(samples)
        ),
        Basis::Read => writeln!(text, "           not prepared yet: all rows were read for this plan"),
        Basis::Sampled { rows, drawn } => writeln!(
            text,
            "           not prepared yet: scaled up from {} rows drawn out of {}",
            grouped(drawn),
            grouped(rows)
        ),
    };
    for line in prepare::losses(report) {
        let _ = writeln!(text, "           {line}");
    }
}

fn lengths(lengths: &Lengths, text: &mut String) {
    let quantiles: Vec<String> = lengths
        .quantiles
        .iter()
        .map(|quantile| match quantile.share {
            0.0 => format!("least {}", grouped(u64::from(quantile.tokens))),
            1.0 => format!("most {}", grouped(u64::from(quantile.tokens))),
            share => format!("{:.0} % {}", 100.0 * share, grouped(u64::from(quantile.tokens))),
        })
        .collect();
    let _ = writeln!(text, "lengths    {}", quantiles.join(", "));
    let most = lengths.histogram.iter().map(|bin| bin.samples).max().unwrap_or(0);
    for bin in &lengths.histogram {
        let bar = "█".repeat((bin.samples as f64 / most.max(1) as f64 * BAR as f64).ceil() as usize);
        let range = format!("{}–{}", bin.from, bin.to - 1);
        let space = if bar.is_empty() { "" } else { " " };
        let _ = writeln!(text, "{range:>20}  {bar}{space}{}", grouped(bin.samples));
    }
}

fn proportions(plan: &Plan, text: &mut String) {
    text.push_str(
        "\nA capture from nothing at each lead-span proportion (of training samples):\n\n\
         \x20      tokens  prompt thought  answer  stored     fed   FLOPs       size    time\n",
    );
    for AtProportion {
        proportion,
        tokens,
        totals,
    } in &plan.proportions
    {
        let asked = if *proportion == plan.asked.proportion { ">" } else { " " };
        let counts = [
            tokens.total(),
            tokens.prompt,
            tokens.chain_of_thought,
            tokens.answer,
            totals.positions,
            totals.teacher_tokens,
        ];
        let counts = counts.map(|count| format!("{:>8}", short(count as f64))).concat();
        let time = totals.seconds.map_or_else(|| "?".to_owned(), short_duration);
        let _ = writeln!(
            text,
            "{asked}{:<4}{counts}{:>8}{:>11}{time:>8}",
            proportion.to_string(),
            if totals.teacher_flops > 0.0 {
                short(totals.teacher_flops)
            } else {
                "?".to_owned()
            },
            bytes(totals.shard_bytes)
        );
    }
    text.push_str("\nstored: positions; fed: tokens through the teacher; >: what is asked for\n\n");
}

fn left(plan: &Plan, text: &mut String) {
    let totals = &plan.left;
    if totals.units == 0 {
        let _ = writeln!(text, "left       {}\n           nothing: it is all there", plan.asked);
        return;
    }
    let shards = plan.units * plan.layers.len() as u64;
    let _ = writeln!(text, "left       {}", plan.asked);
    let _ = writeln!(
        text,
        "           {} of {} work units, {} positions stored",
        grouped(totals.units),
        grouped(shards),
        grouped(totals.positions)
    );
    let tokens = grouped(totals.teacher_tokens);
    let _ = match totals.teacher_flops {
        0.0 => writeln!(text, "           {tokens} tokens through the teacher"),
        flops => writeln!(
            text,
            "           {tokens} tokens through the teacher, {}FLOP",
            spaced(&short(flops))
        ),
    };
}

/// A short amount, with a space before the unit that follows.
fn spaced(amount: &str) -> String {
    if amount.contains(' ') {
        amount.to_owned()
    } else {
        format!("{amount} ")
    }
}

fn memory(plan: &Plan, text: &mut String) {
    let Some(StreamedPasses {
        streaming,
        passes,
        largest_pass_tokens,
        expected_bytes,
    }) = plan.streaming
    else {
        if let Some(resident) = plan.resident_bytes {
            let _ = writeln!(text, "memory     about {}, with all weights in memory", bytes(resident));
        }
        return;
    };
    let _ = writeln!(
        text,
        "memory     about {}; {} of weights are read in each pass",
        bytes(expected_bytes),
        bytes(streaming.weight_bytes)
    );
    let _ = writeln!(
        text,
        "           one layer of {} computes while the next is read",
        bytes(streaming.layer_bytes)
    );
    let _ = writeln!(
        text,
        "           {} {} of up to {} tokens; {} fit",
        grouped(passes),
        if passes == 1 { "pass" } else { "passes" },
        grouped(largest_pass_tokens),
        grouped(streaming.pass_tokens as u64)
    );
    if streaming.is_too_little() {
        let least = bytes(streaming.least_bytes);
        let bound = match streaming.memory_bound {
            MemoryBound::Setting => "`teacher.memory`",
            MemoryBound::Machine => "the machine has",
        };
        let _ = writeln!(
            text,
            "           more than {bound}: two layers and a batch take {least}"
        );
    }
}

fn space(plan: &Plan, context: &PlanContext, text: &mut String) {
    for LayerPlan { layer, size, totals } in &plan.layers {
        if plan.layers.len() > 1 {
            let _ = writeln!(text, "layer      `{layer}`");
        }
        let label = if plan.layers.len() > 1 { "  bytes" } else { "bytes" };
        let each = totals.shard_bytes as f64 / totals.positions.max(1) as f64;
        let _ = writeln!(
            text,
            "{label:<11}{} of shards, {each:.1} a position, {}",
            bytes(totals.shard_bytes),
            match size.source {
                SizeSource::Shards => "like the shards that are there",
                SizeSource::Calibration => "like those of the calibration",
                SizeSource::Published => "by the published figures",
            }
        );
    }
    if plan.corpus_bytes > 0 {
        let _ = writeln!(text, "           up to {} of prepared corpus", bytes(plan.corpus_bytes));
    }
    if let Some(free) = context.free_bytes {
        let _ = writeln!(
            text,
            "space      {} of {} that are free where `{}` is",
            bytes(plan.bytes()),
            bytes(free),
            context.cache.display()
        );
    }
}

fn time(plan: &Plan, context: &PlanContext, text: &mut String) {
    let (Some(calibration), Some(seconds)) = (&plan.calibration, plan.left.seconds) else {
        text.push_str("time       unknown: the teacher was not run\n");
        return;
    };
    let Calibration {
        load_seconds,
        seconds: measured,
        batches,
        samples,
        tokens,
        ..
    } = calibration;
    let _ = writeln!(
        text,
        "time       {} for one worker on this device, {} tokens/s",
        spelt(load_seconds + seconds),
        rounded(plan.left.teacher_tokens as f64 / seconds.max(1e-9))
    );
    let _ = writeln!(
        text,
        "           as in {} batches, {} samples, {} tokens in {measured:.1} s; loading {load_seconds:.1} s",
        grouped(*batches as u64),
        grouped(*samples as u64),
        grouped(*tokens)
    );
    if let Some((wall_time, division)) = &context.division {
        match division {
            Division::Workers(workers) => {
                let count = workers.count;
                let _ = writeln!(
                    text,
                    "wall time  {wall_time}: {}, the longest takes {}",
                    if count == 1 {
                        "1 worker".to_owned()
                    } else {
                        format!("{} workers", grouped(count as u64))
                    },
                    spelt(workers.longest_seconds)
                );
                let _ = writeln!(text, "           --array=0-{}, where each task runs", count - 1);
                let _ = writeln!(
                    text,
                    "           leadspan precompute -c {} --worker I/{count}",
                    context.config.display()
                );
            }
            Division::UnitTooLong { seconds } => {
                let _ = writeln!(
                    text,
                    "wall time  {wall_time}: not enough for one work unit, which takes {}",
                    spelt(*seconds)
                );
            }
        }
    }
}
