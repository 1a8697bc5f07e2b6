"""PyTorch's side of `bun bench --peers`.

    python3 bench/peers/pytorch.py reference       the losses and gradients that every peer must give: rewrites reference.json
    python3 bench/peers/pytorch.py train S1 [s]    times the training step on the CPU (run with OMP_WAIT_POLICY=passive); a JSON line
    python3 bench/peers/pytorch.py gpu [steps]     micromind-26m, batch 32 x 512, on a CUDA card: bf16 autocast, flash attention, fused AdamW
"""
import json, math, os, resource, sys, time

import numpy as np
import torch
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
SIZES = json.load(open(os.path.join(HERE, "sizes.json")))
ATTENTION = dict(length=1024, heads=8, head_dim=64)
DECODE = dict(size="S3", first=2, tokens=64)


def hash32(word):
    word = word.astype(np.uint32)
    word = (word ^ (word >> 16)) * np.uint32(0x21F0AAAD)
    word = (word ^ (word >> 15)) * np.uint32(0x735A2D97)
    return word ^ (word >> 15)


def words(stream, count):
    return hash32(np.arange(count, dtype=np.uint32) ^ hash32(np.array([stream + 1])))


def uniform(stream, count):
    return (words(stream, count) >> 8) / 2.0**23 - 1


def shapes(s):
    hidden, head_dim = s["hidden"], s["hidden"] // s["heads"]
    inner = math.ceil(hidden * math.pi / 64) * 64
    yield "model.embed_tokens", (s["vocab"], hidden)
    for l in range(s["layers"]):
        for name, shape in [
            ("input_layernorm", (hidden,)),
            ("self_attn.q_proj", (hidden, s["heads"] * head_dim)),
            ("self_attn.k_proj", (hidden, s["kvHeads"] * head_dim)),
            ("self_attn.v_proj", (hidden, s["kvHeads"] * head_dim)),
            ("self_attn.q_norm", (head_dim,)),
            ("self_attn.k_norm", (head_dim,)),
            ("self_attn.o_proj", (s["heads"] * head_dim, hidden)),
            ("post_attention_layernorm", (hidden,)),
            ("mlp.gate_proj", (hidden, inner)),
            ("mlp.up_proj", (hidden, inner)),
            ("mlp.down_proj", (inner, hidden)),
        ]:
            yield f"model.layers.{l}.{name}", shape
    yield "model.norm", (hidden,)


def weights(s):
    out = {}
    for i, (name, shape) in enumerate(shapes(s)):
        deviation = 0.1 if len(shape) == 1 else 0.02 if "embed" in name else 1 / math.sqrt(shape[0])
        mean = 1 if len(shape) == 1 else 0
        data = mean + math.sqrt(3) * deviation * uniform(i, math.prod(shape))
        out[name] = data.astype(np.float32).reshape(shape)
    return out


def token_ids(s, stream):
    row = s["length"] + 1
    return (words(stream, s["batch"] * row) % np.uint32(s["vocab"])).astype(np.int32).reshape(-1, row)


def checksum(arrays):
    total = 0
    for array in arrays:
        bits = np.ascontiguousarray(array).ravel().view(np.uint32)
        total += int((bits * (2 * np.arange(bits.size, dtype=np.uint32) + 1)).sum(dtype=np.uint32))
    return total % 2**32


def rms(x, w):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * w


class Decoder:
    """The decoder in functions of its weights, which are [in, out]."""

    def __init__(self, s, device="cpu", fused=False):
        self.s, self.fused = s, fused
        arrays = weights(s)
        ids = token_ids(s, len(arrays))
        self.checksum = checksum([*arrays.values(), ids[:, :-1], ids[:, 1:]])
        self.w = {name: torch.from_numpy(a).to(device).requires_grad_() for name, a in arrays.items()}
        self.ids = torch.from_numpy(ids).long().to(device)
        head_dim = s["hidden"] // s["heads"]
        rates = 1e6 ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
        angles = torch.outer(torch.arange(s["length"], dtype=torch.float64), rates).repeat(1, 2)
        self.cos, self.sin = angles.cos().float().to(device), angles.sin().float().to(device)
        kwargs = dict(fused=True) if fused else {}
        self.optimizer = torch.optim.AdamW(list(self.w.values()), lr=5e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, **kwargs)

    def rope(self, x):
        a, b = x.chunk(2, -1)
        T = x.shape[2]
        return x * self.cos[:T] + torch.cat((-b, a), -1) * self.sin[:T]

    def attention(self, q, k, v):
        if self.fused:
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)
        mask = torch.full((q.shape[2], q.shape[2]), float("-inf")).triu(1)
        return torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + mask, -1) @ v

    def loss(self, ids):
        logits = self.logits(ids[:, :-1])
        return F.cross_entropy(logits.view(-1, self.s["vocab"]), ids[:, 1:].reshape(-1))

    def logits(self, ids):
        s, (B, T) = self.s, ids.shape
        heads = lambda x, n: x.view(B, T, n, -1).transpose(1, 2)
        x = self.w["model.embed_tokens"][ids]
        for l in range(s["layers"]):
            w = lambda name: self.w[f"model.layers.{l}.{name}"]
            h = rms(x, w("input_layernorm"))
            q = self.rope(rms(heads(h @ w("self_attn.q_proj"), s["heads"]), w("self_attn.q_norm")))
            k = self.rope(rms(heads(h @ w("self_attn.k_proj"), s["kvHeads"]), w("self_attn.k_norm")))
            v = heads(h @ w("self_attn.v_proj"), s["kvHeads"])
            k, v = (x.repeat_interleave(s["heads"] // s["kvHeads"], 1) for x in (k, v))
            y = self.attention(q.to(v.dtype), k.to(v.dtype), v)
            x = x + y.transpose(1, 2).reshape(B, T, -1) @ w("self_attn.o_proj")
            h = rms(x, w("post_attention_layernorm"))
            x = x + (F.silu(h @ w("mlp.gate_proj")) * (h @ w("mlp.up_proj"))) @ w("mlp.down_proj")
        return rms(x, self.w["model.norm"]) @ self.w["model.embed_tokens"].t()

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(self.ids)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(self.w.values()), 1.0)
        self.optimizer.step()
        return loss

    def parameters(self):
        return sum(p.numel() for p in self.w.values())


def attention_reference():
    n = math.prod(ATTENTION.values())
    q, k, v, dy = (
        torch.from_numpy(uniform(1000 + i, n).reshape(ATTENTION["length"], ATTENTION["heads"], -1)).transpose(0, 1)
        for i in range(4)
    )
    for x in (q, k, v):
        x.requires_grad_()
    mask = torch.full((ATTENTION["length"],) * 2, float("-inf"), dtype=torch.float64).triu(1)
    value = (torch.softmax(q @ k.transpose(-1, -2) * ATTENTION["head_dim"] ** -0.5 + mask, -1) @ v * dy).sum()
    gradients = torch.autograd.grad(value, (q, k, v))
    return dict(value=value.item(), projections=[(g * dy).sum().item() for g in gradients], norms=[g.norm().item() for g in gradients])


@torch.no_grad()
def decode_reference():
    """The likeliest tokens one by one, as far as each is clearly so."""
    decoder, tokens, margins = Decoder(SIZES[DECODE["size"]]), [DECODE["first"]], []
    for _ in range(DECODE["tokens"]):
        best = decoder.logits(torch.tensor([tokens]))[0, -1].topk(2)
        margins.append((best.values[0] - best.values[1]).item())
        tokens.append(best.indices[0].item())
    sure = next((i for i, margin in enumerate(margins) if margin < 1e-3), len(margins))
    return dict(tokens=tokens[1 : sure + 1])


def reference():
    out = {"attention": attention_reference(), "decode": decode_reference()}
    for name, s in SIZES.items():
        decoder = Decoder(s)
        out[name] = dict(checksum=decoder.checksum, losses=[decoder.step().item() for _ in range(4)])
        print(name, out[name], file=sys.stderr)
    with open(os.path.join(HERE, "reference.json"), "w") as file:
        file.write(json.dumps(out, indent=2) + "\n")


def train(name, budget):
    decoder, start, times, losses = Decoder(SIZES[name]), time.perf_counter(), [], []
    while len(times) < 4 or (len(times) < 9 and time.perf_counter() - start < budget):
        t = time.perf_counter()
        losses.append(decoder.step().item())
        times.append(time.perf_counter() - t)
    timed = times[4:] or times[1:]
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(dict(version=torch.__version__, losses=losses, first=times[0], times=timed, rssMB=rss)))


def gpu(steps):
    s = dict(hidden=512, layers=8, heads=8, kvHeads=2, batch=32, length=512, vocab=6400)
    decoder, times = Decoder(s, "cuda", fused=True), []

    @torch.compile
    def loss(ids):
        return decoder.loss(ids)

    def step(loss):
        decoder.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16):
            value = loss(decoder.ids)
        value.backward()
        torch.nn.utils.clip_grad_norm_(list(decoder.w.values()), 1.0)
        decoder.optimizer.step()
        return value

    for label, fn in (("eager", decoder.loss), ("compile", loss)):
        for _ in range(10):
            value = step(fn)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        t = time.perf_counter()
        for _ in range(steps):
            value = step(fn)
        torch.cuda.synchronize()
        seconds = (time.perf_counter() - t) / steps
        tokens = s["batch"] * s["length"]
        print(json.dumps(dict(peer="torch " + label, version=torch.__version__, card=torch.cuda.get_device_name(), loss=value.item(), parameters=decoder.parameters(),
                              ms=1000 * seconds, tokensPerSecond=tokens / seconds, tflops=6 * decoder.parameters() * tokens / seconds / 1e12, peakMB=torch.cuda.max_memory_allocated() / 2**20)))


if __name__ == "__main__":
    command, *rest = sys.argv[1:] or ["help"]
    if command == "reference":
        reference()
    elif command == "train":
        train(rest[0], float(rest[1]) if len(rest) > 1 else 120)
    elif command == "gpu":
        gpu(int(rest[0]) if rest else 50)
    else:
        print(__doc__)
