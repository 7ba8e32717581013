#!/usr/bin/env bash
# What emoclim needs to be built and tested, and how to get it.
#
#   launch/setup.sh [--cluster]          installs what is missing (apt, as root or by sudo); elsewhere prints the list
#   launch/setup.sh [--cluster] --check  only says what is missing; exit status 1 if anything is
#
# --cluster: what tests need for a throw-away Slurm and hosts made of network namespaces, and nothing else.
# On a machine that has everything no package manager is started.
set -u
group=build check=false
for option in "$@"; do
    case $option in
    --cluster) group=cluster ;;
    --check) check=true ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
done

missing_what=()
missing_packages=()
need() { # WHAT PACKAGE TEST-COMMAND...
    local what=$1 package=$2
    shift 2
    if ! "$@" >/dev/null 2>&1; then
        missing_what+=("$what")
        missing_packages+=("$package")
    fi
}
has() { command -v "$1"; }
module() { command -v pkg-config && pkg-config --exists "$@"; }
header() { echo "#include <$1>" | cc -E -x c -; }
library() { echo 'int main(void) { return 0; }' | cc -x c - -o /dev/null "-l$1"; }

if [ $group = cluster ]; then
    need "MUNGE" munge has munged
    need "Slurm's controller" slurmctld has slurmctld
    need "Slurm's node daemon" slurmd has slurmd
    need "Slurm's commands" slurm-client has sbatch
    need "Slurm's plugins" slurm-wlm-basic-plugins ls /usr/lib/*/slurm-wlm/mpi_pmix.so
    need "ip (network namespaces)" iproute2 has ip
else
    need "a C compiler" build-essential has cc
    need "a C++ compiler (tests)" build-essential has c++
    need "CMake 3.24 or newer" cmake has cmake
    need "Ninja" ninja-build has ninja
    need "pkg-config" pkgconf has pkg-config
    need "Open MPI's launcher" openmpi-bin has mpirun
    need "Open MPI" libopenmpi-dev has mpicc
    need "libyaml" libyaml-dev module yaml-0.1
    need "HDF5 (serial, C)" libhdf5-dev sh -c "$(declare -f module); module hdf5-serial || module hdf5"
    need "oneDNN" libdnnl-dev header dnnl.h
    need "an OpenCL loader (oneDNN's CMake package asks for it)" ocl-icd-opencl-dev library OpenCL
    need "FFTW, single precision" libfftw3-dev module fftw3f
    need "FFmpeg's libraries" "libavformat-dev libavcodec-dev libswresample-dev libswscale-dev" \
        module libavformat libavcodec libswresample libswscale libavutil
    need "libjpeg-turbo" "libturbojpeg0-dev libjpeg-dev" module libjpeg libturbojpeg
    need "libpng" libpng-dev module libpng
    need "Jansson" libjansson-dev module jansson
    need "xxHash" libxxhash-dev module libxxhash
    need "OpenSSL's libcrypto" libssl-dev module libcrypto
    need "cmocka (tests)" libcmocka-dev module cmocka
fi

if [ ${#missing_what[@]} -eq 0 ]; then
    exit 0
fi
packages=$(printf '%s\n' "${missing_packages[@]}" | tr ' ' '\n' | sort -u | tr '\n' ' ')
echo "Missing:" >&2
printf '  %s\n' "${missing_what[@]}" >&2
if $check; then
    exit 1
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo -n)
fi
if ! command -v apt-get >/dev/null 2>&1 || { [ "$(id -u)" -ne 0 ] && ! sudo -n true 2>/dev/null; }; then
    echo "Please install these (names of Debian 12 packages), then run this again:" >&2
    echo "  $packages" >&2
    exit 4
fi
echo "Installing: $packages" >&2
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
"${as_root[@]}" apt-get install -y -q --no-install-recommends $packages >&2 || {
    # The package lists of a fresh machine may be missing or old.
    "${as_root[@]}" apt-get update -q >&2
    "${as_root[@]}" apt-get install -y -q --no-install-recommends $packages >&2
} || exit 4
exec "$0" "$@" --check
