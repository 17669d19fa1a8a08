//! Puts the WGSL where lib.rs includes it, its loops written out (see expand.rs), and lists the
//! kernels and the block formats. In a build for the browser, whose bytes every visitor waits for,
//! without its comments: they are a twentieth of the download.

mod expand;

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use expand::{Kernel, expand, variant};

fn main() -> io::Result<()> {
    let browser = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "wasm32");
    let out = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?);
    println!("cargo::rerun-if-changed=.");
    let mut kernels = Vec::new();
    for folder in fs::read_dir(".")? {
        let folder = folder?.path();
        if folder.is_dir() {
            write(&folder, &out.join(&folder), browser, &mut kernels)?;
        }
    }
    kernels.sort();
    fs::write(out.join("kernels.rs"), format!("kernels! {{\n{}}}\n", kernels.concat()))?;
    fs::write(out.join("formats.rs"), formats()?)
}

/// The table of the files in `formats`.
fn formats() -> io::Result<String> {
    let mut names = Vec::new();
    for file in fs::read_dir("formats")? {
        names.extend(file?.path().file_stem().and_then(|name| name.to_str()).map(str::to_string));
    }
    names.sort();
    let row = |name| {
        format!(
            "    File {{ name: \"{name}\", text: include_str!(concat!(env!(\"OUT_DIR\"), \"/formats/{name}.wgsl\")) }},\n"
        )
    };
    Ok(format!("static FILES: &[File] = &[\n{}];\n", names.iter().map(row).collect::<String>()))
}

/// The shaders of a folder; those that are kernels get a line of `kernels!` in lib.rs.
fn write(from: &Path, to: &Path, bare: bool, kernels: &mut Vec<String>) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for file in fs::read_dir(from)? {
        let path = file?.path();
        let (Some(folder), Some(name)) = (from.file_name(), path.file_stem()) else { continue };
        if path.extension().is_none_or(|extension| extension != "wgsl") {
            continue;
        }
        let (folder, name) = (folder.to_string_lossy(), name.to_string_lossy());
        let shown = format!("shaders/{folder}/{name}.wgsl");
        let text = fs::read_to_string(&path)?;
        let variant = variant(&shown, &text).map_err(io::Error::other)?;
        let mut variants = vec![(name.to_string(), None)];
        variants.extend(variant.map(|variant| (format!("{name}_{variant}"), Some(variant))));
        if let Some(kernel) = Kernel::of(&shown, &text).map_err(io::Error::other)? {
            if kernel.variant.is_some() != variant.is_some() {
                let what = "a variant's lines and, in the first line, its pieces go together";
                return Err(io::Error::other(format!("{shown}:1: {what}")));
            }
            let sums = if kernel.sums { " sums" } else { "" };
            for ((name, _), pieces) in variants.iter().zip([Some(kernel.pieces), kernel.variant].iter().flatten()) {
                let (id, pieces) = (name.to_uppercase(), pieces.join(" ").to_uppercase());
                kernels.push(format!("    {id} = \"{folder}\" / \"{name}\"{sums}: {pieces};\n"));
            }
        }
        for (name, variant) in variants {
            let text = expand(&shown, &text, variant).map_err(io::Error::other)?;
            fs::write(to.join(format!("{name}.wgsl")), if bare { without_comments(&text) } else { text })?;
        }
    }
    Ok(())
}

/// Every line up to its comment, and no empty line. WGSL has no strings that could hold the two
/// slashes, and ours no other comments.
fn without_comments(text: &str) -> String {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default().trim_end());
    code.filter(|line| !line.is_empty()).flat_map(|line| [line, "\n"]).collect()
}
