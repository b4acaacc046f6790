//! Reads the names that a source file uses, as absolute paths.
//!
//! It works on tokens, because a path can stand where no syntax tree shows it: inside the arguments of a macro, in a
//! derive, in a `macro_rules` body. Only `use` trees are parsed, since they are where paths hide: groups, renames,
//! globs, chains of `super`. A name that a `use` or `mod` of the same file binds is followed to what it stands for, so
//! `use std::io;` ... `io::stdout()` is seen as `std::io::stdout`. Scopes inside a file are not told apart: a name
//! bound twice stands for both.
//!
//! It does not know layers or fences, and does not follow a name into another file.

use std::collections::BTreeMap;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use syn::UseTree;

/// One path that a file writes, resolved to where it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Line of the first segment, from one.
    pub(crate) line: usize,
    /// `["crate", "numerics", ..]` inside this crate, `["serde", ..]` outside; a glob ends in `*`.
    pub(crate) path: Vec<String>,
    /// Whether it stands in a module `tests` of the file.
    pub(crate) in_tests: bool,
}

/// A name with the line it stands on.
pub(crate) type Place = (usize, String);

/// Everything that the architecture tests ask of one file.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// Every path of two segments or more, and every `use`.
    pub(crate) references: Vec<Reference>,
    /// Macros called, by last segment, without the exclamation mark.
    pub(crate) macros: Vec<Place>,
    /// Methods called on a value.
    pub(crate) methods: Vec<Place>,
    /// Every identifier inside an attribute.
    pub(crate) attribute_words: Vec<Place>,
    /// Chains of two `super` or more, as written.
    pub(crate) super_chains: Vec<Place>,
    bindings: BTreeMap<String, Vec<Vec<String>>>,
}

impl Reading {
    /// Reads `source`, the text of the module `module` (`["numerics", "block"]`; empty for the crate root).
    ///
    /// # Errors
    /// When the text is not Rust.
    pub(crate) fn of(source: &str, module: &[String]) -> syn::Result<Reading> {
        syn::parse_file(source)?;
        let tokens: TokenStream = source.parse().expect("a file that syn parses is a token stream");
        let mut walker = Walker { reading: Reading::default(), module: module.to_vec(), paths: Vec::new() };
        walker.walk(tokens);
        let Walker { mut reading, paths, .. } = walker;
        for Reference { line, path, in_tests } in paths {
            for path in reading.follow(&path, 0) {
                reading.references.push(Reference { line, path, in_tests });
            }
        }
        Ok(reading)
    }

    /// Whether the file declares or imports `name`.
    pub(crate) fn binds(&self, name: &str) -> bool {
        self.bindings.contains_key(name)
    }

    /// What a path written in this file stands for, through the names that the file binds.
    pub(crate) fn follow(&self, path: &[String], depth: usize) -> Vec<Vec<String>> {
        // `use a::b; use b::a;` would go round for ever; no honest chain is this long.
        const LONGEST_CHAIN: usize = 6;
        let targets = match path.first() {
            Some(first) if depth < LONGEST_CHAIN => self.bindings.get(first),
            _ => None,
        };
        match targets {
            None => vec![strip_leading_colon(path)],
            Some(targets) => targets
                .iter()
                .map(|target| [target.as_slice(), &path[1..]].concat())
                .flat_map(|joined| match joined.first() == path.first() {
                    true => vec![strip_leading_colon(&joined)],
                    false => self.follow(&joined, depth + 1),
                })
                .collect(),
        }
    }
}

fn strip_leading_colon(path: &[String]) -> Vec<String> {
    path.iter().skip_while(|segment| segment.is_empty()).cloned().collect()
}

/// The paths in `tokens`, single identifiers included, as written.
pub(crate) fn written_paths(tokens: TokenStream) -> Vec<Vec<String>> {
    let mut walker = Walker { reading: Reading::default(), module: Vec::new(), paths: Vec::new() };
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut paths = Vec::new();
    for (position, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => paths.extend(written_paths(group.stream())),
            TokenTree::Ident(_) if !follows_colons(&tokens, position) && !is_variable(&tokens, position) => {
                paths.push(walker.segments(&tokens, position).0);
            }
            _ => {}
        }
    }
    paths
}

struct Walker {
    reading: Reading,
    module: Vec<String>,
    /// Paths not yet followed through the file's bindings, because a `use` may come after its use.
    paths: Vec<Reference>,
}

impl Walker {
    fn walk(&mut self, stream: TokenStream) {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        let mut position = 0;
        while position < tokens.len() {
            position = match &tokens[position] {
                TokenTree::Ident(word) if *word == "use" => self.take_use(&tokens, position),
                TokenTree::Ident(word) if *word == "mod" => self.take_module(&tokens, position),
                TokenTree::Ident(word) if *word == "extern" => self.take_extern(&tokens, position),
                TokenTree::Ident(_) => self.take_path(&tokens, position),
                TokenTree::Punct(punct) if punct.as_char() == '#' => self.take_attribute(&tokens, position),
                TokenTree::Punct(punct) if punct.as_char() == '.' => self.take_method(&tokens, position),
                TokenTree::Group(group) => {
                    self.walk(group.stream());
                    position + 1
                }
                _ => position + 1,
            };
        }
    }

    fn take_module(&mut self, tokens: &[TokenTree], position: usize) -> usize {
        let Some(TokenTree::Ident(name)) = tokens.get(position + 1) else { return position + 1 };
        self.module.push(name.to_string());
        let absolute = [&["crate".to_owned()], self.module.as_slice()].concat();
        self.bind(name.to_string(), absolute);
        let next = match tokens.get(position + 2) {
            Some(TokenTree::Group(body)) => {
                self.walk(body.stream());
                position + 3
            }
            _ => position + 2,
        };
        self.module.pop();
        next
    }

    fn take_extern(&mut self, tokens: &[TokenTree], position: usize) -> usize {
        match (tokens.get(position + 1), tokens.get(position + 2)) {
            (Some(TokenTree::Ident(word)), Some(TokenTree::Ident(name))) if *word == "crate" => {
                let line = name.span().start().line;
                self.refer(line, vec![name.to_string()]);
                position + 3
            }
            _ => position + 1,
        }
    }

    fn take_use(&mut self, tokens: &[TokenTree], position: usize) -> usize {
        let length = tokens[position..].iter().position(|token| is_punct(Some(token), ';'));
        let Some(length) = length else { return position + 1 };
        let statement: TokenStream = tokens[position..=position + length].iter().cloned().collect();
        // `use<'a>` in a type and `use $crate::..` in a macro body are not items: their paths are read as any others.
        let Ok(item) = syn::parse2::<syn::ItemUse>(statement) else { return position + 1 };
        let line = tokens[position].span().start().line;
        let start = if item.leading_colon.is_some() { vec![String::new()] } else { Vec::new() };
        self.take_use_tree(&item.tree, start, line);
        position + length + 1
    }

    fn take_use_tree(&mut self, tree: &UseTree, prefix: Vec<String>, line: usize) {
        let extended = |name: String| [prefix.as_slice(), &[name]].concat();
        match tree {
            UseTree::Path(path) => self.take_use_tree(&path.tree, extended(path.ident.to_string()), line),
            UseTree::Group(group) => group.items.iter().for_each(|t| self.take_use_tree(t, prefix.clone(), line)),
            UseTree::Name(name) if name.ident == "self" => self.take_import(prefix, None, line),
            UseTree::Name(name) => self.take_import(extended(name.ident.to_string()), None, line),
            UseTree::Rename(rename) if rename.ident == "self" => {
                self.take_import(prefix, Some(rename.rename.to_string()), line);
            }
            UseTree::Rename(rename) => {
                self.take_import(extended(rename.ident.to_string()), Some(rename.rename.to_string()), line);
            }
            UseTree::Glob(_) => self.take_import(extended("*".to_owned()), None, line),
        }
    }

    fn take_import(&mut self, path: Vec<String>, name: Option<String>, line: usize) {
        let absolute = self.absolute(path, line);
        let name = name.or_else(|| absolute.last().cloned()).expect("an import has a last segment");
        if name != "*" && name != "_" && absolute.first() != Some(&name) {
            self.bind(name, absolute.clone());
        }
        self.refer(line, absolute);
    }

    fn take_path(&mut self, tokens: &[TokenTree], position: usize) -> usize {
        let line = tokens[position].span().start().line;
        let (segments, next) = self.segments(tokens, position);
        if is_variable(tokens, position) {
            return next;
        }
        if is_punct(tokens.get(next), '!') && !is_punct(tokens.get(next + 1), '=') {
            self.reading.macros.push((line, segments.last().expect("a path has a segment").clone()));
        }
        if follows_colons(tokens, position) && !follows_leading_colons(tokens, position) {
            return next; // The rest of `<T as Trait>::name` or of `Vec::<T>::name`.
        }
        let opens_group = is_colons(tokens, next)
            && matches!(tokens.get(next + 2), Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace);
        if segments.len() > 1 || opens_group {
            let mut path = self.absolute(segments, line);
            if follows_leading_colons(tokens, position) {
                path.insert(0, String::new());
            }
            match tokens.get(next + 2) {
                // `use crate::{a, b}` in a macro body, where it is not parsed as an item.
                Some(TokenTree::Group(group)) if opens_group => {
                    for inner in written_paths(group.stream()) {
                        self.refer(line, [path.as_slice(), &inner].concat());
                    }
                    return next + 3;
                }
                _ => self.refer(line, path),
            }
        }
        next
    }

    /// The segments of the path that starts at `position`, and the position after it.
    fn segments(&mut self, tokens: &[TokenTree], position: usize) -> (Vec<String>, usize) {
        let mut segments = vec![tokens[position].to_string()];
        let mut next = position + 1;
        if !is_segment(&segments[0]) {
            return (segments, next);
        }
        while is_colons(tokens, next) {
            match tokens.get(next + 2) {
                Some(TokenTree::Ident(segment)) => segments.push(segment.to_string()),
                Some(TokenTree::Punct(star)) if star.as_char() == '*' => segments.push("*".to_owned()),
                _ => break,
            }
            next += 3;
        }
        (segments, next)
    }

    fn take_attribute(&mut self, tokens: &[TokenTree], position: usize) -> usize {
        let group = position + 1 + usize::from(is_punct(tokens.get(position + 1), '!'));
        if let Some(TokenTree::Group(body)) = tokens.get(group)
            && body.delimiter() == Delimiter::Bracket
        {
            for path in written_paths(body.stream()) {
                let line = body.span_open().start().line;
                self.reading.attribute_words.extend(path.into_iter().map(|word| (line, word)));
            }
        }
        position + 1
    }

    fn take_method(&mut self, tokens: &[TokenTree], position: usize) -> usize {
        if position > 0 && is_punct(tokens.get(position - 1), '.') {
            return position + 1; // The end of a range `..`, after which a path may stand.
        }
        let called = match tokens.get(position + 2) {
            Some(TokenTree::Group(group)) => group.delimiter() == Delimiter::Parenthesis,
            _ => is_colons(tokens, position + 2),
        };
        match tokens.get(position + 1) {
            Some(TokenTree::Ident(name)) if called => {
                self.reading.methods.push((name.span().start().line, name.to_string()));
                position + 2
            }
            _ => position + 1,
        }
    }

    /// `self`, `super`, `npusim` and `crate` replaced by `crate` and the modules they stand for.
    fn absolute(&mut self, path: Vec<String>, line: usize) -> Vec<String> {
        let supers = path.iter().skip_while(|s| *s == "self").take_while(|segment| *segment == "super").count();
        if supers > 1 {
            self.reading.super_chains.push((line, path.join("::")));
        }
        let root = ["crate".to_owned()];
        match path[0].as_str() {
            "crate" | "npusim" => [&root, &path[1..]].concat(),
            "self" | "super" => {
                let own = usize::from(path[0] == "self");
                let here = self.module.len().saturating_sub(supers);
                [&root, &self.module[..here], &path[own + supers..]].concat()
            }
            _ => path,
        }
    }

    fn refer(&mut self, line: usize, path: Vec<String>) {
        let in_tests = self.module.last().is_some_and(|module| module == "tests");
        self.paths.push(Reference { line, path, in_tests });
    }

    fn bind(&mut self, name: String, path: Vec<String>) {
        let targets = self.reading.bindings.entry(name).or_default();
        if !targets.contains(&path) {
            targets.push(path);
        }
    }
}

/// Whether the word at `position` is a variable of a macro, `$name`, which stands for no path of its own.
fn is_variable(tokens: &[TokenTree], position: usize) -> bool {
    position > 0 && is_punct(tokens.get(position - 1), '$') && tokens[position].to_string() != "crate"
}

fn is_punct(token: Option<&TokenTree>, character: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == character)
}

fn is_colons(tokens: &[TokenTree], position: usize) -> bool {
    matches!(tokens.get(position), Some(TokenTree::Punct(p)) if p.as_char() == ':' && p.spacing() == Spacing::Joint)
        && is_punct(tokens.get(position + 1), ':')
}

fn follows_colons(tokens: &[TokenTree], position: usize) -> bool {
    position >= 2 && is_colons(tokens, position - 2)
}

/// Whether the path at `position` opens with `::`, which names an external crate and no binding of the file.
fn follows_leading_colons(tokens: &[TokenTree], position: usize) -> bool {
    let before = position.checked_sub(3).and_then(|before| tokens.get(before));
    let continues = match before {
        Some(TokenTree::Ident(word)) => is_segment(&word.to_string()),
        before => is_punct(before, '>'),
    };
    follows_colons(tokens, position) && !continues
}

/// Whether `word` can be part of a path: `impl ::serde::Serialize` has a keyword before its colons.
fn is_segment(word: &str) -> bool {
    ["self", "Self", "super", "crate"].contains(&word) || syn::parse_str::<syn::Ident>(word).is_ok()
}
