"""A program that is killed."""

import subprocess


def killed(program, seconds, *arguments):
    """Runs the program, kills it with signal 9 after so many seconds, and returns whether it was still running then."""
    process = subprocess.Popen([program, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False
