# The simulator: pool and session over a virtual network, clock and PostgreSQL; no sockets, no
# sleeping. The fuzzers use it too.
include_guard(GLOBAL)
file(GLOB world_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.cpp)
list(FILTER world_sources EXCLUDE REGEX "_test\\.cpp$")
add_library(sim_world STATIC ${world_sources})
target_include_directories(sim_world PUBLIC ${CMAKE_CURRENT_LIST_DIR})
# What stands for the probes has `control` choose the primary.
target_include_directories(sim_world PRIVATE ${CMAKE_CURRENT_LIST_DIR}/../../src)
target_link_libraries(sim_world PUBLIC pgproxy_session pgproxy_control)
