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


def test_the_trainer_of_transformers_learns(standard, tmp_path):
    pytest.importorskip("accelerate")
    found = run("trainer.py", standard, tmp_path / "out", "--epochs", "1", "--batch-samples", "2", "--distillation-weight", "1")
    assert float(re.search(r"'eval_loss': '?([\d.e-]+)", found)[1]) < 0.01
    assert (tmp_path / "out" / "model.safetensors").exists()
