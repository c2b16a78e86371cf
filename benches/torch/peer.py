#!/usr/bin/env python3
"""PyTorch on the work that `t2r` measures: one JSON object per cell on stdout, with the median of interleaved rounds.

  peer.py attention --batch 1,16 --seq-len 256,1024 [--cold]
  peer.py forward   --batch 1 --seq-len 1024,4096 [--feature-dim 32]
  peer.py backward  --batch 1 --seq-len 1024           forward and backward of one layer
  peer.py decode    --batch 1,16 --seq-len 256,1024    tokens of a whole model at that depth
  peer.py train     --batch 8 --seq-len 256            one update of a whole model

Eager, f32, states and caches allocated beforehand, softmax by scaled_dot_product_attention: what a careful user writes.
T2R's step and forward begin with given features, as with merged projections."""
import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn

CLAMP = 1e-2
OUT_OF_CACHE = 256 << 20


def interleaved(cases, rounds, block_s):
    """Seconds per call of each case: the median over rounds in which every case runs for at least `block_s`."""
    calls = {}
    for name, case in cases.items():
        case()
        start = time.perf_counter()
        case()
        calls[name] = max(1, round(block_s / max(time.perf_counter() - start, 1e-9)))
    times = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            start = time.perf_counter()
            for _ in range(calls[name]):
                case()
            times[name].append((time.perf_counter() - start) / calls[name])
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def in_turn(make, bytes_each, cold):
    """One step after another, each on its own state; with `cold`, of so many states that none is still in cache."""
    steps = [make() for _ in range(1 if not cold else max(2, -(-OUT_OF_CACHE // bytes_each)))]
    at = 0

    def call():
        nonlocal at
        steps[at]()
        at = (at + 1) % len(steps)

    return call


def softmax_step(batch, heads, depth, d):
    q, k, v = (torch.randn(batch, heads, 1, d) for _ in range(3))
    keys, values = (torch.randn(batch, heads, depth, d) for _ in range(2))

    def step():
        keys[:, :, -1:], values[:, :, -1:] = k, v
        return F.scaled_dot_product_attention(q, keys, values)

    return step


def linear_step(batch, heads, m, d):
    q, k, v = torch.rand(batch * heads, 1, m), torch.rand(batch * heads, 1, m), torch.randn(batch * heads, 1, d)
    s, z = torch.zeros(batch * heads, m, d), torch.zeros(batch * heads, 1, m)

    def step():
        s.baddbmm_(k.mT, v)
        z.add_(k)
        return torch.bmm(q, s) / torch.bmm(q, z.mT).clamp_min(CLAMP)

    return step


def causal_linear(q, k, v, chunk=64):
    """q, k (b, n, m), v (b, n, d): in chunks, the sums of those before by cumsum; differentiable."""
    n, d, chunk = q.shape[1], v.shape[-1], min(chunk, q.shape[1])
    q, k, v = (F.pad(x, (0, 0, 0, -n % chunk)).unflatten(1, (-1, chunk)) for x in (q, k, v))
    kv, ks = k.mT @ v, k.sum(2)
    s, z = kv.cumsum(1) - kv, ks.cumsum(1) - ks
    inside = (q @ k.mT).tril()
    above = inside @ v + q @ s
    below = inside.sum(-1) + (q * z.unsqueeze(2)).sum(-1)
    return (above / below.clamp_min(CLAMP).unsqueeze(-1)).flatten(1, 2)[:, :n, :d]


class Block(nn.Module):
    def __init__(self, a, variant):
        super().__init__()
        self.heads, self.variant, self.d, self.m = a.heads, variant, a.d_model // a.heads, a.feature_dim
        self.attention_norm, self.ffn_norm = nn.LayerNorm(a.d_model), nn.LayerNorm(a.d_model)
        self.q, self.k, self.v, self.o = (nn.Linear(a.d_model, a.d_model) for _ in range(4))
        self.up, self.down = nn.Linear(a.d_model, a.ffn), nn.Linear(a.ffn, a.d_model)
        if variant == "t2r":
            self.w = nn.Parameter(torch.randn(a.heads, self.d, a.feature_dim) / self.d**0.5)
            self.b = nn.Parameter(torch.zeros(a.heads, 1, a.feature_dim))

    def state(self, batch, length):
        if self.variant == "softmax":
            return [torch.zeros(batch, self.heads, length, self.d) for _ in range(2)]
        parts = batch * self.heads
        return [torch.zeros(parts, self.m, self.d), torch.zeros(parts, 1, self.m)]

    def attend(self, x, state, t):
        q, k, v = (p(x).unflatten(-1, (self.heads, self.d)).transpose(1, 2) for p in (self.q, self.k, self.v))
        if self.variant == "softmax":
            if state is None:
                return F.scaled_dot_product_attention(q, k, v, is_causal=True)
            keys, values = state
            keys[:, :, t : t + 1], values[:, :, t : t + 1] = k, v
            return F.scaled_dot_product_attention(q, keys[:, :, : t + 1], values[:, :, : t + 1])
        q, k = (torch.relu(y @ self.w + self.b).flatten(0, 1) for y in (q * self.d**-0.5, k))
        v = v.flatten(0, 1)
        if state is None:
            out = causal_linear(q, k, v)
        else:
            s, z = state
            s.baddbmm_(k.mT, v)
            z.add_(k)
            out = torch.bmm(q, s) / torch.bmm(q, z.mT).clamp_min(CLAMP)
        return out.unflatten(0, (-1, self.heads))

    def forward(self, x, state=None, t=0):
        x = x + self.o(self.attend(self.attention_norm(x), state, t).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.ffn_norm(x)), approximate="tanh"))


class Decoder(nn.Module):
    def __init__(self, a, variant, length):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(a.vocab, a.d_model), nn.Embedding(length, a.d_model)
        self.blocks = nn.ModuleList(Block(a, variant) for _ in range(a.layers))
        self.norm = nn.LayerNorm(a.d_model)

    def forward(self, ids, states=None, t=0):
        x = self.tokens(ids) + self.positions.weight[t : t + ids.shape[1]]
        for i, block in enumerate(self.blocks):
            x = block(x, None if states is None else states[i], t)
        return self.norm(x) @ self.tokens.weight.T


def attention_cases(a, batch, n):
    floats = batch * a.heads * a.head_dim
    return {
        "softmax": in_turn(lambda: softmax_step(batch, a.heads, n, a.head_dim), 8 * floats * n, a.cold),
        "t2r": in_turn(lambda: linear_step(batch, a.heads, a.feature_dim, a.head_dim), 4 * floats * a.feature_dim, a.cold),
    }


def layer_cases(a, batch, n, backward):
    def leaf(*shape):
        return torch.rand(*shape).requires_grad_(backward)

    by_head = [leaf(batch, a.heads, n, a.head_dim) for _ in range(3)]
    by_part = [leaf(batch * a.heads, n, width) for width in (a.feature_dim, a.feature_dim, a.head_dim)]

    def case(attention, inputs):
        def call():
            out = attention(*inputs)
            if backward:
                torch.autograd.grad(out.sum(), inputs)

        return call

    softmax = case(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), by_head)
    return {"softmax": softmax, "t2r": case(causal_linear, by_part)}


def decode_cases(a, batch, n):
    def case(variant):
        model = Decoder(a, variant, n + a.tokens).eval()
        states = [block.state(batch, n + a.tokens) for block in model.blocks]

        def call():
            ids = torch.zeros(batch, 1, dtype=torch.long)
            for t in range(n, n + a.tokens):
                ids = model(ids, states, t).argmax(-1)

        return call

    return {variant: case(variant) for variant in ("softmax", "t2r")}


def train_cases(a, batch, n):
    def case(variant):
        model = Decoder(a, variant, n)
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        ids = torch.randint(a.vocab, (batch, n + 1))

        def call():
            optimiser.zero_grad()
            F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()).backward()
            optimiser.step()

        return call

    return {variant: case(variant) for variant in ("softmax", "t2r")}


def main():
    def sizes(words):
        return [int(word) for word in words.split(",")]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", choices=["attention", "forward", "backward", "decode", "train"])
    parser.add_argument("--batch", type=sizes, default=[1])
    parser.add_argument("--seq-len", type=sizes, default=[1024])
    parser.add_argument("--cold", action="store_true", help="attention: no state is in cache when its step begins")
    parser.add_argument("--min-block", type=float, default=0.1, help="seconds")
    numbers = dict(heads=8, head_dim=64, feature_dim=32, layers=6, d_model=512, ffn=2048, vocab=32000)
    for name, built_in in (numbers | dict(tokens=16, rounds=5, threads=2)).items():
        parser.add_argument("--" + name.replace("_", "-"), type=int, default=built_in)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    cases_of = {
        "attention": attention_cases,
        "forward": lambda a, batch, n: layer_cases(a, batch, n, False),
        "backward": lambda a, batch, n: layer_cases(a, batch, n, True),
        "decode": decode_cases,
        "train": train_cases,
    }[a.workload]
    with torch.set_grad_enabled(a.workload in ("backward", "train")):
        for batch in a.batch:
            for n in a.seq_len:
                per_call = a.tokens if a.workload == "decode" else 1
                for variant, seconds in interleaved(cases_of(a, batch, n), a.rounds, a.min_block).items():
                    print(json.dumps(dict(variant=variant, batch=batch, seq_len=n, ns=seconds / per_call * 1e9)), flush=True)


main()
