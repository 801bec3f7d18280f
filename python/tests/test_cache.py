"""The reader, against what an independent reader found in the golden caches."""

import concurrent.futures
import contextlib
import errno
import gc
import multiprocessing
import os
import pickle
import shutil
import signal
import time

import numpy as np
import pytest

import leadspan

from conftest import CACHES


def test_every_position_is_what_an_independent_reader_found(golden):
    folder, expected = golden
    cache = leadspan.Cache(folder)
    found = 0
    for sample, span in zip(cache.samples, cache.read_many(range(len(cache)), threads=2)):
        assert span.index == sample.index and len(span.tokens) <= sample.length
        for place, position in enumerate(span.positions.tolist()):
            row = expected[sample.id, position]
            length = span.lengths[place]
            assert span.token_ids[place, :length].tolist() == row["token_ids"]
            close(span.logprobs[place, :length], row["logprobs"])
            assert (span.token_ids[place, length:] == 0).all()
            assert (span.logprobs[place, length:] == -np.inf).all()
            close(span.tail_logprob[place], row["tail"])
            close(span.target_logprob[place], row["target"])
            close(span.temperature_tails[place], row["temperature_tails"])
            found += 1
    assert found == len(expected) > 0


def close(found, expected):
    # Two units in the last place: the other reader rounds once from double precision. None stands for -inf.
    expected = np.array([-np.inf if value is None else value for value in np.atleast_1d(np.array(expected, object))], float)
    np.testing.assert_allclose(np.atleast_1d(found), expected, rtol=2.4e-7)


def test_arrays_have_the_types_and_shapes_that_are_documented(standard):
    cache = leadspan.Cache(standard)
    span = cache.read(0)
    n, k = len(span), cache.top_k
    assert span.token_ids.shape == span.logprobs.shape == (n, k)
    assert span.temperature_tails.shape == (n, 2) and span.temperatures == cache.temperatures == (2.0, 0.5)
    for array, dtype in [
        (span.tokens, np.uint32),
        (span.positions, np.uint32),
        (span.token_ids, np.uint32),
        (span.lengths, np.uint32),
        (span.logprobs, np.float32),
        (span.tail_logprob, np.float32),
        (span.target_logprob, np.float32),
    ]:
        assert array.dtype == dtype and array.flags.writeable and array.flags.aligned


def test_proportion_and_sections_cut_what_is_read(standard):
    cache = leadspan.Cache(standard)
    whole, half = cache.read(0), cache.read(0, proportion=0.5)
    assert len(half.tokens) == len(whole.tokens) // 2
    np.testing.assert_array_equal(half.positions, whole.positions[whole.positions + 1 < len(half.tokens)])
    np.testing.assert_array_equal(half.logprobs, whole.logprobs[: len(half)])
    sample = cache.samples[0]
    answers = cache.read(0, sections=["answer"])
    np.testing.assert_array_equal(answers.positions, whole.positions[whole.positions + 1 >= sample.sections[1]])
    np.testing.assert_array_equal(cache.read(0, "0.50").positions, half.positions)
    assert cache.coverage() == ("1.0", ["prompt", "chain_of_thought", "answer"])
    assert cache.coverage(0.5, ["answer"]) == ("0.5", ["answer"])
    counts = cache.position_counts(0.5)
    assert counts.tolist() == [len(cache.read(index, 0.5)) for index in range(len(cache))]
    # A validation sample is whole at every proportion.
    held_out = int(cache.samples.of_split("validation")[0])
    assert len(cache.read(held_out, 0.5)) == len(cache.read(held_out))


def test_samples_agree_with_themselves(golden):
    samples = leadspan.Cache(golden[0]).samples
    assert len(samples) == len(samples.ids) == len(list(samples))
    assert samples.ids == [sample.id for sample in samples]
    assert samples.splits == [sample.split for sample in samples]
    assert samples.lengths.tolist() == [sample.length for sample in samples]
    assert samples.sections.tolist() == [list(sample.sections) for sample in samples]
    of_splits = np.concatenate([samples.of_split("train"), samples.of_split("validation")])
    assert sorted(of_splits.tolist()) == list(range(len(samples)))
    assert samples[-1] == samples[len(samples) - 1]


def test_wrong_arguments_are_refused_in_words(standard, tmp_path):
    cache = leadspan.Cache(standard)
    for index in (5, -6, 1 << 40):
        with pytest.raises(leadspan.LeadspanIndexError, match=f"there is no sample {index}: the corpus has 5"):
            cache.read(index)
    with pytest.raises(IndexError):
        cache.samples[5]
    with pytest.raises(TypeError):
        cache.read(0.5)
    for proportion in (0, 1.5, 1.1, -1, "half", "50%", "", float("nan"), float("inf"), 1e-20, True):
        with pytest.raises(leadspan.LeadspanValueError, match="is not a lead-span proportion"):
            cache.read(0, proportion)
    with pytest.raises(ValueError, match="`thoughts` is not a section: expected `prompt`"):
        cache.read(0, sections=["thoughts"])
    with pytest.raises(ValueError, match="the list of sections is empty"):
        cache.read(0, sections=[])
    with pytest.raises(ValueError, match="`test` is not a split"):
        cache.samples.of_split("test")
    with pytest.raises(ValueError, match="`threads` is 0"):
        cache.read_many([0], threads=0)
    with pytest.raises(leadspan.LeadspanValueError, match="is not a cache: it has no `identity.json`"):
        leadspan.Cache(tmp_path)
    assert cache.read_many([]) == []
    assert len(cache.read(np.int64(1), np.float64(0.5), ("answer",)).tokens) == len(cache.read(1, 0.5).tokens)
    # Not 0.100000001490116…, which has too many digits.
    assert len(cache.read(1, np.float32(0.1)).tokens) == len(cache.read(1, 0.1).tokens)


def test_what_was_not_captured_is_refused_with_a_hint():
    with pytest.raises(leadspan.LeadspanValueError) as refused:
        leadspan.Cache(CACHES / "format-2-exact").read(0, 1.0, ["prompt"])
    assert "holds the sections `chain_of_thought+answer`, but `prompt` is asked for" in str(refused.value)
    assert "leadspan precompute" in refused.value.hint and "hint: " in str(refused.value)


def test_damage_is_found_and_named(standard, tmp_path):
    copy = shutil.copytree(standard, tmp_path / "cache")
    shard = sorted(copy.glob("layers/*/train-000000.parquet"))[0]
    data = bytearray(shard.read_bytes())
    data[200] ^= 1
    shard.write_bytes(data)
    cache = leadspan.Cache(copy)
    with pytest.raises(leadspan.LeadspanValueError, match="train-000000.parquet` is damaged: the checksum") as refused:
        cache.read_many(range(len(cache)))
    assert "leadspan cache verify --repair" in refused.value.hint
    shard.unlink()
    with pytest.raises(leadspan.LeadspanError, match="missing"):
        leadspan.Cache(copy).read(0)
    assert len(leadspan.Cache(copy, allow_incomplete=True).read(0)) == 0


def test_exceptions_survive_being_passed_between_processes():
    error = leadspan.LeadspanOSError("could not open `a`", "look")
    error.errno = 2
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.hint) == (str(error), "look") == ("could not open `a`\nhint: look", "look")
    assert isinstance(again, OSError) and again.errno == 2
    assert issubclass(leadspan.LeadspanIndexError, (IndexError, leadspan.LeadspanError))


def test_a_refusal_of_the_system_has_its_number(standard, tmp_path):
    copy = shutil.copytree(standard, tmp_path / "cache")
    (copy / "identity.json").unlink()
    (copy / "identity.json").mkdir()
    with pytest.raises(leadspan.LeadspanError, match="identity.json"):
        leadspan.Cache(copy)


def test_a_cache_stays_the_same_folder_wherever_the_process_goes(standard, tmp_path, monkeypatch):
    monkeypatch.chdir(standard.parent)
    cache = leadspan.Cache(standard.name)
    assert cache.path == os.fspath(standard) and repr(cache) == f"<leadspan.Cache `{standard}`: 5 samples>"
    pickled = pickle.dumps(cache)
    monkeypatch.chdir(tmp_path)
    expected = leadspan.Cache(os.fsencode(standard)).read(0).logprobs.tobytes()
    assert cache.read(0).logprobs.tobytes() == pickle.loads(pickled).read(0).logprobs.tobytes() == expected
    with pytest.raises(leadspan.LeadspanValueError, match="is not a cache: it has no `identity.json`"):
        leadspan.Cache("")
    with pytest.raises(leadspan.LeadspanOSError, match="there is no folder `.*/nothing`") as missing:
        leadspan.Cache("nothing")
    assert missing.value.errno == errno.ENOENT


def test_a_cache_that_is_removed_while_it_is_open_reads_on_or_says_that_it_is_gone(standard, tmp_path):
    copy = shutil.copytree(standard, tmp_path / "cache")
    begun, unread = leadspan.Cache(copy), leadspan.Cache(copy)
    expected = begun.read(0).logprobs.tobytes()
    shutil.rmtree(copy)
    assert begun.read(0).logprobs.tobytes() == expected
    for cache, proportion in ((begun, 0.5), (unread, None)):
        with pytest.raises(leadspan.LeadspanValueError, match="cache` is not a cache: it has no `identity.json`"):
            cache.read(0, proportion)
    assert unread.samples.ids == begun.samples.ids


def test_a_missing_part_of_a_cache_is_named(standard, tmp_path):
    for part, said in [
        ("corpus", "has no prepared corpus"),
        ("layers", "holds no distributions yet"),
        ("identity.json", "it has no `identity.json`"),
    ]:
        copy = shutil.copytree(standard, tmp_path / f"without-{part}")
        lost = copy / part
        shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
        with pytest.raises(leadspan.LeadspanValueError, match=f"without-{part}` .*{said}") as refused:
            leadspan.Cache(copy).read(0)
        assert "leadspan precompute" in refused.value.hint


def test_opening_and_dropping_caches_leaves_nothing_behind(standard):
    def held():
        gc.collect()
        with open("/proc/self/maps") as maps:
            return len(os.listdir("/proc/self/fd")), sum(str(standard) in line for line in maps)

    before = held()
    for _ in range(40):
        cache = leadspan.Cache(standard)
        cache.read(0, 0.5)
        # A cycle, which only the garbage collector ends.
        cache.itself = cache
    del cache
    assert held() == before


def test_threads_and_pickled_caches_read_the_same(standard):
    cache = leadspan.Cache(standard)
    alone = [cache.read(index).logprobs.tobytes() for index in range(len(cache))]

    def read(index):
        return cache.read(index % len(cache)).logprobs.tobytes()

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, range(40))) == alone * 8
    again = pickle.loads(pickle.dumps(cache))
    assert again.path == os.fspath(standard)
    assert [span.logprobs.tobytes() for span in again.read_many(range(5), threads=3)] == alone
    assert pickle.loads(pickle.dumps(cache.samples)).ids == cache.samples.ids
    allowing = pickle.loads(pickle.dumps(leadspan.Cache(standard, allow_incomplete=True)))
    assert allowing._allow_incomplete


def test_a_signal_ends_a_long_read_before_everything_is_read(standard):
    cache = leadspan.Cache(standard)
    many = list(range(len(cache))) * 4000

    def processor_time(expected):
        began = time.process_time()
        with expected:
            cache.read_many(many, threads=2)
        return time.process_time() - began

    def interrupt(*_):
        raise KeyboardInterrupt

    whole = processor_time(contextlib.nullcontext())
    # By the process's own time, so that it does not matter what else the machine does.
    before = signal.signal(signal.SIGPROF, interrupt)
    try:
        signal.setitimer(signal.ITIMER_PROF, whole / 20)
        assert processor_time(pytest.raises(KeyboardInterrupt)) < whole / 2
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    assert len(cache.read_many(range(len(cache)))) == len(cache)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_read_after_their_parent_has(standard, method):
    cache = leadspan.Cache(standard)
    expected = lengths((cache, 0))
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        assert pool.map_async(lengths, [(cache, 0)] * 4).get(timeout=120) == [expected] * 4


def lengths(given):
    cache, first = given
    return [len(span) for span in cache.read_many(range(first, len(cache)), threads=2)]
