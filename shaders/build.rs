//! Copies the WGSL to where lib.rs includes it, and lists the block formats. In a build for the browser, whose bytes every visitor waits for, without its
//! comments: they are a twentieth of the download.

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let browser = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "wasm32");
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    println!("cargo::rerun-if-changed=.");
    for folder in fs::read_dir(".")? {
        let folder = folder?.path();
        if folder.is_dir() {
            copy(&folder, &Path::new(&out).join(&folder), browser)?;
        }
    }
    fs::write(Path::new(&out).join("formats.rs"), formats()?)
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

/// The shaders of a folder.
fn copy(from: &Path, to: &Path, bare: bool) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        if file.path().extension().is_some_and(|extension| extension == "wgsl") {
            let text = fs::read_to_string(file.path())?;
            fs::write(to.join(file.file_name()), if bare { without_comments(&text) } else { text })?;
        }
    }
    Ok(())
}

/// Every line up to its comment, and no empty line. WGSL has no strings that could hold the two slashes, and ours no other comments.
fn without_comments(text: &str) -> String {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default().trim_end());
    code.filter(|line| !line.is_empty()).flat_map(|line| [line, "\n"]).collect()
}
