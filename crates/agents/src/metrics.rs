//! What an update reports.

use std::fmt;
use std::sync::Arc;

use burn::tensor::{Tensor, Transaction, backend::Backend};

/// Named results of one update, still on the device.
///
/// Reading them synchronises the device, so the training loop does it only when it logs; and what
/// only a reader needs, such as a mean, is computed then: most updates are never read. Tests read the
/// same record, whole arrays included ([`Metrics::values`]).
#[derive(Debug, Clone)]
pub struct Metrics<B: Backend> {
    entries: Vec<Entry<B>>,
    details: Vec<Detail<B>>,
}

/// A number that is computed when the log is written, of arrays that it holds.
#[derive(Clone)]
struct Detail<B: Backend> {
    name: String,
    compute: Arc<dyn Fn() -> Tensor<B, 1> + Send + Sync>,
}

impl<B: Backend> fmt::Debug for Detail<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[derive(Debug, Clone)]
struct Entry<B: Backend> {
    name: String,
    values: Tensor<B, 1>,
    read: Read,
}

/// Which numbers of an entry are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    /// Its one value.
    Value,
    /// Its mean.
    Mean,
    /// Mean, population standard deviation, minimum and maximum.
    Distribution,
    /// Each, numbered from 1 in the place of `{}`.
    Members,
    /// None.
    Nothing,
}

impl<B: Backend> Entry<B> {
    /// Its numbers, `[1]` each, by name.
    fn numbers(&self) -> Vec<(String, Tensor<B, 1>)> {
        let (name, values) = (&self.name, &self.values);
        match self.read {
            Read::Value => vec![(name.clone(), values.clone())],
            Read::Mean => vec![(name.clone(), values.clone().mean())],
            Read::Distribution => {
                let mean = values.clone().mean();
                let deviation = values.clone() - mean.clone();
                let std = (deviation.clone() * deviation).mean().sqrt();
                let numbers = [mean, std, values.clone().min(), values.clone().max()];
                let names = ["mean", "std", "min", "max"].map(|part| format!("{name}_{part}"));
                names.into_iter().zip(numbers).collect()
            }
            Read::Members => (0..values.dims()[0])
                .map(|i| {
                    let name = name.replace("{}", &(i + 1).to_string());
                    (name, values.clone().slice([i..i + 1]))
                })
                .collect(),
            Read::Nothing => Vec::new(),
        }
    }
}

impl<B: Backend> Default for Metrics<B> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            details: Vec::new(),
        }
    }
}

impl<B: Backend> Metrics<B> {
    /// Adds the metric `name`; `value` has shape `[1]`.
    pub fn push(&mut self, name: &str, value: Tensor<B, 1>) {
        self.add(name, value, Read::Value);
    }

    /// Adds the mean of `values` under `name`.
    pub fn push_mean(&mut self, name: &str, values: Tensor<B, 1>) {
        self.add(name, values, Read::Mean);
    }

    /// Adds mean, population standard deviation, minimum and maximum of `values` under `name` with
    /// `_mean`, `_std`, `_min` and `_max`.
    pub fn push_distribution(&mut self, name: &str, values: Tensor<B, 1>) {
        self.add(name, values, Read::Distribution);
    }

    /// Adds each of `values` `[members]` under `name` with its number, from 1, in the place of `{}`.
    pub fn push_members(&mut self, name: &str, values: Tensor<B, 1>) {
        self.add(name, values, Read::Members);
    }

    /// Adds the diagnosis `name`, `[1]`, which is computed where the log is written and in no other
    /// update.
    pub fn push_detail(
        &mut self,
        name: &str,
        compute: impl Fn() -> Tensor<B, 1> + Send + Sync + 'static,
    ) {
        self.details.push(Detail {
            name: name.to_owned(),
            compute: Arc::new(compute),
        });
    }

    /// Adds an array that is not logged, for whoever examines an update.
    pub fn record<const D: usize>(&mut self, name: &str, values: Tensor<B, D>) {
        let count = values.shape().num_elements();
        self.add(name, values.reshape([count]), Read::Nothing);
    }

    fn add(&mut self, name: &str, values: Tensor<B, 1>, read: Read) {
        let name = name.to_owned();
        self.entries.push(Entry { name, values, read });
    }

    /// The whole array behind the entry called `name`, in row-major order; none where this update
    /// has no such entry.
    pub fn values(&self, name: &str) -> Option<Tensor<B, 1>> {
        let entry = self.entries.iter().find(|entry| entry.name == name)?;
        Some(entry.values.clone())
    }

    /// Takes over the values of `newer` and keeps what it does not have: an update on which the
    /// policy does not learn has no policy loss, for example.
    pub fn merge(&mut self, newer: Self) {
        for entry in newer.entries {
            match self.entries.iter_mut().find(|old| old.name == entry.name) {
                Some(old) => *old = entry,
                None => self.entries.push(entry),
            }
        }
        for detail in newer.details {
            match self.details.iter_mut().find(|old| old.name == detail.name) {
                Some(old) => *old = detail,
                None => self.details.push(detail),
            }
        }
    }

    /// Reads the values that every update is watched by back from the device, in the order in which
    /// they were added.
    pub fn read(&self) -> Vec<(String, f32)> {
        read(self.entries.iter().flat_map(Entry::numbers).collect())
    }

    /// Computes and reads the diagnoses.
    pub fn read_details(&self) -> Vec<(String, f32)> {
        let details = self.details.iter();
        read(
            details
                .map(|detail| (detail.name.clone(), (detail.compute)()))
                .collect(),
        )
    }
}

/// All are computed, then waited for together.
fn read<B: Backend>(numbers: Vec<(String, Tensor<B, 1>)>) -> Vec<(String, f32)> {
    let (names, values): (Vec<_>, Vec<_>) = numbers.into_iter().unzip();
    let all = values
        .into_iter()
        .fold(Transaction::default(), Transaction::register);
    let values = all
        .execute()
        .into_iter()
        .flat_map(|data| data.convert::<f32>().to_vec::<f32>());
    names.into_iter().zip(values.flatten()).collect()
}
