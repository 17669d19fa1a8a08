//! The comparison of logits with the CPU in f64: what it measures, and that it sees a mistake.

use std::path::Path;

use peregrine::checkpoint::Checkpoint;
use peregrine::gpu::GpuOptions;
use peregrine::model::LoadOptions;
use peregrine::reference;
use peregrine::session::Session;
use peregrine::state::KvType;
use peregrine_tests::{checkpoint, gpu, session};
use peregrine_workbench::fidelity::{Difference, FidelityOptions, TOLERANCE_F16, TOLERANCE_Q8, compare, exact};
use peregrine_workbench::quantize::QuantType;
use peregrine_workbench::synth::{Size, Store, SynthOptions, synth_folder, synth_to_file};
use pollster::block_on;

const OPTIONS: FidelityOptions = FidelityOptions { prompt_tokens: 40, last: 8, decode_tokens: 6 };

fn toy(seed: u64) -> SynthOptions {
    SynthOptions::new(Size::Toy, QuantType::Q4_K_M, seed)
}

fn gguf(folder: &Path, options: &SynthOptions) -> Checkpoint {
    checkpoint(&synth_to_file(&folder.join("model.gguf"), options, &mut |_, _| {}).unwrap())
}

fn run(file: &Checkpoint, against: &Checkpoint) -> (Difference, Difference) {
    run_with(KvType::F32, file, against)
}

fn run_with(kv: KvType, file: &Checkpoint, against: &Checkpoint) -> (Difference, Difference) {
    let options = LoadOptions { kv, ..LoadOptions::default() };
    let mut session: Session = session(&gpu(&GpuOptions::default()), file, &options);
    let mut layers = Vec::new();
    let expected: Vec<f64> = block_on(exact(against, &[], &OPTIONS, &mut |n| layers.push(n))).unwrap();
    assert_eq!(layers, [0, 1, 2, 3, 4]);
    let fidelity = block_on(compare(&mut session, &OPTIONS, &expected)).unwrap();
    assert_eq!(fidelity.is_exact(), fidelity.prefill.is_exact() && fidelity.decode.is_exact());
    (fidelity.prefill, fidelity.decode)
}

#[test]
fn the_measures_are_what_they_say() {
    // Two rows of three: one exact, one with two logits exchanged.
    let exact = [0.0f64, 1.0, 2.0, 0.0, 1.0, 2.0];
    let same = Difference::of(&[0.0, 1.0, 2.0, 0.0, 1.0, 2.0], &exact, 3);
    let deviation = (2.0f64 / 3.0).sqrt();
    assert!((same.deviation - deviation).abs() < 1e-12, "{same:?}");
    assert_eq!((same.rows, same.largest, same.mean, same.same_argmax), (2, 0.0, 0.0, 2));
    assert!(same.kl < 1e-15 && same.is_exact());
    let other = Difference::of(&[0.0, 1.0, 2.0, 0.0, 2.0, 1.0], &exact, 3);
    assert_eq!((other.rows, other.largest, other.same_argmax), (2, 1.0, 1));
    assert!((other.mean - 1.0 / 3.0).abs() < 1e-12);
    // Σ p (ln p - ln q) of the second row is (p2 - p1) · 1, halved by the mean over rows.
    let e = std::f64::consts::E;
    let expected = (e * e - e) / (1.0 + e + e * e) / 2.0;
    assert!((other.kl - expected).abs() < 1e-12, "{} {expected}", other.kl);
}

#[test]
fn whatever_is_wrong_is_no_rounding() {
    let exact: Vec<f64> = (0..64).map(|i| f64::from(i * 37 % 64) / 8.0 - 4.0).collect();
    let found: Vec<f32> = exact.iter().map(|v| *v as f32).collect();
    assert!(Difference::of(&found, &exact, 32).is_exact());
    let with = |change: &dyn Fn(&mut Vec<f32>)| {
        let mut spoiled = found.clone();
        change(&mut spoiled);
        Difference::of(&spoiled, &exact, 32)
    };
    let limit = 1e-3 * Difference::of(&found, &exact, 32).deviation as f32;
    assert!(with(&|f| f[40] += 0.9 * limit).is_exact());
    assert!(!with(&|f| f[40] += 1.1 * limit).is_exact());
    assert!(!with(&|f| f[40] = f32::NAN).is_exact());
    assert!(!with(&|f| f[40] = f32::INFINITY).is_exact());
    assert!(!with(&|f| f.truncate(63)).is_exact());
    assert!(!Difference::of(&[], &[0.0f64; 0], 32).is_exact(), "nothing was compared");
    assert!(!Difference::of(&[1.0; 32], &[1.0f64; 32], 32).is_exact(), "logits without any difference between them");
}

#[test]
fn toys_in_every_container_are_exact() {
    let folder = || tempfile::tempdir().unwrap();
    let check = |what: &str, file: &Checkpoint| {
        let (prefill, decode) = run(file, file);
        for (difference, rows) in [(prefill, 8), (decode, 6)] {
            assert!(difference.is_exact() && difference.rows == rows, "{what}: {difference:?}");
            assert_eq!(difference.same_argmax, rows, "{what}");
            assert!((1.7..2.3).contains(&difference.deviation), "{what}: {difference:?}");
            assert!(difference.largest > 0.0 && difference.kl < 1e-9, "{what}: {difference:?}");
        }
    };
    let (one, parts) = (folder(), folder());
    let (whole, cut) = (gguf(one.path(), &toy(1)), gguf(parts.path(), &SynthOptions { files: 3, ..toy(1) }));
    check("three files", &cut);
    // Keys and values in f16 are another thing, and the numbers show it.
    let [exact, f16, q8] = [KvType::F32, KvType::F16, KvType::Q8].map(|kv| run_with(kv, &whole, &whole).1);
    assert!(f16.is_within(TOLERANCE_F16) && f16.largest > 3.0 * exact.largest, "{f16:?} {exact:?}");
    assert!(q8.is_within(TOLERANCE_Q8) && q8.largest > 3.0 * f16.largest, "{q8:?} {f16:?}");
    // Cutting changes nothing.
    let logits =
        |file: &Checkpoint| block_on(reference::model::logits::<f32>(file, &[], &[7, 8, 9], 2, &mut |_| {})).unwrap();
    assert_eq!(logits(&whole), logits(&cut));
    for (files, store) in [
        (2, Store::BF16),
        (1, Store::Gptq { bits: 4, desc_act: false }),
        (1, Store::Gptq { bits: 4, desc_act: true }),
        (1, Store::Gptq { bits: 8, desc_act: false }),
    ] {
        let folder = folder();
        synth_folder(folder.path(), &SynthOptions { files, ..toy(1) }, store).unwrap();
        check(&format!("{store:?}"), &checkpoint(folder.path()));
    }
}

#[test]
fn a_model_with_one_other_weight_is_not_exact() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = gguf(here.path(), &toy(1));
    // The scale of one block of layer 3's V: as if the kernel read it wrongly.
    let path = there.path().join("model.gguf");
    let mut bytes = std::fs::read(here.path().join("model.gguf")).unwrap();
    let tensor = file.tensor("model.layers.3.self_attn.v_proj.weight").unwrap();
    let at = tensor.offset as usize + tensor.format.spec().halves[0] + 1;
    bytes[at] ^= 0x04;
    std::fs::write(&path, bytes).unwrap();
    let spoiled = checkpoint(&path);
    let (prefill, decode) = run(&file, &spoiled);
    assert!(!prefill.is_exact() || !decode.is_exact(), "{prefill:?} {decode:?}");
    // Another model altogether.
    let other = tempfile::tempdir().unwrap();
    let (prefill, decode) = run(&file, &gguf(other.path(), &toy(2)));
    assert!(!prefill.is_exact() && !decode.is_exact() && prefill.kl > 0.1, "{prefill:?} {decode:?}");
}

#[test]
fn the_twin_is_the_same_token_by_token_and_in_both_precisions() {
    let folder = tempfile::tempdir().unwrap();
    let file = gguf(folder.path(), &toy(5));
    let ids = [3, 1999, 40, 41, 42, 3, 3, 900];
    let mut twin = block_on(reference::model::Model::<f64>::load(&file)).unwrap();
    let one_by_one: Vec<f64> = ids.iter().flat_map(|id| twin.forward(*id).logits).collect();
    let at_once: Vec<f64> = block_on(reference::model::logits(&file, &[], &ids, 8, &mut |_| {})).unwrap();
    let largest = one_by_one.iter().zip(&at_once).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(largest < 1e-12 && one_by_one.len() == at_once.len(), "{largest}");
    let single: Vec<f32> = block_on(reference::model::logits(&file, &[], &ids, 8, &mut |_| {})).unwrap();
    assert!(Difference::of(&single, &at_once, 2048).is_exact());
    assert!(block_on(reference::model::logits::<f32>(&file, &[], &[2048], 1, &mut |_| {})).is_err());
}
