//! Sums of texts, an id and tables of literals, as webpack's runtime makes a chunk's name of its id:
//! `"js/" + ({7:"map"}[e] || e) + "." + {7:"aa11"}[e] + ".js"`.

use crate::site::discover::token::{Lexer, Token};
use crate::site::discover::{MAX_ADDRESS, MAX_FOUND};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Most terms of one sum: real ones have about six.
const TERMS: usize = 32;
/// Deepest parentheses.
const DEEPEST: usize = 4;

/// A name by its id.
#[derive(Debug)]
pub(super) struct Sum<'a> {
    /// Ids with a name of their own.
    exceptions: Vec<(String, Vec<Term<'a>>)>,
    /// All others.
    terms: Vec<Term<'a>>,
}

#[derive(Debug)]
enum Term<'a> {
    Text(&'a str),
    Id,
    /// A table; whether an id that is not in it stands for itself.
    Table(Table<'a>, bool),
}

/// Values by id.
#[derive(Debug, Default)]
struct Table<'a> {
    /// As they are written.
    ids: Vec<String>,
    values: HashMap<String, &'a str>,
}

impl<'a> Table<'a> {
    /// One more; no more than a text may name.
    fn add(&mut self, id: String, value: &'a str) {
        if self.ids.len() < MAX_FOUND && self.values.insert(id.clone(), value).is_none() {
            self.ids.push(id);
        }
    }
}

impl<'a> Sum<'a> {
    /// A function of one id, from behind `=`: `e => sum`, `function (e) { return sum }`.
    pub(super) fn of_function(lexer: Lexer<'a>) -> Option<Sum<'a>> {
        let mut reader = Reader { lexer, next: None };
        if reader.take(Token::Word("function"))
            && let Some(Token::Word(_)) = reader.peek()
        {
            reader.step();
        }
        if reader.take(Token::Mark(b'(')) {
            reader.name()?;
            reader.want(Token::Mark(b')'))?;
        } else {
            reader.name()?;
        }
        if reader.take(Token::Mark(b'=')) {
            reader.want(Token::Mark(b'>'))?;
        }
        if reader.take(Token::Mark(b'{')) {
            reader.want(Token::Word("return"))?;
        }
        reader.sum()
    }

    /// A sum that begins here.
    pub(super) fn of(lexer: Lexer<'a>) -> Option<Sum<'a>> {
        Reader { lexer, next: None }.sum()
    }

    /// Tells the name of every id that is known; `asked` are ids that no table holds.
    pub(super) fn each(&self, asked: &[String], mut tell: impl FnMut(&str)) {
        for (_, terms) in &self.exceptions {
            if let [Term::Text(name)] = terms.as_slice() {
                tell(name);
            }
        }
        let tables =
            || self.terms.iter().filter_map(|term| if let Term::Table(table, loose) = term { Some((table, *loose)) } else { None });
        let needs_id = self.terms.iter().any(|term| !matches!(term, Term::Text(_)));
        if !needs_id {
            return self.name("").iter().for_each(|name| tell(name));
        }
        let excepted: HashSet<&String> = self.exceptions.iter().map(|(id, _)| id).collect();
        // A table that gives every chunk its hash knows all ids; one of mere names only some.
        let tell = |id: &String| self.name(id).iter().for_each(|name| tell(name));
        if let Some((table, _)) = tables().find(|(_, loose)| !loose) {
            table.ids.iter().filter(|id| !excepted.contains(id)).for_each(tell);
        } else {
            let named = tables().flat_map(|(table, _)| &table.ids);
            let ids: BTreeSet<&String> = named.chain(asked).filter(|id| !excepted.contains(id)).collect();
            ids.into_iter().for_each(tell);
        }
    }

    /// `None` for an id that has no name, or one that is longer than an address may be.
    fn name(&self, id: &str) -> Option<String> {
        let mut name = String::new();
        for term in &self.terms {
            let part = match term {
                Term::Text(text) => text,
                Term::Id => id,
                Term::Table(table, loose) => match table.values.get(id) {
                    Some(value) => value,
                    None if *loose => id,
                    None => return None,
                },
            };
            if name.len() + part.len() > MAX_ADDRESS {
                return None;
            }
            name.push_str(part);
        }
        Some(name)
    }
}

/// A chunk's id as JavaScript makes a key of it: `1e3` is 1000. `None` for a name that is not literal.
pub(super) fn id(word: &str) -> Option<String> {
    let Some((whole, zeros)) = word.split_once('e').filter(|_| word.as_bytes().first().is_some_and(u8::is_ascii_digit)) else {
        // A text's letters, or a number.
        return Some(word.to_owned());
    };
    let zeros = zeros.parse().ok().filter(|zeros| *zeros < 16)?;
    whole.bytes().all(|byte| byte.is_ascii_digit()).then(|| format!("{whole}{}", "0".repeat(zeros)))
}

fn is_number(word: &str) -> bool {
    word.as_bytes().first().is_some_and(u8::is_ascii_digit)
}

/// Reads one token ahead.
struct Reader<'a> {
    lexer: Lexer<'a>,
    next: Option<Token<'a>>,
}

impl<'a> Reader<'a> {
    fn peek(&mut self) -> Option<Token<'a>> {
        if self.next.is_none() {
            self.next = self.lexer.next();
        }
        self.next
    }

    fn step(&mut self) -> Option<Token<'a>> {
        self.peek();
        self.next.take()
    }

    fn take(&mut self, token: Token<'_>) -> bool {
        let is = self.peek() == Some(token);
        if is {
            self.next = None;
        }
        is
    }

    fn want(&mut self, token: Token<'_>) -> Option<()> {
        self.take(token).then_some(())
    }

    fn name(&mut self) -> Option<&'a str> {
        match self.step()? {
            Token::Word(name) if !is_number(name) => Some(name),
            _ => None,
        }
    }

    fn sum(&mut self) -> Option<Sum<'a>> {
        let mut exceptions = Vec::new();
        loop {
            let ahead = (self.lexer.clone(), self.next);
            match self.exception() {
                Some(exception) if exceptions.len() < MAX_FOUND => exceptions.push(exception),
                Some(_) => return None,
                None => {
                    (self.lexer, self.next) = ahead;
                    break;
                }
            }
        }
        let terms = self.terms(0)?;
        (!terms.is_empty()).then_some(Sum { exceptions, terms })
    }

    /// `5 === e ? "five.js" :`
    fn exception(&mut self) -> Option<(String, Vec<Term<'a>>)> {
        let key = self.is_id()?;
        let terms = self.terms(0)?;
        self.want(Token::Mark(b':'))?;
        Some((key, terms))
    }

    /// `5 === e ?` or `e === 5 ?`.
    fn is_id(&mut self) -> Option<String> {
        let literal = |token| match token {
            Token::Text(text) => Some(text.to_owned()),
            Token::Word(word) if is_number(word) => id(word),
            _ => None,
        };
        let first = self.step()?;
        for _ in 0..2 {
            self.want(Token::Mark(b'='))?;
        }
        self.take(Token::Mark(b'='));
        let second = self.step()?;
        self.want(Token::Mark(b'?'))?;
        literal(first).or_else(|| literal(second))
    }

    fn terms(&mut self, depth: usize) -> Option<Vec<Term<'a>>> {
        let mut terms = vec![self.term(depth)?];
        while self.take(Token::Mark(b'+')) {
            if terms.len() >= TERMS {
                return None;
            }
            terms.push(self.term(depth)?);
        }
        Some(terms)
    }

    fn term(&mut self, depth: usize) -> Option<Term<'a>> {
        match self.step()? {
            Token::Text(text) => Some(Term::Text(text)),
            Token::Word(word) if !is_number(word) => Some(Term::Id),
            Token::Mark(b'{') => {
                let rows = self.rows()?;
                // Within parentheses of its own the id comes behind them.
                if self.peek() == Some(Token::Mark(b'[')) {
                    self.index()?;
                }
                Some(Term::Table(rows, false))
            }
            Token::Mark(b'(') if depth < DEEPEST => self.inner(depth + 1),
            _ => None,
        }
    }

    /// `({…}[e] || e)`, `({…})[e]`, `(5 === e ? "five" : e)`, from behind the first parenthesis.
    fn inner(&mut self, depth: usize) -> Option<Term<'a>> {
        let ahead = (self.lexer.clone(), self.next);
        let term = if let Some(key) = self.is_id() {
            let Term::Text(text) = self.term(depth)? else { return None };
            self.want(Token::Mark(b':'))?;
            let Term::Id = self.term(depth)? else { return None };
            let mut table = Table::default();
            table.add(key, text);
            Term::Table(table, true)
        } else {
            (self.lexer, self.next) = ahead;
            match self.term(depth)? {
                Term::Table(rows, _) if self.take(Token::Mark(b'|')) => {
                    self.want(Token::Mark(b'|'))?;
                    self.name()?;
                    Term::Table(rows, true)
                }
                term => term,
            }
        };
        self.want(Token::Mark(b')'))?;
        if matches!(term, Term::Table(..)) && self.peek() == Some(Token::Mark(b'[')) {
            self.index()?;
        }
        Some(term)
    }

    /// `[e]`
    fn index(&mut self) -> Option<()> {
        self.want(Token::Mark(b'['))?;
        self.name()?;
        self.want(Token::Mark(b']'))
    }

    /// The rows of a table, from behind its brace.
    fn rows(&mut self) -> Option<Table<'a>> {
        let mut rows = Table::default();
        loop {
            let key = match self.step()? {
                Token::Mark(b'}') => return Some(rows),
                Token::Mark(b',') => continue,
                Token::Word(key) | Token::Text(key) => id(key)?,
                _ => return None,
            };
            self.want(Token::Mark(b':'))?;
            let Token::Text(value) = self.step()? else { return None };
            rows.add(key, value);
        }
    }
}
