//! What a model needs on the GPU, said before loading: against numbers made by hand, against what
//! is then allocated, and against budgets.

use peregrine::Error;
use peregrine::gpu::{Gpu, GpuOptions};
use peregrine::model::footprint::{Device, Footprint};
use peregrine::model::{LoadOptions, Model};
use peregrine::ops::sample::SamplingBuffers;
use peregrine::session::GenerateOptions;
use peregrine::state::{KvType, PAGE, State};
use peregrine_tests::{checkpoint, device, golden_path, gpu, session, tiny_model};
use pollster::block_on;

fn options(context: u32, chunk: u32) -> LoadOptions {
    LoadOptions { context_length: Some(context), chunk: Some(chunk), ..Default::default() }
}

/// The embedded model: D 512, 8 layers, 8 heads and 2 KV heads of 64, F 1024, SSM 8 heads of 64
/// with N = 64, V 6144; everything in Q4_0 but the LM head in Q6_K. A strip of 32 values has 16 + 2
/// bytes in Q4_0; 256 values have 192 + 20 in Q6_K.
#[test]
fn the_embedded_model_by_hand() {
    let found = Footprint::of(&checkpoint(&tiny_model()), &options(1000, 32), Device::default()).unwrap();
    // q, k, v, and z, x, B, C, dt; attention and SSM out; gate and up; down.
    let rows_in = 512 + 128 + 128 + (2 * 512 + 2 * 64 + 8);
    let layer = 18 * (rows_in * 16 + 512 * (16 + 16) + 2 * 1024 * 16 + 512 * 32);
    let embedding_and_head = 6144 * 16 * 18 + 6144 * 2 * 212;
    let tables = (8 * 4 + 2) * (32 + 8 * 32);
    let norms = (8 * 2 + 1) * 4 * 512;
    // Channels with 4 taps and a bias; dt bias, A and D.
    let mamba = 8 * 4 * ((512 + 2 * 64) * 5 + 3 * 8);
    assert_eq!(found.weights, 8 * layer + embedding_and_head + tables + norms + mamba);
    assert_eq!(found.weights, 18_401_600);

    // After the convolution a row is padded to fours.
    let row = 64 + 512 + 512 + rows_in + (512 + 640 + 2 * 8 + 1 + 3) + (512 + 512) + 1024;
    // One chunk of 64 tokens: its states, products of tokens with tokens, running sums.
    let ssd = 4 * (512 * 64 + 64 * 64 + 64 * 8);
    // Eight rows of logits.
    let logits = 8 * 4 * 6144;
    assert_eq!(found.scratch, 32 * 4 * row + logits + ssd + 1024 + 16);
    // Software adapters go token by token.
    let software = Device { ssd: false, ..Device::default() };
    let found_there = Footprint::of(&checkpoint(&tiny_model()), &options(1000, 32), software).unwrap();
    assert_eq!(found_there.scratch, found.scratch - ssd);

    // The table of pages has 2048 numbers.
    let next = 32 * 4 + 16 + 4 * 6144 + 16 * 64 + (16 + 16 * 4) + 32 + 3 * 1024 * 4 + 66 * 16 + 2048 * 4;
    // A bit a token, and the logits of those that have one.
    let next = next + 6144 / 8 + 4 * 6144;
    assert_eq!(found.states, 8 * 4 * (640 * 4 + 512 * 64) + next);
    // Eight pages of 128 positions, keys and values in f16; the arena before had four.
    assert_eq!(found.kv_cache, 8 * 2 * 1024 * 128 * 2);
    assert_eq!(found.kv_growth, 8 * 2 * 512 * 128 * 2);
    assert_eq!(found.context_length, 1000);
    let wide = LoadOptions { kv: KvType::F32, ..options(1000, 32) };
    let wide = Footprint::of(&checkpoint(&tiny_model()), &wide, Device::default()).unwrap();
    assert_eq!((wide.kv_cache, wide.kv_growth), (2 * found.kv_cache, 2 * found.kv_growth));

    // An arena begins with 256 positions; the model was made for 4096.
    for (asked, context, cache, growth) in
        [(1, 1, 128, 0), (256, 256, 256, 0), (257, 257, 384, 256), (4096, 4096, 4096, 2048), (9999, 4096, 4096, 2048)]
    {
        let found = Footprint::of(&checkpoint(&tiny_model()), &options(asked, 32), Device::default()).unwrap();
        let bytes = |positions: u64| 8 * 2 * positions * 128 * 2;
        let of = (found.context_length, found.kv_cache, found.kv_growth);
        assert_eq!(of, (context, bytes(cache), bytes(growth)), "{asked}");
    }
}

/// wasm32 has addresses for 4 GiB: a budget that nobody gave.
#[test]
fn what_a_device_has_is_a_budget() {
    let (file, plain) = (checkpoint(&tiny_model()), LoadOptions::default());
    let all = Footprint::fit(&file, &plain, Device::default()).unwrap();
    let device = |bytes| Device { most_bytes: Some(bytes), ..Device::default() };
    assert_eq!(Footprint::fit(&file, &plain, device(all.total())).unwrap(), all);
    // Snapshots get what is left.
    let fewer = Footprint::fit(&file, &plain, device(all.total() - 5)).unwrap();
    assert_eq!((fewer.snapshots, fewer.context_length), (all.snapshots - 5, all.context_length));
    // Then the context is shorter, unless it was asked for; the smaller of two budgets counts.
    let shorter = Footprint::fit(&file, &plain, device(all.least() - 5)).unwrap();
    assert!(shorter.context_length < all.context_length && shorter.least() <= all.least() - 5);
    let asked = LoadOptions { context_length: Some(all.context_length), ..plain.clone() };
    let found = Footprint::fit(&file, &asked, device(all.least() - 5));
    assert!(matches!(found, Err(Error::DoesNotFit { budget, .. }) if budget == all.least() - 5));
    for (given, had) in [(all.least() + 7, all.total()), (all.total(), all.least() + 7)] {
        let budget = LoadOptions { memory_budget: Some(given), ..plain.clone() };
        assert_eq!(Footprint::fit(&file, &budget, device(had)).unwrap().snapshots, 7);
    }
}

/// A context that nobody asked for is as long as the memory allows that a device is thought to
/// have; nothing is refused for it.
#[test]
fn a_context_is_chosen_by_the_memory_of_the_device() {
    let file = checkpoint(&tiny_model());
    let of = |device_memory| LoadOptions { device_memory, ..LoadOptions::default() };
    let with = |options: &LoadOptions, device| Footprint::fit(&file, options, device).unwrap();
    // The model was made for 4096 tokens, which are as few as a context has by itself.
    for memory in [None, Some(1), Some(1 << 40)] {
        assert_eq!(with(&of(memory), Device::default()).context_length, 4096, "{memory:?}");
    }

    let mut long = file;
    long.config.max_position_embeddings = 1 << 17;
    let with = |options: &LoadOptions| Footprint::fit(&long, options, Device::default()).unwrap();
    let at =
        |context| Footprint::of(&long, &LoadOptions { context_length: Some(context), ..of(None) }, Device::default());
    assert_eq!(with(&of(None)).context_length, 1 << 17);
    assert_eq!(with(&of(Some(1 << 40))).context_length, 1 << 17);
    assert_eq!(with(&of(Some(1))).context_length, 4096);
    // To the byte, and in whole thousands.
    let memory = at(20 * 1024).unwrap().least();
    assert_eq!(with(&of(Some(memory))).context_length, 20 * 1024);
    assert_eq!(with(&of(Some(memory - 1))).context_length, 19 * 1024);
    assert_eq!(with(&of(Some(memory + 128 * 100))).context_length, 20 * 1024);
    // Snapshots get what is left.
    let snapshots = LoadOptions { snapshot_budget: Some(5 << 20), ..of(Some(memory)) };
    assert_eq!(with(&snapshots).context_length, 20 * 1024);

    // Who asks, or says what may be taken, knows better.
    let asked = LoadOptions { context_length: Some(50_000), ..of(Some(1)) };
    assert_eq!(with(&asked).context_length, 50_000);
    let allowed = LoadOptions { memory_budget: Some(at(40_000).unwrap().least()), ..of(Some(1)) };
    assert_eq!(with(&allowed).context_length.div_ceil(PAGE), 40_000_u32.div_ceil(PAGE));
    // What does not fit at all is said of the context that would be chosen.
    let nothing = LoadOptions { memory_budget: Some(1), ..of(Some(memory)) };
    let error = Footprint::fit(&long, &nothing, Device::default()).unwrap_err();
    let Error::DoesNotFit { needed, context_length, largest_context: None, .. } = error else { panic!("{error}") };
    assert_eq!((needed, context_length), (memory, 20 * 1024));
}

#[test]
fn a_context_grows_within_a_budget() {
    let file = checkpoint(&golden_path("norm1.gguf"));
    let gpu = device(&GpuOptions::default());
    let at = |context| Footprint::of(&file, &options(context, 8), Device::of(&gpu)).unwrap();
    let budget = at(500).least() + 100;
    let mut session = session(&gpu, &file, &LoadOptions { memory_budget: Some(budget), ..options(100, 8) });
    let engine = session.engine().clone();
    assert_eq!(engine.model().footprint().context_length, 100);
    let error = engine.grow_context(600).unwrap_err();
    let Error::DoesNotFit { needed, budget: allowed, context_length, largest_context: Some(largest), .. } = error
    else {
        panic!("{error}");
    };
    assert_eq!((needed, allowed, context_length), (at(600).least(), budget, 600));
    assert_eq!(engine.model().context_length(), 100, "nothing has changed");
    // What it offers fits, and one more does not; snapshots get what is left.
    assert!((500..600).contains(&largest), "{largest}");
    assert!(engine.grow_context(largest + 1).is_err());
    assert_eq!(engine.grow_context(largest).unwrap(), largest);
    assert_eq!(engine.model().footprint().total(), budget);
    let ids: Vec<u32> = (0..largest).map(|i| i % 40).collect();
    block_on(session.prefill(&ids)).unwrap();
    let pages = engine.model().kv().bytes();
    assert!(engine.model().bytes() + session.fixed_bytes() + pages + session.snapshots().1 <= budget);
}

#[test]
fn a_context_that_is_full_moves_to_one_that_is_hardly_longer() {
    let file = checkpoint(&golden_path("norm1.gguf"));
    let gpu = device(&GpuOptions::default());
    // Four pages, which come after two; but three are there.
    let four = Footprint::of(&file, &options(4 * PAGE, 8), Device::of(&gpu)).unwrap();
    let page = four.kv_cache / 4;
    for (budget, fits) in [(four.least(), false), (four.least() + page, true)] {
        let options = LoadOptions { memory_budget: Some(budget), ..options(3 * PAGE, 8) };
        let mut session = session(&gpu, &file, &options);
        let ids: Vec<u32> = (0..3 * PAGE).map(|i| i % 40).collect();
        block_on(session.prefill(&ids)).unwrap();
        let engine = session.engine().clone();
        assert_eq!(engine.model().kv().bytes(), 3 * page);
        let grown = engine.grow_context(4 * PAGE);
        assert_eq!(grown.is_ok(), fits, "{grown:?}");
        if let Err(error) = grown {
            assert!(matches!(error, Error::DoesNotFit { needed, .. } if needed == budget + page), "{error}");
        }
    }
}

/// A state that has grown to its end.
fn full_state(gpu: &Gpu, model: &Model) -> State {
    let mut state = State::new(gpu, model.config(), model.kv()).unwrap();
    // In two steps, as it grows.
    state.reserve(1).unwrap();
    state.reserve(model.context_length()).unwrap();
    assert_eq!(model.kv().bytes() + state.recurrent_bytes(), state.bytes(), "no page too many");
    state
}

/// Where its next token is sampled.
fn sampling(gpu: &Gpu, model: &Model) -> SamplingBuffers {
    SamplingBuffers::new(gpu, model.config().vocab_size, model.chunk()).unwrap()
}

fn bytes(state: &State, next: &SamplingBuffers) -> u64 {
    state.bytes() - state.recurrent_bytes() + state.fixed_bytes() + next.bytes()
}

#[test]
fn what_is_said_is_what_is_allocated() {
    let baseline = GpuOptions { baseline: true, ..Default::default() };
    let slabs = GpuOptions { max_binding: Some(33_000), ..Default::default() };
    let plain = GpuOptions::default();
    for (case, device, context, chunk) in [
        ("norm1", &plain, 700, 8),
        ("norm2", &plain, 10, 3),
        ("gate2", &plain, 300, 8),
        ("wide", &plain, 700, 8),
        ("odd", &baseline, 700, 512),
        ("quant", &slabs, 100, 4),
        ("row80", &slabs, 64, 1),
        ("tied", &slabs, 10, 3),
    ] {
        let file = checkpoint(&golden_path(&format!("{case}.gguf")));
        let (gpu, options) = (gpu(device), options(context, chunk));
        let said = Footprint::of(&file, &options, Device::of(&gpu)).unwrap();
        let model = block_on(Model::load(&gpu, &file, &options, &mut |_| {})).unwrap();
        assert_eq!(said.weights + said.scratch, model.bytes(), "{case}");
        assert_eq!(said.context_length, model.context_length());
        assert_eq!(said.states + said.kv_cache, bytes(&full_state(&gpu, &model), &sampling(&gpu, &model)), "{case}");
    }
}

/// The driver's own count, where it gives one: a little more, because it rounds each buffer up.
#[test]
fn the_driver_counts_the_same() {
    let (gpu, file, options) = (gpu(&GpuOptions::default()), checkpoint(&tiny_model()), options(1000, 32));
    let Some(before) = gpu.allocated_bytes() else {
        println!("this driver does not say what it has given out");
        return;
    };
    let said = Footprint::of(&file, &options, Device::of(&gpu)).unwrap();
    let model = block_on(Model::load(&gpu, &file, &options, &mut |_| {})).unwrap();
    let held = (full_state(&gpu, &model), sampling(&gpu, &model));
    block_on(gpu.sync()).unwrap();
    let (found, expected) = (gpu.allocated_bytes().unwrap() - before, said.least() - said.kv_growth);
    println!("said {expected}, given out {found}");
    assert!((expected..expected + expected / 20 + (1 << 20)).contains(&found), "said {expected}, given out {found}");
    drop(held);
}

#[test]
fn a_budget_is_kept() {
    let file = checkpoint(&tiny_model());
    let gpu = device(&GpuOptions::default());
    let all = Footprint::of(&file, &options(2000, 32), Device::of(&gpu)).unwrap();
    let budget = |context: Option<u32>, bytes: u64| LoadOptions {
        context_length: context,
        chunk: Some(32),
        memory_budget: Some(bytes),
        ..Default::default()
    };
    let load = |options: &LoadOptions| block_on(Model::load(&gpu, &file, options, &mut |_| {}));

    // To the byte.
    assert_eq!(load(&budget(Some(2000), all.least())).unwrap().context_length(), 2000);
    let error = load(&budget(Some(2000), all.least() - 1)).err().unwrap();
    let Error::DoesNotFit { needed, budget: allowed, context_length, largest_context: Some(largest), .. } = error
    else {
        panic!("{error}");
    };
    assert_eq!((needed, allowed, context_length), (all.least(), all.least() - 1, 2000));
    // In whole pages of 128: 2000 tokens need 16, and 15 of them are 1920.
    assert_eq!(largest, 1920);
    assert_eq!(error.code(), "out-of-memory");

    // What it offers fits, and one token more does not; not asked for, the context is that.
    let bytes = 24_000_000;
    let error = load(&budget(Some(4096), bytes)).err().unwrap();
    let Error::DoesNotFit { largest_context: Some(largest), .. } = error else { panic!("{error}") };
    assert!(load(&budget(Some(largest), bytes)).is_ok());
    assert!(load(&budget(Some(largest + 1), bytes)).is_err());
    assert_eq!(load(&budget(None, bytes)).unwrap().context_length(), largest);
    assert_eq!(Footprint::largest_context(&file, &budget(None, 0), Device::of(&gpu), bytes).unwrap(), Some(largest));
    let message = error.to_string();
    for part in ["4096 tokens", "more than the 24.0 MB", &format!("a context of {largest} tokens fits")] {
        assert!(message.contains(part), "{part}: {message}");
    }

    // Not even one token.
    for context in [None, Some(5)] {
        let error = load(&budget(context, 1_000_000)).err().unwrap();
        assert!(matches!(error, Error::DoesNotFit { largest_context: None, .. }), "{error}");
        assert!(error.to_string().contains("no context is small enough"));
    }
}

/// Snapshots are part of a budget: by default they get what it leaves, and what is asked for them
/// is not there for the context.
#[test]
fn snapshots_count() {
    let file = checkpoint(&tiny_model());
    let device = Device::of(&device(&GpuOptions::default()));
    let with = |snapshots: Option<u64>, context: Option<u32>, bytes: Option<u64>| {
        let options = LoadOptions {
            snapshot_budget: snapshots,
            context_length: context,
            memory_budget: bytes,
            ..LoadOptions::default()
        };
        Footprint::fit(&file, &options, device)
    };
    let free = with(None, Some(2000), None).unwrap();
    assert_eq!((free.snapshots, free.total()), (256 << 20, free.least() + (256 << 20)));
    let tight = with(None, Some(2000), Some(free.least() + 5000)).unwrap();
    assert_eq!((tight.snapshots, tight.total()), (5000, free.least() + 5000));
    let asked = with(Some(1 << 20), Some(2000), Some(free.least() + (1 << 20))).unwrap();
    assert_eq!(asked.total(), free.least() + (1 << 20));
    let error = with(Some(2 << 20), Some(2000), Some(free.least() + (1 << 20))).unwrap_err();
    assert!(matches!(error, Error::DoesNotFit { needed, .. } if needed == free.least() + (2 << 20)), "{error}");
    let smaller = with(Some(2 << 20), None, Some(free.least() + (1 << 20))).unwrap();
    assert!(smaller.context_length < 2000 && smaller.snapshots == 2 << 20);
    assert!(smaller.total() <= free.least() + (1 << 20));
}

/// Whatever is asked of a session, its snapshots and all its pages stay within what the model was
/// allowed.
#[test]
fn sixty_requests_stay_within_a_budget() {
    let file = checkpoint(&golden_path("norm1.gguf"));
    let gpu = device(&GpuOptions::default());
    let plain = options(700, 8);
    let least = Footprint::of(&file, &plain, Device::of(&gpu)).unwrap().least();
    let probe = session(&gpu, &file, &plain);
    let (copy, fixed) = (probe.state().recurrent_bytes(), probe.fixed_bytes());
    drop(probe);
    let budget = least + 3 * copy;
    let mut session = session(&gpu, &file, &LoadOptions { memory_budget: Some(budget), ..plain });
    session.set_snapshot_budget(u64::MAX);
    let model = session.engine().clone();
    for request in 0..60_u32 {
        let prompt: Vec<u32> = (0..100 + 7 * request).map(|i| (i * (request % 5 + 1)) % 40).collect();
        block_on(session.complete(
            &prompt,
            &GenerateOptions { max_tokens: 2, ..GenerateOptions::default() },
            &mut |_| true,
        ))
        .unwrap();
        let pages = model.model().kv().bytes();
        let snapshots = session.snapshots().1;
        assert!(snapshots <= 3 * copy, "request {request}: {snapshots} bytes of snapshots");
        // The pages of snapshots are in the arena.
        let copies = (session.snapshots().0 - session.snapshots_on_host().0) as u64 * copy;
        let all = model.model().bytes() + fixed + pages + copies;
        assert!(all <= budget, "request {request}: {all} of {budget} bytes");
    }
    assert!(session.snapshots().0 > 0, "there are snapshots");
}

/// A conversation in a context that a budget or a binding has made smaller ends, and does not fail.
#[test]
fn a_smaller_context_is_full_and_not_crashed_into() {
    let file = checkpoint(&golden_path("norm1.gguf"));
    let page = KvType::F16.page_bytes(&file.config);
    let narrow = GpuOptions { max_binding: Some((page * 5 / 2).max(60_000)), ..Default::default() };
    let gpu = device(&narrow);
    let bound = PAGE * (gpu.max_binding() / page) as u32;
    let mut session = session(&gpu, &file, &options(100_000, 4));
    assert_eq!(session.engine().model().context_length(), bound.min(file.config.max_position_embeddings));
    let ids = vec![5; bound as usize + 1];
    let error = block_on(session.prefill(&ids)).unwrap_err();
    assert!(matches!(error, Error::ContextFull { .. }), "{error}");
    block_on(session.prefill(&ids[1..])).unwrap();
}
