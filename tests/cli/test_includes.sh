#!/usr/bin/env bash
# Includes point downward: a file may include headers of its own folder and of lower floors only, and public headers
# include nothing but public headers and the C standard library.
set -eu
cd "$(dirname "$0")/../.."

declare -A floor=([core]=0 [config]=1 [compute]=2 [dist]=2 [cache]=3 [media]=3 [nn]=4 [loss]=4 [pipeline]=5
                  [eval]=6 [train]=7 [report]=8 [api]=8 [cli]=9)
wrong=0
complain() {
    echo "$1"
    wrong=$((wrong + 1))
}

checked=0
while IFS=: read -r file line text; do
    from=${file#src/}
    from=${from%%/*}
    to=${text#*\"}
    to=${to%%\"*}
    top=${to%%/*}
    [ "$top" = emoclim ] && continue
    checked=$((checked + 1))
    if [ -z "${floor[$from]+x}" ]; then
        complain "$file: folder $from is on no floor"
    elif [ -z "${floor[$top]+x}" ]; then
        # The demo generator in data/ belongs to the program.
        { [ "$from" = cli ] && [ -f "data/$to" ]; } || complain "$file:$line: $to names no floor"
    elif [[ $file == src/dist/comm_nccl* && $to == compute/cuda/* ]]; then
        : # both are the CUDA module, which is made of files of two folders
    elif [ "$from" != "$top" ] && [ "${floor[$top]}" -ge "${floor[$from]}" ]; then
        complain "$file:$line: $from (floor ${floor[$from]}) includes $to (floor ${floor[$top]})"
    fi
done < <(grep -rnE '^ *# *include *"' src --include='*.c' --include='*.h' --include='*.cu' --include='*.cuh')
[ "$checked" -gt 50 ] || complain "only $checked includes were found: is the pattern right?"

while IFS=: read -r file line text; do
    case $text in
    *'"emoclim/'* | *'<std'*.h'>' | *'<stddef.h>') ;;
    *) complain "$file:$line: a public header includes $text" ;;
    esac
done < <(grep -rnE '^ *# *include' include)

# Libraries stay in their rooms.
only() { # PATTERN FOLDERS-REGEX WHAT
    while IFS=: read -r file line _; do
        [[ $file =~ $2 ]] || complain "$file:$line: $3 is used outside its room"
    done < <(grep -rnE "^ *# *include *<$1" src data include --include='*.c' --include='*.h' --include='*.cu' --include='*.cuh')
}
only 'yaml\.h' '^src/config/' libyaml
only 'hdf5\.h' '^src/cache/' HDF5
only 'mpi\.h' '^src/dist/' MPI
only 'dnnl' '^src/compute/cpu/' oneDNN
only 'fftw3' '^src/compute/cpu/' FFTW
only 'omp\.h' '^src/compute/cpu/' OpenMP
only '(cuda|cublas|cudnn|cufft)' '^src/compute/cuda/|^src/dist/comm_nccl' CUDA
only 'nccl' '^src/dist/comm_nccl' NCCL

# Only the program prints and exits.
while IFS=: read -r file line _; do
    complain "$file:$line: the library prints or exits"
done < <(grep -rnE '(^|[^a-zA-Z_])(exit|printf|puts|perror|abort) *\(' src --include='*.c' | grep -v '^src/cli/' |
    grep -vE 'snprintf|fprintf\(stream|ec__comm_abort|ops->abort')

if [ "$wrong" -gt 0 ]; then
    echo "$wrong wrong"
    exit 1
fi
echo "$checked includes, all downward"
