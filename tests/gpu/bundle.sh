#!/usr/bin/env bash
# Packs the development packages that a machine with a GPU, the CUDA toolkit, a C compiler, CMake and Ninja may lack, so that
# emoclim can be built and tested there without a network and without root.
#
#   tests/gpu/bundle.sh [FOLDER]        default: build/gpu-bundle
#
# FOLDER/bundle.tar.xz is what to carry (under 60 MiB); unpacked, `. bundle/env.sh` sets every path. Needs Debian 12 (apt-get
# download, dpkg) here, and a C library of version 2.36 or newer there. FFmpeg is left out: the build does without.
set -eu
cd "$(dirname "$0")/../.."
folder=${1:-build/gpu-bundle}
most_mib=60
mkdir -p "$folder/debs"
folder=$(realpath "$folder")
root=$folder/bundle
libs=$root/usr/lib/x86_64-linux-gnu
rm -rf "$root"
mkdir -p "$root"
cd "$folder/debs"

# Libraries, and the -dev packages that name them to the compiler.
seeds="openmpi-bin openmpi-common libopenmpi3 libopenmpi-dev libpmix2 libhwloc15 libevent-core-2.1-7 libevent-pthreads-2.1-7
    libhdf5-103-1 libhdf5-hl-100 libhdf5-dev libaec-dev libyaml-0-2 libyaml-dev libdnnl2 libdnnl-dev
    ocl-icd-libopencl1 ocl-icd-opencl-dev opencl-c-headers opencl-clhpp-headers libfftw3-single3 libfftw3-dev
    libturbojpeg0 libturbojpeg0-dev libjpeg62-turbo libjpeg62-turbo-dev libpng16-16 libpng-dev zlib1g zlib1g-dev
    libjansson4 libjansson-dev libxxhash0 libxxhash-dev libssl3 libssl-dev libcmocka0 libcmocka-dev
    pkgconf pkgconf-bin libpkgconf3"

packages=()
unpack() { # PACKAGE: into the root, once
    local p
    for p in "${packages[@]}"; do [ "$p" != "$1" ] || return 0; done
    packages+=("$1")
    ls "$1"_*.deb >/dev/null 2>&1 || apt-get download -q "$1" >/dev/null 2>"$folder/error" || {
        cat "$folder/error" >&2
        echo "bundle.sh: cannot download $1" >&2
        exit 4
    }
    dpkg -x "$1"_*.deb "$root"
}
for p in $seeds; do unpack "$p"; done

# Open MPI's plug-ins for hardware and schedulers that the other machine does not have: each would bring libraries.
trim_plugins() {
    find "$root" -path '*/openmpi3/*' -regextype posix-extended \
        -regex '.*/mca_(.*ucx.*|.*ofi.*|.*openib.*|.*psm.*|.*scif.*|spml.*|scoll.*|memheap.*|sshmem.*|atomic.*|ras_(slurm|gridengine|tm)|plm_(slurm|tm)|ess_(slurm|tm)|schizo_(slurm|flux)|pmix_flux|.*_hcoll)\.so' -delete
    find "$root" \( -name 'liboshmem*' -o -name 'libmca_common_ofi*' -o -name 'libmca_common_ucx*' -o -name 'libmca_common_verbs*' \) -delete
}
trim_plugins

# What the libraries themselves need, until nothing is missing; C, C++ and Fortran's run time are the other machine's.
# liboshmem is dropped on purpose.
theirs='^(liboshmem|ld-linux|libc\.|libm\.|libdl\.|librt\.|libpthread\.|libresolv\.|libutil\.|libmvec|libstdc\+\+|libgcc_s|libgomp|libgfortran|libquadmath|libcrypt\.)'
while :; do
    find "$root" -type f \( -name '*.so*' -o -path '*/bin/*' \) -print0 | xargs -0 -r readelf -d 2>/dev/null |
        sed -n 's/.*(NEEDED).*\[\(.*\)\].*/\1/p' | sort -u | grep -Ev "$theirs" >"$folder/needed"
    find "$root" -name '*.so*' -printf '%f\n' | sort -u >"$folder/present"
    missing=$(comm -23 "$folder/needed" "$folder/present")
    [ -n "$missing" ] || break
    known=${#packages[@]}
    for library in $missing; do
        package=$(dpkg -S "*/$library" 2>/dev/null | head -n 1 | cut -d: -f1)
        [ -n "$package" ] || { echo "bundle.sh: no installed package has $library" >&2; exit 4; }
        unpack "$package"
    done
    [ ${#packages[@]} -gt "$known" ] || { echo "bundle.sh: not to be had:" $missing >&2; exit 1; }
    trim_plugins
done
[ ! -d "$root/lib" ] || { cp -a "$root/lib/." "$root/usr/lib/" && rm -r "$root/lib"; }

# Links that Debian makes when it configures a package, which was only unpacked here.
for name in mpirun mpiexec; do ln -sf orterun "$root/usr/bin/$name"; done
ln -sf opal_wrapper "$root/usr/bin/mpicc"
ln -sf pkgconf "$root/usr/bin/pkg-config"
for library in "$libs"/openmpi/lib/lib*.so; do
    [ -e "$libs/$(basename "$library")" ] || ln -s "openmpi/lib/$(basename "$library")" "$libs/"
done
ln -sf libhdf5_serial.so "$libs/libhdf5.so"
# HDF5's pkg-config file names curl and sz; they are only linked against.
for name in libcurl libsz; do
    file=$(find "$libs" -name "$name.so.*" | head -n 1)
    [ -z "$file" ] || [ -e "$libs/$name.so" ] || ln -s "$(basename "$file")" "$libs/$name.so"
done

# Wrapper programs with paths of their own, and what only people read.
rm -f "$root"/usr/bin/h5*c* "$root"/usr/bin/h5fc
rm -rf "$root"/usr/share/{doc,man,lintian,bug,locale,info} "$root"/usr/lib/*/fortran "$root"/usr/sbin
find "$libs" \( -name '*.a' -o -name '*_fortran*' -o -name '*_cpp.so*' -o -name '*mpi_cxx*' -o -name 'libfftw3_*' -o -name 'libfftw3l*' \
    -o -name 'libfftw3q*' -o -name 'libfftw3.so*' \) -delete

cat >"$root/env.sh" <<'ENV'
# . bundle/env.sh: build and run with what is in this folder.
bundle=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
libs=$bundle/usr/lib/x86_64-linux-gnu
export PATH=$bundle/usr/bin:$PATH
export LD_LIBRARY_PATH=$libs:$libs/openmpi/lib:$libs/hdf5/serial:$libs/pmix2/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LIBRARY_PATH=$libs:$libs/hdf5/serial CPATH=$bundle/usr/include:$bundle/usr/include/x86_64-linux-gnu
export PKG_CONFIG=$bundle/usr/bin/pkgconf PKG_CONFIG_SYSROOT_DIR=$bundle
export PKG_CONFIG_LIBDIR=$libs/pkgconfig:$bundle/usr/share/pkgconfig
export CMAKE_PREFIX_PATH=$bundle/usr CMAKE_LIBRARY_PATH=$libs CMAKE_INCLUDE_PATH=$bundle/usr/include
export MPI_HOME=$bundle/usr OPAL_PREFIX=$bundle/usr OPAL_SYSCONFDIR=$bundle/etc OPAL_LIBDIR=$libs/openmpi/lib
export OPAL_INCLUDEDIR=$libs/openmpi/include PMIX_INSTALL_PREFIX=$libs/pmix2 PMIX_MCA_pcompress_base_silence_warning=1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_plm=isolated OMPI_MCA_pml=ob1
export OMPI_MCA_btl=self,vader,tcp OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_oob_tcp_if_include=lo
export EMOCLIM_BUNDLE=$bundle
unset bundle libs
ENV

tar -C "$folder" -cf - bundle | xz -T0 -6 >"$folder/bundle.tar.xz"
mib=$(($(stat -c %s "$folder/bundle.tar.xz") / 1048576))
echo "$folder/bundle.tar.xz: $mib MiB, ${#packages[@]} packages, $(du -sm "$root" | cut -f1) MiB unpacked"
[ "$mib" -lt $most_mib ] || { echo "bundle.sh: that is more than $most_mib MiB" >&2; exit 1; }
