//! What adapters take on the device: said before it is taken, and within what the caller allows.

use peregrine::Error;
use peregrine::gpu::DeviceKind;
use peregrine::model::footprint::{Device, Footprint};
use peregrine::ops::lora::Adapted;
use peregrine::session::GenerateOptions;

use super::*;

#[test]
fn what_is_said_is_what_is_taken() {
    // Kernels for GPUs, and those of software adapters.
    let kinds = [
        GpuOptions { device: DeviceKind::Gpu, shapes: Some(ShapeClass::Hardware), ..GpuOptions::default() },
        GpuOptions { device: DeviceKind::Cpu, ..GpuOptions::default() },
    ];
    for kind in &kinds {
        // What is cut into slabs binds no large adapters.
        let slabs = GpuOptions { max_binding: Some(66_000), ..kind.clone() };
        for (case, options, rank) in
            [("hf-folder", kind, 6), ("hf-folder", kind, 257), ("norm2.gguf", kind, 70), ("quant.gguf", &slabs, 6)]
        {
            let (file, _) = open(case);
            let load = LoadOptions { chunk: Some(8), ..LoadOptions::default() };
            let mut session = session(&device(options), &file, &load);
            let engine = session.engine().clone();
            let all = engine.add_adapter("all", made_of_all(rank, &engine.base())).unwrap();
            let gate = made_of(rank, &[("blk.0.ffn_gate.weight", rows(&engine), cols(&engine))], &engine.base());
            let gate = engine.add_adapter("gate", gate).unwrap();
            for chosen in [&[(gate, 1.0)][..], &[(all, 0.5), (gate, 2.0)]] {
                block_on(session.set_adapters(chosen)).unwrap();
                let said = Adapted::bytes_of(engine.model(), session.adapters());
                assert_eq!(said, engine.adapter_bytes(), "{case}, {:?}, rank {rank}", kind.device);
                assert_eq!(said, engine.bytes_of_adapters(chosen).unwrap());
            }
            drop(session);
            assert_eq!(engine.adapter_bytes(), 0, "they go with their sessions");
        }
    }
}

fn rows(engine: &Engine) -> u64 {
    engine.config().intermediate_size.into()
}

fn cols(engine: &Engine) -> u64 {
    engine.config().hidden_size.into()
}

/// What a choice takes, and what the model takes at least.
fn sizes(options: &LoadOptions) -> (u64, u64) {
    let (file, _) = open("hf-folder");
    let gpu = device(&GpuOptions::default());
    let mut session = session(&gpu, &file, options);
    choose(&mut session, &[("plain", 1.0)]);
    let least = Footprint::of(&file, options, Device::of(&gpu)).unwrap().least();
    (session.engine().adapter_bytes(), least)
}

#[test]
fn a_budget_is_kept() {
    let options = |context, budget| LoadOptions {
        context_length: Some(context),
        chunk: Some(8),
        memory_budget: Some(budget),
        ..LoadOptions::default()
    };
    let (bytes, least) = sizes(&options(600, u64::MAX));
    let (file, ids) = open("hf-folder");
    let gpu = device(&GpuOptions::default());
    let base = Base::of(&file);

    // A byte too few: before anything is taken.
    let tight = session(&gpu, &file, &options(600, least + bytes - 1)).engine().clone();
    let error = tight.add_adapter("plain", adapter("plain", &base)).unwrap_err();
    assert_eq!(error.code(), "out-of-memory");
    let message = error.to_string();
    assert!(message.contains("the model with adapters \"plain\" does not fit"), "{message}");
    let Error::DoesNotFit { needed, budget, context_length, largest_context: Some(largest), .. } = error else {
        panic!("{message}");
    };
    assert_eq!((needed, budget, context_length), (least + bytes, least + bytes - 1, 600));
    assert!(tight.adapters().is_empty(), "its name is free");
    // What it offers fits.
    assert!(largest < 600);
    let shorter = session(&gpu, &file, &options(largest, budget)).engine().clone();
    assert!(shorter.add_adapter("plain", adapter("plain", &base)).is_ok());

    // To the byte. Snapshots get what is left.
    let room = 3000;
    let budget = least + bytes + room;
    let mut session = session(&gpu, &file, &options(600, budget));
    session.set_snapshot_budget(u64::MAX);
    let engine = session.engine().clone();
    let plain = engine.add_adapter("plain", adapter("plain", &base)).unwrap();
    let again = engine.add_adapter("again", adapter("plain.gguf", &base)).unwrap();
    let generate = GenerateOptions { max_tokens: 2, ..GenerateOptions::default() };
    for request in 0..12_usize {
        // One after the other has room, and both at once have not.
        let mine = [(if request % 2 == 0 { plain } else { again }, 1.0)];
        block_on(session.set_adapters(&mine)).unwrap();
        let prompt: Vec<u32> = ids.iter().copied().cycle().skip(request).take(70 + 20 * request).collect();
        block_on(session.complete(&prompt, &generate, &mut |_| true)).unwrap();
        assert_eq!(engine.adapter_bytes(), bytes);
        assert!(session.snapshots().1 <= room, "request {request}: {} bytes of snapshots", session.snapshots().1);
    }
    let both = block_on(session.set_adapters(&[(plain, 1.0), (again, 0.5)])).unwrap_err();
    assert!(matches!(both, Error::DoesNotFit { .. }), "{both}");
    assert_eq!(session.adapters().len(), 1, "nothing has changed");
    // Another session's choice counts.
    let mut other = Session::new(&engine).unwrap();
    assert!(matches!(block_on(other.set_adapters(&[(plain, 0.5)])), Err(Error::DoesNotFit { .. })));
    block_on(session.set_adapters(&[])).unwrap();
    block_on(other.set_adapters(&[(plain, 0.5)])).unwrap();
}

#[test]
fn a_context_that_nobody_asked_for_makes_room() {
    let (file, ids) = open("hf-folder");
    // The processor: thousands of tokens are read.
    let gpu = device(&GpuOptions { device: DeviceKind::Cpu, ..GpuOptions::default() });
    let of = |context_length, memory_budget| LoadOptions {
        context_length,
        memory_budget,
        kv: KvType::F32,
        chunk: Some(256),
        ..LoadOptions::default()
    };
    let whole = Footprint::of(&file, &of(Some(4000), None), Device::of(&gpu)).unwrap();
    let budget = whole.least();
    let mut session = session(&gpu, &file, &of(None, Some(budget)));
    let engine = session.engine().clone();
    assert!(engine.model().context_length() >= 4000);
    choose(&mut session, &[("plain", 1.0)]);
    let bytes = engine.adapter_bytes();
    assert!(bytes > 0);

    let prompt: Vec<u32> = ids.iter().copied().cycle().take(4000).collect();
    let error = block_on(session.prefill(&prompt)).unwrap_err();
    assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
    let position = session.position();
    assert!((2048..4000).contains(&position), "{position}");
    let taken = || budget - whole.kv_cache - whole.kv_growth + engine.adapter_bytes() + engine.model().kv().bytes();
    assert!(taken() <= budget, "{} of {budget}", taken());
    // Without them the whole context is there again.
    block_on(session.set_adapters(&[])).unwrap();
    block_on(session.prefill(&prompt)).unwrap();
    assert!(taken() <= budget, "{} of {budget}", taken());

    drop(session);
    // What another engine has had is taken whatever there is room for.
    let short = super::session(&gpu, &file, &of(Some(4000), Some(budget))).engine().clone();
    assert!(short.add_adapter("plain", adapter("plain", &engine.base())).is_err());
    assert!(short.take_adapter("plain", adapter("plain", &engine.base())).is_ok());
}
