//! The rows of data sets, up to the samples that are made of them.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    rc::Rc,
};

use leadspan_corpus::{BadRow, ChatTemplate, DataSettings, Format, SectionSettings, prepare};
use tokenizers::Tokenizer;

use crate::{
    harness::{Case, Reader},
    mutation::{Random, mutated, mutated_json},
};

/// A template that looks at all there is of a message.
const TEMPLATE: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}\n\
    {% if message.tool_calls %}{{ message.tool_calls|tojson }}{% endif %}{% endfor %}";

struct Corpus {
    folder: tempfile::TempDir,
    template: ChatTemplate,
    tokenizer: Tokenizer,
    /// Files as they are, with the format of their rows.
    files: Vec<(PathBuf, Vec<u8>, Format)>,
}

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

pub(crate) fn readers() -> Vec<Reader> {
    let kinds = ["messages", "bespoke-stratos", "nemotron", "sky-t1", "synthetic-1"];
    let files = |extension: &str| -> Vec<(PathBuf, Format)> {
        kinds
            .iter()
            .map(|kind| {
                let format = serde_json::from_value((*kind).into()).unwrap();
                (fixture(&format!("data-sets/{kind}.{extension}")), format)
            })
            .collect()
    };
    let stratos: Format = serde_json::from_value("bespoke-stratos".into()).unwrap();
    let saved = ["train/data-00000-of-00002", "test/data-00000-of-00001"];
    let saved = saved.map(|name| (fixture(&format!("data-sets/saved/{name}.arrow")), stratos));
    vec![
        reader("rows-json-lines", 60, files("jsonl"), |bytes, random| {
            let mut lines: Vec<Vec<u8>> = bytes
                .split_inclusive(|&byte| byte == b'\n')
                .map(<[u8]>::to_vec)
                .collect();
            let place = random.below(lines.len());
            lines[place] = mutated_json(&lines[place], random);
            (lines.concat(), "jsonl")
        }),
        reader("rows-gzip", 20, files("jsonl"), |bytes, random| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            (mutated(&encoder.finish().unwrap(), random), "jsonl.gz")
        }),
        reader("rows-zstd", 20, files("jsonl"), |bytes, random| {
            (mutated(&zstd::encode_all(bytes, 1).unwrap(), random), "jsonl.zst")
        }),
        reader("rows-parquet", 70, files("parquet"), |bytes, random| {
            (mutated(bytes, random), "parquet")
        }),
        reader("rows-arrow", 50, saved.to_vec(), |bytes, random| {
            (mutated(bytes, random), "arrow")
        }),
    ]
}

fn reader(
    name: &'static str,
    share: u64,
    files: Vec<(PathBuf, Format)>,
    mutation: fn(&[u8], &mut Random) -> (Vec<u8>, &'static str),
) -> Reader {
    let corpus = Rc::new(Corpus {
        folder: tempfile::tempdir().unwrap(),
        template: ChatTemplate::new(TEMPLATE, None, None).unwrap(),
        tokenizer: Tokenizer::from_file(fixture("tiny-teacher/tokenizer.json")).unwrap(),
        files: files
            .into_iter()
            .map(|(path, format)| {
                let bytes = fs::read(&path).unwrap();
                (path, bytes, format)
            })
            .collect(),
    });
    let mutate = move |random: &mut Random| {
        let (_, sound, format) = random.pick(&corpus.files);
        let (bytes, extension) = mutation(sound, random);
        let name = format!("data.{extension}");
        fs::write(corpus.folder.path().join(&name), &bytes).unwrap();
        let (corpus, format) = (Rc::clone(&corpus), *format);
        Case {
            bytes: bytes.len(),
            read: Box::new(move || read(&corpus, name, format)),
        }
    };
    Reader {
        name,
        share,
        mutate: Box::new(mutate),
    }
}

fn read(corpus: &Corpus, name: String, format: Format) -> Result<(), String> {
    let mut data: DataSettings = serde_json::from_str("{}").unwrap();
    data.files = vec![name];
    data.format = Some(format);
    data.on_bad_row = BadRow::Skip;
    let sections = SectionSettings::default();
    prepare(
        corpus.folder.path(),
        &data,
        &sections,
        &corpus.template,
        &corpus.tokenizer,
        &|_| {},
    )
    .map(drop)
    .map_err(|error| {
        format!(
            "{error} {:?}",
            std::error::Error::source(&error).map(ToString::to_string)
        )
    })
}
