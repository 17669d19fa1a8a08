//! Conversations as values: going back, forking, editing, saving give, bit by bit, the session that
//! read the same tokens in the same steps; keys and values are shared; memory stays within its
//! budget.

use std::rc::Rc;

use peregrine::Error;
use peregrine::checkpoint::MemorySource;
use peregrine::gpu::{Gpu, GpuOptions, ShapeClass};
use peregrine::model::LoadOptions;
use peregrine::sampling::SamplingOptions;
use peregrine::session::{Engine, GenerateOptions, Generated, Session, Snapshot};
use peregrine::state::{KvType, PAGE};
use peregrine_tests::{assert_same, checkpoint, device, golden_path, gpu, processor, session, states};
use pollster::block_on;

/// Small chunks, so that a few tokens are several steps.
fn open(case: &str, chunk: u32, kv: KvType) -> Session {
    open_on(&device(&GpuOptions::default()), case, chunk, kv)
}

fn on_a_gpu(case: &str, shapes: ShapeClass, chunk: u32, kv: KvType) -> Session {
    open_on(&gpu(&GpuOptions { shapes: Some(shapes), ..GpuOptions::default() }), case, chunk, kv)
}

fn open_on(gpu: &Gpu, case: &str, chunk: u32, kv: KvType) -> Session {
    let load = LoadOptions { chunk: Some(chunk), kv, snapshot_host_budget: Some(0), ..Default::default() };
    session(gpu, &checkpoint(&golden_path(case)), &load)
}

/// Everything that a session goes on from, as bits: states, keys and values, logits.
fn bits(session: &Session) -> Vec<u32> {
    let mut all = states(session);
    all.extend(session.logits().iter().map(|v| v.to_bits()));
    all
}

#[test]
#[should_panic(expected = "value 2 of 3")]
fn a_state_that_differs_is_seen() {
    assert_same(&[7, 0, 1], &[7, 0, 2], "states");
}

/// Numbers that are the same in every run.
struct Noise(u64);

impl Noise {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) as usize % n
    }

    fn tokens(&mut self, session: &Session, count: usize) -> Vec<u32> {
        let vocab = session.engine().config().vocab_size as usize;
        (0..count).map(|_| self.below(vocab) as u32).collect()
    }
}

/// What was read, call by call: the same calls are the same steps.
type Log = Vec<Vec<u32>>;

fn read(session: &mut Session, ids: &[u32]) {
    block_on(session.prefill(ids)).unwrap();
}

fn replay(engine: &Rc<Engine>, log: &Log) -> Session {
    let mut session = Session::new(engine).unwrap();
    session.set_snapshot_budget(0);
    log.iter().for_each(|ids| read(&mut session, ids));
    session
}

fn saved(session: &mut Session) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut sink = |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    };
    block_on(session.save(&mut sink)).unwrap();
    bytes
}

/// One random walk over sessions and snapshots of one engine.
fn walk(first: Session, seed: u64, steps: usize) {
    let engine = first.engine().clone();
    let longest = engine.model().context_length().min(600) as usize;
    let mut noise = Noise(seed);
    let mut sessions: Vec<(Session, Log)> = vec![(first, Vec::new())];
    let mut snapshots: Vec<(Snapshot, Log)> = Vec::new();
    for step in 0..steps {
        let open = sessions.len();
        let at = noise.below(open);
        let (session, log) = &mut sessions[at];
        match noise.below(11) {
            0..=3 => {
                // One token, a few, or many.
                let count = [1, 1 + noise.below(20), 1 + noise.below(120)][noise.below(3)];
                if session.position() as usize + count <= longest {
                    let ids = noise.tokens(session, count);
                    read(session, &ids);
                    log.push(ids);
                }
            }
            4 | 5 => {
                let taken = (session.snapshot().unwrap(), log.clone());
                snapshots.push(taken);
            }
            6 if !snapshots.is_empty() => {
                let (snapshot, then) = &snapshots[noise.below(snapshots.len())];
                session.go_to(snapshot).unwrap();
                log.clone_from(then);
            }
            7 if open < 4 => {
                let fork = (session.fork().unwrap(), log.clone());
                sessions.push(fork);
            }
            8 if open > 1 => drop(sessions.swap_remove(at)),
            9 if snapshots.len() > 4 => drop(snapshots.swap_remove(noise.below(snapshots.len()))),
            10 if step % 2 == 0 => {
                let bytes = saved(session);
                // Into a session that has read something else.
                let mut other = Session::new(&engine).unwrap();
                let ids = noise.tokens(&other, 3);
                read(&mut other, &ids);
                block_on(other.restore(&MemorySource::new("a state", bytes))).unwrap();
                *session = other;
            }
            _ => {}
        }
        if step % 16 == 15 {
            let (session, log) = &sessions[noise.below(sessions.len())];
            assert_same(&bits(session), &bits(&replay(&engine, log)), &format!("seed {seed}, step {step}"));
        }
    }
    for (i, (session, log)) in sessions.iter().enumerate() {
        assert_same(&bits(session), &bits(&replay(&engine, log)), &format!("seed {seed}, session {i}"));
    }
    for (i, (snapshot, log)) in snapshots.iter().enumerate() {
        let mut session = Session::new(&engine).unwrap();
        session.go_to(snapshot).unwrap();
        assert_same(&bits(&session), &bits(&replay(&engine, log)), &format!("seed {seed}, snapshot {i}"));
    }
    // Nobody holds pages any more, so their memory is given back.
    let model = engine.model();
    assert!(model.kv().bytes() > 0);
    drop((sessions, snapshots));
    assert_eq!((model.kv().pages(), model.kv().bytes()), ((0, 0), 0));
}

#[test]
fn random_walks_are_the_sessions_that_read_the_same() {
    walk(on_a_gpu("norm1.gguf", ShapeClass::Software, 16, KvType::F16), 1, 64);
    walk(on_a_gpu("norm1.gguf", ShapeClass::Software, 16, KvType::F32), 2, 48);
    walk(on_a_gpu("odd.gguf", ShapeClass::Hardware, 16, KvType::F16), 3, 64);
    walk(on_a_gpu("norm1.gguf", ShapeClass::Hardware, 16, KvType::Q8), 4, 48);
    walk(on_a_gpu("odd.gguf", ShapeClass::Software, 16, KvType::Q8), 5, 48);
    for (case, kv) in [("odd.gguf", KvType::F16), ("norm1.gguf", KvType::F32), ("norm1.gguf", KvType::Q8)] {
        walk(open_on(&processor(), case, 16, kv), 6, 64);
    }
}

fn greedy(max_tokens: u32) -> GenerateOptions {
    GenerateOptions { max_tokens, sampling: SamplingOptions::greedy(), ignore_end: true, ..GenerateOptions::default() }
}

fn complete(session: &mut Session, ids: &[u32], max_tokens: u32) -> Generated {
    block_on(session.complete(ids, &greedy(max_tokens), &mut |_| true)).unwrap()
}

/// Requests that continue, edit and repeat each other at random, token by token: the session
/// chooses its places by itself.
#[test]
fn random_requests_are_answered_as_if_each_were_the_first() {
    let mut session = on_a_gpu("norm1.gguf", ShapeClass::Hardware, 1, KvType::F16);
    let each = session.snapshot().unwrap().bytes();
    let mut noise = Noise(11);
    let mut lines: Vec<Vec<u32>> = vec![noise.tokens(&session, 70)];
    let (mut cached, mut asked) = (0, 0);
    for turn in 0..24 {
        session.set_snapshot_budget(each * [3, 12, 40][turn / 8]);
        session.set_snapshot_host_budget(each * [4, 0, 2][turn / 8]);
        let mut ids = lines[noise.below(lines.len())].clone();
        match noise.below(4) {
            0 => ids.truncate(1 + noise.below(ids.len())),
            1 => {}
            _ => {
                let count = 1 + noise.below(80);
                ids.extend(noise.tokens(&session, count));
            }
        }
        ids.truncate(400);
        let answer = complete(&mut session, &ids, 1 + noise.below(4) as u32);
        cached += answer.cached_tokens;
        asked += answer.prompt_tokens;
        ids.extend(&answer.ids);
        let other = replay(session.engine(), &vec![ids[..session.position() as usize].to_vec()]);
        assert_same(&bits(&session), &bits(&other), &format!("turn {turn}"));
        lines.push(ids);
        if lines.len() > 6 {
            lines.swap_remove(noise.below(6));
        }
    }
    assert!(2 * cached > asked, "{cached} of {asked} tokens had been read before");
}

#[test]
fn forks_share_pages_and_copy_at_most_one() {
    let mut one = open("norm1.gguf", 64, KvType::F16);
    let engine = one.engine().clone();
    let used = || engine.model().kv().pages().1;
    let first: Vec<u32> = (0..2 * PAGE + 20).map(|i| 3 + i % 200).collect();
    read(&mut one, &first);
    assert_eq!(used(), 3);
    let mut two = one.fork().unwrap();
    assert_eq!(used(), 3, "a fork has no keys of its own");
    assert_same(&bits(&two), &bits(&one), "the fork");
    read(&mut one, &[5]);
    assert_eq!(used(), 3, "the first to go on appends where it is");
    let after = bits(&one);
    read(&mut two, &[6, 7, 8]);
    assert_eq!(used(), 4, "the second copies the page that is not full");
    assert_same(&bits(&one), &after, "the first, after the second went on");
    assert_same(&bits(&two), &bits(&replay(&engine, &vec![first.clone(), vec![6, 7, 8]])), "the second");

    // A snapshot costs no page, going back to it neither, and an abandoned branch is still there.
    let snapshot = one.snapshot().unwrap();
    read(&mut one, &[9; 40]);
    let branch = one.snapshot().unwrap();
    let there = bits(&one);
    assert_eq!(used(), 4);
    one.go_to(&snapshot).unwrap();
    assert_same(&bits(&one)[..after.len()], &after, "back at the snapshot");
    read(&mut one, &[10; 30]);
    assert_eq!(used(), 5);
    one.go_to(&branch).unwrap();
    assert_eq!(used(), 4, "what nobody needs is free");
    assert_same(&bits(&one), &there, "the branch that was left");
    drop((one, snapshot, branch));
    assert_eq!(used(), 3);
}

#[test]
fn the_models_budget_is_every_sessions() {
    let load = LoadOptions { snapshot_budget: Some(0), ..Default::default() };
    let mut none = session(&device(&Default::default()), &checkpoint(&golden_path("norm1.gguf")), &load);
    let mut some = open("norm1.gguf", 64, KvType::F16);
    let ids = Noise(3).tokens(&some, 100);
    for (session, count) in [(&mut none, 0), (&mut some, 1)] {
        complete(session, &ids, 1);
        assert_eq!(session.snapshots().0, count);
        let mut fork = session.fork().unwrap();
        complete(&mut fork, &ids[1..], 1);
        // Its own prompt, and the line that it left.
        assert_eq!(fork.snapshots().0, 2 * count);
    }
}

#[test]
fn a_snapshot_of_another_engine_is_refused() {
    let mut one = open("norm1.gguf", 4, KvType::F16);
    let mut two = open("norm1.gguf", 4, KvType::F16);
    read(&mut one, &[3, 4]);
    let error = two.go_to(&one.snapshot().unwrap()).unwrap_err();
    assert!(matches!(&error, Error::Argument { field, .. } if field == "snapshot"), "{error}");
    assert_eq!(two.position(), 0);
}

#[test]
fn states_of_another_kv_type_are_refused() {
    let mut one = open("norm1.gguf", 4, KvType::F16);
    let mut two = open("norm1.gguf", 4, KvType::F32);
    read(&mut one, &[3, 4]);
    let error = block_on(two.restore(&MemorySource::new("a state", saved(&mut one)))).unwrap_err();
    assert!(matches!(&error, Error::Unsupported { field, .. } if field == "kv"), "{error}");
    assert!(error.to_string().contains("f16") && error.to_string().contains("f32"), "{error}");
}

/// A long prompt has places inside, and when they are too many they are thinned out and not cut
/// off.
#[test]
fn an_edit_inside_a_long_prompt_is_read_from_the_place_before_it() {
    let mut session = open("norm1.gguf", 64, KvType::F16);
    let each = session.snapshot().unwrap().bytes();
    let whole = Noise(5).tokens(&session, 1600);
    let edited = |at: usize| {
        let mut ids = whole.clone();
        ids[at] = (ids[at] + 1) % 200;
        ids
    };
    let first = complete(&mut session, &whole, 1);
    assert_eq!((first.cached_tokens, session.snapshots().0), (0, 4));
    for (at, cached) in [(1590, 1536), (1100, 1024), (700, 512), (100, 0)] {
        let found = complete(&mut session, &edited(at), 1);
        assert_eq!(found.cached_tokens, cached, "an edit at {at}");
        let mut other = Session::new(session.engine()).unwrap();
        assert_eq!(found.ids, complete(&mut other, &edited(at), 1).ids, "an edit at {at}");
    }
    // Room for three: the end is always there, and not the first ones only or the last ones only.
    session.reset();
    session.set_snapshot_budget(3 * each);
    complete(&mut session, &whole, 1);
    assert_eq!(session.snapshots(), (3, 3 * each));
    assert!(complete(&mut session, &whole, 1).cached_tokens >= 1599);
    session.reset();
    complete(&mut session, &whole, 1);
    let middle = complete(&mut session, &edited(1300), 1).cached_tokens;
    assert!((512..=1024).contains(&middle), "{middle}");
}

/// With room for no more than two places, leaving a line must not push out the place that is gone
/// back to.
#[test]
fn the_place_that_is_gone_back_to_stays() {
    let mut session = open("norm1.gguf", 64, KvType::F16);
    let each = session.snapshot().unwrap().bytes();
    let c = session.engine().config();
    let page = 4 * u64::from(PAGE * c.kv_dim() * c.num_hidden_layers);
    let stem = Noise(6).tokens(&session, 700);
    for room in [1, 2] {
        session.reset();
        // Each has at most one page of its own: the one that the line was in when it was left.
        session.set_snapshot_budget(room * (each + page));
        complete(&mut session, &stem, 1);
        for seed in 0..6 {
            let ids = [&stem[..], &Noise(20 + seed).tokens(&session, 20)].concat();
            let found = complete(&mut session, &ids, 1);
            assert_eq!(found.cached_tokens, 700, "edit {seed} with room for {room}");
            assert!(session.snapshots().1 <= room * (each + page));
        }
    }
}

/// What the GPU has no more room for moves to the host, and from there it is gone back to all the
/// same.
#[test]
fn places_move_to_the_host_and_back() {
    let mut session = open("norm1.gguf", 64, KvType::F16);
    let each = session.snapshot().unwrap().bytes();
    let whole = Noise(8).tokens(&session, 3000);
    let edited = |at: usize| [&whole[..at], &[(whole[at] + 1) % 200, 7]].concat();
    session.set_snapshot_budget(2 * each);
    session.set_snapshot_host_budget(30 * each);
    for turn in 1..=6 {
        complete(&mut session, &whole[..turn * 500], 1);
    }
    let (moved, bytes) = session.snapshots_on_host();
    assert!(moved >= 4 && bytes == moved as u64 * each, "{moved}, {bytes}");
    assert!(session.snapshots().1 <= 2 * each);
    // Pages that only the abandoned ends need count, too.
    session.set_snapshot_budget(2 * each + session.engine().model().kv().bytes_of_page() * 200);
    for at in [2600, 1030, 600, 2100] {
        let found = complete(&mut session, &edited(at), 1);
        assert!(found.cached_tokens as usize >= at / 500 * 500 - 1, "an edit at {at}: {}", found.cached_tokens);
        let other = replay(session.engine(), &vec![edited(at)]);
        assert_same(&states(&session), &states(&other), &format!("an edit at {at}"));
        assert!(session.snapshots_on_host().0 > 2);
    }
    // Forgotten there, too, when there is no room.
    session.set_snapshot_host_budget(each);
    assert_eq!(session.snapshots_on_host(), (1, each));
    session.set_snapshot_budget(0);
    assert_eq!((session.snapshots(), session.snapshots_on_host()), ((0, 0), (0, 0)));
    session.set_snapshot_host_budget(8 * each);
    assert_eq!(complete(&mut session, &whole, 1).cached_tokens, 0);
}

/// Whoever gives up while a place is on its way from the host finds the session as it was.
#[test]
fn going_back_can_be_given_up() {
    let mut session = open("norm1.gguf", 64, KvType::F16);
    let each = session.snapshot().unwrap().bytes();
    session.set_snapshot_budget(each);
    session.set_snapshot_host_budget(8 * each);
    let whole = Noise(9).tokens(&session, 1400);
    for end in [500, 1000, 1400] {
        complete(&mut session, &whole[..end], 1);
    }
    assert!(session.snapshots_on_host().0 > 1);
    let edited = [&whole[..600], &[5, 6, 7]].concat();
    for _ in 0..3 {
        let mut asked = |_| true;
        let how = greedy(1);
        let mut going = Box::pin(session.complete(&edited, &how, &mut asked));
        let _ = going.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        drop(going);
    }
    let found = complete(&mut session, &edited, 3);
    let other = complete(&mut open("norm1.gguf", 64, KvType::F16), &edited, 3);
    assert_eq!(found.ids, other.ids);
}

/// Turns of the soak.
/// `PEREGRINE_SOAK=2000 cargo test --release -p peregrine-tests --test all -- turns_keep_memory_flat --nocapture`
fn turns() -> usize {
    std::env::var("PEREGRINE_SOAK").ok().and_then(|turns| turns.parse().ok()).unwrap_or(200)
}

#[test]
fn hundreds_of_turns_keep_memory_flat() {
    let mut session = on_a_gpu("norm1.gguf", ShapeClass::Hardware, 64, KvType::F16);
    let engine = session.engine().clone();
    let (model, gpu) = (engine.model(), engine.model().gpu());
    let each = session.snapshot().unwrap().bytes();
    let budget = 12 * each + 4 * model.kv().bytes_of_page();
    session.set_snapshot_budget(budget);
    session.set_snapshot_host_budget(4 * each);
    let mut noise = Noise(7);
    let mut turns_of: Vec<Vec<u32>> = Vec::new();
    let (mut cached, mut asked) = (0, 0);
    let (mut early, mut late) = ((0, 0), (0, 0));
    let turns = turns();
    for turn in 0..turns {
        match noise.below(6) {
            // Another question instead of an earlier one; another answer; a new conversation.
            0 => turns_of.truncate(noise.below(turns_of.len() + 1)),
            1 => drop(turns_of.pop()),
            2 if turns_of.len() > 24 => turns_of.clear(),
            _ => {}
        }
        let count = 4 + noise.below(24);
        turns_of.push(noise.tokens(&session, count));
        let answer = complete(&mut session, &turns_of.concat(), 3);
        turns_of.push(answer.ids.clone());
        cached += answer.cached_tokens;
        asked += answer.prompt_tokens;
        if turn % 10 == 3 {
            // The fork goes on, the other goes.
            session = session.fork().unwrap();
        }
        if turn % 40 == 5 {
            let bytes = saved(&mut session);
            session = Session::new(&engine).unwrap();
            session.set_snapshot_budget(budget);
            session.set_snapshot_host_budget(4 * each);
            block_on(session.restore(&MemorySource::new("a state", bytes))).unwrap();
        }
        let (_, snapshots) = session.snapshots();
        assert!(snapshots <= budget, "turn {turn}: {snapshots} bytes of snapshots");
        assert!(session.snapshots_on_host().1 <= 4 * each, "turn {turn}");
        let most = if turn < turns / 2 { &mut early } else { &mut late };
        *most = (gpu.allocated_bytes().unwrap_or(0).max(most.0), model.kv().bytes().max(most.1));
    }
    println!(
        "{turns} turns, {cached} of {asked} tokens cached; bytes on the device and of pages: {early:?}, then {late:?}"
    );
    assert!(2 * cached > asked, "{cached} of {asked} prompt tokens were cached");
    assert!(early.1 > 0 && late.1 <= early.1 * 5 / 4, "{early:?} in the first half, {late:?} in the second");
    assert!(late.0 <= early.0 + early.0 / 20 + (1 << 20), "{early:?} in the first half, {late:?} in the second");
}
