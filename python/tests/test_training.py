"""The data set, batches and samplers of `leadspan.torch`, in data loaders with workers."""

import functools
import pickle

import pytest

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

import leadspan
from leadspan.torch import Dataset, Resumed, collate, distillation_loss, forward_kl

from conftest import CACHES


def test_items_are_the_samples_that_have_positions(standard):
    cache = leadspan.Cache(standard)
    whole = Dataset(cache, split=None)
    assert len(whole) == 5 and [span.index for span in whole] == list(range(5))
    train = Dataset(standard, proportion=0.5, sections=["answer"])
    counts = cache.position_counts(0.5, ["answer"])
    assert [index for index in cache.samples.of_split("train") if counts[index] > 0] == train.indices.tolist()
    assert Dataset(standard, proportion=0.5, sections="answer").indices.tolist() == train.indices.tolist()
    held_out = Dataset(cache, split="validation")
    assert [span.index for span in held_out] == cache.samples.of_split("validation").tolist()
    with pytest.raises(IndexError):
        whole[5]


def test_batches_hold_what_spans_hold(standard):
    dataset = Dataset(standard, proportion=0.5, split=None)
    spans = dataset.__getitems__([0, 3, 1])
    padded, packed = collate(spans, pad_token_id=7), collate(spans, packed=True)
    for batch in (padded, packed):
        place = 0
        flat = batch["input_ids"].reshape(-1)
        for span in spans:
            rows = batch["rows"][place : place + len(span)]
            assert flat[rows].tolist() == span.tokens[span.positions].tolist()
            assert batch["targets"][place : place + len(span)].tolist() == span.tokens[span.positions + 1].tolist()
            place += len(span)
        assert place == len(batch["rows"]) == len(batch["lengths"]) == len(batch["token_ids"])
        assert batch["samples"].tolist() == [0, 3, 1]
    assert "position_ids" not in padded and "attention_mask" not in packed
    fed = [int(span.positions[-1]) + 1 for span in spans]
    assert padded["attention_mask"].sum(1).tolist() == fed
    assert (padded["input_ids"][padded["attention_mask"] == 0] == 7).all()
    assert packed["position_ids"][0].tolist() == [place for length in fed for place in range(length)]


def test_padded_and_packed_batches_have_the_same_loss(standard):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=320, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, attn_implementation="eager",
    )
    model = transformers.LlamaForCausalLM(config)
    spans = Dataset(standard, split=None).__getitems__([0, 1, 2])
    losses = []
    for batch in (collate(spans), collate(spans, packed=True)):
        fed = {name: batch[name] for name in ("input_ids", "attention_mask", "position_ids") if name in batch}
        loss = forward_kl(model(**fed, use_cache=False).logits, batch)
        model.zero_grad()
        loss.backward()
        losses.append((loss.item(), model.lm_head.weight.grad.clone()))
    (padded, padded_gradient), (packed, packed_gradient) = losses
    assert abs(padded - packed) < 1e-5
    assert (padded_gradient - packed_gradient).abs().max() < 1e-5


@pytest.mark.parametrize("method", [None, "fork", "spawn"])
def test_loaders_with_workers_give_the_same_batches(standard, method):
    dataset = Dataset(standard, split=None)
    expected = [collate(dataset.__getitems__(items)) for items in ([0, 1], [2, 3], [4])]
    loader = DataLoader(
        dataset, batch_size=2, collate_fn=collate, num_workers=2 if method else 0, multiprocessing_context=method
    )
    for batch, other in zip(loader, expected, strict=True):
        assert batch.keys() == other.keys()
        assert all(torch.equal(batch[name], other[name]) for name in other)


def test_an_error_in_a_worker_keeps_its_words(standard, tmp_path):
    import shutil

    copy = shutil.copytree(standard, tmp_path / "cache")
    dataset = Dataset(copy, split=None)
    for shard in copy.glob("layers/*/train-000000.parquet"):
        data = bytearray(shard.read_bytes())
        data[200] ^= 1
        shard.write_bytes(data)
    with pytest.raises(leadspan.LeadspanValueError, match="is damaged"):
        list(DataLoader(dataset, batch_size=5, collate_fn=collate, num_workers=1))


def test_a_pickled_data_set_reads_the_same(standard):
    dataset = Dataset(standard, proportion=0.5, sections=("chain_of_thought", "answer"))
    again = pickle.loads(pickle.dumps(dataset))
    assert (again.proportion, again.sections, len(again)) == (0.5, ["chain_of_thought", "answer"], len(dataset))
    assert [span.logprobs.tobytes() for span in again] == [span.logprobs.tobytes() for span in dataset]


def test_a_resumed_sampler_goes_on_where_the_order_was_left():
    dataset = range(13)

    def order(rank, epochs, resumed=None):
        sampler = DistributedSampler(dataset, num_replicas=2, rank=rank, seed=3)
        found = []
        for epoch in range(epochs):
            sampler.set_epoch(epoch)
            found += sampler
        if resumed is None:
            return found
        epoch, done = divmod(resumed, len(sampler))
        going_on = Resumed(sampler, done)
        rest = []
        for further in range(epoch, epochs):
            going_on.set_epoch(further)
            assert len(going_on) == len(sampler) - (done if further == epoch else 0)
            rest += going_on
        return rest

    for rank in (0, 1):
        whole = order(rank, 3)
        assert len(set(whole[:7])) == 7
        for done in range(len(whole)):
            assert order(rank, 3, done) == whole[done:]
    sampler = DistributedSampler(dataset, num_replicas=1, rank=0)
    loader = DataLoader(dataset, 4, sampler=Resumed(sampler, 8), collate_fn=list)
    assert [item for batch in loader for item in batch] == list(sampler)[8:]
    with pytest.raises(leadspan.LeadspanValueError, match="14 samples cannot be done of 13"):
        Resumed(sampler, 14)


def test_what_makes_no_batch_is_refused_in_words(standard):
    with pytest.raises(leadspan.LeadspanValueError, match="at least one sample"):
        collate([])
    spans = [leadspan.Cache(CACHES / name).read(0) for name in ("format-2-standard", "format-2-exact")]
    assert spans[0].temperatures != spans[1].temperatures
    with pytest.raises(leadspan.LeadspanValueError, match="of other caches"):
        collate(spans)
    batch = collate(spans[:1])
    logits = torch.zeros(len(batch["rows"]), 320)
    for weight in (-0.1, 1.1, float("nan")):
        with pytest.raises(leadspan.LeadspanValueError, match="`distillation_weight` is `.*`, but it must be from 0 to 1"):
            distillation_loss(logits, batch, weight)


def test_a_partial_is_a_collate_function(standard):
    loader = DataLoader(Dataset(standard), batch_size=4, collate_fn=functools.partial(collate, packed=True))
    assert all(batch["input_ids"].shape[0] == 1 for batch in loader)
