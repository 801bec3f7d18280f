//! Models: GGUF files, and the JSON files, weights and templates of directories.

use std::{fs, path::Path, rc::Rc};

use candle_core::Device;
use leadspan_corpus::{ChatTemplate, Message, Role};
use leadspan_diagnosis::Diagnosis as _;
use leadspan_model::{Decoder, ModelError, ModelSource, StoredDtype};

use crate::{
    harness::{Case, Reader},
    mutation::{Random, mutated, mutated_json},
    rows::fixture,
};

/// Bytes of the fixture in which its metadata and its list of tensors stand.
const HEADER_BYTES: usize = 16_000;

pub(crate) fn readers() -> Vec<Reader> {
    let whole = fs::read(fixture("tiny-teacher.gguf")).unwrap();
    let folder = Rc::new(tempfile::tempdir().unwrap());
    let gguf = move |random: &mut Random| {
        let bytes = if random.once_in(10) {
            mutated(&whole, random)
        } else {
            let (header, data) = whole.split_at(HEADER_BYTES);
            [&mutated(header, random), data].concat()
        };
        let path = folder.path().join("model.gguf");
        fs::write(&path, &bytes).unwrap();
        let dtype = *random.pick(&[StoredDtype::F32, StoredDtype::Native]);
        Case {
            bytes: bytes.len(),
            read: Box::new(move || load(&path, dtype)),
        }
    };
    vec![
        Reader {
            name: "gguf",
            share: 20,
            mutate: Box::new(gguf),
        },
        directories(
            "model-json",
            8,
            &["config.json", "tokenizer.json", "tokenizer_config.json"],
            mutated_json,
        ),
        directories("safetensors", 20, &["model.safetensors"], mutated_safetensors),
        templates(),
    ]
}

fn load(path: &Path, dtype: StoredDtype) -> Result<(), String> {
    let text = |error: ModelError| format!("{error} {:?}", error.hint());
    let source = ModelSource::open(path).map_err(text)?;
    source.tokenizer().map_err(text)?;
    Decoder::load(&source, dtype, &Device::Cpu).map(drop).map_err(text)
}

/// Model directories of which a file is mutated.
fn directories(
    name: &'static str,
    share: u64,
    files: &'static [&'static str],
    mutation: fn(&[u8], &mut Random) -> Vec<u8>,
) -> Reader {
    let folder = Rc::new(tempfile::tempdir().unwrap());
    for entry in fs::read_dir(fixture("tiny-teacher")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let mut before: Option<&str> = None;
    let mutate = move |random: &mut Random| {
        if let Some(file) = before {
            fs::copy(fixture("tiny-teacher").join(file), folder.path().join(file)).unwrap();
        }
        let file = *random.pick(files);
        before = Some(file);
        let bytes = mutation(&fs::read(fixture("tiny-teacher").join(file)).unwrap(), random);
        fs::write(folder.path().join(file), &bytes).unwrap();
        let path = folder.path().to_owned();
        Case {
            bytes: bytes.len(),
            read: Box::new(move || load(&path, StoredDtype::F32)),
        }
    };
    Reader {
        name,
        share,
        mutate: Box::new(mutate),
    }
}

/// A safetensors file with another header: some bytes of it, or a value of its JSON under a length that fits.
fn mutated_safetensors(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let header_bytes = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let (header, data) = bytes.split_at(8 + header_bytes);
    if random.once_in(3) {
        return [&mutated(header, random), data].concat();
    }
    let json = mutated_json(&header[8..], random);
    [&(json.len() as u64).to_le_bytes()[..], &json, data].concat()
}

/// Chat templates, compiled and rendered.
fn templates() -> Reader {
    let sound = fs::read(fixture("tiny-teacher/chat_template.jinja")).unwrap();
    let mutate = move |random: &mut Random| {
        let source = String::from_utf8_lossy(&mutated(&sound, random)).into_owned();
        Case {
            bytes: source.len(),
            read: Box::new(move || {
                let text = |error: leadspan_corpus::CorpusError| error.to_string();
                let template = ChatTemplate::new(&source, Some("<s>"), None).map_err(text)?;
                let messages = [
                    Message::new(Role::User, "q"),
                    Message::new(Role::Assistant, "<think>a</think>b"),
                ];
                template.render(&messages, true).map(drop).map_err(text)
            }),
        }
    };
    Reader {
        name: "chat-templates",
        share: 20,
        mutate: Box::new(mutate),
    }
}
