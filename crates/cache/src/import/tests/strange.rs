//! Files of captures that are odd but right, and files that nothing can be read from.

use std::{fs, sync::Arc};

use arrow::{
    array::{
        Array as _, ArrayRef, AsArray as _, Int32Array, LargeStringArray, ListArray, RecordBatch, RecordBatchOptions,
        StringArray,
    },
    compute::cast,
    datatypes::{DataType, Field, Schema},
};
use leadspan_diagnosis::Diagnosis as _;
use parquet::arrow::ArrowWriter;

use super::{
    captured::{Plain, list, plain_columns, write},
    *,
};

const TWO: Plain<'_> = (&[5, 6, 7], &[(&[6, 7], &[-0.5, -2.0]), (&[1, 7], &[-3.0, -0.25])]);

fn lists_of(data_type: DataType, nested: bool) -> DataType {
    let of = |item: DataType, large: bool| {
        let field = Arc::new(Field::new("item", item, true));
        if large {
            DataType::LargeList(field)
        } else {
            DataType::List(field)
        }
    };
    let lists = of(data_type, true);
    if nested { of(lists, true) } else { lists }
}

#[test]
fn the_same_rows_of_other_types_are_the_same_cache() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let columns = plain_columns(&[TWO, TWO]);
    write(&at("plain.parquet"), columns.clone());
    imported(&at("plain"), &[at("plain.parquet")]).unwrap().unwrap();
    let expected = spans(&Cache::open(&at("plain")).unwrap(), Coverage::whole_answers());
    // Of the entries that are not in order, the most probable comes first.
    assert_eq!(expected[0].distributions.get(1).token_ids, [7, 1]);
    for (number, (ids, values)) in [
        (DataType::Int64, DataType::Float64),
        (DataType::UInt16, DataType::Float16),
        (DataType::Int32, DataType::Float32),
    ]
    .into_iter()
    .enumerate()
    {
        let types = [
            lists_of(ids.clone(), false),
            lists_of(ids, true),
            lists_of(values, true),
        ];
        let cast =
            |((name, column), wanted): (&(&'static str, ArrayRef), &DataType)| (*name, cast(column, wanted).unwrap());
        let file = at(&format!("{number}.parquet"));
        write(&file, columns.iter().zip(&types).map(cast).collect());
        let dir = at(&number.to_string());
        imported(&dir, &[file]).unwrap().unwrap();
        let found = spans(&Cache::open(&dir).unwrap(), Coverage::whole_answers());
        assert_eq!(found, expected, "{types:?}");
    }
}

#[test]
fn files_from_which_nothing_can_be_read_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (file, dir) = (folder.path().join("bad.parquet"), folder.path().join("cache"));
    let refused = |said: &str| {
        let error = imported(&dir, std::slice::from_ref(&file)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(said) && text.contains("bad.parquet"), "{said}: {text}");
        assert!(
            !error.is_unexpected() && error.hint().is_some() && !dir.exists(),
            "{text}"
        );
    };
    write(&file, plain_columns(&[]));
    refused("has no rows to import");
    let rows = RecordBatchOptions::new().with_row_count(Some(3));
    let rows = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &rows).unwrap();
    let mut writer = ArrowWriter::try_new(fs::File::create(&file).unwrap(), rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    refused("has no columns, but those of no known layout");
    let mut columns = plain_columns(&[TWO]);
    columns.push(columns[2].clone());
    write(&file, columns);
    refused("`top_values` is there twice");
    let with = |place: usize, column: ArrayRef, said: &str| {
        let mut columns = plain_columns(&[TWO]);
        columns[place].1 = column;
        write(&file, columns);
        refused(said);
    };
    with(
        0,
        list(Arc::new(Int32Array::from(vec![5, -1, 7])), vec![3]),
        "`input_ids`",
    );
    with(0, Arc::new(Int32Array::from(vec![5])), "`input_ids` is Int32, not List");
    with(0, Arc::new(StringArray::from(vec!["5 6 7"])), "`input_ids` is Utf8");
    with(
        1,
        list(Arc::new(Int32Array::from(vec![6, 7])), vec![2]),
        "`token_ids` is List",
    );
    with(
        2,
        list(Arc::new(LargeStringArray::from(vec!["-1"])), vec![1]),
        "`top_values` is List",
    );
    // A list that is missing, not a value in it.
    let columns = plain_columns(&[TWO]);
    let lists = columns[1].1.as_list::<i32>();
    let nulls = arrow::buffer::NullBuffer::from(vec![false]);
    let DataType::List(item) = lists.data_type() else {
        panic!("no list")
    };
    let missing = ListArray::new(
        Arc::clone(item),
        lists.offsets().clone(),
        Arc::clone(lists.values()),
        Some(nulls),
    );
    with(1, Arc::new(missing), "`token_ids` has no value in this row");
    write(&file, plain_columns(&[(&[5, 6], &[(&[6, 6], &[-1.0, -2.0])])]));
    refused("row 1 of");
    let twice = [file.clone(), folder.path().join("./bad.parquet")];
    let error = imported(&dir, &twice).unwrap_err();
    assert!(
        error.to_string().ends_with("is named twice") && error.hint().is_some(),
        "{error}"
    );
}

#[test]
fn a_refused_import_leaves_nothing_and_touches_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let bad: Plain<'_> = (&[5, 6], &[(&[6], &[1.0])]);
    // The first work unit is written before the row that is refused.
    write(&at("rows.parquet"), plain_columns(&[TWO, TWO, bad]));
    let files = [at("rows.parquet")];
    let tokenizer = [("tokenizer.json".to_owned(), b"{}".to_vec())];
    let import_into = |name: &str, stop: bool| {
        let stop = AtomicBool::new(stop);
        import(
            &at(name),
            &settings(&files, &tokenizer),
            &stop,
            &mut |_| {},
            &mut |_| {},
        )
    };
    let names = |name: &str| -> Vec<_> {
        let entries = fs::read_dir(at(name)).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    };
    let error = import_into("new", false).unwrap_err();
    assert!(matches!(error, ImportError::Row { row: 3, .. }), "{error}");
    assert!(!at("new").exists());
    fs::create_dir_all(at("mine/tokenizer")).unwrap();
    fs::write(at("mine/tokenizer/notes"), b"mine").unwrap();
    import_into("mine", false).unwrap_err();
    assert_eq!(
        (names("mine"), names("mine/tokenizer")),
        (vec!["tokenizer".into()], vec!["notes".into()])
    );
    // What an earlier import has begun stays.
    assert!(import_into("begun", true).unwrap().is_none());
    import_into("begun", false).unwrap_err();
    assert!(Cache::open(&at("begun")).is_ok());
    write(&at("rows.parquet"), plain_columns(&[TWO]));
    for name in ["new", "mine"] {
        assert_eq!(import_into(name, false).unwrap().unwrap().positions, 2);
    }
}
