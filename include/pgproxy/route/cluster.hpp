#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "pgproxy/route/catalog.hpp"
#include "pgproxy/route/cluster_view.hpp"
#include "pgproxy/route/write_fences.hpp"

namespace pgproxy::route {

/// What the clients of a loop go by when they choose a server of one list of hosts; kept up to date
/// by whoever asks the servers. Single threaded.
class Cluster {
 public:
  /// nullptr: nobody has been asked yet.
  const ClusterViewRef& view() const { return view_; }
  void set_view(ClusterViewRef view) {
    view_ = std::move(view);
    note_change();
  }

  // Read-your-writes. The primary is asked for its position again and again while somebody waits
  // for that; its answers have numbers.

  /// The number of the next question that will be sent: its answer covers what is acknowledged now.
  std::uint64_t next_question() const { return next_question_; }
  void set_next_question(std::uint64_t number) { next_question_ = number; }
  void on_primary_position(std::uint64_t number, WalPosition position) {
    fences_.answered(number, position);
    note_change();
  }
  /// nullopt: not known yet.
  std::optional<WalPosition> position_since(std::uint64_t question) const {
    return fences_.first_since(question);
  }
  /// A client that has written wants to read from a replica, and needs to know whether it may.
  void want_positions(TimePoint now) {
    wanted_at_ = now;
    if (!std::exchange(is_sampled_, true) && on_wanted_) on_wanted_();
  }
  TimePoint wanted_at() const { return wanted_at_; }
  bool is_sampled() const { return is_sampled_; }
  void end_sampling() { is_sampled_ = false; }
  void on_wanted(std::function<void()> callback) { on_wanted_ = std::move(callback); }

  // What the databases have, by their names at the servers.

  /// Has it asked for, and from then on again and again. What is pointed to is nullptr until it is
  /// known, and again when it may be another one; it stays where it is.
  const CatalogRef* want_catalog(const std::string& dbname) {
    const CatalogRef& catalog = catalogs_[dbname];
    if (wanted_catalogs_.insert(dbname).second && on_catalog_wanted_) on_catalog_wanted_(dbname);
    return &catalog;
  }
  void set_catalog(const std::string& dbname, CatalogRef catalog) {
    catalogs_[dbname] = std::move(catalog);
  }
  /// A client has changed what it tells of: it is void, and is asked for.
  void doubt_catalog(const std::string& dbname) {
    if (!wanted_catalogs_.contains(dbname)) return;
    catalogs_[dbname].reset();
    if (on_catalog_wanted_) on_catalog_wanted_(dbname);
  }
  /// None is asked for any more until it is wanted again, and none is known.
  void forget_catalogs() {
    for (auto& [dbname, catalog] : catalogs_) catalog.reset();
    wanted_catalogs_.clear();
  }
  void on_catalog_wanted(std::function<void(const std::string& dbname)> callback) {
    on_catalog_wanted_ = std::move(callback);
  }

  /// Called whenever a client that waits for a replica might find one.
  void on_change(std::function<void()> callback) { on_change_ = std::move(callback); }

 private:
  void note_change() {
    if (on_change_) on_change_();
  }

  ClusterViewRef view_;
  WriteFences fences_;
  std::uint64_t next_question_ = 1;
  TimePoint wanted_at_{};
  bool is_sampled_ = false;
  std::function<void()> on_wanted_;
  std::map<std::string, CatalogRef> catalogs_;
  std::set<std::string> wanted_catalogs_;
  std::function<void(const std::string&)> on_catalog_wanted_;
  std::function<void()> on_change_;
};

}  // namespace pgproxy::route
