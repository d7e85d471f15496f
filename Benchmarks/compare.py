#!/usr/bin/env python3
"""The speed of a Glow's passes beside the BLAS's matrix product and beside eager PyTorch: what `make bench` writes.

Each round runs `aipo bench flow` and then the same passes in PyTorch, so that what else the machine does falls on
both. Without torch (see requirements.txt) the table has our own figures alone.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from typing import NamedTuple

import roofline

# Levels, steps, hidden channels, size and channels of the images; G is the shipped Glow.
FLOWS = {"G": (2, 16, 64, 28, 1), "S": (3, 8, 128, 32, 1), "M": (4, 8, 256, 64, 3), "L": (4, 32, 512, 64, 3)}


class Setting(NamedTuple):
    """One block of the table."""

    flow: str
    batch: int
    threads: int
    rounds: int
    precision: str = "float32"

    def __str__(self):
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        precision = "" if self.precision == "float32" else f", {self.precision}"
        return f"**{self.flow}**, batch {self.batch}, {threads}{precision}"


# Settings of one line are measured in turn with each other.
SETTINGS = [
    [Setting("G", 1, 1, 9), Setting("G", 1, 2, 9)],
    [Setting("S", 1, 1, 7)],
    [Setting("S", 64, 2, 5)],
    [Setting("S", 1, 1, 5, "float64"), Setting("S", 64, 2, 3, "float64")],
    [Setting("M", 1, 1, 5)],
    [Setting("M", 8, 1, 5), Setting("M", 8, 2, 5)],
    [Setting("M", 8, 2, 3, "float64")],
    [Setting("L", 8, 2, 3)],
]
# Pass, and forward passes that it counts as.
PASSES = [("forward", 1), ("inverse", 1), ("latent_gradient", 2), ("pixel_gradient", 2), ("training_step", 3)]


def ours(aipo, setting):
    """One round of `aipo bench flow`."""
    flags = ["--levels", "--steps", "--hidden", "--size", "--channels"]
    command = [aipo, "bench", "flow", "--repeat", "1", "--json", "--precision", setting.precision]
    command += ["--batch", str(setting.batch), "--threads", str(setting.threads)]
    for flag, value in zip(flags, FLOWS[setting.flow]):
        command += [flag, str(value)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def theirs(passes):
    """Milliseconds of one run of each pass in PyTorch, the mean over as many as take a moment."""
    result = {}
    passes.use_threads()
    for name, _ in PASSES:
        run = getattr(passes, name)
        start = time.perf_counter()
        run()
        once = time.perf_counter() - start
        if once > 1:
            result[name] = 1e3 * once
            continue
        runs = max(1, int(0.03 / once))
        start = time.perf_counter()
        for _ in range(runs):
            run()
        result[name] = 1e3 * (time.perf_counter() - start) / runs
    return result


def peak_megabytes():
    """The most memory that this process has held."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024e-6
    return float("nan")


def pytorch_memory(setting):
    """PyTorch's peak memory for the step that moves z, in a process of its own."""
    command = [sys.executable, __file__, "--memory", setting.flow, str(setting.batch), str(setting.threads)]
    command.append(setting.precision)
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def pytorch_passes(setting):
    """The passes in PyTorch."""
    from pytorch_glow import Passes

    return Passes(*FLOWS[setting.flow], setting.batch, setting.threads, setting.precision)


def measure(aipo, settings, quick, torch_too):
    """Medians of both over the rounds, in which each of the settings has its turn."""
    passes = {setting: pytorch_passes(setting) for setting in settings} if torch_too else {}
    for setting in passes:
        theirs(passes[setting])  # the first run of each is slow
    us, them = {setting: [] for setting in settings}, {setting: [] for setting in settings}
    for number in range(1 if quick else settings[0].rounds):
        for setting in settings:
            print(f"{setting}: round {number + 1}", file=sys.stderr)
            us[setting].append(ours(aipo, setting))
            if torch_too:
                them[setting].append(theirs(passes[setting]))
    return [summary(setting, us[setting], them[setting]) for setting in settings]


def summary(setting, us, them):
    """The figures of one setting."""
    result = {"setting": setting, "gflop": us[0]["flow_gflop"]}
    result["peak"] = max(one["sgemm_gflops"] for one in us)
    result["memory"] = max(one["peak_rss_mb"] for one in us)
    result["theirMemory"] = pytorch_memory(setting) if them else None
    result["blas"], result["kernels"] = us[0]["blas"], us[0]["kernels"]
    for name, count in PASSES:
        ms = statistics.median(one[name + "_ms"] for one in us)
        their_ms = statistics.median(one[name] for one in them) if them else None
        result[name] = {"ms": ms, "theirMs": their_ms, "work": count * result["gflop"]}
    return result


def scaling(results):
    """What a second thread brings, beside what it brings the product of the BLAS, as lines of Markdown."""
    lines = ["| from 1 to 2 threads | product | " + " | ".join(name.replace("_", " ") for name, _ in PASSES) + " |"]
    lines.append("|---|" + "---:|" * (1 + len(PASSES)))
    by_setting = {result["setting"]: result for result in results}
    for setting, one in by_setting.items():
        two = by_setting.get(setting._replace(threads=2))
        if setting.threads == 1 and two:
            gains = [two["peak"] / one["peak"]] + [one[name]["ms"] / two[name]["ms"] for name, _ in PASSES]
            row = [f"**{setting.flow}**, batch {setting.batch}"] + [f"{gain:.2f}×" for gain in gains]
            lines.append("| " + " | ".join(row) + " |")
    return lines


def machine():
    """The processor, in words."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as info:
            name = next(line.split(":")[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {len(os.sched_getaffinity(0))} cores, {platform.system()} on {platform.machine()}"


def table(results, torch_version):
    """The figures as Markdown."""
    first = results[0]
    lines = [
        f"{machine()}; {first['blas']}; kernels `{first['kernels']}`"
        + (f"; PyTorch {torch_version}, eager" if torch_version else "")
        + "; float32 where nothing else is said.",
        "",
    ]
    head = ["flow", "pass", "ms", "GFLOP/s", "share of peak"]
    if torch_version:
        head += ["PyTorch, ms", "its share", "ratio"]
    lines += ["| " + " | ".join(head) + " |", "|---|---|" + "---:|" * (len(head) - 2)]
    for result in results:
        for name, _ in PASSES:
            one = result[name]
            speed = one["work"] / one["ms"] * 1e3
            row = ["", name.replace("_", " "), f"{one['ms']:.2f}", f"{speed:.1f}", f"{speed / result['peak']:.0%}"]
            if name == PASSES[0][0]:
                row[0] = str(result["setting"])
            if torch_version:
                share = one["work"] / one["theirMs"] * 1e3 / result["peak"]
                row += [f"{one['theirMs']:.2f}", f"{share:.0%}", f"{one['theirMs'] / one['ms']:.2f}×"]
            lines.append("| " + " | ".join(row) + " |")
    head = ["flow", "GFLOP a forward pass", "peak, GFLOP/s", "memory, MB"] + (
        ["PyTorch, MB", "ratio"] if torch_version else []
    )
    lines += ["", "| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for result in results:
        row = [str(result["setting"])]
        row += [f"{result['gflop']:.3f}", f"{result['peak']:.1f}", f"{result['memory']:.0f}"]
        if torch_version:
            row += [f"{result['theirMemory']:.0f}", f"{result['memory'] / result['theirMemory']:.2f}"]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines + [""] + scaling(results)) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aipo", default=".build/release/aipo", help="the program")
    parser.add_argument("--out", default="bench", help="a folder for table.md, figures.json and roofline.svg")
    parser.add_argument("--flows", default="GSML", help="which of the flows G, S, M and L")
    parser.add_argument("--quick", action="store_true", help="one round of each")
    parser.add_argument("--memory", nargs=4, metavar=("FLOW", "BATCH", "THREADS", "PRECISION"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        flow, batch, threads, precision = arguments.memory
        passes = pytorch_passes(Setting(flow, int(batch), int(threads), 1, precision))
        passes.latent_gradient()
        print(peak_megabytes())
        return
    try:
        import torch

        torch_version = torch.__version__
    except ImportError:
        torch_version = None
        print("torch is not installed (Benchmarks/requirements.txt): our own figures alone", file=sys.stderr)
    results = []
    for settings in SETTINGS:
        if settings[0].flow in arguments.flows:
            results += measure(arguments.aipo, settings, arguments.quick, torch_version is not None)
    command = [arguments.aipo, "bench", "kernels", "--json"]
    kernels = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    os.makedirs(arguments.out, exist_ok=True)
    write(arguments.out, "table.md", table(results, torch_version))
    flows = [{**result, "setting": result["setting"]._asdict()} for result in results]
    write(arguments.out, "figures.json", json.dumps({"flows": flows, "kernels": kernels}, indent=1) + "\n")
    write(arguments.out, "roofline.svg", roofline.draw(kernels))


def write(folder, name, text):
    with open(os.path.join(folder, name), "w") as file:
        file.write(text)


if __name__ == "__main__":
    main()
