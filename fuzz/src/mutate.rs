//! The mutation engine: trees are changed where files differ (values, keys, items, whole branches), then now and then their
//! text. What a key may hold is learnt from the corpus, so that many inputs are still valid and lead deep into the program.

use std::collections::BTreeMap;

use rand::RngExt;
use rand_pcg::Pcg64;

use crate::tree::Tree;

/// Values at which arithmetic and readers turn.
const VALUES: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "-1",
    "7",
    "16",
    "255",
    "256",
    "65535",
    "65536",
    "4294967295",
    "4294967296",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999",
    "0.5",
    "-0.0",
    "0.1",
    "1e-45",
    "1e-320",
    "1e38",
    "1e39",
    "1e308",
    "1e309",
    "-1e308",
    "1/3",
    "1/0",
    "0x10",
    "1_000",
    "1 KiB",
    "1 GHz",
    "16 EiB",
    "",
    "~",
    "null",
    "true",
    "false",
    ".nan",
    ".inf",
    "NaN",
    "x",
    "fp32",
    "int8",
    "previous",
    "[",
    "a.b",
    "0.0",
    "*",
    "\u{0}",
    "\u{1b}[31m",
    "\u{202e}",
    "\u{fffe}",
    "é",
    "𝄞",
];

/// Pieces of text that readers stumble over.
const PIECES: &[&str] = &[
    "\n", "\t", " ", ":", ": ", ",", "{", "}", "[", "]", "\"", "'", "#", "&a ", "*a", "!!str ", "|\n", ">\n", "---\n",
    "...\n", "<<: ", "\\u0000", "\\ud800", "\\", "\u{feff}", "\r\n", "- ", "? ", "%", "@", "`", "(", ")", "^", "+",
    "e", "E", ".", "-", "0", "9",
];

/// What files of one kind hold: for each key the values that were seen under it.
#[derive(Debug, Default)]
pub struct Dictionary {
    keys: Vec<String>,
    by_key: BTreeMap<String, Vec<Tree>>,
    all: Vec<Tree>,
}

impl Dictionary {
    /// Learns from `trees`.
    pub fn of<'t>(trees: impl IntoIterator<Item = &'t Tree>) -> Dictionary {
        const LARGEST: usize = 60;
        const MOST: usize = 400;
        let mut dictionary = Dictionary::default();
        for tree in trees {
            tree.visit("", &mut |key, value| {
                if value.count() <= LARGEST {
                    let known = dictionary.by_key.entry(key.to_owned()).or_default();
                    if known.len() < MOST {
                        known.push(value.clone());
                    }
                    if dictionary.all.len() < 20 * MOST {
                        dictionary.all.push(value.clone());
                    }
                }
            });
        }
        dictionary.keys = dictionary.by_key.keys().filter(|key| !key.is_empty()).cloned().collect();
        dictionary
    }

    fn value_of(&self, key: &str, random: &mut Pcg64) -> Option<Tree> {
        self.by_key.get(key).filter(|values| !values.is_empty()).map(|values| pick(values, random).clone())
    }
}

/// One of several, each as likely.
pub fn pick<'v, V>(values: &'v [V], random: &mut Pcg64) -> &'v V {
    &values[random.random_range(0..values.len())]
}

/// Changes `tree` in one to `most` places.
pub fn change(tree: &mut Tree, most: usize, dictionary: &Dictionary, random: &mut Pcg64) {
    for _ in 0..random.random_range(1..=most) {
        change_once(tree, dictionary, random);
    }
}

fn change_once(tree: &mut Tree, dictionary: &Dictionary, random: &mut Pcg64) {
    let position = random.random_range(0..tree.count());
    let (value, key) = tree.at(position);
    let key = key.to_owned();
    // Values under the same key are the changes that most often leave a file valid.
    match random.random_range(0..100) {
        0..30 => {
            if let Some(other) = dictionary.value_of(&key, random) {
                *value = other;
            }
        }
        30..60 => change_here(value, dictionary, random),
        60..70 => *value = Tree::plain(pick::<&str>(VALUES, random)),
        70..75 => *value = Tree::Scalar { text: (*pick(VALUES, random)).to_owned(), quoted: true },
        75..80 if !dictionary.all.is_empty() => *value = pick(&dictionary.all, random).clone(),
        80..83 => *value = Tree::List(vec![value.clone()]),
        83..86 => *value = Tree::Map(vec![(key, value.clone())]),
        _ => change_here(value, dictionary, random),
    }
}

/// A change that suits the kind of value.
fn change_here(value: &mut Tree, dictionary: &Dictionary, random: &mut Pcg64) {
    match value {
        Tree::Scalar { text, .. } => change_scalar(text, random),
        Tree::List(items) => {
            if items.is_empty() {
                items.push(Tree::plain("1"));
                return;
            }
            let (one, other) = (random.random_range(0..items.len()), random.random_range(0..items.len()));
            match random.random_range(0..4) {
                0 => drop(items.remove(one)),
                1 => items.swap(one, other),
                2 => items.insert(one, items[other].clone()),
                _ => items.truncate(one),
            }
        }
        Tree::Map(entries) => {
            let add = |random: &mut Pcg64| {
                let key = pick(&dictionary.keys, random).clone();
                let value = dictionary.value_of(&key, random).unwrap_or_else(|| Tree::plain("1"));
                (key, value)
            };
            if entries.is_empty() {
                entries.extend((!dictionary.keys.is_empty()).then(|| add(random)));
                return;
            }
            let one = random.random_range(0..entries.len());
            match random.random_range(0..6) {
                0 | 1 => drop(entries.remove(one)),
                2 if !dictionary.keys.is_empty() => entries.push(add(random)),
                3 => entries.push(entries[one].clone()),
                4 if !dictionary.keys.is_empty() => entries[one].0 = pick(&dictionary.keys, random).clone(),
                _ => drop(entries[one].0.pop()),
            }
        }
    }
}

fn change_scalar(text: &mut String, random: &mut Pcg64) {
    let (number, unit) = text.split_once(' ').map_or((text.as_str(), ""), |(number, unit)| (number, unit));
    let space = if unit.is_empty() { "" } else { " " };
    if let Ok(number) = number.parse::<i128>() {
        let near = [number.saturating_add(1), number.saturating_sub(1), number.saturating_mul(2), number / 2, -number];
        let far = [number.saturating_mul(1000), 0, 1, number.saturating_mul(3), number / 3];
        let all: Vec<i128> = near.into_iter().chain(far).collect();
        *text = format!("{}{space}{unit}", pick(&all, random));
    } else if let Ok(number) = number.parse::<f64>() {
        let all =
            [number * 2.0, number / 2.0, -number, number + 1.0, 1.0 - number, number * 1e30, number * 1e-30, 0.0, 1.0];
        *text = format!("{}{space}{unit}", pick(&all, random));
    } else {
        let mut letters: Vec<char> = text.chars().collect();
        let at = random.random_range(0..=letters.len());
        match random.random_range(0..4) {
            0 => letters.insert(at, *pick(&['a', '_', '.', '0', '\u{0}', '\u{7f}', '"', '\n', 'ß'], random)),
            1 if !letters.is_empty() => drop(letters.remove(at.min(letters.len() - 1))),
            2 => letters.truncate(at),
            _ => letters = letters.repeat(2),
        }
        *text = letters.into_iter().collect();
    }
}

/// Changes bytes: for syntax, encodings and binary files.
pub fn change_bytes(bytes: &mut Vec<u8>, most: usize, random: &mut Pcg64) {
    for _ in 0..random.random_range(1..=most) {
        let at = random.random_range(0..=bytes.len());
        let end = (at + random.random_range(0..=16usize)).min(bytes.len());
        match random.random_range(0..6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = random.random_range(0..=255),
            2 => drop(bytes.drain(at..end)),
            3 => drop(bytes.splice(at..at, pick(PIECES, random).bytes())),
            4 => {
                let copied = bytes[at..end].to_vec();
                let to = random.random_range(0..=bytes.len());
                drop(bytes.splice(to..to, copied));
            }
            _ => bytes.truncate(at),
        }
    }
}
