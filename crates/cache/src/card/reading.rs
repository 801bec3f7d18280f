//! How to read a cache and its exports, in the words of a card.

pub(super) const CACHE: &str = "
## How to read it

Train from it, or look into it, with leadspan:

```sh
leadspan cache inspect CACHE
leadspan train -c pipeline.toml --set cache.dir=CACHE
```

Shards are Parquet files with coded columns; leadspan's `docs/format.md` describes every byte. For other programs, write plain
Parquet, one row a position:

```sh
leadspan cache export CACHE --out FOLDER --format dataset
```

```python
import datasets
positions = datasets.load_dataset(\"FOLDER\")
```
";

pub(super) const DATASET: &str = "
## How to read it

```python
import datasets
positions = datasets.load_dataset(\"FOLDER\")            # a row for each position
samples = datasets.load_dataset(\"FOLDER\", \"samples\")   # the tokens of the samples
```

| column of `positions` | |
|---|---|
| `sample_id`, `split` | the sample |
| `position` | position i predicts token i + 1 of the sample, counted from 0 |
| `section` | the section of that token: `prompt`, `chain_of_thought` or `answer` |
| `token_id` | that token |
| `token_ids`, `logprobs` | the entries, most probable first |
| `tail_logprob` | the log-probability of all other tokens together |
| `target_logprob` | the log-probability of `token_id` |

`samples` has `tokens`, `prompt_end` and `chain_of_thought_end`: token i is prompt if i < `prompt_end`, else chain of thought
if i < `chain_of_thought_end`, else answer. DuckDB and polars read `data/*.parquet`. leadspan trains from the folder after

```sh
leadspan cache import FOLDER --out CACHE --tokenizer TEACHER
```
";

pub(super) const DISTILLKIT: &str = "
## How to read it

A row is a sample: `input_ids`, and `compressed_logprobs` and `bytepacked_indices` of every token but the last.
`compression_config.yaml` says how they are packed; DistillKit reads them with it. leadspan trains from the folder after

```sh
leadspan cache import FOLDER --out CACHE --tokenizer TEACHER
```
";
