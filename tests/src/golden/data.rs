//! Reading a golden folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use rescore_envs::OptionValue;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

/// `index.json`.
#[derive(Debug, Deserialize)]
pub(super) struct Index {
    /// Version of MuJoCo that the recordings were made on.
    pub mujoco: String,
    pub files: Vec<Recording>,
}

/// The entry of one file.
#[derive(Debug, Deserialize)]
pub(super) struct Recording {
    pub env_id: String,
    /// Options that differ from the defaults, where some do.
    #[serde(default)]
    pub options: BTreeMap<String, OptionValue>,
    pub file: String,
    pub sha256: Option<String>,
    pub xml: String,
    pub xml_sha256: String,
    pub obs_dim: usize,
    pub act_dim: usize,
    pub act_low: Vec<f64>,
    pub act_high: Vec<f64>,
    pub frame_skip: u32,
    pub timestep: f64,
    pub dt: f64,
    pub integrator: i32,
    pub time_limit: u32,
    pub nq: usize,
    pub nv: usize,
    pub nu: usize,
    pub nbody: usize,
    pub init_qpos: Vec<f64>,
    /// Type and shape of every array.
    pub arrays: BTreeMap<String, (String, Vec<usize>)>,
}

impl Index {
    /// Reads the index and makes sure that it lists the folder's recordings, all of them once.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("index.json");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("golden data: cannot read {}", path.display()))?;
        let index: Self =
            serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        ensure!(!index.files.is_empty(), "{} lists no files", path.display());
        let mut listed = BTreeSet::new();
        for recording in &index.files {
            let file = &recording.file;
            ensure!(
                listed.insert(file.as_str()),
                "{} lists {file} twice",
                path.display()
            );
        }
        for entry in std::fs::read_dir(folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            ensure!(
                !name.ends_with(".safetensors") || listed.contains(name.as_str()),
                "{} does not list {name}",
                path.display()
            );
        }
        Ok(index)
    }
}

/// The arrays of one file.
pub(super) struct Arrays {
    by_name: BTreeMap<String, Array>,
}

struct Array {
    shape: Vec<usize>,
    values: Values,
}

enum Values {
    F64(Vec<f64>),
    F32(Vec<f32>),
    I64(Vec<i64>),
    U8(Vec<u8>),
}

impl Arrays {
    /// Reads a file and makes sure that it holds exactly the arrays that the index lists.
    pub fn read(bytes: &[u8], recording: &Recording) -> Result<Self> {
        let tensors = SafeTensors::deserialize(bytes).context("not a safetensors file")?;
        let mut by_name = BTreeMap::new();
        for (name, view) in tensors.iter() {
            let (dtype, shape) = recording
                .arrays
                .get(name)
                .with_context(|| format!("array `{name}` is not listed in index.json"))?;
            let data = view.data();
            let values = match (view.dtype(), dtype.as_str()) {
                (Dtype::F64, "float64") => Values::F64(numbers(data, f64::from_le_bytes)),
                (Dtype::F32, "float32") => Values::F32(numbers(data, f32::from_le_bytes)),
                (Dtype::I64, "int64") => Values::I64(numbers(data, i64::from_le_bytes)),
                (Dtype::U8, "uint8") => Values::U8(data.to_vec()),
                (found, _) => bail!("array `{name}` has type {found:?}, index.json says {dtype}"),
            };
            ensure!(
                view.shape() == shape,
                "array `{name}` has shape {:?}, index.json says {shape:?}",
                view.shape()
            );
            by_name.insert(
                name.to_owned(),
                Array {
                    shape: shape.clone(),
                    values,
                },
            );
        }
        for name in recording.arrays.keys() {
            ensure!(
                by_name.contains_key(name),
                "array `{name}` of index.json is missing"
            );
        }
        Ok(Self { by_name })
    }

    /// The arrays' names, `CASE.KEY`, as keys by case.
    pub fn cases(&self) -> Result<BTreeMap<&str, BTreeSet<&str>>> {
        let mut cases: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for name in self.by_name.keys() {
            let (case, key) = name
                .split_once('.')
                .with_context(|| format!("array `{name}` is of unknown form: it has no case"))?;
            cases.entry(case).or_default().insert(key);
        }
        Ok(cases)
    }

    /// Length of an array's first dimension.
    pub fn rows(&self, name: &str) -> Result<usize> {
        let array = self.get(name)?;
        array
            .shape
            .first()
            .copied()
            .with_context(|| format!("array `{name}` is a scalar"))
    }

    /// A double-precision array of this shape.
    pub fn f64(&self, name: &str, shape: &[usize]) -> Result<&[f64]> {
        match self.shaped(name, shape)? {
            Values::F64(values) => Ok(values),
            _ => bail!("array `{name}` should be float64"),
        }
    }

    /// A single-precision array of this shape.
    pub fn f32(&self, name: &str, shape: &[usize]) -> Result<&[f32]> {
        match self.shaped(name, shape)? {
            Values::F32(values) => Ok(values),
            _ => bail!("array `{name}` should be float32"),
        }
    }

    /// An integer array of this shape.
    pub fn i64(&self, name: &str, shape: &[usize]) -> Result<&[i64]> {
        match self.shaped(name, shape)? {
            Values::I64(values) => Ok(values),
            _ => bail!("array `{name}` should be int64"),
        }
    }

    /// An array of flags, 0 or 1, of this shape.
    pub fn flags(&self, name: &str, shape: &[usize]) -> Result<&[u8]> {
        match self.shaped(name, shape)? {
            Values::U8(values) if values.iter().all(|v| *v <= 1) => Ok(values),
            _ => bail!("array `{name}` should hold zeros and ones as uint8"),
        }
    }

    fn shaped(&self, name: &str, shape: &[usize]) -> Result<&Values> {
        let array = self.get(name)?;
        let found = &array.shape;
        ensure!(
            found == shape,
            "array `{name}` has shape {found:?} where {shape:?} is needed"
        );
        Ok(&array.values)
    }

    fn get(&self, name: &str) -> Result<&Array> {
        self.by_name
            .get(name)
            .with_context(|| format!("array `{name}` is missing"))
    }
}

fn numbers<T, const N: usize>(data: &[u8], from_le_bytes: fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, _) = data.as_chunks::<N>();
    chunks.iter().copied().map(from_le_bytes).collect()
}
