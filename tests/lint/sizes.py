#!/usr/bin/env python3
"""Checks sizes: sizes.py ROOT. No file over 600 lines, no function over 70; exit status 1 if any."""

import pathlib
import re
import sys

MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 70
SOURCES = (".cpp", ".hpp", ".py", ".sh")

TOKEN = re.compile(
    r"""//[^\n]* | /\*.*?\*/ | R"(?P<mark>[^()\s]*)\(.*?\)(?P=mark)" |
        "(?:\\.|[^"\\\n])*" | (?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+' | ^[ \t]*\#(?:\\\n|[^\n])*""",
    re.VERBOSE | re.DOTALL | re.MULTILINE)
ACCESS = re.compile(r"\s*(?:(?:public|private|protected)\s*:\s*)*")
SCOPE = re.compile(r"""(?:template\s*<.*>\s*)?
                       (?:inline\s+)? (?:namespace|class|struct|union|extern) \b [^()=]* $""",
                   re.VERBOSE | re.DOTALL)


def blank(match):
    """Comments and directives become spaces, literals a word; lines keep their numbers."""
    filler = "x" if match.group(0)[0] in "\"'R" else " "
    return re.sub(r"[^\n]", filler, match.group(0))


def is_function(head):
    """Whether a brace behind this text opens a body, not an initialiser or an enum's list.

    clang-format puts a space before a body's brace and none in `: member_{` and `Type{`.
    """
    return "(" in head and not re.search(r"(\w|>|=\s*|,\s*|\()$", head)


def closing_brace(text, position):
    depth = 0
    for found in re.finditer(r"[{}]", text[position:]):
        depth += 1 if found.group(0) == "{" else -1
        if depth == 0:
            return position + found.start()
    return len(text) - 1


def functions(source):
    """Yields (first line, line count, first line's text) of every function; lambdas are its part."""
    text = TOKEN.sub(blank, source)
    head_start = position = 0
    while position < len(text):
        if text[position] in ";}":
            head_start = position + 1
        elif text[position] == "{":
            head_start = ACCESS.match(text, head_start, position).end()
            head = text[head_start:position]
            if SCOPE.match(head):
                head_start = position + 1
            else:
                position = closing_brace(text, position)
                if is_function(head):
                    count = text.count("\n", head_start, position) + 1
                    first_line = source[head_start:].split("\n")[0]
                    yield text.count("\n", 0, head_start) + 1, count, first_line
                    head_start = position + 1
        position += 1


def check_file(path, root):
    source = path.read_text()
    name = path.relative_to(root)
    lines = source.count("\n")
    if lines > MAX_FILE_LINES:
        yield f"{name}: {lines} lines, at most {MAX_FILE_LINES}"
    if path.suffix in (".cpp", ".hpp"):
        for first, count, words in functions(source):
            if count > MAX_FUNCTION_LINES:
                yield f"{name}:{first}: {count} lines, at most {MAX_FUNCTION_LINES}: {words}"


def check(root):
    problems, count = [], 0
    for top in ("include", "src", "tests", "bench", "scripts"):
        for path in sorted((root / top).rglob("*")):
            if path.is_file() and (path.suffix in SOURCES or path.parent.name == "scripts"):
                count += 1
                problems += check_file(path, root)
    if count == 0:
        problems.append(f"no source found under {root}")
    return problems


if __name__ == "__main__":
    found = check(pathlib.Path(sys.argv[1]).resolve())
    print("\n".join(found))
    sys.exit(1 if found else 0)
