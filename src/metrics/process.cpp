#include "metrics/process.hpp"

#include <filesystem>
#include <fstream>
#include <sys/resource.h>
#include <unistd.h>

namespace pgproxy::metrics {
namespace {

Duration as_duration(const timeval& time) {
  return std::chrono::seconds(time.tv_sec) + Duration(time.tv_usec);
}

std::uint64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::uint64_t total = 0;
  std::uint64_t resident = 0;
  file >> total >> resident;
  return resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

std::uint64_t descriptor_count() {
  std::error_code error;
  std::uint64_t count = 0;
  for (std::filesystem::directory_iterator at("/proc/self/fd", error), end; !error && at != end;
       at.increment(error)) {
    ++count;
  }
  return count;
}

}  // namespace

Process measure_process() {
  Process process{.resident_bytes = resident_bytes(), .descriptor_count = descriptor_count()};
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) == 0) {
    process.cpu_time = as_duration(usage.ru_utime) + as_duration(usage.ru_stime);
  }
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) process.descriptor_limit = limit.rlim_cur;
  return process;
}

}  // namespace pgproxy::metrics
