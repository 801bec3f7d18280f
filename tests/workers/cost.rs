//! The cost of a work unit, measured in processor time.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Child,
    thread::sleep,
    time::{Duration, Instant},
};

use super::PRECOMPUTE;
use crate::program::Workplace;

/// The current memory of a process, in MiB, and the processor time that it has used.
fn use_of(process: u32) -> Option<(f64, Duration)> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kibibytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // In hundredths of a second. Fields are counted after the name, which may contain spaces.
    let ticks = stat.rsplit_once(')')?.1.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Some((kibibytes / 1024.0, Duration::from_millis(10 * ticks)))
}

/// Ten thousand units of one tiny sample each, with the cache in `folder`.
fn ten_thousand_units(folder: &Path) -> Workplace {
    let place = Workplace::new();
    let rows: Vec<String> = (0..10_000)
        .map(|index| {
            format!(r#"{{"id": "{index}", "question": "{index}?", "chain_of_thought": "so", "answer": "1"}}"#) + "\n"
        })
        .collect();
    place.write("text.jsonl", &rows.concat());
    place.replace(
        "pipeline.toml",
        "samples_per_shard = 10",
        "samples_per_shard = 1\nlead_span_proportion = 0.1",
    );
    place.replace("pipeline.toml", "epochs = 1", "epochs = 1\nlead_span_proportion = 0.1");
    place.replace(
        "pipeline.toml",
        "dir = \"cache\"",
        &format!("dir = \"{}\"", folder.join("cache").display()),
    );
    place
}

/// The cost of ten thousand units.
#[derive(Debug)]
#[expect(dead_code, reason = "figures that are not compared are printed")]
struct Figures {
    processor_time_a_unit: Duration,
    wall_time_a_unit: Duration,
    /// The memory of the first worker at its end, minus that after a fifth of the units.
    growth_mib: f64,
}

/// Lets `workers` workers do all units.
fn time_units(folder: &Path, workers: usize, claim: bool) -> Figures {
    const UNITS: u32 = 10_000;
    let place = ten_thousand_units(folder);
    place.succeed(&["prepare", "-c", "pipeline.toml"]);
    let began = Instant::now();
    let mut running: Vec<Child> = (0..workers)
        .map(|worker| {
            let of = format!("{worker}/{workers}");
            let arguments = [
                &PRECOMPUTE[..],
                &["--worker", &of],
                if claim { &["--claim"] } else { &[] },
            ]
            .concat();
            place.start(&arguments)
        })
        .collect();
    let units = || {
        let layers = fs::read_dir(folder.join("cache/layers")).into_iter().flatten();
        let files = layers.flatten().flat_map(|layer| fs::read_dir(layer.path()).unwrap());
        files.count() as u32 / 2
    };
    let mut used: Vec<(f64, Duration)> = vec![Default::default(); workers];
    let mut early = None;
    while running.iter_mut().any(|child| child.try_wait().unwrap().is_none()) {
        for (used, child) in used.iter_mut().zip(&running) {
            *used = use_of(child.id()).unwrap_or(*used);
        }
        if early.is_none() && units() > UNITS / 5 {
            early = Some(used[0].0);
        }
        sleep(Duration::from_millis(100));
    }
    let elapsed = began.elapsed();
    for child in &mut running {
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    let finalize = [&PRECOMPUTE[..], &["--finalize"]].concat();
    assert!(place.succeed(&finalize).contains("10,000 work units"));
    Figures {
        processor_time_a_unit: used.iter().map(|(_, time)| *time).sum::<Duration>() / UNITS,
        wall_time_a_unit: elapsed / UNITS,
        growth_mib: used[0].0 - early.unwrap(),
    }
}

#[test]
#[ignore = "the long suite: two minutes on two free cores"]
fn ten_thousand_units_cost_less_than_ten_milliseconds_each_beside_the_syncs_and_memory_stays() {
    let mut figures = BTreeMap::new();
    // In memory, where a sync costs nothing. Processor time does not depend on other processes. It includes the tiny teacher.
    for (workers, claim) in [(1, false), (1, true), (8, false), (8, true)] {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        figures.insert((workers, claim), time_units(folder.path(), workers, claim));
    }
    let disk = tempfile::tempdir().unwrap();
    let on_disk = time_units(disk.path(), 1, false);
    #[expect(clippy::print_stderr, reason = "this test is run for its figures")]
    {
        eprintln!("by workers, and whether they claim: {figures:#?}; with the syncs of a disk: {on_disk:#?}");
    }
    for (how, figures) in &figures {
        assert!(
            figures.processor_time_a_unit < Duration::from_millis(10),
            "{how:?}: {figures:?}"
        );
        assert!(figures.growth_mib < 16.0, "{how:?}: {figures:?}");
    }
}
