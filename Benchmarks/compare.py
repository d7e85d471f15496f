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

import roofline

# Levels, steps, hidden channels, size and channels of the images.
FLOWS = {"S": (3, 8, 128, 32, 1), "M": (4, 8, 256, 64, 3), "L": (4, 32, 512, 64, 3)}
# Flow, images, threads, rounds.
SETTINGS = [("S", 1, 1, 7), ("S", 64, 2, 5), ("M", 1, 1, 5), ("M", 8, 1, 3), ("M", 8, 2, 5), ("L", 8, 2, 2)]
# Pass, and forward passes that it counts as.
PASSES = [("forward", 1), ("inverse", 1), ("latent_gradient", 2), ("pixel_gradient", 2), ("training_step", 3)]


def ours(aipo, flow, batch, threads):
    """One round of `aipo bench flow`."""
    flags = ["--levels", "--steps", "--hidden", "--size", "--channels"]
    command = [aipo, "bench", "flow", "--batch", str(batch), "--threads", str(threads), "--repeat", "1", "--json"]
    for flag, value in zip(flags, FLOWS[flow]):
        command += [flag, str(value)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def theirs(passes):
    """Milliseconds of one run of each pass in PyTorch, the mean over as many as take a moment."""
    result = {}
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


def pytorch_memory(flow, batch, threads):
    """PyTorch's peak memory for the step that moves z, in a process of its own."""
    command = [sys.executable, __file__, "--memory", flow, str(batch), str(threads)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def measure(aipo, flow, batch, threads, rounds, torch_too):
    """Medians of both over the rounds of one setting."""
    if torch_too:
        from pytorch_glow import Passes

        passes = Passes(*FLOWS[flow], batch, threads)
        theirs(passes)
    us, them = [], []
    for number in range(rounds):
        print(f"{flow}, batch {batch}, {threads} threads: round {number + 1}", file=sys.stderr)
        us.append(ours(aipo, flow, batch, threads))
        if torch_too:
            them.append(theirs(passes))
    result = {"flow": flow, "batch": batch, "threads": threads, "gflop": us[0]["flow_gflop"]}
    result["peak"] = max(one["sgemm_gflops"] for one in us)
    result["memory"] = max(one["peak_rss_mb"] for one in us)
    result["theirMemory"] = pytorch_memory(flow, batch, threads) if torch_too else None
    result["blas"], result["kernels"] = us[0]["blas"], us[0]["kernels"]
    for name, count in PASSES:
        ms = statistics.median(one[name + "_ms"] for one in us)
        their_ms = statistics.median(one[name] for one in them) if them else None
        result[name] = {"ms": ms, "theirMs": their_ms, "work": count * result["gflop"]}
    return result


def machine():
    """The processor, in words."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as info:
            name = next(line.split(":")[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {len(os.sched_getaffinity(0))} cores, {platform.system()} on {platform.machine()}"


def setting(result):
    """Which flow, on how many images and threads, in words."""
    threads = "1 thread" if result["threads"] == 1 else f"{result['threads']} threads"
    return f"**{result['flow']}**, batch {result['batch']}, {threads}"


def table(results, torch_version):
    """The figures as Markdown."""
    first = results[0]
    lines = [
        f"{machine()}; {first['blas']}; kernels `{first['kernels']}`"
        + (f"; PyTorch {torch_version}, eager" if torch_version else "")
        + "; float32.",
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
                row[0] = setting(result)
            if torch_version:
                share = one["work"] / one["theirMs"] * 1e3 / result["peak"]
                row += [f"{one['theirMs']:.2f}", f"{share:.0%}", f"{one['theirMs'] / one['ms']:.2f}×"]
            lines.append("| " + " | ".join(row) + " |")
    head = ["flow", "GFLOP a forward pass", "peak, GFLOP/s", "memory, MB"] + (
        ["PyTorch, MB", "ratio"] if torch_version else []
    )
    lines += ["", "| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for result in results:
        row = [setting(result)]
        row += [f"{result['gflop']:.3f}", f"{result['peak']:.1f}", f"{result['memory']:.0f}"]
        if torch_version:
            row += [f"{result['theirMemory']:.0f}", f"{result['memory'] / result['theirMemory']:.2f}"]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aipo", default=".build/release/aipo", help="the program")
    parser.add_argument("--out", default="bench", help="a folder for table.md, figures.json and roofline.svg")
    parser.add_argument("--flows", default="SML", help="which of the flows S, M and L")
    parser.add_argument("--quick", action="store_true", help="one round of each")
    parser.add_argument("--memory", nargs=3, metavar=("FLOW", "BATCH", "THREADS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        from pytorch_glow import Passes

        flow, batch, threads = arguments.memory
        Passes(*FLOWS[flow], int(batch), int(threads)).latent_gradient()
        print(peak_megabytes())
        return
    try:
        import torch

        torch_version = torch.__version__
    except ImportError:
        torch_version = None
        print("torch is not installed (Benchmarks/requirements.txt): our own figures alone", file=sys.stderr)
    results = [
        measure(arguments.aipo, flow, batch, threads, 1 if arguments.quick else rounds, torch_version is not None)
        for flow, batch, threads, rounds in SETTINGS
        if flow in arguments.flows
    ]
    command = [arguments.aipo, "bench", "kernels", "--json"]
    kernels = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    os.makedirs(arguments.out, exist_ok=True)
    write(arguments.out, "table.md", table(results, torch_version))
    write(arguments.out, "figures.json", json.dumps({"flows": results, "kernels": kernels}, indent=1) + "\n")
    write(arguments.out, "roofline.svg", roofline.draw(kernels))


def write(folder, name, text):
    with open(os.path.join(folder, name), "w") as file:
        file.write(text)


if __name__ == "__main__":
    main()
