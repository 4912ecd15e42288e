#include "pgproxy/config/import.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "config/connection_string.hpp"
#include "config/entry.hpp"
#include "config/file.hpp"
#include "config/import_additions.hpp"
#include "config/ini_reader.hpp"
#include "config/table.hpp"
#include "config/text.hpp"

namespace pgproxy::config {

namespace {

struct Entry {
  std::string section;
  std::string name;
  std::string value;
  Origin at;
};

/// The entries that count: of several with one name the last one, as in PgBouncer.
class Collector final : public IniListener {
 public:
  bool on_section(std::string_view /*name*/, const Origin& /*at*/) override { return true; }
  void on_entry(std::string_view section, std::string_view name, std::string_view value,
                const Origin& at) override {
    const std::string_view place = section == "pgbouncer" ? "pgproxy" : section;
    std::erase_if(entries_,
                  [&](const Entry& known) { return known.section == place && known.name == name; });
    entries_.push_back({std::string(place), std::string(name), std::string(value), at});
  }
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  std::vector<Entry> entries_;
};

/// A name in front of the =, quoted where it must be.
std::string as_name(std::string_view name) {
  constexpr std::string_view plain =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.*-";
  const bool is_plain = name.find_first_not_of(plain) == std::string_view::npos;
  return is_plain ? std::string(name) : fmt::format("'{}'", name);
}

/// One pair of a connection string.
std::string as_pair(const KeyValue& pair) {
  std::string quoted;
  for (const char c : pair.value) quoted += c == '\'' ? "''" : std::string(1, c);
  const bool is_plain = pair.value.find_first_of(" \t'=") == std::string::npos;
  return fmt::format("{}={}", pair.key, is_plain ? quoted : fmt::format("'{}'", quoted));
}

std::string in_words(const Problem& problem) {
  return fmt::format("{}:{}: {}{}{}", problem.file, problem.line, problem.message,
                     problem.hint.empty() ? "" : ". ", problem.hint);
}

/// What others said may have lines of its own; a comment has not.
std::string as_remark(std::string text) {
  std::ranges::replace_if(text, [](char c) { return static_cast<unsigned char>(c) < ' '; }, ' ');
  return as_comment(text);
}

class Writer {
 public:
  Writer(const std::vector<Entry>& entries, const Additions& additions)
      : entries_(entries), additions_(additions) {}

  Imported write(const std::string& name) {
    result_.text = as_comment(fmt::format("Made from {} by pgproxy --import.", name));
    result_.text += as_comment(
        "NOT KEPT: what pgproxy cannot do as PgBouncer does. ADDED: what "
        "pgproxy wants to be told.");
    for (const std::string_view section : {"databases", "users", "pgproxy"}) write_section(section);
    write_added();
    write_unknown_sections();
    return std::move(result_);
  }

 private:
  void write_section(std::string_view section) {
    result_.text += fmt::format("\n[{}]\n", section);
    for (const Entry& entry : entries_) {
      if (entry.section != section) continue;
      if (section == "pgproxy") {
        write_setting(entry);
      } else {
        write_line(entry);
      }
    }
    if (section != "users") return;
    for (const auto& [name, line] : additions_.users) {
      result_.text += as_remark("ADDED. " + line.comment);
      result_.text += fmt::format("{} = {}\n", as_name(name), line.value);
    }
  }

  void write_setting(const Entry& entry) {
    const auto* row = find_setting(entry.name);
    if (row != nullptr && row->field.support == Support::no_effect) {
      result_.text += as_comment(fmt::format("Has no effect here. {}", row->doc));
      result_.text += fmt::format(";{} = {}\n", entry.name, entry.value);
    } else if (refuse(problems_of_entry(entry.section, entry.name, entry.value, entry.at))) {
      result_.text += fmt::format(";{} = {}\n", entry.name, entry.value);
    } else {
      result_.text += fmt::format("{} = {}\n", entry.name, entry.value);
      kept_.emplace_back(row->name);  // not its alias
    }
  }

  /// A line of [databases] or [users]: whole, or without the keys that cannot be taken over.
  void write_line(const Entry& entry) {
    const auto problems = problems_of_entry(entry.section, entry.name, entry.value, entry.at);
    if (problems.empty()) return write_kept_line(entry, entry.value);
    std::string kept;
    for (const KeyValue& pair :
         parse_connection_string(entry.value).value_or(std::vector<KeyValue>())) {
      const std::string text = as_pair(pair);
      const bool is_good = problems_of_entry(entry.section, entry.name, text, entry.at).empty();
      if (is_good) kept += fmt::format("{}{}", kept.empty() ? "" : " ", text);
    }
    refuse(problems);
    result_.text += ";";
    write_line(entry, entry.value);
    if (!kept.empty()) write_kept_line(entry, kept);
  }

  /// PgBouncer takes several hosts in turn, whatever they are.
  static bool has_several_hosts(std::string_view value) {
    const auto pairs = parse_connection_string(value).value_or(std::vector<KeyValue>());
    return std::ranges::any_of(
        pairs, [](const KeyValue& pair) { return pair.key == "host" && pair.value.contains(','); });
  }

  /// With the keys that are added to it.
  void write_kept_line(const Entry& entry, std::string value) {
    if (entry.section == "databases" && has_several_hosts(value)) {
      result_.text += as_comment(
          "ADDED. routing = off takes the hosts in turn, as PgBouncer does. Where they are a "
          "primary and its standbys, primary_only follows the primary, and read_only_transactions "
          "reads from the standbys.");
      value += " routing=off";
    }
    const auto added = additions_.entries.find(entry.name);
    if (entry.section != "databases" || added == additions_.entries.end()) {
      return write_line(entry, value);
    }
    result_.text += as_remark("ADDED. " + added->second.comment);
    write_line(entry, value + (value.empty() ? "" : " ") + added->second.value);
  }

  void write_line(const Entry& entry, std::string_view value) {
    result_.text += fmt::format("{} = {}\n", as_name(entry.name), value);
  }

  void write_added() {
    std::string_view section = "pgproxy";
    for (const Group& group : setting_groups()) {
      if (group.section != section) {
        result_.text += fmt::format("\n[{}]\n", section = group.section);
        if (section == "capacity") {
          for (const std::string& remark : additions_.remarks) result_.text += as_remark(remark);
        }
      }
      for (const auto& row : group.rows) {
        const bool is_kept = std::ranges::find(kept_, row.name) != kept_.end();
        const auto value = additions_.settings.find(row.name);
        if (is_kept) continue;
        if (value != additions_.settings.end()) {
          write_added(row, value->second);
        } else if (row.standard.must_be_given) {
          write_added(row);
        }
      }
    }
  }

  void write_added(const Row<Settings>& row, const Additions::Value& value) {
    result_.text += fmt::format("\n{}", as_comment(fmt::format("ADDED. {}", row.doc)));
    result_.text += as_remark(value.comment);
    result_.text += fmt::format("{} = {}\n", row.name, value.value);
  }

  void write_added(const Row<Settings>& row) {
    const std::string_view pgbouncers = row.extra.pgbouncers;
    const auto& standard = row.standard;
    result_.text += fmt::format("\n{}", as_comment(fmt::format("ADDED. {}", row.doc)));
    if (pgbouncers.empty()) {
      result_.text += as_comment(fmt::format("{}: {}.", standard.text, standard.reason));
    } else {
      result_.text +=
          as_comment(fmt::format("PgBouncer's default, which held so far. pgproxy "
                                 "proposes {}: {}.",
                                 standard.text, standard.reason));
    }
    result_.text +=
        fmt::format("{} = {}\n", row.name, pgbouncers.empty() ? standard.text : pgbouncers);
  }

  void write_unknown_sections() {
    for (const Entry& entry : entries_) {
      const auto& section = entry.section;
      if (section == "pgproxy" || section == "databases" || section == "users") continue;
      result_.text += "\n";
      refuse(problems_of_entry(section, entry.name, entry.value, entry.at));
      result_.text += fmt::format(";[{}] {} = {}\n", section, as_name(entry.name), entry.value);
    }
  }

  /// Notes what is wrong with an entry, if anything is.
  bool refuse(const std::vector<Problem>& problems) {
    for (const Problem& problem : problems) {
      result_.text += as_comment("NOT KEPT. " + in_words(problem));
      result_.problems.push_back(problem);
    }
    return !problems.empty();
  }

  const std::vector<Entry>& entries_;
  const Additions& additions_;
  std::vector<std::string> kept_;
  Imported result_;
};

/// What the servers add to the file; asks them when they can be told what it plans.
Additions additions_for(const std::function<Imported(const Additions&)>& write,
                        const AskServers& ask) {
  Additions none = unanswered_additions({});
  if (!ask) return none;
  const Loaded draft = load_text(write(none).text, "the new file");
  if (!draft.problems.empty()) {
    return unanswered_additions({.login = {},
                                 .servers = {},
                                 .reason = "this file has problems that are to be solved first"});
  }
  const ImportAnswers answers = ask(draft.settings);
  if (!answers.login) return unanswered_additions(answers);
  return answered_additions(draft.settings, answers,
                            [&](const Additions& additions) { return write(additions).text; });
}

}  // namespace

Imported import_text(std::string_view text, const std::string& name, const AskServers& ask) {
  Collector collector;
  Report report;
  const std::vector<std::string> files = read_ini(text, name, collector, report);
  const auto write = [&](const Additions& additions) {
    return Writer(collector.entries(), additions).write(name);
  };
  Imported imported = write(additions_for(write, ask));
  auto& problems = imported.problems;
  const std::vector<Problem> unread = report.sorted_problems(files);
  problems.insert(problems.begin(), unread.begin(), unread.end());
  const Loaded loaded = load_text(imported.text, "the new file");
  problems.insert(problems.end(), loaded.problems.begin(), loaded.problems.end());
  return imported;
}

Imported import_file(const std::string& path, const AskServers& ask) {
  const auto text = read_file(path);
  if (text) return import_text(*text, path, ask);
  return {.text = {}, .problems = {{.file = path, .message = text.error().message}}};
}

}  // namespace pgproxy::config
