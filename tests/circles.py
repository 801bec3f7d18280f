#!/usr/bin/env python3
"""Lists circles of source files: files of one crate that use each other, directly or through others.

    tests/circles.py

A module and its own submodules may use each other; a circle that also goes through another file is an error, and the exit
code is 1. Names are followed through re-exports to the file that defines them. Modules under `#[cfg(test)]`, files named
`tests.rs` and folders named `tests` are left out.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def sources(root):
    """Module path, as a tuple of names, of every file below `root`."""
    modules = {}
    for file in sorted(root.rglob("*.rs")):
        parts = list(file.relative_to(root).with_suffix("").parts)
        if parts[-1] in ("mod", "lib", "main"):
            parts.pop()
        if "tests" not in parts:
            modules[tuple(parts)] = file
    return modules


# Comments, raw strings, strings, byte strings and chars, in the order in which they are tried; lifetimes stay.
TOKENS = re.compile(
    r"""//[^\n]*|/\*.*?\*/|b?r(?P<hashes>#*)".*?"(?P=hashes)|b?"(?:[^"\\]|\\.)*"|b?'(?:[^'\\\n]|\\[^\n]+?)'""", re.S
)


def code(file):
    """The text of a file without comments, strings and modules of tests."""
    text = TOKENS.sub(" ", file.read_text())
    while found := re.search(r"#\[cfg\(test\)\]\s*(?:#\[[^\n]*\]\s*)*(?:pub(?:\([^)]*\))? )?mod \w+ \{", text):
        depth, end = 1, found.end()
        while depth and end < len(text):
            depth += (text[end] == "{") - (text[end] == "}")
            end += 1
        text = text[: found.start()] + text[end:]
    return text


def split(tree):
    """The parts of `a, b::{c, d}` between commas that stand outside braces."""
    depth, start, parts = 0, 0, []
    for i, letter in enumerate(tree):
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            parts.append(tree[start:i])
            start = i + 1
    return [part.strip() for part in [*parts, tree[start:]] if part.strip()]


def leaves(tree):
    """Each name of a use tree, as its path and the name it gets."""
    if (brace := tree.find("{")) < 0:
        path, _, alias = tree.partition(" as ")
        names = [name.strip() for name in path.split("::") if name.strip()]
        if names[-1:] == ["self"]:
            names.pop()
        return [(names, alias.strip() or (names[-1] if names else ""))]
    prefix = [name.strip() for name in tree[:brace].split("::") if name.strip()]
    inner = tree[brace + 1 : tree.rindex("}")]
    return [(prefix + path, alias) for part in split(inner) for path, alias in leaves(part)]


class Crate:
    def __init__(self, root):
        self.modules = sources(root)
        self.code = {module: code(file) for module, file in self.modules.items()}
        self.exports = {module: {} for module in self.modules}
        self.uses = {module: [] for module in self.modules}
        for module, text in self.code.items():
            for public, tree in re.findall(r"\b(pub(?:\([^)]*\))? )?use ([^;]+);", text):
                for path, alias in leaves(" ".join(tree.split())):
                    self.uses[module].append(path)
                    self.exports[module].setdefault(alias, []).append((path, bool(public)))
            body = re.sub(r"\buse [^;]+;", "", text)
            self.uses[module] += [p.split("::") for p in re.findall(r"\b((?:crate|super|self)(?:::\w+)+)", body)]
            self.uses[module] += [p.split("::") for p in re.findall(r"(?<![\w:])([a-z_]\w*(?:::\w+)+)", body)]

    def resolve(self, module, path, seen=()):
        """The module that defines what `path` names in `module`, or `None` if that is in another crate."""
        if not path or (module, tuple(path)) in seen:
            return None
        seen = (*seen, (module, tuple(path)))
        here, rest = module, list(path)
        if rest[0] == "crate":
            here, rest = (), rest[1:]
        elif rest[0] in ("super", "self"):
            while rest and rest[0] in ("super", "self"):
                here, rest = (here[:-1] if rest[0] == "super" else here), rest[1:]
        elif (*here, rest[0]) not in self.modules:
            # A name that was imported here, or one of another crate.
            return self.follow(here, rest, seen)
        while rest and (*here, rest[0]) in self.modules:
            here, rest = (*here, rest[0]), rest[1:]
        if rest and (found := self.follow(here, rest, seen)):
            return found
        return here if here in self.modules else None

    def follow(self, module, path, seen):
        """The module that an import of `module` takes the first name of `path` from."""
        for imported, _ in self.exports.get(module, {}).get(path[0], []):
            if imported[0] != path[0] or len(imported) > 1:
                return self.resolve(module, imported + path[1:], seen)
        for imported, _ in self.exports.get(module, {}).get("*", []):
            source = self.resolve(module, imported[:-1], seen)
            if source is not None and re.search(rf"\b(?:fn|struct|enum|trait|type|const|static|mod) {path[0]}\b", self.code[source]):
                return source
        return None

    def edges(self):
        """The modules that each module uses."""
        graph = {module: set() for module in self.modules}
        for module, paths in self.uses.items():
            for path in paths:
                target = self.resolve(module, path[:-1] if path[-1] == "*" else path)
                if target is not None and target != module:
                    graph[module].add(target)
        return graph


def inside(module, folder):
    return module[: len(folder)] == folder


def between_folders(graph):
    """The graph without what modules use of their own submodules, and without what those use of them."""
    yield {module: {used for used in uses if not inside(used, module)} for module, uses in graph.items()}
    yield {module: {used for used in uses if not inside(module, used)} for module, uses in graph.items()}


def circles(graph):
    """Groups of more than one module that reach each other (Tarjan, Depth-first search and linear graph algorithms)."""
    order, low, stack, found = {}, {}, [], []

    def visit(node):
        order[node] = low[node] = len(order)
        stack.append(node)
        for target in graph[node]:
            if target not in order:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], order[target])
        if low[node] == order[node]:
            group = [stack.pop()]
            while group[-1] != node:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for node in graph:
        if node not in order:
            visit(node)
    return found


def main():
    failed = False
    for manifest in [*sorted(ROOT.glob("crates/*")), ROOT / "python"]:
        root = manifest / "src" if (manifest / "src").is_dir() else manifest
        crate = Crate(root)
        graph = crate.edges()
        if "--edges" in sys.argv:
            for module, targets in graph.items():
                print(manifest.name, "::".join(module), "->", *("::".join(target) for target in sorted(targets)))
        for group in [group for part in between_folders(graph) for group in circles(part)]:
            failed = True
            print(f"{manifest.relative_to(ROOT)}: these files use each other: " + ", ".join("::".join(m) or "lib" for m in group))
            for module in group:
                for target in sorted(graph[module] & set(group)):
                    print(f"    {'::'.join(module)} uses {'::'.join(target)}")
    sys.exit(failed)


main()
