"""Runs cluster/spack's recipe with a stand-in for Spack's modules: spack_recipe.py ROOT

What it can tell: the file is Python, its directives have arguments of the right kind, variants that are asked for are
declared, options for CMake exist, and the libraries are those of launch/setup.sh. Not: whether Spack has these packages.
"""
import contextlib
import re
import sys
import types
from pathlib import Path

root = Path(sys.argv[1])
said = {name: [] for name in ("version", "variant", "depends_on", "conflicts", "license", "generator", "when")}


def directive(name):
    def call(*args, **kwargs):
        assert args and all(isinstance(a, str) for a in args), (name, args)
        said[name].append((args, kwargs))

    return call


@contextlib.contextmanager
def when(condition):
    said["when"].append(((condition,), {}))
    yield


class Base:
    def define(self, name, value):
        return name, value


class Spec:
    """A spec in which the variants of one build are on."""

    def __init__(self, on):
        self.on = on
        self.variants = {"cuda_arch": types.SimpleNamespace(value=("80", "90"))}

    def satisfies(self, condition):
        assert condition[0] == "+" and condition[1:] in variants, condition
        return condition[1:] in self.on


module = types.ModuleType("spack.package")
for name in said:
    setattr(module, name, directive(name))
module.when = when
module.CMakePackage = type("CMakePackage", (Base,), {})
module.CudaPackage = type("CudaPackage", (), {})
sys.modules.update({"spack": types.ModuleType("spack"), "spack.package": module})

recipe = root / "cluster/spack/packages/emoclim/package.py"
space = {"__file__": str(recipe)}
exec(compile(recipe.read_text(), str(recipe), "exec"), space)
variants = {args[0] for args, _ in said["variant"]}
assert variants == {"ffmpeg", "cuda"}, variants
assert re.search(r"namespace: *emoclim", (root / "cluster/spack/repo.yaml").read_text())

cmake = (root / "CMakeLists.txt").read_text()
assert space["Emoclim"].git == root.resolve().as_uri(), space["Emoclim"].git
assert [(args, kwargs["branch"]) for args, kwargs in said["version"]] == [(("main",), "main")], said["version"]
options = set(re.findall(r"^(?:option|set)\((EMOCLIM_[A-Z]+) .*(?:ON|OFF|CACHE)", cmake, re.M))
options.add("CMAKE_CUDA_ARCHITECTURES")
for on in (set(), {"ffmpeg"}, {"cuda"}, {"ffmpeg", "cuda"}):
    package = space["Emoclim"]()
    package.spec = Spec(on)
    given = dict(package.cmake_args())
    assert set(given) <= options, set(given) - options
    assert given["EMOCLIM_TESTS"] is False
    for name in variants:
        assert given["EMOCLIM_" + name.upper()] == ("ON" if name in on else "OFF"), given
    assert ("CMAKE_CUDA_ARCHITECTURES" in given) == ("cuda" in on), given

# Each library that CMake looks for, under the name that it has in Spack.
names = {"yaml-0.1": "libyaml", "fftw3f": "fftw", "libturbojpeg": "libjpeg-turbo", "libjpeg": "libjpeg-turbo",
         "libxxhash": "xxhash", "libcrypto": "openssl", "MPI": "mpi", "dnnl": "onednn"}
wanted = set(re.search(r"EMOCLIM_MODULES ([^)]+)\)", cmake).group(1).split())
wanted |= set(re.findall(r"find_package\((MPI|dnnl)", cmake)) | {"hdf5"}
asked = {re.match(r"[a-z0-9-]+", args[0]).group(0) for args, _ in said["depends_on"]}
missing = {names.get(w, w) for w in wanted} - asked
assert not missing, f"the recipe does not ask for {missing}"
assert any(kwargs.get("when") == "+ffmpeg" for args, kwargs in said["depends_on"] if args[0].startswith("ffmpeg"))
print("the recipe asks for", *sorted(asked))
