#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "app/tls.hpp"

#include "pgproxy/base/result.hpp"
#include "pgproxy/config/capacity.hpp"
#include "pgproxy/config/reload.hpp"
#include "pgproxy/control/capacity_questions.hpp"

namespace pgproxy::app {

/// RELOAD, SIGHUP and SET: the new configuration is read and checked beside the one that runs, the
/// servers are asked whether they have room for it, and then it is put in place as a whole, or not
/// at all. One at a time. On the loop's thread; files are read on a thread of the executor.
class Reload {
 public:
  /// A configuration that has passed.
  struct Accepted {
    config::Reload change;
    Tls tls;
    config::CapacityPlan plan;
    config::CapacityVerdict verdict;
  };
  struct Parts {
    control::Services services;
    const config::Loaded& running;
    std::string path;  ///< of the configuration file
    /// Puts it in place.
    std::function<void(Accepted)> apply;
  };
  /// What changed, a line each; or why nothing did.
  using Done = std::function<void(const Result<std::vector<std::string>>&)>;

  explicit Reload(Parts parts);
  ~Reload();

  /// `done` is called once, later. While another one is under way this waits for its end, and reads
  /// the file then, once for all who ask.
  void reload(Done done);
  /// Likewise with one setting of the running configuration changed; `value` as in the file.
  /// Refused at once while a reload is under way.
  void set(std::string_view name, std::string_view value, Done done);
  bool is_on() const { return done_ != nullptr; }

 private:
  class ReadJob;
  void begin(std::unique_ptr<ReadJob> job, std::string_view what, Done done);
  void on_read(config::Loaded loaded, Tls tls);
  void on_asked(const std::vector<config::ServerFacts>& facts);
  void refuse(Error error);
  void finish(const Result<std::vector<std::string>>& result);

  Parts parts_;
  std::unique_ptr<io::PendingJob> pending_;
  std::unique_ptr<Accepted> accepted_;
  std::unique_ptr<control::CapacityQuestions> questions_;
  std::string what_;  ///< "RELOAD", "SET pool_size = 5"
  Done done_;
  std::vector<Done> next_;  ///< who asked for a reload in the meantime
};

}  // namespace pgproxy::app
