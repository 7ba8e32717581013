"""emoclim beside PyTorch on one GPU, in one run, by turns.

    compare.py PROGRAM RESULT.json [--device cuda] [--rounds 3] [--small]

PyTorch's sides are those of tests/peer (orig, dense, by hand, chunked), on the GPU, in float32, tf32 and bf16; the training
step also captured whole in a CUDA graph and through torch.compile; the encoder also through torch.compile. Times by events.
Every part is written as soon as it is measured. --device cpu --small tries the program itself out without a GPU.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import torch

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peer"))
import encoder_torch  # noqa: E402
import step_torch  # noqa: E402
import supcon_torch  # noqa: E402

TEMPERATURE = 0.07


class Clock:
    """Milliseconds of a function on the device."""

    def __init__(self, cuda):
        self.cuda = cuda

    def run(self, function):
        if not self.cuda:
            start = time.perf_counter()
            function()
            return (time.perf_counter() - start) * 1e3
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        function()
        end.record()
        end.synchronize()
        return start.elapsed_time(end)

    def median(self, function, repeats):
        return statistics.median(self.run(function) for _ in range(repeats))


def loss_problem(rows, width):
    x, y = (torch.nn.functional.normalize(torch.randn(rows, width)).requires_grad_() for _ in range(2))
    return x, y, *(torch.randint(0, supcon_torch.CLASSES, (rows,)) for _ in range(2)), TEMPERATURE


def loss_step(name, rows, width, math):
    arguments, loss = loss_problem(rows, width), supcon_torch.pick(name)

    def run():
        arguments[0].grad = arguments[1].grad = None
        if math == "bf16":
            with torch.autocast(arguments[0].device.type, torch.bfloat16):
                value = loss(*arguments)
            value.backward()
        else:
            loss(*arguments).backward()

    return run


def train_step(name, rows):
    """name: a variant of step_torch, or one with -graph or -compiled."""
    base, _, how = name.partition("-")
    step = step_torch.stepper(base, rows)
    if how == "compiled":
        return torch.compile(step, mode="reduce-overhead")
    if how != "graph":
        return step
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def encoder(name, batch):
    base, _, compiled = name.partition("+")
    run = encoder_torch.forward(base, batch)
    return torch.compile(run, mode="max-autotune-no-cudagraphs") if compiled else run


class Comparison:
    def __init__(self, options):
        self.o, self.parts = options, []
        self.cuda = options.device == "cuda"
        self.clock = Clock(self.cuda)

    def ours(self, arguments):
        done = subprocess.run([self.o.program, "bench", *map(str, arguments), "--device", self.o.device, "--json"],
                              capture_output=True, text=True)
        if done.returncode != 0:
            return None, done.stderr.strip()[-300:]
        return json.loads(done.stdout), None

    def theirs(self, make):
        """(ms, peak MB) or the reason why not: most often that the matrix does not fit."""
        try:
            if self.cuda:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            function = make()
            before = torch.cuda.memory_allocated() if self.cuda else 0
            for _ in range(3):
                first = self.clock.run(function)
            ms = self.clock.median(function, 3 if first > 500 else 20)
            peak = (torch.cuda.max_memory_allocated() - before) * 1e-6 if self.cuda else 0
            return {"ms": ms, "peak_mb": peak}
        except (RuntimeError, torch.OutOfMemoryError if hasattr(torch, "OutOfMemoryError") else RuntimeError) as error:
            return {"failed": str(error).splitlines()[0][:200]}

    def part(self, title, arguments, sides):
        """sides: name -> function that makes the step."""
        rounds, ours = {name: [] for name in sides}, []
        reason = None
        for _ in range(self.o.rounds):
            result, reason = self.ours(arguments)
            if result is None:
                break
            ours.append(result["ms"])
            for name, make in sides.items():
                if not rounds[name] or "ms" in rounds[name][-1]:
                    rounds[name].append(self.theirs(make))
        part = {"title": title, "emoclim": {"ms": ours, "failed": reason, "last": result}, "torch": rounds}
        best = min((statistics.median(r["ms"] for r in results) for results in rounds.values() if results and "ms" in results[0]),
                   default=None)
        if best and ours:
            part["best_torch_over_emoclim"] = best / statistics.median(ours)
        self.parts.append(part)
        print(title, "emoclim", [round(t, 4) for t in ours] or reason,
              {n: [round(r.get("ms", -1), 4) for r in rs] for n, rs in rounds.items()}, flush=True)
        with open(self.o.result, "w") as file:
            json.dump({"torch": torch.__version__, "parts": self.parts}, file)

    def all(self):
        small = self.o.small
        for math in ("tf32", "bf16", "float32"):
            torch.set_float32_matmul_precision("high" if math == "tf32" else "highest")
            for width in (128, 768):
                for rows in (256,) if small else (4096, 32768, 131072):
                    names = ["dense", "by_hand"] if rows <= 32768 else []
                    names.append(f"chunked{64 if small else 2048}")
                    sides = {n: lambda n=n: loss_step(n, rows, width, math) for n in names}
                    self.part(f"loss, {math}, G {rows}, D {width}",
                              ["supcon", "--math", math, "-b", rows, "-d", width, "-r", 5], sides)
        torch.set_float32_matmul_precision("highest")
        for rows in (64,) if small else (64, 1024, 16384):
            name = "by_hand" if rows <= 1024 else "chunked2048"
            names = ["orig", f"{name}+fused"] + ([f"{name}+fused-graph"] if self.cuda else [])
            self.part(f"step, float32, batch {rows}", ["step", "-b", rows, "-m", "reproducible"],
                      {n: lambda n=n: train_step(n, rows) for n in names})
        batch = 2 if small else 256
        self.part(f"ViT-B/32, bf16, batch {batch}", ["encode", "-p", "bf16", "-b", batch],
                  {n: lambda n=n: encoder(n, batch) for n in ["best-bf16"] + ([] if small else ["best-bf16+compiled"])})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("result")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(1)
    torch.set_default_device(options.device)
    Comparison(options).all()


if __name__ == "__main__":
    main()
