"""Falcon-H1's forward pass in numpy f64, token by token, written from the formulas and not from transformers' code.

It is the second opinion of `make.py --verify`: two independent implementations have to agree before a value is stored.
"""

import numpy as np


def silu(v):
    return v / (1 + np.exp(-v))


def softplus(v):
    return np.logaddexp(0, v)


def rms_norm(x, weight, eps):
    return weight * x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)


def rope(x, position, theta):
    """x [heads, head_dim]; rotates the pairs (i, i + head_dim/2) by position * theta^(-2i/head_dim)."""
    half = x.shape[-1] // 2
    angle = position * float(theta) ** (-np.arange(half) / half)
    a, b = x[:, :half], x[:, half:]
    return np.concatenate([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)], -1)


def forward(c, weights, ids, position=0):
    """c: config as a dict with HF names; weights: HF names -> arrays; ids: T tokens, the first at `position`.

    Returns logits [T, V], hidden [L+2, T, D] and, per layer, ssm_state.i [n, P, N], conv_state.i [channels, K-1],
    k.i and v.i [T, nkv, hd].
    """
    w = {name: np.asarray(value, np.float64) for name, value in weights.items()}
    eps, theta = c["rms_norm_eps"], c["rope_theta"]
    nh, nkv, hd = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
    d, n, P = c["mamba_d_ssm"], c["mamba_n_heads"], c["mamba_d_head"]
    G, N, K, L = c["mamba_n_groups"], c["mamba_d_state"], c["mamba_d_conv"], c["num_hidden_layers"]
    sections = np.repeat(c["ssm_multipliers"], [d, d, G * N, G * N, n])
    channels = d + 2 * G * N
    ssm = np.zeros((L, n, P, N))
    conv = np.zeros((L, channels, K - 1))
    keys, values = [[] for _ in range(L)], [[] for _ in range(L)]
    hidden, logits = [[] for _ in range(L + 2)], []
    head = w["model.embed_tokens.weight"] if c["tie_word_embeddings"] else w["lm_head.weight"]
    for t, token in enumerate(ids):
        h = c["embedding_multiplier"] * w["model.embed_tokens.weight"][token]
        for i in range(L):
            hidden[i].append(h)
            p = lambda name: w[f"model.layers.{i}.{name}"]
            u = rms_norm(h, p("input_layernorm.weight"), eps)

            proj = (p("mamba.in_proj.weight") @ (c["ssm_in_multiplier"] * u)) * sections
            z, xbc, dt = proj[:d], proj[d : d + channels], proj[d + channels :]
            window = np.concatenate([conv[i], xbc[:, None]], 1)
            conv[i] = window[:, 1:]
            xbc = silu((window * p("mamba.conv1d.weight").reshape(channels, K)).sum(1) + p("mamba.conv1d.bias"))
            x, B, C = xbc[:d].reshape(n, P), xbc[d : d + G * N].reshape(G, N), xbc[d + G * N :].reshape(G, N)
            delta = softplus(dt + p("mamba.dt_bias"))
            decay = np.exp(delta * -np.exp(p("mamba.A_log")))
            y = np.empty((n, P))
            for k in range(n):
                g = k // (n // G)
                ssm[i, k] = decay[k] * ssm[i, k] + delta[k] * np.outer(x[k], B[g])
                y[k] = ssm[i, k] @ C[g] + p("mamba.D")[k] * x[k]
            gated = y.reshape(d) * silu(z)
            if c["mamba_rms_norm"]:
                gated = rms_norm(gated.reshape(G, d // G), p("mamba.norm.weight").reshape(G, d // G), eps).reshape(d)
            s = c["ssm_out_multiplier"] * (p("mamba.out_proj.weight") @ gated)

            v_in = c["attention_in_multiplier"] * u
            q = rope((p("self_attn.q_proj.weight") @ v_in).reshape(nh, hd), position + t, theta)
            key = c["key_multiplier"] * (p("self_attn.k_proj.weight") @ v_in).reshape(nkv, hd)
            keys[i].append(rope(key, position + t, theta))
            values[i].append((p("self_attn.v_proj.weight") @ v_in).reshape(nkv, hd))
            mixed = np.empty((nh, hd))
            for j in range(nh):
                g = j // (nh // nkv)
                scores = np.array([q[j] @ past[g] for past in keys[i]]) / np.sqrt(hd)
                weight = np.exp(scores - scores.max())
                mixed[j] = (weight / weight.sum()) @ np.array([past[g] for past in values[i]])
            a = c["attention_out_multiplier"] * (p("self_attn.o_proj.weight") @ mixed.reshape(-1))
            h = h + s + a

            m = rms_norm(h, p("pre_ff_layernorm.weight"), eps)
            gate = c["mlp_multipliers"][0] * (p("feed_forward.gate_proj.weight") @ m)
            up = p("feed_forward.up_proj.weight") @ m
            h = h + c["mlp_multipliers"][1] * (p("feed_forward.down_proj.weight") @ (up * silu(gate)))
        hidden[L].append(h)
        h = rms_norm(h, w["model.final_layernorm.weight"], eps)
        hidden[L + 1].append(h)
        logits.append(c["lm_head_multiplier"] * (head @ h))
    out = {"logits": np.array(logits), "hidden": np.array(hidden)}
    for i in range(L):
        out |= {f"ssm_state.{i}": ssm[i], f"conv_state.{i}": conv[i]}
        out |= {f"k.{i}": np.array(keys[i]), f"v.{i}": np.array(values[i])}
    return out
