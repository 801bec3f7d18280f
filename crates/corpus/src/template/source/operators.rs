//! Operators that the engine reads or does differently from Python: `%` becomes a call of the filter [`MODULO`], and the filter
//! [`TEXT`] is called on the operands of `~`.

use super::tags::{Kind, Tag};

/// The name of the filter for `%`.
pub(in super::super) const MODULO: &str = "python_modulo";

/// The name of the filter for the operands of `~`.
pub(in super::super) const TEXT: &str = "python_text";

/// Words that are no operands.
const KEYWORDS: [&str; 9] = ["and", "else", "if", "in", "is", "not", "or", "recursive", "set"];

/// The inside of a tag with calls of filters for `%` and around the operands of `~`.
pub(super) fn rewritten(tag: &Tag<'_>) -> String {
    let mut rewriting = Rewriting {
        tag,
        next: 0,
        text: String::new(),
        copied: 0,
    };
    // The first word of a statement is its name. A mark for white space may stand before it.
    if tag.open == "{%" {
        if let (Kind::Operator, "-" | "+") = rewriting.peek() {
            rewriting.copy();
        }
        rewriting.copy();
    }
    while rewriting.next < tag.tokens.len() {
        rewriting.copy_items();
        // A bracket that nothing opens.
        rewriting.copy();
    }
    rewriting.text + &tag.inner[rewriting.copied..]
}

/// Copies a tag's inside, token by token, and rewrites `%` and `~`.
struct Rewriting<'a> {
    tag: &'a Tag<'a>,
    /// The next token.
    next: usize,
    /// What was written.
    text: String,
    /// Bytes that were copied or left out.
    copied: usize,
}

impl Rewriting<'_> {
    /// The next token, or an operator that is none.
    fn peek(&self) -> (Kind, &str) {
        let token = self.tag.tokens.get(self.next);
        token.map_or((Kind::Operator, ""), |token| (token.kind, token.text))
    }

    /// Copies the white space before the next token.
    fn copy_space(&mut self) {
        if let Some(token) = self.tag.tokens.get(self.next) {
            self.text += &self.tag.inner[self.copied..token.start];
            self.copied = token.start;
        }
    }

    fn copy(&mut self) {
        self.copy_space();
        if let Some(token) = self.tag.tokens.get(self.next) {
            self.text += token.text;
            self.copied = token.start + token.text.len();
            self.next += 1;
        }
    }

    /// Copies expressions and what separates them, up to a closing bracket.
    fn copy_items(&mut self) {
        let mut after_operand = false;
        loop {
            match self.peek() {
                (Kind::Operator, "" | ")" | "]" | "}") => return,
                (Kind::Name, word) if KEYWORDS.contains(&word) => {
                    self.copy();
                    after_operand = false;
                }
                (Kind::Name | Kind::Literal, _) | (Kind::Operator, "(" | "[" | "{") => {
                    self.copy_concatenation();
                    after_operand = true;
                }
                (Kind::Operator, "-" | "+") if !after_operand => {
                    self.copy_concatenation();
                    after_operand = true;
                }
                _ => {
                    self.copy();
                    after_operand = false;
                }
            }
        }
    }

    /// Copies products with `~` between them. All but texts become what Python makes of them.
    fn copy_concatenation(&mut self) {
        let mut is_part = false;
        loop {
            self.copy_space();
            let (start, first) = (self.text.len(), self.next);
            self.copy_products();
            let continues = self.peek() == (Kind::Operator, "~");
            is_part |= continues;
            let mut tokens = self.tag.tokens[first..self.next].iter();
            if is_part && !tokens.all(|token| token.text.starts_with(['"', '\''])) {
                self.text.insert(start, '(');
                self.text += ")|";
                self.text += TEXT;
            }
            if !continues {
                return;
            }
            self.copy();
        }
    }

    /// Copies operands with `*`, `/`, `//` and `%` between them, from left to right.
    fn copy_products(&mut self) {
        self.copy_space();
        let start = self.text.len();
        self.copy_operand();
        loop {
            match self.peek() {
                (Kind::Operator, "*" | "/" | "//") => {
                    self.copy();
                    self.copy_operand();
                }
                (Kind::Operator, "%") => {
                    self.copy_space();
                    self.text.insert(start, '(');
                    self.text += ")|";
                    self.text += MODULO;
                    self.text.push('(');
                    self.next += 1;
                    self.copied += 1;
                    self.copy_operand();
                    self.text.push(')');
                }
                _ => return,
            }
        }
    }

    /// Copies one operand with its signs, attributes, calls, filters and powers.
    fn copy_operand(&mut self) {
        while let (Kind::Operator, "-" | "+") = self.peek() {
            self.copy();
        }
        match self.peek() {
            (Kind::Literal, _) => {
                while let (Kind::Literal, _) = self.peek() {
                    self.copy();
                }
            }
            (Kind::Name, _) => self.copy(),
            (Kind::Operator, "(" | "[" | "{") => self.copy_group(),
            _ => return,
        }
        loop {
            match self.peek() {
                (Kind::Operator, "." | "|") => {
                    self.copy();
                    self.copy();
                }
                (Kind::Operator, "(" | "[") => self.copy_group(),
                (Kind::Name, "is") => self.copy_test(),
                (Kind::Operator, "**") => {
                    self.copy();
                    return self.copy_operand();
                }
                _ => return,
            }
        }
    }

    /// Copies `is`, the name of a test, and an argument without brackets. A test belongs to its operand.
    fn copy_test(&mut self) {
        self.copy();
        if let (Kind::Name, "not") = self.peek() {
            self.copy();
        }
        self.copy();
        match self.peek() {
            (Kind::Name, word) if KEYWORDS.contains(&word) => {}
            (Kind::Name | Kind::Literal, _) => self.copy(),
            (Kind::Operator, "[" | "{") => self.copy_group(),
            _ => {}
        }
    }

    /// Copies an opening bracket, what is in it, and the closing one.
    fn copy_group(&mut self) {
        self.copy();
        self.copy_items();
        self.copy();
    }
}
