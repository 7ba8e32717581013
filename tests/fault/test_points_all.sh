#!/usr/bin/env bash
# ctest: slow
# All 200 points of test_points.sh.
# usage: test_points_all.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
FAULT_POINTS=200 exec bash "$(dirname "$0")/test_points.sh" "$@"
