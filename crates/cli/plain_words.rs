//! Messages about wrong values in the words of a TOML file.

/// Rewords a deserializer's message for the author of a TOML file.
pub(crate) fn in_plain_words(problem: &str) -> String {
    // A number beyond 64 bits is named with the type that can hold it.
    let text = problem
        .replace("unknown variant", "unknown value")
        .replace("` as i128", "`");
    let Some((found, expected)) = text.rsplit_once(", expected ") else {
        return text;
    };
    // A whole number that is refused is too small or too large.
    let is_integer = found.contains(": integer `");
    let expected = match expected {
        "u8" if is_integer => "a whole number from 0 to 255",
        "u16" if is_integer => "a whole number from 0 to 65535",
        "u32" if is_integer => "a whole number from 0 to 4294967295",
        "u64" | "usize" if is_integer => "a whole number from 0 to 18446744073709551615",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "f32" | "f64" => "a number",
        "a string" | "path string" => "text in quotes",
        "a sequence" => "a list such as [1, 2]",
        "a map" => "a table such as { field = \"value\" }",
        other => other,
    };
    format!("{found}, expected {expected}")
}
