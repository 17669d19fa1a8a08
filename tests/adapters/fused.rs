//! Decode on a GPU: adapters are parts of dispatches that are there without them.

use peregrine::inspect::Runner;
use peregrine::plan::SamplingMode;

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
        let id = engine.add_adapter("made", made_of_all(rank, &engine.base())).unwrap();
        block_on(session.set_adapters(&[(id, 0.1)])).unwrap();
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
