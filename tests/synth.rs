//! Random checkpoints: the shapes are the published ones, the bytes a function of the seed, the
//! numbers like a model's.

use std::rc::Rc;

use peregrine::chat::{ChatTemplate, Message};
use peregrine::checkpoint::{Checkpoint, MemorySource};
use peregrine::reference::kernels::softplus;
use peregrine::reference::model::Model;
use peregrine::tokenizer::Tokenizer;
use peregrine::{Error, Result};
use peregrine_tests::{argmax, assert_close, device, exact, session};
use peregrine_workbench::quantize::QuantType;
use peregrine_workbench::synth::{Size, SynthOptions, synth, synth_to_file};
use pollster::block_on;

fn make(options: &SynthOptions) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    synth(&mut out, options, &mut |_, _| {}).map(|()| out)
}

fn tiny(seed: u64, layers: u32) -> SynthOptions {
    // A type whose choice of formats does not depend on the depth; and a vocabulary that is not the
    // larger part of the file.
    let sizes = vec![("vocab_size".into(), 2048)];
    SynthOptions { layers: Some(layers), sizes, ..SynthOptions::new(Size::Tiny90M, QuantType::Q4_0, seed) }
}

fn open(bytes: Vec<u8>) -> Checkpoint {
    block_on(Checkpoint::open_gguf(Rc::new(MemorySource::new("random", bytes)))).unwrap()
}

fn values(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    let info = checkpoint.tensor(name).unwrap();
    block_on(checkpoint.read_rows_f32(info, 0, info.rows())).unwrap()
}

/// Mean and standard deviation.
fn moments(values: &[f32]) -> (f32, f32) {
    let n = values.len() as f32;
    let mean = values.iter().sum::<f32>() / n;
    (mean, (values.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / n).sqrt())
}

#[test]
fn parameters_are_those_of_the_published_models() {
    let found: Vec<u64> = Size::ALL.iter().map(|size| size.parameters()).collect();
    assert!((91_050_000..91_150_000).contains(&found[0]), "{found:?}");
    let published = [521_411_104, 1_554_863_488, 1_554_874_768, 3_149_392_384, 7_585_654_880, 33_642_516_224];
    assert_eq!(found[1..], published);
}

#[test]
fn a_file_has_the_shape_it_was_made_for() {
    for (size, target, bytes) in [
        (Size::Tiny90M, QuantType::Q4_K_M, None),
        // Of the tensors in the published file.
        (Size::B0_5, QuantType::Q4_K_M, Some(313_663_744)),
    ] {
        let file = open(make(&SynthOptions::new(size, target, 1)).unwrap());
        assert_eq!(file.config, size.config(), "{size:?}");
        assert_eq!(file.parameters(), size.parameters(), "{size:?}");
        assert_eq!(file.tensor_bytes(), bytes.unwrap_or(file.tensor_bytes()), "{size:?}");
        assert!(file.name.contains(size.name()) && file.name.contains("random"), "{}", file.name);
    }
}

#[test]
fn a_shape_of_ones_own() {
    let shape = |sizes: &[(&str, u32)]| {
        let sizes = sizes.iter().map(|(name, value)| (name.to_string(), *value)).collect();
        make(&SynthOptions { sizes, ..SynthOptions::new(Size::Toy, QuantType::F16, 1) })
    };
    let file =
        open(shape(&[("hidden_size", 80), ("mamba_n_heads", 3), ("mamba_n_groups", 3), ("vocab_size", 331)]).unwrap());
    let c = &file.config;
    assert_eq!((c.hidden_size, c.mamba_d_ssm, c.mamba_n_groups, c.vocab_size), (80, 96, 3, 331));
    let rows = values(&file, "lm_head.weight");
    assert_eq!(rows.len(), 331 * 80);
    assert!(rows.chunks_exact(80).all(|row| row.iter().any(|v| *v != 0.0)));
    for (sizes, told) in [
        (&[("hidden", 80)][..], "hidden=80"),
        (&[("mamba_rms_norm", 2)], "mamba_rms_norm=2"),
        (&[("vocab_size", 280)], "at least 281"),
        (&[("mamba_n_groups", 3)], "a divisor of the 8 SSM heads"),
        (&[("head_dim", 0)], "2 to 1024"),
    ] {
        let error = shape(sizes).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn the_seed_makes_the_bytes() {
    let first = make(&tiny(1, 1)).unwrap();
    assert!(make(&tiny(1, 1)).unwrap() == first, "the same seed");
    let (first, other, deep) = (open(first), open(make(&tiny(2, 1)).unwrap()), open(make(&tiny(1, 2)).unwrap()));
    for tensor in first.tensors() {
        let found = values(&first, &tensor.name);
        assert!(found != values(&other, &tensor.name), "{}: another seed", tensor.name);
        // What feeds the residual stream is smaller in a deeper model; nothing else knows the other
        // tensors.
        if !["o_proj.weight", "out_proj.weight", "down_proj.weight"].iter().any(|end| tensor.name.ends_with(end)) {
            assert!(found == values(&deep, &tensor.name), "{}: another depth", tensor.name);
        }
    }
    let q = |layer: u32| values(&deep, &format!("model.layers.{layer}.self_attn.q_proj.weight"));
    assert!(q(0) != q(1), "another name");
    let rows: Vec<Vec<f32>> = q(0).chunks_exact(512).map(<[f32]>::to_vec).collect();
    assert!((1..rows.len()).all(|row| !rows[..row].contains(&rows[row])), "another row");
}

#[test]
fn weights_have_their_magnitudes() {
    for target in QuantType::ALL {
        let file = open(make(&SynthOptions { target: *target, ..tiny(3, 3) }).unwrap());
        let layer = |name: &str| values(&file, &format!("model.layers.1.{name}"));
        let unit = 1.0 / 512f32.sqrt();
        for (name, expected) in [
            ("self_attn.q_proj.weight", unit),
            ("feed_forward.up_proj.weight", unit),
            ("self_attn.o_proj.weight", unit / 3.0),
            ("mamba.out_proj.weight", 1.0 / 768f32.sqrt() / 3.0),
            ("feed_forward.down_proj.weight", 1.0 / 768f32.sqrt() / 1.8),
        ] {
            let (mean, deviation) = moments(&layer(name));
            assert!((deviation / expected - 1.0).abs() < 0.02, "{target:?} {name}: {deviation} {expected}");
            assert!(mean.abs() < 0.02 * expected, "{target:?} {name}: {mean}");
        }
        assert!(layer("mamba.A").iter().all(|a| (-16.0..-1.0).contains(a)));
        let steps: Vec<f32> = layer("mamba.dt_bias").into_iter().map(softplus).collect();
        assert!(steps.iter().all(|step| (0.0009..0.101).contains(step)), "{steps:?}");
        assert!(steps.iter().any(|step| *step < 0.01) && steps.iter().any(|step| *step > 0.01), "{steps:?}");
        for name in ["input_layernorm.weight", "pre_ff_layernorm.weight", "mamba.D"] {
            assert!(layer(name).iter().all(|w| (0.8..1.2).contains(w)), "{name}");
        }
    }
}

/// Also the one test that runs a model of a published shape, whole.
#[test]
fn a_random_model_computes_like_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let mut steps = Vec::new();
    let options = SynthOptions::new(Size::Tiny90M, QuantType::Q4_K_M, 7);
    synth_to_file(&path, &options, &mut |done, total| steps.push((done, total))).unwrap();
    let file = peregrine_tests::checkpoint(&path);
    assert!(steps.is_sorted() && steps.len() > 10);
    assert_eq!(steps.last(), Some(&(file.tensor_bytes(), file.tensor_bytes())));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no unfinished file stays");

    let ids: Vec<u32> = (0..24).map(|i| i * 1_001 % 32_768).collect();
    let mut twin = block_on(Model::load(&file)).unwrap();
    let mut expected = Vec::new();
    let mut states = Vec::new();
    let mut repeated = 0;
    for (i, id) in ids.iter().enumerate() {
        let step = twin.forward(*id);
        for (line, hidden) in step.hidden[1..=24].iter().enumerate() {
            let (_, deviation) = moments(hidden);
            assert!((0.05..2.0).contains(&deviation), "token {i}, layer {line}: {deviation}");
        }
        let (_, deviation) = moments(&step.logits);
        assert!((1.0..4.0).contains(&deviation), "token {i}: {deviation}");
        repeated += usize::from(argmax(&step.logits) as u32 == *id);
        states.push(twin.states.iter().flat_map(|s| &s.ssm).fold(0.0_f32, |most, v| most.max(v.abs())));
        expected.push(step.logits);
    }
    // The head is the embedding: a token that hardly changes on its way predicts itself.
    assert!(repeated < ids.len() / 2, "{repeated}");
    // States that did not decay would have doubled from the middle to the end.
    assert!(states[23].is_finite() && states[23] > 1e-3 && states[23] < 1.5 * states[11], "{states:?}");

    let mut session = session(&device(&Default::default()), &file, &exact());
    let mut logits = Vec::new();
    block_on(session.forward(&ids[..8], 8, 8, &mut |row| logits.extend_from_slice(row))).unwrap();
    assert_close("logits", &logits, &expected[..8].concat(), 1e-3);
}

#[test]
fn any_text_is_tokens() {
    let file = open(make(&tiny(1, 1)).unwrap());
    let tokenizer = Tokenizer::new(&file.tokenizer, file.config.vocab_size).unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.end_tokens(), tokenizer.add_bos()), (Some(1), &[2, 4][..], true));
    let text = "The the cat is of the\u{1f408} naïve\t\n\n and 123 \u{0}";
    let ids = tokenizer.encode(text, false).unwrap();
    assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
    assert_eq!(tokenizer.decode(&tokenizer.encode(" the", false).unwrap()[..1], false).unwrap(), " the");
    assert!(ids.len() < text.len(), "merges are used");
    let template = ChatTemplate::new(file.chat_template.as_deref().unwrap(), tokenizer.bos_text(), "").unwrap();
    let text = template.render(&[Message::new("user", "Hello")], true).unwrap();
    assert_eq!(text, "<|begin_of_text|><|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n");
    assert_eq!(tokenizer.encode(&text, false).unwrap()[..2], [1, 3]);
}

#[test]
fn wrong_sizes_are_reported() {
    for name in ["8b", "", "1.5"] {
        assert!(matches!(name.parse::<Size>(), Err(Error::Argument { field, .. }) if field == "size"), "{name}");
    }
    assert_eq!("1.5B-Deep".parse::<Size>().unwrap(), Size::B1_5Deep);
    for layers in [0, 1025] {
        let error = make(&tiny(1, layers)).unwrap_err();
        assert!(matches!(&error, Error::Argument { field, .. } if field == "layers"), "{error}");
    }
    let missing = std::path::Path::new("/no/such/folder/x.gguf");
    let error = synth_to_file(missing, &tiny(1, 1), &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, Error::Io { name, .. } if name.contains("x.gguf")));
}
