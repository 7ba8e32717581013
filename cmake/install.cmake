# What "cmake --install" brings, in components: "program" for those who run emoclim, "cuda" for its module, "development"
# for those who write programs with its library. Everything finds its like relative to itself, so an installed folder may
# be moved.
set(EMOCLIM_ZSH_FOLDER ${CMAKE_INSTALL_DATADIR}/zsh/site-functions CACHE STRING "Where zsh looks for completion")
set(here ${CMAKE_INSTALL_DATADIR}/emoclim)

if(TARGET emoclim_program)
  install(TARGETS emoclim_program RUNTIME COMPONENT program)

  # The program prints its manual page and what shells need to complete its command line.
  if(NOT CMAKE_CROSSCOMPILING)
    set(printed ${CMAKE_BINARY_DIR}/printed)
    file(MAKE_DIRECTORY ${printed})
    add_custom_command(OUTPUT ${printed}/emoclim.1 ${printed}/emoclim ${printed}/_emoclim
                       COMMAND emoclim_program manual > ${printed}/emoclim.1
                       COMMAND emoclim_program completion bash > ${printed}/emoclim
                       COMMAND emoclim_program completion zsh > ${printed}/_emoclim
                       DEPENDS emoclim_program COMMENT "Printing the manual page" VERBATIM)
    add_custom_target(emoclim_printed ALL DEPENDS ${printed}/emoclim.1)
    if(NOT EMOCLIM_DEBIAN)
      install(FILES ${printed}/emoclim.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT program)
    endif()
    install(FILES ${printed}/emoclim DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
            COMPONENT program)
    install(FILES ${printed}/_emoclim DESTINATION ${EMOCLIM_ZSH_FOLDER} COMPONENT program)
  endif()

  # Launchers, batch files and configurations stand beside each other as in the repository.
  install(DIRECTORY launch DESTINATION ${here} USE_SOURCE_PERMISSIONS COMPONENT program
          PATTERN build.sh EXCLUDE PATTERN setup.sh EXCLUDE) # these are for the repository
  install(PROGRAMS data/real_demo.sh DESTINATION ${here}/data COMPONENT program)
  install(FILES data/real_emoji.txt data/real_tracks.csv DESTINATION ${here}/data COMPONENT program)
  install(DIRECTORY cluster configs DESTINATION ${here} COMPONENT program
          FILES_MATCHING PATTERN "*.sbatch" PATTERN "*.sh" PATTERN "*.yaml")
  install(FILES README.md CONTRIBUTING.md DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT program)
  if(NOT EMOCLIM_DEBIAN)
    install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT program)
  endif()
  install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT program PATTERN examples EXCLUDE)
endif()

# Where src/core/module.h looks, beside bin. What lies right in lib/emoclim CPack takes for a library of the system: the
# package would call ldconfig, which is against Debian's rules. So what packages hold lies one folder deeper.
if(TARGET emoclim_ffmpeg)
  install(TARGETS emoclim_ffmpeg LIBRARY DESTINATION lib/emoclim/modules COMPONENT program)
endif()
if(TARGET emoclim_cuda)
  install(TARGETS emoclim_cuda LIBRARY DESTINATION lib/emoclim COMPONENT cuda)
endif()

install(TARGETS emoclim EXPORT emoclim ARCHIVE COMPONENT development)
install(DIRECTORY include/emoclim TYPE INCLUDE COMPONENT development)
install(DIRECTORY docs/examples DESTINATION ${CMAKE_INSTALL_DOCDIR}/docs COMPONENT development)

# find_package(emoclim), then link emoclim::emoclim.
include(CMakePackageConfigHelpers)
set(folder ${CMAKE_INSTALL_LIBDIR}/cmake/emoclim)
install(EXPORT emoclim FILE emoclimTargets.cmake NAMESPACE emoclim:: DESTINATION ${folder} COMPONENT development)
configure_package_config_file(cmake/emoclimConfig.cmake.in emoclimConfig.cmake INSTALL_DESTINATION ${folder})
write_basic_package_version_file(emoclimConfigVersion.cmake COMPATIBILITY SameMinorVersion) # of 0.x every minor breaks
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/emoclimConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/emoclimConfigVersion.cmake
        DESTINATION ${folder} COMPONENT development)

# pkg-config --libs emoclim. A static library does not carry what it needs, so all of it is named, one level deep.
set(modules ${EMOCLIM_HDF5_MODULE_NAME} ${EMOCLIM_MODULES})
if(EMOCLIM_HAVE_FFMPEG)
  list(APPEND modules ${EMOCLIM_AV_MODULES})
endif()
list(JOIN modules " " EMOCLIM_PC_REQUIRES)
list(JOIN MPI_C_LIBRARIES " " EMOCLIM_PC_MPI)
set(EMOCLIM_PC_LIBRARY "-lemoclim")
if(EMOCLIM_HAVE_CUDA) # a module takes what it needs from the program
  set(EMOCLIM_PC_LIBRARY "-rdynamic -Wl,--whole-archive -lemoclim -Wl,--no-whole-archive")
endif()
file(RELATIVE_PATH EMOCLIM_PC_PREFIX "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
configure_file(cmake/emoclim.pc.in emoclim.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/emoclim.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig
        COMPONENT development)
