//! Block formats against numbers from the field's own Python package, against each other, and
//! against error bounds.

use peregrine::format::{FORMATS, Format, FormatSpec, STRIP};

use super::toy::Noise;

/// IEEE half to single, from the definition and not from a library.
fn half(bits: u16) -> f32 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    let size = match exponent {
        0 => fraction * 2f32.powi(-24),
        31 => f32::INFINITY,
        _ => (1024.0 + fraction) * 2f32.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -size } else { size }
}

/// What the codes of the IQ4 formats stand for.
const STEPS: [f32; 16] =
    [-127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0];

/// Strip `index` of a unit, dequantized from the description of the GPU's layout: 32 values.
fn strip_values(format: Format, unit: &[u32], index: usize, meta: &[u16]) -> Vec<f32> {
    let strip: Vec<u32> = match format {
        // Two strips share three vec4s.
        Format::Q6_K => {
            let two = &unit[12 * (index / 2)..][..12];
            let (low, high) = (4 * (index % 2), 8 + 2 * (index % 2));
            [&two[low..low + 4], &two[high..high + 2]].concat()
        }
        _ => unit[index * format.spec().strip_words as usize..][..format.spec().strip_words as usize].to_vec(),
    };
    let byte = |word: usize, at: usize| strip[word] >> (8 * at) & 255;
    let nibble = |v: usize| byte(v % 16 / 4, v % 4) >> (4 * (v / 16)) & 15;
    let scale_byte = |at: usize, first: usize| meta[first + at / 2] >> (8 * (at % 2)) & 255;
    let pair = |v: usize| strip[v / 16] >> (8 * (v % 4) + 2 * (v % 16 / 4)) & 3;
    let fifth = |meta: &[u16], v: usize| u32::from(meta[v / 16] >> (v % 16) & 1);
    let value = |v: usize| match format {
        Format::F32 => f32::from_bits(strip[v]),
        Format::F16 => half((strip[v / 2] >> (16 * (v % 2))) as u16),
        Format::BF16 => f32::from_bits(strip[v / 2] >> (16 * (v % 2)) << 16),
        Format::Q4_1 => half(meta[0]) * nibble(v) as f32 + half(meta[1]),
        Format::Q5_0 => half(meta[0]) * ((nibble(v) | fifth(&meta[1..], v) << 4) as f32 - 16.0),
        Format::Q5_1 => half(meta[0]) * (nibble(v) | fifth(&meta[2..], v) << 4) as f32 + half(meta[1]),
        Format::Q2_K => {
            let both = scale_byte(2 * index + v / 16, 0);
            half(meta[8]) * (both & 15) as f32 * pair(v) as f32 - half(meta[9]) * (both >> 4) as f32
        }
        Format::Q3_K => {
            let j = 2 * index + v / 16;
            let low = scale_byte(j % 8, 0) >> (4 * (j / 8)) & 15;
            let high = scale_byte(8 + j % 4, 0) >> (2 * (j / 4)) & 3;
            let q = pair(v) | (strip[2] >> v & 1) << 2;
            half(meta[6]) * (f32::from(low | high << 4) - 32.0) * (q as f32 - 4.0)
        }
        Format::IQ4_NL => half(meta[0]) * STEPS[nibble(v) as usize],
        Format::IQ4_XS => {
            let low = scale_byte(index / 2, 2) >> (4 * (index % 2)) & 15;
            let high = meta[1] >> (2 * index) & 3;
            half(meta[0]) * (f32::from(low | high << 4) - 32.0) * STEPS[nibble(v) as usize]
        }
        Format::Q8_0 => half(meta[0]) * (byte(v / 4, v % 4) as u8 as i8) as f32,
        Format::Q4_0 => half(meta[0]) * (nibble(v) as f32 - 8.0),
        Format::Q4_K | Format::Q5_K => {
            let fifth = if format == Format::Q5_K { fifth(&meta[8 + 2 * index..], v) << 4 } else { 0 };
            let sc = |at| u32::from(scale_byte(at, 2));
            let (scale, min) = match index {
                0..4 => (sc(index) & 63, sc(index + 4) & 63),
                _ => (sc(index + 4) & 15 | sc(index - 4) >> 6 << 4, sc(index + 4) >> 4 | sc(index) >> 6 << 4),
            };
            half(meta[0]) * scale as f32 * (nibble(v) | fifth) as f32 - half(meta[1]) * min as f32
        }
        Format::Q6_K => {
            let r = v % 16;
            let high = strip[4 + v / 16] >> (8 * (r % 4) + 2 * (r / 4)) & 3;
            let scale = scale_byte(2 * index + v / 16, 0) as u8 as i8;
            half(meta[8]) * f32::from(scale) * ((nibble(v) | high << 4) as f32 - 32.0)
        }
    };
    (0..STRIP).map(value).collect()
}

/// Fails at the first value that differs in any bit.
fn assert_same_bits(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (f, e)) in found.iter().zip(expected).enumerate() {
        assert_eq!(f.to_bits(), e.to_bits(), "{what}: value {at}: expected {e:e}, found {f:e}");
    }
}

#[test]
#[should_panic(expected = "value 1")]
fn a_wrong_bit_is_seen() {
    assert_same_bits(&[1.0, 0.0], &[1.0, -0.0], "zeros");
}

fn assert_repack_keeps(spec: &FormatSpec, row: &[u8], cols: usize) {
    let mut expected = vec![0.0; cols];
    spec.dequantize_blocks(row, &mut expected);
    let mut strips = vec![0xdead_beef; spec.row_words(cols)];
    let mut meta = vec![0xbeef; spec.row_halves(cols)];
    spec.repack_row(row, &mut strips, &mut meta);
    let (unit, halves) = (spec.unit_strips as usize, spec.scale_halves as usize);
    let mut found = Vec::new();
    for (at, words) in strips.chunks_exact(unit * spec.strip_words as usize).enumerate() {
        let meta = &meta[at * halves..][..halves];
        (0..unit).for_each(|index| found.extend(strip_values(spec.format, words, index, meta)));
    }
    assert!(found[cols..].iter().all(|v| v.to_bits() == 0), "the padding is not zero");
    assert_same_bits(&found[..cols], &expected, spec.name);
}

/// Halves at both ends of the range: zeros, the least subnormal, the greatest finite.
const EXTREME: [u16; 6] = [0, 0x8000, 1, 0x8001, 0x7bff, 0xfbff];

/// Where the halves of a block are.
fn scales_at(format: Format) -> &'static [usize] {
    match format {
        Format::F32 | Format::F16 | Format::BF16 => &[],
        Format::Q8_0 | Format::Q4_0 | Format::Q5_0 | Format::IQ4_NL | Format::IQ4_XS => &[0],
        Format::Q4_1 | Format::Q5_1 | Format::Q4_K | Format::Q5_K => &[0, 2],
        Format::Q2_K => &[80, 82],
        Format::Q3_K => &[108],
        Format::Q6_K => &[208],
    }
}

#[test]
fn repacking_changes_no_value() {
    let mut noise = Noise(11);
    for spec in FORMATS {
        for round in 0..50 {
            let cols = 2 * spec.block.max(256) as usize;
            let bytes = spec.format.row_bytes(cols as u64).unwrap() as usize;
            let mut row: Vec<u8> = (0..bytes).map(|_| (noise.bits() >> 24) as u8).collect();
            for block in row.chunks_exact_mut(spec.bytes as usize) {
                if spec.block == 1 {
                    // No NaN and no infinity: their bits may change on the way to f32.
                    let last = block.len() - 1;
                    block[last] &= 0xbb;
                }
                for &at in scales_at(spec.format) {
                    let any = noise.bits() as u16 & 0xbbff;
                    let extreme = EXTREME[(noise.bits() >> 8) as usize % EXTREME.len()];
                    let scale = if round % 2 == 0 { any } else { extreme };
                    block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
                }
            }
            assert_repack_keeps(spec, &row, cols);
        }
    }
}

#[test]
fn rows_of_floats_are_padded_to_whole_strips() {
    let mut noise = Noise(5);
    for format in [Format::F32, Format::F16, Format::BF16] {
        for cols in [1, 3, 31, 32, 33, 100] {
            let spec = format.spec();
            let values: Vec<f32> = (0..cols).map(|_| noise.value()).collect();
            let mut row = vec![0; cols * spec.bytes as usize];
            assert!(spec.quantize_blocks(&values, &mut row));
            assert_repack_keeps(spec, &row, cols);
        }
    }
}

/// Every place that can make a weight NaN or infinite is found, and nothing else is.
#[test]
fn what_is_not_finite_is_seen() {
    let mut noise = Noise(9);
    for spec in FORMATS {
        let size = spec.bytes as usize;
        for round in 0..400 {
            let mut bytes: Vec<u8> = (0..3 * size).map(|_| (noise.bits() >> 24) as u8).collect();
            // Rounds with ordinary scales, with odd ones, and with whatever comes.
            for block in bytes.chunks_exact_mut(size).filter(|_| round % 4 > 0) {
                let at = noise.bits() as usize % spec.halves.len().max(1);
                match spec.halves {
                    [] => block[size - 1] = (noise.bits() >> 24) as u8 & 0xbf,
                    halves => halves.iter().for_each(|at| block[at + 1] &= 0xbf),
                }
                if let (2, Some(at)) = (round % 4, spec.halves.get(at)) {
                    block[at + 1] |= 0x7c;
                }
            }
            let mut values = vec![0.0; 3 * spec.block as usize];
            spec.dequantize_blocks(&bytes, &mut values);
            let expected = values.chunks(spec.block as usize).position(|block| block.iter().any(|v| !v.is_finite()));
            let found = spec.first_not_finite(&bytes);
            // An infinite scale that no value of the block uses is found as well: such a file is
            // damaged.
            assert!(found.is_some() || expected.is_none(), "{}: {expected:?}", spec.name);
            assert!(expected == found || found < expected.or(Some(3)) && !spec.halves.is_empty(), "{}", spec.name);
        }
    }
}

#[test]
fn the_table_is_consistent() {
    for spec in FORMATS {
        assert_eq!(spec.format.spec().name, spec.name);
        assert_eq!(Format::from_gguf_id(spec.gguf_id), Some(spec.format));
        assert_eq!(spec.halves, if spec.format == Format::F16 { &[0] } else { scales_at(spec.format) });
        let block = u64::from(spec.block);
        assert_eq!(spec.format.row_bytes(block * 3), Some(u64::from(spec.bytes) * 3));
        if spec.block > 1 {
            assert_eq!(spec.format.row_bytes(block + 1), None);
        }
    }
    assert_eq!(Format::F32.row_bytes(u64::MAX), None);
    assert_eq!(Format::from_gguf_id(16), None);
}

/// Four blocks of bytes from one generator, dequantized by `gguf.quants.dequantize` of the Python
/// package gguf 0.19; some values, and a hash of all bits. Scales are forced to be finite.
#[test]
fn values_are_those_of_the_python_package() {
    for (format, some, hash) in [
        (Format::Q4_0, [0.301025390625, 0.20068359375, 0.43701171875], 0x77ee_f800),
        (Format::Q8_0, [9.131103515625, -5.2177734375, 3.88427734375], 0x7b76_fb40),
        (Format::Q4_K, [-15.5291748046875, -15.5291748046875, 1.38555908203125], 0xc00d_23b8),
        (Format::Q4_1, [-0.99993896484375, -0.69891357421875, -0.996337890625], 0x583d_1400),
        (Format::Q5_0, [-1.304443359375, -0.100341796875, -1.3828125], 0x9a40_0000),
        (Format::Q5_1, [-2.10369873046875, -0.19720458984375, -2.48492431640625], 0xa40a_2500),
        (Format::Q2_K, [-0.697265625, -0.9296875, -3.1893310546875], 0xef0a_a880),
        (Format::Q3_K, [3.7503662109375, -2.36865234375, -7.9091796875], 0x3dfd_0580),
        (Format::Q5_K, [-5.5953369140625, -8.9066162109375, -25.28106689453125], 0xdadb_45f0),
        (Format::IQ4_NL, [3.511962890625, 2.20751953125, 5.68115234375], 0xf524_b740),
        (Format::IQ4_XS, [-11.03759765625, -32.611083984375, -50.1337890625], 0x11e2_fff8),
        (Format::Q6_K, [-278.0615234375, 21.52734375, 6.0919189453125], 0xfb50_c120u32),
    ] {
        let spec = format.spec();
        let mut noise = Noise(1);
        let mut bytes: Vec<u8> = (0..4 * spec.bytes).map(|_| (noise.bits() >> 24) as u8).collect();
        for block in bytes.chunks_exact_mut(spec.bytes as usize) {
            for &at in scales_at(format) {
                block[at + 1] = block[at + 1] & 0x80 | 0x2c | block[at + 1] & 3;
            }
        }
        let mut values = vec![0.0; 4 * spec.block as usize];
        spec.dequantize_blocks(&bytes, &mut values);
        let some = some.map(|value: f64| value as f32);
        assert_same_bits(&[values[0], values[17], values[values.len() - 1]], &some, spec.name);
        let found = values.iter().fold(0u32, |h, v| h.wrapping_mul(31).wrapping_add(v.to_bits()));
        assert_eq!(found, hash, "{}", spec.name);
    }
}

/// 1024 normal values quantized by `gguf.quants.quantize` of the Python package gguf 0.19: a hash
/// of the bytes.
#[test]
fn bytes_are_those_of_the_python_package() {
    let mut noise = Noise(3);
    let values: Vec<f32> = (0..1024).map(|_| noise.normal()).collect();
    for (format, hash) in [
        (Format::Q4_0, 0x2b13_009c),
        (Format::Q4_1, 0x0faf_db77),
        (Format::Q5_0, 0x6965_c8c7),
        (Format::Q5_1, 0xe69f_069e_u32),
        (Format::Q8_0, 0x2222_300c),
    ] {
        let spec = format.spec();
        let mut bytes = vec![0; values.len() / spec.block as usize * spec.bytes as usize];
        assert!(spec.quantize_blocks(&values, &mut bytes));
        let found = bytes.iter().fold(0u32, |h, b| h.wrapping_mul(31).wrapping_add((*b).into()));
        assert_eq!(found, hash, "{format}");
    }
}

/// Root of the mean square of the error, relative to that of the values, after there and back.
fn error(spec: &FormatSpec, values: &[f32]) -> f64 {
    let mut bytes = vec![0; values.len() / spec.block as usize * spec.bytes as usize];
    assert!(spec.quantize_blocks(values, &mut bytes), "{} has no quantizer", spec.name);
    let mut back = vec![0.0; values.len()];
    spec.dequantize_blocks(&bytes, &mut back);
    let square = |sum: f64, x: f32| sum + f64::from(x) * f64::from(x);
    let miss = values.iter().zip(&back).map(|(v, b)| v - b).fold(0.0, square);
    (miss / values.iter().copied().fold(0.0, square)).sqrt()
}

#[test]
fn quantization_errors_are_bounded() {
    let mut noise = Noise(3);
    let normal: Vec<f32> = (0..256 * 200).map(|_| noise.normal()).collect();
    // Upper bounds a few percent above what the reference quantizers reach on normal values.
    for (format, bound) in [
        (Format::F32, 0.0),
        (Format::F16, 0.0003),
        (Format::BF16, 0.0018),
        (Format::Q8_0, 0.0057),
        (Format::Q6_K, 0.0185),
        (Format::Q4_K, 0.075),
        (Format::Q4_0, 0.093),
        (Format::Q5_K, 0.038),
        (Format::Q5_0, 0.047),
        (Format::Q5_1, 0.042),
        (Format::Q4_1, 0.087),
        (Format::Q2_K, 0.27),
        (Format::Q3_K, 0.145),
        (Format::IQ4_NL, 0.074),
        (Format::IQ4_XS, 0.075),
    ] {
        for scale in [1.0, 0.03, 100.0] {
            let values: Vec<f32> = normal.iter().map(|v| v * scale).collect();
            let found = error(format.spec(), &values);
            assert!(found <= bound, "{format} at {scale}: {found}");
        }
    }
}

#[test]
fn odd_blocks_survive_quantization() {
    let spike = |at: usize| move |i: usize| if i == at { -1000.0 } else { 0.0 };
    let blocks: [Box<dyn Fn(usize) -> f32>; 6] = [
        Box::new(|_| 0.0),
        Box::new(|_| 3.0),
        Box::new(|_| -3.0),
        Box::new(spike(0)),
        Box::new(spike(255)),
        Box::new(|i| if i % 2 == 0 { 1e-30 } else { -1e-30 }),
    ];
    for spec in FORMATS {
        for (at, block) in blocks.iter().enumerate() {
            let values: Vec<f32> = (0..256).map(block).collect();
            let mut bytes = vec![0xff; 256 / spec.block as usize * spec.bytes as usize];
            assert!(spec.quantize_blocks(&values, &mut bytes));
            let mut back = vec![f32::NAN; 256];
            spec.dequantize_blocks(&bytes, &mut back);
            let most = values.iter().fold(0f32, |most, v| most.max(v.abs()));
            for (v, b) in values.iter().zip(&back) {
                // The IQ4 formats have no code for 0; next to it is 1, of 127.
                let zero = if spec.name.starts_with("IQ4") { 0.008 } else { 0.001 };
                let near = (v - b).abs() <= 0.04 * v.abs() + zero * most + 1e-20;
                assert!(near, "{} block {at}: {v} became {b}", spec.name);
            }
        }
    }
}
