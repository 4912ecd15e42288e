#include "pgproxy/sql/shapes.hpp"

#include <algorithm>
#include <array>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sql/analyse.hpp"
#include "sql/fingerprint.hpp"

namespace pgproxy::sql {
namespace {

constexpr std::size_t longest_text_bytes = std::size_t{64} << 10;
constexpr std::size_t longest_shown_bytes = 1024;

}  // namespace

/// Two generations: what is looked up moves to the young one, and when that is full, the old one
/// is forgotten and the young one is old.
struct Shapes::Table {
  using Map = std::unordered_map<std::uint64_t, ShapeRef>;

  explicit Table(std::size_t max_count)
      : generation_size(std::max<std::size_t>(max_count / 2, 1)),
        scratch(scratch_bytes(longest_text_bytes)) {
    young.reserve(generation_size);
    old.reserve(generation_size);
  }

  const ShapeRef* find(std::uint64_t fingerprint) {
    if (const auto found = young.find(fingerprint); found != young.end()) return &found->second;
    const auto found = old.find(fingerprint);
    if (found == old.end()) return nullptr;
    auto node = old.extract(found);
    make_room();
    return &young.insert(std::move(node)).position->second;
  }
  const ShapeRef& add(ShapeRef shape) {
    make_room();
    const std::uint64_t fingerprint = shape->fingerprint;
    return young.insert_or_assign(fingerprint, std::move(shape)).first->second;
  }
  void make_room() {
    if (young.size() < generation_size) return;
    texts.fill({});  // so that those in use are looked up, and stay
    old.clear();
    std::swap(young, old);
  }

  /// Texts that have no constants, by a hash of all of the text: they are not read again. Their
  /// shapes are young.
  struct Text {
    std::uint64_t hash = 0;
    ShapeRef shape;
  };
  Text& text_at(std::uint64_t hash) { return texts[hash % texts.size()]; }

  const std::size_t generation_size;
  std::array<Text, 256> texts;
  Map young;
  Map old;
  std::vector<char> scratch;
};

Shapes::Shapes(std::size_t max_count)
    : table_(std::make_unique<Table>(max_count)), unknown_(std::make_shared<Shape>()) {
  unknown_->facts = unknown_facts();
  unknown_->text = "(a text that is not read)";
}
Shapes::~Shapes() = default;

const ShapeRef& Shapes::find(std::string_view text, bool backslashes_are_plain) {
  if (text.size() > longest_text_bytes) return unknown_;
  const std::uint64_t hash = hash_of_text(text, backslashes_are_plain);
  Table::Text& known_text = table_->text_at(hash);
  if (known_text.hash == hash && known_text.shape != nullptr) return known_text.shape;
  const auto normalised = normalise(text, backslashes_are_plain, table_->scratch);
  if (!normalised) return unknown_;
  const ShapeRef& shape = find(*normalised);
  if (normalised->is_constant_free) known_text = {hash, shape};
  return shape;
}

const ShapeRef& Shapes::find(const Normalised& normalised) {
  if (const ShapeRef* const known = table_->find(normalised.fingerprint)) return *known;
  auto shape = std::make_shared<Shape>();
  shape->fingerprint = normalised.fingerprint;
  shape->facts =
      normalised.keeps_plain_escapes ? unknown_->facts : analyse(render(normalised.tokens));
  // The text of a DO is a constant that stays in the tokens.
  shape->text = shape->facts.kind == StatementKind::do_block
                    ? "do ?"
                    : display(normalised.tokens, longest_shown_bytes);
  return table_->add(std::move(shape));
}

void Shapes::for_each(const std::function<void(const Shape&)>& visit) const {
  for (const auto* generation : {&table_->young, &table_->old}) {
    for (const auto& [fingerprint, shape] : *generation) visit(*shape);
  }
  visit(*unknown_);
}

std::size_t Shapes::size() const {
  return table_->young.size() + table_->old.size();
}

}  // namespace pgproxy::sql
