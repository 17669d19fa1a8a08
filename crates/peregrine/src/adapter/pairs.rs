//! A and B of each projection, from the tensors of a file to a [`Delta`].

use std::collections::{BTreeMap, HashMap};

use super::{Base, Delta, Projection};
use crate::checkpoint::names::{Expected, expected, multipliers};
use crate::checkpoint::{Source, TensorInfo};
use crate::config::Config;
use crate::error::{Error, Result};

/// A tensor that the file should have beside another.
type Names = dyn Fn(&str) -> String;

/// The tensors of an adapter's file, by what they belong to.
pub(super) struct Pairs<'a> {
    source: &'a dyn Source,
    wanted: HashMap<(u32, Projection), Expected>,
    found: BTreeMap<(u32, Projection), [Option<TensorInfo>; 2]>,
}

/// What is constant of a projection, and so goes into B.
pub(super) struct Factor {
    /// alpha / rank or the like.
    pub scale: f32,
    /// The rank that the adapter's description says.
    pub rank: Option<u32>,
}

impl<'a> Pairs<'a> {
    pub fn new(source: &'a dyn Source, base: &Base<'_>) -> Self {
        let by_name: HashMap<String, Expected> =
            expected(base.config).into_iter().map(|tensor| (tensor.hf.clone(), tensor)).collect();
        let layers = 0..base.config.num_hidden_layers;
        let all = layers.flat_map(|layer| Projection::ALL.map(|projection| (layer, projection)));
        let wanted = all.filter_map(|(layer, projection)| {
            let tensor = by_name.get(&format!("model.layers.{layer}.{}.weight", projection.module()))?;
            Some(((layer, projection), tensor.clone()))
        });
        Self { source, wanted: wanted.collect(), found: BTreeMap::new() }
    }

    /// The projection whose weight has this name in a GGUF file.
    pub fn by_gguf_name(&self, name: &str) -> Option<(u32, Projection)> {
        self.wanted.iter().find(|(_, tensor)| tensor.gguf == name).map(|(place, _)| *place)
    }

    /// Whether the model has the layer.
    pub fn has(&self, layer: u32) -> bool {
        self.wanted.contains_key(&(layer, Projection::Q))
    }

    /// Takes A, or B.
    pub fn insert(&mut self, place: (u32, Projection), is_b: bool, tensor: TensorInfo) -> Result<()> {
        let slot = &mut self.found.entry(place).or_default()[usize::from(is_b)];
        if let Some(first) = slot {
            return Err(Error::Malformed {
                name: self.source.name().into(),
                field: format!("tensor {}", tensor.stored_name),
                expected: "one of these for each projection".into(),
                found: format!("{}, too", first.stored_name),
            });
        }
        *slot = Some(tensor);
        Ok(())
    }

    /// Whether both are there.
    pub fn contains(&self, place: (u32, Projection)) -> bool {
        self.found.contains_key(&place)
    }

    /// Reads all of them. `factor`: what goes into B, with the multipliers of `config` where there
    /// is one. `other`: the name of a tensor's other half.
    pub async fn read(
        &self,
        factor: &dyn Fn(u32, Projection, u32) -> Result<Factor>,
        config: Option<&Config>,
        other: &Names,
    ) -> Result<Vec<Delta>> {
        let mut deltas = Vec::new();
        for ((layer, projection), pair) in &self.found {
            let (a, b) = match pair {
                [Some(a), Some(b)] => (a, b),
                [Some(only), None] | [None, Some(only)] => {
                    let (name, tensor) = (self.source.name().into(), other(&only.stored_name));
                    return Err(Error::MissingTensor { name, tensor });
                }
                [None, None] => continue,
            };
            // Whoever inserted them has looked for the place.
            let Some(wanted) = self.wanted.get(&(*layer, *projection)) else { continue };
            let [rows, cols] = [wanted.shape[0], wanted.shape[1]];
            // A scalar has no first dimension.
            let rank = a.shape.first().map_or(0, |rank| u32::try_from(*rank).unwrap_or(u32::MAX));
            let Factor { scale, rank: said } = factor(*layer, *projection, rank)?;
            let rank = said.unwrap_or(rank);
            self.check(a, &[rank.into(), cols])?;
            self.check(b, &[rows, rank.into()])?;
            let (a, mut b) = (self.floats(a).await?, self.floats(b).await?);
            for (row, values) in b.chunks_exact_mut(rank as usize).enumerate() {
                let [first, second] = config.map_or([1.0; 2], |c| multipliers(c, wanted.bake, row as u64));
                values.iter_mut().for_each(|value| *value *= scale * first * second);
            }
            if let Some(odd) = b.iter().find(|value| !value.is_finite()) {
                return Err(Error::Malformed {
                    name: self.source.name().into(),
                    field: format!("layer {layer}, {}", projection.name()),
                    expected: "finite weights under its scale and multipliers".into(),
                    found: odd.to_string(),
                });
            }
            deltas.push(Delta { layer: *layer, projection: *projection, rank, a, b });
        }
        Ok(deltas)
    }

    fn check(&self, tensor: &TensorInfo, expected: &[u64]) -> Result<()> {
        match tensor.shape == expected {
            true => Ok(()),
            false => Err(Error::TensorShape {
                name: self.source.name().into(),
                tensor: tensor.stored_name.clone(),
                expected: expected.to_vec(),
                found: tensor.shape.clone(),
            }),
        }
    }

    /// A whole tensor, all of it finite.
    pub async fn floats(&self, tensor: &TensorInfo) -> Result<Vec<f32>> {
        floats(self.source, tensor).await
    }
}

/// A whole tensor, all of it finite.
pub(super) async fn floats(source: &dyn Source, tensor: &TensorInfo) -> Result<Vec<f32>> {
    let spec = tensor.format.spec();
    let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX / 8);
    // The header was checked against the file's length.
    let mut bytes = vec![0; size(tensor.bytes)];
    let mut values = vec![0.0; size(tensor.rows() * tensor.cols())];
    source.read(tensor.offset, &mut bytes).await?;
    if spec.first_not_finite(&bytes).is_some() {
        return Err(Error::Malformed {
            name: source.name().into(),
            field: format!("tensor {}", tensor.stored_name),
            expected: "finite weights".into(),
            found: "NaN or an infinity".into(),
        });
    }
    spec.dequantize_blocks(&bytes, &mut values);
    Ok(values)
}

/// [`Error::Unsupported`] in few words.
pub(super) fn unsupported(name: &str, field: &str, expected: &str, found: impl ToString) -> Error {
    Error::Unsupported { name: name.into(), field: field.into(), expected: expected.into(), found: found.to_string() }
}

/// [`Error::Malformed`] in few words.
pub(super) fn malformed(name: &str, field: &str, expected: impl ToString, found: impl ToString) -> Error {
    Error::Malformed {
        name: name.into(),
        field: field.into(),
        expected: expected.to_string(),
        found: found.to_string(),
    }
}
