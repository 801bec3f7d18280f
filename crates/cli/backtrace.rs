//! The backtrace that the tensor library puts behind the text of its errors when `RUST_BACKTRACE` is set.

/// The text before a backtrace, and the backtrace.
pub(crate) fn split_off(text: &str) -> (&str, Option<&str>) {
    let is_first_frame = |line: &str| line.trim_start().starts_with("0: ") && line.starts_with("   ");
    let mut begin = 0;
    for line in text.split_inclusive('\n') {
        if begin > 0 && is_first_frame(line) {
            return (text[..begin].trim_end(), Some(&text[begin..]));
        }
        begin += line.len();
    }
    (text, None)
}

#[cfg(test)]
mod tests {
    use std::backtrace::Backtrace;

    use super::*;

    #[test]
    fn the_text_of_an_error_of_the_tensor_library_ends_before_its_backtrace() {
        let error = candle_core::Error::WithBacktrace {
            inner: Box::new(candle_core::Error::Msg("shapes differ".to_owned())),
            backtrace: Box::new(Backtrace::force_capture()),
        };
        let text = error.to_string();
        let (message, backtrace) = split_off(&text);
        assert_eq!(message, "shapes differ");
        assert!(backtrace.unwrap().trim_start().starts_with("0: "));
        for text in ["one", "two\nlines", "0: no frame", "", "list\n0: no frame"] {
            assert_eq!(split_off(text), (text, None));
        }
    }
}
