"""Markdown of what peer.py measured. report.py FILE.json prints it again."""
import json
import sys


def number(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def rows_of(problem, gemm):
    ours = problem["sides"][0]
    for side in problem["sides"]:
        rate = problem["operations"] / side["median"] * 1e-6
        share = f"{100 * rate / gemm:.0f} %" if gemm else ""
        ratio = "" if side is ours else f"{side['ratio_of_medians']:.2f} / {side['ratio_of_minima']:.2f}"
        yield (problem["title"], side["name"], number(side["median"]), f"{number(side['min'])} - {number(side['max'])}",
               f"{side['rounds']} x {side['repeats'] // side['rounds']}", ratio, share, f"{side['peak_mb']:.0f}",
               side["variant"] if "torch" in side["name"] else "")


def table(about, problems):
    """One row a side; the first side of each problem is what the others are divided by."""
    gemm = {}
    for problem in problems:
        best = max(side["gemm_gflops"] for side in problem["sides"])
        gemm[problem["threads"]] = max(best, gemm.get(problem["threads"], 0))
    lines = [f"{about['date']}; {about['processor']}, {about['processors']} processors; load "
             f"{about['load_at_start'][0]:.2f} at the start, {about['load_at_end'][0]:.2f} at the end.",
             "Largest rate of a large matrix product seen: " + ", ".join(
                 f"{rate:.0f} GF/s with {threads} thread(s)" for threads, rate in sorted(gemm.items())) + ".", "",
             "| what | who | median, ms | least - most | rounds x repeats | time / emoclim's: medians / minima "
             "| share of product rate | MB | way |",
             "|---|---|---|---|---|---|---|---|---|"]
    for problem in problems:
        lines += ["| " + " | ".join(row) + " |" for row in rows_of(problem, gemm[problem["threads"]])]
        lines.append("| | *processors' time taken by others: %.0f %%; load %.2f - %.2f* | | | | | | | |" % (
            100 * problem["busy_by_others"], *problem["load"]))
    return "\n".join(lines)


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        run = json.load(file)
    print(table(run["about"], run["problems"]))
