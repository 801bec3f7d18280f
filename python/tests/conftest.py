"""The golden caches, with what an independent reader found in them."""

import json
import pathlib

import pytest

CACHES = pathlib.Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "caches"
NAMES = sorted(folder.name for folder in CACHES.glob("format-*"))


@pytest.fixture(params=NAMES)
def golden(request):
    """The folder of a cache, and what it holds by sample id and position."""
    folder = CACHES / request.param
    rows = map(json.loads, (folder / "expected.jsonl").read_text().splitlines())
    return folder, {(row["sample_id"], row["position"]): row for row in rows}


@pytest.fixture
def standard():
    """The folder of a cache with temperatures, of five samples."""
    return CACHES / "format-2-standard"
