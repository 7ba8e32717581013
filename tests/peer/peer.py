"""emoclim beside PyTorch on this machine, both in one run, by turns (A B A B ...).

    peer.py PROGRAM [--python INTERPRETER]... [--only REGEX] [--large] [--rounds N] [--seconds S] [--json FILE]
    peer.py PROGRAM --quick          what ctest runs: small sizes, once; fails where emoclim is the slower one

Needs nothing itself; an INTERPRETER needs torch (several may be named, to meet several versions of it). Each
measurement is a process of its own. "orig" is PyTorch as research programs write it and as it comes; "best" the fastest
of several good ways to write it (supcon_torch.py), each tried on one and on all processors and with waiting threads
that spin and that sleep. docs/benchmarks/README.md has more. Exit code 77: no torch.
"""
import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time

from report import table

HERE = os.path.dirname(os.path.abspath(__file__))
SKIPPED = 77
WORST_ERROR = 1e-5  # relative, of float32 against float64; measured 5e-7
# glibc: keep freed pages instead of handing them back after every large tensor.
KEEP_PAGES = {"MALLOC_TOP_PAD_": str(1 << 28), "MALLOC_MMAP_THRESHOLD_": str(1 << 34), "MALLOC_TRIM_THRESHOLD_": str(1 << 34)}


class Failed(Exception):
    pass


def run_json(command, environment=None):
    """Runs it and returns what its last line of output says."""
    done = subprocess.run(command, env={**os.environ, **(environment or {})}, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)} exited with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


class Side:
    """One of those that are compared: a command that measures itself."""

    def __init__(self, name, command, environment=None, note="", rounds=1000):
        self.name, self.command, self.environment, self.note = name, command, environment, note
        self.rounds, self.results = rounds, []

    def measure(self):
        """Milliseconds: median and least."""
        result = run_json(self.command, self.environment)
        self.results.append(result)
        return result["median"], result["min"]

    def summary(self):
        """Over the rounds: median of their medians, least and greatest time of all."""
        medians = [r["median"] for r in self.results]
        return {"name": self.name, "variant": self.note, "median": statistics.median(medians),
                "min": min(r["min"] for r in self.results), "max": max(r["max"] for r in self.results),
                "repeats": sum(r["repeats"] for r in self.results), "rounds": len(medians), "round_medians": medians,
                "peak_mb": max(r["peak_mb"] if "peak_mb" in r else r["memory_mb"] for r in self.results),
                "gemm_gflops": max((r.get("gemm_gflops", 0) for r in self.results), default=0),
                "fma_gflops": max((r.get("fma_gflops", 0) for r in self.results), default=0)}


class Peer:
    """A Python interpreter with torch."""

    def __init__(self, interpreter):
        self.interpreter = interpreter
        self.versions = run_json([interpreter, os.path.join(HERE, "side.py"), "versions"])
        self.label = "torch " + self.versions["torch"].split("+")[0]

    def side(self, name, kind, variant, size, threads, seconds, environment=None, rounds=1000):
        command = [self.interpreter, os.path.join(HERE, "side.py"), kind, variant, str(size), str(threads), str(seconds)]
        how = " ".join(f"{k}={v}" for k, v in (environment or {}).items() if k not in KEEP_PAGES)
        # OpenBLAS has threads of its own, which torch.set_num_threads does not reach.
        environment = {**(environment or {}), "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
        return Side(f"{name}, {self.label}", command, environment, f"{variant}, {threads} threads {how}".strip(), rounds)

    def best(self, kind, variants, size, threads, seconds, keep):
        """The fastest of all ways, by the least time in a short trial of each: other work spares that sooner than the
        median."""
        trials = []
        policies = [{"OMP_WAIT_POLICY": "passive"}]
        if "BLAS_INFO=mkl" not in self.versions["config"]:
            policies.append({"OMP_WAIT_POLICY": "passive", "OPENBLAS_CORETYPE": "Haswell"})
        # Threads that spin win on a quiet machine and lose by an order of magnitude beside other work.
        spinning = [{"OMP_WAIT_POLICY": "active"}] if os.getloadavg()[0] < os.cpu_count() else []
        for variant in variants:
            for count in sorted({1, threads}) if size < 4096 else [threads]:
                for policy in policies if count == 1 else policies + spinning:
                    environment = {**KEEP_PAGES, **policy}
                    trial = self.side("trial", kind, variant, size, count, 0.2, environment)
                    try:
                        trials.append((trial.measure()[1], variant, count, environment))
                    except Failed as failure:
                        refused = failure  # say, an optimizer's kind that this torch has for GPUs only
        if not trials:
            raise refused
        trials.sort(key=lambda trial: trial[0])
        log("  trials of %s: %s", self.label, "; ".join(
            f"{v} {c}T {e['OMP_WAIT_POLICY']} {e.get('OPENBLAS_CORETYPE', '')} {ms:.3g} ms" for ms, v, c, e in trials[:6]))
        return [self.side("best", kind, variant, size, count, seconds, environment)
                for _, variant, count, environment in trials[:keep]]


def log(text, *values):
    print(text % values, file=sys.stderr, flush=True)


def busy_seconds():
    """Processor time of the whole machine, and of what this program started."""
    with open("/proc/stat") as lines:
        fields = [int(f) for f in next(lines).split()[1:]]
    user, nice, system, _, _, irq, soft, steal = fields[:8]
    own = os.times()
    return ((user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK"),
            own.children_user + own.children_system + own.user + own.system)


def compare(title, threads, sides, rounds, operations):
    """Rounds over all sides in turn. Returns what is written to the file about this problem."""
    start, load, (busy, own) = time.time(), os.getloadavg()[0], busy_seconds()
    for number in range(rounds):
        for side in sides:
            if number < side.rounds:
                log("  %s, round %d: %s (%s) %.3f ms, least %.3f", title, number + 1, side.name, side.note, *side.measure())
    busy_after, own_after = busy_seconds()
    elapsed = (time.time() - start) * os.cpu_count()
    result = {"title": title, "threads": threads, "operations": operations, "load": [load, os.getloadavg()[0]],
              "busy_by_others": max(0.0, (busy_after - busy) - (own_after - own)) / elapsed,
              "sides": fastest_best([side.summary() for side in sides])}
    ours = result["sides"][0]
    for other in result["sides"]:
        other["ratio_of_medians"] = other["median"] / ours["median"]
        other["ratio_of_minima"] = other["min"] / ours["min"]
    return result


def fastest_best(summaries):
    """Where several ways competed for "best", only the fastest stays."""
    kept = {}
    for s in summaries:
        if s["name"] not in kept or s["min"] < kept[s["name"]]["min"]:
            kept[s["name"]] = s
    return list(kept.values())


class Run:
    def __init__(self, options):
        self.o = options
        self.peers = [Peer(interpreter) for interpreter in options.python]
        self.problems = []
        self.about = {"processor": processor(), "processors": len(os.sched_getaffinity(0)),
                      "load_at_start": os.getloadavg(), "system": platform.platform(),
                      "emoclim": run_json([options.program, "version", "--json"]),
                      "torch": [peer.versions for peer in self.peers],
                      "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}

    def save(self):
        """After every part, so that a run cut short has not been for nothing."""
        self.about["load_at_end"] = os.getloadavg()
        if self.o.json:
            with open(self.o.json, "w") as file:
                json.dump({"about": self.about, "problems": self.problems}, file, indent=1)

    def emoclim(self, part, arguments, name="emoclim"):
        return Side(name, [self.o.program, "bench", part, "--json", *map(str, arguments)], None, " ".join(map(str, arguments)))

    def add(self, title, threads, sides, kind, size, orig, variants, operations, keep=2, orig_rounds=1000):
        if self.o.only and not re.search(self.o.only, title):
            return
        log("%s", title)
        for peer in self.peers:
            if orig_rounds:
                sides.append(peer.side("orig", kind, orig, size, threads, self.o.seconds, rounds=orig_rounds))
            sides += peer.best(kind, variants, size, threads, self.o.seconds, keep)
        self.problems.append(compare(title, threads, sides, self.o.rounds, operations))
        self.save()

    def supcon(self, rows, threads, variants, keep=2, orig_rounds=1000):
        self.add(f"SupCon, N = {rows}, {threads} thread(s)", threads,
                 [self.emoclim("supcon", ["-b", rows, "-n", threads])], "supcon", rows, "orig", variants,
                 16 * rows ** 2 * 128, keep, orig_rounds)

    def step(self, rows, threads, variants, keep=2, orig_rounds=1000):
        sides = [self.emoclim("step", ["-b", rows, "-n", threads, "-m", mode], f"emoclim, {mode}")
                 for mode in ("fast", "reproducible")]
        products = 2 * rows * (2 * (512 + 256) * 256 + 3 * 2 * 256 * 128)
        self.add(f"training step, batch {rows}, {threads} thread(s)", threads, sides, "step", rows, "orig",
                 variants, 16 * rows ** 2 * 128 + products, keep, orig_rounds)

    def encode(self, batch, threads):
        for precision, suffix in (("float32", ""), ("bf16", "-bf16")):
            self.add(f"CLIP ViT-B/32, {precision}, batch {batch}, {threads} thread(s)", threads,
                     [self.emoclim("encode", ["-b", batch, "-n", threads, "-p", precision])], "encode", batch,
                     "orig" + suffix, ["best" + suffix], 8.82e9 * batch, 2)

    def all(self):
        cores = len(os.sched_getaffinity(0))
        small, middle = ["dense", "by_hand", "chunked128"], ["by_hand", "chunked128", "chunked256"]
        fused = lambda names: [f"{name}+{kind}" for name in names for kind in ("fused", "foreach")]
        self.supcon(64, 1, small)
        self.step(64, cores, fused(small[:2]))
        self.supcon(4096, cores, middle)
        self.step(1024, cores, [name + "+foreach" for name in middle])
        if self.o.large:
            self.step(8192, cores, ["chunked128+foreach", "chunked256+foreach"], 1, 1)
            self.supcon(16384, cores, ["chunked128", "chunked256"], 1, 1)
        self.supcon(512, cores, small + ["chunked256"])
        self.encode(8, cores)

    def quick(self):
        self.supcon(64, 1, ["by_hand"], 1)
        self.step(64, 1, ["by_hand+foreach"], 1)
        slower = [f"{p['title']}: {s['name']}" for p in self.problems for s in p["sides"]
                  if "torch" in s["name"] and s["ratio_of_minima"] < 1]
        if slower:
            raise Failed("faster than emoclim: " + "; ".join(slower))


def processor():
    with open("/proc/cpuinfo") as lines:
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
    known = {key.strip(): value.strip() for key, value in fields.items()}
    return f"{known.get('model name', platform.machine())} (family {known.get('cpu family')}, model {known.get('model')})"


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--python", action="append")
    parser.add_argument("--only", metavar="REGEX", help="only the parts whose titles match, say 'SupCon|batch 64,'")
    parser.add_argument("--large", action="store_true", help="N = 16384 and batch 8192 too: 14 GB and some minutes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement of PyTorch, as emoclim bench takes")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    options.python = options.python or [sys.executable]
    if options.quick:
        options.rounds, options.seconds = 2, 0.3
    return options


def main():
    options = parse()
    try:
        run = Run(options)
    except Failed as failure:
        if "No module named 'torch'" not in str(failure):
            raise
        print(f"no torch: {failure}", file=sys.stderr)
        return SKIPPED
    for peer in run.peers:
        error = run_json([peer.interpreter, os.path.join(HERE, "side.py"), "check"])["worst_relative_error"]
        if error > WORST_ERROR:
            raise Failed(f"{peer.label}: ways to write the loss differ by {error:g}, expected {WORST_ERROR:g} at most")
    if options.quick:
        run.quick()
    else:
        run.all()
    run.save()
    print(table(run.about, run.problems))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failure:
        sys.exit(str(failure))
