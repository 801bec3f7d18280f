#!/usr/bin/env python3
"""Checks the links of all documents: every relative link of a tracked *.md leads to a tracked file or folder, and a part of
one (`#...`) to a heading of it, as GitHub names headings.

    python3 tests/links.py

Links to other sites are not followed. Exit code 1 if a link leads nowhere; each is printed with its file and line.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Fixtures are documents of other programs.
LEFT_OUT = "tests/fixtures/data-sets"
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+(?:\([^()]*\))?[^()\s]*)\)", re.S)


def prose(text):
    """A document whose code is blank, with the same lines."""
    blank = lambda found: re.sub(r"[^\n]", " ", found[0])
    text = re.sub(r"^(```|~~~).*?^\1", blank, text, flags=re.S | re.M)
    # A link's text may be code, its target is none.
    return re.sub(r"`[^`\n]*`", lambda found: "x" * len(found[0]), text)


def headings(path):
    """The names by which links reach the headings of a document."""
    names, text = [], re.sub(r"^(```|~~~).*?^\1", "", path.read_text(), flags=re.S | re.M)
    for heading in re.findall(r"^#{1,6} +(.*?) *#* *$", text, flags=re.M):
        heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", heading).replace(" ", "-")
        names.append(f"{name}-{names.count(name)}" if name in names else name)
    return names


def problems(documents, tracked):
    """What is wrong with each link, with its place."""
    for document in documents:
        text = prose(document.read_text())
        for found in LINK.finditer(text):
            target, _, part = found[1].partition("#")
            if re.match(r"[a-z][a-z0-9+.-]*:", target):
                continue
            place = f"{document.relative_to(ROOT)}:{text.count(chr(10), 0, found.start(1)) + 1}"
            path = (document.parent / target).resolve() if target else document
            if path not in tracked:
                yield f"{place}: there is no `{found[1]}`"
            elif part and path.suffix == ".md" and part not in headings(path):
                yield f"{place}: `{target or document.name}` has no heading `#{part}`"


def main():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    files = [ROOT / name for name in listed.split("\0") if name]
    tracked = {folder for file in files for folder in (file, *file.parents)}
    documents = [file for file in files if file.suffix == ".md" and LEFT_OUT not in str(file) and file.exists()]
    wrong = list(problems(documents, tracked))
    print("\n".join(wrong) or f"{len(documents)} documents, and all links between them hold")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
