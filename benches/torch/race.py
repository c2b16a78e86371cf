#!/usr/bin/env python3
"""`t2r` and PyTorch on the same work in turn, as a Markdown table of ratios.

  race.py T2R [--python PYTHON] [--rounds 3] [--only WORD]

T2R is a release binary, PYTHON one that has torch. The two programs alternate; a ratio is PyTorch's time by t2r's in one
such round, and the table gives the median and the range over the rounds. A quiet machine is assumed."""
import argparse
import csv
import io
import json
import os
import statistics
import subprocess
import sys

MODEL = dict(n_layers=6, d_model=512, n_heads=8, ffn_dim=2048, vocab_size=32000)
SMALL = dict(n_layers=4, d_model=256, n_heads=4, ffn_dim=1024, vocab_size=4096)
PEER_NAMES = dict(n_layers="layers", n_heads="heads", ffn_dim="ffn", vocab_size="vocab")

# name, workload, batch sizes, lengths, m, further words of t2r, further words of the peer
RACES = [
    ("steps", "attention", "1,16,64", "1024", 32, ["--cache", "warm"], []),
    ("steps", "attention", "16", "256", 32, ["--cache", "warm"], []),
    ("cold steps", "attention", "16,64", "1024", 32, ["--cache", "cold"], ["--cold"]),
    ("forward", "forward", "1", "256,1024,4096", 32, [], []),
    ("forward", "forward", "1", "1024,4096", 128, [], []),
    ("decode", "decode", "1,16,64", "1024", 32, ["--n-gen", "16"], ["--tokens", "16"]),
    ("train", "train", "8", "256", 32, ["--samples-per-round", "1"], []),
]


def shape(workload):
    return {"train": SMALL, "decode": MODEL}.get(workload, {})


def ours(binary, race, threads):
    _, workload, batch, lengths, m, words, _ = race
    flags = [f"--{name.replace('_', '-')}={size}" for name, size in shape(workload).items()]
    command = [binary, "--workload", workload, "--variants", "softmax,t2r", "--implementation", "fused", "--batch", batch]
    command += ["--seq-len", lengths, "--feature-dim", str(m), "--rounds", "6", "--threads", str(threads), *words, *flags]
    done = subprocess.run([*command, "--no-tui", "-q", "--csv", "-"], stdout=subprocess.PIPE, text=True, check=False)
    for row in csv.DictReader(io.StringIO(done.stdout)):
        if row["status"] == "ok":
            reads = workload in ("attention", "decode")
            limit = row["pct_of_peak_bandwidth" if reads else "pct_of_peak_flops"]
            yield (row["variant"], int(row["batch_size"]), int(row["seq_len"])), (float(row["p50_ns"]), limit)


def peers(python, race, threads):
    _, workload, batch, lengths, m, _, words = race
    flags = [f"--{PEER_NAMES.get(name, name).replace('_', '-')}={size}" for name, size in shape(workload).items()]
    command = [python, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer.py"), workload, "--batch", batch]
    command += ["--seq-len", lengths, "--feature-dim", str(m), "--threads", str(threads), *words, *flags]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    for line in done.stdout.splitlines():
        cell = json.loads(line)
        yield (cell["variant"], cell["batch"], cell["seq_len"]), cell["ns"]


def milliseconds(ns):
    return f"{ns / 1e6:.3g}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("t2r")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", default="", help="races whose name holds this word")
    a = parser.parse_args()
    print("| work | variant | batch | length | m | t2r, ms | PyTorch, ms | ratio | of the limit, % |")
    print("|---|---|---|---|---|---|---|---|---|")
    for race in RACES:
        if a.only not in race[0]:
            continue
        rounds = []
        for _ in range(a.rounds):
            rounds.append((dict(ours(a.t2r, race, a.threads)), dict(peers(a.python, race, a.threads))))
        for cell in rounds[0][0]:
            pairs = [(mine[cell], theirs[cell]) for mine, theirs in rounds if cell in mine and cell in theirs]
            if not pairs:
                continue
            ratios = sorted(theirs / mine for (mine, _), theirs in pairs)
            limits = [float(limit) for (_, limit), _ in pairs if limit]
            variant, batch, length = cell
            print(
                f"| {race[0]} | {variant} | {batch} | {length} | {race[4] if variant != 'softmax' else ''} |"
                f" {milliseconds(statistics.median(mine for (mine, _), _ in pairs))} |"
                f" {milliseconds(statistics.median(theirs for _, theirs in pairs))} |"
                f" {statistics.median(ratios):.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}] |"
                f" {f'{statistics.median(limits):.0f}' if limits else ''} |",
                flush=True,
            )


main()
