//! `--lora FILE[:SCALE]`: adapters beside the model, on every command that runs one.

use std::path::PathBuf;
use std::rc::Rc;

use peregrine::adapter::{Adapter, AdapterId, Base};
use peregrine::session::Engine;
use peregrine_openai::Offered;
use pollster::block_on;

use crate::failure::Outcome;
use crate::terminal::note;

/// Which adapters.
#[derive(clap::Args, Clone, Default)]
pub struct LoraArgs {
    /// A LoRA adapter: a PEFT folder or a GGUF file, and how strongly it is to act (1); may be
    /// given several times
    #[arg(long = "lora", value_name = "FILE[:SCALE]", value_parser = one)]
    all: Vec<Lora>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Lora {
    path: PathBuf,
    pub scale: f32,
}

impl Lora {
    /// Reads it for a model, and says what is left out of it.
    pub fn open(&self, base: &Base<'_>) -> Outcome<Adapter> {
        let adapter = block_on(Adapter::open(&self.path, base))?;
        adapter.notes().iter().for_each(|left_out| note(left_out));
        Ok(adapter)
    }
}

/// SCALE is what comes after the last colon, if it is a number: a path may have colons, too.
pub fn one(text: &str) -> Result<Lora, String> {
    let scale = |text: &str| text.parse::<f32>().ok().filter(|scale| scale.is_finite());
    let split = text.rsplit_once(':').and_then(|(path, after)| Some((path, scale(after)?)));
    let (path, scale) = split.unwrap_or((text, 1.0));
    if path.is_empty() {
        return Err("the path of a PEFT folder or a GGUF file is needed".into());
    }
    Ok(Lora { path: path.into(), scale })
}

impl LoraArgs {
    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Reads them for a model. Returns them with their scales.
    pub fn open(&self, base: &Base<'_>) -> Outcome<Vec<(Adapter, f32)>> {
        self.all.iter().map(|lora| Ok((lora.open(base)?, lora.scale))).collect()
    }

    /// Loads them, each under the name of its folder or file. Returns them with their scales.
    pub fn load(&self, engine: &Rc<Engine>) -> Outcome<Vec<(AdapterId, f32)>> {
        let load = |lora: &Lora| {
            let adapter = lora.open(&engine.base())?;
            let name = adapter.name().to_string();
            Ok((engine.add_adapter(&name, adapter)?, lora.scale))
        };
        self.all.iter().map(load).collect()
    }

    /// As requests may ask for them, once they are loaded.
    pub fn offered(&self, engine: &Rc<Engine>) -> Vec<Offered> {
        let names = engine.adapters();
        names
            .iter()
            .zip(&self.all)
            .map(|((_, name, _), lora)| Offered { name: name.to_string(), scale: lora.scale })
            .collect()
    }

    /// Loads them, and every session uses all of them.
    pub fn apply(&self, engine: &Rc<Engine>) -> Outcome {
        if !self.is_empty() {
            let loaded = self.load(engine)?;
            block_on(engine.use_adapters(&loaded))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_is_a_number_after_the_last_colon() {
        let found = |text: &str| one(text).map(|Lora { path, scale }| (path.to_string_lossy().into_owned(), scale));
        for (text, path, scale) in [
            ("a", "a", 1.0),
            ("a:0.5", "a", 0.5),
            ("a:-2", "a", -2.0),
            ("a:1e-2", "a", 0.01),
            ("C:\\adapters\\a", "C:\\adapters\\a", 1.0),
            ("C:\\a:0", "C:\\a", 0.0),
            ("a:b", "a:b", 1.0),
            ("a:b:3", "a:b", 3.0),
            ("a:", "a:", 1.0),
            ("a:nan", "a:nan", 1.0),
            ("a:inf", "a:inf", 1.0),
        ] {
            assert_eq!(found(text), Ok((path.to_string(), scale)), "{text}");
        }
        assert!(one("").is_err() && one(":0.5").is_err());
    }
}
