#include "pgproxy/pool/expected_replies.hpp"

#include <doctest/doctest.h>
#include <string_view>

#include "silent_owner.hpp"

// In a namespace of its own: unistd.h has a close and a sync, too.
namespace pgproxy::pool {
namespace {

using enum ReplyKind;
using enum ReplyVerdict;

struct Replies {
  ExpectedReplies queue;
  SilentOwner client;
  void sent(std::initializer_list<ReplyKind> kinds) {
    for (const ReplyKind kind : kinds) queue.sent(client, kind);
  }
  /// The first character that is not forwarded; 0: all are.
  char received(std::string_view types) {
    for (const char type : types) {
      if (queue.received(type) != forward) return type;
    }
    return 0;
  }
};

}  // namespace

TEST_CASE("nothing is expected of a server that was asked nothing") {
  for (const char type : std::string_view("DCTIZ123sntGHVEWdc?")) {
    Replies replies;
    CHECK(replies.queue.is_quiet());
    CHECK(replies.queue.received(type) == unexpected);
  }
}

TEST_CASE("a Query is over with its ReadyForQuery and not before") {
  Replies replies;
  replies.sent({query});
  CHECK(replies.received("TDDCTDC") == 0);
  CHECK_FALSE(replies.queue.is_quiet());
  CHECK(replies.received("Z") == 0);
  CHECK(replies.queue.is_quiet());
  CHECK(replies.received("Z") == 'Z');
}

TEST_CASE("each message of the extended protocol has its own answer, in order") {
  Replies replies;
  replies.sent({parse, describe_statement, bind, describe_portal, execute, close, sync});
  CHECK(replies.received("1tT2nDC3Z") == 0);
  CHECK(replies.queue.is_quiet());
  replies.sent({parse, bind, execute, sync});
  CHECK(replies.received("2") == '2');
}

TEST_CASE("a cycle without its Sync is not quiet though all is answered") {
  Replies replies;
  replies.sent({parse, bind, execute});
  CHECK(replies.received("12DC") == 0);
  CHECK(replies.queue.size() == 0);
  CHECK_FALSE(replies.queue.is_quiet());
  CHECK(replies.queue.needs_sync());
  replies.sent({sync});
  CHECK(replies.received("Z") == 0);
  CHECK(replies.queue.is_quiet());
}

TEST_CASE("after an error nothing is answered up to the next Sync") {
  Replies replies;
  replies.sent({parse, bind, execute, bind, execute, sync, bind, execute, sync});
  CHECK(replies.received("12EZ2DCZ") == 0);
  CHECK(replies.queue.is_quiet());
}

TEST_CASE("after an error what is sent before the next Sync is skipped as well") {
  Replies replies;
  replies.sent({parse});
  CHECK(replies.received("E") == 0);
  CHECK(replies.queue.is_skipping());
  replies.sent({bind, execute, query});
  CHECK(replies.queue.size() == 0);
  CHECK(replies.queue.needs_sync());
  replies.sent({sync});
  CHECK(replies.received("Z") == 0);
  CHECK(replies.queue.is_quiet());
}

TEST_CASE("which messages an error left unanswered is known") {
  Replies replies;
  replies.sent({parse, bind, execute, parse, sync, parse});
  CHECK(replies.received("12E") == 0);
  CHECK(replies.queue.last_skipped().from == 2);
  CHECK(replies.queue.last_skipped().to == 4);
}

TEST_CASE("errors of Query, FunctionCall and Sync are followed by ReadyForQuery") {
  Replies replies;
  replies.sent({query, function_call, parse, sync});
  CHECK(replies.received("TDEZEZ1EZ") == 0);
  CHECK(replies.queue.is_quiet());
}

TEST_CASE("a Query within an extended cycle ends it") {
  Replies replies;
  replies.sent({parse, query});
  CHECK(replies.received("1TDCZ") == 0);
  CHECK(replies.queue.is_quiet());
  replies.sent({parse, query, sync});
  CHECK(replies.received("EZ") == 0);  // the Query was skipped
  CHECK(replies.queue.is_quiet());
}

TEST_CASE("COPY IN by a Query: CopyDone before or after CopyInResponse") {
  Replies replies;
  replies.sent({query});
  CHECK(replies.received("G") == 0);
  CHECK(replies.queue.is_copying_in());
  CHECK_FALSE(replies.queue.is_quiet());
  replies.sent({copy_end});
  CHECK_FALSE(replies.queue.is_copying_in());
  CHECK(replies.received("CZ") == 0);
  CHECK(replies.queue.is_quiet());
  replies.sent({query, copy_end});
  CHECK(replies.received("GCZ") == 0);
  CHECK(replies.queue.is_quiet());
  CHECK_FALSE(replies.queue.is_uncertain());
}

TEST_CASE("two COPYs in one Query take one end each") {
  Replies replies;
  replies.sent({query, copy_end, copy_end});
  CHECK(replies.received("G") == 0);
  CHECK_FALSE(replies.queue.is_copying_in());
  CHECK(replies.received("CG") == 0);
  CHECK_FALSE(replies.queue.is_copying_in());
  CHECK(replies.received("CZ") == 0);
  CHECK(replies.queue.is_quiet());
}

TEST_CASE("a Sync behind the Execute of a COPY IN is eaten by it") {
  Replies replies;
  SUBCASE("sent before CopyInResponse") {
    replies.sent({bind, execute, sync});
    CHECK(replies.received("2G") == 0);
  }
  SUBCASE("sent after CopyInResponse") {
    replies.sent({bind, execute});
    CHECK(replies.received("2G") == 0);
    replies.sent({sync});
  }
  replies.sent({copy_end, sync});
  CHECK(replies.received("CZ") == 0);
  CHECK(replies.queue.is_quiet());
  CHECK_FALSE(replies.queue.is_uncertain());
}

TEST_CASE("a COPY that fails with a Sync behind it leaves the count uncertain") {
  Replies replies;
  replies.sent({bind, execute, sync});
  CHECK(replies.received("2GE") == 0);
  CHECK(replies.queue.is_uncertain());
}

TEST_CASE("a COPY that fails without any Sync behind it leaves no doubt") {
  Replies replies;
  SUBCASE("by a Query") {
    replies.sent({query});
    CHECK(replies.received("GEZ") == 0);
    replies.sent({copy_end});
  }
  SUBCASE("by an Execute") {
    replies.sent({bind, execute});
    CHECK(replies.received("2GE") == 0);
    replies.sent({copy_end, sync});
    CHECK(replies.received("Z") == 0);
  }
  CHECK(replies.queue.is_quiet());
  CHECK_FALSE(replies.queue.is_uncertain());
}

TEST_CASE("anything but CopyData, its end, Sync and Flush in a COPY IN is doubtful") {
  Replies replies;
  replies.sent({query});
  CHECK(replies.received("G") == 0);
  replies.sent({query});
  CHECK(replies.queue.is_uncertain());
}

TEST_CASE("COPY OUT, empty queries, suspended portals and function results") {
  Replies replies;
  replies.sent({query, bind, execute, execute, sync, function_call});
  CHECK(replies.received("HddcCIZ2DsICZ") == 'C');
  Replies other;
  other.sent({bind, execute, execute, sync, function_call});
  CHECK(other.received("2DsIZVZ") == 0);
  CHECK(other.queue.is_quiet());
}

TEST_CASE("what is injected is swallowed, whatever is around it") {
  Replies replies;
  replies.sent({injected_close, injected_parse, bind, execute, sync});
  CHECK(replies.queue.received('3') == swallow);
  CHECK(replies.queue.received('1') == swallow);
  CHECK(replies.received("2DCZ") == 0);
  replies.sent({injected_query, query});
  CHECK(replies.queue.received('C') == swallow);
  CHECK(replies.queue.received('Z') == swallow);
  CHECK(replies.received("CZ") == 0);
  CHECK(replies.queue.is_quiet());
  replies.sent({injected_query});
  CHECK(replies.queue.received('E') == unexpected);
}

TEST_CASE("an injected Parse that fails is the error of the client's message") {
  Replies replies;
  replies.sent({injected_parse, bind, execute, sync});
  CHECK(replies.received("EZ") == 0);
  CHECK(replies.queue.is_quiet());
}

TEST_CASE("what a statement is described as for us is not the client's") {
  Replies replies;
  replies.sent({injected_parse, injected_describe});
  CHECK_FALSE(replies.queue.is_describing());
  CHECK(replies.queue.received('1') == swallow);
  CHECK(replies.queue.is_describing_for_us());
  CHECK(replies.queue.received('t') == swallow);
  CHECK(replies.queue.received('T') == swallow);
  CHECK_FALSE(replies.queue.is_describing());
  CHECK_FALSE(replies.queue.is_quiet());
  replies.sent({injected_describe, describe_statement, bind, sync});
  CHECK(replies.queue.received('t') == swallow);
  CHECK(replies.queue.received('n') == swallow);
  CHECK(replies.queue.is_describing());
  CHECK_FALSE(replies.queue.is_describing_for_us());
  CHECK(replies.received("tT2Z") == 0);
  replies.sent({injected_describe});
  CHECK(replies.queue.received('E') == forward);
  replies.sent({bind, sync});
  CHECK(replies.received("Z") == 0);
  CHECK(replies.queue.is_quiet());
}

TEST_CASE("answers of ours come when it is their turn") {
  Replies replies;
  replies.sent({local_parse, bind, execute, local_close, local_parse, sync});
  CHECK(replies.queue.has_local());
  CHECK(replies.queue.take_local() == '1');
  CHECK_FALSE(replies.queue.has_local());
  CHECK(replies.received("2DC") == 0);
  CHECK(replies.queue.take_local() == '3');
  CHECK(replies.queue.take_local() == '1');
  CHECK_FALSE(replies.queue.has_local());
  CHECK_FALSE(replies.queue.is_quiet());
  CHECK(replies.received("Z") == 0);
  CHECK(replies.queue.is_quiet());
}

TEST_CASE("answers of ours are skipped behind an error as any other") {
  Replies replies;
  replies.sent({bind, local_parse, sync, local_close, sync});
  CHECK(replies.received("EZ") == 0);
  CHECK(replies.queue.last_failed() == bind);
  CHECK(replies.queue.take_local() == '3');
  CHECK(replies.received("Z") == 0);
  replies.sent({parse});
  CHECK(replies.received("E") == 0);
  replies.sent({local_parse});
  CHECK_FALSE(replies.queue.has_local());
}

TEST_CASE("a message that the server never saw cannot fail within its COPY") {
  Replies replies;
  replies.sent({bind, execute, sync, local_parse, sync});
  CHECK(replies.received("2G") == 'G');
}

TEST_CASE("what an earlier message did is certain within its cycle, and once it is answered") {
  Replies replies;
  replies.sent({parse, bind});
  CHECK(replies.queue.is_certain(0));
  CHECK(replies.queue.is_status_known());
  replies.sent({sync, bind});
  CHECK_FALSE(replies.queue.is_certain(0));
  CHECK_FALSE(replies.queue.is_status_known());
  CHECK(replies.received("1") == 0);
  CHECK(replies.queue.is_certain(0));
  CHECK_FALSE(replies.queue.is_certain(1));
  CHECK(replies.received("2Z") == 0);
  CHECK(replies.queue.is_certain(1));
  CHECK(replies.queue.is_status_known());
}

TEST_CASE("the ReadyForQuery of a cycle that is run again is not passed on") {
  Replies replies;
  replies.sent({bind, execute, sync});
  CHECK(replies.received("E") == 0);
  replies.queue.swallow_ready();
  CHECK(replies.queue.received('Z') == swallow);
  CHECK(replies.queue.is_quiet());
  replies.sent({query});
  CHECK(replies.received("E") == 0);
  replies.queue.swallow_ready();
  CHECK(replies.queue.received('Z') == swallow);
  CHECK(replies.queue.is_quiet());
}

TEST_CASE("every reply goes to whoever asked, also after a handover") {
  ExpectedReplies queue;
  SilentOwner first;
  SilentOwner second;
  queue.sent(first, query);
  queue.sent(second, query);
  CHECK(queue.next_owner() == &first);
  CHECK(queue.received('Z') == forward);
  CHECK(queue.next_owner() == &second);
  queue.replace_owner(second, first);
  CHECK(queue.next_owner() == &first);
  CHECK(queue.received('Z') == forward);
  CHECK(queue.next_owner() == nullptr);
}

TEST_CASE("thousands of messages in one pipeline keep their order") {
  Replies replies;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 5000; ++i) replies.sent({bind, execute, sync});
    for (int i = 0; i < 5000; ++i) REQUIRE(replies.received("2CZ") == 0);
    CHECK(replies.queue.is_quiet());
  }
}

}  // namespace pgproxy::pool
