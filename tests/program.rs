//! A folder with the tiny teacher, its text and a pipeline file, in which tests run the real program.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// The pipeline file that every test starts from.
pub(crate) const PIPELINE: &str = r#"[teacher]
model = "teacher"

[data]
files = ["text.jsonl"]
format = "columns"
validation = 4
seed = 7

[cache]
dir = "cache"
top_k = 8
samples_per_shard = 10

[student]
model = "teacher"
layers = [0]

[train]
dir = "run"
epochs = 1
learning_rate = 1e-3
"#;

/// A folder of its own for one test.
pub(crate) struct Workplace {
    folder: TempDir,
}

/// The committed fixtures.
pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

impl Workplace {
    /// A folder with `teacher/`, `text.jsonl` and `pipeline.toml`.
    pub(crate) fn new() -> Self {
        let place = Self {
            folder: TempDir::new().unwrap(),
        };
        fs::create_dir(place.path("teacher")).unwrap();
        for file in fs::read_dir(fixtures().join("tiny-teacher")).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), place.path("teacher").join(file.file_name())).unwrap();
        }
        fs::copy(fixtures().join("tiny-teacher-text.jsonl"), place.path("text.jsonl")).unwrap();
        place.write("pipeline.toml", PIPELINE);
        place
    }

    /// A workplace with `rows` made-up problems, one of twenty of which is repeated to `words` words.
    pub(crate) fn with_rows(rows: usize, words: usize) -> Self {
        let place = Self::new();
        let text = fs::read_to_string(place.path("text.jsonl")).unwrap();
        let rows: Vec<String> = text
            .lines()
            .cycle()
            .take(rows)
            .enumerate()
            .map(|(index, line)| {
                let mut row: Value = serde_json::from_str(line).unwrap();
                row["id"] = format!("row-{index}").into();
                if index % 20 == 3 {
                    row["chain_of_thought"] = "12 + 30 = 42. ".repeat(words / 5).into();
                }
                row.to_string() + "\n"
            })
            .collect();
        place.write("text.jsonl", &rows.concat());
        place
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Replaces text that must be there in a file.
    pub(crate) fn replace(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "`{name}` does not contain `{from}`");
        self.write(name, &text.replacen(from, to, 1));
    }

    /// The program, to be run in the folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leadspan"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_remove("RUST_BACKTRACE");
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs the program, which must succeed, and returns what it printed as its result.
    pub(crate) fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?} failed:\n{stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts the program, whose output nobody reads.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// The committed files below one of its folders: everything that a reader would see.
    pub(crate) fn visible(&self, folder: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        visible(&self.path(folder))
    }

    /// Every file and folder with its contents, hidden ones included.
    pub(crate) fn contents(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let mut found = BTreeMap::new();
        visit(self.folder.path(), &mut found);
        found
    }
}

/// The committed files below a folder, by their paths in it: everything that a reader would see.
pub(crate) fn visible(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    visit(folder, &mut found);
    let visible = found.into_iter().filter_map(|(path, bytes)| {
        let hidden = path.file_name()?.to_string_lossy().starts_with('.');
        let inside = path.strip_prefix(folder).ok()?.to_owned();
        (!hidden).then_some((inside, bytes?))
    });
    visible.collect()
}

/// Files that come and go while the folder is read are left out: other processes may be writing there.
fn visit(folder: &Path, found: &mut BTreeMap<PathBuf, Option<Vec<u8>>>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, found);
            found.insert(path, None);
        } else if let Ok(bytes) = fs::read(&path) {
            found.insert(path, Some(bytes));
        }
    }
}
