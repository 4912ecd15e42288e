#!/usr/bin/env python3
"""Checks who includes whom: layers.py ROOT. One line per forbidden include, exit status 1 if any."""

import pathlib
import re
import sys

# What a layer may include besides itself and base. The same table is in docs/ARCHITECTURE.md.
ALLOWED = {
    "base": "",
    "io": "",
    "wire": "",
    "sql": "",
    "config": "",
    "metrics": "",
    "auth": "wire config io",
    "pool": "wire auth io config metrics",
    "route": "sql config",
    "session": "wire sql auth pool route io config metrics",
    "control": "io config metrics route",
    "admin": "wire config metrics",
    "web": "config metrics",
    "net": "io config",
    "app": "io wire sql config metrics auth pool route session control admin web net",
}

# Third-party headers, and the only layers that may know the library.
THIRD_PARTY = [
    (r"spdlog/", "base"),
    (r"fmt/", " ".join(ALLOWED)),  # part of what base/log.hpp offers: everybody's way to format
    (r"pg_query(\.h|/)|protobuf-c/|xxhash\.h", "sql"),
    (r"ini\.h", "config"),
    (r"prometheus/", "metrics"),
    (r"openssl/", "auth net"),
    (r"security/pam|ldap\.h|stringprep\.h", "auth"),
    (r"(libpq-fe|libpq-events|postgres_ext)\.h", "control"),
    (r"civetweb|CivetServer|nlohmann/", "web"),
    (r"uv(\.h|/)", "net"),
    (r"CLI/|systemd/", "app"),
]
STANDARD = re.compile(r"[a-z_0-9]+$")  # <vector>, <cstdint>
POSIX = re.compile(
    r"((sys|netinet|arpa)/\w+|unistd|fcntl|grp|pwd|netdb|poll|pthread|signal|strings|regex|ifaddrs)\.h$")

INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')


def third_party_problem(layer, header):
    if STANDARD.match(header) or POSIX.match(header):
        return None
    for pattern, layers in THIRD_PARTY:
        if re.match(pattern, header):
            return None if layer in layers.split() else f"<{header}> belongs to: {layers}"
    return f"<{header}> is in no row of the table of third-party headers"


def own_header_problem(layer, header):
    parts = header.split("/")
    if parts[0] == "pgproxy":
        other = parts[1]
        if other == layer or other == "base" or other in ALLOWED[layer].split():
            return None
        return f"{layer} may not include {other}"
    if len(parts) > 1 and parts[0] in ALLOWED and parts[0] != layer:
        return f'"{header}" is private to {parts[0]}'
    return None


def problem(layer, bracket, header):
    if bracket == "<" and not header.startswith("pgproxy/"):
        return third_party_problem(layer, header)
    return own_header_problem(layer, header)


def check_file(path, layer, root):
    if layer not in ALLOWED:
        yield f"{path.relative_to(root)}: {layer} is not a layer"
        return
    for number, line in enumerate(path.read_text().splitlines(), 1):
        include = INCLUDE.match(line)
        text = include and problem(layer, *include.groups())
        if text:
            yield f"{path.relative_to(root)}:{number}: {text}"


def check(root):
    problems, count = [], 0
    for top in (root / "include" / "pgproxy", root / "src"):
        for path in sorted(top.rglob("*.[ch]pp")):
            count += 1
            problems += check_file(path, path.relative_to(top).parts[0], root)
    if count == 0:
        problems.append(f"no source found under {root}")
    return problems


if __name__ == "__main__":
    found = check(pathlib.Path(sys.argv[1]).resolve())
    print("\n".join(found))
    sys.exit(1 if found else 0)
