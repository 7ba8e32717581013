# To be sourced at the start of a shell test, which is called with PROGRAM WORK_FOLDER TEST_PROGRAMS: names the three,
# goes to an empty work folder, and collects complaints. A test ends with "finish".
emoclim=$1
work=$2
programs=${3:-}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
mpirun=$root/tests/support/mpirun.sh
rm -rf "$work"
mkdir -p "$work"
cd "$work"
work=$PWD

wrong=0
what= # is being looked at, if a test says so: complaints begin with it
complain() {
    echo "${what:+$what: }$*"
    wrong=$((wrong + 1))
}

# Ends the test. What it looked at in all, if it says so, shows that it looked.
finish() { # [TEXT]
    if [ "$wrong" -gt 0 ]; then
        echo "$wrong wrong"
        exit 1
    fi
    echo "${1:-all as expected}"
    exit 0
}

# Ends a test whose rest would make no sense.
fail() { # TEXT
    echo "FAILED: $*"
    exit 1
}

# Ends a test that cannot run here.
skip() { # WHY
    echo "skipped: $*"
    exit 77
}

# Runs the program; its output is in the files out and err.
run() { # EXIT_CODE ARGUMENTS...
    local expected=$1 code=0
    shift
    "$emoclim" "$@" >out 2>err </dev/null || code=$?
    [ "$code" -eq "$expected" ] || complain "emoclim $*: exit code $code, expected $expected: $(head -c 600 err)"
}
says() { # FILE TEXT
    grep -qF -- "$2" "$1" || complain "$1 does not say \"$2\" but: $(head -c 600 "$1")"
}
matches() { # FILE PATTERN
    grep -qE -- "$2" "$1" || complain "$1 does not match \"$2\" but: $(tail -c 800 "$1")"
}
refuses() { # EXIT_CODE TEXT ARGUMENTS...
    run "$1" "${@:3}"
    says err "$2"
}
silent() { # FILE
    [ ! -s "$1" ] || complain "$1 should be empty but says: $(head -c 300 "$1")"
}
