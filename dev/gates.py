"""What the gates of dev/ share: the tree they look at, C without comments, and the self-test.

A gate is a check(root) that yields "path:line: what is wrong" and a list of plants: small trees
with a violation in them that the check must find. Each gate runs alone:

    dev/check-layers              looks at this repository; exit status 1 if something is wrong
    dev/check-layers --self-test  plants each violation in an empty tree and must find it
"""
import pathlib
import re
import sys
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
CODE = ("src", "include", "cli", "server", "bench", "tests")


def files(root, folders, endings):
    """Paths under root/folders with one of the endings, sorted; test data and builds are left out."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            name = path.relative_to(root).as_posix()
            if name.startswith("tests/golden/") or "/__pycache__/" in name:
                continue
            if path.is_file() and path.name.endswith(tuple(endings)):
                yield name, path.read_text(encoding="utf-8", errors="replace")


_TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def bare(text, keep_strings=False):
    """C without comments, and without the insides of strings; lines stay where they are."""
    def blank(match):
        token = match.group()
        if token[0] in "\"'":
            return token if keep_strings else token[0] * 2
        return " " + "\n" * token.count("\n")
    return _TOKEN.sub(blank, text)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def self_test(name, check, plants):
    missed = 0
    for what, tree, caught in plants:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for path, content in tree.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(content, encoding="utf-8")
            found = list(check(root))
        if bool(found) != caught:
            missed += 1
            print(f"{name}: {'missed' if caught else 'wrongly refused'}: {what}", *found, sep="\n  ")
    print(f"{name}: {len(plants) - missed} of {len(plants)} planted cases judged rightly")
    return 1 if missed or not plants else 0


def main(check, plants):
    """plants: (what, {path: content}, must it be caught)."""
    name = pathlib.Path(sys.argv[0]).name
    if sys.argv[1:] == ["--self-test"]:
        return self_test(name, check, plants)
    if sys.argv[1:]:
        print(f"usage: dev/{name} [--self-test]", file=sys.stderr)
        return 2
    found = list(check(REPOSITORY))
    for line in found:
        print(line)
    print(f"{name}: {len(found)} found" if found else f"{name}: fine")
    return 1 if found else 0
