//! The replay buffer on the disk: append-only segments.
//!
//! Transition number `n` of a run (counted from 0, warm-up included) is record `n % R` of
//! `replay/seg-<n / R>.bin`. Records are appended, never changed, so every byte is written once;
//! where a segment ends depends on the sizes of the run alone, not on when it was saved or
//! interrupted. A checkpoint names how many records of which segments it needs and the SHA-256 of
//! these bytes. What lies behind them is of no checkpoint and is cut off when a run is resumed.
//!
//! A segment is a header of 32 bytes, all numbers little-endian: `RESCORE\0`, the version of the
//! layout (`u32`), lengths of observation and action (`u32` each), `R` (`u32`), the number of the
//! segment (`u64`); then records of `f32`: observation, action, reward, next observation,
//! terminated (1 or 0).

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::durable::{self, hex, open_regular, sync_folder};
use crate::lacking::tolerate_sync;
use crate::{StoreError, fault};

/// A replay buffer as its files see it: a ring of records, numbered in the order in which they were
/// stored.
pub trait Records {
    /// Records ever stored. Those held are numbered `stored() - held()` to `stored() - 1`.
    fn stored(&self) -> u64;

    /// Records held.
    fn held(&self) -> u64;

    /// The most that can be held.
    fn capacity(&self) -> u64;

    /// The numbers of record `number`, which is held: observation, action, reward, next
    /// observation, terminated (1 or 0).
    fn values(&self, number: u64) -> impl Iterator<Item = f32>;
}

const MAGIC: &[u8; 8] = b"RESCORE\0";
const VERSION: u32 = 1;
const HEADER: usize = 32;
/// Segments have about this many bytes.
const SEGMENT_BYTES: usize = 32 << 20;
/// Records are handed to the operating system when they are this many bytes, so that there is
/// little left to do when a checkpoint is due.
const CHUNK_BYTES: usize = 4 << 20;

/// Sizes that decide where a transition lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    observation_dim: usize,
    action_dim: usize,
    /// Records of a segment.
    segment_rows: u64,
}

impl Layout {
    /// The layout of a run with a buffer of `capacity` transitions.
    pub fn new(capacity: usize, observation_dim: usize, action_dim: usize) -> Self {
        let record = 4 * (2 * observation_dim + action_dim + 2);
        // A small buffer has small segments, so that little is kept that has been overwritten.
        let most = capacity.div_ceil(8).clamp(1, u32::MAX as usize);
        Self {
            observation_dim,
            action_dim,
            segment_rows: (SEGMENT_BYTES / record).clamp(1, most) as u64,
        }
    }

    /// Numbers of a record.
    const fn width(&self) -> usize {
        2 * self.observation_dim + self.action_dim + 2
    }

    /// Bytes of a record.
    pub const fn record(&self) -> usize {
        4 * self.width()
    }

    /// Bytes of a complete segment.
    pub const fn segment(&self) -> u64 {
        HEADER as u64 + self.segment_rows * self.record() as u64
    }

    fn header(&self, index: u64) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(MAGIC);
        let sizes = [
            VERSION,
            self.observation_dim as u32,
            self.action_dim as u32,
            self.segment_rows as u32,
        ];
        for (place, size) in header[8..24].chunks_exact_mut(4).zip(sizes) {
            place.copy_from_slice(&size.to_le_bytes());
        }
        header[24..].copy_from_slice(&index.to_le_bytes());
        header
    }
}

/// What a checkpoint needs of one segment: its first `rows` records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentReference {
    /// Name in the folder `replay`.
    pub file: String,
    /// Records from its beginning.
    pub rows: u64,
    /// SHA-256 of its header and these records.
    pub sha256: String,
}

/// The replay buffer of a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayReference {
    /// Transitions that the run had stored.
    pub stored: u64,
    /// Transitions of them that the buffer held: the latest.
    pub held: u64,
    /// The segments they lie in, in order; none if the buffer is not stored.
    pub segments: Vec<SegmentReference>,
}

impl ReplayReference {
    /// Whether transitions were held that are in no file.
    pub const fn is_not_stored(&self) -> bool {
        self.held > 0 && self.segments.is_empty()
    }
}

fn file_name(index: u64) -> String {
    format!("seg-{index:08}.bin")
}

/// A segment that is being written.
#[derive(Debug)]
struct Open {
    index: u64,
    path: PathBuf,
    file: File,
    /// Of everything written.
    hash: Sha256,
}

/// The segments of a run that is under way.
#[derive(Debug)]
pub struct Segments {
    folder: PathBuf,
    layout: Layout,
    /// Transitions in the files.
    written: u64,
    open: Option<Open>,
    /// Hashes of the complete segments that may still be needed.
    complete: BTreeMap<u64, String>,
    /// Whether a file was created that the folder may not name yet after a loss of power.
    created: bool,
}

impl Segments {
    /// No segments yet. Any that are left in `folder` of a run that never came to a checkpoint
    /// are removed; other files are not.
    ///
    /// # Errors
    /// When they cannot be.
    pub fn create(folder: PathBuf, layout: Layout) -> Result<Self, StoreError> {
        for index in numbers(&folder) {
            durable::remove(&folder.join(file_name(index)))?;
        }
        Ok(Self {
            folder,
            layout,
            written: 0,
            open: None,
            complete: BTreeMap::new(),
            created: false,
        })
    }

    /// To be called before a transition is stored: hands those of `replay` that are in no file yet
    /// to the operating system if they have become many, or if one would be overwritten.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn follow(&mut self, replay: &impl Records) -> Result<(), StoreError> {
        let waiting = replay.stored() - self.written;
        if waiting >= replay.capacity()
            || waiting * self.layout.record() as u64 >= CHUNK_BYTES as u64
        {
            self.append(replay)?;
        }
        Ok(())
    }

    /// Brings everything in `replay` to the disk and says where it is.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&mut self, replay: &impl Records) -> Result<ReplayReference, StoreError> {
        self.append(replay)?;
        if let Some(open) = &self.open {
            sync(&open.file, &open.path)?;
        }
        if self.created {
            sync_folder(&self.folder)?;
            sync_folder(durable::parent(&self.folder))?;
            self.created = false;
        }
        let (stored, held) = (replay.stored(), replay.held());
        let segment_rows = self.layout.segment_rows;
        let first = (stored - held) / segment_rows;
        let whole = self
            .complete
            .range(first..)
            .map(|(index, hash)| SegmentReference {
                file: file_name(*index),
                rows: segment_rows,
                sha256: hash.clone(),
            });
        let open = self.open.as_ref().map(|open| SegmentReference {
            file: file_name(open.index),
            rows: stored - open.index * segment_rows,
            sha256: hex(&open.hash.clone().finalize()),
        });
        Ok(ReplayReference {
            stored,
            held,
            segments: whole.chain(open).collect(),
        })
    }

    /// Removes the complete segments in which none of the transitions `needed` lies: those between
    /// the best checkpoint and the latest too, which in a run that does not get better would
    /// otherwise become ever more.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn keep(&mut self, needed: &[Range<u64>]) -> Result<(), StoreError> {
        let rows = self.layout.segment_rows;
        let is_needed = |index: u64| {
            let (begin, end) = (index * rows, (index + 1) * rows);
            needed.iter().any(|n| n.start < end && begin < n.end)
        };
        let complete = self.complete.keys().copied();
        let unneeded: Vec<u64> = complete.filter(|index| !is_needed(*index)).collect();
        for index in unneeded {
            durable::remove(&self.folder.join(file_name(index)))?;
            self.complete.remove(&index);
        }
        Ok(())
    }

    fn append(&mut self, replay: &impl Records) -> Result<(), StoreError> {
        let segment_rows = self.layout.segment_rows;
        let waiting = (replay.stored() - self.written) as usize;
        let mut bytes = Vec::with_capacity(CHUNK_BYTES.min(waiting * self.layout.record()));
        while self.written < replay.stored() {
            let index = self.written / segment_rows;
            let end = replay.stored().min((index + 1) * segment_rows);
            let chunk = (CHUNK_BYTES / self.layout.record()).max(1) as u64;
            let end = end.min(self.written + chunk);
            bytes.clear();
            for number in self.written..end {
                bytes.extend(replay.values(number).flat_map(f32::to_le_bytes));
            }
            let open = match &mut self.open {
                Some(open) => open,
                none => {
                    self.created = true;
                    none.insert(begin(&self.folder, self.layout, index)?)
                }
            };
            durable::write_all(&mut open.file, &bytes)
                .map_err(StoreError::io("write", &open.path))?;
            open.hash.update(&bytes);
            self.written = end;
            if end == (index + 1) * segment_rows {
                sync(&open.file, &open.path)?;
                self.complete
                    .insert(index, hex(&open.hash.clone().finalize()));
                self.open = None;
            }
        }
        Ok(())
    }
}

/// Creates segment `index` with its header.
fn begin(folder: &Path, layout: Layout, index: u64) -> Result<Open, StoreError> {
    if !folder.exists() {
        durable::create_folder(folder)?;
    }
    let path = folder.join(file_name(index));
    let create = || {
        let mut file = durable::create(&path)?;
        durable::write_all(&mut file, &layout.header(index))?;
        Ok(file)
    };
    let file = create().map_err(StoreError::io("create", &path))?;
    Ok(Open {
        index,
        file,
        hash: Sha256::new().chain_update(layout.header(index)),
        path,
    })
}

fn sync(file: &File, path: &Path) -> Result<(), StoreError> {
    fault::write_step(true)
        .and_then(|()| tolerate_sync(path, file.sync_data()))
        .map_err(StoreError::io("write", path))
}

impl Segments {
    /// Reads the buffer that `reference` names, hands its records in their order to `store`, and
    /// goes on behind them. Nothing is changed on the disk before [`Segments::cut`].
    ///
    /// # Errors
    /// When a segment is missing, damaged or of another run; the message names it.
    pub fn load(
        folder: &Path,
        layout: Layout,
        capacity: usize,
        reference: &ReplayReference,
        mut store: impl FnMut(&[f32]),
    ) -> Result<Self, StoreError> {
        let ReplayReference { stored, held, .. } = *reference;
        let corrupt = |message: String| StoreError::corrupt(folder, message);
        if reference.is_not_stored() {
            return Err(corrupt(format!(
                "none of the {held} transitions that the buffer held were stored"
            )));
        }
        if held != stored.min(capacity as u64) {
            return Err(corrupt(format!(
                "{held} of {stored} transitions are not what a buffer of {capacity} holds"
            )));
        }
        let first = (stored - held) / layout.segment_rows;
        let end = stored.div_ceil(layout.segment_rows);
        let listed = reference.segments.len() as u64;
        if listed != end - first {
            return Err(corrupt(format!(
                "{listed} segments are listed, but {held} of {stored} transitions lie in {}",
                end - first
            )));
        }
        let mut segments = Self {
            folder: folder.to_owned(),
            layout,
            written: stored,
            open: None,
            complete: BTreeMap::new(),
            created: false,
        };
        // Older checkpoints may need these; they are removed when none does any more.
        for index in numbers(folder).filter(|index| *index < first) {
            segments.complete.insert(index, String::new());
        }
        for (index, segment) in (first..end).zip(&reference.segments) {
            let begin = index * layout.segment_rows;
            let rows = layout.segment_rows.min(stored - begin);
            if segment.file != file_name(index) || segment.rows != rows {
                return Err(corrupt(format!(
                    "`{}` with {} records is listed where `{}` with {rows} belongs",
                    segment.file,
                    segment.rows,
                    file_name(index)
                )));
            }
            let path = folder.join(&segment.file);
            let expected = format!("the checkpoint expects {}", segment.sha256);
            let skipped = (stored - held).saturating_sub(begin);
            let hash = read(&path, layout, index, skipped..rows, &mut store, &expected)?;
            let found = hex(&hash.clone().finalize());
            if found != segment.sha256 {
                let message = format!("the SHA-256 hash of its first {rows} records is {found}");
                return Err(StoreError::corrupt(
                    &path,
                    format!("{message}, but {expected}"),
                ));
            }
            if rows == layout.segment_rows {
                segments.complete.insert(index, found);
            } else {
                let file = OpenOptions::new()
                    .append(true)
                    .open(&path)
                    .map_err(StoreError::io("write", &path))?;
                segments.open = Some(Open {
                    index,
                    path,
                    file,
                    hash,
                });
            }
        }
        Ok(segments)
    }

    /// Removes what lies behind the last transition, which no checkpoint needs once the run goes
    /// on from this one.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn cut(&self) -> Result<(), StoreError> {
        if let Some(open) = &self.open {
            let rows = self.written - open.index * self.layout.segment_rows;
            let length = HEADER as u64 + rows * self.layout.record() as u64;
            open.file
                .set_len(length)
                .map_err(StoreError::io("write", &open.path))?;
        }
        let end = self.written.div_ceil(self.layout.segment_rows);
        for index in numbers(&self.folder).filter(|index| *index >= end) {
            durable::remove(&self.folder.join(file_name(index)))?;
        }
        Ok(())
    }
}

/// The files of all segments in `folder`, which need not exist.
pub fn segment_files(folder: &Path) -> Vec<PathBuf> {
    let mut numbers: Vec<_> = numbers(folder).collect();
    numbers.sort_unstable();
    let paths = numbers
        .into_iter()
        .map(|number| folder.join(file_name(number)));
    paths
        .filter(|path| path.symlink_metadata().is_ok())
        .collect()
}

/// The numbers of the segments in `folder`, which need not exist.
fn numbers(folder: &Path) -> impl Iterator<Item = u64> {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let name = entry.file_name();
        let number = name.to_str()?.strip_prefix("seg-")?.strip_suffix(".bin")?;
        let number = number.parse().ok()?;
        (*name == *file_name(number)).then_some(number)
    })
}

/// Hands the records `rows` of a segment to `store`, and gives the hash of these and of all before
/// them. `expected` says in errors which it should be.
fn read(
    path: &Path,
    layout: Layout,
    index: u64,
    rows: Range<u64>,
    store: &mut impl FnMut(&[f32]),
    expected: &str,
) -> Result<Sha256, StoreError> {
    let (file, length) = open_regular(path)?;
    let needed = HEADER as u64 + rows.end * layout.record() as u64;
    if length < needed {
        let message = format!("it is {length} bytes long, but {needed} are needed; {expected}");
        return Err(StoreError::corrupt(path, message));
    }
    let mut file = BufReader::with_capacity(256 << 10, file);
    let mut header = [0; HEADER];
    file.read_exact(&mut header)
        .map_err(StoreError::io("read", path))?;
    if header != layout.header(index) {
        let message = format!("its header is not that of this segment of this run; {expected}");
        return Err(StoreError::corrupt(path, message));
    }
    let mut hash = Sha256::new().chain_update(header);
    let mut bytes = vec![0; layout.record()];
    let mut values = vec![0.0; layout.width()];
    for row in 0..rows.end {
        file.read_exact(&mut bytes)
            .map_err(StoreError::io("read", path))?;
        hash.update(&bytes);
        if row < rows.start {
            continue; // It had been overwritten.
        }
        let (chunks, _) = bytes.as_chunks::<4>();
        for (value, chunk) in values.iter_mut().zip(chunks) {
            *value = f32::from_le_bytes(*chunk);
        }
        store(&values);
    }
    Ok(hash)
}
