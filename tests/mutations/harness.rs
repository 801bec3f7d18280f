//! Runs readers over mutations, and checks the bounds of every read.

use std::{
    any::Any,
    fmt,
    fs::{self, File},
    io::Write as _,
    os::unix::fs::FileExt as _,
    panic::{self, AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process,
    sync::{
        Mutex, MutexGuard, Once, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{allocator::peak_of, mutation::Random};

/// Bytes that a read may hold at its peak for any file.
const CONSTANT_BYTES: usize = 64 << 20;
/// Bytes that it may hold in addition for each byte of its file.
const BYTES_A_BYTE: usize = 16;
/// Processor time that a read may take, in all threads: a thousand times what the slowest read takes. It does not depend on
/// other processes.
const MOST_PROCESSOR_TIME: Duration = Duration::from_mins(1);
/// The number of failures after which a reader is abandoned.
const FAILURES: usize = 12;

/// A mutated input, ready to be read.
pub(crate) struct Case {
    /// The length of what was mutated.
    pub(crate) bytes: usize,
    /// Reads it. An error is returned as text, so that formatting it is tested too.
    pub(crate) read: Box<dyn FnOnce() -> Result<(), String>>,
}

/// A reader and the mutations of what it reads.
pub(crate) struct Reader {
    pub(crate) name: &'static str,
    /// How many of a thousand mutations are of this reader.
    pub(crate) share: u64,
    /// Makes the mutation of a seed.
    pub(crate) mutate: Box<dyn FnMut(&mut Random) -> Case>,
}

/// The results of a reader's mutations.
#[derive(Default)]
struct Tally {
    mutations: u64,
    errors: u64,
    values: u64,
    /// Panics of the Parquet and Arrow libraries that the reader turned into errors.
    caught: u64,
    seconds: f64,
    slowest_seconds: f64,
    /// The number of the slowest mutation.
    slowest: u64,
    peak_bytes: usize,
}

/// The current mutation: its number in the low half, its reader in the high half. Messages about a failure name it.
static CURRENT: AtomicU64 = AtomicU64::new(0);
/// When the current read began; `None` between reads.
static BEGUN: Mutex<Option<Instant>> = Mutex::new(None);
static NAMES: OnceLock<Vec<&'static str>> = OnceLock::new();
static CAUGHT: AtomicU64 = AtomicU64::new(0);
/// How long a read may take on the clock, if that is limited.
static MOST_WALL_TIME: Mutex<Option<Duration>> = Mutex::new(None);
static PANIC: Mutex<String> = Mutex::new(String::new());

/// Writes the current mutation and its problem to standard error, without allocating.
pub(crate) fn say(problem: fmt::Arguments<'_>) {
    let current = CURRENT.load(Ordering::Relaxed);
    let name = NAMES.get().and_then(|names| names.get((current >> 32) as usize));
    let (name, number) = (name.unwrap_or(&"nothing"), current as u32);
    let _ = writeln!(std::io::stderr(), "LEADSPAN_MUTATION={name}:{number}: {problem}");
}

/// The file that names the current mutation, in case that the program does not survive it.
fn place_of_current() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("mutation-at-hand")
}

fn watch() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        panic::set_hook(Box::new(|info| {
            if leadspan_files::panics_become_errors() {
                CAUGHT.fetch_add(1, Ordering::Relaxed);
                return;
            }
            let text = info.to_string();
            say(format_args!("{text}"));
            *lock(&PANIC) = text;
        }));
        thread::spawn(|| {
            // The read that was under way at the last look, and the processor time at that look.
            let mut seen: Option<(Instant, Duration)> = None;
            loop {
                thread::sleep(Duration::from_secs(1));
                let Some(begun) = *lock(&BEGUN) else {
                    seen = None;
                    continue;
                };
                let now = processor_time();
                let since = match seen {
                    Some((same, since)) if same == begun => since,
                    _ => now,
                };
                seen = Some((begun, since));
                let (used, elapsed) = (now.saturating_sub(since), begun.elapsed());
                if used > MOST_PROCESSOR_TIME || lock(&MOST_WALL_TIME).is_some_and(|most| elapsed > most) {
                    say(format_args!(
                        "the read has not ended after {elapsed:?} and {used:?} of processor time"
                    ));
                    process::abort();
                }
            }
        });
    });
}

/// The processor time that all threads of this process have used.
fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Fields are counted after the name, which may contain spaces. Times are in hundredths of a second.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_whitespace().skip(11).take(2);
    Duration::from_millis(10 * ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>())
}

/// Locks a mutex, also after a panic of another thread that held it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `total` mutations, divided among the readers, and fails if a read breaks a bound. `most_wall_time` limits each read on
/// the clock.
///
/// With `LEADSPAN_MUTATION=READER:NUMBER` in the environment only that mutation is run.
pub(crate) fn run(total: u64, readers: Vec<Reader>, most_wall_time: Option<Duration>) -> String {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = lock(&ALONE);
    *lock(&MOST_WALL_TIME) = most_wall_time;
    watch();
    let _ = NAMES.set(readers.iter().map(|reader| reader.name).collect());
    let only = std::env::var("LEADSPAN_MUTATION").ok();
    let report_path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("mutations-{total}.txt"));
    let current = File::create(place_of_current()).unwrap();
    let mut failures = Vec::new();
    let mut report = format!(
        "{:<22} {:>9} {:>9} {:>9} {:>7} {:>9} {:>10} {:>10} {:>10}\n",
        "reader", "mutations", "errors", "values", "caught", "seconds", "slowest ms", "of number", "peak bytes"
    );
    let shares: u64 = readers.iter().map(|reader| reader.share).sum();
    let mut all = Tally::default();
    for (index, mut reader) in readers.into_iter().enumerate() {
        let every = 0..(total * reader.share).div_ceil(shares);
        let numbers = match &only {
            None => every,
            Some(one) if one == reader.name => every,
            Some(one) => match one.split_once(':') {
                Some((name, number)) if name == reader.name => {
                    let number = number.parse().unwrap();
                    number..number + 1
                }
                _ => continue,
            },
        };
        let mut tally = Tally::default();
        let before = failures.len();
        for number in numbers {
            CURRENT.store((index as u64) << 32 | number, Ordering::Relaxed);
            let place = format!("LEADSPAN_MUTATION={}:{number:<12}\n", reader.name);
            current.write_all_at(place.as_bytes(), 0).unwrap();
            if let Err(problem) = one(&mut reader, number, &mut tally) {
                failures.push(format!("{}:{number}: {problem}", reader.name));
                if failures.len() >= before + FAILURES {
                    break;
                }
            }
        }
        // If no mutation can be read, the mutations test nothing.
        if only.is_none() && tally.values == 0 {
            failures.push(format!("{}: not a single mutation was read", reader.name));
        }
        report += &line(reader.name, &tally);
        all.add(&tally);
        fs::write(&report_path, &report).unwrap();
    }
    report += &line("all", &all);
    fs::write(&report_path, &report).unwrap();
    assert!(
        failures.is_empty(),
        "{report}\nmutations that did not end as they must, each run alone with LEADSPAN_MUTATION=READER:NUMBER:\n{}",
        failures.join("\n")
    );
    report
}

/// Runs one mutation, which must not panic or exceed its memory.
fn one(reader: &mut Reader, number: u64, tally: &mut Tally) -> Result<(), String> {
    let seed = reader.name.bytes().fold(number, |seed, byte| {
        Random::new(seed.rotate_left(9) ^ u64::from(byte)).next()
    });
    let case = (reader.mutate)(&mut Random::new(seed));
    let bound = CONSTANT_BYTES + BYTES_A_BYTE * case.bytes;
    let caught = CAUGHT.load(Ordering::Relaxed);
    let begun = Instant::now();
    *lock(&BEGUN) = Some(begun);
    let (read, peak) = peak_of(bound, || catch_unwind(AssertUnwindSafe(case.read)));
    *lock(&BEGUN) = None;
    let seconds = begun.elapsed().as_secs_f64();
    let outcome = read.map_err(|panic| {
        let place = lock(&PANIC).clone();
        format!("{} ({place})", message(panic.as_ref()))
    })?;
    tally.mutations += 1;
    tally.caught += CAUGHT.load(Ordering::Relaxed) - caught;
    tally.errors += u64::from(outcome.is_err());
    tally.values += u64::from(outcome.is_ok());
    tally.seconds += seconds;
    if seconds > tally.slowest_seconds {
        (tally.slowest_seconds, tally.slowest) = (seconds, number);
    }
    tally.peak_bytes = tally.peak_bytes.max(peak);
    if peak > bound {
        return Err(format!("{peak} bytes were held to read {} ({outcome:?})", case.bytes));
    }
    Ok(())
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

fn line(name: &str, tally: &Tally) -> String {
    format!(
        "{name:<22} {:>9} {:>9} {:>9} {:>7} {:>9.1} {:>10.1} {:>10} {:>10}\n",
        tally.mutations,
        tally.errors,
        tally.values,
        tally.caught,
        tally.seconds,
        tally.slowest_seconds * 1e3,
        tally.slowest,
        tally.peak_bytes
    )
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.mutations += other.mutations;
        self.errors += other.errors;
        self.values += other.values;
        self.caught += other.caught;
        self.seconds += other.seconds;
        self.slowest_seconds = self.slowest_seconds.max(other.slowest_seconds);
        self.peak_bytes = self.peak_bytes.max(other.peak_bytes);
    }
}
