//! GPTQ folders made here, number by number: every weight is scale · (code − zero), on the CPU and
//! on the GPU.

use std::collections::BTreeMap;
use std::path::Path;

use peregrine::checkpoint::Checkpoint;
use peregrine::error::{Error, Result};
use peregrine::format::Format;
use peregrine::gpu::GpuOptions;
use peregrine::model::LoadOptions;
use peregrine::session::Session;
use peregrine::{model::Model, reference};
use peregrine_tests::{assert_close, device, exact};
use peregrine_workbench::quantize::{QuantType, QuantizeOptions, quantize};
use pollster::block_on;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::json;
use tempfile::TempDir;

use crate::checkpoint::toy::{Noise, Toy};

/// How a folder is quantized.
#[derive(Clone, Copy, Debug)]
struct Scheme {
    bits: u32,
    /// -1: one group.
    group_size: i64,
    symmetric: bool,
    v2: bool,
    /// Inputs belong to groups in a random order.
    shuffled: bool,
}

const SYMMETRIC: Scheme = Scheme { bits: 4, group_size: 32, symmetric: true, v2: false, shuffled: false };

/// Shape, type, bytes.
type Stored = (Vec<usize>, Dtype, Vec<u8>);

/// A folder's tensors by name, and what the weights are.
struct Folder {
    stored: BTreeMap<String, Stored>,
    weights: BTreeMap<String, Vec<f32>>,
    toy: Toy,
    scheme: Scheme,
}

/// Small positive halves with all bits in use: 0x1800 to 0x1fff is 0.002 to 0.008.
fn scale(noise: &mut Noise) -> (u16, f32) {
    let bits = 0x1800 | (noise.bits() >> 21) as u16;
    let (exponent, fraction) = (i32::from(bits >> 10), f32::from(bits & 1023));
    (bits, (1024.0 + fraction) * 2f32.powi(exponent - 25))
}

impl Folder {
    fn new(scheme: Scheme) -> Self {
        // Eight SSM heads: GPTQ needs a number of outputs that 8 divides.
        let mut toy = Toy::with_hidden(64).set("mamba_n_heads", 8);
        // What a session needs of a tokenizer.
        toy.tokenizer["decoder"] =
            json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
        toy.tokenizer["added_tokens"] = json!([]);
        let mut noise = Noise(scheme.bits.into());
        for layer in 0..2 {
            for (name, shape) in
                [("in_proj.weight", vec![168, 64]), ("dt_bias", vec![8]), ("A_log", vec![8]), ("D", vec![8])]
            {
                let values = (0..shape.iter().product()).map(|_| noise.value()).collect();
                toy.tensors.insert(format!("model.layers.{layer}.mamba.{name}"), (shape, values));
            }
        }
        let mut folder = Self { stored: BTreeMap::new(), weights: BTreeMap::new(), toy, scheme };
        let names: Vec<String> = folder.toy.tensors.keys().cloned().collect();
        for name in names {
            match name.strip_suffix("_proj.weight") {
                Some(stem) => folder.quantized(&format!("{stem}_proj"), &mut noise),
                None => {
                    let (shape, values) = &folder.toy.tensors[&name];
                    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                    folder.stored.insert(name, (shape.clone(), Dtype::F32, bytes));
                }
            }
        }
        folder
    }

    /// Random codes, zeros and scales for one layer.
    fn quantized(&mut self, stem: &str, noise: &mut Noise) {
        let Scheme { bits, group_size, symmetric, v2, shuffled } = self.scheme;
        let [outputs, inputs] = *self.toy.tensors[&format!("{stem}.weight")].0.as_slice() else { unreachable!() };
        let size = if group_size < 0 { inputs } else { group_size as usize };
        let (groups, per_word, top) = (inputs.div_ceil(size), 32 / bits as usize, (1u32 << bits) - 1);
        let mut group_of: Vec<usize> = (0..inputs).map(|i| i / size).collect();
        if shuffled {
            (1..inputs).rev().for_each(|i| group_of.swap(i, noise.bits() as usize % (i + 1)));
        }
        let codes: Vec<u32> = (0..inputs * outputs).map(|_| noise.bits() >> 7 & top).collect();
        let middle = top / 2 + 1;
        let zeros: Vec<u32> =
            (0..groups * outputs).map(|_| if symmetric { middle } else { noise.bits() >> 7 & top }).collect();
        let scales: Vec<(u16, f32)> = (0..groups * outputs).map(|_| scale(noise)).collect();

        let mut values = vec![0.0; outputs * inputs];
        for o in 0..outputs {
            for i in 0..inputs {
                let g = group_of[i] * outputs + o;
                values[o * inputs + i] = scales[g].1 * (codes[i * outputs + o] as f32 - zeros[g] as f32);
            }
        }
        self.weights.insert(format!("{stem}.weight"), values);

        let mut words = vec![0u32; inputs / per_word * outputs];
        for i in 0..inputs {
            for o in 0..outputs {
                words[i / per_word * outputs + o] |= codes[i * outputs + o] << (bits as usize * (i % per_word));
            }
        }
        let mut zero_words = vec![0u32; groups * outputs / per_word];
        for (at, zero) in zeros.iter().enumerate() {
            // `at` runs over groups, then outputs, and words hold consecutive outputs.
            let stored = if v2 { *zero } else { zero.wrapping_sub(1) & top };
            zero_words[at / per_word] |= stored << (bits as usize * (at % per_word));
        }
        let bytes = |words: &[u32]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
        let halves = scales.iter().flat_map(|(bits, _)| bits.to_le_bytes()).collect();
        let order: Vec<u32> = group_of.iter().map(|g| *g as u32).collect();
        for (ending, stored) in [
            ("qweight", (vec![inputs / per_word, outputs], Dtype::I32, bytes(&words))),
            ("qzeros", (vec![groups, outputs / per_word], Dtype::I32, bytes(&zero_words))),
            ("scales", (vec![groups, outputs], Dtype::F16, halves)),
            ("g_idx", (vec![inputs], Dtype::I32, bytes(&order))),
        ] {
            self.stored.insert(format!("{stem}.{ending}"), stored);
        }
    }

    fn write(&self, folder: &Path) {
        let Scheme { bits, group_size, symmetric, v2, shuffled } = self.scheme;
        let mut config = json!({"quant_method": "gptq", "bits": bits, "group_size": group_size, "sym": symmetric,
            "desc_act": shuffled, "damp_percent": 0.01});
        if v2 {
            config["checkpoint_format"] = json!("gptq_v2");
        }
        let toy =
            Toy { config: self.toy.config.clone(), tensors: BTreeMap::new(), tokenizer: self.toy.tokenizer.clone() };
        toy.set("quantization_config", config).write_texts(folder);
        let views = self.stored.iter();
        let views = views.map(|(name, (shape, dtype, bytes))| {
            (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        std::fs::write(folder.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    }

    fn open(&self) -> Result<(TempDir, Checkpoint)> {
        let folder = TempDir::new().unwrap();
        self.write(folder.path());
        block_on(Checkpoint::open_folder(folder.path())).map(|checkpoint| (folder, checkpoint))
    }

    /// The same model with its weights as F32.
    fn plain(&self) -> (TempDir, Checkpoint) {
        let mut toy = Toy {
            config: self.toy.config.clone(),
            tensors: self.toy.tensors.clone(),
            tokenizer: self.toy.tokenizer.clone(),
        };
        for (name, values) in &self.weights {
            toy.tensors.get_mut(name).unwrap().1.clone_from(values);
        }
        let folder = TempDir::new().unwrap();
        toy.write(folder.path());
        let checkpoint = block_on(Checkpoint::open_folder(folder.path())).unwrap();
        (folder, checkpoint)
    }
}

#[test]
fn every_weight_is_exact() {
    let odd = Scheme { symmetric: false, ..SYMMETRIC };
    for (scheme, format) in [
        (SYMMETRIC, Format::Q4_0),
        (Scheme { v2: true, ..SYMMETRIC }, Format::Q4_0),
        (Scheme { group_size: -1, ..SYMMETRIC }, Format::Q4_0),
        (odd, Format::Q5_0),
        (Scheme { v2: true, ..odd }, Format::Q5_0),
        (Scheme { bits: 8, ..SYMMETRIC }, Format::Q8_0),
        (Scheme { bits: 8, v2: true, ..odd }, Format::F32),
        (Scheme { bits: 8, ..odd }, Format::F32),
        (Scheme { shuffled: true, ..odd }, Format::F32),
        (Scheme { shuffled: true, bits: 8, ..SYMMETRIC }, Format::F32),
        (Scheme { group_size: 16, ..SYMMETRIC }, Format::F32),
    ] {
        let folder = Folder::new(scheme);
        let (_here, checkpoint) = folder.open().unwrap();
        for (name, expected) in &folder.weights {
            let tensor = checkpoint.tensor(name).unwrap();
            assert_eq!(tensor.format, format, "{scheme:?}");
            let found = block_on(checkpoint.read_rows_f32(tensor, 0, tensor.rows())).unwrap();
            let wrong = found.iter().zip(expected).position(|(f, e)| f != e);
            assert_eq!((found.len(), wrong), (expected.len(), None), "{scheme:?}: {name}");
            // Any rows, and bytes that begin and end inside a row.
            let some = block_on(checkpoint.read_rows_f32(tensor, 5, 2)).unwrap();
            let cols = tensor.cols() as usize;
            assert_eq!(some, found[5 * cols..7 * cols]);
            let (mut all, mut part) = (vec![0; 3 * tensor.row_bytes() as usize], vec![0; tensor.row_bytes() as usize]);
            block_on(checkpoint.read(tensor, 0, &mut all)).unwrap();
            block_on(checkpoint.read(tensor, 7, &mut part)).unwrap();
            assert_eq!(part, all[7..7 + part.len()]);
        }
    }
}

#[test]
fn the_model_is_the_same_as_with_plain_weights() {
    let gpu = device(&GpuOptions::default());
    let ids = [5, 9, 31, 4, 4, 17, 22, 8];
    for scheme in [
        SYMMETRIC,
        Scheme { symmetric: false, v2: true, ..SYMMETRIC },
        Scheme { bits: 8, ..SYMMETRIC },
        Scheme { shuffled: true, symmetric: false, ..SYMMETRIC },
    ] {
        let folder = Folder::new(scheme);
        let ((_here, quantized), (_there, plain)) = (folder.open().unwrap(), folder.plain());
        let twin = |checkpoint: &Checkpoint| {
            let mut twin = block_on(reference::model::Model::load(checkpoint)).unwrap();
            ids.iter().flat_map(|id| twin.forward(*id).logits).collect::<Vec<f32>>()
        };
        let expected = twin(&plain);
        let magnitude = expected.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        assert!(magnitude > 1e-3, "{scheme:?}: {magnitude}");
        assert_eq!(twin(&quantized), expected, "{scheme:?}: the CPU twin");
        let engine = block_on(peregrine::session::Engine::load(&gpu, &quantized, &exact(), &mut |_| {}));
        let mut session = Session::new(&engine.unwrap()).unwrap();
        for chunk in [1, 8] {
            let mut logits = Vec::new();
            session.reset();
            block_on(session.forward(&ids, chunk, 8, &mut |row| logits.extend_from_slice(row))).unwrap();
            assert_close(&format!("{scheme:?}"), &logits, &expected, 1e-4 * magnitude.max(1.0));
        }
        // To GGUF, with the multipliers in the weights.
        let convert = |checkpoint: &Checkpoint| {
            let mut out = Vec::new();
            let options = QuantizeOptions { name: Some("x".into()), ..QuantizeOptions::new(QuantType::F32) };
            block_on(quantize(checkpoint, &mut out, &options, &mut |_, _| {})).unwrap();
            out
        };
        assert!(convert(&quantized) == convert(&plain), "{scheme:?}: as GGUF");
    }
}

#[test]
fn an_adapter_is_the_same_as_beside_plain_weights() {
    let gpu = device(&GpuOptions::default());
    let ids = [5, 9, 31, 4, 4, 17, 22, 8];
    let folder = Folder::new(Scheme { shuffled: true, symmetric: false, ..SYMMETRIC });
    let ((_here, quantized), (_there, plain)) = (folder.open().unwrap(), folder.plain());
    let logits = |checkpoint: &Checkpoint, scale: f32| {
        let c = &checkpoint.config;
        let [d, q, f] = [c.hidden_size, c.q_dim(), c.intermediate_size].map(u64::from);
        let weights = [("blk.0.attn_q.weight", q, d), ("blk.0.ffn_up.weight", f, d), ("blk.0.ffn_down.weight", d, f)];
        let engine = block_on(peregrine::session::Engine::load(&gpu, checkpoint, &exact(), &mut |_| {})).unwrap();
        let id = engine.add_adapter("made", crate::adapters::made(&weights, &engine.base())).unwrap();
        let mut session = Session::new(&engine).unwrap();
        block_on(session.set_adapters(&[(id, scale)])).unwrap();
        let mut logits = Vec::new();
        block_on(session.forward(&ids, 8, 8, &mut |row| logits.extend_from_slice(row))).unwrap();
        logits
    };
    let (expected, without) = (logits(&plain, 1.0), logits(&plain, 0.0));
    let far = expected.iter().zip(&without).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(far > 1e-3, "{far}");
    let magnitude = expected.iter().fold(1.0f32, |most, v| most.max(v.abs()));
    assert_close("GPTQ", &logits(&quantized, 1.0), &expected, 1e-4 * magnitude);
}

#[test]
fn what_does_not_belong_together_is_named() {
    let q = "model.layers.1.self_attn.q_proj";
    type Spoil = fn(&mut Folder);
    fn get<'a>(folder: &'a mut Folder, ending: &str) -> &'a mut Stored {
        folder.stored.get_mut(&format!("model.layers.1.self_attn.q_proj.{ending}")).unwrap()
    }
    let cases: [(&str, Spoil, &str, &str); 9] = [
        ("no zeros", |f| drop(f.stored.remove("model.layers.1.self_attn.q_proj.qzeros")), "missing-tensor", "qzeros"),
        ("no scales", |f| drop(f.stored.remove("model.layers.1.self_attn.q_proj.scales")), "missing-tensor", "scales"),
        ("no codes", |f| drop(f.stored.remove("model.layers.1.self_attn.q_proj.qweight")), "unsupported", "I32"),
        ("another shape of scales", |f| get(f, "scales").0 = vec![64, 2], "tensor-shape", "scales"),
        ("another shape of zeros", |f| get(f, "qzeros").0 = vec![8, 2], "tensor-shape", "qzeros"),
        ("another shape of groups", |f| get(f, "g_idx").0 = vec![8, 8], "tensor-shape", "g_idx"),
        ("another shape of codes", |f| get(f, "qweight").0 = vec![512], "tensor-shape", "qweight"),
        ("a group too many", |f| get(f, "g_idx").2[4] = 9, "malformed", "g_idx"),
        ("more integers", |f| drop(f.stored.insert("x".into(), (vec![1], Dtype::I32, vec![0; 4]))), "unsupported", "x"),
    ];
    for (what, spoil, code, word) in cases {
        let mut folder = Folder::new(SYMMETRIC);
        spoil(&mut folder);
        let error = folder.open().map(|_| ()).expect_err(what);
        assert_eq!(error.code(), code, "{what}: {error}");
        assert!(error.to_string().contains(word), "{what}: {error}");
    }
    // A zero that is not what `sym` promises, and a scale that is no number, show when the weights
    // are read.
    for (ending, at, bytes, word) in [("qzeros", 8, [0x12, 0x34], "sym"), ("scales", 6, [0, 0x7e], "finite")] {
        let mut folder = Folder::new(SYMMETRIC);
        get(&mut folder, ending).2[at..at + 2].copy_from_slice(&bytes);
        let (_here, checkpoint) = folder.open().unwrap();
        let gpu = device(&GpuOptions::default());
        let error = block_on(Model::load(&gpu, &checkpoint, &LoadOptions::default(), &mut |_| {})).err().unwrap();
        assert!(matches!(error, Error::Malformed { .. }), "{error}");
        assert!(error.to_string().contains(word) && error.to_string().contains(q), "{error}");
    }
    // Without the description integers mean nothing.
    let folder = TempDir::new().unwrap();
    let gptq = Folder::new(SYMMETRIC);
    gptq.write(folder.path());
    gptq.toy.write_texts(folder.path());
    let error = block_on(Checkpoint::open_folder(folder.path())).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("no quantization_config"), "{error}");
}

/// GPTQModel's rules for single layers: those that leave layers out, or say what all layers have,
/// need nothing.
#[test]
fn rules_that_only_skip_are_accepted() {
    let open = |dynamic: serde_json::Value| {
        let (folder, gptq) = (TempDir::new().unwrap(), Folder::new(SYMMETRIC));
        gptq.write(folder.path());
        let path = folder.path().join("config.json");
        let config = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, config.replacen("\"bits\":", &format!("\"dynamic\":{dynamic},\"bits\":"), 1)).unwrap();
        block_on(Checkpoint::open_folder(folder.path())).map(|_| ())
    };
    for good in [
        json!({}),
        json!({"-:.*mamba.*": {}}),
        json!({"-:.*mamba.*": {}, "-:.*lm_head.*": {"bits": 8}}),
        json!({"+:.*q_proj.*": {}, ".*k_proj.*": {"bits": 4, "group_size": 32}}),
    ] {
        assert!(open(good.clone()).is_ok(), "{good}: {:?}", open(good.clone()));
    }
    for bad in [json!({".*q_proj.*": {"bits": 8}}), json!({"-:.*mamba.*": {}, "+:.*q_proj.*": {"group_size": 64}})] {
        let error = open(bad.clone()).unwrap_err();
        assert!(error.code() == "unsupported" && error.to_string().contains("dynamic"), "{bad}: {error}");
    }
}
