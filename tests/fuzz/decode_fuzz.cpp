// Every decoder of message bodies over the same bytes: whatever a view covers is inside them.
#include <cstddef>
#include <cstdint>

#include "pgproxy/base/assert.hpp"
#include "pgproxy/wire/decode.hpp"

namespace {

using namespace pgproxy;

void check_inside(Bytes body, Bytes view) {
  if (view.empty()) return;
  PGPROXY_ASSERT(view.data() >= body.data());
  PGPROXY_ASSERT(view.data() + view.size() <= body.data() + body.size());
}

void check_inside(Bytes body, std::string_view view) {
  check_inside(body, as_bytes(view));
}

void decode_client_messages(Bytes body) {
  if (const auto parse = wire::decode_parse(body)) {
    check_inside(body, parse->statement);
    check_inside(body, parse->query);
    check_inside(body, parse->parameter_types);
    PGPROXY_ASSERT(parse->parameter_types.size() % 4 == 0);
  }
  if (const auto text = wire::decode_query(body)) check_inside(body, *text);
  if (const auto names = wire::decode_bind_names(body)) {
    check_inside(body, names->portal);
    check_inside(body, names->statement);
  }
  if (const auto target = wire::decode_target(body)) check_inside(body, target->name);
}

void decode_server_messages(Bytes body) {
  wire::decode_ready_for_query(body);
  if (const auto status = wire::decode_parameter_status(body)) {
    check_inside(body, status->name);
    check_inside(body, status->value);
  }
  if (const auto key = wire::decode_backend_key(body)) check_inside(body, key->secret);
  if (const auto error = wire::decode_error(body)) {
    for (const auto field : {error->severity, error->sqlstate, error->message, error->detail,
                             error->hint, error->routine}) {
      check_inside(body, field);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes body(data, size);
  wire::Header header;
  wire::parse_header(body, header);
  decode_client_messages(body);
  decode_server_messages(body);
  return 0;
}
