// What the model's backends answer to pgproxy's question about their sessions (pool::question_sql).
#include "postgres.hpp"

namespace pgproxy::sim {
namespace {

/// Enough to have begun with the answer.
constexpr std::size_t bytes_before_death = 30;

std::optional<std::string> boolean(bool is_true) {
  return is_true ? "t" : "f";
}

}  // namespace

std::optional<Backend::Outcome> Backend::answer_question(const std::string& text) {
  if (text.find("pg_catalog.pg_depend") != std::string::npos) return ask_objects();
  if (text.starts_with("SELECT proname")) {
    answer_functions(text);
    return Outcome::done;
  }
  if (text.find("pg_catalog.pg_show_all_settings()") != std::string::npos) {
    answer_settings();
    return Outcome::done;
  }
  return std::nullopt;
}

Backend::Outcome Backend::ask_objects() {
  ++postgres_.questions_ever;
  if (!postgres_.question_faults.empty()) {
    const QuestionFault fault = postgres_.question_faults.front();
    postgres_.question_faults.pop_front();
    switch (fault) {
      case QuestionFault::error: error("XX000", "no answer", true); return Outcome::failed;
      case QuestionFault::timeout:
        error("57014", "canceling statement due to statement timeout", true);
        return Outcome::failed;
      case QuestionFault::garbage:
        row({"f"}, true);
        complete("SELECT 1");
        return Outcome::done;
      case QuestionFault::death: cut_after_bytes = bytes_before_death; break;
    }
  }
  if (postgres_.question_time == Duration{}) {
    answer_objects();
    return Outcome::done;
  }
  sleep_ = Sleep{.tag = {}, .is_question = true};
  postgres_.loop_.after(postgres_.question_time, [this, number = ++sleep_number_] {
    if (sleep_ && number == sleep_number_) finish_sleep(false);
  });
  return Outcome::sleeping;
}

void Backend::answer_objects() {
  row({boolean(session_->has_temporary_tables()), boolean(session_->has_locks()),
       boolean(session_->listens()), boolean(session_->has_cursors()),
       boolean(session_->has_statements()), std::to_string(session_->parsed_count()),
       session_->setting("role")},
      true);
  complete("SELECT 1");
}

/// One row for each volatile function among those asked for.
void Backend::answer_functions(const std::string& text) {
  put('T', "\0\0");
  Tokens tokens(text);
  for (tokens.skip_to("["); !tokens.at_end() && !tokens.take("]"); tokens.take(",")) {
    const std::string name = tokens.next();
    if (const auto source = volatile_source(name)) row({name, source}, false);
  }
  complete("SELECT 1");
}

void Backend::answer_settings() {
  put('T', "\0\0");
  for (const auto& [name, value] : session_->settings_of_session()) row({name, value}, false);
  complete("SELECT 1");
}

}  // namespace pgproxy::sim
