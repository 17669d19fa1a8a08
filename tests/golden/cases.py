"""The cases: shapes, multipliers, storage formats; and the random weights that go with a config."""

import numpy as np

# (official-like) multipliers; every one differs from 1 so that a forgotten one shows.
MULTIPLIERS = dict(
    embedding_multiplier=5.656854249492381,
    lm_head_multiplier=0.03125,
    key_multiplier=0.39062499999999994,
    attention_in_multiplier=0.875,
    attention_out_multiplier=0.9375,
    ssm_in_multiplier=1.25,
    ssm_out_multiplier=0.23570226039551587,
    mlp_multipliers=[0.8838834764831844, 0.5859375],
    ssm_multipliers=[0.3535533905932738, 0.25, 0.1767766952966369, 0.5, 0.3535533905932738],
)
TIED = MULTIPLIERS | dict(embedding_multiplier=0.11083984375, lm_head_multiplier=0.078125)


def shape(D, L, V, heads, F, mamba, rms, tied=False, multipliers=MULTIPLIERS):
    """heads = (nh, nkv, hd); mamba = (n, P, G, N). Returns a config with HF's field names."""
    nh, nkv, hd = heads
    n, P, G, N = mamba
    return multipliers | dict(
        vocab_size=V, hidden_size=D, num_hidden_layers=L, intermediate_size=F,
        num_attention_heads=nh, num_key_value_heads=nkv, head_dim=hd,
        mamba_d_ssm=n * P, mamba_n_heads=n, mamba_d_head=P, mamba_n_groups=G, mamba_d_state=N, mamba_d_conv=4,
        mamba_rms_norm=rms, tie_word_embeddings=tied, rms_norm_eps=1e-5, rope_theta=100000000000.0,
        max_position_embeddings=262144,
    )


# Storage: GGUF tensor name, or its part after "blk.", or after "blk.i." -> type; "*" for all other matrices.
# The quant case copies what Q4_K_M does in layer 0 (v and down in Q6_K beside Q4_K) and mixes the rest in layer 1.
QUANT = {
    "*": "Q4_K", "output.weight": "Q6_K",
    "0.attn_v.weight": "Q6_K", "0.ffn_down.weight": "Q6_K",
    "1.attn_q.weight": "Q8_0", "1.attn_k.weight": "BF16", "1.attn_v.weight": "F16", "1.ssm_in.weight": "Q4_0",
    "1.ssm_out.weight": "Q4_0", "1.ffn_gate.weight": "Q4_0", "1.ffn_down.weight": "Q4_0",
}
ROW80 = {
    "*": "F32", "token_embd.weight": "F16", "output.weight": "BF16", "0.ssm_in.weight": "BF16", "1.ssm_in.weight": "F16",
    "0.ssm_out.weight": "F16", "0.ffn_down.weight": "BF16", "ffn_gate.weight": "F16", "ffn_up.weight": "BF16",
    "1.ffn_down.weight": "F16", "1.attn_q.weight": "BF16", "0.attn_output.weight": "F16",
}

# name: config, storage, T; `offset`: also run at that position; `rows`: of the SSM states only eight rows a head are kept.
CASES = {
    "norm1": dict(config=shape(32, 2, 269, (4, 2, 16), 96, (2, 64, 1, 64), True), store={"*": "F16"}, T=45),
    "norm2": dict(config=shape(32, 2, 271, (4, 2, 16), 64, (4, 16, 2, 32), True), store={"*": "F32"}, T=33, offset=262000),
    "gate2": dict(config=shape(32, 2, 277, (2, 1, 32), 64, (4, 16, 2, 16), False), store={"*": "BF16"}, T=37),
    "tied": dict(config=shape(32, 3, 353, (4, 2, 16), 64, (3, 16, 1, 16), False, True, TIED), store={"*": "F16"}, T=33),
    "wide": dict(config=shape(32, 2, 269, (1, 1, 64), 64, (2, 128, 1, 256), True), store={"*": "Q8_0"}, T=33, rows=True),
    "odd": dict(  # the large epsilon shows when a norm forgets it; 1e-5 hardly does
        config=shape(96, 2, 337, (3, 1, 32), 96, (3, 32, 1, 32), True) | {"rms_norm_eps": 0.01},
        store={"*": "Q4_0", "output.weight": "Q8_0"}, T=27,
    ),
    "row80": dict(config=shape(80, 2, 269, (2, 1, 20), 112, (3, 16, 1, 24), False), store=ROW80, T=35),
    "quant": dict(config=shape(256, 2, 269, (4, 1, 64), 256, (4, 64, 1, 16), True), store=QUANT, T=15),
    # An HF folder instead of a GGUF: bf16, multipliers in config.json.
    "hf-folder": dict(config=shape(32, 2, 271, (6, 2, 16), 64, (4, 16, 1, 32), True), T=33, folder=True),
}


def random_weights(c, seed):
    """Un-baked weights, HF names -> f32 arrays, scaled so that *with* the multipliers activations stay around 1 and logits
    around 2."""
    rng = np.random.default_rng(seed)
    D, F, V = c["hidden_size"], c["intermediate_size"], c["vocab_size"]
    nh, nkv, hd = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
    d, n, K = c["mamba_d_ssm"], c["mamba_n_heads"], c["mamba_d_conv"]
    gn = c["mamba_n_groups"] * c["mamba_d_state"]
    f32 = lambda a: np.asarray(a, np.float32)

    def matrix(rows, cols, gain, multiplier=1.0):
        return f32(rng.standard_normal((rows, cols)) * gain / (np.sqrt(cols) * multiplier))

    around_one = lambda size: f32(1 + 0.2 * rng.standard_normal(size))
    a_in, ssm_in, m = c["attention_in_multiplier"], c["ssm_in_multiplier"], c["ssm_multipliers"]
    tied = c["tie_word_embeddings"]
    embedding_scale = (0.5 if tied else 1.0) / c["embedding_multiplier"]
    w = {
        "model.embed_tokens.weight": f32(rng.standard_normal((V, D)) * embedding_scale),
        "model.final_layernorm.weight": around_one(D),
    }
    if not tied:
        w["lm_head.weight"] = matrix(V, D, 2.0, c["lm_head_multiplier"])
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        # dt_bias: inverse softplus of step sizes log-uniform in 0.001..0.1; A = -(1..16)
        step = np.exp(rng.uniform(np.log(0.001), np.log(0.1), n))
        sections = [(d, 1.0), (d, 1.5), (gn, 1.2), (gn, 1.2 if gn < 200 else 0.8), (n, 1.0)]
        w |= {
            p + "input_layernorm.weight": around_one(D),
            p + "pre_ff_layernorm.weight": around_one(D),
            p + "self_attn.q_proj.weight": matrix(nh * hd, D, 1.5, a_in),
            p + "self_attn.k_proj.weight": matrix(nkv * hd, D, 1.2, a_in * c["key_multiplier"]),
            p + "self_attn.v_proj.weight": matrix(nkv * hd, D, 1.0, a_in),
            p + "self_attn.o_proj.weight": matrix(D, nh * hd, 0.8, c["attention_out_multiplier"]),
            p + "mamba.in_proj.weight": np.concatenate(
                [matrix(rows, D, gain, ssm_in * mult) for (rows, gain), mult in zip(sections, m)]
            ),
            p + "mamba.conv1d.weight": f32(rng.standard_normal((d + 2 * gn, 1, K)) * 0.5),
            p + "mamba.conv1d.bias": f32(rng.standard_normal(d + 2 * gn) * 0.2),
            p + "mamba.dt_bias": f32(step + np.log(-np.expm1(-step))),
            p + "mamba.A_log": f32(np.log(rng.uniform(1, 16, n))),
            p + "mamba.D": f32(1 + 0.3 * rng.standard_normal(n)),
            p + "mamba.out_proj.weight": matrix(D, d, 0.8, c["ssm_out_multiplier"]),
            p + "feed_forward.gate_proj.weight": matrix(F, D, 1.2, c["mlp_multipliers"][0]),
            p + "feed_forward.up_proj.weight": matrix(F, D, 1.2),
            p + "feed_forward.down_proj.weight": matrix(D, F, 1.0, c["mlp_multipliers"][1]),
        }
        if c["mamba_rms_norm"]:
            w[p + "mamba.norm.weight"] = around_one(d)
    return w


def bake(c, weights):
    """Folds every multiplier into the weights (f32, as a GGUF has them). Returns (config with multipliers 1, weights)."""
    f = np.float32
    d, n, gn = c["mamba_d_ssm"], c["mamba_n_heads"], c["mamba_n_groups"] * c["mamba_d_state"]
    sections = np.repeat(np.array(c["ssm_multipliers"]) * c["ssm_in_multiplier"], [d, d, gn, gn, n])[:, None]
    a_in = c["attention_in_multiplier"]
    factor = {
        "embed_tokens.weight": c["embedding_multiplier"], "lm_head.weight": c["lm_head_multiplier"],
        "q_proj.weight": a_in, "k_proj.weight": a_in * c["key_multiplier"], "v_proj.weight": a_in,
        "o_proj.weight": c["attention_out_multiplier"], "gate_proj.weight": c["mlp_multipliers"][0],
        "down_proj.weight": c["mlp_multipliers"][1], "in_proj.weight": sections,
        "mamba.out_proj.weight": c["ssm_out_multiplier"],
    }
    baked = {}
    for name, value in weights.items():
        hits = [m for suffix, m in factor.items() if name.endswith(suffix)]
        baked[name] = (value * hits[0]).astype(f) if hits else value
    return plain(c), baked


def plain(c):
    """The config with every multiplier 1: what a GGUF says."""
    ones = {k: [1.0] * len(v) if isinstance(v, list) else 1.0 for k, v in MULTIPLIERS.items()}
    return c | ones
