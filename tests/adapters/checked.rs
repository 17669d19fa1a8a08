//! The self-check of adapters: what the device computes wrong is computed another way, or refused.

use std::pin::pin;
use std::task::{Context, Waker};

use peregrine::Error;
use peregrine::gpu::Alter;
use peregrine::inspect::Runner;

use super::*;
use crate::selfcheck::fault;

fn altered(alter: Alter) -> Gpu {
    gpu(&GpuOptions { shapes: Some(ShapeClass::Hardware), alter: Some(alter), ..GpuOptions::default() })
}

/// Whether a token's A x is published in sums.
fn publishes(session: &Session) -> bool {
    session.calls(false).iter().any(|call| call.kernel.name == "lora_clear")
}

#[test]
fn what_is_published_wrong_has_dispatches_of_its_own() {
    let golden = Golden::open("adapters");
    let faults = [
        fault!("lora_clear", "second[id.x] = vec4<u32>(0u);", ""),
        fault!("mixer_step_lora", "return mamba[a +", "return 0.9 * mamba[a +"),
        fault!("merge_lora", "t += dot(head[q], ", "t += 0.9 * dot(head[q], "),
        fault!("matvec_team_lora", "0x1p-10f", "0x1p-11f"),
        fault!("matvec_team_lora", "dot(weights, numbers)", "dot(weights, 0.9 * numbers)"),
        fault!("matvec_team_lora", "atomicAdd(&sums_out[at],", "atomicAdd(&sums_out[at & 31u],"),
    ];
    for (kernel, alter) in faults {
        let (file, ids) = open("hf-folder");
        let mut session = session(&altered(alter), &file, &exact());
        choose(&mut session, &[("plain", 1.0), ("patterns", 0.5)]);
        assert!(!publishes(&session), "{kernel}");
        let (found, expected) = (logits(&mut session, &ids, 1), golden.f32("two"));
        assert_close(kernel, tail(&found, &expected), &expected, LOGITS);
        // Another choice of the same layout, and what sessions begin with, know it.
        choose(&mut session, &[("plain", 0.5), ("patterns", 1.0)]);
        assert!(!publishes(&session), "{kernel}");
        let engine = session.engine().clone();
        block_on(engine.use_adapters(&add(&engine, &[("plain", 1.0), ("patterns", 0.5)]))).unwrap();
        assert!(!publishes(&Session::new(&engine).unwrap()), "{kernel}");
    }
}

#[test]
fn two_sessions_that_choose_the_same_are_looked_at_one_after_the_other() {
    let (_, alter) = fault!("matvec_team_lora", "0x1p-10f", "0x1p-11f");
    let (file, ids) = open("hf-folder");
    let mut first = session(&altered(alter), &file, &exact());
    let engine = first.engine().clone();
    let [mut second, mut third] = [(); 2].map(|()| Session::new(&engine).unwrap());
    let chosen = add(&engine, &[("plain", 1.0)]);
    let mut context = Context::from_waker(Waker::noop());
    {
        let others_turn = block_on(Runner::begin(&mut third, &ids[..1])).unwrap();
        let mut one = pin!(first.set_adapters(&chosen));
        let mut other = pin!(second.set_adapters(&chosen));
        assert!(one.as_mut().poll(&mut context).is_pending());
        assert!(other.as_mut().poll(&mut context).is_pending());
        others_turn.end();
        assert!(other.as_mut().poll(&mut context).is_pending(), "while the first one is looked at");
        block_on(one).unwrap();
        block_on(other).unwrap();
    }
    assert!(!publishes(&first) && !publishes(&second));
}

#[test]
fn what_is_right_is_published() {
    for reduction in [Reduction::Workgroup, Reduction::Subgroup] {
        for kv in KvType::ALL {
            let options =
                GpuOptions { shapes: Some(ShapeClass::Hardware), reduction: Some(reduction), ..GpuOptions::default() };
            let (file, _) = open("quant.gguf");
            let mut session = session(&gpu(&options), &file, &LoadOptions { kv, ..exact() });
            let engine = session.engine().clone();
            let id = engine.add_adapter("made", made_of_all(16, &engine.base())).unwrap();
            block_on(session.set_adapters(&[(id, 0.1)])).unwrap();
            assert!(publishes(&session), "{reduction:?}, {kv:?}");
        }
    }
}

#[test]
fn what_is_wrong_in_every_way_is_refused() {
    use ShapeClass::{Hardware, Software};
    let faults = [
        (fault!("matmul_tile_lora", "b_of(lora_row, s)", "scaled(b_of(lora_row, s), 0.9)"), &[Hardware][..]),
        (
            fault!("lora_down", "lora.rank + four) + r] = sum;", "lora.rank + four) + r] = 0.9 * sum;"),
            &[Hardware, Software],
        ),
    ];
    for ((kernel, alter), classes) in faults {
        for &shapes in classes {
            let options = GpuOptions { shapes: Some(shapes), alter: Some(alter), ..GpuOptions::default() };
            let (file, ids) = open("hf-folder");
            let mut session = session(&gpu(&options), &file, &exact());
            block_on(session.prefill(&ids)).unwrap();
            let plain = session.logits().to_vec();
            let chosen = add(session.engine(), &[("plain", 1.0)]);
            let error = block_on(session.set_adapters(&chosen)).unwrap_err();
            assert!(matches!(error, Error::SelfCheck { .. }), "{kernel}, {shapes:?}: {error}");
            assert!(error.to_string().contains("with adapters, a prompt at once"), "{error}");
            let engine = session.engine().clone();
            assert!(matches!(block_on(engine.use_adapters(&chosen)), Err(Error::SelfCheck { .. })));
            // Nothing has changed.
            assert_eq!((session.position(), session.adapters().len()), (ids.len() as u32, 0));
            assert_eq!(session.logits(), plain);
        }
    }
}
