# cmake --install: the program, systemd's units, first configurations, the documents.
include(GNUInstallDirs)

# The units name the program by its place, which is known here; set CMAKE_INSTALL_PREFIX when configuring.
foreach(unit pgproxy.service pgproxy.socket)
  file(READ ${CMAKE_SOURCE_DIR}/systemd/${unit} text)
  string(REPLACE "/usr/local/bin" "${CMAKE_INSTALL_FULL_BINDIR}" text "${text}")
  file(WRITE ${CMAKE_BINARY_DIR}/systemd/${unit} "${text}")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/systemd/${unit})
endforeach()

install(TARGETS pgproxy RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES ${CMAKE_BINARY_DIR}/systemd/pgproxy.service ${CMAKE_BINARY_DIR}/systemd/pgproxy.socket
        DESTINATION lib/systemd/system)
install(FILES README.md pgproxy.ini.example DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR}/docs)
install(DIRECTORY conf/ DESTINATION ${CMAKE_INSTALL_DOCDIR}/conf)  # alert rules, too
