//! Truncation everywhere, and random damage: always an error or a legal file, never a panic, never
//! much memory.

use peregrine::Error;
use peregrine_tests::seed;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::allocation::peak;
use super::file::{File, open, refusal};

/// More than any legal or damaged file of this size has needed, and far less than any count that
/// lies.
fn bound(length: usize) -> usize {
    16 * length + (1 << 16)
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let file = File::new();
    let (bytes, header) = (file.bytes(), file.header().len());
    // The last tensor's padding may be missing: nothing is lost.
    let last = file.tensors.iter().map(|t| t.offset + 4 * t.dims.iter().product::<u64>()).max().unwrap();
    let end = header + last as usize;
    let step = (end - header) / 200;
    for cut in (0..header).chain((header..end).step_by(step)).chain([end - 1]) {
        let (error, held) = peak(|| refusal(bytes[..cut].to_vec(), "a cut file"));
        match error {
            Error::NotGguf { .. } => assert!(cut < 4),
            Error::Truncated { available, .. } => assert_eq!(available, cut as u64),
            other => panic!("cut at {cut}: {other}"),
        }
        assert!(held < bound(cut), "cut at {cut}: {held} bytes held");
    }
    open(bytes[..end].to_vec()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3000, failure_persistence: None, rng_seed: RngSeed::Fixed(seed(37)), ..ProptestConfig::default()
    })]

    #[test]
    fn damage_in_the_header_is_harmless(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let file = File::new();
        let (mut bytes, header) = (file.bytes(), file.header().len());
        for (at, byte) in flips {
            bytes[at.index(header)] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let length = bytes.len();
        let (result, held) = peak(|| open(bytes));
        prop_assert!(held < bound(length), "{held} bytes held for {length}");
        if let Ok(checkpoint) = result {
            // What opens can be read to its end, though what lies elsewhere now need not be
            // numbers.
            for tensor in checkpoint.tensors() {
                match pollster::block_on(checkpoint.read_rows_f32(tensor, 0, tensor.rows())) {
                    Ok(_) => {}
                    Err(Error::Malformed { expected, .. }) => prop_assert_eq!(expected, "finite weights"),
                    Err(error) => prop_assert!(false, "{}", error),
                }
            }
        }
    }

    #[test]
    fn eight_byte_lies_are_harmless(at in any::<prop::sample::Index>(), value in prop_oneof![
        any::<u64>(), Just(u64::MAX), Just(1 << 63), Just(1 << 32), 0u64..1 << 20,
    ]) {
        let file = File::new();
        let (mut bytes, header) = (file.bytes(), file.header().len());
        let at = at.index(header - 8);
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        let length = bytes.len();
        let (_, held) = peak(|| open(bytes).is_ok());
        prop_assert!(held < bound(length), "{held} bytes held for {length}");
    }
}
