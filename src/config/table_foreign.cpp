#include "config/field.hpp"
#include "config/table.hpp"

namespace pgproxy::config {

namespace {

using enum Apply;

constexpr Field<Settings> kLater = later<Settings>();
constexpr Field<Settings> kNoEffect = no_effect<Settings>();
constexpr std::string_view kPgBouncers = "PgBouncer's";
constexpr std::string_view kDns = "Names are resolved anew for each connection to a server.";
constexpr std::string_view kNoSyslog = "There is no syslog in this version.";
constexpr Row<Settings> kRows[] = {
    {"auth_ldap_options",
     kLater,
     {"", kPgBouncers},
     on_reload,
     "There is no auth_type = ldap yet.",
     {.secret = true}},
    {"dns_max_ttl", kLater, {"15", kPgBouncers}, on_reload, kDns},
    {"dns_nxdomain_ttl", kLater, {"15", kPgBouncers}, on_reload, kDns},
    {"dns_zone_check_period", kLater, {"0", kPgBouncers}, on_reload, kDns},
    {"resolv_conf", kLater, {"", kPgBouncers}, on_restart, kDns},
    {"track_extra_parameters",
     kLater,
     {"IntervalStyle", kPgBouncers},
     on_restart,
     "What the server reports follows the client in any case.",
     {.also = ""}},
    {"query_wait_notify",
     kLater,
     {"5", kPgBouncers},
     on_reload,
     "Waiting clients get no notice in this version.",
     {.also = "0"}},
    {"login_notify_message", kLater, {"", kPgBouncers}, on_reload, "Clients get no notice."},
    {"pool_idle_timeout", kLater, {"0", kPgBouncers}, on_reload, "Empty pools stay."},
    {"application_name_add_host",
     kLater,
     {"0", kPgBouncers},
     on_reload,
     "The application name goes to the server as the client gives it."},
    {"disable_pqexec",
     kLater,
     {"0", kPgBouncers},
     on_restart,
     "The simple query protocol is always allowed."},
    {"server_fast_close",
     kLater,
     {"0", kPgBouncers},
     on_reload,
     "With pool_mode = session a server connection stays until its client leaves."},
    {"peer_id", kLater, {"0", kPgBouncers}, on_reload, "There are no peers in this version."},
    {"syslog", kLater, {"0", kPgBouncers}, on_reload, kNoSyslog},
    {"conffile", kLater, {"", kPgBouncers}, on_reload, "The file is the one on the command line."},

    {"syslog_ident", kNoEffect, {"pgbouncer", kPgBouncers}, on_reload, kNoSyslog},
    {"syslog_facility", kNoEffect, {"daemon", kPgBouncers}, on_reload, kNoSyslog},
    {"autodb_idle_timeout",
     kNoEffect,
     {"3600", kPgBouncers},
     on_reload,
     "A database of the * line takes up nothing that would have to be freed."},
    {"pkt_buf",
     kNoEffect,
     {"4096", kPgBouncers},
     on_restart,
     "Connections share one large read buffer."},
    {"sbuf_loopcnt",
     kNoEffect,
     {"5", kPgBouncers},
     on_reload,
     "Turns are given by the event loop."},
    {"tcp_defer_accept",
     kNoEffect,
     {"1", kPgBouncers},
     on_reload,
     "A connection that says nothing costs no more than an idle client."},
    {"tcp_socket_buffer",
     kNoEffect,
     {"0", kPgBouncers},
     on_reload,
     "The system sizes its socket buffers."},
    {"job_name", kNoEffect, {"pgbouncer", kPgBouncers}, on_restart, "It only names the process."},
    {"service_name", kNoEffect, {"pgbouncer", kPgBouncers}, on_restart, "For Windows only."},
};

}  // namespace

std::span<const Row<Settings>> foreign_settings() {
  return kRows;
}

}  // namespace pgproxy::config
