#include "pgproxy/config/pattern.hpp"

#include <doctest/doctest.h>

using namespace pgproxy::config;

namespace {

bool finds(std::string_view pattern, std::string_view subject) {
  const auto compiled = Pattern::compile(pattern);
  REQUIRE_MESSAGE(compiled.has_value(), (compiled ? "" : compiled.error().message));
  return compiled->find(subject).has_value();
}

/// What \1 stands for; "(none)" when it stands for nothing, "(no match)" otherwise.
std::string first_group(std::string_view pattern, std::string_view subject) {
  const auto match = Pattern::compile(pattern).value().find(subject);
  if (!match) return "(no match)";
  return match->has_group ? match->group : "(none)";
}

std::string error_of(std::string_view pattern) {
  const auto compiled = Pattern::compile(pattern);
  return compiled ? "" : compiled.error().message;
}

}  // namespace

TEST_CASE("a pattern is found anywhere unless it is anchored") {
  CHECK(finds("db", "mydb1"));
  CHECK_FALSE(finds("^db", "mydb1"));
  CHECK(finds("^my.*1$", "mydb1"));
  CHECK_FALSE(finds("DB", "mydb1"));
  CHECK(finds("^(a|bc)+$", "abcbca"));
  CHECK(finds("^a{2,3}$", "aaa"));
  CHECK_FALSE(finds("^a{2,3}$", "aaaa"));
  CHECK(finds("^a{2,}$", "aaaa"));
  CHECK(finds("^(|x)$", ""));
  CHECK(finds("^(x|)$", ""));
  CHECK(finds("^()a$", "a"));
}

TEST_CASE("PostgreSQL's class escapes mean what they mean there") {
  CHECK(finds(R"(^db\d{2,4}$)", "db123"));
  CHECK_FALSE(finds(R"(^db\d{2,4}$)", "dbddd"));
  CHECK(finds(R"(^\D$)", "d"));
  CHECK(finds(R"(^\w+$)", "a_9"));
  CHECK_FALSE(finds(R"(^\w$)", "-"));
  CHECK(finds(R"(^\W\s\S$)", "- x"));
  CHECK(finds(R"(\Aab\Z)", "ab"));
  CHECK_FALSE(finds(R"(\Aab\Z)", "xab"));
}

TEST_CASE("a backslash in front of punctuation takes its meaning, also what only GNU gives it") {
  CHECK(finds(R"(^a\.b$)", "a.b"));
  CHECK_FALSE(finds(R"(^a\.b$)", "axb"));
  CHECK(finds(R"(^\<a\>$)", "<a>"));
  CHECK(finds(R"(^\`\'$)", "`'"));
  CHECK(finds(R"(^\\\{\}\(\)\[\]\*\+\?\^\$\|$)", R"(\{}()[]*+?^$|)"));
  CHECK(finds("^a{b}$", "a{b}"));  // a brace without a digit is a brace
}

TEST_CASE("brackets") {
  CHECK(finds("^[a-c]+$", "abc"));
  CHECK_FALSE(finds("^[a-c]$", "d"));
  CHECK(finds("^[^a-c]$", "d"));
  CHECK(finds("^[]a]+$", "]a"));
  CHECK(finds("^[^]a]$", "b"));
  CHECK_FALSE(finds("^[^]a]$", "]"));
  CHECK(finds("^[-a]+$", "-a"));
  CHECK(finds("^[a-]+$", "-a"));
  CHECK(finds("^[[:alpha:]_.-]+$", "a_b.c-d"));
  CHECK(finds(R"(^[\d.]+$)", "1.2"));
  CHECK_FALSE(finds(R"(^[\d.]+$)", "d"));
  CHECK(finds(R"(^[\]\\^[-]+$)", R"(]\^[-)"));
  CHECK(finds("^[[.-.]a]+$", "a-"));
  CHECK(finds("^[x^]$", "^"));
  CHECK(finds(R"(^[\^]$)", "^"));
  CHECK(finds(R"(^[\^-]+$)", "^-"));
  CHECK(finds("^[[:digit:][:upper:]]+$", "A1"));
  for (const char c : std::string_view("^-[]")) {
    CAPTURE(c);
    CHECK_FALSE(finds("^[^]^[-]$", std::string{c}));
  }
  CHECK(finds("^[^]^[-]$", "\xff"));
}

TEST_CASE("it works on bytes, as PostgreSQL does before it knows a database") {
  CHECK(finds("^..$", "\xc3\xa9"));
  CHECK(finds("^\xc3\xa9$", "\xc3\xa9"));
  CHECK_FALSE(finds("^[[:alpha:]]+$", "\xc3\xa9"));
}

TEST_CASE("the first capturing group is what \\1 stands for") {
  CHECK(first_group("^(.*)@example\\.com$", "joe@example.com") == "joe");
  CHECK(first_group("^(.*)@example\\.com$", "joe@example_com") == "(no match)");
  CHECK(first_group("^(?:a|b)(c+)", "bccd") == "cc");
  CHECK(first_group("^(a)|b$", "b") == "(none)");
  CHECK(first_group("^x$", "x") == "(none)");
  CHECK(first_group("^(.*)@x$", "@x") == "(none)");
  CHECK(Pattern::compile("(a)")->has_group());
  CHECK_FALSE(Pattern::compile("(?:a)")->has_group());
}

TEST_CASE("a first group under a quantifier is told apart") {
  for (const std::string_view text : {"(a)+", "((a))*", "(?:x(a)y){2}", "(a)?(b)"}) {
    CAPTURE(text);
    CHECK(Pattern::compile(text)->is_group_repeated());
  }
  for (const std::string_view text : {"(a+)", "(a)b+", "(a)(b)+", "(?:a)+(b)", "a+"}) {
    CAPTURE(text);
    CHECK_FALSE(Pattern::compile(text)->is_group_repeated());
  }
}

TEST_CASE("what would mean something else here is refused") {
  CHECK(error_of(R"((a)\1)") == "\\1: back references are not supported");
  CHECK(error_of("a*?") == "non-greedy quantifiers are not supported");
  CHECK(error_of("(?=a)") ==
        "(?: of these only (?:...) is supported, no look-around and no options");
  CHECK(error_of("(?i)a") != "");
  CHECK(error_of("***=a") == "*: there is nothing to repeat");
  for (const std::string_view text : {R"(\y)", R"(\m)", R"(\n)", R"(\x41)", R"([\n])", R"([\D])"}) {
    CAPTURE(text);
    CHECK(error_of(text) != "");
  }
}

TEST_CASE("a repeated part neither may be empty nor has an anchor") {
  for (const std::string_view text : {"(a*)*", "(|a)+", "(a|b?)*", "(a?b*)+", "((a|)b*){2}", "()?",
                                      "(a{0,1})+", "(a(b|c)*|d*)+"}) {
    CAPTURE(text);
    CHECK(error_of(text) == "a repeated part may be empty");
  }
  for (const std::string_view text : {"^(_)(|^[^A])+", "(a|^b)*", "((a$))+", "(\\Aa)?"}) {
    CAPTURE(text);
    CHECK(error_of(text) == "a repeated part has a ^ or $ in it");
  }
  CHECK(finds("^(a+)*$", "aa"));
  CHECK(finds("^(a|b?c)+$", "abcc"));
  CHECK(finds("^(a*b)+(c*)$", "aabb"));
  CHECK(finds("^((x*)y|z)+$", "xyz"));
}

TEST_CASE("what is wrong is refused") {
  for (const std::string_view text : {"",
                                      "(",
                                      ")",
                                      "a)",
                                      "(a",
                                      "[",
                                      "[a",
                                      "[]",
                                      "[^",
                                      "a**",
                                      "a+*",
                                      "^*",
                                      "$+",
                                      "(*a)",
                                      "a|*b",
                                      "a{2",
                                      "a{2,1}",
                                      "a{256}",
                                      "a{1,2",
                                      "a{1,x}",
                                      "\\",
                                      "[b-a]",
                                      "[[:nothing:]]",
                                      "[[:alpha:",
                                      "[a-c-e]",
                                      "[[:alpha:]-z]x["}) {
    CAPTURE(text);
    CHECK(error_of(text) != "");
  }
  CHECK(error_of(std::string_view("a\0b", 3)) == "it has a zero byte");
}

TEST_CASE("neither compiling nor matching runs away") {
  CHECK(error_of("((a{99}){99}){99}") == "it is too large when its repeats are written out");
  CHECK(error_of(std::string(2000, 'a')) == "it has 2000 bytes, at most 1024 are allowed");
  CHECK(error_of(std::string(50, '(') + "a" + std::string(50, ')')) != "");
  CHECK_FALSE(finds("^(a+)*b$", std::string(1000, 'a')));
  CHECK_FALSE(finds("^((a|aa)+)+b$", std::string(1000, 'a')));
  CHECK_FALSE(finds(".*.*.*.*.*x", std::string(1000, 'a')));
  CHECK_FALSE(finds("(a|b)*a(a|b){100}c", std::string(1000, 'a')));
  CHECK_FALSE(finds("a", std::string(Pattern::max_subject_bytes + 1, 'a')));
  CHECK_FALSE(finds("a", std::string_view("a\0", 2)));
}
