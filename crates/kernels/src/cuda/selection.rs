//! The largest logits of rows on a GPU, and what is summed over all others.

use std::sync::{Mutex, PoisonError};

use candle_core::{
    CudaDevice, DType, Result, Tensor, bail,
    cuda_backend::{
        WrapErr as _,
        cudarc::driver::{DevicePtr as _, PinnedHostSlice},
    },
};

use super::{
    library::{
        Argument::{Int, Long, Pointer},
        Launch, launch,
    },
    memory::{pointer, uninitialised, with_rows},
    staging::upload,
};
use crate::{
    agreement::{SELECTION_STEP, SELECTION_THREADS, selection_shared_bytes},
    selected::Selected,
};

/// The numbers of further temperatures for which there are kernels.
const TEMPERATURES: [usize; 5] = [0, 1, 2, 4, 8];

/// What is found of rows of logits, on its way to the host.
pub(crate) struct Pending {
    sections: Sections,
    host: HostWords,
}

/// Where the results lie in one array of words of 32 bits.
#[derive(Clone, Copy, Debug)]
struct Sections {
    rows: usize,
    k: usize,
    sums: usize,
}

impl Sections {
    // Sums come first: they are of 64 bits.
    fn ids(self) -> usize {
        2 * self.rows * self.sums
    }

    fn logits(self) -> usize {
        self.ids() + self.rows * self.k
    }

    fn targets(self) -> usize {
        self.logits() + self.rows * self.k
    }

    fn not_finite(self) -> usize {
        self.targets() + self.rows
    }

    fn words(self) -> usize {
        self.not_finite() + self.rows
    }
}

/// Whether there is a kernel for `k` tokens and so many further temperatures: the candidates of a row fit in shared memory.
pub(crate) fn has_kernel(k: usize, temperatures: usize) -> bool {
    (1..=6 * SELECTION_STEP).contains(&k) && temperatures <= TEMPERATURES[TEMPERATURES.len() - 1]
}

/// Begins to find the `k` largest of each row of `logits` `[N, V]`, in single precision, and what `targets` `[N]` have.
///
/// # Errors
///
/// If the shapes do not fit, or the device fails.
pub(crate) fn select_rows(logits: &Tensor, targets: &[u32], k: usize, temperatures: &[f32]) -> Result<Pending> {
    with_rows(logits, |device, logits| {
        let Some(variant) = TEMPERATURES.into_iter().find(|&count| count >= temperatures.len()) else {
            bail!("there is no kernel for {} temperatures", temperatures.len());
        };
        let sections = Sections {
            rows: logits.rows,
            k,
            sums: 1 + variant,
        };
        if logits.dtype != DType::F32
            || targets.len() != logits.rows
            || k > logits.width
            || targets.iter().any(|&target| target as usize >= logits.width)
        {
            bail!("the {k} largest of {logits:?} cannot be selected");
        }
        let room = (k + SELECTION_STEP).max(2 * SELECTION_STEP).next_power_of_two();
        let words = uninitialised::<u32>(device, sections.words().max(1))?;
        let stream = device.cuda_stream();
        let first = words.device_ptr(&stream).0;
        let section = |word: usize| Pointer(first + 4 * word as u64);
        let targets = upload(device, targets)?;
        let mut padded = temperatures.to_vec();
        padded.resize(variant.max(1), 1.0);
        let temperatures = upload(device, &padded)?;
        let arguments = [
            logits.argument(),
            Long(logits.stride as i64),
            Int(logits.width as i32),
            Int(k as i32),
            Int(room as i32),
            pointer(device, &targets),
            pointer(device, &temperatures),
            section(sections.ids()),
            section(sections.logits()),
            section(0),
            section(sections.targets()),
            section(sections.not_finite()),
        ];
        let how = Launch {
            grid: (logits.rows, 1),
            threads: SELECTION_THREADS,
            shared_bytes: selection_shared_bytes(room),
        };
        let name = format!("select_rows_{variant}");
        // SAFETY: the kernel's arguments; the shapes were compared.
        unsafe { launch(device, "selection", &name, how, &arguments) }?;
        let mut host = HostWords::taken(device, sections.words())?;
        stream.memcpy_dtoh(&words, host.words_mut()?).w()?;
        Ok(Pending { sections, host })
    })
}

impl Pending {
    /// Waits until the results have arrived. May run on another thread than the one that began.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub(crate) fn wait(self) -> Result<Selected> {
        let (at, words) = (self.sections, self.host.arrived()?);
        let floats = |words: &[u32]| words.iter().map(|&word| f32::from_bits(word)).collect();
        let others = words[..at.ids()].as_chunks::<2>().0;
        let bad = words[at.not_finite()..at.words()]
            .iter()
            .position(|&token| (token as i32) >= 0);
        Ok(Selected {
            k: at.k,
            sums: at.sums,
            token_ids: words[at.ids()..at.logits()].to_vec(),
            logits: floats(&words[at.logits()..at.targets()]),
            others: others
                .iter()
                .map(|&[low, high]| f64::from_bits(u64::from(low) | u64::from(high) << 32))
                .collect(),
            target_logits: floats(&words[at.targets()..at.not_finite()]),
            not_finite: bad.map(|row| (row, words[at.not_finite() + row])),
        })
    }
}

/// Pinned host memory that nobody uses at the moment. Pinning takes longer than a copy.
static UNUSED: Mutex<Vec<PinnedHostSlice<u32>>> = Mutex::new(Vec::new());
/// The most buffers that are kept.
const KEPT: usize = 128;

/// Pinned host memory, which goes back to the unused when it is dropped.
struct HostWords(Option<PinnedHostSlice<u32>>);

impl HostWords {
    /// At least `count` words for a device.
    fn taken(device: &CudaDevice, count: usize) -> Result<Self> {
        let context = std::sync::Arc::clone(device.cuda_stream().context());
        let mut unused = UNUSED.lock().unwrap_or_else(PoisonError::into_inner);
        let fits =
            |words: &PinnedHostSlice<u32>| words.len() >= count && words.context().ordinal() == context.ordinal();
        if let Some(place) = unused.iter().position(fits) {
            return Ok(Self(Some(unused.swap_remove(place))));
        }
        drop(unused);
        // SAFETY: it is read only after the device has written to it. Without flags it is cached, so that reading is fast.
        let words = unsafe { context.alloc_pinned_with_flags(count.next_power_of_two(), 0) }.w()?;
        Ok(Self(Some(words)))
    }

    fn words_mut(&mut self) -> Result<&mut PinnedHostSlice<u32>> {
        self.0.as_mut().ok_or_else(gone)
    }

    /// The words, once the copy that was begun has ended.
    fn arrived(&self) -> Result<&[u32]> {
        self.0.as_ref().ok_or_else(gone)?.as_slice().w()
    }
}

fn gone() -> candle_core::Error {
    candle_core::Error::Msg("host memory was given back before it was used".to_owned())
}

impl Drop for HostWords {
    fn drop(&mut self) {
        if let Some(words) = self.0.take() {
            let mut unused = UNUSED.lock().unwrap_or_else(PoisonError::into_inner);
            if unused.len() < KEPT {
                unused.push(words);
            }
        }
    }
}
