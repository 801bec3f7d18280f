"""The command `leadspan` of the package: exit codes, signals, children."""

import json
import os
import signal
import subprocess
import sys

import pytest

import leadspan

SCRIPT = os.path.join(os.path.dirname(sys.executable), "leadspan")
MAIN = os.path.join(os.path.dirname(leadspan.__file__), "__main__.py")
WAYS = [[SCRIPT], [sys.executable, "-m", "leadspan"], [sys.executable, MAIN]]


def run(command, *arguments, **settings):
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120, **settings)


@pytest.mark.parametrize("command", WAYS, ids=["script", "module", "file"])
def test_the_command_says_its_version_and_what_is_wrong(command, tmp_path):
    done = run(command, "--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"leadspan {leadspan.__version__}\n")
    wrong = run(command, "trian", cwd=tmp_path)
    assert wrong.returncode == 1 and "unrecognized subcommand 'trian'" in wrong.stderr
    assert "Usage: leadspan " in wrong.stderr
    missing = run(command, "cache", "inspect", "nothing", cwd=tmp_path)
    assert missing.returncode == 1 and "`nothing` is not a cache" in missing.stderr


def test_the_program_starts_without_numpy(tmp_path):
    (tmp_path / "numpy.py").write_text("raise ImportError('numpy is imported')")
    done = run([sys.executable, "-m", "leadspan"], "--version", env={**os.environ, "PYTHONPATH": os.fspath(tmp_path)})
    assert (done.returncode, done.stderr) == (0, "")
    assert "Cache" in dir(leadspan) and leadspan.Cache.__module__ == "leadspan._cache"
    with pytest.raises(AttributeError, match="module 'leadspan' has no attribute 'cash'"):
        leadspan.cash


def test_a_reader_that_goes_away_is_no_error(standard):
    started = subprocess.Popen([SCRIPT, "cache", "inspect", standard], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    started.stdout.close()
    assert (started.stderr.read(), started.wait(timeout=120)) == (b"", 0)


def test_a_result_is_written_whole_to_a_file(standard, tmp_path):
    with open(tmp_path / "out", "w+") as out:
        done = subprocess.run([SCRIPT, "cache", "inspect", "--json", standard], stdout=out, timeout=120)
        out.seek(0)
        assert done.returncode == 0 and json.loads(out.read())


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_program_with_its_own_exit_code(sent, tmp_path):
    # The first step of the quickstart is a child, which runs for longer than this takes.
    started = subprocess.Popen(
        [SCRIPT, "quickstart"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        for line in started.stdout:
            if line.lstrip().startswith("$ leadspan "):
                break
        started.send_signal(sent)
        out, log = started.communicate(timeout=60)
    finally:
        started.kill()
    assert started.returncode == 75, (out, log)
    assert "KeyboardInterrupt" not in log and "Traceback" not in log
    assert "run the same command again" in log
