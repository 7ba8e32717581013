"""One measurement of PyTorch in a process of its own: prints one line of JSON.

side.py KIND VARIANT SIZE THREADS SECONDS, KIND one of versions, check, supcon, step, encode.
"""
import json
import sys
import time

import torch

import encoder_torch
import step_torch
import supcon_torch

TEMPERATURE, WIDTH = 0.07, 128
FEWEST, MOST = 5, 1000


def memory_mb(key):
    """A line of /proc/self/status."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024e-6 for line in lines if line.startswith(key))


def measure(function, seconds):
    """Times in ms, after a warm-up; fewer than FEWEST runs only where one takes longer than all the seconds given."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak is counted from here
    base = memory_mb("VmRSS")
    times, last = [], 0
    for _ in range(3):
        start = time.perf_counter()
        function()
        last = time.perf_counter() - start
        if last > seconds:
            break
    if last > 10 * seconds:
        times.append(last * 1e3)  # so long that its first run is like any other
    count = 1 if last > seconds else max(FEWEST, min(MOST, int(seconds / last)))
    while len(times) < count:
        start = time.perf_counter()
        function()
        times.append((time.perf_counter() - start) * 1e3)
    times.sort()
    return {"median": (times[(count - 1) // 2] + times[count // 2]) / 2, "min": times[0], "max": times[-1],
            "repeats": count, "peak_mb": memory_mb("VmHWM") - base}


def problem(rows, dtype=torch.float32):
    torch.manual_seed(1)
    x, y = (torch.nn.functional.normalize(torch.randn(rows, WIDTH, dtype=dtype)).requires_grad_() for _ in range(2))
    labels = [torch.randint(0, supcon_torch.CLASSES, (rows,)) for _ in range(2)]
    return x, y, *labels, TEMPERATURE


def gradients(loss, arguments):
    arguments[0].grad = arguments[1].grad = None
    value = loss(*arguments)
    value.backward()
    return value.detach(), arguments[0].grad, arguments[1].grad


def check():
    """Every way to write the loss against the plain one in double precision. Returns the largest relative error."""
    worst = 0
    for rows in (3, 64, 200):
        arguments = problem(rows, torch.float64)
        exact = gradients(supcon_torch.orig, arguments)
        arguments = [t.detach().float().requires_grad_() for t in arguments[:2]] + list(arguments[2:])
        for name in ("orig", "dense", "by_hand", "chunked64", "chunked48"):
            for got, want in zip(gradients(supcon_torch.pick(name), arguments), exact):
                worst = max(worst, float((got.double() - want).norm() / want.norm()))
    return {"worst_relative_error": worst}


def main(kind, variant="", size="0", threads="1", seconds="1"):
    torch.set_num_threads(int(threads))
    if kind == "versions":
        return {"torch": torch.__version__, "python": sys.version.split()[0], "config": torch.__config__.show()}
    if kind == "check":
        return check()
    if kind == "supcon":
        loss, arguments = supcon_torch.pick(variant), problem(int(size))
        return measure(lambda: gradients(loss, arguments), float(seconds))
    if kind == "step":
        return measure(step_torch.stepper(variant, int(size)), float(seconds))
    if kind == "encode":
        return measure(encoder_torch.forward(variant, int(size)), float(seconds))
    raise SystemExit("unknown kind " + kind)


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
