//! Which adapters a session uses, and what knows it.

use peregrine::Error;
use peregrine::checkpoint::MemorySource;
use peregrine_tests::{assert_same, states};

use super::*;

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn hf_folder() -> (Session, Vec<u32>) {
    let (file, ids) = open("hf-folder");
    (session(&device(&GpuOptions::default()), &file, &exact()), ids)
}

#[test]
fn without_adapters_the_logits_are_the_bases_bit_by_bit() {
    let (mut session, ids) = hf_folder();
    let plain = bits(&logits(&mut session, &ids, 32));
    choose(&mut session, &[("plain", 1.0)]);
    assert_eq!(session.position(), 0, "what the base has read is of no use");
    let adapted = bits(&logits(&mut session, &ids, 32));
    assert_ne!(adapted, plain);
    choose(&mut session, &[("patterns", -0.5)]);
    assert_ne!(bits(&logits(&mut session, &ids, 32)), adapted);
    choose(&mut session, &[]);
    assert_eq!(bits(&logits(&mut session, &ids, 32)), plain);
    // At a scale of 0 an adapter is none.
    choose(&mut session, &[("plain", 0.0)]);
    assert!(session.adapters().is_empty());
    choose(&mut session, &[("plain", 1.0)]);
    assert_eq!(bits(&logits(&mut session, &ids, 32)), adapted);
}

#[test]
fn sessions_of_one_engine_have_their_own() {
    let (mut base, ids) = hf_folder();
    let mut other = Session::new(base.engine()).unwrap();
    choose(&mut other, &[("plain", 1.0)]);
    let (plain, adapted) = (logits(&mut base, &ids, 1), logits(&mut other, &ids, 1));
    base.reset();
    other.reset();
    // Turn by turn.
    for (i, id) in ids.iter().enumerate() {
        let vocab = plain.len() / ids.len();
        for (session, expected) in [(&mut base, &plain), (&mut other, &adapted)] {
            let found = logits(session, &[*id], 1);
            assert_eq!(bits(&found), bits(&expected[i * vocab..(i + 1) * vocab]), "token {i}");
        }
    }
}

#[test]
fn snapshots_are_found_by_those_that_made_them() {
    let (mut session, ids) = hf_folder();
    let read = |session: &mut Session| block_on(session.prepare(&ids, None)).unwrap().cached_tokens;
    assert_eq!(read(&mut session), 0);
    choose(&mut session, &[("plain", 1.0)]);
    assert_eq!(read(&mut session), 0, "the base's place is not this one's");
    let adapted = states(&session);
    choose(&mut session, &[("plain", 0.5)]);
    assert_eq!(read(&mut session), 0, "nor that of another scale");
    choose(&mut session, &[("plain", 1.0)]);
    assert_eq!(read(&mut session), ids.len() as u32, "but its own");
    assert_same(&states(&session), &adapted, "found again");
    choose(&mut session, &[]);
    assert_eq!(read(&mut session), ids.len() as u32);
}

#[test]
fn places_forks_and_files_refuse_others_by_name() {
    let (mut session, ids) = hf_folder();
    choose(&mut session, &[("plain", 1.0), ("patterns", 0.5)]);
    block_on(session.prefill(&ids)).unwrap();
    let place = session.snapshot().unwrap();
    let mut file = Vec::new();
    let mut sink = |bytes: &[u8]| {
        file.extend_from_slice(bytes);
        Ok(())
    };
    block_on(session.save(&mut sink)).unwrap();
    let expected = states(&session);

    let mut fork = session.fork().unwrap();
    assert!(fork.adapters() == session.adapters());
    assert_same(&states(&fork), &expected, "the fork");
    let (mine, its) = (logits(&mut session, &ids[..3], 1), logits(&mut fork, &ids[..3], 1));
    assert_eq!(bits(&mine), bits(&its));

    let mut other = Session::new(session.engine()).unwrap();
    let Err(Error::Argument { field, expected: wanted, found }) = other.go_to(&place) else { panic!() };
    assert_eq!(field, "snapshot");
    assert!(wanted.contains("no adapters"), "{wanted}");
    assert!(found.contains("\"plain\"") && found.contains("\"patterns\" times 0.5"), "{found}");
    let source = MemorySource::new("a.state", file.clone());
    let error = block_on(other.restore(&source)).unwrap_err();
    assert!(matches!(&error, Error::Unsupported { field, .. } if field == "adapters"), "{error}");
    assert!(error.to_string().contains("\"patterns\""), "{error}");
    choose(&mut other, &[("plain", 1.0), ("patterns", 0.25)]);
    assert!(block_on(other.restore(&source)).is_err());

    choose(&mut other, &[("patterns", 0.5), ("plain", 1.0)]);
    block_on(other.restore(&source)).unwrap();
    assert_same(&states(&other), &expected, "restored");
    other.go_to(&place).unwrap();

    // The other way: the base's file with adapters.
    choose(&mut other, &[]);
    block_on(other.prefill(&ids)).unwrap();
    let mut file = Vec::new();
    let mut sink = |bytes: &[u8]| {
        file.extend_from_slice(bytes);
        Ok(())
    };
    block_on(other.save(&mut sink)).unwrap();
    let error = block_on(session.restore(&MemorySource::new("base.state", file))).unwrap_err();
    assert!(error.to_string().contains("no adapters"), "{error}");
}

#[test]
fn an_engine_lists_and_removes_them() {
    let (mut session, ids) = hf_folder();
    let engine = session.engine().clone();
    let chosen = add(&engine, &[("plain", 1.0), ("patterns", 1.0)]);
    let names: Vec<String> = engine.adapters().iter().map(|(_, name, _)| name.to_string()).collect();
    assert_eq!(names, ["plain", "patterns"]);
    let twice = engine.add_adapter("plain", adapter("plain", &engine.base())).unwrap_err();
    assert!(twice.to_string().contains("\"plain\" twice"), "{twice}");
    let doubled = [chosen[0], chosen[0]];
    assert!(block_on(session.set_adapters(&doubled)).is_err());
    assert!(block_on(session.set_adapters(&[(chosen[0].0, f32::NAN)])).is_err());

    block_on(session.set_adapters(&chosen[..1])).unwrap();
    let before = bits(&logits(&mut session, &ids, 32));
    assert!(engine.remove_adapter(chosen[0].0));
    assert!(!engine.remove_adapter(chosen[0].0));
    session.reset();
    assert_eq!(bits(&logits(&mut session, &ids, 32)), before, "whoever has it goes on with it");
    let gone = block_on(Session::new(&engine).unwrap().set_adapters(&chosen[..1])).unwrap_err();
    assert!(gone.to_string().contains("removed"), "{gone}");
    // The name is free, and the id is another.
    let again = engine.add_adapter("plain", adapter("plain", &engine.base())).unwrap();
    assert_ne!(again, chosen[0].0);
}

#[test]
fn sessions_begin_with_the_engines_choice() {
    let (mut session, ids) = hf_folder();
    let engine = session.engine().clone();
    let chosen = add(&engine, &[("plain", 1.0)]);
    block_on(session.set_adapters(&chosen)).unwrap();
    let expected = bits(&logits(&mut session, &ids, 32));
    block_on(engine.use_adapters(&chosen)).unwrap();
    let mut next = Session::new(&engine).unwrap();
    assert_eq!(bits(&logits(&mut next, &ids, 32)), expected);
    block_on(engine.use_adapters(&[])).unwrap();
    assert!(Session::new(&engine).unwrap().adapters().is_empty());
}
