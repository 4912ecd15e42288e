#include <doctest/doctest.h>

#include "auth_files.hpp"
#include "sample.hpp"

using namespace pgproxy::config;

TEST_CASE("words are separated by blanks, and by commas within a field") {
  CHECK(AuthFiles("local  all\tall  trust\n\n  \nhost a,b c, d trust\r\n").text() ==
        "main:1: local all all trust\nmain:4: host a,b c,d trust\n");
  CHECK(AuthFiles("a ,b").text() == "main:1: a b\n");  // the comma came too late, as in PostgreSQL
  CHECK(AuthFiles("a,").text() == "main:1: a\n");
  CHECK(AuthFiles("").text() == "");
}

TEST_CASE("a comment runs to the end of its line, from wherever it begins") {
  CHECK(AuthFiles("# all of it\nlocal # rest\nall#rest\n").text() ==
        "main:2: local\nmain:3: all\n");
  CHECK(AuthFiles("\"a#b\" c").text() == "main:1: \"a#b\" c\n");
}

TEST_CASE("quotes keep blanks, commas and marks together, and are written twice for themselves") {
  CHECK(AuthFiles(R"("a b,c" "say ""hi""" x"y z"w "")").text() ==
        "main:1: \"a b,c\" \"say \"hi\"\" xy zw \"\"\n");
  CHECK(AuthFiles("\"a b\nc d").problems() == "main:1: a double quote is not closed\n");
}

TEST_CASE("a backslash at the end continues the line, and lines keep the number of their first") {
  CHECK(AuthFiles("local \\\n  all \\\r\nall trust\nhost\n").text() ==
        "main:1: local all all trust\nmain:4: host\n");
  CHECK(AuthFiles("a\\\nb").text() == "main:1: ab\n");
  CHECK(AuthFiles("# x \\\nnot read\nb").text() == "main:3: b\n");
  CHECK(AuthFiles("a \\").text() == "main:1: a\n");
  // As in PostgreSQL: the second line adds nothing, so what it ends with is not its own.
  CHECK(AuthFiles("a\\\\\n\nb").text() == "main:1: a\\\nmain:3: b\n");
}

TEST_CASE("included files stand where they are named") {
  MemoryFiles source("a\ninclude more/x.conf\ninclude_if_exists none\ninclude_dir more\nb\n");
  source.files["more/x.conf"] = "x\ninclude y.conf\n";
  source.files["more/y.conf"] = "y\n";
  const AuthFiles read(source);
  CHECK(read.problems() == "");
  CHECK(read.text() ==
        "main:1: a\nmore/x.conf:1: x\nmore/y.conf:1: y\nmore/x.conf:1: x\nmore/y.conf:1: y\n"
        "more/y.conf:1: y\nmain:5: b\n");
  CHECK(read.warnings() == "main:3: there is no \"none\"\n");
  CHECK(read.files == std::vector<std::string>{"main", "more/x.conf", "more/y.conf"});
}

TEST_CASE("what cannot be included is a problem of its line") {
  CHECK(AuthFiles("a\ninclude none\nlocal @none all\n").problems() ==
        "main:2: cannot read none\nmain:3: cannot read none\n");
  CHECK(AuthFiles("include main").problems() ==
        "main:1: \"main\": more than 10 files inside each other\n");
  // Twice in each of ten levels would be a thousand and more.
  const AuthFiles twice("include main\ninclude main\n");
  CHECK(contains(twice.problems(), "more than 1000 files"));
  CHECK(AuthFiles(std::string_view("a\0b\n", 4)).problems() ==
        "main:1: the line has a zero byte\n");
}

TEST_CASE("@file is replaced by the words in that file") {
  MemoryFiles source("local x,@d/names,\"@d/names\" y\nlocal @empty z\nlocal @ y\n");
  source.files["d/names"] = "a b # c\n\"d e\",@more\n";
  source.files["d/more"] = "f\n";
  source.files["empty"] = "# nobody\n";
  const AuthFiles read(source);
  CHECK(read.text() == "main:1: local x,a,b,\"d e\",f,\"@d/names\" y\nmain:3: local @ y\n");
  CHECK(read.problems() == "main:2: there is no word in what @ names\n");
}

TEST_CASE("the file itself not being there is a problem of the setting") {
  MemoryFiles source("");
  source.files.clear();
  CHECK(AuthFiles(source).problems() == "test.ini:3: auth_hba_file: cannot read main\n");
}

TEST_CASE("include_dir takes the .conf files of a directory on disk, sorted") {
  const TempDirectory directory;
  for (const char* name : {"b.conf", "a.conf", ".hidden.conf", "c.txt"}) directory.write(name, "x");
  const auto paths = files_on_disk().list(directory.path(""));
  REQUIRE(paths.has_value());
  REQUIRE(paths->size() == 2);
  CHECK((*paths)[0].ends_with("/a.conf"));
  CHECK((*paths)[1].ends_with("/b.conf"));
  CHECK_FALSE(files_on_disk().list(directory.path("none")).has_value());
}
