//! The multipliers of published models, by their sizes. A GGUF file has them in its weights and
//! does not say them; an adapter of PEFT was trained beside weights without them. Only models whose
//! published configuration has been seen are here.

use crate::config::Config;

/// D, L, nh, nkv, hd, F, d, H, G, N; L layers
pub(super) fn sizes(c: &Config) -> [u32; 10] {
    [
        c.hidden_size,
        c.num_hidden_layers,
        c.num_attention_heads,
        c.num_key_value_heads,
        c.head_dim,
        c.intermediate_size,
        c.mamba_d_ssm,
        c.mamba_n_heads,
        c.mamba_n_groups,
        c.mamba_d_state,
    ]
}

struct Known {
    sizes: [u32; 10],
    key: f32,
    attention_out: f32,
    ssm_in: f32,
    ssm_out: f32,
    mlp: [f32; 2],
    ssm: [f32; 5],
}

const LARGE_SSM: [f32; 5] = [0.353_553_4, 0.25, 0.176_776_7, 0.5, 0.353_553_4];

/// 0.5B, 1.5B-Deep, 7B, 34B, Tiny-90M. `attention_in_multiplier` is 1 in all of them.
#[rustfmt::skip]
const KNOWN: [Known; 5] = [
    Known { sizes: [1024, 36, 8, 2, 64, 2048, 1536, 24, 1, 128], key: 0.390_625, attention_out: 0.9375, ssm_in: 1.25, ssm_out: 0.235_702_26, mlp: [0.883_883_5, 0.585_937_5], ssm: [0.353_553_4, 0.25, 0.353_553_4, 0.5, 0.353_553_4] },
    Known { sizes: [1280, 66, 6, 2, 128, 3072, 1536, 24, 1, 256], key: 0.176_776_7, attention_out: 0.5, ssm_in: 1.0, ssm_out: 0.235_702_26, mlp: [0.707_106_77, 0.3125], ssm: LARGE_SSM },
    Known { sizes: [3072, 44, 12, 2, 128, 12288, 3072, 24, 1, 256], key: 0.030_690_4, attention_out: 0.104_166_67, ssm_in: 0.416_666_67, ssm_out: 0.117_851_13, mlp: [0.294_627_82, 0.032_552_082], ssm: LARGE_SSM },
    Known { sizes: [5120, 72, 20, 4, 128, 21504, 4096, 32, 2, 256], key: 0.011_048_543, attention_out: 0.0375, ssm_in: 0.25, ssm_out: 0.088_388_346, mlp: [0.176_776_7, 0.011_160_715], ssm: LARGE_SSM },
    Known { sizes: [512, 24, 8, 2, 64, 768, 768, 24, 1, 64], key: 1.0, attention_out: 1.0, ssm_in: 1.0, ssm_out: 1.0, mlp: [1.0, 1.0], ssm: [1.0; 5] },
];

/// The configuration with the multipliers of the published model of its sizes, if there is one.
pub(super) fn multiplied(c: &Config) -> Option<Config> {
    let known = KNOWN.iter().find(|known| known.sizes == sizes(c))?;
    Some(Config {
        key_multiplier: known.key,
        attention_in_multiplier: 1.0,
        attention_out_multiplier: known.attention_out,
        ssm_in_multiplier: known.ssm_in,
        ssm_out_multiplier: known.ssm_out,
        mlp_multipliers: known.mlp,
        ssm_multipliers: known.ssm,
        ..c.clone()
    })
}
