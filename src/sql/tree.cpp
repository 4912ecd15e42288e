#include "sql/tree.hpp"

namespace pgproxy::sql {
namespace {

template <typename Value>
const Value& at(const ProtobufCMessage& message, unsigned offset) {
  return *reinterpret_cast<const Value*>(reinterpret_cast<const char*>(&message) + offset);
}

std::span<const ProtobufCFieldDescriptor> fields_of(const ProtobufCMessage& message) {
  return {message.descriptor->fields, message.descriptor->n_fields};
}

/// Of the fields of a oneof only the one that its case names is there.
bool is_there(const ProtobufCMessage& message, const ProtobufCFieldDescriptor& field) {
  return (field.flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0 ||
         at<std::uint32_t>(message, field.quantifier_offset) == field.id;
}

}  // namespace

std::string_view string_of(const PgQuery__Node* node) {
  if (node == nullptr || node->node_case != PG_QUERY__NODE__NODE_STRING) return {};
  return text_of(node->string->sval);
}

void for_each_text(const ProtobufCMessage& message,
                   const std::function<void(std::string_view)>& visit) {
  for (const ProtobufCFieldDescriptor& field : fields_of(message)) {
    if (field.type != PROTOBUF_C_TYPE_STRING || field.label == PROTOBUF_C_LABEL_REPEATED) continue;
    if (is_there(message, field)) visit(text_of(at<const char*>(message, field.offset)));
  }
}

void TreeWalk::add_children(const ProtobufCMessage& message) {
  for (const ProtobufCFieldDescriptor& field : fields_of(message)) {
    if (field.type != PROTOBUF_C_TYPE_MESSAGE || !is_there(message, field)) continue;
    if (field.label == PROTOBUF_C_LABEL_REPEATED) {
      const std::size_t count = at<std::size_t>(message, field.quantifier_offset);
      const auto* const children = at<const ProtobufCMessage* const*>(message, field.offset);
      for (std::size_t index = 0; index < count; ++index) add(children[index]);
    } else {
      add(at<const ProtobufCMessage*>(message, field.offset));
    }
  }
}

const ProtobufCMessage* TreeWalk::next() {
  if (open_.empty()) return nullptr;
  const ProtobufCMessage* const message = open_.back();
  open_.pop_back();
  return message;
}

}  // namespace pgproxy::sql
