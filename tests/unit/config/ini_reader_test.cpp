#include "config/ini_reader.hpp"

#include <doctest/doctest.h>

#include "sample.hpp"

using namespace pgproxy::config;

namespace {

/// Writes down what it is told, one line each.
struct Recorder final : IniListener {
  bool on_section(std::string_view name, const Origin&) override {
    seen += "[" + std::string(name) + "]\n";
    return name != "unknown";
  }
  void on_entry(std::string_view section, std::string_view name, std::string_view value,
                const Origin& at) override {
    seen += std::to_string(at.line) + " " + std::string(section) + ": " + std::string(name) +
            " -> " + std::string(value) + "\n";
  }
  std::string seen = {};
};

struct Read {
  std::string seen;
  std::string problems;
};

Read read(std::string_view text, const std::string& name = "test.ini") {
  Recorder recorder;
  Report report;
  const auto files = read_ini(text, name, recorder, report);
  Read result{.seen = recorder.seen, .problems = {}};
  for (const Problem& problem : report.sorted_problems(files)) {
    result.problems += format_problem(problem) + "\n";
  }
  return result;
}

}  // namespace

TEST_CASE("indented lines are entries and headers, not continuations") {
  CHECK(read("  [a]\n\tx = 1\n    y = 2\n  [b]\n  z=3").seen ==
        "[a]\n2 a: x -> 1\n3 a: y -> 2\n[b]\n5 b: z -> 3\n");
}

TEST_CASE("a value is the rest of its line, whatever is in it") {
  CHECK(read("[a]\nx = 1 ; 2 # 3 : 4 = [5] %41 + ' \"\n").seen ==
        "[a]\n2 a: x -> 1 ; 2 # 3 : 4 = [5] %41 + ' \"\n");
  CHECK(read("[a]\nx =   \ny=\n").seen == "[a]\n2 a: x -> \n3 a: y -> \n");
}

TEST_CASE("comments start a line, after blanks") {
  CHECK(read("; a\n# b\n  ; c\n\t# d\n\n[a]\n;x = 1\n").seen == "[a]\n");
}

TEST_CASE("long lines arrive whole") {
  for (const char c : {'x', ';', '%'}) {
    for (const std::size_t length :
         {150u, 190u, 195u, 196u, 197u, 198u, 199u, 200u, 201u, 100'000u}) {
      const std::string value(length, c);
      CHECK(read("[a]\nk = " + value + "\nl = 1\n").seen ==
            "[a]\n2 a: k -> " + value + "\n3 a: l -> 1\n");
    }
  }
  const std::string blanks = "x" + std::string(500, ' ') + "y";
  CHECK(read("[a]\nk=" + blanks).seen == "[a]\n2 a: k -> " + blanks + "\n");
}

TEST_CASE("names: quoted ones hold anything, others letters, digits and _ . * -") {
  CHECK(read("[a]\n'my = db;: [x]' = 1\n* = 2\n'+' = 3\n").seen ==
        "[a]\n2 a: my = db;: [x] -> 1\n3 a: * -> 2\n4 a: + -> 3\n");
  const std::string longest(63, '!');
  CHECK(read("[a]\n'" + longest + "' = 1\n").seen == "[a]\n2 a: " + longest + " -> 1\n");
  CHECK(contains(read("[a]\n'!" + longest + "' = 1\n").problems, "63 bytes at most"));
  CHECK(
      contains(read("[a]\nmy db = 1\n").problems, "test.ini:2: \"my db\": a name like this must"));
  CHECK(contains(read("[a]\n\"my db\" = 1\n").problems, "single quotes"));
  CHECK(contains(read("[a]\n+ = 1\n").problems, "must be quoted"));
}

TEST_CASE("syntax errors name their line and the rest is read") {
  const Read result = read(
      "[a]\nlisten_port: 6432\n= 1\n'x = 1\n'x' 1\n'' = 1\n[b\n[c] d\nx = 1\n%set x\n%include\n"
      "%includex\n[unknown]\nx = 1\njunk\n[d]\nlast = 1\n");
  CHECK(result.problems ==
        "test.ini:2: \"listen_port: 6432\": want name = value\n"
        "test.ini:3: there is no name before =\n"
        "test.ini:4: a quoted name has no closing quote\n"
        "test.ini:5: \"x\": want = after the quoted name\n"
        "test.ini:6: there is no name before =\n"
        "test.ini:7: \"[b\": want a section header, [name]\n"
        "test.ini:8: \"[c] d\": want a section header, [name]\n"
        "test.ini:10: \"%set x\": the only line that starts with % is \"%include FILE\"\n"
        "test.ini:11: \"%include\": the only line that starts with % is \"%include FILE\"\n"
        "test.ini:12: \"%includex\": the only line that starts with % is \"%include FILE\"\n");
  CHECK(result.seen == "[a]\n[unknown]\n[d]\n17 d: last -> 1\n");
}

TEST_CASE("files of other systems: CRLF, byte order mark, no newline at the end") {
  CHECK(read("\xEF\xBB\xBF[a]\r\nx = 1\r\n\r\ny = 2").seen == "[a]\n2 a: x -> 1\n4 a: y -> 2\n");
}

TEST_CASE("binary data is an error, not a crash") {
  using namespace std::string_view_literals;
  CHECK(read("[a]\nx = 1\ny = \0\n"sv).problems ==
        "test.ini:3: NUL byte: this is not a text file\n");
  std::string bytes;
  for (int i = 1; i < 256; ++i) bytes += static_cast<char>(i);
  CHECK_FALSE(read(bytes + bytes).problems.empty());
}

TEST_CASE("%include reads another file in place and problems name that file") {
  const TempDirectory directory;
  const std::string inner = directory.write("inner", "y = 2\nbad\n[b]\nz = 3\n");
  const Read result = read("[a]\nx = 1\n  %include " + inner + "  \nw = 4\nworse\n");
  CHECK(result.seen == "[a]\n2 a: x -> 1\n1 a: y -> 2\n[b]\n4 b: z -> 3\n4 b: w -> 4\n");
  CHECK(result.problems ==
        "test.ini:5: \"worse\": want name = value\n" + inner + ":2: \"bad\": want name = value\n");
}

TEST_CASE("%include: cycles, missing files, directories and endless ones are told") {
  const TempDirectory directory;
  const std::string one = directory.path("one");
  const std::string two = directory.path("two");
  directory.write("one", "%include " + two + "\n[a]\nx = 1\n");
  directory.write("two", "%include " + one + "\n");
  CHECK(read("%include " + one).problems ==
        two + ":1: %include \"" + one +
            "\": that file is being read already, so it would include itself for ever\n");
  CHECK(contains(read("%include " + directory.path("none")).problems, "No such file"));
  CHECK(contains(read("%include " + directory.path(".")).problems, "Is a directory"));
  CHECK(contains(read("%include /dev/zero").problems, "File too large"));
}

TEST_CASE("%include goes ten files deep") {
  const TempDirectory directory;
  directory.write("10", "[deep]\n");
  for (int i = 9; i >= 1; --i) {
    directory.write(std::to_string(i), "%include " + directory.path(std::to_string(i + 1)) + "\n");
  }
  directory.write("0", "%include " + directory.path("1") + "\n");
  CHECK(read("%include " + directory.path("1")).seen == "[deep]\n");
  CHECK(contains(read("%include " + directory.path("0")).problems, "more than 10 files"));
}
