// The packets that open a connection. What was understood of a startup packet must survive being
// written and read again: no setting may turn into a user or a database on the way to a server.
#include <cstddef>
#include <cstdint>
#include <string>

#include "pgproxy/base/assert.hpp"
#include "pgproxy/wire/encode.hpp"
#include "pgproxy/wire/startup.hpp"

namespace {

using namespace pgproxy;

void check_round_trip(const wire::StartupMessage& message) {
  std::string packet;
  wire::put_startup(packet, message.user, message.database, message.settings);
  const auto again = wire::decode_startup(as_bytes(packet));
  PGPROXY_ASSERT(again);
  PGPROXY_ASSERT(again->user == message.user);
  PGPROXY_ASSERT(again->database == message.database);
  PGPROXY_ASSERT(again->settings == message.settings);
  PGPROXY_ASSERT(again->replication.empty());
  PGPROXY_ASSERT(again->unknown_options.empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes bytes(data, size);
  if (const auto header = wire::parse_startup_header(bytes); header && *header) {
    PGPROXY_ASSERT((*header)->length >= 8 && (*header)->length <= wire::max_startup_bytes);
  }
  if (const auto message = wire::decode_startup(bytes)) check_round_trip(*message);
  if (const auto key = wire::decode_cancel(bytes)) PGPROXY_ASSERT(key->secret.size() >= 4);
  wire::NameValues settings;
  wire::parse_options(as_text(bytes), settings);
  return 0;
}
