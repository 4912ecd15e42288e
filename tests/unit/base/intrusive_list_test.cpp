#include "pgproxy/base/intrusive_list.hpp"

#include <doctest/doctest.h>
#include <memory>
#include <string>

using namespace pgproxy;

namespace {

struct Item : ListHook<Item> {
  explicit Item(char its_name) : name(its_name) {}
  char name;
};

std::string names(const IntrusiveList<Item>& list) {
  std::string out;
  for (const Item& item : list) out += item.name;
  return out;
}

}  // namespace

TEST_CASE("a list keeps the order in which items came, at both ends") {
  IntrusiveList<Item> list;
  CHECK(list.empty());
  Item a('a');
  Item b('b');
  Item c('c');
  list.push_back(b);
  list.push_back(c);
  list.push_front(a);
  CHECK(names(list) == "abc");
  CHECK(list.size() == 3);
  CHECK(list.front().name == 'a');
  CHECK(list.back().name == 'c');
}

TEST_CASE("an item leaves from any place, and may come again") {
  Item a('a');
  Item b('b');
  Item c('c');
  IntrusiveList<Item> list;
  for (Item* item : {&a, &b, &c}) list.push_back(*item);
  b.unlink();
  CHECK_FALSE(b.is_linked());
  CHECK(names(list) == "ac");
  b.unlink();
  CHECK(names(list) == "ac");
  list.push_back(b);
  a.unlink();
  CHECK(names(list) == "cb");
}

TEST_CASE("an item that is destroyed leaves its list") {
  IntrusiveList<Item> list;
  Item a('a');
  auto b = std::make_unique<Item>('b');
  list.push_back(a);
  list.push_back(*b);
  b.reset();
  CHECK(names(list) == "a");
}

TEST_CASE("a list that is destroyed leaves its items unlinked") {
  Item a('a');
  Item b('b');
  {
    IntrusiveList<Item> list;
    list.push_back(a);
    list.push_back(b);
  }
  CHECK_FALSE(a.is_linked());
  CHECK_FALSE(b.is_linked());
}

TEST_CASE("the item an iterator has left may be unlinked") {
  Item a('a');
  Item b('b');
  IntrusiveList<Item> list;
  list.push_back(a);
  list.push_back(b);
  for (auto at = list.begin(); at != list.end();) {
    Item& item = *at;
    ++at;
    item.unlink();
  }
  CHECK(list.empty());
}
