"""Trains the model: `python train.py DATA.npz OUT --seconds S`.

DATA.npz comes from `pack.py`: `train` and `val`, rows of 1,024 token ids (u16), and `ids`, the token ids that mark a
turn. The schedule goes by the clock, so that the time given is the time taken: warm-up over 100 steps, a flat part
until 45% of the time, then a straight line down to zero. Matrices are trained with Muon, the rest with Adam. From 80%
on the forward pass sees weights rounded to Q4_0 (all matrices but the LM head, which the file keeps in Q6_K), and the
weights are averaged. OUT gets the averaged or the last weights, whichever have the lower loss on `val` in Q4_0, in
bf16 parts of at most 15 MiB, and `train.json` with the log. A first copy is written at 80% of the time, so that
running out of time does not lose everything.
"""

import argparse
import json
import math
import os
import sys
import time

BEGIN = time.time()

import numpy as np
import torch
from safetensors.torch import save_file

import model

PARTS = 5


def arguments():
    a = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    a.add_argument("data")
    a.add_argument("out")
    a.add_argument("--seconds", type=float, default=470, help="wall time of the training, counted from the start")
    a.add_argument("--batch", type=int, default=64, help="rows of 1,024 tokens in a step")
    a.add_argument("--muon", type=float, default=0.015, help="learning rate of the matrices")
    a.add_argument("--quantize-from", type=float, default=0.80, help="share of the time after which weights are rounded")
    a.add_argument("--average", type=float, default=0.995, help="decay of the average of weights, a step")
    a.add_argument("--seed", type=int, default=0)
    a.add_argument("--device", default="cuda")
    a.add_argument("--no-compile", action="store_true")
    a.add_argument("--small", action="store_true", help="two narrow layers, to try the script on a CPU")
    return a.parse_args()


def round_q4_0(w):
    """ggml's Q4_0 there and back. w: f32, last dimension a multiple of 32."""
    blocks = w.reshape(-1, 32)
    extreme = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
    d = extreme / -8
    inverse = torch.where(d != 0, 1 / d, 0.0)
    q = torch.clamp(torch.floor(blocks * inverse + 8.5), 0, 15)
    return ((q - 8) * d.half().float()).view_as(w)


def loss_weights(tokens, ids):
    """1 on what the assistant says, up to and with its end mark; 0.3 on the rest; 0 on padding and on the first
    token of a document. tokens: int64 [B,T]; ids: pad, bos, im_start, im_end, assistant."""
    pad, bos, im_start, im_end, assistant = ids
    index = torch.arange(tokens.shape[1], device=tokens.device)
    opened = torch.zeros_like(tokens, dtype=torch.bool)
    opened[:, 1:] = (tokens[:, :-1] == im_start) & (tokens[:, 1:] == assistant)
    # The last turn marker before this token (this token's own end mark still belongs to its turn).
    at_open = torch.where(opened, index, -1).cummax(1).values
    closed = torch.where(tokens == im_end, index, -1).cummax(1).values
    before = torch.nn.functional.pad(closed[:, :-1], (1, 0), value=-1)
    document = torch.where(tokens == bos, index, -1).cummax(1).values
    # index - at_open >= 2 leaves out "assistant" and the line break after it.
    answer = (at_open > before) & (at_open > document) & (index - at_open >= 2)
    weight = torch.where(answer, 1.0, 0.3)
    return torch.where((tokens == pad) | (tokens == bos), 0.0, weight)


def orthogonal(g, steps=5):
    """Muon's Newton-Schulz step: the nearest (roughly) orthogonal matrix. g [n, rows, columns], rows <= columns."""
    x = g.bfloat16()
    x = x / (x.float().norm(dim=(-2, -1), keepdim=True).bfloat16() + 1e-7)
    for _ in range(steps):
        a = x @ x.transpose(-1, -2)
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.float()


class Trainer:
    """f32 weights (`master`), the bf16 or rounded copies that the forward pass uses (`work`), and the optimizer."""

    def __init__(self, args, c, data):
        self.args, self.c = args, c
        device = args.device
        self.ids = data["ids"].tolist()
        self.train = torch.from_numpy(data["train"].astype(np.int32)).to(device)
        self.val = torch.from_numpy(data["val"].astype(np.int32)).to(device)
        kinds = model.tensors(c)
        self.master = {k: v.to(device) for k, v in model.init(c, args.seed).items()}
        self.average = None
        self.muon = [n for n in kinds if kinds[n][2] == "matrix"]
        self.halved = self.muon + ["in_dt", "embed_tokens", "lm_head"]
        self.adam = [n for n in self.master if n not in self.muon]
        self.factor = {n: kinds[n][1] for n in kinds}
        self.rate = {"embed_tokens": 0.01 / c["embedding_multiplier"], "lm_head": 0.002 / c["lm_head_multiplier"],
                     "in_dt": 0.002 / self.factor["in_dt"]}
        self.momentum = {n: torch.zeros_like(self.master[n]) for n in self.muon}
        self.moments = {n: (torch.zeros_like(self.master[n]), torch.zeros_like(self.master[n])) for n in self.adam}
        # Matrices of one shape (up to transposition) go through Newton-Schulz together.
        self.shapes = {}
        for n in self.muon:
            self.shapes.setdefault(tuple(sorted(self.master[n].shape[1:])), []).append(n)
        self.dtype = torch.bfloat16
        self.work = {n: (p.to(self.dtype) if n in self.halved else p.clone()).requires_grad_(True)
                     for n, p in self.master.items()}
        self.layer, self.token_losses = model.layer, model.token_losses
        self.steps = 0
        if not args.no_compile and device != "cpu":
            self.try_compile()

    def try_compile(self):
        """Uses torch.compile where it works (about three times as fast), and says so where it does not."""
        try:
            self.layer = torch.compile(model.layer, dynamic=False)
            self.token_losses = torch.compile(model.token_losses, dynamic=False)
            self.losses(self.train[: self.args.batch])[0].sum().backward()
            for w in self.work.values():
                w.grad = None
        except Exception as error:  # the compiler's failures have many types
            print("torch.compile does not work here:", str(error)[:300], flush=True)
            self.layer, self.token_losses = model.layer, model.token_losses

    @torch.no_grad()
    def load(self, rounded, source=None):
        """Copies the master weights (or `source`) into the forward pass, rounded to Q4_0 or not."""
        for n, p in (source or self.master).items():
            self.work[n].copy_(round_q4_0(p) if rounded and n in self.halved and n != "lm_head" else p)

    def losses(self, rows):
        """Loss of each token [B*T] and its weight [B*T]."""
        tokens = rows.long()
        x = model.forward(self.c, self.work, tokens, self.dtype, self.layer)
        weight = loss_weights(tokens, self.ids)
        weight = torch.cat([weight[:, 1:], torch.zeros_like(weight[:, :1])], 1).reshape(-1)
        target = torch.cat([tokens[:, 1:], tokens[:, :1]], 1)
        return self.token_losses(self.c, x, self.work["final_layernorm"], self.work["lm_head"], target), weight

    @torch.no_grad()
    def evaluate(self):
        """Mean loss on the answers of the held-out rows, nats a token."""
        total, count, b = 0.0, 0.0, self.args.batch
        for i in range(0, len(self.val) - b + 1, b):
            loss, weight = self.losses(self.val[i : i + b])
            answer = (weight == 1.0).float()
            total, count = total + (loss * answer).sum().item(), count + answer.sum().item()
        return total / max(1.0, count)

    @torch.no_grad()
    def update(self, lr):
        """One optimizer step; lr is the share of the full learning rate."""
        beta = min(0.85 + 0.10 * self.steps / 300, 0.95)
        for names in self.shapes.values():
            flat = []
            for n in names:
                grad = self.work[n].grad.float()
                self.momentum[n].lerp_(grad, 1 - beta)
                u = grad.lerp(self.momentum[n], beta)
                flat.append(u if u.shape[1] <= u.shape[2] else u.transpose(1, 2))
            steps = orthogonal(torch.cat(flat)).split([len(u) for u in flat])
            for n, u in zip(names, steps):
                p = self.master[n]
                tall = p.shape[1] > p.shape[2]
                size = lr * self.args.muon * math.sqrt(max(1, p.shape[1] / p.shape[2])) / self.factor[n]
                p.mul_(1 - lr * 2e-4).add_(u.transpose(1, 2) if tall else u, alpha=-size)
        for n in self.adam:
            grad = self.work[n].grad.float()
            mean, square = self.moments[n]
            b2 = 0.98 if n == "embed_tokens" else 0.95
            mean.lerp_(grad, 0.1)
            square.lerp_(grad * grad, 1 - b2)
            t = self.steps + 1
            u = (mean / (1 - 0.9**t)) / ((square / (1 - b2**t)).sqrt() + 1e-10)
            self.master[n].add_(u, alpha=-lr * self.rate.get(n, 0.003))
        for w in self.work.values():
            w.grad = None
        self.steps += 1

    @torch.no_grad()
    def keep_average(self):
        if self.average is None:
            self.average = {n: p.clone() for n, p in self.master.items()}
        for n, p in self.master.items():
            self.average[n].lerp_(p, 1 - self.args.average)

    def save(self, weights, report):
        """Writes bf16 matrices and f32 vectors in PARTS files, and train.json."""
        out = self.args.out
        os.makedirs(out, exist_ok=True)
        named = {n: (t.to(torch.bfloat16) if t.dim() >= 2 and "conv" not in n else t.float()).contiguous().cpu()
                 for n, t in model.export(self.c, weights).items()}
        goal = sum(t.nbytes for t in named.values()) / PARTS
        part, size, number = {}, 0, 0
        for i, (n, t) in enumerate(named.items()):
            part[n], size = t, size + t.nbytes
            last = i == len(named) - 1
            if last or (size >= goal * 0.97 and number < PARTS - 1):
                save_file(part, f"{out}/part{number}.safetensors", metadata={"format": "pt"})
                part, size, number = {}, 0, number + 1
        with open(f"{out}/train.json", "w") as f:
            json.dump(dict(report, config=model.hf_config(self.c)), f, indent=1)


def main():
    args = arguments()
    torch.set_float32_matmul_precision("high")
    c = dict(model.CONFIG)
    if args.small:
        c.update(num_hidden_layers=2, hidden_size=128, mamba_d_ssm=128, mamba_n_heads=2, intermediate_size=128,
                 num_attention_heads=2, num_key_value_heads=1)
    data = np.load(args.data)
    trainer = Trainer(args, c, data)
    count = sum(p.numel() for p in trainer.master.values())
    print(f"{count / 1e6:.1f} M parameters, {len(trainer.train)} rows, ready after {time.time() - BEGIN:.0f} s", flush=True)
    gen = torch.Generator(device=args.device).manual_seed(args.seed)
    begin, rounded, order, at, epoch = time.time(), False, None, 0, 0
    span = args.seconds - (begin - BEGIN)
    log, report, recent = [], dict(arguments=vars(args)), []
    while (share := (time.time() - begin) / span) < 1:
        if not rounded and share >= args.quantize_from:
            report["before_rounding"] = trainer.evaluate()
            trainer.load(rounded=True)
            rounded = True
            trainer.save(trainer.master, dict(report, log=log, note="written before the end of the training"))
        if order is None or at + args.batch > len(order):
            order, at, epoch = torch.randperm(len(trainer.train), device=args.device, generator=gen), 0, epoch + 1
        loss, weight = trainer.losses(trainer.train[order[at : at + args.batch]])
        at += args.batch
        loss = (loss * weight).sum() / weight.sum()
        loss.backward()
        lr = min(1, (trainer.steps + 1) / 100) * (1.0 if share < 0.45 else (1 - share) / 0.55)
        trainer.update(lr)
        trainer.load(rounded)
        if rounded:
            trainer.keep_average()
        recent.append(loss.detach())
        if trainer.steps in (1, 10, 50) or trainer.steps % 200 == 0:
            mean = torch.stack(recent).mean().item()
            recent = []
            row = dict(step=trainer.steps, epoch=epoch, seconds=round(time.time() - begin, 1), loss=round(mean, 4), lr=round(lr, 3))
            log.append(row)
            print(json.dumps(row), flush=True)
        elif trainer.steps % 20 == 0:
            loss.item()  # waits for the device, so that the clock is true
    scores = {}
    for name, weights in (("last", trainer.master), ("average", trainer.average or trainer.master)):
        for kind in ("bf16", "Q4_0"):
            trainer.load(rounded=kind == "Q4_0", source=weights)
            scores[f"{name}, {kind}"] = trainer.evaluate()
    best = "average" if scores["average, Q4_0"] <= scores["last, Q4_0"] else "last"
    report.update(log=log, scores=scores, kept=best, steps=trainer.steps, epochs=epoch,
                  tokens=trainer.steps * args.batch * trainer.train.shape[1], seconds=round(time.time() - BEGIN, 1))
    trainer.save(trainer.average if best == "average" and trainer.average else trainer.master, report)
    print(json.dumps({k: v for k, v in report.items() if k != "log"}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
