#pragma once

#include <cstddef>
#include <functional>
#include <pg_query/pg_query.pb-c.h>
#include <span>
#include <string_view>
#include <vector>

// libpg_query's tree, by its description: a walk need not know every kind of node.
namespace pgproxy::sql {

inline std::span<PgQuery__Node* const> nodes(PgQuery__Node* const* first, std::size_t count) {
  return {first, count};
}
inline std::string_view text_of(const char* text) {
  return text != nullptr ? std::string_view(text) : std::string_view{};
}
/// Of a String node; empty for others.
std::string_view string_of(const PgQuery__Node* node);

/// The values of `message`'s text fields.
void for_each_text(const ProtobufCMessage& message,
                   const std::function<void(std::string_view)>& visit);

/// The messages below a message, each once, without recursion.
class TreeWalk {
 public:
  void add(const ProtobufCMessage* message) {
    if (message != nullptr) open_.push_back(message);
  }
  void add_children(const ProtobufCMessage& message);
  /// nullptr when there is none any more.
  const ProtobufCMessage* next();

 private:
  std::vector<const ProtobufCMessage*> open_;
};

/// `message` as what `descriptor` describes; nullptr if it is not one.
template <typename Message>
const Message* as(const ProtobufCMessage& message, const ProtobufCMessageDescriptor& descriptor) {
  return message.descriptor == &descriptor ? reinterpret_cast<const Message*>(&message) : nullptr;
}

}  // namespace pgproxy::sql
