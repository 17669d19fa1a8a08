//! Models in several GGUF files.

use std::rc::Rc;

use peregrine::checkpoint::split::names;
use peregrine::checkpoint::{Checkpoint, MemorySource, Source};
use peregrine::{Error, Result};
use pollster::block_on;

use super::file::File;

/// The legal model cut into files after these numbers of tensors, the metadata in the first.
fn cut(after: &[usize]) -> Vec<File> {
    let whole = File::new();
    let count = after.len() + 1;
    let ends = after.iter().copied().chain([whole.tensors.len()]);
    let mut begin = 0;
    let mut files = Vec::new();
    for (i, end) in ends.enumerate() {
        let mut file = whole.clone();
        if i > 0 {
            file.fields.clear();
        }
        file.tensors.clear();
        file.data.clear();
        for tensor in &whole.tensors[begin..end] {
            let bytes = 4 * tensor.dims.iter().product::<u64>() as usize;
            let mut entry = tensor.clone();
            entry.offset = file.data.len() as u64;
            file.data.extend(&whole.data[tensor.offset as usize..][..bytes]);
            file.data.resize(file.data.len().next_multiple_of(32), 0);
            file.tensors.push(entry);
        }
        file.set("split.no", 2, (i as u16).to_le_bytes().to_vec());
        file.set("split.count", 2, (count as u16).to_le_bytes().to_vec());
        file.set("split.tensors.count", 5, (whole.tensors.len() as i32).to_le_bytes().to_vec());
        begin = end;
        files.push(file);
    }
    files
}

fn open(files: &[File]) -> Result<Checkpoint> {
    let source =
        |(i, file): (usize, &File)| -> Rc<dyn Source> { Rc::new(MemorySource::new(format!("part {i}"), file.bytes())) };
    block_on(Checkpoint::open_gguf_parts(files.iter().enumerate().map(source).collect()))
}

#[test]
fn several_files_are_one_model() {
    let whole = open(&[File::new()]).unwrap();
    for after in [&[7][..], &[1, 2, 19], &[0, 20]] {
        let parts = open(&cut(after)).unwrap();
        assert_eq!(parts.tensors().count(), whole.tensors().count());
        for (part, tensor) in parts.tensors().zip(whole.tensors()) {
            assert_eq!((&part.name, &part.shape), (&tensor.name, &tensor.shape));
            let read = |c: &Checkpoint, t| block_on(c.read_rows_f32(t, 0, tensor.rows())).unwrap();
            assert_eq!(read(&parts, part), read(&whole, tensor), "{}", part.name);
        }
    }
}

#[test]
fn any_file_opens_all_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = |i: usize| folder.path().join(format!("toy-0000{}-of-00003.gguf", i + 1));
    for (i, file) in cut(&[3, 9]).iter().enumerate() {
        std::fs::write(path(i), file.bytes()).unwrap();
    }
    for i in 0..3 {
        let checkpoint = block_on(Checkpoint::open(path(i).to_str().unwrap())).unwrap();
        assert_eq!(checkpoint.tensors().count(), File::new().tensors.len());
    }
    std::fs::remove_file(path(1)).unwrap();
    let error = block_on(Checkpoint::open(path(0).to_str().unwrap())).err().unwrap();
    assert!(matches!(&error, Error::Io { name, .. } if name.ends_with("toy-00002-of-00003.gguf")), "{error}");
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let files = cut(&[5, 12]);
    let [a, b, c] = [&files[0], &files[1], &files[2]];
    let other = cut(&[5]);
    let mut few = files.clone();
    few[0].set("split.tensors.count", 5, 99i32.to_le_bytes().to_vec());
    let mut twice = files.clone();
    twice[2].tensors[0].name = twice[0].tensors[0].name.clone();
    for (files, words) in [
        (vec![a.clone()], "part 1 of 3 alone"),
        (vec![a.clone(), b.clone()], "split.count"),
        (vec![a.clone(), c.clone(), b.clone()], "split.no"),
        (vec![a.clone(), b.clone(), b.clone()], "split.no"),
        (vec![a.clone(), other[1].clone(), c.clone()], "split.count"),
        (few, "split.tensors.count"),
        (twice, "one tensor of this name"),
        (vec![], "at least one file"),
    ] {
        let error = open(&files).err().unwrap().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn names_of_parts() {
    assert_eq!(names("a/b-00002-of-00002.gguf").unwrap(), ["a/b-00001-of-00002.gguf", "a/b-00002-of-00002.gguf"]);
    let address = names("http://x/m-00001-of-00002.gguf?download=true").unwrap();
    assert_eq!(address[1], "http://x/m-00002-of-00002.gguf?download=true");
    for other in
        ["m.gguf", "m-1-of-2.gguf", "m-00003-of-00002.gguf", "m-00000-of-00002.gguf", "m-00001-of-00002.bin", "-of-"]
    {
        assert!(names(other).is_none(), "{other}");
    }
}
