//! The folder of an export: Parquet files of a bounded size, a description, and a list of the files. It appears whole.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use leadspan_files::{Locking, PendingFile, commit_bytes, create_folder, open_own, try_lock};
use leadspan_sequence::{LeadSpanProportion, Split};
use parquet::{
    arrow::{ArrowWriter, arrow_writer::ArrowWriterOptions},
    file::properties::WriterProperties,
};
use tempfile::TempDir;

use crate::{
    CacheError, Missing,
    card::{Card, Fidelity},
    export_list::{ExportList, ListedFile},
    hashing::HashingWriter,
    parquet_files::{self, Finished},
};

/// How large the files of an export become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLimits {
    /// The most rows of a file.
    pub rows: u64,
    /// About the most bytes of a file: it ends with the batch of rows that reaches them.
    pub bytes: u64,
}

/// What is exported into a folder.
#[derive(Clone, Debug)]
pub struct FolderSettings {
    /// The lead spans of training samples; by default all that is stored.
    pub proportion: Option<LeadSpanProportion>,
    /// Whether work units may be missing.
    pub missing: Missing,
    /// The size of files.
    pub limits: FileLimits,
    /// The licence that the description states, if the user states one.
    pub license: Option<String>,
    /// The figures of an audit that the description states, if the user has made one.
    pub fidelity: Option<Fidelity>,
    /// Whether an earlier export in the same place is replaced.
    pub overwrite: bool,
}

/// The first thing in the folder `path` that no export wrote, which is the folder itself if it is not that of an export; `None`
/// if an export wrote all of it.
///
/// # Errors
///
/// [`CacheError::Io`] if it cannot be listed or read.
pub fn foreign_to_export(path: &Path) -> Result<Option<PathBuf>, CacheError> {
    let list = match ExportList::read(path) {
        Ok(Some((list, _))) => list,
        Err(error @ CacheError::Io { .. }) => return Err(error),
        Ok(None) | Err(_) => return Ok(Some(path.to_owned())),
    };
    let names = |folder: &Path| -> io::Result<Vec<OsString>> {
        let entries = fs::read_dir(folder)?;
        let mut names: Vec<OsString> = entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
        names.sort();
        Ok(names)
    };
    let failed = || CacheError::io("list", path);
    for name in names(path).map_err(failed())? {
        let inside = path.join(&name);
        let is_one_of = |known: &[&str]| known.iter().any(|known| name == *known);
        if is_one_of(&[ExportList::POSITIONS, ExportList::SAMPLES]) {
            let of_list = |file: &OsString| {
                let file = Path::new(&name).join(file);
                list.files.iter().any(|listed| file == Path::new(&listed.path))
            };
            let mut files = names(&inside).map_err(failed())?.into_iter();
            if let Some(other) = files.find(|file| !of_list(file)) {
                return Ok(Some(inside.join(other)));
            }
        } else if !is_one_of(&[ExportList::NAME, README, crate::distillkit::SETTINGS]) {
            return Ok(Some(inside));
        }
    }
    Ok(None)
}

const README: &str = "README.md";

/// The name of an earlier export while it is replaced.
const REPLACED: &str = "replaced";

fn parent_of(out: &Path) -> &Path {
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// A folder that is being written, beside the place where it will be.
pub(super) struct Folder {
    out: PathBuf,
    staging: TempDir,
    /// Held until the folder is complete, so that another process does not take it for one of a dead process.
    lock: File,
    list: ExportList,
}

/// The name of the locked file in the folder of a process that writes.
const LOCK: &str = "lock";

/// The beginning of the names of folders in which an export to `out` is written.
fn staging_prefix(out: &Path) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(out.file_name().unwrap_or_default());
    prefix.push(".export-");
    prefix
}

/// Makes a hidden folder beside `out`, and locks it.
fn begin_staging(out: &Path) -> io::Result<(TempDir, File)> {
    loop {
        let staging = tempfile::Builder::new()
            .prefix(&staging_prefix(out))
            .tempdir_in(parent_of(out))?;
        let path = staging.path().join(LOCK);
        // Until it is locked, another process may take it for one of a dead process and remove it.
        let lock = match File::create_new(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            created => created?,
        };
        if try_lock(&lock)? != Locking::Held && path.exists() {
            return Ok((staging, lock));
        }
    }
}

/// Removes the folders that dead processes left when they exported to `out`. One that cannot be removed stays: the export does
/// not depend on it.
fn clear_staging(out: &Path) {
    let prefix = staging_prefix(out);
    let entries = fs::read_dir(parent_of(out)).into_iter().flatten().flatten();
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let suffix = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
        let is_one = suffix.is_some_and(|suffix| suffix.len() == 6 && suffix.iter().all(u8::is_ascii_alphanumeric));
        if !is_one || !entry.file_type().is_ok_and(|found| found.is_dir()) {
            continue;
        }
        let Ok(lock) = open_own(&path.join(LOCK), File::options().write(true)) else {
            // It was killed before it had a lock. What is not empty is not removed.
            let _ = fs::remove_dir(&path);
            continue;
        };
        // The earlier export is still in it if it was to be replaced at that moment.
        let holds_the_only_one = path.join(REPLACED).exists() && out.symlink_metadata().is_err();
        if matches!(try_lock(&lock), Ok(Locking::Locked)) && !holds_the_only_one {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

impl Folder {
    /// Begins the folder `out`, which `list` will describe. What killed exports to it left is removed.
    ///
    /// # Errors
    ///
    /// [`CacheError::Io`] if nothing can be written beside it.
    pub(super) fn create(out: &Path, list: ExportList) -> Result<Self, CacheError> {
        clear_staging(out);
        let (staging, lock) = begin_staging(out).map_err(CacheError::io("create a folder in", parent_of(out)))?;
        let folder = Self {
            out: out.to_owned(),
            staging,
            lock,
            list,
        };
        // The folder of a temporary folder has the permissions of others; itself it can only be read by its owner.
        create_folder(&folder.path())?;
        Ok(folder)
    }

    fn path(&self) -> PathBuf {
        self.staging.path().join("export")
    }

    /// Begins the files of one split of a table, in the folder `folder`.
    ///
    /// # Errors
    ///
    /// [`CacheError::Io`] if the folder cannot be made.
    pub(super) fn table(
        &self,
        folder: &'static str,
        split: Split,
        (schema, properties): (SchemaRef, WriterProperties),
        limits: FileLimits,
    ) -> Result<Files, CacheError> {
        let path = self.path().join(folder);
        create_folder(&path)?;
        Ok(Files {
            path,
            folder,
            split,
            schema,
            properties,
            limits,
            current: None,
            done: Vec::new(),
        })
    }

    /// Adds a file beside the tables.
    ///
    /// # Errors
    ///
    /// [`CacheError::Io`] if it cannot be written.
    pub(super) fn add(&self, name: &str, bytes: &[u8]) -> Result<(), CacheError> {
        Ok(commit_bytes(&self.path().join(name), bytes)?)
    }

    /// Ends tables and makes the folder appear. Its description is `card`. Returns the number of files and their bytes.
    ///
    /// # Errors
    ///
    /// [`CacheError::Io`] if the file system refuses. An earlier export that is replaced is then where it was.
    pub(super) fn finish(
        mut self,
        tables: impl IntoIterator<Item = Files>,
        (samples, rows): (u64, u64),
        card: impl FnOnce(&ExportList) -> Card,
        overwrite: bool,
    ) -> Result<(u64, u64), CacheError> {
        for table in tables {
            self.list.files.extend(table.finish()?);
        }
        (self.list.samples, self.list.rows) = (samples, rows);
        self.add(README, card(&self.list).to_string().as_bytes())?;
        self.add(ExportList::NAME, &self.list.to_bytes())?;
        let Self {
            out,
            staging,
            lock: _lock,
            list,
        } = self;
        let failed = || CacheError::io("write", &out);
        let (new, old) = (staging.path().join("export"), staging.path().join(REPLACED));
        let replaces = overwrite && out.symlink_metadata().is_ok();
        if replaces {
            fs::rename(&out, &old).map_err(failed())?;
        }
        if let Err(error) = fs::rename(&new, &out) {
            if replaces {
                // If this fails as well, the first error says more.
                let _ = fs::rename(&old, &out);
            }
            return Err(failed()(error));
        }
        let parent = parent_of(&out);
        File::open(parent)
            .and_then(|folder| folder.sync_all())
            .map_err(CacheError::io("flush", parent))?;
        Ok((list.files.len() as u64, list.files.iter().map(|file| file.bytes).sum()))
    }
}

/// The files of one split of a table.
pub(super) struct Files {
    path: PathBuf,
    folder: &'static str,
    split: Split,
    schema: SchemaRef,
    properties: WriterProperties,
    limits: FileLimits,
    current: Option<Current>,
    done: Vec<ListedFile>,
}

struct Current {
    writer: ArrowWriter<HashingWriter<PendingFile>>,
    rows: u64,
}

impl Files {
    /// The name of a file before their number is known.
    fn pending(&self, number: usize) -> PathBuf {
        self.path.join(format!("{}-{number:05}.parquet", self.split))
    }

    /// Adds rows. They may be divided between files.
    ///
    /// # Errors
    ///
    /// [`CacheError::Io`] if the file system refuses.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), CacheError> {
        let mut first = 0;
        while first < batch.num_rows() {
            let path = self.pending(self.done.len());
            let failed = || CacheError::parquet("write", &path);
            let mut current = if let Some(current) = self.current.take() {
                current
            } else {
                let options = ArrowWriterOptions::new()
                    .with_properties(self.properties.clone())
                    .with_skip_arrow_metadata(true);
                let output = HashingWriter::new(PendingFile::create(&path)?);
                let writer = ArrowWriter::try_new_with_options(output, self.schema.clone(), options);
                let writer = writer.map_err(failed())?;
                Current { writer, rows: 0 }
            };
            let room = self.limits.rows.max(1) - current.rows;
            let count = (batch.num_rows() - first).min(usize::try_from(room).unwrap_or(usize::MAX));
            current.writer.write(&batch.slice(first, count)).map_err(failed())?;
            first += count;
            current.rows += count as u64;
            if current.writer.in_progress_size() >= parquet_files::ROW_GROUP_BYTES {
                current.writer.flush().map_err(failed())?;
            }
            let bytes = current.writer.bytes_written() + current.writer.in_progress_size();
            let is_full = current.rows >= self.limits.rows || bytes as u64 >= self.limits.bytes;
            self.current = Some(current);
            if is_full {
                self.end_file()?;
            }
        }
        Ok(())
    }

    fn end_file(&mut self) -> Result<(), CacheError> {
        let Some(Current { writer, rows }) = self.current.take() else {
            return Ok(());
        };
        let path = self.pending(self.done.len());
        let Finished {
            file,
            last_region: (bytes, hash),
        } = parquet_files::finish(writer).map_err(CacheError::parquet("write", &path))?;
        file.commit()?;
        self.done.push(ListedFile {
            folder: self.folder.to_owned(),
            path: String::new(),
            split: self.split,
            rows,
            bytes,
            blake3: hash.to_hex().to_string(),
        });
        Ok(())
    }

    /// Gives the files their names, now that their number is known.
    fn finish(mut self) -> Result<Vec<ListedFile>, CacheError> {
        self.end_file()?;
        let mut files = std::mem::take(&mut self.done);
        let count = files.len();
        for (number, file) in files.iter_mut().enumerate() {
            let (pending, name) = (
                self.pending(number),
                format!("{}-{number:05}-of-{count:05}.parquet", self.split),
            );
            fs::rename(&pending, self.path.join(&name)).map_err(CacheError::io("rename", &pending))?;
            file.path = format!("{}/{name}", self.folder);
        }
        Ok(files)
    }
}
