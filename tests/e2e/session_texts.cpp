// What a client of the simulator says in a session of its own, and what it expects to hear: one
// statement per line, a tab, the answer. `session_texts seed client [setting=value …]`.
#include <cstdlib>
#include <fmt/format.h>

#include "random_texts.hpp"
#include "session.hpp"

using namespace pgproxy::sim;

namespace {

constexpr int statement_count = 300;

class Conversation {
 public:
  Conversation(std::uint64_t seed, unsigned client, const NameMap& startup)
      : random_(seed), client_(client), session_(cluster_, "tester", startup) {}

  void go_on() {
    const std::string text = next_text();
    const bool is_failed = status_ == 'E';
    if (text == "begin") {
      session_.begin();
      status_ = 'T';
      return print(text, "C:BEGIN");
    }
    if (text == "commit" && !is_failed) {
      session_.commit();
      status_ = 'I';
      return print(text, "C:COMMIT");
    }
    if (text == "rollback" || text == "commit") {
      session_.roll_back();
      status_ = 'I';
      return print(text, "C:ROLLBACK");
    }
    if (is_failed && !text.starts_with("rollback to")) return print(text, "E:25P02");
    run(text);
  }

 private:
  std::string next_text() {
    const auto dice = random_.below(100);
    if (dice < 15 && status_ == 'I') return has_savepoint_ = false, "begin";
    if (dice < 15 && status_ == 'T') return "commit";
    if (dice < 20 && status_ != 'I') return "rollback";
    if (dice < 25 && status_ == 'T') return has_savepoint_ = true, "savepoint s";
    if (dice < 30 && has_savepoint_ && status_ != 'I') return "rollback to savepoint s";
    if (dice < 32 && status_ == 'I') return "discard all";
    const std::string tag = "c" + std::to_string(client_) + "." + std::to_string(++number_);
    if (dice < 60) return random_setting_text(random_, tag);
    return dice < 85 ? random_object_text(random_, client_, tag)
                     : random_code_text(random_, client_, tag);
  }

  void run(const std::string& text) {
    session_.begin();
    const auto answer = session_.run(text);
    std::string tokens;
    for (const std::string& token : answer->tokens()) {
      tokens += (tokens.empty() ? "" : " ") + token;
    }
    const bool fails = !answer->sqlstate.empty();
    if (status_ == 'I') {
      fails ? session_.roll_back() : session_.commit();
    } else {
      status_ = fails ? 'E' : 'T';
    }
    print(text, tokens);
  }

  static void print(const std::string& text, const std::string& answer) {
    fmt::print("{}\t{}\n", text, answer);
  }

  Random random_;
  unsigned client_;
  Cluster cluster_;
  Session session_;
  char status_ = 'I';
  unsigned number_ = 0;
  bool has_savepoint_ = false;
};

}  // namespace

int main(int count, char** arguments) {
  if (count < 3) return 1;
  NameMap startup;
  for (int i = 3; i < count; ++i) {
    const std::string setting = arguments[i];
    const std::size_t equals = setting.find('=');
    startup[setting.substr(0, equals)] = setting.substr(equals + 1);
  }
  Conversation conversation(std::strtoull(arguments[1], nullptr, 10),
                            static_cast<unsigned>(std::atoi(arguments[2])), startup);
  for (int i = 0; i < statement_count; ++i) conversation.go_on();
}
