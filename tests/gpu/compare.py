"""PyTorch on the GPU on which emoclim was measured, in the same run.

    compare.py FIGURES RESULT.json [--seconds 115] [--device cuda] [--small]

FIGURES: the folder with what tests/gpu/run.sh measured of emoclim (bench --json), a file each; PyTorch's sides of the same
problem are measured beside them: those of tests/peer (orig, dense, by hand, chunked), in float32, tf32 and bf16; the
training step also captured whole in a CUDA graph; the encoder also through torch.compile, and with the images brought to
the GPU, as emoclim's figure has them. Times by events, one warm-up, then as many runs as there is time for.

What matters most comes first. RESULT.json is written anew after every side; a side that would not fit in memory, or finds no
time left, is left out with the reason. --device cpu --small tries the program itself out without a GPU.
"""
import argparse
import gc
import json
import os
import statistics
import sys
import time

import torch

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peer"))
import encoder_torch  # noqa: E402
import step_torch  # noqa: E402
import supcon_torch  # noqa: E402

TEMPERATURE = 0.07


class Side:
    """A way to do a problem. make() gives the function to be timed; bytes: what it needs at least; seconds: a run, about."""

    def __init__(self, make, bytes=0, seconds=0.0):
        self.make, self.bytes, self.seconds = make, bytes, seconds


def loss_problem(rows, width):
    torch.manual_seed(rows + width)
    x, y = (torch.nn.functional.normalize(torch.randn(rows, width)).requires_grad_() for _ in range(2))
    return x, y, *(torch.randint(0, supcon_torch.CLASSES, (rows,)) for _ in range(2)), TEMPERATURE


def loss_side(name, rows, width, math):
    """In bf16 everything is: matrices, powers and sums, which is as fast as PyTorch gets, and coarser than emoclim."""
    matrices = {"orig": 12, "dense": 7, "by_hand": 2}.get(name, 0)
    element = 2 if math == "bf16" else 4

    def make():
        x, y, *rest = loss_problem(rows, width)
        loss = supcon_torch.pick(name)

        def run():
            x.grad = y.grad = None
            value = loss(x.bfloat16(), y.bfloat16(), *rest) if math == "bf16" else loss(x, y, *rest)
            value.backward()
            return value

        return run

    return Side(make, matrices * rows * rows * element + 8 * rows * width * 4)


def step_side(variant, rows):
    """variant: one of step_torch, or with -graph, the whole step as a CUDA graph."""
    base, _, graph = variant.partition("-")

    def make():
        step = step_torch.stepper(base, rows, capturable=bool(graph))
        if not graph:
            return step
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(3):
                step()
        torch.cuda.synchronize()
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            step()
        return captured.replay

    return Side(make)


def encoder_side(variant, batch):
    """variant: one of encoder_torch, with +compiled for torch.compile, +upload for images that come from the host."""
    base, *options = variant.split("+")

    def make():
        run = encoder_torch.forward(base, batch, upload="upload" in options, compiled="compiled" in options)
        return run

    return Side(make)


def gemm_side(math, n):
    def make():
        a, b = (torch.randn(n, n, dtype=torch.bfloat16 if math == "bf16" else torch.float32) for _ in range(2))
        return lambda: torch.mm(a, b)

    return Side(make)


class Comparison:
    def __init__(self, options):
        self.o, self.parts = options, []
        self.chunked = {}  # rows and seconds of the last such loss, by math and width
        self.cuda = options.device == "cuda"
        self.end = time.monotonic() + options.seconds

    def left(self):
        return self.end - time.monotonic()

    def save(self):
        with open(self.o.result + ".new", "w") as file:
            json.dump({"torch": torch.__version__, "device": torch.cuda.get_device_name() if self.cuda else "cpu",
                       "parts": self.parts}, file)
        os.replace(self.o.result + ".new", self.o.result)

    def once(self, function):
        """Milliseconds on the device, and what came of it."""
        if not self.cuda:
            start = time.perf_counter()
            value = function()
            return (time.perf_counter() - start) * 1e3, value
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        value = function()
        end.record()
        end.synchronize()
        return start.elapsed_time(end), value

    def measured(self, side):
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        function = side.make()
        before = torch.cuda.memory_allocated() if self.cuda else 0
        first, value = self.once(function)
        result = {"ms": first, "runs": 0, "first_ms": first}
        if isinstance(value, torch.Tensor) and value.ndim == 0:
            result["value"] = value.detach().item()
        value = None
        budget = min(4.0, self.left() / 4) * 1e3
        second = self.once(function)[0] if first < self.left() * 500 else first
        repeats = max(1, min(50, int(budget / (second + 1e-3))))
        if first < self.left() * 500:
            times = [self.once(function)[0] for _ in range(repeats)] if second < budget else [second]
            result.update(ms=statistics.median(times), runs=len(times), min=min(times), max=max(times))
        if self.cuda:
            result["peak_mb"] = (torch.cuda.max_memory_allocated() - before) * 1e-6
        return result

    def try_side(self, side):
        """The result, or why there is none: most often that a matrix does not fit."""
        if self.left() < 3:
            return {"skipped": "no time left"}
        if 1.5 * side.seconds > self.left():
            return {"skipped": f"would take about {side.seconds:.0f} s a run, judged by a smaller problem"}
        if self.cuda:
            torch.cuda.empty_cache()
            free = torch.cuda.mem_get_info()[0]
            if side.bytes > 0.95 * free:
                return {"skipped": f"needs {side.bytes * 1e-9:.0f} GB, {free * 1e-9:.0f} are free"}
        try:
            return self.measured(side)
        except Exception as error:  # noqa: BLE001: whatever it is, the others go on
            text = str(error).splitlines()
            return {"failed": f"{type(error).__name__}: {text[0] if text else ''}"[:200]}
        finally:
            gc.collect()

    def part(self, title, figure, sides):
        path = os.path.join(self.o.figures, f"{figure}.json")
        ours = None
        if figure and os.path.exists(path):
            with open(path) as file:
                ours = json.load(file)
        part = {"title": title, "emoclim": ours, "torch": {}}
        self.parts.append(part)
        for name, side in sides.items():
            part["torch"][name] = self.try_side(side)
            self.save()
        known = {name: r["ms"] for name, r in part["torch"].items() if "ms" in r}
        if known and ours:
            best = min(known, key=known.get)
            part["best"], part["best_torch_over_emoclim"] = best, known[best] / ours["ms"]
            self.save()
        shown = {name: round(r["ms"], 4) if "ms" in r else next(iter(r.values())) for name, r in part["torch"].items()}
        ratio = f' ({part["best_torch_over_emoclim"]:.2f}x)' if "best" in part else ""
        print(f'{title}: emoclim {ours["ms"]:.4g}{ratio}' if ours else f"{title}: emoclim -", shown, flush=True)
        return part

    def loss(self, math, width, sizes, names=("dense", "by_hand")):
        torch.set_float32_matmul_precision("high" if math == "tf32" else "highest")
        for rows in sizes:
            chunk = 64 if self.o.small else 2048 if rows <= 131072 else 512
            few = list(names) if rows <= 32768 else []
            sides = {n: loss_side(n, rows, width, math) for n in few + [f"chunked{chunk}"]}
            before = self.chunked.get((math, width))
            sides[f"chunked{chunk}"].seconds = before[1] * (rows / before[0]) ** 2 if before else 0.0
            part = self.part(f"loss, {math}, G {rows}, D {width}", f"supcon-{math}-D{width}-G{rows}", sides)
            ms = part["torch"][f"chunked{chunk}"].get("ms")
            if ms:
                self.chunked[math, width] = rows, ms * 1e-3
        torch.set_float32_matmul_precision("highest")

    def gemm(self):
        """Rates, to which shares refer."""
        n = 256 if self.o.small else 8192
        for math in ("bf16", "tf32", "float32"):
            torch.set_float32_matmul_precision("high" if math == "tf32" else "highest")
            part = self.part(f"matrix product, {math}, {n}", None, {"mm": gemm_side(math, n)})
            if "ms" in part["torch"]["mm"]:
                part["gflops"] = 2e-6 * n**3 / part["torch"]["mm"]["ms"]
        torch.set_float32_matmul_precision("highest")

    def step(self, rows):
        name = "by_hand" if rows <= 1024 else "chunked2048"
        names = [f"{name}+fused", "orig"] if rows <= 1024 else [f"{name}+fused"]
        if self.cuda:
            names.insert(0, f"{name}+fused-graph")
        self.part(f"step, float32, batch {rows}", f"step-float32-B{rows}", {n: step_side(n, rows) for n in names})

    def encoder(self, batch, variants):
        self.part(f"ViT-B/32, bf16, batch {batch}", f"encode-bf16-B{batch}",
                  {n: encoder_side(n, batch) for n in variants})

    def all(self):
        small = self.o.small
        sizes = (256,) if small else (4096, 32768, 131072)
        batch = 2 if small else 256
        self.gemm()
        self.step(64)
        self.loss("bf16", 128, sizes, ("orig", "dense", "by_hand") if small else ("dense", "by_hand"))
        self.encoder(batch, ["best-bf16", "best-bf16+upload"])
        if not small:
            self.loss("bf16", 768, sizes)
            self.step(1024)
            self.step(16384)
            self.encoder(batch, ["best-bf16+compiled", "best-bf16+upload+compiled"])
            self.loss("tf32", 128, sizes)
            self.loss("bf16", 128, (1048576,))
        self.loss("float32", 128, sizes, ("orig", "dense", "by_hand") if small else ("dense", "by_hand"))
        if not small:
            self.loss("tf32", 768, sizes)
            self.loss("float32", 768, sizes)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures")
    parser.add_argument("result")
    parser.add_argument("--seconds", type=float, default=115)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(1)
    torch.set_default_device(options.device)
    Comparison(options).all()


if __name__ == "__main__":
    main()
