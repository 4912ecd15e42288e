# One static library per layer. `USES` are the other layers it may link, `LIBS` third-party targets;
# tests/lint checks the same edges on the level of #include.
function(pgproxy_layer name)
  cmake_parse_arguments(LAYER "" "" "USES;LIBS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.cpp)
  if(NOT sources)
    file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/empty_${name}.cpp CONTENT "")
    set(sources ${CMAKE_BINARY_DIR}/empty_${name}.cpp)
  endif()
  add_library(pgproxy_${name} STATIC ${sources})
  target_include_directories(pgproxy_${name} PUBLIC ${CMAKE_SOURCE_DIR}/include
                                             PRIVATE ${CMAKE_SOURCE_DIR}/src)
  list(TRANSFORM LAYER_USES PREPEND pgproxy_)
  target_link_libraries(pgproxy_${name} PUBLIC ${LAYER_USES} ${LAYER_LIBS})
endfunction()

# io has headers only: pure interfaces.
add_library(pgproxy_io INTERFACE)
target_include_directories(pgproxy_io INTERFACE ${CMAKE_SOURCE_DIR}/include)

pgproxy_layer(base LIBS spdlog::spdlog)
target_compile_definitions(pgproxy_base PUBLIC PGPROXY_VERSION="${PROJECT_VERSION}")
target_link_libraries(pgproxy_io INTERFACE pgproxy_base)
pgproxy_layer(wire USES base)
pgproxy_layer(sql USES base LIBS PgQuery PkgConfig::PROTOBUF_C PkgConfig::XXHASH)
pgproxy_layer(config USES base LIBS PkgConfig::INIH)
pgproxy_layer(metrics USES base LIBS prometheus-cpp::core)
pgproxy_layer(auth USES wire config io LIBS OpenSSL::Crypto PkgConfig::LIBIDN)
pgproxy_layer(pool USES wire auth io config)
pgproxy_layer(route USES sql config)
pgproxy_layer(session USES wire sql auth pool route io config)
pgproxy_layer(control USES io config route LIBS PkgConfig::LIBPQ)
pgproxy_layer(admin USES wire config)
pgproxy_layer(web USES config metrics LIBS Civetweb nlohmann_json::nlohmann_json)
set(page_source ${CMAKE_BINARY_DIR}/page.cpp)
add_custom_command(
  OUTPUT ${page_source}
  COMMAND ${CMAKE_COMMAND} -DPAGE=${CMAKE_SOURCE_DIR}/src/web/page.html -DOUT=${page_source}
          -P ${CMAKE_SOURCE_DIR}/cmake/embed_page.cmake
  DEPENDS ${CMAKE_SOURCE_DIR}/src/web/page.html ${CMAKE_SOURCE_DIR}/cmake/embed_page.cmake)
target_sources(pgproxy_web PRIVATE ${page_source})
pgproxy_layer(net USES io config LIBS PkgConfig::LIBUV OpenSSL::SSL)

file(GLOB app_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/app/*.cpp)
list(REMOVE_ITEM app_sources ${CMAKE_SOURCE_DIR}/src/app/main.cpp)
if(NOT app_sources)
  file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/empty_app.cpp CONTENT "")
  set(app_sources ${CMAKE_BINARY_DIR}/empty_app.cpp)
endif()
add_library(pgproxy_app STATIC ${app_sources})
target_include_directories(pgproxy_app PUBLIC ${CMAKE_SOURCE_DIR}/src)
target_link_libraries(pgproxy_app PUBLIC pgproxy_net pgproxy_session pgproxy_control pgproxy_admin
                                         pgproxy_web
                                         PkgConfig::SYSTEMD)
if(EXISTS ${CMAKE_SOURCE_DIR}/src/app/main.cpp)
add_executable(pgproxy ${CMAKE_SOURCE_DIR}/src/app/main.cpp)
target_link_libraries(pgproxy PRIVATE pgproxy_app)
set_target_properties(pgproxy PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
endif()
