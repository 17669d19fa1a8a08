//! Decode on a GPU: adapters are parts of dispatches that are there without them.

use peregrine::inspect::Runner;
use peregrine::plan::SamplingMode;
use peregrine_workbench::synth::{Size, SynthOptions, synth};

use super::*;

fn hardware() -> Gpu {
    gpu(&GpuOptions { shapes: Some(ShapeClass::Hardware), ..GpuOptions::default() })
}

/// Dispatches of the next token.
fn dispatches(session: &mut Session) -> usize {
    let runner = block_on(Runner::begin(session, &[1])).unwrap();
    let step = *runner.step();
    runner.plan().dispatches().iter().filter(|dispatch| dispatch.is_needed(&step, SamplingMode::Greedy)).count()
}

/// One clears the sums, and one makes A x of what the embedding has left.
#[test]
fn a_token_has_two_dispatches_more() {
    for (base, adapters, more) in [
        ("hf-folder", &[("plain", 1.0), ("patterns", 0.5)][..], 2),
        ("tied.gguf", &[("tied", 1.0)][..], 2),
        // A norm in two groups is a dispatch of its own, after which A x is another one: both
        // layers have adapters of out_proj.
        ("norm2.gguf", &[("baked", 1.0)][..], 4),
    ] {
        let (file, _) = open(base);
        let mut session = session(&hardware(), &file, &exact());
        let plain = dispatches(&mut session);
        choose(&mut session, adapters);
        assert_eq!(dispatches(&mut session), plain + more, "{base}");
    }
}

/// Kernels of a token.
fn kernels(session: &Session) -> Vec<&'static str> {
    session.calls(false).iter().map(|call| call.kernel.name).collect()
}

/// All nine projections, whose ranks are fewer and more than a workgroup has lanes, and more than
/// are published: of o_proj and out_proj together beyond 32, of all others beyond 64.
#[test]
fn many_ranks_are_the_twins() {
    for (rank, published) in [(1, [true; 2]), (16, [true; 2]), (32, [true; 2]), (64, [false, true]), (257, [false; 2])]
    {
        let (file, ids) = open("quant.gguf");
        let mut session = session(&hardware(), &file, &exact());
        let engine = session.engine().clone();
        let made = made_of_all(rank, &engine.base());
        let matrices = made.gpu_matrix_bytes();
        let id = engine.add_adapter("made", made).unwrap();
        block_on(session.set_adapters(&[(id, 0.1)])).unwrap();
        if published == [true; 2] {
            // What `info` counts is in what is taken.
            assert!(matrices <= engine.adapter_bytes(), "rank {rank}: {matrices}");
        }
        let kernels = kernels(&session);
        for kernel in ["mixer_step_lora", "merge_lora"] {
            assert_eq!(kernels.contains(&kernel), published[0], "rank {rank}: {kernel}");
        }
        assert_eq!(kernels.contains(&"lora_clear"), published[1], "rank {rank}");
        if rank == 32 {
            check_long(&mut session, &file, &ids);
            continue;
        }
        let mut judge = |c: &Comparison| assert!(c.is_close(), "{}", c.describe());
        block_on(check(&mut session, &file, &ids[..4], &[2, 1, 1], &mut judge)).unwrap();
    }
}

/// Attention has numbers of each head, the SSM heads add to slots: more of these than of those,
/// and fewer; adapters of the heads alone; and so many heads that `lora_down` takes over.
#[test]
fn any_number_of_heads_is_the_twins() {
    let both = &["attn_output", "ssm_out"][..];
    for (heads, ssm_heads, projections, published) in
        [(40, 4, both, true), (2, 24, both, true), (2, 24, &both[..1], true), (140, 4, both, false)]
    {
        let sizes = [("num_attention_heads", heads), ("num_key_value_heads", 2), ("head_dim", 16)];
        let sizes = sizes.into_iter().chain([
            ("mamba_n_heads", ssm_heads),
            ("mamba_d_head", 64),
            ("mamba_n_groups", 1),
            ("vocab_size", 512),
        ]);
        let sizes = sizes.map(|(name, size)| (name.into(), size)).collect();
        let options = SynthOptions { layers: Some(1), sizes, ..SynthOptions::new(Size::Toy, QuantType::F32, 7) };
        let mut bytes = Vec::new();
        synth(&mut bytes, &options, &mut |_, _| {}).unwrap();
        let file = block_on(Checkpoint::open_gguf(Rc::new(MemorySource::new("toy", bytes)))).unwrap();
        let c = &file.config;
        let (d, cols) = (c.hidden_size.into(), [c.q_dim(), c.mamba_d_ssm].map(u64::from));
        let name = |projection: &str| format!("blk.0.{projection}.weight");
        let weights = both.iter().zip(cols).filter(|(projection, _)| projections.contains(projection));
        let weights: Vec<_> = weights.map(|(projection, cols)| (name(projection), d, cols)).collect();
        let weights: Vec<_> = weights.iter().map(|(name, rows, cols)| (name.as_str(), *rows, *cols)).collect();

        let mut session = session(&hardware(), &file, &exact());
        let engine = session.engine().clone();
        let id = engine.add_adapter("made", made_of(8, &weights, &engine.base())).unwrap();
        block_on(session.set_adapters(&[(id, 0.1)])).unwrap();
        assert_eq!(kernels(&session).contains(&"mixer_step_lora"), published, "{heads} heads");
        let ids: Vec<u32> = (0..16).map(|i| (i * 37 + 11) % c.vocab_size).collect();
        if published {
            check_long(&mut session, &file, &ids);
        }
    }
}

/// The sums are the same whatever the order in which workgroups add to them.
#[test]
fn decode_is_the_same_every_time() {
    let (file, ids) = open("hf-folder");
    let mut session = session(&hardware(), &file, &exact());
    choose(&mut session, &[("plain", 1.0), ("patterns", 0.5)]);
    let mut read = || {
        session.reset();
        logits(&mut session, &ids, 1).iter().map(|logit| logit.to_bits()).collect::<Vec<_>>()
    };
    let first = read();
    for _ in 0..4 {
        assert_eq!(read(), first);
    }
}

/// What an adapter adds beyond f32 is seen in the logits.
#[test]
fn what_is_not_finite_is_seen() {
    let (file, ids) = open("quant.gguf");
    let mut session = session(&hardware(), &file, &exact());
    let engine = session.engine().clone();
    let id = engine.add_adapter("made", made(&[("blk.1.ffn_down.weight", 256, 256)], &engine.base())).unwrap();
    block_on(session.set_adapters(&[(id, f32::MAX)])).unwrap();
    let found = logits(&mut session, &ids[..2], 1);
    assert!(found.iter().any(|logit| !logit.is_finite()));
}
