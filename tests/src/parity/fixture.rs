//! Fixture files, with an account of which arrays were used.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use rescore_kernels::Activation;
use rescore_nn::{Linear, Mlp};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::Deserialize;

/// `index.json`.
#[derive(Debug, Deserialize)]
pub struct Index {
    /// Files by name.
    pub files: BTreeMap<String, IndexEntry>,
}

/// What the index says of one file.
#[derive(Debug, Deserialize)]
pub struct IndexEntry {
    meta: BTreeMap<String, serde_json::Value>,
    /// `dtype[shape]` of every array.
    tensors: BTreeMap<String, String>,
}

impl Index {
    /// Reads the index of `folder` and holds it against the files there.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("index.json");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let index: Self =
            serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        ensure!(
            !index.files.is_empty(),
            "{}: lists no files",
            path.display()
        );
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let is_fixture = Path::new(&name)
                .extension()
                .is_some_and(|extension| extension == "safetensors");
            ensure!(
                !is_fixture || index.files.contains_key(&name),
                "{name}: not listed in {}",
                path.display()
            );
        }
        Ok(index)
    }
}

/// An array as `f64` values.
#[derive(Debug, Clone)]
pub struct Array {
    /// Shape, row-major.
    pub shape: Vec<usize>,
    /// Values.
    pub values: Vec<f64>,
}

/// One fixture file.
#[derive(Debug)]
pub struct Fixture {
    /// File name, for messages.
    pub name: String,
    meta: BTreeMap<String, serde_json::Value>,
    arrays: BTreeMap<String, Array>,
    used: BTreeSet<String>,
}

impl Fixture {
    /// Reads `name` in `folder` and holds it against its entry in the index.
    pub fn read(folder: &Path, name: &str, entry: &IndexEntry) -> Result<Self> {
        let bytes = fs::read(folder.join(name)).with_context(|| format!("{name} is listed"))?;
        let file = SafeTensors::deserialize(&bytes).with_context(|| name.to_owned())?;
        let mut arrays = BTreeMap::new();
        for (array, view) in file.tensors() {
            let (kind, values) = decode(&view).with_context(|| format!("{name}:{array}"))?;
            let shape: Vec<String> = view.shape().iter().map(ToString::to_string).collect();
            let described = format!("{kind}[{}]", shape.join(","));
            let listed = entry.tensors.get(&array);
            // The second, double-precision value of a result need not be listed.
            let twin = listed.is_none() && array.contains(".out64.");
            ensure!(
                twin || listed == Some(&described),
                "{name}:{array} is {described}, but the index says {listed:?}"
            );
            let shape = view.shape().to_vec();
            arrays.insert(array, Array { shape, values });
        }
        if let Some(missing) = entry.tensors.keys().find(|key| !arrays.contains_key(*key)) {
            bail!("{name}:{missing} is listed in the index, but not in the file");
        }
        Ok(Self {
            name: name.to_owned(),
            meta: entry.meta.clone(),
            arrays,
            used: BTreeSet::new(),
        })
    }

    /// Number `key` of the file's description.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.meta.get(key).and_then(serde_json::Value::as_f64)
    }

    /// Size `key` of the file's description.
    pub fn size(&self, key: &str) -> Result<usize> {
        let value = self
            .number(key)
            .with_context(|| format!("meta.{key} is missing"))?;
        Ok(value as usize)
    }

    /// The value at a path in the file's description.
    fn described(&self, path: &[&str]) -> Result<&serde_json::Value> {
        let missing = || format!("meta.{} is missing", path.join("."));
        let first = self.meta.get(path[0]).with_context(missing)?;
        let mut rest = path[1..].iter();
        rest.try_fold(first, |value, key| value.get(key))
            .with_context(missing)
    }

    /// The number at a path in the file's description.
    pub fn setting(&self, path: &[&str]) -> Result<f64> {
        let value = self.described(path)?.as_f64();
        value.with_context(|| format!("meta.{} is no number", path.join(".")))
    }

    /// The sizes at a path in the file's description.
    pub fn list(&self, path: &[&str]) -> Result<Vec<usize>> {
        let sizes = self.described(path)?.as_array();
        let sizes = sizes.and_then(|list| list.iter().map(serde_json::Value::as_u64).collect());
        let sizes: Option<Vec<u64>> = sizes;
        let sizes = sizes.with_context(|| format!("meta.{} is no list", path.join(".")))?;
        Ok(sizes.into_iter().map(|size| size as usize).collect())
    }

    /// `FILE:ARRAY`, for messages.
    pub fn at(&self, array: &str) -> String {
        format!("{}:{array}", self.name)
    }

    /// Names of all arrays that begin with `prefix`.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let names = self.arrays.keys();
        names
            .filter(|name| name.starts_with(prefix))
            .cloned()
            .collect()
    }

    /// Whether there is an array `name`.
    pub fn has(&self, name: &str) -> bool {
        self.arrays.contains_key(name)
    }

    /// The shape of the array `name`; none has no axes.
    pub fn shape(&self, name: &str) -> &[usize] {
        self.arrays.get(name).map_or(&[], |array| &array.shape)
    }

    /// The array `name`, which counts as used from now on.
    pub fn array(&mut self, name: &str) -> Result<&Array> {
        let array = self
            .arrays
            .get(name)
            .with_context(|| format!("array {name} is missing"))?;
        self.used.insert(name.to_owned());
        Ok(array)
    }

    /// The array `name` as an `f32` tensor of rank `D`.
    pub fn tensor<B: Backend, const D: usize>(
        &mut self,
        name: &str,
        device: &B::Device,
    ) -> Result<Tensor<B, D>> {
        let array = self.array(name)?;
        ensure!(array.shape.len() == D, "{name} should have rank {D}");
        let values: Vec<f32> = array.values.iter().map(|v| *v as f32).collect();
        let data = TensorData::new(values, array.shape.clone());
        Ok(Tensor::from_data(data, device))
    }

    /// The array `name` as integers, `[n]`.
    pub fn integers<B: Backend>(
        &mut self,
        name: &str,
        device: &B::Device,
    ) -> Result<Tensor<B, 1, Int>> {
        let array = self.array(name)?;
        let values: Vec<i32> = array.values.iter().map(|v| *v as i32).collect();
        let data = TensorData::new(values, array.shape.clone());
        Ok(Tensor::from_data(data, device))
    }

    /// The layers `prefix0.w`, `prefix0.b`, `prefix1.w`, ... as many as there are; the members of
    /// an ensemble have a prefix each.
    pub fn mlp<B: Backend>(
        &mut self,
        prefixes: &[&str],
        activation: Activation,
        device: &B::Device,
    ) -> Result<Mlp<B>> {
        let mut layers = Vec::new();
        while self.has(&format!("{}{}.w", prefixes[0], layers.len())) {
            let (mut weights, mut biases) = (Vec::new(), Vec::new());
            for prefix in prefixes {
                let layer = format!("{prefix}{}", layers.len());
                let weight: Tensor<B, 2> = self.tensor(&format!("{layer}.w"), device)?;
                let bias: Tensor<B, 1> = self.tensor(&format!("{layer}.b"), device)?;
                weights.push(weight.unsqueeze_dim::<3>(0));
                biases.push(bias.unsqueeze::<3>());
            }
            layers.push(Linear {
                weight: Tensor::cat(weights, 0),
                bias: Some(Tensor::cat(biases, 0)),
            });
        }
        ensure!(!layers.is_empty(), "no layers {prefixes:?}");
        Ok(Mlp { layers, activation })
    }

    /// # Errors
    /// When an array was neither an input of a check nor compared.
    pub fn all_used(&self) -> Result<()> {
        match self.arrays.keys().find(|name| !self.used.contains(*name)) {
            Some(name) => bail!("{}: no check knows this array", self.at(name)),
            None => Ok(()),
        }
    }
}

/// The type's name in the index and the values.
fn decode(view: &TensorView<'_>) -> Result<(&'static str, Vec<f64>)> {
    let data = view.data();
    let words = |size: usize| data.chunks_exact(size);
    // `chunks_exact` gives slices of exactly the size that the arrays have.
    Ok(match view.dtype() {
        Dtype::F32 => {
            let read = |w: &[u8]| f32::from_le_bytes([w[0], w[1], w[2], w[3]]).into();
            ("float32", words(4).map(read).collect())
        }
        Dtype::I32 => {
            let read = |w: &[u8]| i32::from_le_bytes([w[0], w[1], w[2], w[3]]).into();
            ("int32", words(4).map(read).collect())
        }
        Dtype::F64 => {
            let read =
                |w: &[u8]| f64::from_le_bytes([w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]]);
            ("float64", words(8).map(read).collect())
        }
        other => bail!("arrays of type {other:?} are not expected"),
    })
}
