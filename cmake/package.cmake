# Debian packages of the components "program" and "development" (cmake/install.cmake):
#
#   cmake --preset deb && cmake --build --preset deb && (cd build/deb && cpack)
#
# The CUDA module is in neither: it needs libraries that Debian does not have.
set(EMOCLIM_MAINTAINER "emoclim maintainers <maintainers@emoclim.invalid>" CACHE STRING "Who made the packages")
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME emoclim)
set(CPACK_PACKAGE_CONTACT "${EMOCLIM_MAINTAINER}")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL program development)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

set(CPACK_DEBIAN_PROGRAM_PACKAGE_NAME emoclim)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_RECOMMENDS "openmpi-bin")
set(CPACK_COMPONENT_PROGRAM_DESCRIPTION "trains and uses image-to-music encoders
Distributed training of encoders that bring pictures and music into one space
by the emotion they carry (the Emo-CLIM method). Given a photo, the trained
program finds music that feels alike. It runs on one processor or, under Open
MPI's mpirun, on many, with the same bits in the result.")

# What emoclim.pc and emoclimConfig.cmake ask for.
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libemoclim-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(modules libhdf5-dev libyaml-dev libfftw3-dev libturbojpeg0-dev libjpeg-dev libpng-dev libjansson-dev libxxhash-dev
            libssl-dev libdnnl-dev ocl-icd-opencl-dev libopenmpi-dev)
if(EMOCLIM_HAVE_FFMPEG)
  list(APPEND modules libavformat-dev libavcodec-dev libswresample-dev libswscale-dev libavutil-dev)
endif()
list(JOIN modules ", " CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS)
set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION "search for music by pictures (static library, headers)
The library of emoclim: embed pictures and music with a trained model, and
search in indices of them. Programs find it by pkg-config or by CMake's
find_package.")

# Debian's rules: compressed manual page and changelog, the license as "copyright", for each of the packages.
if(EMOCLIM_DEBIAN)
  execute_process(COMMAND date -u -R -d ${EMOCLIM_RELEASED} OUTPUT_VARIABLE EMOCLIM_CHANGED
                  OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  file(READ LICENSE text)
  string(REGEX MATCH "Copyright [^\n]*" EMOCLIM_COPYRIGHT "${text}")
  string(REGEX REPLACE "^.*(Permission is hereby.*[^\n])\n*$" "\\1" EMOCLIM_LICENSE "${text}")
  string(REPLACE "\n\n" "\n.\n" EMOCLIM_LICENSE "${EMOCLIM_LICENSE}")
  string(REPLACE "\n" "\n " EMOCLIM_LICENSE " ${EMOCLIM_LICENSE}")
  string(REPLACE "Copyright (c)" "Copyright:" EMOCLIM_COPYRIGHT "${EMOCLIM_COPYRIGHT}")
  configure_file(cmake/debian/copyright.in debian/copyright @ONLY)
  configure_file(cmake/debian/changelog.in debian/changelog.Debian @ONLY)
  set(debian ${CMAKE_BINARY_DIR}/debian)
  set(inputs ${debian}/changelog.Debian)
  set(commands COMMAND gzip -9nkf ${debian}/changelog.Debian)
  if(TARGET emoclim_printed)
    list(APPEND inputs ${printed}/emoclim.1)
    list(APPEND commands COMMAND gzip -9nc ${printed}/emoclim.1 > ${debian}/emoclim.1.gz)
    install(FILES ${debian}/emoclim.1.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT program)
  endif()
  add_custom_command(OUTPUT ${debian}/changelog.Debian.gz ${commands} DEPENDS ${inputs} VERBATIM)
  add_custom_target(emoclim_debian ALL DEPENDS ${debian}/changelog.Debian.gz)
  foreach(component IN ITEMS program development)
    string(TOUPPER ${component} upper)
    install(FILES ${debian}/copyright ${debian}/changelog.Debian.gz COMPONENT ${component}
            DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${CPACK_DEBIAN_${upper}_PACKAGE_NAME})
  endforeach()
endif()
include(CPack)
