"""The examples, on a golden cache, with the teacher that made it as the student."""

import pathlib
import re
import subprocess
import sys

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

EXAMPLES = pathlib.Path(__file__).resolve().parents[1] / "examples"
STUDENT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "tiny-teacher"


def run(example, cache, out, *more):
    command = [sys.executable, EXAMPLES / example, "--cache", cache, "--student", STUDENT, "--out", out, *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_plain_loop_learns_and_goes_on_where_it_was(standard, tmp_path):
    out = tmp_path / "out"
    more = ["--epochs", "2", "--batch-samples", "2", "--device", "cpu"]
    found = run("plain.py", standard, out, *more)
    # The student is the teacher: only rounding is left to learn.
    losses = [float(loss) for loss in re.findall(r"forward KL ([\d.]+)", found)]
    assert len(losses) == 2 and max(losses) < 0.01
    assert (out / "model.safetensors").exists() and (out / "tokenizer.json").exists()
    assert run("plain.py", standard, out, *more) == ""


def test_a_run_of_one_step_ends(standard, tmp_path):
    found = run("plain.py", standard, tmp_path / "out", "--epochs", "1", "--batch-samples", "8", "--device", "cpu")
    assert found.startswith("epoch 1: ")


def test_the_trainer_of_transformers_learns_and_goes_on_to_the_same_student(standard, tmp_path):
    pytest.importorskip("accelerate")
    more = ["--epochs", "2", "--batch-samples", "2", "--distillation-weight", "1", "--learning-rate", "1e-3"]
    found = run("trainer.py", standard, tmp_path / "out", *more)
    assert all(float(loss) < 0.1 for loss in re.findall(r"'eval_loss': '?([\d.e-]+)", found))
    student = tmp_path / "out" / "model.safetensors"
    expected = student.read_bytes()
    first, last = sorted((tmp_path / "out").glob("checkpoint-*"))
    assert (first / "model.safetensors").read_bytes() != expected == (last / "model.safetensors").read_bytes()
    # As a kill leaves them: the last checkpoint without what is written last, and no student.
    (last / "trainer_state.json").unlink()
    (last / "optimizer.pt").write_bytes(b"")
    student.unlink()
    found = run("trainer.py", standard, tmp_path / "out", *more)
    assert len(re.findall("'eval_loss'", found)) == 1 and student.read_bytes() == expected
