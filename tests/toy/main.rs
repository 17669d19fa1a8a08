//! A matrix in the toy format, by the crates to which it was added: its bytes on the GPU, its
//! values, the kernels that read it, and the toy of a kernel, as files of the folder that is named.
//! `main FOLDER ROWS COLUMNS`

use peregrine_formats::{FORMATS, Format};
use peregrine_shaders::{Cache, Formats, KERNELS, Reduction};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [rows, columns] = [&args[2], &args[3]].map(|number| number.parse::<usize>().expect("a number"));
    let write = |name: &str, bytes: &[u8]| std::fs::write(format!("{}/{name}", args[1]), bytes).expect("a file");

    let spec = Format::TOY.spec();
    assert!(
        std::ptr::eq(spec, FORMATS.last().expect("formats")) && Format::from_gguf_id(spec.gguf_id) == Some(Format::TOY)
    );
    let wanted = |i: usize| (i as f32 * 0.37).sin() * (1.0 + (i / columns) as f32);
    let wanted: Vec<f32> = (0..rows * columns).map(wanted).collect();
    let mut file = vec![0; rows * Format::TOY.row_bytes(columns as u64).expect("whole blocks") as usize];
    assert!(spec.quantize_blocks(&wanted, &mut file));
    let mut values = vec![0.0; rows * columns];
    spec.dequantize_blocks(&file, &mut values);

    let (words, halves) = (spec.row_words(columns), spec.row_halves(columns));
    let (mut quants, mut scales) = (vec![0; rows * words], vec![0; rows * halves]);
    for (row, bytes) in file.chunks_exact(file.len() / rows).enumerate() {
        spec.repack_row(bytes, &mut quants[row * words..][..words], &mut scales[row * halves..][..halves]);
    }
    write("quants", &quants.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>());
    write("scales", &scales.iter().flat_map(|half| half.to_le_bytes()).collect::<Vec<u8>>());
    write("values", &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());

    let toy = KERNELS.iter().find(|kernel| kernel.name == "toy_sum").expect("the kernel");
    assert!(toy.reduces && !toy.has_matrix() && !toy.has_cache());
    for reduction in [Reduction::Workgroup, Reduction::Subgroup] {
        let source = toy.source(reduction, Cache::F16, Formats::default(), false);
        write(&format!("toy_sum {reduction:?}.wgsl"), source.as_bytes());
    }

    for (set, formats) in [("alone", vec!["TOY"]), ("mixed", vec!["Q6_K", "TOY", "Q4_0"])] {
        let formats = Formats::of(formats).expect("their files");
        for kernel in KERNELS.iter().filter(|kernel| kernel.has_matrix()) {
            let source = kernel.source(Reduction::Workgroup, Cache::F16, formats, false);
            write(&format!("{} {set}.wgsl", kernel.name), source.as_bytes());
        }
    }
}
