#pragma once

#include <cstddef>

#include "pgproxy/base/assert.hpp"

namespace pgproxy {

/// Base of whatever can stand in one IntrusiveList at a time; leaves its list when destroyed.
/// `Tag` tells several hooks of one class apart.
template <class Tag>
class ListHook {
 public:
  ListHook() = default;
  ListHook(const ListHook&) = delete;
  ListHook& operator=(const ListHook&) = delete;
  ~ListHook() { unlink(); }

  bool is_linked() const { return next_ != nullptr; }

  void unlink() {
    if (next_ == nullptr) return;
    prev_->next_ = next_;
    next_->prev_ = prev_;
    prev_ = next_ = nullptr;
  }

 private:
  template <class T, class ListTag>
  friend class IntrusiveList;
  ListHook* prev_ = nullptr;
  ListHook* next_ = nullptr;
};

/// Doubly linked list without allocation; owns nothing. T derives from ListHook<Tag>.
/// Length is counted on demand: size() walks the list.
template <class T, class Tag = T>
class IntrusiveList {
  using Hook = ListHook<Tag>;

 public:
  IntrusiveList() { root_.prev_ = root_.next_ = &root_; }
  ~IntrusiveList() {
    while (!empty()) root_.next_->unlink();
    root_.prev_ = root_.next_ = nullptr;
  }
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;

  bool empty() const { return root_.next_ == &root_; }
  T& front() { return item(root_.next_); }
  T& back() { return item(root_.prev_); }
  const T& front() const { return item(root_.next_); }

  void push_back(T& value) { insert_before(root_, value); }
  void push_front(T& value) { insert_before(*root_.next_, value); }

  std::size_t size() const {
    std::size_t count = 0;
    for (const Hook* at = root_.next_; at != &root_; at = at->next_) ++count;
    return count;
  }

  template <class Value, class HookPointer>
  class Iterator {
   public:
    explicit Iterator(HookPointer at) : at_(at) {}
    Value& operator*() const { return *static_cast<Value*>(at_); }
    Value* operator->() const { return static_cast<Value*>(at_); }
    Iterator& operator++() {
      at_ = at_->next_;
      return *this;
    }
    bool operator==(const Iterator&) const = default;

   private:
    HookPointer at_;
  };
  // The element an iterator stands on may not be unlinked before the iterator has moved on.
  auto begin() { return Iterator<T, Hook*>(root_.next_); }
  auto end() { return Iterator<T, Hook*>(&root_); }
  auto begin() const { return Iterator<const T, const Hook*>(root_.next_); }
  auto end() const { return Iterator<const T, const Hook*>(&root_); }

 private:
  static T& item(Hook* hook) { return *static_cast<T*>(hook); }
  static const T& item(const Hook* hook) { return *static_cast<const T*>(hook); }

  static void insert_before(Hook& place, T& value) {
    Hook& hook = value;
    PGPROXY_ASSERT(!hook.is_linked());
    hook.prev_ = place.prev_;
    hook.next_ = &place;
    place.prev_->next_ = &hook;
    place.prev_ = &hook;
  }

  Hook root_;
};

}  // namespace pgproxy
