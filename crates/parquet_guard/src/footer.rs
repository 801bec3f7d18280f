//! Checks what the footer of a Parquet file says of its schema before the library reads it.
//!
//! The library makes room for as many children as a node of the schema claims, and goes down the tree of nodes by recursion.

use parquet::{errors::ParquetError, file::reader::ChunkReader};

use crate::{Claim, thrift::Reader};

/// The most levels of a schema. Tables that people make have five or ten.
const LEVELS: usize = 64;

/// Bytes at the end of a file: the length of the metadata and the file's mark.
const END_BYTES: u64 = 8;

/// Checks that the schema in a file's footer has the nodes that it claims, and no more than 64 levels.
///
/// A footer that is damaged in another way is left to the library, which finds that.
///
/// # Errors
///
/// The first claim that does not hold, or the error that prevents reading the file.
pub fn check_footer(file: &impl ChunkReader) -> Result<(), ParquetError> {
    let Some(end) = file.len().checked_sub(END_BYTES) else {
        return Ok(());
    };
    let tail = file.get_bytes(end, END_BYTES as usize)?;
    let (length, mark) = tail.split_at(4);
    let bytes = u64::from(u32::from_le_bytes(length.try_into().expect("four of eight bytes")));
    if mark != b"PAR1" || bytes > end {
        return Ok(());
    }
    let metadata = file.get_bytes(end - bytes, bytes as usize)?;
    let Some(children) = Reader::new(&metadata).children() else {
        return Err(Claim::Untrue("the metadata at the end of the file is longer than its bytes".to_owned()).into());
    };
    Ok(check_tree(&children)?)
}

/// Checks a tree whose nodes are given in depth-first order, each by the number of its children.
fn check_tree(children: &[i64]) -> Result<(), Claim> {
    // How many nodes are still to come on each level.
    let mut open: Vec<i64> = Vec::new();
    for (node, &count) in children.iter().enumerate() {
        if count > (children.len() - node - 1) as i64 {
            return Err(Claim::Untrue(format!(
                "a node of the schema claims {count} children, which are not there"
            )));
        }
        if let Some(last) = open.last_mut() {
            *last -= 1;
        }
        if count > 0 {
            open.push(count);
        }
        if open.len() > LEVELS {
            return Err(Claim::ManyLevels { most: LEVELS });
        }
        while open.last() == Some(&0) {
            open.pop();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{ArrayRef, RecordBatch, StructArray, UInt32Array},
        datatypes::{DataType, Field},
    };
    use bytes::Bytes;
    use parquet::arrow::ArrowWriter;

    use super::*;

    /// A file with a column that is `levels` structures around a number.
    fn file(levels: usize) -> Bytes {
        let mut array: ArrayRef = Arc::new(UInt32Array::from(vec![1]));
        for _ in 0..levels {
            let data_type: DataType = array.data_type().clone();
            array = Arc::new(StructArray::from(vec![(
                Arc::new(Field::new("s", data_type, true)),
                array,
            )]));
        }
        let batch = RecordBatch::try_from_iter([("s", array)]).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap().into()
    }

    #[test]
    fn a_schema_of_many_levels_is_refused_before_it_is_read() {
        check_footer(&file(20)).unwrap();
        let refused = check_footer(&file(LEVELS + 1)).unwrap_err();
        assert_eq!(Claim::behind(&refused), Some(&Claim::ManyLevels { most: 64 }));
        assert!(refused.to_string().contains("more than 64 levels"), "{refused}");
    }

    #[test]
    fn children_that_are_not_there_are_refused_and_any_tree_is_accepted() {
        assert_eq!(check_tree(&[]), Ok(()));
        assert_eq!(check_tree(&[3, 0, 2, 0, 0, 0]), Ok(()));
        assert_eq!(check_tree(&vec![0; 1000]), Ok(()));
        for missing in [&[i64::from(i32::MAX)][..], &[1, 2, 0]] {
            let refused = check_tree(missing).unwrap_err().to_string();
            assert!(refused.contains("which are not there"), "{refused}");
        }
        // A hundred thousand structures, one inside the other.
        let mut deep = vec![1; 100_000];
        deep.push(0);
        assert_eq!(check_tree(&deep), Err(Claim::ManyLevels { most: LEVELS }));
    }

    #[test]
    fn other_files_are_left_to_the_library() {
        for bytes in [&b""[..], b"PAR1", b"\xff\xff\xff\xffPAR1", b"something else"] {
            check_footer(&Bytes::from_static(bytes)).unwrap();
        }
    }
}
