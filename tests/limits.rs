//! What a large model meets: matrices over the binding limit, odd row counts, a bound on host
//! memory.

use std::cell::Cell;
use std::rc::Rc;

use peregrine::checkpoint::LocalFuture;
use peregrine::checkpoint::source::Source;
use peregrine::checkpoint::{Checkpoint, MemorySource};
use peregrine::format::Format;
use peregrine::gpu::{Gpu, GpuOptions, ShapeClass};
use peregrine::model::{LoadOptions, Model, Progress};
use peregrine::ops::Op;
use peregrine::plan::Stage;
use peregrine::reference;
use peregrine::{Error, Result};
use peregrine_tests::{Golden, assert_close, checkpoint, exact, gguf_header, golden_path, gpu, processor, session};
use peregrine_workbench::quantize::{QuantType, QuantizeOptions, quantize};
use pollster::block_on;

use crate::checkpoint::allocation::peak;

/// A file of which only the header is in memory: every byte of its tensors follows from its place.
struct Virtual {
    header: Vec<u8>,
    len: u64,
    /// Bytes that were asked for.
    read: Cell<u64>,
}

/// Small numbers as F32, F16 or Q8_0: no byte pattern here is an infinity or a NaN.
fn byte(at: u64) -> u8 {
    let noise = at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
    // The upper byte of a half, of a float and, at times, of a block's scale: 0x04 to 0x27, either
    // sign.
    if at % 2 == 1 { (noise as u8 & 0x83) | 0x24 } else { noise as u8 }
}

impl Source for Virtual {
    fn name(&self) -> &str {
        "virtual.gguf"
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> LocalFuture<'a, Result<()>> {
        self.read.set(self.read.get() + buf.len() as u64);
        Box::pin(async move {
            for (i, b) in buf.iter_mut().enumerate() {
                let at = offset as usize + i;
                *b = self.header.get(at).copied().unwrap_or_else(|| byte((at - self.header.len()) as u64));
            }
            Ok(())
        })
    }
}

/// A one-layer model of width D = 512 with `vocab` tokens.
fn wide_vocabulary(vocab: u32, format: Format) -> Virtual {
    wide(vocab, 1, 64, format)
}

/// A model of width D = 512.
fn wide(vocab: u32, layers: u32, feed_forward: u32, format: Format) -> Virtual {
    let sizes = [
        ("context_length", 512),
        ("embedding_length", 512),
        ("feed_forward_length", feed_forward),
        ("block_count", layers),
        ("attention.head_count", 2),
        ("attention.head_count_kv", 1),
        ("attention.key_length", 32),
        ("attention.value_length", 32),
        ("ssm.conv_kernel", 4),
        ("ssm.inner_size", 64),
        ("ssm.state_size", 16),
        ("ssm.time_step_rank", 4),
        ("ssm.group_count", 1),
    ];
    let mut header = gguf_header(&sizes, vocab);
    let (conv, v, f) = (64 + 2 * 16, u64::from(vocab), u64::from(feed_forward));
    let mut len = 0;
    let mut add = |name: &str, dims: &[u64], format| {
        len += header.tensor(name, dims, format).unwrap().next_multiple_of(32);
    };
    add("token_embd.weight", &[512, v], format);
    add("output.weight", &[512, v], format);
    add("output_norm.weight", &[512], Format::F32);
    for layer in 0..layers {
        for (name, dims) in [
            ("attn_q.weight", [512, 64]),
            ("attn_k.weight", [512, 32]),
            ("attn_v.weight", [512, 32]),
            ("attn_output.weight", [64, 512]),
            ("ffn_gate.weight", [512, f]),
            ("ffn_up.weight", [512, f]),
            ("ffn_down.weight", [f, 512]),
            ("ssm_in.weight", [512, 64 + conv + 4]),
            ("ssm_out.weight", [64, 512]),
        ] {
            add(&format!("blk.{layer}.{name}"), &dims, format);
        }
        for (name, dims) in [
            ("attn_norm.weight", &[512][..]),
            ("ffn_norm", &[512]),
            ("ssm_conv1d.weight", &[4, conv]),
            ("ssm_conv1d.bias", &[conv]),
            ("ssm_dt.bias", &[4]),
            ("ssm_a", &[1, 4]),
            ("ssm_d", &[1, 4]),
        ] {
            add(&format!("blk.{layer}.{name}"), dims, Format::F32);
        }
    }
    let header = header.bytes();
    Virtual { len: header.len() as u64 + len, header, read: Cell::new(0) }
}

fn device(max_binding: u64) -> Gpu {
    gpu(&GpuOptions { max_binding: Some(max_binding), ..Default::default() })
}

/// Logits where nothing is cut.
fn whole(file: &Checkpoint, options: &LoadOptions, ids: &[u32], chunk: u32) -> Vec<f32> {
    let mut session = session(&gpu(&GpuOptions::default()), file, options);
    assert!(session.engine().model().slab_counts().iter().all(|n| *n == 1));
    let mut logits = Vec::new();
    block_on(session.forward(ids, chunk, ids.len() as u32, &mut |row| logits.extend_from_slice(row))).unwrap();
    logits
}

#[test]
fn matrices_over_the_binding_limit_are_cut_into_slabs() {
    // A page of keys and values must fit a binding, too.
    for (case, limit) in [("quant", 66_000), ("row80", 30_000), ("norm2", 33_000), ("tied", 17_000)] {
        let (file, golden) = (checkpoint(&golden_path(&format!("{case}.gguf"))), Golden::open(case));
        let gpu = device(limit);
        // Of the tied one only a page in f16 does.
        let tied = case == "tied";
        let kv = if tied { LoadOptions::default() } else { exact() };
        let options = LoadOptions { chunk: Some(4), context_length: Some(64), ..kv };
        let mut session = session(&gpu, &file, &options);
        let slabs = session.engine().model().slab_counts();
        assert!(slabs.iter().any(|n| *n > 1), "{case}: {slabs:?}");
        for chunk in [1, 4] {
            session.reset();
            let (ids, mut logits) = (golden.ids("ids"), Vec::new());
            let rows = ids.len() as u32;
            block_on(session.forward(&ids, chunk, rows, &mut |row| logits.extend_from_slice(row))).unwrap();
            let expected = if tied { whole(&file, &options, &ids, chunk) } else { golden.f32("logits") };
            assert_close(&format!("{case}, chunk {chunk}"), &logits, &expected, if tied { 1e-5 } else { 2e-4 });
        }
    }
}

/// Tiles whose columns several workgroups share, of matrices in slabs: each slab's sums are put
/// together before the next slab's come to the same place.
#[test]
fn shared_tiles_of_several_slabs() {
    let (file, golden) = (checkpoint(&golden_path("quant.gguf")), Golden::open("quant"));
    let mut bytes = Vec::new();
    block_on(quantize(&file, &mut bytes, &QuantizeOptions::new(QuantType::F32), &mut |_, _| {})).unwrap();
    let file = block_on(Checkpoint::open_gguf(Rc::new(MemorySource::new("f32", bytes)))).unwrap();
    // A slab is one tile then, and the sums have room for three.
    let gpu =
        gpu(&GpuOptions { max_binding: Some(66_000), shapes: Some(ShapeClass::Hardware), ..GpuOptions::default() });
    let options = LoadOptions { context_length: Some(64), ..exact() };
    let mut session = session(&gpu, &file, &options);
    let calls = session.calls(true);
    for op in [Op::ProjectIn, Op::ProjectOut, Op::MlpIn, Op::MlpOut] {
        let shared =
            calls.iter().filter(|call| call.kernel.name == "matmul_sum" && call.stage == Stage { layer: Some(0), op });
        assert!(shared.count() > 1, "{op:?}");
    }
    for chunk in [15, 9] {
        session.reset();
        let (ids, mut logits) = (golden.ids("ids"), Vec::new());
        block_on(session.forward(&ids, chunk, ids.len() as u32, &mut |row| logits.extend_from_slice(row))).unwrap();
        assert_close(&format!("chunk {chunk}"), &logits, &golden.f32("logits"), 2e-4);
    }
}

/// 65,537 rows do not divide by anything, and at F32 exceed the 128 MiB of a baseline binding:
/// first, last and slab-border rows of embedding and LM head are right.
#[test]
fn a_vocabulary_of_65537_at_baseline_limits() {
    let source = Rc::new(wide_vocabulary(65_537, Format::F32));
    let file = block_on(Checkpoint::open_gguf(source)).unwrap();
    let gpu = gpu(&GpuOptions { baseline: true, ..Default::default() });
    let mut session = session(&gpu, &file, &LoadOptions::default());
    assert!(session.engine().model().slab_counts().iter().any(|n| *n > 1));
    let ids = [0, 65_536, 32_767, 32_768, 33_000, 65_535];
    let mut twin = block_on(reference::model::Model::load(&file)).unwrap();
    let expected: Vec<f32> = ids.iter().flat_map(|id| twin.forward(*id).logits).collect();
    let magnitude = expected.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    assert!(magnitude > 0.0 && magnitude.is_finite());
    let mut logits = Vec::new();
    block_on(session.forward(&ids, 6, 6, &mut |row| logits.extend_from_slice(row))).unwrap();
    assert_close("logits", &logits, &expected, 1e-5 * magnitude);
    let last = logits[5 * 65_537..].to_vec();
    session.reset();
    for id in ids {
        block_on(session.prefill(&[id])).unwrap();
    }
    assert_close("decode", session.logits(), &last, 1e-5 * magnitude);
}

/// The heap of the loading thread, over files of 72 and 215 MB. What wgpu holds for writes on their
/// way is not in it: that is bounded by `QUEUED` in weights.rs, 16 MiB between two waits.
#[test]
fn host_memory_does_not_grow_with_the_file() {
    let mut peaks = Vec::new();
    for vocab in [64_000, 192_000] {
        let gpu = gpu(&GpuOptions::default());
        let file = block_on(Checkpoint::open_gguf(Rc::new(wide_vocabulary(vocab, Format::Q8_0)))).unwrap();
        let mut last = (0, 0);
        let mut progress = |p| {
            if let Progress::Upload { done, total } = p {
                last = (done, total);
            }
        };
        let (model, bytes) =
            peak(|| block_on(Model::load(&gpu, &file, &LoadOptions::default(), &mut progress)).unwrap());
        assert_eq!(last.0, last.1, "the progress bar ends at its end");
        assert_eq!(last.1, file.tensors().map(|t| t.bytes).sum::<u64>());
        assert!(model.weight_bytes() > u64::from(vocab) * 512 * 2);
        peaks.push(bytes);
    }
    println!("peak heap while loading: {peaks:?} bytes");
    assert!(peaks.iter().all(|bytes| *bytes < 40 << 20), "{peaks:?}");
    assert!(peaks[1] < peaks[0] + (4 << 20), "it grows with the file: {peaks:?}");
}

#[test]
fn a_row_that_fits_no_binding_is_out_of_memory() {
    let file = checkpoint(&golden_path("quant.gguf"));
    let gpu = device(4_000);
    let error = block_on(Model::load(&gpu, &file, &LoadOptions::default(), &mut |_| {})).err().unwrap();
    assert!(matches!(error, Error::OutOfMemory { limit: Some(_), .. }), "{error}");
    assert_eq!(error.code(), "out-of-memory");
}

/// More than any machine has. On the processor that is told before a weight is read, not by the
/// system, which would end the program.
#[test]
#[cfg(target_os = "linux")]
fn a_model_larger_than_the_memory_is_refused_before_it_is_read() {
    let source = Rc::new(wide(8, 1000, 1 << 18, Format::F32));
    let weights = source.len - source.header.len() as u64;
    assert!(weights > 1 << 40);
    let file = block_on(Checkpoint::open_gguf(source.clone())).unwrap();
    let opened = source.read.get();
    let error = block_on(Model::load(&processor(), &file, &LoadOptions::default(), &mut |_| {})).err().unwrap();
    assert_eq!((error.code(), source.read.get()), ("out-of-memory", opened));
    let Error::OutOfMemory { what, bytes: Some(needed), limit: Some(available) } = &error else { panic!("{error}") };
    assert!(what.contains("virtual.gguf") && *needed > weights && *available < weights, "{error}");
}

#[test]
fn a_download_that_ends_while_loading_is_truncated() {
    let bytes = std::fs::read(golden_path("norm1.gguf")).unwrap();
    let source = MemorySource::new("cut.gguf", bytes[..bytes.len() - 1000].to_vec());
    let error = block_on(Checkpoint::open_gguf(Rc::new(source))).err().unwrap();
    assert!(matches!(error, Error::Truncated { .. }), "{error}");
}

/// As after a loss, when the model is loaded again and the next device goes, too.
#[test]
fn a_device_that_is_lost_while_weights_are_read_ends_the_load() {
    let file = checkpoint(&golden_path("norm1.gguf"));
    for open in [|| gpu(&GpuOptions::default()), processor] {
        let lost = open();
        let mut heard = false;
        let loaded = block_on(Model::load(&lost, &file, &exact(), &mut |progress| {
            if !heard && matches!(progress, Progress::Upload { .. }) {
                heard = true;
                lost.lose();
            }
        }));
        let error = loaded.map(drop).unwrap_err();
        assert!(heard && matches!(error, Error::DeviceLost { .. }), "{error}");
        // The same file, on the next one.
        let mut next = session(&open(), &file, &exact());
        block_on(next.prefill(&[3, 5, 7])).unwrap();
        assert!(next.logits().iter().all(|logit| logit.is_finite()));
    }
}

/// Nobody has noticed when the next buffers are made, which are refused on use: the loss is the
/// error, not that.
#[test]
fn a_loss_that_nobody_has_noticed_is_what_is_told() {
    let file = checkpoint(&golden_path("norm1.gguf"));
    for open in [|| gpu(&GpuOptions::default()), processor] {
        let lost = open();
        let engine = session(&lost, &file, &exact()).engine().clone();
        lost.lose();
        let answered = peregrine::Session::new(&engine).and_then(|mut session| block_on(session.prefill(&[3, 5, 7])));
        let error = answered.unwrap_err();
        assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
    }
}
