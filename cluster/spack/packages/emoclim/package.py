# In a clone of emoclim:  spack repo add cluster/spack && spack install emoclim
from pathlib import Path

from spack.package import *

try:  # Spack 1.0 and newer; before, spack.package has them
    from spack_repo.builtin.build_systems.cmake import CMakePackage, generator
    from spack_repo.builtin.build_systems.cuda import CudaPackage
except ImportError:
    pass


class Emoclim(CMakePackage, CudaPackage):
    """Distributed training of encoders that bring pictures and music into one space by the emotion they carry."""

    homepage = "https://arxiv.org/abs/2308.12610"  # the method
    git = Path(__file__).resolve().parents[4].as_uri()  # the clone that this file is in

    license("MIT")

    version("main", branch="main")

    variant("ffmpeg", default=True, description="Read what FFmpeg reads: MP3, Ogg, WebP ...")
    variant("cuda", default=False, description="Build the CUDA module: cuBLASLt, cuDNN, cuFFT, NCCL")

    depends_on("c", type="build")
    depends_on("cxx", type="build", when="+cuda")
    depends_on("cmake@3.24:", type="build")
    depends_on("ninja", type="build")
    depends_on("pkgconfig", type="build")

    depends_on("mpi")
    depends_on("onednn cpu_runtime=omp gpu_runtime=none")
    depends_on("hdf5~mpi+hl")
    depends_on("fftw@3: precision=float")
    depends_on("libyaml")
    depends_on("libjpeg-turbo")
    depends_on("libpng")
    depends_on("jansson")
    depends_on("xxhash")
    depends_on("openssl")
    depends_on("ffmpeg@5:", when="+ffmpeg")
    with when("+cuda"):
        depends_on("cuda@12:")
        depends_on("cudnn@9:")
        depends_on("nccl")
        conflicts("cuda_arch=none", msg="say for which cards: cuda_arch=80,90")

    generator("ninja")

    def cmake_args(self):
        args = [
            self.define("EMOCLIM_TESTS", False),
            self.define("EMOCLIM_FFMPEG", "ON" if self.spec.satisfies("+ffmpeg") else "OFF"),
            self.define("EMOCLIM_CUDA", "ON" if self.spec.satisfies("+cuda") else "OFF"),
        ]
        if self.spec.satisfies("+cuda"):
            args.append(self.define("CMAKE_CUDA_ARCHITECTURES", self.spec.variants["cuda_arch"].value))
        return args
