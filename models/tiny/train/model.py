"""The Falcon-H1 architecture in plain PyTorch, for training.

Weights are kept stacked over the layers (one tensor of shape [layers, rows, columns] for each matrix), so that the
optimizer can treat all layers at once. `export` gives them the names and shapes of `FalconH1ForCausalLM`;
`export.py` and `test_recipe.py` check that both give the same logits.

Letters in shapes: B rows of a batch, T tokens of a row, H heads, P width of a head, N state size, C chunks, Q tokens
of a chunk.
"""

import math

import torch
import torch.nn.functional as F

CONFIG = dict(
    vocab_size=6144, hidden_size=512, num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=2, head_dim=64,
    intermediate_size=1024, mamba_d_ssm=512, mamba_n_heads=8, mamba_d_head=64, mamba_n_groups=1, mamba_d_state=64,
    mamba_d_conv=4, mamba_expand=1, mamba_chunk_size=64, mamba_conv_bias=True, mamba_proj_bias=False,
    mamba_rms_norm=False, mamba_norm_before_gate=False, mamba_use_mlp=True, embedding_multiplier=4.0,
    lm_head_multiplier=0.125, key_multiplier=0.5, attention_in_multiplier=1.0, attention_out_multiplier=0.75,
    ssm_in_multiplier=1.25, ssm_out_multiplier=0.5, mlp_multipliers=[0.9, 0.6],
    ssm_multipliers=[0.5, 0.5, 0.35, 0.5, 0.35], rope_theta=1e11, rms_norm_eps=1e-5, hidden_act="silu",
    attention_bias=False, mlp_bias=False, projectors_bias=False, max_position_embeddings=4096,
    tie_word_embeddings=False, bos_token_id=1, eos_token_id=4, pad_token_id=0,
)

# A decay so strong that nothing of the state before a document's first token is left.
RESET = 60.0


def tensors(c):
    """name -> (shape of one layer, factor that the forward pass puts on it, kind).

    Kinds: "matrix" (Muon), "rows" (a small matrix for Adam), "scalar" (vectors and the convolution, Adam)."""
    d, inner, n, heads = c["hidden_size"], c["mamba_d_ssm"], c["mamba_d_state"] * c["mamba_n_groups"], c["mamba_n_heads"]
    q, k = c["num_attention_heads"] * c["head_dim"], c["num_key_value_heads"] * c["head_dim"]
    mlp, conv = c["intermediate_size"], inner + 2 * n
    att, ssm, m = c["attention_in_multiplier"], c["ssm_in_multiplier"], c["ssm_multipliers"]
    gate, down = c["mlp_multipliers"]
    return {
        "q_proj": ((q, d), att, "matrix"),
        "k_proj": ((k, d), att * c["key_multiplier"], "matrix"),
        "v_proj": ((k, d), att, "matrix"),
        "o_proj": ((d, q), c["attention_out_multiplier"], "matrix"),
        # `mamba.in_proj` in four parts, because each has its own multiplier.
        "in_z": ((inner, d), ssm * m[0], "matrix"),
        "in_x": ((inner, d), ssm * m[1], "matrix"),
        "in_bc": ((2 * n, d), ssm * math.sqrt(m[2] * m[3]), "matrix"),
        "in_dt": ((heads, d), ssm * m[4], "rows"),
        "out_proj": ((d, inner), c["ssm_out_multiplier"], "matrix"),
        "gate_proj": ((mlp, d), gate, "matrix"),
        "up_proj": ((mlp, d), 1.0, "matrix"),
        "down_proj": ((d, mlp), down, "matrix"),
        "conv_weight": ((conv, c["mamba_d_conv"]), 1.0, "scalar"),
        "conv_bias": ((conv,), 1.0, "scalar"),
        "dt_bias": ((heads,), 1.0, "scalar"),
        "A_log": ((heads,), 1.0, "scalar"),
        "D": ((heads,), 1.0, "scalar"),
        "input_layernorm": ((d,), 1.0, "scalar"),
        "pre_ff_layernorm": ((d,), 1.0, "scalar"),
    }


def init(c, seed=0):
    """Fresh f32 weights. Matrices are scaled so that weight times multiplier has the usual size (muP)."""
    g = torch.Generator().manual_seed(seed)
    layers = c["num_hidden_layers"]
    p = {}
    for name, (shape, factor, kind) in tensors(c).items():
        if kind != "scalar":
            std = 0.6 / math.sqrt(shape[1]) / factor
            if name in ("o_proj", "out_proj", "down_proj"):
                std *= 1.5 / math.sqrt(2 * layers)
            if name == "in_dt":
                std *= 0.3
            p[name] = torch.randn(layers, *shape, generator=g) * std
        elif name == "conv_weight":
            p[name] = torch.rand(layers, *shape, generator=g) - 0.5
        elif name == "conv_bias":
            p[name] = torch.zeros(layers, *shape)
        elif name == "dt_bias":
            # softplus(dt_bias) is spread evenly in the logarithm over 0.002 to 0.2.
            dt = torch.exp(torch.rand(layers, *shape, generator=g) * math.log(100) + math.log(0.002))
            p[name] = dt + torch.log(-torch.expm1(-dt))
        elif name == "A_log":
            p[name] = torch.log(torch.linspace(1, 12, shape[0])).repeat(layers, 1)
        else:
            p[name] = torch.ones(layers, *shape)
    vocab, d = c["vocab_size"], c["hidden_size"]
    p["embed_tokens"] = torch.randn(vocab, d, generator=g) * 0.5 / c["embedding_multiplier"]
    p["lm_head"] = torch.randn(vocab, d, generator=g) * 0.01 / c["lm_head_multiplier"]
    p["final_layernorm"] = torch.ones(d)
    return p


def rms_norm(x, weight, eps):
    """RMSNorm with the mean in f32. x [..., D], weight [D]."""
    xf = x.float()
    return (xf * torch.rsqrt(xf.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype) * weight.to(x.dtype)


def ssd(x, dt, a, b, c, first, q):
    """The state space model in chunks of q tokens (T must be a multiple of q).

    x [B,T,H,P], dt [B,T,H] f32, a [H] f32 (negative), b and c [B,T,N] (one group), first [B,T] f32 (1 at the first
    token of a document, where the state starts from zero). Returns y [B,T,H,P] without the D skip."""
    rows, length, heads, width = x.shape
    n, chunks, dtype = b.shape[-1], length // q, x.dtype
    decay = (dt * a - RESET * first[:, :, None]).view(rows, chunks, q, heads)
    total = decay.cumsum(2).permute(0, 1, 3, 2)  # [B,C,H,Q], inclusive
    xd = (x * dt[..., None].to(dtype)).view(rows, chunks, q, heads, width).permute(0, 1, 3, 2, 4)  # [B,C,H,Q,P]
    b, c = b.view(rows, chunks, q, n), c.view(rows, chunks, q, n)

    # Inside a chunk. Exponents are differences and never positive; the upper triangle is cut before exp.
    i = torch.arange(q, device=x.device)
    lower = i[:, None] >= i[None, :]
    mask = torch.where(lower, torch.exp(torch.where(lower, total[..., :, None] - total[..., None, :], 0.0)), 0.0)
    y = (((c @ b.transpose(-1, -2))[:, :, None].float() * mask).to(dtype)) @ xd

    # What each chunk adds to the state, and the state that enters each chunk.
    to_end = torch.exp(total[..., -1:] - total).to(dtype)
    added = (xd * to_end[..., None]).transpose(-1, -2) @ b[:, :, None]  # [B,C,H,P,N]
    upto = total[..., -1].cumsum(1)  # [B,C,H]
    before = F.pad(upto[:, :-1], (0, 0, 1, 0))
    j = torch.arange(chunks, device=x.device)
    earlier = (j[:, None] > j[None, :])[None, :, :, None]
    carry = torch.where(earlier, torch.exp(torch.where(earlier, before[:, :, None] - upto[:, None], 0.0)), 0.0)
    state = torch.einsum("bzch,bchpn->bzhpn", carry.to(dtype), added)
    y = y + (c[:, :, None] @ state.transpose(-1, -2)) * torch.exp(total).to(dtype)[..., None]
    return y.permute(0, 1, 3, 2, 4).reshape(rows, length, heads, width)


def mamba(c, h, first, position, w):
    """The Mamba-2 half of a layer. h [B,T,D] after the norm, position [B,T] within the document."""
    rows, length, _ = h.shape
    inner, n, heads, dtype = c["mamba_d_ssm"], c["mamba_d_state"], c["mamba_n_heads"], h.dtype
    m = c["ssm_multipliers"]
    h = h * c["ssm_in_multiplier"]
    z = F.linear(h, w["in_z"]) * m[0]
    bc_scale = torch.cat([torch.full((n,), s, device=h.device, dtype=dtype) for s in (m[2], m[3])])
    xbc = torch.cat([F.linear(h, w["in_x"]) * m[1], F.linear(h, w["in_bc"]) * bc_scale], -1)
    dt = F.softplus((F.linear(h, w["in_dt"]) * m[4]).float() + w["dt_bias"].float())

    # Depthwise causal convolution of width 4 that does not look across the start of a document.
    kernel = w["conv_weight"].to(dtype)
    y = xbc * kernel[:, 3]
    for k in (1, 2, 3):
        y = y + torch.where((position >= k)[..., None], F.pad(xbc[:, :-k], (0, 0, k, 0)) * kernel[:, 3 - k], 0.0)
    x, b, cc = F.silu(y + w["conv_bias"].to(dtype)).split([inner, n, n], -1)
    x = x.reshape(rows, length, heads, c["mamba_d_head"])
    y = ssd(x, dt, -torch.exp(w["A_log"].float()), b, cc, first, c["mamba_chunk_size"])
    y = (y + x * w["D"].to(dtype)[:, None]).reshape(rows, length, inner) * F.silu(z)
    return F.linear(y, w["out_proj"]) * c["ssm_out_multiplier"]


def attention(c, h, cos, sin, mask, w):
    """The attention half of a layer. h [B,T,D]; cos and sin [T, head_dim/2]; mask [B,1,T,T], true where seen."""
    rows, length, _ = h.shape
    hd, nq, nk = c["head_dim"], c["num_attention_heads"], c["num_key_value_heads"]
    h = h * c["attention_in_multiplier"]

    def heads(weight, count):
        return F.linear(h, weight).view(rows, length, count, hd).transpose(1, 2)

    def rotate(t):
        lo, hi = t.chunk(2, -1)
        return torch.cat([lo * cos - hi * sin, hi * cos + lo * sin], -1)

    def spread(t):
        return t[:, :, None].expand(rows, nk, nq // nk, length, hd).reshape(rows, nq, length, hd)

    q = rotate(heads(w["q_proj"], nq))
    k = rotate(heads(w["k_proj"], nk) * c["key_multiplier"])
    v = heads(w["v_proj"], nk)
    y = F.scaled_dot_product_attention(q, spread(k), spread(v), attn_mask=mask)
    return F.linear(y.transpose(1, 2).reshape(rows, length, nq * hd), w["o_proj"]) * c["attention_out_multiplier"]


def layer(c, x, cos, sin, mask, first, position, w):
    """One layer; w holds this layer's weights."""
    gate, down = c["mlp_multipliers"]
    h = rms_norm(x, w["input_layernorm"], c["rms_norm_eps"])
    x = x + (mamba(c, h, first, position, w) + attention(c, h, cos, sin, mask, w))
    h = rms_norm(x, w["pre_ff_layernorm"], c["rms_norm_eps"])
    return x + F.linear(F.linear(h, w["up_proj"]) * F.silu(F.linear(h, w["gate_proj"]) * gate), w["down_proj"]) * down


def logits(c, x, norm, head):
    """f32 logits [B,T,V] of the last layer's output x [B,T,D]."""
    return (F.linear(rms_norm(x, norm, c["rms_norm_eps"]), head) * c["lm_head_multiplier"]).float()


def token_losses(c, x, norm, head, target):
    """Loss of each token, nats, shape [B*T]."""
    out = logits(c, x, norm, head)
    return F.cross_entropy(out.view(-1, out.shape[-1]), target.reshape(-1), reduction="none")


def documents(c, tokens, dtype):
    """What packing needs: cos, sin, the attention mask, the starts of documents and the positions in them.

    A document starts at each begin-of-text token; the rotary angle runs through the row, because only differences
    count."""
    rows, length = tokens.shape
    start = tokens == c["bos_token_id"]
    start[:, 0] = True
    index = torch.arange(length, device=tokens.device)
    document = start.long().cumsum(1)
    begin = torch.where(start, index, 0).cummax(1).values
    mask = (document[:, :, None] == document[:, None, :]) & (index[:, None] >= index[None, :])
    hd = c["head_dim"]
    frequency = c["rope_theta"] ** -(torch.arange(0, hd, 2, device=tokens.device).double() / hd)
    angle = torch.outer(index.double(), frequency)
    return angle.cos().to(dtype), angle.sin().to(dtype), mask[:, None], start.float(), index - begin


def forward(c, p, tokens, dtype, layer_fn=layer):
    """tokens [B,T] -> output of the last layer [B,T,D]. T must be a multiple of the chunk size."""
    cos, sin, mask, first, position = documents(c, tokens, dtype)
    x = F.embedding(tokens, p["embed_tokens"]).to(dtype) * c["embedding_multiplier"]
    each = {name: p[name].unbind(0) for name in tensors(c)}
    for i in range(c["num_hidden_layers"]):
        x = layer_fn(c, x, cos, sin, mask, first, position, {name: each[name][i] for name in each})
    return x


def export(c, p):
    """The weights under the names of `FalconH1ForCausalLM`."""
    out = {
        "model.embed_tokens.weight": p["embed_tokens"],
        "lm_head.weight": p["lm_head"],
        "model.final_layernorm.weight": p["final_layernorm"],
    }
    for i in range(c["num_hidden_layers"]):
        w = {name: p[name][i] for name in tensors(c)}
        at = f"model.layers.{i}."
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            out[f"{at}self_attn.{name}.weight"] = w[name]
        for name in ("gate_proj", "up_proj", "down_proj"):
            out[f"{at}feed_forward.{name}.weight"] = w[name]
        for name in ("input_layernorm", "pre_ff_layernorm"):
            out[f"{at}{name}.weight"] = w[name]
        for name in ("dt_bias", "A_log", "D"):
            out[f"{at}mamba.{name}"] = w[name]
        out[f"{at}mamba.in_proj.weight"] = torch.cat([w["in_z"], w["in_x"], w["in_bc"], w["in_dt"]])
        out[f"{at}mamba.conv1d.weight"] = w["conv_weight"][:, None]
        out[f"{at}mamba.conv1d.bias"] = w["conv_bias"]
        out[f"{at}mamba.out_proj.weight"] = w["out_proj"]
    return out


def hf_config(c):
    """config.json for the exported weights."""
    rope = {"rope_type": "default", "rope_theta": c["rope_theta"]}
    return dict(c, architectures=["FalconH1ForCausalLM"], model_type="falcon_h1", rope_parameters=rope,
                torch_dtype="bfloat16", initializer_range=0.02, num_logits_to_keep=1, use_cache=True,
                time_step_min=0.001, time_step_max=0.1, time_step_floor=0.0001)
