#include "pgproxy/base/timeouts.hpp"

namespace pgproxy {

void TimeoutQueue::arm(Timeout& timeout, TimePoint now) {
  timeout.disarm();
  if (duration_ == Duration::zero()) return;
  timeout.deadline_ = now + duration_;
  list_.push_back(timeout);
  owner_.note_deadline(timeout.deadline_);
}

TimeoutQueue& Timeouts::queue(Duration duration) {
  for (const auto& queue : queues_) {
    if (queue->duration() == duration) return *queue;
  }
  queues_.push_back(std::make_unique<TimeoutQueue>(*this, duration));
  return *queues_.back();
}

void Timeouts::note_deadline(TimePoint deadline) {
  if (alarm_at_ && *alarm_at_ <= deadline) return;
  alarm_at_ = deadline;
  alarm_.set_alarm(deadline);
}

void Timeouts::expire(TimePoint now) {
  alarm_at_.reset();
  // By index: a listener may ask for a new duration, which grows queues_.
  for (std::size_t i = 0; i < queues_.size(); ++i) {
    auto& list = queues_[i]->list_;
    while (!list.empty() && list.front().deadline_ <= now) {
      Timeout& due = list.front();
      due.disarm();
      due.listener_.on_timeout(due);
    }
  }
  for (const auto& queue : queues_) {
    if (!queue->list_.empty()) note_deadline(queue->list_.front().deadline_);
  }
}

}  // namespace pgproxy
