//! A folder with the tiny teacher, its text and a pipeline file, in which tests run the real program.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use safetensors::tensor::TensorView;
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

    /// A workplace with `rows` made-up problems, all different, of one of twenty of which the chain of thought has `words` words.
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
                let (question, copy) = (row["question"].as_str().unwrap().to_owned(), index / 40);
                row["question"] = (question + &" Again.".repeat(copy)).into();
                if index % 20 == 3 {
                    row["chain_of_thought"] = "12 + 30 = 42. ".repeat(words / 5).into();
                }
                row.to_string() + "\n"
            })
            .collect();
        place.write("text.jsonl", &rows.concat());
        place
    }

    /// Writes a seeded mixture of experts with the teacher's tokenizer into a folder of its own.
    pub(crate) fn make_mixture(&self, folder: &str) {
        let config = serde_json::json!({
            "model_type": "qwen3_moe", "vocab_size": 320, "hidden_size": 32, "intermediate_size": 48,
            "moe_intermediate_size": 16, "num_experts": 6, "num_experts_per_tok": 2, "norm_topk_prob": true,
            "decoder_sparse_step": 1, "mlp_only_layers": [1], "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 8, "rms_norm_eps": 1e-6, "max_position_embeddings": 4096,
            "rope_theta": 1e4, "tie_word_embeddings": true, "hidden_act": "silu",
        });
        let mut shapes = vec![
            ("model.embed_tokens.weight".to_owned(), vec![320, 32]),
            ("model.norm.weight".to_owned(), vec![32]),
        ];
        let block = |name: &str, inner: usize| {
            [
                ("gate_proj", [inner, 32]),
                ("up_proj", [inner, 32]),
                ("down_proj", [32, inner]),
            ]
            .map(|(part, shape)| (format!("{name}.{part}.weight"), shape.to_vec()))
        };
        for layer in ["model.layers.0", "model.layers.1"] {
            let of = |(part, shape): (&str, &[usize])| (format!("{layer}.{part}.weight"), shape.to_vec());
            shapes.extend(
                [
                    ("input_layernorm", &[32][..]),
                    ("post_attention_layernorm", &[32]),
                    ("self_attn.q_norm", &[8]),
                    ("self_attn.k_norm", &[8]),
                    ("self_attn.q_proj", &[32, 32]),
                    ("self_attn.k_proj", &[16, 32]),
                    ("self_attn.v_proj", &[16, 32]),
                    ("self_attn.o_proj", &[32, 32]),
                ]
                .map(of),
            );
        }
        shapes.push(("model.layers.0.mlp.gate.weight".to_owned(), vec![6, 32]));
        shapes.extend((0..6).flat_map(|expert| block(&format!("model.layers.0.mlp.experts.{expert}"), 16)));
        shapes.extend(block("model.layers.1.mlp", 48));
        let mut state = 7u64;
        let mut number = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = shapes
            .into_iter()
            .map(|(name, shape)| {
                let values = (0..shape.iter().product::<usize>()).flat_map(|_| (0.6 * number()).to_le_bytes());
                let values = values.collect();
                (name, shape, values)
            })
            .collect();
        let views = tensors.iter().map(|(name, shape, values)| {
            (
                name,
                TensorView::new(safetensors::Dtype::F32, shape.clone(), values).unwrap(),
            )
        });
        fs::create_dir(self.path(folder)).unwrap();
        safetensors::serialize_to_file(views, None, &self.path(folder).join("model.safetensors")).unwrap();
        self.write(&format!("{folder}/config.json"), &config.to_string());
        for file in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
            fs::copy(self.path("teacher").join(file), self.path(folder).join(file)).unwrap();
        }
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Writes a file into a folder of the folder, made where it is missing.
    pub(crate) fn write_in(&self, folder: &str, name: &str, text: &str) {
        fs::create_dir_all(self.path(folder)).unwrap();
        fs::write(self.path(folder).join(name), text).unwrap();
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
            .env("HF_HUB_CACHE", self.path("hub"))
            .env_remove("RUST_BACKTRACE");
        // The tests may be a scheduler's task themselves.
        for (variable, _) in std::env::vars_os() {
            let name = variable.to_string_lossy();
            let prefixes = [
                "SLURM_",
                "AWS_BATCH_",
                "PBS_",
                "LSB_",
                "SGE_",
                "OMPI_",
                "PMI_",
                "JOB_COMPLETION_INDEX",
                "LEADSPAN_WORKERS",
            ];
            if prefixes.iter().any(|prefix| name.starts_with(prefix)) {
                command.env_remove(&variable);
            }
        }
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

    /// Starts the program, whose output nobody reads, to wait at the `number`-th event of `kind`.
    pub(crate) fn start_held(&self, arguments: &[&str], kind: &str, number: u64) -> Held {
        let mut command = self.command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Held::start(&mut command, kind, number)
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

/// A program that waits at a counted event, before the n-th write or after the n-th report of progress: see
/// `crates/cli/holding.rs`. How far it has come does not depend on how fast the machine is.
pub(crate) struct Held {
    pub(crate) child: Child,
    pub(crate) folder: TempDir,
}

impl Held {
    /// Starts a command that is to wait.
    pub(crate) fn start(command: &mut Command, kind: &str, number: u64) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("held");
        command.env("LEADSPAN_TEST_HOLD", format!("{kind}:{number}:{}", file.display()));
        let child = command.spawn().unwrap();
        Self { child, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("held")
    }

    /// Whether it waits.
    pub(crate) fn is_held(&self) -> bool {
        self.file().exists()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Lets it go on.
    pub(crate) fn release(&self) {
        fs::remove_file(self.file()).unwrap();
    }

    /// Waits until it waits, and returns `false` if it ended before.
    pub(crate) fn comes(&mut self) -> bool {
        wait_until("the program waits or ends", || self.is_held() || self.ended().is_some());
        self.is_held()
    }

    /// Kills it where it waits; returns `false` if it ended before.
    pub(crate) fn kill(mut self) -> bool {
        let held = self.comes();
        if held {
            self.child.kill().unwrap();
        }
        self.child.wait().unwrap();
        held
    }

    /// Asks it to stop where it waits, as a scheduler does, and returns its exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        assert!(self.comes(), "it ended before it was to wait");
        terminate(&mut self.child)
    }
}

/// Waits until something is so. Only a hang takes as long as this allows.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(15);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(Duration::from_millis(2));
    }
}

/// Numbers that look random and are the same in every run.
pub(crate) struct Moments(u64);

impl Moments {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// Asks a process to stop as a scheduler does, and returns its exit code.
pub(crate) fn terminate(child: &mut Child) -> Option<i32> {
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    child.wait().unwrap().code()
}

/// The committed files below a folder, by their paths in it: everything that a reader would see.
pub(crate) fn visible(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    visit(folder, &mut found);
    let visible = found.into_iter().filter_map(|(path, bytes)| {
        let inside = path.strip_prefix(folder).ok()?.to_owned();
        let hidden = inside.iter().any(|name| name.to_string_lossy().starts_with('.'));
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
