//! How much memory the weights of a model take, part by part, before any is read.

use super::{EMBEDDING, HEAD, layer::DecoderLayer, norm::RmsNorm};
use crate::{
    device::StoredDtype,
    error::ModelError,
    weights::{counted::Counted, source::ModelSource, weight_source::WeightSource},
};

/// Bytes of the weights of a model in memory, in one number format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightSizes {
    /// Each layer, from the first to the last.
    pub layers: Vec<u64>,
    /// The embedding.
    pub embedding: u64,
    /// The head; of a tied head, the embedding that serves as one.
    pub head: u64,
    /// Whether the head is the embedding.
    pub is_tied: bool,
}

impl WeightSizes {
    /// The sizes of the weights of `source` in the format `dtype`. No weight is read. Those of `native` weights are the largest
    /// possible ones.
    ///
    /// # Errors
    ///
    /// If the configuration has a size that does not fit into memory.
    pub fn of(source: &ModelSource, dtype: StoredDtype) -> Result<Self, ModelError> {
        Self::count(source, dtype, None)
    }

    /// As [`of`](Self::of), after a look at every weight of `stored`, which are those of `source`.
    ///
    /// # Errors
    ///
    /// As [`of`](Self::of), and if a weight is missing, or cannot be read in the shape that the configuration says.
    pub(super) fn checked(
        source: &ModelSource,
        dtype: StoredDtype,
        stored: &mut dyn WeightSource,
    ) -> Result<Self, ModelError> {
        Self::count(source, dtype, Some(stored))
    }

    fn count(
        source: &ModelSource,
        dtype: StoredDtype,
        stored: Option<&mut dyn WeightSource>,
    ) -> Result<Self, ModelError> {
        let config = source.config();
        let mut counted = Counted {
            stored,
            product_bytes: &|name, elements| source.product_bytes(dtype, name, elements),
            element_bytes: dtype.dense().size_in_bytes() as u64,
            bytes: 0,
        };
        let shape = [config.vocab_size, config.hidden_size];
        counted.product(EMBEDDING, shape, None)?;
        let embedding = std::mem::take(&mut counted.bytes);
        let is_tied = config.tie_word_embeddings;
        if !is_tied {
            counted.product(HEAD, shape, None)?;
        }
        let head = if is_tied { embedding } else { counted.bytes };
        RmsNorm::last(config, &mut counted)?;
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for index in 0..config.num_hidden_layers {
            counted.bytes = 0;
            DecoderLayer::build(config, &mut counted, index)?;
            layers.push(counted.bytes);
        }
        Ok(Self {
            layers,
            embedding,
            head,
            is_tied,
        })
    }

    /// All weights together, without the last normalisation.
    pub fn total(&self) -> u64 {
        let head = if self.is_tied { 0 } else { self.head };
        self.layers.iter().sum::<u64>() + self.embedding + head
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn source(name: &str) -> ModelSource {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
        ModelSource::open(&fixtures.join(name)).unwrap()
    }

    #[test]
    fn the_weights_of_every_part_are_counted() {
        // The tiny teacher: 32 wide, 4 query and 2 key heads of 8, 64 inside, vocabulary 320, two norms a layer, tied.
        let layer = 32 * (32 + 16 + 16 + 32) + 3 * 32 * 64 + 2 * 32;
        for (dtype, bytes) in [(StoredDtype::F32, 4), (StoredDtype::Bf16, 2)] {
            let sizes = WeightSizes::of(&source("tiny-teacher"), dtype).unwrap();
            assert_eq!(sizes.layers, [layer * bytes; 2]);
            assert_eq!(
                (sizes.embedding, sizes.head, sizes.is_tied),
                (320 * 32 * bytes, 320 * 32 * bytes, true)
            );
            assert_eq!(sizes.total(), (2 * layer + 320 * 32) * bytes);
        }
        // A head of its own counts; the file is as large as its numbers and a header.
        let untied = source("parity/llama_untied_sharded");
        let sizes = WeightSizes::of(&untied, StoredDtype::F32).unwrap();
        assert!(!sizes.is_tied && sizes.head == sizes.embedding);
        let stored: u64 = (untied.weight_files().unwrap().iter())
            .map(|file| file.metadata().unwrap().len())
            .sum();
        assert!(
            sizes.total() < stored && stored < sizes.total() + 20_000,
            "{} {stored}",
            sizes.total()
        );
        // What stays quantised takes less.
        let (native, wide) = (StoredDtype::Native, StoredDtype::F32);
        let gguf = source("parity/qwen3_moe.gguf");
        let [native, wide] = [native, wide].map(|dtype| WeightSizes::of(&gguf, dtype).unwrap());
        assert!(native.total() < wide.total());
    }
}
