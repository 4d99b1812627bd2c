//! JavaScript's words, texts and marks, in one pass over bytes: a tokenizer, not a parser, for readers that look for literals.
//!
//! It knows comments, strings, templates with holes and regular expressions. What a slash means is told by what stands before it, and
//! after a closing parenthesis by what stood before the opening one (`if (x) /y/.test(z)`).

/// Deepest nesting of parentheses and template holes that is remembered; deeper ones are only counted as the last.
const DEEPEST: usize = 4096;

/// One token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A name, a keyword or a number.
    Word(&'a str),
    /// What stands between two quotes, escapes included; a template only when it has no holes.
    Text(&'a str),
    /// One character of punctuation.
    Mark(u8),
    /// A piece of a template with holes, a regular expression.
    Value,
}

/// Tells the texts that follow each other, from behind a parenthesis or bracket.
pub(super) fn row<'a>(mut lexer: Lexer<'a>, mut tell: impl FnMut(&'a str)) {
    loop {
        match lexer.next() {
            Some(Token::Text(text)) => tell(text),
            Some(Token::Mark(b',')) => {}
            _ => return,
        }
    }
}

/// Reads tokens one by one.
#[derive(Clone)]
pub(super) struct Lexer<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the last quoted text begins.
    text_at: usize,
    /// Whether the last token ends a value, so that a slash divides.
    value_before: bool,
    /// Of every open parenthesis, whether a condition stands in it.
    conditions: Vec<bool>,
    /// Of every open template hole, how many braces are open in it.
    holes: Vec<u32>,
    /// Whether the last token was a word that puts a condition into parentheses.
    condition_next: bool,
}

impl<'a> Lexer<'a> {
    /// Over a text.
    pub(super) fn new(text: &'a str) -> Lexer<'a> {
        Lexer {
            bytes: text.as_bytes(),
            at: 0,
            text_at: 0,
            value_before: false,
            conditions: Vec::new(),
            holes: Vec::new(),
            condition_next: false,
        }
    }

    /// Where the last [`Token::Text`] begins, behind its quote.
    pub(super) fn text_at(&self) -> usize {
        self.text_at
    }

    /// The next token.
    pub(super) fn next(&mut self) -> Option<Token<'a>> {
        self.skip();
        let byte = *self.bytes.get(self.at)?;
        let token = match byte {
            b'"' | b'\'' => Token::Text(self.quoted(byte)),
            b'`' => self.template(),
            b'}' if self.holes.last() == Some(&0) => {
                self.holes.pop();
                self.template()
            }
            b'/' if !self.value_before => {
                self.pattern();
                Token::Value
            }
            _ if is_word(byte) => self.word(),
            _ => {
                self.at += 1;
                Token::Mark(byte)
            }
        };
        self.settle(token);
        Some(token)
    }

    /// Remembers what the next token needs to know.
    fn settle(&mut self, token: Token<'a>) {
        let condition = std::mem::take(&mut self.condition_next);
        self.value_before = match token {
            Token::Word(word) => {
                self.condition_next = matches!(word, "if" | "while" | "for" | "with");
                !matches!(
                    word,
                    "return" | "typeof" | "case" | "in" | "of" | "delete" | "void" | "throw" | "new" | "else" | "do" | "await" | "yield"
                )
            }
            Token::Text(_) => true,
            // In a hole an expression begins.
            Token::Value => self.bytes.get(self.at.wrapping_sub(2)..self.at) != Some(b"${"),
            Token::Mark(b'(') => {
                if self.conditions.len() < DEEPEST {
                    self.conditions.push(condition);
                }
                false
            }
            Token::Mark(b')') => !self.conditions.pop().unwrap_or(false),
            Token::Mark(mark @ (b'{' | b'}')) => {
                if let Some(open) = self.holes.last_mut() {
                    *open = if mark == b'{' { open.saturating_add(1) } else { open.saturating_sub(1) };
                }
                mark == b'}'
            }
            Token::Mark(mark) => mark == b']',
        };
    }

    /// Past blanks and comments.
    fn skip(&mut self) {
        while let Some(byte) = self.bytes.get(self.at) {
            match (byte, self.bytes.get(self.at + 1)) {
                (b'/', Some(b'/')) => self.skip_to(b"\n"),
                (b'/', Some(b'*')) => {
                    self.at += 2;
                    self.skip_to(b"*/");
                }
                _ if byte.is_ascii_whitespace() => self.at += 1,
                _ => break,
            }
        }
    }

    fn skip_to(&mut self, end: &[u8]) {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let found = rest.windows(end.len()).position(|window| window == end);
        self.at = found.map_or(self.bytes.len(), |found| self.at + found + end.len());
    }

    fn word(&mut self) -> Token<'a> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(|byte| is_word(*byte)) {
            self.at += 1;
        }
        std::str::from_utf8(&self.bytes[start..self.at]).map_or(Token::Value, Token::Word)
    }

    /// The text between two quotes. A plain string ends with its line.
    fn quoted(&mut self, quote: u8) -> &'a str {
        let start = self.at + 1;
        (self.at, self.text_at) = (start, start);
        while let Some(byte) = self.bytes.get(self.at) {
            match *byte {
                b'\\' => self.at += 2,
                b'\n' => break,
                byte if byte == quote => break,
                _ => self.at += 1,
            }
        }
        self.between(start)
    }

    /// A template from its backtick or from the end of a hole, up to its end or its next hole.
    fn template(&mut self) -> Token<'a> {
        let whole = self.bytes.get(self.at) == Some(&b'`');
        let start = self.at + 1;
        (self.at, self.text_at) = (start, start);
        while let Some(byte) = self.bytes.get(self.at) {
            match *byte {
                b'\\' => self.at += 2,
                b'`' => {
                    let text = self.between(start);
                    return if whole { Token::Text(text) } else { Token::Value };
                }
                b'$' if self.bytes.get(self.at + 1) == Some(&b'{') => {
                    self.at += 2;
                    if self.holes.len() < DEEPEST {
                        self.holes.push(0);
                    }
                    return Token::Value;
                }
                _ => self.at += 1,
            }
        }
        self.at = self.bytes.len();
        Token::Value
    }

    /// The text from `start` to here; goes past its end.
    fn between(&mut self, start: usize) -> &'a str {
        let end = self.at.min(self.bytes.len());
        self.at = (end + 1).min(self.bytes.len());
        self.bytes.get(start..end).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }

    fn pattern(&mut self) {
        self.at += 1;
        let mut class = false;
        while let Some(byte) = self.bytes.get(self.at) {
            match *byte {
                b'\\' => self.at += 1,
                b'[' => class = true,
                b']' => class = false,
                b'/' if !class => break,
                b'\n' => return,
                _ => {}
            }
            self.at += 1;
        }
        self.at = (self.at + 1).min(self.bytes.len());
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> String {
        let mut lexer = Lexer::new(text);
        let mut out = Vec::new();
        while let Some(token) = lexer.next() {
            out.push(match token {
                Token::Word(word) => word.to_owned(),
                Token::Text(text) => format!("\"{text}\""),
                Token::Mark(mark) => char::from(mark).to_string(),
                Token::Value => "~".to_owned(),
            });
        }
        out.join(" ")
    }

    #[test]
    fn tokens() {
        for (text, wanted) in [
            ("a=1/2/b // c\n/* d */'e'", "a = 1 / 2 / b \"e\""),
            ("x=/['\"]/.test(y)", "x = ~ . test ( y )"),
            ("if(a)/['\"`]/.test(b),c='d'", "if ( a ) ~ . test ( b ) , c = \"d\""),
            ("(a)/b/'c'", "( a ) / b / \"c\""),
            ("`plain`+`a${b}c`", "\"plain\" + ~ b ~"),
            ("`a${ {x:`${'y'}`} }z`;'q'", "~ { x : ~ \"y\" ~ } ~ ; \"q\""),
            ("`${/'/.test(a)}`;b", "~ ~ . test ( a ) ~ ; b"),
            ("'open\nb", "\"open\" b"),
            ("'open", "\"open\""),
            ("`open ${", "~"),
            ("'a\\'b'", "\"a\\'b\""),
            ("}}`x`", "} } \"x\""),
        ] {
            assert_eq!(shape(text), wanted, "{text}");
        }
    }
}
