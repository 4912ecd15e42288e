#!/usr/bin/env python3
"""The lint programs find what they are for, and nothing else."""

import pathlib
import tempfile
import unittest

import layers
import sizes


def tree(files):
    root = tempfile.TemporaryDirectory()
    for name, text in files.items():
        path = pathlib.Path(root.name, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def problems_of(check, files):
    with tree(files) as root:
        return check(pathlib.Path(root))


class Layers(unittest.TestCase):
    def includes(self, path, header):
        return problems_of(layers.check, {path: f"#include {header}\n"})

    def test_an_edge_of_the_table_is_allowed(self):
        self.assertEqual([], self.includes("src/pool/a.cpp", '"pgproxy/wire/message.hpp"'))
        self.assertEqual([], self.includes("src/wire/a.cpp", '"pgproxy/base/bytes.hpp"'))
        self.assertEqual([], self.includes("include/pgproxy/app/a.hpp", '"pgproxy/net/loop.hpp"'))

    def test_an_edge_that_is_not_in_the_table_is_named_with_its_line(self):
        self.assertEqual(["src/wire/a.cpp:1: wire may not include pool"],
                         self.includes("src/wire/a.cpp", '"pgproxy/pool/pool.hpp"'))
        self.assertEqual(1, len(self.includes("src/session/a.cpp", '"pgproxy/net/loop.hpp"')))
        self.assertEqual(1, len(self.includes("include/pgproxy/base/a.hpp", "<pgproxy/io/loop.hpp>")))

    def test_a_private_header_stays_in_its_layer(self):
        self.assertEqual([], self.includes("src/net/a.cpp", '"net/uv_handle.hpp"'))
        self.assertEqual([], self.includes("src/net/a.cpp", '"uv_handle.hpp"'))
        self.assertEqual(1, len(self.includes("src/app/a.cpp", '"net/uv_handle.hpp"')))

    def test_a_library_stays_in_its_layer(self):
        for path, header in [("src/net/a.cpp", "<uv.h>"), ("src/config/a.cpp", "<ini.h>"),
                             ("src/auth/a.cpp", "<openssl/evp.h>"), ("src/net/a.cpp", "<sys/socket.h>"),
                             ("src/base/a.cpp", "<spdlog/spdlog.h>"), ("src/app/a.cpp", "<CLI/CLI.hpp>")]:
            self.assertEqual([], self.includes(path, header))
        for path, header in [("src/pool/a.cpp", "<uv.h>"), ("src/app/a.cpp", "<libpq-fe.h>"),
                             ("src/app/a.cpp", "<openssl/evp.h>"), ("src/wire/a.cpp", "<spdlog/spdlog.h>"),
                             ("src/base/a.cpp", "<ini.h>"), ("src/base/a.cpp", "<boost/asio.hpp>")]:
            self.assertEqual(1, len(self.includes(path, header)), f"{path} {header}")

    def test_an_unknown_layer_and_an_empty_tree_are_problems(self):
        self.assertEqual(1, len(problems_of(layers.check, {"src/util/a.cpp": ""})))
        self.assertEqual(1, len(problems_of(layers.check, {"README.md": ""})))


def function_of(lines):
    return "int f(int a) {\n" + "  ++a;\n" * (lines - 2) + "}\n"


class Sizes(unittest.TestCase):
    def sizes_of(self, source):
        return [(first, count) for first, count, _ in sizes.functions(source)]

    def test_the_limits_hold_to_the_line(self):
        self.assertEqual([], problems_of(sizes.check, {"src/a.cpp": function_of(70)}))
        self.assertEqual(1, len(problems_of(sizes.check, {"src/a.cpp": function_of(71)})))
        self.assertEqual([], problems_of(sizes.check, {"src/a.hpp": "\n" * 600}))
        self.assertEqual(1, len(problems_of(sizes.check, {"src/a.hpp": "\n" * 601})))
        self.assertEqual(1, len(problems_of(sizes.check, {"README.md": ""})))

    def test_functions_are_found_in_namespaces_and_classes(self):
        source = "namespace a::b {\nclass C final : public D {\n public:\n  C() : x_{1}, y_(2) {\n  }\n};\n"
        self.assertEqual([(4, 2)], self.sizes_of(source + "enum class E { one, two };\n}\n"))

    def test_a_lambda_belongs_to_its_function(self):
        self.assertEqual([(1, 5)], self.sizes_of("void f() {\n  g([] {\n    h();\n  });\n}\n"))

    def test_initialisers_are_not_functions(self):
        self.assertEqual([], self.sizes_of("constexpr T table[] = {\n  {g(1)},\n};\nA a{f(1)};\n"))
        self.assertEqual([(1, 2)], self.sizes_of("void f(A a = {}, B b = B{}) {\n}\n"))

    def test_braces_in_comments_and_literals_do_not_count(self):
        source = "void f() {\n  a = '{';  // {\n  b = \"{\\\"{\";\n  c = R\"x({)x\";\n}\nvoid g() {\n}\n"
        self.assertEqual([(1, 5), (6, 2)], self.sizes_of(source))
        self.assertEqual([(3, 2)], self.sizes_of("#define X(a) { \\\n  {\nvoid g() {\n}\n"))


if __name__ == "__main__":
    unittest.main()
