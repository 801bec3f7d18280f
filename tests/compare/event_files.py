"""Trains a tiny student, kills the run with SIGKILL in the middle, resumes it, and reads its event files with TensorBoard.

event_files.sh calls it in an empty folder: event_files.py PROGRAM
"""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

PIPELINE = """
teacher.model = "teacher"
student = { model = "teacher", layers = [0] }
data = { files = ["text.jsonl"], format = "columns", validation = 4, seed = 7 }
cache = { dir = "cache", top_k = 8, samples_per_shard = 10 }
train = { dir = "run", epochs = 200, checkpoint_steps = 10, learning_rate = 1e-3 }
"""


def lines():
    path = Path("run/metrics.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main():
    program = sys.argv[1]
    fixtures = Path(__file__).resolve().parents[1] / "fixtures"
    shutil.copytree(fixtures / "tiny-teacher", "teacher")
    shutil.copy(fixtures / "tiny-teacher-text.jsonl", "text.jsonl")
    Path("pipeline.toml").write_text(PIPELINE)
    subprocess.run([program, "precompute", "-c", "pipeline.toml", "--log-level", "error"], check=True)
    train = [program, "train", "-c", "pipeline.toml", "--log-level", "error"]
    process = subprocess.Popen(train)
    while process.poll() is None and len(lines()) < 60:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    killed = process.wait() == -signal.SIGKILL
    subprocess.run(train, check=True)

    read = EventAccumulator("run/tensorboard", size_guidance={"scalars": 0})
    read.Reload()
    shown = {}
    for tag in read.Tags()["scalars"]:
        for event in read.Scalars(tag):
            if (tag, event.step) in shown:
                sys.exit(f"{tag} is there twice at step {event.step}")
            shown[tag, event.step] = event.value
    logged = {}
    for line in lines():
        group = {"step": "train", "validation": "held_out"}[line["event"]]
        for name, value in line.items():
            if isinstance(value, (int, float)) and name not in ("step", "steps"):
                logged[f"{group}/{name}", line["step"]] = float(numpy.float32(value))
    if shown != logged:
        differing = {key for key in shown.keys() | logged.keys() if shown.get(key) != logged.get(key)}
        sys.exit(f"{len(differing)} of {len(logged)} numbers differ, one of them {min(differing)}")
    files = len(list(Path("run/tensorboard").iterdir()))
    if not killed or files != 2:
        sys.exit("the run ended before it was killed")
    print(f"{len(logged)} numbers under {len({tag for tag, _ in logged})} names, from {files} event files: all as in metrics.jsonl")


main()
